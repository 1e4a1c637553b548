//! Output of runs that were forgotten while nobody was there to remove it: before a crash, or under
//! another leader.

use std::sync::Arc;
use std::time::Duration;

use olympus_actors::view::{GetRun, Until};
use tokio::sync::{oneshot, watch};

use super::OutputStore;
use crate::house::{Door, State};

/// How often the door is looked at before it opens: nobody waits for a sweep.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Once the house is open, removes the output of every run that it does not know.
pub async fn sweep(store: Arc<OutputStore>, door: Arc<Door>, mut stop: watch::Receiver<bool>) {
    // Listed first: what comes later belongs to runs that the view then knows.
    let runs = match store.runs().await {
        Ok(runs) => runs,
        Err(error) => {
            log::warn!(error:% = error; "could not list kept output");
            return;
        }
    };
    let view = loop {
        if let State::Open(house) = &*door.state() {
            break house.view.clone();
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    };
    let mut removed = 0;
    for run in runs {
        let (reply, known) = oneshot::channel();
        if view.send(GetRun { run, until: Until::Now, reply }).await.is_err() {
            return;
        }
        let Ok(seen) = known.await else { return };
        if seen.value.is_none() {
            match store.remove(run).await {
                Ok(()) => removed += 1,
                Err(error) => log::warn!(run:% = run, error:% = error; "could not remove output"),
            }
        }
    }
    if removed > 0 {
        log::info!(runs = removed; "remove the output of runs that are forgotten");
    }
}

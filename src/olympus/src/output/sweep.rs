//! Output that nobody may read any more, and that nobody was there to remove: of runs that were
//! forgotten, or ended and keep none, before a crash or under another leader.

use std::sync::Arc;
use std::time::Duration;

use olympus_actors::view::{GetRun, RunSeen, Until};
use tokio::sync::{oneshot, watch};

use super::OutputStore;
use crate::house::{Door, State};

/// How often the door is looked at before it opens: nobody waits for a sweep.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Whether nobody may read a run's output any more.
fn is_over(seen: Option<&RunSeen>) -> bool {
    seen.is_none_or(|RunSeen { run, .. }| {
        run.status.is_terminal() && !run.submission().retention.keep_output
    })
}

/// Once the house is open, removes the output of every run that it does not know, or that ended and
/// keeps none.
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
        if is_over(seen.value.as_ref()) {
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

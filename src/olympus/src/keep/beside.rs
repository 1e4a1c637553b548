//! A follower's snapshots: of the same entries as the leader's, folded here.
//!
//! So it goes on from its own disk whoever is lost, and two folds of the same entries are compared.
//! Where the journal was trimmed before it could fold, it asks the leader for its snapshot.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use actix::Addr;
use domain::event::SnapshotTaken;
use domain::pieces::STATE_VERSION;
use journal::{Identity, Journal};
use olympus_actors::view::{Summarize, ViewActor};

use super::{AGAIN, Keeping, Undone, is_over, lent, pause, prune, say_once, snapshot};

/// How often it is looked whether the leader has taken another.
const LOOK: Duration = Duration::from_secs(1);

/// Follows until it is over.
pub(super) async fn follow(
    keeping: Keeping,
    journal: Arc<dyn Journal>,
    view: Addr<ViewActor>,
    identity: Identity,
    over: Arc<AtomicBool>,
) {
    let mut wrong = None;
    loop {
        let done = async {
            is_over(&over)?;
            let kept = view.send(Summarize).await.map_err(|_| Undone::Over)?.kept;
            let newest = keeping.snapshots.candidates(Some(identity), None);
            let newest = newest.first().map_or(0, |found| found.id.seq);
            match kept.snapshots().next_back().filter(|taken| taken.index > newest) {
                Some(taken) => take(&keeping, &journal, identity, taken, &over).await,
                None => Ok(()),
            }
        };
        let length = match done.await {
            Ok(()) => {
                wrong = None;
                LOOK
            }
            Err(Undone::Over) => return,
            Err(undone) => {
                say_once(&mut wrong, "could not make a snapshot", undone.to_string());
                AGAIN
            }
        };
        if pause(length, &over).await.is_err() {
            return;
        }
    }
}

async fn take(
    keeping: &Keeping,
    journal: &Arc<dyn Journal>,
    identity: Identity,
    taken: &SnapshotTaken,
    over: &Arc<AtomicBool>,
) -> Result<(), Undone> {
    let (began, index) = (Instant::now(), taken.index);
    let made = match snapshot::make(keeping, journal.clone(), identity, index, over).await {
        Ok(made) => made,
        // What is folded here from now on goes on from the leader's.
        Err(Undone::OutOfReach(why)) => {
            let lent = lent::fetch(keeping, journal, over).await;
            let lent = lent.map_err(|none| Undone::Other(format!("{why}. And {none}")))?;
            if lent.id.seq < index {
                return Err(Undone::Other(format!(
                    "{why}. And what was lent is not of entry {index}"
                )));
            }
            return prune(keeping, identity);
        }
        Err(undone) => return Err(undone),
    };
    if made.digest == taken.digest || taken.state != STATE_VERSION {
        log::info!(
            index, bytes = made.bytes, runs = made.runs, from = made.from, folded = made.events,
            ms = began.elapsed().as_millis(), path:% = made.path.display(),
            compared = taken.state == STATE_VERSION;
            "take a snapshot beside the leader's"
        );
    } else {
        log::error!(
            index, here:% = made.digest, leader:% = taken.digest;
            "the state folded here is not the leader's, of the same version: one of the two is \
             damaged; tartarus replay verify says which"
        );
    }
    prune(keeping, identity)
}

//! The past, for `?at=`: a World folded to a point, behind the same actors that show the present.
//!
//! Owns:   the few pasts that are kept for whoever asks again, and the thread they live on.
//! Hears:  a point in the life of the journal, from reads of the API.
//! Says:   [`Windows`] that stand still.
//! Never:  answers a read in a second way, or folds where others are answered.
//! Fails:  as [`NoPast`]; a fold that takes too long is dropped.
//! Proof:  `src/olympus/tests/api/past.rs`, `tests/tests/live/past.rs`.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actix::{Actor as _, Arbiter};
use domain::{Court, Sequence, Timestamp};
use journal::{EntryId, Journal, Receipt};
use olympus_actors::Mark;
use olympus_actors::clock::Clock;
use olympus_actors::policy::PolicyActor;
use olympus_actors::queue::QueueActor;
use olympus_actors::view::ViewActor;
use replay::state::{self, State};
use replay::{Archive, Point, Snapshots, Source, Unreadable};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::house::{Judges, Windows};
use crate::keep::Keeping;
use crate::recover::{RecoverError, start};

/// Folds at a time: one takes a core for as long as a replay does, and there are runs to place.
const FOLDS_MAX: usize = 1;
/// Pasts that are kept, the least used goes first: each weighs as much as the present.
const KEPT_MAX: usize = 2;
/// A past that nobody has asked for so long goes: who reads page after page asks sooner.
const IDLE: Duration = Duration::from_secs(300);
/// A fold must be done by then: at 300,000 events a second, one of 18 million. Longer than this
/// nobody waits for a page.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Which past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// After this entry.
    pub sequence: Sequence,
    /// What the clock says then; none is the time of the last event.
    pub now: Option<Timestamp>,
}

/// Why a past can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum NoPast {
    /// As many are being folded as may be.
    #[error("another past is being folded")]
    Busy,
    /// It took longer than [`DEADLINE`].
    #[error("folding the journal to there takes longer than {} s", DEADLINE.as_secs())]
    Slow,
    /// What it would be folded from is gone.
    #[error("nothing is kept that it could be folded from; the earliest is entry {earliest}")]
    Gone {
        /// The earliest that can be shown.
        earliest: Sequence,
    },
    /// The journal does not say.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The process is stopping.
    #[error("this instance is stopping")]
    Stopping,
}

/// See the module.
pub struct Pasts {
    /// What shortens the way there, and has what left the journal.
    keeping: Option<Keeping>,
    kept: Arc<Mutex<Vec<Kept>>>,
    folds: Arc<Semaphore>,
    /// Started by the first who asks: most instances never are.
    thread: OnceLock<Arbiter>,
}

impl Default for Pasts {
    fn default() -> Self {
        Self {
            keeping: None,
            kept: Arc::default(),
            folds: Arc::new(Semaphore::new(FOLDS_MAX)),
            thread: OnceLock::new(),
        }
    }
}

struct Kept {
    key: Key,
    /// Whoever asks for the same meanwhile waits for the same fold.
    windows: Arc<OnceCell<Windows>>,
    used: Instant,
}

impl Pasts {
    /// Folds from snapshots, and over the archive, where that is needed.
    pub fn over(keeping: Option<Keeping>) -> Self {
        Self { keeping, ..Self::default() }
    }

    /// Where this instance keeps snapshots; none of a journal in memory.
    pub fn snapshots(&self) -> Option<Snapshots> {
        self.keeping.as_ref().map(|keeping| keeping.snapshots.clone())
    }

    /// A journal, read in pages of so many bytes, with what has left it where something has.
    ///
    /// # Errors
    /// The journal or the archive can't be read.
    pub async fn source(
        &self,
        journal: &Arc<dyn Journal>,
        page_bytes: usize,
    ) -> Result<Source, Unreadable> {
        let source = Source::journal_in_pages(journal.clone(), page_bytes);
        let first = journal.stored(1, 1).await?.first().map_or(1, |(id, _)| id.seq);
        Ok(match &self.keeping {
            Some(keeping) if first > 1 => source.beside(Archive::open(&keeping.archive)?),
            Some(_) | None => source,
        })
    }

    /// The windows on a past, from those that are kept or folded from the journal.
    ///
    /// # Errors
    /// See [`NoPast`].
    pub async fn windows(&self, key: Key, journal: &Arc<dyn Journal>) -> Result<Windows, NoPast> {
        let cell = self.cell(key);
        let windows = cell.get_or_try_init(|| self.fold(key, journal)).await.cloned();
        drop(cell);
        if windows.is_err() {
            // Nobody else waits for it: the next one begins anew.
            self.kept().retain(|kept| {
                kept.key != key
                    || kept.windows.initialized()
                    || Arc::strong_count(&kept.windows) > 1
            });
        }
        windows
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a past among those that are kept, the last used at the end.
    fn cell(&self, key: Key) -> Arc<OnceCell<Windows>> {
        let mut kept = self.kept();
        let cell = match kept.iter().position(|kept| kept.key == key) {
            Some(at) => kept.remove(at).windows,
            None => {
                if kept.iter().filter(|kept| kept.windows.initialized()).count() >= KEPT_MAX
                    && let Some(oldest) = kept.iter().position(|kept| kept.windows.initialized())
                {
                    kept.remove(oldest);
                }
                Arc::default()
            }
        };
        kept.push(Kept { key, windows: cell.clone(), used: Instant::now() });
        cell
    }

    async fn fold(&self, key: Key, journal: &Arc<dyn Journal>) -> Result<Windows, NoPast> {
        let permit = self.folds.clone().try_acquire_owned().map_err(|_| NoPast::Busy)?;
        let (reply, folded) = oneshot::channel();
        let (journal, keeping) = (journal.clone(), self.keeping.clone());
        let kept = self.kept.clone();
        let spawned = self.thread.get_or_init(Arbiter::new).spawn(async move {
            // Whoever asked may be gone: then the past is too.
            let _ = reply.send(folded_to(key, journal, keeping, permit).await);
            forget(&kept, key).await;
        });
        if !spawned {
            return Err(NoPast::Stopping);
        }
        folded.await.unwrap_or(Err(NoPast::Stopping))
    }
}

async fn folded_to(
    key: Key,
    journal: Arc<dyn Journal>,
    keeping: Option<Keeping>,
    _turn: OwnedSemaphorePermit,
) -> Result<Windows, NoPast> {
    if key.sequence == 0 {
        return Ok(open(State::default(), key.now));
    }
    let folding = fold(Point::Sequence(key.sequence), &journal, keeping.as_ref());
    let state = timeout(DEADLINE, folding).await.map_err(|_| NoPast::Slow)??;
    Ok(open(state, key.now))
}

/// The state at a point, from the newest snapshot before it.
async fn fold(
    point: Point,
    journal: &Arc<dyn Journal>,
    keeping: Option<&Keeping>,
) -> Result<State, NoPast> {
    let tail = journal.check().await.map_err(Unreadable::from)?;
    let from = match start(journal, tail, keeping, Some(point)).await {
        Ok(from) => from,
        Err(RecoverError::Trouble(trouble)) => return Err(NoPast::Unreadable(trouble.into())),
        Err(RecoverError::Refused(_) | RecoverError::OutOfReach(_) | RecoverError::NotNow(_)) => {
            let first = journal.stored(1, 1).await.map_err(Unreadable::from)?;
            let first = first.first().map_or(1, |(id, _)| id.seq);
            let kept =
                keeping.map(|keeping| keeping.snapshots.candidates(Some(tail.identity), None));
            let oldest = kept.and_then(|kept| kept.last().map(|found| found.id.seq));
            return Err(NoPast::Gone { earliest: oldest.unwrap_or(first) });
        }
    };
    let mut source = Source::journal(journal.clone()).with(from.archived);
    let began = from.snapshot.map_or_else(State::default, State::of);
    Ok(state::onward(&mut source, began, Some(point), |_| {}).await?)
}

/// Starts the actors that reads ask, on this thread.
fn open(state: State, now: Option<Timestamp>) -> Windows {
    let State { world, last, .. } = state;
    let receipt = last.unwrap_or(Receipt(EntryId { seq: 0, h64: 0 }));
    let mark = Mark { index: receipt.0.seq, receipt };
    let clock = Arc::new(Clock::standing_at(now.unwrap_or(world.now).max(world.now)));
    let (court_out, court) = watch::channel(Arc::new(Court::default()));
    Windows {
        policy: PolicyActor::new(world.law.clone(), mark, vec![court_out]).start(),
        queue: QueueActor::of_past(world.line.clone(), world.dead.clone(), mark).start(),
        view: ViewActor::of_past(world, mark, clock.clone()).start(),
        judges: Judges::new(court),
        clock,
    }
}

/// Waits until nobody has asked for a past for long, and lets go of it.
async fn forget(kept: &Mutex<Vec<Kept>>, key: Key) {
    loop {
        sleep(IDLE).await;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        drop_idle(&mut kept, Instant::now());
        if kept.iter().all(|kept| kept.key != key) {
            return;
        }
    }
}

fn drop_idle(kept: &mut Vec<Kept>, now: Instant) {
    kept.retain(|kept| now.duration_since(kept.used) < IDLE);
}

#[cfg(test)]
mod tests {
    use journal::MemoryJournal;

    use super::*;

    fn empty(now: u64) -> Key {
        Key { sequence: 0, now: Some(Timestamp(now)) }
    }

    async fn ask(pasts: &Pasts, now: u64) -> Result<Windows, NoPast> {
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
        pasts.windows(empty(now), &journal).await
    }

    fn kept(pasts: &Pasts) -> Vec<Key> {
        pasts.kept().iter().map(|kept| kept.key).collect()
    }

    #[actix_web::test]
    async fn one_past_is_folded_at_a_time_and_whoever_asks_for_the_same_waits_for_it() {
        let pasts = Pasts::default();
        let (one, other) = tokio::join!(ask(&pasts, 7), ask(&pasts, 7));
        assert_eq!(one.expect("folded").clock.now(), Timestamp(7));
        assert!(other.is_ok(), "it waited");
        let turn = pasts.folds.clone().try_acquire_owned().expect("nobody folds");
        assert!(matches!(ask(&pasts, 8).await, Err(NoPast::Busy)));
        assert!(ask(&pasts, 7).await.is_ok(), "what is kept takes no turn");
        drop(turn);
        assert!(ask(&pasts, 8).await.is_ok());
        assert_eq!(kept(&pasts), [empty(7), empty(8)], "nothing is left of what failed");
    }

    #[actix_web::test]
    async fn the_least_used_past_goes_first_and_idle_ones_go_at_all() {
        let pasts = Pasts::default();
        for (now, left) in [(1, vec![1]), (2, vec![1, 2]), (1, vec![2, 1]), (3, vec![1, 3])] {
            ask(&pasts, now).await.map(drop).expect("a past");
            assert_eq!(kept(&pasts), left.into_iter().map(empty).collect::<Vec<_>>());
        }
        let began = Instant::now();
        drop_idle(&mut pasts.kept(), began + IDLE / 2);
        assert_eq!(kept(&pasts).len(), 2);
        drop_idle(&mut pasts.kept(), began + 2 * IDLE);
        assert_eq!(kept(&pasts), []);
    }
}

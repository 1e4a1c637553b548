//! Replay at the start: the journal, folded into a World.

use std::sync::Arc;

use domain::ids::Sequence;
use domain::{Event, World};
use journal::{Cursor, Journal, ReadError, Tail, Trouble, catalog};
use olympus_actors::Mark;
use tokio::sync::mpsc;

/// What a replay came to.
#[derive(Debug)]
pub struct Recovered {
    /// All state.
    pub world: World,
    /// Where the journal ends.
    pub tail: Tail,
    /// The same, as answers say it.
    pub mark: Mark,
    /// Events folded.
    pub events: u64,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The journal could not be read now.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// An entry is damaged, foreign, or newer than this program.
    #[error("{0}")]
    Refused(String),
}

/// Events handed from the reader to the fold at once: a hand-over costs as much as a few events.
const HANDED_OVER: usize = 1_024;

/// Folds the whole journal: reads and decodes here, folds on a thread of its own.
///
/// # Errors
/// The first entry that can't be read or decoded, by its number.
pub async fn recover(journal: &Arc<dyn Journal>, tail: Tail) -> Result<Recovered, RecoverError> {
    let (to_fold, mut decoded) = mpsc::channel::<Vec<(Sequence, Event)>>(2);
    let fold = tokio::task::spawn_blocking(move || {
        let mut world = World::default();
        while let Some(events) = decoded.blocking_recv() {
            for (index, event) in events {
                world.evolve(index, &event);
            }
        }
        world
    });
    let stopped = || RecoverError::Refused("the thread that folds the journal has ended".into());
    let mut cursor = Cursor::start(tail.identity);
    let (mut events, mut next) = (0, Vec::with_capacity(HANDED_OVER));
    loop {
        let page = match journal.read(&cursor).await {
            Ok(page) => page,
            Err(ReadError::Trouble(trouble)) => return Err(trouble.into()),
            Err(ReadError::Damaged(damaged)) => {
                return Err(RecoverError::Refused(format!(
                    "{damaged}: restore the data of Redis from a backup that is whole"
                )));
            }
        };
        if page.entries.is_empty() {
            break;
        }
        for entry in &page.entries {
            for event in catalog::events(entry) {
                let (_, event) = event.map_err(|e| RecoverError::Refused(e.to_string()))?;
                next.push((entry.seq(), event));
                events += 1;
                if next.len() == HANDED_OVER {
                    let full = std::mem::replace(&mut next, Vec::with_capacity(HANDED_OVER));
                    to_fold.send(full).await.map_err(|_| stopped())?;
                }
            }
        }
        cursor = page.next;
    }
    to_fold.send(next).await.map_err(|_| stopped())?;
    drop(to_fold);
    let world = fold.await.map_err(|_| stopped())?;
    let tail = cursor.tail().ok_or_else(|| RecoverError::Refused("the journal is empty".into()))?;
    let id = tail.position.id();
    let mark = Mark { index: id.seq, receipt: journal::Receipt(id) };
    Ok(Recovered { world, tail, mark, events })
}

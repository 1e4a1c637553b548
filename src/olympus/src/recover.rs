//! Replay at the start: the journal, folded into a World.

use std::sync::Arc;

use domain::World;
use journal::{Cursor, Journal, ReadError, Tail, Trouble, catalog};
use olympus_actors::Mark;

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

/// Folds the whole journal.
///
/// # Errors
/// The first entry that can't be read or decoded, by its number.
pub async fn recover(journal: &Arc<dyn Journal>, tail: Tail) -> Result<Recovered, RecoverError> {
    let mut world = World::default();
    let mut cursor = Cursor::start(tail.identity);
    let mut events = 0;
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
                world.evolve(entry.seq(), &event);
                events += 1;
            }
        }
        cursor = page.next;
    }
    let tail = cursor.tail().ok_or_else(|| RecoverError::Refused("the journal is empty".into()))?;
    let id = tail.position.id();
    let mark = Mark { index: id.seq, receipt: journal::Receipt(id) };
    Ok(Recovered { world, tail, mark, events })
}

//! Replay at the start: the newest snapshot that is on the chain, and the journal behind it, folded
//! into a World.
//!
//! Owns:   which snapshot a start goes on from.
//! Never:  goes on from a state whose entry is not this journal's, or over entries that are missing.
//! Fails:  where the journal was trimmed, neither snapshots nor the archive reach back to it, and no
//!         other instance lends a snapshot; where a snapshot is of an entry that the journal lost.
//! Proof:  `tests/tests/kept`.

use std::sync::Arc;

use domain::ids::Sequence;
use domain::{Event, World};
use journal::{CheckError, Cursor, Entry, Journal, Tail, Trouble, catalog};
use olympus_actors::Mark;
use replay::Point;
use replay::archive::{Archive, Archived};
use replay::snapshot::{Found, Loaded, load_or_say};
use replay::source::{Over, Source, Unreadable};

use crate::aside::{Folding, Gone, aside};
use crate::keep::{Keeping, lent};

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
    /// Bytes of the entries that held them.
    pub bytes: u64,
    /// The entry of the snapshot that it went on from; 0 without one.
    pub snapshot: Sequence,
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
    /// Entries have left Redis that neither a snapshot nor the archive has.
    #[error("{0}")]
    OutOfReach(String),
}

impl From<CheckError> for RecoverError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Trouble(trouble) => Self::Trouble(trouble),
            CheckError::Refused(refusal) => Self::Refused(refusal.to_string()),
        }
    }
}

/// Events handed from the reader to the fold at once: a hand-over costs as much as a few events.
const HANDED_OVER: usize = 1_024;

/// Folds the journal up to its end, from the newest snapshot that can be used: reads and decodes
/// here, folds on a thread of its own.
///
/// # Errors
/// The first entry that can't be read or decoded, by its number.
pub async fn recover(
    journal: &Arc<dyn Journal>,
    tail: Tail,
    keeping: Option<&Keeping>,
) -> Result<Recovered, RecoverError> {
    let (from, tail) = match (start(journal, tail, keeping, None).await, keeping) {
        (Err(RecoverError::OutOfReach(why)), Some(keeping)) => {
            lent::fetch(keeping, journal)
                .await
                .map_err(|none| RecoverError::OutOfReach(format!("{why}. And {none}")))?;
            // It may be of an entry that was not there yet.
            let tail = journal.check().await?;
            (start(journal, tail, Some(keeping), None).await?, tail)
        }
        (from, _) => (from?, tail),
    };
    let mut source = Source::journal(journal.clone()).with(from.archived);
    let (mut world, mut cursor) = (World::default(), Cursor::start(tail.identity));
    let mut snapshot = 0;
    if let Some(loaded) = from.snapshot {
        snapshot = loaded.tail().position.seq;
        cursor = Cursor::at(loaded.tail());
        source.go_on(loaded.tail());
        world = loaded.world;
    }
    let mut fold = Folding::of(world, |world: &mut World, events: Vec<(Sequence, Event)>| {
        for (index, event) in events {
            world.evolve(index, &event);
        }
    });
    let stopped =
        |Gone| RecoverError::Refused("the thread that folds the journal has ended".into());
    let (mut events, mut bytes, mut next) = (0, 0, Vec::with_capacity(HANDED_OVER));
    let mut last = cursor.tail();
    loop {
        let (page, over) = source.page().await;
        for entry in &page {
            bytes += entry.bytes().len() as u64;
            for event in catalog::events(entry) {
                let (_, event) = event.map_err(|e| RecoverError::Refused(e.to_string()))?;
                next.push((entry.seq(), event));
                events += 1;
                if next.len() == HANDED_OVER {
                    let full = std::mem::replace(&mut next, Vec::with_capacity(HANDED_OVER));
                    fold.piece(full).await.map_err(stopped)?;
                }
            }
        }
        last = page.last().map(Entry::tail).or(last);
        match over {
            None => {}
            Some(Over::End) => break,
            Some(Over::Trouble(Unreadable::Journal(trouble))) => return Err(trouble.into()),
            Some(Over::Trouble(other)) => return Err(RecoverError::Refused(other.to_string())),
            Some(Over::Bad(finding)) => {
                return Err(RecoverError::Refused(format!(
                    "journal {finding}: restore the data of Redis from a backup that is whole"
                )));
            }
        }
    }
    fold.piece(next).await.map_err(stopped)?;
    let world = fold.end().await.map_err(stopped)?;
    let tail = last.filter(|tail| tail.position.seq > 0);
    let tail = tail.ok_or_else(|| RecoverError::Refused("the journal is empty".into()))?;
    let id = tail.position.id();
    let mark = Mark { index: id.seq, receipt: journal::Receipt(id) };
    Ok(Recovered { world, tail, mark, events, bytes, snapshot })
}

/// Where a start, or a look at the past, goes on from.
pub struct Start {
    /// None: from the first entry.
    pub snapshot: Option<Loaded>,
    /// What has left the journal, where it is needed.
    pub archived: Option<Archived>,
}

/// The newest snapshot that can be gone on from, and is not later than a point.
///
/// # Errors
/// Neither a snapshot nor the archive reaches what is left of the journal.
pub async fn start(
    journal: &Arc<dyn Journal>,
    tail: Tail,
    keeping: Option<&Keeping>,
    until: Option<Point>,
) -> Result<Start, RecoverError> {
    let oldest = journal.stored(1, 1).await?.into_iter().next();
    let oldest = oldest.and_then(|(id, bytes)| Entry::parse(id, bytes).ok());
    let Some((keeping, oldest)) = keeping.zip(oldest) else {
        return Ok(Start { snapshot: None, archived: None });
    };
    let (mut archived, mut why) = (None, None);
    let first = oldest.seq();
    if first > 1 {
        let open =
            async { Archived::of(Archive::open(&keeping.archive)?, Some(tail.identity)).await };
        match open.await {
            Ok(found) => archived = Some(found),
            Err(error) => why = Some(error.to_string()),
        }
    }
    let store = keeping.snapshots.clone();
    let identity = Some(tail.identity);
    let candidates = aside(move || store.candidates(identity, until)).await;
    for found in candidates.unwrap_or_default() {
        if !follows(journal, tail, &oldest, archived.as_ref(), &found).await? {
            log::warn!(
                path:% = found.path.display();
                "pass over a snapshot: neither the journal nor the archive goes on from it"
            );
            continue;
        }
        let loaded = aside(move || load_or_say(&found)).await.ok().flatten();
        if loaded.is_some() {
            return Ok(Start { snapshot: loaded, archived });
        }
    }
    let reached = archived.as_ref().map_or(1, |archived| archived.covers_until(1));
    if reached >= first {
        return Ok(Start { snapshot: None, archived });
    }
    let has = why.unwrap_or_else(|| {
        format!("the archive at {} ends before entry {reached}", keeping.archive)
    });
    Err(RecoverError::OutOfReach(format!(
        "the journal begins with entry {first}, no snapshot in {} goes on to it, and {has}: restore \
         the snapshots, or name the archive that has entries up to {} (TARTARUS_ARCHIVE)",
        keeping.snapshots.dir().display(),
        first - 1
    )))
}

/// Whether this journal, with what its archive has, goes on from a snapshot.
async fn follows(
    journal: &Arc<dyn Journal>,
    tail: Tail,
    oldest: &Entry,
    archived: Option<&Archived>,
    found: &Found,
) -> Result<bool, RecoverError> {
    let Ok(header) = found.header() else { return Ok(false) };
    let (seq, first) = (header.tail.position.seq, oldest.seq());
    if seq >= first {
        // What was decided after it is lost: nobody but an operator may say that it shall be.
        if seq > tail.position.seq || !journal.contains(header.id()).await? {
            return Err(RecoverError::Refused(format!(
                "{} is the state after entry {}, which the journal does not have (it ends with \
                 entry {}): Redis lost entries, or is restored from an older backup; restore newer \
                 data, or move that file away to go on without what was lost",
                found.path.display(),
                journal::Receipt(header.id()),
                journal::Receipt(tail.position.id()),
            )));
        }
        return Ok(true);
    }
    if seq + 1 == first {
        return Ok(oldest.header().prev == header.tail.position.hash);
    }
    let Some(archived) = archived.filter(|archived| archived.covers_until(seq + 1) >= first) else {
        return Ok(false);
    };
    match archived.stored(&Cursor::at(header.tail)).await {
        Ok(entries) => Ok(!entries.is_empty()),
        Err(error) => {
            log::warn!(error:% = error; "could not read the archive");
            Ok(false)
        }
    }
}

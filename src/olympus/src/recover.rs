//! Replay at the start: the newest snapshot that is on the chain, and the journal behind it, folded
//! into a World.
//!
//! Owns:   which snapshot a start goes on from.
//! Never:  goes on from a state whose entry is not this journal's, or over entries that are missing.
//! Fails:  where the journal was trimmed, neither snapshots nor the archive reach back to it, and no
//!         other instance lends a snapshot; where a snapshot is of an entry that the journal lost.
//! Proof:  `tests/tests/kept`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use domain::World;
use domain::ids::Sequence;
use domain::runs::Runs;
use journal::catalog::UnreadableRecord;
use journal::{CheckError, Cursor, Entry, Journal, Tail, Trouble};
use olympus_actors::Mark;
use replay::Point;
use replay::archive::{Archive, Archived};
use replay::fold::{self, FoldMade, Tell, Told};
use replay::snapshot::{Found, Loaded, load_or_say};
use replay::source::{Over, Source, Unreadable};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::aside::{aside, is_all_here};
use crate::keep::Keeping;
use crate::keep::lent::{self, NotLent};

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
    /// The same, and another instance may lend one in a moment.
    #[error("{0}")]
    NotNow(String),
}

impl From<CheckError> for RecoverError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Trouble(trouble) => Self::Trouble(trouble),
            CheckError::Refused(refusal) => Self::Refused(refusal.to_string()),
        }
    }
}

/// A World being folded, its runs beside.
struct Recovering {
    /// But for its runs.
    world: World,
    runs: Beside,
    last: Option<Tail>,
    events: u64,
    bytes: u64,
    bad: Option<UnreadableRecord>,
}

impl Recovering {
    /// Goes on from a state, after the entry that it is of.
    fn from(mut world: World, last: Option<Tail>) -> Self {
        let runs = Beside::of(std::mem::take(&mut world.runs));
        Self { world, runs, last, events: 0, bytes: 0, bad: None }
    }
}

impl FoldMade<Told> for Recovering {
    fn made(&mut self, made: Vec<Told>) -> bool {
        let made = Arc::new(made);
        self.runs.take(&made);
        for Told { entry, events, fault } in &*made {
            events.iter().for_each(|happened| self.world.evolve_all_but_runs(&happened.event));
            self.events += events.len() as u64;
            self.bytes += entry.bytes().len() as u64;
            self.last = Some(entry.tail());
            if fault.is_some() {
                self.bad.clone_from(fault);
                return false;
            }
        }
        true
    }
}

/// The runs of a World, folded by a thread of their own where there may be one.
enum Beside {
    Here(Runs),
    Aside(mpsc::Sender<Arc<Vec<Told>>>, JoinHandle<Runs>),
}

impl Beside {
    fn of(mut runs: Runs) -> Self {
        if is_all_here() {
            return Self::Here(runs);
        }
        let (to, mut made) = mpsc::channel::<Arc<Vec<Told>>>(2);
        let folding = spawn_blocking(move || {
            while let Some(made) = made.blocking_recv() {
                fold_runs(&mut runs, &made);
            }
            runs
        });
        Self::Aside(to, folding)
    }

    fn take(&mut self, made: &Arc<Vec<Told>>) {
        match self {
            Self::Here(runs) => fold_runs(runs, made),
            // A thread that has panicked says so at the end.
            Self::Aside(to, _) => drop(to.blocking_send(made.clone())),
        }
    }

    async fn end(self) -> Option<Runs> {
        match self {
            Self::Here(runs) => Some(runs),
            Self::Aside(to, folding) => {
                drop(to);
                folding.await.ok()
            }
        }
    }
}

fn fold_runs(runs: &mut Runs, made: &[Told]) {
    for Told { entry, events, .. } in made {
        events.iter().for_each(|happened| runs.evolve(entry.seq(), &happened.event));
    }
}

/// Folds the journal up to its end, from the newest snapshot that can be used.
///
/// # Errors
/// The first entry that can't be read or decoded, by its number.
pub async fn recover(
    journal: &Arc<dyn Journal>,
    tail: Tail,
    keeping: Option<&Keeping>,
) -> Result<Recovered, RecoverError> {
    let from = match (start(journal, tail, keeping, None).await, keeping) {
        (Err(RecoverError::OutOfReach(why)), Some(keeping)) => {
            lent::fetch(keeping, journal, &AtomicBool::new(false)).await.map_err(
                |none| match none {
                    NotLent::Trouble(trouble) => trouble.into(),
                    NotLent::Now(what) => RecoverError::NotNow(format!("{why}. And {what}")),
                    NotLent::AtAll(what) => RecoverError::OutOfReach(format!("{why}. And {what}")),
                },
            )?;
            // It may be of an entry that was not there yet.
            let tail = journal.check().await?;
            start(journal, tail, Some(keeping), None).await?
        }
        (from, _) => from?,
    };
    let mut source = Source::journal(journal.clone()).with(from.archived);
    let mut snapshot = 0;
    let began = match from.snapshot {
        Some(loaded) => {
            snapshot = loaded.tail().position.seq;
            source.go_on(loaded.tail());
            let last = Some(loaded.tail());
            Recovering::from(loaded.world, last)
        }
        None => Recovering::from(World::default(), None),
    };
    let (recovered, over) = fold::prepared(&mut source, Tell, began, |_| {}).await;
    let Recovering { mut world, runs, last, events, bytes, bad } = recovered;
    let stopped = || RecoverError::Refused("the thread that folds the runs has ended".into());
    world.runs = runs.end().await.ok_or_else(stopped)?;
    if let Some(bad) = bad {
        return Err(RecoverError::Refused(bad.to_string()));
    }
    match over {
        Over::End => {}
        Over::Trouble(Unreadable::Journal(trouble)) => return Err(trouble.into()),
        Over::Trouble(other) => return Err(RecoverError::Refused(other.to_string())),
        Over::Bad(finding) => {
            return Err(RecoverError::Refused(format!(
                "journal {finding}: restore the data of Redis from a backup that is whole"
            )));
        }
    }
    let tail = last.ok_or_else(|| RecoverError::Refused("the journal is empty".into()))?;
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

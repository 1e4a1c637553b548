//! A snapshot: the newest good one, and the journal behind it up to an entry.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::World;
use domain::ids::{Digest, Sequence};
use journal::{Identity, Journal, Tail};
use replay::archive::{Archive, Archived};
use replay::fold::{self, FoldMade, Happened, Tell, Told};
use replay::snapshot::load_or_say;
use replay::source::{Over, Source};

use super::{Keeping, Undone};

/// What was made.
pub(super) struct Made {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) path: PathBuf,
    pub(super) runs: usize,
    /// The entry of the snapshot before; 0 without one.
    pub(super) from: Sequence,
    pub(super) events: u64,
}

/// Folds the journal up to an entry, and stores the state there.
pub(super) async fn make(
    keeping: &Keeping,
    journal: Arc<dyn Journal>,
    identity: Identity,
    index: Sequence,
    over: &Arc<AtomicBool>,
) -> Result<Made, Undone> {
    let mut source = Source::journal(journal.clone());
    let (mut world, mut tail, mut from) = (World::default(), None, 0);
    for found in keeping.snapshots.candidates(Some(identity), None) {
        // Of the chain that this very instance follows: it was asked at the start, and by the fold.
        let Some(loaded) = (found.id.seq < index).then(|| load_or_say(&found)).flatten() else {
            continue;
        };
        from = loaded.tail().position.seq;
        source.go_on(loaded.tail());
        (world, tail) = (loaded.world, Some(loaded.header.tail));
        break;
    }
    let next = tail.map_or(1, |tail: Tail| tail.position.seq + 1);
    let oldest = journal.stored(1, 1).await?.first().map_or(1, |(id, _)| id.seq);
    if next < oldest {
        let out_of_reach = |why: String| {
            let last = oldest - 1;
            Undone::OutOfReach(format!("entries {next} to {last} have left Redis, and {why}"))
        };
        let open = async { Archived::of(Archive::open(&keeping.archive)?, Some(identity)).await };
        let archived = open.await.map_err(|error| out_of_reach(error.to_string()))?;
        let covers = archived.covers_until(next);
        if covers < oldest {
            let place = &keeping.archive;
            return Err(out_of_reach(format!("the archive at {place} ends before entry {covers}")));
        }
        source = source.with(Some(archived));
    }
    let state = UpTo { world, tail, index, events: 0, bad: None, over: over.clone() };
    let (state, read) = fold::prepared(&mut source, Tell, state, |_| {}).await;
    if over.load(Ordering::Relaxed) {
        return Err(Undone::Over);
    }
    if let Some(bad) = state.bad {
        return Err(Undone::Other(bad));
    }
    let Some(tail) = state.tail.filter(|tail| tail.position.seq == index) else {
        return Err(match read {
            Over::Trouble(unreadable) => unreadable.into(),
            Over::Bad(finding) => Undone::Other(finding.to_string()),
            Over::End => Undone::Other(format!("the journal ends before entry {index}")),
        });
    };
    let (found, digest, bytes) = keeping.snapshots.store(tail, &state.world)?;
    let (runs, events) = (state.world.runs.len(), state.events);
    Ok(Made { digest, bytes, path: found.path, runs, from, events })
}

struct UpTo {
    world: World,
    tail: Option<Tail>,
    index: Sequence,
    events: u64,
    bad: Option<String>,
    over: Arc<AtomicBool>,
}

impl FoldMade<Told> for UpTo {
    fn made(&mut self, made: Vec<Told>) -> bool {
        made.iter().all(|told| self.told(told))
    }
}

impl UpTo {
    fn told(&mut self, Told { entry, events, fault }: &Told) -> bool {
        for Happened { event, .. } in events {
            self.world.evolve(entry.seq(), event);
        }
        self.events += events.len() as u64;
        if let Some(fault) = fault {
            self.bad = Some(fault.to_string());
            return false;
        }
        self.tail = Some(entry.tail());
        entry.seq() < self.index && !self.over.load(Ordering::Relaxed)
    }
}

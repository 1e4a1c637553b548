//! Typhon: the quarantine ledger, as a fold of the journal.
//!
//! Owns:   every run that a judge, or the loss of its nodes, sent to quarantine, how it stands there,
//!         and what an operator did.
//! Never:  says why: the run itself does, and is remembered as long.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::{Event, Next, Principal};
use crate::ids::{RunId, Timestamp};
use crate::law::Verdict;

/// How a run stands in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// It waits for a quarantine node.
    Waiting,
    /// It is on one.
    Running,
    /// It ended there, or was cancelled.
    Ended,
    /// An operator let it go. What became of it then, the run itself says.
    Released,
    /// An operator rejected it, or it was never let in.
    Rejected,
}

impl Stand {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Running, Self::Ended, Self::Released, Self::Rejected];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Released => "released",
            Self::Rejected => "rejected",
        }
    }
}

/// A run in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Since when.
    pub since: Timestamp,
    /// Whose it is.
    pub tenant: Box<str>,
    /// How it stands.
    pub stand: Stand,
    /// Whether it was let in; otherwise it was rejected for want of quarantine.
    pub admitted: bool,
    /// What an operator did about it while it waited.
    pub resolved: Option<Resolved>,
}

/// What an operator did about a run that waited in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Principal,
    /// Why, in the operator's words.
    pub reason: Box<str>,
    /// Whether it was let go; otherwise it was rejected.
    pub released: bool,
}

/// Every run that was sent to quarantine, until it is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    entries: BTreeMap<RunId, Entry>,
    /// Those that are not over: an operator looks for them among many that are.
    open: BTreeMap<Stand, BTreeSet<RunId>>,
    counts: BTreeMap<Stand, u64>,
}

/// Whether a run that stands like this can still be found among few.
fn is_open(stand: Stand) -> bool {
    match stand {
        Stand::Waiting | Stand::Running => true,
        Stand::Ended | Stand::Released | Stand::Rejected => false,
    }
}

impl Ledger {
    /// Entries before `before`, newest first; where only those that stand in one way are asked for,
    /// others may be among them.
    pub fn newest_first<'a>(
        &'a self,
        stand: Option<Stand>,
        before: Option<RunId>,
    ) -> Box<dyn Iterator<Item = (RunId, &'a Entry)> + 'a> {
        if let Some(stand) = stand.filter(|stand| is_open(*stand)) {
            let Some(runs) = self.open.get(&stand) else { return Box::new(std::iter::empty()) };
            let range = match before {
                Some(run) => runs.range(..run),
                None => runs.range(..),
            };
            return Box::new(range.rev().filter_map(|run| Some((*run, self.entries.get(run)?))));
        }
        let range = match before {
            Some(run) => self.entries.range(..run),
            None => self.entries.range(..),
        };
        Box::new(range.rev().map(|(run, entry)| (*run, entry)))
    }

    /// How many stand like this.
    pub fn count(&self, stand: Stand) -> u64 {
        self.counts.get(&stand).copied().unwrap_or(0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Folds an event.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::RunAdmitted(e) if e.judgement.verdict == Verdict::Quarantine => {
                self.enter(e.run, e.at, e.submission.tenant(), true);
            }
            Event::RunRejected(e) if e.judgement.verdict == Verdict::Quarantine => {
                self.enter(e.run, e.at, e.submission.tenant(), false);
            }
            Event::RunForgotten(e) => {
                if let Some(entry) = self.entries.remove(&e.run) {
                    self.uncount(e.run, entry.stand);
                }
            }
            Event::RunAssigned(e) => self.turn(e.run, Stand::Running),
            Event::RunFinished(e) => self.next(e.run, e.next),
            Event::RunLost(e) => self.next(e.run, e.next),
            Event::RunCanceled(e) => self.turn(e.run, Stand::Ended),
            Event::RunReleased(e) => {
                self.turn(e.run, Stand::Released);
                self.resolve(e.run, e.at, &e.origin.by, &e.reason, true);
            }
            Event::RunRefused(e) => {
                self.turn(e.run, Stand::Rejected);
                self.resolve(e.run, e.at, &e.origin.by, &e.reason, false);
            }
            Event::RunQuarantined(e) => self.enter(e.run, e.at, &e.tenant, true),
            Event::RunAdmitted(_)
            | Event::RunRejected(_)
            | Event::LeaderStarted(_)
            | Event::RunStarted(_)
            | Event::RunCancelRequested(_)
            | Event::NodeJoined(_)
            | Event::NodeLost(_)
            | Event::PolicyPut(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::RunEvicted(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_) => {}
        }
    }

    fn enter(&mut self, run: RunId, since: Timestamp, tenant: &str, admitted: bool) {
        let stand = if admitted { Stand::Waiting } else { Stand::Rejected };
        let tenant = tenant.into();
        self.entries.insert(run, Entry { since, tenant, stand, admitted, resolved: None });
        self.count_in(run, stand);
    }

    fn next(&mut self, run: RunId, next: Next) {
        self.turn(
            run,
            match next {
                Next::Again { .. } => Stand::Waiting,
                Next::End(_) => Stand::Ended,
            },
        );
    }

    /// Another stand, unless it is over.
    fn turn(&mut self, run: RunId, to: Stand) {
        let Some(entry) = self.entries.get_mut(&run).filter(|entry| is_open(entry.stand)) else {
            return;
        };
        let from = std::mem::replace(&mut entry.stand, to);
        self.uncount(run, from);
        self.count_in(run, to);
    }

    fn count_in(&mut self, run: RunId, stand: Stand) {
        *self.counts.entry(stand).or_default() += 1;
        if is_open(stand) {
            self.open.entry(stand).or_default().insert(run);
        }
    }

    fn uncount(&mut self, run: RunId, stand: Stand) {
        if let Some(count) = self.counts.get_mut(&stand) {
            *count -= 1;
        }
        if let Some(runs) = self.open.get_mut(&stand) {
            runs.remove(&run);
        }
    }

    fn resolve(&mut self, run: RunId, at: Timestamp, by: &Principal, reason: &str, released: bool) {
        if let Some(entry) = self.entries.get_mut(&run) {
            let (by, reason) = (by.clone(), reason.into());
            entry.resolved = Some(Resolved { at, by, reason, released });
        }
    }
}

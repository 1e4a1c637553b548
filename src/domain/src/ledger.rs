//! Typhon: the quarantine ledger, as a fold of the journal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Principal};
use crate::ids::{RunId, Timestamp};
use crate::law::Verdict;

/// A run in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Since when.
    pub since: Timestamp,
    /// Why, as the judges said it.
    pub reasons: Vec<Box<str>>,
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

/// Every run that a judge sent to quarantine, until it is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    entries: BTreeMap<RunId, Entry>,
}

impl Ledger {
    /// Entries before `before`, newest first.
    pub fn newest_first(
        &self,
        before: Option<RunId>,
    ) -> impl Iterator<Item = (RunId, &Entry)> + '_ {
        let range = match before {
            Some(run) => self.entries.range(..run),
            None => self.entries.range(..),
        };
        range.rev().map(|(run, entry)| (*run, entry))
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
        let (run, since, judgement, admitted) = match event {
            Event::RunAdmitted(e) => (e.run, e.at, &e.judgement, true),
            Event::RunRejected(e) => (e.run, e.at, &e.judgement, false),
            Event::RunForgotten(e) => {
                self.entries.remove(&e.run);
                return;
            }
            Event::RunReleased(e) => {
                return self.resolve(e.run, e.at, &e.origin.by, &e.reason, true);
            }
            Event::RunRefused(e) => {
                return self.resolve(e.run, e.at, &e.origin.by, &e.reason, false);
            }
            Event::LeaderStarted(_)
            | Event::RunAssigned(_)
            | Event::RunStarted(_)
            | Event::RunFinished(_)
            | Event::RunLost(_)
            | Event::RunCancelRequested(_)
            | Event::RunCanceled(_)
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
            | Event::RunEvicted(_) => return,
        };
        if judgement.verdict == Verdict::Quarantine {
            let reasons = judgement.reasons().map(String::into_boxed_str).collect();
            self.entries.insert(run, Entry { since, reasons, admitted, resolved: None });
        }
    }

    fn resolve(&mut self, run: RunId, at: Timestamp, by: &Principal, reason: &str, released: bool) {
        if let Some(entry) = self.entries.get_mut(&run) {
            let (by, reason) = (by.clone(), reason.into());
            entry.resolved = Some(Resolved { at, by, reason, released });
        }
    }
}

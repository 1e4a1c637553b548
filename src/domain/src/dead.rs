//! The dead letters: runs that ended because no attempt was left, as a fold of the journal.
//!
//! Owns:   since when each is dead, of what, and the run that it became by a redrive.
//! Never:  says whose it is or what it was to do: its run does, and is remembered as long.
//! Proof:  Q-3 in [`crate::invariants`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::command::Refusal;
use crate::event::{End, Event, FailReason, Next};
use crate::ids::{RunId, Timestamp};
use crate::runs::Outcome;

/// A run out of attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Since when.
    pub since: Timestamp,
    /// Number of its last attempt.
    pub attempts: u32,
    /// What became of that.
    pub last: Outcome,
    /// The run that it became by a redrive.
    pub redriven_as: Option<RunId>,
}

/// Every run out of attempts, until it is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetters {
    letters: BTreeMap<RunId, Letter>,
    /// Those that no redrive has taken: an operator looks for them.
    waiting: BTreeSet<RunId>,
}

impl DeadLetters {
    /// A dead letter.
    pub fn get(&self, run: RunId) -> Option<&Letter> {
        self.letters.get(&run)
    }

    /// Dead letters before `before`, newest run first: those that wait for a redrive, or those that
    /// had one; of the latter, others may be among them.
    pub fn newest_first<'a>(
        &'a self,
        redriven: bool,
        before: Option<RunId>,
    ) -> Box<dyn Iterator<Item = (RunId, &'a Letter)> + 'a> {
        if redriven {
            let range = match before {
                Some(run) => self.letters.range(..run),
                None => self.letters.range(..),
            };
            return Box::new(range.rev().map(|(run, letter)| (*run, letter)));
        }
        let range = match before {
            Some(run) => self.waiting.range(..run),
            None => self.waiting.range(..),
        };
        Box::new(range.rev().filter_map(|run| Some((*run, self.letters.get(run)?))))
    }

    /// How many wait for a redrive.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many there are, with those that had their redrive.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Whether a run may be redriven: once, and only from here.
    ///
    /// # Errors
    /// It may not.
    pub fn may_redrive(&self, run: RunId) -> Result<(), Refusal> {
        match self.letters.get(&run).map(|letter| letter.redriven_as) {
            Some(None) => Ok(()),
            Some(Some(redriven_as)) => Err(Refusal::Redriven { run, redriven_as }),
            None => Err(Refusal::NotDead(run)),
        }
    }

    /// Folds an event.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::RunFinished(e) if e.next == OUT => {
                let last = Outcome::Ended(e.exit.cause, e.exit.code);
                self.enter(e.run, e.at, e.attempt, last);
            }
            Event::RunLost(e) if e.next == OUT => {
                self.enter(e.run, e.at, e.attempt, Outcome::Lost(e.cause));
            }
            Event::RunAdmitted(e) => {
                if let Some(dead) = e.redrive_of
                    && let Some(letter) = self.letters.get_mut(&dead)
                {
                    letter.redriven_as = Some(e.run);
                    self.waiting.remove(&dead);
                }
            }
            Event::RunForgotten(e) => {
                self.letters.remove(&e.run);
                self.waiting.remove(&e.run);
            }
            Event::RunFinished(_)
            | Event::RunLost(_)
            | Event::LeaderStarted(_)
            | Event::RunRejected(_)
            | Event::RunAssigned(_)
            | Event::RunStarted(_)
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
            | Event::RunEvicted(_)
            | Event::RunReleased(_)
            | Event::RunRefused(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_)
            | Event::RunQuarantined(_) => {}
        }
    }

    fn enter(&mut self, run: RunId, since: Timestamp, attempts: u32, last: Outcome) {
        self.letters.insert(run, Letter { since, attempts, last, redriven_as: None });
        self.waiting.insert(run);
    }
}

/// The end that makes a dead letter.
const OUT: Next = Next::End(End::Failed(FailReason::OutOfAttempts));

//! Hades, the state: every run and its life.
//!
//! Owns:   the life of a run as one table of states; finished runs are one packed slice each, and what
//!         was let in and nothing more is its admission.
//! Never:  orders the line or knows a node's room.
//! Proof:  R-1 in [`crate::invariants`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ended::{pack_run, unpack_run, without_key};
use crate::event::{
    End, Event, ExitCause, LostCause, Next, RunAdmitted, RunFinished, RunQuarantined, RunRefused,
    RunRejected, RunReleased,
};
use crate::ids::{NodeId, RunId, Sequence, Timestamp};
use crate::judge::Judgement;
use crate::rows::Rows;
use crate::submission::{Pool, Submission};

/// Where a run is in its life.
///
/// | from | event | to |
/// |---|---|---|
/// | | `run.admitted` | Pending |
/// | | `run.rejected` | Rejected |
/// | Pending | `run.assigned` | Scheduled |
/// | Pending | `run.canceled` | Canceled |
/// | Pending | `run.released` | Pending, in another pool |
/// | Pending | `run.refused` | Rejected |
/// | Scheduled | `run.started` | Running |
/// | Scheduled, Running | `run.finished`, `run.lost` | Pending, Succeeded, Failed or Canceled |
/// | Pending | `run.quarantined` | Pending, in quarantine |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It waits.
    Pending,
    /// It was given to a node.
    Scheduled,
    /// Its program runs.
    Running,
    /// Its program ended with exit code 0.
    Succeeded,
    /// It ended in any other way.
    Failed,
    /// A caller ended it.
    Canceled,
    /// The law refused it.
    Rejected,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Scheduled,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
        Self::Rejected,
    ];

    /// The status' name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Scheduled => "SCHEDULED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
            Self::Rejected => "REJECTED",
        }
    }

    /// Whether nothing changes it any more.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Scheduled | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Canceled | Self::Rejected => true,
        }
    }
}

/// The fact a run began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Birth {
    /// It was let in.
    Admitted(Arc<RunAdmitted>),
    /// It was refused.
    Rejected(Arc<RunRejected>),
}

/// An attempt that ended without ending its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its number.
    pub attempt: u32,
    /// Its node.
    pub node: NodeId,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was reported ended.
    Ended(ExitCause, Option<i32>),
    /// It was not.
    Lost(LostCause),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Ended(ExitCause::Exited, Some(code)) => {
                return write!(f, "exited with code {code}");
            }
            Self::Ended(ExitCause::Exited, None) => "ended by a signal",
            Self::Ended(ExitCause::TimedOut, _) => "its time ran out",
            Self::Ended(ExitCause::OutOfMemory, _) => "out of memory",
            Self::Ended(ExitCause::Canceled, _) => "stopped because the run was cancelled",
            Self::Ended(ExitCause::NotExecutable, _) => "the command can't be executed",
            Self::Ended(ExitCause::SandboxFailed, _) => "the node could not make the sandbox",
            Self::Lost(LostCause::NodeLost) => "lost with its node",
            Self::Lost(LostCause::NodeRestarted) => "lost when its node's agent started anew",
            Self::Lost(LostCause::Unknown) => "given up by its node's agent",
            Self::Lost(LostCause::Drained) => "moved, because its node was drained",
        };
        f.write_str(words)
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// How it began.
    pub birth: Birth,
    /// Where it is in its life.
    pub status: Status,
    /// Number of the latest attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts that failed by themselves.
    pub failures: u32,
    /// Attempts that were lost with their node, or never became a sandbox.
    pub losses: u32,
    /// Of those, the ones that never became a sandbox.
    pub unmade: u32,
    /// Attempts that were ended because their node was drained.
    pub moves: u32,
    /// Whether a caller wants it to end.
    pub cancel_requested: bool,
    /// Node of the latest attempt.
    pub node: Option<NodeId>,
    /// Pool of the latest attempt, and whether it was a fallback.
    pub pool: Option<(Pool, bool)>,
    /// When the latest attempt was assigned.
    pub scheduled_at: Option<Timestamp>,
    /// When the latest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// It does not run before this time.
    pub not_before: Option<Timestamp>,
    /// How the latest attempt that reported ended.
    pub last_exit: Option<Arc<RunFinished>>,
    /// Why the latest attempt was lost, if it was.
    pub last_loss: Option<LostCause>,
    /// How it ended.
    pub end: Option<End>,
    /// Attempts before the latest that ended without ending the run.
    pub past: Vec<Past>,
    /// An operator's word that let it out of quarantine.
    pub released: Option<Arc<RunReleased>>,
    /// An operator's word that rejected it in quarantine.
    pub refused: Option<Arc<RunRefused>>,
    /// Why it went to quarantine after it was let in.
    pub quarantined: Option<Arc<RunQuarantined>>,
    /// The journal entry that changed it last; 0 where the writer runs ahead of the journal.
    pub index: Sequence,
}

impl Run {
    fn born(birth: Birth, status: Status, index: Sequence) -> Self {
        Self {
            birth,
            status,
            attempt: 0,
            failures: 0,
            losses: 0,
            unmade: 0,
            moves: 0,
            cancel_requested: false,
            node: None,
            pool: None,
            scheduled_at: None,
            started_at: None,
            finished_at: None,
            not_before: None,
            last_exit: None,
            last_loss: None,
            end: None,
            past: Vec::new(),
            released: None,
            refused: None,
            quarantined: None,
            index,
        }
    }

    /// Its id.
    pub fn id(&self) -> RunId {
        match &self.birth {
            Birth::Admitted(e) => e.run,
            Birth::Rejected(e) => e.run,
        }
    }

    /// When it was admitted or refused.
    pub fn created_at(&self) -> Timestamp {
        match &self.birth {
            Birth::Admitted(e) => e.at,
            Birth::Rejected(e) => e.at,
        }
    }

    /// What was asked.
    pub fn submission(&self) -> &Submission {
        match &self.birth {
            Birth::Admitted(e) => &e.submission,
            Birth::Rejected(e) => &e.submission,
        }
    }

    /// The dead letter that it repeats.
    pub fn redrive_of(&self) -> Option<RunId> {
        match &self.birth {
            Birth::Admitted(e) => e.redrive_of,
            Birth::Rejected(_) => None,
        }
    }

    /// What the judges said, last.
    pub fn judgement(&self) -> &Judgement {
        match (&self.released, &self.birth) {
            (Some(e), _) => &e.judgement,
            (None, Birth::Admitted(e)) => &e.judgement,
            (None, Birth::Rejected(e)) => &e.judgement,
        }
    }

    /// Whether it may run on quarantine nodes only.
    pub fn is_quarantined(&self) -> bool {
        self.preferred_pool() == Pool::Quarantine
    }

    /// The pool it prefers.
    pub fn preferred_pool(&self) -> Pool {
        match (&self.released, &self.quarantined) {
            (Some(released), _) => released.pool,
            (None, Some(_)) => Pool::Quarantine,
            (None, None) => self.judgement().pool,
        }
    }

    /// What became of the latest attempt; none while it goes on.
    pub fn latest_outcome(&self) -> Option<Outcome> {
        if let Some(cause) = self.last_loss {
            return Some(Outcome::Lost(cause));
        }
        let exit = self.last_exit.as_ref().filter(|exit| exit.attempt == self.attempt)?;
        Some(Outcome::Ended(exit.exit.cause, exit.exit.code))
    }

    fn settle(&mut self, at: Timestamp, next: Next) {
        match next {
            Next::End(end) => {
                self.end = Some(end);
                self.finished_at = Some(at);
                self.status = match end {
                    End::Succeeded => Status::Succeeded,
                    End::Failed(_) => Status::Failed,
                    End::Canceled => Status::Canceled,
                };
            }
            Next::Again { not_before } => {
                if let (Some(outcome), Some(node)) = (self.latest_outcome(), self.node.clone()) {
                    self.past.push(Past { attempt: self.attempt, node, outcome });
                }
                self.status = Status::Pending;
                self.not_before = Some(not_before);
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// It was let in, and nothing more: what waits may be a million runs.
    Fresh {
        admitted: Arc<RunAdmitted>,
        index: Sequence,
    },
    Live(Box<Run>),
    Ended {
        status: Status,
        packed: Box<[u8]>,
    },
}

impl Slot {
    /// What is kept of a run that has not ended.
    pub(crate) fn unfinished(run: Run) -> Self {
        match &run.birth {
            Birth::Admitted(admitted) if run == waits(admitted.clone(), run.index) => {
                Self::Fresh { admitted: admitted.clone(), index: run.index }
            }
            Birth::Admitted(_) | Birth::Rejected(_) => Self::Live(Box::new(run)),
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Fresh { .. } => Status::Pending,
            Self::Live(run) => run.status,
            Self::Ended { status, .. } => *status,
        }
    }
}

/// A run that was let in, and nothing more.
pub(crate) fn waits(admitted: Arc<RunAdmitted>, index: Sequence) -> Run {
    Run::born(Birth::Admitted(admitted), Status::Pending, index)
}

/// Runs that are looked at for a judgement like the next.
const ALIKE: usize = 4;

/// All runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    pub(crate) slots: Rows<RunId, Slot>,
    /// Finished runs by the end of their retention.
    pub(crate) expiring: BTreeSet<(Timestamp, RunId)>,
    pub(crate) counts: BTreeMap<Status, u64>,
}

impl Runs {
    /// A run.
    pub fn get(&self, id: RunId) -> Option<Cow<'_, Run>> {
        match self.slots.get(&id)? {
            Slot::Ended { status, packed } => Some(Cow::Owned(unpack_run(id, *status, packed))),
            Slot::Fresh { .. } | Slot::Live(_) => self.live(id),
        }
    }

    /// A run's status, without unpacking it.
    pub fn status(&self, id: RunId) -> Option<Status> {
        self.slots.get(&id).map(Slot::status)
    }

    /// An unfinished run.
    pub fn live(&self, id: RunId) -> Option<Cow<'_, Run>> {
        match self.slots.get(&id)? {
            Slot::Fresh { admitted, index } => Some(Cow::Owned(waits(admitted.clone(), *index))),
            Slot::Live(run) => Some(Cow::Borrowed(run)),
            Slot::Ended { .. } => None,
        }
    }

    /// Ids and statuses before `before`, newest first; all of them without it.
    pub fn newest_first(
        &self,
        before: Option<RunId>,
    ) -> impl Iterator<Item = (RunId, Status)> + '_ {
        // The greatest number there is names no run: it would be of another version.
        let before = before.unwrap_or(RunId(uuid::Uuid::max()));
        self.slots.before(&before).rev().map(|(id, slot)| (*id, slot.status()))
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many runs have a status.
    pub fn count(&self, status: Status) -> u64 {
        self.counts.get(&status).copied().unwrap_or(0)
    }

    /// The newest id there is: ids only grow.
    pub fn newest(&self) -> Option<RunId> {
        self.slots.last().map(|(id, _)| *id)
    }

    /// What was said of one of the newest runs, where the same is said again: what waits may be a
    /// million runs, and is judged alike by and large.
    pub(crate) fn newest_alike(&self, judgement: &Judgement) -> Option<Arc<Judgement>> {
        let newest = self.slots.iter().rev().take(ALIKE);
        let mut said = newest.filter_map(|(_, slot)| match slot {
            Slot::Fresh { admitted, .. } => Some(&admitted.judgement),
            Slot::Live(_) | Slot::Ended { .. } => None,
        });
        said.find(|said| ***said == *judgement).cloned()
    }

    /// At most `most` finished runs whose retention is over.
    pub fn expired(&self, now: Timestamp, most: usize) -> Vec<RunId> {
        self.expiring
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(most)
            .map(|(_, id)| *id)
            .collect()
    }

    /// Folds an event that landed in journal entry `index`.
    pub fn evolve(&mut self, index: Sequence, event: &Event) {
        match event {
            Event::RunAdmitted(e) => {
                self.insert(e.run, Slot::Fresh { admitted: e.clone(), index });
            }
            Event::RunRejected(e) => {
                let mut run = Run::born(Birth::Rejected(e.clone()), Status::Rejected, index);
                run.finished_at = Some(e.at);
                let slot = ended(&run, &mut self.expiring);
                self.insert(e.run, slot);
            }
            Event::RunAssigned(e) => self.change(e.run, index, |run| {
                run.status = Status::Scheduled;
                run.attempt = e.attempt;
                run.node = Some(e.node.clone());
                run.pool = Some((e.pool, e.fallback));
                run.scheduled_at = Some(e.at);
                run.started_at = None;
                run.not_before = None;
                run.last_loss = None;
            }),
            Event::RunStarted(e) => self.change(e.run, index, |run| {
                run.status = Status::Running;
                run.started_at = Some(e.at);
            }),
            Event::RunFinished(e) => self.change(e.run, index, |run| {
                match (e.exit.cause, e.exit.code) {
                    (ExitCause::SandboxFailed, _) => {
                        run.losses += 1;
                        run.unmade += 1;
                    }
                    (ExitCause::Exited, Some(0)) => {}
                    // A code of 0 is no success where the agent had to end the program.
                    (
                        ExitCause::Exited
                        | ExitCause::TimedOut
                        | ExitCause::OutOfMemory
                        | ExitCause::Canceled
                        | ExitCause::NotExecutable,
                        _,
                    ) => run.failures += 1,
                }
                run.last_exit = Some(e.clone());
                run.settle(e.at, e.next);
            }),
            Event::RunLost(e) => self.change(e.run, index, |run| {
                match e.cause {
                    LostCause::Drained => run.moves += 1,
                    LostCause::NodeLost | LostCause::NodeRestarted | LostCause::Unknown => {
                        run.losses += 1;
                    }
                }
                run.last_loss = Some(e.cause);
                run.settle(e.at, e.next);
            }),
            Event::RunCancelRequested(e) => {
                self.change(e.run, index, |run| run.cancel_requested = true);
            }
            Event::RunCanceled(e) => self.change(e.run, index, |run| {
                run.cancel_requested = true;
                run.settle(e.at, Next::End(End::Canceled));
            }),
            // Nothing of it is the run's own, but whoever waits for a change is told.
            Event::RunEvicted(e) => self.change(e.run, index, |_| {}),
            Event::RunReleased(e) => {
                self.change(e.run, index, |run| run.released = Some(e.clone()));
            }
            Event::RunRefused(e) => self.change(e.run, index, |run| {
                run.refused = Some(e.clone());
                run.status = Status::Rejected;
                run.finished_at = Some(e.at);
            }),
            Event::RunQuarantined(e) => {
                self.change(e.run, index, |run| run.quarantined = Some(e.clone()));
            }
            Event::RunForgotten(e) => {
                if let Some(run) = self.get(e.run).map(Cow::into_owned) {
                    self.expiring.remove(&(expires_at(&run), e.run));
                    self.slots.remove(&e.run);
                    uncount(&mut self.counts, run.status);
                }
            }
            Event::LeaderStarted(_)
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
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_) => {}
        }
    }

    fn insert(&mut self, id: RunId, slot: Slot) {
        *self.counts.entry(slot.status()).or_default() += 1;
        self.slots.insert(id, slot);
    }

    fn change(&mut self, id: RunId, index: Sequence, change: impl FnOnce(&mut Run)) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if let Slot::Fresh { admitted, index } = slot {
            *slot = Slot::Live(Box::new(waits(admitted.clone(), *index)));
        }
        let Slot::Live(run) = slot else { return };
        let before = run.status;
        change(run);
        run.index = index;
        let after = run.status;
        if before != after {
            uncount(&mut self.counts, before);
            *self.counts.entry(after).or_default() += 1;
        }
        if after.is_terminal() {
            let ended = ended(run, &mut self.expiring);
            *slot = ended;
        }
    }
}

/// What is kept of a run that has ended.
fn ended(run: &Run, expiring: &mut BTreeSet<(Timestamp, RunId)>) -> Slot {
    expiring.insert((expires_at(run), run.id()));
    let (status, packed) = (run.status, pack_run(run));
    let unpacked = || unpack_run(run.id(), status, &packed);
    debug_assert_eq!(unpacked(), without_key(run), "nothing else is lost in packing");
    Slot::Ended { status, packed }
}

fn uncount(counts: &mut BTreeMap<Status, u64>, status: Status) {
    if let Some(count) = counts.get_mut(&status) {
        *count -= 1;
    }
}

fn expires_at(run: &Run) -> Timestamp {
    let ended = run.finished_at.unwrap_or(run.created_at());
    ended.plus(run.submission().retention.max_age_ms)
}

//! What must be true after every event, by the ids of the plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{End, Event, FailReason};
use crate::fleet::{Fleet, NodeStatus};
use crate::ids::{NodeId, RunId, Timestamp};
use crate::line::Line;
use crate::placement::{Assignment, allowed};
use crate::runs::{Run, Status};
use crate::submission::{Demand, Pool};
use crate::world::World;

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A finished run changed.
    #[error("R-1: run {0} changed after its end")]
    EndedRunChanged(RunId),
    /// A run has more than one live attempt, or one that does not fit its status.
    #[error("R-2: run {run} is {status:?} with {attempts} live attempts")]
    Attempts {
        /// The run.
        run: RunId,
        /// Its status.
        status: Status,
        /// Attempts on all nodes.
        attempts: usize,
    },
    /// More is set aside on a node than it has, or the sum is wrong.
    #[error("R-3: node {0} has more set aside than it has, or another sum")]
    Allocated(NodeId),
    /// The line and the runs disagree.
    #[error("Q-1: run {0} is pending and not in line, or in line and not pending")]
    Line(RunId),
    /// An earlier run was passed over.
    #[error("Q-2: run {later} goes to node {node}, where {earlier} before it would have fitted")]
    PassedOver {
        /// The run that was passed over.
        earlier: RunId,
        /// The one that goes.
        later: RunId,
        /// Where.
        node: NodeId,
    },
    /// A plan names a run or a node that it can't name.
    #[error("Q-2: the plan sends run {run} to node {node}, which does not hold")]
    Unplannable {
        /// The run.
        run: RunId,
        /// The node.
        node: NodeId,
    },
    /// The dead letters and the runs disagree.
    #[error("Q-3: run {0} is out of attempts and no dead letter, or a dead letter and not so")]
    DeadLetter(RunId),
    /// Their number is not what counting them gives.
    #[error("Q-3: the number of dead letters is not what counting them gives")]
    DeadLetters,
    /// The versions of a policy have a gap.
    #[error("P-1: the versions of policy {0} are not 1, 2, 3")]
    Versions(Box<str>),
    /// The law's revision did not grow by one.
    #[error("P-1: the law went from revision {before} to {after}")]
    Revision {
        /// Before.
        before: u64,
        /// After.
        after: u64,
    },
    /// Quarantine leaks.
    #[error("T-1: run {run} of pool {wanted:?} is on node {node} of pool {found:?}")]
    Quarantine {
        /// The run.
        run: RunId,
        /// The node.
        node: NodeId,
        /// Where it belongs.
        wanted: Pool,
        /// Where it is.
        found: Pool,
    },
    /// A node changed pools under its runs.
    #[error("T-1: node {0} went to another pool with runs on it")]
    PoolChanged(NodeId),
    /// An epoch went back.
    #[error("J-4: epoch {after} after epoch {before}")]
    Epoch {
        /// Before.
        before: u64,
        /// After.
        after: u64,
    },
}

/// What the rules about a step need to know of the state before it: so little that it can be asked
/// of every event of a replay.
#[derive(Clone, Debug)]
pub struct Before {
    /// The run that the event is about, where it had ended.
    ended: Option<Run>,
    revision: u64,
    /// The pool of the node that the event is about.
    pool: Option<Pool>,
    epoch: u64,
}

impl Before {
    /// What matters of a state to an event that is about to be folded.
    pub fn of(world: &World, event: &Event) -> Self {
        let ended =
            event.run().filter(|run| world.runs.status(*run).is_some_and(Status::is_terminal));
        Self {
            ended: ended.and_then(|run| Some(world.runs.get(run)?.into_owned())),
            revision: world.law.current().revision,
            pool: labeled(event).and_then(|id| Some(world.fleet.node(id)?.pool)),
            epoch: world.epoch,
        }
    }

    /// Every rule about the step that folding the event was.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self, event: &Event, after: &World) -> Result<(), Violation> {
        r1(self, after)?;
        p1_revision(self, event, after)?;
        t1_labels(self, event, after)?;
        j4(self, after)
    }
}

/// The node whose labels an event may change.
fn labeled(event: &Event) -> Option<&NodeId> {
    match event {
        Event::NodeJoined(joined) => Some(&joined.node),
        Event::NodeLabeled(labeled) => Some(&labeled.node),
        _ => None,
    }
}

/// a run that has ended never changes (forgetting is the only end after the end).
fn r1(before: &Before, after: &World) -> Result<(), Violation> {
    let Some(ended) = &before.ended else { return Ok(()) };
    match after.runs.get(ended.id()) {
        Some(now) if *now != *ended => Err(Violation::EndedRunChanged(ended.id())),
        Some(_) | None => Ok(()),
    }
}

/// at most one live attempt a run, and exactly one while it is on a node.
pub fn r2(world: &World) -> Result<(), Violation> {
    let mut on_nodes = BTreeMap::<RunId, usize>::new();
    for node in world.fleet.nodes().values() {
        for run in node.attempts.keys() {
            *on_nodes.entry(*run).or_default() += 1;
        }
    }
    for (run, status) in world.runs.newest_first(None) {
        let attempts = on_nodes.get(&run).copied().unwrap_or(0);
        let expected = match status {
            Status::Scheduled | Status::Running => 1,
            Status::Pending
            | Status::Succeeded
            | Status::Failed
            | Status::Canceled
            | Status::Rejected => 0,
        };
        if attempts != expected {
            return Err(Violation::Attempts { run, status, attempts });
        }
    }
    Ok(())
}

/// what is set aside is the sum of the attempts, and never more than a live node has.
pub fn r3(world: &World) -> Result<(), Violation> {
    for (id, node) in world.fleet.nodes() {
        let sum = node.attempts.values().fold(Demand::default(), |sum, a| sum.plus(a.demand));
        let fits = match node.status {
            NodeStatus::Ready => sum.fits(node.joined.capacity),
            NodeStatus::Lost { .. } => true,
        };
        if sum != node.allocated || !fits {
            return Err(Violation::Allocated(id.clone()));
        }
    }
    Ok(())
}

/// a run is in line exactly when it is pending.
pub fn q1(world: &World) -> Result<(), Violation> {
    let in_line: BTreeSet<RunId> = world.line.in_order().into_iter().map(|(_, run)| run).collect();
    for (run, status) in world.runs.newest_first(None) {
        if (status == Status::Pending) != in_line.contains(&run) {
            return Err(Violation::Line(run));
        }
    }
    let unknown = in_line.iter().find(|run| world.runs.status(**run).is_none());
    unknown.map_or(Ok(()), |run| Err(Violation::Line(*run)))
}

/// a plan never passes over an earlier run of the same pool, tenant and priority that would
/// have fitted the same node when its turn came, from where in the line the plan begins: its front,
/// unless the plan before ran out of looks. `now` and the state are those the plan was made
/// from; room is what the plan's own earlier items leave.
pub fn q2(
    line: &Line,
    fleet: &Fleet,
    now: Timestamp,
    plan: &[Assignment],
) -> Result<(), Violation> {
    let mut planned = BTreeSet::new();
    let mut taken = BTreeMap::<&NodeId, Demand>::new();
    for Assignment { run, node: id, .. } in plan {
        let unplannable = || Violation::Unplannable { run: *run, node: id.clone() };
        let item = line.item(*run).filter(|item| item.waiting && item.not_before <= now);
        let (item, node) = item.zip(fleet.node(id)).ok_or_else(unplannable)?;
        let used = taken.entry(id).or_default();
        let free = node.free().minus(*used);
        let holds = node.is_ready() && item.class.demand.fits(free);
        if !holds || allowed(fleet, item, node).is_none() || !planned.insert(*run) {
            return Err(unplannable());
        }
        let same_pool = line.classes().iter().filter(|(class, _)| class.pool == item.class.pool);
        for (_, places) in same_pool.filter(|(class, _)| class.demand.fits(free)) {
            let earlier = places.before(&item.place).find(|(place, earlier)| {
                place.after == item.place.after
                    && !planned.contains(earlier)
                    && line.item(**earlier).is_some_and(|other| {
                        other.tenant == item.tenant
                            && other.not_before <= now
                            && allowed(fleet, other, node).is_some()
                    })
            });
            if let Some((_, earlier)) = earlier {
                let (earlier, later, node) = (*earlier, *run, id.clone());
                return Err(Violation::PassedOver { earlier, later, node });
            }
        }
        *used = used.plus(item.class.demand);
    }
    Ok(())
}

/// the dead letters are the remembered runs that ended for want of attempts, and the run that
/// one became says so.
pub fn q3(world: &World) -> Result<(), Violation> {
    let mut dead = 0;
    for (run, status) in world.runs.newest_first(None) {
        let out = Some(End::Failed(FailReason::OutOfAttempts));
        let failed = status == Status::Failed;
        let out = failed && world.runs.get(run).is_some_and(|run| run.end == out);
        if out != world.dead.get(run).is_some() {
            return Err(Violation::DeadLetter(run));
        }
        dead += usize::from(out);
    }
    let mut waiting = 0;
    for (run, letter) in world.dead.newest_first(true, None) {
        waiting += usize::from(letter.redriven_as.is_none());
        let again = letter.redriven_as.and_then(|again| world.runs.get(again));
        let its_own = again.is_none_or(|again| again.redrive_of() == Some(run));
        if world.runs.status(run).is_none() || !its_own {
            return Err(Violation::DeadLetter(run));
        }
    }
    let counts = (world.dead.len(), world.dead.waiting());
    if counts == (dead, waiting) { Ok(()) } else { Err(Violation::DeadLetters) }
}

/// P-1: versions of a policy are 1, 2, 3 ….
pub fn p1(world: &World) -> Result<(), Violation> {
    for name in world.law.policy_names() {
        let put = world.law.policy_history(name).iter().filter(|v| v.body.is_some());
        if !put.map(|v| v.version).eq(1..world.law.next_policy_version(name)) {
            return Err(Violation::Versions(name.into()));
        }
    }
    Ok(())
}

/// P-1: the law's revision grows by one with every change, and by nothing else.
fn p1_revision(before: &Before, event: &Event, after: &World) -> Result<(), Violation> {
    let step = match event {
        Event::PolicyPut(_)
        | Event::PolicyDeleted(_)
        | Event::TemplatePut(_)
        | Event::TemplateDeleted(_)
        | Event::HeatTableSet(_) => 1,
        Event::LeaderStarted(_)
        | Event::RunAdmitted(_)
        | Event::RunRejected(_)
        | Event::RunAssigned(_)
        | Event::RunStarted(_)
        | Event::RunFinished(_)
        | Event::RunLost(_)
        | Event::RunCancelRequested(_)
        | Event::RunCanceled(_)
        | Event::RunForgotten(_)
        | Event::NodeJoined(_)
        | Event::NodeLost(_)
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
        | Event::RunQuarantined(_) => 0,
    };
    let (before, after) = (before.revision, after.law.current().revision);
    if after == before + step { Ok(()) } else { Err(Violation::Revision { before, after }) }
}

/// T-1: quarantined runs are on quarantine nodes only, and no other run is.
pub fn t1(world: &World) -> Result<(), Violation> {
    for (id, node) in world.fleet.nodes() {
        for run in node.attempts.keys() {
            let Some(item) = world.line.item(*run) else { continue };
            if (item.class.pool == Pool::Quarantine) != (node.pool == Pool::Quarantine) {
                return Err(Violation::Quarantine {
                    run: *run,
                    node: id.clone(),
                    wanted: item.class.pool,
                    found: node.pool,
                });
            }
        }
    }
    Ok(())
}

/// T-1: a node's pool changes only while nothing is allocated on it.
fn t1_labels(before: &Before, event: &Event, after: &World) -> Result<(), Violation> {
    let Some(id) = labeled(event) else { return Ok(()) };
    let node = after.fleet.node(id);
    let busy = node.is_some_and(|node| !node.attempts.is_empty());
    if busy && before.pool != node.map(|node| node.pool) {
        return Err(Violation::PoolChanged(id.clone()));
    }
    Ok(())
}

/// J-4: epochs never decrease.
fn j4(before: &Before, after: &World) -> Result<(), Violation> {
    let (before, after) = (before.epoch, after.epoch);
    if after >= before { Ok(()) } else { Err(Violation::Epoch { before, after }) }
}

/// Every rule about a state.
pub fn state(world: &World) -> Result<(), Violation> {
    r2(world)?;
    r3(world)?;
    q1(world)?;
    q3(world)?;
    p1(world)?;
    t1(world)
}

/// Every rule about a step.
pub fn step(before: &World, event: &Event, after: &World) -> Result<(), Violation> {
    Before::of(before, event).check(event, after)
}

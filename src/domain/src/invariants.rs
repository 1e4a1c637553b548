//! What must be true after every event, by the ids of the plan.

use crate::event::Event;
use crate::fleet::NodeStatus;
use crate::ids::{NodeId, RunId};
use crate::runs::Status;
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
    /// An epoch went back.
    #[error("J-4: epoch {after} after epoch {before}")]
    Epoch {
        /// Before.
        before: u64,
        /// After.
        after: u64,
    },
}

/// terminal states never change (forgetting is the only end after the end).
pub fn r1(before: &World, event: &Event, after: &World) -> Result<(), Violation> {
    let Some(run) = event.run() else { return Ok(()) };
    match (before.runs.status(run), after.runs.status(run)) {
        (Some(b), a) if b.is_terminal() && a.is_some_and(|a| a != b) => {
            Err(Violation::EndedRunChanged(run))
        }
        _ => Ok(()),
    }
}

/// at most one live attempt a run, and exactly one while it is on a node.
pub fn r2(world: &World) -> Result<(), Violation> {
    let mut on_nodes = std::collections::BTreeMap::<RunId, usize>::new();
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
    let in_line: std::collections::BTreeSet<RunId> =
        world.line.in_order().into_iter().map(|(_, run)| run).collect();
    for (run, status) in world.runs.newest_first(None) {
        if (status == Status::Pending) != in_line.contains(&run) {
            return Err(Violation::Line(run));
        }
    }
    let unknown = in_line.iter().find(|run| world.runs.status(**run).is_none());
    unknown.map_or(Ok(()), |run| Err(Violation::Line(*run)))
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
pub fn p1_revision(before: &World, event: &Event, after: &World) -> Result<(), Violation> {
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
        | Event::QueueResumed(_) => 0,
    };
    let (before, after) = (before.law.current().revision, after.law.current().revision);
    if after == before + step { Ok(()) } else { Err(Violation::Revision { before, after }) }
}

/// T-1: quarantined runs are on quarantine nodes only, and no other run is.
pub fn t1(world: &World) -> Result<(), Violation> {
    for (id, node) in world.fleet.nodes() {
        for run in node.attempts.keys() {
            let Some(item) = world.line.item(*run) else { continue };
            if (item.pool == Pool::Quarantine) != (node.pool == Pool::Quarantine) {
                return Err(Violation::Quarantine {
                    run: *run,
                    node: id.clone(),
                    wanted: item.pool,
                    found: node.pool,
                });
            }
        }
    }
    Ok(())
}

/// J-4: epochs never decrease.
pub fn j4(before: &World, _: &Event, after: &World) -> Result<(), Violation> {
    let (before, after) = (before.epoch, after.epoch);
    if after >= before { Ok(()) } else { Err(Violation::Epoch { before, after }) }
}

/// Every rule about a state.
pub fn state(world: &World) -> Result<(), Violation> {
    r2(world)?;
    r3(world)?;
    q1(world)?;
    p1(world)?;
    t1(world)
}

/// Every rule about a step.
pub fn step(before: &World, event: &Event, after: &World) -> Result<(), Violation> {
    r1(before, event, after)?;
    p1_revision(before, event, after)?;
    j4(before, event, after)
}

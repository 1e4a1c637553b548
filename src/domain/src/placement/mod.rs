//! Moirai: which waiting run goes to which node, as a pure plan over the line and the fleet.
//!
//! Never:  reserves anything: a plan is a proposal that the registry checks again, item by item,
//!         with [`may_assign`].
//! Proof:  and T-1 in [`crate::invariants`].

mod consider;
mod room;

pub use consider::{Considered, Failed, FailedKind, Never, NodeTest, Resource, consider, never};
pub use room::{Ask, LOOKS_MOST, Plan, Room};

use crate::fleet::{Fleet, Node};
use crate::ids::{NodeId, RunId, Timestamp};
use crate::line::{Class, Item, Line};
use crate::submission::Pool;

/// One proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeId,
    /// Whether the node's pool is not the preferred one.
    pub fallback: bool,
}

/// Plans at most `most` assignments, in the order of the line: no run is passed over by a later
/// one that would have fitted the same node. Whoever plans again and again keeps a [`Room`].
pub fn plan(line: &Line, fleet: &Fleet, now: Timestamp, most: usize) -> Vec<Assignment> {
    let ask = Ask { most, looks: usize::MAX, from: None };
    Room::of(fleet).plan(line, fleet, now, ask).assignments
}

/// The pools that may take a run which prefers `pool`, in the order they are tried, and whether
/// each is a fallback.
///
/// Cold and warm work avoids high-compute nodes without being forbidden them. Hot work goes to a
/// standard node only when no live high-compute node could ever hold it. Quarantine has no fallback.
fn pools(class: &Class, high_compute_can: impl FnOnce() -> bool) -> &'static [(Pool, bool)] {
    match class.pool {
        Pool::Quarantine => &[(Pool::Quarantine, false)],
        Pool::Standard => &[(Pool::Standard, false), (Pool::HighCompute, true)],
        Pool::HighCompute if high_compute_can() => &[(Pool::HighCompute, false)],
        Pool::HighCompute => &[(Pool::Standard, true)],
    }
}

fn high_compute_can(fleet: &Fleet, class: &Class) -> bool {
    fleet.could_hold(Pool::HighCompute, class)
}

/// Whether a proposal holds in this state; its pool and whether that is a fallback, if it does.
pub fn may_assign(
    line: &Line,
    fleet: &Fleet,
    now: Timestamp,
    run: RunId,
    node: &NodeId,
) -> Option<(Pool, bool)> {
    let item = line.item(run).filter(|item| item.waiting && item.not_before <= now)?;
    let node = fleet.node(node).filter(|node| node.is_ready())?;
    if line.paused() || !item.class.demand.fits(node.free()) {
        return None;
    }
    allowed(fleet, item, node)
}

/// The pool of `node` and whether it is a fallback, where it may take such a run at all.
pub(crate) fn allowed(fleet: &Fleet, item: &Item, node: &Node) -> Option<(Pool, bool)> {
    if !item.class.placement.as_deref().is_none_or(|placement| node.suits(placement)) {
        return None;
    }
    let class = &*item.class;
    // A ready high-compute node that it fits is the proof that one can.
    let can = || node.pool == Pool::HighCompute || high_compute_can(fleet, class);
    pools(class, can).iter().copied().find(|(pool, _)| *pool == node.pool)
}

/// A pool that may take a run, and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The pool.
    pub pool: Pool,
    /// Whether it is not the preferred one.
    pub fallback: bool,
    /// Nodes that take work.
    pub ready: usize,
    /// Those that could hold it when empty.
    pub could_hold: usize,
    /// Those that have room now.
    pub have_room: usize,
}

/// The pools a run of this class would be tried in now.
pub fn routes(fleet: &Fleet, class: &Class) -> Vec<Route> {
    let route = |(pool, fallback): &(Pool, bool)| {
        let mut route =
            Route { pool: *pool, fallback: *fallback, ready: 0, could_hold: 0, have_room: 0 };
        for (_, node) in fleet.ready(*pool) {
            route.ready += 1;
            if !class.placement.as_deref().is_none_or(|placement| node.suits(placement)) {
                continue;
            }
            route.could_hold += usize::from(class.demand.fits(node.joined.capacity));
            route.have_room += usize::from(class.demand.fits(node.free()));
        }
        route
    };
    pools(class, || high_compute_can(fleet, class)).iter().map(route).collect()
}

/// Why a run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Assignments are paused.
    QueuePaused,
    /// It pauses before another attempt.
    BackingOff,
    /// No quarantine node is live.
    WaitingForQuarantineNode,
    /// Nothing that is live could hold it, even when empty: [`never()`] says why.
    NeverFits,
    /// Only nodes that take no more work could hold it.
    Draining,
    /// It would fit a node that has other work, or whose turn has not come.
    WaitingForCapacity,
    /// No node is live that may take it.
    NoNode,
}

/// Why a run waits, computed when asked.
pub fn why_waiting(line: &Line, fleet: &Fleet, now: Timestamp, item: &Item) -> WaitReason {
    if line.paused() {
        return WaitReason::QueuePaused;
    }
    if item.not_before > now {
        return WaitReason::BackingOff;
    }
    let class = &*item.class;
    let tried = pools(class, || high_compute_can(fleet, class));
    if tried.iter().any(|(pool, _)| fleet.could_hold(*pool, class)) {
        return WaitReason::WaitingForCapacity;
    }
    // A live high-compute node that is too small is why hot work would fall back, and counts.
    let asked = [(item.class.pool, false)];
    let mut counts = asked.iter().chain(tried).map(|(pool, _)| *pool);
    if counts.clone().any(|pool| a_draining_one_could_hold(fleet, pool, class)) {
        return WaitReason::Draining;
    }
    if counts.any(|pool| fleet.has_live(pool)) {
        return WaitReason::NeverFits;
    }
    match item.class.pool {
        Pool::Quarantine => WaitReason::WaitingForQuarantineNode,
        Pool::Standard | Pool::HighCompute => WaitReason::NoNode,
    }
}

/// Whether a node that takes no more work could hold such a run when empty.
fn a_draining_one_could_hold(fleet: &Fleet, pool: Pool, class: &Class) -> bool {
    let could = |node: &Node| !node.is_ready() && class.demand.fits(node.joined.capacity);
    match class.placement.as_deref() {
        Some(placement) => fleet.suited(pool, placement).any(|(_, node)| could(node)),
        None => fleet.live(pool).any(|(_, node)| could(node)),
    }
}

//! The nodes: what they have, what is given to them, and what each of them should be doing.
//!
//! Owns:   capacity, allocation and attempts of every node, live or lost.
//! Never:  decides where a run goes; that is [`crate::placement`].
//! Proof:  R-3 and T-1 in [`crate::invariants`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Event, NodeJoined, NodeLostCause};
use crate::ids::{NodeId, RunId, Timestamp, Token};
use crate::line::Class;
use crate::submission::{Demand, Placement, Pool};

/// Label of a high-compute node.
pub const HIGH_COMPUTE_LABEL: &str = "tartarus.io/phlegethon";
/// Label of a quarantine node.
pub const QUARANTINE_LABEL: &str = "tartarus.io/typhon";
/// A lost node is listed for a day: long enough to be seen, short enough that a fleet whose nodes
/// have random names does not grow without end.
pub const LOST_LISTED_MS: u64 = 86_400_000;

/// The pool of a node with these labels. Quarantine wins: a node that may see hostile work must
/// see no other.
pub fn pool_of(labels: &BTreeMap<Box<str>, Box<str>>) -> Pool {
    let set = |key: &str| labels.get(key).is_some_and(|value| &**value == "true");
    if set(QUARANTINE_LABEL) {
        Pool::Quarantine
    } else if set(HIGH_COMPUTE_LABEL) {
        Pool::HighCompute
    } else {
        Pool::Standard
    }
}

/// An attempt on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number.
    pub attempt: u32,
    /// What its agent must show.
    pub token: Token,
    /// What is set aside for it.
    pub demand: Demand,
    /// Whether the node should end it.
    pub stop: bool,
}

/// Whether a node is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// It is there.
    Ready,
    /// It is gone.
    Lost {
        /// Since when, in log time.
        at: Timestamp,
        /// Why.
        cause: NodeLostCause,
    },
}

/// An operator's wish that a node be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Since when, in log time.
    pub since: Timestamp,
    /// When what still runs is moved, in log time; never where there is none.
    pub deadline: Option<Timestamp>,
}

/// The agent's labels, and the operator's over them.
fn overlaid(
    agents: &BTreeMap<Box<str>, Box<str>>,
    overlay: &BTreeMap<Box<str>, Option<Box<str>>>,
) -> BTreeMap<Box<str>, Box<str>> {
    let mut labels = agents.clone();
    for (key, value) in overlay {
        match value {
            Some(value) => labels.insert(key.clone(), value.clone()),
            None => labels.remove(key),
        };
    }
    labels
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What its agent registered with, last.
    pub joined: Arc<NodeJoined>,
    /// An operator's labels; none as a value takes one of the agent's away.
    pub overlay: BTreeMap<Box<str>, Option<Box<str>>>,
    /// Its labels: the agent's, and the operator's over them.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// Its pool.
    pub pool: Pool,
    /// Whether an operator wants it empty.
    pub drain: Option<Drain>,
    /// Whether it takes work.
    pub status: NodeStatus,
    /// What is set aside, in all.
    pub allocated: Demand,
    /// What it should be doing.
    pub attempts: BTreeMap<RunId, Attempt>,
}

impl Node {
    /// What is not set aside.
    pub fn free(&self) -> Demand {
        self.joined.capacity.minus(self.allocated)
    }

    /// Whether it is there.
    pub fn is_live(&self) -> bool {
        match self.status {
            NodeStatus::Ready => true,
            NodeStatus::Lost { .. } => false,
        }
    }

    /// Whether it takes work.
    pub fn is_ready(&self) -> bool {
        self.is_live() && self.drain.is_none()
    }

    /// The pool it would be in if its agent registered with these labels.
    pub fn pool_under(&self, agents: &BTreeMap<Box<str>, Box<str>>) -> Pool {
        pool_of(&overlaid(agents, &self.overlay))
    }

    /// The pool it would be in under this overlay.
    pub fn pool_with(&self, overlay: &BTreeMap<Box<str>, Option<Box<str>>>) -> Pool {
        pool_of(&overlaid(&self.joined.labels, overlay))
    }

    /// Whether its labels and its isolation are as `placement` asks.
    pub fn suits(&self, placement: &Placement) -> bool {
        let enforces = |feature| self.joined.isolation.contains(feature);
        placement.require.selects(&self.labels) && placement.isolation.iter().all(enforces)
    }
}

/// All nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    nodes: BTreeMap<NodeId, Node>,
    /// How many nodes that take work have a capacity, by pool: fleets are large, and have few
    /// kinds of machines.
    kinds: BTreeMap<Pool, BTreeMap<Demand, usize>>,
}

impl Fleet {
    /// A node.
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// All nodes, lost ones included, by id.
    pub fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.nodes
    }

    /// The nodes of a pool that take work.
    pub fn ready(&self, pool: Pool) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter().filter(move |(_, node)| node.pool == pool && node.is_ready())
    }

    /// Whether a pool has a node that takes work.
    pub fn has_ready(&self, pool: Pool) -> bool {
        self.kinds.contains_key(&pool)
    }

    /// Whether a node of this pool that takes work could hold such a run when empty.
    pub fn could_hold(&self, pool: Pool, class: &Class) -> bool {
        let mut capacities = self.kinds.get(&pool).into_iter().flat_map(BTreeMap::keys);
        let large_enough = capacities.any(|capacity| class.demand.fits(*capacity));
        let suited = |placement: &Placement| {
            self.ready(pool)
                .any(|(_, node)| class.demand.fits(node.joined.capacity) && node.suits(placement))
        };
        large_enough && class.placement.as_deref().is_none_or(suited)
    }

    /// The attempts on drained nodes whose deadline has passed, that nobody has told to stop.
    pub fn overstaying(&self, now: Timestamp) -> impl Iterator<Item = (&NodeId, RunId, u32)> {
        let over = move |node: &Node| {
            node.is_live() && node.drain.and_then(|d| d.deadline).is_some_and(|at| at <= now)
        };
        self.nodes.iter().filter(move |(_, node)| over(node)).flat_map(|(id, node)| {
            let left = node.attempts.iter().filter(|(_, attempt)| !attempt.stop);
            left.map(move |(run, attempt)| (id, *run, attempt.attempt))
        })
    }

    fn count(&mut self, pool: Pool, capacity: Demand) {
        *self.kinds.entry(pool).or_default().entry(capacity).or_default() += 1;
    }

    fn uncount(&mut self, pool: Pool, capacity: Demand) {
        let Some(capacities) = self.kinds.get_mut(&pool) else { return };
        if let Some(count) = capacities.get_mut(&capacity) {
            *count -= 1;
            if *count == 0 {
                capacities.remove(&capacity);
            }
        }
        if capacities.is_empty() {
            self.kinds.remove(&pool);
        }
    }

    /// Folds an event; says which node it touched.
    pub fn evolve(&mut self, event: &Event) -> Option<NodeId> {
        match event {
            Event::NodeJoined(e) => {
                self.nodes.retain(|_, node| match node.status {
                    NodeStatus::Ready => true,
                    NodeStatus::Lost { at, .. } => e.at.since(at) < LOST_LISTED_MS,
                });
                // What an operator said of it stays, and so do its earlier attempts: they are ended
                // by the events that come with this one.
                self.change(&e.node, Some(e), |node| {
                    node.joined = e.clone();
                    node.status = NodeStatus::Ready;
                    node.labels = overlaid(&e.labels, &node.overlay);
                    node.pool = pool_of(&node.labels);
                })
            }
            Event::NodeLost(e) => self.change(&e.node, None, |node| {
                node.status = NodeStatus::Lost { at: e.at, cause: e.cause };
            }),
            Event::NodeDrained(e) => self.change(&e.node, None, |node| {
                node.drain = Some(Drain { since: e.at, deadline: e.deadline });
            }),
            Event::NodeUndrained(e) => self.change(&e.node, None, |node| node.drain = None),
            Event::NodeLabeled(e) => self.change(&e.node, None, |node| {
                node.overlay = e.labels.clone();
                node.labels = overlaid(&node.joined.labels, &node.overlay);
                node.pool = pool_of(&node.labels);
            }),
            Event::RunEvicted(e) => {
                self.nodes.get_mut(&e.node)?.attempts.get_mut(&e.run)?.stop = true;
                Some(e.node.clone())
            }
            Event::RunAssigned(e) => {
                let node = self.nodes.get_mut(&e.node)?;
                node.allocated = node.allocated.plus(e.demand);
                let attempt =
                    Attempt { attempt: e.attempt, token: e.token, demand: e.demand, stop: false };
                node.attempts.insert(e.run, attempt);
                Some(e.node.clone())
            }
            Event::RunCancelRequested(e) => {
                self.nodes.get_mut(&e.node)?.attempts.get_mut(&e.run)?.stop = true;
                Some(e.node.clone())
            }
            Event::RunFinished(e) => self.release(&e.node, e.run),
            Event::RunLost(e) => self.release(&e.node, e.run),
            Event::LeaderStarted(_)
            | Event::RunAdmitted(_)
            | Event::RunRejected(_)
            | Event::RunStarted(_)
            | Event::RunCanceled(_)
            | Event::RunForgotten(_)
            | Event::PolicyPut(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::RunReleased(_)
            | Event::RunRefused(_) => None,
        }
    }

    /// Changes a node, or makes it of what its agent registered with, and counts it anew.
    fn change(
        &mut self,
        id: &NodeId,
        joined: Option<&Arc<NodeJoined>>,
        change: impl FnOnce(&mut Node),
    ) -> Option<NodeId> {
        if let Some(joined) = joined {
            self.nodes.entry(id.clone()).or_insert_with(|| Node {
                joined: joined.clone(),
                overlay: BTreeMap::new(),
                labels: joined.labels.clone(),
                pool: pool_of(&joined.labels),
                drain: None,
                // Not counted before it is changed.
                status: NodeStatus::Lost { at: joined.at, cause: NodeLostCause::Left },
                allocated: Demand::default(),
                attempts: BTreeMap::new(),
            });
        }
        let node = self.nodes.get_mut(id)?;
        let counted = |node: &Node| node.is_ready().then_some((node.pool, node.joined.capacity));
        let before = counted(node);
        change(node);
        let after = counted(node);
        if let Some((pool, capacity)) = before {
            self.uncount(pool, capacity);
        }
        if let Some((pool, capacity)) = after {
            self.count(pool, capacity);
        }
        Some(id.clone())
    }

    fn release(&mut self, id: &NodeId, run: RunId) -> Option<NodeId> {
        let node = self.nodes.get_mut(id)?;
        let attempt = node.attempts.remove(&run)?;
        node.allocated = node.allocated.minus(attempt.demand);
        Some(id.clone())
    }
}

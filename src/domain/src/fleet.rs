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
use crate::submission::{Demand, Pool};

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

/// Whether a node takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// It takes work.
    Ready,
    /// It is gone.
    Lost {
        /// Since when, in log time.
        at: Timestamp,
        /// Why.
        cause: NodeLostCause,
    },
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What its agent registered with, last.
    pub joined: Arc<NodeJoined>,
    /// Its pool.
    pub pool: Pool,
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

    /// Whether it takes work.
    pub fn is_ready(&self) -> bool {
        match self.status {
            NodeStatus::Ready => true,
            NodeStatus::Lost { .. } => false,
        }
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

    /// Whether a node of this pool that takes work could hold `demand` when empty.
    pub fn could_hold(&self, pool: Pool, demand: Demand) -> bool {
        let mut capacities = self.kinds.get(&pool).into_iter().flat_map(BTreeMap::keys);
        capacities.any(|capacity| demand.fits(*capacity))
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
                let node = Node {
                    joined: e.clone(),
                    pool: pool_of(&e.labels),
                    status: NodeStatus::Ready,
                    allocated: Demand::default(),
                    attempts: BTreeMap::new(),
                };
                // Its earlier attempts are ended by the events that come with this one.
                self.count(node.pool, e.capacity);
                let earlier = self.nodes.insert(e.node.clone(), node);
                if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.is_ready()) {
                    self.uncount(earlier.pool, earlier.joined.capacity);
                }
                if let (Some(earlier), Some(node)) = (earlier, self.nodes.get_mut(&e.node)) {
                    node.allocated = earlier.allocated;
                    node.attempts = earlier.attempts;
                }
                Some(e.node.clone())
            }
            Event::NodeLost(e) => {
                let node = self.nodes.get_mut(&e.node)?;
                let ready = node.is_ready().then(|| (node.pool, node.joined.capacity));
                node.status = NodeStatus::Lost { at: e.at, cause: e.cause };
                if let Some((pool, capacity)) = ready {
                    self.uncount(pool, capacity);
                }
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
            | Event::QueueResumed(_) => None,
        }
    }

    fn release(&mut self, id: &NodeId, run: RunId) -> Option<NodeId> {
        let node = self.nodes.get_mut(id)?;
        let attempt = node.attempts.remove(&run)?;
        node.allocated = node.allocated.minus(attempt.demand);
        Some(id.clone())
    }
}

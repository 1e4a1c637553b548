//! The nodes: what they have, what is given to them, and what each of them should be doing.
//!
//! Owns:   capacity, allocation and attempts of every node, live or lost.
//! Never:  decides where a run goes; that is [`crate::placement`].
//! Proof:  R-3 and T-1 in [`crate::invariants`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Event, NodeJoined, NodeLostCause};
use crate::ids::{NodeId, RunId, Timestamp, Token};
use crate::line::Class;
use crate::selector::{Requirement, Test};
use crate::submission::{Demand, Placement, Pool};
use crate::texts::Texts;

/// Label of a high-compute node.
pub const HIGH_COMPUTE_LABEL: &str = "tartarus.io/phlegethon";
/// Label of a quarantine node.
pub const QUARANTINE_LABEL: &str = "tartarus.io/typhon";
/// A lost node is listed for a day: long enough to be seen, short enough that a fleet whose nodes
/// have random names does not grow without end.
pub const LOST_LISTED_MS: u64 = 86_400_000;

/// The pool of a node with these labels. Quarantine wins: a node that may see hostile work must
/// see no other.
pub fn pool_of(labels: &Texts) -> Pool {
    let set = |key: &str| labels.get(key) == Some("true");
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
fn overlaid(agents: &Texts, overlay: &BTreeMap<Box<str>, Option<Box<str>>>) -> Texts {
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
    pub labels: Texts,
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
    pub fn pool_under(&self, agents: &Texts) -> Pool {
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

/// All nodes. Kept as the nodes alone: everything else here is made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    nodes: BTreeMap<NodeId, Node>,
    /// The nodes that take work by their capacity: fleets are large, and have few kinds of machines.
    kinds: BTreeMap<Pool, BTreeMap<Demand, BTreeSet<NodeId>>>,
    /// The nodes that are there.
    live: BTreeMap<Pool, Index>,
}

/// Nodes of a pool by their labels, so that a requirement is not asked of each node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    all: BTreeSet<NodeId>,
    labels: BTreeMap<Box<str>, BTreeMap<Box<str>, BTreeSet<NodeId>>>,
}

impl Index {
    fn add(&mut self, id: &NodeId, node: &Node) {
        self.all.insert(id.clone());
        for (key, value) in &node.labels {
            let values = self.labels.entry(key.into()).or_default();
            values.entry(value.into()).or_default().insert(id.clone());
        }
    }

    fn remove(&mut self, id: &NodeId, node: &Node) {
        self.all.remove(id);
        for (key, value) in &node.labels {
            let Some(values) = self.labels.get_mut(key) else { continue };
            if let Some(ids) = values.get_mut(value) {
                ids.remove(id);
                if ids.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.labels.remove(key);
            }
        }
    }

    /// Every node that can meet a requirement, and perhaps others; none where that is all of them.
    fn of(&self, requirement: &Requirement) -> Option<Vec<&BTreeSet<NodeId>>> {
        let values = self.labels.get(&requirement.key);
        match &requirement.test {
            Test::In(wanted) => {
                let of = |value| values.and_then(|values| values.get(value));
                Some(wanted.iter().filter_map(of).collect())
            }
            Test::Exists => Some(values.into_iter().flat_map(BTreeMap::values).collect()),
            Test::NotIn(_) | Test::Absent => None,
        }
    }

    /// The fewest nodes among which all that suit `placement` are.
    fn narrowest(&self, placement: &Placement) -> Vec<&BTreeSet<NodeId>> {
        let sets = placement.require.requirements.iter().filter_map(|r| self.of(r));
        let size = |sets: &Vec<&BTreeSet<NodeId>>| sets.iter().map(|set| set.len()).sum::<usize>();
        sets.min_by_key(size).unwrap_or_else(|| vec![&self.all])
    }
}

impl Serialize for Fleet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.nodes.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Fleet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let nodes = BTreeMap::<NodeId, Node>::deserialize(from)?;
        let mut fleet = Self::default();
        for (id, node) in nodes {
            fleet.list(&id, &node);
            fleet.nodes.insert(id, node);
        }
        Ok(fleet)
    }
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

    /// The nodes of a pool that are there, some of them perhaps draining.
    pub fn live(&self, pool: Pool) -> impl Iterator<Item = (&NodeId, &Node)> {
        let ids = self.live.get(&pool).into_iter().flat_map(|index| &index.all);
        ids.filter_map(|id| self.nodes.get_key_value(id))
    }

    /// Those of them that suit `placement`.
    pub fn suited(
        &self,
        pool: Pool,
        placement: &Placement,
    ) -> impl Iterator<Item = (&NodeId, &Node)> {
        let index = self.live.get(&pool);
        let sets = index.map(|index| index.narrowest(placement)).unwrap_or_default();
        // Looking many up by name takes longer than looking at all of them.
        let many = sets.iter().map(|set| set.len()).sum::<usize>() > self.nodes.len() / 8;
        let live = move |node: &Node| node.pool == pool && node.is_live();
        let all = many.then(|| self.nodes.iter().filter(move |(_, node)| live(node)));
        let few = (!many)
            .then(|| sets.into_iter().flatten().filter_map(|id| self.nodes.get_key_value(id)));
        let nodes = all.into_iter().flatten().chain(few.into_iter().flatten());
        nodes.filter(|(_, node)| node.suits(placement))
    }

    /// How many nodes are looked at to find those.
    pub fn candidates(&self, pool: Pool, placement: &Placement) -> usize {
        let sets = self.live.get(&pool).map(|index| index.narrowest(placement));
        sets.into_iter().flatten().map(BTreeSet::len).sum()
    }

    /// Whether a node of the pool that is there meets a requirement.
    pub fn any_meets(&self, pool: Pool, requirement: &Requirement) -> bool {
        let Some(index) = self.live.get(&pool) else { return false };
        let label = |node: &Node| requirement.holds(|key| node.labels.get(key));
        match index.of(requirement) {
            Some(sets) => sets.iter().any(|set| !set.is_empty()),
            None => self.live(pool).any(|(_, node)| label(node)),
        }
    }

    /// The capacities of the nodes of a pool that take work, and one node of each.
    pub fn capacities(&self, pool: Pool) -> impl Iterator<Item = (Demand, &NodeId)> {
        let kinds = self.kinds.get(&pool).into_iter().flatten();
        kinds.filter_map(|(capacity, ids)| Some((*capacity, ids.first()?)))
    }

    /// Whether a pool has a node that is there, if only to finish what it has.
    pub fn has_live(&self, pool: Pool) -> bool {
        self.live.contains_key(&pool)
    }

    /// Whether a pool has a node that takes work.
    pub fn has_ready(&self, pool: Pool) -> bool {
        self.kinds.contains_key(&pool)
    }

    /// Whether a node of this pool that takes work could hold such a run when empty.
    pub fn could_hold(&self, pool: Pool, class: &Class) -> bool {
        let large_enough = self.capacities(pool).any(|(capacity, _)| class.demand.fits(capacity));
        let suited = |placement: &Placement| {
            self.suited(pool, placement)
                .any(|(_, node)| node.is_ready() && class.demand.fits(node.joined.capacity))
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

    /// Lists a node where it is looked for.
    fn list(&mut self, id: &NodeId, node: &Node) {
        if node.is_live() {
            self.live.entry(node.pool).or_default().add(id, node);
        }
        if node.is_ready() {
            let kinds = self.kinds.entry(node.pool).or_default();
            kinds.entry(node.joined.capacity).or_default().insert(id.clone());
        }
    }

    /// Takes a node, as it was listed, out of every list.
    fn unlist(&mut self, id: &NodeId, node: &Node) {
        if let Some(index) = self.live.get_mut(&node.pool) {
            index.remove(id, node);
            if index.all.is_empty() {
                self.live.remove(&node.pool);
            }
        }
        let Some(kinds) = self.kinds.get_mut(&node.pool) else { return };
        if let Some(ids) = kinds.get_mut(&node.joined.capacity) {
            ids.remove(id);
            if ids.is_empty() {
                kinds.remove(&node.joined.capacity);
            }
        }
        if kinds.is_empty() {
            self.kinds.remove(&node.pool);
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
            | Event::RunRefused(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_)
            | Event::RunQuarantined(_) => None,
        }
    }

    /// Changes a node, or makes it of what its agent registered with, and lists it anew.
    fn change(
        &mut self,
        id: &NodeId,
        joined: Option<&Arc<NodeJoined>>,
        change: impl FnOnce(&mut Node),
    ) -> Option<NodeId> {
        let made = |joined: &Arc<NodeJoined>| Node {
            joined: joined.clone(),
            overlay: BTreeMap::new(),
            labels: joined.labels.clone(),
            pool: pool_of(&joined.labels),
            drain: None,
            status: NodeStatus::Lost { at: joined.at, cause: NodeLostCause::Left },
            allocated: Demand::default(),
            attempts: BTreeMap::new(),
        };
        let mut node = match self.nodes.remove(id) {
            Some(known) => known,
            None => made(joined?),
        };
        self.unlist(id, &node);
        change(&mut node);
        self.list(id, &node);
        self.nodes.insert(id.clone(), node);
        Some(id.clone())
    }

    fn release(&mut self, id: &NodeId, run: RunId) -> Option<NodeId> {
        let node = self.nodes.get_mut(id)?;
        let attempt = node.attempts.remove(&run)?;
        node.allocated = node.allocated.minus(attempt.demand);
        Some(id.clone())
    }
}

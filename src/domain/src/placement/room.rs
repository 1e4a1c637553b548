//! What is free, in the order in which nodes are tried, and the plan that is made of it.
//!
//! Owns:   a copy of what the fleet has free, kept up node by node, so that a plan need not look at
//!         all of them.
//! Never:  the truth: [`Room::of`] the same fleet is the same room.
//! Proof:  `tests/laws` and `tests/rules/placement.rs`; what it costs, `benches/world.rs`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Bound;
use std::sync::Arc;

use super::{Assignment, high_compute_can, pools};
use crate::event::Place;
use crate::fleet::Fleet;
use crate::ids::{NodeId, RunId, Timestamp};
use crate::line::{Class, Line};
use crate::submission::{Demand, Placement, Pool, Strategy};

/// Nodes that one plan looks at, at most, in about 20 ms: longer, and what was published meanwhile
/// waits. Where it is not enough, the next plan begins where this one stopped.
pub const LOOKS_MOST: usize = 1 << 18;
/// What asking for one class costs beside the nodes it looks at, in looks.
const CLASS_LOOKS: usize = 16;
/// Demands that found no room, kept to tell at once that others find none either.
const HOPELESS_MOST: usize = 64;

/// No sum of preferences is higher.
const MOST_LIKED: u32 = u16::MAX as u32;

/// What a plan may do.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Assignments, at most.
    pub most: usize,
    /// Looks at nodes, at most.
    pub looks: usize,
    /// Where in the line it begins; at its front where nothing is said.
    pub from: Option<Place>,
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What it proposes.
    pub assignments: Vec<Assignment>,
    /// Where it stopped because it ran out of looks.
    pub rest: Option<Place>,
}

/// What every node that takes work has free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pools: BTreeMap<Pool, BTreeSet<Free>>,
    nodes: BTreeMap<NodeId, (Pool, Demand)>,
}

/// A node and what it has free. Field order is sort order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Free {
    group: Group,
    cpu_milli: u32,
    mem_mb: u32,
    gpu: u32,
    /// None in the bounds of a search. Of equals the last is taken, so that it is the first by name.
    node: Option<Reverse<NodeId>>,
}

/// Nodes that are tried before others, whatever they have free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    /// What they lack of the highest sum of preferences.
    unliked: u32,
    /// Free GPUs are left to those who ask for one, where there is a choice.
    gpus: bool,
}

impl Group {
    fn next(self) -> Self {
        match self.gpus {
            false => Self { gpus: true, ..self },
            true => Self { unliked: self.unliked + 1, gpus: false },
        }
    }
}

impl Free {
    fn new(liked: u16, free: Demand, node: Option<NodeId>) -> Self {
        let Demand { cpu_milli, mem_mb, gpu } = free;
        let group = Group { unliked: MOST_LIKED - u32::from(liked), gpus: gpu > 0 };
        Self { group, cpu_milli, mem_mb, gpu, node: node.map(Reverse) }
    }

    fn least(group: Group, cpu_milli: u32) -> Self {
        Self { group, cpu_milli, mem_mb: 0, gpu: 0, node: None }
    }

    fn demand(&self) -> Demand {
        Demand { cpu_milli: self.cpu_milli, mem_mb: self.mem_mb, gpu: self.gpu }
    }
}

/// The node that is taken of those with room for `need`: by group, then by strategy.
fn find(
    nodes: &BTreeSet<Free>,
    need: Demand,
    strategy: Strategy,
    avoid: Option<&NodeId>,
    looks: &mut usize,
) -> Option<Free> {
    let avoided = |free: &Free| {
        let node = free.node.as_ref().map(|Reverse(id)| id);
        avoid.is_some() && node == avoid
    };
    let mut fits = |free: &&Free| {
        *looks += 1;
        need.fits(free.demand()) && !avoided(free)
    };
    let mut from = Bound::Unbounded;
    loop {
        let group = nodes.range((from, Bound::Unbounded)).next()?.group;
        let past = Free::least(group.next(), 0);
        if need.gpu == 0 || group.gpus {
            let mut enough = nodes.range(Free::least(group, need.cpu_milli)..past.clone());
            let found = match strategy {
                Strategy::Spread => enough.rfind(&mut fits),
                Strategy::Pack => enough.find(&mut fits),
            };
            if let Some(found) = found {
                return Some(found.clone());
            }
        }
        from = Bound::Included(past);
    }
}

impl Room {
    /// The room of a fleet.
    pub fn of(fleet: &Fleet) -> Self {
        let mut room = Self::default();
        let mut pools: BTreeMap<Pool, Vec<Free>> = BTreeMap::new();
        let ready = fleet.nodes().iter().filter(|(_, node)| node.is_ready());
        for (id, node) in ready {
            let free = Free::new(0, node.free(), Some(id.clone()));
            pools.entry(node.pool).or_default().push(free);
            room.nodes.insert(id.clone(), (node.pool, node.free()));
        }
        room.pools = pools.into_iter().map(|(p, free)| (p, free.into_iter().collect())).collect();
        room
    }

    /// Looks at a node again: the fleet's fold says which one an event has touched.
    pub fn touch(&mut self, fleet: &Fleet, id: &NodeId) {
        let now = fleet.node(id).filter(|node| node.is_ready());
        self.set(id, now.map(|node| (node.pool, node.free())));
    }

    fn set(&mut self, id: &NodeId, now: Option<(Pool, Demand)>) {
        let before = match now {
            Some(now) => self.nodes.insert(id.clone(), now),
            None => self.nodes.remove(id),
        };
        if before == now {
            return;
        }
        if let Some((pool, free)) = before
            && let Some(nodes) = self.pools.get_mut(&pool)
        {
            nodes.remove(&Free::new(0, free, Some(id.clone())));
            if nodes.is_empty() {
                self.pools.remove(&pool);
            }
        }
        if let Some((pool, free)) = now {
            let nodes = self.pools.entry(pool).or_default();
            nodes.insert(Free::new(0, free, Some(id.clone())));
        }
    }

    /// Plans in the order of the line. The room is that of `fleet`, and is so again afterwards.
    pub fn plan(&mut self, line: &Line, fleet: &Fleet, now: Timestamp, ask: Ask) -> Plan {
        let mut plan = Plan::default();
        if line.paused() || line.waiting() == 0 || self.nodes.is_empty() {
            return plan;
        }
        let mut search = Search {
            fleet,
            room: self,
            views: BTreeMap::new(),
            hopeless: BTreeMap::new(),
            taken: BTreeSet::new(),
            looks: 0,
        };
        // The heads of all classes, and those behind a head that was placed, earliest first. A class
        // whose head finds no room is done: nobody behind it needs less.
        let mut heads = line.heads(ask.from).peekable();
        let mut next: BinaryHeap<Reverse<(Place, RunId)>> = BinaryHeap::new();
        while plan.assignments.len() < ask.most {
            let from_heads = match (heads.peek(), next.peek()) {
                (Some(head), Some(Reverse(next))) => head < next,
                (head, _) => head.is_some(),
            };
            let first = if from_heads { heads.next() } else { next.pop().map(|first| first.0) };
            let Some((place, run)) = first else { break };
            let Some(item) = line.item(run) else { continue };
            if search.looks >= ask.looks {
                plan.rest = Some(place);
                break;
            }
            let class = &*item.class;
            if item.not_before <= now {
                let Some((node, fallback)) = search.take(class) else { continue };
                plan.assignments.push(Assignment { run, node, fallback });
            }
            let due = |(place, run): (&Place, &RunId)| {
                search.looks += 1;
                let due = line.item(*run).is_some_and(|item| item.not_before <= now);
                due.then_some((*place, *run))
            };
            let places = line.classes().get(class);
            let behind = places.map(|all| all.behind(&place));
            next.extend(behind.and_then(|mut behind| behind.find_map(due)).map(Reverse));
        }
        for id in std::mem::take(&mut search.taken) {
            self.touch(fleet, &id);
        }
        plan
    }
}

/// A plan in the making. Room only shrinks while one is made.
struct Search<'a> {
    fleet: &'a Fleet,
    room: &'a mut Room,
    /// The nodes that suit a placement, in the order in which they are tried, as they were when they
    /// were looked at last.
    views: BTreeMap<(Pool, Arc<Placement>), BTreeSet<Free>>,
    /// Demands for which a pool has no room at all.
    hopeless: BTreeMap<Pool, Vec<Demand>>,
    taken: BTreeSet<NodeId>,
    looks: usize,
}

impl Search<'_> {
    fn take(&mut self, class: &Class) -> Option<(NodeId, bool)> {
        self.looks += CLASS_LOOKS;
        let (fleet, placement) = (self.fleet, class.placement.as_ref());
        if class.pool == Pool::HighCompute
            && let Some(placement) = placement
        {
            self.looks += fleet.candidates(class.pool, placement);
        }
        let tried = pools(class, || high_compute_can(fleet, class));
        let others =
            class.avoid.as_ref().map(|avoid| tried.iter().map(move |of| (of, Some(avoid))));
        let all = others.into_iter().flatten().chain(tried.iter().map(|of| (of, None)));
        for ((pool, fallback), avoid) in all {
            if let Some(id) = self.find(*pool, class.demand, placement, avoid) {
                let free = self.room.nodes.get(&id).map_or(Demand::default(), |(_, free)| *free);
                self.room.set(&id, Some((*pool, free.minus(class.demand))));
                self.taken.insert(id.clone());
                return Some((id, *fallback));
            }
        }
        None
    }

    fn find(
        &mut self,
        pool: Pool,
        need: Demand,
        placement: Option<&Arc<Placement>>,
        avoid: Option<&NodeId>,
    ) -> Option<NodeId> {
        let hopeless = self.hopeless.entry(pool).or_default();
        if hopeless.iter().any(|less| less.fits(need)) {
            return None;
        }
        let nodes = self.room.pools.get(&pool)?;
        let strategy = placement.map_or(Strategy::Spread, |placement| placement.strategy);
        let Some(any) = find(nodes, need, strategy, avoid, &mut self.looks) else {
            if avoid.is_none() && hopeless.len() < HOPELESS_MOST {
                hopeless.push(need);
            }
            return None;
        };
        let found = match placement.filter(|placement| placement.is_choosy()) {
            None => any,
            Some(placement) => self.find_suited(pool, need, placement, avoid)?,
        };
        found.node.map(|Reverse(id)| id)
    }

    fn find_suited(
        &mut self,
        pool: Pool,
        need: Demand,
        placement: &Arc<Placement>,
        avoid: Option<&NodeId>,
    ) -> Option<Free> {
        let key = (pool, placement.clone());
        if !self.views.contains_key(&key) {
            self.looks += self.fleet.candidates(pool, placement);
            let view = self.view(pool, placement);
            self.views.insert(key.clone(), view);
        }
        let view = self.views.get_mut(&key)?;
        loop {
            let found = find(view, need, placement.strategy, avoid, &mut self.looks)?;
            let Some(Reverse(id)) = &found.node else { return None };
            let free = self.room.nodes.get(id).map_or(Demand::default(), |(_, free)| *free);
            if free == found.demand() {
                return Some(found);
            }
            // Another class has taken from it since: it is put where it belongs now.
            let gpus = free.gpu > 0;
            let group = Group { gpus, ..found.group };
            let moved = Free { group, ..Free::new(0, free, Some(id.clone())) };
            view.remove(&found);
            view.insert(moved);
        }
    }

    fn view(&self, pool: Pool, placement: &Placement) -> BTreeSet<Free> {
        let suited = self.fleet.suited(pool, placement);
        let free = suited.filter_map(|(id, node)| {
            let (_, free) = self.room.nodes.get(id)?;
            let wanted = placement.prefer.iter().filter(|p| p.labels.selects(&node.labels));
            let liked = wanted.fold(0, |sum: u16, p| sum.saturating_add(p.weight.into()));
            Some(Free::new(liked, *free, Some(id.clone())))
        });
        free.collect()
    }
}

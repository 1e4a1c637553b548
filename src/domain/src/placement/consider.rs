//! Why a run goes to no node: each node, and the tests that it fails.
//!
//! Says:   data, for whoever explains; the words are the gateway's.
//! Never:  decides anything: [`super::plan`] and [`super::may_assign`] ask the same tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{high_compute_can, pools};
use crate::fleet::{Fleet, HIGH_COMPUTE_LABEL, Node, QUARANTINE_LABEL};
use crate::ids::{NodeId, Timestamp};
use crate::line::{Class, Item, Line};
use crate::selector::Requirement;
use crate::submission::{Demand, Placement, Pool};

/// Something a node has only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Thousandths of a core.
    CpuMilli,
    /// MiB.
    MemMb,
    /// Whole GPUs.
    Gpu,
}

impl Resource {
    /// The resource's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CpuMilli => "cpu_milli",
            Self::MemMb => "mem_mb",
            Self::Gpu => "gpu",
        }
    }

    /// The unit, for people.
    pub fn unit(self) -> &'static str {
        match self {
            Self::CpuMilli => "mCPU",
            Self::MemMb => "MiB",
            Self::Gpu => "GPU",
        }
    }

    /// So much of it is needed and so much is there, for each resource.
    fn pairs(need: Demand, has: Demand) -> [(Self, u32, u32); 3] {
        [
            (Self::CpuMilli, need.cpu_milli, has.cpu_milli),
            (Self::MemMb, need.mem_mb, has.mem_mb),
            (Self::Gpu, need.gpu, has.gpu),
        ]
    }
}

/// A test that a node fails, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "test", rename_all = "snake_case")]
pub enum Failed {
    /// Its pool is not one that the run may use now.
    WrongPool,
    /// It is gone.
    Lost,
    /// It takes no more work.
    Draining,
    /// Its labels do not meet a requirement.
    Labels {
        /// The requirement, as a selector.
        requirement: String,
    },
    /// Its sandboxes do not enforce something.
    Isolation {
        /// What, by name.
        missing: Vec<Box<str>>,
    },
    /// It has less than the run needs, even when empty.
    TooSmall {
        /// Of what.
        what: Resource,
        /// What the run needs.
        need: u32,
        /// What the node has in all.
        has: u32,
    },
    /// It has less than the run needs left.
    NoRoom {
        /// Of what.
        what: Resource,
        /// What the run needs.
        need: u32,
        /// What is free.
        free: u32,
    },
}

/// The kinds of [`Failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedKind {
    /// [`Failed::WrongPool`].
    WrongPool,
    /// [`Failed::Lost`].
    Lost,
    /// [`Failed::Draining`].
    Draining,
    /// [`Failed::Labels`].
    Labels,
    /// [`Failed::Isolation`].
    Isolation,
    /// [`Failed::TooSmall`].
    TooSmall,
    /// [`Failed::NoRoom`].
    NoRoom,
}

impl FailedKind {
    /// The kind's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPool => "wrong_pool",
            Self::Lost => "lost",
            Self::Draining => "draining",
            Self::Labels => "labels",
            Self::Isolation => "isolation",
            Self::TooSmall => "too_small",
            Self::NoRoom => "no_room",
        }
    }
}

impl Failed {
    /// Its kind.
    pub fn kind(&self) -> FailedKind {
        match self {
            Self::WrongPool => FailedKind::WrongPool,
            Self::Lost => FailedKind::Lost,
            Self::Draining => FailedKind::Draining,
            Self::Labels { .. } => FailedKind::Labels,
            Self::Isolation { .. } => FailedKind::Isolation,
            Self::TooSmall { .. } => FailedKind::TooSmall,
            Self::NoRoom { .. } => FailedKind::NoRoom,
        }
    }

    /// By how much it is missed, in thousandths of what is needed.
    fn short_by(&self) -> u64 {
        match self {
            Self::TooSmall { need, has: there, .. } | Self::NoRoom { need, free: there, .. } => {
                u64::from(need - there) * 1_000 / u64::from(*need)
            }
            Self::WrongPool
            | Self::Lost
            | Self::Draining
            | Self::Labels { .. }
            | Self::Isolation { .. } => 0,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongPool => f.write_str("it is in another pool"),
            Self::Lost => f.write_str("it is lost"),
            Self::Draining => f.write_str("it is draining"),
            Self::Labels { requirement } => write!(f, "its labels do not meet {requirement}"),
            Self::Isolation { missing } => write!(f, "it does not enforce {}", missing.join(", ")),
            Self::TooSmall { what, need, has } => {
                let (unit, short) = (what.unit(), need - has);
                write!(f, "it has {has} {unit} in all, {short} too few")
            }
            Self::NoRoom { what, need, free } => {
                write!(f, "it has {free} {} free, {} short", what.unit(), need - free)
            }
        }
    }
}

/// A node, and the first test it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTest {
    /// The node.
    pub node: NodeId,
    /// Its pool.
    pub pool: Pool,
    /// The first test it fails; none where the run would fit it now.
    pub failed: Option<Failed>,
}

/// What placement sees when it looks for a node for one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// The nodes that come closest to taking it, closest first.
    pub nodes: Vec<NodeTest>,
    /// All other nodes, by the first test they fail.
    pub failed_counts: BTreeMap<FailedKind, usize>,
    /// What would make it fit; none where it fits a node now, and only its turn has not come.
    pub hint: Option<String>,
}

/// Each node, and why it does not take this run: the `most` closest by name, the rest counted.
pub fn consider(_: &Line, fleet: &Fleet, _: Timestamp, item: &Item, most: usize) -> Considered {
    let class = &*item.class;
    let tried = tried(fleet, class);
    let mut closest = BTreeSet::new();
    let mut failed_counts = BTreeMap::<FailedKind, usize>::new();
    for (id, node) in fleet.nodes() {
        let failed = failures(node, class, &tried);
        let short_by = short_by(&failed);
        if let Some(first) = failed.first() {
            *failed_counts.entry(first.kind()).or_default() += 1;
        }
        closest.insert((failed.len(), short_by, id));
        if closest.len() > most.max(1) {
            closest.pop_last();
        }
    }
    let hint = match closest.first() {
        None => Some("no node is known: start an agent with `tartarus agent`".to_owned()),
        Some((0, ..)) => None,
        Some((_, _, id)) => fleet.node(id).map(|node| {
            let failed = failures(node, class, &tried);
            let changes: Vec<String> =
                failed.iter().map(|failed| remedy(failed, class.pool)).collect();
            format!("node {id} would take it if {}", changes.join(", and if "))
        }),
    };
    let shown = closest.into_iter().take(most).filter_map(|(_, _, id)| {
        let node = fleet.node(id)?;
        let failed = failures(node, class, &tried).into_iter().next();
        Some(NodeTest { node: id.clone(), pool: node.pool, failed })
    });
    let nodes: Vec<NodeTest> = shown.collect();
    for first in nodes.iter().filter_map(|test| test.failed.as_ref()) {
        if let Some(count) = failed_counts.get_mut(&first.kind()) {
            *count -= 1;
        }
    }
    failed_counts.retain(|_, count| *count > 0);
    Considered { nodes, failed_counts, hint }
}

/// The pools that a run of this class is tried in now.
fn tried(fleet: &Fleet, class: &Class) -> Vec<Pool> {
    pools(class, || high_compute_can(fleet, class)).iter().map(|(pool, _)| *pool).collect()
}

/// Every test that a node fails, in the order in which they are asked.
fn failures(node: &Node, class: &Class, tried: &[Pool]) -> Vec<Failed> {
    let mut failed = Vec::new();
    if !tried.contains(&node.pool) {
        failed.push(Failed::WrongPool);
    }
    if !node.is_live() {
        failed.push(Failed::Lost);
    } else if node.drain.is_some() {
        failed.push(Failed::Draining);
    }
    if let Some(placement) = class.placement.as_deref() {
        let label = |key: &str| node.labels.get(key);
        let unmet = placement.require.requirements.iter().filter(|r| !r.holds(label));
        failed.extend(unmet.map(|r| Failed::Labels { requirement: r.to_string() }));
        let asked = placement.isolation.iter();
        let missing = asked.filter(|feature| !node.joined.isolation.contains(*feature));
        let missing: Vec<Box<str>> = missing.cloned().collect();
        if !missing.is_empty() {
            failed.push(Failed::Isolation { missing });
        }
    }
    let (has, free) = (node.joined.capacity, node.free());
    failed.extend(too_small(class.demand, has));
    let both = Resource::pairs(class.demand, free).into_iter().zip(Resource::pairs(free, has));
    let no_room = both.filter(|((_, need, free), (_, _, has))| need > free && need <= has);
    failed.extend(no_room.map(|((what, need, free), _)| Failed::NoRoom { what, need, free }));
    failed
}

/// What would have to be different of a node.
fn remedy(failed: &Failed, wanted: Pool) -> String {
    match failed {
        Failed::WrongPool => match wanted {
            Pool::Standard => {
                format!("it had neither {QUARANTINE_LABEL} nor {HIGH_COMPUTE_LABEL}")
            }
            Pool::HighCompute => format!("it were labelled {HIGH_COMPUTE_LABEL}=true"),
            Pool::Quarantine => format!("it were labelled {QUARANTINE_LABEL}=true"),
        },
        Failed::Lost => "its agent were back".to_owned(),
        Failed::Draining => "it were not draining".to_owned(),
        Failed::Labels { requirement } => format!("its labels met {requirement}"),
        Failed::Isolation { missing } => format!("it enforced {}", missing.join(", ")),
        Failed::TooSmall { what, has, .. } => {
            format!("the run asked for at most {has} {}", what.unit())
        }
        Failed::NoRoom { what, need, free } => {
            format!("{} {} more were free on it", need - free, what.unit())
        }
    }
}

/// Why a run can never be placed on any node that is live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Never {
    /// No node it may use has labels that meet a requirement.
    Labels {
        /// The requirement, as a selector.
        requirement: String,
    },
    /// Each requirement is met somewhere, all of them nowhere.
    Together {
        /// The node that fails the fewest.
        nearest: NodeId,
        /// The first of its requirements that this node does not meet.
        requirement: String,
    },
    /// No node whose labels suit it enforces what it asks.
    Isolation {
        /// What the closest one lacks.
        missing: Vec<Box<str>>,
    },
    /// It is larger than every node that suits it.
    TooLarge {
        /// The closest of them.
        largest: NodeId,
        /// What that one has too little of.
        what: Resource,
        /// What the run needs of it.
        need: u32,
        /// What that one has in all.
        has: u32,
    },
}

/// Nodes looked at to say which comes closest: it is said with every run that is shown.
const LOOKED_AT: usize = 256;

/// Why no node that takes work could ever hold such a run, even when empty; none where one could,
/// or where there is no node in the pools it may use.
pub fn never(fleet: &Fleet, class: &Class) -> Option<Never> {
    let mut pools = tried(fleet, class);
    // A live high-compute node that is too small is why hot work would fall back, and counts.
    if !pools.contains(&class.pool) {
        pools.push(class.pool);
    }
    if pools.iter().any(|pool| fleet.could_hold(*pool, class)) {
        return None;
    }
    let Some(placement) = class.placement.as_deref() else {
        let all = pools.iter().flat_map(|pool| fleet.capacities(*pool));
        let short = all.map(|(capacity, id)| (too_small(class.demand, capacity), id));
        let (failed, id) = short.min_by_key(|(failed, _)| short_by(failed))?;
        return never_large(failed, id);
    };
    let nowhere = |r: &&Requirement| !pools.iter().any(|pool| fleet.any_meets(*pool, r));
    let live = pools.iter().any(|pool| fleet.has_live(*pool));
    if let Some(requirement) = placement.require.requirements.iter().find(nowhere).filter(|_| live)
    {
        return Some(Never::Labels { requirement: requirement.to_string() });
    }
    let suited = || {
        let bare = Placement { isolation: BTreeSet::new(), ..placement.clone() };
        let of = |pool: &Pool| fleet.suited(*pool, &bare).take(LOOKED_AT).collect::<Vec<_>>();
        pools.iter().flat_map(of).collect::<Vec<_>>()
    };
    let candidates = suited();
    let some = if candidates.is_empty() {
        pools.iter().flat_map(|pool| fleet.live(*pool).take(LOOKED_AT)).collect()
    } else {
        candidates
    };
    let failed = |node: &Node| {
        let mut failed = failures(node, class, &pools);
        let lasting = |f: &Failed| !matches!(f.kind(), FailedKind::NoRoom | FailedKind::Draining);
        failed.retain(lasting);
        failed
    };
    let all = some.into_iter().map(|(id, node)| (failed(node), id));
    let far = |failed: &Vec<Failed>| {
        let lacks = failed.iter().filter(|f| f.kind() < FailedKind::TooSmall).count();
        (lacks, short_by(failed))
    };
    let (failed, id) = all.min_by_key(|(failed, _)| far(failed))?;
    match failed.first()? {
        Failed::Labels { requirement } => {
            Some(Never::Together { nearest: id.clone(), requirement: requirement.clone() })
        }
        Failed::Isolation { missing } => Some(Never::Isolation { missing: missing.clone() }),
        Failed::TooSmall { .. } => never_large(failed, id),
        Failed::WrongPool | Failed::Lost | Failed::Draining | Failed::NoRoom { .. } => None,
    }
}

fn short_by(failed: &[Failed]) -> u64 {
    failed.iter().map(Failed::short_by).sum()
}

fn too_small(need: Demand, has: Demand) -> Vec<Failed> {
    let short = Resource::pairs(need, has).into_iter().filter(|(_, need, has)| need > has);
    short.map(|(what, need, has)| Failed::TooSmall { what, need, has }).collect()
}

fn never_large(failed: Vec<Failed>, id: &NodeId) -> Option<Never> {
    match failed.into_iter().next()? {
        Failed::TooSmall { what, need, has } => {
            Some(Never::TooLarge { largest: id.clone(), what, need, has })
        }
        _ => None,
    }
}

impl fmt::Display for Never {
    /// What is in the way, and what would help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels { requirement } => write!(
                f,
                "no live node it may use has labels that meet {requirement}: label one with \
                 `tartarus node label`, or change placement.require"
            ),
            Self::Together { nearest, requirement } => write!(
                f,
                "no live node it may use meets all of placement.require; node {nearest} would, if \
                 its labels met {requirement}: label it with `tartarus node label`, or change \
                 placement.require"
            ),
            Self::Isolation { missing } => write!(
                f,
                "no live node that suits it enforces {}: start an agent that does, or change \
                 placement.isolation",
                missing.join(", ")
            ),
            Self::TooLarge { largest, what, need, has } => write!(
                f,
                "no live node is large enough even when empty: it needs {need} {unit}, and the \
                 largest that suits it, {largest}, has {has} {unit}: ask for at most {has}, or \
                 start a larger node",
                unit = what.unit()
            ),
        }
    }
}

//! Nodes and the waiting line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Pool;
use crate::time::Time;

/// Whether a node takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeState {
    /// It takes work.
    Ready,
    /// It finishes what it has.
    Draining,
    /// It is gone.
    Lost,
}

impl NodeState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Draining => "DRAINING",
            Self::Lost => "LOST",
        }
    }
}

/// What a node has, or has given away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// MiB.
    pub mem_mb: u32,
    /// Whole GPUs.
    pub gpu: u32,
}

impl From<domain::submission::Demand> for Capacity {
    fn from(demand: domain::submission::Demand) -> Self {
        Self { cpu_milli: demand.cpu_milli, mem_mb: demand.mem_mb, gpu: demand.gpu }
    }
}

/// A node of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub id: String,
    /// Whether it takes work.
    pub status: NodeState,
    /// The pool its labels put it in.
    pub pool: Pool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub capacity: Capacity,
    /// What is set aside for attempts.
    pub allocated: Capacity,
    /// What its sandboxes enforce, as its agent proved it.
    pub isolation: Vec<String>,
    /// Name of its sandbox runtime.
    pub runtime: String,
    /// Version of its agent.
    pub version: String,
    /// Attempts it holds.
    pub runs: u32,
    /// When its agent registered.
    pub joined_at: Time,
    /// When it was last heard of.
    pub last_seen: Option<Time>,
}

/// The waiting line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Whether assignments are paused.
    pub paused: bool,
    /// Runs that wait.
    pub depth: u64,
    /// Runs that wait, by the pool they prefer; every pool is named.
    pub by_pool: BTreeMap<String, u64>,
    /// Runs that wait, by heat; every level is named.
    pub by_heat: BTreeMap<String, u64>,
    /// Runs that wait, by tenant.
    pub by_tenant: BTreeMap<String, u64>,
    /// How long the oldest has waited, in milliseconds; none where nothing waits.
    pub oldest_wait_ms: Option<u64>,
}

//! What has happened to nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Origin;
use crate::ids::{NodeId, Timestamp};
use crate::submission::Demand;
use crate::texts::Texts;

/// A node's agent registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeJoined {
    /// The node.
    pub node: NodeId,
    /// When, in log time.
    pub at: Timestamp,
    /// The agent's process: another one means that everything before it is gone.
    pub boot: Uuid,
    /// Labels, `HADES_LABEL` among them.
    pub labels: Texts,
    /// What the machine has.
    pub capacity: Demand,
    /// What its sandboxes enforce, as the agent proved it.
    pub isolation: Vec<Box<str>>,
    /// Name of the runtime.
    pub runtime: Box<str>,
    /// Version of the agent.
    pub version: Box<str>,
}

/// A node is gone. In its entry a [`RunLost`](super::RunLost) follows for each attempt it had, and a
/// [`RunQuarantined`](super::RunQuarantined) where that sends its run there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLost {
    /// The node.
    pub node: NodeId,
    /// When, in log time.
    pub at: Timestamp,
    /// Why.
    pub cause: NodeLostCause,
}

/// Why a node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeLostCause {
    /// Nothing was heard of it for its time to live.
    HeartbeatExpired,
    /// Its agent said goodbye.
    Left,
}

/// A node takes no more work. What it has may go on until the deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDrained {
    /// The node.
    pub node: NodeId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// When what still runs is moved, in log time; never where there is none.
    pub deadline: Option<Timestamp>,
}

/// A drained node takes work again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUndrained {
    /// The node.
    pub node: NodeId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
}

/// An operator's labels of a node were set. They lie over those its agent registers with, and stay
/// when it registers again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLabeled {
    /// The node.
    pub node: NodeId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// All of them; none as a value takes a label of the agent's away.
    pub labels: BTreeMap<Box<str>, Option<Box<str>>>,
}

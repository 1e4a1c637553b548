//! Nodes and the waiting line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Pool;
use crate::check::{Complaints, Invalid};
use crate::duration::Duration;
use crate::given::Given;
use crate::labels::shorten;
use crate::limits::DRAIN_DEADLINE_MS_MAX;
use crate::parse::{Malformed, parse};
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

/// An operator's wish that a node be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Since when.
    pub since: Time,
    /// When what still runs is moved; never where there is none.
    pub deadline: Option<Time>,
}

/// The body of a drain; it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainRequest {
    /// How long what runs there may go on before it is moved; for ever where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Given<Duration>>,
}

impl DrainRequest {
    /// Reads a body; an empty one asks for no deadline.
    ///
    /// # Errors
    /// It is not of this shape.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        if body.trim_ascii().is_empty() { Ok(Self::default()) } else { parse(body) }
    }

    /// The deadline, in milliseconds from now.
    ///
    /// # Errors
    /// It is no duration, or longer than any run lasts.
    pub fn deadline_ms(self) -> Result<Option<u64>, Invalid> {
        let mut found = Complaints::default();
        let deadline = found.span("deadline", self.deadline, 0, DRAIN_DEADLINE_MS_MAX);
        found.finish(deadline)
    }
}

/// An operator's labels for a node; none as a value takes one of the agent's away.
pub type Overlay = BTreeMap<Box<str>, Option<Box<str>>>;

/// Reads the labels in a body: a map, or an object with the map as `labels`.
///
/// # Errors
/// It is not of this shape.
pub fn read_labels(body: &[u8]) -> Result<Overlay, Malformed> {
    let given: Map<String, Value> = parse(body)?;
    let given = match given.get("labels") {
        Some(Value::Object(inner)) if given.len() == 1 => inner.clone(),
        _ => given,
    };
    let mut overlay = Overlay::new();
    for (key, value) in given {
        let value = match value {
            Value::String(text) => Some(text.into()),
            Value::Null => None,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                let error = "give text, or null to take the agent's label away".to_owned();
                return Err(Malformed::Value { field: shorten(&key), error });
            }
        };
        overlay.insert(key.into(), value);
    }
    Ok(overlay)
}

/// Checks labels that were read.
///
/// # Errors
/// A key or value is no label, or there are too many.
pub fn check_labels(overlay: &Overlay) -> Result<(), Invalid> {
    let mut found = Complaints::default();
    let keys = overlay.iter();
    let texts = keys.map(|(key, value)| (key.clone(), value.clone().unwrap_or_default()));
    found.labels("labels", &texts.collect());
    found.finish(())
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
    /// Its labels: its agent's, and the operators' over them.
    pub labels: BTreeMap<String, String>,
    /// The operators' labels; null takes one of the agent's away.
    pub operator_labels: BTreeMap<String, Option<String>>,
    /// Since when it takes no more work, where an operator wants it empty.
    pub drain: Option<Drain>,
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
    /// Runs out of attempts that wait for a redrive.
    #[serde(default)]
    pub dead: u64,
}

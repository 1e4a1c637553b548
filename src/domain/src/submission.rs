//! What a caller asks for, with every default filled in.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::selector::Selector;
use crate::texts::Texts;

/// A request to run one command in a sandbox. Defaults are resolved (caller, then template, then
/// the published ones), so that the record says what was judged without a second look-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Name of the template the sandbox starts from.
    pub template: Box<str>,
    /// Program and arguments; never empty.
    pub command: Vec<Box<str>>,
    /// Environment of the program. Kept in the record: no place for secrets.
    pub env: Texts,
    /// Bytes fed to the program's standard input, then closed.
    pub stdin: Box<str>,
    /// What it may use.
    pub resources: Resources,
    /// Network profile.
    pub network: Network,
    /// The caller's own word on heat.
    pub heat_hint: Option<Heat>,
    /// 0 to 100, higher goes first.
    pub priority: u8,
    /// Attempts that fail by themselves.
    pub retry: Retry,
    /// What losing the node means.
    pub on_lost: OnLost,
    /// How long the run is remembered.
    pub retention: Retention,
    /// Who and why, in the caller's words; `tenant` and `quarantine` mean something here.
    pub metadata: Texts,
    /// For selection in lists.
    pub labels: Texts,
    /// Which nodes it may run on, and which it would rather.
    pub placement: Wishes,
}

impl Submission {
    /// The tenant it counts for: `metadata.tenant`, else `default`.
    pub fn tenant(&self) -> &str {
        self.metadata.get("tenant").map_or(Self::DEFAULT_TENANT, |name| name)
    }

    /// The tenant of a submission that names none.
    pub const DEFAULT_TENANT: &'static str = "default";

    /// Whether the caller asked for quarantine (a caller can set it, never clear it).
    pub fn asks_for_quarantine(&self) -> bool {
        self.metadata.get("quarantine") == Some("true")
    }
}

/// Resources of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Memory in MiB.
    pub mem_mb: u32,
    /// Whole GPUs.
    pub gpu: u32,
    /// Wall clock of one attempt, in milliseconds from its start.
    pub ttl_ms: u64,
}

impl Resources {
    /// Used where neither the caller nor the template says otherwise.
    pub const DEFAULT: Self = Self { cpu_milli: 500, mem_mb: 128, gpu: 0, ttl_ms: 30_000 };
}

/// What a node must have free for an attempt.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Demand {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// Memory in MiB.
    pub mem_mb: u32,
    /// Whole GPUs.
    pub gpu: u32,
}

impl From<Resources> for Demand {
    fn from(r: Resources) -> Self {
        Self { cpu_milli: r.cpu_milli, mem_mb: r.mem_mb, gpu: r.gpu }
    }
}

impl Demand {
    /// Whether it fits into `free`.
    pub fn fits(self, free: Self) -> bool {
        self.cpu_milli <= free.cpu_milli && self.mem_mb <= free.mem_mb && self.gpu <= free.gpu
    }

    /// What is left of it when `used` is taken away, 0 where more is used than there is.
    pub fn minus(self, used: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(used.cpu_milli),
            mem_mb: self.mem_mb.saturating_sub(used.mem_mb),
            gpu: self.gpu.saturating_sub(used.gpu),
        }
    }

    /// Both together.
    pub fn plus(self, more: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(more.cpu_milli),
            mem_mb: self.mem_mb.saturating_add(more.mem_mb),
            gpu: self.gpu.saturating_add(more.gpu),
        }
    }
}

/// What many attempts need together: no sum of theirs is too large for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub mem_mb: u64,
    /// Whole GPUs.
    pub gpu: u64,
}

impl Total {
    /// One more.
    pub fn add(&mut self, demand: Demand) {
        self.cpu_milli += u64::from(demand.cpu_milli);
        self.mem_mb += u64::from(demand.mem_mb);
        self.gpu += u64::from(demand.gpu);
    }

    /// One less, of those that were added.
    pub fn remove(&mut self, demand: Demand) {
        self.cpu_milli -= u64::from(demand.cpu_milli);
        self.mem_mb -= u64::from(demand.mem_mb);
        self.gpu -= u64::from(demand.gpu);
    }
}

/// What a run asks of the node it goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// What the node's labels must be like.
    pub require: Selector,
    /// What they should be like, where there is a choice.
    pub prefer: Vec<Preference>,
    /// What the node's sandboxes must enforce, as its agent proved it.
    pub isolation: BTreeSet<Box<str>>,
    /// Which of several nodes is taken.
    pub strategy: Strategy,
}

/// What is asked where nothing is.
static NOTHING: Placement = Placement {
    require: Selector { requirements: Vec::new() },
    prefer: Vec::new(),
    isolation: BTreeSet::new(),
    strategy: Strategy::Spread,
};

impl Default for Placement {
    fn default() -> Self {
        NOTHING.clone()
    }
}

impl Placement {
    /// Whether it asks for nothing.
    pub fn is_default(&self) -> bool {
        *self == NOTHING
    }

    /// Whether one node suits it and another does not, or not as well.
    pub fn is_choosy(&self) -> bool {
        !(self.require.is_empty() && self.prefer.is_empty() && self.isolation.is_empty())
    }
}

/// A placement that is asked for. Most ask for nothing, which takes no room.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Wishes(Option<Box<Placement>>);

impl Deref for Wishes {
    type Target = Placement;

    fn deref(&self) -> &Placement {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl From<Placement> for Wishes {
    fn from(asked: Placement) -> Self {
        Self((!asked.is_default()).then(|| Box::new(asked)))
    }
}

impl fmt::Debug for Wishes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for Wishes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Wishes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Placement::deserialize(from).map(Self::from)
    }
}

/// Labels a node should have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Preference {
    /// What the labels should be like.
    pub labels: Selector,
    /// How much that counts, 1 to 100.
    pub weight: u8,
}

/// Which of several nodes with room is taken.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The one with the most free: what runs is least in each other's way.
    #[default]
    Spread,
    /// The one with the least that is enough: whole nodes stay free.
    Pack,
}

/// How a sandbox may reach a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A network namespace with nothing in it but loopback.
    #[default]
    None,
}

/// How demanding a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heat {
    /// Quick and light.
    Cold,
    /// Ordinary.
    Warm,
    /// CPU-intensive.
    Hot,
    /// Long-running, or needs a GPU.
    Inferno,
}

impl Heat {
    /// Every level, from the lowest.
    pub const ALL: [Self; 4] = [Self::Cold, Self::Warm, Self::Hot, Self::Inferno];

    /// The level's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Hot => "hot",
            Self::Inferno => "inferno",
        }
    }
}

/// A group of nodes, by their labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// No pool label.
    Standard,
    /// `tartarus.io/phlegethon=true`.
    HighCompute,
    /// `tartarus.io/typhon=true`.
    Quarantine,
}

impl Pool {
    /// Every pool.
    pub const ALL: [Self; 3] = [Self::Standard, Self::HighCompute, Self::Quarantine];

    /// The pool's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::HighCompute => "high_compute",
            Self::Quarantine => "quarantine",
        }
    }
}

/// How often a run that fails by itself is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least 1. A lost node does not count.
    pub max_attempts: u32,
    /// Pause before the second attempt, in milliseconds; it doubles with each further one.
    pub backoff_ms: u64,
}

impl Retry {
    /// One attempt.
    pub const DEFAULT: Self = Self { max_attempts: 1, backoff_ms: 1_000 };
    /// A pause never grows beyond this: an hour is as long as an operator waits before looking.
    pub const MAX_BACKOFF_MS: u64 = 3_600_000;

    /// The pause after `failed` attempts that failed by themselves, in milliseconds.
    pub fn pause_ms(self, failed: u32) -> u64 {
        let doublings = failed.saturating_sub(1).min(32);
        self.backoff_ms.saturating_mul(1 << doublings).min(Self::MAX_BACKOFF_MS)
    }

    /// A pause, longer by up to a quarter as `chance` has it: runs that failed together are not to
    /// come back together. Never shorter than what was asked for.
    pub fn jittered(pause_ms: u64, chance: u64) -> u64 {
        pause_ms + chance % (pause_ms / 4 + 1)
    }
}

/// What the loss of its node means for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLost {
    /// Wait in line again, at most [`OnLost::MAX_LOSSES`] times.
    #[default]
    Retry,
    /// Fail: the work must not be done twice.
    Fail,
}

impl OnLost {
    /// A run that was lost this often and is lost again is not given to another node: it may be
    /// what brings them down. A policy may say fewer.
    pub const MAX_LOSSES: u32 = 3;
}

/// What a policy makes of the loss of its nodes for a run: it may be what brings them down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// How many it is tried again after, at most [`OnLost::MAX_LOSSES`].
    pub retries: u32,
    /// What becomes of it with the next one.
    pub then: Poison,
}

impl Default for Losses {
    fn default() -> Self {
        Self { retries: OnLost::MAX_LOSSES, then: Poison::default() }
    }
}

/// What becomes of a run that was lost with its nodes too often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Poison {
    /// It is out of attempts.
    #[default]
    DeadLetter,
    /// It is tried again, once, on quarantine nodes only; lost there, it is out of attempts.
    Quarantine,
}

/// How long a finished run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Age after its end, in milliseconds.
    pub max_age_ms: u64,
    /// Whether its output is kept at all after the run has ended.
    pub keep_output: bool,
}

impl Retention {
    /// A day, with output.
    pub const DEFAULT: Self = Self { max_age_ms: 86_400_000, keep_output: true };
}

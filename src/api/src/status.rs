//! Words of state: a run's status, an instance's role and readiness.

use serde::{Deserialize, Serialize};

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It waits.
    Pending,
    /// It was given to a node.
    Scheduled,
    /// Its program runs.
    Running,
    /// Its program ended with exit code 0.
    Succeeded,
    /// It ended in any other way.
    Failed,
    /// A caller ended it.
    Canceled,
    /// The law refused it.
    Rejected,
}

impl Status {
    /// Every status, in the order of a run's life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Scheduled,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
        Self::Rejected,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Scheduled => "SCHEDULED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
            Self::Rejected => "REJECTED",
        }
    }

    /// The status a word stands for; case does not matter.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(word))
    }

    /// Whether nothing changes it any more.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Scheduled | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Canceled | Self::Rejected => true,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether an instance holds the pen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It decides and writes.
    Leader,
    /// It folds what the leader writes.
    Follower,
}

/// The answer of `/readyz`, with 200 or 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readyz {
    /// Role of the instance.
    pub role: Role,
    /// Epoch of the leader it knows of.
    pub epoch: u64,
    /// Last journal entry it has folded.
    pub applied_index: u64,
    /// Revision of the law it enforces.
    pub policy_revision: u64,
    /// Journal entries it has not folded yet.
    pub journal_lag: u64,
    /// URL of the leader, where one is known.
    pub leader: Option<String>,
    /// What an acknowledgement promises, as Redis was set up when it was asked last.
    pub durability: String,
    /// What this instance signs checkpoints with when it leads: the public half, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Where an agent saw another journal than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<WitnessConflict>,
    /// Why it is not ready; none on 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An agent saw an entry that the journal does not have: it was rewritten, cut off, or an old copy
/// was put in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessConflict {
    /// How often that was seen since this process started.
    pub conflicts: u64,
    /// The node of the latest one.
    pub node: String,
    /// The entry that its agent saw, as its receipt.
    pub seen: String,
    /// What the journal has in that place; null where it ends before.
    pub found: Option<String>,
}

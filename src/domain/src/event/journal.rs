//! What has happened to the journal itself: who writes it, what vouches for it, what may leave it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Origin;
use crate::ids::{Digest, Hex, Sequence, Timestamp};

/// An instance holds the pen from here on. The journal's own entry: nothing is decided before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderStarted {
    /// When, in log time.
    pub at: Timestamp,
    /// One more than the epoch of the entry before.
    pub epoch: u64,
    /// The process.
    pub boot: Uuid,
    /// How others reach it.
    pub url: Box<str>,
    /// Version of the program.
    pub version: Box<str>,
    /// What its checkpoints are signed with: the public half (Ed25519, RFC 8032). None in journals
    /// from before there were any.
    pub key: Option<Hex<32>>,
    /// The highest level of features that it reads: see [`LevelRaised`].
    pub reads_level: u32,
}

/// A snapshot of the state after this entry is being made, by a replay beside the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotBegun {
    /// When, in log time.
    pub at: Timestamp,
}

/// A snapshot is stored, and was loaded again to see that it is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTaken {
    /// When, in log time.
    pub at: Timestamp,
    /// The entry after which the state was so: one that holds a [`SnapshotBegun`].
    pub index: Sequence,
    /// Digest of the state: see [`World::digest`](crate::World::digest).
    pub digest: Digest,
    /// Bytes stored.
    pub bytes: u64,
    /// The version of the state's shape that the digest is of; 0 in records that do not say.
    pub state: u32,
}

/// Everything up to an entry is in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalArchived {
    /// When, in log time.
    pub at: Timestamp,
    /// The last entry that is.
    pub through: Sequence,
    /// Its hash, and so that of everything before.
    pub hash: Digest,
}

/// What lies before an entry may leave Redis: it is archived, and covered by two snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalTrimmed {
    /// When, in log time.
    pub at: Timestamp,
    /// The first entry that stays.
    pub first: Sequence,
}

/// An instance vouches for the journal up to an entry. No state comes of it: a witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointSigned {
    /// When, in log time.
    pub at: Timestamp,
    /// The entry.
    pub index: Sequence,
    /// Its hash.
    pub hash: Digest,
    /// Whose: the public key, as its [`LeaderStarted`] has it.
    pub key: Hex<32>,
    /// Ed25519 (RFC 8032), over what `docs/journal.md` says.
    pub signature: Hex<64>,
}

/// From here on events may be written that older programs do not read: an operator says that no such
/// program is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelRaised {
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// The level in force from here on.
    pub level: u32,
}

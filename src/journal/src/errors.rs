//! How the journal fails, in sentences that say what to do.
//!
//! Owns:   why a start ends ([`OpenError`], with its exit code), why a journal must not be used
//!         ([`Refusal`]), what may be asked again ([`Trouble`]).
//! Never:  speaks of an append whose fate is not known: that is [`Appended`](crate::Appended)'s.
//! Proof:  `tests/refusals.rs`.

use std::sync::Arc;

use crate::catalog::UnreadableRecord;
use crate::entry::DamagedEntry;
use crate::ids::{ClusterId, EntryId};

/// Why a start ends. Each is one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The configuration, the credentials or the settings of the server are wrong.
    #[error("{0}")]
    Configuration(String),
    /// No usable server within the wait.
    #[error("{0}")]
    Unreachable(String),
    /// There is a journal, and it must not be used.
    #[error(transparent)]
    Refused(Refusal),
}

impl OpenError {
    /// The exit code of a server that ends with this: `docs/operations.md`, watching.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
        }
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Trouble(trouble) => Self::Unreachable(trouble.to_string()),
            ReadError::Damaged(damaged) => Self::Refused(damaged.into()),
        }
    }
}

impl From<UnreadableRecord> for OpenError {
    fn from(unreadable: UnreadableRecord) -> Self {
        Self::Refused(unreadable.into())
    }
}

/// Why a journal must not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There was one, and now there is none.
    #[error(
        "there is no journal in {place}, and this instance belongs to cluster {expected}: restore \
         the data of Redis, or remove {expected_by} to begin anew"
    )]
    Empty {
        /// Server, database and key.
        place: String,
        /// The remembered cluster.
        expected: ClusterId,
        /// Where it is remembered.
        expected_by: String,
    },
    /// It is another cluster's.
    #[error(
        "the journal in {place} belongs to cluster {found}, and this instance to {expected}: \
         correct REDIS_ADDR, REDIS_DB or TARTARUS_KEY_PREFIX, or remove {expected_by} to join it"
    )]
    Foreign {
        /// Server, database and key.
        place: String,
        /// The remembered cluster.
        expected: ClusterId,
        /// The journal's.
        found: ClusterId,
        /// Where it is remembered.
        expected_by: String,
    },
    /// It was restored from a backup, or swapped, under a running instance.
    #[error("the journal is another one than at start ({found:?}, then {pinned:?}): restart")]
    Swapped {
        /// As it was at start.
        pinned: crate::entry::Identity,
        /// As it is now.
        found: crate::entry::Identity,
    },
    /// Written by a newer program.
    #[error(
        "the journal has format {found}, and this program reads {known}: start a newer program"
    )]
    TooNew {
        /// Format found.
        found: String,
        /// Format known.
        known: u32,
    },
    /// A key is missing or is something else, while others say that there is a journal.
    #[error("{key} is {found}, but the journal needs a {wanted}: restore the data of Redis")]
    Key {
        /// The key.
        key: String,
        /// The type found, or `missing`.
        found: String,
        /// The type needed.
        wanted: &'static str,
    },
    /// A key holds what nobody wrote.
    #[error("{key} holds {found:?}, which is not {wanted}: restore the data of Redis")]
    Value {
        /// The key.
        key: String,
        /// The value found.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The head and the stream disagree: somebody wrote by hand, or Redis lost a part of a write.
    #[error(
        "{key} says that entry {head} is the newest, and {last} is the last that the stream was given: \
         restore the data of Redis, or undo what was removed or written by hand"
    )]
    HeadDiffers {
        /// The key of the head.
        key: String,
        /// What it says.
        head: EntryId,
        /// What the stream says.
        last: EntryId,
    },
    /// Entries are missing in the middle.
    #[error(
        "the journal goes from entry {first} to entry {last} and has {length} entries: some are \
         missing; restore the data of Redis"
    )]
    Hole {
        /// Oldest entry.
        first: EntryId,
        /// Newest entry.
        last: EntryId,
        /// Entries there are.
        length: u64,
    },
    /// Entries are missing at the beginning.
    #[error(
        "the journal begins with entry {first}, and those from entry {floor} on were to stay: some were \
         removed by hand, or lost; restore the data of Redis"
    )]
    Trimmed {
        /// Oldest entry.
        first: EntryId,
        /// The first entry that was to stay.
        floor: u64,
    },
    /// An entry is damaged.
    #[error("{0}; restore the data of Redis")]
    Damaged(#[from] DamagedEntry),
    /// An entry is whole, and this program does not understand it.
    #[error(transparent)]
    Unreadable(#[from] UnreadableRecord),
}

/// Why a running journal's checks failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Ask again later.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// Never again.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a page could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Ask again later.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The journal is not what it was.
    #[error(transparent)]
    Damaged(#[from] DamagedEntry),
}

/// Why a call other than an append failed. Each may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No connection, no reply in time, or the connection ended.
    #[error("the journal cannot be reached: {0}")]
    Unreachable(Arc<str>),
    /// The server answers, and refuses for now.
    #[error("the journal refuses for now: {0}")]
    Busy(Arc<str>),
    /// The server answers, but it is a replica.
    #[error("the journal's server is not the primary: {0}")]
    WrongServer(Arc<str>),
    /// The server answers, and will go on refusing: credentials, permissions, wrong types.
    #[error("the journal refuses: {0}")]
    Denied(Arc<str>),
}

/// What the first word of a refusal says.
fn meaning(reply: &str) -> &'static str {
    match reply.split([' ', ':']).next() {
        Some("NOHEAD") => "the key of its head is gone",
        Some("NOSTREAM") => "its stream is gone",
        Some("REJECTED" | "CONFLICT") => "somebody has written to it by hand",
        Some("WRONGTYPE") => "one of its keys is something else",
        Some("NOPERM") => "the user of Redis may not do that",
        Some(_) | None => "Redis refuses for good",
    }
}

/// Why the journal must not be written any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The server refused for a reason that does not pass.
    #[error("the journal can't be written, {what}: {0}", what = meaning(.0))]
    Reply(Arc<str>),
    /// The checks of a new connection failed.
    #[error(transparent)]
    Check(Arc<Refusal>),
}

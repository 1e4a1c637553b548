//! Every way in which the bytes of an entry can be wrong.

use domain::ids::Sequence;

use crate::entry::{HEADER_LEN, MAX_BODY_BYTES};
use crate::ids::{ClusterId, EntryId};

/// What is wrong with the bytes of an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Fewer bytes than a header.
    #[error("it has {len} bytes, less than the {HEADER_LEN} of a header")]
    TooShort {
        /// Bytes found.
        len: usize,
    },
    /// The magic is not there.
    #[error("it was not written by Tartarus")]
    NotAnEntry,
    /// A newer program wrote it.
    #[error("its format is {found} and this program reads 1 and 2: start a newer program")]
    UnknownFormat {
        /// Format found.
        found: u8,
    },
    /// Another journal's.
    #[error("it belongs to cluster {found}, and this journal is {expected}")]
    ForeignCluster {
        /// Cluster of the journal.
        expected: ClusterId,
        /// Cluster of the entry.
        found: ClusterId,
    },
    /// The same journal, before or after a restore.
    #[error("it belongs to incarnation {found} of the journal, not {expected}")]
    ForeignIncarnation {
        /// Incarnation of the journal.
        expected: u32,
        /// Incarnation of the entry.
        found: u32,
    },
    /// The stream's id and the header differ, or entries are missing.
    #[error("its header says sequence {found}")]
    WrongSequence {
        /// What the header says.
        found: Sequence,
    },
    /// Entries are missing in front of it.
    #[error("it follows entry {after}: {} entries between them are missing", .found - .after - 1)]
    Gap {
        /// Last entry before the hole.
        after: Sequence,
        /// First entry after it.
        found: Sequence,
    },
    /// It should have been read before.
    #[error("it comes again after entry {after}")]
    OutOfOrder {
        /// Last entry before.
        after: Sequence,
    },
    /// Chained to something else.
    #[error("it is not chained to the entry before it (its history is another one)")]
    WrongPrevious,
    /// Cut or grown.
    #[error("its body has {found} bytes and its header says {declared}")]
    WrongLength {
        /// What the header says.
        declared: u32,
        /// Bytes found.
        found: usize,
    },
    /// Larger than any writer makes.
    #[error("its body of {len} bytes is over the limit of {MAX_BODY_BYTES}")]
    TooLarge {
        /// Bytes found.
        len: usize,
    },
    /// The checksum fails.
    #[error("its body does not match its checksum")]
    WrongChecksum,
    /// The hash fails.
    #[error("its content does not match its id (its hash gives {computed})")]
    WrongHash {
        /// The id that the content has.
        computed: EntryId,
    },
    /// Time or reign runs backwards.
    #[error("its {what} is {found}, less than the {before} of the entry before")]
    Decreasing {
        /// `epoch` or `time`.
        what: &'static str,
        /// Value before.
        before: u64,
        /// Value found.
        found: u64,
    },
    /// A frame runs over the end.
    #[error("record {index} is cut off")]
    CutRecord {
        /// Place in the entry, from 0.
        index: u32,
    },
    /// A frame has flags that this program does not know.
    #[error("record {index} has unknown flags {flags:#04x}: start a newer program")]
    UnknownFlags {
        /// Place in the entry, from 0.
        index: u32,
        /// Flags found.
        flags: u8,
    },
    /// What is apart from its records is not what they say.
    #[error("what is apart from its records is cut off, grown or no such thing")]
    WrongApart,
    /// Something was taken out of it, where all of it is needed.
    #[error(
        "secrets were taken out of it: it can be verified, and nothing can be done by it; restore \
         the journal from a copy that is whole"
    )]
    Redacted,
    /// The count fails.
    #[error("it holds {found} records and its header says {declared}")]
    WrongCount {
        /// What the header says.
        declared: u32,
        /// Records found.
        found: u32,
    },
}

/// A fault, and the entry that has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal entry {id}: {fault}")]
pub struct DamagedEntry {
    /// The entry, as the stream calls it.
    pub id: EntryId,
    /// What is wrong.
    #[source]
    pub fault: EntryFault,
}

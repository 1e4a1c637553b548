//! Mnemosyne's handwriting: the bytes of one journal entry.
//!
//! Owns:   the header, the framing of records, and every way in which bytes can be wrong.
//! Hears:  records from the [`catalog`](crate::catalog), one batch at a time.
//! Says:   [`Entry`], whose frames were walked once and can be walked again without a check.
//! Never:  knows what a record means, or copies one: records are slices of the entry's bytes.
//! Fails:  an [`EntryFault`] names what is wrong, and the record where it is one.
//! Proof:  the tests below; `tests/flips.rs` (every flipped bit is found).
//!
//! ```text
//! entry  = header (109 bytes, integers little-endian) | body
//! header = magic "TOJE" | format u8 | cluster uuid 16 | incarnation u32 | seq u64 | epoch u64
//!        | writer's boot uuid 16 | at_ms u64 | records u32 | body_len u32 | prev hash 32 | crc32c(body) u32
//! body   = records: type u16 | version u16 | flags u8 (bit 0: critical) | len u32 | payload
//! hash   = BLAKE3(prev hash | header | body); id = <seq>-<first 8 bytes of the hash>
//! ```

use std::fmt;

use bytes::Bytes;
use domain::ids::Sequence;
use uuid::Uuid;

use crate::ids::{ChainHash, ClusterId, EntryId, Position};

/// Bytes of the header.
pub const HEADER_LEN: usize = 109;
/// Bytes in front of a record's payload.
pub const FRAME_LEN: usize = 9;
/// Largest body of an entry: one `runs:batch` call is one entry, and a page of reads holds one.
pub const MAX_BODY_BYTES: usize = 4 << 20;
/// Where a group commit ends a batch, between two commands: above about 56 KiB Redis pads an entry
/// by a quarter of its size (allocator classes), below it by at most 4 %.
pub const BATCH_CUT_BYTES: usize = 56 << 10;
// One largest entry must fit well into the smallest `proto-max-bulk-len` that preflight allows.
const _: () = assert!(MAX_BODY_BYTES + HEADER_LEN < crate::limits::MIN_PROTO_MAX_BULK_LEN as usize);

const MAGIC: [u8; 4] = *b"TOJE";
const FORMAT: u8 = 1;
const CRITICAL: u8 = 1;

/// Which journal an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// Counts deliberate restores of the journal from a backup, from 1.
    pub incarnation: u32,
}

/// The fixed part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which journal.
    pub identity: Identity,
    /// The entry's number, contiguous from 1.
    pub seq: Sequence,
    /// Which leader's reign, never decreasing. For people and agents; the fence is the id.
    pub epoch: u64,
    /// The writer's process.
    pub boot: Uuid,
    /// Log time in milliseconds since the Unix epoch, never decreasing.
    pub at_ms: u64,
    /// Records in the body.
    pub records: u32,
    /// Bytes of the body.
    pub body_len: u32,
    /// Hash of the entry before.
    pub prev: ChainHash,
    /// CRC-32C of the body.
    pub crc: u32,
}

impl Header {
    fn write(&self, to: &mut [u8; HEADER_LEN]) {
        let mut rest = &mut to[..];
        let mut put = |bytes: &[u8]| {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            rest = after;
        };
        put(&MAGIC);
        put(&[FORMAT]);
        put(self.identity.cluster.0.as_bytes());
        put(&self.identity.incarnation.to_le_bytes());
        put(&self.seq.to_le_bytes());
        put(&self.epoch.to_le_bytes());
        put(self.boot.as_bytes());
        put(&self.at_ms.to_le_bytes());
        put(&self.records.to_le_bytes());
        put(&self.body_len.to_le_bytes());
        put(&self.prev.0);
        put(&self.crc.to_le_bytes());
    }

    fn parse(bytes: &[u8]) -> Result<Self, EntryFault> {
        let short = EntryFault::TooShort { len: bytes.len() };
        let mut rest = bytes;
        if take::<4>(&mut rest).ok_or(short.clone())? != MAGIC {
            return Err(EntryFault::NotAnEntry);
        }
        match take::<1>(&mut rest).ok_or(short.clone())? {
            [FORMAT] => {}
            [found] => return Err(EntryFault::UnknownFormat { found }),
        }
        let header = (|| {
            Some(Self {
                identity: Identity {
                    cluster: ClusterId(Uuid::from_bytes(take(&mut rest)?)),
                    incarnation: u32::from_le_bytes(take(&mut rest)?),
                },
                seq: u64::from_le_bytes(take(&mut rest)?),
                epoch: u64::from_le_bytes(take(&mut rest)?),
                boot: Uuid::from_bytes(take(&mut rest)?),
                at_ms: u64::from_le_bytes(take(&mut rest)?),
                records: u32::from_le_bytes(take(&mut rest)?),
                body_len: u32::from_le_bytes(take(&mut rest)?),
                prev: ChainHash(take(&mut rest)?),
                crc: u32::from_le_bytes(take(&mut rest)?),
            })
        })();
        header.ok_or(short)
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*head)
}

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
    #[error("its format is {found} and this program reads {FORMAT}: start a newer program")]
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

/// One record: a framed event whose meaning the [`catalog`](crate::catalog) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of its type, never reused.
    pub kind: u16,
    /// Version of its type, from 1.
    pub version: u16,
    /// Whether a reader that does not know it must stop.
    pub critical: bool,
    /// The encoded event.
    pub payload: &'a [u8],
}

/// The records of a body. Ends at the first bad frame; see [`Records::fault`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: u32,
    fault: Option<EntryFault>,
}

impl<'a> Records<'a> {
    fn of(body: &'a [u8]) -> Self {
        Self { rest: body, index: 0, fault: None }
    }

    /// Why the iteration ended before the body did. Never for the records of an [`Entry`].
    pub fn fault(&self) -> Option<&EntryFault> {
        self.fault.as_ref()
    }

    fn frame(&mut self) -> Result<Record<'a>, EntryFault> {
        let cut = EntryFault::CutRecord { index: self.index };
        let Some((&[k0, k1, v0, v1, flags, l0, l1, l2, l3], rest)) =
            self.rest.split_first_chunk::<FRAME_LEN>()
        else {
            return Err(cut);
        };
        if flags & !CRITICAL != 0 {
            return Err(EntryFault::UnknownFlags { index: self.index, flags });
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let (payload, rest) = rest.split_at_checked(len).ok_or(cut)?;
        self.rest = rest;
        self.index += 1;
        Ok(Record {
            kind: u16::from_le_bytes([k0, k1]),
            version: u16::from_le_bytes([v0, v1]),
            critical: flags & CRITICAL != 0,
            payload,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.rest.is_empty() || self.fault.is_some() {
            return None;
        }
        match self.frame() {
            Ok(record) => Some(record),
            Err(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }
}

/// An entry whose bytes were checked: lengths, checksum, hash and frames. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    header: Header,
    hash: ChainHash,
    bytes: Bytes,
}

impl Entry {
    /// Checks everything that an entry can prove by itself: its content against its id, and its
    /// frames. That it belongs here and follows the one before is a [`Cursor`](crate::Cursor)'s
    /// to check.
    ///
    /// # Errors
    /// The first fault found, with the id it was stored under.
    pub fn parse(id: EntryId, bytes: Bytes) -> Result<Self, DamagedEntry> {
        Self::parse_bytes(id, bytes).map_err(|fault| DamagedEntry { id, fault })
    }

    fn parse_bytes(id: EntryId, bytes: Bytes) -> Result<Self, EntryFault> {
        let header = Header::parse(&bytes)?;
        let body = &bytes[HEADER_LEN..];
        if body.len() > MAX_BODY_BYTES {
            return Err(EntryFault::TooLarge { len: body.len() });
        }
        if body.len() != header.body_len as usize {
            return Err(EntryFault::WrongLength { declared: header.body_len, found: body.len() });
        }
        if header.seq != id.seq {
            return Err(EntryFault::WrongSequence { found: header.seq });
        }
        if crc32c::crc32c(body) != header.crc {
            return Err(EntryFault::WrongChecksum);
        }
        let hash = hash_of(&header.prev, &bytes);
        let computed = EntryId { seq: header.seq, h64: hash.h64() };
        if computed != id {
            return Err(EntryFault::WrongHash { computed });
        }
        let mut records = Records::of(body);
        let found = records.by_ref().count() as u32;
        if let Some(fault) = records.fault {
            return Err(fault);
        }
        if found != header.records {
            return Err(EntryFault::WrongCount { declared: header.records, found });
        }
        Ok(Self { header, hash, bytes })
    }

    /// The fixed part.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number.
    pub fn seq(&self) -> Sequence {
        self.header.seq
    }

    /// The id.
    pub fn id(&self) -> EntryId {
        self.position().id()
    }

    /// The place in the chain.
    pub fn position(&self) -> Position {
        Position { seq: self.header.seq, hash: self.hash }
    }

    /// The records, in order.
    pub fn records(&self) -> Records<'_> {
        Records::of(&self.bytes[HEADER_LEN..])
    }

    /// Header and body, as stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id())
            .field("epoch", &self.header.epoch)
            .field("records", &self.header.records)
            .field("body_len", &self.header.body_len)
            .finish_non_exhaustive()
    }
}

fn hash_of(prev: &ChainHash, bytes: &[u8]) -> ChainHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prev.0);
    hasher.update(bytes);
    ChainHash(*hasher.finalize().as_bytes())
}

/// The records of one entry to be, in the order of their events.
#[derive(Clone)]
pub struct Batch {
    /// Room for the header, then the body, so that sealing copies nothing.
    bytes: Vec<u8>,
    records: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        Self { bytes: vec![0; HEADER_LEN], records: 0 }
    }

    /// Bytes of the body so far.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEADER_LEN
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records so far.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Adds a record whose payload `write` appends.
    ///
    /// # Errors
    /// Whatever `write` refuses; the batch is then as it was before.
    pub fn push_with<E>(
        &mut self,
        kind: u16,
        version: u16,
        critical: bool,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&version.to_le_bytes());
        self.bytes.push(if critical { CRITICAL } else { 0 });
        let len_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        if let Err(refused) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(refused);
        }
        // A payload beyond u32 is far beyond MAX_BODY_BYTES: `seal` refuses the batch by its size.
        let len = (self.bytes.len() - len_at - 4) as u32;
        self.bytes[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
        self.records += 1;
        Ok(())
    }

    /// Adds a record as it is.
    pub fn push(&mut self, record: Record<'_>) {
        let Record { kind, version, critical, payload } = record;
        let written: Result<(), std::convert::Infallible> =
            self.push_with(kind, version, critical, |to| {
                to.extend_from_slice(payload);
                Ok(())
            });
        match written {
            Ok(()) => {}
        }
    }

    /// Adds all records of another batch behind its own.
    pub fn extend(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes[HEADER_LEN..]);
        self.records += other.records;
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("records", &self.records).field("len", &self.len()).finish()
    }
}

/// A batch whose body is over [`MAX_BODY_BYTES`]. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of {len} bytes is over the limit of {MAX_BODY_BYTES} bytes: send fewer at once")]
pub struct BatchTooLarge {
    /// Bytes of its body.
    pub len: usize,
}

/// What [`seal`] needs to know beside the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    pub(crate) after: Position,
    pub(crate) epoch: u64,
    pub(crate) boot: Uuid,
    pub(crate) at_ms: u64,
}

/// Writes the header and computes the hash.
pub(crate) fn seal(stamp: Stamp, batch: Batch) -> Result<Entry, BatchTooLarge> {
    let len = batch.len();
    if len > MAX_BODY_BYTES {
        return Err(BatchTooLarge { len });
    }
    let Batch { mut bytes, records } = batch;
    let header = Header {
        identity: stamp.identity,
        seq: stamp.after.seq + 1,
        epoch: stamp.epoch,
        boot: stamp.boot,
        at_ms: stamp.at_ms,
        records,
        body_len: len as u32,
        prev: stamp.after.hash,
        crc: crc32c::crc32c(&bytes[HEADER_LEN..]),
    };
    if let Some(room) = bytes.first_chunk_mut::<HEADER_LEN>() {
        header.write(room);
    }
    let hash = hash_of(&header.prev, &bytes);
    Ok(Entry { header, hash, bytes: bytes.into() })
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;

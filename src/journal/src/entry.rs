//! Mnemosyne's handwriting: the bytes of one journal entry.
//!
//! Owns:   the header, the framing of records, and every way in which bytes can be wrong.
//! Hears:  batches, from [`batch`](crate::batch); bytes, from whoever stored them.
//! Says:   [`Entry`], whose frames were walked once and can be walked again without a check.
//! Never:  knows what a record means, or copies one: records are slices of the entry's bytes.
//! Fails:  an [`EntryFault`] names what is wrong, and the record where it is one.
//! Proof:  the tests below; `tests/flips.rs` (every flipped bit is found).
//!
//! ```text
//! entry  = header (109 bytes, integers little-endian) | body | what is apart, in format 2
//! header = magic "TOJE" | format u8 | cluster uuid 16 | incarnation u32 | seq u64 | epoch u64
//!        | writer's boot uuid 16 | at_ms u64 | records u32 | body_len u32 | prev hash 32 | crc32c(body) u32
//! body   = records: type u16 | version u16 | flags u8 | len u32 | payload
//! flags  = bit 0: critical; in format 2 also what of the record is apart, bit 1: env, 2: stdin, 3: marks
//! hash   = BLAKE3(prev hash | header | body | commitments to what is apart)
//! id     = <seq>-<first 8 bytes of the hash>
//! ```
//!
//! What is apart, and what commits to it, is [`apart`](crate::apart)'s. It is under the hash through its
//! commitments alone, so that an entry keeps its id when secrets are taken out of it.

use std::fmt;

use bytes::Bytes;
use domain::ids::Sequence;
use uuid::Uuid;

use crate::apart::{self, Kinds, Parts};
pub use crate::damage::{DamagedEntry, EntryFault};
use crate::ids::{ChainHash, ClusterId, EntryId, Position};
pub use crate::records::{Record, Records};

/// Bytes of the header.
pub const HEADER_LEN: usize = 109;
/// Bytes in front of a record's payload.
pub const FRAME_LEN: usize = 9;
/// Largest body of an entry, with what is apart from it: one `runs:batch` call is one entry, and a
/// page of reads holds one.
pub const MAX_BODY_BYTES: usize = 4 << 20;
/// Where a group commit ends a batch, between two commands: above about 56 KiB Redis pads an entry
/// by a quarter of its size (allocator classes), below it by at most 4 %.
pub const BATCH_CUT_BYTES: usize = 56 << 10;
// One largest entry must fit well into the smallest `proto-max-bulk-len` that preflight allows.
const _: () = assert!(MAX_BODY_BYTES + HEADER_LEN < crate::limits::MIN_PROTO_MAX_BULK_LEN as usize);

const MAGIC: [u8; 4] = *b"TOJE";

/// How an entry is written. Both are read for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// 1: records hold their secrets.
    Plain = 1,
    /// 2: secrets are apart from the records.
    #[default]
    Apart = 2,
}

impl Format {
    fn of(byte: u8) -> Option<Self> {
        [Self::Plain, Self::Apart].into_iter().find(|format| *format as u8 == byte)
    }
}

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
    /// How it is written.
    pub format: Format,
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
    pub(crate) fn write(&self, to: &mut [u8; HEADER_LEN]) {
        let mut rest = &mut to[..];
        let mut put = |bytes: &[u8]| {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            rest = after;
        };
        put(&MAGIC);
        put(&[self.format as u8]);
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
        let [found] = take::<1>(&mut rest).ok_or(short.clone())?;
        let format = Format::of(found).ok_or(EntryFault::UnknownFormat { found })?;
        let header = (|| {
            Some(Self {
                format,
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

/// An entry whose bytes were checked: lengths, checksum, hash and frames. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    header: Header,
    hash: ChainHash,
    bytes: Bytes,
}

impl Entry {
    /// One that was written here.
    pub(crate) fn sealed(header: Header, hash: ChainHash, bytes: Bytes) -> Self {
        Self { header, hash, bytes }
    }

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
        let behind = &bytes[HEADER_LEN..];
        let declared = header.body_len;
        let wrong_length = EntryFault::WrongLength { declared, found: behind.len() };
        let (body, section) =
            behind.split_at_checked(declared as usize).ok_or(wrong_length.clone())?;
        if header.format == Format::Plain && !section.is_empty() {
            return Err(wrong_length);
        }
        if behind.len() > MAX_BODY_BYTES + apart::room(section) {
            return Err(EntryFault::TooLarge { len: behind.len() });
        }
        if header.seq != id.seq {
            return Err(EntryFault::WrongSequence { found: header.seq });
        }
        if crc32c::crc32c(body) != header.crc {
            return Err(EntryFault::WrongChecksum);
        }
        let survey = Records::of(header.format, body, Parts::NONE).survey()?;
        if survey.has_apart == section.is_empty() {
            return Err(EntryFault::WrongApart);
        }
        let hash =
            hash_of(&header.prev, &bytes[..HEADER_LEN + body.len()], section, survey.secrets);
        let hash = hash.ok_or(EntryFault::WrongApart)?;
        let computed = EntryId { seq: header.seq, h64: hash.h64() };
        if computed != id {
            return Err(EntryFault::WrongHash { computed });
        }
        let found = survey.records;
        if found != header.records {
            return Err(EntryFault::WrongCount { declared: header.records, found });
        }
        let entry = Self { header, hash, bytes };
        let mut records = entry.records();
        if survey.has_apart {
            // Marks are cut by the records they are of.
            records.by_ref().for_each(drop);
            if records.fault().is_some() || records.has_more_marks() {
                return Err(EntryFault::WrongApart);
            }
        }
        Ok(entry)
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

    /// The end of a journal that ends with it.
    pub fn tail(&self) -> crate::Tail {
        crate::chain::tail_of(self)
    }

    /// The records, in order.
    pub fn records(&self) -> Records<'_> {
        let (body, section) = self.halves();
        Records::of(self.header.format, body, Parts::of(section).unwrap_or(Parts::NONE))
    }

    /// The body, and what is apart from it.
    fn halves(&self) -> (&[u8], &[u8]) {
        self.bytes[HEADER_LEN..].split_at(self.header.body_len as usize)
    }

    /// Header, body and what is apart, as stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is a copy that something was taken out of.
    pub fn is_redacted(&self) -> bool {
        apart::is_copy(self.halves().1)
    }

    /// The same entry, with the same id and hash, without its secrets of these kinds: commitments
    /// stand for them. What is in the records themselves (format 1) stays.
    #[must_use]
    pub fn redacted(&self, kinds: Kinds) -> Self {
        if kinds == Kinds::NONE { self.clone() } else { self.without(|_, kind| kinds.meet(kind)) }
    }

    /// The same entry, with the same id and hash, without any secret but those of these kinds of one
    /// record.
    #[must_use]
    pub fn revealing(&self, record: u32, kinds: Kinds) -> Self {
        self.without(|at, kind| at != record || !kinds.meet(kind))
    }

    fn without(&self, takes: impl Fn(u32, Kinds) -> bool) -> Self {
        let (body, section) = self.halves();
        if section.is_empty() {
            return self.clone();
        }
        let taken = Records::of(self.header.format, body, Parts::NONE).taken(takes);
        let bytes = apart::redact(&self.bytes[..HEADER_LEN + body.len()], section, taken);
        Self { header: self.header, hash: self.hash, bytes: bytes.into() }
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

/// None where what is apart is not so many secrets.
pub(crate) fn hash_of(
    prev: &ChainHash,
    public: &[u8],
    section: &[u8],
    secrets: u32,
) -> Option<ChainHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prev.0);
    hasher.update(public);
    if !section.is_empty() {
        apart::absorb(section, secrets, &mut hasher)?;
    }
    Some(ChainHash(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;

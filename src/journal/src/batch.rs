//! Entries to be: records are collected, then sealed.
//!
//! Never:  gives a number to a batch that is too large.

use std::fmt;

use uuid::Uuid;

use crate::apart::{Apart, Secret, Secrets};
use crate::entry::{Entry, Format, HEADER_LEN, Header, Identity, MAX_BODY_BYTES, hash_of};
use crate::ids::Position;
use crate::records::{CRITICAL, ENV, MARKS, Record, STDIN};

/// The records of one entry to be, in the order of their events.
#[derive(Clone)]
pub struct Batch {
    format: Format,
    /// Room for the header, then the body, so that sealing copies nothing but secrets.
    bytes: Vec<u8>,
    records: u32,
    apart: Apart,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty one, in the newest format.
    pub fn new() -> Self {
        Self::of(Format::default())
    }

    /// An empty one.
    pub fn of(format: Format) -> Self {
        Self { format, bytes: vec![0; HEADER_LEN], records: 0, apart: Apart::default() }
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes of the body so far, with what is apart from it.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEADER_LEN + self.apart.len()
    }

    /// Whether something is apart from a record.
    pub(crate) fn has_apart(&self) -> bool {
        !self.apart.is_empty()
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records so far.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Adds a record whose payload `write` appends, and which has nothing apart.
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
        let payload = &[][..];
        let secrets = Secrets::NONE;
        self.push_apart(Record { kind, version, critical, payload, secrets }, write)
    }

    /// Adds a record with its secrets, whose payload `write` appends to the one it has.
    ///
    /// # Errors
    /// Whatever `write` refuses; the batch is then as it was before.
    ///
    /// # Panics
    /// It has secrets and the format has no place for them, or they were taken out: a bug.
    pub fn push_apart<E>(
        &mut self,
        record: Record<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Record { kind, version, critical, payload, secrets } = record;
        let plain = secrets == Secrets::NONE;
        assert!(plain || self.format == Format::Apart, "format 1 keeps nothing apart");
        assert!(!secrets.is_redacted(), "what was taken out can't be written");
        let flag = |secret, flag| if secret == Secret::None { 0 } else { flag };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&version.to_le_bytes());
        self.bytes.push(
            flag(secrets.env, ENV)
                | flag(secrets.stdin, STDIN)
                | flag(secrets.marks, MARKS)
                | if critical { CRITICAL } else { 0 },
        );
        let len_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(payload);
        if let Err(refused) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(refused);
        }
        // A payload beyond u32 is far beyond MAX_BODY_BYTES: `seal` refuses the batch by its size.
        let len = (self.bytes.len() - len_at - 4) as u32;
        self.bytes[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
        self.records += 1;
        if !plain {
            self.apart.push(secrets);
        }
        Ok(())
    }

    /// Adds a record as it is.
    ///
    /// # Panics
    /// As [`Self::push_apart`].
    pub fn push(&mut self, record: Record<'_>) {
        let written: Result<(), std::convert::Infallible> = self.push_apart(record, |_| Ok(()));
        match written {
            Ok(()) => {}
        }
    }

    /// Adds all records of another batch of the same format behind its own.
    pub fn extend(&mut self, other: &Self) {
        debug_assert_eq!(self.format, other.format, "records of two formats in one entry");
        self.bytes.extend_from_slice(&other.bytes[HEADER_LEN..]);
        self.records += other.records;
        self.apart.extend(&other.apart);
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
    /// Bytes of its body, with what is apart from it.
    pub len: usize,
}

/// What [`seal`] needs to know beside the batch.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    pub(crate) after: Position,
    pub(crate) epoch: u64,
    pub(crate) boot: Uuid,
    pub(crate) at_ms: u64,
    /// Nobody can guess it: secrets are salted from it, where there are some.
    pub(crate) seed: [u8; 32],
}

/// Writes the header and computes the hash.
pub(crate) fn seal(stamp: Stamp, batch: Batch) -> Result<Entry, BatchTooLarge> {
    let len = batch.len();
    if len > MAX_BODY_BYTES {
        return Err(BatchTooLarge { len });
    }
    let Batch { format, mut bytes, records, apart } = batch;
    let public = bytes.len();
    let header = Header {
        format,
        identity: stamp.identity,
        seq: stamp.after.seq + 1,
        epoch: stamp.epoch,
        boot: stamp.boot,
        at_ms: stamp.at_ms,
        records,
        body_len: (public - HEADER_LEN) as u32,
        prev: stamp.after.hash,
        crc: crc32c::crc32c(&bytes[HEADER_LEN..]),
    };
    if let Some(room) = bytes.first_chunk_mut::<HEADER_LEN>() {
        header.write(room);
    }
    apart.write(&mut bytes, &stamp.seed);
    let (public, section) = bytes.split_at(public);
    let hash = hash_of(&header.prev, public, section, apart.count());
    Ok(Entry::sealed(header, hash.expect("a section was written just now"), bytes.into()))
}

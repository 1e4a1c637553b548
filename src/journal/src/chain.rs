//! The chain: what may follow what.
//!
//! Owns:   [`Chain`], which seals batches one behind the other, and [`Cursor`], which accepts
//!         entries one behind the other.
//! Never:  talks to anyone.
//! Fails:  a cursor refuses the first entry that does not follow, and names it; a batch over the
//!         limit is refused before it gets a number.
//! Proof:  `tests/flips.rs`, `tests/contract.rs`.

use bytes::Bytes;
use domain::ids::Sequence;
use uuid::Uuid;

use crate::batch::{Batch, BatchTooLarge, Stamp, seal};
use crate::entry::{DamagedEntry, Entry, EntryFault, Format, Identity};
use crate::ids::{ChainHash, EntryId, Position, Receipt};

/// An entry ready to be appended. Its bytes are frozen: whatever happens, these are resent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    entry: Entry,
    after: Position,
}

/// An entry that was read can be appended again where it is gone.
impl From<Entry> for Sealed {
    fn from(entry: Entry) -> Self {
        let header = entry.header();
        let after = Position { seq: header.seq.saturating_sub(1), hash: header.prev };
        Self { entry, after }
    }
}

impl Sealed {
    /// The number it will have.
    pub fn seq(&self) -> Sequence {
        self.entry.seq()
    }

    /// The id it will have.
    pub fn id(&self) -> EntryId {
        self.entry.id()
    }

    /// The id of the entry it must follow.
    pub fn prev_id(&self) -> EntryId {
        self.after.id()
    }

    /// What a client is told once it is durable.
    pub fn receipt(&self) -> Receipt {
        Receipt(self.id())
    }

    /// Header and body.
    pub fn bytes(&self) -> &Bytes {
        self.entry.bytes()
    }

    /// The entry as a reader will see it: what to publish once it is durable.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// Where the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Which journal.
    pub identity: Identity,
    /// The newest entry.
    pub position: Position,
    /// Its epoch.
    pub epoch: u64,
    /// Its log time, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// The writer's end of the chain: seals one batch behind the other.
#[derive(Clone, Debug)]
pub struct Chain {
    tail: Tail,
    boot: Uuid,
    seeds: Seeds,
}

/// Makes the seeds of salts: random, and drawn once for all entries of a reign.
#[derive(Clone)]
struct Seeds([u8; 32]);

impl Seeds {
    /// From the 244 random bits of two UUIDs.
    fn random() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(Uuid::new_v4().as_bytes()).update(Uuid::new_v4().as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// A sequence is sealed once in a reign, so no seed comes twice.
    fn of(&self, seq: Sequence) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, &seq.to_le_bytes()).as_bytes()
    }
}

impl std::fmt::Debug for Seeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seeds")
    }
}

impl Chain {
    /// Goes on after `tail` as a new leader: with the next epoch. The first batch must be the
    /// barrier, `leader.started`.
    pub fn lead_from(tail: Tail, boot: Uuid) -> Self {
        Self { tail: Tail { epoch: tail.epoch + 1, ..tail }, boot, seeds: Seeds::random() }
    }

    /// The same with salts from this seed: drawn, or the same again for who compares bytes.
    #[must_use]
    pub fn salted(self, with: [u8; 32]) -> Self {
        Self { seeds: Seeds(with), ..self }
    }

    /// The epoch of every entry it seals.
    pub fn epoch(&self) -> u64 {
        self.tail.epoch
    }

    /// The last entry sealed, or the one it goes on from.
    pub fn position(&self) -> Position {
        self.tail.position
    }

    /// Log time of the last entry sealed, in milliseconds since the Unix epoch.
    pub fn at_ms(&self) -> u64 {
        self.tail.at_ms
    }

    /// Seals a batch behind the last one. `at_ms` is log time in milliseconds since the Unix
    /// epoch; a value before the last entry's counts as the last entry's.
    ///
    /// # Errors
    /// The batch is over [`MAX_BODY_BYTES`](crate::MAX_BODY_BYTES); the chain is as before.
    pub fn seal(&mut self, at_ms: u64, batch: Batch) -> Result<Sealed, BatchTooLarge> {
        let after = self.tail.position;
        let at_ms = at_ms.max(self.tail.at_ms);
        let Tail { identity, epoch, .. } = self.tail;
        // Without anything apart there is nothing to be salted.
        let seed = if batch.has_apart() { self.seeds.of(after.seq + 1) } else { [0; 32] };
        let boot = self.boot;
        let entry = seal(Stamp { identity, after, epoch, boot, at_ms, seed }, batch)?;
        self.tail.position = entry.position();
        self.tail.at_ms = at_ms;
        Ok(Sealed { entry, after })
    }
}

/// The first entry of a new journal: no records, chained to nothing.
pub(crate) fn genesis(identity: Identity, boot: Uuid, at_ms: u64) -> Sealed {
    let after = Position::ORIGIN;
    let stamp = Stamp { identity, after, epoch: 0, boot, at_ms, seed: [0; 32] };
    // Every program reads format 1, and it has no secrets.
    match seal(stamp, Batch::of(Format::Plain)) {
        Ok(entry) => Sealed { entry, after },
        Err(BatchTooLarge { .. }) => unreachable!("an empty batch is under every limit"),
    }
}

/// The reader's end of the chain: accepts the entry that follows, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    identity: Identity,
    seq: Sequence,
    hash: Option<ChainHash>,
    epoch: u64,
    at_ms: u64,
}

impl Cursor {
    /// Before the first entry.
    pub fn start(identity: Identity) -> Self {
        Self { identity, seq: 0, hash: Some(ChainHash::ORIGIN), epoch: 0, at_ms: 0 }
    }

    /// After the entry `seq`, whose hash is not known: the first entry read is believed about
    /// what it follows. For feeds that start in the middle; state is folded from
    /// [`Cursor::start`] or [`Cursor::at`].
    pub fn after(identity: Identity, seq: Sequence) -> Self {
        Self {
            hash: if seq == 0 { Some(ChainHash::ORIGIN) } else { None },
            seq,
            ..Self::start(identity)
        }
    }

    /// After a known entry.
    pub fn at(tail: Tail) -> Self {
        let Tail { identity, position: Position { seq, hash }, epoch, at_ms } = tail;
        Self { identity, seq, hash: Some(hash), epoch, at_ms }
    }

    /// Which journal.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The last entry accepted.
    pub fn seq(&self) -> Sequence {
        self.seq
    }

    /// The last entry accepted, with what follows from it; none before the first one of a cursor
    /// made by [`Cursor::after`].
    pub fn tail(&self) -> Option<Tail> {
        let &Self { identity, seq, hash, epoch, at_ms } = self;
        hash.map(|hash| Tail { identity, position: Position { seq, hash }, epoch, at_ms })
    }

    /// Accepts the entry that the stream stores under `id`, if it is whole and follows.
    ///
    /// # Errors
    /// The first fault found. The cursor has not moved.
    pub fn accept(&mut self, id: EntryId, bytes: Bytes) -> Result<Entry, DamagedEntry> {
        let before = *self;
        let entry = self.accept_copy(id, bytes)?;
        if entry.is_redacted() {
            *self = before;
            return Err(DamagedEntry { id, fault: EntryFault::Redacted });
        }
        Ok(entry)
    }

    /// As [`Self::accept`], and secrets may have been taken out of it: for those who verify a copy and
    /// do nothing by it.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn accept_copy(&mut self, id: EntryId, bytes: Bytes) -> Result<Entry, DamagedEntry> {
        let damaged = |fault| DamagedEntry { id, fault };
        if id.seq <= self.seq {
            return Err(damaged(EntryFault::OutOfOrder { after: self.seq }));
        }
        if id.seq != self.seq + 1 {
            return Err(damaged(EntryFault::Gap { after: self.seq, found: id.seq }));
        }
        let entry = Entry::parse(id, bytes)?;
        self.follow(&entry).map_err(damaged)?;
        Ok(entry)
    }

    /// Moves over an entry that was parsed before.
    fn follow(&mut self, entry: &Entry) -> Result<(), EntryFault> {
        let header = entry.header();
        belongs(self.identity, header.identity)?;
        if self.hash.is_some_and(|hash| hash != header.prev) {
            return Err(EntryFault::WrongPrevious);
        }
        if header.epoch < self.epoch {
            let (before, found) = (self.epoch, header.epoch);
            return Err(EntryFault::Decreasing { what: "epoch", before, found });
        }
        if header.at_ms < self.at_ms {
            let (before, found) = (self.at_ms, header.at_ms);
            return Err(EntryFault::Decreasing { what: "time", before, found });
        }
        *self = Self::at(tail_of(entry));
        Ok(())
    }
}

/// Whether an entry's identity is the journal's.
pub(crate) fn belongs(expected: Identity, found: Identity) -> Result<(), EntryFault> {
    if expected.cluster != found.cluster {
        let (expected, found) = (expected.cluster, found.cluster);
        return Err(EntryFault::ForeignCluster { expected, found });
    }
    if expected.incarnation != found.incarnation {
        let (expected, found) = (expected.incarnation, found.incarnation);
        return Err(EntryFault::ForeignIncarnation { expected, found });
    }
    Ok(())
}

/// The place of an entry that was parsed.
pub(crate) fn tail_of(entry: &Entry) -> Tail {
    let header = entry.header();
    Tail {
        identity: header.identity,
        position: entry.position(),
        epoch: header.epoch,
        at_ms: header.at_ms,
    }
}

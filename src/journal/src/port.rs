//! The journal's port: what every implementation does, and how it may fail.
//!
//! Owns:   the trait [`Journal`], its replies and its errors.
//! Never:  retries an append: one call is one try; [`Writer`](crate::Writer) is who insists.
//! Fails:  [`OpenError`] at start (with the exit code), [`Trouble`] for what may be asked again,
//!         [`Refusal`] for a journal that must not be written.
//! Proof:  `tests/contract.rs` runs one suite against every implementation.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::Event;
use domain::ids::Sequence;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::catalog;
use crate::chain::{Cursor, Sealed, Tail};
use crate::entry::Entry;
pub use crate::errors::{CheckError, OpenError, ReadError, Refusal, Refused, Trouble};
use crate::ids::{ClusterId, EntryId};
use crate::limits::PAGE_BYTES;

/// An append-only chain of entries, and the few keys that live beside it.
///
/// One value serves a whole process: it is shared as `Arc<dyn Journal>`, and appends, reads and
/// the small periodic calls (lease, heartbeats, projections) don't wait for each other. Made
/// anywhere; its connections belong to the tokio runtime that first uses them.
#[async_trait]
pub trait Journal: Send + Sync + fmt::Debug {
    /// What it is and where, for log lines.
    fn place(&self) -> &Place;

    /// Connects, checks the server and the journal, and begins a new journal where there is none
    /// and none is expected. Every other call comes after it.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing was written then but, at most, the beginning of a journal.
    async fn open(&self, expected: Option<&Expected>) -> Result<Opened, OpenError>;

    /// Repeats the checks of [`Journal::open`] that can change while running, on a new connection,
    /// and returns where the journal ends now. Never begins a journal.
    ///
    /// # Errors
    /// See [`CheckError`].
    async fn check(&self) -> Result<Tail, CheckError>;

    /// The id of the newest entry, asked for after the call began.
    ///
    /// # Errors
    /// See [`CheckError`].
    async fn head(&self) -> Result<EntryId, CheckError>;

    /// The same where replicas are waited for, of a server that has them still: one that was replaced
    /// and does not know it says nothing. The answer to `?consistent=true`.
    ///
    /// # Errors
    /// See [`CheckError`].
    async fn proven_head(&self) -> Result<EntryId, CheckError> {
        self.head().await
    }

    /// Whether an entry of this id is in the journal.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn contains(&self, id: EntryId) -> Result<bool, Trouble>;

    /// The entries from the sequence `from` on as they are stored, believed in nothing: what an
    /// auditor reads, and what [`Journal::read`] verifies. At most `most_bytes` of them, but one at
    /// least; none at the end of the journal, which is before what replicas are still waited for.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn stored(
        &self,
        from: Sequence,
        most_bytes: usize,
    ) -> Result<Vec<(EntryId, Bytes)>, Trouble>;

    /// The entries after `cursor`, verified: contiguous, chained, whole. At most
    /// [`PAGE_BYTES`] of them; none when the cursor is at the end.
    ///
    /// # Errors
    /// See [`ReadError`]. Entries before a damaged one are not returned.
    async fn read(&self, cursor: &Cursor) -> Result<Page, ReadError> {
        self.read_some(cursor, PAGE_BYTES).await
    }

    /// The same in pages of another size, for readers of which there are many.
    ///
    /// # Errors
    /// See [`ReadError`].
    async fn read_some(&self, cursor: &Cursor, most_bytes: usize) -> Result<Page, ReadError> {
        let stored = self.stored(cursor.seq().saturating_add(1), most_bytes).await?;
        let mut next = *cursor;
        let mut entries = Vec::with_capacity(stored.len());
        for (id, bytes) in stored {
            entries.push(next.accept(id, bytes)?);
        }
        Ok(Page { entries, next })
    }

    /// Tries once to append. For [`Writer`](crate::Writer) and tests of the contract.
    async fn append(&self, sealed: &Sealed) -> Appended;

    /// Looks whether the journal ends with `committed`, and answers as an append would that has to
    /// go behind it: it is `Committed`, or there is a `Conflict`, or the journal can't be written.
    /// No entry is written. `whole` repeats the checks of a new connection, of which an append does
    /// without; otherwise an answer hangs on it, and replicas that are waited for are asked too.
    async fn confirm(&self, committed: EntryId, whole: bool) -> Appended {
        // What the head comes from is asked for nothing less.
        let _ = whole;
        match self.head().await {
            Ok(head) if head == committed => Appended::Committed { duplicate: true },
            Ok(head) => Appended::Conflict { head },
            Err(CheckError::Refused(refusal)) => {
                Appended::Damaged(Refused::Check(Arc::new(refusal)))
            }
            Err(CheckError::Trouble(trouble)) => match trouble {
                Trouble::Unreachable(reason) => Appended::Unreachable(reason),
                Trouble::Busy(reason) => Appended::Busy(reason),
                Trouble::WrongServer(reason) => Appended::WrongServer(reason),
                Trouble::Denied(reason) => Appended::Damaged(Refused::Reply(reason)),
            },
        }
    }

    /// Removes entries before `first`, at most [`TRIM_STEP`](crate::limits::TRIM_STEP) of the oldest, where the entry `logged`
    /// is in this very journal and says that they may leave; says which is the oldest then. To be
    /// repeated until that is `first`.
    ///
    /// # Errors
    /// See [`Trouble`]: [`Trouble::Denied`] where no such entry says so. Some may have left.
    async fn trim(&self, first: Sequence, logged: EntryId) -> Result<Sequence, Trouble>;

    /// Whether entries before `first` may leave: what [`Journal::trim`] asks before it does
    /// anything.
    ///
    /// # Errors
    /// [`Trouble::Denied`] where they may not.
    async fn may_leave(&self, first: Sequence, logged: EntryId) -> Result<(), Trouble> {
        let stored = self.stored(logged.seq, 1).await?;
        let entry = stored.into_iter().next().filter(|(id, _)| *id == logged);
        let entry = entry.and_then(|(id, bytes)| Entry::parse(id, bytes).ok());
        let says = |event: &Event| matches!(event, Event::JournalTrimmed(e) if e.first >= first);
        let mut events = entry.iter().flat_map(catalog::events).flatten();
        if logged.seq >= first && events.any(|(_, event)| says(&event)) {
            return Ok(());
        }
        let why = format!("entry {logged} does not say that entries before {first} may leave");
        Err(Trouble::Denied(why.into()))
    }

    /// Waits until what was appended is in the journal and as durable as configured, once and for a
    /// bounded time.
    async fn settle(&self, appended: &Sealed) -> Settled;

    /// Asks for the leader's key, or renews it: it becomes this claim's where it is nobody's, or is
    /// `from`'s. Whoever is to lose it is named, as the call may arrive late.
    ///
    /// # Errors
    /// See [`Trouble`]; whether the key was written is then unknown.
    async fn claim(&self, claim: &Claim, from: Option<&Claim>) -> Result<Claimed, Trouble>;

    /// Gives the leader's key back, if it is this claim's.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn release(&self, claim: &Claim) -> Result<(), Trouble>;

    /// Who leads, as the leader's key says.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn leader(&self) -> Result<Option<Claim>, Trouble>;

    /// Writes heartbeats, all in one round trip. Durable to no more than Redis' own memory.
    ///
    /// # Errors
    /// See [`Trouble`]; some may be written.
    async fn put_heartbeats(&self, beats: &[Heartbeat]) -> Result<(), Trouble>;

    /// Removes a node's heartbeat.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn drop_heartbeat(&self, node: &str) -> Result<(), Trouble>;

    /// All heartbeats that have not expired, with what is left of their time, by node.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, Trouble>;

    /// Writes that an instance lives: as a heartbeat, under a key of instances. Nothing where there can
    /// be no other.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn put_presence(&self, _beat: &Heartbeat) -> Result<(), Trouble> {
        Ok(())
    }

    /// The instances that said so and have not expired; none where there can be no other.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn presences(&self) -> Result<Vec<Heartbeat>, Trouble> {
        Ok(Vec::new())
    }

    /// How the journal is kept by now: [`Journal::open`] looks at how the server is set up, and that
    /// can be changed while it runs. None where it can't.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn standing(&self) -> Result<Option<Standing>, Trouble> {
        Ok(None)
    }

    /// Another of this very journal, with connections of its own, for who reads much. None where that
    /// makes no difference.
    fn beside(&self) -> Option<Arc<dyn Journal>> {
        None
    }

    /// Applies changes to a projection whose cursor is `step.from`, and moves the cursor.
    ///
    /// # Errors
    /// See [`Trouble`]; part of the changes may be visible, the cursor has not moved. Repeating
    /// the same step is safe.
    async fn project(&self, step: &Step) -> Result<Projected, Trouble>;

    /// Replaces a whole projection at once: readers see the old one until it is complete.
    ///
    /// # Errors
    /// See [`Trouble`]; the old projection is then still there, or the new one is.
    async fn rebuild(&self, content: Content, at: EntryId) -> Result<(), Trouble>;
}

/// What a journal is and where, for log lines and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `redis` or `memory`.
    pub kind: &'static str,
    /// `host:port`, or `memory`.
    pub address: String,
    /// Database number.
    pub db: u32,
    /// Key of the journal.
    pub journal_key: String,
    /// Key of the visible queue.
    pub queue_key: String,
}

/// The cluster that an instance remembers, and where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The cluster.
    pub cluster: ClusterId,
    /// What to remove in order to forget it, as the operator knows it: a file's path, or
    /// `TARTARUS_CLUSTER_ID`.
    pub source: String,
}

/// A journal that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where it ends.
    pub tail: Tail,
    /// Its oldest entry; more than 1 where it was trimmed.
    pub first_seq: Sequence,
    /// Whether it was begun just now.
    pub genesis: bool,
    /// What a committed entry survives.
    pub promise: Promise,
    /// What an operator should know or change, one sentence each.
    pub warnings: Vec<String>,
    /// Version of the server, empty for memory.
    pub server_version: String,
}

/// What is asked of Redis: `TARTARUS_DURABILITY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// AOF, fsync before each reply: survives power loss.
    Fsync,
    /// AOF, fsync every second: survives a crash of Redis on a healthy disk.
    Everysec,
    /// As `fsync`, and received by every replica.
    Replicated,
}

impl Durability {
    /// Every value of the variable.
    pub const NAMES: [&'static str; 3] = ["fsync", "everysec", "replicated"];

    /// The value of the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Everysec => "everysec",
            Self::Replicated => "replicated",
        }
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fsync" => Ok(Self::Fsync),
            "everysec" => Ok(Self::Everysec),
            "replicated" => Ok(Self::Replicated),
            _ => Err(format!("{text:?} is not one of {}", Self::NAMES.join(", "))),
        }
    }
}

/// What a journal really promises about a committed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Lost when this process ends.
    Memory,
    /// Lost when Redis ends, but for what a snapshot of Redis' own saved.
    Nothing,
    /// At most about two seconds are lost with the power, or with Redis on a slow disk.
    Everysec,
    /// Survives every crash of the machine, if its disk honours flushes.
    Fsync,
    /// And survives the loss of the machine: this many replicas had it too.
    Replicated(u32),
    /// Redis lets nobody ask (`CONFIG` is forbidden), and `TARTARUS_DURABILITY` is not set.
    Unknown,
}

impl Promise {
    /// The word on `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Nothing => "none",
            Self::Everysec => "everysec",
            Self::Fsync => "fsync",
            Self::Replicated(_) => "replicated",
            Self::Unknown => "unknown",
        }
    }

    /// Whether an acknowledged entry survives a power cut: what production wants.
    pub fn survives_power_loss(self) -> bool {
        match self {
            Self::Fsync | Self::Replicated(_) => true,
            Self::Memory | Self::Nothing | Self::Everysec | Self::Unknown => false,
        }
    }
}

/// How a journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it promises: what was to be kept, where it is, else what is found.
    pub promise: Promise,
    /// What endangers it, one sentence each.
    pub dangers: Vec<String>,
}

/// Verified entries, and where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in order; empty at the end of the journal.
    pub entries: Vec<Entry>,
    /// Behind the last of them.
    pub next: Cursor,
}

/// What became of one try to append: `docs/journal.md` 4. Whatever is not known to be one of the
/// others is [`Appended::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the journal.
    Committed {
        /// By an earlier try, whose reply was lost.
        duplicate: bool,
    },
    /// The journal's newest entry is not the one to follow.
    Conflict {
        /// The newest entry.
        head: EntryId,
    },
    /// The journal must not be written any more.
    Damaged(Refused),
    /// This try was surely not executed: the server refuses for now.
    Busy(Arc<str>),
    /// This try was surely not executed: the server is a replica.
    WrongServer(Arc<str>),
    /// This try was surely not executed: nothing was sent.
    Unreachable(Arc<str>),
    /// This try may have been executed, or may still be.
    Unknown(Arc<str>),
}

/// Whether an appended entry is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As configured.
    Durable,
    /// Too few replicas have it yet, or nobody knows: ask again.
    NotYet(Arc<str>),
    /// It is not in the journal any more, as where a replica was promoted that did not have it: append
    /// it again.
    Gone,
}

/// Who wants to lead: the value of the leader's key, `<boot uuid> <advertise url>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The process.
    pub boot: Uuid,
    /// How others reach it.
    pub url: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.boot, self.url)
    }
}

impl FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not <boot uuid> <url>");
        let (boot, url) = text.split_once(' ').ok_or_else(refused)?;
        let boot = Uuid::try_parse(boot).map_err(|_| refused())?;
        Ok(Self { boot, url: url.into() })
    }
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is this claim's for the next [`LEASE_TTL`](crate::limits::LEASE_TTL).
    Held,
    /// Somebody else has it.
    Other {
        /// The key's value.
        holder: String,
        /// What is left of it.
        left: Duration,
    },
}

/// A node's sign of life: key `tartarus:node:<node>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The node.
    pub node: String,
    /// What it says; one line of text or JSON.
    pub value: String,
    /// Time to live.
    pub ttl: Duration,
}

/// A member of the visible queue, `<order key in hex>:<run>`: all have score 0, so Redis sorts
/// them by their bytes, which is the order of the line (`ZRANGE tartarus:queue 0 -1`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueMember(String);

impl QueueMember {
    /// The member of a run that stands in line at `order`, bytes that sort as the line does.
    pub fn new(order: &[u8], run: domain::ids::RunId) -> Self {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let mut member = String::with_capacity(order.len() * 2 + 1 + Hyphenated::LENGTH);
        for byte in order {
            member.push(DIGITS[usize::from(byte >> 4)]);
            member.push(DIGITS[usize::from(byte & 0xf)]);
        }
        member.push(':');
        member.push_str(run.0.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]));
        Self(member)
    }

    /// As it stands in Redis.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Changes to one projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The entry that the projection shows before.
    pub from: EntryId,
    /// The entry that it shows after.
    pub to: EntryId,
    /// What changes. Each is absolute: applying it again changes nothing.
    pub ops: Ops,
}

/// Changes, by projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ops {
    /// To the sorted set at `REDIS_QUEUE_KEY`.
    Queue(Vec<QueueOp>),
    /// To the hash `themis:policies`.
    Policies(Vec<PolicyOp>),
}

/// A change of the visible queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueOp {
    /// Stands in line.
    Add(QueueMember),
    /// Stands there no more.
    Remove(QueueMember),
}

/// A change of the visible policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyOp {
    /// Name and JSON.
    Put(String, String),
    /// Name.
    Delete(String),
}

/// A whole projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Every member of the queue.
    Queue(Vec<QueueMember>),
    /// Every policy, by name, as JSON.
    Policies(Vec<(String, String)>),
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projected {
    /// Done.
    Moved,
    /// The projection shows another entry, or nothing: rebuild it.
    Elsewhere(Option<EntryId>),
}

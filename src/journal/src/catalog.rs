//! The event catalogue: which number is which event, and how each is written.
//!
//! Owns:   numbers, names and versions of event types; the encoding (bincode 2 through serde,
//!         standard configuration), which nothing outside this module knows.
//! Says:   [`Event`]s, lifted to their newest shape; where secrets were taken out of an entry, with
//!         [`REDACTED`] in their place.
//! Never:  reuses a number, or edits a version: a changed shape is a new version, and the old one
//!         is frozen in `frozen.rs` and lifted here.
//! Fails:  an unknown critical type or a newer version stops the reader with one sentence that
//!         names the record; unknown types that are not critical are passed over.
//! Proof:  `tests/golden.rs`: every type and version as a file; `docs/events.md` agrees.

use domain::Event;
use domain::ids::Sequence;
use domain::kept::MEMORY;
use domain::law::Losses;

use crate::apart::Secrets;
use crate::batch::Batch;
use crate::entry::{Entry, Format, MAX_BODY_BYTES, Record, Records};
use crate::public::{self, Parted};

pub use crate::public::REDACTED;

/// An event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Its number in the journal, never reused.
    pub kind: u16,
    /// Its name in the API.
    pub name: &'static str,
    /// The newest version; all up to it are read. It is the one that is written, but for events with
    /// secrets in an entry of format 1, which has no place for them: there it is the one before.
    pub version: u16,
    /// Whether a reader that does not know it must stop.
    pub critical: bool,
    /// The level of features that this version came with: below it an older one is written, or none.
    pub level: u32,
}

/// An event that could not be encoded: a bug.
#[derive(Debug, thiserror::Error)]
pub enum Unencodable {
    /// In its shape.
    #[error("a {name} event cannot be encoded")]
    Shape {
        /// The event.
        name: &'static str,
        /// What the encoder says.
        #[source]
        source: bincode::error::EncodeError,
    },
    /// In what decided it: a program of this level could not read it.
    #[error("a {name} event cannot be written at level {level}")]
    Level {
        /// The event.
        name: &'static str,
        /// The level in force.
        level: u32,
    },
}

/// A record that cannot be read as an event, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal entry {seq}, record {n}: {fault}")]
pub struct UnreadableRecord {
    /// The entry.
    pub seq: Sequence,
    /// Place in the entry, from 0.
    pub n: u32,
    /// What is wrong.
    #[source]
    pub fault: RecordFault,
}

/// Why a record cannot be read as an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// A newer program wrote it, and it must not be passed over.
    #[error("event type {kind} is unknown: start a newer version of tartarus (this is {})", env!("CARGO_PKG_VERSION"))]
    UnknownType {
        /// Number found.
        kind: u16,
    },
    /// A newer program wrote it.
    #[error(
        "{name} has version {found} and this program reads up to {known}: start a newer version \
         of tartarus (this is {})", env!("CARGO_PKG_VERSION")
    )]
    NewerVersion {
        /// The event.
        name: &'static str,
        /// Version found.
        found: u16,
        /// Newest version known.
        known: u16,
    },
    /// Its bytes are not what its version says, though every checksum is right: a bug of the
    /// program that wrote it.
    #[error("{name} version {version} cannot be decoded ({reason})")]
    Malformed {
        /// The event.
        name: &'static str,
        /// Its version.
        version: u16,
        /// What the decoder says.
        reason: String,
    },
}

pub(crate) fn encoding() -> impl bincode::config::Config {
    bincode::config::standard()
}

/// A record never holds more than a body does, so no length in it may ask for more.
pub(crate) fn decoding() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_BODY_BYTES>()
}

/// One row an event: its number, its name, its newest version, whether a reader that does not know it
/// must stop, the level that this version came with, and the shape of `domain` that it has; `whole`,
/// where the newest version has its secrets apart, and the version that has all of the same shape in
/// it; then, for each older version, the frozen shape it is lifted from. Older ones, and whole ones,
/// came with level 1.
macro_rules! catalog {
    ($($kind:literal $name:literal $version:literal $critical:literal $level:literal
        $variant:ident $shape:ty
        $(, whole $whole:literal)? $(, $old:literal $frozen:ty)*;)+) => {
        /// Every event type, by number.
        pub const TYPES: &[EventType] = &[
            $(EventType {
                kind: $kind, name: $name, version: $version, critical: $critical, level: $level,
            },)+
        ];

        /// The type of an event.
        pub fn type_of(event: &Event) -> EventType {
            match event {
                $(Event::$variant(_) => {
                    EventType {
                        kind: $kind, name: $name, version: $version, critical: $critical,
                        level: $level,
                    }
                })+
            }
        }

        /// Adds an event to a batch.
        ///
        /// # Errors
        /// Its shape has something that bincode cannot write; the batch is as before.
        pub fn encode(event: &Event, batch: &mut Batch) -> Result<(), Unencodable> {
            let of = type_of(event);
            match event {
                $(
                    $(
                        Event::$variant(body) if batch.format() == Format::Plain => {
                            whole(EventType { version: $whole, ..of }, body, batch)
                        }
                        Event::$variant(body) if of.version > $whole => parted(of, body, batch),
                    )?
                    Event::$variant(body) => whole(of, body, batch),
                )+
            }
        }

        /// The event that a record holds; none where it is unknown and not critical.
        ///
        /// # Errors
        /// See [`RecordFault`].
        pub fn decode(record: &Record<'_>) -> Result<Option<Event>, RecordFault> {
            match (record.kind, record.version) {
                $(
                    $(
                        ($kind, $version) if $version > $whole => {
                            joined::<$shape>($name, record).map(|body| Some(Event::$variant(body)))
                        }
                        ($kind, $whole) => {
                            body::<$shape>($name, record).map(|body| Some(Event::$variant(body)))
                        }
                    )?
                    ($kind, $version) => {
                        body::<$shape>($name, record).map(|body| Some(Event::$variant(body)))
                    }
                    $(($kind, $old) => body::<$frozen>($name, record)
                        .map(|body| Some(Event::$variant(body.into()))),)*
                    ($kind, found) => {
                        Err(RecordFault::NewerVersion { name: $name, found, known: $version })
                    }
                )+
                (kind, _) if record.critical => Err(RecordFault::UnknownType { kind }),
                (_, _) => Ok(None),
            }
        }

        /// Whether an event has secrets, or something that the house made of them.
        pub fn has_secrets(event: &Event) -> bool {
            match event {
                $(
                    $(Event::$variant(body) if $version > $whole => public::has_secrets(body),)?
                    Event::$variant(_) => false,
                )+
            }
        }

        /// An event as JSON, for golden files and documents.
        ///
        /// # Errors
        /// The serializer's own.
        pub fn serialize_body<S: serde::Serializer>(event: &Event, to: S) -> Result<S::Ok, S::Error> {
            match event {
                $(Event::$variant(body) => serde::Serialize::serialize(body, to),)+
            }
        }
    };
}

use std::sync::Arc;

use domain::event as e;

use crate::frozen as f;

catalog! {
    1  "leader.started"       2 true  2 LeaderStarted      Arc<e::LeaderStarted>, 1 f::LeaderStartedV1;
    2  "run.admitted"         3 true  2 RunAdmitted        Arc<e::RunAdmitted>, whole 2, 1 f::RunAdmittedV1;
    3  "run.rejected"         3 true  2 RunRejected        Arc<e::RunRejected>, whole 2, 1 f::RunRejectedV1;
    4  "run.assigned"         2 true  2 RunAssigned        e::RunAssigned, whole 1;
    5  "run.started"          1 true  1 RunStarted         e::RunStarted;
    6  "run.finished"         2 true  2 RunFinished        Arc<e::RunFinished>, whole 1;
    7  "run.lost"             2 true  1 RunLost            e::RunLost, 1 e::RunLost;
    8  "run.cancel_requested" 1 true  1 RunCancelRequested e::RunCancelRequested;
    9  "run.canceled"         1 true  1 RunCanceled        e::RunCanceled;
    10 "run.forgotten"        1 true  1 RunForgotten       e::RunForgotten;
    11 "node.joined"          1 true  1 NodeJoined         Arc<e::NodeJoined>;
    12 "node.lost"            1 true  1 NodeLost           e::NodeLost;
    13 "policy.put"           4 true  3 PolicyPut          Arc<e::PolicyPut>, 3 f::PolicyPutV3, 2 f::PolicyPutV2, 1 f::PolicyPutV1;
    14 "policy.deleted"       1 true  1 PolicyDeleted      e::PolicyDeleted;
    15 "template.put"         2 true  2 TemplatePut        Arc<e::TemplatePut>, whole 1;
    16 "template.deleted"     1 true  1 TemplateDeleted    e::TemplateDeleted;
    17 "heat_table.set"       1 true  1 HeatTableSet       e::HeatTableSet;
    18 "queue.paused"         1 true  1 QueuePaused        e::QueuePaused;
    19 "queue.resumed"        1 true  1 QueueResumed       e::QueueResumed;
    20 "node.drained"         1 true  1 NodeDrained        e::NodeDrained;
    21 "node.undrained"       1 true  1 NodeUndrained      e::NodeUndrained;
    22 "node.labeled"         1 true  1 NodeLabeled        e::NodeLabeled;
    23 "run.evicted"          1 true  1 RunEvicted         e::RunEvicted;
    24 "run.released"         1 true  1 RunReleased        Arc<e::RunReleased>;
    25 "run.refused"          1 true  1 RunRefused         Arc<e::RunRefused>;
    26 "snapshot.begun"       1 true  2 SnapshotBegun      e::SnapshotBegun;
    27 "snapshot.taken"       2 true  3 SnapshotTaken      e::SnapshotTaken, 1 f::SnapshotTakenV1;
    28 "journal.archived"     1 true  2 JournalArchived    e::JournalArchived;
    29 "journal.trimmed"      1 true  2 JournalTrimmed     e::JournalTrimmed;
    30 "checkpoint.signed"    1 false 2 CheckpointSigned   Arc<e::CheckpointSigned>;
    31 "level.raised"         1 true  2 LevelRaised        e::LevelRaised;
    32 "run.quarantined"      1 true  3 RunQuarantined     Arc<e::RunQuarantined>;
}

/// Whether a record is of a type that says who vouches for the journal: `leader.started`, which has the
/// key, and `checkpoint.signed`.
pub fn vouches(record: &Record<'_>) -> bool {
    matches!(record.kind, 1 | 30)
}

/// Versions that are not the newest, and came with a level after the first: type, version, level.
const LATER: &[(u16, u16, u32)] = &[(13, 3, MEMORY), (27, 1, MEMORY)];

/// The level of features that a record takes; none where this program does not know it.
pub fn level_of(record: &Record<'_>) -> Option<u32> {
    let of = TYPES.iter().find(|of| of.kind == record.kind)?;
    let is = |later: &&(u16, u16, u32)| (later.0, later.1) == (record.kind, record.version);
    match record.version {
        version if version == of.version => Some(of.level),
        version if version < of.version => Some(LATER.iter().find(is).map_or(1, |later| later.2)),
        _ => None,
    }
}

/// The form of entries that programs of a level read.
pub fn format_at(level: u32) -> Format {
    if level < MEMORY { Format::Plain } else { Format::Apart }
}

/// Adds an event to a batch in the newest version that programs of `level` read; the batch is of a
/// form that they read ([`format_at`]).
///
/// # Errors
/// As [`encode`]; and where they read none that says all of it, which whoever decided it has to
/// refuse. The batch is as before.
pub fn encode_at(level: u32, event: &Event, batch: &mut Batch) -> Result<(), Unencodable> {
    let of = type_of(event);
    if of.level <= level {
        return encode(event, batch);
    }
    match event {
        Event::RunAdmitted(_)
        | Event::RunRejected(_)
        | Event::RunAssigned(_)
        | Event::RunFinished(_)
        | Event::TemplatePut(_)
            if batch.format() == Format::Plain =>
        {
            encode(event, batch)
        }
        Event::LeaderStarted(e) if e.key.is_none() && e.reads_level == 1 => {
            older(of, 1, &f::LeaderStartedV1::from(&**e), batch)
        }
        Event::PolicyPut(e) if e.policy.on_lost != Losses::default() => {
            Err(Unencodable::Level { name: of.name, level })
        }
        Event::PolicyPut(e) if level >= MEMORY => older(of, 3, &f::PolicyPutV3::from(&**e), batch),
        Event::PolicyPut(e) if e.what_if.is_none() => {
            older(of, 2, &f::PolicyPutV2::from(&**e), batch)
        }
        Event::SnapshotTaken(e) if level >= MEMORY && e.state == 0 => {
            older(of, 1, &f::SnapshotTakenV1::from(e), batch)
        }
        _ => Err(Unencodable::Level { name: of.name, level }),
    }
}

fn older<T: serde::Serialize>(
    of: EventType,
    version: u16,
    body: &T,
    batch: &mut Batch,
) -> Result<(), Unencodable> {
    let write = |to: &mut _| bincode::serde::encode_into_std_write(body, to, encoding()).map(drop);
    batch
        .push_with(of.kind, version, of.critical, write)
        .map_err(|source| Unencodable::Shape { name: of.name, source })
}

/// What later versions brought to what an event says, as a reader who lifts the older ones shows it:
/// the number of the type, the version, and the path of the member. A version that adds members adds
/// them here, so that what was shown before can still be told.
pub const ADDED: &[(u16, u16, &[&str])] = &[
    (1, 2, &["key"]),
    (1, 2, &["reads_level"]),
    (2, 2, &["submission", "placement"]),
    (2, 2, &["judgement", "heat", "learned"]),
    (2, 2, &["judgement", "placement"]),
    (2, 2, &["judgement", "basis"]),
    (3, 2, &["submission", "placement"]),
    (3, 2, &["judgement", "heat", "learned"]),
    (3, 2, &["judgement", "placement"]),
    (3, 2, &["judgement", "basis"]),
    (13, 2, &["policy", "require"]),
    (13, 2, &["policy", "quotas"]),
    (13, 2, &["policy", "judges"]),
    (13, 2, &["policy", "heat"]),
    (13, 2, &["policy", "placement"]),
    (13, 3, &["what_if"]),
    (13, 4, &["policy", "on_lost"]),
    (27, 2, &["state"]),
];

fn whole<T: serde::Serialize>(
    of: EventType,
    body: &T,
    batch: &mut Batch,
) -> Result<(), Unencodable> {
    let EventType { kind, name, version, critical, .. } = of;
    let written = batch.push_with(kind, version, critical, |to| {
        bincode::serde::encode_into_std_write(body, to, encoding()).map(|_written| ())
    });
    written.map_err(|source| Unencodable::Shape { name, source })
}

fn parted<T: Parted>(of: EventType, body: &T, batch: &mut Batch) -> Result<(), Unencodable> {
    let EventType { kind, name, version, critical, .. } = of;
    let (public, taken) = body.part();
    let record = Record { kind, version, critical, payload: &[], secrets: taken.secrets() };
    let written = batch.push_apart(record, |to| {
        bincode::serde::encode_into_std_write(public, to, encoding()).map(|_written| ())
    });
    written.map_err(|source| Unencodable::Shape { name, source })
}

fn joined<T: Parted>(name: &'static str, record: &Record<'_>) -> Result<T, RecordFault> {
    let public = payload::<T::Read>(name, record)?;
    T::join(public, record.secrets).ok_or_else(|| RecordFault::Malformed {
        name,
        version: record.version,
        reason: "its secrets are another event's".into(),
    })
}

fn body<T: serde::de::DeserializeOwned>(
    name: &'static str,
    record: &Record<'_>,
) -> Result<T, RecordFault> {
    if record.secrets != Secrets::NONE {
        let reason = "it has secrets apart, and this version has none".into();
        return Err(RecordFault::Malformed { name, version: record.version, reason });
    }
    payload(name, record)
}

fn payload<T: serde::de::DeserializeOwned>(
    name: &'static str,
    record: &Record<'_>,
) -> Result<T, RecordFault> {
    let malformed =
        |reason: String| RecordFault::Malformed { name, version: record.version, reason };
    let (body, read) = bincode::serde::borrow_decode_from_slice::<T, _>(record.payload, decoding())
        .map_err(|error| malformed(error.to_string()))?;
    if read != record.payload.len() {
        let left = record.payload.len() - read;
        return Err(malformed(format!("{left} bytes are left over")));
    }
    Ok(body)
}

/// Whether a record may hold an event of `run`, seen without decoding it: never no where
/// [`Event::run`] says so.
pub fn may_name(record: &Record<'_>, run: domain::RunId) -> bool {
    record.payload.windows(16).any(|bytes| bytes == run.0.as_bytes())
}

/// The events of an entry, each with its place in it. Ends after the first error.
pub fn events(entry: &Entry) -> Events<'_> {
    Events { seq: entry.seq(), n: 0, records: Some(entry.records()) }
}

/// See [`events`].
#[derive(Clone, Debug)]
pub struct Events<'a> {
    seq: Sequence,
    n: u32,
    records: Option<Records<'a>>,
}

impl Iterator for Events<'_> {
    type Item = Result<(u32, Event), UnreadableRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = self.records.as_mut()?.next()?;
            let n = self.n;
            self.n += 1;
            match decode(&record) {
                Ok(Some(event)) => return Some(Ok((n, event))),
                Ok(None) => {}
                Err(fault) => {
                    self.records = None;
                    return Some(Err(UnreadableRecord { seq: self.seq, n, fault }));
                }
            }
        }
    }
}

/// A batch of the given events, in order.
///
/// # Errors
/// As [`encode`].
pub fn batch<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Batch, Unencodable> {
    let mut batch = Batch::new();
    for event in events {
        encode(event, &mut batch)?;
    }
    Ok(batch)
}

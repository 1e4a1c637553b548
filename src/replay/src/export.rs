//! An export of the journal: lines that anyone can read, and bytes that anyone can verify.
//!
//! ```text
//! {"tartarus":"0.1.0","format":1,"cluster":"…","incarnation":1,"first":1,"prev":"…"}
//! {"entry":"<receipt>","bytes":"<header and body in base64>"}     one for each entry, and behind it
//! {"specversion":"1.0","id":"2.0","type":"leader.started",…}      its events, as the bytes have them
//! {"end":"<last receipt>","hash":"…","entries":2,"events":1,"head":"<BLAKE3 of the first line>"}
//! ```
//!
//! Every line can be made from the bytes and the lines before: so there is no byte that can be
//! changed without being found. Nothing is left out: an export holds `env` and `stdin` of every run.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::catalog::{self, UnreadableRecord};
use journal::{ClusterId, Entry, Receipt};
use serde::{Deserialize, Serialize};

use crate::cloud;
use crate::fold::{Fold, Point};

/// The form of an export.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Version of the program that wrote it.
    pub tartarus: String,
    /// [`FORMAT`].
    pub format: u32,
    /// Which journal.
    pub cluster: uuid::Uuid,
    /// And which life of it.
    pub incarnation: u32,
    /// The first entry.
    pub first: u64,
    /// The hash that it is chained to.
    pub prev: String,
}

/// The line of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryLine {
    /// Its receipt.
    pub entry: String,
    /// Header and body, as stored, in base64.
    pub bytes: String,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Receipt of the last entry.
    pub end: String,
    /// Its whole hash.
    pub hash: String,
    /// How many entries.
    pub entries: u64,
    /// How many events.
    pub events: u64,
    /// BLAKE3 of the first line.
    pub head: String,
}

/// A line, as an export has it.
pub(crate) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    // Keys are text and numbers finite: it has a JSON form, which is one line.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

impl EntryLine {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self { entry: Receipt(entry.id()).to_string(), bytes: STANDARD.encode(entry.bytes()) }
    }
}

/// The lines of an entry's events.
pub(crate) fn event_lines(entry: &Entry) -> Result<Vec<Vec<u8>>, UnreadableRecord> {
    let source = cloud::source(entry.header().identity.cluster);
    let line = |event: Result<(u32, domain::Event), _>| {
        event.map(|(n, event)| line(&cloud::cloud_event(&*source, (entry.seq(), n), &event)))
    };
    catalog::events(entry).map(line).collect()
}

/// Writes entries as they come, from a point on and up to one.
#[derive(Debug)]
pub struct Export<W> {
    to: W,
    since: Option<Point>,
    until: Option<Point>,
    head: Option<blake3::Hash>,
    last: Option<Entry>,
    entries: u64,
    events: u64,
    failed: Option<io::Error>,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// Entries.
    pub entries: u64,
    /// Events.
    pub events: u64,
    /// Receipt of the last entry; none where there was nothing to write.
    pub last: Option<String>,
}

impl<W: Write> Export<W> {
    /// An export that writes nothing yet.
    pub fn new(to: W, since: Option<Point>, until: Option<Point>) -> Self {
        Self { to, since, until, head: None, last: None, entries: 0, events: 0, failed: None }
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let header = entry.header();
        if self.head.is_none() {
            let ClusterId(cluster) = header.identity.cluster;
            let head = line(&Head {
                tartarus: env!("CARGO_PKG_VERSION").into(),
                format: FORMAT,
                cluster,
                incarnation: header.identity.incarnation,
                first: entry.seq(),
                prev: header.prev.to_string(),
            });
            self.to.write_all(&head)?;
            self.head = Some(blake3::hash(&head));
        }
        let events = event_lines(entry).map_err(io::Error::other)?;
        self.to.write_all(&line(&EntryLine::of(entry)))?;
        for event in &events {
            self.to.write_all(event)?;
        }
        self.entries += 1;
        self.events += events.len() as u64;
        self.last = Some(entry.clone());
        Ok(())
    }

    /// Writes the last line; gives back what is written to.
    ///
    /// # Errors
    /// Something could not be written, or an entry not be decoded.
    pub fn finish(mut self) -> io::Result<(W, Exported)> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let (entries, events) = (self.entries, self.events);
        if let (Some(last), Some(head)) = (&self.last, &self.head) {
            self.to.write_all(&line(&tail(last, entries, events, head)))?;
        }
        self.to.flush()?;
        let last = self.last.map(|last| Receipt(last.id()).to_string());
        Ok((self.to, Exported { entries, events, last }))
    }
}

pub(crate) fn tail(last: &Entry, entries: u64, events: u64, head: &blake3::Hash) -> Tail {
    Tail {
        end: Receipt(last.id()).to_string(),
        hash: last.position().hash.to_string(),
        entries,
        events,
        head: head.to_hex().to_string(),
    }
}

impl<W: Write + Send + 'static> Fold for Export<W> {
    fn entry(&mut self, entry: &Entry) -> bool {
        let at = domain::Timestamp(entry.header().at_ms);
        if self.until.is_some_and(|until| until.is_before(entry.seq(), at)) {
            return false;
        }
        let early = match self.since {
            Some(Point::Sequence(since)) => entry.seq() < since,
            Some(Point::Time(since)) => at.0 < since.0,
            None => false,
        };
        if early {
            return true;
        }
        match self.write(entry) {
            Ok(()) => true,
            Err(error) => {
                self.failed = Some(error);
                false
            }
        }
    }
}

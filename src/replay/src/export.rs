//! An export of the journal: lines that anyone can read, and bytes that anyone can verify.
//!
//! ```text
//! {"tartarus":"0.1.0","format":1,"cluster":"…","incarnation":1,"first":1,"prev":"…","versions":{…}}
//! {"entry":"<receipt>","bytes":"<the entry in base64>"}           one for each entry, and behind it
//! {"specversion":"1.0","id":"2.0","type":"leader.started",…}      its events, as the bytes have them
//! {"end":"<last receipt>","hash":"…","entries":2,"events":1,"head":"<BLAKE3 of the first line>"}
//! ```
//!
//! Every line can be made from the bytes and the lines before: so there is no byte that can be
//! changed without being found. Later programs make the lines as they were made: `versions` says how
//! ([`then`](crate::then)). Where `redacted` in the first line names kinds of secrets, they were taken
//! out of every entry; else nothing is left out, and an export holds `env` and `stdin` of every run.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::catalog::{self, UnreadableRecord};
use journal::{ClusterId, Entry, Format, Kinds, Receipt};
use serde::{Deserialize, Serialize};

use crate::cloud;
use crate::fold::{Fold, Point};
use crate::then::{self, LeftOut, Versions};

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
    /// What the program knew of events; those that did not say it knew less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Versions>,
    /// What was taken out of it: `env`, `stdin`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
}

/// The names of kinds of secrets.
pub fn names(kinds: Kinds) -> Vec<String> {
    let named = [("env", kinds.env), ("stdin", kinds.stdin)];
    named.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.into()).collect()
}

/// The kinds of these names; none where a name is none.
pub fn kinds(names: &[String]) -> Option<Kinds> {
    let known = names.iter().all(|name| matches!(&**name, "env" | "stdin"));
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    known.then(|| Kinds { env: has("env"), stdin: has("stdin") })
}

/// The line of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryLine {
    /// Its receipt.
    pub entry: String,
    /// The entry as it is stored, or a copy without some of its secrets, in base64.
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
pub(crate) fn event_lines(
    entry: &Entry,
    left_out: &LeftOut,
) -> Result<Vec<Vec<u8>>, UnreadableRecord> {
    let source = cloud::source(entry.header().identity.cluster);
    let line = |event: Result<(u32, domain::Event), _>| {
        event.map(|(n, event)| {
            let mut line = line(&cloud::cloud_event(&*source, (entry.seq(), n), &event));
            let kind = catalog::type_of(&event).kind;
            if left_out.concerns(kind)
                && let Ok(mut then) = left_out.of(kind, &line)
            {
                then.push(b'\n');
                line = then;
            }
            line
        })
    };
    catalog::events(entry).map(line).collect()
}

/// Writes entries as they come, from a point on and up to one.
#[derive(Debug)]
pub struct Export<W> {
    to: W,
    since: Option<Point>,
    until: Option<Point>,
    redact: Kinds,
    versions: Versions,
    head: Option<blake3::Hash>,
    /// The last entry whose secrets can't be taken out.
    inseparable: Option<u64>,
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
        Self {
            to,
            since,
            until,
            redact: Kinds::NONE,
            versions: then::known(),
            head: None,
            inseparable: None,
            last: None,
            entries: 0,
            events: 0,
            failed: None,
        }
    }

    /// Takes secrets out.
    #[must_use]
    pub fn redacting(self, redact: Kinds) -> Self {
        Self { redact, ..self }
    }

    /// As a program writes it that knows these versions of events.
    #[must_use]
    pub fn knowing(self, versions: Versions) -> Self {
        Self { versions, ..self }
    }

    /// Whether an entry has secrets in its records, from where they can't be taken.
    fn is_inseparable(&self, entry: &Entry) -> bool {
        self.redact != Kinds::NONE
            && entry.header().format == Format::Plain
            && catalog::events(entry).flatten().any(|(_, event)| catalog::has_secrets(&event))
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        if self.is_inseparable(entry) {
            self.inseparable = Some(entry.seq());
        }
        if self.inseparable.is_some() {
            // Nothing more is written; where it could begin is still to be found.
            return Ok(());
        }
        let copy = entry.redacted(self.redact);
        let (entry, header) = (&copy, copy.header());
        if self.head.is_none() {
            let ClusterId(cluster) = header.identity.cluster;
            let head = line(&Head {
                tartarus: env!("CARGO_PKG_VERSION").into(),
                format: FORMAT,
                cluster,
                incarnation: header.identity.incarnation,
                first: entry.seq(),
                prev: header.prev.to_string(),
                versions: Some(self.versions.clone()),
                redacted: names(self.redact),
            });
            self.to.write_all(&head)?;
            self.head = Some(blake3::hash(&head));
        }
        let left_out = LeftOut::after(&self.versions);
        let events = event_lines(entry, &left_out).map_err(io::Error::other)?;
        self.to.write_all(&line(&EntryLine::of(entry)))?;
        for event in &events {
            self.to.write_all(event)?;
        }
        self.entries += 1;
        self.events += events.len() as u64;
        self.last = Some(copy);
        Ok(())
    }

    /// Writes the last line; gives back what is written to.
    ///
    /// # Errors
    /// Something could not be written, or an entry not be decoded; or secrets not be taken out of it.
    pub fn finish(mut self) -> io::Result<(W, Exported)> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Some(last) = self.inseparable {
            return Err(io::Error::other(format!(
                "entry {last} was written in format 1, from which secrets can't be taken out: export \
                 what comes after it (--since {}), or all as it is, without --redact",
                last + 1
            )));
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

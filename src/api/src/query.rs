//! Query strings: filters, pages, and how fresh or how old an answer must be.
//!
//! An unknown parameter is refused by name, as an unknown field is.

use domain::ids::{Digest, Hex};
use domain::ledger::Stand;

use crate::check::{Complaints, Invalid};
use crate::duration::Duration;
use crate::event::Place;
use crate::given::Word;
use crate::labels::shorten;
use crate::limits::{PAGE_DEFAULT, PAGE_MAX, WAIT_MS_MAX};
use crate::parse::nearest;
use crate::selector::Selector;
use crate::status::Status;
use crate::time::{Moment, Time};
use crate::{Heat, Pool};

/// What any GET takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadQuery {
    /// Answer when the resource has changed after this entry.
    pub index: Option<u64>,
    /// The longest wait for a change, clamped to [`WAIT_MS_MAX`].
    pub wait: Option<Duration>,
    /// Wait until this entry is folded.
    pub min_index: Option<Least>,
    /// Ask the journal for its head first.
    pub consistent: bool,
    /// Show the state as it was.
    pub at: Option<At>,
}

/// An entry that an answer is to reflect, by its number, or by the receipt of a write: where a journal
/// lost its end, other entries come under the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Least {
    /// The number.
    pub index: u64,
    /// The beginning of its hash.
    pub hash: Option<Hex<8>>,
}

impl std::fmt::Display for Least {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.hash {
            Some(hash) => write!(f, "{}-{hash}", self.index),
            None => write!(f, "{}", self.index),
        }
    }
}

impl std::str::FromStr for Least {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (index, hash) = match text.split_once('-') {
            Some((index, hash)) => (index, Some(hash.parse().ok())),
            None => (text, None),
        };
        let index = index.parse().ok().filter(|_| hash != Some(None));
        let wanted = "give the number of an entry, or what X-Tartarus-Receipt said, such as \
                      17-db14c33df246c2f1";
        let index = index.ok_or_else(|| wanted.to_owned())?;
        Ok(Self { index, hash: hash.flatten() })
    }
}

/// A point in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After a journal entry.
    Sequence(u64),
    /// At a time.
    Time(Time),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sequence(sequence) => sequence.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Objects at most.
    pub limit: u32,
    /// Where it begins.
    pub cursor: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: PAGE_DEFAULT, cursor: None }
    }
}

/// `GET /v1/runs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunsQuery {
    /// Any of these; all where empty.
    pub status: Vec<Status>,
    /// This template.
    pub template: Option<String>,
    /// This tenant.
    pub tenant: Option<String>,
    /// This node.
    pub node: Option<String>,
    /// This heat.
    pub heat: Option<Heat>,
    /// This pool.
    pub pool: Option<Pool>,
    /// These labels.
    pub label: Selector,
    /// Admitted at or after.
    pub since: Option<Moment>,
    /// Admitted before.
    pub until: Option<Moment>,
    /// The page.
    pub page: Page,
    /// How fresh.
    pub read: ReadQuery,
}

/// `POST /v1/runs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubmitQuery {
    /// Judge, and write nothing.
    pub dry_run: bool,
    /// Answer when the run has ended, or after this long; clamped to [`WAIT_MS_MAX`].
    pub wait: Option<Duration>,
}

/// `PUT /v1/policies/{name}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutQuery {
    /// Check, and write nothing.
    pub dry_run: bool,
    /// Digest of the report on what it would have changed.
    pub what_if: Option<Digest>,
}

/// `GET /v1/runs/{id}/logs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsQuery {
    /// One stream alone.
    pub stream: Option<crate::logs::Stream>,
    /// Go on until the run has ended.
    pub follow: bool,
    /// The last so many lines.
    pub tail: Option<u64>,
}

/// `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsQuery {
    /// Only what comes after this place; all there is where it is left out.
    pub after: Option<Place>,
    /// Any of these types; all where empty.
    pub types: Vec<String>,
    /// Of this run alone.
    pub run: Option<uuid::Uuid>,
    /// Go on with what is to come; otherwise the feed ends where the journal does.
    pub follow: bool,
    /// End after so many events.
    pub limit: Option<u64>,
}

impl Default for EventsQuery {
    fn default() -> Self {
        Self { after: None, types: Vec::new(), run: None, follow: true, limit: None }
    }
}

/// A list without filters: `limit`, `cursor` and what any GET takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// The page.
    pub page: Page,
    /// How fresh.
    pub read: ReadQuery,
}

/// `GET /v1/quarantine`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineQuery {
    /// How they stand.
    pub status: Option<Stand>,
    /// This tenant.
    pub tenant: Option<String>,
    /// The page.
    pub page: Page,
    /// How fresh.
    pub read: ReadQuery,
}

/// `GET /v1/queue/dead`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadQuery {
    /// Those that had their redrive; otherwise those that wait for one.
    pub redriven: bool,
    /// This template.
    pub template: Option<String>,
    /// This tenant.
    pub tenant: Option<String>,
    /// The page.
    pub page: Page,
    /// How fresh.
    pub read: ReadQuery,
}

const READ: [&str; 5] = ["index", "wait", "min_index", "consistent", "at"];
const PAGE: [&str; 2] = ["limit", "cursor"];
const RUNS: [&str; 9] =
    ["status", "template", "tenant", "node", "heat", "pool", "label", "since", "until"];

/// A query string being read: what is known, what was complained of.
struct Reader<'q> {
    pairs: Vec<(std::borrow::Cow<'q, str>, std::borrow::Cow<'q, str>)>,
    found: Complaints,
}

impl<'q> Reader<'q> {
    fn new(query: &'q str, known: &[&[&str]], repeatable: &[&str]) -> Self {
        let mut found = Complaints::default();
        let known: Vec<&str> = known.iter().flat_map(|names| names.iter().copied()).collect();
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        for (i, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&&**name) {
                let near = nearest(name, &known)
                    .map_or(String::new(), |near| format!("did you mean {near:?}? "));
                found.add(|| {
                    let name = shorten(name);
                    if known.is_empty() {
                        format!("unknown parameter {name:?}: none is known here")
                    } else {
                        format!(
                            "unknown parameter {name:?}: {near}Known here: {}",
                            known.join(", ")
                        )
                    }
                });
            } else if !repeatable.contains(&&**name)
                && pairs[..i].iter().any(|(other, _)| other == name)
            {
                found.add(|| format!("{name} is given twice: give it once"));
            }
        }
        Self { pairs, found }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.to_string())
    }

    fn read<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.value(name)?;
        match read(&value) {
            Ok(value) => Some(value),
            Err(hint) => {
                self.found.add(|| format!("{name} is {:?}: {hint}", shorten(&value)));
                None
            }
        }
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        self.read(name, |text| text.parse().map_err(|_| "give an integer of at least 0".into()))
    }

    fn flag(&mut self, name: &str) -> bool {
        self.read(name, |text| match text {
            "true" | "1" | "" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("give true or false".into()),
        })
        .unwrap_or(false)
    }

    fn wait(&mut self) -> Option<Duration> {
        let span = self.read("wait", Duration::read)?;
        Some(span.min(Duration::from_millis(WAIT_MS_MAX)))
    }

    fn read_query(&mut self) -> ReadQuery {
        // The past neither changes nor comes later.
        if self.value("at").is_some() {
            for other in READ.into_iter().filter(|name| *name != "at") {
                if self.value(other).is_some() {
                    self.found.add(|| {
                        format!("{other} is given with at: leave one out, the past stands still")
                    });
                }
            }
        }
        ReadQuery {
            index: self.number("index"),
            wait: self.wait(),
            min_index: self.read("min_index", str::parse),
            consistent: self.flag("consistent"),
            at: self.read("at", |text| {
                if let Ok(sequence) = text.parse() {
                    return Ok(At::Sequence(sequence));
                }
                text.parse()
                    .map(At::Time)
                    .map_err(|e: crate::time::NotTime| format!("give a sequence or a time; {e}"))
            }),
        }
    }

    fn page(&mut self) -> Page {
        let limit = self.read("limit", |text| match text.parse() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
            _ => Err(format!("give 1 to {PAGE_MAX}")),
        });
        Page { limit: limit.unwrap_or(PAGE_DEFAULT), cursor: self.value("cursor") }
    }
}

impl ReadQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        let mut reader = Reader::new(query, &[&READ], &[]);
        let read = reader.read_query();
        reader.found.finish(read)
    }
}

impl ListQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        let mut reader = Reader::new(query, &[&PAGE, &READ], &[]);
        let list = Self { page: reader.page(), read: reader.read_query() };
        reader.found.finish(list)
    }
}

impl QuarantineQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        let mut reader = Reader::new(query, &[&["status", "tenant"], &PAGE, &READ], &[]);
        let quarantine = Self {
            status: reader.read("status", stand),
            tenant: reader.value("tenant"),
            page: reader.page(),
            read: reader.read_query(),
        };
        reader.found.finish(quarantine)
    }
}

impl DeadQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        let known = ["redriven", "template", "tenant"];
        let mut reader = Reader::new(query, &[&known, &PAGE, &READ], &[]);
        let dead = Self {
            redriven: reader.flag("redriven"),
            template: reader.value("template"),
            tenant: reader.value("tenant"),
            page: reader.page(),
            read: reader.read_query(),
        };
        reader.found.finish(dead)
    }
}

/// The word for how a run stands in quarantine.
///
/// # Errors
/// There is none like it; the text says which there are.
pub fn stand(word: &str) -> Result<Stand, String> {
    Stand::ALL.into_iter().find(|stand| stand.as_str() == word).ok_or_else(|| {
        let known = Stand::ALL.map(Stand::as_str).join(", ");
        format!("give one of {known}")
    })
}

impl SubmitQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        if query.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(query, &[&["dry_run", "wait"]], &[]);
        let submit = Self { dry_run: reader.flag("dry_run"), wait: reader.wait() };
        reader.found.finish(submit)
    }
}

impl PutQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        let mut reader = Reader::new(query, &[&["dry_run", "what_if"]], &[]);
        let put = Self {
            dry_run: reader.flag("dry_run"),
            what_if: reader.read("what_if", |text| {
                let hint = "give the digest of a what-if report, 64 hexadecimal digits";
                text.parse().map_err(|_| hint.into())
            }),
        };
        reader.found.finish(put)
    }
}

impl LogsQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        let mut reader = Reader::new(query, &[&["stream", "follow", "tail"]], &[]);
        let logs = Self {
            stream: reader.read("stream", |text| match text {
                "stdout" => Ok(crate::logs::Stream::Stdout),
                "stderr" => Ok(crate::logs::Stream::Stderr),
                _ => Err("give stdout or stderr, or leave it out for both".into()),
            }),
            follow: reader.flag("follow"),
            tail: reader.number("tail"),
        };
        reader.found.finish(logs)
    }

    /// The query string that reads as this.
    pub fn to_query(self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(stream) = self.stream {
            query.append_pair("stream", stream.as_str());
        }
        if self.follow {
            query.append_pair("follow", "true");
        }
        if let Some(tail) = self.tail {
            query.append_pair("tail", &tail.to_string());
        }
        query.finish()
    }
}

impl EventsQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        let known = ["after", "type", "run", "follow", "limit"];
        let mut reader = Reader::new(query, &[&known], &["type"]);
        let types = reader.pairs.iter().filter(|(name, _)| name == "type");
        let events = Self {
            types: types.map(|(_, value)| value.to_string()).collect(),
            after: reader.read("after", str::parse),
            run: reader.read("run", |text| text.parse().map_err(|_| "give the id of a run".into())),
            follow: reader.value("follow").is_none() || reader.flag("follow"),
            limit: reader.read("limit", |text| match text.parse() {
                Ok(limit) if limit > 0 => Ok(limit),
                _ => Err("give an integer of at least 1".into()),
            }),
        };
        reader.found.finish(events)
    }

    /// The query string that reads as this.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(after) = self.after {
            query.append_pair("after", &after.to_string());
        }
        for name in &self.types {
            query.append_pair("type", name);
        }
        if let Some(run) = self.run {
            query.append_pair("run", &run.to_string());
        }
        if !self.follow {
            query.append_pair("follow", "false");
        }
        if let Some(limit) = self.limit {
            query.append_pair("limit", &limit.to_string());
        }
        query.finish()
    }
}

impl RunsQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Every parameter that is unknown or has no valid value.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
        let mut reader = Reader::new(query, &[&RUNS, &PAGE, &READ], &["status", "label"]);
        let mut status = Vec::new();
        let mut selectors = Vec::new();
        let pairs = std::mem::take(&mut reader.pairs);
        for (name, value) in &pairs {
            match &**name {
                "status" => match Status::read(value) {
                    Some(one) => status.push(one),
                    None => reader.found.add(|| {
                        let known = Status::ALL.map(Status::as_str).join(", ");
                        format!("status is {:?}: give one of {known}", shorten(value))
                    }),
                },
                "label" => selectors.push(&**value),
                _ => {}
            }
        }
        let label = selectors.join(",").parse().unwrap_or_else(|e| {
            reader.found.add(|| format!("label: {e}"));
            Selector::default()
        });
        reader.pairs = pairs;
        let runs = Self {
            status,
            template: reader.value("template"),
            tenant: reader.value("tenant"),
            node: reader.value("node"),
            heat: reader.read("heat", Heat::read),
            pool: reader.read("pool", |text| {
                Pool::ALL.into_iter().find(|pool| pool.as_str() == text).ok_or_else(|| {
                    format!("give one of {}", Pool::ALL.map(Pool::as_str).join(", "))
                })
            }),
            label,
            since: reader.read("since", moment),
            until: reader.read("until", moment),
            page: reader.page(),
            read: reader.read_query(),
        };
        reader.found.finish(runs)
    }

    /// The query string that reads as this.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for status in &self.status {
            query.append_pair("status", status.as_str());
        }
        let text = [
            ("template", self.template.clone()),
            ("tenant", self.tenant.clone()),
            ("node", self.node.clone()),
            ("heat", self.heat.map(|heat| heat.as_str().to_owned())),
            ("pool", self.pool.map(|pool| pool.as_str().to_owned())),
            ("label", (!self.label.is_empty()).then(|| self.label.to_string())),
            ("since", self.since.map(|moment| moment.to_string())),
            ("until", self.until.map(|moment| moment.to_string())),
            ("limit", (self.page.limit != PAGE_DEFAULT).then(|| self.page.limit.to_string())),
            ("cursor", self.page.cursor.clone()),
            ("index", self.read.index.map(|n| n.to_string())),
            ("wait", self.read.wait.map(|span| span.to_string())),
            ("min_index", self.read.min_index.map(|least| least.to_string())),
            ("consistent", self.read.consistent.then(|| "true".to_owned())),
            ("at", self.read.at.map(|at| at.to_string())),
        ];
        for (name, value) in text {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query.finish()
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    text.parse().map_err(|e: crate::time::NotMoment| e.to_string())
}

#[cfg(test)]
mod tests;

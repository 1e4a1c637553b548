//! An event of the journal as a feed shows it, under the names of CloudEvents 1.0.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::check::Invalid;
use crate::time::Time;

/// The CloudEvents version these names are from.
pub const SPEC_VERSION: &str = "1.0";

/// The type of what a feed says where nothing else was to be said for a while: how far it has read.
/// No event of the journal has it.
pub const POSITION: &str = "feed.position";

/// A place in the journal: behind an event, or behind an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The entry.
    pub sequence: u64,
    /// The event in it; none is behind all of them.
    pub n: Option<u32>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.n {
            Some(n) => write!(f, "{}.{n}", self.sequence),
            None => self.sequence.fmt(f),
        }
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || {
            "give the id of an event, such as \"17.3\", or the sequence of an entry, such as 17"
                .to_owned()
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (sequence, n) = match text.split_once('.') {
            Some((sequence, n)) if digits(n) => (sequence, Some(n.parse().map_err(|_| wanted())?)),
            Some(_) => return Err(wanted()),
            None => (text, None),
        };
        if !digits(sequence) {
            return Err(wanted());
        }
        Ok(Self { sequence: sequence.parse().map_err(|_| wanted())?, n })
    }
}

/// How far a feed has read, where it has nothing to show: what `after=` takes to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// [`POSITION`].
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The place.
    pub id: String,
    /// Why the feed ends here, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Position {
    /// At a place.
    pub fn at(place: Place) -> Self {
        Self { kind: Cow::Borrowed(POSITION), id: place.to_string(), reason: None }
    }
}

/// The place in a `Last-Event-ID` header.
///
/// # Errors
/// It is none.
pub fn last_event_id(text: &str) -> Result<Place, Invalid> {
    text.trim().parse().map_err(|hint| {
        let shown = crate::labels::shorten(text);
        Invalid::one(format!("Last-Event-ID is {shown:?}: {hint}"))
    })
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent<D = serde_json::Value> {
    /// Always [`SPEC_VERSION`].
    pub specversion: Cow<'static, str>,
    /// `<sequence>.<n>`: unique in its source, and what `after=` and `Last-Event-ID` take.
    pub id: String,
    /// The journal it comes from: `/clusters/<id>`.
    pub source: String,
    /// What happened, in the past tense: `run.admitted`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The run, node, policy or template it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When, in log time.
    pub time: Time,
    /// The journal entry that holds it.
    pub sequence: u64,
    /// Its place in the entry, from 0.
    pub n: u32,
    /// Media type of `data`.
    pub datacontenttype: Cow<'static, str>,
    /// The event itself.
    pub data: D,
}

impl<D> CloudEvent<D> {
    /// An event at its place in a journal.
    pub fn new(
        source: impl Into<String>,
        (sequence, n): (u64, u32),
        kind: &'static str,
        time: Time,
        data: D,
    ) -> Self {
        Self {
            specversion: Cow::Borrowed(SPEC_VERSION),
            id: format!("{sequence}.{n}"),
            source: source.into(),
            kind: Cow::Borrowed(kind),
            subject: None,
            time,
            sequence,
            n,
            datacontenttype: Cow::Borrowed(crate::headers::JSON),
            data,
        }
    }

    /// The same, about something.
    #[must_use]
    pub fn about(mut self, subject: impl ToString) -> Self {
        self.subject = Some(subject.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_event_or_an_entry() {
        for (text, sequence, n) in [("17.3", 17, Some(3)), ("17", 17, None), ("0", 0, None)] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place, Place { sequence, n });
            assert_eq!(place.to_string(), text);
        }
        for bad in ["", ".", "1.", ".1", "+1", "1.-1", "1.2.3", "head", "18446744073709551616"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        assert!(last_event_id("x").unwrap_err().to_string().contains("Last-Event-ID is \"x\""));
    }
}

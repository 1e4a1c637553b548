//! An event of the journal as a feed shows it, under the names of CloudEvents 1.0.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// The CloudEvents version these names are from.
pub const SPEC_VERSION: &str = "1.0";

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

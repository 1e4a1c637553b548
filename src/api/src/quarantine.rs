//! The quarantine ledger, and an operator's word on what is in it.

use domain::event::Principal;
use domain::ledger::Stand;
use serde::{Deserialize, Serialize};

use crate::check::{Complaints, Invalid};
use crate::limits::REASON_MAX;
use crate::run::{OutputSize, PolicyRef};
use crate::status::Status;
use crate::time::Time;
use crate::{Malformed, Verdict};

/// A run that a judge, or the loss of its nodes, sent to quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The run.
    pub run_id: String,
    /// Whose it is.
    pub tenant: Box<str>,
    /// Template it starts from.
    pub template: Box<str>,
    /// Since when.
    pub since: Time,
    /// How it stands in quarantine.
    pub state: Stand,
    /// Whether it was let in; otherwise it was rejected for want of quarantine.
    pub admitted: bool,
    /// Where the run is in its life.
    pub status: Status,
    /// One CamelCase word for why it waits, or how it ended.
    pub reason: Option<String>,
    /// The same for people.
    pub message: Option<String>,
    /// The law that sent it here.
    pub policy: PolicyRef,
    /// Each judge that objected, and by which rule.
    pub judges: Vec<Objector>,
    /// What the judges objected to, in words; or that it was lost with its nodes.
    pub reasons: Vec<String>,
    /// How many nodes' losses sent it here; none where a judge did.
    #[serde(default)]
    pub losses: Option<u32>,
    /// Node of its latest attempt.
    pub node: Option<String>,
    /// How much its latest attempt wrote.
    pub output: Option<OutputSize>,
    /// Where its output is read.
    pub logs: String,
    /// What an operator did about it.
    pub resolved: Option<Resolution>,
}

/// A judge's objection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objector {
    /// Name of the judge.
    pub judge: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// The rule of the policy, where one objects.
    pub rule: Option<String>,
    /// Why, in words.
    pub reason: String,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Released or rejected.
    pub action: Action,
    /// When.
    pub at: Time,
    /// Who.
    pub by: Principal,
    /// Why, in the operator's words.
    pub reason: Box<str>,
}

/// What can be done about a run that waits in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was let go.
    Released,
    /// It was rejected.
    Rejected,
}

impl Action {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Rejected => "rejected",
        }
    }
}

/// The body of a release or a rejection; none is as good as an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Word {
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
}

impl Word {
    /// Reads a body, which may be empty.
    ///
    /// # Errors
    /// It is not of this shape.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        crate::parse(body)
    }

    /// Why, checked.
    ///
    /// # Errors
    /// It is too long, or has a NUL byte.
    pub fn into_reason(self) -> Result<Box<str>, Invalid> {
        let mut found = Complaints::default();
        let reason = self.reason.unwrap_or_default();
        found.bytes("reason", reason.len(), REASON_MAX);
        found.no_nul(|| "reason".to_owned(), &reason);
        found.finish(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_may_be_left_out_and_has_a_limit() {
        for (body, reason) in [
            ("", Ok("")),
            (" \n", Ok("")),
            ("{}", Ok("")),
            (r#"{"reason": null}"#, Ok("")),
            (r#"{"reason": "known to us"}"#, Ok("known to us")),
            (r#"{"reason": "a\u0000b"}"#, Err("reason contains a NUL byte: leave it out")),
        ] {
            let read = Word::parse(body.as_bytes()).unwrap().into_reason();
            let read = read.as_deref().map_err(ToString::to_string);
            assert_eq!(read, reason.map_err(str::to_owned), "{body}");
        }
        let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(REASON_MAX + 1));
        let refused = Word::parse(long.as_bytes()).unwrap().into_reason().unwrap_err();
        assert_eq!(refused.to_string(), "reason is 1025 bytes: give at most 1024");
        let unknown = Word::parse(br#"{"why": "x"}"#).unwrap_err().to_string();
        assert_eq!(unknown, "unknown field \"why\": known here: reason");
    }
}

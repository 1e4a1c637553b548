//! What a draft of a policy would have changed: the question and the report, see
//! `docs/policies.md`.

use domain::ids::{Digest, RunId, Sequence};
use domain::law::Policy;
use serde::{Deserialize, Serialize};

use crate::check::Invalid;
use crate::duration::Duration;
use crate::labels::shorten;
use crate::law::PolicyDocument;
use crate::parse::object;
use crate::time::{Moment, Time};

/// How far back is looked where the question does not say.
pub const SINCE_DEFAULT: Moment = Moment::Ago(Duration::from_secs(7 * 86_400));
/// Flips that a report lists; all are counted, and are in its digest.
pub const FLIPS_MAX: usize = 1_000;
/// Templates, tenants and rules that a report counts flips of.
pub const TOP: usize = 20;

/// `POST /v1/policies/{name}/what-if`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WhatIfRequest {
    /// The draft.
    #[serde(deserialize_with = "object")]
    pub policy: Option<PolicyDocument>,
    /// From when on: a time, or how long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Box<str>>,
}

impl WhatIfRequest {
    /// The draft, under the name in the path, and from when on it is to be tried.
    ///
    /// # Errors
    /// Every field that is not valid, in the words of `PUT` where it is the policy's.
    pub fn check(self, name: &str) -> Result<(Policy, Moment), Invalid> {
        let since = match &self.since {
            None => SINCE_DEFAULT,
            Some(text) => text
                .parse()
                .map_err(|error| Invalid::one(format!("since is {:?}: {error}", shorten(text))))?,
        };
        let Some(document) = self.policy else {
            return Err(Invalid::one("policy is missing: give the draft, as PUT takes it"));
        };
        Ok((document.into_policy(Some(name))?, since))
    }
}

/// What became of a submission, or would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is let in.
    Accept,
    /// It is let in, to quarantine.
    Quarantine,
    /// It is told to come back later (429); nothing is recorded.
    Throttle,
    /// It is rejected.
    Reject,
    /// It is rejected, because no node could quarantine it.
    QuarantineUnavailable,
    /// It is rejected, because quarantine is switched off.
    QuarantineDisabled,
}

impl Outcome {
    /// `accept`, `quarantine`, `throttle` or `reject`.
    pub fn verdict(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Quarantine => "quarantine",
            Self::Throttle => "throttle",
            Self::Reject | Self::QuarantineUnavailable | Self::QuarantineDisabled => "reject",
        }
    }

    /// What else there is to say of a rejection.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Accept | Self::Quarantine | Self::Throttle => None,
            Self::Reject => Some("policy_rejected"),
            Self::QuarantineUnavailable => Some("quarantine_unavailable"),
            Self::QuarantineDisabled => Some("quarantine_disabled"),
        }
    }

    /// Whether a run waits in line then.
    pub fn is_admitted(self) -> bool {
        matches!(self, Self::Accept | Self::Quarantine)
    }
}

/// What a draft would have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIfReport {
    /// BLAKE3 of all the rest but `elapsed_ms`, as JSON without spaces, keys sorted.
    pub digest: Digest,
    /// What was tried.
    pub draft: DraftRef,
    /// From when on.
    pub since: Time,
    /// The first recorded submission since then.
    pub from: Option<Recorded>,
    /// Where the journal begins, if that is after `since`: what came before is not there.
    pub begins: Option<Recorded>,
    /// Receipt of the last entry that was read.
    pub head: Option<String>,
    /// Submissions in numbers.
    pub counts: Counts,
    /// What became another outcome, and how often.
    pub changes: Vec<Change>,
    /// All whose outcome would have been another.
    pub flips_total: u64,
    /// The first of them.
    pub flips: Vec<Flip>,
    /// Whether there are more than are listed.
    pub truncated: bool,
    /// BLAKE3 of a line `run old new` for each of them.
    pub flips_digest: Digest,
    /// Flips of the templates that have most.
    pub by_template: Vec<Named>,
    /// Flips of the tenants that have most.
    pub by_tenant: Vec<Named>,
    /// Flips of the rules that made most.
    pub by_rule: Vec<Named>,
    /// The same outcome, but elsewhere.
    pub moved: Moved,
    /// What could not be judged.
    pub not_replayed: NotReplayed,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// A draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftRef {
    /// Its name.
    pub name: Box<str>,
    /// BLAKE3 of it, every default written out, as JSON without spaces, keys sorted.
    pub digest: Digest,
}

/// A place in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The entry.
    pub sequence: Sequence,
    /// When.
    pub time: Time,
}

/// Submissions in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Recorded since then.
    pub submissions: u64,
    /// Of them, those that were judged again.
    pub judged: u64,
    /// Of those, the ones to which the draft applies, or that it takes from another policy.
    pub applied: u64,
    /// Let in then, turned away under the draft.
    pub newly_rejected: Share,
    /// Of those, the ones that would be told to come back later.
    pub newly_throttled: Share,
    /// Not in quarantine then, and in quarantine under the draft.
    pub newly_quarantined: Share,
    /// Not accepted then, and accepted under the draft.
    pub newly_accepted: Share,
    /// Turned away both times, for another reason.
    pub otherwise_rejected: Share,
}

/// A part of what was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// So many.
    pub count: u64,
    /// Of so many.
    pub of: u64,
    /// In percent, to three places.
    pub percent: Box<str>,
}

impl Share {
    /// So many of so many.
    pub fn new(count: u64, of: u64) -> Self {
        let of_all = u128::from(of.max(1));
        let thousandths = (u128::from(count) * 100_000 + of_all / 2) / of_all;
        let percent = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
        Self { count, of, percent: percent.into() }
    }
}

/// From one outcome to another, so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it was.
    pub old: Outcome,
    /// What it would have been.
    pub new: Outcome,
    /// How often.
    pub count: u64,
}

/// A submission whose outcome would have been another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// The run it became; a rejected one is kept as a run too.
    pub run_id: RunId,
    /// The entry that records it.
    pub sequence: Sequence,
    /// When.
    pub time: Time,
    /// Whose.
    pub tenant: Box<str>,
    /// From which template.
    pub template: Box<str>,
    /// `accept`, `quarantine` or `reject`.
    pub old_verdict: Box<str>,
    /// More of a rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_code: Option<Box<str>>,
    /// The policy that judged it.
    pub old_policy: Box<str>,
    /// `accept`, `quarantine`, `reject` or `throttle`.
    pub new_verdict: Box<str>,
    /// More of a rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_code: Option<Box<str>>,
    /// The policy that would have.
    pub new_policy: Box<str>,
    /// Who objects now; where it is let off, who objected then.
    pub judge: Option<Box<str>>,
    /// To what: a rule's name, or the part of the policy (`limits.mem_mb`).
    pub rule: Option<Box<str>>,
    /// Why, in words.
    pub why: Vec<String>,
}

/// Something with a name, and how often it is met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: Box<str>,
    /// How often.
    pub flips: u64,
}

/// Let in both times, but not to the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// In another heat, to another pool, or asking other things of nodes.
    pub total: u64,
    /// To another pool.
    pub pool: u64,
    /// In another heat.
    pub heat: u64,
    /// Asking other things of nodes.
    pub placement: u64,
    /// Of which the heat is not known: what was learned then is not recorded.
    pub heat_unknown: u64,
}

/// What could not be judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReplayed {
    /// How many.
    pub total: u64,
    /// Why.
    pub reasons: Vec<Because>,
}

/// A reason, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    /// In words.
    pub reason: String,
    /// How often.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_an_exact_fraction_rounded_once() {
        for (count, of, percent) in [
            (0, 0, "0.000"),
            (0, 7, "0.000"),
            (1, 3, "33.333"),
            (2, 3, "66.667"),
            (1, 200, "0.500"),
            (7, 7, "100.000"),
            (1, 100_000_000, "0.000"),
            (u64::MAX, u64::MAX, "100.000"),
        ] {
            assert_eq!(&*Share::new(count, of).percent, percent, "{count} of {of}");
        }
    }

    #[test]
    fn a_question_is_refused_in_the_words_of_put() {
        let policy = r#"{"match": {"templates": ["*"]}}"#;
        let ask = |text: &str| crate::parse::<WhatIfRequest>(text.as_bytes()).map(|q| q.check("p"));
        let good = ask(&format!(r#"{{"policy": {policy}, "since": "168h"}}"#)).expect("a shape");
        let (draft, since) = good.expect("a question");
        assert_eq!((&*draft.name, since), ("p", SINCE_DEFAULT));
        for (text, words) in [
            (r#"{}"#.to_owned(), "policy is missing"),
            (r#"{"policy": {}}"#.to_owned(), "match.templates is empty"),
            (format!(r#"{{"policy": {policy}, "since": "soon"}}"#), "since is \"soon\": write a"),
            (
                r#"{"policy": {"match": {"templates": ["*"]}, "rules": [
                    {"name": "r", "when": "request.colour", "verdict": "reject"}]}}"#
                    .to_owned(),
                "rules[0] \"r\" line 1, column",
            ),
            (r#"{"policy": {"name": "q", "match": {"templates": ["*"]}}}"#.to_owned(), "the path"),
        ] {
            let refused = ask(&text).expect("a shape").expect_err(&text).to_string();
            assert!(refused.contains(words), "{text}: {refused}");
        }
        for (text, words) in [
            (r#"{"draft": {}}"#, "unknown field \"draft\""),
            (r#"{"policy": {"limits": {"cpu": 1}}}"#, "unknown field \"policy.limits.cpu\""),
            (r#"{"policy": []}"#, "policy"),
            (r#"{"since": 168}"#, "since"),
        ] {
            let refused = ask(text).expect_err(text).to_string();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }
}

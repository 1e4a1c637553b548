//! Errors on the wire: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Stable words for what went wrong. A client may match on them; `detail` is for people.
pub mod code {
    /// 400: not JSON, an unknown field, a wrong type.
    pub const MALFORMED: &str = "malformed";
    /// 401: no token, or a wrong one.
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    /// 403: the token may not do this.
    pub const FORBIDDEN: &str = "forbidden";
    /// 403: a judge refused the submission; the run exists as `REJECTED`.
    pub const POLICY_REJECTED: &str = "policy_rejected";
    /// 403: quarantine is needed and no live node is labelled for it.
    pub const QUARANTINE_UNAVAILABLE: &str = "quarantine_unavailable";
    /// 404: there is no such thing.
    pub const NOT_FOUND: &str = "not_found";
    /// 405: the path exists, the method does not.
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    /// 409: it is not in a state that allows this.
    pub const CONFLICT: &str = "conflict";
    /// 409: the run has ended.
    pub const ALREADY_ENDED: &str = "already_ended";
    /// 410: it was there, and its retention is over.
    pub const GONE: &str = "gone";
    /// 410: the run's output is past its retention.
    pub const OUTPUT_UNAVAILABLE: &str = "output_unavailable";
    /// 412: `If-Match` names another version than the current one.
    pub const STALE: &str = "stale";
    /// 413: the body is over its limit.
    pub const TOO_LARGE: &str = "too_large";
    /// 415: neither JSON nor what else the path takes.
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "unsupported_media_type";
    /// 422: well-formed, but not valid.
    pub const INVALID: &str = "invalid";
    /// 422: the idempotency key was used with another body.
    pub const KEY_REUSED: &str = "idempotency_key_reused";
    /// 429: the queue is full.
    pub const QUEUE_FULL: &str = "queue_full";
    /// 429: too much in too short a time.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// 429: the tenant's quota is used up.
    pub const QUOTA_EXCEEDED: &str = "quota_exceeded";
    /// 503: try again.
    pub const UNAVAILABLE: &str = "unavailable";
    /// 503: more comes in than is let in at a time.
    pub const OVERLOADED: &str = "overloaded";
    /// 503: no instance holds the pen.
    pub const NO_LEADER: &str = "no_leader";
    /// 503: the journal does not take writes.
    pub const JOURNAL_UNAVAILABLE: &str = "journal_unavailable";
    /// 500: a bug.
    pub const INTERNAL: &str = "internal";
}

/// What is known of a write that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Surely not written: try again.
    NotApplied,
    /// Maybe written: try again with the same key.
    Unknown,
}

/// Why a request failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of problem, as a URI; `about:blank` says that `title` follows from the status.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: Cow<'static, str>,
    /// The status in words.
    #[serde(default)]
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs: see [`code`].
    pub code: Cow<'static, str>,
    /// What happened and what to do, for people.
    #[serde(default)]
    pub detail: String,
    /// Each thing that is wrong, where there may be several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The run it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The `X-Request-Id` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// With 503: what is known of the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

fn about_blank() -> Cow<'static, str> {
    Cow::Borrowed("about:blank")
}

impl Problem {
    /// A problem with the given status, code and words.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: Cow::Borrowed(title(status)),
            status,
            code: Cow::Borrowed(code),
            detail: detail.into(),
            reasons: Vec::new(),
            run_id: None,
            request_id: None,
            outcome: None,
        }
    }

    /// The same, with a reason for each thing that is wrong.
    #[must_use]
    pub fn with_reasons(mut self, reasons: Vec<String>) -> Self {
        self.reasons = reasons;
        self
    }

    /// The same, about a run.
    #[must_use]
    pub fn about_run(mut self, run: impl ToString) -> Self {
        self.run_id = Some(run.to_string());
        self
    }

    /// The same, with what is known of the write.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }
}

/// The reason phrase of a status (RFC 9110, section 15), for those the contract uses.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

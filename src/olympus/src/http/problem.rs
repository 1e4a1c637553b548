//! The one place that chooses status codes.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use api::headers::PROBLEM_JSON;
use api::problem::code;
use api::query::At;
use api::{Invalid, Malformed, Outcome, Problem};
use domain::event::{RejectCode, RunRejected};
use domain::judge::Unjudgeable;
use domain::{Refusal, RunId};
use journal::{Health, Receipt};
use olympus_actors::{Failure, Mark};
use replay::Unreadable;

use super::answer;
use super::events::FEEDS_MAX;
use crate::past::NoPast;
use crate::presence::Presence;

/// Seconds after which another try makes sense: a commit takes milliseconds, a fail-over about two
/// seconds.
const SOON_S: u32 = 1;
/// A full queue empties at the pace of runs, not of requests.
const LATER_S: u32 = 5;

/// Why a request was not done as asked.
#[derive(Debug)]
pub struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    problem: Problem,
    retry_after_s: Option<u32>,
    allow: Option<&'static str>,
    mark: Option<Mark>,
    run: Option<RunId>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.problem.code, self.0.problem.detail)
    }
}

impl Fault {
    fn new(problem: impl Into<Problem>) -> Self {
        Self(Box::new(Inner {
            problem: problem.into(),
            retry_after_s: None,
            allow: None,
            mark: None,
            run: None,
        }))
    }

    fn of(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Problem::new(status, code, detail))
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    fn outcome(mut self, outcome: Outcome) -> Self {
        self.0.problem.outcome = Some(outcome);
        self
    }

    /// The same, reflecting a journal entry.
    #[must_use]
    pub fn at(mut self, mark: Mark) -> Self {
        self.0.mark = Some(mark);
        self
    }

    /// The problem itself, for an item of a batch.
    pub fn into_problem(self) -> Problem {
        self.0.problem
    }

    /// The problem itself.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// The answer to the request of this id.
    pub fn respond(&self, request: &str) -> HttpResponse {
        let mut problem = self.0.problem.clone();
        problem.request_id = Some(request.to_owned());
        let status = StatusCode::from_u16(problem.status);
        let mut response = HttpResponse::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        response.insert_header((CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON)));
        if let Some(seconds) = self.0.retry_after_s {
            response.insert_header((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Some(methods) = self.0.allow {
            response.insert_header((ALLOW, HeaderValue::from_static(methods)));
        }
        if problem.status == 401 {
            response.insert_header((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if let Some(mark) = self.0.mark {
            answer::mark(&mut response, mark, self.0.run.is_some());
        }
        if let Some(run) = self.0.run {
            response.insert_header(answer::location(run));
        }
        response.body(serde_json::to_vec(&problem).unwrap_or_default())
    }
}

impl ResponseError for Fault {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The edge answers instead, with the id of the request.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed)
    }
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        Self::new(invalid)
    }
}

impl From<Unjudgeable> for Fault {
    fn from(unjudgeable: Unjudgeable) -> Self {
        Self::new(Invalid::one(unjudgeable.to_string()))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NoSuchRun(run) => {
                Self::new(Problem::new(404, code::NOT_FOUND, detail).about_run(run))
            }
            Refusal::NoSuchNode(_) | Refusal::UnknownNode(_) | Refusal::NotFound { .. } => {
                Self::of(404, code::NOT_FOUND, detail)
            }
            Refusal::AlreadyEnded(run) => {
                Self::new(Problem::new(409, code::ALREADY_ENDED, detail).about_run(run))
            }
            Refusal::NotInQuarantine(run) | Refusal::NotDead(run) => {
                Self::new(Problem::new(409, code::CONFLICT, detail).about_run(run))
            }
            // About the run to look at.
            Refusal::Redriven { redriven_as, .. } => {
                Self::new(Problem::new(409, code::CONFLICT, detail).about_run(redriven_as))
            }
            Refusal::StillRejected { run, reasons } => {
                let mut problem = Problem::new(403, code::POLICY_REJECTED, detail).about_run(run);
                problem.reasons = reasons;
                Self::new(problem)
            }
            Refusal::QuotaExceeded { over, retry_after_ms, .. } => {
                let mut problem = Problem::new(429, code::QUOTA_EXCEEDED, detail);
                problem.reasons = over;
                let after = retry_after_ms.map_or(LATER_S, |ms| {
                    u32::try_from(ms.div_ceil(1_000).max(1)).unwrap_or(LATER_S)
                });
                Self::new(problem).retry_after(after)
            }
            Refusal::Overtaken
            | Refusal::StaleAttempt
            | Refusal::PoolChange { .. }
            | Refusal::CapacityBelowUse { .. }
            | Refusal::NotAfter { .. }
            | Refusal::NotKept { .. }
            | Refusal::NoSuchLevel { .. }
            | Refusal::LevelTooLow { .. }
            | Refusal::Tie { .. } => Self::of(409, code::CONFLICT, detail),
            Refusal::VersionMismatch { .. } | Refusal::Exists { .. } => {
                Self::of(412, code::STALE, detail)
            }
            Refusal::TooLarge { .. } => Self::of(413, code::TOO_LARGE, detail),
            Refusal::BuiltIn { .. } | Refusal::TooManyPolicies { .. } => {
                Self::new(Invalid::one(detail))
            }
            Refusal::KeyReused { .. } => Self::of(422, code::KEY_REUSED, detail),
            Refusal::QueueFull { .. } => {
                Self::of(429, code::QUEUE_FULL, detail).retry_after(LATER_S)
            }
            Refusal::StaleLaw { .. } => unavailable(format!(
                "the law changed while the submission was judged: {detail}; try again"
            )),
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Unavailable(why) => unavailable(format!("{why}: try again")),
            Failure::Unknown(why) => unknown(&why),
        }
    }
}

/// 503: surely not written.
pub fn unavailable(detail: impl Into<String>) -> Fault {
    Fault::of(503, code::UNAVAILABLE, detail).retry_after(SOON_S).outcome(Outcome::NotApplied)
}

/// 503: maybe written.
pub fn unknown(why: &str) -> Fault {
    let detail = format!(
        "{why}: it may have been applied; look, or send it again with the same Idempotency-Key"
    );
    Fault::of(503, code::UNAVAILABLE, detail).retry_after(SOON_S).outcome(Outcome::Unknown)
}

/// 503: a read that nobody answered.
pub fn unanswered() -> Fault {
    Fault::of(503, code::UNAVAILABLE, "this instance is stopping: ask another, or try again")
        .retry_after(SOON_S)
}

/// 503: a read that would show less than was asked for.
pub fn not_yet(index: u64) -> Fault {
    let detail =
        format!("entry {index} is not applied here yet: try again, or leave min_index out");
    Fault::of(503, code::UNAVAILABLE, detail).retry_after(SOON_S)
}

/// 503: what was asked for is another entry than the one of that number here.
pub fn replaced(seen: Receipt) -> Fault {
    let detail = format!(
        "the entry under the number of {seen} is another one here: what this instance has read was lost \
         and replaced, or what you were told was. Try again, or ask another instance; if all say so, \
         what you wrote is lost"
    );
    Fault::of(503, code::UNAVAILABLE, detail).retry_after(SOON_S)
}

/// 503: what this instance has read is not in the journal, so that no number says how new a read is.
pub fn shrunk() -> Fault {
    let detail = "the journal lost what this instance has read of it: try again, ask another instance, or \
                  leave min_index and consistent out to read what is known here";
    Fault::of(503, code::JOURNAL_UNAVAILABLE, detail).retry_after(SOON_S)
}

/// 503: the journal could not be asked; `or` does without.
pub fn unasked(why: &dyn fmt::Display, or: &str) -> Fault {
    let detail = format!("{why}: try again, or {or}");
    Fault::of(503, code::JOURNAL_UNAVAILABLE, detail).retry_after(SOON_S)
}

/// 503: the journal could not be read.
pub fn unread(why: &dyn fmt::Display) -> Fault {
    let detail = format!("{why}: try again");
    Fault::of(503, code::JOURNAL_UNAVAILABLE, detail).retry_after(SOON_S)
}

/// 503: a feed that would begin where nothing is yet.
pub fn ahead(index: u64) -> Fault {
    let detail = format!(
        "there is no entry {index} here: try again later, or begin with an event that this journal \
         has"
    );
    Fault::of(503, code::UNAVAILABLE, detail).retry_after(SOON_S)
}

/// 503: every place for a feed is taken.
pub fn too_many_feeds() -> Fault {
    let detail = format!(
        "this instance serves {FEEDS_MAX} feeds, which is all it can: try again later, or ask \
         another instance"
    );
    Fault::of(503, code::UNAVAILABLE, detail).retry_after(LATER_S)
}

/// 409: an instance lives that could not read what would be written.
pub fn older_instances(level: u32, below: &[Presence]) -> Fault {
    let named =
        |p: &Presence| format!("{} (version {}, reads level {})", p.url, p.version, p.reads_level);
    let below: Vec<String> = below.iter().map(named).collect();
    let detail = format!(
        "level {level} can't be read by {}, which would stop: upgrade or stop it first, and wait 20 s; \
         or raise it with --force (\"force\": true)",
        below.join(", ")
    );
    Fault::of(409, code::CONFLICT, detail)
}

/// 503: no room for what comes in.
pub fn overloaded(holds: &str) -> Fault {
    let detail = format!("this instance holds {holds}: try again later, or ask another");
    Fault::of(503, code::OVERLOADED, detail).retry_after(SOON_S).outcome(Outcome::NotApplied)
}

/// 503: every place for a what-if is taken.
pub fn what_if_busy() -> Fault {
    let detail = "this instance answers another what-if: try again when that is done, or run it \
                  beside Olympus with tartarus policy what-if --redis HOST:PORT";
    Fault::of(503, code::UNAVAILABLE, detail).retry_after(SOON_S)
}

/// 413: a what-if that asks for too much of the past.
pub fn what_if_too_long(within: std::time::Duration) -> Fault {
    let detail = format!(
        "what is recorded since then takes longer than {} s to judge: give a shorter since, or run \
         it beside Olympus with tartarus policy what-if --redis HOST:PORT",
        within.as_secs()
    );
    Fault::of(413, code::TOO_LARGE, detail)
}

/// 410: a place that the journal does not reach back to any more.
pub fn trimmed(after: api::event::Place, oldest: u64) -> Fault {
    let detail = format!(
        "the journal does not reach back to {after}: it begins behind entry {oldest}; read on with \
         after={oldest}, and read what is kept from there"
    );
    Fault::of(410, code::GONE, detail)
}

/// 503: a run's own events lie too far apart to be looked through for one answer.
pub fn long_life(run: RunId) -> Fault {
    let detail = format!(
        "run {run} lived through more of the journal than is looked through for an answer: \
         `tartarus why {run} --redis HOST:PORT` reads all of it"
    );
    Fault::of(503, code::UNAVAILABLE, detail)
}

/// 422: a point that is not in the past.
pub fn future(at: At) -> Fault {
    Invalid::one(format!("at is in the future ({at}): give a sequence or a time that has been"))
        .into()
}

/// Why a past can't be shown.
pub fn no_past(why: NoPast, at: At) -> Fault {
    let by_hand = format!("`tartarus replay at {at}` shows it without a server");
    match why {
        NoPast::Busy => {
            let detail = format!("{why}, and this instance folds one at a time: try again");
            Fault::of(503, code::UNAVAILABLE, detail).retry_after(SOON_S)
        }
        NoPast::Slow => {
            let detail = format!("{why}: {by_hand}");
            Fault::of(503, code::UNAVAILABLE, detail).retry_after(LATER_S)
        }
        NoPast::Stopping => unanswered(),
        NoPast::Gone { earliest }
        | NoPast::Unreadable(Unreadable::NotWhole { first: earliest }) => {
            let detail = format!(
                "the journal was trimmed, and nothing is kept that {at} could be folded from: the \
                 earliest that can be read is at={earliest}; with an archive of what is before, \
                 {by_hand} (--archive)"
            );
            Fault::of(410, code::GONE, detail)
        }
        NoPast::Unreadable(Unreadable::Journal(trouble)) => unread(&trouble),
        NoPast::Unreadable(Unreadable::Archive(error)) => unread(&error),
        NoPast::Unreadable(error) => internal("fold the journal", &error),
    }
}

/// 503: this instance has stopped for good.
pub fn failed(why: &str) -> Fault {
    let detail = format!(
        "{why}. This instance answers no more until an operator has mended the journal and restarted it \
         (`tartarus replay verify` and docs/operations.md say how): where there are others, ask one of them"
    );
    Fault::of(503, code::NO_LEADER, detail).retry_after(LATER_S).outcome(Outcome::NotApplied)
}

/// 503: this instance does not lead.
pub fn shut(why: &str, leader: Option<&str>) -> Fault {
    let detail = match leader {
        Some(url) => format!("{why}: ask the leader at {url}"),
        None => format!("{why}: try again"),
    };
    Fault::of(503, code::NO_LEADER, detail).retry_after(SOON_S).outcome(Outcome::NotApplied)
}

/// 503: this instance follows another, and the write is not for it.
pub fn follower(leader: Option<&str>) -> Fault {
    match leader {
        Some(url) => shut("this instance follows another", Some(url)),
        None => shut("this instance follows, and nobody leads at the moment", None),
    }
}

/// 503: the instance that keeps a run's output does not answer.
pub fn output_elsewhere(run: RunId, keeper: &str) -> Fault {
    let detail = format!(
        "the output of run {run} is kept by {keeper}, which does not answer: try again when it is \
         there"
    );
    Fault::of(503, code::UNAVAILABLE, detail).retry_after(LATER_S)
}

/// 503, when the journal takes no writes.
pub fn journal(health: &Health) -> Option<Fault> {
    let why = match health {
        Health::Leading => return None,
        Health::Degraded { reason, .. } => format!("the journal refuses writes for now: {reason}"),
        Health::Suspect { reason, .. } => format!("the journal does not answer: {reason}"),
        Health::SteppedDown => "another instance leads now".to_owned(),
        Health::FailStop { reason } => format!("the journal can't be written any more: {reason}"),
    };
    let fault = Fault::of(503, code::JOURNAL_UNAVAILABLE, why);
    Some(fault.retry_after(SOON_S).outcome(Outcome::NotApplied))
}

/// 403: the judges' verdict. The run exists.
pub fn rejected(rejected: &RunRejected) -> Fault {
    let (code, _) = api::show::reject_words(match rejected.code {
        // One code for what the law of this instance refuses; the reasons tell which part did.
        RejectCode::QuarantineDisabled => RejectCode::PolicyRejected,
        other => other,
    });
    let mut reasons: Vec<String> = rejected.judgement.reasons().collect();
    if rejected.code == RejectCode::QuarantineDisabled {
        reasons.push("quarantine is switched off".into());
    }
    let detail = api::show::reject_message(rejected);
    let problem = Problem::new(403, code, detail).with_reasons(reasons).about_run(rejected.run);
    let mut fault = Fault::new(problem);
    fault.0.run = Some(rejected.run);
    fault
}

/// 403: the same of a dead letter that was judged again. It stays one.
pub fn redrive_rejected(dead: RunId, by: &RunRejected) -> Fault {
    let mut fault = rejected(by);
    fault.0.problem.detail.push_str(&format!("; run {dead} stays a dead letter"));
    fault
}

/// 404: there is no such thing.
pub fn not_found(detail: impl Into<String>) -> Fault {
    Fault::of(404, code::NOT_FOUND, detail)
}

/// 404: the path is none of ours.
pub fn no_route(path: &str) -> Fault {
    let shown: String = path.chars().take(100).collect();
    not_found(format!("there is nothing at {shown:?}: /v1/openapi.json lists every path"))
}

/// 405: the path takes other methods.
pub fn no_method(method: &str, allow: &'static str) -> Fault {
    let shown: String = method.chars().take(20).collect();
    let mut fault = Fault::of(
        405,
        code::METHOD_NOT_ALLOWED,
        format!("{shown} is not allowed here: use {allow}"),
    );
    fault.0.allow = Some(allow);
    fault
}

/// 400: the request is not one.
pub fn malformed(detail: impl Into<String>) -> Fault {
    Fault::of(400, code::MALFORMED, detail)
}

/// 401: no token, or a wrong one.
pub fn unauthenticated(given: bool) -> Fault {
    let detail = if given {
        "the bearer token is not valid: use the one in TARTARUS_BOOTSTRAP_TOKEN, or that Olympus \
         printed at its first start"
    } else {
        "a token is needed: send \"Authorization: Bearer TOKEN\"; clients read TARTARUS_TOKEN"
    };
    Fault::of(401, code::UNAUTHENTICATED, detail)
}

/// 403: a web page of another origin wants to write.
pub fn foreign_origin() -> Fault {
    Fault::of(
        403,
        code::FORBIDDEN,
        "a page of another origin may not write here: call the API from a program",
    )
}

/// 409: a run that has ended.
pub fn conflict(detail: impl Into<String>) -> Fault {
    Fault::of(409, code::CONFLICT, detail)
}

/// 410: output past its retention.
pub fn output_unavailable(run: RunId, detail: impl Into<String>) -> Fault {
    Fault::new(Problem::new(410, code::OUTPUT_UNAVAILABLE, detail).about_run(run))
}

/// 412: there is nothing that `If-Match: *` could match.
pub fn nothing_to_match(kind: &str, name: &str) -> Fault {
    let detail = format!("{kind} {name:?} does not exist: leave If-Match out to create it");
    Fault::of(412, code::STALE, detail)
}

/// 415: a body of a kind that no path takes.
pub fn media_type(given: &str) -> Fault {
    let shown: String = given.chars().take(100).collect();
    Fault::of(
        415,
        code::UNSUPPORTED_MEDIA_TYPE,
        format!("the body is {shown:?}: send JSON with \"Content-Type: application/json\""),
    )
}

/// 500: a bug, or a broken disk.
pub fn internal(what: &str, error: &dyn fmt::Display) -> Fault {
    log::error!(error:% = error; "could not {what}");
    Fault::of(500, code::INTERNAL, format!("could not {what}: {error}"))
}

/// What the framework refused by itself.
pub fn of_framework(status: StatusCode, words: &dyn fmt::Display) -> Fault {
    match status.as_u16() {
        400 => malformed(words.to_string()),
        404 => not_found(words.to_string()),
        413 => Fault::of(413, code::TOO_LARGE, words.to_string()),
        status @ 401..500 => Fault::of(status, code::MALFORMED, words.to_string()),
        _ => internal("answer", words),
    }
}

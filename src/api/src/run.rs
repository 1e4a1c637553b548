//! Runs: what is asked for, and what is answered.

use std::borrow::Cow;

use domain::Texts;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::given::Given;
use crate::parse::{object, objects};
use crate::placement::{PlacementDocument, PlacementView};
use crate::problem::Problem;
use crate::status::Status;
use crate::time::Time;
use crate::{Heat, Network, OnLost, Pool, Verdict};

/// A submission as it is sent. What is left out takes the template's value, else the published
/// one. Values are kept as they were given; [`crate::check`] says what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunRequest {
    /// Name of the template the sandbox starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<str>>,
    /// Program and arguments; left out, the template's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<Box<str>>>,
    /// Environment of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Texts>,
    /// Fed to the program's standard input, which then ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Box<str>>,
    /// What it may use.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub resources: Option<ResourcesRequest>,
    /// Network profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Given<Network>>,
    /// The caller's word on heat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heat: Option<Given<Heat>>,
    /// 0 to 100, higher goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Attempts that fail by themselves.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub retry: Option<RetryRequest>,
    /// What losing the node means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_lost: Option<Given<OnLost>>,
    /// How long the run is remembered.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub retention: Option<RetentionRequest>,
    /// Who and why; `tenant` and `quarantine` mean something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Texts>,
    /// For selection in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Texts>,
    /// Which nodes it may run on, and which it would rather.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub placement: Option<PlacementDocument>,
}

/// `resources` of a [`RunRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourcesRequest {
    /// Thousandths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<i64>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_mb: Option<i64>,
    /// Whole GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<i64>,
    /// Wall clock of one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Given<Duration>>,
}

/// `retry` of a [`RunRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRequest {
    /// Attempts in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i64>,
    /// Pause before the second attempt; it doubles with each further one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Given<Duration>>,
}

/// `retention` of a [`RunRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionRequest {
    /// Age after the run's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Given<Duration>>,
    /// Whether its output is kept after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_output: Option<bool>,
}

/// The body of `POST /v1/runs:batch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The submissions, in order.
    #[serde(deserialize_with = "objects")]
    pub runs: Vec<RunRequest>,
}

/// The answer to a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchAnswers {
    /// One answer an item, in order.
    pub items: Vec<BatchAnswer>,
}

/// The answer to one item of a batch: the status it would have had alone, with a run or a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// HTTP status.
    pub status: u16,
    /// The run, where it was let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Box<Run>>,
    /// What was wrong, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<Problem>>,
}

impl BatchAnswer {
    /// An item that was let in.
    pub fn accepted(status: u16, run: Run) -> Self {
        Self { status, run: Some(Box::new(run)), problem: None }
    }

    /// An item that was not.
    pub fn refused(problem: Problem) -> Self {
        Self { status: problem.status, run: None, problem: Some(Box::new(problem)) }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The objects, as a single GET shows them.
    pub items: Vec<T>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Resources of a run, every default filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// MiB.
    pub mem_mb: u32,
    /// Whole GPUs.
    pub gpu: u32,
    /// Wall clock of one attempt.
    pub ttl: Duration,
}

/// Retry of a run, every default filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all.
    pub max_attempts: u32,
    /// Pause before the second attempt.
    pub backoff: Duration,
}

/// Retention of a run, every default filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Age after the run's end.
    pub max_age: Duration,
    /// Whether its output is kept after its end.
    pub keep_output: bool,
}

/// The law a run was judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Name of the policy.
    pub name: Box<str>,
    /// Its version; 0 is built in.
    pub version: u64,
    /// Revision of the law.
    pub revision: u64,
}

/// What an attempt used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in milliseconds.
    pub cpu_ms: u64,
    /// Highest resident memory in MiB.
    pub max_rss_mb: u64,
    /// Wall clock in milliseconds.
    pub wall_ms: u64,
}

/// How much a run wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSize {
    /// Kept bytes of standard output.
    pub stdout_bytes: u64,
    /// Kept bytes of standard error.
    pub stderr_bytes: u64,
    /// Whether more was written than is kept.
    pub truncated: bool,
}

/// A run. Every field is always present; what does not apply (yet) is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// UUIDv7.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// One CamelCase word for why it waits, or how it ended.
    pub reason: Option<Cow<'static, str>>,
    /// The same for people.
    pub message: Option<String>,
    /// Template it starts from.
    pub template: Box<str>,
    /// Program and arguments.
    pub command: Vec<Box<str>>,
    /// Environment.
    pub env: Texts,
    /// Standard input.
    pub stdin: Box<str>,
    /// What it may use.
    pub resources: Resources,
    /// Network profile.
    pub network: Network,
    /// 0 to 100.
    pub priority: u8,
    /// Attempts that fail by themselves.
    pub retry: Retry,
    /// What losing the node means.
    pub on_lost: OnLost,
    /// How long it is remembered.
    pub retention: Retention,
    /// Who and why.
    pub metadata: Texts,
    /// For selection.
    pub labels: Texts,
    /// Which nodes it may run on, and which it would rather: its own wishes and the policy's.
    #[serde(default)]
    pub placement: PlacementView,
    /// What the judges said.
    pub verdict: Verdict,
    /// Whether it runs on quarantine nodes only.
    pub quarantined: bool,
    /// Heat, as decided.
    pub heat: Heat,
    /// The pool it ran in, or prefers while it waits.
    pub pool: Pool,
    /// Whether it ran in another pool than its heat prefers, because no node there could hold it.
    #[serde(default)]
    pub fallback: bool,
    /// The law it was judged by.
    pub policy: PolicyRef,
    /// Node of the latest attempt, kept after the end.
    pub node: Option<String>,
    /// Number of the latest attempt; 0 before the first.
    pub attempt: u32,
    /// Exit code, where the program ended by itself.
    pub exit_code: Option<i32>,
    /// Signal, where one ended it.
    pub signal: Option<i32>,
    /// When it was admitted or rejected.
    pub created_at: Time,
    /// When its latest attempt was assigned.
    pub scheduled_at: Option<Time>,
    /// When its latest attempt started.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// What its latest attempt used.
    pub usage: Option<Usage>,
    /// How much its latest attempt wrote.
    pub output: Option<OutputSize>,
    /// The run this one repeats.
    pub redrive_of: Option<String>,
    /// The journal entry that changed it last.
    pub index: u64,
}

/// The answer to `?dry_run=true`: what would be said, with nothing written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    /// What the judges say.
    pub verdict: Verdict,
    /// Whether it would be answered 429 now: the tenant's quotas hold it back.
    #[serde(default)]
    pub throttled: bool,
    /// Every objection of every judge.
    pub reasons: Vec<String>,
    /// The law that was applied.
    pub policy: PolicyRef,
    /// Heat.
    pub heat: Heat,
    /// What decided the heat.
    pub heat_cause: Cow<'static, str>,
    /// The pool it would prefer.
    pub pool: Pool,
    /// Each judge's own answer.
    pub opinions: Vec<OpinionView>,
}

/// One judge's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpinionView {
    /// Name of the judge.
    pub judge: Cow<'static, str>,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its objections.
    pub reasons: Vec<String>,
}

impl DryRun {
    /// What was said of a submission, and what its tenant's quotas hold back for now.
    pub fn of(judgement: &domain::judge::Judgement, held_back: Vec<String>) -> Self {
        let opinions = judgement.opinions.iter().map(|opinion| OpinionView {
            judge: Cow::Owned(opinion.judge.as_str().to_owned()),
            verdict: opinion.verdict,
            reasons: opinion.objections.iter().map(ToString::to_string).collect(),
        });
        Self {
            verdict: judgement.verdict,
            throttled: !held_back.is_empty(),
            reasons: judgement.reasons().chain(held_back).collect(),
            policy: PolicyRef::from(judgement),
            heat: judgement.heat.heat,
            heat_cause: Cow::Borrowed(judgement.heat.cause.as_str()),
            pool: judgement.pool,
            opinions: opinions.collect(),
        }
    }
}

impl From<&domain::judge::Judgement> for PolicyRef {
    fn from(judgement: &domain::judge::Judgement) -> Self {
        Self {
            name: judgement.policy.name.clone(),
            version: judgement.policy.version,
            revision: judgement.revision,
        }
    }
}

impl From<domain::submission::Resources> for Resources {
    fn from(r: domain::submission::Resources) -> Self {
        Self {
            cpu_milli: r.cpu_milli,
            mem_mb: r.mem_mb,
            gpu: r.gpu,
            ttl: Duration::from_millis(r.ttl_ms),
        }
    }
}

impl From<domain::submission::Retry> for Retry {
    fn from(r: domain::submission::Retry) -> Self {
        Self { max_attempts: r.max_attempts, backoff: Duration::from_millis(r.backoff_ms) }
    }
}

impl From<domain::submission::Retention> for Retention {
    fn from(r: domain::submission::Retention) -> Self {
        Self { max_age: Duration::from_millis(r.max_age_ms), keep_output: r.keep_output }
    }
}

impl From<domain::event::Usage> for Usage {
    fn from(u: domain::event::Usage) -> Self {
        Self { cpu_ms: u.cpu_ms, max_rss_mb: u.max_rss_mb, wall_ms: u.wall_ms }
    }
}

impl From<&domain::event::Output> for OutputSize {
    fn from(o: &domain::event::Output) -> Self {
        Self { stdout_bytes: o.stdout_bytes, stderr_bytes: o.stderr_bytes, truncated: o.truncated }
    }
}

//! Rhadamanthus, Aeacus and the heat of a workload: the functions that judge a submission.
//!
//! Pure: the law, the request and the [`Inputs`] are all they see, and the inputs that counted are
//! kept with the judgement, so that it can be made again from its own record (D-1).
//! Never:  looks at the fleet or the queue; Minos, the quotas, is asked inside admission.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::court::Court;
use crate::event::RunAdmitted;
use crate::ids::{Sequence, Timestamp};
use crate::law::{FailMode, HeatTable, OnViolation, Policy, Template, Verdict};
use crate::submission::{
    Heat, Network, OnLost, Placement, Pool, Resources, Retention, Retry, Submission,
};
use crate::tenants::Holdings;

/// What a caller sent: fields checked one by one, defaults not filled in yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Template name.
    pub template: Box<str>,
    /// Command; empty takes the template's.
    pub command: Vec<Box<str>>,
    /// Environment, laid over the template's.
    pub env: BTreeMap<Box<str>, Box<str>>,
    /// Standard input.
    pub stdin: Box<str>,
    /// Thousandths of a core.
    pub cpu_milli: Option<u32>,
    /// MiB.
    pub mem_mb: Option<u32>,
    /// GPUs.
    pub gpu: Option<u32>,
    /// Milliseconds.
    pub ttl_ms: Option<u64>,
    /// Network profile.
    pub network: Network,
    /// Heat.
    pub heat: Option<Heat>,
    /// Priority, 0 to 100.
    pub priority: Option<u8>,
    /// Retry.
    pub retry: Option<Retry>,
    /// On loss of the node.
    pub on_lost: OnLost,
    /// Retention.
    pub retention: Option<Retention>,
    /// Metadata.
    pub metadata: BTreeMap<Box<str>, Box<str>>,
    /// Labels.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// Which nodes.
    pub placement: Placement,
}

/// What judging sees beside the law and the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Whether quarantine verdicts are switched on.
    pub quarantine_on: bool,
    /// `now` of the rules, in log time.
    pub at: Timestamp,
    /// The journal entry at which `tenant` and `learned` were read.
    pub index: Sequence,
    /// What the tenant has, for rules that ask.
    pub tenant: Holdings,
    /// What finished runs of the template have used, where the policy asks for learned heat.
    pub learned: Option<Learned>,
    /// What external judges answered, in the order of the policy.
    pub external: Vec<ExternalAnswer>,
}

impl Inputs {
    /// Nothing to see but the switch of quarantine.
    pub fn bare(quarantine_on: bool) -> Self {
        Self { quarantine_on, ..Self::default() }
    }
}

/// What an external judge answered, or why it did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAnswer {
    /// The judge.
    pub judge: Box<str>,
    /// What came back.
    pub outcome: ExternalOutcome,
    /// Milliseconds until it did.
    pub latency_ms: u64,
}

/// What came back from an external judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternalOutcome {
    /// Its answer.
    Said {
        /// Its verdict.
        verdict: Verdict,
        /// Its reason, possibly empty.
        reason: Box<str>,
    },
    /// Nothing, within its time.
    TimedOut,
    /// No connection.
    Unreachable,
    /// Another status than 200.
    Status(u16),
    /// A body that is no answer.
    Unreadable,
}

impl std::fmt::Display for ExternalOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said { verdict, reason } if reason.is_empty() => {
                write!(f, "it said {}", verdict.as_str())
            }
            Self::Said { reason, .. } => f.write_str(reason),
            Self::TimedOut => f.write_str("it gave no answer in time"),
            Self::Unreachable => f.write_str("it can't be reached"),
            Self::Status(status) => write!(f, "it answered with status {status}"),
            Self::Unreadable => f.write_str("its answer could not be read"),
        }
    }
}

/// What finished runs of a template have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// How many runs that is.
    pub runs: u64,
    /// Wall clock that 95 of 100 did not exceed, in milliseconds.
    pub p95_wall_ms: u64,
    /// Thousandths of a core, averaged over a run, that 95 of 100 did not exceed.
    pub p95_cpu_milli: u32,
}

/// Priority of a submission that names none.
pub const DEFAULT_PRIORITY: u8 = 50;

/// What the judges said of one submission, and everything they said it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// All opinions combined: the most severe wins.
    pub verdict: Verdict,
    /// Revision of the law that was applied.
    pub revision: u64,
    /// The policy that was applied.
    pub policy: Pinned,
    /// The template the run starts from.
    pub template: Pinned,
    /// Whether quarantine verdicts were switched on.
    pub quarantine_on: bool,
    /// Heat, and why.
    pub heat: HeatDecision,
    /// The pool it should run in.
    pub pool: Pool,
    /// Each judge's own answer.
    pub opinions: Vec<Opinion>,
    /// What placement obeys: the request's wishes and the policy's. None where neither has any.
    pub placement: Option<Arc<Placement>>,
    /// What rules and quotas were applied to, where the policy has any.
    pub basis: Option<Box<Basis>>,
}

/// What a judgement was made on, beside the law and the request: time and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// `now` of the rules, in log time.
    pub at: Timestamp,
    /// The journal entry at which `tenant` was read.
    pub index: Sequence,
    /// What the tenant had then.
    pub tenant: Holdings,
    /// What it had when it was admitted, exactly: what Minos saw.
    pub admitted: Option<Holdings>,
}

impl Judgement {
    /// What every judge objected to, in words.
    pub fn reasons(&self) -> impl Iterator<Item = String> {
        let against = self.opinions.iter().filter(|o| o.verdict > Verdict::Accept);
        against.flat_map(|o| &o.objections).map(Objection::to_string)
    }
}

impl Judgement {
    /// The inputs it was made on, as far as they counted.
    pub fn inputs(&self) -> Inputs {
        let basis = self.basis.as_deref();
        let said = self.opinions.iter().flat_map(|opinion| &opinion.objections);
        let external = said.filter_map(|objection| match objection {
            Objection::External(answer) => Some((**answer).clone()),
            _ => None,
        });
        Inputs {
            quarantine_on: self.quarantine_on,
            at: basis.map(|basis| basis.at).unwrap_or_default(),
            index: basis.map(|basis| basis.index).unwrap_or_default(),
            tenant: basis.map(|basis| basis.tenant).unwrap_or_default(),
            learned: self.heat.learned,
            external: external.collect(),
        }
    }

    /// What the judges had said before admission asked Minos.
    pub fn before_minos(&self) -> Self {
        let mut before = self.clone();
        before.opinions.retain(|opinion| opinion.judge != Judge::Minos);
        let verdicts = before.opinions.iter().map(|opinion| opinion.verdict);
        before.verdict = verdicts.max().unwrap_or(Verdict::Accept);
        if let Some(basis) = &mut before.basis {
            basis.admitted = None;
        }
        before
    }
}

/// A version of something named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Its name.
    pub name: Box<str>,
    /// Its version; 0 is built in.
    pub version: u64,
}

/// The judges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// Identity, flags, retention.
    Aeacus,
    /// Policy limits, network and rules.
    Rhadamanthus,
    /// Quotas.
    Minos,
    /// A judge elsewhere, by its name in the policy.
    External(Box<str>),
}

impl Judge {
    /// The judge's name in the API.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Aeacus => "aeacus",
            Self::Rhadamanthus => "rhadamanthus",
            Self::Minos => "minos",
            Self::External(name) => name,
        }
    }
}

/// One judge's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinion {
    /// Who.
    pub judge: Judge,
    /// What.
    pub verdict: Verdict,
    /// Why, where it is not accepted.
    pub objections: Vec<Objection>,
}

/// Why a judge did not simply accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objection {
    /// A resource is above the policy's limit.
    OverLimit {
        /// Which.
        field: Limited,
        /// What was asked, in the field's unit.
        asked: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The network profile is not among the policy's.
    NetworkNotAllowed(Network),
    /// The caller set `metadata.quarantine`.
    QuarantineAsked,
    /// A rule of the policy holds.
    RuleHolds {
        /// Its name.
        rule: Box<str>,
        /// What it says then.
        verdict: Verdict,
        /// Why, in the policy's words.
        reason: Box<str>,
    },
    /// A rule could not be evaluated: a violation.
    RuleFailed {
        /// Its name.
        rule: Box<str>,
        /// Why.
        fault: RuleFault,
    },
    /// `metadata` lacks a key that the policy requires.
    MetadataMissing(Box<str>),
    /// `labels` lacks a key that the policy requires.
    LabelMissing(Box<str>),
    /// The tenant has no more room.
    OverQuota {
        /// Which quota.
        quota: Quota,
        /// What it would have with this run, in the quota's unit.
        would_have: u64,
        /// What it may have.
        limit: u64,
    },
    /// An external judge's answer, also where it is only passed over.
    External(Box<ExternalAnswer>),
}

/// A quota of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Runs on nodes.
    Running,
    /// Runs in line.
    Pending,
    /// Thousandths of a core, of all unfinished runs.
    CpuMilli,
    /// MiB, of all unfinished runs.
    MemMb,
    /// Submissions in 60 seconds.
    PerMinute,
}

impl Quota {
    /// The quota's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Pending => "pending",
            Self::CpuMilli => "cpu_milli",
            Self::MemMb => "mem_mb",
            Self::PerMinute => "per_minute",
        }
    }
}

/// Why a rule could not be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleFault {
    /// It divides by zero.
    DivisionByZero,
    /// A number leaves the range of 64 bits.
    Overflow,
    /// An index is beyond the end of a list.
    OutOfRange,
    /// It takes more steps than a rule may.
    TooCostly,
    /// This program can't compile it.
    Uncompilable,
}

impl std::fmt::Display for RuleFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DivisionByZero => "it divides by zero",
            Self::Overflow => "a number leaves the range of 64 bits",
            Self::OutOfRange => "an index is beyond the end of a list",
            Self::TooCostly => "it takes more steps than a rule may",
            Self::Uncompilable => "this version of tartarus can't compile it",
        })
    }
}

/// A field that a policy can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limited {
    /// `resources.cpu_milli`.
    CpuMilli,
    /// `resources.mem_mb`.
    MemMb,
    /// `resources.gpu`.
    Gpu,
    /// `resources.ttl`, in milliseconds.
    TtlMs,
    /// `retention.max_age`, in milliseconds.
    MaxAgeMs,
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OverLimit { field, asked, limit } => {
                let (name, unit) = match field {
                    Limited::CpuMilli => ("resources.cpu_milli", ""),
                    Limited::MemMb => ("resources.mem_mb", ""),
                    Limited::Gpu => ("resources.gpu", ""),
                    Limited::TtlMs => ("resources.ttl", "ms"),
                    Limited::MaxAgeMs => ("retention.max_age", "ms"),
                };
                write!(f, "{name} is {asked}{unit}, the limit is {limit}{unit}")
            }
            Self::NetworkNotAllowed(Network::None) => f.write_str("network none is not allowed"),
            Self::QuarantineAsked => f.write_str("metadata.quarantine is \"true\""),
            Self::RuleHolds { rule, reason, .. } if reason.is_empty() => {
                write!(f, "rule {rule} holds")
            }
            Self::RuleHolds { rule, reason, .. } => write!(f, "rule {rule}: {reason}"),
            Self::RuleFailed { rule, fault } => write!(f, "rule {rule} can't be applied: {fault}"),
            Self::MetadataMissing(key) => write!(f, "metadata.{key} is missing"),
            Self::LabelMissing(key) => write!(f, "label {key} is missing"),
            Self::OverQuota { quota, would_have, limit } => {
                write!(
                    f,
                    "quota {}: the tenant would have {would_have}, the limit is {limit}",
                    quota.as_str()
                )
            }
            Self::External(answer) => write!(f, "judge {}: {}", answer.judge, answer.outcome),
        }
    }
}

/// Heat, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeatDecision {
    /// The level.
    pub heat: Heat,
    /// What decided it.
    pub cause: HeatCause,
    /// What runs of the template have used, where the policy asks for learned heat and there were
    /// enough of them.
    pub learned: Option<Learned>,
}

/// What decided the heat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeatCause {
    /// The request said so.
    Hint,
    /// The template said so.
    Template,
    /// It asks for a GPU.
    Gpu,
    /// Its `ttl` reaches the inferno threshold.
    LongRunning,
    /// Its CPU reaches the hot threshold.
    Cpu,
    /// Its memory reaches the hot threshold.
    Memory,
    /// It stays below every cold threshold.
    Light,
    /// None of the above.
    Ordinary,
    /// What runs of the template have used, held against the same thresholds.
    Learned,
}

impl HeatCause {
    /// The cause's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Template => "template",
            Self::Gpu => "gpu",
            Self::LongRunning => "long_running",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Light => "light",
            Self::Ordinary => "ordinary",
            Self::Learned => "learned",
        }
    }
}

/// A request that the law could not be applied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unjudgeable {
    /// There is no such template.
    #[error("template \"{name}\" does not exist; known templates: {known}")]
    UnknownTemplate {
        /// What was asked.
        name: Box<str>,
        /// What there is, with commas.
        known: String,
    },
    /// Neither the request nor the template has a command.
    #[error("command is missing, and template \"{template}\" has none of its own")]
    NoCommand {
        /// The template.
        template: Box<str>,
    },
}

/// A submission with its judgement. Only [`judge`] makes one, and admission takes nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    submission: Submission,
    judgement: Judgement,
}

impl Judged {
    /// What was judged.
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// What was said.
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// With what Minos said of `held`.
    pub(crate) fn with_minos(mut self, held: Holdings, objections: Vec<Objection>) -> Self {
        let verdict = if objections.is_empty() { Verdict::Accept } else { Verdict::Reject };
        self.judgement.verdict = self.judgement.verdict.max(verdict);
        self.judgement.opinions.push(Opinion { judge: Judge::Minos, verdict, objections });
        if let Some(basis) = &mut self.judgement.basis {
            basis.admitted = Some(held);
        }
        self
    }

    /// Both.
    pub fn into_parts(self) -> (Submission, Judgement) {
        (self.submission, self.judgement)
    }
}

/// Judges one request under the law.
///
/// # Errors
/// The request names a template that does not exist, or has no command to run.
pub fn judge(court: &Court, request: Request, inputs: &Inputs) -> Result<Judged, Unjudgeable> {
    let law = court.law();
    let Some(template) = law.templates.get(&request.template) else {
        let known: Vec<&str> = law.templates.keys().map(|name| &**name).collect();
        return Err(Unjudgeable::UnknownTemplate {
            name: request.template,
            known: known.join(", "),
        });
    };
    let template_heat = template.body.heat;
    let pinned = Pinned { name: request.template.clone(), version: template.version };
    let submission = resolve(&template.body, request)?;
    let judgement = judge_resolved(court, &submission, pinned, template_heat, inputs);
    Ok(Judged { submission, judgement })
}

/// Judges an admitted run again, as its record has it, under the law of today.
pub fn judge_again(court: &Court, run: &RunAdmitted, inputs: &Inputs) -> Judged {
    let submission = run.submission.clone();
    let pinned = run.judgement.template.clone();
    let template = court.law().templates.get(&pinned.name);
    let heat = template.and_then(|template| template.body.heat);
    let judgement = judge_resolved(court, &submission, pinned, heat, inputs);
    Judged { submission, judgement }
}

/// Judges a submission whose defaults are filled in: what replay asks of a record.
pub fn judge_resolved(
    court: &Court,
    submission: &Submission,
    template: Pinned,
    template_heat: Option<Heat>,
    inputs: &Inputs,
) -> Judgement {
    let law = court.law();
    let policy = law.policy_for(&submission.template);
    let mut opinions =
        vec![aeacus(&policy.body, submission), rhadamanthus(&policy.body, submission)];
    opinions.extend(external(&policy.body, &inputs.external));
    let verdict = opinions.iter().map(|o| o.verdict).max().unwrap_or(Verdict::Accept);
    let heat = classify(&law.heat, submission, template_heat, inputs.learned);
    let pool = match verdict {
        Verdict::Quarantine => Pool::Quarantine,
        Verdict::Accept | Verdict::Reject => preferred_pool(heat.heat),
    };
    let basis = !policy.body.rules.is_empty() || policy.body.quotas.is_any();
    Judgement {
        verdict,
        revision: law.revision,
        policy: Pinned { name: policy.body.name.clone(), version: policy.version },
        template,
        quarantine_on: inputs.quarantine_on,
        heat,
        pool,
        opinions,
        placement: placement(&policy.body, submission),
        basis: basis.then(|| {
            let Inputs { at, index, tenant, .. } = *inputs;
            Box::new(Basis { at, index, tenant, admitted: None })
        }),
    }
}

/// What placement obeys: all that the request and the policy ask.
fn placement(policy: &Policy, submission: &Submission) -> Option<Arc<Placement>> {
    let (asked, ordered) = (&submission.placement, &policy.placement);
    if asked.is_default() && ordered.is_default() {
        return None;
    }
    let mut both = asked.clone();
    both.require.requirements.extend(ordered.require.requirements.iter().cloned());
    both.prefer.extend(ordered.prefer.iter().cloned());
    both.isolation.extend(ordered.isolation.iter().cloned());
    both.strategy = both.strategy.max(ordered.strategy);
    Some(Arc::new(both))
}

fn resolve(template: &Template, request: Request) -> Result<Submission, Unjudgeable> {
    let command =
        if request.command.is_empty() { template.command.clone() } else { request.command };
    if command.is_empty() {
        return Err(Unjudgeable::NoCommand { template: template.name.clone() });
    }
    let mut env = template.env.clone();
    env.extend(request.env);
    let published = Resources::DEFAULT;
    Ok(Submission {
        template: request.template,
        command,
        env,
        stdin: request.stdin,
        resources: Resources {
            cpu_milli: request.cpu_milli.or(template.cpu_milli).unwrap_or(published.cpu_milli),
            mem_mb: request.mem_mb.or(template.mem_mb).unwrap_or(published.mem_mb),
            gpu: request.gpu.or(template.gpu).unwrap_or(published.gpu),
            ttl_ms: request.ttl_ms.or(template.ttl_ms).unwrap_or(published.ttl_ms),
        },
        network: request.network,
        heat_hint: request.heat,
        priority: request.priority.unwrap_or(DEFAULT_PRIORITY),
        retry: request.retry.unwrap_or(Retry::DEFAULT),
        on_lost: request.on_lost,
        retention: request.retention.unwrap_or(Retention::DEFAULT),
        metadata: request.metadata,
        labels: request.labels,
        placement: request.placement,
    })
}

/// Aeacus: who asks, the flags a caller sets, and how long it wants to be remembered.
fn aeacus(policy: &Policy, submission: &Submission) -> Opinion {
    let mut objections = Vec::new();
    let given = |key: &str| submission.metadata.get(key).is_some_and(|value| !value.is_empty());
    let missing = policy.require.metadata.iter().filter(|key| !given(key));
    objections.extend(missing.cloned().map(Objection::MetadataMissing));
    let missing = policy.require.labels.iter().filter(|key| !submission.labels.contains_key(*key));
    objections.extend(missing.cloned().map(Objection::LabelMissing));
    let asked = submission.retention.max_age_ms;
    if let Some(limit) = policy.max_age_ms.filter(|limit| asked > *limit) {
        objections.push(Objection::OverLimit { field: Limited::MaxAgeMs, asked, limit });
    }
    let mut verdict = violated(policy, &objections);
    if submission.asks_for_quarantine() {
        verdict = verdict.max(Verdict::Quarantine);
        objections.push(Objection::QuarantineAsked);
    }
    Opinion { judge: Judge::Aeacus, verdict, objections }
}

/// What objections mean, all of them violations.
fn violated(policy: &Policy, objections: &[Objection]) -> Verdict {
    match (objections.is_empty(), policy.on_violation) {
        (true, _) => Verdict::Accept,
        (false, OnViolation::Reject) => Verdict::Reject,
        (false, OnViolation::Quarantine) => Verdict::Quarantine,
    }
}

/// The external judges of a policy, by what they answered. One that was not asked has not answered.
fn external(policy: &Policy, answers: &[ExternalAnswer]) -> impl Iterator<Item = Opinion> {
    policy.judges.iter().map(|judge| {
        let asked = answers.iter().find(|answer| answer.judge == judge.name).cloned();
        let answer = asked.unwrap_or_else(|| ExternalAnswer {
            judge: judge.name.clone(),
            outcome: ExternalOutcome::Unreachable,
            latency_ms: 0,
        });
        let verdict = match (&answer.outcome, judge.fail) {
            (ExternalOutcome::Said { verdict, .. }, _) => *verdict,
            (_, FailMode::Open) => Verdict::Accept,
            (_, FailMode::Closed) => match policy.on_violation {
                OnViolation::Reject => Verdict::Reject,
                OnViolation::Quarantine => Verdict::Quarantine,
            },
        };
        let objections = vec![Objection::External(Box::new(answer))];
        Opinion { judge: Judge::External(judge.name.clone()), verdict, objections }
    })
}

/// Minos: whether the tenant has room for one more run like this. `held` is what it has now.
pub fn minos(policy: &Policy, submission: &Submission, held: &Holdings) -> Vec<Objection> {
    let (quotas, asked) = (&policy.quotas, &submission.resources);
    let rows = [
        (Quota::Running, quotas.running.map(u64::from), u64::from(held.running) + 1),
        (Quota::Pending, quotas.pending.map(u64::from), u64::from(held.pending) + 1),
        (Quota::CpuMilli, quotas.cpu_milli, held.asked.cpu_milli + u64::from(asked.cpu_milli)),
        (Quota::MemMb, quotas.mem_mb, held.asked.mem_mb + u64::from(asked.mem_mb)),
        (Quota::PerMinute, quotas.per_minute.map(u64::from), u64::from(held.last_minute) + 1),
    ];
    let over = |(quota, limit, would_have)| match limit {
        Some(limit) if would_have > limit => {
            Some(Objection::OverQuota { quota, would_have, limit })
        }
        Some(_) | None => None,
    };
    rows.into_iter().filter_map(over).collect()
}

/// Rhadamanthus: the policy's limits and network.
fn rhadamanthus(policy: &Policy, submission: &Submission) -> Opinion {
    let (limits, asked) = (&policy.limits, &submission.resources);
    let mut objections = Vec::new();
    let mut check = |field, asked: u64, limit: Option<u64>| {
        if let Some(limit) = limit.filter(|limit| asked > *limit) {
            objections.push(Objection::OverLimit { field, asked, limit });
        }
    };
    check(Limited::CpuMilli, asked.cpu_milli.into(), limits.cpu_milli.map(u64::from));
    check(Limited::MemMb, asked.mem_mb.into(), limits.mem_mb.map(u64::from));
    check(Limited::Gpu, asked.gpu.into(), Some(limits.gpu.into()));
    check(Limited::TtlMs, asked.ttl_ms, limits.ttl_ms);
    if !policy.network.contains(&submission.network) {
        objections.push(Objection::NetworkNotAllowed(submission.network));
    }
    let verdict = violated(policy, &objections);
    Opinion { judge: Judge::Rhadamanthus, verdict, objections }
}

/// The heat of a submission: the caller's word, the template's, then what runs of the template
/// have used, then what this one asks for.
pub fn classify(
    table: &HeatTable,
    submission: &Submission,
    template: Option<Heat>,
    learned: Option<Learned>,
) -> HeatDecision {
    let r = &submission.resources;
    let hinted = submission.heat_hint.map(|heat| (heat, HeatCause::Hint));
    let hinted = hinted.or_else(|| template.map(|heat| (heat, HeatCause::Template)));
    let (heat, cause) = match (hinted, learned) {
        (Some(hinted), _) => hinted,
        (None, _) if r.gpu > 0 => (Heat::Inferno, HeatCause::Gpu),
        (None, Some(used)) => {
            let (heat, _) = table.heat_of(used.p95_cpu_milli, r.mem_mb, used.p95_wall_ms);
            (heat, HeatCause::Learned)
        }
        (None, None) => table.heat_of(r.cpu_milli, r.mem_mb, r.ttl_ms),
    };
    HeatDecision { heat, cause, learned }
}

impl HeatTable {
    fn heat_of(&self, cpu_milli: u32, mem_mb: u32, wall_ms: u64) -> (Heat, HeatCause) {
        if wall_ms >= self.inferno_ttl_ms {
            (Heat::Inferno, HeatCause::LongRunning)
        } else if cpu_milli >= self.hot_cpu_milli {
            (Heat::Hot, HeatCause::Cpu)
        } else if mem_mb >= self.hot_mem_mb {
            (Heat::Hot, HeatCause::Memory)
        } else if cpu_milli <= self.cold_cpu_milli
            && mem_mb <= self.cold_mem_mb
            && wall_ms <= self.cold_ttl_ms
        {
            (Heat::Cold, HeatCause::Light)
        } else {
            (Heat::Warm, HeatCause::Ordinary)
        }
    }
}

/// Where a level of heat belongs.
pub fn preferred_pool(heat: Heat) -> Pool {
    match heat {
        Heat::Cold | Heat::Warm => Pool::Standard,
        Heat::Hot | Heat::Inferno => Pool::HighCompute,
    }
}

//! Rhadamanthus, Aeacus and the heat of a workload: the functions that judge a submission.
//!
//! Pure: the law, the request and whether quarantine is on are all they see, so that a recorded
//! judgement can be made again from its own record (D-1).
//! Never:  looks at the fleet, the queue or quotas: those are asked inside admission.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::law::{HeatTable, Law, OnViolation, Policy, Template, Verdict};
use crate::submission::{Heat, Network, OnLost, Pool, Resources, Retention, Retry, Submission};

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
}

impl Judgement {
    /// What every judge objected to, in words.
    pub fn reasons(&self) -> impl Iterator<Item = String> {
        self.opinions.iter().flat_map(|o| &o.objections).map(Objection::to_string)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// Identity, flags, retention.
    Aeacus,
    /// Policy limits, network and rules.
    Rhadamanthus,
    /// Quotas.
    Minos,
}

impl Judge {
    /// The judge's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aeacus => "aeacus",
            Self::Rhadamanthus => "rhadamanthus",
            Self::Minos => "minos",
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

    /// Both.
    pub fn into_parts(self) -> (Submission, Judgement) {
        (self.submission, self.judgement)
    }
}

/// Judges one request under the law.
///
/// # Errors
/// The request names a template that does not exist, or has no command to run.
pub fn judge(law: &Law, request: Request, quarantine_on: bool) -> Result<Judged, Unjudgeable> {
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
    let judgement = judge_resolved(law, &submission, pinned, template_heat, quarantine_on);
    Ok(Judged { submission, judgement })
}

/// Judges a submission whose defaults are filled in: what replay asks of a record.
pub fn judge_resolved(
    law: &Law,
    submission: &Submission,
    template: Pinned,
    template_heat: Option<Heat>,
    quarantine_on: bool,
) -> Judgement {
    let policy = law.policy_for(&submission.template);
    let opinions = vec![aeacus(submission), rhadamanthus(&policy.body, submission)];
    let verdict = opinions.iter().map(|o| o.verdict).max().unwrap_or(Verdict::Accept);
    let heat = classify(&law.heat, submission, template_heat);
    let pool = match verdict {
        Verdict::Quarantine => Pool::Quarantine,
        Verdict::Accept | Verdict::Reject => preferred_pool(heat.heat),
    };
    Judgement {
        verdict,
        revision: law.revision,
        policy: Pinned { name: policy.body.name.clone(), version: policy.version },
        template,
        quarantine_on,
        heat,
        pool,
        opinions,
    }
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
    })
}

/// Aeacus: the caller's own flags.
fn aeacus(submission: &Submission) -> Opinion {
    let (verdict, objections) = if submission.asks_for_quarantine() {
        (Verdict::Quarantine, vec![Objection::QuarantineAsked])
    } else {
        (Verdict::Accept, Vec::new())
    };
    Opinion { judge: Judge::Aeacus, verdict, objections }
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
    check(Limited::MaxAgeMs, submission.retention.max_age_ms, policy.max_age_ms);
    if !policy.network.contains(&submission.network) {
        objections.push(Objection::NetworkNotAllowed(submission.network));
    }
    let verdict = match (objections.is_empty(), policy.on_violation) {
        (true, _) => Verdict::Accept,
        (false, OnViolation::Reject) => Verdict::Reject,
        (false, OnViolation::Quarantine) => Verdict::Quarantine,
    };
    Opinion { judge: Judge::Rhadamanthus, verdict, objections }
}

/// The heat of a submission: the caller's word, the template's, then the thresholds.
pub fn classify(
    table: &HeatTable,
    submission: &Submission,
    template: Option<Heat>,
) -> HeatDecision {
    let r = &submission.resources;
    let (heat, cause) = if let Some(heat) = submission.heat_hint {
        (heat, HeatCause::Hint)
    } else if let Some(heat) = template {
        (heat, HeatCause::Template)
    } else if r.gpu > 0 {
        (Heat::Inferno, HeatCause::Gpu)
    } else if r.ttl_ms >= table.inferno_ttl_ms {
        (Heat::Inferno, HeatCause::LongRunning)
    } else if r.cpu_milli >= table.hot_cpu_milli {
        (Heat::Hot, HeatCause::Cpu)
    } else if r.mem_mb >= table.hot_mem_mb {
        (Heat::Hot, HeatCause::Memory)
    } else if r.cpu_milli <= table.cold_cpu_milli
        && r.mem_mb <= table.cold_mem_mb
        && r.ttl_ms <= table.cold_ttl_ms
    {
        (Heat::Cold, HeatCause::Light)
    } else {
        (Heat::Warm, HeatCause::Ordinary)
    };
    HeatDecision { heat, cause }
}

/// Where a level of heat belongs.
pub fn preferred_pool(heat: Heat) -> Pool {
    match heat {
        Heat::Cold | Heat::Warm => Pool::Standard,
        Heat::Hot | Heat::Inferno => Pool::HighCompute,
    }
}

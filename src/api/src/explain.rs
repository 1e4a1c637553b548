//! `GET /v1/runs/{id}/explain`: why a run is where it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::court::Wants;
use domain::dead::Letter;
use domain::event::Principal;
use domain::explain::{Explained, Standing};
use domain::judge::{Basis, HeatCause, Judge, Judgement, Objection, Opinion};
use domain::law::HeatTable;
use domain::placement::WaitReason;
use domain::runs;
use domain::tenants::Holdings;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::run::{PolicyRef, Run};
use crate::status::Status;
use crate::time::Time;
use crate::{Heat, OnViolation, Pool, Verdict};

/// Why a run is where it is: every decision about it, with what it was made on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The run.
    pub run_id: String,
    /// Where it is in its life.
    pub status: Status,
    /// One CamelCase word for why it waits, or how it ended.
    pub reason: Option<Cow<'static, str>>,
    /// The same for people.
    pub message: Option<String>,
    /// All judges' answers combined.
    pub verdict: Verdict,
    /// Whether it runs on quarantine nodes only.
    pub quarantined: bool,
    /// The policy it was judged by.
    pub policy: PolicyExplained,
    /// Each judge's own answer.
    pub judges: Vec<JudgeExplained>,
    /// Time and counters that rules and quotas were applied to, where they read any.
    pub inputs: Option<InputsExplained>,
    /// The nearest request with a better verdict, found by judging it.
    pub nearest_miss: Option<MissExplained>,
    /// Why the loss of its nodes sent it to quarantine, where it did.
    #[serde(default)]
    pub lost_to_quarantine: Option<String>,
    /// An operator's word on it in quarantine.
    pub operator: Option<OperatorExplained>,
    /// Its heat.
    pub heat: HeatExplained,
    /// The pool it ran in, or prefers while it waits.
    pub pool: Pool,
    /// Whether that is not the pool its heat prefers.
    pub fallback: bool,
    /// Its place in line, while it waits.
    pub queue: Option<QueueExplained>,
    /// The nodes that were considered, the nearest first, and the test each failed; while it waits.
    pub nodes: Vec<NodeExplained>,
    /// How many of the nodes that are not shown failed which test.
    pub nodes_failed: BTreeMap<String, u64>,
    /// What would make it fit.
    pub would_fit: Option<String>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptExplained>,
    /// The dead letter that it repeats.
    #[serde(default)]
    pub redrive_of: Option<String>,
    /// What it is as a dead letter, where it is out of attempts.
    #[serde(default)]
    pub dead_letter: Option<DeadExplained>,
}

/// A run out of attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadExplained {
    /// Since when.
    pub since: Time,
    /// The run that it became by a redrive.
    pub redriven_as: Option<String>,
    /// What can be done about it.
    pub message: String,
}

/// The policy a run was judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyExplained {
    /// Its name.
    pub name: Box<str>,
    /// Its version; 0 is built in.
    pub version: u64,
    /// Revision of the law.
    pub revision: u64,
    /// The pattern that matched the template; none for the built-in policy.
    pub matched: Option<Box<str>>,
    /// What breaking it means.
    pub on_violation: OnViolation,
    /// Version of the template the run starts from.
    pub template_version: u64,
}

/// One judge's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeExplained {
    /// Its name.
    pub judge: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its objections.
    pub reasons: Vec<String>,
    /// What each rule of the policy said, for the judge that applies them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleExplained>,
    /// How long an external judge took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

/// What a rule said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleExplained {
    /// Its name.
    pub rule: Box<str>,
    /// Its expression.
    pub when: Box<str>,
    /// Whether it held; none where it could not be applied.
    pub holds: Option<bool>,
    /// Its verdict when it holds.
    pub verdict: Verdict,
    /// Why it could not be applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// What rules and quotas were applied to. What none of them read was not recorded: it is absent
/// here, never 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputsExplained {
    /// `now` of the rules; none where they read neither it nor the tenant.
    pub now: Option<Time>,
    /// The journal entry at which `tenant` was read.
    pub index: Option<u64>,
    /// What the tenant had then; none where no rule reads it.
    pub tenant: Option<TenantExplained>,
    /// What it had in the instant of admission, which quotas are held against; none where Minos
    /// was not asked.
    pub at_admission: Option<TenantExplained>,
}

impl InputsExplained {
    /// What was recorded, as far as it was looked at; none where nothing was.
    fn new(basis: &Basis, looked_at: Wants) -> Option<Self> {
        let inputs = Self {
            now: (looked_at.now || looked_at.tenant).then(|| basis.at.into()),
            index: looked_at.tenant.then_some(basis.index),
            tenant: looked_at.tenant.then(|| basis.tenant.into()),
            at_admission: basis.admitted.map(Into::into),
        };
        (inputs.now.is_some() || inputs.at_admission.is_some()).then_some(inputs)
    }
}

/// What a tenant had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantExplained {
    /// Runs on nodes.
    pub running: u32,
    /// Runs in line.
    pub pending: u32,
    /// Thousandths of a core asked for by all unfinished runs.
    pub cpu_milli: u64,
    /// MiB asked for by all unfinished runs.
    pub mem_mb: u64,
    /// Submissions in the 60 seconds before.
    pub last_minute: u32,
}

impl From<Holdings> for TenantExplained {
    fn from(held: Holdings) -> Self {
        Self {
            running: held.running,
            pending: held.pending,
            cpu_milli: held.asked.cpu_milli,
            mem_mb: held.asked.mem_mb,
            last_minute: held.last_minute,
        }
    }
}

/// The nearest request with a better verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissExplained {
    /// The verdict it would have.
    pub verdict: Verdict,
    /// What it would have to be like.
    pub changes: Vec<String>,
    /// The same in a sentence.
    pub message: String,
}

/// An operator's word on a run in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorExplained {
    /// `released` or `rejected`.
    pub action: Cow<'static, str>,
    /// When.
    pub at: Time,
    /// Who: a token by the digest's begin.
    pub by: String,
    /// Why, in the operator's words.
    pub reason: Box<str>,
}

/// The heat of a run, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeatExplained {
    /// The level.
    pub heat: Heat,
    /// What decided it.
    pub cause: Cow<'static, str>,
    /// The same in a sentence, with the threshold that was crossed.
    pub message: String,
    /// What finished runs of the template have used, where that was asked for and known.
    pub learned: Option<LearnedExplained>,
}

/// What finished runs of a template have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedExplained {
    /// How many runs that is.
    pub runs: u64,
    /// Wall clock that 95 of 100 did not exceed, in milliseconds.
    pub p95_wall_ms: u64,
    /// Thousandths of a core that 95 of 100 did not exceed.
    pub p95_cpu_milli: u32,
}

/// A place in line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueExplained {
    /// From 1, in its pool.
    pub place: u64,
    /// Since when it waits.
    pub since: Time,
    /// Milliseconds until its turn, where that can be estimated.
    pub estimate_ms: Option<u64>,
    /// What the estimate rests on, or why there is none.
    pub basis: String,
}

/// A node that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeExplained {
    /// The node.
    pub id: String,
    /// Its pool.
    pub pool: Pool,
    /// The test it failed; none where the run would fit.
    pub failed: Option<String>,
}

/// An attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptExplained {
    /// Its number.
    pub attempt: u32,
    /// Its node.
    pub node: String,
    /// What became of it; none while it goes on.
    pub outcome: Option<String>,
}

impl Explanation {
    /// Explains a run as it is shown, from its record.
    pub fn new(shown: Run, run: &runs::Run, why: &Explained, standing: Option<&Standing>) -> Self {
        let judgement = run.judgement();
        Self {
            run_id: shown.id,
            status: shown.status,
            reason: shown.reason,
            message: shown.message,
            verdict: judgement.verdict,
            quarantined: shown.quarantined,
            policy: policy(judgement, why),
            judges: judgement.opinions.iter().map(|opinion| judge(opinion, why)).collect(),
            inputs: judgement
                .basis
                .as_deref()
                .and_then(|basis| InputsExplained::new(basis, why.looked_at)),
            nearest_miss: why.miss.as_ref().map(|miss| MissExplained {
                verdict: miss.verdict,
                changes: miss.changes.clone(),
                message: format!(
                    "would be {} with {}",
                    match miss.verdict {
                        Verdict::Accept => "accepted",
                        Verdict::Quarantine => "quarantined",
                        Verdict::Reject => "rejected",
                    },
                    miss.changes.join(" and ")
                ),
            }),
            lost_to_quarantine: crate::show::poison(run),
            operator: operator(run),
            heat: heat(run, &why.thresholds),
            pool: shown.pool,
            fallback: shown.fallback,
            queue: standing.map(queue),
            nodes: standing.map(nodes).unwrap_or_default(),
            nodes_failed: standing.map(failed).unwrap_or_default(),
            would_fit: standing.and_then(|standing| standing.considered.hint.clone()),
            attempts: attempts(run),
            redrive_of: run.redrive_of().map(|id| id.to_string()),
            dead_letter: None,
        }
    }

    /// The same, of a dead letter.
    #[must_use]
    pub fn with_dead_letter(mut self, letter: Option<&Letter>) -> Self {
        self.dead_letter = letter.map(|letter| DeadExplained {
            since: letter.since.into(),
            redriven_as: letter.redriven_as.map(|run| run.to_string()),
            message: match letter.redriven_as {
                Some(run) => format!("it was redriven as {run}"),
                None => format!(
                    "out of attempts: `tartarus queue redrive {}` has it judged again and makes a \
                     new run of it",
                    self.run_id
                ),
            },
        });
        self
    }
}

fn policy(judgement: &Judgement, why: &Explained) -> PolicyExplained {
    let PolicyRef { name, version, revision } = PolicyRef::from(judgement);
    PolicyExplained {
        name,
        version,
        revision,
        matched: why.pattern.clone(),
        on_violation: why.on_violation,
        template_version: judgement.template.version,
    }
}

fn judge(opinion: &Opinion, why: &Explained) -> JudgeExplained {
    let rules = why.rules.iter().filter(|_| opinion.judge == Judge::Rhadamanthus);
    let latency = opinion.objections.iter().find_map(|objection| match objection {
        Objection::External(answer) => Some(answer.latency_ms),
        _ => None,
    });
    JudgeExplained {
        judge: opinion.judge.as_str().to_owned(),
        verdict: opinion.verdict,
        reasons: opinion.objections.iter().map(ToString::to_string).collect(),
        rules: rules
            .map(|seen| RuleExplained {
                rule: seen.rule.name.clone(),
                when: seen.rule.when.clone(),
                holds: seen.outcome.ok(),
                verdict: seen.rule.verdict,
                fault: seen.outcome.err().map(|fault| fault.to_string()),
            })
            .collect(),
        latency_ms: latency,
    }
}

fn operator(run: &runs::Run) -> Option<OperatorExplained> {
    let (action, at, origin, reason) = match (&run.released, &run.refused) {
        (_, Some(e)) => ("rejected", e.at, &e.origin, &e.reason),
        (Some(e), None) => ("released", e.at, &e.origin, &e.reason),
        (None, None) => return None,
    };
    Some(OperatorExplained {
        action: Cow::Borrowed(action),
        at: at.into(),
        by: who(&origin.by),
        reason: reason.clone(),
    })
}

/// A principal as people read it.
pub fn who(principal: &Principal) -> String {
    match principal {
        Principal::System => "system".to_owned(),
        Principal::Anonymous => "anonymous".to_owned(),
        Principal::Token(digest) => format!("token {digest}"),
        Principal::Node(node) => format!("node {node}"),
    }
}

fn heat(run: &runs::Run, table: &HeatTable) -> HeatExplained {
    let decision = run.judgement().heat;
    let asked = run.submission().resources;
    let span = |ms| Duration::from_millis(ms);
    let message = match (decision.cause, decision.learned) {
        (HeatCause::Hint, _) => "the request says so".to_owned(),
        (HeatCause::Template, _) => "the template says so".to_owned(),
        (HeatCause::Gpu, _) => format!("it asks for {} GPU", asked.gpu),
        (HeatCause::LongRunning, _) => format!(
            "resources.ttl {} reaches the threshold of inferno, {}",
            span(asked.ttl_ms),
            span(table.inferno_ttl_ms)
        ),
        (HeatCause::Cpu, _) => format!(
            "resources.cpu_milli {} reaches the threshold of hot, {}",
            asked.cpu_milli, table.hot_cpu_milli
        ),
        (HeatCause::Memory, _) => format!(
            "resources.mem_mb {} reaches the threshold of hot, {}",
            asked.mem_mb, table.hot_mem_mb
        ),
        (HeatCause::Light, _) => format!(
            "it stays within the thresholds of cold: {} mCPU, {} MiB, {}",
            table.cold_cpu_milli,
            table.cold_mem_mb,
            span(table.cold_ttl_ms)
        ),
        (HeatCause::Ordinary, _) => "it is above cold and below hot".to_owned(),
        (HeatCause::Learned, learned) => {
            let used = learned.map(|used| {
                format!(
                    "95 of 100 of {} finished runs of the template used at most {} mCPU and {}",
                    used.runs,
                    used.p95_cpu_milli,
                    span(used.p95_wall_ms)
                )
            });
            used.unwrap_or_else(|| "what runs of the template have used".to_owned())
        }
    };
    HeatExplained {
        heat: decision.heat,
        cause: Cow::Borrowed(decision.cause.as_str()),
        message,
        learned: decision.learned.map(|used| LearnedExplained {
            runs: used.runs,
            p95_wall_ms: used.p95_wall_ms,
            p95_cpu_milli: used.p95_cpu_milli,
        }),
    }
}

fn queue(standing: &Standing) -> QueueExplained {
    let Standing { why, ahead, since, pace, considered: _ } = standing;
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let (estimate_ms, basis) = match (why, pace) {
        (WaitReason::QueuePaused, _) => (None, "the queue is paused".to_owned()),
        (WaitReason::BackingOff, _) => (None, "it pauses before another attempt".to_owned()),
        (WaitReason::Draining, _) => {
            (None, "the nodes it could go to are being drained".to_owned())
        }
        (WaitReason::NeverFits | WaitReason::NoNode | WaitReason::WaitingForQuarantineNode, _) => {
            (None, "no live node could take it".to_owned())
        }
        (WaitReason::WaitingForCapacity, None) => {
            (None, format!("{ahead} before it; of a past, no estimate is made"))
        }
        (WaitReason::WaitingForCapacity, Some(0)) => {
            (None, format!("{ahead} before it; none of its pool was placed in the last minute"))
        }
        (WaitReason::WaitingForCapacity, Some(pace)) => {
            let turn = (count(*ahead) + 1).saturating_mul(60_000) / u64::from(*pace);
            let basis =
                format!("{ahead} before it; {pace} of its pool were placed in the last minute");
            (Some(turn), basis)
        }
    };
    QueueExplained { place: count(*ahead) + 1, since: (*since).into(), estimate_ms, basis }
}

fn nodes(standing: &Standing) -> Vec<NodeExplained> {
    let nodes = standing.considered.nodes.iter();
    nodes
        .map(|test| NodeExplained {
            id: test.node.to_string(),
            pool: test.pool,
            failed: test.failed.as_ref().map(ToString::to_string),
        })
        .collect()
}

fn failed(standing: &Standing) -> BTreeMap<String, u64> {
    let counts = standing.considered.failed_counts.iter();
    counts
        .map(|(kind, n)| (kind.as_str().to_owned(), u64::try_from(*n).unwrap_or(u64::MAX)))
        .collect()
}

fn attempts(run: &runs::Run) -> Vec<AttemptExplained> {
    let past = run.past.iter().map(|past| AttemptExplained {
        attempt: past.attempt,
        node: past.node.to_string(),
        outcome: Some(past.outcome.to_string()),
    });
    // The latest attempt is told by the run itself, unless the run waits for another one.
    let latest =
        run.node.as_ref().filter(|_| run.past.last().is_none_or(|p| p.attempt < run.attempt));
    let latest = latest.map(|node| AttemptExplained {
        attempt: run.attempt,
        node: node.to_string(),
        outcome: run.latest_outcome().map(|outcome| outcome.to_string()),
    });
    past.chain(latest).collect()
}

//! The judges themselves: each a function of the law, the submission and what it needs to see.
//!
//! Never:  knows of the others: their answers are combined by severity in [`super`].

use super::{
    ExternalAnswer, ExternalOutcome, Inputs, Judge, Limited, Objection, Opinion, Quota, RuleFault,
};
use crate::court::Statute;
use crate::law::{FailMode, OnViolation, Policy, Verdict};
use crate::rules::{Facts, PolicyFacts, TenantFacts, eval};
use crate::submission::Submission;
use crate::tenants::Holdings;

/// Aeacus: who asks, the flags a caller sets, and how long it wants to be remembered.
pub(super) fn aeacus(policy: &Policy, submission: &Submission) -> Opinion {
    let mut objections = Vec::new();
    let given = |key: &str| submission.metadata.get(key).is_some_and(|value| !value.is_empty());
    let missing = policy.require.metadata.iter().filter(|key| !given(key));
    objections.extend(missing.cloned().map(Objection::MetadataMissing));
    let missing = policy.require.labels.iter().filter(|key| !submission.labels.contains_key(key));
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
pub(super) fn external(
    policy: &Policy,
    answers: &[ExternalAnswer],
) -> impl Iterator<Item = Opinion> {
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

/// Rhadamanthus: the policy's limits, network and rules. Every rule is evaluated; one that fails is a
/// violation.
pub(super) fn rhadamanthus(statute: &Statute, submission: &Submission, inputs: &Inputs) -> Opinion {
    let policy = statute.policy();
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
    let mut verdict = violated(policy, &objections);
    let facts = Facts {
        request: submission,
        policy: PolicyFacts::new(policy, statute.version()),
        tenant: TenantFacts { name: submission.tenant(), held: inputs.tenant },
        now: inputs.at,
    };
    for (rule, program) in statute.rules() {
        let holds = match program {
            Ok(program) => eval(program, &facts),
            Err(_) => Err(RuleFault::Uncompilable),
        };
        match holds {
            Ok(false) => {}
            Ok(true) => {
                let (rule, said, reason) = (rule.name.clone(), rule.verdict, rule.reason.clone());
                objections.push(Objection::RuleHolds { rule, verdict: said, reason });
                verdict = verdict.max(said);
            }
            Err(fault) => {
                let failed = Objection::RuleFailed { rule: rule.name.clone(), fault };
                verdict = verdict.max(violated(policy, std::slice::from_ref(&failed)));
                objections.push(failed);
            }
        }
    }
    Opinion { judge: Judge::Rhadamanthus, verdict, objections }
}

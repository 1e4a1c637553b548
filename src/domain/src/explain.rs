//! Why: a decision opened up again, from its own record.
//!
//! Nothing is stored for it beside the judgement: the pinned version of the policy and the inputs
//! that were kept with it give every rule's answer again (D-1), and the nearest miss is found by
//! judging what should have been asked instead.
//! Never:  guesses: a miss is only told when judging it again said so.
//! Proof:  `tests/tests/live/explain.rs`.

use crate::court::{Court, Wants};
use crate::ids::Timestamp;
use crate::judge::{Inputs, Judge, Judgement, Limited, Objection, RuleFault, judge_resolved};
use crate::law::{Current, HeatTable, Law, LawBook, OnViolation, Policy, Rule, Verdict};
use crate::pattern::{glob, specificity};
use crate::placement::{Considered, WaitReason};
use crate::rules::{self, Facts, PolicyFacts, TenantFacts};
use crate::runs::Run;
use crate::submission::Submission;

/// A judgement, opened up.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What breaking the policy means.
    pub on_violation: OnViolation,
    /// Which of its patterns matched the template; none for the built-in policy.
    pub pattern: Option<Box<str>>,
    /// What each of its rules said, in its order.
    pub rules: Vec<RuleSeen>,
    /// The heat thresholds that were applied.
    pub thresholds: HeatTable,
    /// What would have had a better verdict.
    pub miss: Option<Miss>,
    /// What its judges looked at: nothing else was recorded, and nothing else may be told.
    pub looked_at: Wants,
}

/// What a rule said.
#[derive(Clone, Debug)]
pub struct RuleSeen {
    /// The rule.
    pub rule: Rule,
    /// Whether it held.
    pub outcome: Result<bool, RuleFault>,
}

/// The nearest request with a better verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// What it would have to be like.
    pub changes: Vec<String>,
    /// The verdict then.
    pub verdict: Verdict,
}

/// How a run that waits stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Why it waits.
    pub why: WaitReason,
    /// Runs before it in its pool.
    pub ahead: usize,
    /// Since when it waits.
    pub since: Timestamp,
    /// Runs of its pool that were assigned in the last minute; none where nobody counted.
    pub pace: Option<u32>,
    /// The nodes, and the tests they failed.
    pub considered: Considered,
}

/// How often a request is changed and judged again: one change can uncover another objection.
const ROUNDS: usize = 4;

/// Opens the judgement of a run up, under the law that was applied. It compiles the rules of the
/// policy, some more than once: not for a thread that others wait for.
pub fn explain(law: Law, run: &Run) -> Explained {
    let judgement = run.judgement();
    let template = &run.submission().template;
    let thresholds = law.heat.clone();
    let court = Court::from(law);
    let statute = court.statute_for(template);
    let policy = statute.policy();
    let pattern = policy.templates.iter().filter(|pattern| glob(pattern, template));
    let pattern = pattern.max_by_key(|pattern| specificity(pattern)).cloned();
    let version = judgement.policy.version;
    let inputs = judgement.inputs();
    let rules = Rules { policy, version, inputs: &inputs };
    Explained {
        rules: rules.asked(run.submission()),
        pattern: pattern.filter(|_| judgement.policy.version > 0),
        thresholds,
        miss: miss(&court, &rules, run.submission(), judgement),
        on_violation: policy.on_violation,
        looked_at: statute.wants(),
    }
}

/// The law of a judgement, as far as it was applied: one policy, and the thresholds. None where it
/// is not in `book`, which is never so for a run of the same journal.
pub fn law_of(book: &LawBook, judgement: &Judgement) -> Option<Law> {
    let mut law = Law::default();
    law.revision = judgement.revision;
    let pinned = &judgement.policy;
    if pinned.version > 0 {
        let history = book.policy_history(&pinned.name);
        let version = history.iter().find(|v| v.version == pinned.version && v.body.is_some())?;
        let body = version.body.clone()?;
        let (version, revision) = (version.version, version.revision);
        law.policies.insert(pinned.name.clone(), Current { version, revision, body });
    }
    let thresholds = book.heat_history().iter().rfind(|v| v.revision <= judgement.revision);
    if let Some(table) = thresholds.and_then(|v| v.body.as_deref()) {
        law.heat = table.clone();
    }
    Some(law)
}

/// The rules of a pinned policy, with what they were applied to.
struct Rules<'a> {
    policy: &'a Policy,
    version: u64,
    inputs: &'a Inputs,
}

impl Rules<'_> {
    fn facts<'f>(&'f self, request: &'f Submission) -> Facts<'f> {
        Facts {
            request,
            policy: PolicyFacts::new(self.policy, self.version),
            tenant: TenantFacts { name: request.tenant(), held: self.inputs.tenant },
            now: self.inputs.at,
        }
    }

    fn asked(&self, request: &Submission) -> Vec<RuleSeen> {
        let facts = self.facts(request);
        let ask = |rule: &Rule| {
            let program = rules::compile(&rule.when).map_err(|_| RuleFault::Uncompilable);
            let outcome = program.and_then(|program| rules::eval(&program, &facts));
            RuleSeen { rule: rule.clone(), outcome }
        };
        self.policy.rules.iter().map(ask).collect()
    }

    /// Changes the number that a simple rule is about, so that it holds no more.
    fn turn(&self, name: &str, asked: &mut Submission) -> Option<String> {
        let rule = self.policy.rules.iter().find(|rule| *rule.name == *name)?;
        let program = rules::compile(&rule.when).ok()?;
        let hint = rules::hint(&program, &self.facts(asked))?;
        hint.apply(asked);
        Some(hint.to_string())
    }
}

/// Changes what was objected to, as long as that helps.
fn miss(court: &Court, rules: &Rules<'_>, asked: &Submission, judged: &Judgement) -> Option<Miss> {
    let mut best = None;
    let (mut asked, mut judged) = (asked.clone(), judged.before_minos());
    let was = judged.verdict;
    let mut changes = Vec::new();
    for _ in 0..ROUNDS {
        if judged.verdict == Verdict::Accept {
            break;
        }
        let against = judged.opinions.iter().filter(|o| o.verdict > Verdict::Accept);
        let before = changes.len();
        for opinion in against {
            // What a judge elsewhere would say of another request nobody knows.
            if matches!(opinion.judge, Judge::External(_)) {
                return best;
            }
            for objection in &opinion.objections {
                changes.extend(amend(rules, &mut asked, objection));
            }
        }
        if changes.len() == before {
            break;
        }
        judged = judge_resolved(court, &asked, judged.template.clone(), None, rules.inputs);
        if judged.verdict < was {
            best = Some(Miss { changes: changes.clone(), verdict: judged.verdict });
        }
    }
    best
}

/// Changes a request so that one objection falls away; says what it did.
fn amend(rules: &Rules<'_>, asked: &mut Submission, objection: &Objection) -> Option<String> {
    match objection {
        Objection::OverLimit { field, limit, .. } => {
            let small = u32::try_from(*limit).unwrap_or(u32::MAX);
            match field {
                Limited::CpuMilli => asked.resources.cpu_milli = small,
                Limited::MemMb => asked.resources.mem_mb = small,
                Limited::Gpu => asked.resources.gpu = small,
                Limited::TtlMs => asked.resources.ttl_ms = *limit,
                Limited::MaxAgeMs => asked.retention.max_age_ms = *limit,
            }
            let (name, unit) = field.name_and_unit();
            Some(format!("{name} <= {limit}{unit}"))
        }
        Objection::QuarantineAsked => {
            asked.metadata.remove("quarantine");
            Some("metadata.quarantine left out".to_owned())
        }
        Objection::MetadataMissing(key) => {
            asked.metadata.insert(key.clone(), "given".into());
            Some(format!("metadata.{key} given"))
        }
        Objection::LabelMissing(key) => {
            asked.labels.insert(key.clone(), "given".into());
            Some(format!("label {key} given"))
        }
        Objection::RuleHolds { rule, .. } => rules.turn(rule, asked),
        Objection::NetworkNotAllowed(_)
        | Objection::RuleFailed { .. }
        | Objection::OverQuota { .. }
        | Objection::External(_) => None,
    }
}

//! Counting what would have been another.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::Time;
use api::what_if::{
    Because, Change, Counts, DraftRef, FLIPS_MAX, Flip, Moved, Named, NotReplayed, Outcome, Share,
    TOP, WhatIfReport,
};
use domain::ids::Hex;
use domain::judge::{Judge, Judgement, Objection, Opinion};
use domain::law::Verdict;

use super::case::{Case, Found, Reason, Under};

/// Names that are counted apart; flips of more are in the totals alone. Tenants are a caller's word.
const NAMES_MAX: usize = 16_384;
/// Reasons that are listed with a flip, and characters of each.
const WHY_MAX: (usize, usize) = (4, 240);

/// How often each name is met.
#[derive(Default)]
struct Names(BTreeMap<Box<str>, u64>);

impl Names {
    fn count(&mut self, name: &str) {
        if let Some(count) = self.0.get_mut(name) {
            *count += 1;
        } else if self.0.len() < NAMES_MAX {
            self.0.insert(name.into(), 1);
        }
    }

    fn top(self) -> Vec<Named> {
        let mut all: Vec<Named> =
            self.0.into_iter().map(|(name, flips)| Named { name, flips }).collect();
        // Stable: of as many flips, the first name.
        all.sort_by_key(|named| std::cmp::Reverse(named.flips));
        all.truncate(TOP);
        all
    }
}

/// Everything that is counted.
#[derive(Default)]
pub struct Tally {
    submissions: u64,
    judged: u64,
    applied: u64,
    changes: BTreeMap<(Outcome, Outcome), u64>,
    flips: Vec<Flip>,
    digest: blake3::Hasher,
    line: String,
    by_template: Names,
    by_tenant: Names,
    by_rule: Names,
    moved: Moved,
    unknown: BTreeMap<Reason, u64>,
}

impl Tally {
    /// Counts a submission.
    pub fn count(&mut self, case: &Case<'_>, found: Found) {
        self.submissions += 1;
        let under = match found {
            Found::Unknown(reason) => {
                *self.unknown.entry(reason).or_default() += 1;
                return;
            }
            Found::Untouched => {
                self.judged += 1;
                return;
            }
            Found::Judged(under) => under,
        };
        self.judged += 1;
        self.applied += 1;
        if under.outcome == case.outcome {
            self.same(case, &under);
        } else {
            self.flip(case, &under);
        }
    }

    fn same(&mut self, case: &Case<'_>, under: &Under) {
        if !case.outcome.is_admitted() {
            return;
        }
        if !under.heat_known {
            self.moved.heat_unknown += 1;
        }
        let (heat, pool) = (under.judgement.heat.heat, under.judgement.pool);
        let (was_heat, was_pool) = case.place();
        let heat = under.heat_known && heat != was_heat;
        let pool = under.heat_known && pool != was_pool;
        let placement = under.judgement.placement != case.judgement.placement;
        self.moved.heat += u64::from(heat);
        self.moved.pool += u64::from(pool);
        self.moved.placement += u64::from(placement);
        self.moved.total += u64::from(heat || pool || placement);
    }

    fn flip(&mut self, case: &Case<'_>, under: &Under) {
        let (old, new) = (case.outcome, under.outcome);
        *self.changes.entry((old, new)).or_default() += 1;
        self.line.clear();
        // Text takes whatever is written to it.
        let _ = writeln!(self.line, "{} {} {}", case.run, word(old), word(new));
        self.digest.update(self.line.as_bytes());
        let cause = cause(case, under);
        self.by_template.count(&case.submission.template);
        self.by_tenant.count(case.submission.tenant());
        if let Some((_, rule)) = &cause {
            self.by_rule.count(rule);
        }
        if self.flips.len() >= FLIPS_MAX {
            return;
        }
        let (judge, rule) = cause.unzip();
        self.flips.push(Flip {
            run_id: case.run,
            sequence: case.sequence,
            time: case.at.into(),
            tenant: case.submission.tenant().into(),
            template: case.submission.template.clone(),
            old_verdict: old.verdict().into(),
            old_code: old.code().map(Into::into),
            old_policy: case.judgement.policy.name.clone(),
            new_verdict: new.verdict().into(),
            new_code: new.code().map(Into::into),
            new_policy: under.judgement.policy.name.clone(),
            judge,
            rule,
            why: why(case, under),
        });
    }

    /// The report, but for where it was read.
    pub fn report(self, assumptions: Vec<String>, draft: DraftRef, since: Time) -> WhatIfReport {
        let Self { submissions, judged, applied, changes, flips, .. } = self;
        let of = |wanted: &dyn Fn(Outcome, Outcome) -> bool| {
            let counted = changes.iter().filter(|((old, new), _)| wanted(*old, *new));
            Share::new(counted.map(|(_, count)| count).sum(), judged)
        };
        let turned_away = |old: Outcome, new: Outcome| old.is_admitted() && !new.is_admitted();
        let counts = Counts {
            submissions,
            judged,
            applied,
            newly_rejected: of(&turned_away),
            newly_throttled: of(&|old, new| turned_away(old, new) && new == Outcome::Throttle),
            newly_quarantined: of(&|_, new| new == Outcome::Quarantine),
            newly_accepted: of(&|_, new| new == Outcome::Accept),
            otherwise_rejected: of(&|old, new| !old.is_admitted() && !new.is_admitted()),
        };
        let flips_total = changes.values().sum();
        let change = |((old, new), count): (&(Outcome, Outcome), &u64)| Change {
            old: *old,
            new: *new,
            count: *count,
        };
        let because = |(reason, count): (&Reason, &u64)| Because {
            reason: reason.to_string(),
            count: *count,
        };
        WhatIfReport {
            digest: Hex([0; 32]),
            draft,
            since,
            from: None,
            begins: None,
            head: None,
            counts,
            changes: changes.iter().map(change).collect(),
            flips_total,
            truncated: flips_total > flips.len() as u64,
            flips,
            flips_digest: Hex(*self.digest.finalize().as_bytes()),
            by_template: self.by_template.top(),
            by_tenant: self.by_tenant.top(),
            by_rule: self.by_rule.top(),
            moved: self.moved,
            not_replayed: NotReplayed {
                total: self.unknown.values().sum(),
                reasons: self.unknown.iter().map(because).collect(),
            },
            assumptions,
            elapsed_ms: 0,
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    outcome.code().unwrap_or(outcome.verdict())
}

/// How severe an outcome is: what a flip is blamed on stands on the severer side.
fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Accept => 0,
        Outcome::Quarantine => 1,
        Outcome::Throttle => 2,
        Outcome::Reject | Outcome::QuarantineUnavailable | Outcome::QuarantineDisabled => 3,
    }
}

fn is_milder(case: &Case<'_>, under: &Under) -> bool {
    severity(under.outcome) < severity(case.outcome)
}

/// Who objects to what: under the draft, or then where the draft lets it off.
fn cause(case: &Case<'_>, under: &Under) -> Option<(Box<str>, Box<str>)> {
    if is_milder(case, under) {
        return blamed(case.judgement);
    }
    match under.over.first() {
        Some(over) => Some((Judge::Minos.as_str().into(), part(over))),
        None => blamed(&under.judgement),
    }
}

/// The first objection that made a judgement what it is.
fn blamed(judgement: &Judgement) -> Option<(Box<str>, Box<str>)> {
    let decides = |opinion: &&Opinion| opinion.verdict == judgement.verdict;
    judgement.opinions.iter().filter(decides).find_map(|opinion| {
        let made_it = |objection: &&Objection| match objection {
            Objection::RuleHolds { verdict, .. } => *verdict == opinion.verdict,
            Objection::QuarantineAsked => opinion.verdict == Verdict::Quarantine,
            _ => true,
        };
        let objection = opinion.objections.iter().find(made_it)?;
        Some((opinion.judge.as_str().into(), part(objection)))
    })
}

/// The rule's name, or the part of the policy, that an objection rests on.
fn part(objection: &Objection) -> Box<str> {
    match objection {
        Objection::RuleHolds { rule, .. } | Objection::RuleFailed { rule, .. } => rule.clone(),
        Objection::OverLimit { field, .. } => {
            let (name, _) = field.name_and_unit();
            let (_, limit) = name.split_once('.').unwrap_or(("", name));
            let of = if name.starts_with("retention") { "retention" } else { "limits" };
            format!("{of}.{limit}").into()
        }
        Objection::NetworkNotAllowed(_) => "network".into(),
        Objection::QuarantineAsked => "metadata.quarantine".into(),
        Objection::MetadataMissing(key) => format!("require.metadata.{key}").into(),
        Objection::LabelMissing(key) => format!("require.labels.{key}").into(),
        Objection::OverQuota { quota, .. } => format!("quotas.{}", quota.as_str()).into(),
        Objection::External(answer) => format!("judges.{}", answer.judge).into(),
    }
}

fn why(case: &Case<'_>, under: &Under) -> Vec<String> {
    let (most, characters) = WHY_MAX;
    let cut = |text: String| match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    };
    if is_milder(case, under) {
        return case.judgement.reasons().take(most).map(cut).collect();
    }
    let over = under.over.iter().map(Objection::to_string);
    over.chain(under.judgement.reasons()).take(most).map(cut).collect()
}

//! One recorded submission, judged under the draft.

use api::what_if::Outcome;
use domain::court::Statute;
use domain::event::RejectCode;
use domain::ids::Sequence;
use domain::judge::{
    ExternalAnswer, ExternalOutcome, Judge, Judgement, Objection, judge_resolved, minos,
};
use domain::law::{OnExceeded, Verdict};
use domain::submission::{Heat, Pool};
use domain::tenants::Holdings;
use domain::{Event, Inputs, RunId, Submission, Timestamp};

use journal::apart::{Secret, Secrets};
use journal::{Kinds, Record};

use super::Past;
use super::bench::Bench;

/// A submission as it was recorded.
pub struct Case<'e> {
    pub sequence: Sequence,
    pub run: RunId,
    pub at: Timestamp,
    pub submission: &'e Submission,
    pub judgement: &'e Judgement,
    /// What became of it.
    pub outcome: Outcome,
    /// What was taken out of this copy of it.
    pub hidden: Kinds,
}

/// What would have become of it.
pub enum Found {
    /// No policy changes for it.
    Untouched,
    /// It would be judged so.
    Judged(Box<Under>),
    /// It can't be judged, for this reason.
    Unknown(Reason),
}

/// A judgement under the draft.
pub struct Under {
    pub outcome: Outcome,
    pub judgement: Judgement,
    /// What Minos objects to.
    pub over: Vec<Objection>,
    /// Whether its heat is what it would have been.
    pub heat_known: bool,
}

/// Why a submission can't be judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A judge elsewhere has not said anything.
    NotAsked(Box<str>),
    /// What the tenant had is needed.
    Holdings,
    /// A rule asks for what was taken out of this copy of the journal.
    Redacted,
    /// The law of then has no place for the draft.
    Tied(Box<str>),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAsked(judge) => write!(f, "external judge {judge} was not asked then"),
            Self::Holdings => f.write_str("what the tenant had then is not recorded"),
            Self::Redacted => f.write_str("its environment and input are not in this copy"),
            Self::Tied(other) => {
                write!(f, "policy {other} claimed the same templates just as specifically then")
            }
        }
    }
}

impl<'e> Case<'e> {
    /// The submission that an event records.
    pub fn of(sequence: Sequence, record: &Record<'_>, event: &'e Event) -> Option<Self> {
        let taken = |secret| secret == Secret::Redacted;
        let Secrets { env, stdin, .. } = record.secrets;
        let hidden = Kinds { env: taken(env), stdin: taken(stdin) };
        match event {
            Event::RunAdmitted(e) => Some(Self {
                sequence,
                run: e.run,
                at: e.at,
                submission: &e.submission,
                judgement: &e.judgement,
                outcome: match e.judgement.verdict {
                    Verdict::Quarantine => Outcome::Quarantine,
                    Verdict::Accept | Verdict::Reject => Outcome::Accept,
                },
                hidden,
            }),
            Event::RunRejected(e) => Some(Self {
                sequence,
                run: e.run,
                at: e.at,
                submission: &e.submission,
                judgement: &e.judgement,
                outcome: match e.code {
                    RejectCode::PolicyRejected => Outcome::Reject,
                    RejectCode::QuarantineUnavailable => Outcome::QuarantineUnavailable,
                    RejectCode::QuarantineDisabled => Outcome::QuarantineDisabled,
                },
                hidden,
            }),
            _ => None,
        }
    }

    /// Judges it, in the order of admission: judges, the switch of quarantine, Minos, its nodes.
    pub fn judge(&self, bench: &Bench, past: Option<&Past>) -> Found {
        let template = &*self.submission.template;
        if let Some(other) = bench.tied_over(template) {
            return Found::Unknown(Reason::Tied(other.into()));
        }
        let Some((was, would)) = bench.changed(template) else { return Found::Untouched };
        let reads = would.reads();
        if reads.env && self.hidden.env || reads.stdin && self.hidden.stdin {
            return Found::Unknown(Reason::Redacted);
        }
        let (inputs, heat_known) = match self.inputs(was, would, past) {
            Ok(inputs) => inputs,
            Err(reason) => return Found::Unknown(reason),
        };
        let pinned = self.judgement.template.clone();
        let judgement = judge_resolved(
            &bench.under_draft,
            self.submission,
            pinned,
            bench.hint(template),
            &inputs,
        );
        let own = judgement.opinions.iter().filter(|o| !matches!(o.judge, Judge::External(_)));
        let rejected = own.map(|opinion| opinion.verdict).max() == Some(Verdict::Reject);
        if let Some(judge) = unheard(would, &inputs).filter(|_| !rejected) {
            return Found::Unknown(Reason::NotAsked(judge));
        }
        let quarantine = match judgement.verdict {
            Verdict::Reject => return under(Outcome::Reject, judgement, Vec::new(), heat_known),
            Verdict::Quarantine if !inputs.quarantine_on => {
                return under(Outcome::QuarantineDisabled, judgement, Vec::new(), heat_known);
            }
            Verdict::Quarantine => true,
            Verdict::Accept => false,
        };
        let policy = would.policy();
        if policy.quotas.is_any() {
            let Some(held) = self.held(past) else { return Found::Unknown(Reason::Holdings) };
            let over = minos(policy, self.submission, &held);
            if !over.is_empty() {
                let outcome = match policy.quotas.on_exceeded {
                    OnExceeded::Throttle => Outcome::Throttle,
                    OnExceeded::Reject => Outcome::Reject,
                };
                return under(outcome, judgement, over, heat_known);
            }
        }
        let outcome = match (quarantine, self.outcome) {
            (false, _) => Outcome::Accept,
            (true, Outcome::QuarantineUnavailable) => Outcome::QuarantineUnavailable,
            (true, _) => Outcome::Quarantine,
        };
        under(outcome, judgement, Vec::new(), heat_known)
    }

    /// What the judges of the draft see: what the record has, and what can be had from the past.
    /// Also whether that is all that counts for its heat.
    fn inputs(
        &self,
        was: &Statute,
        would: &Statute,
        past: Option<&Past>,
    ) -> Result<(Inputs, bool), Reason> {
        let (had, wants) = (was.wants(), would.wants());
        let recorded = self.judgement.inputs();
        let basis = self.judgement.basis.is_some();
        let tenant = match (wants.tenant, had.tenant && basis) {
            (false, _) => Holdings::default(),
            (true, true) => recorded.tenant,
            (true, false) => self.held(past).ok_or(Reason::Holdings)?,
        };
        let (learned, heat_known) = match (wants.learned, had.learned, past) {
            (false, _, _) => (None, true),
            (true, true, _) => (recorded.learned, true),
            (true, false, Some(past)) => (past.profiles.learned(&self.submission.template), true),
            (true, false, None) => (None, false),
        };
        let inputs = Inputs {
            quarantine_on: recorded.quarantine_on,
            at: if basis && (had.now || had.tenant) { recorded.at } else { self.at },
            index: recorded.index,
            tenant,
            learned,
            external: heard(was, would, recorded.external),
        };
        Ok((inputs, heat_known))
    }

    /// What the tenant had when it was admitted, exactly.
    fn held(&self, past: Option<&Past>) -> Option<Holdings> {
        let recorded = self.judgement.basis.as_ref().and_then(|basis| basis.admitted);
        let folded = || Some(past?.tenants.holdings(self.submission.tenant(), self.at));
        recorded.or_else(folded)
    }

    /// The recorded level of heat and pool.
    pub fn place(&self) -> (Heat, Pool) {
        (self.judgement.heat.heat, self.judgement.pool)
    }
}

fn under(outcome: Outcome, judgement: Judgement, over: Vec<Objection>, heat_known: bool) -> Found {
    Found::Judged(Box::new(Under { outcome, judgement, over, heat_known }))
}

/// The recorded answers that a judge of the draft would have given: of the same judge, asked by a
/// policy of the same name. One that ran out of another time might have come.
fn heard(was: &Statute, would: &Statute, answers: Vec<ExternalAnswer>) -> Vec<ExternalAnswer> {
    let (was, would) = (was.policy(), would.policy());
    let mut answers = answers;
    answers.retain(|answer| {
        let of = |judge: &&domain::law::ExternalJudge| judge.name == answer.judge;
        let both = (was.judges.iter().find(of), would.judges.iter().find(of));
        let (Some(asked), Some(asks)) = both else { return false };
        let in_time = answer.outcome != ExternalOutcome::TimedOut;
        was.name == would.name
            && asked.url == asks.url
            && (in_time || asked.timeout_ms == asks.timeout_ms)
    });
    answers
}

/// A judge elsewhere whose answer is not there.
fn unheard(would: &Statute, inputs: &Inputs) -> Option<Box<str>> {
    let mut judges = would.policy().judges.iter();
    let missing = |judge: &&domain::law::ExternalJudge| {
        !inputs.external.iter().any(|answer| answer.judge == judge.name)
    };
    judges.find(missing).map(|judge| judge.name.clone())
}

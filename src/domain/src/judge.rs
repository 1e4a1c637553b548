//! Rhadamanthus, Aeacus and the heat of a workload: the functions that judge a submission.
//!
//! Pure: the law, the request and the [`Inputs`] are all they see, and the inputs that counted are
//! kept with the judgement, so that it can be made again from its own record (D-1).
//! Never:  looks at the fleet or the queue; Minos, the quotas, is asked inside admission.
//! Proof:  `tests/rules/judging.rs`, D-1 in `tests/laws`.

mod bench;
mod objection;
mod request;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use bench::minos;
pub use objection::{Limited, Objection, Quota, RuleFault};
pub use request::{DEFAULT_PRIORITY, Request, Unjudgeable};

use crate::court::{Court, Statute, Wants};
use crate::event::RunAdmitted;
use crate::ids::{Sequence, Timestamp};
use crate::law::{HeatTable, OnExceeded, Policy, Verdict};
use crate::submission::{Heat, Placement, Pool, Submission};
use crate::tenants::Holdings;

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
    /// What the tenant had then; nothing, where no rule of the policy reads it.
    pub tenant: Holdings,
    /// What it had when it was admitted, exactly: what Minos saw.
    pub admitted: Option<Holdings>,
}

impl Judgement {
    /// What every judge objected to, in words.
    pub fn reasons(&self) -> impl Iterator<Item = String> {
        let against = self.opinions.iter().filter(|o| o.verdict > Verdict::Accept);
        against.flat_map(|o| &o.objections).filter(|o| o.counts()).map(Objection::to_string)
    }

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

/// A submission with its judgement. Only [`judge`] makes one, and admission takes nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    submission: Arc<Submission>,
    judgement: Arc<Judgement>,
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
    fn with_minos(mut self, held: Holdings, objections: Vec<Objection>) -> Self {
        let verdict = if objections.is_empty() { Verdict::Accept } else { Verdict::Reject };
        let judgement = Arc::make_mut(&mut self.judgement);
        judgement.verdict = judgement.verdict.max(verdict);
        judgement.opinions.push(Opinion { judge: Judge::Minos, verdict, objections });
        if let Some(basis) = &mut judgement.basis {
            basis.admitted = Some(held);
        }
        self
    }

    /// Both.
    pub fn into_parts(self) -> (Arc<Submission>, Arc<Judgement>) {
        (self.submission, self.judgement)
    }
}

/// Judges one request under the law, with all that it wants to see.
///
/// # Errors
/// The request names a template that does not exist, or has no command to run.
pub fn judge(court: &Court, request: Request, inputs: &Inputs) -> Result<Judged, Unjudgeable> {
    let (submission, template, heat) = request::resolve(court.law(), request)?;
    let judgement = judge_resolved(court, &submission, template, heat, inputs);
    Ok(Judged { submission: submission.into(), judgement: judgement.into() })
}

/// What becomes of a request at first sight.
#[derive(Debug)]
pub enum Heard {
    /// The request alone was enough.
    Judged(Judged),
    /// There is more to see first.
    Open(Case),
}

/// Judges a request that wants nothing more to be seen, and says what the others want.
///
/// # Errors
/// As [`judge`].
pub fn hear(
    court: &Arc<Court>,
    request: Request,
    quarantine_on: bool,
) -> Result<Heard, Unjudgeable> {
    let (submission, template, heat) = request::resolve(court.law(), request)?;
    let statute = court.statute_for(&submission.template);
    if statute.wants().is_nothing() {
        let inputs = Inputs::bare(quarantine_on);
        let judgement = judge_by(court, statute, &submission, template, heat, &inputs);
        return Ok(Heard::Judged(Judged {
            submission: submission.into(),
            judgement: judgement.into(),
        }));
    }
    let (statute, court, submission) = (statute.clone(), court.clone(), submission.into());
    Ok(Heard::Open(Case { court, statute, submission, template, heat }))
}

/// A submission under the law of one moment, whose judges want to see more.
#[derive(Clone, Debug)]
pub struct Case {
    court: Arc<Court>,
    statute: Arc<Statute>,
    submission: Arc<Submission>,
    template: Pinned,
    heat: Option<Heat>,
}

impl Case {
    /// An admitted run, to be judged again under the law of today.
    pub fn again(court: &Arc<Court>, run: &RunAdmitted) -> Self {
        let (submission, template) = (run.submission.clone(), run.judgement.template.clone());
        let (statute, heat) =
            (court.statute_for(&submission.template).clone(), hint(court, &template));
        Self { court: court.clone(), statute, submission, template, heat }
    }

    /// An admitted run, to be judged again as a new one: from the template of today.
    ///
    /// # Errors
    /// That template is no more.
    pub fn anew(court: &Arc<Court>, run: &RunAdmitted) -> Result<Self, Unjudgeable> {
        let template = request::pin(court.law(), &run.submission.template)?;
        Ok(Self { heat: hint(court, &template), template, ..Self::again(court, run) })
    }

    /// The submission, its defaults filled in.
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// The policy that applies.
    pub fn statute(&self) -> &Arc<Statute> {
        &self.statute
    }

    /// What its judges want to see.
    pub fn wants(&self) -> Wants {
        self.statute.wants()
    }

    /// Judges it on `inputs`.
    pub fn conclude(self, inputs: &Inputs) -> Judged {
        let Self { court, statute, submission, template, heat } = self;
        let judgement = judge_by(&court, &statute, &submission, template, heat, inputs);
        Judged { submission, judgement: judgement.into() }
    }
}

/// Judges an admitted run again, as its record has it, under the law of today.
pub fn judge_again(court: &Court, run: &RunAdmitted, inputs: &Inputs) -> Judged {
    let (submission, template) = (run.submission.clone(), run.judgement.template.clone());
    let heat = hint(court, &template);
    let judgement = judge_resolved(court, &submission, template, heat, inputs);
    Judged { submission, judgement: judgement.into() }
}

/// The word of a template on heat, as it is now.
fn hint(court: &Court, template: &Pinned) -> Option<Heat> {
    court.law().templates.get(&template.name).and_then(|template| template.body.heat)
}

/// Judges a submission whose defaults are filled in: what replay asks of a record.
pub fn judge_resolved(
    court: &Court,
    submission: &Submission,
    template: Pinned,
    template_heat: Option<Heat>,
    inputs: &Inputs,
) -> Judgement {
    let statute = court.statute_for(&submission.template);
    judge_by(court, statute, submission, template, template_heat, inputs)
}

fn judge_by(
    court: &Court,
    statute: &Statute,
    submission: &Submission,
    template: Pinned,
    template_heat: Option<Heat>,
    inputs: &Inputs,
) -> Judgement {
    let (law, policy) = (court.law(), statute.policy());
    // Minos comes last, when it is let in.
    let mut opinions = Vec::with_capacity(3 + policy.judges.len());
    opinions.push(bench::aeacus(policy, submission));
    opinions.push(bench::rhadamanthus(statute, submission, inputs));
    opinions.extend(bench::external(policy, &inputs.external));
    let verdict = opinions.iter().map(|o| o.verdict).max().unwrap_or(Verdict::Accept);
    let heat = classify(&law.heat, submission, template_heat, inputs.learned);
    let pool = match verdict {
        Verdict::Quarantine => Pool::Quarantine,
        Verdict::Accept | Verdict::Reject => preferred_pool(heat.heat),
    };
    let basis = !policy.rules.is_empty() || policy.quotas.is_any();
    Judgement {
        verdict,
        revision: law.revision,
        policy: Pinned { name: policy.name.clone(), version: statute.version() },
        template,
        quarantine_on: inputs.quarantine_on,
        heat,
        pool,
        opinions,
        placement: placement(policy, submission),
        basis: basis.then(|| {
            let Inputs { at, index, tenant, .. } = *inputs;
            Box::new(Basis { at, index, tenant, admitted: None })
        }),
    }
}

/// What Minos says of a judged submission.
#[derive(Debug)]
pub enum Room {
    /// The tenant has room, or its policy sets no quota.
    There(Judged),
    /// It has none, which rejects the submission.
    Rejected(Judged),
    /// It has none for now, and is to come back.
    Later(Judged, Vec<Objection>),
}

/// Asks Minos whether a tenant that has `held` has room for one more. His answer becomes part of
/// the judgement, but where the tenant is to come back: then nothing is written.
pub fn ask_minos(policy: &Policy, judged: Judged, held: Holdings) -> Room {
    let objections = minos(policy, judged.submission(), &held);
    match (objections.is_empty(), policy.quotas.on_exceeded) {
        (true, _) => Room::There(judged.with_minos(held, objections)),
        (false, OnExceeded::Reject) => Room::Rejected(judged.with_minos(held, objections)),
        (false, OnExceeded::Throttle) => Room::Later(judged, objections),
    }
}

/// What placement obeys: all that the request and the policy ask.
fn placement(policy: &Policy, submission: &Submission) -> Option<Arc<Placement>> {
    let (asked, ordered) = (&submission.placement, &policy.placement);
    if asked.is_default() && ordered.is_default() {
        return None;
    }
    let mut both = Placement::clone(asked);
    both.require.requirements.extend(ordered.require.requirements.iter().cloned());
    both.prefer.extend(ordered.prefer.iter().cloned());
    both.isolation.extend(ordered.isolation.iter().cloned());
    both.strategy = both.strategy.max(ordered.strategy);
    Some(Arc::new(both))
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
    pub(crate) fn heat_of(&self, cpu_milli: u32, mem_mb: u32, wall_ms: u64) -> (Heat, HeatCause) {
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

//! The way in: judged, then admitted, and judged again where the law changed in between.
//!
//! Never:  ends with the request: what was handed to the judges is seen through by a task of its
//!         own, so that a client that goes away leaves nothing half done.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_web::HttpRequest;
use api::check::idempotency_key;
use domain::event::{KeyUse, Origin, RunAdmitted};
use domain::ids::Hex;
use domain::judge::{Case, Heard, Request, Room, Unjudgeable, ask_minos};
use domain::law::Verdict;
use domain::{Judged, Refusal};
use olympus_actors::Mark;
use olympus_actors::answer::ask;
use olympus_actors::judge::{Conclude, Judge, JudgeActor, Reopen};
use olympus_actors::policy::GetLaw;
use olympus_actors::registry::{Admit, Admitted};
use olympus_actors::view::JudgingFacts;
use tokio::time::timeout;

use super::ingress::Turn;
use super::judging::Witness;
use super::problem::{self, Fault};
use super::{AppState, Open, courier, read};

/// A command that is undecided after this long is answered *unknown*: the house's rule.
pub const DECIDED_WITHIN: Duration = Duration::from_secs(5);
/// A submission is judged again so often when the law changes under it.
pub const JUDGED_AGAIN: usize = 3;

/// One submission's outcome.
pub enum Said {
    /// It has a run.
    Admitted(Box<Admitted>),
    /// The law could not be applied to it.
    Unjudgeable(Unjudgeable),
    /// Admission refused it; nothing was written.
    Refused(Refusal),
}

/// What became of the submissions of a call, by their position in it.
pub struct Decided {
    /// In no particular order.
    pub said: Vec<(u32, Said)>,
    /// Where the answer stands; none when nothing reached the registry.
    pub mark: Option<Mark>,
}

impl Decided {
    /// What a fault says where the rest of a call is judged again: some of it may be written.
    fn cut_short(&self, fault: Fault) -> Fault {
        let is_written = |said: &Said| matches!(said, Said::Admitted(_));
        match self.said.iter().any(|(_, said)| is_written(said)) {
            true => problem::unknown("the law changed, and the rest was not judged again"),
            false => fault,
        }
    }
}

/// The submissions of a call, by their position in it.
pub struct Asked {
    /// What is asked for.
    pub requests: Vec<(u32, Request)>,
    /// The turn that the call took: it rests while what comes is waited for, and takes no processor.
    pub turn: Turn,
}

/// The idempotency key of a request with this body.
pub fn key_use(request: &HttpRequest, body: &[u8]) -> Result<Option<KeyUse>, Fault> {
    let Some(key) = request.headers().get(api::headers::IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = idempotency_key(key.as_bytes())?.into();
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(body).as_bytes()[..16]);
    Ok(Some(KeyUse { key, body: Hex(digest) }))
}

/// Judges and admits. `again` makes the requests at some positions anew, where the law changed.
///
/// # Errors
/// Nothing was decided: surely not written, or unknown.
pub async fn decide(
    state: &AppState,
    open: Open,
    asked: Asked,
    key: Option<KeyUse>,
    origin: Origin,
    again: impl Fn(&[u32]) -> Vec<(u32, Request)> + 'static,
) -> Result<Decided, Fault> {
    let quarantine_on = state.quarantine_on;
    let judge = open.judges.here();
    let deciding = judge_and_admit(open, judge, quarantine_on, asked, key, origin, again);
    let deciding = courier::see_through(deciding);
    match timeout(DECIDED_WITHIN, deciding).await {
        Ok(Ok(decided)) => decided,
        Ok(Err(_)) => Err(problem::unknown("the instance is stopping")),
        Err(_) => Err(problem::unknown("the journal did not confirm it in 5 s")),
    }
}

async fn judge_and_admit(
    open: Open,
    judge: Addr<JudgeActor>,
    quarantine_on: bool,
    asked: Asked,
    key: Option<KeyUse>,
    origin: Origin,
    again: impl Fn(&[u32]) -> Vec<(u32, Request)>,
) -> Result<Decided, Fault> {
    let Asked { mut requests, turn } = asked;
    let mut decided = Decided { said: Vec::with_capacity(requests.len()), mark: None };
    let mut revision = 0;
    let mut witness = None;
    let mut bench = Bench { open: &open, judge: &judge, quarantine_on, turn };
    for round in 0..=JUDGED_AGAIN {
        let judged = bench.judge(requests, revision, &mut witness).await;
        let judged = judged.map_err(|fault| decided.cut_short(fault))?;
        let mut positions = Vec::with_capacity(judged.len());
        let mut items = Vec::with_capacity(judged.len());
        for (position, judged) in judged {
            match judged {
                Ok(judged) => {
                    positions.push(position);
                    items.push((position, judged));
                }
                Err(unjudgeable) => {
                    decided.said.push((position, Said::Unjudgeable(unjudgeable)));
                }
            }
        }
        if items.is_empty() {
            return Ok(decided);
        }
        let (key, origin) = (key.clone(), origin.clone());
        let redrive_of = None;
        let admit = |reply| Admit { items, key, redrive_of, origin, reply };
        let admitted = ask(&open.registry, admit).await;
        let admitted = admitted.map_err(|failure| decided.cut_short(failure.into()))?;
        decided.mark = Some(admitted.mark);
        let mut stale = Vec::new();
        for (position, answer) in positions.into_iter().zip(admitted.value) {
            match answer {
                Ok(admitted) => decided.said.push((position, Said::Admitted(Box::new(admitted)))),
                Err(Refusal::StaleLaw { needed, .. }) if round < JUDGED_AGAIN => {
                    revision = revision.max(needed);
                    stale.push(position);
                }
                Err(refusal) => decided.said.push((position, Said::Refused(refusal))),
            }
        }
        if stale.is_empty() {
            return Ok(decided);
        }
        bench.turn.go_on().await;
        requests = again(&stale);
    }
    Ok(decided)
}

/// This thread's judge, and where what it wants to see is found.
struct Bench<'b> {
    open: &'b Open,
    judge: &'b Addr<JudgeActor>,
    quarantine_on: bool,
    turn: Turn,
}

impl Bench<'_> {
    /// Judges requests, in the order of their positions; then the turn rests.
    async fn judge(
        &mut self,
        requests: Vec<(u32, Request)>,
        revision: u64,
        witness: &mut Option<Witness>,
    ) -> Result<Vec<(u32, Result<Judged, Unjudgeable>)>, Fault> {
        let quarantine_on = self.quarantine_on;
        let heard =
            read::get_later(self.judge, |reply| Judge { requests, quarantine_on, revision, reply });
        let heard = heard.await.map_err(|_| gone())?;
        self.turn.rest();
        let mut judged = Vec::with_capacity(heard.len());
        let mut cases = Vec::new();
        for (position, heard) in heard {
            match heard {
                Ok(Heard::Judged(done)) => judged.push((position, Ok(done))),
                Ok(Heard::Open(case)) => cases.push((position, case)),
                Err(unjudgeable) => judged.push((position, Err(unjudgeable))),
            }
        }
        if !cases.is_empty() {
            let concluded = self.conclude(cases, witness).await?;
            judged.extend(concluded.into_iter().map(|(position, judged)| (position, Ok(judged))));
            judged.sort_by_key(|(position, _)| *position);
        }
        Ok(judged)
    }

    /// Sees what cases want to be seen, and has them judged on it.
    async fn conclude(
        &mut self,
        cases: Vec<(u32, Case)>,
        witness: &mut Option<Witness>,
    ) -> Result<Vec<(u32, Judged)>, Fault> {
        let witness = witness.get_or_insert_with(Witness::new);
        let cases = witness.see(self.open, self.quarantine_on, cases).await?;
        self.turn.go_on().await;
        let judged = read::get_later(self.judge, |reply| Conclude { cases, reply }).await;
        self.turn.rest();
        judged.map_err(|_| gone())
    }
}

fn gone() -> Fault {
    problem::unavailable("the judges are gone: try again")
}

fn unanswered() -> Fault {
    problem::unavailable("the judges gave no answer: try again")
}

/// What admission would do with a request, with nothing written.
pub struct Foreseen {
    /// What was said of it, by Minos too.
    pub judged: Judged,
    /// What the tenant's quotas hold back for now; nothing where it has room.
    pub held_back: Vec<String>,
}

/// Judges one request as admission would see it now, with nothing written.
///
/// # Errors
/// The law can't be applied to it, or nobody judges.
pub async fn dry_run(
    open: &Open,
    request: Request,
    quarantine_on: bool,
) -> Result<Foreseen, Fault> {
    let judge = open.judges.here();
    let mut bench = Bench { open, judge: &judge, quarantine_on, turn: Turn::default() };
    // Whoever has the answer to a change of the law is judged by it.
    let law = read::get(&open.policy, GetLaw).await?.value;
    let judged = bench.judge(vec![(0, request)], law.revision, &mut None).await?;
    let judged = judged.into_iter().next().ok_or_else(unanswered)?.1?;
    let court = open.judges.court();
    let policy = court.law().policies.get(&judged.judgement().policy.name);
    let policy = policy.filter(|policy| policy.body.quotas.is_any());
    let (Some(policy), true) = (policy, judged.judgement().verdict != Verdict::Reject) else {
        return Ok(Foreseen { judged, held_back: Vec::new() });
    };
    let tenant: Box<str> = judged.submission().tenant().into();
    let wanted = JudgingFacts { tenants: vec![tenant.clone()], templates: Vec::new() };
    let facts = read::get(&open.view, wanted).await?.value;
    let held = facts.tenants.get(&tenant).copied().unwrap_or_default();
    Ok(match ask_minos(&policy.body, judged, held) {
        Room::There(judged) | Room::Rejected(judged) => Foreseen { judged, held_back: Vec::new() },
        Room::Later(judged, over) => {
            let held_back = over.iter().map(ToString::to_string).collect();
            Foreseen { judged, held_back }
        }
    })
}

/// Judges an admitted run again, under the law of `revision` or a later one, on what there is to
/// see today: as what it is, or `anew` as a run to come.
///
/// # Errors
/// Nobody judges; anew, its template may be no more.
pub async fn judge_again(
    open: &Open,
    run: Arc<RunAdmitted>,
    anew: bool,
    quarantine_on: bool,
    revision: u64,
) -> Result<Judged, Fault> {
    let judge = open.judges.here();
    let reopened = read::get_later(&judge, |reply| Reopen { run, anew, revision, reply });
    let case = reopened.await.map_err(|_| gone())??;
    let mut bench = Bench { open, judge: &judge, quarantine_on, turn: Turn::default() };
    let judged = bench.conclude(vec![(0, case)], &mut None).await?;
    judged.into_iter().next().map(|(_, judged)| judged).ok_or_else(unanswered)
}

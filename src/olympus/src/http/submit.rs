//! The way in: judged, then admitted, and judged again where the law changed in between.
//!
//! Never:  ends with the request: what was handed to the judges is seen through by a task of its
//!         own, so that a client that goes away leaves nothing half done.

use std::time::Duration;

use actix::Addr;
use actix_web::HttpRequest;
use api::check::idempotency_key;
use domain::event::{KeyUse, Origin};
use domain::ids::Hex;
use domain::judge::{Request, Unjudgeable};
use domain::{Judged, Refusal};
use olympus_actors::Mark;
use olympus_actors::answer::ask;
use olympus_actors::judge::{Judge, JudgeActor};
use olympus_actors::registry::{Admit, Admitted};
use tokio::time::timeout;

use super::problem::{self, Fault};
use super::{AppState, Open, courier, read};

/// A command that is undecided after this long is answered *unknown*: the house's rule.
pub const DECIDED_WITHIN: Duration = Duration::from_secs(5);
/// A submission is judged again so often when the law changes under it.
const JUDGED_AGAIN: usize = 3;

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
    requests: Vec<(u32, Request)>,
    key: Option<KeyUse>,
    origin: Origin,
    again: impl Fn(&[u32]) -> Vec<(u32, Request)> + 'static,
) -> Result<Decided, Fault> {
    let quarantine_on = state.quarantine_on;
    let judge = open.judges.here();
    let deciding = judge_and_admit(open, judge, quarantine_on, requests, key, origin, again);
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
    mut requests: Vec<(u32, Request)>,
    key: Option<KeyUse>,
    origin: Origin,
    again: impl Fn(&[u32]) -> Vec<(u32, Request)>,
) -> Result<Decided, Fault> {
    let mut decided = Decided { said: Vec::with_capacity(requests.len()), mark: None };
    let mut revision = 0;
    for round in 0..=JUDGED_AGAIN {
        let judged = ask_judge(&judge, requests, quarantine_on, revision).await?;
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
        let admitted = ask(&open.registry, |reply| Admit { items, key, origin, reply }).await?;
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
        requests = again(&stale);
    }
    Ok(decided)
}

async fn ask_judge(
    judge: &Addr<JudgeActor>,
    requests: Vec<(u32, Request)>,
    quarantine_on: bool,
    revision: u64,
) -> Result<Vec<(u32, Result<Judged, Unjudgeable>)>, Fault> {
    let judged = read::get_later(judge, |reply| Judge { requests, quarantine_on, revision, reply });
    judged.await.map_err(|_| problem::unavailable("the judges are gone: try again"))
}

/// Judges one request, with nothing written.
///
/// # Errors
/// The law can't be applied to it, or nobody judges.
pub async fn dry_run(open: &Open, request: Request, quarantine_on: bool) -> Result<Judged, Fault> {
    let judged = ask_judge(&open.judges.here(), vec![(0, request)], quarantine_on, 0).await?;
    match judged.into_iter().next() {
        Some((_, judged)) => Ok(judged?),
        None => Err(problem::unavailable("the judges gave no answer: try again")),
    }
}

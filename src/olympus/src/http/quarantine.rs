//! `/v1/quarantine`, and the two ways out of it: what a judge, or the loss of its nodes, sent there,
//! why, since when, and what an operator did about it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::quarantine::{Action, Objector, Quarantined, Resolution, Word};
use api::query::QuarantineQuery;
use api::{List, Verdict};
use domain::event::Origin;
use domain::judge::{Judgement, Objection};
use domain::ledger::Entry;
use domain::runs::Birth;
use domain::{Refusal, Run, RunId};
use olympus_actors::Committed;
use olympus_actors::Failure;
use olympus_actors::answer::ask;
use olympus_actors::registry::{Refuse, Release};
use olympus_actors::view::{ListQuarantine, QuarantinePage, RunSeen, Until};

use super::caller::Caller;
use super::problem::Fault;
use super::submit::{JUDGED_AGAIN, judge_again};
use super::{AppState, Open, answer, read, runs, show};

/// `GET /v1/quarantine`: newest first.
pub async fn list(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = QuarantineQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query.read).await?;
    let before = query.page.cursor.as_deref().map(runs::cursor).transpose()?;
    let (stand, limit) = (query.status, query.page.limit as usize);
    let tenant = query.tenant.map(String::into_boxed_str);
    let read = || async {
        let tenant = tenant.clone();
        let list = |reply| ListQuarantine { stand, tenant, before, limit, reply };
        read::get_later(&open.view, list).await
    };
    let news =
        |page: &QuarantinePage, index| page.entries.iter().any(|(_, seen)| seen.run.index > index);
    let ((page, _turn), mark) = read::list(&state, &open, &query.read, read, news).await?;
    let list = List {
        items: page.entries.iter().map(|(entry, seen)| shown(entry, seen)).collect(),
        next_cursor: page.next.map(|run| run.0.simple().to_string()),
    };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

/// What sent the run here stands in the judgement it came in with: a release has another.
fn shown(entry: &Entry, seen: &RunSeen) -> Quarantined {
    let judgement: &Judgement = match &seen.run.birth {
        Birth::Admitted(e) => &e.judgement,
        Birth::Rejected(e) => &e.judgement,
    };
    let (run, poison) = (show::seen(seen), api::show::poison(&seen.run));
    Quarantined {
        logs: format!("/v1/runs/{}/logs", run.id),
        run_id: run.id,
        tenant: entry.tenant.clone(),
        template: run.template,
        since: entry.since.into(),
        state: entry.stand,
        admitted: entry.admitted,
        status: run.status,
        reason: run.reason.map(|reason| reason.into_owned()),
        message: run.message,
        policy: judgement.into(),
        judges: objectors(judgement),
        reasons: match poison {
            Some(sent) => vec![sent],
            None => judgement.reasons().collect(),
        },
        losses: seen.run.quarantined.as_ref().map(|e| e.losses),
        node: run.node,
        output: run.output,
        resolved: entry.resolved.as_ref().map(|resolved| Resolution {
            action: if resolved.released { Action::Released } else { Action::Rejected },
            at: resolved.at.into(),
            by: resolved.by.clone(),
            reason: resolved.reason.clone(),
        }),
    }
}

fn objectors(judgement: &Judgement) -> Vec<Objector> {
    let against = judgement.opinions.iter().filter(|opinion| opinion.verdict > Verdict::Accept);
    let objector = |opinion: &domain::judge::Opinion, objection: &Objection| Objector {
        judge: opinion.judge.as_str().to_owned(),
        verdict: opinion.verdict,
        rule: match objection {
            Objection::RuleHolds { rule, .. } | Objection::RuleFailed { rule, .. } => {
                Some(rule.to_string())
            }
            _ => None,
        },
        reason: objection.to_string(),
    };
    against
        .flat_map(|opinion| opinion.objections.iter().map(move |o| objector(opinion, o)))
        .collect()
}

/// `POST /v1/runs/{id}/release`: judged again, and let go unless today's law rejects it.
pub async fn release(
    request: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let (run, reason) = asked(&request, payload, &id).await?;
    let open = state.open_for_writes()?;
    let released = judge_and_release(open, state.quarantine_on, run, reason, caller.origin());
    Ok(done(&state, &runs::decided(released).await?))
}

async fn judge_and_release(
    open: Open,
    quarantine_on: bool,
    run: RunId,
    reason: Box<str>,
    origin: Origin,
) -> Result<Committed<Run>, Fault> {
    let (mut round, mut revision) = (0, 0);
    loop {
        let seen = read::run(&open, run, Until::Now, std::time::Duration::ZERO).await?;
        let Some(found) = seen.value else {
            return Err(Fault::from(Refusal::NoSuchRun(run)).at(seen.mark));
        };
        let Birth::Admitted(admitted) = &found.run.birth else {
            return Err(Fault::from(Refusal::NotInQuarantine(run)).at(seen.mark));
        };
        let judged = judge_again(&open, admitted.clone(), false, quarantine_on, revision).await?;
        let (judged, reason, origin) = (Box::new(judged), reason.clone(), origin.clone());
        let release = |reply| Release { run, judged, reason, origin, reply };
        match ask(&open.registry, release).await {
            Err(Failure::Refused(Refusal::StaleLaw { needed, .. })) if round < JUDGED_AGAIN => {
                (round, revision) = (round + 1, needed);
            }
            answer => return Ok(answer?),
        }
    }
}

/// `POST /v1/runs/{id}/reject`: ended, in an operator's words.
pub async fn reject(
    request: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let (run, reason) = asked(&request, payload, &id).await?;
    let open = state.open_for_writes()?;
    let origin = caller.origin();
    let asked =
        async move { ask(&open.registry, |reply| Refuse { run, reason, origin, reply }).await };
    let refused = runs::decided(asked).await?;
    Ok(done(&state, &refused))
}

async fn asked(
    request: &HttpRequest,
    payload: web::Payload,
    id: &str,
) -> Result<(RunId, Box<str>), Fault> {
    runs::no_query(request)?;
    let body = read::body(request, payload).await?;
    Ok((read::run_id(id)?, Word::parse(&body)?.into_reason()?))
}

fn done(state: &AppState, done: &Committed<Run>) -> HttpResponse {
    state.saw(done.mark.index);
    answer::json(StatusCode::OK, &api::Run::from(&done.value), done.mark, true)
}

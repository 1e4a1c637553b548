//! `/v1/runs`: submit, list, look at, cancel.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::query::SubmitQuery;
use api::{DryRun, List, ReadQuery, RunRequest, RunsQuery};
use domain::judge::Request;
use domain::runs::Birth;
use domain::{RunId, Timestamp};
use olympus_actors::Mark;
use olympus_actors::answer::ask;
use olympus_actors::registry::{Admitted, Cancel};
use olympus_actors::view::{Filter, LabelTest, ListRuns, RunPage, Seen, Until};
use tokio::time::timeout;
use uuid::Uuid;

use super::caller::Caller;
use super::problem::{self, Fault};
use super::submit::{self, Asked, DECIDED_WITHIN, Said, decide};
use super::{AppState, Open, answer, courier, ingress, read, show};

/// `POST /v1/runs`.
pub async fn submit(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let query = SubmitQuery::parse(request.query_string())?;
    let body = read::body(&request, payload).await?;
    let key = submit::key_use(&request, &body)?;
    let asked = Request::try_from(api::parse::<RunRequest>(&body)?)?;
    if query.dry_run {
        let open = state.open()?;
        let foreseen = submit::dry_run(&open, asked, state.quarantine_on).await?;
        let shown = DryRun::of(foreseen.judged.judgement(), foreseen.held_back);
        return Ok(answer::body(HttpResponse::Ok(), &shown));
    }
    let open = state.open_for_writes()?;
    // What was good once is good again: only the law has changed.
    let again = move |positions: &[u32]| {
        let anew = api::parse::<RunRequest>(&body).ok().and_then(|r| Request::try_from(r).ok());
        positions.iter().copied().zip(anew).collect()
    };
    let asked = Asked { requests: vec![(0, asked)], turn: ingress::Turn::default() };
    let decided = decide(&state, open.clone(), asked, key, caller.origin(), again).await?;
    // What comes may be waited for for minutes.
    ingress::give_back(&request);
    if let Some(mark) = decided.mark {
        state.saw(mark.index);
    }
    let at = |fault: Fault| match decided.mark {
        Some(mark) => fault.at(mark),
        None => fault,
    };
    match (decided.said.into_iter().next(), decided.mark) {
        (Some((_, Said::Admitted(admitted))), Some(mark)) => {
            answered(&open, *admitted, mark, query.wait.map(api::Duration::to_std)).await
        }
        (Some((_, Said::Unjudgeable(unjudgeable))), _) => Err(at(unjudgeable.into())),
        (Some((_, Said::Refused(refusal))), _) => Err(at(refusal.into())),
        (Some((_, Said::Admitted(_))) | None, _) => Err(problem::unknown("the answer was lost")),
    }
}

/// The answer to an admitted submission, after its end where that is waited for.
async fn answered(
    open: &Open,
    admitted: Admitted,
    mark: Mark,
    wait: Option<Duration>,
) -> Result<HttpResponse, Fault> {
    let Admitted { run, repeat } = admitted;
    if let Birth::Rejected(rejected) = &run.birth {
        return Err(problem::rejected(rejected).at(mark));
    }
    let status = if repeat { StatusCode::OK } else { StatusCode::ACCEPTED };
    let id = run.id();
    let mut response = HttpResponse::build(status);
    response.insert_header(answer::location(id));
    let shown = match wait {
        None => {
            answer::mark(&mut response, mark, true);
            api::Run::from(&run)
        }
        Some(wait) => {
            // The run is durable: a read that fails now must not hide that.
            let seen = read::run(open, id, Until::Ended, wait).await;
            match seen {
                Ok(Seen { value: Some(seen), mark: at }) => {
                    let receipt = mark.receipt;
                    answer::mark(&mut response, Mark { index: at.index, receipt }, true);
                    show::seen(&seen)
                }
                Ok(Seen { value: None, .. }) | Err(_) => {
                    answer::mark(&mut response, mark, true);
                    api::Run::from(&run)
                }
            }
        }
    };
    Ok(answer::body(response, &shown))
}

/// `GET /v1/runs`.
pub async fn list(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = RunsQuery::parse(request.query_string())?;
    let before = query.page.cursor.as_deref().map(cursor).transpose()?;
    let open = read::windows(&state, &query.read).await?;
    let limit = query.page.limit as usize;
    let now = open.clock.now().into();
    let filter = Filter {
        statuses: query.status.iter().map(|status| (*status).into()).collect(),
        template: query.template.map(String::into_boxed_str),
        tenant: query.tenant.map(String::into_boxed_str),
        node: query.node.map(String::into_boxed_str),
        heat: query.heat,
        pool: query.pool,
        since: query.since.map(|moment| Timestamp(moment.resolve(now).0)),
        until: query.until.map(|moment| Timestamp(moment.resolve(now).0)),
        labels: (!query.label.is_empty()).then(|| {
            let selector = query.label;
            LabelTest(Arc::new(move |labels| selector.matches(|key| labels.get(key))))
        }),
    };
    let read = || async {
        let filter = filter.clone();
        let list = |reply| ListRuns { filter, before, limit, reply };
        read::get_later(&open.view, list).await
    };
    let news = |page: &RunPage, index| page.runs.iter().any(|seen| seen.run.index > index);
    let ((page, _turn), mark) = read::list(&state, &open, &query.read, read, news).await?;
    let list = List {
        items: page.runs.iter().map(show::seen).collect(),
        next_cursor: page.next.map(|run| run.0.simple().to_string()),
    };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

/// Where a page of runs begins.
pub fn cursor(text: &str) -> Result<RunId, Fault> {
    Uuid::try_parse(text).map(RunId).map_err(|_| bad_cursor())
}

/// A cursor that no list has given.
pub fn bad_cursor() -> Fault {
    api::Invalid::one("cursor is not one that a list gave: leave it out to begin anew").into()
}

/// `GET /v1/runs/{id}`.
pub async fn get(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let id = read::run_id(&id)?;
    let open = read::windows(&state, &query).await?;
    let seen = match (query.index, query.wait) {
        (None, Some(wait)) => read::run(&open, id, Until::Ended, wait.to_std()).await?,
        (_, _) => read::run_when_due(&open, id, &query).await?,
    };
    state.saw(seen.mark.index);
    match seen.value {
        Some(run) => Ok(answer::json(StatusCode::OK, &show::seen(&run), seen.mark, false)),
        None => Err(Fault::from(domain::Refusal::NoSuchRun(id)).at(seen.mark)),
    }
}

/// `POST /v1/runs/{id}/cancel`.
pub async fn cancel(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    no_query(&request)?;
    let run = read::run_id(&id)?;
    let open = state.open_for_writes()?;
    let origin = caller.origin();
    let asked = async move { ask(&open.registry, |reply| Cancel { run, origin, reply }).await };
    let canceled = decided(asked).await?;
    state.saw(canceled.mark.index);
    let shown = api::Run::from(&canceled.value);
    // Accepted as long as a node is still ending it.
    let status = if shown.status.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(answer::json(status, &shown, canceled.mark, true))
}

/// Sees a command through, and waits for its answer as long as the house's rule says.
pub async fn decided<T: 'static, E: Into<Fault> + 'static>(
    asked: impl Future<Output = Result<T, E>> + 'static,
) -> Result<T, Fault> {
    match timeout(DECIDED_WITHIN, courier::see_through(asked)).await {
        Ok(Ok(answer)) => answer.map_err(Into::into),
        Ok(Err(_)) => Err(problem::unknown("the instance is stopping")),
        Err(_) => Err(problem::unknown("the journal did not confirm it in 5 s")),
    }
}

/// Refuses parameters where there are none.
pub fn no_query(request: &HttpRequest) -> Result<(), Fault> {
    let query = request.query_string();
    if query.is_empty() {
        return Ok(());
    }
    let name = query.split(['=', '&']).next().unwrap_or_default();
    let shown: String = name.chars().take(64).collect();
    let words = format!("unknown parameter {shown:?}: none is known here");
    Err(api::Invalid::one(words).into())
}

//! `/v1/queue/dead`: runs out of attempts, and the way back: judged again, as a new run.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::dead::RedriveRequest;
use api::query::DeadQuery;
use api::{DeadLetter, List};
use domain::event::{KeyUse, Origin};
use domain::runs::Birth;
use domain::{Refusal, RunId};
use olympus_actors::Committed;
use olympus_actors::answer::ask;
use olympus_actors::registry::{Admit, Admitted};
use olympus_actors::view::{DeadPage, ListDead, RunSeen, Until};

use super::caller::Caller;
use super::problem::{self, Fault};
use super::submit::{self, JUDGED_AGAIN, judge_again};
use super::{AppState, Open, answer, read, runs, show};

/// `GET /v1/queue/dead`: newest run first.
pub async fn list(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = DeadQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query.read).await?;
    let before = query.page.cursor.as_deref().map(runs::cursor).transpose()?;
    let (redriven, limit) = (query.redriven, query.page.limit as usize);
    let template = query.template.map(String::into_boxed_str);
    let tenant = query.tenant.map(String::into_boxed_str);
    let read = || async {
        let (template, tenant) = (template.clone(), tenant.clone());
        let list = |reply| ListDead { redriven, template, tenant, before, limit, reply };
        read::get_later(&open.view, list).await
    };
    let news = |page: &DeadPage, index| page.changed > index;
    let ((page, _turn), mark) = read::list(&state, &open, &query.read, read, news).await?;
    let letter = |seen: &RunSeen| Some(DeadLetter::new(show::seen(seen), seen.dead.as_ref()?));
    let list = List {
        items: page.runs.iter().filter_map(letter).collect(),
        next_cursor: page.next.map(|run| run.0.simple().to_string()),
    };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

/// `POST /v1/queue/dead/{id}/redrive`: what was submitted is judged by the law of today, from the
/// template of today, and let in as a new run. A rejection is answered as that of a submission; the
/// dead letter stays.
pub async fn redrive(
    request: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    runs::no_query(&request)?;
    let body = read::body(&request, payload).await?;
    RedriveRequest::parse(&body)?;
    let dead = read::run_id(&id)?;
    // What it is about stands in the path.
    let key = submit::key_use(&request, format!("redrive {dead}").as_bytes())?;
    let open = state.open_for_writes()?;
    let redriven = judge_and_admit(open, state.quarantine_on, dead, key, caller.origin());
    let Committed { value: Admitted { run, repeat }, mark } = runs::decided(redriven).await?;
    state.saw(mark.index);
    if let Birth::Rejected(rejected) = &run.birth {
        return Err(problem::redrive_rejected(dead, rejected).at(mark));
    }
    let status = if repeat { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = HttpResponse::build(status);
    response.insert_header(answer::location(run.id()));
    answer::mark(&mut response, mark, true);
    Ok(answer::body(response, &api::Run::from(&run)))
}

async fn judge_and_admit(
    open: Open,
    quarantine_on: bool,
    dead: RunId,
    key: Option<KeyUse>,
    origin: Origin,
) -> Result<Committed<Admitted>, Fault> {
    let (mut round, mut revision) = (0, 0);
    loop {
        let seen = read::run(&open, dead, Until::Now, Duration::ZERO).await?;
        let Some(found) = seen.value else {
            return Err(Fault::from(Refusal::NoSuchRun(dead)).at(seen.mark));
        };
        // The judges need not be asked of what can't be redriven; but a key may have an answer.
        let refusal = match found.dead.map(|letter| letter.redriven_as) {
            Some(None) => None,
            Some(Some(redriven_as)) => Some(Refusal::Redriven { run: dead, redriven_as }),
            None => Some(Refusal::NotDead(dead)),
        };
        if let (Some(refusal), None) = (refusal, &key) {
            return Err(Fault::from(refusal).at(seen.mark));
        }
        let Birth::Admitted(admitted) = &found.run.birth else {
            return Err(Fault::from(Refusal::NotDead(dead)).at(seen.mark));
        };
        let judged = judge_again(&open, admitted.clone(), true, quarantine_on, revision).await?;
        let (items, key, origin) = (vec![(0, judged)], key.clone(), origin.clone());
        let admit = |reply| Admit { items, key, redrive_of: Some(dead), origin, reply };
        let Committed { value, mark } = ask(&open.registry, admit).await?;
        match value.into_iter().next() {
            Some(Ok(value)) => return Ok(Committed { value, mark }),
            Some(Err(Refusal::StaleLaw { needed, .. })) if round < JUDGED_AGAIN => {
                (round, revision) = (round + 1, needed);
            }
            Some(Err(refusal)) => return Err(Fault::from(refusal).at(mark)),
            None => return Err(problem::unknown("the answer was lost")),
        }
    }
}

//! `/v1/queue`: how long the line is, and stopping it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::{Heat, QueueStatus, ReadQuery};
use domain::Command;
use olympus_actors::Mark;
use olympus_actors::queue::{GetDepth, QueueDepth};
use olympus_actors::view::Part;

use super::caller::Caller;
use super::problem::Fault;
use super::{AppState, answer, law, read, runs};
use crate::house::Windows;

/// `GET /v1/queue`.
pub async fn get(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query).await?;
    let read = || depth(&open);
    let (depth, mark) = read::part(&state, &open, &query, Part::Queue, read).await?;
    Ok(answer::json(StatusCode::OK, &shown(&open, &depth), mark, false))
}

async fn depth(open: &Windows) -> Result<(QueueDepth, Mark), Fault> {
    let seen = read::get(&open.queue, GetDepth).await?;
    Ok((seen.value, seen.mark))
}

fn shown(open: &Windows, queue: &QueueDepth) -> QueueStatus {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let mut by_pool = api::show::every_pool();
    for (pool, waiting) in &queue.depth.pools {
        by_pool.insert(pool.as_str().to_owned(), count(*waiting));
    }
    let heats = Heat::ALL.map(|heat| {
        let waiting = queue.depth.heats.get(&heat).copied().unwrap_or(0);
        (heat.as_str().to_owned(), count(waiting))
    });
    let tenants = queue.depth.tenants.iter();
    QueueStatus {
        paused: queue.paused,
        depth: count(queue.depth.total),
        by_pool,
        by_heat: heats.into(),
        by_tenant: tenants.map(|(name, waiting)| (name.to_string(), count(*waiting))).collect(),
        oldest_wait_ms: queue.oldest.map(|since| open.clock.now().since(since)),
        dead: count(queue.dead),
    }
}

/// `POST /v1/queue/pause`.
pub async fn pause(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    change(&request, &state, Command::PauseQueue { origin: caller.origin() }).await
}

/// `POST /v1/queue/resume`.
pub async fn resume(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    change(&request, &state, Command::ResumeQueue { origin: caller.origin() }).await
}

async fn change(
    request: &HttpRequest,
    state: &AppState,
    command: Command,
) -> Result<HttpResponse, Fault> {
    runs::no_query(request)?;
    let open = state.open_for_writes()?;
    let mark = law::enact(state, &open, command).await?.mark;
    let (depth, at) = depth(&open).await?;
    let mark = Mark { index: at.index, receipt: mark.receipt };
    Ok(answer::json(StatusCode::OK, &shown(&open, &depth), mark, true))
}

//! `GET /v1/runs/{id}/explain`: why.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::ReadQuery;
use api::explain::Explanation;
use domain::explain::explain;
use olympus_actors::view::{ExplainRun, RunExplained};

use super::problem::{self, Fault};
use super::{AppState, answer, read, show};

/// See the module.
pub async fn get(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let id = read::run_id(&id)?;
    let open = read::windows(&state, &query).await?;
    if query.index.is_some() {
        read::run_when_due(&open, id, &query).await?;
    }
    let seen = read::get(&open.view, ExplainRun(id)).await?;
    state.saw(seen.mark.index);
    let Some(explained) = seen.value else {
        return Err(Fault::from(domain::Refusal::NoSuchRun(id)).at(seen.mark));
    };
    let explaining = web::block(move || {
        let RunExplained { seen, law, standing } = explained;
        let why = explain(law, &seen.run);
        Explanation::new(show::seen(&seen), &seen.run, &why, standing.as_ref())
            .with_dead_letter(seen.dead.as_ref())
    });
    let why = explaining.await.map_err(|_| problem::unanswered())?;
    Ok(answer::json(StatusCode::OK, &why, seen.mark, false))
}

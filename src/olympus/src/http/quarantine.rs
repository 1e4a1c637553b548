//! `GET /v1/quarantine`: what a judge sent to quarantine, why, and since when.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::query::ListQuery;
use api::{List, Time};
use olympus_actors::quarantine::{GetLedger, LedgerPage};
use serde::Serialize;

use super::problem::Fault;
use super::runs::cursor;
use super::{AppState, answer, read};

/// An entry of the ledger.
#[derive(Serialize)]
struct Quarantined {
    run_id: String,
    /// Since when.
    since: Time,
    /// Whether it was let in; otherwise it was rejected for want of quarantine.
    admitted: bool,
    /// What the judges objected to.
    reasons: Vec<Box<str>>,
}

/// See the module.
pub async fn list(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = ListQuery::parse(request.query_string())?;
    let open = state.open()?;
    let before = query.page.cursor.as_deref().map(cursor).transpose()?;
    let limit = query.page.limit as usize;
    let read = || async {
        let seen = read::get(&open.quarantine, GetLedger { before, limit }).await?;
        Ok((seen.value, seen.mark))
    };
    let (page, mark): (LedgerPage, _) =
        read::collection(&state, &open, &query.read, read, |_, _| true).await?;
    let items = page.entries.into_iter().map(|(run, entry)| Quarantined {
        run_id: run.to_string(),
        since: entry.since.into(),
        admitted: entry.admitted,
        reasons: entry.reasons,
    });
    let list = List {
        items: items.collect(),
        next_cursor: page.next.map(|run| run.0.simple().to_string()),
    };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

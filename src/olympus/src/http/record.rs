//! `/v1/keys` and `/v1/level`: what the journal says of itself.

use std::collections::BTreeMap;

use actix::Addr;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::query::ListQuery;
use api::record::{Instance, Level, RaiseRequest, Signer};
use api::{ReadQuery, Time};
use domain::Command;
use domain::kept::LEVEL;
use olympus_actors::Mark;
use olympus_actors::view::{GetRecord, RecordSeen, ViewActor};

use super::caller::Caller;
use super::problem::{self, Fault};
use super::{AppState, answer, law, paging, read, runs};
use crate::presence;

async fn record(view: &Addr<ViewActor>) -> Result<(RecordSeen, Mark), Fault> {
    let seen = read::get(view, GetRecord).await?;
    Ok((seen.value, seen.mark))
}

/// `GET /v1/keys`: every key that was ever led with, oldest first.
pub async fn keys(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = ListQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query.read).await?;
    let read = || record(&open.view);
    let (record, mark) = read::collection(&state, &open, &query.read, read, |_, _| true).await?;
    let named = record.reigns.into_iter().filter_map(|reign| {
        let signer = Signer {
            key: reign.key?.to_string(),
            first_epoch: reign.first_epoch,
            last_epoch: reign.last_epoch,
            since: Time(reign.since.0),
            url: reign.url.into(),
            version: reign.version.into(),
        };
        // In order of their epochs, as text sorts them.
        Some((format!("{:020}", signer.first_epoch), signer))
    });
    let page = paging::page(named, &query.page)?;
    let list = api::List { items: page.items, next_cursor: page.next_cursor };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

/// `GET /v1/level`.
pub async fn level(
    request: HttpRequest,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query).await?;
    let read = || record(&open.view);
    let (record, mark) = read::collection(&state, &open, &query, read, |_, _| true).await?;
    Ok(answer::json(StatusCode::OK, &shown(record), mark, false))
}

/// `POST /v1/level`: raises it.
pub async fn raise(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let body = read::body(&request, payload).await?;
    let RaiseRequest { level, force } = RaiseRequest::read(&body)?;
    runs::no_query(&request)?;
    let open = state.open_for_writes()?;
    // What nobody knows is refused by the law.
    if !force && level <= LEVEL {
        let below = presence::below(&*open.journal, level).await;
        let below = below.map_err(|error| problem::unread(&error))?;
        if !below.is_empty() {
            return Err(problem::older_instances(level, &below));
        }
    }
    let command = Command::RaiseLevel { level, origin: caller.origin() };
    let mark = law::enact(&state, &open, command).await?.mark;
    let (record, at) = self::record(&open.view).await?;
    let mark = Mark { index: at.index, receipt: mark.receipt };
    Ok(answer::json(StatusCode::OK, &shown(record), mark, true))
}

fn shown(record: RecordSeen) -> Level {
    let latest: BTreeMap<String, Instance> = record
        .reigns
        .into_iter()
        .map(|reign| {
            let url = String::from(reign.url);
            let instance = Instance {
                url: url.clone(),
                version: reign.version.into(),
                reads_level: reign.reads_level,
                last_epoch: reign.last_epoch,
            };
            (url, instance)
        })
        .collect();
    Level { level: record.level, known: LEVEL, instances: latest.into_values().collect() }
}

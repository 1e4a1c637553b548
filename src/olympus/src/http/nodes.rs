//! `/v1/nodes`: the fleet.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::fleet::{DrainRequest, check_labels, read_labels};
use api::query::ListQuery;
use api::{Node, ReadQuery, Time};
use domain::{Command, NodeId, fleet};
use olympus_actors::Mark;
use olympus_actors::sessions::LastHeard;
use olympus_actors::view::{GetNode, ListNodes};

use super::caller::Caller;
use super::problem::{self, Fault};
use super::{AppState, Open, answer, law, paging, read, runs};
use crate::house::Role;

/// `GET /v1/nodes`.
pub async fn list(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = ListQuery::parse(request.query_string())?;
    let open = state.open()?;
    let read = || async {
        let seen = read::get(&open.view, ListNodes).await?;
        Ok((seen.value, seen.mark))
    };
    let (nodes, mark) = read::collection(&state, &open, &query.read, read, |_, _| true).await?;
    let named = nodes.into_iter().map(|(id, node)| (id.to_string(), node));
    let page = paging::page(named, &query.page)?;
    let elsewhere = heard_elsewhere(&state, &open).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for node in &page.items {
        items.push(shown(&open, node, &elsewhere).await?);
    }
    let list = api::List { items, next_cursor: page.next_cursor };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

/// `GET /v1/nodes/{id}`.
pub async fn get(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let open = state.open()?;
    let read = || async {
        let seen = read::get(&open.view, GetNode(NodeId::new(&id))).await?;
        Ok((seen.value, seen.mark))
    };
    let (node, mark) = read::collection(&state, &open, &query, read, |_, _| true).await?;
    match node {
        Some(node) => {
            let elsewhere = heard_elsewhere(&state, &open).await?;
            let shown = shown(&open, &node, &elsewhere).await?;
            Ok(answer::json(StatusCode::OK, &shown, mark, false))
        }
        None => Err(unknown(&id).at(mark)),
    }
}

/// `POST /v1/nodes/{id}/drain`.
pub async fn drain(
    request: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let body = read::body(&request, payload, api::limits::check_document_body).await?;
    let deadline_ms = DrainRequest::read(&body)?.deadline_ms()?;
    let origin = caller.origin();
    change(&request, &state, &id, |node| Command::DrainNode { node, deadline_ms, origin }).await
}

/// `POST /v1/nodes/{id}/undrain`.
pub async fn undrain(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let origin = caller.origin();
    change(&request, &state, &id, |node| Command::UndrainNode { node, origin }).await
}

/// `PUT /v1/nodes/{id}/labels`.
pub async fn label(
    request: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let body = read::body(&request, payload, api::limits::check_document_body).await?;
    let labels = read_labels(&body)?;
    check_labels(&labels)?;
    let origin = caller.origin();
    change(&request, &state, &id, |node| Command::LabelNode { node, labels, origin }).await
}

/// Changes a node; the answer is the node as it is then.
async fn change(
    request: &HttpRequest,
    state: &AppState,
    id: &str,
    command: impl FnOnce(NodeId) -> Command,
) -> Result<HttpResponse, Fault> {
    runs::no_query(request)?;
    if id.len() > NodeId::MAX_LEN {
        return Err(unknown(id));
    }
    let node = NodeId::new(id);
    let open = state.open_for_writes()?;
    let mark = law::enact(state, &open, command(node.clone())).await?.mark;
    let seen = read::get(&open.view, GetNode(node)).await?;
    let mark = Mark { index: seen.mark.index, receipt: mark.receipt };
    match seen.value {
        Some(node) => {
            let shown = shown(&open, &node, &BTreeMap::new()).await?;
            Ok(answer::json(StatusCode::OK, &shown, mark, true))
        }
        // Forgotten between the two: it was lost, and a day has passed.
        None => Err(unknown(id).at(mark)),
    }
}

fn unknown(id: &str) -> Fault {
    let id: String = id.chars().take(100).collect();
    problem::not_found(format!("node {id:?} does not exist: list nodes with GET /v1/nodes"))
}

/// Who was heard when, in milliseconds before now, where another instance hears them: by what is
/// left of their signs of life.
async fn heard_elsewhere(state: &AppState, open: &Open) -> Result<BTreeMap<String, u64>, Fault> {
    if let Role::Leader = open.role {
        return Ok(BTreeMap::new());
    }
    let beats = open.journal.heartbeats().await.map_err(|error| problem::unread(&error))?;
    let ago = |left: Duration| state.node_ttl.saturating_sub(left).as_millis();
    let ago = |left| u64::try_from(ago(left)).unwrap_or(u64::MAX);
    Ok(beats.into_iter().map(|beat| (beat.node, ago(beat.ttl))).collect())
}

/// A node, and when it was last heard.
async fn shown(
    open: &Open,
    node: &fleet::Node,
    elsewhere: &BTreeMap<String, u64>,
) -> Result<Node, Fault> {
    let (mut shown, id) = (Node::from(node), &node.joined.node);
    if node.is_live() {
        let ago_ms = match &open.role {
            Role::Leader => read::get(&open.sessions, LastHeard(id.clone())).await?,
            Role::Follower(_) => elsewhere.get(id.as_str()).copied(),
        };
        let at = |ago_ms| Time(open.clock.now().0.saturating_sub(ago_ms));
        shown.last_seen = ago_ms.map(at).or(shown.last_seen);
    }
    Ok(shown)
}

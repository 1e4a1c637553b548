//! `/v1/nodes`: the fleet.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::Addr;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::fleet::{DrainRequest, check_labels, read_labels};
use api::query::{At, ListQuery};
use api::{Node, ReadQuery, Time};
use domain::{Command, NodeId, fleet};
use olympus_actors::Mark;
use olympus_actors::sessions::{LastHeard, SessionsActor};
use olympus_actors::view::{GetNode, ListNodes, Part};

use super::caller::Caller;
use super::problem::{self, Fault};
use super::{AppState, answer, law, paging, read, runs};
use crate::house::{Role, Windows};

/// `GET /v1/nodes`.
pub async fn list(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = ListQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query.read).await?;
    let read = || async {
        let seen = read::get(&open.view, ListNodes).await?;
        Ok((seen.value, seen.mark))
    };
    let (nodes, mark) = read::part(&state, &open, &query.read, Part::Nodes, read).await?;
    let named = nodes.into_iter().map(|(id, node)| (id.to_string(), node));
    let page = paging::page(named, &query.page)?;
    let heard = Heard::at(&state, query.read.at).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for node in &page.items {
        items.push(shown(&open, node, &heard).await?);
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
    let open = read::windows(&state, &query).await?;
    let part = Part::Node(NodeId::new(&id));
    let read = || async {
        let seen = read::get(&open.view, GetNode(NodeId::new(&id))).await?;
        Ok((seen.value, seen.mark))
    };
    let (node, mark) = read::part(&state, &open, &query, part, read).await?;
    match node {
        Some(node) => {
            let heard = Heard::at(&state, query.at).await?;
            let shown = shown(&open, &node, &heard).await?;
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
    let body = read::body(&request, payload).await?;
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
    let body = read::body(&request, payload).await?;
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
            let heard = Heard::Here(open.sessions.clone());
            let shown = shown(&open, &node, &heard).await?;
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

/// Who says when nodes were last heard.
enum Heard {
    /// Their sessions, which are with this instance.
    Here(Addr<SessionsActor>),
    /// Their signs of life in Redis, where another instance hears them: milliseconds before now.
    Elsewhere(BTreeMap<String, u64>),
    /// Nobody: the journal does not say it of a past.
    LongAgo,
}

impl Heard {
    async fn at(state: &AppState, at: Option<At>) -> Result<Self, Fault> {
        if at.is_some() {
            return Ok(Self::LongAgo);
        }
        let open = state.open()?;
        if let Role::Leader = open.role {
            return Ok(Self::Here(open.sessions.clone()));
        }
        let beats = open.journal.heartbeats().await.map_err(|error| problem::unread(&error))?;
        let ago = |left: Duration| state.node_ttl.saturating_sub(left).as_millis();
        let ago = |left| u64::try_from(ago(left)).unwrap_or(u64::MAX);
        Ok(Self::Elsewhere(beats.into_iter().map(|beat| (beat.node, ago(beat.ttl))).collect()))
    }
}

/// A node, and when it was last heard.
async fn shown(open: &Windows, node: &fleet::Node, heard: &Heard) -> Result<Node, Fault> {
    let (mut shown, id) = (Node::from(node), &node.joined.node);
    if node.is_live() {
        let ago_ms = match heard {
            Heard::Here(sessions) => read::get(sessions, LastHeard(id.clone())).await?,
            Heard::Elsewhere(ago_ms) => ago_ms.get(id.as_str()).copied(),
            Heard::LongAgo => None,
        };
        let at = |ago_ms| Time(open.clock.now().0.saturating_sub(ago_ms));
        shown.last_seen = ago_ms.map(at).or(shown.last_seen);
    }
    Ok(shown)
}

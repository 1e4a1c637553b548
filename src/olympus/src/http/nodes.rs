//! `/v1/nodes`: the fleet.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::query::ListQuery;
use api::{Node, ReadQuery, Time};
use domain::{NodeId, fleet};
use olympus_actors::sessions::LastHeard;
use olympus_actors::view::{GetNode, ListNodes};

use super::problem::{self, Fault};
use super::{AppState, Open, answer, paging, read};

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
    let mut items = Vec::with_capacity(page.items.len());
    for node in &page.items {
        items.push(shown(&open, node).await?);
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
        Some(node) => Ok(answer::json(StatusCode::OK, &shown(&open, &node).await?, mark, false)),
        None => {
            let id: String = id.chars().take(100).collect();
            let words = format!("node {id:?} does not exist: list nodes with GET /v1/nodes");
            Err(problem::not_found(words).at(mark))
        }
    }
}

/// A node, and when it was last heard.
async fn shown(open: &Open, node: &fleet::Node) -> Result<Node, Fault> {
    let mut shown = Node::from(node);
    if node.is_live()
        && let Some(ago_ms) = read::get(&open.sessions, LastHeard(node.joined.node.clone())).await?
    {
        shown.last_seen = Some(Time(open.clock.now().0.saturating_sub(ago_ms)));
    }
    Ok(shown)
}

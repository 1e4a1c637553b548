//! `GET /v1/agent/session`: the way to an agent's session.

use actix_web::http::header::UPGRADE;
use actix_web::{HttpRequest, HttpResponse, web};
use api::session::Terms;

use super::AppState;
use super::problem::{self, Fault};
use crate::agent_session;

/// See the module.
pub async fn open(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    if !request.headers().contains_key(UPGRADE) {
        return Err(problem::malformed(
            "this path speaks WebSocket with agents: start one with `tartarus agent`",
        ));
    }
    let ttl_ms = u64::try_from(state.node_ttl.as_millis()).unwrap_or(u64::MAX);
    let house = agent_session::host(&state.door);
    agent_session::open(&request, payload, house, Terms::for_ttl(ttl_ms))
        .map_err(|error| problem::malformed(format!("no WebSocket: {error}")))
}

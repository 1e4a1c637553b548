//! `GET /v1/agent/session`: the way to an agent's session.

use actix_web::http::header::UPGRADE;
use actix_web::{HttpRequest, HttpResponse, web};
use api::session::{RefusalCode, Refused, Terms};

use super::AppState;
use super::problem::{self, Fault};
use crate::agent_session;
use crate::house::{Role, State};

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
    let house = match &*state.door.state() {
        State::Open(house) => match &house.role {
            Role::Leader => Ok(house.clone()),
            Role::Follower(sight) => Err(Refused {
                code: RefusalCode::NotLeader,
                detail: "this instance follows another".into(),
                leader: sight.borrow().live_leader().map(Into::into),
            }),
        },
        State::Shut { why, leader } => Err(Refused {
            code: match leader {
                Some(_) => RefusalCode::NotLeader,
                None => RefusalCode::Unavailable,
            },
            detail: why.as_str().into(),
            leader: leader.as_deref().map(Into::into),
        }),
    };
    let ttl_ms = u64::try_from(state.node_ttl.as_millis()).unwrap_or(u64::MAX);
    agent_session::open(&request, payload, house, Terms::for_ttl(ttl_ms))
        .map_err(|error| problem::malformed(format!("no WebSocket: {error}")))
}

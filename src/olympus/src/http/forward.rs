//! What another instance has to answer is asked of it, one hop.
//!
//! A write that reaches a follower goes to the leader, with its headers: who asks is judged there
//! again. Output is asked of the instance that keeps it.
//!
//! Where the next reign begins before the leader has answered, that leader can't append any more: a
//! write that carries a key is sent to the next one, which knows whether it was written; any other
//! is *unknown*, and need not be waited for.
//! Never:  sends on what was sent on: two instances that take each other for the leader answer 503
//!         instead of going round.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use olympus_actors::view::AwaitIndex;
use reqwest::Client;

use super::answer::{INDEX, REQUEST_ID};
use super::problem::{self, Fault};
use super::{AppState, read};
use crate::follow::Reign;
use crate::house::{Role, State};

/// By which instance a request was sent on.
const FORWARDED_BY: HeaderName = HeaderName::from_static("x-tartarus-forwarded-by");
/// An instance that is there answers the connection at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Who was replaced and lives hears it at its next append, and says what became of the write.
const LAST_WORD: Duration = Duration::from_millis(500);
/// A follower reads every 20 ms; one that is so far behind is not waited for.
const READ_HERE_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked who leads.
const LOOK: Duration = Duration::from_millis(50);
/// A connection that was not used for so long is closed here, before the other end closes it.
const IDLE: Duration = Duration::from_secs(20);

/// Headers that are of one connection, or made anew (RFC 9110, section 7.6.1).
const OF_THE_HOP: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

thread_local! {
    static CLIENT: Option<Client> = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_WITHIN)
        .pool_idle_timeout(IDLE)
        .build()
        .map_err(|error| log::error!(error:% = error; "could not make an HTTP client"))
        .ok();
}

/// The leader, where it is the leader who has to answer a request; none where this instance has.
///
/// # Errors
/// Nobody leads, or whoever sent this on took this instance for the leader.
pub fn leader_for(state: &AppState, request: &ServiceRequest) -> Result<Option<String>, Fault> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(None);
    }
    let house = state.door.state();
    let State::Open(house) = &*house else { return Ok(None) };
    let Role::Follower(sight) = &house.role else { return Ok(None) };
    let sight = sight.borrow();
    let leader = sight.live_leader();
    match leader {
        Some(url) if url != state.url && !was_forwarded(request.headers()) => Ok(Some(url.into())),
        Some(_) | None => Err(problem::follower(leader)),
    }
}

/// Whether another instance has sent a request on.
pub fn was_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED_BY)
}

/// Sends a write on, and answers with what comes back.
pub async fn write(
    state: &AppState,
    mut request: ServiceRequest,
    leader: &str,
    id: &HeaderValue,
) -> ServiceResponse {
    let sent = async {
        let payload = request.extract::<web::Payload>().await;
        let payload = payload.map_err(|error| problem::malformed(error.to_string()))?;
        let body = read::body(request.request(), payload, api::limits::check_batch_body).await?;
        hand_on(state, request.request(), leader, id, body).await
    };
    let sent = sent.await;
    if let Ok(response) = &sent {
        until_read_here(state, response).await;
    }
    let response = match sent {
        Ok(response) => response,
        Err(fault) => fault.respond(id.to_str().unwrap_or_default()),
    };
    request.into_response(response)
}

/// Waits until this instance has read what was written: whoever wrote through it will ask it next.
async fn until_read_here(state: &AppState, response: &HttpResponse) {
    let index = response.headers().get(INDEX).and_then(|index| index.to_str().ok()?.parse().ok());
    if let (Some(index), Ok(open)) = (index, state.open()) {
        let read = read::get_later(&open.view, |reply| AwaitIndex { index, reply });
        // One that lags answers all the same; what it reads says how far it is.
        let _ = tokio::time::timeout(READ_HERE_WITHIN, read).await;
    }
}

async fn hand_on(
    state: &AppState,
    request: &HttpRequest,
    leader: &str,
    id: &HeaderValue,
    body: Bytes,
) -> Result<HttpResponse, Fault> {
    let next = tokio::select! {
        biased;
        answer = ask(state, request, leader, Some(id), body.clone()) => return answer,
        next = until_replaced(state, leader) => next,
    };
    let unknown = || problem::unknown(&format!("{leader} was replaced before it answered"));
    if !has_a_key(request) {
        return Err(unknown());
    }
    match ask(state, request, &next, Some(id), body).await {
        // It speaks of the second time it was asked.
        Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => Err(unknown()),
        Ok(answer) => Ok(answer),
        Err(_) => Err(unknown()),
    }
}

/// Whether a write may be sent twice and is applied once.
fn has_a_key(request: &HttpRequest) -> bool {
    matches!(request.path(), "/v1/runs" | "/v1/runs:batch")
        && request.headers().contains_key(api::headers::IDEMPOTENCY_KEY)
}

/// Waits until another has begun to lead, and a moment longer; its URL.
async fn until_replaced(state: &AppState, leader: &str) -> String {
    let (epoch, _) = reign(state);
    loop {
        if let (now, Some(url)) = reign(state)
            && now > epoch
            && url != leader
        {
            tokio::time::sleep(LAST_WORD).await;
            return url;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The last reign that began, and its leader, as this instance knows it.
fn reign(state: &AppState) -> (u64, Option<String>) {
    match &*state.door.state() {
        State::Open(house) => match &house.role {
            Role::Leader => (house.epoch, Some(state.url.clone())),
            Role::Follower(sight) => {
                let Reign { epoch, url } = sight.borrow().reign.clone();
                (epoch, url)
            }
        },
        State::Shut { .. } => (0, None),
    }
}

/// Asks another instance what this one was asked.
///
/// # Errors
/// It can't be reached, or did not answer to the end: then a write may have been applied.
pub async fn ask(
    state: &AppState,
    request: &HttpRequest,
    instance: &str,
    id: Option<&HeaderValue>,
    body: Bytes,
) -> Result<HttpResponse, Fault> {
    let mut asked = Asked {
        method: request.method().clone(),
        url: format!("{}{}", instance.trim_end_matches('/'), request.uri()),
        headers: HeaderMap::new(),
        body,
    };
    for (name, value) in request.headers() {
        if !OF_THE_HOP.contains(&name.as_str()) && *name != REQUEST_ID {
            asked.headers.append(name.clone(), value.clone());
        }
    }
    if let Ok(by) = HeaderValue::from_str(&state.url) {
        asked.headers.insert(FORWARDED_BY, by);
    }
    if let Some(id) = id {
        asked.headers.insert(REQUEST_ID, id.clone());
    }
    let answered = match &state.neighbours {
        Neighbours::Http => over_http(asked).await,
        Neighbours::Through(neighbour) => neighbour(asked).await,
    };
    answered.map_err(|silent| match silent {
        Silent::Away => problem::shut(&format!("{instance} can't be reached"), None),
        Silent::Unanswered => problem::unknown(&format!("{instance} did not answer")),
    })
}

/// A request to another instance.
#[derive(Debug)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// Where to.
    pub url: String,
    /// The caller's, and by whom it was sent on.
    pub headers: HeaderMap,
    /// What the caller sent.
    pub body: Bytes,
}

/// Why another instance has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// It can't be reached: surely nothing was applied.
    Away,
    /// It did not answer to the end: a write may have been applied.
    Unanswered,
}

/// Another instance, as a request reaches it.
pub type Neighbour =
    Arc<dyn Fn(Asked) -> LocalBoxFuture<'static, Result<HttpResponse, Silent>> + Send + Sync>;

/// The way to other instances.
#[derive(Clone, Default)]
pub enum Neighbours {
    /// HTTP.
    #[default]
    Http,
    /// What a simulation has in its place.
    Through(Neighbour),
}

async fn over_http(asked: Asked) -> Result<HttpResponse, Silent> {
    let client = CLIENT.with(Clone::clone).ok_or(Silent::Away)?;
    let method = reqwest::Method::from_bytes(asked.method.as_str().as_bytes());
    let mut request = client.request(method.map_err(|_| Silent::Away)?, asked.url);
    for (name, value) in &asked.headers {
        request = request.header(name.as_str(), value.as_bytes());
    }
    let answer = request.body(asked.body).send().await.map_err(|error| {
        match error.is_connect() || error.is_builder() {
            true => Silent::Away,
            false => Silent::Unanswered,
        }
    })?;
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponseBuilder::new(status);
    for (name, value) in answer.headers() {
        if !OF_THE_HOP.contains(&name.as_str())
            && let Ok(name) = HeaderName::from_bytes(name.as_str().as_bytes())
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
        {
            response.append_header((name, value));
        }
    }
    Ok(response.streaming(answer.bytes_stream()))
}

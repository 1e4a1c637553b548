//! What another instance has to answer is asked of it, one hop.
//!
//! A write that reaches a follower goes to the leader, with its headers: who asks is judged there
//! again. Output is asked of the instance that keeps it.
//!
//! Where the next reign begins before the leader has answered, that leader can't append any more: a
//! write that carries a key is sent to the next one, which knows whether it was written; any other
//! is *unknown*, and need not be waited for. A leader that stays and does not answer is waited for as
//! long as it may take by its own rules.
//! Never:  sends on what was sent on: two instances that take each other for the leader answer 503
//!         instead of going round. Hands a token that came over TLS to an instance without.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, to_bytes};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::PathAndQuery;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use api::query::SubmitQuery;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use olympus_actors::view::AwaitIndex;
use reqwest::Client;
use tokio::time::{sleep, timeout};

use super::answer::{INDEX, REQUEST_ID};
use super::ingress::TURN_WITHIN;
use super::problem::{self, Fault};
use super::submit::DECIDED_WITHIN;
use super::{AppState, read, what_if};
use crate::follow::Reign;
use crate::house::{Role, State};

/// By which instance a request was sent on.
const FORWARDED_BY: HeaderName = HeaderName::from_static("x-tartarus-forwarded-by");
/// An instance that is there answers the connection at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The way to the leader and back, beside the time that it may take itself.
const WAY: Duration = Duration::from_secs(5);
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
    static CLIENT: Option<Client> = tls::http()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_WITHIN)
        .pool_idle_timeout(IDLE)
        .build()
        .map_err(|error| log::error!(error:% = error; "could not make an HTTP client"))
        .ok();
}

/// Whom a write is handed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    url: String,
    /// The last reign that had begun when it was found.
    epoch: u64,
    /// Whether that reign is its own. Else it has the key, and is about to begin the next one.
    reigns: bool,
}

impl Leader {
    fn new(url: &str, reign: &Reign) -> Self {
        let reigns = reign.url.as_deref() == Some(url);
        Self { url: url.into(), epoch: reign.epoch, reigns }
    }

    /// Who leads in its place, in the last reign that has begun. It may be the same instance again,
    /// which has forgotten what it was asked in the reign before.
    fn replaced_by(&mut self, now: Reign) -> Option<String> {
        if now.epoch <= self.epoch {
            return None;
        }
        let url = now.url?;
        if self.reigns || url != self.url {
            return Some(url);
        }
        (self.epoch, self.reigns) = (now.epoch, true);
        None
    }
}

/// The leader, where it is the leader who has to answer a request; none where this instance has.
///
/// # Errors
/// Nobody leads, or whoever sent this on took this instance for the leader.
pub fn leader_for(state: &AppState, request: &ServiceRequest) -> Result<Option<Leader>, Fault> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(None);
    }
    let house = state.door.state();
    let State::Open(house) = &*house else { return Ok(None) };
    let Role::Follower(sight) = &house.role else { return Ok(None) };
    let sight = sight.borrow();
    let leader = sight.live_leader();
    match leader {
        Some(url) if url != state.url && !was_forwarded(request.headers()) => {
            Ok(Some(Leader::new(url, &sight.reign)))
        }
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
    leader: Leader,
    id: &HeaderValue,
) -> ServiceResponse {
    let sent = async {
        let payload = request.extract::<web::Payload>().await;
        let payload = payload.map_err(|error| problem::malformed(error.to_string()))?;
        let body = read::body(request.request(), payload).await?;
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
        let _ = timeout(READ_HERE_WITHIN, read).await;
    }
}

async fn hand_on(
    state: &AppState,
    request: &HttpRequest,
    leader: Leader,
    id: &HeaderValue,
    body: Bytes,
) -> Result<HttpResponse, Fault> {
    let (url, most) = (leader.url.clone(), may_take(path(request), request.query_string()));
    let unknown = |why: &str| problem::unknown(&format!("{url} {why}"));
    let asked = |of: String, body| async move {
        let asking = async { whole(ask(state, request, &of, Some(id), body).await?).await };
        timeout(most, asking).await
    };
    let next = tokio::select! {
        biased;
        answer = asked(url.clone(), body.clone()) => {
            return answer.unwrap_or_else(|_| {
                Err(unknown(&format!("leads, and did not answer in {} s", most.as_secs())))
            });
        }
        next = until_replaced(state, leader) => next,
    };
    let unknown = || unknown("was replaced before it answered");
    if !has_a_key(request) {
        return Err(unknown());
    }
    match asked(next, body).await {
        // It speaks of the second time it was asked.
        Ok(Ok(answer)) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => Err(unknown()),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(unknown()),
    }
}

/// The path that routes are found by: without the escapes that it may have come with.
fn path(request: &HttpRequest) -> &str {
    request.match_info().as_str()
}

/// How long a leader that works may take for the answer to a write.
fn may_take(path: &str, query: &str) -> Duration {
    let waits = SubmitQuery::parse(query).ok().and_then(|query| query.wait);
    let works = match path {
        // Its answers wait for a turn of their own.
        "/v1/runs:batch" => DECIDED_WITHIN + TURN_WITHIN,
        _ if path.ends_with("/what-if") => what_if::WITHIN,
        _ => DECIDED_WITHIN,
    };
    TURN_WITHIN + works + waits.map_or(Duration::ZERO, api::Duration::to_std) + WAY
}

/// An answer that has come to its end: who was told half of it knows nothing.
async fn whole(answer: HttpResponse) -> Result<HttpResponse, Fault> {
    let (head, body) = answer.into_parts();
    let body = to_bytes(body).await;
    let body = body.map_err(|_| problem::unknown("the leader broke off its answer"))?;
    Ok(head.set_body(BoxBody::new(body)))
}

/// Whether a write may be sent twice and is applied once.
fn has_a_key(request: &HttpRequest) -> bool {
    matches!(path(request), "/v1/runs" | "/v1/runs:batch")
        && request.headers().contains_key(api::headers::IDEMPOTENCY_KEY)
}

/// Waits until another reign than the leader's has begun, and a moment longer; the URL of who leads.
async fn until_replaced(state: &AppState, mut leader: Leader) -> String {
    loop {
        if let Some(url) = leader.replaced_by(reign(state)) {
            sleep(LAST_WORD).await;
            return url;
        }
        sleep(LOOK).await;
    }
}

/// The last reign that began, and its leader, as this instance knows it.
fn reign(state: &AppState) -> Reign {
    match &*state.door.state() {
        State::Open(house) => match &house.role {
            Role::Leader => Reign { epoch: house.epoch, url: Some(state.url.clone()) },
            Role::Follower(sight) => sight.borrow().reign.clone(),
        },
        State::Shut(_) => Reign { epoch: 0, url: None },
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
    if tls::bares(&state.url, instance) {
        return Err(problem::shut(tls::BARE, None));
    }
    // A client may name this instance in its request line (RFC 9112, 3.2.2), and a proxy does.
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let mut asked = Asked {
        method: request.method().clone(),
        url: format!("{}{path}", instance.trim_end_matches('/')),
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
        if let Some(url) = error.url() {
            tls::complain(&url.origin().ascii_serialization(), &error);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reign(epoch: u64, url: &str) -> Reign {
        Reign { epoch, url: Some(url.into()) }
    }

    #[test]
    fn who_leads_in_the_next_reign_replaces_a_leader_be_it_the_same_again() {
        const NOBODY: Option<&str> = None;
        for (found, url, then) in [
            (reign(4, "a"), "a", [(reign(4, "a"), NOBODY), (reign(5, "b"), Some("b"))]),
            (reign(4, "a"), "a", [(reign(5, "a"), Some("a")), (reign(6, "a"), Some("a"))]),
            // It had the key alone when it was found.
            (reign(4, "a"), "b", [(reign(5, "b"), NOBODY), (reign(6, "b"), Some("b"))]),
            (reign(4, "a"), "b", [(reign(5, "b"), NOBODY), (reign(5, "b"), NOBODY)]),
            (reign(4, "a"), "b", [(reign(4, "a"), NOBODY), (reign(5, "c"), Some("c"))]),
            // An instance that was started later does not know who began the reign.
            (
                Reign { epoch: 4, url: None },
                "a",
                [(reign(4, "a"), NOBODY), (reign(5, "b"), Some("b"))],
            ),
        ] {
            let mut leader = Leader::new(url, &found);
            for (now, next) in then {
                let shown = format!("{leader:?} in {now:?}");
                assert_eq!(leader.replaced_by(now).as_deref(), next, "{shown}");
            }
        }
    }

    #[test]
    fn a_key_is_one_of_a_submission_however_its_path_is_written() {
        for (uri, has) in [
            ("/v1/runs", true),
            ("/v1/runs:batch?wait=1s", true),
            ("/v1/runs%3Abatch", true),
            ("/v1/runs/x/cancel", false),
        ] {
            let request = actix_web::test::TestRequest::post().uri(uri);
            let request = request.insert_header((api::headers::IDEMPOTENCY_KEY, "k"));
            assert_eq!(has_a_key(&request.to_http_request()), has, "{uri}");
        }
    }

    #[test]
    fn a_leader_is_waited_for_as_long_as_it_may_take() {
        for (path, query, secs) in [
            ("/v1/runs", "", 15),
            ("/v1/runs", "wait=30s", 45),
            ("/v1/runs", "wait=1h", 315),
            ("/v1/runs:batch", "", 20),
            ("/v1/policies/p", "dry_run=true", 15),
            ("/v1/policies/p/what-if", "", 250),
        ] {
            assert_eq!(may_take(path, query), Duration::from_secs(secs), "{path}?{query}");
        }
    }
}

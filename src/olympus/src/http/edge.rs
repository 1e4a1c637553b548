//! What happens to every request: an id, a caller, headers, and one form for every error.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use bytes::Bytes;
use uuid::Uuid;

use super::AppState;
use super::answer::{INDEX, REQUEST_ID};
use super::caller::{Caller, new_request_id};
use super::forward;
use super::ingress::{self, Entered, Held};
use super::problem::{self, Fault};

/// How often a stop looks whether all is answered.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Wraps every request.
pub async fn edge(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<Counted>, Error> {
    let began = Instant::now();
    let id = RequestId::of(request.headers());
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return Err(actix_web::error::ErrorInternalServerError("the application has no state"));
    };
    let under_way = state.under_way.begin();
    let entered = state.ingress.enter(&request);
    let (Entered { body, waiting }, refused) = match entered {
        Ok(entered) => (entered, None),
        Err(fault) => (Entered::default(), Some(fault)),
    };
    if let Some(body) = body {
        request.extensions_mut().insert(body);
    }
    let mut response = match (refused, admit(&state, &request, id.id)) {
        (Some(fault), _) => {
            let mut request = request;
            ingress::drain(request.take_payload()).await;
            request.into_response(fault.respond(id.text()))
        }
        (None, Ok(caller)) => match forward::leader_for(&state, &request) {
            Ok(None) => {
                request.extensions_mut().insert(caller);
                next.call(request).await?
            }
            Ok(Some(leader)) => forward::write(&state, request, leader, &id.shown).await,
            Err(fault) => request.into_response(fault.respond(id.text())),
        },
        (None, Err(fault)) => request.into_response(fault.respond(id.text())),
    };
    ingress::give_back(response.request());
    let closes = state.ingress.closes(response.request().path());
    if closes && response.status().as_u16() != 101 {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if let Some(error) = response.response().error() {
        let answer = match error.as_error::<Fault>() {
            Some(fault) => fault.respond(id.text()),
            None => problem::of_framework(response.response().status(), error).respond(id.text()),
        };
        response = response.into_response(answer);
    }
    let status = response.status().as_u16();
    state.meter.count(status, began.elapsed());
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.shown);
    // A connection that speaks another protocol from here on reflects nothing yet.
    if status != 101 && !headers.contains_key(INDEX) {
        headers.insert(INDEX, HeaderValue::from(state.index.load(Ordering::Relaxed)));
    }
    Ok(response.map_body(|_, body| Counted { body, _under_way: under_way, _waiting: waiting }))
}

/// Requests that are not answered to the end.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(&self) -> OneUnderWay {
        self.0.fetch_add(1, Ordering::Relaxed);
        OneUnderWay(self.0.clone())
    }

    /// Waits until there is none; says whether there was one.
    pub async fn none(&self) -> bool {
        let mut some = false;
        while self.0.load(Ordering::Relaxed) > 0 {
            some = true;
            // Asked at the end of a process alone: not worth a notification with every request.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        some
    }
}

struct OneUnderWay(Arc<AtomicUsize>);

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body, counted as under way until it is sent or given up.
pub struct Counted {
    body: BoxBody,
    _under_way: OneUnderWay,
    _waiting: Option<Held>,
}

impl MessageBody for Counted {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

/// Longest `X-Request-Id` that is taken over: room for what proxies make of it, and no more in logs.
const REQUEST_ID_MAX: usize = 128;

/// The id of a request: as the caller gave it, and as events record it.
struct RequestId {
    id: Uuid,
    shown: HeaderValue,
}

impl RequestId {
    /// The caller's, where it is visible ASCII of a sane length; else a new one. One that is no UUID
    /// is recorded as a UUID of its own making (version 8, RFC 9562): the digest of its text.
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|value| {
            let text = value.as_bytes();
            (1..=REQUEST_ID_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
        });
        if let Some(shown) = given.cloned() {
            let id = Uuid::try_parse_ascii(shown.as_bytes()).unwrap_or_else(|_| {
                let mut digest = [0; 16];
                digest.copy_from_slice(&blake3::hash(shown.as_bytes()).as_bytes()[..16]);
                uuid::Builder::from_custom_bytes(digest).into_uuid()
            });
            return Self { id, shown };
        }
        let id = new_request_id();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.as_hyphenated().encode_lower(&mut text);
        // Hexadecimal digits and hyphens are a header's value.
        let shown = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        Self { id, shown }
    }

    fn text(&self) -> &str {
        self.shown.to_str().unwrap_or_default()
    }
}

fn admit(state: &AppState, request: &ServiceRequest, id: Uuid) -> Result<Caller, Fault> {
    let headers = request.headers();
    if is_foreign(request.method(), headers) {
        return Err(problem::foreign_origin());
    }
    let token = headers.get(AUTHORIZATION);
    match state.auth.admit(token) {
        Some(by) => Ok(Caller { request: id, by }),
        // Who probes has no token, and is told nothing.
        None if ingress::PROBES.contains(&request.path()) => {
            Ok(Caller { request: id, by: domain::event::Principal::Anonymous })
        }
        None => Err(problem::unauthenticated(token.is_some())),
    }
}

/// Whether a browser sends this for a page of another origin. Browsers name the origin with every
/// such write (Fetch standard, "Origin" header), programs name none: so no page that somebody opens
/// can submit runs to an Olympus on that person's machine.
fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    if matches!(*method, Method::GET | Method::HEAD)
        && !headers.contains_key(actix_web::http::header::UPGRADE)
    {
        return false;
    }
    let here = headers.get(HOST).and_then(|host| host.to_str().ok());
    let there = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (here, there) {
        (Some(here), Some((_, there))) => !here.eq_ignore_ascii_case(there),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_may_not_write() {
        let foreign = |method: Method, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:8080"));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_str(origin).expect("a header"));
            }
            is_foreign(&method, &headers)
        };
        assert!(!foreign(Method::POST, None), "a program");
        assert!(!foreign(Method::POST, Some("http://127.0.0.1:8080")), "its own page");
        assert!(!foreign(Method::GET, Some("https://evil.example")), "answers can't be read");
        for origin in ["https://evil.example", "http://127.0.0.1:3000", "null"] {
            assert!(foreign(Method::POST, Some(origin)), "{origin}");
            assert!(foreign(Method::DELETE, Some(origin)), "{origin}");
        }
    }
}

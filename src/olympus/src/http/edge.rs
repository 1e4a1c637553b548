//! What happens to every request: an id, a caller, headers, and one form for every error.

use std::time::Instant;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use std::sync::atomic::Ordering;
use uuid::Uuid;

use super::AppState;
use super::answer::{INDEX, REQUEST_ID};
use super::caller::{Caller, new_request_id};
use super::problem::{self, Fault};

/// Probes are let in without a token: those who ask have none, and they tell nothing.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Wraps every request.
pub async fn edge<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let began = Instant::now();
    let id = given_id(request.headers()).unwrap_or_else(new_request_id);
    let admitted = admit(&request, id);
    let mut response = match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.call(request).await?
        }
        Err(fault) => {
            let response = fault.respond(id);
            let request = request.request().clone();
            let response = ServiceResponse::new(request, response).map_into_right_body();
            return Ok(finish(response, id, began));
        }
    };
    if let Some(error) = response.response().error() {
        let answer = match error.as_error::<Fault>() {
            Some(fault) => fault.respond(id),
            None => {
                let status = response.response().status();
                problem::of_framework(status, error).respond(id)
            }
        };
        let request = response.request().clone();
        let response = ServiceResponse::new(request, answer).map_into_right_body();
        return Ok(finish(response, id, began));
    }
    // A bodiless answer of the framework itself can't be told from ours: ours all say where they
    // stand, and the default route answers with a fault.
    if response.headers().contains_key(REQUEST_ID) {
        response.headers_mut().remove(REQUEST_ID);
    }
    Ok(finish(response.map_into_left_body(), id, began))
}

fn finish<B>(mut response: ServiceResponse<B>, id: Uuid, began: Instant) -> ServiceResponse<B> {
    let (known, status) = {
        let state = response.request().app_data::<web::Data<AppState>>();
        let status = response.status();
        let known = state.map(|state| {
            state.meter.count(status.as_u16(), began.elapsed());
            state.index.load(Ordering::Relaxed)
        });
        (known.unwrap_or_default(), status)
    };
    let headers = response.headers_mut();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    if let Ok(value) = HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut text)) {
        headers.insert(REQUEST_ID, value);
    }
    // A hijacked connection speaks another protocol from here on.
    if status.as_u16() != 101 && !headers.contains_key(INDEX) {
        headers.insert(INDEX, HeaderValue::from(known));
    }
    response
}

fn given_id(headers: &HeaderMap) -> Option<Uuid> {
    Uuid::try_parse_ascii(headers.get(REQUEST_ID)?.as_bytes()).ok()
}

fn admit(request: &ServiceRequest, id: Uuid) -> Result<Caller, Fault> {
    let headers = request.headers();
    if is_foreign(request.method(), headers) {
        return Err(problem::foreign_origin());
    }
    let Some(state) = request.app_data::<web::Data<AppState>>() else {
        return Err(problem::internal("find the state", &"the application has none"));
    };
    let token = headers.get(AUTHORIZATION);
    match state.auth.admit(token) {
        Some(by) => Ok(Caller { request: id, by }),
        None if OPEN_PATHS.contains(&request.path()) => {
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

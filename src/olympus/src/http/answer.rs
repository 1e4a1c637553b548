//! Answers: JSON straight into the body, and the headers that say where it stands.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpResponse, HttpResponseBuilder};
use api::headers;
use domain::RunId;
use olympus_actors::Mark;
use serde::Serialize;

/// `X-Tartarus-Index`.
pub const INDEX: HeaderName = HeaderName::from_static(headers::INDEX);
/// `X-Tartarus-Receipt`.
pub const RECEIPT: HeaderName = HeaderName::from_static(headers::RECEIPT);
/// `X-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

/// Room for an ordinary run, so that its JSON is written without growing.
const BODY_BYTES: usize = 1_280;

/// JSON of a value that reflects `mark`; `write` adds the receipt.
pub fn json<T: Serialize>(status: StatusCode, value: &T, at: Mark, write: bool) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    mark(&mut response, at, write);
    body(response, value)
}

/// JSON as the body of a response that is being built.
pub fn body<T: Serialize>(response: HttpResponseBuilder, value: &T) -> HttpResponse {
    list(response, value, 1)
}

/// The same, with room for so many runs.
pub fn list<T: Serialize>(
    mut response: HttpResponseBuilder,
    value: &T,
    runs: usize,
) -> HttpResponse {
    let mut bytes = Vec::with_capacity(BODY_BYTES * runs);
    if let Err(error) = serde_json::to_writer(&mut bytes, value) {
        // Only a map with keys that are not text can fail, and there is none.
        return actix_web::error::ErrorInternalServerError(error).into();
    }
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static(headers::JSON)));
    response.body(bytes)
}

/// Says where an answer stands.
pub fn mark(response: &mut HttpResponseBuilder, mark: Mark, write: bool) {
    response.insert_header((INDEX, HeaderValue::from(mark.index)));
    if write && let Ok(receipt) = HeaderValue::try_from(mark.receipt.to_string()) {
        response.insert_header((RECEIPT, receipt));
    }
}

/// `Location` of a run.
pub fn location(run: RunId) -> (HeaderName, String) {
    (LOCATION, format!("/v1/runs/{run}"))
}

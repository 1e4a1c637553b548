//! Names of the headers and media types of the contract.

/// The caller's own name for a submission, remembered for 24 hours.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Id of the request, in every response.
pub const REQUEST_ID: &str = "x-request-id";
/// The journal sequence a response reflects.
pub const INDEX: &str = "x-tartarus-index";
/// `<sequence>-<hash>` of the entry that holds a write.
pub const RECEIPT: &str = "x-tartarus-receipt";
/// Seconds to wait before another try.
pub const RETRY_AFTER: &str = "retry-after";

/// JSON.
pub const JSON: &str = "application/json";
/// RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// One JSON object a line.
pub const NDJSON: &str = "application/x-ndjson";
/// YAML (RFC 9512).
pub const YAML: &str = "application/yaml";
/// Server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// Whether a media type (parameters may follow) is YAML under one of its names.
pub fn is_yaml(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"]
        .iter()
        .any(|name| media.eq_ignore_ascii_case(name))
}

//! Bad requests as data: what is sent, and exactly what must be answered.
//!
//! Says:   each row of `data/bad_requests.json` with its body made; unit tests check the rows that
//!         the contract alone decides, and the end-to-end test sends every one to a live server.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A bad request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadRequest {
    /// What is wrong, in words.
    pub name: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers beside the usual ones.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body where it is not JSON.
    #[serde(default)]
    raw: Option<String>,
    /// The body where it is.
    #[serde(default)]
    body: Option<Value>,
    /// The answer's status.
    pub status: u16,
    /// The answer's code; none where any will do.
    pub code: Option<String>,
    /// What the answer's detail contains.
    pub detail_contains: String,
    /// `server`, where a parser alone can't tell.
    #[serde(default)]
    pub needs: Option<String>,
}

impl BadRequest {
    /// The body's bytes. In JSON, `{"$repeat": text, "times": n}` stands for a long text,
    /// `{"$list": value, "times": n}` for a long list, `{"$numbered": key, "times": n}` for an
    /// object with as many keys.
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.raw, &self.body) {
            (Some(raw), _) => raw.clone().into_bytes(),
            (None, Some(body)) => expand(body).to_string().into_bytes(),
            (None, None) => Vec::new(),
        }
    }
}

fn expand(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(expand).collect(),
        Value::Object(fields) => grow(fields)
            .unwrap_or_else(|| fields.iter().map(|(k, v)| (k.clone(), expand(v))).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn grow(fields: &Map<String, Value>) -> Option<Value> {
    let times = usize::try_from(fields.get("times")?.as_u64()?).ok()?;
    if let Some(text) = fields.get("$repeat") {
        return Some(Value::from(text.as_str()?.repeat(times)));
    }
    if let Some(item) = fields.get("$list") {
        return Some(Value::from(vec![expand(item); times]));
    }
    let key = fields.get("$numbered")?.as_str()?;
    Some((0..times).map(|i| (format!("{key}{i}"), Value::from(""))).collect())
}

/// Every bad request.
///
/// # Panics
/// The data is not what [`BadRequest`] says.
pub fn bad_requests() -> Vec<BadRequest> {
    serde_json::from_str(include_str!("../data/bad_requests.json"))
        .expect("data/bad_requests.json has the shape of BadRequest")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::idempotency_key;
    use crate::law::{PolicyDocument, TemplateDocument};
    use crate::limits::RUN_BODY_MAX;
    use crate::problem::Problem;
    use crate::query::{RunsQuery, SubmitQuery};
    use crate::run::{Batch, RunRequest};
    use crate::{Malformed, document, parse};
    use domain::judge::Request;

    /// What the contract alone answers, as an edge would ask it.
    #[expect(clippy::result_large_err, reason = "a test asks once, not 50,000 times a second")]
    fn answer(request: &BadRequest) -> Result<(), Problem> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let body = request.bytes();
        match (&*request.method, path) {
            ("POST", "/v1/runs") => {
                SubmitQuery::parse(query)?;
                if let Some(key) = request.headers.get("Idempotency-Key") {
                    idempotency_key(key.as_bytes())?;
                }
                crate::limits::check_run_body(body.len())?;
                Request::try_from(parse::<RunRequest>(&body)?)?;
                Ok(())
            }
            ("POST", "/v1/runs:batch") => {
                parse::<Batch>(&body)?.check()?;
                Ok(())
            }
            ("POST", path) if path.ends_with("/what-if") => {
                document::read::<crate::what_if::WhatIfRequest>(&body)?.check("p")?;
                Ok(())
            }
            ("GET", "/v1/runs") => Ok(RunsQuery::parse(query).map(drop)?),
            ("PUT", path) => {
                if let Some(name) = path.strip_prefix("/v1/policies/") {
                    crate::query::PutQuery::parse(query)?;
                    document::read::<PolicyDocument>(&body)?.into_policy(Some(name))?;
                } else if let Some(name) = path.strip_prefix("/v1/templates/") {
                    document::read::<TemplateDocument>(&body)?.into_template(Some(name))?;
                }
                Ok(())
            }
            other => panic!("{}: no such call: {other:?}", request.name),
        }
    }

    #[test]
    fn every_bad_request_gets_its_status_its_code_and_what_to_do() {
        let all = bad_requests();
        let mut wrong = Vec::new();
        for request in all.iter().filter(|request| request.needs.is_none()) {
            match answer(request) {
                Ok(()) => wrong.push(format!("{}: accepted", request.name)),
                Err(problem) => {
                    let code = request.code.as_deref();
                    if problem.status != request.status
                        || code.is_some_and(|code| code != problem.code)
                        || !problem.detail.contains(&request.detail_contains)
                    {
                        wrong.push(format!(
                            "{}: {} {} {}",
                            request.name, problem.status, problem.code, problem.detail
                        ));
                    }
                    assert!(problem.detail.len() < 4_000, "{}: too long", request.name);
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(all.len() >= 60, "{} rows", all.len());
    }

    #[test]
    fn names_of_bad_requests_are_unique() {
        let all = bad_requests();
        let names: std::collections::BTreeSet<&str> = all.iter().map(|r| &*r.name).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn a_good_request_passes_whole() {
        let body = br#"{"template": "host", "command": ["python3", "-c", "print(6*7)"],
            "env": {"LANG": "C.UTF-8"}, "stdin": "",
            "resources": {"cpu_milli": 500, "mem_mb": 128, "gpu": 0, "ttl": "30s"},
            "network": "none", "heat": null, "priority": 50,
            "retry": {"max_attempts": 1, "backoff": "1s"}, "on_lost": "retry",
            "retention": {"max_age": "24h", "keep_output": true},
            "metadata": {"tenant": "acme", "user": "alice"}, "labels": {"team": "ml"}}"#;
        let parsed: RunRequest = parse(body).unwrap();
        let again: RunRequest = parse(&serde_json::to_vec(&parsed).unwrap()).unwrap();
        assert_eq!(again, parsed);
        let request = Request::try_from(parsed).unwrap();
        assert_eq!(request.ttl_ms, Some(30_000));
        assert_eq!(request.priority, Some(50));
        assert_eq!(request.metadata.get("tenant"), Some("acme"));
    }

    #[test]
    fn a_body_at_its_limit_is_taken() {
        assert_eq!(crate::limits::check_run_body(RUN_BODY_MAX), Ok(()));
        let over = crate::limits::check_run_body(RUN_BODY_MAX + 1);
        assert!(matches!(over, Err(Malformed::TooLarge { .. })));
    }
}

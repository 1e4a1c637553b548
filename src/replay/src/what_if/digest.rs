//! What a report and a draft are known by.

use std::collections::BTreeMap;

use api::PolicyDocument;
use api::what_if::WhatIfReport;
use domain::ids::{Digest, Hex};
use domain::law::Policy;
use serde::Serialize;
use serde_json::Value;

/// Of a draft: every default written out, so that two spellings of one policy are the same.
pub fn of_draft(policy: &Policy) -> Digest {
    let document = PolicyDocument::from_policy(policy, 0, 0);
    of(&PolicyDocument { version: None, revision: None, ..document }, &[])
}

/// Of a report: all of it but the digest itself and how long it took.
pub fn of_report(report: &WhatIfReport) -> Digest {
    of(report, &["digest", "elapsed_ms"])
}

/// BLAKE3 of a value as JSON without spaces, keys sorted.
fn of<T: Serialize>(value: &T, without: &[&str]) -> Digest {
    // Nothing here has keys that are no text, or numbers that JSON can't write.
    let mut value = serde_json::to_value(value).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        without.iter().for_each(|name| drop(fields.remove(*name)));
    }
    Hex(*blake3::hash(sorted(value).to_string().as_bytes()).as_bytes())
}

/// The same, whatever order this build keeps keys in.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().collect();
            fields.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

//! `/v1/openapi.json`: the API as OpenAPI 3.1 describes it.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};

/// Written by hand; a test holds it against the table of routes.
const DOCUMENT: &str = include_str!("openapi.json");

/// See the module.
pub async fn get() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, HeaderValue::from_static(api::headers::JSON)))
        .body(DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::ROUTES;
    use super::*;

    #[test]
    fn it_describes_every_route_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("an item").keys();
                let methods = methods.filter(|key| *key != "parameters");
                methods.map(move |method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let routed: BTreeSet<(String, String)> = ROUTES
            .iter()
            .flat_map(|(path, methods)| {
                methods.split(", ").map(move |method| ((*path).to_owned(), method.to_owned()))
            })
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_in_it_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(path)) = fields.get("$ref") {
                        found.push(path.clone());
                    }
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        for path in found {
            let pointer = path.strip_prefix('#').expect("a reference within");
            assert!(document.pointer(pointer).is_some(), "{path} leads nowhere");
        }
    }
}

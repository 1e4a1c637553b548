//! The table of bad requests, sent to a live server.

use reqwest::Method;

use crate::support::House;

#[actix_web::test]
async fn every_bad_request_gets_its_status_its_code_and_words_that_help() {
    let house = House::new().await;
    let mut wrong = Vec::new();
    for bad in api::cases::bad_requests() {
        let method = Method::from_bytes(bad.method.as_bytes()).expect("a method");
        let mut request = house.request(method, &bad.path);
        for (name, value) in &bad.headers {
            request = request.header(name, value);
        }
        if bad.method != "GET" {
            request = request.header("content-type", "application/json").body(bad.bytes());
        }
        let answer = house.send(request).await;
        let problem: serde_json::Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or_default();
        let code_fits = bad.code.as_ref().is_none_or(|code| problem["code"] == **code);
        if answer.status != bad.status || !code_fits || !detail.contains(&bad.detail_contains) {
            wrong.push(format!("{}: {} {}", bad.name, answer.status, answer.text));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let left = house.get("/v1/runs").await.json();
    assert_eq!(left["items"], serde_json::json!([]), "nothing was written");
    house.stop().await;
}

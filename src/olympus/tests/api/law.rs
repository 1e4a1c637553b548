//! Policies and templates: versions, guards, and that an answer is the law.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, House, hello};

fn policy(mem_mb: u32) -> Value {
    json!({"match": {"templates": ["host"]}, "limits": {"cpu_milli": 1000, "mem_mb": mem_mb}})
}

async fn put_if(house: &House, guard: (&str, &str), body: &Value) -> Answer {
    let request = house.request(Method::PUT, "/v1/policies/p").header(guard.0, guard.1);
    house.send(request.json(body)).await
}

#[actix_web::test]
async fn a_policy_has_versions_and_the_answer_is_the_law() {
    let house = House::new().await;
    let created = house.put("/v1/policies/p", &policy(64)).await.expect(201);
    assert_eq!(created.header("etag"), "\"1\"");
    assert!(!created.header("x-tartarus-receipt").is_empty());
    let document = created.json();
    assert_eq!((&document["version"], &document["revision"]), (&json!(1), &json!(1)));
    assert_eq!(document["on_violation"], "reject");
    house.post("/v1/runs", &hello()).await.problem(403, "policy_rejected");

    let replaced = house.put("/v1/policies/p", &policy(512)).await.expect(200);
    assert_eq!((replaced.header("etag"), &replaced.json()["version"]), ("\"2\"", &json!(2)));
    let run = house.post("/v1/runs", &hello()).await.expect(202).json();
    assert_eq!(run["policy"], json!({"name": "p", "version": 2, "revision": 2}));

    let got = house.get("/v1/policies/p").await.expect(200);
    assert_eq!(got.header("etag"), "\"2\"");
    assert_eq!(got.json(), replaced.json());
    let known = house.request(Method::GET, "/v1/policies/p").header("if-none-match", "\"2\"");
    house.send(known).await.expect(304);

    let list = house.get("/v1/policies").await.expect(200).json();
    let names: Vec<&Value> =
        list["items"].as_array().expect("items").iter().map(|p| &p["name"]).collect();
    assert_eq!(names, [&json!("lockdown-default"), &json!("p")]);
    assert_eq!(list["items"][1], got.json(), "a list shows what a single GET shows");
    let revision = house.get("/readyz").await.json()["policy_revision"].clone();
    assert_eq!(revision, 2);
    house.stop().await;
}

#[actix_web::test]
async fn guards_hold() {
    let house = House::new().await;
    put_if(&house, ("if-match", "\"1\""), &policy(64)).await.problem(412, "stale");
    put_if(&house, ("if-match", "*"), &policy(64)).await.problem(412, "stale");
    put_if(&house, ("if-none-match", "*"), &policy(64)).await.expect(201);
    put_if(&house, ("if-none-match", "*"), &policy(64)).await.problem(412, "stale");
    put_if(&house, ("if-match", "\"1\""), &policy(65)).await.expect(200);
    let stale = put_if(&house, ("if-match", "\"1\""), &policy(66)).await.problem(412, "stale");
    let detail = stale["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("version 2 is in force, not 1"), "both versions: {detail}");
    put_if(&house, ("if-match", "*"), &policy(67)).await.expect(200);
    put_if(&house, ("if-match", "2"), &policy(68)).await.problem(400, "malformed");
    house.stop().await;
}

#[actix_web::test]
async fn versions_stay_readable_and_can_be_restored() {
    let house = House::new().await;
    house.put("/v1/policies/p", &policy(64)).await.expect(201);
    house.put("/v1/policies/p", &policy(65)).await.expect(200);
    house.delete("/v1/policies/p").await.expect(204);
    house.get("/v1/policies/p").await.problem(404, "not_found");
    house.delete("/v1/policies/p").await.problem(404, "not_found");
    let history = house.get("/v1/policies/p/versions").await.expect(200).json();
    let seen: Vec<(u64, bool)> = history["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|v| (v["version"].as_u64().expect("a number"), v["deleted"] == true))
        .collect();
    assert_eq!(seen, [(1, false), (2, false), (2, true)]);
    let first = house.get("/v1/policies/p/versions/1").await.expect(200).json();
    assert_eq!(first, history["items"][0]);
    assert_eq!(first["document"]["limits"]["mem_mb"], 64);
    house.get("/v1/policies/p/versions/9").await.problem(404, "not_found");

    let restored = house.post("/v1/policies/p/versions/1/restore", &json!({})).await.expect(201);
    assert_eq!(restored.json()["limits"]["mem_mb"], 64);
    assert_eq!(restored.json()["version"], 3, "numbering goes on after a deletion");
    house.stop().await;
}

#[actix_web::test]
async fn what_can_not_be_enacted_is_refused() {
    let house = House::new().await;
    let mut ruled = policy(64);
    ruled["rules"] = json!([{"name": "r", "when": "request.colour", "verdict": "reject"}]);
    let problem = house.put("/v1/policies/p", &ruled).await.problem(422, "invalid");
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("rules[0]")), "{problem}");
    house.put("/v1/policies/lockdown-default", &policy(64)).await.problem(422, "invalid");
    house.delete("/v1/policies/lockdown-default").await.problem(422, "invalid");
    house.put("/v1/policies/P", &policy(64)).await.problem(422, "invalid");
    house.put("/v1/policies/p", &policy(64)).await.expect(201);
    house.put("/v1/policies/q", &policy(64)).await.problem(409, "conflict");
    house.get("/v1/policies/lockdown-default").await.expect(200);
    house.stop().await;
}

#[actix_web::test]
async fn a_draft_is_checked_and_not_kept() {
    let house = House::new().await;
    let checked = house.put("/v1/policies/p?dry_run=true", &policy(64)).await.expect(200).json();
    assert_eq!(checked["limits"]["mem_mb"], 64);
    assert_eq!(checked.get("version"), None);
    house.get("/v1/policies/p").await.problem(404, "not_found");
    house.put("/v1/policies/p", &policy(64)).await.expect(201);
    house.put("/v1/policies/q?dry_run=true", &policy(64)).await.problem(409, "conflict");
    house.put("/v1/policies/p?wait=1s", &policy(64)).await.problem(422, "invalid");
    house.stop().await;
}

#[actix_web::test]
async fn a_policy_may_be_written_in_yaml() {
    let house = House::new().await;
    let yaml = "match: {templates: [python-*]}\nlimits: {mem_mb: 64, ttl: 10m}\n";
    let request =
        house.request(Method::PUT, "/v1/policies/y").header("content-type", "application/yaml");
    let document = house.send(request.body(yaml)).await.expect(201).json();
    assert_eq!(document["limits"], json!({"mem_mb": 64, "gpu": 0, "ttl": "10m"}));
    house.stop().await;
}

#[actix_web::test]
async fn a_template_is_what_runs_start_from() {
    let house = House::new().await;
    let template = json!({"rootfs": {"directory": "python"}, "command": ["python3"],
                          "resources": {"mem_mb": 64}});
    let created = house.put("/v1/templates/py", &template).await.expect(201);
    assert_eq!(created.header("etag"), "\"1\"");
    let run = house.post("/v1/runs", &json!({"template": "py"})).await.expect(202).json();
    assert_eq!((&run["command"], &run["resources"]["mem_mb"]), (&json!(["python3"]), &json!(64)));
    let list = house.get("/v1/templates").await.expect(200).json();
    let names: Vec<&Value> =
        list["items"].as_array().expect("items").iter().map(|t| &t["name"]).collect();
    assert_eq!(names, [&json!("host"), &json!("py")]);
    assert_eq!(list["items"][1], house.get("/v1/templates/py").await.expect(200).json());
    house.put("/v1/templates/py", &template).await.expect(200);
    house.put("/v1/templates/host", &template).await.problem(422, "invalid");
    house.delete("/v1/templates/host").await.problem(422, "invalid");
    house.delete("/v1/templates/py").await.expect(204);
    house.post("/v1/runs", &json!({"template": "py"})).await.problem(422, "invalid");
    house.put("/v1/templates/py", &template).await.expect(201);
    house.stop().await;
}

//! Policies and templates.

use reqwest::Method;
use serde_json::{Value, json};
use tests::http::host;
use tests::{Answer, House};

fn policy(mem_mb: u32) -> Value {
    json!({"match": {"templates": ["host"]}, "limits": {"cpu_milli": 4000, "mem_mb": mem_mb, "ttl": "10m"}})
}

fn asks_for(mem_mb: u32) -> Value {
    json!({"template": "host", "command": ["true"], "resources": {"mem_mb": mem_mb}})
}

async fn put(house: &House, path: &str, header: (&str, &str), body: &Value) -> Answer {
    let request = house.api.request(Method::PUT, path).header(header.0, header.1);
    house.api.send(request.json(body)).await
}

#[tokio::test]
async fn a_policy_is_enforced_on_the_next_submission() {
    let house = House::memory().await;
    house.api.post("/v1/runs", &asks_for(512)).await.problem(403, "policy_rejected");
    let made = house.api.put("/v1/policies/p", &policy(512)).await.expect(201);
    assert_eq!((&made.json()["version"], &made.json()["name"]), (&json!(1), &json!("p")));
    assert_eq!(made.header("etag"), Some("\"1\""), "{made}");
    let revision = made.json()["revision"].clone();
    let run = house.api.submit(&asks_for(512)).await;
    assert_eq!(run["policy"], json!({"name": "p", "version": 1, "revision": revision}));
    let replaced = house.api.put("/v1/policies/p", &policy(256)).await.expect(200);
    assert_eq!(replaced.json()["version"], 2);
    assert!(replaced.json()["revision"].as_u64() > revision.as_u64());
    let refused = house.api.post("/v1/runs", &asks_for(512)).await.problem(403, "policy_rejected");
    assert!(refused["reasons"].to_string().contains("256"), "{refused:#}");
    let deleted = house.api.delete("/v1/policies/p").await;
    assert!([200, 204].contains(&deleted.status), "{deleted}");
    house.api.get("/v1/policies/p").await.problem(404, "not_found");
    let run = house.api.submit(&host(&["true"])).await;
    assert_eq!(run["policy"]["name"], "lockdown-default");
    let again = house.api.put("/v1/policies/p", &policy(512)).await.expect(201);
    assert!(
        again.json()["version"].as_u64() > Some(2),
        "numbering goes on after a delete: {again}"
    );
}

#[tokio::test]
async fn a_policy_is_shown_with_every_default() {
    let house = House::memory().await;
    house.api.put("/v1/policies/p", &policy(512)).await.expect(201);
    let shown = house.api.get("/v1/policies/p").await.expect(200);
    assert_eq!(shown.header("etag"), Some("\"1\""));
    let shown = shown.json();
    for (pointer, value) in [
        ("/limits/gpu", json!(0)),
        ("/network", json!(["none"])),
        ("/on_violation", json!("reject")),
        ("/rules", json!([])),
        ("/match/templates", json!(["host"])),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&value), "{pointer} of {shown:#}");
    }
    let list = house.api.get("/v1/policies").await.expect(200).json();
    assert!(list["items"].as_array().is_some_and(|items| items.contains(&shown)), "{list:#}");
}

#[tokio::test]
async fn yaml_reads_as_json_does() {
    let house = House::memory().await;
    let yaml = "# for tests\nname: p\nmatch: {templates: [host]}\nlimits: {cpu_milli: 4000, mem_mb: 512, ttl: 10m}\n";
    let request = house.api.request(Method::PUT, "/v1/policies/p");
    let request = request.header("Content-Type", "application/yaml").body(yaml);
    let by_yaml = house.api.send(request).await.expect(201).json();
    let by_json = house.api.put("/v1/policies/q", &json!({
        "match": {"templates": ["other"]}, "limits": {"cpu_milli": 4000, "mem_mb": 512, "ttl": "10m"}
    })).await.expect(201).json();
    assert_eq!(by_yaml["limits"], by_json["limits"]);
}

#[tokio::test]
async fn if_match_guards_a_replacement() {
    let house = House::memory().await;
    house.api.put("/v1/policies/p", &policy(512)).await.expect(201);
    put(&house, "/v1/policies/p", ("If-Match", "\"1\""), &policy(513)).await.expect(200);
    let stale = put(&house, "/v1/policies/p", ("If-Match", "\"1\""), &policy(514)).await;
    let detail = stale.problem(412, "stale")["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains('1') && detail.contains('2'), "both versions: {detail}");
    let exists = put(&house, "/v1/policies/p", ("If-None-Match", "*"), &policy(514)).await;
    assert_eq!(exists.status, 412, "{exists}");
    let shown = house.api.get("/v1/policies/p").await.json();
    assert_eq!((&shown["version"], &shown["limits"]["mem_mb"]), (&json!(2), &json!(513)));
    let request = house.api.request(Method::DELETE, "/v1/policies/p").header("If-Match", "\"1\"");
    house.api.send(request).await.problem(412, "stale");
    put(&house, "/v1/policies/q", ("If-None-Match", "*"), &json!({"match": {"templates": ["q"]}}))
        .await
        .expect(201);
}

#[tokio::test]
async fn of_many_writers_with_one_version_one_wins() {
    let house = House::memory().await;
    house.api.put("/v1/policies/p", &policy(512)).await.expect(201);
    let bodies: Vec<_> = (0..8).map(|i| policy(600 + i)).collect();
    let writers =
        bodies.iter().map(|body| put(&house, "/v1/policies/p", ("If-Match", "\"1\""), body));
    let answers = futures_util::future::join_all(writers).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1);
    assert!(answers.iter().all(|answer| [200, 412].contains(&answer.status)));
    let shown = house.api.get("/v1/policies/p").await.json();
    assert_eq!(shown["limits"]["mem_mb"], won[0].json()["limits"]["mem_mb"]);
    assert_eq!(shown["version"], 2);
}

#[tokio::test]
async fn two_policies_may_not_claim_the_same_templates() {
    let house = House::memory().await;
    let body = json!({"match": {"templates": ["py-*"]}});
    house.api.put("/v1/policies/p", &body).await.expect(201);
    let tie = house.api.put("/v1/policies/q", &body).await;
    assert!([409, 422].contains(&tie.status) && tie.text().contains("\\\"p\\\""), "{tie}");
    house.api.get("/v1/policies/q").await.problem(404, "not_found");
}

#[tokio::test]
async fn the_most_specific_policy_applies() {
    let house = House::memory().await;
    for name in ["python", "python-ml", "ruby"] {
        let template = json!({"rootfs": {"host": true}, "command": ["true"]});
        house.api.put(&format!("/v1/templates/{name}"), &template).await.expect(201);
    }
    for (name, pattern) in [("every", "*"), ("some", "python*"), ("one", "python-ml")] {
        let body = json!({"match": {"templates": [pattern]}});
        house.api.put(&format!("/v1/policies/{name}"), &body).await.expect(201);
    }
    for (template, policy) in
        [("python", "some"), ("python-ml", "one"), ("ruby", "every"), ("host", "every")]
    {
        let run = json!({"template": template, "command": ["true"]});
        assert_eq!(house.api.submit(&run).await["policy"]["name"], policy, "{template}");
    }
}

#[tokio::test]
async fn a_dry_run_of_a_policy_validates_and_changes_nothing() {
    let house = House::memory().await;
    let before = house.api.get("/v1/policies").await.index();
    let good = house.api.put("/v1/policies/p?dry_run=true", &policy(512)).await;
    assert!(good.status < 300, "{good}");
    let bad = json!({"match": {"templates": []}});
    house.api.put("/v1/policies/p?dry_run=true", &bad).await.problem(422, "invalid");
    house.api.get("/v1/policies/p").await.problem(404, "not_found");
    assert_eq!(house.api.get("/v1/policies").await.index(), before);
}

#[tokio::test]
async fn every_version_is_kept() {
    let house = House::memory().await;
    for mem_mb in [256, 512, 1024] {
        house.api.put("/v1/policies/p", &policy(mem_mb)).await;
    }
    let versions = house.api.get("/v1/policies/p/versions").await.expect(200).json();
    let mut numbers: Vec<_> = versions["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| item["version"].as_u64().unwrap_or(0))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3], "{versions:#}");
    let second = house.api.get("/v1/policies/p/versions/2").await.expect(200).json();
    assert!(second.to_string().contains("512"), "{second:#}");
    house.api.get("/v1/policies/p/versions/9").await.problem(404, "not_found");
}

#[tokio::test]
async fn built_in_law_can_not_be_replaced() {
    let house = House::memory().await;
    let answer = house.api.put("/v1/policies/lockdown-default", &policy(512)).await;
    assert!([409, 422].contains(&answer.status) && answer.text().contains("built in"), "{answer}");
    let answer = house.api.put("/v1/templates/host", &json!({"rootfs": {"host": true}})).await;
    assert!([409, 422].contains(&answer.status) && answer.text().contains("built in"), "{answer}");
    let answer = house.api.delete("/v1/templates/host").await;
    assert!([409, 422].contains(&answer.status) && answer.text().contains("built in"), "{answer}");
}

#[tokio::test]
async fn a_template_gives_what_a_submission_leaves_out() {
    let house = House::memory().await;
    let listed = house.api.get("/v1/templates").await.expect(200).json();
    assert_eq!(listed["items"][0]["name"], "host", "built in: {listed:#}");
    let body = json!({
        "rootfs": {"host": true}, "command": ["echo", "from the template"],
        "env": {"A": "template", "B": "template"},
        "resources": {"cpu_milli": 200, "mem_mb": 32, "ttl": "7s"}, "heat": "warm"
    });
    let made = house.api.put("/v1/templates/small", &body).await.expect(201);
    assert_eq!(made.header("etag"), Some("\"1\""), "{made}");
    let run = house.api.submit(&json!({"template": "small", "env": {"B": "request"}})).await;
    assert_eq!(run["command"], body["command"]);
    assert_eq!(run["env"], json!({"A": "template", "B": "request"}));
    assert_eq!(run["resources"], json!({"cpu_milli": 200, "mem_mb": 32, "gpu": 0, "ttl": "7s"}));
    assert_eq!(run["heat"], "warm");
    let deleted = house.api.delete("/v1/templates/small").await;
    assert!([200, 204].contains(&deleted.status), "{deleted}");
    let answer = house.api.post("/v1/runs", &json!({"template": "small"})).await;
    assert_eq!(answer.status, 422, "{answer}");
}

#[tokio::test]
async fn a_run_starts_from_the_template_it_was_admitted_with() {
    let house = House::memory().await;
    let body = |word: &str| json!({"rootfs": {"host": true}, "command": ["echo", word]});
    house.api.put("/v1/templates/t", &body("old")).await.expect(201);
    let run = tests::http::id(&house.api.submit(&json!({"template": "t"})).await);
    house.api.put("/v1/templates/t", &body("new")).await.expect(200);
    let _agent = house.agent("n1").start(&house.api).await;
    house.api.ended(&run).await;
    assert_eq!(house.api.output(&run, "stdout").await, "old\n");
}

#[tokio::test]
async fn quarantine_asked_for_is_quarantine_given() {
    let house = House::memory().await;
    let mut run = host(&["true"]);
    run["metadata"] = json!({"quarantine": "true"});
    let refused = house.api.post("/v1/runs", &run).await.problem(403, "quarantine_unavailable");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("tartarus.io/typhon=true")));
    let _agent = house.agent("q1").labels("tartarus.io/typhon=true").start(&house.api).await;
    let accepted = house.api.submit(&run).await;
    assert_eq!((&accepted["quarantined"], &accepted["pool"]), (&json!(true), &json!("quarantine")));
    let ended = house.api.ended(&tests::http::id(&accepted)).await;
    assert_eq!((&ended["node"], &ended["status"]), (&json!("q1"), &json!("SUCCEEDED")));
    let ledger = house.api.get("/v1/quarantine").await.expect(200).json();
    assert!(ledger["items"].is_array(), "{ledger:#}");
}

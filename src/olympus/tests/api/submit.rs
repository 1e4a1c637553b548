//! `POST /v1/runs`, `POST /v1/runs:batch`, and cancelling.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{House, hello};

#[actix_web::test]
async fn a_submission_is_answered_with_its_run_and_where_it_stands() {
    let house = House::new().await;
    let answer = house.post("/v1/runs", &hello()).await.expect(202);
    let run = answer.json();
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("location"), format!("/v1/runs/{}", run["id"].as_str().expect("id")));
    let index: u64 = answer.header("x-tartarus-index").parse().expect("a number");
    assert_eq!(run["index"], index);
    let receipt = answer.header("x-tartarus-receipt");
    assert!(receipt.starts_with(&format!("{index}-")), "{receipt}");
    for (field, value) in [
        ("status", json!("PENDING")),
        ("template", json!("host")),
        ("command", json!(["echo", "hello"])),
        ("env", json!({})),
        ("stdin", json!("")),
        ("resources", json!({"cpu_milli": 500, "mem_mb": 128, "gpu": 0, "ttl": "30s"})),
        ("network", json!("none")),
        ("heat", json!("cold")),
        ("pool", json!("standard")),
        ("priority", json!(50)),
        ("retry", json!({"max_attempts": 1, "backoff": "1s"})),
        ("on_lost", json!("retry")),
        ("retention", json!({"max_age": "24h", "keep_output": true})),
        ("metadata", json!({})),
        ("labels", json!({})),
        ("verdict", json!("accept")),
        ("quarantined", json!(false)),
        ("policy", json!({"name": "lockdown-default", "version": 0, "revision": 0})),
        ("node", Value::Null),
        ("attempt", json!(0)),
        ("exit_code", Value::Null),
        ("usage", Value::Null),
    ] {
        assert_eq!(run[field], value, "{field} of {run}");
    }
    let again = house.get(&format!("/v1/runs/{}", run["id"].as_str().expect("id"))).await;
    let again = again.expect(200).json();
    assert_eq!(again["reason"], "WaitingForCapacity");
    assert!(again["message"].as_str().is_some_and(|m| m.contains("tartarus agent")), "{again}");
    house.stop().await;
}

#[actix_web::test]
async fn an_idempotency_key_gives_the_first_answer_again() {
    let house = House::new().await;
    let send = |key: &'static str, body: Value| {
        let request = house.request(Method::POST, "/v1/runs").header("Idempotency-Key", key);
        house.send(request.json(&body))
    };
    let first = send("a", hello()).await.expect(202).json();
    let repeat = send("a", hello()).await.expect(200);
    assert_eq!(repeat.json()["id"], first["id"]);
    assert!(!repeat.header("x-tartarus-receipt").is_empty());
    let other = json!({"template": "host", "command": ["true"]});
    send("a", other).await.problem(422, "idempotency_key_reused");
    assert_ne!(send("b", hello()).await.expect(202).json()["id"], first["id"]);

    let greedy = json!({"template": "host", "command": ["x"], "resources": {"mem_mb": 4096}});
    let refused = send("c", greedy.clone()).await.problem(403, "policy_rejected");
    let again = send("c", greedy).await.problem(403, "policy_rejected");
    assert_eq!(again["run_id"], refused["run_id"]);
    house.stop().await;
}

#[actix_web::test]
async fn a_verdict_is_a_problem_and_a_run() {
    let house = House::new().await;
    let greedy = json!({"template": "host", "command": ["x"], "resources": {"mem_mb": 4096}});
    let answer = house.post("/v1/runs", &greedy).await;
    assert!(!answer.header("x-tartarus-receipt").is_empty());
    let problem = answer.problem(403, "policy_rejected");
    assert_eq!(problem["reasons"], json!(["resources.mem_mb is 4096, the limit is 128"]));
    let id = problem["run_id"].as_str().expect("an id");
    let run = house.get(&format!("/v1/runs/{id}")).await.expect(200).json();
    assert_eq!((&run["status"], &run["reason"]), (&json!("REJECTED"), &json!("PolicyRejected")));

    let suspect = json!({"template": "host", "command": ["x"], "metadata": {"quarantine": "true"}});
    let problem = house.post("/v1/runs", &suspect).await.problem(403, "quarantine_unavailable");
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("typhon")), "{problem}");
    let ledger = house.get("/v1/quarantine").await.expect(200).json();
    assert_eq!(ledger["items"][0]["run_id"], problem["run_id"]);
    assert_eq!(ledger["items"][0]["admitted"], false);
    house.stop().await;
}

#[actix_web::test]
async fn where_quarantine_is_off_its_verdict_is_a_rejection() {
    let house = House::with(&[("TARTARUS_QUARANTINE", "off")]).await;
    let suspect = json!({"template": "host", "command": ["x"], "metadata": {"quarantine": "true"}});
    let problem = house.post("/v1/runs", &suspect).await.problem(403, "policy_rejected");
    let reasons = problem["reasons"].as_array().expect("reasons");
    assert!(reasons.contains(&json!("quarantine is switched off")), "{problem}");
    house.stop().await;
}

#[actix_web::test]
async fn a_dry_run_says_the_verdict_and_writes_nothing() {
    let house = House::new().await;
    let before = house.get("/v1/runs").await.expect(200);
    let verdict = house.post("/v1/runs?dry_run=true", &hello()).await.expect(200).json();
    assert_eq!(verdict["verdict"], "accept");
    assert_eq!(verdict["policy"]["name"], "lockdown-default");
    let greedy = json!({"template": "host", "command": ["x"], "resources": {"gpu": 1}});
    let verdict = house.post("/v1/runs?dry_run=true", &greedy).await.expect(200).json();
    assert_eq!(verdict["verdict"], "reject");
    let after = house.get("/v1/runs").await.expect(200);
    assert_eq!(after.json()["items"], json!([]));
    assert_eq!(after.header("x-tartarus-index"), before.header("x-tartarus-index"));
    house.stop().await;
}

#[actix_web::test]
async fn a_full_queue_says_when_to_come_back() {
    let house = House::with(&[("TARTARUS_QUEUE_MAX", "2")]).await;
    house.run(&hello()).await;
    let first = house.run(&hello()).await;
    let full = house.post("/v1/runs", &hello()).await;
    assert!(full.header("retry-after").parse::<u32>().is_ok_and(|s| s > 0));
    full.problem(429, "queue_full");
    house.post(&format!("/v1/runs/{first}/cancel"), &json!({})).await.expect(200);
    house.run(&hello()).await;
    house.stop().await;
}

#[actix_web::test]
async fn a_batch_is_one_entry_and_an_answer_each_in_order() {
    let house = House::new().await;
    let batch = json!({"runs": [
        hello(),
        {"template": "host", "command": []},
        {"template": "host", "command": ["x"], "resources": {"mem_mb": 4096}},
        {"template": "nowhere", "command": ["x"]},
        hello(),
    ]});
    let answer = house.post("/v1/runs:batch", &batch).await.expect(200);
    let index: u64 = answer.header("x-tartarus-index").parse().expect("a number");
    let items = answer.json()["items"].as_array().expect("items").clone();
    let statuses: Vec<u64> = items.iter().filter_map(|item| item["status"].as_u64()).collect();
    assert_eq!(statuses, [202, 422, 403, 422, 202]);
    for position in [0, 4] {
        assert_eq!(items[position]["run"]["index"], index, "{}", items[position]);
    }
    assert_eq!(items[2]["problem"]["code"], "policy_rejected");
    assert!(items[2]["problem"]["run_id"].is_string());
    assert!(items[3]["problem"]["detail"].as_str().is_some_and(|d| d.contains("nowhere")));
    assert_eq!(house.get("/v1/runs").await.json()["items"].as_array().map(Vec::len), Some(3));
    house.stop().await;
}

#[actix_web::test]
async fn a_key_covers_the_whole_batch() {
    let house = House::new().await;
    let send = |body: Value| {
        let request = house.request(Method::POST, "/v1/runs:batch").header("Idempotency-Key", "k");
        house.send(request.json(&body))
    };
    let batch = json!({"runs": [hello(), {"template": "host", "command": [""]}, hello()]});
    let first = send(batch.clone()).await.expect(200).json();
    let again = send(batch).await.expect(200).json();
    for position in [0, 2] {
        assert_eq!(again["items"][position]["status"], 200);
        let id = |answer: &Value| answer["items"][position]["run"]["id"].clone();
        assert_eq!(id(&first), id(&again));
    }
    assert_eq!(again["items"][1]["status"], 422);
    send(json!({"runs": [hello()]})).await.problem(422, "idempotency_key_reused");
    house.stop().await;
}

#[actix_web::test]
async fn a_run_is_cancelled_once() {
    let house = House::new().await;
    let id = house.run(&hello()).await;
    let cancel = format!("/v1/runs/{id}/cancel");
    let answer = house.post(&cancel, &json!({})).await.expect(200);
    assert!(!answer.header("x-tartarus-receipt").is_empty());
    assert_eq!(answer.json()["status"], "CANCELED");
    assert_eq!(house.post(&cancel, &json!({})).await.problem(409, "already_ended")["run_id"], *id);
    let nobody = "/v1/runs/00000000-0000-7000-8000-000000000000/cancel";
    house.post(nobody, &json!({})).await.problem(404, "not_found");
    house.post("/v1/runs/x/cancel", &json!({})).await.problem(404, "not_found");
    house.stop().await;
}

#[actix_web::test]
async fn a_wait_ends_with_the_run() {
    let house = House::new().await;
    let submit = house.post("/v1/runs?wait=20ms", &hello()).await.expect(202).json();
    assert_eq!(submit["status"], "PENDING");
    let id = submit["id"].as_str().expect("an id");
    let (path, cancel) = (format!("/v1/runs/{id}?wait=30s"), format!("/v1/runs/{id}/cancel"));
    let nothing = json!({});
    let (waited, _) = tokio::join!(house.get(&path), house.post(&cancel, &nothing));
    assert_eq!(waited.expect(200).json()["status"], "CANCELED");
    house.stop().await;
}

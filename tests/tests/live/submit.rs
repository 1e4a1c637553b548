//! `POST /v1/runs` and `POST /v1/runs:batch`.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{House, RedisServer};

/// More memory than the built-in policy gives.
fn too_greedy() -> Value {
    json!({"template": "host", "command": ["true"], "resources": {"mem_mb": 4096}})
}

async fn runs(house: &House) -> Vec<Value> {
    house.api.all("/v1/runs").await
}

#[tokio::test]
async fn an_accepted_submission_is_answered_with_the_run_its_place_and_a_receipt() {
    let house = House::memory().await;
    let answer = house.api.post("/v1/runs", &host(&["echo", "hello"])).await.expect(202);
    let run = answer.json();
    let location = format!("/v1/runs/{}", id(&run));
    assert_eq!(answer.header("location"), Some(&*location), "{answer}");
    let receipt = answer.header("x-tartarus-receipt").expect("a write has a receipt");
    let (sequence, hash) = receipt.split_once('-').expect("<sequence>-<hash>");
    assert_eq!(sequence.parse::<u64>().ok(), run["index"].as_u64(), "{answer}");
    assert!(hash.len() >= 16 && hash.bytes().all(|b| b.is_ascii_alphanumeric()), "{receipt}");
    assert!(answer.index() >= run["index"].as_u64().unwrap_or(u64::MAX), "{answer}");
    let read = house.api.get(&location).await.expect(200);
    assert_eq!(read.json()["id"], run["id"]);
    assert_eq!(read.header("x-tartarus-receipt"), None, "a read writes nothing: {read}");
}

#[tokio::test]
async fn what_is_left_out_takes_the_published_value() {
    let house = House::memory().await;
    let run = house.api.submit_command(&["true"]).await;
    for (pointer, value) in [
        ("/status", json!("PENDING")),
        ("/env", json!({})),
        ("/stdin", json!("")),
        ("/resources", json!({"cpu_milli": 500, "mem_mb": 128, "gpu": 0, "ttl": "30s"})),
        ("/network", json!("none")),
        ("/priority", json!(50)),
        ("/retry", json!({"max_attempts": 1, "backoff": "1s"})),
        ("/on_lost", json!("retry")),
        ("/retention", json!({"max_age": "24h", "keep_output": true})),
        ("/metadata", json!({})),
        ("/labels", json!({})),
        ("/verdict", json!("accept")),
        ("/quarantined", json!(false)),
        ("/heat", json!("cold")),
        ("/pool", json!("standard")),
        ("/policy", json!({"name": "lockdown-default", "version": 0, "revision": 0})),
        ("/node", Value::Null),
        ("/attempt", json!(0)),
        ("/exit_code", Value::Null),
        ("/signal", Value::Null),
        ("/started_at", Value::Null),
        ("/finished_at", Value::Null),
    ] {
        let found = run.pointer(pointer);
        let same = match pointer {
            "/retention" => found.is_some_and(|found| {
                found["keep_output"] == true && ["24h", "1d"].iter().any(|d| found["max_age"] == *d)
            }),
            _ => found == Some(&value),
        };
        assert!(same, "{pointer} is {found:?}, not {value}: {run:#}");
    }
    let made = run["created_at"].as_str().expect("a time");
    assert!(made.len() == 24 && made.ends_with('Z'), "RFC 3339 with milliseconds, not {made}");
}

#[tokio::test]
async fn what_is_given_comes_back() {
    let house = House::memory().await;
    let asked = json!({
        "template": "host", "command": ["python3", "-c", "print(6*7)"],
        "env": {"LANG": "C.UTF-8"}, "stdin": "in\n",
        "resources": {"cpu_milli": 250, "mem_mb": 64, "gpu": 0, "ttl": "90s"},
        "network": "none", "heat": "warm", "priority": 7,
        "retry": {"max_attempts": 3, "backoff": "250ms"}, "on_lost": "fail",
        "retention": {"max_age": "2h", "keep_output": false},
        "metadata": {"tenant": "acme", "user": "alice"}, "labels": {"team": "ml"}
    });
    let run = house.api.submit(&asked).await;
    for (field, value) in asked.as_object().into_iter().flatten() {
        let found = &run[field];
        if field == "resources" {
            assert!(["90s", "1m30s"].iter().any(|ttl| found["ttl"] == *ttl), "{run:#}");
            assert_eq!((&found["cpu_milli"], &found["mem_mb"]), (&json!(250), &json!(64)));
        } else {
            assert_eq!(found, value, "{field}");
        }
    }
}

#[tokio::test]
async fn wait_answers_when_the_run_has_ended() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let answer = house.api.post("/v1/runs?wait=60s", &host(&["true"])).await.expect(202);
    assert_eq!(answer.json()["status"], "SUCCEEDED", "{answer}");
}

#[tokio::test]
async fn wait_answers_with_the_run_as_it_is_when_the_wait_is_over() {
    let house = House::memory().await;
    let answer = house.api.post("/v1/runs?wait=50ms", &host(&["true"])).await.expect(202);
    assert_eq!(answer.json()["status"], "PENDING", "{answer}");
}

#[tokio::test]
async fn a_dry_run_judges_and_writes_nothing() {
    let house = House::memory().await;
    let before = house.api.get("/v1/runs").await.index();
    let good = house.api.post("/v1/runs?dry_run=true", &host(&["true"])).await.expect(200);
    assert_eq!(good.json()["verdict"], "accept");
    assert_eq!(good.json()["policy"]["name"], "lockdown-default");
    assert_eq!(good.header("x-tartarus-receipt"), None);
    let bad = house.api.post("/v1/runs?dry_run=true", &too_greedy()).await.expect(200).json();
    assert_eq!(bad["verdict"], "reject");
    assert!(bad["reasons"][0].as_str().is_some_and(|r| r.contains("4096")), "{bad:#}");
    let after = house.api.get("/v1/runs").await;
    assert_eq!((after.index(), after.json()["items"].clone()), (before, json!([])));
}

#[tokio::test]
async fn a_rejected_submission_is_a_run_and_says_why() {
    let house = House::memory().await;
    let answer = house.api.post("/v1/runs", &too_greedy()).await;
    let problem = answer.problem(403, "policy_rejected");
    assert!(answer.header("x-tartarus-receipt").is_some(), "a rejection is written: {answer}");
    let reason = problem["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.contains("mem_mb") && reason.contains("128"), "{problem:#}");
    let run = house.api.run(problem["run_id"].as_str().expect("a run")).await;
    assert_eq!((&run["status"], &run["reason"]), (&json!("REJECTED"), &json!("PolicyRejected")));
    assert_eq!(run["verdict"], "reject");
}

#[tokio::test]
async fn the_same_key_and_body_gives_the_first_answer_again() {
    let house = House::memory().await;
    let body = host(&["true"]);
    let first = house.api.post_once("/v1/runs", "k1", &body).await.expect(202).json();
    let again = house.api.post_once("/v1/runs", "k1", &body).await.expect(200);
    assert_eq!(again.json()["id"], first["id"]);
    let other = house.api.post_once("/v1/runs", "k2", &body).await.expect(202).json();
    assert_ne!(other["id"], first["id"]);
    assert_eq!(runs(&house).await.len(), 2);
}

#[tokio::test]
async fn a_key_reused_with_another_body_is_refused() {
    let house = House::memory().await;
    house.api.post_once("/v1/runs", "k", &host(&["true"])).await.expect(202);
    house
        .api
        .post_once("/v1/runs", "k", &host(&["false"]))
        .await
        .problem(422, "idempotency_key_reused");
    assert_eq!(runs(&house).await.len(), 1);
}

#[tokio::test]
async fn a_repeated_rejection_is_the_same_rejection() {
    let house = House::memory().await;
    let first =
        house.api.post_once("/v1/runs", "k", &too_greedy()).await.problem(403, "policy_rejected");
    let again =
        house.api.post_once("/v1/runs", "k", &too_greedy()).await.problem(403, "policy_rejected");
    assert_eq!(first["run_id"], again["run_id"]);
    assert_eq!(first["reasons"], again["reasons"]);
    assert_eq!(runs(&house).await.len(), 1);
}

#[tokio::test]
async fn concurrent_submissions_with_one_key_make_one_run() {
    let house = House::memory().await;
    let body = host(&["true"]);
    let answers = join_all((0..16).map(|_| house.api.post_once("/v1/runs", "k", &body))).await;
    let new = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(new, 1, "one is the first");
    let first = answers[0].json()["id"].clone();
    assert!(answers.iter().all(|a| [200, 202].contains(&a.status) && a.json()["id"] == first));
    assert_eq!(runs(&house).await.len(), 1);
}

#[tokio::test]
async fn a_key_outlives_a_restart() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let first = house.api.post_once("/v1/runs", "k", &host(&["true"])).await.expect(202).json();
    let refused =
        house.api.post_once("/v1/runs", "r", &too_greedy()).await.problem(403, "policy_rejected");
    let two = json!({"runs": [host(&["true"]), too_greedy()]});
    let batch = house.api.post_once("/v1/runs:batch", "b", &two).await.json();
    house.olympus.restart().await;
    let again = house.api.post_once("/v1/runs", "k", &host(&["true"])).await.expect(200).json();
    assert_eq!(again["id"], first["id"]);
    house
        .api
        .post_once("/v1/runs", "k", &host(&["false"]))
        .await
        .problem(422, "idempotency_key_reused");
    let again =
        house.api.post_once("/v1/runs", "r", &too_greedy()).await.problem(403, "policy_rejected");
    assert_eq!(again["run_id"], refused["run_id"]);
    let again = house.api.post_once("/v1/runs:batch", "b", &two).await.json();
    assert_eq!(again["items"][0]["run"]["id"], batch["items"][0]["run"]["id"]);
    assert_eq!(again["items"][1]["problem"]["run_id"], batch["items"][1]["problem"]["run_id"]);
    assert_eq!(runs(&house).await.len(), 4);
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back_and_remembers_nothing() {
    let house = House::with(None, &[("TARTARUS_QUEUE_MAX", "2")]).await;
    let first = house.api.submit_command(&["true"]).await;
    house.api.submit_command(&["true"]).await;
    let before = house.api.get("/v1/runs").await.index();
    let refused = house.api.post_once("/v1/runs", "k", &host(&["true"])).await;
    let problem = refused.problem(429, "queue_full");
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains('2')), "{problem:#}");
    let after = house.api.get("/v1/runs").await;
    assert_eq!((after.index(), after.ids().len()), (before, 2), "nothing was written");
    house.api.post(&format!("/v1/runs/{}/cancel", id(&first)), &json!({})).await;
    house.api.post_once("/v1/runs", "k", &host(&["true"])).await.expect(202);
}

#[tokio::test]
async fn a_batch_answers_item_by_item_in_one_entry() {
    let house = House::memory().await;
    let unknown = json!({"template": "no-such-template", "command": ["true"]});
    let invalid = json!({"template": "host", "command": []});
    let batch = json!({"runs": [host(&["echo", "0"]), too_greedy(), invalid, unknown, host(&["echo", "4"])]});
    let answer = house.api.post("/v1/runs:batch", &batch).await;
    assert!(answer.status < 300, "{answer}");
    let items = answer.json()["items"].as_array().cloned().expect("items");
    let statuses: Vec<_> = items.iter().map(|item| item["status"].as_u64().unwrap_or(0)).collect();
    assert_eq!(statuses, [202, 403, 422, 422, 202], "{answer}");
    assert_eq!(items[0]["run"]["command"], json!(["echo", "0"]));
    assert_eq!(items[4]["run"]["command"], json!(["echo", "4"]));
    assert_eq!(items[1]["problem"]["code"], "policy_rejected");
    let refused = house.api.run(items[1]["problem"]["run_id"].as_str().expect("a run")).await;
    let entries = [&items[0]["run"]["index"], &refused["index"], &items[4]["run"]["index"]];
    assert!(entries.iter().all(|index| *index == entries[0]), "one entry: {answer}");
    assert_eq!(runs(&house).await.len(), 3);
}

#[tokio::test]
async fn a_key_covers_the_whole_batch() {
    let house = House::memory().await;
    let batch = json!({"runs": [host(&["echo", "0"]), too_greedy(), host(&["echo", "2"])]});
    let first = house.api.post_once("/v1/runs:batch", "k", &batch).await.json();
    let again = house.api.post_once("/v1/runs:batch", "k", &batch).await.json();
    for i in [0, 2] {
        assert_eq!(again["items"][i]["run"]["id"], first["items"][i]["run"]["id"]);
        assert_eq!(again["items"][i]["status"], 200, "{again:#}");
    }
    assert_eq!(again["items"][1]["problem"]["run_id"], first["items"][1]["problem"]["run_id"]);
    assert_eq!(runs(&house).await.len(), 3);
    let shorter = json!({"runs": [host(&["echo", "0"])]});
    let other = house.api.post_once("/v1/runs:batch", "k", &shorter).await;
    other.problem(422, "idempotency_key_reused");
    assert_eq!(runs(&house).await.len(), 3);
}

#[tokio::test]
async fn a_thousand_runs_are_one_batch() {
    let house = House::memory().await;
    let batch = json!({"runs": vec![host(&["true"]); 1_000]});
    let answer = house.api.post("/v1/runs:batch", &batch).await;
    let items = answer.json()["items"].as_array().cloned().expect("items");
    assert!(items.iter().all(|item| item["status"] == 202));
    let index = &items[0]["run"]["index"];
    assert!(items.iter().all(|item| item["run"]["index"] == *index), "one entry");
    assert_eq!(house.api.get("/v1/queue").await.json()["depth"], 1_000);
    let mut listed: Vec<_> = runs(&house).await.iter().map(id).collect();
    listed.reverse();
    let made: Vec<_> = items.iter().map(|item| id(&item["run"])).collect();
    assert_eq!(listed, made, "newest first, in the order of the batch");
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_undo_its_submission() {
    let house = House::memory().await;
    let body = host(&["true"]);
    let request =
        house.api.request(Method::POST, "/v1/runs?wait=60s").header("Idempotency-Key", "k");
    let sending = house.api.try_send(request.json(&body));
    let listed =
        async { tests::until("the run to be listed", || async { runs(&house).await.pop() }).await };
    tokio::pin!(sending);
    let run = tokio::select! {
        answer = &mut sending => panic!("nothing ends this run: {answer:?}"),
        run = listed => run,
    };
    // The connection is dropped here.
    let again = house.api.post_once("/v1/runs", "k", &body).await.expect(200).json();
    assert_eq!(again["id"], run["id"]);
}

//! `/v1/nodes` and `/v1/queue`.

use serde_json::{Value, json};
use tests::House;
use tests::http::{host, id};

#[tokio::test]
async fn a_node_says_what_it_has_and_what_it_enforces() {
    let house = House::memory().await;
    assert_eq!(house.api.get("/v1/nodes").await.expect(200).json()["items"], json!([]));
    let _agent = house
        .agent("n1")
        .labels("zone=a,tartarus.io/phlegethon=true")
        .capacity(3_000, 1_024)
        .start(&house.api)
        .await;
    let node = house.api.get("/v1/nodes/n1").await.expect(200).json();
    for (pointer, value) in [
        ("/id", json!("n1")),
        ("/status", json!("READY")),
        ("/pool", json!("high_compute")),
        ("/labels", json!({"zone": "a", "tartarus.io/phlegethon": "true"})),
        ("/capacity", json!({"cpu_milli": 3_000, "mem_mb": 1_024, "gpu": 0})),
        ("/allocated", json!({"cpu_milli": 0, "mem_mb": 0, "gpu": 0})),
        ("/runs", json!(0)),
    ] {
        assert_eq!(node.pointer(pointer), Some(&value), "{pointer} of {node:#}");
    }
    assert!(node["last_seen"].is_string() && node["version"].is_string(), "{node:#}");
    assert!(node["isolation"].as_array().is_some_and(|proved| !proved.is_empty()), "{node:#}");
    assert_eq!(house.api.get("/v1/nodes").await.ids(), ["n1"]);
    house.api.get("/v1/nodes/n2").await.problem(404, "not_found");
}

#[tokio::test]
async fn a_running_attempt_is_set_aside_and_given_back() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = id(&house.api.submit_command(&["sleep", "60"]).await);
    house.api.until_status(&run, "RUNNING").await;
    let node = house.api.get("/v1/nodes/n1").await.json();
    assert_eq!(node["allocated"], json!({"cpu_milli": 500, "mem_mb": 128, "gpu": 0}));
    assert_eq!(node["runs"], 1);
    house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    house.api.ended(&run).await;
    let node = house.api.get("/v1/nodes/n1").await.json();
    assert_eq!((&node["allocated"]["mem_mb"], &node["runs"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn the_queue_is_counted_by_pool_heat_and_tenant() {
    let house = House::memory().await;
    let empty = house.api.get("/v1/queue").await.expect(200).json();
    assert_eq!((&empty["depth"], &empty["paused"]), (&json!(0), &json!(false)));
    assert_eq!(empty["oldest_wait_ms"], Value::Null);
    for (tenant, heat) in [("acme", "cold"), ("acme", "hot"), ("zeta", "inferno")] {
        let mut run = host(&["true"]);
        run["metadata"] = json!({"tenant": tenant});
        run["heat"] = json!(heat);
        house.api.submit(&run).await;
    }
    let queue = house.api.get("/v1/queue").await.json();
    assert_eq!(queue["depth"], 3);
    assert_eq!(queue["by_pool"], json!({"standard": 1, "high_compute": 2, "quarantine": 0}));
    assert_eq!(queue["by_heat"], json!({"cold": 1, "warm": 0, "hot": 1, "inferno": 1}));
    assert_eq!(queue["by_tenant"], json!({"acme": 2, "zeta": 1}));
    assert!(queue["oldest_wait_ms"].is_u64(), "{queue:#}");
}

#[tokio::test]
async fn a_paused_queue_assigns_nothing_until_it_is_resumed() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let paused = house.api.post("/v1/queue/pause", &json!({})).await.expect(200);
    assert_eq!(paused.json()["paused"], true, "{paused}");
    let run = id(&house.api.submit_command(&["true"]).await);
    let waiting = house.api.run(&run).await;
    assert_eq!(
        (&waiting["status"], &waiting["reason"]),
        (&json!("PENDING"), &json!("QueuePaused"))
    );
    assert!(waiting["message"].is_string(), "{waiting:#}");
    let resumed = house.api.post("/v1/queue/resume", &json!({})).await.expect(200);
    assert_eq!(resumed.json()["paused"], false, "{resumed}");
    assert_eq!(house.api.ended(&run).await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_waiting_run_says_why() {
    let house = House::memory().await;
    let run = id(&house.api.submit_command(&["true"]).await);
    let lonely = house.api.run(&run).await;
    assert!(lonely["reason"].is_string() && lonely["message"].is_string(), "{lonely:#}");
    house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    let _agent = house.agent("n1").capacity(600, 512).start(&house.api).await;
    let sleeper = id(&house.api.submit_command(&["sleep", "60"]).await);
    house.api.until_status(&sleeper, "RUNNING").await;
    let second = house.api.submit_command(&["true"]).await;
    let second = house.api.run(&id(&second)).await;
    assert_eq!(second["reason"], "WaitingForCapacity", "{second:#}");
    let mut big = host(&["true"]);
    big["resources"] = json!({"cpu_milli": 1_000});
    let big = house.api.submit(&big).await;
    let big = house.api.run(&id(&big)).await;
    assert_eq!((&big["status"], &big["reason"]), (&json!("PENDING"), &json!("NeverFits")));
}

#[tokio::test]
async fn runs_go_in_the_order_of_priority_then_of_arrival() {
    let house = House::memory().await;
    let mut ids = Vec::new();
    for priority in [50, 10, 90, 50, 90] {
        let mut run = host(&["true"]);
        run["priority"] = json!(priority);
        ids.push(id(&house.api.submit(&run).await));
    }
    let _agent = house.agent("n1").capacity(500, 512).start(&house.api).await;
    let mut started = Vec::new();
    for run in &ids {
        let ended = house.api.ended(run).await;
        started.push((ended["scheduled_at"].as_str().unwrap_or_default().to_owned(), run.clone()));
    }
    started.sort();
    let order: Vec<_> = started.into_iter().map(|(_, run)| run).collect();
    assert_eq!(order, [2, 4, 0, 3, 1].map(|i: usize| ids[i].clone()));
}

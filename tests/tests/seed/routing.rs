//! S29 to S36: heat and quarantine.

use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{Agent, House, until};

const HOT_NODE: &str = "tartarus.io/phlegethon=true";
const QUARANTINE_NODE: &str = "tartarus.io/typhon=true";

/// A house whose law lets everything through but what the nodes can't hold.
async fn generous() -> House {
    let house = House::memory().await;
    let policy = json!({"match": {"templates": ["*"]}, "limits": {"gpu": 8}});
    house.api.put("/v1/policies/generous", &policy).await.expect(201);
    house
}

async fn node(house: &House, id: &str, labels: &str) -> Agent {
    house.agent(id).labels(labels).capacity(8_000, 16_384).start(&house.api).await
}

fn with(resources: Value) -> Value {
    let mut run = host(&["true"]);
    run["resources"] = resources;
    run
}

fn hinted(heat: &str) -> Value {
    let mut run = host(&["true"]);
    run["heat"] = json!(heat);
    run
}

fn quarantined() -> Value {
    let mut run = host(&["true"]);
    run["metadata"] = json!({"quarantine": "true"});
    run
}

/// Where a run ended up.
async fn lands(house: &House, run: &Value) -> (String, String) {
    let run = house.api.ended(&id(&house.api.submit(run).await)).await;
    assert_eq!(run["status"], "SUCCEEDED", "{run:#}");
    let word = |field: &str| run[field].as_str().unwrap_or_default().to_owned();
    (word("node"), word("pool"))
}

#[tokio::test]
async fn s29_to_s32_one_table_of_thresholds_decides_the_heat() {
    let house = generous().await;
    for (resources, heat, cause) in [
        (json!({"cpu_milli": 500, "mem_mb": 256, "ttl": "60s"}), "cold", "light"),
        (json!({"cpu_milli": 501, "mem_mb": 256, "ttl": "60s"}), "warm", "ordinary"),
        (json!({"cpu_milli": 500, "mem_mb": 257, "ttl": "60s"}), "warm", "ordinary"),
        (json!({"cpu_milli": 500, "mem_mb": 256, "ttl": "61s"}), "warm", "ordinary"),
        (json!({"cpu_milli": 1999, "mem_mb": 8191, "ttl": "59m"}), "warm", "ordinary"),
        (json!({"cpu_milli": 2000}), "hot", "cpu"),
        (json!({"mem_mb": 8192}), "hot", "memory"),
        (json!({"ttl": "1h"}), "inferno", "long_running"),
        (json!({"gpu": 1}), "inferno", "gpu"),
    ] {
        let said = house
            .api
            .post("/v1/runs?dry_run=true", &with(resources.clone()))
            .await
            .expect(200)
            .json();
        assert_eq!(
            (&said["heat"], &said["heat_cause"]),
            (&json!(heat), &json!(cause)),
            "{resources}"
        );
        let pool = if ["cold", "warm"].contains(&heat) { "standard" } else { "high_compute" };
        assert_eq!(said["pool"], pool, "{resources}");
    }
    let said = house.api.post("/v1/runs?dry_run=true", &hinted("inferno")).await.json();
    assert_eq!((&said["heat"], &said["heat_cause"]), (&json!("inferno"), &json!("hint")));
}

#[tokio::test]
async fn s29_s30_cold_and_warm_avoid_high_compute_nodes_without_being_forbidden_them() {
    let house = generous().await;
    let _hot = node(&house, "hot", HOT_NODE).await;
    for heat in ["cold", "warm"] {
        assert_eq!(lands(&house, &hinted(heat)).await.0, "hot", "the only node there is");
    }
    let _standard = node(&house, "standard", "").await;
    for heat in ["cold", "warm"] {
        for _ in 0..3 {
            assert_eq!(lands(&house, &hinted(heat)).await, ("standard".into(), "standard".into()));
        }
    }
}

#[tokio::test]
async fn s31_s32_hot_and_inferno_go_to_high_compute_nodes() {
    let house = generous().await;
    let _standard = node(&house, "standard", "").await;
    let _hot = node(&house, "hot", HOT_NODE).await;
    for run in [
        with(json!({"cpu_milli": 2000})),
        with(json!({"ttl": "1h"})),
        hinted("hot"),
        hinted("inferno"),
    ] {
        assert_eq!(lands(&house, &run).await, ("hot".into(), "high_compute".into()), "{run}");
    }
}

#[tokio::test]
async fn s32_a_gpu_is_needed_only_where_one_was_asked_for() {
    let house = generous().await;
    let _plain = node(&house, "plain", HOT_NODE).await;
    assert_eq!(lands(&house, &hinted("inferno")).await.0, "plain", "no GPU asked, none needed");
    let run = id(&house.api.submit(&with(json!({"gpu": 1}))).await);
    let waiting = house.api.run(&run).await;
    assert_eq!((&waiting["status"], &waiting["reason"]), (&json!("PENDING"), &json!("NeverFits")));
    let _gpu = house.agent("gpu").env("TARTARUS_NODE_GPUS", "1").start(&house.api).await;
    assert_eq!(house.api.ended(&run).await["node"], "gpu");
}

#[tokio::test]
async fn s34_hot_falls_back_to_standard_but_never_to_quarantine() {
    let house = generous().await;
    let _quarantine = node(&house, "q", QUARANTINE_NODE).await;
    let run = id(&house.api.submit(&hinted("hot")).await);
    assert_eq!(house.api.run(&run).await["status"], "PENDING");
    let _standard = node(&house, "standard", "").await;
    let ended = house.api.ended(&run).await;
    assert_eq!((&ended["node"], &ended["pool"]), (&json!("standard"), &json!("standard")));
    assert_eq!(ended["heat"], "hot", "what it is stays, where it ran is said");
    assert_eq!(ended["fallback"], true, "and so is that it is not where it belongs");
    let _hot = node(&house, "hot", HOT_NODE).await;
    let placed = house.api.ended(&id(&house.api.submit(&hinted("hot")).await)).await;
    assert_eq!((&placed["node"], &placed["fallback"]), (&json!("hot"), &json!(false)));
}

#[tokio::test]
async fn s36_quarantined_runs_run_on_quarantine_nodes_and_nothing_else_does() {
    let house = generous().await;
    let _standard = node(&house, "standard", "").await;
    house.api.post("/v1/runs", &quarantined()).await.problem(403, "quarantine_unavailable");
    let _quarantine = node(&house, "q", QUARANTINE_NODE).await;
    let runs: Vec<Value> =
        (0..30).map(|i| if i % 2 == 0 { quarantined() } else { host(&["true"]) }).collect();
    let made = house.api.post("/v1/runs:batch", &json!({"runs": runs})).await.json();
    for (i, item) in made["items"].as_array().into_iter().flatten().enumerate() {
        let ended = house.api.ended(&id(&item["run"])).await;
        let expected = if i % 2 == 0 { "q" } else { "standard" };
        assert_eq!((&ended["node"], &ended["quarantined"]), (&json!(expected), &json!(i % 2 == 0)));
    }
}

#[tokio::test]
async fn s36_an_ordinary_run_waits_rather_than_enter_quarantine() {
    let house = generous().await;
    let _quarantine = node(&house, "q", QUARANTINE_NODE).await;
    let ordinary = id(&house.api.submit_command(&["true"]).await);
    assert_eq!(lands(&house, &quarantined()).await.0, "q");
    assert_eq!(house.api.run(&ordinary).await["status"], "PENDING");
}

#[tokio::test]
async fn s36_a_full_quarantine_makes_wait_and_a_lost_one_too() {
    let house = House::with(None, &[("TARTARUS_NODE_TTL", "3s")]).await;
    let mut agent =
        house.agent("q").labels(QUARANTINE_NODE).capacity(500, 512).start(&house.api).await;
    let mut sleeper = quarantined();
    sleeper["command"] = json!(["sleep", "300"]);
    sleeper["resources"] = json!({"ttl": "5m"});
    sleeper["on_lost"] = json!("fail");
    let sleeper = id(&house.api.submit(&sleeper).await);
    house.api.until_status(&sleeper, "RUNNING").await;
    let second = id(&house.api.submit(&quarantined()).await);
    let waiting = house.api.run(&second).await;
    assert_eq!(
        (&waiting["status"], &waiting["reason"]),
        (&json!("PENDING"), &json!("WaitingForCapacity"))
    );
    agent.process.kill();
    let waiting = until("the node to be lost", || async {
        Some(house.api.run(&second).await).filter(|run| run["reason"] == "WaitingForQuarantineNode")
    })
    .await;
    assert_eq!(waiting["status"], "PENDING", "they keep waiting, and say why");
    assert!(waiting["message"].as_str().is_some_and(|m| !m.is_empty()), "{waiting:#}");
    house.api.post("/v1/runs", &quarantined()).await.problem(403, "quarantine_unavailable");
}

#[tokio::test]
async fn s36c_a_violation_may_mean_quarantine() {
    let house = House::memory().await;
    let _quarantine = node(&house, "q", QUARANTINE_NODE).await;
    let policy = json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": 128}, "on_violation": "quarantine"});
    house.api.put("/v1/policies/p", &policy).await.expect(201);
    let run = house.api.submit(&with(json!({"mem_mb": 256}))).await;
    assert_eq!((&run["verdict"], &run["quarantined"]), (&json!("quarantine"), &json!(true)));
    assert_eq!(house.api.ended(&id(&run)).await["node"], "q");
}

#[tokio::test]
async fn s36d_a_caller_can_ask_for_quarantine_and_never_clear_it() {
    let house = House::memory().await;
    let _quarantine = node(&house, "q", QUARANTINE_NODE).await;
    assert_eq!(lands(&house, &quarantined()).await.0, "q");
    let policy = json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": 64}, "on_violation": "quarantine"});
    house.api.put("/v1/policies/p", &policy).await.expect(201);
    let mut run = host(&["true"]);
    run["metadata"] = json!({"quarantine": "false"});
    let run = house.api.submit(&run).await;
    assert_eq!(run["quarantined"], true, "\"false\" clears nothing: {run:#}");
}

#[tokio::test]
async fn s36g_with_quarantine_off_its_verdict_is_a_rejection() {
    let house = House::with(None, &[("TARTARUS_QUARANTINE", "off")]).await;
    let _quarantine = node(&house, "q", QUARANTINE_NODE).await;
    let refused = house.api.post("/v1/runs", &quarantined()).await.problem(403, "policy_rejected");
    assert!(
        refused["detail"].as_str().is_some_and(|d| d.contains("TARTARUS_QUARANTINE")),
        "{refused:#}"
    );
    let run = house.api.run(refused["run_id"].as_str().expect("a run")).await;
    assert_eq!(run["status"], "REJECTED");
}

#[tokio::test]
async fn s29_to_s32_learned_heat_goes_by_what_runs_have_used_where_the_policy_says_so() {
    let house = generous().await;
    let _standard = node(&house, "standard", "").await;
    let long = || with(json!({"ttl": "1h"}));
    let said = async || house.api.post("/v1/runs?dry_run=true", &long()).await.expect(200).json();
    let runs: Vec<Value> = (0..20).map(|_| long()).collect();
    let made = house.api.post("/v1/runs:batch", &json!({"runs": runs})).await.json();
    for item in made["items"].as_array().into_iter().flatten() {
        house.api.ended(&id(&item["run"])).await;
    }
    assert_eq!(said().await["heat_cause"], "long_running", "learned, and not asked for");
    let learned = house.api.get("/v1/heat").await.expect(200).json();
    let learned = &learned["learned"]["templates"][0];
    assert_eq!(
        (&learned["template"], &learned["runs"], &learned["enough"], &learned["used"]),
        (&json!("host"), &json!(20), &json!(true), &json!(false))
    );
    let policy = json!({"match": {"templates": ["*"]}, "limits": {"gpu": 8}, "heat": "learned"});
    house.api.put("/v1/policies/generous", &policy).await.expect(200);
    let said = said().await;
    assert_eq!((&said["heat"], &said["heat_cause"]), (&learned["heat"], &json!("learned")));
    assert_eq!(said["pool"], "standard", "it asks for an hour, and is done in a moment: {said:#}");
    let shown = house.api.get("/v1/heat").await.expect(200).json();
    assert_eq!(shown["learned"]["templates"][0]["used"], true);
}

#[tokio::test]
async fn s36b_a_rule_sends_to_quarantine_and_the_ledger_names_it() {
    let house = House::memory().await;
    let _quarantine = node(&house, "q", QUARANTINE_NODE).await;
    let rule = json!({"name": "external-origin", "when": "request.metadata.origin == \"external\"",
                      "verdict": "quarantine", "reason": "code from outside"});
    let policy = json!({"match": {"templates": ["host"]}, "rules": [rule]});
    house.api.put("/v1/policies/p", &policy).await.expect(201);
    let mut run = host(&["true"]);
    run["metadata"] = json!({"origin": "external"});
    assert_eq!(lands(&house, &run).await.0, "q");
    let entry = house.api.all("/v1/quarantine?status=ended").await.remove(0);
    let judge = &entry["judges"][0];
    assert_eq!(
        (&judge["judge"], &judge["rule"]),
        (&json!("rhadamanthus"), &json!("external-origin")),
        "{entry:#}"
    );
}

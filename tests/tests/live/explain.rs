//! Why a run is where it is, for every kind of run.

use serde_json::{Value, json};
use tests::House;
use tests::cli::tartarus;
use tests::http::{host, id};

async fn why(house: &House, run: &str) -> Value {
    house.api.get(&format!("/v1/runs/{run}/explain")).await.expect(200).json()
}

fn asking(resources: Value) -> Value {
    let mut run = host(&["true"]);
    run["resources"] = resources;
    run
}

async fn rejected(house: &House, run: &Value) -> Value {
    let refused = house.api.post("/v1/runs", run).await.problem(403, "policy_rejected");
    why(house, refused["run_id"].as_str().expect("the refusal is a run")).await
}

#[tokio::test]
async fn a_rejected_run_is_told_what_would_have_been_accepted() {
    let house = House::memory().await;
    let told = rejected(&house, &asking(json!({"mem_mb": 4096, "ttl": "10m"}))).await;
    assert_eq!(told["status"], "REJECTED");
    assert_eq!(told["policy"]["name"], "lockdown-default");
    let changes = json!(["resources.mem_mb <= 128", "resources.ttl <= 300000ms"]);
    assert_eq!(told["nearest_miss"]["changes"], changes);
    assert_eq!(told["nearest_miss"]["verdict"], "accept");
    let good = asking(json!({"mem_mb": 128, "ttl": "300000ms"}));
    house.api.post("/v1/runs", &good).await.expect(202);
}

#[tokio::test]
async fn every_rule_of_the_pinned_version_is_answered_again() {
    let house = House::memory().await;
    let policy = json!({
        "match": {"templates": ["host"]},
        "rules": [
            {"name": "outside", "when": "request.metadata.origin == \"external\"",
             "verdict": "quarantine", "reason": "from outside"},
            {"name": "busy", "when": "request.priority > 60 && tenant.pending < 1",
             "verdict": "reject", "reason": "nobody is that important"},
        ],
    });
    house.api.put("/v1/policies/p", &policy).await.expect(201);
    let mut run = host(&["true"]);
    run["priority"] = json!(70);
    let told = rejected(&house, &run).await;
    // The policy of today is another one; the explanation is of the one that was applied.
    house.api.put("/v1/policies/p", &json!({"match": {"templates": ["host"]}})).await.expect(200);
    let told_later = why(&house, told["run_id"].as_str().expect("an id")).await;
    assert_eq!(told, told_later);
    let judge = told["judges"].as_array().expect("judges").iter();
    let judge = judge.into_iter().find(|judge| judge["judge"] == "rhadamanthus").expect("his");
    assert_eq!((&judge["verdict"], &told["policy"]["version"]), (&json!("reject"), &json!(1)));
    let rules: Vec<_> = judge["rules"].as_array().expect("rules").iter().collect();
    assert_eq!((&rules[0]["holds"], &rules[1]["holds"]), (&json!(false), &json!(true)));
    assert_eq!(told["inputs"]["tenant"]["pending"], 0);
    assert_eq!(told["nearest_miss"]["changes"], json!(["priority <= 60"]));
}

#[tokio::test]
async fn a_waiting_run_is_told_its_place_and_what_each_node_lacks() {
    let house = House::memory().await;
    let policy = json!({"match": {"templates": ["*"]}});
    house.api.put("/v1/policies/open", &policy).await.expect(201);
    let first = house.api.submit(&asking(json!({"cpu_milli": 4000, "mem_mb": 256}))).await;
    let told = why(&house, &id(&first)).await;
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("PENDING"), &json!("WaitingForCapacity"))
    );
    assert_eq!(told["queue"]["place"], 1);
    assert!(told["queue"]["estimate_ms"].is_null(), "nothing to go by: {told:#}");
    let _small = house.agent("small").capacity(1_000, 1_024).start(&house.api).await;
    let second = house.api.submit(&asking(json!({"cpu_milli": 4000, "mem_mb": 256}))).await;
    let told = why(&house, &id(&second)).await;
    assert_eq!((&told["reason"], &told["queue"]["place"]), (&json!("NeverFits"), &json!(2)));
    let node = &told["nodes"][0];
    assert_eq!(node["id"], "small");
    assert!(node["failed"].as_str().is_some_and(|why| why.contains("3000 too few")), "{told:#}");
    assert!(told["would_fit"].is_string(), "{told:#}");
}

#[tokio::test]
async fn a_finished_run_tells_its_heat_its_pool_and_each_attempt() {
    let house = House::memory().await;
    let _agent = house.agent("n1").capacity(4_000, 4_096).start(&house.api).await;
    let mut run = host(&["sh", "-c", "exit 3"]);
    run["retry"] = json!({"max_attempts": 2, "backoff": "10ms"});
    run["heat"] = json!("hot");
    let ended = house.api.ended(&id(&house.api.submit(&run).await)).await;
    assert_eq!(ended["reason"], "OutOfAttempts");
    let told = why(&house, &id(&ended)).await;
    assert_eq!((&told["heat"]["heat"], &told["heat"]["cause"]), (&json!("hot"), &json!("hint")));
    assert_eq!((&told["pool"], &told["fallback"]), (&json!("standard"), &json!(true)));
    let attempt = |n| json!({"attempt": n, "node": "n1", "outcome": "exited with code 3"});
    assert_eq!(told["attempts"], json!([attempt(1), attempt(2)]));
    assert!(told["queue"].is_null() && told["nodes"] == json!([]), "{told:#}");
}

#[tokio::test]
async fn the_command_line_tells_it_to_a_person_and_unknown_runs_are_named() {
    let house = House::memory().await;
    let refused = house.api.post("/v1/runs", &asking(json!({"gpu": 1}))).await;
    let run = refused.problem(403, "policy_rejected")["run_id"].as_str().expect("a run").to_owned();
    let told = tartarus(&["explain", &run], &[("TARTARUS_ADDR", &house.api.url)]).expect(0);
    for words in [
        "REJECTED",
        "lockdown-default version 0",
        "rhadamanthus says reject",
        "resources.gpu is 1, the limit is 0",
        "would be accepted with resources.gpu <= 0",
    ] {
        assert!(told.stdout.contains(words), "{words:?} is not in {}", told.stdout);
    }
    let nobody = "00000000-0000-7000-8000-000000000000";
    house.api.get(&format!("/v1/runs/{nobody}/explain")).await.problem(404, "not_found");
}

/// What one rule, or quota, makes of `inputs` for the third run of a tenant within a minute, and
/// what a terminal shows under `given` and `admitted`.
async fn third_run(policy: Value) -> (Value, Vec<String>) {
    let house = House::memory().await;
    house.api.put("/v1/policies/p", &policy).await.expect(201);
    house.api.submit(&host(&["true"])).await;
    house.api.submit(&host(&["true"])).await;
    let run = id(&house.api.submit(&host(&["true"])).await);
    let told = tartarus(&["explain", &run], &[("TARTARUS_ADDR", &house.api.url)]).expect(0);
    let seen = |line: &&str| line.starts_with("  given") || line.starts_with("  admitted");
    let lines = told.stdout.lines().filter(seen).map(str::to_owned).collect();
    (why(&house, &run).await["inputs"].clone(), lines)
}

fn ruled(when: &str) -> Value {
    let rule = json!({"name": "r", "when": when, "verdict": "reject", "reason": "so"});
    json!({"match": {"templates": ["host"]}, "rules": [rule]})
}

#[tokio::test]
async fn what_no_judge_looked_at_is_not_told_as_if_it_were_nothing() {
    let (inputs, lines) = third_run(ruled("request.priority > 90")).await;
    assert_eq!((inputs, lines), (Value::Null, vec![]));

    let (inputs, lines) = third_run(ruled("now < timestamp(\"2020-01-31T00:00:00Z\")")).await;
    let now = inputs["now"].as_str().expect("a time").to_owned();
    assert!(!now.starts_with("1970"), "{now}");
    let expected = json!({"now": now, "index": null, "tenant": null, "at_admission": null});
    assert_eq!(inputs, expected);
    assert_eq!(lines, [format!("  given    now {now}")]);
}

#[tokio::test]
async fn what_a_judge_looked_at_is_told_with_where_it_was_read() {
    const HAD: &str = "tenant had 0 running, 2 pending, 1000 mCPU and 256 MiB asked for, 2 \
                       submissions in a minute";
    let held = json!({"running": 0, "pending": 2, "cpu_milli": 1000, "mem_mb": 256,
                      "last_minute": 2});
    let (inputs, lines) = third_run(ruled("tenant.running > 90")).await;
    assert_eq!((&inputs["tenant"], &inputs["at_admission"]), (&held, &Value::Null));
    let (now, index) = (&inputs["now"], &inputs["index"]);
    let (now, index) = (now.as_str().expect("a time"), index.as_u64().expect("an entry"));
    assert!(index > 0, "{inputs}");
    assert_eq!(lines, [format!("  given    now {now}, {HAD} (entry {index})")]);

    let quotas = json!({"match": {"templates": ["host"]}, "quotas": {"per_minute": 90}});
    let (inputs, lines) = third_run(quotas).await;
    let expected = json!({"now": null, "index": null, "tenant": null, "at_admission": held});
    assert_eq!((inputs, lines), (expected, vec![format!("  admitted {HAD}")]));
}

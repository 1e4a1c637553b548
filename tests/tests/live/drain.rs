//! Draining, labelling and placement, with real processes: what an operator says of a node is
//! obeyed, survives a crash of either side, and costs no run.

use serde_json::{Value, json};
use tests::http::{Answer, Api, host, id};
use tests::{Agent, House, until};

/// A run that must go to nodes of a zone.
fn in_zone(zone: &str, command: &[&str]) -> Value {
    let mut run = host(command);
    run["placement"] = json!({"require": format!("zone={zone}")});
    run
}

/// A run that would rather go to nodes of a zone.
fn rather_in_zone(zone: &str, command: &[&str]) -> Value {
    let mut run = host(command);
    run["placement"] = json!({"prefer": [{"labels": format!("zone={zone}"), "weight": 100}]});
    run
}

async fn zones(house: &House) -> [Agent; 2] {
    let a = house.agent("n1").labels("zone=a").start(&house.api).await;
    let b = house.agent("n2").labels("zone=b").start(&house.api).await;
    [a, b]
}

async fn node(api: &Api, id: &str) -> Value {
    api.get(&format!("/v1/nodes/{id}")).await.expect(200).json()
}

async fn drain(api: &Api, id: &str, body: Value) -> Answer {
    let answer = api.post(&format!("/v1/nodes/{id}/drain"), &body).await.expect(200);
    assert!(answer.header("x-tartarus-receipt").is_some(), "a write has a receipt: {answer}");
    answer
}

async fn undrain(api: &Api, id: &str) -> Value {
    let path = format!("/v1/nodes/{id}/undrain");
    api.send(api.request(reqwest::Method::POST, &path)).await.expect(200).json()
}

#[tokio::test]
async fn what_runs_on_a_drained_node_finishes_there_and_nothing_new_comes() {
    let house = House::memory().await;
    let _agents = zones(&house).await;
    let there = id(&house.api.submit(&in_zone("a", &["sleep", "2"])).await);
    house.api.until_status(&there, "RUNNING").await;
    let shown = drain(&house.api, "n1", json!({})).await.json();
    assert_eq!((&shown["status"], &shown["runs"]), (&json!("DRAINING"), &json!(1)), "{shown:#}");
    assert!(shown["drain"]["since"].is_string() && shown["drain"]["deadline"].is_null());
    assert!(shown["last_seen"].is_string(), "it is still heard: {shown:#}");
    let rather = id(&house.api.submit(&rather_in_zone("a", &["true"])).await);
    assert_eq!(house.api.ended(&rather).await["node"], "n2", "it is only a preference");
    let must = id(&house.api.submit(&in_zone("a", &["true"])).await);
    let ended = house.api.ended(&there).await;
    assert_eq!((&ended["status"], &ended["node"]), (&json!("SUCCEEDED"), &json!("n1")));
    let waiting = house.api.run(&must).await;
    assert_eq!(waiting["status"], "PENDING", "{waiting:#}");
    assert!(waiting["message"].as_str().is_some_and(|m| m.contains("undrain")), "{waiting:#}");
    let metrics = house.api.get("/metrics").await.text();
    assert!(metrics.contains("tartarus_nodes{status=\"DRAINING\"} 1"), "{metrics}");
    assert_eq!(undrain(&house.api, "n1").await["status"], "READY");
    let ended = house.api.ended(&must).await;
    assert_eq!((&ended["status"], &ended["node"]), (&json!("SUCCEEDED"), &json!("n1")));
}

#[tokio::test]
async fn at_the_deadline_what_still_runs_moves_to_another_node_and_finishes_there() {
    let house = House::memory().await;
    let _agents = zones(&house).await;
    let run = id(&house.api.submit(&rather_in_zone("a", &["sleep", "4"])).await);
    let running = house.api.until_status(&run, "RUNNING").await;
    assert_eq!(running["node"], "n1", "{running:#}");
    let shown = drain(&house.api, "n1", json!({"deadline": "200ms"})).await.json();
    assert!(shown["drain"]["deadline"].is_string(), "{shown:#}");
    let ended = house.api.ended(&run).await;
    for (field, value) in
        [("status", json!("SUCCEEDED")), ("node", json!("n2")), ("attempt", json!(2))]
    {
        assert_eq!(ended[field], value, "{field} of {ended:#}");
    }
    let empty = node(&house.api, "n1").await;
    assert_eq!((&empty["runs"], &empty["status"]), (&json!(0), &json!("DRAINING")));
}

#[tokio::test]
async fn a_drain_survives_a_crash_of_olympus_and_of_the_agent() {
    let mut house = House::redis().await;
    let [mut first, _second] = zones(&house).await;
    let run = id(&house.api.submit(&in_zone("a", &["sleep", "600"])).await);
    house.api.until_status(&run, "RUNNING").await;
    drain(&house.api, "n1", json!({})).await;
    house.olympus.restart().await;
    assert_eq!(node(&house.api, "n1").await["status"], "DRAINING");
    let joined_at = node(&house.api, "n1").await["joined_at"].clone();
    first.process.kill();
    let plan = first.plan.clone();
    first = plan.spawn();
    until("the agent to join again", || async {
        let now = node(&house.api, "n1").await;
        (now["joined_at"] != joined_at).then_some(())
    })
    .await;
    let shown = node(&house.api, "n1").await;
    assert_eq!((&shown["status"], &shown["runs"]), (&json!("DRAINING"), &json!(0)), "{shown:#}");
    let lost = house.api.run(&run).await;
    assert_eq!((&lost["status"], &lost["attempt"]), (&json!("PENDING"), &json!(1)), "{lost:#}");
    undrain(&house.api, "n1").await;
    let again = house.api.until_status(&run, "RUNNING").await;
    assert_eq!((&again["node"], &again["attempt"]), (&json!("n1"), &json!(2)), "{again:#}");
    drop(first);
}

#[tokio::test]
async fn an_operators_labels_decide_where_runs_go_and_never_change_a_pool_under_them() {
    let house = House::memory().await;
    let _agents = zones(&house).await;
    let waits = id(&house.api.submit(&in_zone("c", &["sleep", "600"])).await);
    let never = house.api.run(&waits).await;
    assert_eq!(never["reason"], "NeverFits", "{never:#}");
    let message = never["message"].as_str().unwrap_or_default();
    assert!(message.contains("zone in (c)") && message.contains("node label"), "{message}");
    assert_eq!(never["placement"]["require"], "zone in (c)");
    let path = "/v1/nodes/n2/labels";
    let labels = json!({"labels": {"zone": "c", "rack": "r7"}});
    let shown = house.api.put(path, &labels).await.expect(200).json();
    assert_eq!(shown["labels"], json!({"zone": "c", "rack": "r7"}), "{shown:#}");
    assert_eq!(shown["operator_labels"], labels["labels"]);
    assert_eq!(house.api.until_status(&waits, "RUNNING").await["node"], "n2");
    let pool = json!({"tartarus.io/typhon": "true"});
    house.api.put(path, &pool).await.problem(409, "conflict");
    house.api.post(&format!("/v1/runs/{waits}/cancel"), &json!({})).await.expect(202);
    house.api.ended(&waits).await;
    let shown = house.api.put(path, &pool).await.expect(200).json();
    assert_eq!((&shown["pool"], &shown["labels"]["zone"]), (&json!("quarantine"), &json!("b")));
    let shown = house.api.put(path, &json!({"zone": null})).await.expect(200).json();
    assert_eq!((&shown["pool"], &shown["labels"]), (&json!("standard"), &json!({})));
}

#[tokio::test]
async fn what_no_node_enforces_or_holds_is_said() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let proved = node(&house.api, "n1").await["isolation"].clone();
    let mut run = host(&["true"]);
    run["placement"] = json!({"isolation": proved, "strategy": "pack"});
    let ended = house.api.ended(&id(&house.api.submit(&run).await)).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    let mut large = host(&["true"]);
    house.api.put("/v1/policies/open", &json!({"match": {"templates": ["*"]}})).await.expect(201);
    large["resources"] = json!({"mem_mb": 4_096});
    let large = house.api.run(&id(&house.api.submit(&large).await)).await;
    assert_eq!(large["reason"], "NeverFits", "{large:#}");
    let message = large["message"].as_str().unwrap_or_default();
    assert!(message.contains("4096 MiB") && message.contains("n1, has 2048 MiB"), "{message}");
}

#[tokio::test]
async fn the_command_line_drains_labels_and_places() {
    let house = House::memory().await;
    let _agents = zones(&house).await;
    let cli = async |line: &str, code: i32| {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let addr = house.api.url.clone();
        let run = move || {
            let args: Vec<&str> = args.iter().map(|arg| &**arg).collect();
            tests::tartarus(&args, &[("TARTARUS_ADDR", &addr)])
        };
        tokio::task::spawn_blocking(run).await.expect("the command").expect(code)
    };
    let run = id(&house.api.submit(&in_zone("a", &["sleep", "600"])).await);
    house.api.until_status(&run, "RUNNING").await;
    let drained = cli("node drain n1 --deadline 100ms --wait -o json", 0).await.json();
    assert_eq!((&drained["status"], &drained["runs"]), (&json!("DRAINING"), &json!(0)));
    let undrained = cli("node undrain n1 -o json", 0).await.json();
    assert_eq!(undrained["status"], "READY");
    let labelled = cli("node label n2 rack=r7 zone- -o json", 0).await;
    assert_eq!(labelled.json()["labels"], json!({"rack": "r7"}));
    assert_eq!(labelled.stderr, "");
    let odd = cli("node label n2 tartarus.io/Phlegethon=true", 0).await.stderr;
    assert!(odd.contains("write tartarus.io/phlegethon=true where it should"), "{odd}");
    cli("node label n2 tartarus.io/Phlegethon-", 0).await;
    let back = cli("node label n2 rack- -o json", 0).await.json();
    assert_eq!((&back["labels"], &back["operator_labels"]), (&json!({}), &json!({"zone": null})));
    cli("run --require !zone --prefer zone=a:9 --strategy pack -- true", 0).await;
    let refused = cli("node label n1 tartarus.io/typhon=true", 1).await;
    assert!(refused.stderr.contains("pool labels can change only"), "{}", refused.stderr);
    cli("node drain nobody", 1).await;
}

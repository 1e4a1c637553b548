//! Quarantine with real processes: what runs there can be looked at, and an operator's word on what
//! waits outlives everything.

use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{Agent, House, RedisServer, until};

use crate::cli::cli;

const QUARANTINE_NODE: &str = "tartarus.io/typhon=true";

fn suspect(command: &[&str]) -> Value {
    let mut run = host(command);
    run["metadata"] = json!({"quarantine": "true", "tenant": "acme"});
    run
}

async fn quarantine_node(house: &House) -> Agent {
    house.agent("q").labels(QUARANTINE_NODE).start(&house.api).await
}

async fn entry(house: &House, run: &str) -> Value {
    let all = house.api.all("/v1/quarantine").await;
    let found = all.into_iter().find(|entry| entry["run_id"] == run);
    found.unwrap_or_else(|| panic!("{run} is not in the ledger"))
}

#[tokio::test]
async fn what_ran_in_quarantine_is_in_the_ledger_with_its_output() {
    let house = House::memory().await;
    let _standard = house.agent("n").start(&house.api).await;
    let _quarantine = quarantine_node(&house).await;
    let run = id(&house.api.submit(&suspect(&["python3", "-c", "print(6*7)"])).await);
    house.api.ended(&run).await;
    let entry = entry(&house, &run).await;
    assert_eq!(
        (&entry["state"], &entry["status"], &entry["node"], &entry["tenant"]),
        (&json!("ended"), &json!("SUCCEEDED"), &json!("q"), &json!("acme"))
    );
    assert_eq!(entry["output"]["stdout_bytes"], 3, "{entry:#}");
    assert_eq!(entry["judges"][0]["judge"], "aeacus", "{entry:#}");
    let logs = entry["logs"].as_str().expect("a path");
    assert_eq!(house.api.get(logs).await.expect(200).text(), "42\n");
}

#[tokio::test]
async fn an_operators_word_outlives_every_kill_and_takes_effect() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let _quarantine = quarantine_node(&house).await;
    house.api.post("/v1/queue/pause", &json!({})).await.expect(200);
    let good = id(&house.api.submit(&suspect(&["echo", "good"])).await);
    let bad = id(&house.api.submit(&suspect(&["echo", "bad"])).await);
    let ordinary = id(&house.api.submit_command(&["true"]).await);
    house.olympus.restart().await;
    let waiting = house.api.all("/v1/quarantine?status=waiting").await;
    assert_eq!(waiting.len(), 2, "a kill loses none: {waiting:#?}");
    let line = || house.redis.as_ref().expect("a Redis").line(0, "tartarus:queue");
    let shown = async |expected: &[&String], what: &str| {
        until(what, || async { line().iter().eq(expected.iter().copied()).then_some(()) }).await;
    };
    shown(&[&ordinary, &good, &bad], "quarantine to stand behind the others").await;

    let say = async |verb, run: &str, reason| {
        cli(&house, &["quarantine", verb, run, "--reason", reason, "-o", "json"], &[]).await
    };
    let released = say("release", &good, "known to us").await.expect(0).json();
    assert_eq!((&released["quarantined"], &released["pool"]), (&json!(false), &json!("standard")));
    // S7: it has the place of its admission, in the line of its new pool.
    shown(&[&good, &ordinary, &bad], "the released run to change its line").await;
    let rejected = say("reject", &bad, "a miner").await.expect(0).json();
    assert_eq!(rejected["status"], "REJECTED");
    shown(&[&good, &ordinary], "the rejected run to leave its line").await;
    say("release", &bad, "after all").await.expect(1);

    house.olympus.restart().await;
    for (run, action, reason) in [(&good, "released", "known to us"), (&bad, "rejected", "a miner")]
    {
        let entry = entry(&house, run).await;
        assert_eq!(entry["state"], action, "{entry:#}");
        let resolved = &entry["resolved"];
        assert_eq!((&resolved["action"], &resolved["reason"]), (&json!(action), &json!(reason)));
        assert_eq!(resolved["by"], "anonymous");
    }
    let refused = house.api.run(&bad).await;
    assert_eq!(
        (&refused["status"], &refused["message"]),
        (&json!("REJECTED"), &json!("an operator rejected it in quarantine: a miner"))
    );
    house.api.post("/v1/queue/resume", &json!({})).await.expect(200);
    let waiting = house.api.run(&good).await;
    assert_eq!(waiting["status"], "PENDING", "the quarantine node is none for it: {waiting:#}");
    let _standard = house.agent("n").start(&house.api).await;
    let ended = house.api.ended(&good).await;
    assert_eq!(
        (&ended["status"], &ended["node"], &ended["pool"]),
        (&json!("SUCCEEDED"), &json!("n"), &json!("standard"))
    );
    assert_eq!(house.api.output(&good, "stdout").await, "good\n");
}

#[tokio::test]
async fn the_thresholds_are_set_from_a_file_and_outlive_a_kill() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let file = house.path("heat.yaml");
    std::fs::write(&file, "hot: {cpu_milli: 600}\n").expect("a file");
    let path = file.display().to_string();
    cli(&house, &["heat", "apply", "-f", &path, "--if-version", "0"], &[]).await.expect(0);
    let stale =
        cli(&house, &["heat", "apply", "-f", &path, "--if-version", "0"], &[]).await.expect(1);
    assert!(stale.stderr.contains("version 1 is in force, not 0"), "{}", stale.stderr);
    let table = cli(&house, &["heat"], &[]).await.expect(0).stdout;
    assert!(table.contains("from 600 mCPU or 8192 MiB"), "{table}");
    let history = cli(&house, &["heat", "history", "-o", "json"], &[]).await.expect(0).json();
    assert_eq!(history[0]["document"]["hot"]["cpu_milli"], 600);
    house.olympus.restart().await;
    let heat = house.api.get("/v1/heat").await.expect(200);
    assert_eq!((heat.header("etag"), &heat.json()["version"]), (Some("\"1\""), &json!(1)));
}

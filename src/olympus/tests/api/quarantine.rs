//! The quarantine ledger, and the two ways out of it.

use api::session::{FromAgent, Stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::{Agent, finished, introduce};
use crate::support::{House, hello};

/// A house with a quarantine node, whose queue is paused: what is let in waits.
async fn paused() -> (House, Agent) {
    let house = House::new().await;
    let mut hello = introduce("q", 1);
    hello.labels.insert("tartarus.io/typhon".into(), "true".into());
    let agent = Agent::greet(&house, hello).await;
    let ready = async {
        while house.get("/v1/nodes/q").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, ready).await.expect("a node");
    house.post("/v1/queue/pause", &json!({})).await.expect(200);
    (house, agent)
}

fn suspect(tenant: &str) -> Value {
    let metadata = json!({"quarantine": "true", "tenant": tenant});
    json!({"template": "host", "command": ["x"], "metadata": metadata})
}

async fn ledger(house: &House, query: &str) -> Vec<Value> {
    let page = house.get(&format!("/v1/quarantine{query}")).await.expect(200).json();
    page["items"].as_array().expect("items").clone()
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["run_id"].as_str()).collect()
}

#[actix_web::test]
async fn an_operator_lets_a_run_go_or_rejects_it_in_his_own_words() {
    let (house, _agent) = paused().await;
    let (good, bad) = (house.run(&suspect("acme")).await, house.run(&suspect("acme")).await);
    let to = |id: &str, verb: &str| format!("/v1/runs/{id}/{verb}");

    let released = house.post(&to(&good, "release"), &json!({"reason": "known to us"})).await;
    let released = released.expect(200);
    assert!(!released.header("x-tartarus-receipt").is_empty());
    let run = released.json();
    assert_eq!(
        (&run["status"], &run["quarantined"], &run["pool"], &run["verdict"]),
        (&json!("PENDING"), &json!(false), &json!("standard"), &json!("quarantine")),
        "the verdict stays what it was: an operator has overridden it"
    );
    assert_eq!(run, house.get(&format!("/v1/runs/{good}")).await.json().tap_waiting());
    house.post(&to(&good, "release"), &json!({})).await.problem(409, "conflict");
    house.post(&to(&good, "reject"), &json!({})).await.problem(409, "conflict");

    let rejected = house.post(&to(&bad, "reject"), &json!({"reason": "a miner"})).await;
    let run = rejected.expect(200).json();
    assert_eq!(
        (&run["status"], &run["reason"], &run["message"]),
        (
            &json!("REJECTED"),
            &json!("RejectedByOperator"),
            &json!("an operator rejected it in quarantine: a miner")
        )
    );
    assert!(run["finished_at"].is_string());

    let items = ledger(&house, "").await;
    assert_eq!(ids(&items), [&bad, &good], "newest first");
    for (item, action, reason, state) in [
        (&items[0], "rejected", "a miner", "rejected"),
        (&items[1], "released", "known to us", "released"),
    ] {
        assert_eq!((&item["state"], &item["tenant"]), (&json!(state), &json!("acme")));
        let resolved = &item["resolved"];
        assert_eq!((&resolved["action"], &resolved["reason"]), (&json!(action), &json!(reason)));
        assert_eq!(resolved["by"], "anonymous");
        assert!(resolved["at"].is_string());
        let aeacus = json!({"judge": "aeacus", "verdict": "quarantine", "rule": null,
                            "reason": "metadata.quarantine is \"true\""});
        assert_eq!(item["judges"], json!([aeacus]));
    }
    let metrics = house.get("/metrics").await.text;
    for line in [
        "tartarus_quarantine{state=\"released\"} 1",
        "tartarus_quarantine{state=\"waiting\"} 0",
        "tartarus_quarantine_runs_total 2",
        "tartarus_quarantine_nodes 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    house.stop().await;
}

/// A run as the answer to its own change shows it: why it waits is said by a read.
trait TapWaiting {
    fn tap_waiting(self) -> Self;
}

impl TapWaiting for Value {
    fn tap_waiting(mut self) -> Self {
        (self["reason"], self["message"]) = (Value::Null, Value::Null);
        self
    }
}

#[actix_web::test]
async fn what_todays_law_rejects_is_not_let_go() {
    let (house, _agent) = paused().await;
    let run = house.run(&suspect("acme")).await;
    let strict = json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": 64}});
    house.put("/v1/policies/strict", &strict).await.expect(201);
    let refused = house.post(&format!("/v1/runs/{run}/release"), &json!({})).await;
    let refused = refused.problem(403, "policy_rejected");
    assert_eq!(refused["run_id"], json!(run));
    let reasons = refused["reasons"].as_array().expect("reasons");
    assert!(reasons.contains(&json!("resources.mem_mb is 128, the limit is 64")), "{refused}");
    let waiting = house.get(&format!("/v1/runs/{run}")).await.json();
    assert_eq!((&waiting["status"], &waiting["quarantined"]), (&json!("PENDING"), &json!(true)));
    // Rejecting it asks no judge.
    house.post(&format!("/v1/runs/{run}/reject"), &json!({})).await.expect(200);
    house.stop().await;
}

#[actix_web::test]
async fn the_ledger_is_filtered_and_paged() {
    let (house, mut agent) = paused().await;
    let mut all = Vec::new();
    for tenant in ["acme", "other", "acme", "acme"] {
        all.push(house.run(&suspect(tenant)).await);
    }
    house.post(&format!("/v1/runs/{}/reject", all[0]), &json!({})).await.expect(200);
    house.post("/v1/queue/resume", &json!({})).await.expect(200);
    let of = agent.assigned().await;
    agent.say(&FromAgent::Started(of)).await;
    assert!(agent.recorded().await);
    agent.write(of, 0, Stream::Stdout, "42\n").await;
    agent.say(&finished(of, 0, &[(Stream::Stdout, "42\n")])).await;
    assert!(agent.recorded().await);
    let ended = of.run.to_string();
    house.get(&format!("/v1/runs/{ended}?wait=5s")).await.expect(200);

    let items = ledger(&house, "?status=ended").await;
    assert_eq!(ids(&items), [&ended]);
    let item = &items[0];
    assert_eq!(
        (&item["status"], &item["node"], &item["output"]["stdout_bytes"], &item["resolved"]),
        (&json!("SUCCEEDED"), &json!("q"), &json!(3), &Value::Null)
    );
    assert_eq!(house.get(item["logs"].as_str().expect("a path")).await.text, "42\n");
    assert_eq!(ids(&ledger(&house, "?status=rejected").await), [&all[0]]);
    assert_eq!(ledger(&house, "?status=running").await.len(), 2);
    assert_eq!(ledger(&house, "?status=waiting").await.len(), 0);
    assert_eq!(ids(&ledger(&house, "?tenant=other").await), [&all[1]]);
    assert_eq!(ledger(&house, "?tenant=acme&status=released").await.len(), 0);
    for limit in 1..6 {
        let (mut seen, mut query) = (Vec::new(), format!("?limit={limit}"));
        loop {
            let page = house.get(&format!("/v1/quarantine{query}")).await.expect(200).json();
            let items = page["items"].as_array().expect("items");
            seen.extend(ids(items).into_iter().map(str::to_owned));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("?limit={limit}&cursor={cursor}");
        }
        seen.reverse();
        assert_eq!(seen, all, "pages of {limit}");
    }
    house.stop().await;
}

#[actix_web::test]
async fn a_word_that_is_none_is_refused() {
    let (house, _agent) = paused().await;
    let run = house.run(&suspect("acme")).await;
    let (release, ordinary) = (format!("/v1/runs/{run}/release"), house.run(&hello()).await);
    let long = json!({"reason": "x".repeat(1_025)});
    house.post(&release, &long).await.problem(422, "invalid");
    house.post(&release, &json!({"why": "x"})).await.problem(400, "malformed");
    house.post(&release, &json!([])).await.problem(400, "malformed");
    house.post(&format!("{release}?force=true"), &json!({})).await.problem(422, "invalid");
    house.get("/v1/quarantine?status=lost").await.problem(422, "invalid");
    for verb in ["release", "reject"] {
        let to = |id: &str| format!("/v1/runs/{id}/{verb}");
        house.post(&to("seven"), &json!({})).await.problem(404, "not_found");
        let nobody = to("0190a8a0-0000-7000-8000-000000000000");
        house.post(&nobody, &json!({})).await.problem(404, "not_found");
        house.post(&to(&ordinary), &json!({})).await.problem(409, "conflict");
    }
    assert_eq!(ledger(&house, "?status=waiting").await.len(), 1, "nothing has changed");
    // No body is as good as an empty one.
    house.send(house.request(Method::POST, &release)).await.expect(200);
    house.stop().await;
}

//! Dead letters with real processes: the way in, the way out, and what a replay says of it.

use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{House, tartarus, until};

use crate::cli::cli;

fn twice(script: &str) -> Value {
    let mut run = host(&["sh", "-c", script]);
    run["retry"] = json!({"max_attempts": 2, "backoff": "10ms"});
    run["metadata"] = json!({"tenant": "acme"});
    run
}

#[tokio::test]
async fn a_run_out_of_attempts_is_redriven_when_the_law_lets_it() {
    let mut house = House::redis().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let dead = id(&house.api.submit(&twice("echo tried; exit 1")).await);
    assert_eq!(house.api.ended(&dead).await["reason"], "OutOfAttempts");

    let listed = cli(&house, &["queue", "dead", "--tenant", "acme", "-o", "json"], &[]).await;
    let listed = listed.expect(0).json();
    assert_eq!((&listed[0]["id"], &listed[0]["redriven_as"]), (&json!(dead), &Value::Null));
    let shown = cli(&house, &["queue", "dead"], &[]).await.expect(0).stdout;
    for words in ["MESSAGE", &dead, "acme", "2 failed, 0 lost"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
    let why = cli(&house, &["explain", &dead], &[]).await.expect(0).stdout;
    assert!(why.contains(&format!("tartarus queue redrive {dead}")), "{why}");

    let strict = json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": 64}});
    house.api.put("/v1/policies/strict", &strict).await.expect(201);
    let refused = cli(&house, &["queue", "redrive", &dead], &[]).await.expect(1).stdout;
    for words in ["refused", "the limit is 64", "stays a dead letter"] {
        assert!(refused.contains(words), "{words:?} is not in {refused}");
    }
    let open = json!({"match": {"templates": ["host"]}});
    house.api.put("/v1/policies/strict", &open).await.expect(200);
    house.olympus.restart().await;

    let redriven = cli(&house, &["queue", "redrive", "--all", "-o", "json"], &[]).await;
    let redriven = redriven.expect(0).json();
    assert_eq!(redriven.as_array().map(Vec::len), Some(1), "a kill loses none: {redriven:#}");
    let run = id(&redriven[0]["run"]);
    assert_eq!(redriven[0]["run"]["redrive_of"], json!(dead));
    let ended = house.api.ended(&run).await;
    assert_eq!((&ended["reason"], &ended["attempt"]), (&json!("OutOfAttempts"), &json!(2)));
    assert_eq!(house.api.output(&run, "stdout").await, "tried\n", "it has run again");
    let once = cli(&house, &["queue", "redrive", &dead, &run], &[]).await.expect(1).stdout;
    assert!(once.contains(&format!("it became run {run}")), "{once}");
    assert_eq!(once.matches("PENDING").count(), 1, "the other is redriven: {once}");

    let redis = house.redis.as_ref().expect("a redis").addr();
    house.olympus.process.kill();
    tartarus(&["replay", "verify", "--redis", &redis], &[]).expect(0);
}

#[tokio::test]
async fn a_run_that_takes_its_agent_down_again_and_again_is_a_dead_letter() {
    let house = House::memory().await;
    let mut agent = house.agent("n1").start(&house.api).await;
    let poison = id(&house.api.submit_command(&["sleep", "600"]).await);
    for attempt in 1..=4 {
        until(&format!("attempt {attempt} to run"), || async {
            let run = house.api.get(&format!("/v1/runs/{poison}")).await.json();
            (run["status"] == "RUNNING" && run["attempt"] == attempt).then_some(())
        })
        .await;
        agent.restart(&house.api).await;
    }
    let ended = house.api.ended(&poison).await;
    assert_eq!((&ended["status"], &ended["reason"]), (&json!("FAILED"), &json!("OutOfAttempts")));
    let message = ended["message"].as_str().unwrap_or_default();
    assert_eq!(message, "it used up its attempts: 0 failed, 4 lost, with n1");
    let why = house.api.get(&format!("/v1/runs/{poison}/explain")).await.json();
    let outcomes = why["attempts"].as_array().expect("attempts").iter();
    let lost = |a: &Value| a["outcome"] == "lost when its node's agent started anew";
    assert_eq!(outcomes.filter(|a| lost(a) && a["node"] == "n1").count(), 4, "{why:#}");
    assert_eq!(house.api.all("/v1/queue/dead").await.len(), 1);
    let other = id(&house.api.submit_command(&["true"]).await);
    assert_eq!(house.api.ended(&other).await["status"], "SUCCEEDED", "no other is harmed");
}

#[tokio::test]
async fn by_policy_a_run_that_takes_its_node_down_waits_in_quarantine_and_says_why() {
    let house = House::memory().await;
    let risky = json!({"match": {"templates": ["host"]},
        "on_lost": {"retries": 0, "then": "quarantine"}});
    house.api.put("/v1/policies/risky", &risky).await.expect(201);
    let mut agent = house.agent("n1").start(&house.api).await;
    let poison = id(&house.api.submit_command(&["echo", "seen"]).await);
    let slow = id(&house.api.submit_command(&["sleep", "600"]).await);
    house.api.ended(&poison).await;
    house.api.until_status(&slow, "RUNNING").await;
    agent.restart(&house.api).await;
    let waits = house.api.until_status(&slow, "PENDING").await;
    assert_eq!(
        (&waits["quarantined"], &waits["pool"], &waits["reason"]),
        (&json!(true), &json!("quarantine"), &json!("WaitingForQuarantineNode")),
        "{waits:#}"
    );
    let why = "it was lost once, with n1: policy risky version 1 sends it to quarantine";
    assert!(waits["message"].as_str().is_some_and(|m| m.starts_with(why)), "{waits:#}");
    let listed = cli(&house, &["quarantine", "list", "-o", "wide"], &[]).await.expect(0).stdout;
    let explained = cli(&house, &["explain", &slow], &[]).await.expect(0).stdout;
    let chain = cli(&house, &["why", &slow], &[]).await.expect(0).stdout;
    for (said, words) in [
        (&listed, why),
        (&listed, "on_lost"),
        (&explained, why),
        (&chain, "run.quarantined"),
        (&chain, "risky version 1 says quarantine"),
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let _quarantine = house.agent("q").labels("tartarus.io/typhon=true").start(&house.api).await;
    house.api.until_status(&slow, "RUNNING").await;
    let on = house.api.get(&format!("/v1/runs/{slow}")).await.json();
    assert_eq!(on["node"], "q", "{on:#}");
    house.api.post(&format!("/v1/runs/{slow}/cancel"), &json!({})).await.expect(202);
    assert_eq!(house.api.ended(&slow).await["status"], "CANCELED");
}

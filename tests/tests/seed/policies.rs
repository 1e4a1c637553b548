//! S21 to S24, S26 and S28: the law in Redis, its versions, and its enforcement.

use std::collections::BTreeMap;

use redis::Commands;
use serde_json::{Value, json};
use tests::{House, RedisServer, until};

const KEY: &str = "themis:policies";

fn policy(mem_mb: u32) -> Value {
    json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": mem_mb}})
}

fn shown(house: &House) -> BTreeMap<String, Value> {
    let redis = house.redis.as_ref().expect("a Redis");
    let all: BTreeMap<String, String> = redis.connect(0).hgetall(KEY).expect("a hash");
    let parse = |text: String| serde_json::from_str(&text).expect("JSON");
    all.into_iter().map(|(name, text)| (name, parse(text))).collect()
}

#[tokio::test]
async fn s21_s22_policies_are_shown_in_redis_when_the_answer_comes_and_rebuilt_from_the_journal() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    for (mem_mb, status, version) in [(256, 201, 1), (512, 200, 2), (1024, 200, 3)] {
        house.api.put("/v1/policies/p", &policy(mem_mb)).await.expect(status);
        let now = shown(&house);
        assert_eq!(
            (&now["p"]["version"], &now["p"]["limits"]["mem_mb"]),
            (&json!(version), &json!(mem_mb))
        );
    }
    let before = shown(&house);
    house.olympus.process.kill();
    let redis = house.redis_mut();
    let _: () = redis.connect(0).hset(KEY, "forged", "{}").expect("HSET");
    let _: () = redis.connect(0).hset(KEY, "p", "{}").expect("HSET");
    house.olympus.restart().await;
    assert_eq!(shown(&house), before);
    house.api.delete("/v1/policies/p").await;
    assert!(!shown(&house).contains_key("p"));
}

#[tokio::test]
async fn s23_s24_versions_and_the_revision_grow_and_outlive_a_restart() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let mut revision = 0;
    for (name, version) in [("p", 1), ("q", 1), ("p", 2), ("p", 3)] {
        let body = json!({"match": {"templates": [name]}});
        let answer = house.api.put(&format!("/v1/policies/{name}"), &body).await.json();
        assert_eq!(answer["version"], version);
        assert_eq!(answer["revision"], revision + 1);
        revision += 1;
    }
    let before = house.api.get("/v1/policies").await.expect(200).json();
    let history = house.api.get("/v1/policies/p/versions").await.expect(200).json();
    house.olympus.restart().await;
    assert_eq!(house.api.get("/v1/policies").await.expect(200).json(), before);
    assert_eq!(house.api.get("/v1/policies/p/versions").await.expect(200).json(), history);
    assert_eq!(house.api.get("/readyz").await.json()["policy_revision"], revision);
    let next =
        house.api.put("/v1/policies/p", &json!({"match": {"templates": ["p"]}})).await.expect(200);
    assert_eq!(next.json()["version"], 4);
}

#[tokio::test]
async fn s28_s36h_every_judge_answers_and_the_severest_decides() {
    let house = House::memory().await;
    let greedy = json!({"template": "host", "command": ["true"], "resources": {"mem_mb": 4096},
                        "metadata": {"quarantine": "true"}});
    let said = house.api.post("/v1/runs?dry_run=true", &greedy).await.expect(200).json();
    assert_eq!(said["verdict"], "reject", "reject before quarantine: {said:#}");
    let opinions: BTreeMap<&str, &str> = said["opinions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|o| (o["judge"].as_str().unwrap_or(""), o["verdict"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(opinions.get("rhadamanthus"), Some(&"reject"), "{said:#}");
    assert_eq!(opinions.get("aeacus"), Some(&"quarantine"), "{said:#}");
    house.api.post("/v1/runs", &greedy).await.problem(403, "policy_rejected");
    house.api.put("/v1/policies/p", &policy(8192)).await.expect(201);
    let said = house.api.post("/v1/runs?dry_run=true", &greedy).await.expect(200).json();
    assert_eq!(said["verdict"], "quarantine", "another policy, another verdict: {said:#}");
}

#[tokio::test]
async fn s23_of_concurrent_writers_one_wins_and_the_others_are_told_both_versions() {
    let house = House::redis().await;
    house.api.put("/v1/policies/p", &policy(100)).await.expect(201);
    let bodies: Vec<Value> = (0..8).map(|n| policy(200 + n)).collect();
    let put = |body| {
        let request = house.api.request(reqwest::Method::PUT, "/v1/policies/p");
        house.api.send(request.header("If-Match", "\"1\"").json(body))
    };
    let answers = futures_util::future::join_all(bodies.iter().map(put)).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    for answer in lost {
        let detail = answer.problem(412, "stale")["detail"].to_string();
        assert!(detail.contains("version 2") && detail.contains("not 1"), "{detail}");
    }
    assert_eq!(shown(&house)["p"]["limits"]["mem_mb"], won[0].json()["limits"]["mem_mb"]);
}

#[tokio::test]
async fn s26_a_policy_written_through_one_instance_is_enforced_on_all() {
    let mut house = House::redis().await;
    let other = house.another("other").start().await;
    let apis = [house.api.clone(), other.api()];
    let run = json!({"template": "host", "command": ["true"], "resources": {"mem_mb": 128}});
    for (n, mem_mb) in [(1, 4096), (2, 64), (3, 4096), (4, 64)] {
        let through = &apis[n % 2];
        let answer = through.put("/v1/policies/p", &policy(mem_mb)).await;
        assert_eq!(answer.json()["revision"], n);
        for (at, api) in apis.iter().enumerate() {
            // The one that leads enforces it from the answer on, the other one a moment later.
            until(&format!("revision {n} on instance {at}"), || async {
                (api.get("/readyz").await.json()["policy_revision"] == n).then_some(())
            })
            .await;
            let status = if mem_mb < 128 { 403 } else { 202 };
            api.post("/v1/runs", &run).await.expect(status);
        }
    }
    // Writes were handed to the one that leads: the other enforces it by itself once that is gone.
    assert_eq!(house.api.get("/readyz").await.json()["role"], "leader");
    house.olympus.process.stop();
    until("the other to lead", || async {
        (apis[1].get("/readyz").await.json()["role"] == "leader").then_some(())
    })
    .await;
    apis[1].post("/v1/runs", &run).await.problem(403, "policy_rejected");
}

#[tokio::test]
async fn s28_a_changed_rule_changes_the_next_verdict_also_after_a_restart() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let ruled = |team: &str, verdict: &str| {
        let when = format!("request.labels.team == \"{team}\"");
        json!({"match": {"templates": ["*"]},
               "rules": [{"name": "team", "when": when, "verdict": verdict, "reason": "not them"}]})
    };
    let run = json!({"template": "host", "command": ["true"], "labels": {"team": "ml"}});
    for (policy, status) in
        [(ruled("ml", "reject"), 403), (ruled("web", "reject"), 202), (ruled("ml", "accept"), 202)]
    {
        house.api.put("/v1/policies/p", &policy).await;
        house.api.post("/v1/runs", &run).await.expect(status);
    }
    house.api.put("/v1/policies/p", &ruled("ml", "reject")).await.expect(200);
    house.olympus.restart().await;
    let problem = house.api.post("/v1/runs", &run).await.problem(403, "policy_rejected");
    assert_eq!(problem["reasons"], json!(["rule team: not them"]));
    assert_eq!(shown(&house)["p"]["rules"][0]["reason"], "not them");
}

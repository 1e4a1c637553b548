//! A day of the whole house, in which everything happens that can be made to happen from outside. It is
//! what `scripts/record-journal` takes away, for every build to replay.

use serde_json::{Value, json};
use tests::http::{Api, host, id};
use tests::{House, RedisServer, until};

async fn status(api: &Api, run: &str, status: &str) {
    api.until_status(run, status).await;
}

async fn ok(api: &Api, path: &str, body: &Value) {
    let answer = api.post(path, body).await;
    assert!((200..300).contains(&answer.status), "{path}: {answer}");
}

/// `TARTARUS_TEST_RECORD` names a file that the journal is exported to.
#[tokio::test]
async fn a_day_in_which_everything_happens_is_lived_and_verified() {
    let env = [("TARTARUS_NODE_TTL", "3s")];
    let mut house = House::with(Some(RedisServer::durable()), &env).await;
    let api = house.api.clone();

    // The law.
    let open = json!({"match": {"templates": ["*"]}, "limits": {"mem_mb": 1024},
        "rules": [{"name": "outside", "when": "request.metadata.origin == \"external\"",
                   "verdict": "quarantine", "reason": "code from outside"},
                  {"name": "crowded", "when": "request.labels.team == \"none\"",
                   "verdict": "reject", "reason": "nobody is nobody's"}],
        "quotas": {"pending": 40}});
    api.put("/v1/policies/open", &open).await.expect(201);
    let mut narrow = open.clone();
    narrow["limits"]["cpu_milli"] = json!(3_000);
    api.put("/v1/policies/open", &narrow).await.expect(200);
    let other = json!({"match": {"templates": ["other"]}, "limits": {"mem_mb": 64}});
    api.put("/v1/policies/other", &other).await.expect(201);
    api.delete("/v1/policies/other").await.expect(204);
    ok(&api, "/v1/policies/open/versions/1/restore", &json!({})).await;
    let small = json!({"rootfs": {"host": true}, "command": ["true"]});
    api.put("/v1/templates/small", &small).await.expect(201);
    api.delete("/v1/templates/small").await.expect(204);
    let mut set = api.get("/v1/heat").await.expect(200).json();
    for other in ["version", "revision", "learned"] {
        set.as_object_mut().expect("thresholds").remove(other);
    }
    api.put("/v1/heat", &set).await.expect(200);

    // The fleet, and quarantine.
    let mut n1 = house.agent("n1").labels("zone=a").start(&api).await;
    let n2 = house.agent("n2").labels("zone=b").start(&api).await;
    ok(&api, "/v1/queue/pause", &json!({})).await;
    let mut outside = host(&["echo", "outside"]);
    outside["metadata"] = json!({"origin": "external", "tenant": "acme"});
    api.post("/v1/runs", &outside).await.expect(403);
    let quarantine = house.agent("q").labels("tartarus.io/typhon=true").start(&api).await;
    let let_go = id(&api.submit(&outside).await);
    let refused = id(&api.submit(&outside).await);
    let stays = id(&api.submit(&outside).await);
    let mut inside = narrow.clone();
    inside["rules"] = json!([]);
    api.put("/v1/policies/open", &inside).await.expect(200);
    ok(&api, &format!("/v1/runs/{let_go}/release"), &json!({"reason": "looked at it"})).await;
    ok(&api, &format!("/v1/runs/{refused}/reject"), &json!({"reason": "no"})).await;
    let waiting = id(&api.submit(&host(&["true"])).await);
    ok(&api, &format!("/v1/runs/{waiting}/cancel"), &json!({})).await;
    ok(&api, "/v1/queue/resume", &json!({})).await;
    for run in [&let_go, &stays] {
        api.ended(run).await;
    }

    // Ends of every kind.
    let mut ends = Vec::new();
    for (command, more) in [
        (vec!["sh", "-c", "exit 3"], json!({"retry": {"max_attempts": 2, "backoff": "100ms"}})),
        (vec!["sh", "-c", "kill -9 $$"], json!({})),
        (vec!["sleep", "30"], json!({"resources": {"ttl": "1s"}})),
        (vec!["no-such-program"], json!({})),
        (vec!["sh", "-c", "echo out; echo err >&2"], json!({"priority": 90, "stdin": "in"})),
        (vec!["true"], json!({"env": {"TOKEN": "never to be seen"}, "labels": {"team": "ml"}})),
        (vec!["true"], json!({"retention": {"max_age": "1s", "keep_output": false}})),
    ] {
        let mut run = host(&command);
        for (name, value) in more.as_object().expect("fields") {
            run[name] = value.clone();
        }
        ends.push(id(&api.submit(&run).await));
    }
    let mut greedy = host(&["true"]);
    greedy["resources"] = json!({"mem_mb": 4_096});
    api.submit_rejected(&greedy).await;
    for run in &ends {
        let ended = until("a run to end or to be forgotten", || async {
            let answer = api.get(&format!("/v1/runs/{run}")).await;
            let over = answer.status == 404
                || ["SUCCEEDED", "FAILED"].contains(&answer.json()["status"].as_str()?);
            over.then_some(answer.status)
        });
        ended.await;
    }

    // Cancelled on a node, moved off it, lost with it.
    let there = |zone: &str, command: &[&str]| {
        let mut run = host(command);
        run["placement"] = json!({"prefer": [{"labels": format!("zone={zone}"), "weight": 100}]});
        run
    };
    let canceled = id(&api.submit(&there("a", &["sleep", "60"])).await);
    status(&api, &canceled, "RUNNING").await;
    ok(&api, &format!("/v1/runs/{canceled}/cancel"), &json!({})).await;
    api.ended(&canceled).await;
    let moved = id(&api.submit(&there("a", &["sleep", "2"])).await);
    status(&api, &moved, "RUNNING").await;
    ok(&api, "/v1/nodes/n1/drain", &json!({"deadline": "100ms"})).await;
    api.ended(&moved).await;
    let undrain = api.request(reqwest::Method::POST, "/v1/nodes/n1/undrain");
    api.send(undrain).await.expect(200);
    api.put("/v1/nodes/n1/labels", &json!({"rack": "7"})).await.expect(200);
    let restarted = id(&api.submit(&there("a", &["sleep", "1"])).await);
    status(&api, &restarted, "RUNNING").await;
    n1.restart(&api).await;
    let mut no_retry = there("b", &["sleep", "60"]);
    no_retry["on_lost"] = json!("fail");
    let lost = id(&api.submit(&no_retry).await);
    status(&api, &lost, "RUNNING").await;
    let deadly = json!({"match": {"templates": ["deadly"]},
        "on_lost": {"retries": 0, "then": "quarantine"}});
    api.put("/v1/policies/deadly", &deadly).await.expect(201);
    api.put("/v1/templates/deadly", &json!({"rootfs": {"host": true}})).await.expect(201);
    let mut deadly = there("b", &["sleep", "2"]);
    deadly["template"] = json!("deadly");
    let deadly = id(&api.submit(&deadly).await);
    status(&api, &deadly, "RUNNING").await;
    let mut n2 = n2;
    n2.process.kill();
    api.ended(&lost).await;
    assert_eq!(api.ended(&deadly).await["quarantined"], true, "it took its node down");
    api.ended(&restarted).await;

    // Another leader, and a crowd.
    house.olympus.restart().await;
    let api = house.olympus.api();
    let runs: Vec<Value> = (0..200)
        .map(|n| {
            let mut run = host(&["true"]);
            run["resources"] = json!({"cpu_milli": 100 + n % 5 * 100, "mem_mb": 16});
            run["metadata"] = json!({"tenant": format!("t{}", n % 7)});
            run["priority"] = json!(n % 10 * 10);
            run
        })
        .collect();
    for runs in runs.chunks(100) {
        api.post("/v1/runs:batch", &json!({"runs": runs})).await.expect(200);
    }
    until("the crowd to end", || async {
        let queue = api.get("/v1/queue").await.expect(200).json();
        let live = api.get("/v1/runs?status=RUNNING&status=SCHEDULED").await.expect(200).json();
        let empty = live["items"].as_array()?.is_empty() && queue["depth"] == 0;
        empty.then_some(())
    })
    .await;
    until("the short-lived run to be forgotten", || async {
        (api.get(&format!("/v1/runs/{}", ends[6])).await.status == 404).then_some(())
    })
    .await;
    drop((n1, n2, quarantine));
    house.olympus.process.stop();
    let redis = house.redis.as_ref().expect("a redis").addr();
    let verify = ["replay", "verify", "--redis", &redis.to_string(), "-o", "json"];
    let report = tests::tartarus(&verify, &[]).expect(0).json();
    assert_eq!(report["good"], true, "{report:#}");
    if let Ok(file) = std::env::var("TARTARUS_TEST_RECORD") {
        let export = ["audit", "export", "--redis", &redis.to_string(), "--output", &file];
        tests::tartarus(&export, &[]).expect(0);
    }
}

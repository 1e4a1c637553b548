//! S1, S3, S7, S13, S18 to S20, S25, S27, S37: what a restart remembers.

use std::collections::BTreeMap;

use redis::Commands;
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::net::free_port;
use tests::{House, OlympusPlan, RedisServer, until};

const QUEUE: &str = "tartarus:queue";

/// What everyone relies on, whatever keeps it.
async fn a_day_of_work(house: &House) -> Vec<(String, String)> {
    let _agent = house.agent("n1").start(&house.api).await;
    let good = house.api.submit_command(&["echo", "hello"]).await;
    let bad = house.api.submit_command(&["false"]).await;
    house.api.ended(&id(&good)).await;
    house.api.ended(&id(&bad)).await;
    house.api.post("/v1/queue/pause", &json!({})).await.expect(200);
    let waiting = house.api.submit_command(&["true"]).await;
    let canceled = house.api.submit_command(&["true"]).await;
    house.api.post(&format!("/v1/runs/{}/cancel", id(&canceled)), &json!({})).await.expect(200);
    let greedy = json!({"template": "host", "command": ["true"], "resources": {"gpu": 1}});
    house.api.post("/v1/runs", &greedy).await.problem(403, "policy_rejected");
    house.api.run(&id(&waiting)).await;
    let runs = house.api.all("/v1/runs").await;
    let word = |run: &Value, field: &str| run[field].as_str().unwrap_or_default().to_owned();
    runs.iter().map(|run| (word(run, "status"), word(run, "reason"))).collect()
}

#[tokio::test]
async fn s01_redis_and_memory_keep_one_contract() {
    let memory = a_day_of_work(&House::memory().await).await;
    let redis = a_day_of_work(&House::redis().await).await;
    assert_eq!(memory, redis);
    let statuses: Vec<_> = memory.iter().map(|(status, _)| &**status).collect();
    assert_eq!(statuses, ["REJECTED", "CANCELED", "PENDING", "FAILED", "SUCCEEDED"]);
}

#[test]
fn s02_s03_the_compose_file_gives_redis_to_both_services() {
    let path = tests::program::workspace().join("docker-compose.yml");
    let text = std::fs::read_to_string(path).expect("docker-compose.yml");
    let services = text.split_once("\nservices:\n").map_or("", |(_, rest)| rest);
    for name in ["olympus", "agent"] {
        let (_, service) = services.split_once(&format!("\n  {name}:\n")).expect(name);
        let ends =
            |line: &&str| !line.is_empty() && !line.starts_with("   ") && !line.starts_with("\t");
        let own: Vec<&str> = service.lines().take_while(|line| !ends(line)).collect();
        assert!(own.iter().any(|line| line.trim() == "REDIS_ADDR: redis:6379"), "{name}: {own:#?}");
    }
}

#[tokio::test]
async fn s03_an_agent_finds_the_leader_through_redis_and_never_writes_the_journal() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let addr = house.redis.as_ref().map(RedisServer::addr).unwrap_or_default();
    let mut plan = house.agent("n1");
    plan.unset("TARTARUS_ADDR").env("REDIS_ADDR", &addr);
    let _agent = plan.start(&house.api).await;
    assert_eq!(
        house.api.ended(&id(&house.api.submit_command(&["true"]).await)).await["status"],
        "SUCCEEDED"
    );
    // The leader moves: another address, the same journal.
    house.olympus.process.stop();
    house.olympus.plan.set("TARTARUS_LISTEN_ADDR", "127.0.0.1:0");
    let mut plan = OlympusPlan::new(&house.path("olympus"));
    plan.set("REDIS_ADDR", &addr);
    let moved = plan.start().await;
    let api = moved.api();
    let run = api.submit_command(&["true"]).await;
    assert_eq!(api.ended(&id(&run)).await["status"], "SUCCEEDED");
    // With no Olympus there is an agent, and not one entry more.
    let length = |house: &House| -> u64 {
        let mut connection = house.redis.as_ref().expect("a Redis").connect(0);
        redis::cmd("XLEN").arg("tartarus:journal").query(&mut connection).expect("XLEN")
    };
    drop(moved);
    let before = length(&house);
    // Its connections are short: what is counted is that it asked for the leader's key.
    let asked = |house: &House| -> Option<String> {
        let mut connection = house.redis.as_ref()?.connect(0);
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).ok()?;
        let get = stats.lines().find(|line| line.starts_with("cmdstat_get:"))?;
        get.split(',').next().map(str::to_owned)
    };
    let asked_before = asked(&house);
    until("the agent to look for the leader", || async {
        (asked(&house) != asked_before).then_some(())
    })
    .await;
    assert_eq!(length(&house), before);
}

fn line(house: &House, key: &str) -> Vec<String> {
    house.redis.as_ref().expect("a Redis").line(0, key)
}

#[tokio::test]
async fn s07_pending_work_is_in_redis_in_the_order_it_will_be_taken() {
    for (env, key) in [(None, QUEUE), (Some(("REDIS_QUEUE_KEY", "my:line")), "my:line")] {
        let env: Vec<_> = env.into_iter().collect();
        let mut house = House::with(Some(RedisServer::durable()), &env).await;
        let mut ids = Vec::new();
        for priority in [50, 10, 90, 50] {
            let mut run = host(&["true"]);
            run["priority"] = json!(priority);
            ids.push(id(&house.api.submit(&run).await));
        }
        let expected = [2, 0, 3, 1].map(|i: usize| ids[i].clone());
        until("the line to be shown", || async { (line(&house, key) == expected).then_some(()) })
            .await;
        // Current before readyz first answers 200, whatever was there.
        house.olympus.process.kill();
        let mut connection = house.redis.as_ref().expect("a Redis").connect(0);
        let _: () = connection.zadd(key, "0190a8a0-0000-7000-8000-000000000000", 0).expect("ZADD");
        let _: () = connection.zremrangebyrank(key, 0, 0).expect("ZREMRANGEBYRANK");
        house.olympus.restart().await;
        assert_eq!(line(&house, key), expected);
        house.api.post(&format!("/v1/runs/{}/cancel", ids[0]), &json!({})).await.expect(200);
        let expected = [2, 3, 1].map(|i: usize| ids[i].clone());
        until("the line to be shorter", || async { (line(&house, key) == expected).then_some(()) })
            .await;
        let _agent = house.agent("n1").start(&house.api).await;
        until("the line to be empty", || async { line(&house, key).is_empty().then_some(()) })
            .await;
    }
}

#[tokio::test]
async fn s13_nothing_that_a_restart_must_remember_lives_only_in_memory() {
    const TOKEN: &str = "a-token-for-this-test-alone";
    let env = [("TARTARUS_ENV", "production"), ("TARTARUS_BOOTSTRAP_TOKEN", TOKEN)];
    let mut house = House::with(Some(RedisServer::durable()), &env).await;
    let policy =
        json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": 512}, "tags": {"a": "b"}});
    house.api.put("/v1/policies/p", &policy).await.expect(201);
    let template = json!({"rootfs": {"host": true}, "command": ["true"], "env": {"A": "1"}});
    house.api.put("/v1/templates/t", &template).await.expect(201);
    house.api.post("/v1/queue/pause", &json!({})).await.expect(200);
    house
        .api
        .submit(&json!({"template": "t", "labels": {"a": "b"}, "metadata": {"tenant": "acme"}}))
        .await;
    let canceled = house.api.submit_command(&["true"]).await;
    house.api.post(&format!("/v1/runs/{}/cancel", id(&canceled)), &json!({})).await.expect(200);
    house.api.post_once("/v1/runs", "k", &host(&["true"])).await.expect(202);
    let greedy = json!({"template": "host", "command": ["true"], "resources": {"gpu": 1}});
    house.api.post("/v1/runs", &greedy).await.problem(403, "policy_rejected");
    let before = everything(&house).await;
    house.olympus.restart().await;
    assert_eq!(everything(&house).await, before);
    house.api.post_once("/v1/runs", "k", &host(&["true"])).await.expect(200);
    house.redis_mut().restart();
    let after = until("Redis to be back", || async {
        let all = everything(&house).await;
        Some(all)
    })
    .await;
    assert_eq!(after, before);
}

async fn everything(house: &House) -> BTreeMap<&'static str, Value> {
    let mut all = BTreeMap::new();
    for path in
        ["/v1/runs", "/v1/policies", "/v1/policies/p/versions", "/v1/templates", "/v1/queue"]
    {
        let mut shown = house.api.get(path).await.expect(200).json();
        // The one thing that goes on by itself.
        if let Some(queue) = shown.as_object_mut() {
            queue.remove("oldest_wait_ms");
        }
        all.insert(path, shown);
    }
    all
}

#[tokio::test]
async fn s18_s41_runs_survive_a_kill_and_unfinished_ones_never_expire() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let agent = house.agent("n1").start(&house.api).await;
    let done = house.api.submit_command(&["true"]).await;
    house.api.ended(&id(&done)).await;
    drop(agent);
    for _ in 0..3 {
        house.api.submit_command(&["true"]).await;
    }
    let before = house.api.all("/v1/runs").await;
    house.olympus.restart().await;
    assert_eq!(house.api.all("/v1/runs").await, before);
    let redis = house.redis.as_ref().expect("a Redis");
    let mut connection = redis.connect(0);
    for key in redis.keys(0) {
        let ttl: i64 = connection.ttl(&key).expect("TTL");
        let may_expire = key == "tartarus:leader"
            || key.starts_with("tartarus:node:")
            || key.starts_with("tartarus:instance:");
        assert!(ttl == -1 || may_expire, "{key} expires in {ttl} s");
    }
}

#[tokio::test]
async fn s19_a_task_without_a_node_waits_through_a_restart_and_then_runs() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let run = id(&house.api.submit_command(&["echo", "at last"]).await);
    house.olympus.restart().await;
    assert_eq!(house.api.run(&run).await["status"], "PENDING", "never FAILED for want of capacity");
    let _agent = house.agent("n1").start(&house.api).await;
    assert_eq!(house.api.ended(&run).await["status"], "SUCCEEDED");
    assert_eq!(house.api.output(&run, "stdout").await, "at last\n");
}

#[tokio::test]
async fn s20_a_node_is_in_redis_as_long_as_it_lives() {
    let house = House::with(Some(RedisServer::start()), &[("TARTARUS_NODE_TTL", "3s")]).await;
    let redis = house.redis.as_ref().expect("a Redis");
    let mut agent = house.agent("n1").start(&house.api).await;
    let key = "tartarus:node:n1";
    let ttl = until("the node's key", || async {
        redis.connect(0).pttl::<_, i64>(key).ok().filter(|ttl| *ttl > 0)
    })
    .await;
    assert!(ttl <= 3_000, "{ttl} ms");
    let mut ids = Vec::new();
    for on_lost in ["retry", "fail"] {
        let run = json!({"template": "host", "command": ["sleep", "300"], "on_lost": on_lost,
                         "resources": {"ttl": "5m"}});
        let run = id(&house.api.submit(&run).await);
        house.api.until_status(&run, "RUNNING").await;
        ids.push(run);
    }
    agent.process.kill();
    until("the key to be gone", || async {
        let found: bool = redis.connect(0).exists(key).ok()?;
        (!found).then_some(())
    })
    .await;
    let failed = house.api.ended(&ids[1]).await;
    assert_eq!((&failed["status"], &failed["reason"]), (&json!("FAILED"), &json!("NodeLost")));
    let retried = house.api.until_status(&ids[0], "PENDING").await;
    assert_eq!(retried["attempt"], 1, "it waits for its second");
}

#[test]
fn s25_production_without_a_reachable_redis_ends_within_the_wait() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut plan = OlympusPlan::new(&dir.path().join("olympus"));
    let addr = format!("127.0.0.1:{}", free_port());
    plan.set("TARTARUS_ENV", "production").set("REDIS_ADDR", &addr);
    plan.set("TARTARUS_REDIS_WAIT", "200ms");
    let mut olympus = plan.spawn();
    assert_eq!(olympus.process.exit_code(), Some(3), "{:#?}", olympus.process.lines());
    let said = olympus.process.lines().join("\n");
    assert!(said.contains(&addr), "{said}");
}

#[tokio::test]
async fn s27_admission_asks_nobody() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    house.redis_mut().kill();
    let verdict = house.api.post("/v1/runs?dry_run=true", &host(&["true"])).await.expect(200);
    assert_eq!(verdict.json()["verdict"], "accept");
}

#[tokio::test]
async fn s37_start_submit_restart_list() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let run = house.api.submit_command(&["true"]).await;
    house.olympus.process.stop();
    house.olympus.restart().await;
    assert_eq!(house.api.get("/v1/runs").await.ids(), [id(&run)]);
}

/// The journal with one bit of one entry turned over.
fn corrupt(redis: &RedisServer, sequence: u64) {
    const KEY: &str = "tartarus:journal";
    type Entries = Vec<(String, Vec<(Vec<u8>, Vec<u8>)>)>;
    let mut connection = redis.connect(0);
    let mut entries: Entries =
        redis::cmd("XRANGE").arg(KEY).arg("-").arg("+").query(&mut connection).expect("XRANGE");
    let _: () = connection.del(KEY).expect("DEL");
    for (entry, fields) in &mut entries {
        if entry.starts_with(&format!("{sequence}-"))
            && let Some(byte) = fields.iter_mut().next().and_then(|(_, body)| body.last_mut())
        {
            *byte ^= 1;
        }
        let mut add = redis::cmd("XADD");
        add.arg(KEY).arg(&*entry);
        for (field, body) in fields {
            add.arg(&*field).arg(&*body);
        }
        let _: String = add.query(&mut connection).expect("XADD");
    }
}

#[tokio::test]
async fn s24_a_corrupt_record_stops_the_start_and_is_named() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let mut last = 0;
    for _ in 0..3 {
        last = house.api.submit_command(&["true"]).await["index"].as_u64().unwrap_or(0);
    }
    house.olympus.process.kill();
    corrupt(house.redis_mut(), last - 1);
    house.olympus.respawn();
    assert_eq!(house.olympus.process.exit_code(), Some(4), "{:#?}", house.olympus.process.lines());
    let said = house.olympus.process.lines().join("\n");
    assert!(said.contains(&(last - 1).to_string()), "the entry is named: {said}");
}

#[tokio::test]
async fn a_journal_that_vanished_is_not_begun_anew() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    house.api.submit_command(&["true"]).await;
    house.olympus.process.kill();
    let redis = house.redis_mut();
    let _: () = redis::cmd("FLUSHALL").query(&mut redis.connect(0)).expect("FLUSHALL");
    house.olympus.respawn();
    assert_eq!(house.olympus.process.exit_code(), Some(4), "{:#?}", house.olympus.process.lines());
    assert_eq!(house.redis.as_ref().expect("a Redis").keys(0), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_instance_follows_and_says_who_leads() {
    let house = House::with(Some(RedisServer::durable()), &[]).await;
    let mut second = house.another("second").spawn();
    let ready = second.until_ready().await;
    assert_eq!((&ready["role"], &ready["leader"]), (&json!("follower"), &json!(house.api.url)));
    let run = id(&second.api().submit_command(&["true"]).await);
    assert_eq!(house.api.run(&run).await["status"], "PENDING");
}

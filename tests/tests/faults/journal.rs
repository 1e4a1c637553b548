//! Redis paused, full, emptied, edited by hand and rewritten under load.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{until, until_sync};

use crate::instances::all_but;
use crate::trio::Trio;
use crate::{row, spread, times};

pub fn ask(connection: &mut Connection, command: &[&str]) {
    let mut asked = redis::cmd(command[0]);
    for argument in &command[1..] {
        asked.arg(*argument);
    }
    asked.exec(connection).unwrap_or_else(|error| panic!("{command:?}: {error}"));
}

#[tokio::test]
async fn f07_redis_is_paused_for_all() {
    let (mut trio, times, mut took) = (Trio::start().await, times(), Vec::new());
    for _ in 0..times {
        trio.write(&[0, 1, 2]).await;
        trio.redis.signal(Signal::STOP);
        let length = Duration::from_millis(500 + trio.dice.below(3_000));
        tokio::time::sleep(length).await;
        trio.redis.signal(Signal::CONT);
        took.push(trio.write(&[0, 1, 2]).await);
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!("{kept} acknowledged, 0 lost, 0 twice; writes again after {}", spread(took));
    row("F07", "SIGSTOP of Redis for 0.5 to 3.5 s", times, &seen);
}

#[tokio::test]
async fn f11_redis_is_killed() {
    let (mut trio, times, mut took) = (Trio::start().await, times(), Vec::new());
    for _ in 0..times {
        trio.write(&[0, 1, 2]).await;
        trio.redis.kill();
        trio.redis.restart();
        took.push(trio.write(&[0, 1, 2]).await);
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!("{kept} acknowledged, 0 lost, 0 twice; writes again after {}", spread(took));
    row("F11", "kill -9 of Redis, AOF always", times, &seen);
}

#[tokio::test]
async fn f14_the_append_only_file_is_rewritten_under_load() {
    let mut trio = Trio::start().await;
    let epoch = trio.epoch().await;
    let (times, mut took) = (times(), Vec::new());
    for _ in 0..times {
        let mut connection = trio.redis.connect(0);
        ask(&mut connection, &["BGREWRITEAOF"]);
        for _ in 0..20 {
            took.push(trio.write(&[0, 1, 2]).await);
        }
        until("the rewrite to end", || {
            let info: String =
                redis::cmd("INFO").arg("persistence").query(&mut connection).expect("answered");
            async move { info.contains("aof_rewrite_in_progress:0").then_some(()) }
        })
        .await;
    }
    assert_eq!(trio.epoch().await, epoch, "the leader stays");
    trio.check().await;
    let seen = format!("the leader stays; a write takes {}", spread(took));
    row("F14", "BGREWRITEAOF under load", times, &seen);
}

/// Every instance stops writing for good, and says so; nothing is written after.
async fn stops(what: &str, fault: impl FnOnce(&mut Connection)) {
    let mut trio = Trio::start().await;
    trio.write(&[0, 1, 2]).await;
    trio.leader().await;
    let mut connection = trio.redis.connect(0);
    fault(&mut connection);
    stopped(what, &trio).await;
}

/// As [`stops`], with what an append alone does not meet: a look finds it, in a house that is idle, and
/// in one that goes on to write.
async fn stops_at_a_look(what: &str, writing: bool, fault: impl FnOnce(&mut Connection)) {
    let mut trio = Trio::start().await;
    trio.write(&[0, 1, 2]).await;
    trio.leader().await;
    fault(&mut trio.redis.connect(0));
    for api in trio.apis() {
        until(&format!("{what}: every instance to see it"), || async {
            if writing {
                api.post("/v1/runs", &host(&["true"])).await;
            }
            (api.get("/healthz").await.status == 503).then_some(())
        })
        .await;
    }
    stopped(what, &trio).await;
}

/// Every instance finds that its journal is damaged.
pub async fn stopped(what: &str, trio: &Trio) {
    let mut connection = trio.redis.connect(0);
    // The next write, or the next look of a follower, finds it.
    for api in trio.apis() {
        until(&format!("{what}: every instance to stop"), || async {
            let refused = api.post("/v1/runs", &host(&["true"])).await;
            assert_eq!(refused.status, 503, "{what}: {refused}");
            let health = api.get("/healthz").await;
            (health.status == 503).then_some(())
        })
        .await;
    }
    let length = |connection: &mut Connection| -> u64 {
        redis::cmd("XLEN").arg("tartarus:journal").query(connection).expect("a length")
    };
    let before = length(&mut connection);
    for api in trio.apis() {
        api.post("/v1/runs", &host(&["true"])).await.problem(503, "no_leader");
    }
    assert_eq!(length(&mut connection), before, "{what}: nothing is written any more");
}

#[tokio::test]
async fn f26_the_journal_is_gone() {
    stops("FLUSHALL", |c| ask(c, &["FLUSHALL"])).await;
    stops("DEL of the journal", |c| ask(c, &["DEL", "tartarus:journal"])).await;
    stops("DEL of the head", |c| ask(c, &["DEL", "tartarus:head"])).await;
    stops("RENAME", |c| ask(c, &["RENAME", "tartarus:journal", "elsewhere"])).await;
    stops_at_a_look("FLUSHALL, idle", false, |c| ask(c, &["FLUSHALL"])).await;
    stops_at_a_look("DEL of meta, idle", false, |c| ask(c, &["DEL", "tartarus:meta"])).await;
    stops_at_a_look("DEL of meta", true, |c| ask(c, &["DEL", "tartarus:meta"])).await;
    let seen = "all three instances stop and say so on /healthz, within a second or so where nothing \
                is written, within 5 where only `meta` is gone; nothing is written after";
    row("F26", "FLUSHALL, DEL of journal, head or meta, RENAME", 7, seen);
}

#[tokio::test]
async fn f27_redis_evicts() {
    let mut trio = Trio::start().await;
    trio.write(&[0, 1, 2]).await;
    trio.leader().await;
    let (mut connection, mut took) = (trio.redis.connect(0), Vec::new());
    for (setting, value, dangers, durability) in [
        ("maxmemory-policy", "allkeys-lru", 1, "fsync"),
        ("no-appendfsync-on-rewrite", "yes", 2, "everysec"),
        ("maxmemory-policy", "noeviction", 1, "everysec"),
        ("no-appendfsync-on-rewrite", "no", 0, "fsync"),
        ("appendfsync", "no", 1, "none"),
        ("appendfsync", "always", 0, "fsync"),
        ("maxmemory-policy", "allkeys-lru", 1, "fsync"),
    ] {
        ask(&mut connection, &["CONFIG", "SET", setting, value]);
        let (set, line) = (Instant::now(), format!("tartarus_journal_dangers {dangers}"));
        let noticed = trio.apis().into_iter().map(async |api| {
            until(&format!("{setting} {value} to be noticed"), || async {
                let metrics = api.get("/metrics").await.text();
                let noticed = metrics.lines().any(|found| found == line).then(|| set.elapsed())?;
                let readyz = api.get("/readyz").await.json();
                (readyz["durability"] == durability).then_some(noticed)
            })
            .await
        });
        took.extend(join_all(noticed).await);
    }
    let (came, went) = ("Redis endangers the journal", "Redis endangers the journal no more");
    let (policy, rewrite, flush) = ("maxmemory-policy", "no-appendfsync-on-rewrite", "appendfsync");
    for instance in &trio.instances {
        for (message, settings) in
            [(came, vec![policy, rewrite, flush, policy]), (went, vec![policy, rewrite, flush])]
        {
            let said = until_sync(message, || {
                let said = instance.process.said(message);
                (said.len() >= settings.len()).then_some(said)
            });
            let begin = |(entry, setting): (&Value, &&str)| {
                entry["danger"].as_str().is_some_and(|danger| danger.starts_with(*setting))
            };
            let all = said.iter().zip(&settings).all(begin);
            assert!(all && said.len() == settings.len(), "{said:?}");
        }
    }
    ask(&mut connection, &["CONFIG", "SET", "maxmemory", "1"]);
    until_sync("the journal to be evicted", || {
        let there: u64 =
            redis::cmd("EXISTS").arg("tartarus:journal").query(&mut connection).expect("answered");
        (there == 0).then_some(())
    });
    ask(&mut connection, &["CONFIG", "SET", "maxmemory", "0"]);
    stopped("eviction", &trio).await;
    let seen = format!(
        "every instance says so, in its log, its metrics and on /readyz, after {}; as F26 once the journal is evicted",
        spread(took)
    );
    row("F27", "maxmemory-policy allkeys-lru, and pressure", 1, &seen);
}

#[tokio::test]
async fn f16_redis_takes_no_large_entry_any_more() {
    let mut trio = Trio::start().await;
    trio.write(&[0, 1, 2]).await;
    let (api, epoch) = (trio.instances[trio.leader().await].api(), trio.epoch().await);
    let mut connection = trio.redis.connect(0);
    ask(&mut connection, &["CONFIG", "SET", "proto-max-bulk-len", "1048576"]);
    let mut run = host(&["true"]);
    run["stdin"] = json!("x".repeat(3_000));
    let batch = json!({"runs": vec![run; 1_000]});
    let refused = api.post_once("/v1/runs:batch", "large", &batch).await;
    let unknown = refused.problem(503, "unavailable");
    assert_eq!(unknown["outcome"], "unknown", "{unknown}");
    assert!(api.get("/v1/runs").await.status == 200, "reads go on");
    ask(&mut connection, &["CONFIG", "SET", "proto-max-bulk-len", "536870912"]);
    let answer = until("the batch to be there", || async {
        let answer = api.post_once("/v1/runs:batch", "large", &batch).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    for item in answer.json()["items"].as_array().expect("a list") {
        trio.acknowledged.insert(id(&item["run"]));
    }
    trio.write(&[0, 1, 2]).await;
    assert_eq!(trio.epoch().await, epoch, "the leader stays");
    trio.check().await;
    let seen =
        "the batch is *unknown*, reads go on, the leader stays; once, when it is raised again";
    row("F16", "proto-max-bulk-len is lowered to 1 MiB, and a batch of 3 MiB is sent", 1, seen);
}

#[tokio::test]
async fn f33_the_journal_is_edited_by_hand() {
    stops("XADD *", |c| ask(c, &["XADD", "tartarus:journal", "*", "b", "x"])).await;
    stops("SET of the head", |c| ask(c, &["SET", "tartarus:head", "7-7"])).await;
    let last_gone = |c: &mut Connection| {
        let last: String = redis::cmd("GET").arg("tartarus:head").query(c).expect("a head");
        ask(c, &["XDEL", "tartarus:journal", &last]);
    };
    stops_at_a_look("XDEL of the last entry, idle", false, last_gone).await;
    stops_at_a_look("XDEL of the last entry", true, last_gone).await;
    let seen = "found by the next write; a last entry that is gone, by the look of each second, of each \
                fifth where something is written; nothing is written after";
    row("F33", "XADD, SET of the head, XDEL of the last entry", 4, seen);
}

#[tokio::test]
async fn f28_redis_is_full() {
    let mut trio = Trio::start().await;
    trio.write(&[0, 1, 2]).await;
    let mut connection = trio.redis.connect(0);
    let info: String = redis::cmd("INFO").arg("memory").query(&mut connection).expect("answered");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("a line");
    let full = used.trim().parse::<u64>().expect("a number") + (100 << 10);
    ask(&mut connection, &["CONFIG", "SET", "maxmemory", &full.to_string()]);
    let mut body = host(&["true"]);
    body["stdin"] = json!("x".repeat(60_000));
    let apis = trio.apis();
    let mut n = 0;
    let refused = until("a write to be refused", || {
        n += 1;
        let (api, key, body) = (apis[0].clone(), format!("full-{n}"), body.clone());
        async move {
            let answer = api.post_once("/v1/runs", &key, &body).await;
            Some((key, answer)).filter(|(_, answer)| answer.status == 503)
        }
    })
    .await;
    assert!(apis[1].get("/v1/runs").await.status == 200, "reads go on");
    ask(&mut connection, &["CONFIG", "SET", "maxmemory", "0"]);
    until("writes to be taken again", || async {
        let answer = apis[0].post_once("/v1/runs", &refused.0, &body).await;
        [200, 202].contains(&answer.status).then_some(())
    })
    .await;
    trio.verify().expect(0);
    row(
        "F28",
        "maxmemory reached, noeviction",
        1,
        "writes 503, reads go on; writes again when raised",
    );
}

/// Writes some, remembers how long the file was, writes more, and cuts the file somewhere between.
async fn lose_the_tail(trio: &mut Trio) -> u64 {
    trio.write(&[0, 1, 2]).await;
    let kept = trio.redis.written();
    for _ in 0..5 {
        trio.write(&[0, 1, 2]).await;
    }
    trio.leader().await;
    trio.redis.kill();
    let written = trio.redis.written();
    let cut = kept + trio.dice.below(written - kept);
    trio.redis.cut(cut);
    trio.redis.restart();
    written - cut
}

#[tokio::test]
async fn f20_redis_loses_what_it_had_acknowledged() {
    let (mut trio, times, mut took, mut bytes) = (Trio::start().await, times(), Vec::new(), 0);
    for _ in 0..times {
        bytes += lose_the_tail(&mut trio).await;
        took.push(trio.write(&[0, 1, 2]).await);
        trio.leader().await;
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!(
        "{bytes} bytes cut from its file, put back by the leader: {kept} acknowledged, 0 lost; \
         writes again after {}",
        spread(took)
    );
    row("F20", "kill -9 of Redis and its newest file cut at a random byte", times, &seen);
}

#[tokio::test]
async fn f21_redis_loses_what_it_had_acknowledged_and_its_leader() {
    let (mut trio, times, mut took, mut bytes) = (Trio::start().await, times(), Vec::new(), 0);
    for _ in 0..times {
        let leader = trio.leader().await;
        // What the others have not read yet dies with the leader: they read every 20 ms.
        trio.until_read(leader).await;
        trio.write(&[leader]).await;
        let kept = trio.redis.written();
        for _ in 0..5 {
            trio.write(&[leader]).await;
        }
        trio.until_read(leader).await;
        trio.redis.kill();
        trio.instances[leader].process.kill();
        let written = trio.redis.written();
        let cut = kept + trio.dice.below(written - kept);
        trio.redis.cut(cut);
        trio.redis.restart();
        bytes += written - cut;
        took.push(trio.write(&all_but(leader)).await);
        trio.instances[leader].respawn();
        trio.instances[leader].until_ready().await;
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!(
        "{bytes} bytes cut from its file, put back by a follower: {kept} acknowledged and read by \
         it, 0 lost; writes again after {}",
        spread(took)
    );
    row("F21", "the same, and kill -9 of the leader", times, &seen);
}

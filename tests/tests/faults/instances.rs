//! Instances that are killed, stopped, paused and cut off.

use std::io::Write as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{RedisServer, until};

use crate::trio::Trio;
use crate::{row, spread, times};

pub fn all_but(one: usize) -> Vec<usize> {
    (0..3).filter(|place| *place != one).collect()
}

/// How the leader of three goes, with this exit code or by a signal, and comes back.
async fn goes(id: &str, fault: &str, code: Option<i32>, go: impl Fn(&mut tests::Process)) {
    let (mut trio, times, mut took) = (Trio::start().await, times(), Vec::new());
    for _ in 0..times {
        let leader = trio.leader().await;
        trio.write(&[0, 1, 2]).await;
        go(&mut trio.instances[leader].process);
        took.push(trio.write(&all_but(leader)).await);
        let gone = &mut trio.instances[leader].process;
        assert_eq!(gone.exit_code(), code, "{:?}", gone.lines());
        trio.instances[leader].respawn();
        trio.instances[leader].until_ready().await;
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!("{kept} acknowledged, 0 lost, 0 twice; no write for {}", spread(took));
    row(id, fault, times, &seen);
}

#[tokio::test]
async fn f01_a_leader_is_killed() {
    goes("F01", "kill -9 of the leader of three", None, |process| process.kill()).await;
}

#[tokio::test]
async fn f02_a_leader_is_stopped() {
    goes("F02", "planned stop of the leader of three", Some(0), |process| {
        process.signal(Signal::TERM);
    })
    .await;
}

#[tokio::test]
async fn f69_a_leader_aborts() {
    goes("F69", "the leader aborts, as any panic makes it", None, |process| {
        process.signal(Signal::ABORT);
    })
    .await;
}

#[tokio::test]
async fn f02_all_are_stopped_while_redis_is_gone() {
    let (mut trio, times, mut took) = (Trio::start().await, times(), Vec::new());
    for _ in 0..times {
        trio.write(&[0, 1, 2]).await;
        trio.redis.kill();
        let began = Instant::now();
        trio.instances.iter_mut().for_each(|instance| instance.process.signal(Signal::TERM));
        for instance in &mut trio.instances {
            assert_eq!(instance.process.exit_code(), Some(0), "{:?}", instance.process.lines());
        }
        took.push(began.elapsed());
        // As connections have broken, and as none can be made: not each time it is tried.
        let said = trio.said("write a projection later");
        assert!(said <= 2, "{said} lines of the same");
        trio.redis.restart();
        for instance in &mut trio.instances {
            instance.restart().await;
        }
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen =
        format!("{kept} acknowledged, 0 lost, 0 twice; all have ended after {}", spread(took));
    row("F02a", "planned stop of all three while Redis is gone", times, &seen);
}

#[tokio::test]
async fn f15_a_follower_and_a_reader_are_slow() {
    let (mut trio, times, mut took) = (Trio::start().await, times(), Vec::new());
    let leader = trio.leader().await;
    let (follower, api) = ((leader + 1) % 3, trio.instances[leader].api());
    // Somebody asks for the feed, and never reads it.
    let port = trio.instances[leader].plan.port();
    let mut reader = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connected");
    let asked = "GET /v1/events?after=0 HTTP/1.1\r\nHost: olympus\r\n\r\n";
    reader.write_all(asked.as_bytes()).expect("asked");
    let before = trio.instances[leader].process.resident_kib();
    let batch = json!({"runs": vec![host(&["true"]); 1_000]});
    let (mut calm, mut slow, mut runs) = (Vec::new(), Vec::new(), 0);
    for _ in 0..times {
        for _ in 0..50 {
            calm.push(trio.write(&[leader]).await);
        }
        trio.instances[follower].process.signal(Signal::STOP);
        for _ in 0..50 {
            slow.push(trio.write(&[leader]).await);
        }
        let answer = api.post("/v1/runs:batch", &batch).await.expect(200);
        for item in answer.json()["items"].as_array().expect("a list") {
            trio.acknowledged.insert(id(&item["run"]));
        }
        runs += 1_000;
        let (index, began) = (answer.index(), Instant::now());
        trio.instances[follower].process.signal(Signal::CONT);
        let seen = trio.instances[follower].api();
        seen.get(&format!("/v1/queue?min_index={index}&wait=60s")).await.expect(200);
        took.push(began.elapsed());
    }
    let grown = trio.instances[leader].process.resident_kib().saturating_sub(before) >> 10;
    assert!(grown < 64 + runs / 128, "{grown} MiB");
    trio.check().await;
    let seen = format!(
        "a write takes {} before and {} meanwhile; it catches up in {}; the leader grew by {grown} \
         MiB with {runs} runs and a reader that takes nothing",
        spread(calm),
        spread(slow),
        spread(took)
    );
    row("F15", "a follower is paused, and a reader of the feed takes nothing", times, &seen);
}

#[tokio::test]
async fn f03_a_leader_is_paused() {
    let (mut trio, times) = (Trio::start().await, times());
    let mut taken_over = 0;
    for _ in 0..times {
        let leader = trio.leader().await;
        let length = Duration::from_millis(200 + trio.dice.below(3_800));
        trio.instances[leader].process.signal(Signal::STOP);
        let paused = tokio::time::sleep(length);
        // Beyond the lease another takes over, and its writes are in the record.
        if length > Duration::from_secs(2) {
            trio.write(&all_but(leader)).await;
            taken_over += 1;
        }
        paused.await;
        trio.instances[leader].process.signal(Signal::CONT);
        trio.write(&[0, 1, 2]).await;
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!(
        "{kept} acknowledged, 0 lost, 0 twice; {taken_over} were replaced meanwhile, and wrote \
         nothing after"
    );
    row("F03", "SIGSTOP of the leader for 0.2 to 4 s", times, &seen);
}

#[tokio::test]
async fn f08_a_leader_is_cut_off_from_redis() {
    let (wires, mut trio) = Trio::wired().await;
    let leader = trio.leader().await;
    let others = all_but(leader);
    trio.write(&[leader]).await;
    wires[leader].cut(true);
    // Both are handed to the one that leads and does not answer.
    let (other, began) = (trio.instances[others[0]].api(), Instant::now());
    let (keyed, keyless) = tokio::join!(
        async {
            (other.post_once("/v1/runs", "handed-on", &host(&["true"])).await, began.elapsed())
        },
        async { (other.post("/v1/runs", &host(&["true"])).await, began.elapsed()) },
    );
    trio.acknowledged.insert(id(&keyed.0.expect(202).json()));
    let unknown = keyless.0.problem(503, "unavailable");
    assert_eq!(unknown["outcome"], "unknown", "{unknown}");
    let took = trio.write(&others).await;
    let cut = trio.instances[leader].api();
    let answer = cut.post_once("/v1/runs", "cut-off", &host(&["true"])).await;
    assert_eq!(answer.status, 503, "it acknowledges nothing: {answer}");
    wires[leader].cut(false);
    // What was unknown may have landed nowhere; asked again it lands once.
    let landed = until("the write to be taken", || async {
        let answer = cut.post_once("/v1/runs", "cut-off", &host(&["true"])).await;
        [200, 202].contains(&answer.status).then(|| id(&answer.json()))
    })
    .await;
    trio.acknowledged.insert(landed);
    trio.check().await;
    assert_ne!(trio.leader().await, leader, "it follows now");
    let seen = format!(
        "another takes over; of two writes that were handed to the one that is cut off, the new \
         leader answers that with a key after {} ms, the other is *unknown* after {} ms; then a \
         write takes {} ms; the one that is cut off acknowledges nothing",
        keyed.1.as_millis(),
        keyless.1.as_millis(),
        took.as_millis()
    );
    row("F08", "the leader alone is cut off from Redis", 1, &seen);
}

#[tokio::test]
async fn f10_one_key_is_sent_a_hundred_times_at_once() {
    let trio = Trio::start().await;
    let apis = trio.apis();
    let calls = (0..100).map(|n| {
        let api = &apis[n % 3];
        until("an answer that says which run", async || {
            let answer = api.post_once("/v1/runs", "the-key", &host(&["true"])).await;
            (answer.status != 503).then(|| id(&answer.json()))
        })
    });
    let ids: std::collections::BTreeSet<_> =
        futures_util::future::join_all(calls).await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(apis[0].get("/v1/runs").await.ids().len(), 1);
    row("F10", "one idempotency key, 100 times at once through three instances", 1, "one run");
}

#[tokio::test]
async fn f49_what_was_written_is_read_on_any_instance() {
    let mut trio = Trio::start().await;
    let (apis, times) = (trio.apis(), 100 * times());
    for _ in 0..times {
        let mut any = || &apis[trio.dice.below(3) as usize];
        let (writes, reads) = (any(), any());
        let answer = writes.post("/v1/runs", &host(&["true"])).await.expect(202);
        let (run, index) = (id(&answer.json()), answer.index());
        let path = format!("/v1/runs/{run}?min_index={index}");
        // An instance that is not as far yet says so after a while: it never shows what was before.
        let seen = until("it to be as far", || async {
            Some(reads.get(&path).await).filter(|answer| answer.status != 503)
        })
        .await;
        assert!(seen.expect(200).index() >= index);
        trio.acknowledged.insert(run);
    }
    trio.check().await;
    row("F49", "a write through one instance, read with min_index on another", times, "all seen");
}

#[tokio::test]
async fn f67_every_sign_of_life_is_gone() {
    let redis = RedisServer::durable();
    let addr = redis.addr();
    let ttl = [("TARTARUS_NODE_TTL", "3s")];
    let mut trio = Trio::with(redis, &[&addr, &addr], &ttl).await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut agents = Vec::new();
    for n in 0..3 {
        let node = format!("n{n}");
        let mut plan = tests::AgentPlan::new(&node, &dir.path().join(&node));
        plan.env("REDIS_ADDR", &addr);
        agents.push(plan.start(&trio.instances[0].api()).await);
    }
    for key in trio.redis.keys(0).iter().filter(|key| key.starts_with("tartarus:node:")) {
        redis::cmd("DEL").arg(key).exec(&mut trio.redis.connect(0)).expect("deleted");
    }
    trio.redis.signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(5)).await;
    trio.redis.signal(Signal::CONT);
    trio.write(&[0, 1]).await;
    // A node's whole time to live later nobody was given up.
    let mut connection = trio.redis.connect(0);
    let (secs, _): (u64, u64) = redis::cmd("TIME").query(&mut connection).expect("a time");
    let later = (secs + 4) * 1_000;
    for n in 0..3 {
        until("the node to have been heard of since", || {
            let key = format!("tartarus:node:n{n}");
            let beat: Option<String> =
                redis::cmd("GET").arg(key).query(&mut connection).expect("answered");
            let beat: Option<Value> = beat.and_then(|beat| serde_json::from_str(&beat).ok());
            let heard = beat.and_then(|beat| beat["time_ms"].as_u64());
            async move { heard.filter(|heard| *heard >= later) }
        })
        .await;
    }
    let leader = trio.leader().await;
    let api = trio.instances[leader].api();
    let lost = api.get("/v1/events?follow=false&type=node.lost").await.expect(200).text();
    assert!(!lost.contains("node.lost"), "{lost}");
    row(
        "F67",
        "every sign of life deleted, then Redis paused beyond the time to live",
        1,
        "no node lost",
    );
}

//! The journal as a feed, through kills.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::Value;
use tests::http::{host, id};
use tests::{House, RedisServer};

/// What a reader has seen: ids of events, in order, and the place to go on from.
#[derive(Default)]
struct Seen {
    ids: Vec<String>,
    runs: BTreeSet<String>,
}

impl Seen {
    /// Reads a feed until it breaks or `enough` is seen.
    async fn read(&mut self, house: &House, enough: usize) {
        let request = house.api.request(Method::GET, "/v1/events?type=run.admitted");
        let request = request.header("accept", "application/x-ndjson");
        let request = match self.ids.last() {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        // An instance that is being replaced refuses: the reader comes again.
        let Ok(response) = request.send().await else { return };
        if response.status() != 200 {
            return;
        }
        let (mut body, mut text) = (response.bytes_stream(), Vec::new());
        while self.runs.len() < enough
            && let Some(Ok(part)) = body.next().await
        {
            text.extend_from_slice(&part);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).expect("JSON");
                if event["type"] == "run.admitted" {
                    self.ids.push(event["id"].as_str().expect("an id").to_owned());
                    self.runs.insert(event["subject"].as_str().expect("a run").to_owned());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_feed_goes_on_through_kills_without_a_gap_or_anything_twice() {
    const KILLS: usize = 3;
    const RUNS: usize = 40;
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let (mut seen, mut acknowledged) = (Seen::default(), BTreeSet::new());
    for round in 1..=KILLS {
        for _ in 0..RUNS / 2 {
            acknowledged.insert(id(&house.api.submit_command(&["true"]).await));
        }
        // Killed while it is being read: some of what was acknowledged is seen, some is not.
        seen.read(&house, round * RUNS - RUNS / 2 - 5).await;
        house.olympus.restart().await;
        for _ in 0..RUNS / 2 {
            acknowledged.insert(id(&house.api.submit_command(&["true"]).await));
        }
    }
    let all = acknowledged.len();
    let reading = async {
        while seen.runs.len() < all {
            seen.read(&house, all).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("all are seen");
    assert_eq!(seen.runs, acknowledged, "every acknowledged run, and no other");
    assert_eq!(seen.ids.len(), all, "each once");
}

#[tokio::test]
async fn a_feed_can_not_begin_before_the_journal_does() {
    let house = House::redis().await;
    for _ in 0..4 {
        house.api.submit_command(&["true"]).await;
    }
    let mut redis = house.redis.as_ref().expect("a redis").connect(0);
    let trimmed: u64 = redis::cmd("XTRIM")
        .arg(&["tartarus:journal", "MAXLEN", "=", "3"])
        .query(&mut redis)
        .expect("trimmed");
    let gone = house.api.get("/v1/events?after=1&follow=false").await;
    let detail = gone.problem(410, "gone")["detail"].clone();
    let oldest = format!("after={trimmed}");
    assert!(detail.as_str().is_some_and(|detail| detail.contains(&oldest)), "{detail}");
    for query in [&*oldest, ""] {
        let feed = house.api.get(&format!("/v1/events?follow=false&{query}")).await.expect(200);
        assert_eq!(feed.text().matches("data: ").count(), 3, "{feed}");
    }
}

#[tokio::test]
async fn the_command_line_prints_a_line_an_event() {
    let house = House::redis().await;
    let agent = house.agent("n1").start(&house.api).await;
    let run = id(&house.api.submit(&host(&["sh", "-c", "exit 3"])).await);
    house.api.ended(&run).await;
    let events = |args: &str| {
        let args: Vec<&str> = args.split_whitespace().collect();
        tests::tartarus(&[&["--addr", &house.api.url, "events"], &*args].concat(), &[])
    };
    let said = events(&format!("--run {run}")).expect(0);
    let lines: Vec<&str> = said.stdout.lines().collect();
    let types = ["run.admitted", "run.assigned", "run.started", "run.finished"];
    assert_eq!(lines.len(), types.len(), "{lines:?}");
    for (line, name) in lines.iter().zip(types) {
        assert!(line.contains(name) && line.contains(&run), "{line}");
    }
    assert!(lines[3].contains("exit=3"), "{}", lines[3]);
    let said = events("-o json --type node.joined -n 1").expect(0);
    let event: Value = serde_json::from_str(&said.stdout).expect("one line of JSON");
    assert_eq!((&event["subject"], &event["specversion"]), (&"n1".into(), &"1.0".into()));
    let said = events("--type node.exploded").expect(1);
    assert!(said.stderr.contains("node.exploded"), "{}", said.stderr);
    drop(agent);
}

#[tokio::test]
async fn one_feed_too_many_is_refused_until_another_ends() {
    let house = House::memory().await;
    let ask = || house.api.request(Method::GET, "/v1/events").send();
    let mut feeds = Vec::new();
    for _ in 0..256 {
        let feed = ask().await.expect("an answer");
        assert_eq!(feed.status(), 200);
        feeds.push(feed);
    }
    let refused = house.api.get("/v1/events").await;
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let words = refused.problem(503, "unavailable")["detail"].to_string();
    assert!(words.contains("256") && words.contains("another instance"), "{words}");
    feeds.pop();
    tests::until("the place to be free", || async {
        (ask().await.expect("an answer").status() == 200).then_some(())
    })
    .await;
}

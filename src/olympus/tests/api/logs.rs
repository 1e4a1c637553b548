//! `GET /v1/runs/{id}/logs`.

use api::session::{AttemptRef, FromAgent, Stream};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::{Agent, finished};
use crate::support::{House, PATIENCE, hello};

const CHUNKS: [(Stream, &str); 4] = [
    (Stream::Stdout, "one\ntw"),
    (Stream::Stderr, "oops\n"),
    (Stream::Stdout, "o\nthree\n"),
    (Stream::Stdout, "four"),
];

async fn started(house: &House, agent: &mut Agent, submission: &Value) -> AttemptRef {
    house.run(submission).await;
    let of = agent.assigned().await;
    agent.say(&FromAgent::Started(of)).await;
    assert!(agent.recorded().await);
    of
}

async fn write_and_finish(agent: &mut Agent, of: AttemptRef) {
    for (number, (stream, data)) in (0..).zip(CHUNKS) {
        agent.write(of, number, stream, data).await;
    }
    agent.say(&finished(of, 0, &CHUNKS)).await;
    assert!(agent.recorded().await);
}

#[actix_web::test]
async fn output_is_read_by_stream_by_tail_and_by_chunk() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let of = started(&house, &mut agent, &hello()).await;
    write_and_finish(&mut agent, of).await;
    let logs = |query: &str| format!("/v1/runs/{}/logs?{query}", of.run);
    for (query, text) in [
        ("", "one\ntwoops\no\nthree\nfour"),
        ("stream=stdout", "one\ntwo\nthree\nfour"),
        ("stream=stderr", "oops\n"),
        ("attempt=1", "one\ntwoops\no\nthree\nfour"),
        ("tail=2&stream=stdout", "three\nfour"),
        ("tail=1", "four"),
        ("tail=0", ""),
        ("tail=99", "one\ntwoops\no\nthree\nfour"),
        ("tail=3&stream=stdout", "two\nthree\nfour"),
        ("follow=true", "one\ntwoops\no\nthree\nfour"),
    ] {
        let answer = house.get(&logs(query)).await.expect(200);
        assert_eq!(answer.text, text, "{query}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let request = house.request(Method::GET, &logs("stream=stderr"));
    let lines = house.send(request.header("accept", "application/x-ndjson")).await.expect(200);
    let chunk: Value = serde_json::from_str(&lines.text).expect("one line");
    let expected =
        json!({"time": "2023-11-14T22:13:20.001Z", "stream": "stderr", "data": "oops\n"});
    assert_eq!(chunk, expected);
    house.get(&logs("attempt=2")).await.problem(404, "not_found");
    for bad in ["attempt=x", "tail=-1", "stream=both", "x=1"] {
        house.get(&logs(bad)).await.problem(422, "invalid");
    }
    house.stop().await;
}

#[actix_web::test]
async fn a_follower_reads_from_before_the_first_byte_to_the_end() {
    let house = House::new().await;
    let id = house.run(&hello()).await;
    let path = format!("/v1/runs/{id}/logs?follow=true");
    let following = async {
        let response = house.request(Method::GET, &path).send().await.expect("an answer");
        let mut text = String::new();
        let mut body = response.bytes_stream();
        while let Some(part) = body.next().await {
            text.push_str(std::str::from_utf8(&part.expect("whole")).expect("text"));
        }
        text
    };
    let working = async {
        let mut agent = Agent::welcome_to(&house, "n1").await;
        let of = agent.assigned().await;
        agent.say(&FromAgent::Started(of)).await;
        assert!(agent.recorded().await);
        write_and_finish(&mut agent, of).await;
    };
    let both = async { tokio::join!(following, working) };
    let (text, ()) = tokio::time::timeout(PATIENCE, both).await.expect("followed in time");
    assert_eq!(text, "one\ntwoops\no\nthree\nfour");
    house.stop().await;
}

#[actix_web::test]
async fn a_run_that_wrote_nothing_has_empty_output() {
    let house = House::new().await;
    let waiting = house.run(&hello()).await;
    assert_eq!(house.get(&format!("/v1/runs/{waiting}/logs")).await.expect(200).text, "");
    let mut agent = Agent::welcome_to(&house, "n1").await;
    let of = agent.assigned().await;
    agent.say(&FromAgent::Started(of)).await;
    assert!(agent.recorded().await);
    agent.say(&finished(of, 0, &[])).await;
    assert!(agent.recorded().await);
    assert_eq!(house.get(&format!("/v1/runs/{}/logs", of.run)).await.expect(200).text, "");
    house.stop().await;
}

#[actix_web::test]
async fn output_that_is_not_kept_is_gone() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let submission = json!({"template": "host", "command": ["x"],
                            "retention": {"keep_output": false}});
    let of = started(&house, &mut agent, &submission).await;
    write_and_finish(&mut agent, of).await;
    let path = format!("/v1/runs/{}/logs", of.run);
    let gone = async {
        while house.get(&path).await.status == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("removed in time");
    let problem = house.get(&path).await.problem(410, "output_unavailable");
    assert_eq!(problem["run_id"], of.run.to_string());
    house.stop().await;
}

#[actix_web::test]
async fn an_instance_that_stops_ends_its_feeds() {
    let house = House::new().await;
    let id = house.run(&hello()).await;
    let path = format!("/v1/runs/{id}/logs?follow=true");
    let response = house.request(Method::GET, &path).send().await.expect("an answer");
    let began = std::time::Instant::now();
    let mut body = response.bytes_stream();
    let (ended, ()) = tokio::join!(body.next(), house.stop());
    assert!(matches!(ended, Some(Err(_))), "a feed that is cut off does not look complete");
    assert!(began.elapsed() < PATIENCE);
}

#[actix_web::test]
async fn output_of_a_run_that_nobody_knows_is_removed_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let stray = dir.path().join("in-memory/output/ff/0194a1b2c3d47e5f8a9b0c1d2e3f4aff");
    std::fs::create_dir_all(stray.parent().expect("a directory")).expect("made");
    std::fs::write(&stray, "x").expect("written");
    let house = House::in_dir(dir, &[]).await;
    let removed = async {
        while stray.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, removed).await.expect("removed in time");
    house.stop().await;
}

//! The client against a server that says exactly what a test tells it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::logs::{LogChunk, Stream};
use api::query::LogsQuery;
use api::run::RunRequest;
use api::what_if::WhatIfRequest;
use api::{RunsQuery, Time};
use client::{Client, Error, Patience};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What one connection is answered with; the last is repeated.
#[derive(Clone)]
enum Answer {
    /// Status, extra headers, body.
    Say(u16, &'static str, String),
    /// The request is read, then the connection is closed.
    HangUp,
    /// A chunked body that breaks off after this text.
    BreakOff(String),
}

struct Server {
    addr: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn saying(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let record = heard.clone();
        tokio::spawn(async move {
            let mut answers = answers;
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                record.lock().unwrap().push(request);
                let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
                let text = match answer {
                    Answer::HangUp => continue,
                    Answer::Say(status, headers, body) => format!(
                        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
                        body.len()
                    ),
                    Answer::BreakOff(body) => format!(
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
                        body.len()
                    ),
                };
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self { addr, heard }
    }

    fn client(&self) -> Client {
        Client::new(&self.addr, Some("secret"))
            .unwrap()
            .with_patience(Patience(Duration::from_millis(400)))
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length || n == 0 {
                return text;
            }
        }
        if n == 0 {
            return text;
        }
    }
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn run_json(status: &str) -> String {
    serde_json::json!({
        "id": "0193-run", "status": status, "reason": null, "message": null, "template": "host",
        "command": ["true"], "env": {}, "stdin": "",
        "resources": {"cpu_milli": 500, "mem_mb": 128, "gpu": 0, "ttl": "30s"},
        "network": "none", "priority": 50, "retry": {"max_attempts": 1, "backoff": "1s"},
        "on_lost": "retry", "retention": {"max_age": "24h", "keep_output": true}, "metadata": {},
        "labels": {}, "verdict": "accept", "quarantined": false, "heat": "cold",
        "pool": "standard", "policy": {"name": "lockdown-default", "version": 0, "revision": 0},
        "node": null, "attempt": 0, "exit_code": null, "signal": null,
        "created_at": "2026-01-01T00:00:00.000Z", "scheduled_at": null, "started_at": null,
        "finished_at": null, "usage": null, "output": null, "redrive_of": null, "index": 7,
        "a_field_of_a_later_version": 1
    })
    .to_string()
}

fn unavailable(outcome: &str) -> Answer {
    let body = serde_json::json!({
        "status": 503, "code": "no_leader", "detail": "no leader: try again", "outcome": outcome
    });
    Answer::Say(503, "retry-after: 0\r\n", body.to_string())
}

fn submission() -> RunRequest {
    RunRequest { template: Some("host".into()), ..RunRequest::default() }
}

#[tokio::test]
async fn a_submission_is_repeated_under_the_same_key() {
    let accepted = Answer::Say(202, "x-tartarus-receipt: 7-abc\r\n", run_json("PENDING"));
    let server = Server::saying(vec![unavailable("not_applied"), Answer::HangUp, accepted]).await;
    let submitted = server.client().submit(&submission()).await.unwrap();
    assert_eq!(submitted.run.id, "0193-run");
    assert_eq!(submitted.receipt.as_deref(), Some("7-abc"));
    assert!(!submitted.repeated);
    let heard = server.heard();
    let keys: Vec<_> = heard.iter().map(|r| header(r, "idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 36), "{keys:?}");
    assert!(heard.iter().all(|r| header(r, "authorization") == Some("Bearer secret")));
}

#[tokio::test]
async fn two_submissions_have_two_keys() {
    let server = Server::saying(vec![Answer::Say(202, "", run_json("PENDING"))]).await;
    let client = server.client();
    client.submit(&submission()).await.unwrap();
    client.submit(&submission()).await.unwrap();
    let heard = server.heard();
    assert_ne!(header(&heard[0], "idempotency-key"), header(&heard[1], "idempotency-key"));
}

#[tokio::test]
async fn what_was_unknown_once_stays_unknown() {
    let server = Server::saying(vec![Answer::HangUp, unavailable("not_applied")]).await;
    let error = server.client().submit(&submission()).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
}

#[tokio::test]
async fn a_read_has_no_outcome_to_be_unknown() {
    for answer in [Answer::HangUp, Answer::Say(200, "", "no JSON".into())] {
        let server = Server::saying(vec![answer.clone()]).await;
        let client = server.client();
        let questions = [
            client.run("x").await.map(drop),
            client.dry_run(&submission()).await.map(drop),
            client.what_if("p", &WhatIfRequest::default()).await.map(drop),
        ];
        for error in questions.map(Result::unwrap_err) {
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            assert!(!error.to_string().contains("outcome"), "{error}");
        }
        let server = Server::saying(vec![answer]).await;
        let error = server.client().submit(&submission()).await.unwrap_err();
        assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_write_that_was_never_applied_is_unavailable() {
    let server = Server::saying(vec![unavailable("not_applied")]).await;
    let error = server.client().submit(&submission()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(error.to_string(), "no leader: try again");
    assert!(server.heard().len() > 1, "tried once only");
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&addr, None).unwrap().with_patience(Patience(Duration::ZERO));
    let error = client.run("x").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach Olympus at {addr}: start it with `tartarus dev`, or set TARTARUS_ADDR \
             to where it is"
        )
    );
}

#[tokio::test]
async fn a_refusal_is_final_and_carries_its_problem() {
    let body = serde_json::json!({
        "status": 403, "code": "policy_rejected", "detail": "policy says no",
        "run_id": "0193-run", "reasons": ["resources.gpu is 1, the limit is 0"]
    });
    let server = Server::saying(vec![Answer::Say(403, "", body.to_string())]).await;
    let error = server.client().submit(&submission()).await.unwrap_err();
    let problem = error.problem().expect("refused");
    assert_eq!((&*problem.code, problem.run_id.as_deref()), ("policy_rejected", Some("0193-run")));
    assert_eq!(server.heard().len(), 1, "a refusal was tried again");
}

#[tokio::test]
async fn another_server_is_recognised() {
    let server = Server::saying(vec![Answer::Say(404, "", "<html>".into())]).await;
    let error = server.client().run("x").await.unwrap_err();
    assert!(error.is_status(404));
    assert!(error.to_string().contains("something else than Olympus"), "{error}");
}

#[tokio::test]
async fn waiting_goes_on_until_the_end() {
    let say = |status| Answer::Say(200, "", run_json(status));
    let server = Server::saying(vec![say("PENDING"), say("RUNNING"), say("SUCCEEDED")]).await;
    let run = server.client().wait("a/b?c").await.unwrap();
    assert_eq!(run.status, api::Status::Succeeded);
    let heard = server.heard();
    assert_eq!(heard.len(), 3);
    assert!(heard[0].starts_with("GET /v1/runs/a%2Fb%3Fc?wait=30s "), "{}", heard[0]);
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let page = |cursor: Option<&str>| {
        let items: Vec<serde_json::Value> =
            vec![serde_json::from_str(&run_json("PENDING")).unwrap()];
        let body = serde_json::json!({"items": items, "next_cursor": cursor});
        Answer::Say(200, "", body.to_string())
    };
    let server = Server::saying(vec![page(Some("c1")), page(None)]).await;
    let runs = server.client().runs_up_to(&RunsQuery::default(), 2_000).await.unwrap();
    assert_eq!(runs.len(), 2);
    assert!(server.heard()[1].starts_with("GET /v1/runs?limit=1000&cursor=c1 "));
}

#[tokio::test]
async fn broken_output_is_opened_again_with_nothing_missing_or_double() {
    let line = |stream, text: &'static str| {
        serde_json::to_string(&LogChunk::new(Time(1), stream, text.as_bytes())).unwrap() + "\n"
    };
    let first = line(Stream::Stdout, "one ") + &line(Stream::Stderr, "oops");
    // The chunks are cut in other places the second time.
    let whole = line(Stream::Stdout, "one tw")
        + &line(Stream::Stderr, "oops")
        + &line(Stream::Stdout, "o three");
    let server = Server::saying(vec![
        Answer::BreakOff(first.clone() + "{\"time\":"),
        Answer::Say(200, "", whole),
    ])
    .await;
    let query = LogsQuery { follow: true, ..LogsQuery::default() };
    let mut logs = server.client().logs("x", query).await.unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(chunk) = logs.next().await.unwrap() {
        let into = if chunk.stream == Stream::Stdout { &mut stdout } else { &mut stderr };
        into.extend_from_slice(&chunk.bytes().unwrap());
    }
    assert_eq!(String::from_utf8_lossy(&stdout), "one two three");
    assert_eq!(String::from_utf8_lossy(&stderr), "oops");
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn readiness_is_told_also_when_it_is_not_there() {
    let body = serde_json::json!({
        "role": "follower", "epoch": 1, "applied_index": 2, "policy_revision": 0,
        "journal_lag": 0, "leader": null, "durability": "always", "message": "another leads"
    });
    let server = Server::saying(vec![Answer::Say(503, "", body.to_string())]).await;
    let (ready, readyz) = server.client().readyz().await.unwrap();
    assert!(!ready);
    assert_eq!(readyz.message.as_deref(), Some("another leads"));
}

fn event_line(sequence: u64, n: u32) -> String {
    let event = api::CloudEvent::new("/c", (sequence, n), "run.started", api::Time(0), 7);
    serde_json::to_string(&event).unwrap() + "\n"
}

#[tokio::test]
async fn a_feed_that_breaks_is_opened_again_behind_what_was_seen() {
    let position = |place: &str, reason: &str| {
        format!("{{\"type\":\"feed.position\",\"id\":\"{place}\"{reason}}}\n")
    };
    let cut = event_line(3, 0) + &event_line(3, 1) + &position("4.2", ",\"reason\":\"stopping\"");
    let torn = event_line(6, 0) + "{\"specversion\"";
    let rest = position("7", "") + &event_line(8, 0);
    let says = |text: String| Answer::Say(200, "", text);
    let server = Server::saying(vec![says(cut), Answer::HangUp, says(torn), says(rest)]).await;
    let query = api::query::EventsQuery { follow: false, ..Default::default() };
    let mut events = server.client().events(query).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        seen.push(event.id);
    }
    assert_eq!(seen, ["3.0", "3.1", "6.0", "8.0"]);
    let heard = server.heard();
    let asked: Vec<_> = heard.iter().map(|r| r.lines().next().unwrap().to_owned()).collect();
    let after = |place| format!("GET /v1/events?after={place}&follow=false HTTP/1.1");
    let first = "GET /v1/events?follow=false HTTP/1.1".to_owned();
    assert_eq!(asked, [first, after("4.2"), after("4.2"), after("6.0")]);
}

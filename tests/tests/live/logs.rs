//! `GET /v1/runs/{id}/logs`.

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{Answer, House, until};

const BOTH: &str = "echo one; sleep 0.2; echo two >&2; sleep 0.2; printf three";

async fn ran(house: &House, script: &str) -> String {
    let run = id(&house.api.submit_command(&["sh", "-c", script]).await);
    assert_eq!(house.api.ended(&run).await["status"], "SUCCEEDED");
    run
}

async fn ndjson(house: &House, path: &str) -> Answer {
    let request = house.api.request(Method::GET, path).header("Accept", "application/x-ndjson");
    house.api.send(request).await.expect(200)
}

#[tokio::test]
async fn output_that_nobody_may_read_is_removed_at_the_next_start() {
    let mut house = House::redis().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = ran(&house, "echo one").await;
    let kept = house.path("olympus").join("output");
    let files = std::fs::read_dir(&kept)
        .expect("output")
        .flat_map(|shard| std::fs::read_dir(shard.expect("a shard").path()).expect("a shard"));
    let paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    let name = run.replace('-', "");
    let known = paths.iter().find(|path| path.ends_with(&name)).expect("the run's output");
    house.olympus.process.kill();
    // As it is after a crash between forgetting a run and removing what it wrote.
    let forgotten = known.with_file_name(format!("f{}", &name[1..]));
    std::fs::copy(known, &forgotten).expect("copied");
    house.olympus.restart().await;
    until("the output to be removed", || async { (!forgotten.exists()).then_some(()) }).await;
    assert_eq!(house.api.output(&run, "stdout").await, "one\n", "what is known is kept");
}

#[tokio::test]
async fn a_start_in_memory_leaves_the_output_of_a_journal_in_redis_alone() {
    let mut house = House::redis().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = ran(&house, "echo one").await;
    let redis = house.redis_mut().addr();
    // What an earlier start in memory left, and this one removes: by then it has looked at all.
    let left = house.path("olympus/in-memory/output/0f").join("0".repeat(30) + "0f");
    std::fs::create_dir_all(left.parent().expect("a directory")).expect("made");
    std::fs::write(&left, "").expect("written");
    house.olympus.plan.set("REDIS_ADDR", "");
    house.olympus.restart().await;
    until("the output to be removed", || async { (!left.exists()).then_some(()) }).await;
    house.olympus.plan.set("REDIS_ADDR", &redis);
    house.olympus.restart().await;
    assert_eq!(house.api.output(&run, "stdout").await, "one\n");
}

#[tokio::test]
async fn each_stream_alone_or_both_in_the_order_they_were_written() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = ran(&house, BOTH).await;
    for (query, expected) in [
        ("", "one\ntwo\nthree"),
        ("?stream=stdout", "one\nthree"),
        ("?stream=stderr", "two\n"),
        ("?tail=1", "three"),
        ("?tail=2", "two\nthree"),
        ("?stream=stdout&tail=1", "three"),
        ("?tail=0", ""),
        ("?tail=1000", "one\ntwo\nthree"),
        ("?follow=true", "one\ntwo\nthree"),
        ("?follow=true&tail=1", "three"),
    ] {
        let answer = house.api.get(&format!("/v1/runs/{run}/logs{query}")).await.expect(200);
        assert_eq!(answer.text(), expected, "{query}");
        assert_eq!(answer.media_type(), "text/plain", "{query}");
    }
}

#[tokio::test]
async fn as_lines_of_json_each_chunk_has_its_time_and_stream() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = ran(&house, BOTH).await;
    let answer = ndjson(&house, &format!("/v1/runs/{run}/logs")).await;
    assert_eq!(answer.media_type(), "application/x-ndjson");
    let chunks = answer.json_lines();
    let text: Vec<_> = chunks.iter().map(|chunk| (&chunk["stream"], &chunk["data"])).collect();
    let expected = [("stdout", "one\n"), ("stderr", "two\n"), ("stdout", "three")];
    let expected = expected.map(|(stream, data)| (json!(stream), json!(data)));
    assert_eq!(text, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    let times: Vec<_> = chunks.iter().map(|chunk| chunk["time"].as_str().unwrap_or("")).collect();
    assert!(times.is_sorted() && times.iter().all(|t| t.len() == 24), "{times:?}");
}

#[tokio::test]
async fn every_byte_arrives_as_it_was_written() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = ran(&house, r"printf 'a\377\000\200z\n'").await;
    let raw = house.api.get(&format!("/v1/runs/{run}/logs?stream=stdout")).await.expect(200);
    assert_eq!(raw.body, b"a\xff\0\x80z\n");
    let chunks = ndjson(&house, &format!("/v1/runs/{run}/logs")).await.json_lines();
    assert_eq!(
        (&chunks[0]["encoding"], &chunks[0]["data"]),
        (&json!("base64"), &json!("Yf8AgHoK"))
    );
}

#[tokio::test]
async fn following_shows_output_while_the_run_goes_on_and_ends_with_it() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let script = "trap 'echo last; exit 0' TERM; echo first; while :; do sleep 0.05; done";
    let run = id(&house.api.submit_command(&["sh", "-c", script]).await);
    let request = house.api.request(Method::GET, &format!("/v1/runs/{run}/logs?follow=true"));
    let mut stream = request.send().await.expect("an answer").bytes_stream();
    let first = stream.next().await.expect("a chunk").expect("whole");
    assert_eq!(&first[..], b"first\n");
    assert_eq!(house.api.run(&run).await["status"], "RUNNING", "it was shown before the end");
    house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    let mut rest = Vec::new();
    while let Some(chunk) = stream.next().await {
        rest.extend_from_slice(&chunk.expect("whole"));
    }
    assert_eq!(rest, b"last\n");
    assert_eq!(house.api.ended(&run).await["status"], "CANCELED");
}

#[tokio::test]
async fn following_a_run_that_waits_shows_it_from_its_beginning() {
    let house = House::memory().await;
    let run = id(&house.api.submit_command(&["echo", "late"]).await);
    let path = format!("/v1/runs/{run}/logs?follow=true");
    let plan = house.agent("n1");
    let (logs, _agent) = tokio::join!(house.api.get(&path), plan.start(&house.api));
    assert_eq!(logs.expect(200).text(), "late\n");
}

#[tokio::test]
async fn a_run_that_wrote_nothing_has_empty_output() {
    let house = House::memory().await;
    let waiting = id(&house.api.submit_command(&["true"]).await);
    assert_eq!(house.api.get(&format!("/v1/runs/{waiting}/logs")).await.expect(200).text(), "");
    let _agent = house.agent("n1").start(&house.api).await;
    house.api.ended(&waiting).await;
    assert_eq!(house.api.get(&format!("/v1/runs/{waiting}/logs")).await.expect(200).text(), "");
}

#[tokio::test]
async fn all_output_is_readable_when_a_run_has_ended() {
    const LINES: usize = 20_000;
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = id(&house.api.submit_command(&["seq", &LINES.to_string()]).await);
    let ended = house.api.ended(&run).await;
    let output = house.api.output(&run, "stdout").await;
    let expected: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
    assert!(output == expected, "{} of {} bytes", output.len(), expected.len());
    assert_eq!(ended["output"]["stdout_bytes"], expected.len());
    assert_eq!(ended["output"]["truncated"], false);
}

#[tokio::test]
async fn output_past_its_retention_is_gone_and_says_so() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let mut run = host(&["echo", "hello"]);
    run["retention"] = json!({"keep_output": false});
    let run = id(&house.api.submit(&run).await);
    house.api.ended(&run).await;
    let path = format!("/v1/runs/{run}/logs");
    let gone = tests::until("the output to be gone", || async {
        Some(house.api.get(&path).await).filter(|answer| answer.status != 200)
    })
    .await;
    gone.problem(410, "output_unavailable");
}

#[tokio::test]
async fn output_survives_a_restart() {
    let mut house = House::redis().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = ran(&house, BOTH).await;
    house.olympus.restart().await;
    let answer = house.api.get(&format!("/v1/runs/{run}/logs")).await.expect(200);
    assert_eq!(answer.text(), "one\ntwo\nthree");
}

#[tokio::test]
async fn there_is_no_output_of_what_is_not_there() {
    let house = House::memory().await;
    let path = "/v1/runs/0190a8a0-0000-7000-8000-000000000000/logs";
    house.api.get(path).await.problem(404, "not_found");
    let run = id(&house.api.submit_command(&["true"]).await);
    let bad: Value =
        house.api.get(&format!("/v1/runs/{run}/logs?stream=both")).await.problem(422, "invalid");
    assert!(bad["detail"].as_str().is_some_and(|d| d.contains("stdout or stderr")), "{bad:#}");
}

//! End to end: real programs in real sandboxes, by one agent.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::House;
use tests::http::{host, id};

/// What a run must be once it has ended, as pairs of JSON pointer and value.
type Then = Vec<(&'static str, Value)>;

async fn check(house: &House, run: &Value, then: &Then) -> Value {
    let ended = house.api.ended(&id(&house.api.submit(run).await)).await;
    for (pointer, value) in then {
        assert_eq!(ended.pointer(pointer), Some(value), "{pointer} of {ended:#}");
    }
    ended
}

fn sh(script: &str) -> Value {
    host(&["sh", "-c", script])
}

fn with(mut run: Value, field: &str, value: Value) -> Value {
    run[field] = value;
    run
}

#[tokio::test]
async fn a_run_ends_as_its_program_does() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let ended = |status: &str, reason: Value, code: Value, signal: Value| -> Then {
        vec![
            ("/status", json!(status)),
            ("/reason", reason),
            ("/exit_code", code),
            ("/signal", signal),
        ]
    };
    let null = Value::Null;
    for (script, then) in [
        ("true", ended("SUCCEEDED", null.clone(), json!(0), null.clone())),
        ("echo oops >&2; exit 7", ended("FAILED", json!("NonZeroExit"), json!(7), null.clone())),
        ("exit 255", ended("FAILED", json!("NonZeroExit"), json!(255), null.clone())),
        ("kill -9 $$", ended("FAILED", json!("Signaled"), null.clone(), json!(9))),
        ("kill -SEGV $$", ended("FAILED", json!("Signaled"), null.clone(), json!(11))),
    ] {
        let run = check(&house, &sh(script), &then).await;
        assert_eq!(run["node"], "n1", "kept after the end");
        assert_eq!(run["attempt"], 1);
        let times = ["created_at", "scheduled_at", "started_at", "finished_at"];
        let times = times.map(|field| run[field].as_str().unwrap_or_default().to_owned());
        assert!(times.is_sorted() && times.iter().all(|t| !t.is_empty()), "{run:#}");
        assert_eq!(run["message"].is_null(), run["status"] == "SUCCEEDED", "{run:#}");
    }
}

#[tokio::test]
async fn a_program_gets_its_arguments_environment_and_input() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    for (run, stdout) in [
        (host(&["python3", "-c", "print(6*7)"]), "42\n"),
        (host(&["printf", "%s|", "a b", "", "$HOME", "ü"]), "a b||$HOME|ü|"),
        (with(sh("echo $GREETING"), "env", json!({"GREETING": "hello  you"})), "hello you\n"),
        (with(host(&["cat"]), "stdin", json!("one\ntwo")), "one\ntwo"),
        (host(&["cat"]), ""),
        (with(host(&["wc", "-c"]), "stdin", json!("x".repeat(60_000))), "60000\n"),
    ] {
        let ended = check(&house, &run, &vec![("/status", json!("SUCCEEDED"))]).await;
        assert_eq!(house.api.output(&id(&ended), "stdout").await, stdout, "{run}");
    }
}

#[tokio::test]
async fn a_program_sees_nothing_of_the_agents_own_environment() {
    let house = House::memory().await;
    let _agent = house.agent("n1").env("TARTARUS_TOKEN", "not-for-you").start(&house.api).await;
    let ended = check(&house, &host(&["env"]), &vec![("/status", json!("SUCCEEDED"))]).await;
    let seen = house.api.output(&id(&ended), "stdout").await;
    assert!(!seen.contains("TARTARUS") && !seen.contains("not-for-you"), "{seen}");
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let limit = json!({"ttl": "300ms"});
    for script in ["sleep 60", "trap '' TERM; while :; do sleep 1; done", "while :; do :; done"] {
        let run = with(sh(script), "resources", limit.clone());
        let then = vec![("/status", json!("FAILED")), ("/reason", json!("TimedOut"))];
        let ended = check(&house, &run, &then).await;
        assert!(ended["usage"]["wall_ms"].as_u64() >= Some(300), "{ended:#}");
        assert!(
            ended["message"].as_str().is_some_and(|m| m.contains("resources.ttl")),
            "{ended:#}"
        );
    }
}

#[tokio::test]
async fn a_run_that_takes_too_much_memory_says_so() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let bomb = "b = bytearray()\nwhile True: b.extend(b'x' * 1048576)";
    let run = with(host(&["python3", "-c", bomb]), "resources", json!({"mem_mb": 48}));
    let then = vec![("/status", json!("FAILED")), ("/reason", json!("OutOfMemory"))];
    let ended = check(&house, &run, &then).await;
    assert!(ended["message"].as_str().is_some_and(|m| m.contains("48")), "{ended:#}");
    let fine = host(&["python3", "-c", "print('still fine')"]);
    check(&house, &fine, &vec![("/status", json!("SUCCEEDED"))]).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_says_so() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let then = vec![("/status", json!("FAILED")), ("/reason", json!("NotExecutable"))];
    let ended = check(&house, &host(&["no-such-program"]), &then).await;
    assert!(ended["message"].as_str().is_some_and(|m| m.contains("no-such-program")), "{ended:#}");
}

#[tokio::test]
async fn output_is_capped_and_says_so() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let script = "head -c 200000000 /dev/zero | tr '\\0' x; echo end >&2";
    let ended = check(&house, &sh(script), &vec![("/output/truncated", json!(true))]).await;
    let kept = ended["output"]["stdout_bytes"].as_u64().unwrap_or(0);
    assert!(kept > 0 && kept < 200_000_000, "{ended:#}");
    let read =
        house.api.get(&format!("/v1/runs/{}/logs?stream=stdout", id(&ended))).await.expect(200);
    assert!(read.body.len() as u64 >= kept && read.body.len() < 200_000_000);
}

#[tokio::test]
async fn a_run_says_what_it_used() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let burn = "import time\nb = bytearray(40 << 20)\nwhile time.process_time() < 0.3: pass";
    let ended =
        check(&house, &host(&["python3", "-c", burn]), &vec![("/status", json!("SUCCEEDED"))])
            .await;
    let used = |field: &str| ended["usage"][field].as_u64().unwrap_or(0);
    assert!(used("cpu_ms") >= 290, "{ended:#}");
    assert!((40..=128).contains(&used("max_rss_mb")), "{ended:#}");
    assert!(used("wall_ms") >= 290, "{ended:#}");
}

#[tokio::test]
async fn a_failed_attempt_is_tried_again_as_often_as_asked() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let retry = json!({"max_attempts": 3, "backoff": "50ms"});
    let then = vec![
        ("/status", json!("FAILED")),
        ("/reason", json!("OutOfAttempts")),
        ("/attempt", json!(3)),
        ("/exit_code", json!(4)),
    ];
    check(&house, &with(sh("exit 4"), "retry", retry.clone()), &then).await;
    let then = vec![("/status", json!("SUCCEEDED")), ("/attempt", json!(1))];
    check(&house, &with(sh("exit 0"), "retry", retry), &then).await;
}

#[tokio::test]
async fn a_pause_between_attempts_doubles() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = with(sh("exit 1"), "retry", json!({"max_attempts": 3, "backoff": "200ms"}));
    let then = vec![("/attempt", json!(3)), ("/reason", json!("OutOfAttempts"))];
    let ended = check(&house, &run, &then).await;
    let time = |field: &str| -> i64 { millis(ended[field].as_str().unwrap_or_default()) };
    assert!(time("finished_at") - time("created_at") >= 600, "200 ms, then 400 ms: {ended:#}");
}

/// Milliseconds of the day of a time on the wire.
fn millis(time: &str) -> i64 {
    let digits: Vec<i64> = time
        .get(11..23)
        .unwrap_or_default()
        .split([':', '.'])
        .map(|part| part.parse().expect("digits"))
        .collect();
    ((digits[0] * 60 + digits[1]) * 60 + digits[2]) * 1_000 + digits[3]
}

#[tokio::test]
async fn many_runs_at_once_all_end_as_they_should() {
    const RUNS: usize = 80;
    let house = House::memory().await;
    let _agent = house.agent("n1").capacity(8_000, 8_192).start(&house.api).await;
    let runs: Vec<Value> = (0..RUNS).map(|i| sh(&format!("echo {i}; exit {}", i % 3))).collect();
    let made = house.api.post("/v1/runs:batch", &json!({"runs": runs})).await.json();
    let ids: Vec<String> =
        made["items"].as_array().into_iter().flatten().map(|item| id(&item["run"])).collect();
    assert_eq!(ids.len(), RUNS);
    let ended = join_all(ids.iter().map(|run| house.api.ended(run))).await;
    for (i, run) in ended.iter().enumerate() {
        assert_eq!(run["exit_code"], i % 3, "{run:#}");
        assert_eq!(house.api.output(&id(run), "stdout").await, format!("{i}\n"));
    }
    let node = house.api.get("/v1/nodes/n1").await.json();
    assert_eq!((&node["allocated"]["cpu_milli"], &node["runs"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn olympus_takes_no_huge_pages_and_a_sandbox_may() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let status = |pid| std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    if !status(std::process::id()).contains("THP_enabled:\t1") {
        // A kernel without them, or a caller that has turned them off for all.
        return;
    }
    assert!(status(house.olympus.process.pid()).contains("THP_enabled:\t0"));
    let run = id(&house.api.submit_command(&["grep", "THP_enabled", "/proc/self/status"]).await);
    house.api.ended(&run).await;
    assert_eq!(house.api.output(&run, "stdout").await, "THP_enabled:\t1\n");
}

//! Bad requests and bad configurations: each gets its exact status or exit code, a sentence that
//! says what to do, and changes nothing.
//!
//! Needs:  nothing but the program. The requests that the contract alone decides are rows of
//!         `src/api/data/bad_requests.json`; those here need a server that has something.

use std::io::{Read as _, Write as _};
use std::sync::Mutex;

use api::cases::bad_requests;
use reqwest::Method;
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{Answer, House, program};

/// Everything a caller can see, but what goes on by itself.
async fn seen(house: &House) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "/v1/runs",
        "/v1/policies",
        "/v1/templates",
        "/v1/nodes",
        "/v1/quarantine",
        "/v1/queue/dead",
    ] {
        let answer = house.api.get(path).await.expect(200);
        all.push(json!({"path": path, "index": answer.index(), "body": answer.json()}));
    }
    all
}

fn complaint(
    name: &str,
    answer: &Answer,
    status: u16,
    code: Option<&str>,
    words: &str,
) -> Option<String> {
    let problem = answer.json();
    let detail = problem["detail"].as_str().unwrap_or_default();
    let right = answer.status == status
        && code.is_none_or(|code| problem["code"] == code)
        && detail.contains(words);
    (!right).then(|| format!("{name}: not {status} {code:?} {words:?} but {answer}\n"))
}

/// Method, path, a header, the body, status, code, what the detail holds.
type Row<'r> = (&'r str, &'r str, (&'r str, &'r str), &'r Value, u16, &'r str, &'r str);

#[tokio::test]
async fn every_bad_request_is_refused_in_words_and_changes_nothing() {
    let house = House::memory().await;
    let run = id(&house.api.submit_command(&["true"]).await);
    let canceled = id(&house.api.submit_command(&["true"]).await);
    house.api.post(&format!("/v1/runs/{canceled}/cancel"), &json!({})).await.expect(200);
    let policy = json!({"match": {"templates": ["python-*"]}});
    house.api.put("/v1/policies/python", &policy).await.expect(201);
    house.api.post_once("/v1/runs", "used", &host(&["true"])).await.expect(202);
    let before = seen(&house).await;

    let mut wrong = Vec::new();
    let rows = bad_requests();
    for row in &rows {
        let method = Method::from_bytes(row.method.as_bytes()).expect("a method");
        let mut request = house.api.request(method, &row.path).body(row.bytes());
        if !row.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in &row.headers {
            request = request.header(name, value);
        }
        let answer = house.api.send(request).await;
        let code = row.code.as_deref();
        wrong.extend(complaint(&row.name, &answer, row.status, code, &row.detail_contains));
    }

    const NOBODY: &str = "0190a8a0-0000-7000-8000-000000000000";
    let no_run = format!("/v1/runs/{NOBODY}");
    let no_cancel = format!("{no_run}/cancel");
    let no_logs = format!("{no_run}/logs");
    let no_events = format!("{no_run}/events");
    let no_why = format!("{no_run}/why");
    let ended = format!("/v1/runs/{canceled}/cancel");
    let both = format!("/v1/runs/{run}/logs?stream=both");
    let tail = format!("/v1/runs/{run}/logs?tail=-1");
    let soon = format!("/v1/runs/{run}?wait=soon");
    let index = format!("/v1/runs/{run}?index=last");
    let no_redrive = format!("/v1/queue/dead/{NOBODY}/redrive");
    let not_dead = format!("/v1/queue/dead/{canceled}/redrive");
    let reason = json!({"reason": "x"});
    let tied = json!({"match": {"templates": ["python-*"]}});
    let none = Value::Null;
    let high = json!({"level": 7});
    let low = json!({"level": 2});
    let other = host(&["false"]);
    let mine: Vec<Row<'_>> = vec![
        ("GET", "/v1/nothing", ("", ""), &none, 404, "not_found", ""),
        ("GET", "/", ("", ""), &none, 404, "not_found", ""),
        ("DELETE", "/v1/runs", ("", ""), &none, 405, "method_not_allowed", "GET"),
        ("PUT", "/v1/queue", ("", ""), &none, 405, "method_not_allowed", "GET"),
        ("GET", "/v1/queue/dead?status=FAILED", ("", ""), &none, 422, "invalid", "status"),
        ("GET", "/v1/queue/dead?redriven=perhaps", ("", ""), &none, 422, "invalid", "redriven"),
        ("DELETE", "/v1/queue/dead", ("", ""), &none, 405, "method_not_allowed", "GET"),
        ("GET", &not_dead, ("", ""), &none, 405, "method_not_allowed", "POST"),
        ("POST", &not_dead, ("", ""), &none, 409, "conflict", "is no dead letter"),
        ("POST", &not_dead, ("", ""), &reason, 400, "malformed", "no fields are known here"),
        ("POST", &no_redrive, ("", ""), &none, 404, "not_found", NOBODY),
        ("POST", "/v1/keys", ("", ""), &other, 405, "method_not_allowed", "GET"),
        ("GET", "/v1/keys?key=1", ("", ""), &none, 422, "invalid", "key"),
        ("POST", "/v1/level", ("", ""), &other, 400, "malformed", "command"),
        ("POST", "/v1/level", ("", ""), &none, 400, "malformed", ""),
        ("POST", "/v1/level", ("", ""), &high, 409, "conflict", "knows up to 3"),
        ("POST", "/v1/level", ("", ""), &low, 409, "conflict", "level 3 is in force already"),
        ("POST", "/v1/nodes", ("", ""), &other, 405, "method_not_allowed", "GET"),
        ("GET", &no_run, ("", ""), &none, 404, "not_found", NOBODY),
        ("GET", "/v1/runs/seven", ("", ""), &none, 404, "not_found", "seven"),
        ("POST", &no_cancel, ("", ""), &none, 404, "not_found", NOBODY),
        ("GET", &no_logs, ("", ""), &none, 404, "not_found", NOBODY),
        ("POST", &ended, ("", ""), &none, 409, "already_ended", "has ended"),
        ("GET", &both, ("", ""), &none, 422, "invalid", "give stdout or stderr"),
        ("GET", &tail, ("", ""), &none, 422, "invalid", "tail"),
        ("GET", &soon, ("", ""), &none, 422, "invalid", "wait"),
        ("GET", &index, ("", ""), &none, 422, "invalid", "index"),
        ("GET", "/v1/events?type=run.exploded", ("", ""), &none, 422, "invalid", "run.exploded"),
        ("GET", "/v1/events?after=last", ("", ""), &none, 422, "invalid", "after"),
        ("GET", "/v1/events?since=1h", ("", ""), &none, 422, "invalid", "since"),
        ("GET", "/v1/events", ("Last-Event-ID", "last"), &none, 422, "invalid", "Last-Event-ID"),
        ("POST", "/v1/events", ("", ""), &other, 405, "method_not_allowed", "GET"),
        ("GET", &no_events, ("", ""), &none, 404, "not_found", NOBODY),
        ("GET", "/v1/runs?cursor=%00", ("", ""), &none, 422, "invalid", "cursor"),
        (
            "GET",
            "/v1/runs?at=yesterday",
            ("", ""),
            &none,
            422,
            "invalid",
            "give a sequence or a time",
        ),
        ("GET", "/v1/queue?at=999999999", ("", ""), &none, 422, "invalid", "at is in the future"),
        ("GET", "/v1/nodes?at=2999-01-01T00:00:00Z", ("", ""), &none, 422, "invalid", "future"),
        (
            "GET",
            "/v1/policies?at=1&wait=1s",
            ("", ""),
            &none,
            422,
            "invalid",
            "wait is given with at",
        ),
        ("GET", "/v1/runs?at=1&consistent=true", ("", ""), &none, 422, "invalid", "stands still"),
        ("POST", "/v1/queue/pause?at=1", ("", ""), &none, 422, "invalid", "at"),
        ("POST", "/v1/runs?at=1", ("", ""), &other, 422, "invalid", "at"),
        ("GET", &no_why, ("", ""), &none, 404, "not_found", NOBODY),
        ("GET", "/v1/nodes/nobody", ("", ""), &none, 404, "not_found", "nobody"),
        ("GET", "/v1/policies/nobody", ("", ""), &none, 404, "not_found", "nobody"),
        ("DELETE", "/v1/policies/nobody", ("", ""), &none, 404, "not_found", "nobody"),
        ("GET", "/v1/policies/python/versions/7", ("", ""), &none, 404, "not_found", "7"),
        ("GET", "/v1/templates/nobody", ("", ""), &none, 404, "not_found", "nobody"),
        ("DELETE", "/v1/templates/nobody", ("", ""), &none, 404, "not_found", "nobody"),
        ("PUT", "/v1/policies/python", ("If-Match", "\"7\""), &tied, 412, "stale", "7"),
        ("PUT", "/v1/policies/python", ("If-None-Match", "*"), &tied, 412, "stale", "python"),
        ("PUT", "/v1/policies/python", ("If-Match", "seven"), &tied, 400, "malformed", "If-Match"),
        ("DELETE", "/v1/policies/python", ("If-Match", "\"7\""), &none, 412, "stale", "7"),
        ("PUT", "/v1/policies/snake", ("", ""), &tied, 409, "conflict", "python"),
        (
            "POST",
            "/v1/runs",
            ("Idempotency-Key", "used"),
            &other,
            422,
            "idempotency_key_reused",
            "used",
        ),
        (
            "POST",
            "/v1/runs",
            ("Content-Type", "image/png"),
            &other,
            415,
            "unsupported_media_type",
            "application/json",
        ),
    ];
    for (method, path, (header, value), body, status, code, words) in &mine {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = house.api.request(method.clone(), path);
        if !body.is_null() {
            request = request.body(body.to_string());
            if *header != "Content-Type" {
                request = request.header("Content-Type", "application/json");
            }
        }
        if !header.is_empty() {
            request = request.header(*header, *value);
        }
        let answer = house.api.send(request).await;
        let name = format!("{method} {path} {header} {value}");
        wrong.extend(complaint(&name, &answer, *status, Some(code), words));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        rows.len() + mine.len(),
        wrong.join("\n")
    );
    assert!(rows.len() + mine.len() >= 60, "{} rows", rows.len());
    assert_eq!(seen(&house).await, before, "a bad request changes nothing");
    house.api.get("/readyz").await.expect(200);
    house.api.submit_command(&["true"]).await;
}

/// What speaks HTTP wrongly is answered or cut off, and hurts nobody else.
#[tokio::test]
async fn broken_http_is_survived() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = House::memory().await;
    let address = house.api.url.trim_start_matches("http://").to_owned();
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET /v1/runs HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(5_000));
    for sent in [
        "\r\n\r\n".as_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /v1/runs HTTP/9.9\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"template\"",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let mut socket = tokio::net::TcpStream::connect(&address).await.expect("it listens");
        // The server may hang up before everything is sent: that is an answer, too.
        let _ = socket.write_all(sent).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        let fine = text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4");
        let shown = String::from_utf8_lossy(&sent[..sent.len().min(60)]).into_owned();
        assert!(fine, "{shown:?} was answered {text}");
    }
    assert_eq!(house.api.get("/v1/runs").await.expect(200).json()["items"], json!([]));
    house.api.submit_command(&["true"]).await;
}

/// Program, variables, exit code, what it says. `REDIS_ADDR` is empty unless a row sets it.
type Start<'a> = (&'a str, &'a [(&'a str, &'a str)], i32, &'a [&'a str]);

const STARTS: &[Start<'_>] = &[
    (
        "olympus",
        &[("TARTARUS_ENV", "staging")],
        2,
        &["TARTARUS_ENV", "staging", "development or production"],
    ),
    ("olympus", &[("TARTARUS_ENV", "production")], 2, &["REDIS_ADDR is empty", "host:port"]),
    ("olympus", &[("REDIS_ADDR", "redis://localhost:6379")], 2, &["REDIS_ADDR", "host:port"]),
    ("olympus", &[("REDIS_ADDR", "localhost")], 2, &["REDIS_ADDR", "host:port"]),
    ("olympus", &[("REDIS_ADDR", "localhost:")], 2, &["REDIS_ADDR", "host:port"]),
    ("olympus", &[("REDIS_ADDR", ":6379")], 2, &["REDIS_ADDR", "host:port"]),
    ("olympus", &[("REDIS_ADDR", "localhost:0")], 2, &["REDIS_ADDR", "host:port"]),
    ("olympus", &[("REDIS_ADDR", "localhost:65536")], 2, &["REDIS_ADDR", "host:port"]),
    ("olympus", &[("REDIS_ADDR", "local host:6379")], 2, &["REDIS_ADDR", "host:port"]),
    ("olympus", &[("REDIS_ADDR", "::1:6379")], 2, &["REDIS_ADDR", "host:port"]),
    (
        "olympus",
        &[("REDIS_ADDR", "127.0.0.1:1"), ("TARTARUS_REDIS_WAIT", "50ms")],
        3,
        &["127.0.0.1:1", "redis-cli"],
    ),
    ("olympus", &[("REDIS_DB", "one")], 2, &["REDIS_DB", "one", "number of a database"]),
    ("olympus", &[("REDIS_DB", "-1")], 2, &["REDIS_DB", "-1"]),
    ("olympus", &[("REDIS_DB", "99999999999")], 2, &["REDIS_DB", "99999999999"]),
    ("olympus", &[("REDIS_QUEUE_KEY", "a b")], 2, &["REDIS_QUEUE_KEY", "visible ASCII"]),
    (
        "olympus",
        &[("REDIS_QUEUE_KEY", "themis:policies")],
        2,
        &["REDIS_QUEUE_KEY", "choose another"],
    ),
    (
        "olympus",
        &[("REDIS_QUEUE_KEY", "tartarus:journal")],
        2,
        &["REDIS_QUEUE_KEY", "choose another"],
    ),
    ("olympus", &[("REDIS_PASSWORD_FILE", "/no/such")], 2, &["REDIS_PASSWORD_FILE", "/no/such"]),
    (
        "olympus",
        &[("REDIS_PASSWORD", "x"), ("REDIS_PASSWORD_FILE", "/no/such")],
        2,
        &["REDIS_PASSWORD", "both set"],
    ),
    (
        "olympus",
        &[("REDIS_PASSWORD_FILE", "/dev/null")],
        2,
        &["REDIS_PASSWORD_FILE", "it is empty"],
    ),
    ("olympus", &[("TARTARUS_REDIS_WAIT", "5")], 2, &["TARTARUS_REDIS_WAIT", "unit is missing"]),
    ("olympus", &[("TARTARUS_REDIS_WAIT", "0s")], 2, &["TARTARUS_REDIS_WAIT", "more than nothing"]),
    ("olympus", &[("TARTARUS_NODE_TTL", "-1s")], 2, &["TARTARUS_NODE_TTL", "-1s"]),
    ("olympus", &[("TARTARUS_NODE_TTL", "400d")], 2, &["TARTARUS_NODE_TTL", "at most 365d"]),
    (
        "olympus",
        &[("TARTARUS_QUEUE_MAX", "0")],
        2,
        &["TARTARUS_QUEUE_MAX", "how many runs may wait"],
    ),
    ("olympus", &[("TARTARUS_SNAPSHOT_BYTES", "1")], 2, &["TARTARUS_SNAPSHOT_BYTES", "from 4096"]),
    ("olympus", &[("TARTARUS_SNAPSHOT_EVERY", "5")], 2, &["TARTARUS_SNAPSHOT_EVERY", "unit"]),
    ("olympus", &[("TARTARUS_ARCHIVE_BYTES", "-1")], 2, &["TARTARUS_ARCHIVE_BYTES", "bytes"]),
    ("olympus", &[("TARTARUS_ARCHIVE", "gs://b")], 2, &["TARTARUS_ARCHIVE", "s3://bucket/prefix"]),
    ("olympus", &[("TARTARUS_ARCHIVE", "s3:///p")], 2, &["TARTARUS_ARCHIVE", "name the bucket"]),
    ("olympus", &[("TARTARUS_TRIM", "maybe")], 2, &["TARTARUS_TRIM", "on or off"]),
    ("olympus", &[("TARTARUS_QUEUE_MAX", "many")], 2, &["TARTARUS_QUEUE_MAX", "many"]),
    ("olympus", &[("TARTARUS_QUARANTINE", "maybe")], 2, &["TARTARUS_QUARANTINE", "on or off"]),
    ("olympus", &[("TARTARUS_AUTH", "basic")], 2, &["TARTARUS_AUTH", "off or token"]),
    (
        "olympus",
        &[("TARTARUS_BOOTSTRAP_TOKEN", "short")],
        2,
        &["TARTARUS_BOOTSTRAP_TOKEN", "openssl rand"],
    ),
    (
        "olympus",
        &[("TARTARUS_BOOTSTRAP_TOKEN", "a token with blanks in it")],
        2,
        &["TARTARUS_BOOTSTRAP_TOKEN", "blanks"],
    ),
    ("olympus", &[("TARTARUS_DURABILITY", "eventually")], 2, &["TARTARUS_DURABILITY", "fsync"]),
    ("olympus", &[("TARTARUS_CLUSTER_ID", "mine")], 2, &["TARTARUS_CLUSTER_ID", "UUID"]),
    ("olympus", &[("TARTARUS_KEY_PREFIX", "a b:")], 2, &["TARTARUS_KEY_PREFIX", "visible ASCII"]),
    ("olympus", &[("TARTARUS_LISTEN_ADDR", "8080")], 2, &["TARTARUS_LISTEN_ADDR", "host:port"]),
    (
        "olympus",
        &[("TARTARUS_LISTEN_ADDR", "127.0.0.1:99999")],
        2,
        &["TARTARUS_LISTEN_ADDR", "host:port"],
    ),
    (
        "olympus",
        &[("TARTARUS_LISTEN_ADDR", "192.0.2.1:8080")],
        2,
        &["TARTARUS_LISTEN_ADDR", "choose another address"],
    ),
    (
        "olympus",
        &[("TARTARUS_ADVERTISE_URL", "localhost:8080")],
        2,
        &["TARTARUS_ADVERTISE_URL", "http://"],
    ),
    (
        "olympus",
        &[("TARTARUS_ADVERTISE_URL", "http://user:secret@host")],
        2,
        &["TARTARUS_ADVERTISE_URL"],
    ),
    (
        "olympus",
        &[("TARTARUS_DATA_DIR", "/proc/nothing")],
        2,
        &["TARTARUS_DATA_DIR", "/proc/nothing"],
    ),
    ("olympus", &[("TARTARUS_LOG_FORMAT", "xml")], 2, &["TARTARUS_LOG_FORMAT", "text or json"]),
    (
        "olympus",
        &[("TARTARUS_ENV", "x"), ("REDIS_DB", "y"), ("TARTARUS_AUTH", "z")],
        2,
        &["TARTARUS_ENV", "REDIS_DB", "TARTARUS_AUTH"],
    ),
    ("dev", &[("REDIS_ADDR", "redis://localhost:6379")], 2, &["REDIS_ADDR", "host:port"]),
    ("dev", &[("TARTARUS_NODE_TTL", "soon")], 2, &["TARTARUS_NODE_TTL"]),
    ("agent", &[("TARTARUS_ENV", "staging")], 2, &["TARTARUS_ENV", "development", "production"]),
    ("agent", &[("TARTARUS_ENV", "production")], 2, &["TARTARUS_ADDR", "REDIS_ADDR"]),
    ("agent", &[("TARTARUS_ADDR", "ftp://x")], 2, &["TARTARUS_ADDR", "ftp://x"]),
    ("agent", &[("TARTARUS_ADDR", "http://")], 2, &["TARTARUS_ADDR"]),
    ("agent", &[("REDIS_ADDR", "redis://localhost:6379")], 2, &["REDIS_ADDR", "host:port"]),
    (
        "agent",
        &[("REDIS_ADDR", "localhost:6379"), ("REDIS_DB", "x")],
        2,
        &["REDIS_DB", "database number"],
    ),
    ("agent", &[("HADES_LABEL", "typhon")], 2, &["HADES_LABEL", "key=value"]),
    ("agent", &[("HADES_LABEL", "a=b,a=c")], 2, &["HADES_LABEL", "key=value"]),
    ("agent", &[("HADES_LABEL", "a b=c")], 2, &["HADES_LABEL", "key=value"]),
    ("agent", &[("TARTARUS_NODE_ID", "my node")], 2, &["TARTARUS_NODE_ID", "letters, digits"]),
    ("agent", &[("TARTARUS_NODE_CPU_MILLI", "0")], 2, &["TARTARUS_NODE_CPU_MILLI"]),
    (
        "agent",
        &[("TARTARUS_NODE_CPU_MILLI", "2.5")],
        2,
        &["TARTARUS_NODE_CPU_MILLI", "such as 2000"],
    ),
    ("agent", &[("TARTARUS_NODE_MEM_MB", "4GiB")], 2, &["TARTARUS_NODE_MEM_MB", "such as 4096"]),
    ("agent", &[("TARTARUS_NODE_GPUS", "-1")], 2, &["TARTARUS_NODE_GPUS"]),
    (
        "agent",
        &[("TARTARUS_RUNTIME", "no-such-runtime")],
        2,
        &["TARTARUS_RUNTIME", "no-such-runtime"],
    ),
    ("agent", &[("TARTARUS_DATA_DIR", "here")], 2, &["TARTARUS_DATA_DIR", "absolute"]),
    ("agent", &[("TARTARUS_TOKEN", "a\u{e9}b")], 2, &["TARTARUS_TOKEN"]),
    (
        "agent",
        &[("TARTARUS_TOKEN", "x"), ("TARTARUS_TOKEN_FILE", "/no/such")],
        2,
        &["TARTARUS_TOKEN", "both set"],
    ),
    ("agent", &[("TARTARUS_TOKEN_FILE", "/no/such")], 2, &["TARTARUS_TOKEN_FILE", "/no/such"]),
    ("agent", &[("TARTARUS_DRAIN_GRACE", "5")], 2, &["TARTARUS_DRAIN_GRACE"]),
];

#[test]
fn every_bad_configuration_ends_the_start_and_says_what_to_write() {
    let wrong = Mutex::new(Vec::new());
    // Two at a time: each is a process that ends at once.
    let rows = Mutex::new(STARTS.iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(row) = rows.lock().expect("no panic").next() else { break };
                    wrong.lock().expect("no panic").extend(check(row));
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), STARTS.len(), wrong.join("\n"));
}

/// Says to every command that it loads its data.
fn loading() -> std::io::Result<std::net::SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut asked = [0; 4_096];
                while let Ok(read @ 1..) = stream.read(&mut asked) {
                    let commands = asked[..read].iter().filter(|byte| **byte == b'*').count();
                    let answer = "-LOADING Redis is loading the dataset in memory\r\n";
                    if stream.write_all(answer.repeat(commands).as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(addr)
}

#[test]
fn a_redis_that_answers_and_is_not_ready_is_to_be_waited_for_and_not_to_be_started() {
    let addr = loading().expect("a port").to_string();
    let env = [("REDIS_ADDR", &*addr), ("TARTARUS_REDIS_WAIT", "300ms")];
    let words = [&*addr, "LOADING", "it answers, so wait for it, or raise TARTARUS_REDIS_WAIT"];
    assert_eq!(check(&("olympus", &env, 3, &words)), None);
}

/// A program that starts nevertheless never ends: it is given this long.
const PATIENCE: &str = "10";

fn check((name, env, code, words): &Start<'_>) -> Option<String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = std::process::Command::new("timeout");
    command.arg(PATIENCE).arg(program::tartarus_path()).arg(name).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.env("REDIS_ADDR", "").env("TARTARUS_DATA_DIR", dir.path().join("data"));
    command.env("TARTARUS_LISTEN_ADDR", "127.0.0.1:0").envs(env.iter().copied());
    let got = tests::cli::finish(&mut command, b"");
    let said = format!("{}{}", got.stdout, got.stderr);
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(*word)).collect();
    // Names are shown, and so are values; secrets are not.
    let shown = ["secret@", "a token with blanks"].iter().any(|secret| said.contains(secret));
    (got.code != Some(*code) || !missing.is_empty() || shown)
        .then(|| format!("{name} {env:?}: not {code} {missing:?} but {:?}: {said}", got.code))
}

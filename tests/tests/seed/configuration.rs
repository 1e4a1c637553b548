//! S4 to S17 and S33: the environment, and what a bad one says.

use std::net::TcpListener;

use tests::http::id;
use tests::net::free_port;
use tests::{AgentPlan, House, OlympusPlan, Process, RedisServer};

use crate::{configured, says};

/// What is said where nothing is kept: a test looks for it, and others that it is not there.
const IN_MEMORY: [&str; 2] = ["Using in-memory queue", "Using in-memory registry"];

/// An Olympus with nothing set but where it listens and keeps its files.
fn plan() -> (tempfile::TempDir, OlympusPlan) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let plan = OlympusPlan::new(&dir.path().join("olympus"));
    (dir, plan)
}

/// Starts an Olympus that must end with `code` and say all of `words`.
#[track_caller]
fn refused(env: &[(&str, &str)], code: i32, words: &[&str]) -> String {
    let (_dir, mut plan) = plan();
    for (name, value) in env {
        plan.set(name, value);
    }
    ends(&mut plan.spawn().process, code, words)
}

#[track_caller]
fn ends(process: &mut Process, code: i32, words: &[&str]) -> String {
    let found = process.exit_code();
    let said = process.lines().join("\n");
    assert_eq!(found, Some(code), "{said}");
    for word in words {
        // A JSON log escapes quotes; the sentence is the same.
        assert!(said.replace("\\\"", "\"").contains(word), "no {word:?} in:\n{said}");
    }
    said
}

#[tokio::test]
async fn s04_the_environment_is_trimmed_and_folded_and_anything_else_is_fatal() {
    for word in ["production", " Production ", "PRODUCTION"] {
        refused(&[("TARTARUS_ENV", word)], 2, &["REDIS_ADDR", "production"]);
    }
    for word in ["", "development", " Development\t"] {
        let (_dir, mut plan) = plan();
        // An empty level is none, too: what is configured is logged.
        let olympus = plan.set("TARTARUS_ENV", word).set("REDIS_ADDR", "").set("RUST_LOG", "");
        let olympus = olympus.start().await;
        assert_eq!(configured(&olympus, "TARTARUS_ENV").0, "development", "{word:?}");
    }
    let words = ["TARTARUS_ENV", "staging", "development", "production"];
    refused(&[("TARTARUS_ENV", "staging"), ("REDIS_ADDR", "")], 2, &words);
}

/// `localhost:6379` may be somebody's: this password keeps the test out of it.
const KEEP_OUT: (&str, &str) = ("REDIS_PASSWORD", "no-redis-of-yours-has-this-password");

#[test]
fn s05_s09_the_default_address_applies_in_development_only() {
    let (_dir, mut olympus) = plan();
    olympus.set(KEEP_OUT.0, KEEP_OUT.1).set("TARTARUS_REDIS_WAIT", "100ms");
    let olympus = olympus.spawn();
    let (value, origin) = configured(&olympus, "REDIS_ADDR");
    assert_eq!((&*value, &*origin), ("localhost:6379", "default"));

    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut agent = AgentPlan::new("n1", &dir.path().join("agent"));
    let agent = agent.env(KEEP_OUT.0, KEEP_OUT.1).spawn();
    agent.process.until_says("localhost:6379");

    refused(&[("TARTARUS_ENV", "production")], 2, &["REDIS_ADDR is not set"]);
}

#[tokio::test]
async fn s06_everything_is_in_the_chosen_database_and_no_channel_is_used() {
    let house = House::with(Some(RedisServer::start()), &[("REDIS_DB", "3")]).await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = house.api.submit_command(&["true"]).await;
    house.api.ended(&id(&run)).await;
    let redis = house.redis.as_ref().expect("a Redis");
    for db in (0..16).filter(|db| *db != 3) {
        assert_eq!(redis.keys(db), Vec::<String>::new(), "database {db}");
    }
    let keys = redis.keys(3);
    assert!(keys.contains(&"tartarus:journal".to_owned()), "{keys:?}");
    let mut connection = redis.connect(3);
    let channels: Vec<String> =
        redis::cmd("PUBSUB").arg("CHANNELS").query(&mut connection).expect("channels");
    assert_eq!(channels, Vec::<String>::new());
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut connection).expect("clients");
    assert!(clients.lines().all(|line| line.contains(" sub=0 psub=0 ")), "{clients}");
}

#[test]
fn s06_a_database_that_is_none_is_fatal() {
    for value in ["zero", "-1", "1.5", "99999999999", "0x1"] {
        refused(&[("REDIS_DB", value), ("REDIS_ADDR", "")], 2, &["REDIS_DB", value]);
    }
    let redis = RedisServer::start();
    let (_dir, mut plan) = plan();
    plan.set("REDIS_ADDR", &redis.addr()).set("REDIS_DB", "99");
    let mut olympus = plan.spawn();
    let code = olympus.process.exit_code();
    let said = olympus.process.lines().join("\n");
    assert!(code.is_some_and(|code| code != 0), "{said}");
    assert!(said.contains("REDIS_DB") && said.contains("99"), "{said}");
}

#[tokio::test]
async fn s08_a_password_is_used_and_never_shown() {
    const PASSWORD: &str = "the-password-of-this-test";
    let redis = RedisServer::with_password(PASSWORD);
    let addr = redis.addr();
    for (wrong, code) in [("", 3), ("not-the-password", 3)] {
        let env =
            [("REDIS_ADDR", &*addr), ("REDIS_PASSWORD", wrong), ("TARTARUS_REDIS_WAIT", "5s")];
        let (_dir, mut plan) = plan();
        for (name, value) in env {
            plan.set(name, value);
        }
        let mut olympus = plan.spawn();
        let found = olympus.process.exit_code();
        let said = olympus.process.lines().join("\n");
        assert!(found.is_some_and(|found| [2, code].contains(&found)), "{found:?}: {said}");
        assert!(said.contains("REDIS_PASSWORD"), "{said}");
        assert!(wrong.is_empty() || !said.contains(wrong), "a secret is shown: {said}");
    }
    let house = House::with(Some(redis), &[("REDIS_PASSWORD", PASSWORD)]).await;
    let mut agent = house.agent("n1");
    agent.unset("TARTARUS_ADDR").env("REDIS_ADDR", &addr).env("REDIS_PASSWORD", PASSWORD);
    let agent = agent.start(&house.api).await;
    let run = house.api.submit_command(&["true"]).await;
    house.api.ended(&id(&run)).await;
    for process in [&house.olympus.process, &agent.process] {
        assert!(!process.lines().join("\n").contains(PASSWORD), "a secret is shown");
    }
}

#[tokio::test]
async fn s08_a_password_may_come_from_a_file_but_from_one_place_only() {
    let redis = RedisServer::with_password("from-a-file");
    let (dir, mut plan) = plan();
    let file = dir.path().join("password");
    std::fs::write(&file, "from-a-file\n").expect("a file");
    let file = file.display().to_string();
    plan.set("REDIS_ADDR", &redis.addr()).set("REDIS_PASSWORD_FILE", &file);
    drop(plan.start().await);
    plan.set("REDIS_PASSWORD", "from-a-file");
    ends(&mut plan.spawn().process, 2, &["REDIS_PASSWORD", "REDIS_PASSWORD_FILE", "both set"]);
    plan.unset("REDIS_PASSWORD").set("REDIS_PASSWORD_FILE", "/no/such/file");
    ends(&mut plan.spawn().process, 2, &["REDIS_PASSWORD_FILE", "/no/such/file"]);
}

#[tokio::test]
async fn s08_an_empty_password_means_none() {
    House::with(Some(RedisServer::start()), &[("REDIS_PASSWORD", "")]).await;
}

#[tokio::test]
async fn s10_an_empty_address_in_development_keeps_nothing_and_warns() {
    let house = House::memory().await;
    let warned = house.olympus.process.log().into_iter().any(|entry| {
        entry["level"] == "warn"
            && entry["message"].as_str().is_some_and(|m| m.contains("nothing survives a restart"))
    });
    assert!(warned, "{:#?}", house.olympus.process.lines());
}

#[test]
fn s11_s39_redis_out_of_reach_is_fatal_and_says_what_to_do() {
    let addr = format!("127.0.0.1:{}", free_port());
    let env = [("REDIS_ADDR", &*addr), ("TARTARUS_REDIS_WAIT", "200ms")];
    let said = refused(&env, 3, &[&addr, "redis-cli", "ping`", "REDIS_ADDR=\"\""]);
    for message in IN_MEMORY {
        assert!(!said.contains(message), "never a silent fallback: {said}");
    }
}

#[test]
fn s12_production_without_redis_is_fatal() {
    refused(&[("TARTARUS_ENV", "production")], 2, &["REDIS_ADDR", "host:port"]);
    refused(&[("TARTARUS_ENV", "production"), ("REDIS_ADDR", "")], 2, &["REDIS_ADDR", "host:port"]);
}

#[tokio::test]
async fn s14_s15_redis_is_announced_once_with_its_place_and_the_reason() {
    let env = [("REDIS_DB", "2"), ("REDIS_QUEUE_KEY", "my:queue")];
    let house = House::with(Some(RedisServer::start()), &env).await;
    let addr = house.redis.as_ref().map(RedisServer::addr).unwrap_or_default();
    for message in ["Using Redis queue", "Using Redis registry"] {
        let said = house.olympus.process.said(message);
        assert_eq!(said.len(), 1, "{message} once");
        assert_eq!((said[0]["addr"].as_str(), said[0]["db"].as_u64()), (Some(&*addr), Some(2)));
        assert!(said[0]["why"].as_str().is_some_and(|why| why.contains("REDIS_ADDR")), "{said:?}");
    }
    assert_eq!(house.olympus.process.said("Using Redis queue")[0]["key"], "my:queue");
    assert!(IN_MEMORY.iter().all(|message| !says(&house.olympus.process, message)));
}

#[tokio::test]
async fn s16_s38_memory_is_announced_once_with_the_way_out() {
    let house = House::memory().await;
    for message in IN_MEMORY {
        let said = house.olympus.process.said(message);
        assert_eq!(said.len(), 1, "{message} once");
        assert!(said[0]["why"].as_str().is_some_and(|why| why.contains("REDIS_ADDR")), "{said:?}");
    }
    assert!(!says(&house.olympus.process, "Using Redis queue"));
    house.olympus.process.until_says("set REDIS_ADDR=host:port");
}

#[test]
fn s17_s40_an_address_that_is_none_is_shown_its_right_form() {
    for value in [
        "redis://localhost:6379",
        "localhost",
        "localhost:",
        ":6379",
        "localhost:port",
        "::1:6379",
        "localhost:0",
        "localhost:70000",
        "a b:6379",
    ] {
        refused(&[("REDIS_ADDR", value)], 2, &["REDIS_ADDR", "host:port"]);
    }
    let secret = "redis://:hunter2-hunter2@localhost:6379";
    let said = refused(&[("REDIS_ADDR", secret)], 2, &["REDIS_ADDR", "host:port"]);
    assert!(!said.contains("hunter2"), "a secret is shown: {said}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut agent = AgentPlan::new("n1", &dir.path().join("agent"));
    let mut agent = agent.env("REDIS_ADDR", "redis://localhost:6379").spawn();
    ends(&mut agent.process, 2, &["REDIS_ADDR", "host:port"]);
}

#[tokio::test]
async fn s17_an_address_of_version_six_works() {
    let redis = RedisServer::start();
    let (_dir, mut plan) = plan();
    plan.set("REDIS_ADDR", &format!("[::1]:{}", redis.port())).set("TARTARUS_REDIS_WAIT", "5s");
    if TcpListener::bind("[::1]:0").is_ok() {
        let olympus = plan.start().await;
        assert!(says(&olympus.process, "Using Redis queue"));
    } else {
        // A machine without IPv6: the form is understood, and nobody answers.
        ends(&mut plan.spawn().process, 3, &["[::1]"]);
    }
}

#[tokio::test]
async fn s33_labels_are_a_list_and_bad_syntax_is_fatal() {
    let house = House::memory().await;
    for (node, labels, expected) in [
        ("n1", "", serde_json::json!({})),
        ("n2", "zone=a", serde_json::json!({"zone": "a"})),
        (
            "n3",
            "zone=a, tartarus.io/phlegethon=true",
            serde_json::json!({"zone": "a", "tartarus.io/phlegethon": "true"}),
        ),
    ] {
        let agent = house.agent(node).labels(labels).start(&house.api).await;
        let shown = house.api.get(&format!("/v1/nodes/{node}")).await.expect(200).json();
        assert_eq!(shown["labels"], expected);
        drop(agent);
    }
    for labels in ["zone", "=a", "zone=a=b", "zone=a,,x=y", "zo ne=a", "zone=a b", "zone=a,zone=b"]
    {
        let mut agent = house.agent("n9").labels(labels).spawn();
        ends(&mut agent.process, 2, &["HADES_LABEL", labels, "key=value"]);
    }
}

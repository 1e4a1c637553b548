//! Who vouches for the record: keys, checkpoints, and what an auditor brings from elsewhere.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{Finished, House, RedisServer, until};

const ANOTHER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn tartarus(args: &str) -> Finished {
    tests::tartarus(&args.split_whitespace().collect::<Vec<_>>(), &[])
}

async fn public_key(house: &House) -> String {
    let ready = house.api.get("/readyz").await.expect(200).json();
    ready["public_key"].as_str().expect("a key").to_owned()
}

#[tokio::test]
async fn what_was_written_is_signed_and_only_a_key_from_elsewhere_says_by_whom() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let redis = house.redis.as_ref().expect("a redis").addr();
    let key = public_key(&house).await;
    let posted = house.api.post("/v1/runs", &host(&["true"])).await.expect(202);
    let receipt = posted.header("x-tartarus-receipt").expect("a receipt").to_owned();
    assert_eq!(house.olympus.process.stop(), Some(0));

    // Its last act was to vouch for all that it wrote, but for that act itself.
    let verify = format!("replay verify --redis {redis} -o json");
    let report = tartarus(&format!("{verify} --key {key} --receipt {receipt}")).expect(0).json();
    let vouching = &report["vouching"];
    assert_eq!((&vouching["unsigned"], &vouching["pinned"]), (&json!(1), &json!(1)), "{report:#}");
    assert_eq!((&vouching["keys"], &vouching["receipts"]), (&json!([key]), &json!(1)));

    let file = house.path("export").display().to_string();
    tartarus(&format!("audit export --redis {redis} --output {file}")).expect(0);
    let said = tartarus(&format!("audit verify {file}")).expect(0).stdout;
    assert!(said.contains("no key was pinned") && said.contains("--receipt"), "{said}");
    let keys = house.path("keys");
    std::fs::write(&keys, format!("# ours\n{key} olympus\n")).expect("written");
    for pinned in [&key, &keys.display().to_string()] {
        let said = tartarus(&format!("audit verify {file} --key {pinned}")).expect(0).stdout;
        assert!(said.contains("signed: 1 checkpoint by a pinned key, up to entry"), "{said}");
    }
    for verify in [format!("audit verify {file}"), format!("replay verify --file {file}")] {
        let said = tartarus(&format!("{verify} --key {ANOTHER}")).expect(1).stdout;
        assert!(said.contains("no checkpoint by a pinned key is here"), "{said}");
        tartarus(&format!("{verify} --receipt {receipt}")).expect(0);
        let (sequence, _) = receipt.split_once('-').expect("a receipt");
        let other = format!("{sequence}-0123456789abcdef");
        let said = tartarus(&format!("{verify} --receipt {other}")).expect(1).stdout;
        assert!(said.contains("was given for another entry"), "{said}");
        let said = tartarus(&format!("{verify} --receipt 999-0123456789abcdef")).expect(1).stdout;
        assert!(said.contains("the end is missing"), "{said}");
    }
    for (bad, words) in [("--key nobody", "64 hex digits"), ("--receipt 7", "give a receipt")] {
        let said = tartarus(&format!("audit verify {file} {bad}")).expect(2).stderr;
        assert!(said.contains(words), "{said}");
    }

    // The key is the instance's, whatever happens to its process.
    house.olympus.restart().await;
    assert_eq!(public_key(&house).await, key);
}

#[tokio::test]
async fn a_journal_is_signed_while_it_is_written_and_then_rests() {
    let env = [("TARTARUS_CHECKPOINT_EVERY", "100ms")];
    let house = House::with(None, &env).await;
    let signed = async |n: usize| {
        let path = "/v1/events?follow=false&type=checkpoint.signed";
        until("a checkpoint", || async {
            let request = house.api.request(reqwest::Method::GET, path);
            let page = house.api.send(request.header("accept", "application/x-ndjson")).await;
            let events = page.expect(200).json_lines();
            events.into_iter().filter(|event| event["type"] == "checkpoint.signed").nth(n)
        })
        .await
    };
    let first = signed(0).await;
    assert_eq!(first["data"]["key"], json!(public_key(&house).await));
    house.api.post("/v1/queue/pause", &json!({})).await.expect(200);
    let second = signed(1).await;
    let number = |event: &Value| event["sequence"].as_u64().expect("a number");
    let vouched = |event: &Value| event["data"]["index"].as_u64().expect("a number");
    assert!(vouched(&first) < number(&first) && number(&first) < vouched(&second));
    assert_eq!(number(&second), vouched(&second) + 1, "a checkpoint alone was no news");
}

#[tokio::test]
async fn a_key_that_others_may_read_ends_the_start_and_says_what_to_do() {
    let mut house = House::memory().await;
    let file = house.path("olympus").join("instance.key");
    assert_eq!(house.olympus.process.stop(), Some(0));
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, permissions).expect("permissions");
    };
    mode(0o644);
    let said = tests::cli::finish(&mut house.olympus.plan.command(), b"").expect(2).stderr;
    assert!(said.contains("instance.key may be read by others") && said.contains("chmod 600"));
    mode(0o600);
    std::fs::write(&file, "secret 00\n").expect("written");
    let said = tests::cli::finish(&mut house.olympus.plan.command(), b"").expect(2).stderr;
    assert!(said.contains("is damaged: restore it from a backup"), "{said}");
}

/// Copies a directory of files and directories over another.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("readable");
        if from.is_dir() {
            copy(&from, &to.join(name));
        } else {
            std::fs::copy(&from, to.join(name)).expect("copied");
        }
    }
}

#[tokio::test]
async fn an_old_copy_of_redis_is_found_out_by_an_agent_that_saw_the_new_one() {
    let env = [("TARTARUS_NODE_TTL", "3s")];
    let mut house = House::with(Some(RedisServer::durable()), &env).await;
    let agent = house.agent("n1").start(&house.api).await;
    house.api.ended(&id(&house.api.submit_command(&["true"]).await)).await;
    let backup = house.path("backup");
    copy(house.redis_mut().dir(), &backup);
    let ended = house.api.ended(&id(&house.api.submit_command(&["true"]).await)).await;
    let index = ended["index"].as_u64().expect("a number");
    let redis = house.redis.as_ref().expect("a redis");
    let seen = until("the agent to have seen it", async || {
        let beat = redis::Commands::get(&mut redis.connect(0), "tartarus:node:n1");
        let beat: Option<String> = beat.ok()?;
        let beat: Value = serde_json::from_str(&beat?).expect("JSON");
        let seen = beat["seen"].as_str()?.to_owned();
        let (sequence, _) = seen.split_once('-').expect("a receipt");
        (sequence.parse::<u64>().expect("a number") >= index).then_some(seen)
    })
    .await;
    let ready = house.api.get("/readyz").await.expect(200).json();
    assert_eq!(ready.get("witness"), None, "{ready:#}");

    house.olympus.process.kill();
    house.redis_mut().kill();
    let dir = house.redis_mut().dir().to_owned();
    for entry in std::fs::read_dir(&dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }
            .expect("removed");
    }
    copy(&backup, &dir);
    house.redis_mut().restart();
    house.olympus.restart().await;
    let ready = until("the agent to say what it saw", async || {
        let ready = house.api.get("/readyz").await.json();
        ready.get("witness").is_some().then_some(ready)
    })
    .await;
    let witness = &ready["witness"];
    assert_eq!(witness["node"], "n1", "{ready:#}");
    let said = witness["seen"].as_str().expect("a receipt");
    let sequence = |receipt: &str| -> u64 {
        receipt.split_once('-').expect("a receipt").0.parse().expect("a number")
    };
    assert!(sequence(said) >= sequence(&seen), "{said} {seen}");
    assert!(ready["message"].is_null(), "it serves, and lets people decide: {ready:#}");
    let metrics = house.api.get("/metrics").await.text();
    assert!(!metrics.contains("tartarus_witness_conflicts_total 0"), "{metrics}");
    house.olympus.process.until_says("this is not the journal that an agent saw");
    drop(agent);
}

#[tokio::test]
async fn the_record_says_who_has_led_it_and_what_it_is_written_for() {
    let house = House::memory().await;
    let cli = |args: &str| {
        tests::tartarus(
            &args.split_whitespace().collect::<Vec<_>>(),
            &[("TARTARUS_ADDR", &house.api.url)],
        )
    };
    let key = public_key(&house).await;
    let keys = cli("keys -o json").expect(0).json();
    assert_eq!((&keys[0]["key"], &keys[0]["first_epoch"]), (&json!(key), &json!(1)), "{keys:#}");
    assert!(cli("keys").expect(0).stdout.contains(&key));
    let level = cli("level -o json").expect(0).json();
    assert_eq!((&level["level"], &level["known"]), (&json!(3), &json!(3)), "{level:#}");
    assert_eq!(level["instances"][0]["reads_level"], 3);
    for (to, words) in [("3", "level 3 is in force"), ("4", "knows up to 3")] {
        let said = cli(&format!("level raise {to}")).expect(1).stderr;
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_level_that_a_living_instance_does_not_read_is_not_raised_unseen() {
    let house = House::redis().await;
    let cli = |args: &str| {
        let args: Vec<&str> = args.split_whitespace().collect();
        tests::tartarus(&args, &[("TARTARUS_ADDR", &house.api.url)])
    };
    let redis = house.redis.as_ref().expect("a Redis");
    until("it to say that it lives", || async {
        redis.keys(0).iter().any(|key| key.starts_with("tartarus:instance:")).then_some(())
    })
    .await;
    let older = json!({"url": "http://older:8080", "version": "0.0.9", "reads_level": 2});
    let mut set = redis::cmd("SET");
    set.arg("tartarus:instance:older").arg(older.to_string()).arg("PX").arg(600_000);
    set.exec(&mut redis.connect(0)).expect("set");
    let said = cli("level raise 3").expect(1).stderr;
    for words in ["http://older:8080 (version 0.0.9, reads level 2)", "--force"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let said = cli("level raise 3 --force").expect(1).stderr;
    assert!(said.contains("level 3 is in force"), "{said}");
    redis::cmd("DEL").arg("tartarus:instance:older").exec(&mut redis.connect(0)).expect("gone");
}

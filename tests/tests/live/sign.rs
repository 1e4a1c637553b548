//! Who vouches for the record: keys, checkpoints, and what an auditor brings from elsewhere.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tests::http::host;
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
        assert!(said.contains("checkpoints by a pinned key, up to entry"), "{said}");
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

//! Several instances, each with a disk of its own: none needs another's.

use std::fs;

use rustix::process::Signal;
use tests::house::OlympusPlan;
use tests::http::{host, id};
use tests::{Api, House, until, until_sync};

use crate::load::Load;
use crate::{OFTEN, filled, house, metric, runtime, trimmed};

/// Of which nothing is to be seen where all run the same program.
const DIFFERS: &str = "the state folded here is not the leader's, of the same version: one of the two is \
                       damaged; tartarus replay verify says which";

fn another(house: &House, name: &str) -> OlympusPlan {
    let mut plan = house.another(name);
    for (name, value) in OFTEN {
        plan.set(name, value);
    }
    plan
}

async fn has_all(api: &Api, promised: &[String]) {
    let there: Vec<String> = api.all("/v1/runs?limit=1000").await.iter().map(id).collect();
    let there: std::collections::BTreeSet<&String> = there.iter().collect();
    let lost: Vec<_> = promised.iter().filter(|run| !there.contains(run)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

#[test]
fn an_instance_without_a_past_is_lent_one_and_needs_nobody_then() {
    let runtime = runtime();
    let mut house = runtime.block_on(house());
    let first = runtime.block_on(house.api.post("/v1/runs", &host(&["true"]))).expect(202);
    let load = Load::start(&house.api.url);
    runtime.block_on(filled(&house));
    runtime.block_on(async {
        // Its disk is empty, and what came first is in nobody's Redis.
        let mut second = another(&house, "second").start().await;
        assert_eq!(second.process.said("take a lent snapshot").len(), 1);
        let from = second.process.said("replay the journal")[0]["snapshot"].as_u64();
        assert!(from > Some(1), "{from:?}");
        let receipt = first.header("x-tartarus-receipt").expect("a receipt");
        second.api().get(&format!("/v1/queue?min_index={receipt}")).await.expect(200);
        until("a snapshot beside the leader's", || async {
            (!second.process.said("take a snapshot beside the leader's").is_empty()).then_some(())
        })
        .await;
        let promised = load.stop();
        let differ = second.process.said(DIFFERS);
        assert!(differ.is_empty(), "{differ:?}");

        // The first is lost, with its disk.
        house.olympus.process.kill();
        fs::remove_dir_all(house.path("olympus")).expect("removed");
        let api = second.api();
        until("the second to lead", || async {
            let ready = api.get("/readyz").await.json();
            (ready["role"] == "leader" && ready["message"].is_null()).then_some(())
        })
        .await;
        has_all(&api, &promised).await;

        // It starts from what it has made itself, with nobody to ask.
        second.restart().await;
        assert!(second.process.said("take a lent snapshot").is_empty());
        has_all(&second.api(), &promised).await;

        // Where nobody has one, that is said.
        second.process.kill();
        let mut third = another(&house, "third").spawn();
        let status = until_sync("the start to be refused", || third.process.ended());
        assert_eq!(status.code(), Some(4));
        let words = third.process.lines().join("\n");
        for word in ["the journal begins with entry", "no other instance leads"] {
            assert!(words.contains(word), "{word}: {words}");
        }
    });
}

#[test]
fn a_follower_that_trimming_has_overtaken_takes_a_snapshot_and_skips_nothing() {
    let runtime = runtime();
    let house = runtime.block_on(house());
    let load = Load::start(&house.api.url);
    runtime.block_on(async {
        let mut second = another(&house, "second").start().await;
        let api = second.api();
        let read = api.get("/readyz").await.json()["applied_index"].as_u64().expect("a number");
        second.process.signal(Signal::STOP);
        trimmed(&house, read + 1_000).await;
        let promised = load.stop();
        second.process.signal(Signal::CONT);
        let index = metric(&house, "tartarus_journal_index").await.expect("a number");
        until("it to be at the end", || async {
            let ready = api.get("/readyz").await.json();
            ready["applied_index"].as_u64().filter(|applied| *applied >= index)
        })
        .await;
        assert!(second.process.ended().is_none(), "it stays up");
        has_all(&api, &promised).await;
        let behind = second.process.said("step down");
        let why = behind.first().map(|said| said["reason"].to_string()).unwrap_or_default();
        assert!(why.contains("left behind"), "{why:?}");
    });
}

//! What is kept of the journal: snapshots, the archive and trimming, and `kill -9` in the middle of
//! each (F44 to F47).
//!
//! Hears:  `TARTARUS_TEST_KILLS` (how many; 10 where it is not set) and `TARTARUS_TEST_SEED`.
//! Never:  stops Olympus gently: every stop is `kill -9`.
//! Needs:  `redis-server`.

mod instances;
mod load;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tests::dice::Dice;
use tests::{House, RedisServer, program, until, until_sync};

use crate::load::Load;

/// Kills where nobody says otherwise.
const KILLS: u64 = 10;
/// The longest a house is left alone once it answers again: snapshots and segments take less, and
/// follow one another without a pause.
const CALM: Duration = Duration::from_millis(900);
/// Everything at once: a segment every few entries, a snapshot every few hundred.
const OFTEN: [(&str, &str); 2] =
    [("TARTARUS_SNAPSHOT_BYTES", "150000"), ("TARTARUS_ARCHIVE_BYTES", "20000")];

async fn house() -> House {
    // Redis is never killed here: written through once a second it is faster, and loses nothing.
    House::with(Some(RedisServer::start()), &OFTEN).await
}

/// Waits until entries have left Redis: some ten thousand must be there before any may.
async fn filled(house: &House) {
    trimmed(house, 1).await;
}

/// Waits until this entry has left Redis, for as long as the journal grows.
async fn trimmed(house: &House, entry: u64) {
    let mut index = 0;
    while metric(house, "tartarus_journal_first").await.is_none_or(|first| first <= entry) {
        let more = metric(house, "tartarus_journal_index").await.unwrap_or(index) + 200;
        index = until("the journal to grow", || async {
            metric(house, "tartarus_journal_index").await.filter(|now| *now >= more)
        })
        .await;
    }
}

fn archive(house: &House) -> PathBuf {
    house.path("olympus").join("archive")
}

fn snapshots(house: &House) -> Vec<PathBuf> {
    let read = fs::read_dir(house.path("olympus").join("snapshots"));
    let mut paths: Vec<PathBuf> =
        read.into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "snapshot"));
    paths.sort();
    paths
}

/// A number of `/metrics`.
async fn metric(house: &House, name: &str) -> Option<u64> {
    let api = &house.api;
    let answer = api.try_send(api.request(reqwest::Method::GET, "/metrics")).await.ok()?;
    let text = answer.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// `tartarus replay verify` of what there is, as JSON.
fn verified(house: &House, archive: &Path) -> Value {
    let addr = house.redis.as_ref().expect("a Redis").addr();
    let mut command = program::command();
    command.args(["replay", "verify", "-o", "json", "--redis", &addr, "--archive"]).arg(archive);
    let Output { stdout, stderr, .. } = command.output().expect("it runs");
    serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)))
}

/// A random moment is what is tested here; nothing is waited for.
#[allow(clippy::disallowed_methods, reason = "the length of the pause is the point")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
#[allow(clippy::print_stderr, reason = "the counts are what this test is run for")]
fn nothing_is_lost_whatever_is_killed_while_it_is_kept() {
    let (seed, mut dice) = Dice::from_env();
    let kills = std::env::var("TARTARUS_TEST_KILLS")
        .map_or(KILLS, |text| text.parse().expect("TARTARUS_TEST_KILLS is a number"));
    let runtime = runtime();
    let mut house = runtime.block_on(house());
    let load = Load::start(&house.api.url);
    runtime.block_on(filled(&house));
    let mut torn = 0;
    for kill in 0..kills {
        let before = load.acknowledged();
        until_sync(&format!("work to go on (seed {seed}, kill {kill})"), || {
            if let Some(status) = house.olympus.process.ended() {
                let lines = house.olympus.process.lines().join("\n");
                panic!("olympus ended by itself: {status} (seed {seed}, kill {kill})\n{lines}");
            }
            (load.acknowledged() > before).then_some(())
        });
        pause(Duration::from_micros(dice.below(CALM.as_micros() as u64)));
        house.olympus.respawn();
        // What was never finished is nobody's snapshot.
        let parts = fs::read_dir(house.path("olympus").join("snapshots")).into_iter().flatten();
        torn += parts
            .filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "part")))
            .count();
    }
    let promised = load.stop();
    runtime.block_on(async {
        house.olympus.until_ready().await;
        let there: Vec<String> =
            house.api.all("/v1/runs?limit=1000").await.iter().map(tests::http::id).collect();
        let there: std::collections::BTreeSet<String> = there.into_iter().collect();
        let lost: Vec<_> = promised.iter().filter(|run| !there.contains(*run)).collect();
        assert!(lost.is_empty(), "lost (seed {seed}): {lost:?}");
        let first = metric(&house, "tartarus_journal_first").await.expect("a number");
        let report = verified(&house, &archive(&house));
        assert_eq!(report["good"], true, "seed {seed}: {report:#}");
        assert_eq!(report["first"], 1, "the archive has what left: {report:#}");
        eprintln!(
            "kills {kills}, {} acknowledged, none lost; {} entries, of which Redis has those from \
             {first} on; {} snapshots torn, seed {seed}",
            promised.len(),
            report["entries"],
            torn,
        );
    });
}

#[test]
fn a_start_takes_the_newest_good_snapshot_or_the_archive_or_says_what_is_missing() {
    let runtime = runtime();
    let mut house = runtime.block_on(house());
    let load = Load::start(&house.api.url);
    runtime.block_on(filled(&house));
    load.stop();
    runtime.block_on(async {
        house.olympus.process.kill();
        let from =
            |house: &House| house.olympus.process.said("replay the journal")[0]["snapshot"].clone();
        let sequence = |path: &PathBuf| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            name[..20].parse::<u64>().expect("a sequence")
        };
        let there = snapshots(&house);
        assert!(there.len() >= 2, "{there:?}");
        // The newest is torn: the one before it is taken.
        let newest = there.last().expect("a snapshot");
        let bytes = fs::read(newest).expect("it is there");
        fs::write(newest, &bytes[..bytes.len() / 2]).expect("torn");
        house.olympus = house.olympus.plan.clone().start().await;
        let older = sequence(&there[there.len() - 2]);
        assert_eq!(from(&house), older, "{there:?}");
        house.olympus.process.kill();
        // None is there: all of it is read, from the archive and then from Redis.
        fs::remove_dir_all(house.path("olympus").join("snapshots")).expect("removed");
        house.olympus = house.olympus.plan.clone().start().await;
        assert_eq!(from(&house), 0);
        house.olympus.process.kill();
        // Neither: that is said, and nothing is begun anew.
        let _ = fs::remove_dir_all(house.path("olympus").join("snapshots"));
        fs::rename(archive(&house), house.path("elsewhere")).expect("moved");
        let mut refused = house.olympus.plan.spawn();
        let status = until_sync("the start to be refused", || refused.process.ended());
        assert_eq!(status.code(), Some(4));
        let words = refused.process.lines().join("\n");
        for word in ["the journal begins with entry", "snapshots", "TARTARUS_ARCHIVE"] {
            assert!(words.contains(word), "{word}: {words}");
        }
        // The place can be named.
        let place = house.path("elsewhere").display().to_string();
        let mut plan = house.olympus.plan.clone();
        house.olympus = plan.set("TARTARUS_ARCHIVE", &place).start().await;
    });
}

#[test]
fn what_has_left_redis_is_still_read_and_what_is_nowhere_is_said() {
    let runtime = runtime();
    let house = runtime.block_on(house());
    let load = Load::start(&house.api.url);
    runtime.block_on(filled(&house));
    let promised = load.stop();
    let api = &house.api;
    let draft = json!({
        "since": "24h",
        "policy": {"name": "p", "match": {"templates": ["*"]}, "limits": {"mem_mb": 8_192}},
    });
    runtime.block_on(async {
        let first = metric(&house, "tartarus_journal_first").await.expect("a number");
        // Ids grow with time.
        let run = promised.iter().min().expect("a run");
        let events = api.get(&format!("/v1/runs/{run}/events")).await.expect(200).json();
        assert_eq!(events["items"][0]["type"], "run.rejected", "{events:#}");
        let at = events["items"][0]["sequence"].as_u64().expect("a number");
        assert!(at < first, "entry {at} has left Redis, which begins with {first}");
        let why = api.get(&format!("/v1/runs/{run}/why")).await.expect(200).json();
        assert_eq!(why["items"][0]["id"], events["items"][0]["id"], "{why:#}");
        // All of them were refused for their memory, and the draft lets them in.
        let report = api.post("/v1/policies/p/what-if", &draft).await.expect(200).json();
        assert_eq!(report["flips_total"], promised.len(), "{:#}", report["counts"]);
        assert_eq!(report["begins"], Value::Null);
        // The state as it was then, and at the entry before.
        let path = |at| format!("/v1/runs/{run}?at={at}");
        let then = api.get(&path(at)).await.expect(200);
        assert_eq!((then.index(), &then.json()["status"]), (at, &json!("REJECTED")));
        let ps = ["ps", "--at", &at.to_string()];
        let table = tests::tartarus(&ps, &[("TARTARUS_ADDR", &api.url)]).expect(0).stdout;
        assert!(table.contains(run), "{table}");
        api.get(&path(at - 1)).await.problem(404, "not_found");
        api.get("/v1/events?follow=false&after=1").await.problem(410, "gone");

        fs::rename(archive(&house), house.path("elsewhere")).expect("moved");
        let gone = api.get(&path(at + 1)).await.problem(410, "gone");
        let earliest = gone["detail"].as_str().and_then(|words| words.split("at=").nth(1));
        let earliest = earliest.and_then(|words| words.split(';').next()).expect("the earliest");
        api.get(&format!("/v1/queue?at={earliest}")).await.expect(200);
        for path in [format!("/v1/runs/{run}/events"), format!("/v1/runs/{run}/why")] {
            let problem = api.get(&path).await.problem(503, "journal_unavailable");
            let words = problem["detail"].as_str().expect("words");
            assert!(words.contains("archive"), "{words}");
        }
    });
}

#[test]
fn an_archive_that_is_away_stops_trimming_and_nothing_else() {
    let runtime = runtime();
    runtime.block_on(async {
        let place = tempfile::tempdir().expect("a directory");
        let archive = place.path().join("archive");
        fs::write(&archive, "in the way").expect("written");
        let env = [OFTEN[0], OFTEN[1], ("TARTARUS_ARCHIVE", archive.to_str().expect("UTF-8"))];
        let house = House::with(Some(RedisServer::start()), &env).await;
        let load = Load::start(&house.api.url);
        until("a snapshot", || async {
            metric(&house, "tartarus_snapshot_index").await.filter(|index| *index > 0)
        })
        .await;
        assert_eq!(metric(&house, "tartarus_archived_index").await, Some(0));
        let warned = house.olympus.process.log();
        let warned: Vec<&str> = warned.iter().filter_map(|l| l["message"].as_str()).collect();
        let warned = warned.iter().filter(|line| line.starts_with("could not archive")).count();
        assert_eq!(warned, 1, "it is said once");
        fs::remove_file(&archive).expect("out of the way");
        until("the archive to be used", || async {
            metric(&house, "tartarus_archived_index").await.filter(|index| *index > 0)
        })
        .await;
        assert!(!load.stop().is_empty());
    });
}

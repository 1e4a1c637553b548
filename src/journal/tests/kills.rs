//! What was committed is there, once, whatever happens to Redis and to the network.
//!
//! `TARTARUS_TEST_KILLS` and `TARTARUS_TEST_CUTS` set how often (the nightly run uses 200 and
//! 1,000), `TARTARUS_TEST_SEED` repeats a run.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use journal::{EntryId, Journal, Outcome, RedisConfig, RedisJournal, Writer};
use support::dice::{Dice, number};
use support::proxy::Proxy;
use support::{RedisServer, lead, read_all, seal, texts};

/// Commits until told to stop, and remembers what was acknowledged.
async fn commit_until(
    config: RedisConfig,
    stop: Arc<AtomicBool>,
    mut dice: Dice,
) -> BTreeMap<EntryId, String> {
    let journal = Arc::new(RedisJournal::new(config));
    let opened = loop {
        // A cut may hit the start as well.
        match journal.open(None).await {
            Ok(opened) => break opened,
            Err(error) => assert_eq!(error.exit_code(), 3, "{error}"),
        }
    };
    let mut chain = lead(&opened);
    let mut writer = Writer::new(journal, opened.tail);
    let mut acknowledged = BTreeMap::new();
    for number in 0.. {
        let text = format!("{number} {}", "x".repeat(dice.below(4_000) as usize));
        let sealed = seal(&mut chain, &text);
        match writer.commit(&sealed).await {
            Outcome::Committed => acknowledged.insert(sealed.id(), text),
            end => panic!("{end:?}"),
        };
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    acknowledged
}

/// Every acknowledged text is in the journal, in order, and nothing else is.
async fn check(server: &RedisServer, acknowledged: BTreeMap<EntryId, String>) {
    let journal = server.journal();
    let opened = journal.open(None).await.unwrap();
    let entries = read_all(&*journal, &opened).await;
    let mut found: Vec<EntryId> = entries.iter().map(journal::Entry::id).collect();
    // The first entry holds nothing.
    found.remove(0);
    let mut wanted: Vec<_> = acknowledged.into_iter().collect();
    wanted.sort_by_key(|(id, _)| id.seq);
    let (ids, wanted): (Vec<EntryId>, Vec<String>) = wanted.into_iter().unzip();
    assert_eq!(found, ids);
    assert!(texts(&entries) == wanted, "the contents differ");
}

#[tokio::test]
async fn kill_9_of_redis_loses_nothing_and_doubles_nothing() {
    let kills = number("TARTARUS_TEST_KILLS", 6);
    let mut dice = Dice::new();
    let mut server = RedisServer::durable().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(commit_until(server.config(), stop.clone(), dice.split()));
    for _ in 0..kills {
        // Not a wait for anything: the moment of the fault.
        tokio::time::sleep(Duration::from_micros(dice.below(60_000))).await;
        server.kill();
        tokio::time::sleep(Duration::from_micros(dice.below(5_000))).await;
        server.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.await.unwrap();
    assert!(!acknowledged.is_empty());
    check(&server, acknowledged).await;
}

#[tokio::test]
async fn cut_connections_lose_nothing_and_double_nothing() {
    let cuts = number("TARTARUS_TEST_CUTS", 60);
    let mut dice = Dice::new();
    let server = RedisServer::fleeting().await;
    // Enough for the checks of a new connection, most of the time.
    let proxy = Proxy::before(server.port, 40_000, dice.split()).await;
    let address = format!("127.0.0.1:{}", proxy.port).parse().unwrap();
    let config = RedisConfig { wait: Duration::from_secs(2), ..RedisConfig::at(address) };
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(commit_until(config, stop.clone(), dice.split()));
    support::until("the connections are cut", async || proxy.cuts() >= cuts).await;
    stop.store(true, Ordering::Relaxed);
    check(&server, writer.await.unwrap()).await;
}

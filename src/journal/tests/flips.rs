//! A bit that flips anywhere in what was stored is found before anything is believed.

mod support;

use std::path::PathBuf;

use journal::{Chain, Cursor, Entry, Expected, Journal, MemoryJournal, OpenError, Opened, Refusal};
use support::dice::{Dice, number};
use support::{RedisServer, lead, read_all, seal};

async fn written(journal: &dyn Journal, entries: usize) -> (Opened, Chain) {
    let opened = journal.open(None).await.unwrap();
    let mut chain = lead(&opened);
    for i in 0..entries {
        let sealed = seal(&mut chain, &format!("entry {i} {}", "x".repeat(i % 97)));
        journal.append(&sealed).await;
    }
    (opened, chain)
}

/// Everything that a reader believes, up to the first thing that it does not.
async fn believed(journal: &dyn Journal, opened: &Opened) -> Result<Vec<Entry>, OpenError> {
    let mut cursor = Cursor::start(opened.tail.identity);
    let mut all = Vec::new();
    loop {
        let page = journal.read(&cursor).await?;
        if page.entries.is_empty() {
            return Ok(all);
        }
        all.extend(page.entries);
        cursor = page.next;
    }
}

#[tokio::test]
async fn every_single_bit_of_an_entry_counts() {
    let journal = MemoryJournal::default();
    let (opened, _) = written(&journal, 3).await;
    let bits = read_all(&journal, &opened).await[2].bytes().len() * 8;
    for bit in 0..bits {
        let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
        journal.store().tamper(3, flip);
        let refused = believed(&journal, &opened).await.expect_err(&format!("bit {bit}"));
        let OpenError::Refused(Refusal::Damaged(damaged)) = refused else { panic!("bit {bit}") };
        assert_eq!(damaged.id.seq, 3, "bit {bit}: the wrong entry is named");
        journal.store().tamper(3, flip);
    }
    assert_eq!(believed(&journal, &opened).await.unwrap().len(), 4);
}

#[tokio::test]
async fn an_entry_that_is_cut_grown_or_gone_is_named() {
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1),
        |bytes: &mut Vec<u8>| bytes.push(0),
        |bytes: &mut Vec<u8>| bytes.clear(),
    ] {
        let journal = MemoryJournal::default();
        let (opened, _) = written(&journal, 4).await;
        journal.store().tamper(3, damage);
        let text = believed(&journal, &opened).await.unwrap_err().to_string();
        assert!(text.contains("journal entry 3-"), "{text}");
    }
    let journal = MemoryJournal::default();
    let (opened, _) = written(&journal, 4).await;
    journal.store().remove(3);
    let text = believed(&journal, &opened).await.unwrap_err().to_string();
    assert!(text.contains("journal entry 4-") && text.contains("1 entries between"), "{text}");
    let text = journal.check().await.unwrap_err().to_string();
    assert!(text.contains("some are missing"), "{text}");
}

/// The append-only file that Redis writes to at present.
fn newest_file(server: &RedisServer) -> PathBuf {
    let folder = std::fs::read_dir(server.dir().join("appendonlydir")).unwrap();
    let mut files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.to_str().is_some_and(|path| path.ends_with(".incr.aof")));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Redis itself does not find most of them.
#[tokio::test]
#[allow(clippy::print_stderr, reason = "shown when the test fails, or on request")]
async fn a_bit_that_flips_in_the_file_of_redis_is_found_or_does_nothing() {
    let flips = number("TARTARUS_TEST_FLIPS", 25);
    let mut server = RedisServer::with(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--aof-load-truncated",
        "no",
    ])
    .await;
    let (opened, _) = written(&*server.journal(), 40).await;
    let expected = Expected { cluster: opened.tail.identity.cluster, source: "cluster-id".into() };
    let truth = read_all(&*server.journal(), &opened).await;
    server.kill();
    let file = newest_file(&server);
    let whole = std::fs::read(&file).unwrap();
    let mut dice = Dice::new();
    let (mut not_started, mut refused, mut harmless) = (0, 0, 0);
    for _ in 0..flips {
        let at = dice.below(whole.len() as u64 * 8) as usize;
        let mut damaged = whole.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        std::fs::write(&file, &damaged).unwrap();
        server.spawn();
        // It answers, or it has ended because of what it read.
        while server.runs() && server.try_raw(&["PING"]).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        if server.runs() {
            let journal = server.journal();
            match journal.open(Some(&expected)).await {
                Err(OpenError::Refused(_)) => refused += 1,
                Err(other) => panic!("bit {at}: {other}"),
                Ok(opened) => match believed(&*journal, &opened).await {
                    Ok(entries) => {
                        assert_eq!(entries, truth, "bit {at} changed the past unseen");
                        harmless += 1;
                    }
                    Err(_) => refused += 1,
                },
            }
        } else {
            not_started += 1;
        }
        server.kill();
    }
    eprintln!("{not_started} not started, {refused} refused, {harmless} harmless");
    assert_eq!(not_started + refused + harmless, flips);
    assert!(refused > 0 || flips < 10, "no flip was left for the chain to find");
}

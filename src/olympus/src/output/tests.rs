//! The store over a directory of its own.

use std::path::PathBuf;
use std::sync::Arc;

use api::Stream::{Stderr, Stdout};
use api::session::{OutputSummary, chunk_header};
use domain::RunId;
use domain::ids::{Hex, Token};
use uuid::Uuid;

use super::{Append, OutputStore, Reader, Seal, Sync};

const RUN: RunId = RunId(Uuid::from_u128(0x7a11));
const MINE: Token = Hex([1; 16]);
/// Bytes before the first chunk.
const BEFORE: usize = super::FRAME_HEADER + MINE.0.len();

fn store(dir: &tempfile::TempDir) -> Arc<OutputStore> {
    Arc::new(OutputStore::open(dir.path(), Sync::Disk).expect("a store"))
}

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("output/11").join(RUN.0.simple().to_string())
}

async fn write(store: &OutputStore, number: u32, data: &str) -> u32 {
    let stream = if number.is_multiple_of(2) { Stdout } else { Stderr };
    let time_ms = 1_000 + u64::from(number);
    let data = data.as_bytes();
    let chunk = Append { run: RUN, attempt: 1, token: MINE, number, stream, time_ms, data };
    store.append(chunk).await.expect("kept")
}

async fn text(mut reader: Reader) -> String {
    let mut text = String::new();
    loop {
        let page = reader.page().await.expect("a page");
        if page.chunks.is_empty() {
            return text;
        }
        for chunk in page.chunks {
            text.push_str(std::str::from_utf8(&chunk.data).expect("text"));
        }
    }
}

async fn all(store: &Arc<OutputStore>) -> String {
    text(store.read(RUN, 1, false).await.expect("readable").expect("there")).await
}

/// What an agent that sent these chunks says at the end.
fn sent(chunks: &[&str]) -> OutputSummary {
    let mut hash = blake3::Hasher::new();
    let mut bytes = [0, 0];
    for (number, data) in chunks.iter().enumerate() {
        let stream = if number.is_multiple_of(2) { Stdout } else { Stderr };
        bytes[number % 2] += data.len() as u64;
        hash.update(&chunk_header(stream, data.len() as u32)).update(data.as_bytes());
    }
    OutputSummary {
        chunks: chunks.len() as u32,
        stdout_bytes: bytes[0],
        stderr_bytes: bytes[1],
        truncated: false,
        digest: (!chunks.is_empty()).then(|| Hex(*hash.finalize().as_bytes())),
    }
}

#[tokio::test]
async fn a_chunk_is_kept_once_and_never_behind_a_gap() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir);
    for (number, data, next) in [(0, "a", 1), (1, "b", 2), (1, "b", 2), (0, "x", 2), (5, "y", 2)] {
        assert_eq!(write(&store, number, data).await, next, "chunk {number}");
    }
    assert_eq!(all(&store).await, "ab");
}

#[tokio::test]
async fn output_survives_a_restart_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    write(&store(&dir), 0, "before ").await;
    let store = store(&dir);
    assert_eq!(store.next(RUN, 1, MINE).await.expect("readable"), 1);
    assert_eq!(write(&store, 1, "after").await, 2);
    assert_eq!(all(&store).await, "before after");
    let seal = store.seal(RUN, 1, MINE, sent(&["before ", "after"])).await.expect("sealed");
    assert!(matches!(seal, Seal::Complete(summary) if summary.stderr_bytes == 5), "{seal:?}");
}

#[tokio::test]
async fn a_torn_end_is_cut_off_at_every_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = store(&dir);
        write(&store, 0, "whole").await;
        write(&store, 1, "torn").await;
    }
    let whole = std::fs::read(file(&dir)).expect("a file");
    let first = BEFORE + super::FRAME_HEADER + "whole".len();
    for cut in first..whole.len() {
        std::fs::write(file(&dir), &whole[..cut]).expect("a file");
        let store = store(&dir);
        assert_eq!(store.next(RUN, 1, MINE).await.expect("readable"), 1, "cut at {cut}");
        assert_eq!(write(&store, 1, "again").await, 2, "cut at {cut}");
        assert_eq!(all(&store).await, "wholeagain", "cut at {cut}");
    }
}

#[tokio::test]
async fn a_flipped_byte_in_the_middle_is_an_error_of_the_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir);
    let long = "x".repeat(60_000);
    for number in 0..4 {
        write(&store, number, &long).await;
    }
    let mut bytes = std::fs::read(file(&dir)).expect("a file");
    bytes[BEFORE + super::FRAME_HEADER + 7] ^= 1;
    std::fs::write(file(&dir), bytes).expect("a file");
    let mut reader = store.read(RUN, 1, false).await.expect("readable").expect("there");
    let error = reader.page().await.expect_err("damaged");
    assert_eq!(error.to_string(), format!("output is damaged at byte {BEFORE}"));
}

#[tokio::test]
async fn a_seal_asks_for_what_is_missing_and_starts_over_where_the_digest_differs() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir);
    write(&store, 0, "a").await;
    let seal = store.seal(RUN, 1, MINE, sent(&["a", "b"])).await.expect("asked");
    assert_eq!(seal, Seal::Missing { next: 1 });
    let seal = store.seal(RUN, 1, MINE, sent(&["z"])).await.expect("asked");
    assert_eq!(seal, Seal::Missing { next: 0 });
    assert_eq!(write(&store, 0, "z").await, 1);
    let seal = store.seal(RUN, 1, MINE, sent(&["z"])).await.expect("sealed");
    assert!(matches!(seal, Seal::Complete(summary) if summary.chunks == 1), "{seal:?}");
    assert_eq!(store.live_attempts(), 0, "a sealed file is closed");
}

#[tokio::test]
async fn silence_needs_no_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir);
    let seal = store.seal(RUN, 1, MINE, sent(&[])).await.expect("sealed");
    assert!(matches!(seal, Seal::Complete(summary) if summary.digest.is_none()), "{seal:?}");
    assert!(store.read(RUN, 1, false).await.expect("readable").is_none());
    assert!(!file(&dir).exists());
}

#[tokio::test]
async fn a_follower_hears_of_every_chunk_from_before_the_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir);
    let mut reader = store.read(RUN, 1, true).await.expect("readable").expect("expected");
    assert!(reader.page().await.expect("a page").chunks.is_empty());
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for number in 0..50 {
            write(&writer, number, "x").await;
        }
    });
    let mut heard = 0;
    while heard < 50 {
        reader.more().await;
        heard += reader.page().await.expect("a page").chunks.len();
    }
    writing.await.expect("written");
    store.release(RUN, 1);
    assert_eq!(store.live_attempts(), 1, "the follower holds it");
    drop(reader);
    assert_eq!(store.live_attempts(), 0);
}

#[tokio::test]
async fn more_than_a_page_is_read_in_pages() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir);
    let long = "y".repeat(60_000);
    for number in 0..20 {
        write(&store, number, &long).await;
    }
    assert_eq!(all(&store).await.len(), 20 * 60_000);
}

#[tokio::test]
async fn an_attempt_that_writes_without_end_is_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir);
    let long = vec![b'z'; api::session::CHUNK_BYTES];
    let mut number = 0;
    let error = loop {
        let chunk = Append {
            run: RUN,
            attempt: 1,
            token: MINE,
            number,
            stream: Stdout,
            time_ms: 0,
            data: &long,
        };
        match store.append(chunk).await {
            Ok(next) => number = next,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    assert!(u64::from(number) * 65_536 >= api::session::Terms::OUTPUT_MAX_BYTES);
}

#[tokio::test]
async fn what_is_removed_is_gone_with_all_attempts() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir);
    write(&store, 0, "a").await;
    let second = Append {
        run: RUN,
        attempt: 2,
        token: MINE,
        number: 0,
        stream: Stdout,
        time_ms: 0,
        data: b"second",
    };
    store.append(second).await.expect("kept");
    let reader = store.read(RUN, 2, false).await.expect("readable").expect("there");
    assert_eq!(store.runs().await.expect("listed"), [RUN].into());
    store.remove(RUN).await.expect("removed");
    store.remove(RUN).await.expect("removed twice");
    assert_eq!(text(reader).await, "second", "a reader that is at it reads to the end");
    assert!(store.runs().await.expect("listed").is_empty());
    for attempt in [1, 2] {
        assert!(store.read(RUN, attempt, false).await.expect("readable").is_none());
    }
    assert_eq!(store.live_attempts(), 0);
}

#[tokio::test]
async fn what_another_attempt_of_the_number_wrote_is_thrown_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let other: Token = Hex([2; 16]);
    let chunk = |token, number, data| Append {
        run: RUN,
        attempt: 1,
        token,
        number,
        stream: Stdout,
        time_ms: 0,
        data,
    };
    for number in 0..3 {
        store(&dir).append(chunk(other, number, b"lost")).await.expect("kept");
    }
    assert_eq!(store(&dir).next(RUN, 1, other).await.expect("readable"), 3);
    let store = store(&dir);
    assert_eq!(store.next(RUN, 1, MINE).await.expect("readable"), 0);
    assert_eq!(store.append(chunk(other, 0, b"lost")).await.expect("kept"), 1);
    assert_eq!(store.append(chunk(MINE, 0, b"mine")).await.expect("kept"), 1);
    assert_eq!(all(&store).await, "mine");
    let seal = store.seal(RUN, 1, other, sent(&[])).await.expect("sealed");
    assert!(matches!(seal, Seal::Complete(summary) if summary.chunks == 0), "{seal:?}");
}

#[tokio::test]
async fn a_file_from_before_tokens_were_kept_is_of_whoever_asks() {
    let dir = tempfile::tempdir().expect("a directory");
    write(&store(&dir), 0, "old ").await;
    let whole = std::fs::read(file(&dir)).expect("a file");
    std::fs::write(file(&dir), &whole[BEFORE..]).expect("a file");
    let store = store(&dir);
    assert_eq!(store.next(RUN, 1, MINE).await.expect("readable"), 1);
    assert_eq!(write(&store, 1, "new").await, 2);
    assert_eq!(all(&store).await, "old new");
}

//! How fast the journal is on this machine: verifying, decoding, reading from Redis, appending.
//!
//! `cargo run --release -p journal --example rates`; needs redis-server on the PATH.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement, not a server")]

#[path = "../tests/golden_samples/mod.rs"]
mod golden_samples;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use domain::Event;
use domain::kept::LEVEL;
use journal::{
    Appended, Batch, Chain, ClusterId, Cursor, Identity, Journal, Position, Sealed, Tail, catalog,
};
use support::RedisServer;
use uuid::Uuid;

/// What one run leaves behind: admitted, assigned, started, finished.
fn life_of_a_run() -> Vec<Event> {
    let samples = golden_samples::samples();
    let mut events: Vec<Event> = ["run.admitted", "run.assigned", "run.started", "run.finished"]
        .iter()
        .filter_map(|name| {
            samples.iter().flatten().find(|event| catalog::type_of(event).name == *name).cloned()
        })
        .collect();
    // The sample holds every objection there is; an admitted run has none.
    for event in &mut events {
        if let Event::RunAdmitted(admitted) = event {
            let admitted = std::sync::Arc::make_mut(admitted);
            let judgement = std::sync::Arc::make_mut(&mut admitted.judgement);
            judgement.opinions.iter_mut().for_each(|opinion| opinion.objections.clear());
        }
    }
    events
}

fn tail() -> Tail {
    let identity = Identity { cluster: ClusterId(Uuid::new_v4()), incarnation: 1 };
    Tail { identity, position: Position::ORIGIN, epoch: 0, at_ms: 0 }
}

/// As a journal of a level is written: below [`LEVEL`] secrets are not kept apart.
fn entries(chain: &mut Chain, level: u32, records: usize, count: usize) -> Vec<Sealed> {
    let life = life_of_a_run();
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut batch = Batch::of(catalog::format_at(level));
        for event in life.iter().cycle().take(records) {
            catalog::encode_at(level, event, &mut batch).unwrap();
        }
        all.push(chain.seal(0, batch).unwrap());
    }
    all
}

fn report(what: &str, events: usize, bytes: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    let millions = events as f64 / seconds / 1e6;
    let megabytes = bytes as f64 / seconds / 1e6;
    println!("{what:<44} {millions:>8.2} M events/s {megabytes:>8.0} MB/s");
}

/// The shortest of several rounds: what the machine can do when nobody else is at work.
fn best(mut round: impl FnMut()) -> Duration {
    let time = |_| {
        let started = Instant::now();
        round();
        started.elapsed()
    };
    (0..ROUNDS).map(time).min().unwrap_or_default()
}

/// Rounds of everything that needs no server.
const ROUNDS: usize = 8;

fn verify_and_decode(level: u32, records: usize) {
    const EVENTS: usize = 200_000;
    let (tail, mut sealed) = (tail(), Vec::new());
    let said = format!("{records} a batch, level {level}");
    let took = best(|| {
        let mut chain = Chain::lead_from(tail, Uuid::new_v4());
        sealed = entries(&mut chain, level, records, EVENTS / records);
    });
    let bytes: usize = sealed.iter().map(|sealed| sealed.bytes().len()).sum();
    report(&format!("encode and seal, {said}"), EVENTS, bytes, took);

    let mut read = Vec::new();
    let took = best(|| {
        let mut cursor = Cursor::start(tail.identity);
        let accept = |sealed: &Sealed| cursor.accept(sealed.id(), sealed.bytes().clone()).unwrap();
        read = sealed.iter().map(accept).collect();
    });
    report(&format!("verify, {said}"), EVENTS, bytes, took);

    let took = best(|| {
        let mut events = 0;
        for event in read.iter().flat_map(catalog::events) {
            black_box(event.unwrap());
            events += 1;
        }
        assert_eq!(events, EVENTS);
    });
    report(&format!("decode, {said}"), EVENTS, bytes, took);
}

async fn read_from_redis(records: usize) {
    const EVENTS: usize = 400_000;
    let server = RedisServer::fleeting().await;
    let journal = server.journal();
    let opened = journal.open(None).await.unwrap();
    let mut chain = Chain::lead_from(opened.tail, Uuid::new_v4());
    let mut bytes = 0;
    for sealed in entries(&mut chain, LEVEL, records, EVENTS / records) {
        bytes += sealed.bytes().len();
        assert_eq!(journal.append(&sealed).await, Appended::Committed { duplicate: false });
    }
    let started = Instant::now();
    let mut cursor = Cursor::start(opened.tail.identity);
    let mut events = 0;
    loop {
        let page = journal.read(&cursor).await.unwrap();
        if page.entries.is_empty() {
            break;
        }
        events += page.entries.iter().map(|entry| entry.header().records as usize).sum::<usize>();
        cursor = page.next;
    }
    assert_eq!(events, EVENTS);
    report(
        &format!("read from Redis and verify, {records} a batch"),
        EVENTS,
        bytes,
        started.elapsed(),
    );
}

async fn append(fsync: &str, size: usize) {
    let server = RedisServer::with(&["--appendonly", "yes", "--appendfsync", fsync]).await;
    let journal = server.journal();
    let opened = journal.open(None).await.unwrap();
    let mut chain = Chain::lead_from(opened.tail, Uuid::new_v4());
    let text = "x".repeat(size);
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        let batch: Batch = support::batch(&text);
        let sealed = chain.seal(0, batch).unwrap();
        let sent = Instant::now();
        assert_eq!(journal.append(&sealed).await, Appended::Committed { duplicate: false });
        times.push(sent.elapsed());
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e3;
    let (p50, p99) = (at(50), at(99));
    println!(
        "append, {fsync:<8} {size:>7} B {rate:>10.0} entries/s   p50 {p50:.2} ms   p99 {p99:.2} ms"
    );
}

fn main() {
    for (level, records) in [(1, 1), (LEVEL, 1), (1, 100), (LEVEL, 100), (1, 1_000), (LEVEL, 1_000)]
    {
        verify_and_decode(level, records);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for records in [1, 100, 1_000] {
            read_from_redis(records).await;
        }
        if std::env::args().nth(1).as_deref() == Some("read") {
            return;
        }
        for fsync in ["always", "everysec"] {
            for size in [300, 16_000, 56_000, 400_000] {
                append(fsync, size).await;
            }
        }
    });
}

//! A day of the real program, recorded once, and replayed by every build: the same state at every
//! checkpoint, and nothing in it that the law of today would decide otherwise.
//!
//! Where the shape of the state is changed on purpose, `STATE_VERSION` is raised and the digests are
//! written anew by `scripts/record-journal --digests`, from the same entries: what they mean is then
//! looked at by people. Where new kinds of events exist, `scripts/record-journal` lives another day.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use domain::World;
use domain::pieces::STATE_VERSION;
use journal::{Entry, EntryId, MemoryJournal, catalog};
use replay::source::Over;
use replay::{Source, verify};
use serde::{Deserialize, Serialize};

/// Between two digests.
const EVERY: u64 = 25;
/// Kinds of events that take more than a minute of journal: what is kept of it has tests of its own.
const ABSENT: [&str; 4] =
    ["snapshot.begun", "snapshot.taken", "journal.archived", "journal.trimmed"];

/// What the state was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Expected {
    /// The shape that the digests are of.
    state_version: u32,
    entries: u64,
    /// Events by type.
    events: BTreeMap<String, u64>,
    /// Digests of the state after entries.
    digests: BTreeMap<u64, String>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The entries as they were stored: of each its id, its length, and its bytes; all of it zstd.
fn recorded() -> Vec<(EntryId, Bytes)> {
    let file = std::fs::read(fixture("day.entries.zst")).expect("the recorded day");
    let mut rest = Bytes::from(zstd::decode_all(&*file).expect("zstd"));
    let number = |rest: &mut Bytes| {
        u64::from_le_bytes(rest.split_to(8)[..].try_into().expect("eight bytes"))
    };
    let mut all = Vec::new();
    while !rest.is_empty() {
        let id = EntryId { seq: number(&mut rest), h64: number(&mut rest) };
        let len = usize::try_from(number(&mut rest)).expect("a length");
        all.push((id, rest.split_to(len)));
    }
    all
}

fn source(entries: &[(EntryId, Bytes)]) -> Source {
    let journal = MemoryJournal::default();
    for (id, bytes) in entries {
        journal.store().put(*id, bytes.clone());
    }
    Source::journal(Arc::new(journal))
}

/// Folds entries; what came of it.
fn lived(entries: &[(EntryId, Bytes)]) -> Expected {
    let mut world = World::default();
    let (mut events, mut digests) = (BTreeMap::new(), BTreeMap::new());
    let last = entries.last().map_or(0, |(id, _)| id.seq);
    for (id, bytes) in entries {
        let entry = Entry::parse(*id, bytes.clone()).expect("an entry");
        for event in catalog::events(&entry) {
            let (_, event) = event.expect("an event");
            world.evolve(id.seq, &event);
            *events.entry(catalog::type_of(&event).name.to_owned()).or_insert(0) += 1;
        }
        if id.seq % EVERY == 0 || id.seq == last {
            digests.insert(id.seq, world.digest().to_string());
        }
    }
    let entries = entries.len() as u64;
    Expected { state_version: STATE_VERSION, entries, events, digests }
}

#[tokio::test]
async fn a_recorded_day_comes_to_the_same_state_in_every_build() {
    record_if_told().await;
    let entries = recorded();
    let text = std::fs::read_to_string(fixture("day.json")).expect("what it came to");
    let expected: Expected = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        expected.state_version, STATE_VERSION,
        "the state has another shape: scripts/record-journal --digests, and look at what changed"
    );
    let found = lived(&entries);
    for (sequence, digest) in &expected.digests {
        assert_eq!(
            found.digests.get(sequence),
            Some(digest),
            "after entry {sequence} the state is not what it was: where that is meant, raise \
             STATE_VERSION and run scripts/record-journal --digests"
        );
    }
    assert_eq!(found, expected);
    let report = verify::verify(&mut source(&entries), |_, _| {}).await.expect("an audit");
    assert!(report.good, "{:#?}", report.findings);
    assert_eq!(report.digest.as_ref(), expected.digests.values().next_back());
}

#[test]
fn every_kind_of_event_that_can_be_recorded_is() {
    let found = lived(&recorded()).events;
    for of in catalog::TYPES {
        let there = found.contains_key(of.name);
        assert_eq!(there, !ABSENT.contains(&of.name), "{}: record a new day", of.name);
    }
}

/// What `scripts/record-journal` runs the test for: takes the entries of an export for the fixture,
/// and writes what they come to; or, told `digests`, the latter alone.
async fn record_if_told() {
    let Some(told) = std::env::var_os("TARTARUS_RECORD") else { return };
    if told != "digests" {
        let mut source = Source::file(told.as_ref()).expect("an export");
        let mut bytes = Vec::new();
        loop {
            let (page, over) = source.page().await;
            for entry in page {
                let (id, stored) = (entry.id(), entry.bytes());
                for number in [id.seq, id.h64, stored.len() as u64] {
                    bytes.extend(number.to_le_bytes());
                }
                bytes.extend_from_slice(stored);
            }
            match over {
                None => {}
                Some(Over::End) => break,
                Some(other) => panic!("{other:?}"),
            }
        }
        std::fs::create_dir_all(fixture("")).expect("a directory");
        let packed = zstd::encode_all(&*bytes, 19).expect("zstd");
        std::fs::write(fixture("day.entries.zst"), packed).expect("written");
    }
    let text = serde_json::to_string_pretty(&lived(&recorded())).expect("JSON");
    std::fs::write(fixture("day.json"), text + "\n").expect("written");
}

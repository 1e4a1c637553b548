//! Snapshots: whole at any prefix of a day, and never believed when they are not.

use std::fs;
use std::path::Path;

use domain::World;
use domain::ids::Hex;
use domain::pieces::{Digester, STATE_VERSION};
use journal::{Cursor, Entry, MemoryJournal, Tail, catalog};
use replay::snapshot::{BadSnapshot, decode, encode};
use replay::source::Unreadable;
use replay::state::{self, State};
use replay::{Point, Snapshots};

use crate::day::{day, entries, journal, secret_day, source};
use crate::dice::Dice;

/// Every prefix of a journal: where it ends, and the state there.
async fn prefixes(journal: &MemoryJournal) -> Vec<(Tail, World)> {
    let entries: Vec<Entry> = entries(journal).await;
    let mut cursor = Cursor::start(entries[0].header().identity);
    let mut world = World::default();
    let folded = entries.iter().map(|entry| {
        cursor.accept(entry.id(), entry.bytes().clone()).expect("it follows");
        for event in catalog::events(entry) {
            world.evolve(entry.seq(), &event.expect("an event").1);
        }
        (cursor.tail().expect("an entry"), world.clone())
    });
    folded.collect()
}

fn bytes_of(tail: Tail, world: &World) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(tail, world, &mut bytes).expect("memory takes everything");
    bytes
}

fn snapshots(dir: &Path) -> Snapshots {
    Snapshots::at(dir.join("snapshots"))
}

#[tokio::test]
async fn a_snapshot_of_any_prefix_is_the_state_there() {
    for (tail, world) in prefixes(&journal(&day().0).await).await {
        let bytes = bytes_of(tail, &world);
        let (header, again, digest) = decode(std::io::Cursor::new(&bytes)).expect("whole");
        assert!(again == world, "after entry {}", tail.position.seq);
        assert_eq!((header.tail, digest), (tail, world.digest()));
    }
}

#[tokio::test]
async fn a_snapshot_and_the_tail_are_the_whole_journal() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = snapshots(dir.path());
    let journal = journal(&day().0).await;
    let all = state::at(&mut source(&journal), None, |_| {}).await.expect("a state");
    let prefixes = prefixes(&journal).await;
    for (tail, world) in &prefixes {
        let (tail, world) = (*tail, world.clone());
        store.store(tail, &world).expect("stored");
        let sequence = tail.position.seq;
        let newest = store.newest_before(Some(tail.identity), None).expect("it is there");
        assert_eq!(newest.tail(), tail);
        let mut journal_of = source(&journal);
        let end = state::onward(&mut journal_of, State::of(newest.clone()), None, |_| {}).await;
        assert!(end.expect("a state").world == all.world, "from entry {sequence}");
        let point = Point::Sequence(sequence);
        let mut journal_of = source(&journal);
        let here = state::onward(&mut journal_of, State::of(newest), Some(point), |_| {}).await;
        assert!(here.expect("a state").world == world, "the very entry");
    }
    let loaded = store.newest_before(None, Some(Point::Sequence(7))).expect("one is old enough");
    assert_eq!(loaded.tail().position.seq, 7);
    let (mut journal_of, earlier) = (source(&journal), Some(Point::Sequence(5)));
    let back = state::onward(&mut journal_of, State::of(loaded), earlier, |_| {}).await;
    assert!(matches!(back, Err(Unreadable::NotWhole { first: 8 })), "time goes one way");
    assert_eq!(store.prune(prefixes[0].0.identity, 3).expect("removed"), prefixes.len() - 3);
    assert_eq!(store.list().expect("listed").len(), 3);
}

#[tokio::test]
async fn what_was_never_finished_is_swept_away_and_nothing_beside_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = snapshots(dir.path());
    let (tail, world) = prefixes(&journal(&day().0).await).await.pop().expect("a day");
    let (whole, _, _) = store.store(tail, &world).expect("stored");
    let (mut one, two) = (store.receive().expect("a file"), store.receive().expect("another"));
    one.write(&bytes_of(tail, &world)).expect("written");
    assert!(one.load().is_ok() && two.load().is_err(), "each has a file of its own");
    let parts = || fs::read_dir(store.dir()).expect("a directory").count() - 1;
    assert_eq!(parts(), 2);
    // As a kill leaves them.
    std::mem::forget((one, two));
    store.sweep().expect("swept");
    assert_eq!((parts(), store.list().expect("listed")), (0, vec![whole]));
}

#[tokio::test]
async fn whatever_is_changed_or_cut_off_is_found() {
    let (tail, world) = prefixes(&journal(&day().0).await).await.pop().expect("a day");
    let good = bytes_of(tail, &world);
    let mut dice = Dice::new();
    for round in 0..1_000_u32 {
        let mut bytes = good.clone();
        let place = dice.below(bytes.len() as u64) as usize;
        if round % 4 == 0 {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << dice.below(8);
        }
        let read = decode(std::io::Cursor::new(&bytes));
        assert!(read.is_err(), "changed at {place} of {}, and believed", good.len());
    }
    let longer = [&*good, b"x"].concat();
    assert!(matches!(decode(std::io::Cursor::new(&longer)), Err(BadSnapshot::Torn)));
}

#[tokio::test]
async fn what_is_torn_or_foreign_is_passed_over_for_the_next_older() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = snapshots(dir.path());
    let mut days = prefixes(&journal(&day().0).await).await;
    let (newest, older) = (days.pop().expect("a day"), days.pop().expect("a day"));
    let (torn, _, _) = store.store(newest.0, &newest.1).expect("stored");
    store.store(older.0, &older.1).expect("stored");
    let bytes = fs::read(&torn.path).expect("it is there");
    fs::write(&torn.path, &bytes[..bytes.len() / 2]).expect("torn");
    let found = store.newest_before(Some(newest.0.identity), None).expect("the older one");
    assert_eq!(found.tail(), older.0);
    let other = journal(&day().0).await;
    let other = entries(&other).await[0].header().identity;
    assert!(store.newest_before(Some(other), None).is_none(), "another journal's");
    let mut version = fs::read(&found.path).expect("it is there");
    version[12..16].copy_from_slice(&(STATE_VERSION + 1).to_le_bytes());
    fs::write(&found.path, version).expect("another version");
    assert!(store.newest_before(None, None).is_none(), "another state's");
}

/// Of the pieces of two days' last states, those that say which entries it came from included.
const PINNED: &str = "7b7385b7b3a55bf49d8625dbc9b8fb90610b7843acc780881e17f1d799956783";

#[test]
fn the_shape_of_a_state_does_not_change_without_its_version() {
    let mut all = blake3::Hasher::new();
    for world in [day().1, secret_day().1] {
        let mut digester = Digester::default();
        for piece in world.pieces() {
            all.update(&piece);
            digester.add(&piece);
        }
        assert_eq!(digester.finish(), world.digest());
    }
    assert_eq!(
        (STATE_VERSION, &*Hex(*all.finalize().as_bytes()).to_string()),
        (4, PINNED),
        "a folded shape changed, or the day of this test did: if a shape did, raise STATE_VERSION \
         in domain::pieces, so that older snapshots are not read as what they are not; then pin anew"
    );
}

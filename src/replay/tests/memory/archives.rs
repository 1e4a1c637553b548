//! The archive: segments that are whole or not believed, and a journal read over what has left it.

use domain::Event;
use domain::event::JournalTrimmed;
use journal::{Chain, Cursor, Entry, Identity, Journal, MemoryJournal, catalog};
use replay::archive::{ArchiveError, BadSegment, Segment, decode, encode};
use replay::source::{Over, Unreadable};
use replay::{Archive, Point, Snapshots, Source, state, verify};

use crate::day::{day, entries, journal, source};
use crate::dice::Dice;
use crate::law::boot;

fn archive(dir: &tempfile::TempDir) -> Archive {
    Archive::create(dir.path().join("archive").to_str().expect("UTF-8")).expect("a directory")
}

/// A day whose first entries have left the journal and lie in segments of so many.
async fn trimmed(dir: &tempfile::TempDir, size: usize, first: u64) -> (MemoryJournal, Vec<Entry>) {
    let journal = journal(&day().0).await;
    let tail = journal.check().await.expect("a tail");
    let mut chain = Chain::lead_from(tail, boot(9));
    let said = Event::JournalTrimmed(JournalTrimmed { at: domain::Timestamp(tail.at_ms), first });
    let sealed = chain.seal(tail.at_ms, catalog::batch([&said]).expect("a batch")).expect("small");
    journal.append(&sealed).await;
    let all = entries(&journal).await;
    let archive = archive(dir);
    for part in all[..first as usize + 3].chunks(size) {
        archive.put(part).await.expect("archived");
    }
    assert_eq!(journal.trim(first, sealed.id()).await, Ok(first));
    (journal, all)
}

async fn read(source: &mut Source) -> (Vec<Entry>, Over) {
    let mut all = Vec::new();
    loop {
        let (page, over) = source.page().await;
        all.extend(page);
        if let Some(over) = over {
            return (all, over);
        }
    }
}

#[tokio::test]
async fn a_segment_is_read_as_it_was_written() {
    let all = entries(&journal(&day().0).await).await;
    for part in [&all[..], &all[..1], &all[7..19]] {
        let (segment, bytes) = encode(part).expect("entries");
        let (found, again) = decode(&bytes).expect("whole");
        assert_eq!((found, &*again), ((part[0].header().identity, segment), part));
        assert_eq!((segment.first, segment.last), (part[0].seq(), part[part.len() - 1].seq()));
    }
}

#[tokio::test]
async fn a_segment_that_was_changed_or_cut_off_is_found() {
    let all = entries(&journal(&day().0).await).await;
    let (_, good) = encode(&all).expect("entries");
    let mut dice = Dice::new();
    for round in 0..1_000_u32 {
        let mut bytes = good.clone();
        let place = dice.below(bytes.len() as u64) as usize;
        if round % 4 == 0 {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << dice.below(8);
        }
        assert!(decode(&bytes).is_err(), "changed at {place} of {}, and believed", good.len());
    }
    // A segment whose sum is right, and whose entries do not follow.
    let holed = [&all[..3], &all[4..6]].concat();
    let (_, bytes) = encode(&holed).expect("entries");
    assert!(matches!(decode(&bytes), Err(BadSegment::Entry(_))));
}

#[tokio::test]
async fn what_was_put_is_read_back_before_it_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let all = entries(&journal(&day().0).await).await;
    let holed = [&all[..3], &all[4..6]].concat();
    let refused = archive(&dir).put(&holed).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::Bad { fault: BadSegment::Entry(_), .. }), "{refused}");
    archive(&dir).put(&all[..3]).await.expect("archived");
}

#[tokio::test]
async fn a_segment_is_believed_under_its_own_name_and_in_its_own_journal_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let all = entries(&journal(&day().0).await).await;
    let archive = archive(&dir);
    let (segment, _) = archive.put(&all[..3]).await.expect("archived");
    let own = all[0].header().identity;
    let place = |of: Identity| {
        let name = format!("{}-{}", of.cluster, of.incarnation);
        dir.path().join("archive").join(name)
    };
    let another = Identity { incarnation: own.incarnation + 1, ..own };
    let longer = Segment { last: segment.last + 1, ..segment };
    std::fs::create_dir(place(another)).expect("made");
    for (of, named) in [(another, segment), (own, longer)] {
        let from = place(own).join(segment.to_string());
        std::fs::copy(from, place(of).join(named.to_string())).expect("copied");
        let refused = archive.get(of, named).await.unwrap_err();
        assert!(matches!(refused, ArchiveError::Bad { fault: BadSegment::Misnamed, .. }));
    }
    assert_eq!(archive.get(own, segment).await.expect("good"), all[..3]);
}

#[tokio::test]
async fn a_trimmed_journal_and_its_archive_are_the_whole_journal() {
    for size in [1, 5, 100] {
        let dir = tempfile::tempdir().expect("a directory");
        let (journal, all) = trimmed(&dir, size, 12).await;
        let whole = || async { source(&journal).beside(archive(&dir)) };
        let (found, over) = read(&mut whole().await).await;
        assert!(matches!(over, Over::End), "{over:?}");
        assert_eq!(found, all, "segments of {size}");
        let report = verify::verify(&mut whole().await, |_, _| {}).await.expect("a report");
        assert!(report.findings.iter().all(|f| f.sequence == all.len() as u64), "{report:#?}");
        assert_eq!(report.first, 1);
        for at in [3, 12, 20] {
            let point = Point::Sequence(at);
            let then = state::at(&mut whole().await, Some(point), |_| {}).await.expect("a state");
            let time = Point::Time(api::Time(all[at as usize - 1].header().at_ms));
            let mut late = whole().await;
            late.skip_to(time).await.expect("found");
            let (found, _) = read(&mut late).await;
            assert_eq!(found[0].seq(), at, "by time");
            assert_eq!(then.last.expect("an entry").0, all[at as usize - 1].id());
        }
    }
}

#[tokio::test]
async fn an_archive_alone_is_a_journal_up_to_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, all) = trimmed(&dir, 4, 12).await;
    let mut source = Source::archive(archive(&dir));
    let (found, over) = read(&mut source).await;
    assert!(matches!(over, Over::End), "{over:?}");
    assert_eq!(found, all[..15]);
}

#[tokio::test]
async fn without_its_archive_a_trimmed_journal_says_what_is_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, all) = trimmed(&dir, 4, 12).await;
    let refused = state::at(&mut source(&journal), None, |_| {}).await.unwrap_err();
    assert!(matches!(refused, Unreadable::NotWhole { first: 12 }), "{refused}");
    assert!(refused.to_string().contains("--archive"), "{refused}");
    let (found, _) = read(&mut source(&journal)).await;
    assert_eq!(found, all[11..], "what is left can be shown");
}

#[tokio::test]
async fn a_snapshot_before_the_oldest_entry_goes_on_through_the_archive() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, all) = trimmed(&dir, 4, 12).await;
    let whole = || async { source(&journal).beside(archive(&dir)) };
    let store = Snapshots::at(dir.path().join("snapshots"));
    let then = state::at(&mut whole().await, Some(Point::Sequence(6)), |_| {}).await;
    let mut cursor = Cursor::start(all[0].header().identity);
    for entry in &all[..6] {
        cursor.accept(entry.id(), entry.bytes().clone()).expect("it follows");
    }
    store.store(cursor.tail().expect("a tail"), &then.expect("a state").world).expect("stored");
    let loaded = store.newest_before(None, None).expect("it is there");
    let on = state::onward(&mut whole().await, state::State::of(loaded), None, |_| {}).await;
    let end = state::at(&mut whole().await, None, |_| {}).await.expect("the end");
    assert!(on.expect("a state").world == end.world);
}

#[tokio::test]
async fn a_segment_of_another_history_is_passed_over_for_one_that_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, all) = trimmed(&dir, 4, 12).await;
    // Nobody recorded it, and it lies over the end of one that was.
    let before = &all[..9];
    let mut cursor = Cursor::start(all[0].header().identity);
    for entry in before {
        cursor.accept(entry.id(), entry.bytes().clone()).expect("it follows");
    }
    let mut chain = Chain::lead_from(cursor.tail().expect("a tail"), boot(3));
    let other: Vec<Entry> = (0..9)
        .map(|_| chain.seal(0, journal::Batch::new()).expect("small").entry().clone())
        .collect();
    archive(&dir).put(&other[1..]).await.expect("archived");
    let both = source(&journal).beside(archive(&dir));
    let (found, over) = read(&mut { both }).await;
    assert!(matches!(over, Over::End), "{over:?}");
    assert_eq!(found, all);
}

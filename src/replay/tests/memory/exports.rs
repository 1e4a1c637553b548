//! What is taken away can be verified, and no byte of it can be changed.

use std::io::Cursor;

use replay::Point;
use replay::export::Export;
use replay::fold;
use replay::import::{BadLine, Import};
use replay::source::{Over, Source};
use replay::verify::verify;

use crate::day::{day, entries, journal, source};
use crate::dice::Dice;

const TAMPERINGS: usize = 1_000;

async fn export(since: Option<Point>, until: Option<Point>) -> Vec<u8> {
    let journal = journal(&day().0).await;
    let export = Export::new(Vec::new(), since, until);
    let (export, over) = fold::run(&mut source(&journal), export, |_| {}).await;
    assert!(matches!(over, Over::End));
    export.finish().expect("an export").0
}

/// Reads an export to its end; how many entries it has.
fn read(bytes: &[u8]) -> Result<u64, BadLine> {
    let mut import = Import::open(Cursor::new(bytes))?;
    while import.next_entry()?.is_some() {}
    Ok(import.counts().0)
}

#[tokio::test]
async fn an_export_is_the_journal_with_its_events_in_the_open() {
    let bytes = export(None, None).await;
    let lived = journal(&day().0).await;
    let all = entries(&lived).await;
    assert_eq!(read(&bytes), Ok(all.len() as u64));
    let mut import = Import::open(Cursor::new(&bytes)).expect("an export");
    for (mine, theirs) in all.iter().map(|entry| (entry, import.next_entry())) {
        let theirs = theirs.expect("good").expect("an entry");
        assert_eq!(
            (mine.header().seq, mine.header().records),
            (theirs.seq(), theirs.header().records)
        );
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("export");
    std::fs::write(&path, &bytes).expect("written");
    let mut file = Source::file(&path).expect("an export");
    let report = verify(&mut file, |_, _| {}).await.expect("an audit");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.digest, Some(day().1.digest().to_string()));
    // Each line but those of entries, the first and the last is an event.
    let text = String::from_utf8(bytes).expect("text");
    let events = text.lines().filter(|line| line.starts_with("{\"specversion\"")).count();
    assert_eq!(events as u64, report.events);
    assert_eq!(text.lines().count() as u64, report.entries + report.events + 2);
}

#[tokio::test]
async fn a_part_of_a_journal_can_be_taken_away() {
    let bytes = export(Some(Point::Sequence(5)), Some(Point::Sequence(9))).await;
    assert_eq!(read(&bytes), Ok(5));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("export");
    std::fs::write(&path, &bytes).expect("written");
    let report = verify(&mut Source::file(&path).expect("an export"), |_, _| {}).await;
    let report = report.expect("an audit");
    assert!(report.good, "{:?}", report.findings);
    assert_eq!((report.first, report.digest), (5, None), "the chain alone can be verified");
}

#[tokio::test]
async fn no_byte_can_be_changed_and_nothing_left_out_moved_or_added() {
    let good = export(None, None).await;
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    let mut dice = Dice::new();
    let below = |dice: &mut Dice, limit: usize| dice.below(limit as u64) as usize;
    let mut done = 0;
    while done < TAMPERINGS {
        let mut bad = good.clone();
        let what = match done % 6 {
            0 | 1 => {
                let at = below(&mut dice, bad.len());
                bad[at] = u8::try_from(dice.below(256)).expect("a byte");
                format!("byte {at} changed")
            }
            2 => {
                let at = below(&mut dice, bad.len());
                let most = 200.min(bad.len() - at);
                let to = at + 1 + below(&mut dice, most);
                bad.drain(at..to);
                format!("bytes {at} to {to} left out")
            }
            3 => {
                let (one, other) = (below(&mut dice, lines.len()), below(&mut dice, lines.len()));
                let mut lines = lines.clone();
                lines.swap(one, other);
                bad = lines.concat();
                format!("lines {} and {} swapped", one + 1, other + 1)
            }
            4 => {
                let (from, to) = (below(&mut dice, lines.len()), below(&mut dice, lines.len()));
                let mut lines = lines.clone();
                lines.insert(to, lines[from]);
                bad = lines.concat();
                format!("line {} repeated before {}", from + 1, to + 1)
            }
            _ => {
                bad.truncate(below(&mut dice, bad.len()));
                format!("cut to {} bytes", bad.len())
            }
        };
        if bad == good {
            continue;
        }
        done += 1;
        let found = read(&bad).expect_err(&what);
        // A changed line is named; what is cut off is missed at its end.
        let first = good.iter().zip(&bad).take_while(|(a, b)| a == b).count();
        let line = good[..first].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        assert!(found.line == line || found.line == 1 || found.line == line + 1, "{what}: {found}");
    }
}

#[tokio::test]
async fn an_export_that_ends_between_two_entries_is_found_to_be_cut() {
    let good = export(None, None).await;
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    for (n, line) in lines.iter().enumerate().filter(|(n, _)| *n > 0) {
        let cut = read(&lines[..n].concat()).unwrap_err();
        assert_eq!(cut.line, n as u64 + 1);
        assert!(cut.what.contains("cut off"), "{cut}");
        if line.starts_with(b"{\"entry\"") {
            let last = [&lines[..n], &lines[lines.len() - 1..]].concat().concat();
            let found = read(&last).unwrap_err();
            assert_eq!(found.line, n as u64 + 1, "the last line of more: {found}");
        }
    }
}

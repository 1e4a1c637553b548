//! What is taken away can be verified, and no byte of it can be changed.

use std::io::Cursor;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::{Batch, Chain, Format, Journal, Kinds, MemoryJournal, Record, Secrets};
use replay::Point;
use replay::export::Export;
use replay::fold;
use replay::import::{BadLine, Import};
use replay::source::{Over, Source};
use replay::then::{self, Versions};
use replay::verify::{Report, verify};
use uuid::Uuid;

use crate::day::{SECRETS, day, entries, journal, journal_in, secret_day, source};
use crate::dice::Dice;
use crate::law::token as token_of;

const TAMPERINGS: usize = 1_000;

async fn export(since: Option<Point>, until: Option<Point>) -> Vec<u8> {
    let journal = journal(&day().0).await;
    taken(&journal, Export::new(Vec::new(), since, until)).await.expect("an export")
}

async fn taken(journal: &MemoryJournal, export: Export<Vec<u8>>) -> std::io::Result<Vec<u8>> {
    let (export, over) = fold::run(&mut source(journal), export, |_| {}).await;
    assert!(matches!(over, Over::End));
    export.finish().map(|(bytes, _)| bytes)
}

/// A day of secrets, without some of them.
async fn redacted(journal: &MemoryJournal, kinds: Kinds) -> Vec<u8> {
    let export = Export::new(Vec::new(), None, None).redacting(kinds);
    taken(journal, export).await.expect("an export")
}

/// An audit of a file with these bytes.
async fn audited(bytes: &[u8]) -> Report {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("export");
    std::fs::write(&path, bytes).expect("written");
    let mut file = Source::file(&path).expect("an export");
    verify(&mut file, |_, _| {}).await.expect("an audit")
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A journal whose events are of the versions of the days when there was one of each, read from the
/// golden files, and the export of it as programs of other days write it.
async fn of_old(versions: Versions) -> Vec<u8> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../journal/tests/golden");
    let journal = MemoryJournal::default();
    let tail = journal.open(None).await.expect("a journal").tail;
    let mut chain = Chain::lead_from(tail, Uuid::nil());
    for name in ["leader.started", "policy.put", "run.admitted", "run.rejected", "run.lost"] {
        let bytes = std::fs::read(golden.join(name).join("v1.bin")).expect("a golden file");
        let (mut rest, mut batch) = (&bytes[..], Batch::of(Format::Plain));
        while let Some((&[k0, k1, v0, v1, flags, l0, l1, l2, l3], after)) = rest.split_first_chunk()
        {
            let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            let (payload, after) = after.split_at(len);
            let (kind, version) = (u16::from_le_bytes([k0, k1]), u16::from_le_bytes([v0, v1]));
            let (critical, secrets) = (flags == 1, Secrets::NONE);
            batch.push(Record { kind, version, critical, payload, secrets });
            rest = after;
        }
        let sealed = chain.seal(1_767_225_660_000, batch).expect("below the limit");
        journal.append(&sealed).await;
    }
    let export = Export::new(Vec::new(), None, None).knowing(versions);
    taken(&journal, export).await.expect("an export")
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
    let report = audited(&bytes).await;
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
    let report = audited(&bytes).await;
    assert!(report.good, "{:?}", report.findings);
    assert_eq!((report.first, report.digest), (5, None), "the chain alone can be verified");
}

#[tokio::test]
async fn no_byte_can_be_changed_and_nothing_left_out_moved_or_added() {
    let secret = journal(&secret_day().0).await;
    let exports = [
        export(None, None).await,
        redacted(&secret, Kinds::ENV).await,
        redacted(&secret, Kinds::ALL).await,
        of_old(Versions::new()).await,
    ];
    for good in exports {
        tamper(&good);
    }
}

/// Changes an export in many ways, and expects every one to be found.
fn tamper(good: &[u8]) {
    read(good).expect("it is good as it is");
    let good = good.to_vec();
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
        // By the first line the others are read.
        let near = found.line == line || found.line == line + 1;
        assert!(near || found.line == 1 || line == 1, "{what}: {found}");
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

#[tokio::test]
async fn a_redacted_export_holds_no_secret_and_is_verified_in_full() {
    let (entries, lived) = secret_day();
    let secret = journal(&entries).await;
    let whole = redacted(&secret, Kinds::NONE).await;
    let report = audited(&whole).await;
    assert_eq!((&*report.findings, report.digest), (&[][..], Some(lived.digest().to_string())));
    let [token, input, of_template] = SECRETS;
    for (kinds, gone, stays) in [
        (Kinds::ENV, &[token, of_template][..], &[input][..]),
        (Kinds::STDIN, &[input], &[token, of_template]),
        (Kinds::ALL, &[token, of_template, input], &[]),
    ] {
        let bytes = redacted(&secret, kinds).await;
        let in_base64: Vec<Vec<u8>> = String::from_utf8(bytes.clone())
            .expect("text")
            .lines()
            .filter_map(|line| line.split("\"bytes\":\"").nth(1)?.split('"').next())
            .map(|bytes| STANDARD.decode(bytes).expect("base64"))
            .collect();
        let seen = |text: &str| holds(&bytes, text) || in_base64.iter().any(|b| holds(b, text));
        for (text, there) in gone.iter().map(|t| (t, false)).chain(stays.iter().map(|t| (t, true)))
        {
            assert!(holds(&whole, text));
            assert_eq!(seen(text), there, "{text}");
        }
        assert!(seen("TOKEN") && seen("[redacted]"), "that there is one may be seen");
        // The digest of an output, and the token of an attempt.
        for mark in [&[0xd1; 32][..], &token_of(1).0] {
            assert!(!in_base64.iter().any(|bytes| bytes.windows(mark.len()).any(|w| w == mark)));
        }
        assert!(!seen(&"d1".repeat(32)) && !seen(&token_of(1).to_string()));

        let again = audited(&bytes).await;
        assert!(again.good, "{:?}", again.findings);
        let events: usize = entries.iter().map(Vec::len).sum();
        assert_eq!((again.events, &again.last), (events as u64, &report.last));
        assert_eq!(again.digest, None, "the state is not the one that was lived");
        // Those of `careful`, and the releases of two of them.
        let not_judged = if kinds.env { 5 } else { 0 };
        assert_eq!(again.not_judged, not_judged);
        assert_eq!(again.judgements + not_judged, report.judgements);
        assert_eq!(again.decided_again + not_judged, report.decided_again);
        assert!(again.redacted > 0);
    }
}

#[tokio::test]
async fn a_secret_that_should_be_gone_or_there_is_missed() {
    let secret = journal(&secret_day().0).await;
    let none = redacted(&secret, Kinds::NONE).await;
    let (env, all) = (redacted(&secret, Kinds::ENV).await, redacted(&secret, Kinds::ALL).await);
    let of = |export: &[u8]| -> Vec<String> {
        let text = String::from_utf8(export.to_vec()).expect("text");
        text.split_inclusive('\n').map(Into::into).collect()
    };
    let (none, env, all) = (of(&none), of(&env), of(&all));
    for (head, rest, words) in [
        (&none, &env, "the first line does not say so"),
        (&env, &none, "has secrets that the first line says were taken out"),
        (&all, &env, "has secrets that the first line says were taken out"),
    ] {
        let bad = [&head[..1], &rest[1..]].concat().concat();
        let found = read(bad.as_bytes()).unwrap_err();
        assert!(found.what.contains(words), "{found}");
    }
}

#[tokio::test]
async fn what_was_written_before_secrets_were_apart_can_t_be_redacted_and_it_says_from_where_on() {
    let (entries, _) = secret_day();
    let raised = entries.len() - 7;
    let format = |n| if n < raised { Format::Plain } else { Format::Apart };
    let journal = journal_in(&entries, format).await;
    let export = |since| Export::new(Vec::new(), since, None);
    let whole = taken(&journal, export(None)).await.expect("an export");
    assert_eq!(audited(&whole).await.digest, Some(secret_day().1.digest().to_string()));
    let refused =
        taken(&journal, export(None).redacting(Kinds::ENV)).await.unwrap_err().to_string();
    // The last of them is an entry without secrets.
    assert!(refused.contains(&format!("(--since {})", raised + 1)), "{refused}");
    let since = Some(Point::Sequence(raised as u64 + 1));
    let part = taken(&journal, export(since).redacting(Kinds::ENV)).await.expect("an export");
    assert_eq!(read(&part), Ok(8));
}

#[tokio::test]
async fn what_a_program_of_other_days_wrote_is_verified_to_the_byte() {
    let (now, then) = (of_old(then::known()).await, of_old(Versions::new()).await);
    let between = of_old([("policy.put".to_owned(), 2)].into()).await;
    for export in [&now, &then, &between] {
        assert_eq!(read(export), Ok(6));
    }
    for (export, lifted) in [(&now, true), (&then, false)] {
        assert_eq!(holds(export, "reads_level"), lifted, "what came later is shown, or is not");
        assert_eq!(holds(export, "\"quotas\""), lifted);
    }
    assert!(holds(&between, "\"quotas\"") && !holds(&between, "what_if"));
    // An export of before it was said what its writer knew.
    let text = String::from_utf8(between).expect("text");
    let (head, rest) = text.split_once('\n').expect("lines");
    let unsaid = head[..head.find(",\"versions\"").expect("versions")].to_owned() + "}";
    let found = read([&unsaid, rest].join("\n").as_bytes()).unwrap_err();
    // Up to the first admission all is as it says; that knew the second version of those.
    assert!(found.what.contains("of entry 4 say of event 0"), "{found}");
}

#[tokio::test]
async fn who_knew_more_is_named() {
    let text = String::from_utf8(export(None, None).await).expect("text");
    let newer = text.replacen("\"leader.started\":2", "\"leader.started\":9", 1);
    let newer = newer.replacen("\"reads_level\":1", "\"reads_level\":1,\"more\":0", 1);
    let found = read(newer.as_bytes()).unwrap_err();
    assert!(found.what.contains("knew more of events than this"), "{found}");
}

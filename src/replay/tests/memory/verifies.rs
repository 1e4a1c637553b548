//! What an audit finds, and what it does not.

use std::sync::Arc;

use domain::Event;
use domain::event::{LevelRaised, Next, SnapshotBegun, SnapshotTaken};
use domain::ids::Hex;
use domain::kept::LEVEL;
use domain::law::Verdict;
use domain::pieces::STATE_VERSION;
use domain::submission::Pool;
use journal::MemoryStore;
use replay::Point;
use replay::source::Unreadable;
use replay::verify::{Report, verify};

use crate::day::{Entries, day, day_of_failures, journal, source};
use crate::law::{origin, run};

async fn audit(entries: &Entries) -> Report {
    let journal = journal(entries).await;
    verify(&mut source(&journal), |_, _| {}).await.expect("something to audit")
}

#[tokio::test]
async fn a_day_that_was_lived_is_good_and_ends_where_it_did() {
    let (entries, lived) = day();
    let report = audit(&entries).await;
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.good);
    let events: usize = entries.iter().map(Vec::len).sum();
    assert_eq!((report.entries, report.events), (entries.len() as u64 + 1, events as u64));
    assert_eq!(report.good_until, report.entries);
    assert_eq!(report.digest, Some(lived.digest().to_string()));
    assert_eq!((report.judgements, report.assignments), (27, 3));
}

#[tokio::test]
async fn a_journal_that_does_not_say_where_it_ends_is_neither_good_nor_short() {
    let journal = journal(&day().0).await;
    let said = |done| matches!(done, Err(Unreadable::Journal(_)));
    journal.faults().lose_heads(1);
    assert!(said(verify(&mut source(&journal), |_, _| {}).await.map(drop)));
    let whole = verify(&mut source(&journal), |_, _| {}).await.expect("it answers again");
    let late = api::Time(u64::MAX);
    journal.faults().lose_heads(1);
    assert!(said(source(&journal).skip_to(Point::Time(late)).await));
    assert_eq!(source(&journal).last_until(late).await.ok(), Some(whole.good_until));
}

/// Changes one event of the day.
type Lie = fn(&mut Event);

/// Tells a lie of the first event of a type that it takes; the sequence of its entry.
fn tell(entries: &mut Entries, kind: &str, lie: Lie) -> u64 {
    for (n, events) in entries.iter_mut().enumerate() {
        for event in events {
            if journal::catalog::type_of(event).name == kind {
                let honest = event.clone();
                lie(event);
                if *event != honest {
                    return n as u64 + 2;
                }
            }
        }
    }
    panic!("no {kind} to lie about");
}

#[tokio::test]
async fn a_lie_about_what_was_decided_is_found_where_it_was_told() {
    let lies: [(&str, Lie, &str); 15] = [
        (
            "run.admitted",
            |event| {
                if let Event::RunAdmitted(e) = event {
                    Arc::make_mut(&mut Arc::make_mut(e).submission).resources.gpu = 65;
                }
            },
            "its judgement is accept where the law says reject",
        ),
        (
            "run.admitted",
            |event| {
                if let Event::RunAdmitted(e) = event {
                    Arc::make_mut(&mut Arc::make_mut(e).judgement).pool = Pool::HighCompute;
                }
            },
            "its judgement is of other opinions",
        ),
        (
            "run.admitted",
            |event| {
                if let Event::RunAdmitted(e) = event {
                    Arc::make_mut(&mut Arc::make_mut(e).judgement).revision = 1;
                }
            },
            "its judgement is of revision 1 under a law of revision 2",
        ),
        (
            "run.admitted",
            |event| {
                if let Event::RunAdmitted(e) = event {
                    Arc::make_mut(e).place.finish_tag = 0;
                }
            },
            "it stands elsewhere in line",
        ),
        (
            "run.admitted",
            |event| {
                if let Event::RunAdmitted(e) = event
                    && e.run == run(10)
                {
                    Arc::make_mut(e).key = Some((crate::law::key("key-6", 1), 0));
                }
            },
            "another's idempotency key",
        ),
        (
            "run.rejected",
            |event| {
                if let Event::RunRejected(e) = event {
                    let judgement = Arc::make_mut(&mut Arc::make_mut(e).judgement);
                    judgement.opinions.retain(|o| o.verdict == Verdict::Accept);
                    judgement.verdict = Verdict::Accept;
                }
            },
            "decided again, another run.rejected comes of it",
        ),
        (
            "run.assigned",
            |event| {
                if let Event::RunAssigned(e) = event {
                    e.node = crate::law::node("q1");
                }
            },
            "decided again, it is refused",
        ),
        (
            "run.assigned",
            |event| {
                if let Event::RunAssigned(e) = event {
                    e.demand.cpu_milli = 1;
                }
            },
            "decided again, another run.assigned comes of it",
        ),
        (
            "run.finished",
            |event| {
                if let Event::RunFinished(e) = event {
                    Arc::make_mut(e).exit.code = Some(1);
                }
            },
            "decided again, another run.finished comes of it",
        ),
        (
            "run.canceled",
            |event| {
                if let Event::RunCanceled(e) = event {
                    e.run = run(1);
                }
            },
            "decided again, it is refused",
        ),
        (
            "policy.put",
            |event| {
                if let Event::PolicyPut(e) = event {
                    Arc::make_mut(e).version = 2;
                }
            },
            "decided again, another policy.put comes of it",
        ),
        (
            "policy.put",
            |event| {
                if let Event::PolicyPut(e) = event {
                    Arc::make_mut(e).revision = 7;
                }
            },
            "decided again, another policy.put comes of it",
        ),
        (
            "queue.resumed",
            |event| {
                if let Event::QueueResumed(e) = event {
                    let (at, origin) = (e.at, e.origin.clone());
                    *event = Event::QueuePaused(domain::event::QueuePaused { at, origin });
                }
            },
            "decided again, nothing comes of it",
        ),
        (
            "run.started",
            |event| {
                if let Event::RunStarted(e) = event {
                    e.node = crate::law::node("q1");
                }
            },
            "no attempt of this run is on that node",
        ),
        (
            "queue.paused",
            |event| {
                if let Event::QueuePaused(e) = event {
                    e.at = crate::law::T0;
                }
            },
            "it is earlier than the event before it",
        ),
    ];
    for (kind, lie, words) in lies {
        let (mut entries, _) = day();
        let sequence = tell(&mut entries, kind, lie);
        let report = audit(&entries).await;
        let first = report.findings.first().unwrap_or_else(|| panic!("{kind}: {words}: not found"));
        assert!(first.what.contains(words), "{kind}: {words}: {first}");
        assert_eq!((first.sequence, report.good_until), (sequence, sequence - 1), "{first}");
    }
}

#[tokio::test]
async fn a_pause_that_was_spread_and_a_redrive_are_decided_again() {
    for chance in [0, 7, 250, u64::MAX] {
        let (entries, lived) = day_of_failures(chance);
        let report = audit(&entries).await;
        assert!(report.findings.is_empty(), "{chance}: {:?}", report.findings);
        assert_eq!(report.digest, Some(lived.digest().to_string()));
        assert_eq!(lived.dead.get(run(1)).and_then(|l| l.redriven_as), Some(run(3)));
    }
    let wait = |event: &mut Event, pause_ms: u64| {
        if let Event::RunFinished(e) = event {
            let not_before = e.at.plus(pause_ms);
            Arc::make_mut(e).next = Next::Again { not_before };
        }
    };
    for pause_ms in [0, 999, 1_251, 60_000] {
        let (mut entries, _) = day_of_failures(0);
        let first = entries.iter().position(|e| matches!(e[..], [Event::RunFinished(_)]));
        let first = first.expect("it failed");
        wait(&mut entries[first][0], pause_ms);
        let report = audit(&entries).await;
        let found = report.findings.first().unwrap_or_else(|| panic!("{pause_ms} is not found"));
        assert!(found.what.contains("another run.finished comes of it"), "{pause_ms}: {found}");
        assert_eq!(found.sequence, first as u64 + 2);
    }
    let (mut entries, _) = day_of_failures(0);
    let last = entries.last_mut().and_then(|events| events.first_mut());
    if let Some(Event::RunAdmitted(e)) = last {
        Arc::make_mut(e).redrive_of = Some(run(2));
    }
    let report = audit(&entries).await;
    let found = report.findings.first().expect("a lie");
    assert!(found.what.contains("is no dead letter"), "{found}");
}

/// Does something to a journal behind everybody's back.
type Damage = fn(&MemoryStore);

#[tokio::test]
async fn damage_is_found_where_it_was_done() {
    let (entries, _) = day();
    let damages: [(&str, Damage); 4] = [
        ("does not match its checksum", |store| store.tamper(9, |bytes| bytes[150] ^= 1)),
        ("does not match its id", |store| store.tamper(9, |bytes| bytes[50] ^= 1)),
        ("entries between them are missing", |store| store.remove(9)),
        ("was not written by Tartarus", |store| store.tamper(9, |bytes| bytes[0] = 0)),
    ];
    for (words, damage) in damages {
        let journal = journal(&entries).await;
        damage(journal.store());
        let report = verify(&mut source(&journal), |_, _| {}).await.expect("an audit");
        assert!(!report.good);
        let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
        assert!(finding.what.contains(words), "{words}: {finding}");
        assert_eq!((report.entries, report.good_until), (8, 8), "what is before it was folded");
    }
}

#[tokio::test]
async fn a_journal_without_its_beginning_is_named() {
    let (entries, _) = day();
    let journal = journal(&entries).await;
    journal.store().remove(1);
    let report = verify(&mut source(&journal), |_, _| {}).await.expect("an audit");
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert!(finding.what.contains("no event lets them leave"), "{finding}");
}

#[tokio::test]
async fn a_snapshot_is_of_the_state_that_its_entry_left() {
    let (mut entries, mut world) = day();
    let at = world.now;
    let raised = Event::LevelRaised(LevelRaised { at, origin: origin(), level: LEVEL });
    for event in [raised, Event::SnapshotBegun(SnapshotBegun { at })] {
        world.evolve(0, &event);
        entries.push(vec![event]);
    }
    let index = entries.len() as u64 + 1;
    let digest = world.digest();
    let wrong = Hex([7; 32]);
    let (now, other) = (STATE_VERSION, STATE_VERSION - 1);
    for (index, digest, state, words) in [
        (index, digest, now, None),
        // What the digest of another shape would be, nobody knows.
        (index, wrong, other, None),
        (index, wrong, now, Some(format!("the state after entry {index} is {digest}"))),
        (index - 1, digest, now, Some(format!("entry {} begins no snapshot", index - 1))),
    ] {
        let taken = Event::SnapshotTaken(SnapshotTaken { at, index, digest, bytes: 1, state });
        let journal = journal(&[entries.clone(), vec![vec![taken]]].concat()).await;
        let report = verify(&mut source(&journal), |_, _| {}).await.expect("an audit");
        let found: Vec<_> = report.findings.iter().map(|f| f.what.clone()).collect();
        assert_eq!(found, words.into_iter().collect::<Vec<_>>());
        assert_eq!(report.not_compared, u64::from(state == other));
    }
}

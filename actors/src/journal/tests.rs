//! Group commit, and the ends of a role.

use std::sync::Arc;
use std::time::Duration;

use domain::command::{Command, Guard};
use domain::event::LeaderStarted;
use domain::ids::Hex;
use domain::judge::{Inputs, Request, judge};
use domain::kept::{LEVEL, MEMORY};
use domain::{Court, Event, Refusal, Sequence, Timestamp};
use journal::memory::{Fault, Weather};
use journal::{BATCH_CUT_BYTES, Batch, Chain, Cursor, Entry, Journal, MemoryJournal, catalog};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::LOOK_EVERY;
use super::messages::{Fallen, Stop};
use crate::answer::{Failure, ask};
use crate::fixture::{Fixture, judged, origin, replay, request};
use crate::notary::SignNow;
use crate::registry::Enact;

#[actix::test]
async fn what_comes_while_an_append_is_under_way_goes_together() {
    let house = Fixture::leading().await;
    let before = house.store.store().ids().len();
    // The first append is refused once: everything else comes meanwhile.
    house.faults.plan([Fault::Refuse]);
    let submissions = (0..50).map(|_| house.admit(vec![judged()], None));
    let answers = futures_util::future::join_all(submissions).await;
    let indexes: std::collections::BTreeSet<Sequence> =
        answers.into_iter().map(|answer| answer.expect("durable").mark.index).collect();
    assert_eq!(house.store.store().ids().len(), before + indexes.len());
    assert_eq!(indexes.len(), 2, "one entry for the first, one for all others");
}

#[actix::test]
async fn a_batch_is_cut_between_commands_and_a_large_one_goes_alone() {
    let house = Fixture::leading().await;
    let before = entries(&house).await.len();
    // The first append is refused once: everything else comes meanwhile, and is cut by its size.
    house.faults.plan([Fault::Refuse]);
    // A kibibyte each.
    let run = || {
        let command = vec!["x".repeat(1_024).into_boxed_str()];
        judge(&Court::default(), Request { command, ..request() }, &Inputs::bare(true))
            .expect("a template")
    };
    let of = |runs: usize| house.admit((0..runs).map(|_| run()).collect(), None);
    let commands = [1].into_iter().chain([10; 20]).chain([150, 1]);
    for answer in futures_util::future::join_all(commands.map(of)).await {
        answer.expect("durable");
    }
    let entries = entries(&house).await.split_off(before);
    let sizes: Vec<usize> = entries.iter().map(|entry| entry.bytes().len()).collect();
    let (large, others): (Vec<&usize>, Vec<&usize>) =
        sizes.iter().partition(|size| **size > 2 * BATCH_CUT_BYTES);
    assert_eq!(large.len(), 1, "the one of 150 runs: {sizes:?}");
    assert!(others.len() > 2, "one for the first, and more than one for the others: {sizes:?}");
    let runs: Vec<u32> = entries.iter().map(|entry| entry.header().records).collect();
    assert_eq!(runs.iter().sum::<u32>(), 1 + 20 * 10 + 150 + 1);
    assert!(runs.contains(&150), "alone: {runs:?}");
}

#[actix::test]
async fn a_lost_reply_is_found_again_and_nothing_is_written_twice() {
    let house = Fixture::leading().await;
    house.faults.plan([Fault::LoseReply, Fault::LoseRequest, Fault::LoseReply]);
    for _ in 0..3 {
        house.submit().await;
    }
    let (world, _) = replay(&(house.store.clone() as _)).await;
    assert_eq!(world.runs.len(), 3);
}

#[actix::test]
async fn a_damaged_journal_ends_the_role_and_leaves_the_outcome_unknown() {
    let mut house = Fixture::leading().await;
    house.faults.plan([Fault::Damage]);
    let answer = house.admit(vec![judged()], None).await;
    assert!(matches!(answer, Err(Failure::Unknown(_))), "{answer:?}");
    let fallen = house.fallen.wait_for(Option::is_some).await.expect("a sender").clone();
    assert!(matches!(fallen, Some(Fallen::FailStop(_))), "{fallen:?}");
    let later = house.admit(vec![judged()], None).await;
    assert!(matches!(later, Err(Failure::Unavailable(_))), "{later:?}");
}

#[actix::test]
async fn a_stop_writes_what_was_decided_before_it() {
    let mut house = Fixture::leading().await;
    house.faults.plan([Fault::Refuse]);
    let decided = async {
        while house.undurable.load().0 == 0 {
            tokio::task::yield_now().await;
        }
        house.journal.send(Stop).await
    };
    let (answer, _) = tokio::join!(house.admit(vec![judged()], None), decided);
    assert!(answer.is_ok());
    let fallen = house.fallen.wait_for(Option::is_some).await.expect("a sender").clone();
    assert_eq!(fallen, Some(Fallen::Stopped));
}

#[actix::test]
async fn another_writer_deposes_this_one_and_what_it_had_not_written_is_not_applied() {
    let house = Fixture::leading().await;
    house.submit().await;
    let mut other = Fixture::over(journal::MemoryJournal::over(house.store.store().clone())).await;
    other.lead().await;
    let answer = house.admit(vec![judged()], None).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    let mut fallen = house.fallen.clone();
    let fallen = fallen.wait_for(Option::is_some).await.expect("a sender").clone();
    assert!(matches!(fallen, Some(Fallen::Deposed(_))), "{fallen:?}");
    let (world, _) = replay(&(other.store.clone() as _)).await;
    assert_eq!(world.runs.len(), 1);
}

#[actix::test]
async fn a_leader_that_was_replaced_does_not_answer_from_what_it_knows() {
    let house = Fixture::leading().await;
    let mut other = Fixture::over(journal::MemoryJournal::over(house.store.store().clone())).await;
    other.lead().await;
    let pause = || Command::PauseQueue { origin: origin() };
    ask(&other.registry, |reply| Enact { command: pause(), reply }).await.expect("paused");
    // To the one before the queue goes on anyway: there is nothing for it to write.
    let resume = Command::ResumeQueue { origin: origin() };
    let answer = ask(&house.registry, |reply| Enact { command: resume, reply }).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
}

#[actix::test]
async fn a_journal_that_loses_its_tail_is_given_it_back_though_nobody_writes() {
    let house = Fixture::leading().await;
    house.submit().await;
    let whole = house.store.store().ids();
    house.store.store().roll_back(whole[whole.len() - 2].seq);
    assert_ne!(house.store.store().ids(), whole);
    let given_back = async {
        while house.store.store().ids() != whole {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LOOK_EVERY * 30, given_back).await.expect("given back");
}

#[actix::test]
async fn an_idle_leader_stops_at_once_though_the_journal_does_not_answer() {
    let mut house = Fixture::leading().await;
    house.faults.set_weather(Weather::Severed);
    let health = house.health.as_mut().expect("a writer");
    let looked = health.wait_for(|health| !health.accepts());
    tokio::time::timeout(LOOK_EVERY * 30, looked).await.expect("it looks").expect("a writer");
    house.journal.send(Stop).await.expect("an actor");
    let stopped = house.fallen.wait_for(Option::is_some);
    let fallen = tokio::time::timeout(LOOK_EVERY, stopped).await.expect("at once");
    assert_eq!(*fallen.expect("a sender"), Some(Fallen::Stopped));
}

/// A journal as the version before levels left it.
async fn of_level_1() -> MemoryJournal {
    let journal = MemoryJournal::default();
    let tail = journal.open(None).await.expect("a journal").tail;
    let led = Event::LeaderStarted(Arc::new(LeaderStarted {
        at: Timestamp(1),
        epoch: 1,
        boot: Uuid::nil(),
        url: "http://before".into(),
        version: "0.0.9".into(),
        key: None,
        reads_level: 1,
    }));
    let mut batch = Batch::of(catalog::format_at(1));
    catalog::encode_at(1, &led, &mut batch).expect("a record of level 1");
    let mut chain = Chain::lead_from(tail, Uuid::nil());
    journal.append(&chain.seal(1, batch).expect("below the limit")).await;
    journal
}

async fn entries(house: &Fixture) -> Vec<Entry> {
    let tail = house.store.check().await.expect("a journal");
    house.store.read(&Cursor::start(tail.identity)).await.expect("whole entries").entries
}

fn is_of_level_1(entry: &Entry) -> bool {
    let records = entry.records().all(|record| catalog::level_of(&record) == Some(1));
    records && entry.header().format == catalog::format_at(1)
}

/// A node comes, and a policy; one with a report is refused below its level.
async fn live(house: &Fixture, node: &str) {
    house.join(node, 1_000).await;
    let put = |what_if| {
        let policy = domain::law::Policy {
            name: "open".into(),
            templates: vec!["x-*".into()],
            ..domain::law::lockdown_default()
        };
        let (policy, guard, origin) = (Box::new(policy), Guard::None, origin());
        Command::PutPolicy { policy, guard, origin, what_if }
    };
    let enact = async |command| ask(&house.registry, |reply| Enact { command, reply }).await;
    enact(put(None)).await.expect("a policy");
    match enact(put(Some(Hex([1; 32])))).await {
        Ok(_) => {}
        Err(Failure::Refused(Refusal::LevelTooLow { level: MEMORY, found: 1, .. })) => {}
        Err(other) => panic!("{other}"),
    }
}

async fn sign(house: &Fixture) {
    let (reply, signed) = oneshot::channel();
    house.notary.send(SignNow(reply)).await.expect("a notary");
    signed.await.expect("an answer");
}

#[actix::test]
async fn a_journal_from_before_is_written_as_its_programs_read_it_until_it_is_raised() {
    let mut house = Fixture::over(of_level_1().await).await;
    house.lead().await;
    house.submit().await;
    live(&house, "n1").await;
    sign(&house).await;
    let written = entries(&house).await;
    assert!(written.len() > 4);
    let newer: Vec<&Entry> = written.iter().filter(|entry| !is_of_level_1(entry)).collect();
    assert!(newer.is_empty(), "no program of level 1 reads {newer:?}");

    let raise = |level| Command::RaiseLevel { level, origin: origin() };
    let raised = ask(&house.registry, |reply| Enact { command: raise(LEVEL), reply }).await;
    let raised = raised.expect("raised").mark.index;
    live(&house, "n2").await;
    let (world, _) = replay(&(house.store.clone() as _)).await;
    assert_eq!(world.kept.level(), LEVEL);
    let all = entries(&house).await;
    let (old, new): (Vec<&Entry>, Vec<&Entry>) = all.iter().partition(|e| e.seq() < raised);
    assert!(old.into_iter().all(is_of_level_1), "what was written stays as it is");
    assert!(new.into_iter().any(|entry| !is_of_level_1(entry)));

    // The next leader announces its key, and signs.
    let store = MemoryJournal::over(house.store.store().clone());
    let mut next = Fixture::over(store).await;
    next.lead().await;
    sign(&next).await;
    let all = entries(&next).await;
    let last = catalog::events(all.last().expect("entries")).next().expect("an event");
    assert!(matches!(last.expect("readable").1, Event::CheckpointSigned(_)));
}

//! Output commit: nothing leaves before it is durable, refusals and repeats included.

use std::sync::Arc;

use domain::event::{LeaderStarted, QueuePaused};
use domain::{Command, Event, Refusal, RunId, Timestamp};
use journal::memory::{Fault, Weather};
use journal::{ChainHash, EntryId, Receipt};
use uuid::Uuid;

use super::messages::{Cancel, Enact};
use crate::answer::{Failure, ask};
use crate::fixture::{Fixture, judged, origin, replay};
use crate::publish::{Batch, Published};
use crate::view::Until;

#[actix::test]
async fn nothing_is_decided_before_this_instance_leads() {
    let house = Fixture::wired().await;
    let answer = house.admit(vec![judged()], None).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
}

#[actix::test]
async fn an_admitted_run_is_durable_and_visible_when_its_answer_is_out() {
    let house = Fixture::leading().await;
    let answer = house.admit(vec![judged()], None).await.expect("durable");
    let run = answer.value[0].as_ref().expect("let in").run.clone();
    assert_eq!(run.index, answer.mark.index);
    let seen = house.run(run.id(), Until::Now).await;
    assert_eq!(seen.value.expect("visible").run, run);
    let (world, _) = replay(&(house.store.clone() as _)).await;
    assert_eq!(world.runs.len(), 1);
}

#[actix::test]
async fn a_refusal_waits_for_what_was_decided_before_it() {
    let house = Fixture::leading().await;
    house.faults.set_weather(Weather::Degraded);
    let admit = house.admit(vec![judged()], None);
    let missing = RunId(Uuid::from_u128(1));
    let cancel = ask(&house.registry, |reply| Cancel { run: missing, origin: origin(), reply });
    let (mut admit, mut cancel) = (std::pin::pin!(admit), std::pin::pin!(cancel));
    // Both are decided; the journal has tried at least twice, and neither answer is out.
    let tries = house.faults.appends() + 2;
    while house.faults.appends() < tries {
        tokio::select! {
            biased;
            answer = &mut admit => panic!("out before it is durable: {answer:?}"),
            answer = &mut cancel => panic!("out before the admission is durable: {answer:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    house.faults.set_weather(Weather::Fair);
    let (admitted, refused) = tokio::join!(admit, cancel);
    assert!(admitted.is_ok());
    assert_eq!(refused.err(), Some(Failure::Refused(Refusal::NoSuchRun(missing))));
}

#[actix::test]
async fn a_repeated_key_has_one_run_even_while_the_first_is_not_durable() {
    let house = Fixture::leading().await;
    house.faults.plan([Fault::Refuse, Fault::LoseReply]);
    let (first, second) = tokio::join!(
        house.admit(vec![judged()], Some("k")),
        house.admit(vec![judged()], Some("k"))
    );
    let (first, second) = (first.expect("durable").value, second.expect("durable").value);
    let (first, second) = (first[0].as_ref().expect("in"), second[0].as_ref().expect("in"));
    assert_eq!((first.run.id(), first.repeat), (second.run.id(), false));
    assert!(second.repeat);
}

#[actix::test]
async fn one_call_is_one_entry_and_its_runs_keep_their_order() {
    let house = Fixture::leading().await;
    let before = house.store.store().ids().len();
    let answer = house.admit(vec![judged(); 100], None).await.expect("durable");
    assert_eq!(house.store.store().ids().len(), before + 1);
    let ids: Vec<RunId> =
        answer.value.iter().map(|item| item.as_ref().expect("in").run.id()).collect();
    assert!(ids.is_sorted() && ids.len() == 100);
}

#[actix::test]
async fn a_call_that_no_entry_can_hold_is_refused_whole() {
    let house = Fixture::leading().await;
    let mut request = crate::fixture::request();
    request.stdin = "x".repeat(1 << 20).into();
    let large =
        domain::judge::judge(&domain::Court::default(), request, &domain::Inputs::bare(true))
            .expect("judged");
    let answer = house.admit(vec![large; 5], None).await;
    assert!(matches!(answer, Err(Failure::Refused(Refusal::TooLarge { .. }))), "{answer:?}");
    assert!(house.admit(vec![judged()], None).await.is_ok());
}

#[actix::test]
async fn a_stale_judgement_is_named_with_the_revision_it_needs() {
    let house = Fixture::leading().await;
    let policy = domain::law::Policy {
        name: "p".into(),
        templates: vec!["python".into()],
        ..domain::law::lockdown_default()
    };
    let command = domain::Command::PutPolicy {
        policy: policy.into(),
        guard: domain::command::Guard::None,
        origin: origin(),
        what_if: None,
    };
    let enacted = ask(&house.registry, |reply| Enact { command, reply }).await.expect("enacted");
    assert_eq!((enacted.value.revision, enacted.value.version), (1, 1));
    let answer = house.admit(vec![judged()], None).await.expect("answered");
    assert_eq!(answer.value[0].as_ref().err(), Some(&Refusal::StaleLaw { judged: 0, needed: 1 }));
}

#[actix::test]
async fn what_was_decided_gives_its_share_of_the_door_back() {
    let house = Fixture::leading().await;
    house.submit().await;
    assert_eq!(house.undurable.load(), (0, 0));
}

#[actix::test]
async fn what_this_process_wrote_in_a_reign_that_is_over_is_folded_when_it_is_read_again() {
    let mut house = Fixture::wired().await;
    let at = Timestamp(1);
    let started = LeaderStarted {
        at,
        epoch: 1,
        boot: house.boot,
        url: "http://test".into(),
        version: "test".into(),
        key: None,
        reads_level: 0,
    };
    let read = [
        Event::LeaderStarted(started.into()),
        Event::QueuePaused(QueuePaused { at, origin: origin() }),
    ];
    for (seq, event) in (2..).zip(read) {
        let batch = Batch {
            index: seq,
            receipt: Receipt(EntryId { seq, h64: seq }),
            hash: ChainHash([9; 32]),
            epoch: 1,
            written_here: false,
            events: vec![event],
            bytes: 1,
        };
        house.registry.send(Published(Arc::new(batch))).await.expect("an actor");
    }
    house.lead().await;
    let before = house.store.store().newest();
    let command = Command::PauseQueue { origin: origin() };
    let paused = ask(&house.registry, |reply| Enact { command, reply }).await;
    assert!(paused.is_ok(), "{paused:?}");
    assert_eq!(house.store.store().newest(), before, "it stands already");
}

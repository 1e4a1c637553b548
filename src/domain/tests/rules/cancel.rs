//! Cancelling, from every state before the end, whatever becomes of the node meanwhile.

use domain::command::{Refusal, Reported};
use domain::event::{End, Event, ExitCause, LevelRaised, LostCause, Next, RunEvicted};
use domain::judge::Request;
use domain::law::{Losses, Poison, Policy};
use domain::submission::{OnLost, Retry};
use domain::{Command, Status, Timestamp, World};

use crate::support::*;

/// Long after everything that can be due.
const LATE: Timestamp = Timestamp(T0.0 + DAY);

fn drained(deadline: Option<Timestamp>) -> Event {
    let node = node("n1");
    Event::NodeDrained(domain::event::NodeDrained { node, at: T0, origin: origin(), deadline })
}

fn evicted() -> Event {
    Event::RunEvicted(RunEvicted { run: run(1), at: T0, attempt: 1, node: node("n1") })
}

fn again(ms: u64) -> Next {
    Next::Again { not_before: T0.plus(ms) }
}

/// Run 1 under a policy that sends it to quarantine with its first lost node.
fn poisoned() -> World {
    let on_lost = Losses { retries: 0, then: Poison::Quarantine };
    let level = domain::kept::HOUSE;
    let raised = LevelRaised { at: T0, origin: origin(), level };
    let mut given = vec![
        Event::LevelRaised(raised),
        put_event(1, Policy { on_lost, ..policy("careful", &["*"]) }),
        joined("n1", NODE, STANDARD),
    ];
    let law = world(&given);
    given.push(admitted_under(law.law.current(), 1, request()));
    let mut world = world(&given);
    place(&mut world, T0, 1);
    tell(&mut world, T0, lose("n1", 1)).expect("it was there");
    world
}

/// Every way to wait, by name.
fn waiting() -> Vec<(&'static str, World)> {
    let retries = Request { retry: Some(Retry { max_attempts: 3, backoff_ms: HOUR }), ..request() };
    let mut paused = world(&[joined("n1", NODE, STANDARD), admitted(1, request())]);
    tell(&mut paused, T0, Command::PauseQueue { origin: origin() }).expect("always");
    let on =
        |request| vec![joined("n1", NODE, STANDARD), admitted(1, request), assigned(1, 1, "n1")];
    let then = |given: Vec<Event>, last| world(&[given, vec![last]].concat());
    vec![
        ("no node", world(&[admitted(1, request())])),
        ("a node that has room", world(&[joined("n1", NODE, STANDARD), admitted(1, request())])),
        ("the queue is paused", paused),
        (
            "a node that drains",
            world(&[joined("n1", NODE, STANDARD), drained(None), admitted(1, request())]),
        ),
        ("it backs off", then(on(retries), finished(1, 1, "n1", exited(1), again(HOUR)))),
        ("it was lost", then(on(request()), lost(1, 1, "n1", LostCause::NodeLost, again(0)))),
        (
            "no sandbox was made",
            then(
                on(request()),
                finished(1, 1, "n1", exit(ExitCause::SandboxFailed, None), again(1_000)),
            ),
        ),
        (
            "a judge put it in quarantine",
            world(&[joined("q", NODE, QUARANTINE), admitted(1, quarantined())]),
        ),
        ("a policy put it in quarantine", poisoned()),
    ]
}

#[test]
fn whatever_it_waits_for_a_cancel_ends_it_at_once() {
    for (why, mut world) in waiting() {
        assert_eq!(world.runs.status(run(1)), Some(Status::Pending), "{why}");
        tell(&mut world, T0, cancel(1)).unwrap_or_else(|no| panic!("{why}: {no}"));
        let ended = world.runs.get(run(1)).expect("it is kept").into_owned();
        assert_eq!((ended.status, ended.end), (Status::Canceled, Some(End::Canceled)), "{why}");
        assert_eq!(world.decide(T0, cancel(1)), Err(Refusal::AlreadyEnded(run(1))), "{why}");
        assert!(
            world.line.item(run(1)).is_none() && place(&mut world, LATE, 9).is_empty(),
            "{why}"
        );
    }
}

/// Every way to be on a node, by name.
fn on_node(on_lost: OnLost) -> Vec<(&'static str, Vec<Event>)> {
    let request = Request { on_lost, ..request() };
    let given = vec![joined("n1", NODE, STANDARD), admitted(1, request), assigned(1, 1, "n1")];
    let and = |more: &[Event]| [given.clone(), more.to_vec()].concat();
    vec![
        ("scheduled", given.clone()),
        ("running", and(&[started(1, 1, "n1")])),
        ("its node drains", and(&[started(1, 1, "n1"), drained(None)])),
        ("it is to leave its node", and(&[started(1, 1, "n1"), drained(Some(T0)), evicted()])),
        ("it was cancelled before", and(&[cancel_requested(1, 1, "n1")])),
    ]
}

#[test]
fn on_a_node_the_node_is_told_and_whatever_it_says_or_does_not_say_ends_it() {
    let endings: [(&str, Command); 7] = [
        ("it was stopped", report(1, "n1", ended(exit(ExitCause::Canceled, None)))),
        ("it had just succeeded", report(1, "n1", ended(exited(0)))),
        ("it had just failed", report(1, "n1", ended(exited(7)))),
        ("its sandbox was not made", report(1, "n1", ended(exit(ExitCause::SandboxFailed, None)))),
        ("the agent has lost it", report(1, "n1", Reported::Gone)),
        ("the agent starts anew", join("n1", 2, NODE, STANDARD)),
        ("the node is not heard any more", lose("n1", 1)),
    ];
    for on_lost in [OnLost::Retry, OnLost::Fail] {
        for ((state, given), (ending, command)) in on_node(on_lost)
            .into_iter()
            .flat_map(|state| endings.iter().map(move |ending| (state.clone(), ending)))
        {
            let mut world = world(&given);
            tell(&mut world, T0, cancel(1)).unwrap_or_else(|no| panic!("{state}: {no}"));
            let node = world.fleet.node(&node("n1")).expect("it is there");
            assert!(node.attempts[&run(1)].stop, "{state}: its node is told");
            tell(&mut world, T0, command.clone())
                .unwrap_or_else(|no| panic!("{state}, {ending}: {no}"));
            let run = world.runs.get(run(1)).expect("it is kept").into_owned();
            assert_eq!(run.end, Some(End::Canceled), "{state}, {ending}");
            assert!(place(&mut world, LATE, 9).is_empty(), "{state}, {ending}: nowhere again");
        }
    }
}

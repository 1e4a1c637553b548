//! Attempts: those that fail by themselves, those that are lost, those that never became a sandbox.

use domain::command::{Refusal, Reported};
use domain::event::{End, ExitCause, FailReason, LostCause, Next};
use domain::judge::Request;
use domain::submission::{OnLost, Retry};
use domain::{Command, Event, Status, Timestamp, World};

use crate::support::*;

fn patient(max_attempts: u32, backoff_ms: u64) -> Request {
    Request { retry: Some(Retry { max_attempts, backoff_ms }), ..request() }
}

fn running(request: Request) -> World {
    world(&given(request))
}

fn given(request: Request) -> Vec<Event> {
    vec![joined("n1", NODE, STANDARD), admitted(1, request), assigned(1, 1, "n1")]
}

/// Reports `what` of every attempt until the run has ended; the pauses before each further one, in
/// milliseconds, and the end.
fn pauses(mut world: World, what: &Reported) -> (Vec<u64>, End) {
    let mut now = T0;
    let mut pauses = Vec::new();
    loop {
        tell(&mut world, now, report(1, "n1", what.clone())).expect("the attempt is current");
        let state = world.runs.get(run(1)).expect("nothing is forgotten here").into_owned();
        if let Some(end) = state.end {
            return (pauses, end);
        }
        let due = state.not_before.expect("it waits for its next attempt");
        let pause_ms = due.since(now);
        if pause_ms > 0 {
            let early = Timestamp(due.0 - 1);
            let refused = world.decide(early, assign(1, "n1"));
            assert_eq!(refused, Err(Refusal::Overtaken), "not before its pause is over");
            assert!(place(&mut world, early, 10).is_empty(), "not before its pause is over");
        }
        pauses.push(pause_ms);
        now = due;
        assert_eq!(place(&mut world, now, 10), [(run(1), node("n1"))]);
    }
}

#[test]
fn a_failing_run_is_tried_again_with_doubling_pauses_until_it_has_no_attempts_left() {
    let failing = ended(exited(1));
    let out = End::Failed(FailReason::OutOfAttempts);
    let ladder = vec![1_000, 2_000, 4_000, 8_000];
    assert_eq!(pauses(running(patient(5, 1_000)), &failing), (ladder, out));
    assert_eq!(pauses(running(patient(2, 300)), &failing), (vec![300], out));
    let once = End::Failed(FailReason::NonZeroExit);
    assert_eq!(pauses(running(patient(1, 1_000)), &failing), (vec![], once));
}

#[test]
fn a_pause_never_grows_beyond_the_longest() {
    let (pauses, _) = pauses(running(patient(6, HOUR / 4)), &ended(exited(1)));
    assert_eq!(pauses, [HOUR / 4, HOUR / 2, HOUR, HOUR, HOUR]);
    let retry = Retry { max_attempts: u32::MAX, backoff_ms: u64::MAX };
    assert_eq!(retry.pause_ms(u32::MAX), Retry::MAX_BACKOFF_MS);
    assert_eq!(Retry { backoff_ms: 0, ..retry }.pause_ms(u32::MAX), 0);
}

#[test]
fn a_pause_is_spread_by_up_to_a_quarter_and_never_shorter_than_asked() {
    let after = |chance, exit| {
        let mut world = running(patient(3, 1_000));
        let Command::Report { report, .. } = report(1, "n1", ended(exit)) else { panic!("it is") };
        tell(&mut world, T0, Command::Report { report, chance }).expect("the attempt is current");
        let waits = world.runs.get(run(1)).and_then(|run| run.not_before);
        waits.expect("it waits for its next attempt").since(T0)
    };
    for (chance, pause_ms) in
        [(0, 1_000), (7, 1_007), (250, 1_250), (251, 1_000), (u64::MAX, 1_000 + u64::MAX % 251)]
    {
        assert_eq!(after(chance, exited(1)), pause_ms, "{chance}");
        assert_eq!(after(chance, exit(ExitCause::SandboxFailed, None)), pause_ms, "{chance}");
    }
    assert_eq!(Retry::jittered(0, 77), 0, "no pause stays none");
    let longest = (0..=Retry::MAX_BACKOFF_MS).step_by(997);
    let longest = longest.map(|chance| Retry::jittered(Retry::MAX_BACKOFF_MS, chance)).max();
    assert!(longest <= Some(Retry::MAX_BACKOFF_MS / 4 * 5), "{longest:?}");
}

#[test]
fn every_way_to_fail_by_itself_counts_as_an_attempt() {
    for exit in [
        exited(1),
        killed(9),
        exit(ExitCause::TimedOut, None),
        exit(ExitCause::TimedOut, Some(0)),
        exit(ExitCause::OutOfMemory, None),
        exit(ExitCause::OutOfMemory, Some(0)),
        exit(ExitCause::NotExecutable, Some(127)),
    ] {
        let (pauses, end) = pauses(running(patient(3, 10)), &ended(exit.clone()));
        assert_eq!((pauses.len(), end), (2, End::Failed(FailReason::OutOfAttempts)), "{exit:?}");
    }
}

#[test]
fn success_ends_a_run_at_any_attempt() {
    let mut world = running(patient(3, 10));
    tell(&mut world, T0, report(1, "n1", ended(exited(1)))).expect("the attempt is current");
    place(&mut world, T0.plus(10), 1);
    tell(&mut world, T0.plus(20), report(1, "n1", ended(exited(0)))).expect("so is the next");
    let run = world.runs.get(run(1)).expect("it is kept");
    assert_eq!((run.status, run.attempt, run.failures), (Status::Succeeded, 2, 1));
}

#[test]
fn a_lost_run_waits_again_at_most_three_times() {
    let out = End::Failed(FailReason::OutOfAttempts);
    assert_eq!(pauses(running(request()), &Reported::Gone), (vec![0, 0, 0], out));
}

#[test]
fn a_lost_node_is_not_the_runs_fault() {
    let mut world = running(patient(2, 10));
    for boot in 1..=3 {
        tell(&mut world, T0, lose("n1", boot)).expect("it is there");
        tell(&mut world, T0, join("n1", boot + 1, NODE, STANDARD)).expect("it comes back");
        assert_eq!(place(&mut world, T0, 1), [(run(1), node("n1"))]);
    }
    tell(&mut world, T0, report(1, "n1", ended(exited(1)))).expect("the attempt is current");
    let state = world.runs.get(run(1)).expect("it waits");
    assert_eq!((state.status, state.failures, state.losses), (Status::Pending, 1, 3));
}

#[test]
fn a_run_that_must_not_be_done_twice_fails_with_its_node() {
    let careful = given(Request { on_lost: OnLost::Fail, ..request() });
    let end = Next::End(End::Failed(FailReason::NodeLost));
    let with_node = lost(1, 1, "n1", LostCause::NodeLost, end);
    check(&careful, lose("n1", 1), Ok(vec![node_lost("n1"), with_node]));
    let with_agent = lost(1, 1, "n1", LostCause::NodeRestarted, end);
    let joined = joined_anew("n1", 2, NODE, STANDARD);
    check(&careful, join("n1", 2, NODE, STANDARD), Ok(vec![with_agent, joined]));
    let unknown = lost(1, 1, "n1", LostCause::Unknown, end);
    check(&careful, report(1, "n1", Reported::Gone), Ok(vec![unknown]));
}

#[test]
fn a_cancelled_run_that_must_not_be_done_twice_is_cancelled_with_its_node() {
    let careful = given(Request { on_lost: OnLost::Fail, ..request() });
    let careful = [careful, vec![cancel_requested(1, 1, "n1")]].concat();
    let with_node = lost(1, 1, "n1", LostCause::NodeLost, Next::End(End::Canceled));
    check(&careful, lose("n1", 1), Ok(vec![node_lost("n1"), with_node]));
}

#[test]
fn a_sandbox_that_could_not_be_made_is_tried_again_later_and_costs_no_attempt() {
    let broken = ended(exit(ExitCause::SandboxFailed, None));
    let end = End::Failed(FailReason::SandboxFailed);
    let ladder = vec![1_000, 2_000, 4_000];
    assert_eq!(pauses(running(request()), &broken), (ladder.clone(), end));
    // The program never ran, so it may be tried again even where it must not run twice.
    let careful = Request { on_lost: OnLost::Fail, ..request() };
    assert_eq!(pauses(running(careful), &broken), (ladder, end));
}

#[test]
fn a_run_that_waits_again_keeps_its_place() {
    let mut world = world(&[
        joined("n1", SMALL, STANDARD),
        admitted(1, request()),
        admitted(2, request()),
        assigned(1, 1, "n1"),
    ]);
    tell(&mut world, T0, report(1, "n1", Reported::Gone)).expect("the attempt is current");
    assert_eq!(world.line.rank(run(1)), Some(0));
    assert_eq!(place(&mut world, T0, 10), [(run(1), node("n1"))]);
}

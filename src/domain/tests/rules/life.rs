//! The life of a run: the table in `domain::runs::Status`, row by row, and what may end it.

use domain::command::{Refusal, Report, Reported};
use domain::event::{End, ExitCause, FailReason, LostCause, Next, RejectCode};
use domain::judge::Request;
use domain::{Command, Event, Status, World};

use crate::support::*;

const END: Next = Next::End(End::Succeeded);

fn pending() -> Vec<Event> {
    vec![joined("n1", NODE, STANDARD), admitted(1, request())]
}

fn scheduled() -> Vec<Event> {
    [pending(), vec![assigned(1, 1, "n1")]].concat()
}

fn running() -> Vec<Event> {
    [scheduled(), vec![started(1, 1, "n1")]].concat()
}

fn succeeded() -> Vec<Event> {
    [running(), vec![finished(1, 1, "n1", exited(0), END)]].concat()
}

fn failed() -> Vec<Event> {
    let next = Next::End(End::Failed(FailReason::NonZeroExit));
    [running(), vec![finished(1, 1, "n1", exited(3), next)]].concat()
}

fn canceled_in_line() -> Vec<Event> {
    [pending(), vec![canceled(1)]].concat()
}

fn refused() -> Vec<Event> {
    let greedy = Request { cpu_milli: Some(1_001), ..request() };
    vec![rejected(&World::default(), 1, greedy, RejectCode::PolicyRejected)]
}

#[test]
fn the_life_of_a_run_is_the_table() {
    let again = Next::Again { not_before: T0 };
    let failed_by = |reason| Next::End(End::Failed(reason));
    let gone = |next| lost(1, 1, "n1", LostCause::Unknown, next);
    for (given, when, then) in [
        (vec![], admitted(1, request()), Status::Pending),
        (vec![], refused().remove(0), Status::Rejected),
        (pending(), assigned(1, 1, "n1"), Status::Scheduled),
        (pending(), canceled(1), Status::Canceled),
        (scheduled(), started(1, 1, "n1"), Status::Running),
        (scheduled(), cancel_requested(1, 1, "n1"), Status::Scheduled),
        (scheduled(), finished(1, 1, "n1", exited(0), END), Status::Succeeded),
        (scheduled(), gone(again), Status::Pending),
        (running(), cancel_requested(1, 1, "n1"), Status::Running),
        (running(), finished(1, 1, "n1", exited(0), END), Status::Succeeded),
        (running(), finished(1, 1, "n1", exited(1), again), Status::Pending),
        (
            running(),
            finished(1, 1, "n1", exited(1), failed_by(FailReason::NonZeroExit)),
            Status::Failed,
        ),
        (running(), finished(1, 1, "n1", killed(9), Next::End(End::Canceled)), Status::Canceled),
        (running(), gone(again), Status::Pending),
        (running(), gone(failed_by(FailReason::NodeLost)), Status::Failed),
        (running(), gone(Next::End(End::Canceled)), Status::Canceled),
    ] {
        let before = world(&given);
        let mut after = before.clone();
        evolve(&mut after, &when);
        assert_eq!(after.runs.status(run(1)), Some(then), "given {given:#?} when {when:?}");
        for status in Status::ALL {
            assert_eq!(after.runs.count(status), u64::from(status == then), "{status:?} {when:?}");
        }
        domain::invariants::state(&after).expect("every rule of the house");
    }
}

#[test]
fn a_run_that_waits_is_cancelled_at_once() {
    check(&pending(), cancel(1), Ok(vec![canceled(1)]));
}

#[test]
fn a_run_on_a_node_is_asked_to_end() {
    check(&scheduled(), cancel(1), Ok(vec![cancel_requested(1, 1, "n1")]));
    check(&running(), cancel(1), Ok(vec![cancel_requested(1, 1, "n1")]));
}

#[test]
fn asking_twice_changes_nothing() {
    let asked = [running(), vec![cancel_requested(1, 1, "n1")]].concat();
    check(&asked, cancel(1), Ok(vec![]));
    let decision = world(&asked).decide(T0, cancel(1));
    assert_eq!(decision.map(|decision| decision.run), Ok(Some(run(1))), "still about the run");
}

#[test]
fn what_has_ended_cannot_be_cancelled() {
    for given in [succeeded(), failed(), canceled_in_line(), refused()] {
        check(&given, cancel(1), Err(Refusal::AlreadyEnded(run(1))));
    }
    check(&pending(), cancel(2), Err(Refusal::NoSuchRun(run(2))));
}

#[test]
fn a_cancelled_run_on_a_node_keeps_its_room_until_its_agent_reports_the_end() {
    let mut world = world(&running());
    tell(&mut world, T0, cancel(1)).expect("a running run can be cancelled");
    let on_node = world.fleet.node(&node("n1")).expect("it joined");
    assert!(on_node.attempts[&run(1)].stop, "the node is to end it");
    assert_eq!(on_node.allocated, SMALL);

    tell(&mut world, T0, report(1, "n1", ended(exited(0)))).expect("the attempt is current");
    let ended = world.runs.get(run(1)).expect("it is kept");
    assert_eq!((ended.status, ended.end), (Status::Canceled, Some(End::Canceled)));
    let exit = ended.last_exit.as_ref().map(|e| e.exit.clone());
    assert_eq!(exit, Some(exited(0)), "with the exit the agent saw");
    assert_eq!(world.fleet.node(&node("n1")).map(|n| n.allocated), Some(Default::default()));
}

#[test]
fn a_cancelled_run_ends_cancelled_however_it_ends() {
    let asked = [running(), vec![cancel_requested(1, 1, "n1")]].concat();
    let end = Next::End(End::Canceled);
    for exit in [
        exited(0),
        exited(7),
        killed(15),
        exit(ExitCause::TimedOut, None),
        exit(ExitCause::OutOfMemory, None),
        exit(ExitCause::Canceled, None),
        exit(ExitCause::NotExecutable, Some(127)),
        exit(ExitCause::SandboxFailed, None),
    ] {
        let then = finished(1, 1, "n1", exit.clone(), end);
        check(&asked, report(1, "n1", ended(exit)), Ok(vec![then]));
    }
    let gone = lost(1, 1, "n1", LostCause::Unknown, end);
    check(&asked, report(1, "n1", Reported::Gone), Ok(vec![gone]));
    let gone = lost(1, 1, "n1", LostCause::NodeLost, end);
    check(&asked, lose("n1", 1), Ok(vec![node_lost("n1"), gone]));
}

#[test]
fn an_exit_has_one_meaning() {
    let failed = |reason| End::Failed(reason);
    for (exit, then) in [
        (exited(0), End::Succeeded),
        (exited(1), failed(FailReason::NonZeroExit)),
        (exited(-1), failed(FailReason::NonZeroExit)),
        (killed(11), failed(FailReason::Signaled)),
        (exit(ExitCause::TimedOut, None), failed(FailReason::TimedOut)),
        (exit(ExitCause::TimedOut, Some(0)), failed(FailReason::TimedOut)),
        (exit(ExitCause::OutOfMemory, None), failed(FailReason::OutOfMemory)),
        (exit(ExitCause::NotExecutable, Some(126)), failed(FailReason::NotExecutable)),
    ] {
        let then = finished(1, 1, "n1", exit.clone(), Next::End(then));
        check(&running(), report(1, "n1", ended(exit)), Ok(vec![then]));
    }
}

#[test]
fn a_program_stopped_for_no_caller_is_lost_not_cancelled() {
    let stopped = ended(exit(ExitCause::Canceled, None));
    let gone = lost(1, 1, "n1", LostCause::Unknown, Next::Again { not_before: T0 });
    check(&running(), report(1, "n1", stopped), Ok(vec![gone]));
}

#[test]
fn a_start_is_reported_once() {
    check(&scheduled(), report(1, "n1", Reported::Started), Ok(vec![started(1, 1, "n1")]));
    check(&running(), report(1, "n1", Reported::Started), Ok(vec![]));
}

#[test]
fn a_program_may_end_before_its_start_was_heard_of() {
    let then = finished(1, 1, "n1", exited(0), END);
    check(&scheduled(), report(1, "n1", ended(exited(0))), Ok(vec![then]));
}

#[test]
fn a_report_is_believed_of_the_current_attempt_only() {
    let with_token = |n| {
        let (node, run, token) = (node("n1"), run(1), token(n));
        let report = Report { node, run, token, what: Reported::Started };
        Command::Report { report, chance: 0 }
    };
    let stale = || Err(Refusal::StaleAttempt);
    check(&scheduled(), with_token(2), stale());
    check(&pending(), with_token(1), stale());
    for given in [succeeded(), failed(), canceled_in_line(), refused(), vec![]] {
        check(&given, report(1, "n1", Reported::Gone), stale());
    }
    let two_nodes = [vec![joined("n2", NODE, STANDARD)], scheduled()].concat();
    check(&two_nodes, report(1, "n2", Reported::Started), stale());
}

#[test]
fn what_an_ended_run_was_can_be_read_back_whole() {
    let mut lived = world(&running());
    let before = lived.runs.get(run(1)).expect("it runs").into_owned();
    let end = finished(1, 1, "n1", exited(0), END);
    evolve(&mut lived, &end);
    let after = lived.runs.get(run(1)).expect("it is kept").into_owned();
    let Event::RunFinished(end) = end else { panic!("made above") };
    let expected = domain::Run {
        status: Status::Succeeded,
        finished_at: Some(T0),
        last_exit: Some(end),
        end: Some(End::Succeeded),
        ..before
    };
    assert_eq!(after, expected);
}

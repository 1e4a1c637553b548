//! Typhon: who gets out of quarantine, who does not, and what is kept of it.

use domain::command::{Command, Guard};
use domain::event::{End, FailReason, LostCause, Next, RejectCode, RunRefused, RunReleased};
use domain::judge::judge_again;
use domain::law::{Limits, Policy};
use domain::ledger::Stand;
use domain::runs::Birth;
use domain::submission::{Heat, Pool};
use domain::{Court, Event, Inputs, Judged, Refusal, Status, World};

use crate::support::*;

/// What the judges say of run `n` under the law of `world`.
fn again(world: &World, n: u64) -> Box<Judged> {
    let found = world.runs.get(run(n)).expect("there is one").into_owned();
    let Birth::Admitted(admitted) = &found.birth else { panic!("it was rejected") };
    let court = Court::new(world.law.current().clone(), None);
    Box::new(judge_again(&court, admitted, &Inputs::bare(true)))
}

fn release(world: &World, n: u64) -> Command {
    let (judged, reason) = (again(world, n), "looked at".into());
    Command::Release { run: run(n), judged, reason, origin: origin() }
}

fn refuse(n: u64) -> Command {
    Command::Refuse { run: run(n), reason: "a miner".into(), origin: origin() }
}

fn released(world: &World, n: u64, pool: Pool) -> Event {
    let (_, judgement) = again(world, n).into_parts();
    let (run, at, reason) = (run(n), T0, "looked at".into());
    let origin = origin();
    Event::RunReleased(RunReleased { run, at, origin, judgement, pool, reason }.into())
}

fn refused(n: u64) -> Event {
    let (run, at, origin) = (run(n), T0, origin());
    Event::RunRefused(RunRefused { run, at, origin, reason: "a miner".into() }.into())
}

/// A quarantine node, and run 1 which waits for it.
fn waiting() -> Vec<Event> {
    vec![joined("q", NODE, QUARANTINE), admitted(1, quarantined())]
}

fn hot() -> domain::judge::Request {
    domain::judge::Request { heat: Some(Heat::Hot), ..quarantined() }
}

#[test]
fn a_release_overrides_the_quarantine_verdict_and_heat_says_where_it_goes() {
    for (request, pool) in [(quarantined(), Pool::Standard), (hot(), Pool::HighCompute)] {
        let given = [joined("q", NODE, QUARANTINE), admitted(1, request)];
        let world = world(&given);
        check(&given, release(&world, 1), Ok(vec![released(&world, 1, pool)]));
    }
}

#[test]
fn a_released_run_goes_to_an_ordinary_node_and_never_to_quarantine_again() {
    let mut house = world(&[joined("q", NODE, QUARANTINE), joined("n", NODE, STANDARD)]);
    tell(&mut house, T0, Command::PauseQueue { origin: origin() }).expect("always");
    let admitted = admit(1, judged(&house, quarantined()));
    tell(&mut house, T0, admitted).expect("a quarantine node is live");
    let release = release(&house, 1);
    tell(&mut house, T0, release.clone()).expect("it waits in quarantine");
    assert_eq!(house.decide(T0, release), Err(Refusal::NotInQuarantine(run(1))), "once is enough");
    tell(&mut house, T0, Command::ResumeQueue { origin: origin() }).expect("always");
    assert_eq!(place(&mut house, T0, 9), [(run(1), node("n"))]);
    // It comes back to the line as what it is now.
    tell(&mut house, T0, lose("n", 1)).expect("it was there");
    assert_eq!(place(&mut house, T0, 9), [], "no ordinary node is left, and quarantine is none");
}

#[test]
fn what_the_law_of_today_rejects_stays_in_quarantine() {
    let strict = Limits { mem_mb: Some(64), ..policy("", &[]).limits };
    let strict = Policy { limits: strict, ..policy("strict", &["host"]) };
    let mut given = waiting();
    given.push(put_event(1, strict));
    let world = world(&given);
    let asked = release(&world, 1);
    let Err(Refusal::StillRejected { run: of, reasons: said }) = world.decide(T0, asked) else {
        panic!("today's law rejects it")
    };
    let why = ["metadata.quarantine is \"true\"", "resources.mem_mb is 128, the limit is 64"];
    assert_eq!((of, &*said), (run(1), &why.map(str::to_owned)[..]));
    assert_eq!(world.runs.status(run(1)), Some(Status::Pending));
    assert!(world.line.item(run(1)).is_some_and(|item| item.class.pool == Pool::Quarantine));
}

#[test]
fn a_release_judged_by_an_older_law_is_judged_again() {
    let old = world(&waiting());
    let mut given = waiting();
    given.push(put_event(1, policy("open", &["*"])));
    check(&given, release(&old, 1), Err(Refusal::StaleLaw { judged: 0, needed: 1 }));
}

#[test]
fn only_what_waits_in_quarantine_is_released_or_rejected() {
    let ordinary = [joined("n", NODE, STANDARD), admitted(1, request())];
    let on_node = [waiting(), vec![assigned(1, 1, "q")]].concat();
    let canceled_one = [waiting(), vec![canceled(1)]].concat();
    for given in [&ordinary[..], &on_node, &canceled_one] {
        let not = || Err(Refusal::NotInQuarantine(run(1)));
        check(given, release(&world(given), 1), not());
        check(given, refuse(1), not());
    }
    check(&[], refuse(7), Err(Refusal::NoSuchRun(run(7))));
}

#[test]
fn a_rejection_ends_the_run_and_its_place_in_line() {
    check(&waiting(), refuse(1), Ok(vec![refused(1)]));
    let mut given = waiting();
    given.push(refused(1));
    let world = world(&given);
    let found = world.runs.get(run(1)).expect("it is remembered").into_owned();
    assert_eq!((found.status, found.finished_at), (Status::Rejected, Some(T0)));
    assert_eq!((world.line.waiting(), world.line.item(run(1))), (0, None));
    check(&given, refuse(1), Err(Refusal::NotInQuarantine(run(1))));
}

#[test]
fn the_ledger_keeps_who_did_what_and_why_until_the_run_is_forgotten() {
    for (event, released, reason) in [
        (released(&world(&waiting()), 1, Pool::Standard), true, "looked at"),
        (refused(1), false, "a miner"),
    ] {
        let mut given = waiting();
        given.push(event);
        let world = world(&given);
        let (of, entry) = world.ledger.newest_first(None, None).next().expect("it was quarantined");
        let resolved = entry.resolved.as_ref().expect("somebody did something");
        assert_eq!((of, resolved.released, &*resolved.reason), (run(1), released, reason));
        assert_eq!((resolved.at, &resolved.by), (T0, &origin().by));
    }
    let given = [waiting(), vec![refused(1), forgotten(1, T0.plus(DAY))]].concat();
    assert!(world(&given).ledger.is_empty());
}

#[test]
fn the_ledger_says_how_each_run_stands() {
    let over = |code, next| finished(1, 1, "q", exited(code), next);
    let again = Next::Again { not_before: T0 };
    let (ended, failed) = (Next::End(End::Succeeded), Next::End(End::Failed(FailReason::NodeLost)));
    let let_go = released(&world(&waiting()), 1, Pool::Standard);
    for (events, stand) in [
        (vec![], Stand::Waiting),
        (vec![assigned(1, 1, "q")], Stand::Running),
        (vec![assigned(1, 1, "q"), over(1, again)], Stand::Waiting),
        (vec![assigned(1, 1, "q"), over(0, ended)], Stand::Ended),
        (vec![assigned(1, 1, "q"), lost(1, 1, "q", LostCause::NodeLost, failed)], Stand::Ended),
        (vec![canceled(1)], Stand::Ended),
        (vec![refused(1)], Stand::Rejected),
        (vec![let_go.clone()], Stand::Released),
        (vec![let_go, canceled(1)], Stand::Released),
    ] {
        let world = world(&[waiting(), events.clone()].concat());
        let found = world.ledger.newest_first(None, None).next().map(|(_, entry)| entry.stand);
        assert_eq!(found, Some(stand), "{events:?}");
        for other in Stand::ALL {
            let of = world.ledger.newest_first(Some(other), None);
            let of = of.filter(|(_, entry)| entry.stand == other).count();
            assert_eq!((of, world.ledger.count(other)), (usize::from(other == stand), of as u64));
        }
    }
    let never = rejected(&World::default(), 1, quarantined(), RejectCode::QuarantineUnavailable);
    assert_eq!(world(&[never]).ledger.count(Stand::Rejected), 1, "never let in");
}

#[test]
fn the_thresholds_have_a_version_that_a_guard_can_name() {
    let set = |guard| {
        let table = domain::law::HeatTable::PUBLISHED;
        Command::SetHeatTable { table, guard, origin: origin() }
    };
    let mut world = World::default();
    for (guard, version) in
        [(Guard::Version(0), 1), (Guard::Version(1), 2), (Guard::None, 3), (Guard::Version(3), 4)]
    {
        tell(&mut world, T0, set(guard)).expect("the guard names what is in force");
        let last = world.law.heat_history().last().expect("one was set");
        assert_eq!((last.version, last.revision), (version, version));
    }
    assert!(World::default().decide(T0, set(Guard::Absent)).is_ok());
    for expected in [0, 1] {
        let stale = Refusal::VersionMismatch { expected, found: 4 };
        assert_eq!(world.decide(T0, set(Guard::Version(expected))), Err(stale));
    }
    let exists = Refusal::Exists { name: "heat".into(), version: 4 };
    assert_eq!(world.decide(T0, set(Guard::Absent)), Err(exists));
}

//! What a policy makes of a run that is lost with its nodes again and again; and of sandboxes that
//! can't be made.

use domain::command::{Guard, Refusal};
use domain::event::{End, ExitCause, FailReason, LevelRaised, LostCause, RunReleased};
use domain::judge::{Pinned, Request, judge_again};
use domain::kept::{HOUSE, MEMORY};
use domain::law::{Losses, Poison, Policy};
use domain::ledger::Stand;
use domain::placement::plan;
use domain::runs::Birth;
use domain::submission::{OnLost, Pool};
use domain::{Command, Court, Event, Inputs, Status, World};

use crate::support::*;

const OUT: Option<End> = Some(End::Failed(FailReason::OutOfAttempts));

fn level(level: u32) -> Event {
    Event::LevelRaised(LevelRaised { at: T0, origin: origin(), level })
}

fn careful(retries: u32, then: Poison) -> Policy {
    Policy { on_lost: Losses { retries, then }, ..policy("careful", &["*"]) }
}

/// Nodes `n1` to `n6` and `q1` to `q3`, and run 1 under this policy.
fn house(retries: u32, then: Poison, request: Request) -> World {
    let mut given = vec![level(HOUSE), put_event(1, careful(retries, then))];
    given.extend((1..=6).map(|n| joined(&format!("n{n}"), NODE, STANDARD)));
    given.extend((1..=3).map(|n| joined(&format!("q{n}"), NODE, QUARANTINE)));
    let law = world(&given);
    given.push(admitted_under(law.law.current(), 1, request));
    world(&given)
}

/// Loses each node that the run is placed on, until it has ended or waits for a node that is not
/// there; the pools that it took nodes of.
fn poison(world: &mut World) -> Vec<Pool> {
    let mut harmed = Vec::new();
    while let [(_, on)] = &place(world, T0, 1)[..] {
        harmed.push(world.fleet.node(on).expect("it is there").pool);
        tell(world, T0, lose(on.as_str(), 1)).expect("it was there");
    }
    harmed
}

#[test]
fn a_run_harms_as_many_nodes_as_its_policy_allows_and_is_then_a_dead_letter() {
    for retries in 0..=OnLost::MAX_LOSSES {
        let mut world = house(retries, Poison::DeadLetter, request());
        assert_eq!(poison(&mut world), vec![Pool::Standard; retries as usize + 1]);
        let run = world.runs.get(run(1)).expect("it is kept");
        assert_eq!((run.status, run.end), (Status::Failed, OUT));
        assert_eq!(world.dead.waiting(), 1);
    }
}

#[test]
fn by_policy_it_goes_to_quarantine_once_and_is_then_a_dead_letter() {
    for retries in 0..=OnLost::MAX_LOSSES {
        let mut world = house(retries, Poison::Quarantine, request());
        let mut harmed = vec![Pool::Standard; retries as usize + 1];
        harmed.push(Pool::Quarantine);
        assert_eq!(poison(&mut world), harmed, "one more, where it can be looked at");
        let found = world.runs.get(run(1)).expect("it is kept");
        assert_eq!((found.status, found.end), (Status::Failed, OUT));
        let entry = world.ledger.newest_first(None, None).next().map(|(run, e)| (run, e.stand));
        assert_eq!(entry, Some((run(1), Stand::Ended)));
    }
}

#[test]
fn what_sends_it_there_names_the_policy_and_what_was_lost() {
    let mut world = house(0, Poison::Quarantine, request());
    place(&mut world, T0, 1);
    let mut decided = tell(&mut world, T0, lose("n1", 1)).expect("it was there").events;
    let Some(Event::RunQuarantined(sent)) = decided.pop() else { panic!("{decided:?}") };
    let policy = Pinned { name: "careful".into(), version: 1 };
    assert_eq!((&sent.policy, sent.losses, sent.attempt, &sent.node), (&policy, 1, 1, &node("n1")));
    assert!(matches!(&decided[..], [Event::NodeLost(_), Event::RunLost(_)]), "{decided:?}");
    let waits = world.runs.live(run(1)).expect("it waits");
    assert!(waits.is_quarantined() && waits.status == Status::Pending);
    assert_eq!(world.ledger.count(Stand::Waiting), 1);
    let again = world.quarantined_again(run(1), T0);
    assert_eq!(again, None, "decided again where it has happened, nothing comes of it");
}

#[test]
fn an_operator_lets_it_go_and_it_is_not_sent_back() {
    let mut world = house(0, Poison::Quarantine, request());
    place(&mut world, T0, 1);
    tell(&mut world, T0, lose("n1", 1)).expect("it was there");
    let Birth::Admitted(admitted) = &world.runs.live(run(1)).expect("it waits").birth.clone()
    else {
        panic!("it was let in")
    };
    let court = Court::new(world.law.current().clone(), None);
    let judged = Box::new(judge_again(&court, admitted, &Inputs::bare(true)));
    let (reason, origin) = ("looked at".into(), origin());
    let release = Command::Release { run: run(1), judged, reason, origin };
    let released = tell(&mut world, T0, release).expect("it waits in quarantine").events;
    assert!(matches!(&released[..], [Event::RunReleased(e)]
        if matches!(&**e, RunReleased { pool: Pool::Standard, .. })));
    assert_eq!(poison(&mut world), [Pool::Standard], "the next loss is its end");
    assert_eq!(world.runs.get(run(1)).expect("it is kept").end, OUT);
    assert_eq!(world.ledger.count(Stand::Released), 1);
}

#[test]
fn who_is_in_quarantine_already_is_a_dead_letter_instead() {
    let mut world = house(1, Poison::Quarantine, quarantined());
    assert_eq!(poison(&mut world), [Pool::Quarantine; 2]);
    assert_eq!(world.runs.get(run(1)).expect("it is kept").end, OUT);
}

#[test]
fn a_run_that_must_not_be_done_twice_is_not_sent_to_quarantine() {
    let request = Request { on_lost: OnLost::Fail, ..request() };
    let mut world = house(0, Poison::Quarantine, request);
    assert_eq!(poison(&mut world), [Pool::Standard]);
    let end = world.runs.get(run(1)).expect("it is kept").end;
    assert_eq!(end, Some(End::Failed(FailReason::NodeLost)));
}

#[test]
fn cancelled_or_moved_it_is_not_sent_to_quarantine() {
    let mut world = house(0, Poison::Quarantine, request());
    place(&mut world, T0, 1);
    tell(&mut world, T0, cancel(1)).expect("it runs");
    let lost = tell(&mut world, T0, lose("n1", 1)).expect("it was there").events;
    assert!(lost.iter().all(|event| !matches!(event, Event::RunQuarantined(_))));
    assert_eq!(world.runs.status(run(1)), Some(Status::Canceled));
    let given = [joined("n1", NODE, STANDARD), admitted(1, request()), assigned(1, 1, "n1")];
    let mut moved = crate::support::world(&given);
    let next = domain::event::Next::Again { not_before: T0 };
    evolve(&mut moved, &lost_event(next));
    assert_eq!(moved.quarantined_again(run(1), T0), None);
}

fn lost_event(next: domain::event::Next) -> Event {
    lost(1, 1, "n1", LostCause::Drained, next)
}

#[test]
fn sandboxes_that_were_not_made_are_no_lost_nodes() {
    let broken = || ended(exit(ExitCause::SandboxFailed, None));
    let mut world = house(0, Poison::Quarantine, request());
    let mut now = T0;
    for attempt in 1..=3 {
        let went = place(&mut world, now, 1);
        assert_eq!(went.len(), 1, "attempt {attempt}");
        tell(&mut world, now, report(1, went[0].1.as_str(), broken())).expect("it is current");
        now = now.plus(HOUR);
    }
    let waits = world.runs.live(run(1)).expect("its nodes did no harm to it");
    assert_eq!((waits.losses, waits.unmade, waits.is_quarantined()), (3, 3, false));
    let went = place(&mut world, now, 1);
    tell(&mut world, now, report(1, went[0].1.as_str(), broken())).expect("it is current");
    assert_eq!(world.runs.get(run(1)).expect("it is kept").end, OUT, "the fourth");
    assert_eq!(world.dead.waiting(), 1, "it can be redriven when the nodes are mended");
}

#[test]
fn only_lost_nodes_send_it_to_quarantine_whatever_else_befell_it() {
    let broken = || ended(exit(ExitCause::SandboxFailed, None));
    for (unmade, lost, quarantined, end) in [
        // One retry is allowed: the first loss of a node is none too many.
        (2, 1, None, None),
        (2, 2, Some(2), None),
        // Four things went wrong together, and one node was lost: it is not looked at, and ends.
        (3, 1, None, OUT),
    ] {
        let mut world = house(1, Poison::Quarantine, request());
        let mut now = T0;
        for n in 0..unmade + lost {
            let went = place(&mut world, now, 1);
            let node = went[0].1.as_str();
            let command = if n < unmade { report(1, node, broken()) } else { lose(node, 1) };
            tell(&mut world, now, command).expect("it is current");
            now = now.plus(HOUR);
        }
        let seen = world.runs.get(run(1)).expect("it is kept");
        let sent = seen.quarantined.as_ref().map(|event| event.losses);
        assert_eq!((sent, seen.end), (quarantined, end), "{unmade} unmade, {lost} lost");
    }
}

#[test]
fn a_sandbox_that_was_not_made_is_tried_on_another_node_where_there_is_one() {
    let broken = || ended(exit(ExitCause::SandboxFailed, None));
    let given =
        [joined("n1", NODE, STANDARD), joined("n2", SMALL, STANDARD), admitted(1, request())];
    let mut world = world(&given);
    // `n1` has more free, and would be taken again and again.
    assert_eq!(place(&mut world, T0, 1), [(run(1), node("n1"))]);
    tell(&mut world, T0, report(1, "n1", broken())).expect("it is current");
    let now = T0.plus(HOUR);
    let mut alone = world.clone();
    assert_eq!(place(&mut world, now, 1), [(run(1), node("n2"))]);
    tell(&mut alone, now, lose("n2", 1)).expect("it was there");
    assert_eq!(place(&mut alone, now, 1), [(run(1), node("n1"))], "better there than nowhere");
    // Whoever comes behind it is not kept from that node.
    tell(&mut world, now, report(1, "n2", broken())).expect("it is current");
    let second = admit(2, judged(&world, request()));
    tell(&mut world, now, second).expect("there is room");
    let on: Vec<_> = plan(&world.line, &world.fleet, now, 9).into_iter().map(|a| a.node).collect();
    assert_eq!(on, [node("n1")]);
}

#[test]
fn until_the_level_is_raised_it_is_as_it_was() {
    for raised in [None, Some(MEMORY)] {
        let mut given = vec![joined("n1", NODE, STANDARD), admitted(1, request())];
        given.splice(0..0, raised.map(level));
        let mut world = world(&given);
        let asked = put(careful(0, Poison::DeadLetter), Guard::None);
        let refused = world.decide(T0, asked);
        assert!(matches!(refused, Err(Refusal::LevelTooLow { level: HOUSE, .. })), "{refused:?}");
        let mut now = T0;
        for _ in 0..4 {
            place(&mut world, now, 1);
            let broken = ended(exit(ExitCause::SandboxFailed, None));
            tell(&mut world, now, report(1, "n1", broken)).expect("it is current");
            now = now.plus(HOUR);
        }
        let end = world.runs.get(run(1)).expect("it is kept").end;
        assert_eq!(end, Some(End::Failed(FailReason::SandboxFailed)));
    }
}

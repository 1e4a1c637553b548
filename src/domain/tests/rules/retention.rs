//! Retention: what is forgotten, when, and what is never.

use domain::event::{End, Next, RejectCode};
use domain::judge::Request;
use domain::ledger::Stand;
use domain::submission::Retention;
use domain::{Command, Event, World};

use crate::support::*;

fn kept_for(max_age_ms: u64, request: Request) -> Request {
    Request { retention: Some(Retention { max_age_ms, keep_output: true }), ..request }
}

/// A run that ended at `T0`, to be kept for a minute.
fn ended_at_t0(n: u64) -> Vec<Event> {
    vec![
        admitted(n, kept_for(60 * SECOND, request())),
        assigned(n, 1, "n1"),
        finished(n, 1, "n1", exited(0), Next::End(End::Succeeded)),
    ]
}

fn tick(most: usize) -> Command {
    Command::Tick { most }
}

#[test]
fn a_finished_run_is_forgotten_when_its_retention_is_over() {
    let given = [vec![joined("n1", NODE, STANDARD)], ended_at_t0(1)].concat();
    let (almost, over) = (T0.plus(60 * SECOND - 1), T0.plus(60 * SECOND));
    check_at(almost, &given, tick(9), Ok(vec![]));
    check_at(over, &given, tick(9), Ok(vec![forgotten(1, over)]));
    let mut world = world(&given);
    evolve(&mut world, &forgotten(1, over));
    assert!(world.runs.get(run(1)).is_none() && world.runs.is_empty());
    assert_eq!(world.decide(over, tick(9)).map(|decision| decision.events), Ok(vec![]), "once");
}

#[test]
fn what_is_due_first_is_forgotten_first_and_only_so_many_at_once() {
    let given =
        [vec![joined("n1", NODE, STANDARD)], ended_at_t0(2), ended_at_t0(1), ended_at_t0(3)];
    let over = T0.plus(DAY);
    let then = vec![forgotten(1, over), forgotten(2, over)];
    check_at(over, &given.concat(), tick(2), Ok(then));
}

#[test]
fn what_has_not_ended_never_expires() {
    let forever = T0.plus(1_000 * DAY);
    let asked = || kept_for(0, request());
    let on_node = [joined("n1", NODE, STANDARD), admitted(1, asked()), assigned(1, 1, "n1")];
    check_at(forever, &[admitted(1, asked())], tick(9), Ok(vec![]));
    check_at(forever, &on_node, tick(9), Ok(vec![]));
    let started = [&on_node[..], &[started(1, 1, "n1")]].concat();
    check_at(forever, &started, tick(9), Ok(vec![]));
}

#[test]
fn every_kind_of_end_expires() {
    let brief = || kept_for(SECOND, request());
    let refused = kept_for(SECOND, Request { cpu_milli: Some(9_999), ..request() });
    let refused = rejected(&World::default(), 1, refused, RejectCode::PolicyRejected);
    let over = T0.plus(SECOND);
    for given in [vec![refused], vec![admitted(1, brief()), canceled(1)]] {
        check_at(T0.plus(SECOND - 1), &given, tick(9), Ok(vec![]));
        check_at(over, &given, tick(9), Ok(vec![forgotten(1, over)]));
    }
}

#[test]
fn the_quarantine_ledger_forgets_with_the_run() {
    let given = [joined("q1", NODE, QUARANTINE), admitted(1, quarantined()), canceled(1)];
    let mut world = world(&given);
    let entry = world.ledger.newest_first(None, None).next().expect("it was quarantined").1.clone();
    assert_eq!((entry.since, entry.admitted), (T0, true));
    assert_eq!((&*entry.tenant, entry.stand), ("default", Stand::Ended));
    evolve(&mut world, &forgotten(1, T0.plus(DAY)));
    assert!(world.ledger.is_empty());
}

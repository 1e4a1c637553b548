//! Idempotency keys: which answer a repeated request gets, and for how long.

use domain::command::Refusal;
use domain::judge::Request;
use domain::submission::Retention;
use domain::{Decision, RunId, Timestamp, World};

use crate::support::*;

/// 24 hours, as the contract says it.
const WINDOW_MS: u64 = 86_400_000;

/// Submits `request` as run `n` under a key; the run that is answered, and whether it is a new one.
fn submit(
    world: &mut World,
    at: Timestamp,
    n: u64,
    request: Request,
    (name, body): (&str, u8),
    position: u32,
) -> Result<(RunId, bool), Refusal> {
    let command = admit_with_key(n, judged(world, request), key(name, body), position);
    let Decision { events, run } = tell(world, at, command)?;
    Ok((run.expect("an admission is about a run"), !events.is_empty()))
}

#[test]
fn the_same_key_and_body_gets_the_first_answer_again() {
    let mut world = World::default();
    assert_eq!(submit(&mut world, T0, 1, request(), ("k", 1), 0), Ok((run(1), true)));
    assert_eq!(submit(&mut world, T0, 2, request(), ("k", 1), 0), Ok((run(1), false)));
    let refused = Refusal::KeyReused { key: "k".into() };
    assert_eq!(submit(&mut world, T0, 3, request(), ("k", 2), 0), Err(refused));
    assert_eq!(submit(&mut world, T0, 4, request(), ("l", 2), 0), Ok((run(4), true)));
}

#[test]
fn a_rejection_is_an_answer_too() {
    let mut world = World::default();
    let greedy = || Request { cpu_milli: Some(9_999), ..request() };
    assert_eq!(submit(&mut world, T0, 1, greedy(), ("k", 1), 0), Ok((run(1), true)));
    assert_eq!(world.runs.status(run(1)), Some(domain::Status::Rejected));
    assert_eq!(submit(&mut world, T0, 2, greedy(), ("k", 1), 0), Ok((run(1), false)));
}

#[test]
fn a_key_is_asked_before_anything_else() {
    let mut world = World::default();
    submit(&mut world, T0, 1, request(), ("k", 1), 0).expect("there is room");
    let again = || admit_with_key(2, judged(&World::default(), request()), key("k", 1), 0);
    tell(&mut world, T0, put(policy("open", &["*"]), Default::default())).expect("no such policy");
    let first = Ok(Decision { events: vec![], run: Some(run(1)) });
    assert_eq!(world.decide(T0, again()), first, "the law has changed since");
    let domain::Command::Admit(mut full) = again() else { panic!("made above") };
    full.queue_max = 0;
    assert_eq!(world.decide(T0, domain::Command::Admit(full)), first, "the line is full");
}

#[test]
fn what_was_not_written_is_not_remembered() {
    let mut world = World::default();
    let domain::Command::Admit(mut full) =
        admit_with_key(1, judged(&world, request()), key("k", 1), 0)
    else {
        panic!("made above")
    };
    full.queue_max = 0;
    let refused = tell(&mut world, T0, domain::Command::Admit(full));
    assert_eq!(refused, Err(Refusal::QueueFull { waiting: 0, limit: 0 }));
    assert_eq!(submit(&mut world, T0, 2, request(), ("k", 2), 0), Ok((run(2), true)));
}

#[test]
fn a_key_belongs_to_its_tenant() {
    let mut world = World::default();
    assert_eq!(submit(&mut world, T0, 1, of_tenant("a"), ("k", 1), 0), Ok((run(1), true)));
    assert_eq!(submit(&mut world, T0, 2, of_tenant("b"), ("k", 2), 0), Ok((run(2), true)));
    // The tenant and the key are told apart, whatever they spell together.
    assert_eq!(submit(&mut world, T0, 3, of_tenant("ak"), ("", 1), 0), Ok((run(3), true)));
    assert_eq!(submit(&mut world, T0, 4, of_tenant("a"), ("k", 1), 0), Ok((run(1), false)));
}

#[test]
fn each_position_of_a_batch_has_its_own_answer() {
    let mut world = World::default();
    for (n, position) in [(1, 0), (2, 1), (4, 3)] {
        let answer = submit(&mut world, T0, n, request(), ("k", 1), position);
        assert_eq!(answer, Ok((run(n), true)));
    }
    // Position 2 found no room the first time; a repeat fills the gap and changes nothing else.
    for (n, position, then) in
        [(5, 0, (run(1), false)), (6, 1, (run(2), false)), (7, 2, (run(7), true))]
    {
        let answer = submit(&mut world, T0, n, request(), ("k", 1), position);
        assert_eq!(answer, Ok(then));
    }
    for (position, first) in [(0, 1), (1, 2), (2, 7), (3, 4)] {
        let answer = submit(&mut world, T0, 9, request(), ("k", 1), position);
        assert_eq!(answer, Ok((run(first), false)));
    }
}

#[test]
fn a_key_is_remembered_for_a_day_to_the_millisecond() {
    let mut world = World::default();
    submit(&mut world, T0, 1, request(), ("k", 1), 0).expect("there is room");
    let last = T0.plus(WINDOW_MS - 1);
    assert_eq!(submit(&mut world, last, 2, request(), ("k", 1), 0), Ok((run(1), false)));
    let next = T0.plus(WINDOW_MS);
    assert_eq!(submit(&mut world, next, 3, request(), ("k", 2), 0), Ok((run(3), true)));
    let again = next.plus(WINDOW_MS - 1);
    assert_eq!(submit(&mut world, again, 4, request(), ("k", 2), 0), Ok((run(3), false)));
}

#[test]
fn a_day_is_counted_from_the_first_use_of_the_key() {
    let mut world = World::default();
    submit(&mut world, T0, 1, request(), ("k", 1), 0).expect("there is room");
    let late = T0.plus(WINDOW_MS - 1);
    assert_eq!(submit(&mut world, late, 2, request(), ("k", 1), 1), Ok((run(2), true)));
    let over = T0.plus(WINDOW_MS);
    assert_eq!(submit(&mut world, over, 3, request(), ("k", 1), 1), Ok((run(3), true)));
}

#[test]
fn a_key_outlives_the_run_it_made() {
    let mut world = World::default();
    let brief = || {
        let retention = Retention { max_age_ms: SECOND, keep_output: false };
        Request { cpu_milli: Some(9_999), retention: Some(retention), ..request() }
    };
    submit(&mut world, T0, 1, brief(), ("k", 1), 0).expect("a rejection is an answer");
    let later = T0.plus(SECOND);
    tell(&mut world, later, domain::Command::Tick { most: 9 }).expect("always allowed");
    let answer = submit(&mut world, later, 2, brief(), ("k", 1), 0);
    assert_eq!(answer, Err(Refusal::NoSuchRun(run(1))), "never done a second time");
}

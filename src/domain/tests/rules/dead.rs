//! Dead letters: what becomes one, and the one way out.

use std::sync::Arc;

use domain::command::{Refusal, Reported};
use domain::dead::Letter;
use domain::event::{End, ExitCause, FailReason, LostCause, Next, RejectCode};
use domain::judge::{Case, Request, Unjudgeable};
use domain::law::{Limits, Policy};
use domain::runs::{Birth, Outcome};
use domain::submission::{OnLost, Retry};
use domain::{Command, Court, Event, Inputs, Judged, Status, World};

use crate::support::*;

const OUT: Next = Next::End(End::Failed(FailReason::OutOfAttempts));

fn twice() -> Request {
    Request { retry: Some(Retry { max_attempts: 2, backoff_ms: 0 }), ..request() }
}

/// Run 1, which has failed as often as it may.
fn dead() -> Vec<Event> {
    vec![
        joined("n1", NODE, STANDARD),
        admitted(1, twice()),
        assigned(1, 2, "n1"),
        finished(1, 2, "n1", exited(3), OUT),
    ]
}

/// What the judges say of run `n` as a new one, under the law of `world`.
fn anew(world: &World, n: u64) -> Result<Judged, Unjudgeable> {
    let found = world.runs.get(run(n)).expect("there is one").into_owned();
    let Birth::Admitted(recorded) = &found.birth else { panic!("it was rejected") };
    let court = Arc::new(Court::new(world.law.current().clone(), None));
    Ok(Case::anew(&court, recorded)?.conclude(&Inputs::bare(true)))
}

/// Run `dead` again, as run `n`.
fn again(given: &[Event], n: u64, dead: u64) -> Command {
    redrive(n, anew(&world(given), dead).expect("its template is there"), dead)
}

/// The admission of run 2 that the redrive of run 1 comes to.
fn second(law: &World) -> Event {
    amended(admitted_under(law.law.current(), 2, twice()), |e| e.redrive_of = Some(run(1)))
}

#[test]
fn a_run_that_has_failed_as_often_as_it_may_is_a_dead_letter() {
    let world = world(&dead());
    let last = Outcome::Ended(ExitCause::Exited, Some(3));
    let letter = Letter { since: T0, attempts: 2, last, redriven_as: None };
    assert_eq!(world.dead.get(run(1)), Some(&letter));
    assert_eq!((world.dead.waiting(), world.dead.len()), (1, 1));
}

#[test]
fn a_run_that_takes_four_nodes_down_is_a_dead_letter_and_harms_no_fifth() {
    let mut given = vec![admitted(1, request())];
    given.extend((1..=5).map(|n| joined(&format!("n{n}"), NODE, STANDARD)));
    let mut world = world(&given);
    for taken in 1..=OnLost::MAX_LOSSES + 1 {
        let went = place(&mut world, T0, 1);
        assert_eq!(went.len(), 1, "attempt {taken}");
        let cause = lose(went[0].1.as_str(), 1);
        tell(&mut world, T0, cause).expect("it was there");
    }
    let state = world.runs.get(run(1)).expect("it is kept").into_owned();
    assert_eq!((state.status, state.end), (Status::Failed, Some(OUT_OF_ATTEMPTS)));
    let mut nodes: Vec<_> = state.past.iter().map(|past| past.node.clone()).collect();
    nodes.extend(state.node);
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 4, "every node that it took down is told");
    assert_eq!(world.dead.get(run(1)).map(|l| l.last), Some(Outcome::Lost(LostCause::NodeLost)));
    assert_eq!(place(&mut world, T0, 1), [], "the fifth is spared");
}

const OUT_OF_ATTEMPTS: End = End::Failed(FailReason::OutOfAttempts);

#[test]
fn a_run_that_is_lost_in_any_way_once_too_often_is_a_dead_letter() {
    let lost_thrice = |cause| {
        let again = Next::Again { not_before: T0 };
        let mut given = vec![joined("n1", NODE, STANDARD), admitted(1, request())];
        for attempt in 1..=OnLost::MAX_LOSSES {
            given.extend([assigned(1, attempt, "n1"), lost(1, attempt, "n1", cause, again)]);
        }
        given.push(assigned(1, OnLost::MAX_LOSSES + 1, "n1"));
        given
    };
    for (cause, when) in [
        (LostCause::NodeLost, lose("n1", 1)),
        (LostCause::NodeRestarted, join("n1", 2, NODE, STANDARD)),
        (LostCause::Unknown, report(1, "n1", Reported::Gone)),
        (LostCause::NodeLost, report(1, "n1", Reported::Gone)),
    ] {
        let mut world = world(&lost_thrice(cause));
        tell(&mut world, T0, when.clone()).expect("the attempt is current");
        let end = world.runs.get(run(1)).expect("it is kept").end;
        assert_eq!(end, Some(OUT_OF_ATTEMPTS), "{when:?}");
        assert_eq!(world.dead.waiting(), 1, "{when:?}");
    }
}

#[test]
fn only_want_of_attempts_makes_a_dead_letter() {
    let failed = |reason| Next::End(End::Failed(reason));
    let given = || vec![joined("n1", NODE, STANDARD), admitted(1, twice()), assigned(1, 1, "n1")];
    for end in [
        finished(1, 1, "n1", exited(0), Next::End(End::Succeeded)),
        finished(1, 1, "n1", exited(1), failed(FailReason::NonZeroExit)),
        finished(1, 1, "n1", exited(1), Next::End(End::Canceled)),
        finished(1, 1, "n1", exited(1), Next::Again { not_before: T0 }),
        lost(1, 1, "n1", LostCause::NodeLost, failed(FailReason::NodeLost)),
    ] {
        let given = [given(), vec![end]].concat();
        assert!(world(&given).dead.is_empty(), "{given:?}");
        check(&given, again(&given, 2, 1), Err(Refusal::NotDead(run(1))));
    }
}

#[test]
fn a_redrive_is_a_new_run_of_what_was_asked_and_says_so() {
    let law = World::default();
    check(&dead(), again(&dead(), 2, 1), Ok(vec![second_in_line(&law)]));
    let mut house = world(&dead());
    tell(&mut house, T0, again(&dead(), 2, 1)).expect("it is dead");
    let letter = house.dead.get(run(1)).expect("it is remembered");
    assert_eq!((letter.redriven_as, house.dead.waiting()), (Some(run(2)), 0));
    assert_eq!(house.runs.get(run(2)).expect("it is new").redrive_of(), Some(run(1)));
    assert_eq!(house.runs.status(run(1)), Some(Status::Failed), "the old one stays as it ended");
}

/// The same, in its own place: run 1 has left the line.
fn second_in_line(law: &World) -> Event {
    amended(second(law), |e| {
        e.place.finish_tag = world(&dead()).tenants.next_tag("default");
        e.place.number = 2;
    })
}

#[test]
fn a_dead_letter_is_redriven_once_and_then_names_the_run_that_it_became() {
    let given = [dead(), vec![second(&World::default())]].concat();
    let became = Refusal::Redriven { run: run(1), redriven_as: run(2) };
    check(&given, again(&given, 3, 1), Err(became.clone()));
    // Also when that one has died in its turn: it is the one to redrive.
    let died = [given, vec![assigned(2, 2, "n1"), finished(2, 2, "n1", exited(3), OUT)]].concat();
    check(&died, again(&died, 3, 1), Err(became));
    let mut house = world(&died);
    tell(&mut house, T0, again(&died, 3, 2)).expect("it is dead as well");
    assert_eq!(house.runs.get(run(3)).expect("it is new").redrive_of(), Some(run(2)));
}

#[test]
fn what_the_law_of_today_rejects_stays_a_dead_letter() {
    let strict = Limits { mem_mb: Some(64), ..policy("", &[]).limits };
    let strict = Policy { limits: strict, ..policy("strict", &["host"]) };
    let given = [dead(), vec![put_event(1, strict)]].concat();
    let before = world(&given);
    let no = rejected_by(&before);
    check(&given, again(&given, 2, 1), Ok(vec![no]));
    let mut house = before;
    tell(&mut house, T0, again(&given, 2, 1)).expect("a rejection is kept");
    assert_eq!(house.runs.status(run(2)), Some(Status::Rejected));
    assert_eq!((house.dead.waiting(), house.dead.len()), (1, 1), "it may be tried again");
}

fn rejected_by(world: &World) -> Event {
    rejected(world, 2, twice(), RejectCode::PolicyRejected)
}

#[test]
fn what_was_judged_by_an_older_law_is_judged_again() {
    let given = [dead(), vec![put_event(1, policy("open", &["*"]))]].concat();
    let stale = Refusal::StaleLaw { judged: 0, needed: 1 };
    check(&given, again(&dead(), 2, 1), Err(stale));
}

#[test]
fn only_what_was_asked_then_is_redriven() {
    let other = judged(&world(&dead()), request());
    check(&dead(), redrive(2, other, 1), Err(Refusal::Overtaken));
    let nobody = redrive(2, judged(&world(&dead()), twice()), 7);
    check(&dead(), nobody, Err(Refusal::NoSuchRun(run(7))));
}

#[test]
fn a_redrive_takes_the_template_of_today() {
    let put = |template, version| {
        let put = domain::event::TemplatePut {
            at: T0,
            origin: origin(),
            revision: version,
            version,
            template,
        };
        Event::TemplatePut(put.into())
    };
    let asked = Request { template: "t".into(), ..twice() };
    let given = vec![put(template("t"), 1), joined("n1", NODE, STANDARD)];
    let law = world(&given).law.current().clone();
    let died = [
        given,
        vec![
            admitted_under(&law, 1, asked),
            assigned(1, 2, "n1"),
            finished(1, 2, "n1", exited(3), OUT),
        ],
    ]
    .concat();
    let newer = [died.clone(), vec![put(template("t"), 2)]].concat();
    let judged = anew(&world(&newer), 1).expect("it is there");
    assert_eq!(judged.judgement().template.version, 2);
    let deleted =
        domain::event::TemplateDeleted { at: T0, origin: origin(), revision: 2, name: "t".into() };
    let gone = [died, vec![Event::TemplateDeleted(deleted)]].concat();
    let none = anew(&world(&gone), 1).expect_err("it is no more").to_string();
    assert!(none.contains("template \"t\" does not exist"), "{none}");
}

#[test]
fn a_key_answers_with_the_run_that_the_dead_letter_became() {
    let mut house = world(&dead());
    let judged = anew(&house, 1).expect("its template is there");
    let asked = |n| admitting(n, judged.clone(), Some((key("k", 1), 0)), Some(run(1)));
    assert_eq!(tell(&mut house, T0, asked(2)).expect("it is dead").run, Some(run(2)));
    let repeat = tell(&mut house, T0, asked(3)).expect("the first answer again");
    assert_eq!((repeat.run, repeat.events.len()), (Some(run(2)), 0));
}

#[test]
fn a_dead_letter_is_forgotten_with_its_run() {
    let given = [dead(), vec![forgotten(1, T0.plus(DAY))]].concat();
    let world = world(&given);
    assert!(world.dead.is_empty() && world.dead.waiting() == 0);
}

#[test]
fn dead_letters_are_shown_newest_first_until_they_are_redriven() {
    let mut given = vec![joined("n1", NODE, STANDARD)];
    for n in 1..=3 {
        given.extend([
            admitted(n, twice()),
            assigned(n, 2, "n1"),
            finished(n, 2, "n1", exited(3), OUT),
        ]);
    }
    let of = |n, dead| amended(admitted(n, twice()), |e| e.redrive_of = Some(run(dead)));
    given.push(of(4, 2));
    let world = world(&given);
    let shown = |redriven, before| -> Vec<_> {
        let letters = world.dead.newest_first(redriven, before);
        let letters = letters.filter(|(_, letter)| letter.redriven_as.is_some() == redriven);
        letters.map(|(run, _)| run).collect()
    };
    assert_eq!(shown(false, None), [run(3), run(1)]);
    assert_eq!(shown(false, Some(run(3))), [run(1)]);
    assert_eq!(shown(true, None), [run(2)]);
}

//! Admission: what is checked, in which order, and what is written of a refusal.

use std::sync::Arc;

use domain::command::{Admit, Guard, Refusal};
use domain::event::{Place, RejectCode, RunAdmitted};
use domain::judge::{Judge, Limited, Objection, Opinion, Request, Unjudgeable, judge};
use domain::law::{Law, Limits, OnViolation, Policy, Verdict};
use domain::submission::{Pool, Resources, Retention, Retry};
use domain::{Command, Court, Event, Inputs, Judged, World};

use crate::support::*;

/// More than the built-in lockdown allows.
fn greedy() -> Request {
    Request { cpu_milli: Some(1_001), ..request() }
}

fn quarantine_node() -> Event {
    joined("q1", NODE, QUARANTINE)
}

fn of(judged: Judged, queue_max: usize) -> Command {
    let (key, origin) = (None, origin());
    let redrive_of = None;
    Command::Admit(Box::new(Admit { run: run(1), judged, key, origin, queue_max, redrive_of }))
}

fn with_quarantine_off(request: Request) -> Judged {
    judge(&Court::default(), request, &Inputs::bare(false)).expect("the template exists")
}

fn rejected_as(judged: &Judged, code: RejectCode) -> Event {
    let (submission, judgement) = judged.clone().into_parts();
    let (run, at, origin, key) = (run(1), T0, origin(), None);
    let rejected = domain::event::RunRejected { run, at, origin, submission, key, judgement, code };
    Event::RunRejected(rejected.into())
}

#[test]
fn what_is_accepted_waits_in_line() {
    let judged = judged(&World::default(), request());
    check(&[], of(judged, 1), Ok(vec![admitted(1, request())]));
}

#[test]
fn what_is_judged_alike_is_kept_once() {
    let mut world = world(&[]);
    let heavy = Request { mem_mb: Some(100), cpu_milli: Some(900), ..request() };
    let asked = [request(), heavy.clone(), request(), heavy, request()];
    let kept = asked.into_iter().zip(1..).map(|(asked, n)| {
        let judged = judged(&world, asked);
        match &*tell(&mut world, T0, admit(n, judged)).expect("the line has room").events {
            [Event::RunAdmitted(admitted)] => admitted.judgement.clone(),
            other => panic!("not one admission: {other:?}"),
        }
    });
    let kept: Vec<_> = kept.collect();
    let (light, heavy) = (&kept[0], &kept[1]);
    assert_ne!(light, heavy);
    for (at, of) in [(2, light), (3, heavy), (4, light)] {
        assert!(Arc::ptr_eq(&kept[at], of), "run {at} has a judgement of its own");
    }
}

#[test]
fn what_the_policy_forbids_is_kept_as_a_rejected_run() {
    let judged = judged(&World::default(), greedy());
    let then = rejected_as(&judged, RejectCode::PolicyRejected);
    check(&[], of(judged, QUEUE_MAX), Ok(vec![then]));
}

#[test]
fn quarantine_needs_a_live_quarantine_node() {
    let judged = judged(&World::default(), quarantined());
    let unavailable = rejected_as(&judged, RejectCode::QuarantineUnavailable);
    let asked = || of(judged.clone(), QUEUE_MAX);
    for given in [
        vec![],
        vec![joined("n1", NODE, STANDARD), joined("n2", NODE, HIGH_COMPUTE)],
        vec![quarantine_node(), node_lost("q1")],
    ] {
        check(&given, asked(), Ok(vec![unavailable.clone()]));
    }
    check(&[quarantine_node()], asked(), Ok(vec![admitted(1, quarantined())]));
}

#[test]
fn a_quarantine_node_that_is_full_is_live() {
    let mut world = world(&[joined("q1", SMALL, QUARANTINE), admitted(1, quarantined())]);
    assert_eq!(place(&mut world, T0, 10), [(run(1), node("q1"))]);
    let second = judged(&world, quarantined());
    tell(&mut world, T0, admit(2, second)).expect("it waits");
    assert_eq!(world.runs.status(run(2)), Some(domain::Status::Pending));
}

#[test]
fn quarantine_that_is_switched_off_is_a_rejection() {
    let judged = with_quarantine_off(quarantined());
    assert_eq!(judged.judgement().verdict, Verdict::Quarantine, "the verdict is kept as it was");
    let then = rejected_as(&judged, RejectCode::QuarantineDisabled);
    check(&[quarantine_node()], of(judged, QUEUE_MAX), Ok(vec![then]));
}

#[test]
fn a_full_line_takes_nothing_more_and_writes_nothing() {
    let full = [admitted(1, request()), admitted(2, request())];
    let third = |queue_max| {
        let (judged, key, origin) = (judged(&World::default(), request()), None, origin());
        let redrive_of = None;
        Command::Admit(Box::new(Admit { run: run(3), judged, key, origin, queue_max, redrive_of }))
    };
    check(&full, third(2), Err(Refusal::QueueFull { waiting: 2, limit: 2 }));
    let third_place = Place { after: 50, finish_tag: 3, number: 3 };
    let then = amended(admitted(3, request()), |e| e.place = third_place);
    check(&full, third(3), Ok(vec![then]));
    let on_node = [vec![joined("n1", NODE, STANDARD)], full.to_vec(), vec![assigned(1, 1, "n1")]];
    assert!(
        world(&on_node.concat()).decide(T0, third(2)).is_ok(),
        "a run on a node is not in line"
    );
}

#[test]
fn a_full_line_comes_after_the_law_and_before_the_quarantine_node() {
    let law = World::default();
    let newer = [put_event(1, policy("open", &["*"]))];
    let stale = Refusal::StaleLaw { judged: 0, needed: 1 };
    let full = Refusal::QueueFull { waiting: 0, limit: 0 };
    check(&newer, of(judged(&law, request()), 0), Err(stale.clone()));
    check(&newer, of(judged(&law, greedy()), QUEUE_MAX), Err(stale));
    check(&[], of(judged(&law, quarantined()), 0), Err(full.clone()));
    check(&[quarantine_node()], of(judged(&law, quarantined()), 0), Err(full));
    // What is refused for good is told so even where there is no room: waiting would not help.
    let rejected = judged(&law, greedy());
    let then = rejected_as(&rejected, RejectCode::PolicyRejected);
    check(&[], of(rejected, 0), Ok(vec![then]));
    let switched_off = with_quarantine_off(quarantined());
    let then = rejected_as(&switched_off, RejectCode::QuarantineDisabled);
    check(&[], of(switched_off, 0), Ok(vec![then]));
}

#[test]
fn a_submission_judged_under_a_later_law_is_as_stale_as_one_under_an_earlier() {
    let later = world(&[put_event(1, policy("open", &["*"]))]);
    let refused = Refusal::StaleLaw { judged: 1, needed: 0 };
    check(&[], of(judged(&later, request()), QUEUE_MAX), Err(refused));
}

#[test]
fn severity_decides_and_every_judge_is_heard() {
    let accept = |judge| Opinion { judge, verdict: Verdict::Accept, objections: vec![] };
    let asked = Opinion {
        judge: Judge::Aeacus,
        verdict: Verdict::Quarantine,
        objections: vec![Objection::QuarantineAsked],
    };
    let over = |verdict| {
        let field = Limited::CpuMilli;
        let objections = vec![Objection::OverLimit { field, asked: 1_001, limit: 1_000 }];
        Opinion { judge: Judge::Rhadamanthus, verdict, objections }
    };
    let lenient = Policy {
        limits: Limits { cpu_milli: Some(1_000), mem_mb: None, gpu: 0, ttl_ms: None },
        on_violation: OnViolation::Quarantine,
        ..policy("lenient", &["*"])
    };
    let lenient = law_of(&[put_event(1, lenient)]);
    let both = Request { cpu_milli: Some(1_001), ..quarantined() };
    let (aeacus, rhadamanthus) = (accept(Judge::Aeacus), accept(Judge::Rhadamanthus));
    let strict = Law::default();
    for (law, request, verdict, pool, opinions) in [
        (
            &strict,
            request(),
            Verdict::Accept,
            Pool::Standard,
            [aeacus.clone(), rhadamanthus.clone()],
        ),
        (
            &strict,
            quarantined(),
            Verdict::Quarantine,
            Pool::Quarantine,
            [asked.clone(), rhadamanthus],
        ),
        (
            &strict,
            greedy(),
            Verdict::Reject,
            Pool::Standard,
            [aeacus.clone(), over(Verdict::Reject)],
        ),
        (
            &strict,
            both.clone(),
            Verdict::Reject,
            Pool::Standard,
            [asked.clone(), over(Verdict::Reject)],
        ),
        (
            &lenient,
            greedy(),
            Verdict::Quarantine,
            Pool::Quarantine,
            [aeacus, over(Verdict::Quarantine)],
        ),
        (&lenient, both, Verdict::Quarantine, Pool::Quarantine, [asked, over(Verdict::Quarantine)]),
    ] {
        let judged = judge(&Court::from(law.clone()), request, &Inputs::bare(true))
            .expect("the template exists");
        let said = judged.judgement();
        assert_eq!((said.verdict, said.pool, &*said.opinions), (verdict, pool, &opinions[..]));
    }
}

#[test]
fn only_the_word_true_asks_for_quarantine() {
    for (value, verdict) in [
        ("true", Verdict::Quarantine),
        ("false", Verdict::Accept),
        ("TRUE", Verdict::Accept),
        ("1", Verdict::Accept),
        ("", Verdict::Accept),
    ] {
        let request = Request { metadata: map(&[("quarantine", value)]), ..request() };
        assert_eq!(judged(&World::default(), request).judgement().verdict, verdict, "{value:?}");
    }
}

#[test]
fn each_limit_holds_at_its_exact_value() {
    let limited = Policy {
        limits: Limits { cpu_milli: Some(10), mem_mb: Some(20), gpu: 1, ttl_ms: Some(30) },
        max_age_ms: Some(40),
        ..policy("limited", &["*"])
    };
    let law = law_of(&[put_event(1, limited)]);
    let asking = |cpu, mem, gpu, ttl, max_age_ms| Request {
        cpu_milli: Some(cpu),
        mem_mb: Some(mem),
        gpu: Some(gpu),
        ttl_ms: Some(ttl),
        retention: Some(Retention { max_age_ms, keep_output: true }),
        ..request()
    };
    let over = |field, asked, limit| Some(Objection::OverLimit { field, asked, limit });
    for (request, objection) in [
        (asking(10, 20, 1, 30, 40), None),
        (asking(11, 20, 1, 30, 40), over(Limited::CpuMilli, 11, 10)),
        (asking(10, 21, 1, 30, 40), over(Limited::MemMb, 21, 20)),
        (asking(10, 20, 2, 30, 40), over(Limited::Gpu, 2, 1)),
        (asking(10, 20, 1, 31, 40), over(Limited::TtlMs, 31, 30)),
        (asking(10, 20, 1, 30, 41), over(Limited::MaxAgeMs, 41, 40)),
    ] {
        let judged = judge(&Court::from(law.clone()), request, &Inputs::bare(true))
            .expect("the template exists");
        let said = judged.judgement().opinions.iter().flat_map(|o| o.objections.clone()).next();
        assert_eq!(said, objection);
    }
}

#[test]
fn a_policy_that_allows_no_network_profile_allows_none() {
    let closed = Policy { network: vec![], ..policy("closed", &["*"]) };
    let law = law_of(&[put_event(1, closed)]);
    let judged = judge(&Court::from(law.clone()), request(), &Inputs::bare(true))
        .expect("the template exists");
    let reasons: Vec<String> = judged.judgement().reasons().collect();
    assert_eq!(reasons, ["network none is not allowed"]);
}

#[test]
fn what_is_left_out_takes_the_templates_value_then_the_published_one() {
    let mine = domain::law::Template {
        command: vec!["serve".into()],
        env: map(&[("A", "template"), ("B", "template")]),
        cpu_milli: Some(250),
        ..template("mine")
    };
    let mut world = world(&[]);
    let put = Command::PutTemplate { template: mine, guard: Guard::None, origin: origin() };
    tell(&mut world, T0, put).expect("there is none of that name");
    let asked = Request {
        template: "mine".into(),
        env: map(&[("B", "request"), ("C", "request")]),
        mem_mb: Some(64),
        ..Request::default()
    };
    let (submission, judgement) = judged(&world, asked).into_parts();
    assert_eq!(submission.command, ["serve".into()]);
    assert_eq!(submission.env, map(&[("A", "template"), ("B", "request"), ("C", "request")]));
    let resources = Resources { cpu_milli: 250, mem_mb: 64, ..Resources::DEFAULT };
    assert_eq!(submission.resources, resources);
    assert_eq!((submission.priority, submission.tenant()), (50, "default"));
    assert_eq!((submission.retry, submission.retention), (Retry::DEFAULT, Retention::DEFAULT));
    assert_eq!((&*judgement.template.name, judgement.template.version), ("mine", 1));
}

#[test]
fn a_request_the_law_cannot_be_applied_to_says_why() {
    let court = Court::default();
    let nameless = Request { template: "pyton".into(), ..request() };
    let known = "host".to_owned();
    let unknown = Unjudgeable::UnknownTemplate { name: "pyton".into(), known };
    assert_eq!(judge(&court, nameless, &Inputs::bare(true)), Err(unknown));
    let idle = Request { command: vec![], ..request() };
    let no_command = Unjudgeable::NoCommand { template: "host".into() };
    assert_eq!(judge(&court, idle, &Inputs::bare(true)), Err(no_command));
}

#[test]
fn a_higher_priority_stands_before_a_lower() {
    let with = |priority| Request { priority: Some(priority), ..request() };
    for (priority, after) in [(0, 100), (50, 50), (100, 0)] {
        let admitted = world(&[]).decide(T0, admit(1, judged(&World::default(), with(priority))));
        let admitted = admitted.expect("the line is empty").events.remove(0);
        let Event::RunAdmitted(admitted) = admitted else { panic!("not admitted: {admitted:?}") };
        let RunAdmitted { place, .. } = &*admitted;
        assert_eq!(*place, Place { after, finish_tag: 1, number: 1 });
    }
}

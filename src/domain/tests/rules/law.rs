//! The law: which policy applies, how versions and the revision grow, what guards a change.

use domain::command::{Command, Guard, Refusal};
use domain::event::{HeatTableSet, PolicyDeleted, PolicyPut, TemplateDeleted, TemplatePut};
use domain::law::{HeatTable, LOCKDOWN_DEFAULT, Limits, Policy, lockdown_default};
use domain::{Court, Event, World};

use crate::support::*;

fn put_as(revision: u64, version: u64, name: &str, patterns: &[&str]) -> Event {
    let (at, origin, policy) = (T0, origin(), policy(name, patterns));
    Event::PolicyPut(PolicyPut { at, origin, revision, version, policy, what_if: None }.into())
}

fn deleted(revision: u64, name: &str) -> Event {
    let (at, origin, name) = (T0, origin(), name.into());
    Event::PolicyDeleted(PolicyDeleted { at, origin, revision, name })
}

fn template_put(revision: u64, version: u64, name: &str) -> Event {
    let (at, origin, template) = (T0, origin(), template(name));
    Event::TemplatePut(TemplatePut { at, origin, revision, version, template }.into())
}

fn template_deleted(revision: u64, name: &str) -> Event {
    let (at, origin, name) = (T0, origin(), name.into());
    Event::TemplateDeleted(TemplateDeleted { at, origin, revision, name })
}

fn put_template(name: &str, guard: Guard) -> Command {
    Command::PutTemplate { template: template(name), guard, origin: origin() }
}

fn delete_template(name: &str, guard: Guard) -> Command {
    Command::DeleteTemplate { name: name.into(), guard, origin: origin() }
}

#[test]
fn the_most_specific_policy_applies() {
    let law = world(&[
        put_as(1, 1, "all", &["*"]),
        put_as(2, 1, "pythons", &["python", "python-*"]),
        put_as(3, 1, "twelve", &["python-3.12*"]),
        put_as(4, 1, "exact", &["python-3.12-slim"]),
        put_as(5, 1, "one-letter", &["?"]),
    ]);
    let court = Court::new(law.law.current().clone(), None);
    for (template, policy) in [
        ("python", "pythons"),
        ("python-2", "pythons"),
        ("python-3.12", "twelve"),
        ("python-3.12-slim-x", "twelve"),
        ("python-3.12-slim", "exact"),
        ("ruby", "all"),
        ("", "all"),
    ] {
        assert_eq!(&*court.statute_for(template).policy().name, policy, "{template:?}");
    }
}

#[test]
fn where_no_policy_matches_the_lockdown_applies() {
    let law = world(&[put_as(1, 1, "pythons", &["python*"])]);
    let court = Court::new(law.law.current().clone(), None);
    let lockdown = court.statute_for("host");
    assert_eq!((lockdown.policy(), lockdown.version()), (&lockdown_default(), 0));
    let published =
        Limits { cpu_milli: Some(1_000), mem_mb: Some(128), gpu: 0, ttl_ms: Some(300_000) };
    assert_eq!(lockdown.policy().limits, published);
}

#[test]
fn two_policies_never_claim_the_same_templates_equally() {
    let given = [put_as(1, 1, "mine", &["python", "py*", "a*"])];
    let asked = |patterns: &[&str]| put(policy("other", patterns), Guard::None);
    let tie = |pattern: &str| Refusal::Tie { other: "mine".into(), pattern: pattern.into() };
    for (patterns, refusal) in [
        (&["python"][..], tie("python")),
        (&["py*"], tie("py*")),
        (&["*on"], tie("*on")),
        (&["ruby", "*z"], tie("*z")),
    ] {
        check(&given, asked(patterns), Err(refusal));
    }
    for patterns in [&["pyt*"][..], &["ruby*"], &["rb*"], &["*"]] {
        check(&given, asked(patterns), Ok(vec![put_as(2, 1, "other", patterns)]));
    }
    // Itself it may replace, and what is deleted claims nothing.
    let again = put(policy("mine", &["python"]), Guard::None);
    check(&given, again, Ok(vec![put_as(2, 2, "mine", &["python"])]));
    let given = [put_as(1, 1, "mine", &["python"]), deleted(2, "mine")];
    check(&given, asked(&["python"]), Ok(vec![put_as(3, 1, "other", &["python"])]));
}

#[test]
fn a_guard_is_checked_against_the_version_in_force() {
    let none = vec![];
    let second = vec![put_as(1, 1, "p", &["*"]), put_as(2, 2, "p", &["*"])];
    let gone = [second.clone(), vec![deleted(3, "p")]].concat();
    let mismatch = |expected, found| Refusal::VersionMismatch { expected, found };
    let written = |revision, version| Ok(vec![put_as(revision, version, "p", &["*"])]);
    for (given, guard, then) in [
        (&none, Guard::None, written(1, 1)),
        (&none, Guard::Absent, written(1, 1)),
        (&none, Guard::Version(1), Err(mismatch(1, 0))),
        (&none, Guard::Version(0), Err(mismatch(0, 0))),
        (&second, Guard::None, written(3, 3)),
        (&second, Guard::Version(2), written(3, 3)),
        (&second, Guard::Version(1), Err(mismatch(1, 2))),
        (&second, Guard::Version(3), Err(mismatch(3, 2))),
        (&second, Guard::Absent, Err(Refusal::Exists { name: "p".into(), version: 2 })),
        (&gone, Guard::Version(2), Err(mismatch(2, 0))),
        (&gone, Guard::Absent, written(4, 3)),
    ] {
        check(given, put(policy("p", &["*"]), guard), then);
    }
    let not_found = || Refusal::NotFound { kind: "policy", name: "p".into() };
    for (given, guard, then) in [
        (&none, Guard::None, Err(not_found())),
        (&gone, Guard::None, Err(not_found())),
        (&second, Guard::Version(1), Err(mismatch(1, 2))),
        (&second, Guard::Version(2), Ok(vec![deleted(3, "p")])),
        (&second, Guard::None, Ok(vec![deleted(3, "p")])),
    ] {
        check(given, delete("p", guard), then);
    }
}

#[test]
fn templates_are_guarded_and_numbered_alike() {
    let none = vec![];
    let first = vec![template_put(1, 1, "t")];
    let gone = [first.clone(), vec![template_deleted(2, "t")]].concat();
    let mismatch = |expected, found| Err(Refusal::VersionMismatch { expected, found });
    for (given, guard, then) in [
        (&none, Guard::Absent, Ok(vec![template_put(1, 1, "t")])),
        (&none, Guard::Version(1), mismatch(1, 0)),
        (&first, Guard::Version(1), Ok(vec![template_put(2, 2, "t")])),
        (&first, Guard::Absent, Err(Refusal::Exists { name: "t".into(), version: 1 })),
        (&gone, Guard::None, Ok(vec![template_put(3, 2, "t")])),
    ] {
        check(given, put_template("t", guard), then);
    }
    check(&first, delete_template("t", Guard::Version(2)), mismatch(2, 1));
    check(&first, delete_template("t", Guard::None), Ok(vec![template_deleted(2, "t")]));
    let not_found = Refusal::NotFound { kind: "template", name: "t".into() };
    check(&gone, delete_template("t", Guard::None), Err(not_found));
}

#[test]
fn what_is_built_in_stays() {
    let built_in = |kind, name: &str| Err(Refusal::BuiltIn { kind, name: name.into() });
    let lockdown = put(policy(LOCKDOWN_DEFAULT, &["x"]), Guard::None);
    check(&[], lockdown, built_in("policy", LOCKDOWN_DEFAULT));
    check(&[], put_template("host", Guard::None), built_in("template", "host"));
    check(&[], delete_template("host", Guard::None), built_in("template", "host"));
    let not_found = Refusal::NotFound { kind: "policy", name: LOCKDOWN_DEFAULT.into() };
    check(&[], delete(LOCKDOWN_DEFAULT, Guard::None), Err(not_found));
}

#[test]
fn every_version_is_kept_and_numbering_goes_on_after_a_deletion() {
    let strict = Policy { max_age_ms: Some(1), ..policy("p", &["*"]) };
    let mut world = World::default();
    tell(&mut world, T0, put(policy("p", &["*"]), Guard::None)).expect("new");
    tell(&mut world, T0, put(strict.clone(), Guard::Version(1))).expect("as it is");
    tell(&mut world, T0, delete("p", Guard::Version(2))).expect("as it is");
    tell(&mut world, T0, put(policy("p", &["x"]), Guard::Absent)).expect("it is gone");
    let history = world.law.policy_history("p").iter();
    let told: Vec<_> = history
        .map(|v| (v.version, v.revision, v.body.as_ref().map(|body| body.max_age_ms)))
        .collect();
    let expected = [(1, 1, Some(None)), (2, 2, Some(Some(1))), (2, 3, None), (3, 4, Some(None))];
    assert_eq!(told, expected);
    let current = &world.law.current().policies["p"];
    assert_eq!((current.version, world.law.current().revision), (3, 4));
}

#[test]
fn a_run_finds_the_template_it_pinned() {
    let mut world = world(&[template_put(1, 1, "t"), template_deleted(2, "t")]);
    assert!(world.law.template("t", 1).is_some(), "though it is deleted");
    assert!(world.law.template("t", 2).is_none());
    assert!(world.law.template("host", 0).is_some());
    assert!(world.law.template("t", 0).is_none());
    tell(&mut world, T0, put_template("t", Guard::None)).expect("it is gone");
    assert!(world.law.template("t", 1).is_some() && world.law.template("t", 2).is_some());
}

#[test]
fn every_change_of_the_law_is_one_revision() {
    let table = HeatTable { hot_cpu_milli: 1, ..HeatTable::PUBLISHED };
    let set = Command::SetHeatTable { table: table.clone(), guard: Guard::None, origin: origin() };
    let given = [put_as(1, 1, "p", &["*"]), template_put(2, 1, "t")];
    let (at, origin, revision) = (T0, origin(), 3);
    check(&given, set, Ok(vec![Event::HeatTableSet(HeatTableSet { at, origin, revision, table })]));
    check(&given, delete("p", Guard::None), Ok(vec![deleted(3, "p")]));
    check(&given, delete_template("t", Guard::None), Ok(vec![template_deleted(3, "t")]));
}

#[test]
fn a_law_that_judges_hold_does_not_change_under_them() {
    let mut world = world(&[put_as(1, 1, "p", &["*"])]);
    let held = world.law.current().clone();
    tell(&mut world, T0, delete("p", Guard::None)).expect("it is there");
    assert_eq!((held.revision, held.policies.len()), (1, 1));
    assert_eq!((world.law.current().revision, world.law.current().policies.len()), (2, 0));
}

#[test]
fn the_law_of_any_revision_can_be_had_again() {
    let table = HeatTable { hot_cpu_milli: 1_500, ..HeatTable::PUBLISHED };
    let (at, origin) = (T0, origin());
    let events = [
        put_as(1, 1, "a", &["a"]),
        template_put(2, 1, "t"),
        Event::HeatTableSet(HeatTableSet { at, origin, revision: 3, table }),
        put_as(4, 2, "a", &["b"]),
        deleted(5, "a"),
        template_deleted(6, "t"),
        put_as(7, 3, "a", &["a"]),
    ];
    let end = world(&events).law;
    for known in 0..=events.len() {
        let then = world(&events[..known]);
        let again = end.at(known as u64);
        assert_eq!(&again, then.law.current(), "revision {known}");
        assert!(std::ptr::eq(&*again.lockdown().body, &*end.current().lockdown().body));
    }
}

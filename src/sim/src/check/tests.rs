//! The model's own rules, each broken once.

use std::collections::BTreeMap;

use domain::Timestamp;
use domain::event::{End, Exit, ExitCause, FailReason, LostCause, Next};

use journal::EntryId;
use uuid::Uuid;

use super::history::refused;
use super::model::{Change, How, Model, Run, was};
use super::nodes::are_a_mass;

fn exited(code: i32) -> Exit {
    Exit { cause: ExitCause::Exited, code: Some(code), signal: None, message: None }
}

/// What the model says of a run after attempts that went on, and one with which it is over.
fn broken(mut run: Run, before: &[How<'_>], last: How<'_>, next: Next) -> Option<&'static str> {
    for how in before {
        let again = Next::Again { not_before: Timestamp(0) };
        assert_eq!(run.within_limits(*how, again), None);
    }
    run.within_limits(last, next).map(|(rule, _)| rule)
}

/// A run, how attempts of it ended, how the last did, what was made of it, and what is said of that.
type Case<'a> = (Run, &'a [How<'a>], How<'a>, Next, Option<&'a str>);

#[test]
fn a_run_that_is_given_up_too_early_or_tried_too_often_is_found() {
    let (good, bad) = (exited(0), exited(1));
    let (succeeds, fails) = (How::Reported(&good), How::Reported(&bad));
    let (lost, moved) = (How::Lost(LostCause::NodeLost), How::Lost(LostCause::Drained));
    let again = Next::Again { not_before: Timestamp(0) };
    let out = Next::End(End::Failed(FailReason::OutOfAttempts));
    let gone = Next::End(End::Failed(FailReason::NodeLost));
    let (done, ended) = (Next::End(End::Succeeded), Next::End(End::Canceled));
    let twice = || Run { most: 2, again: true, ..Run::default() };
    let never = || Run { most: 2, again: false, ..Run::default() };
    let unwanted = || Run { canceled: Some(1), ..twice() };
    let cases: &[Case<'_>] = &[
        (twice(), &[], succeeds, done, None),
        (twice(), &[], fails, done, Some("S10")),
        (twice(), &[], succeeds, again, Some("S10")),
        (twice(), &[fails], fails, out, None),
        (twice(), &[fails], fails, again, Some("S10")),
        (twice(), &[], fails, out, Some("L6")),
        (twice(), &[lost, lost, lost], lost, out, None),
        (twice(), &[lost, lost, lost], lost, again, Some("S10")),
        (twice(), &[lost, lost], lost, out, Some("L6")),
        (twice(), &[lost, lost, lost, moved], fails, again, None),
        (twice(), &[], lost, gone, Some("L6")),
        (never(), &[], lost, gone, None),
        (never(), &[], lost, again, Some("S10")),
        (never(), &[], fails, gone, Some("L6")),
        (twice(), &[], fails, ended, Some("S10")),
        (unwanted(), &[], fails, ended, None),
        (unwanted(), &[], fails, again, Some("S10")),
        (unwanted(), &[], lost, out, Some("L6")),
    ];
    for (n, (run, before, last, next, found)) in cases.iter().enumerate() {
        assert_eq!(broken(run.clone(), before, *last, *next), *found, "case {n}");
    }
}

#[test]
fn the_model_knows_what_was_in_force_at_each_entry() {
    let change = |policy: &str, version, seq| {
        let policy = policy.to_owned();
        Change { policy, version, revision: seq, seq }
    };
    let law = vec![change("a", Some(1), 3), change("b", Some(1), 4), change("a", None, 6)];
    let mut model = Model::default();
    model.law = law;
    let queue = [(4, true), (4, false), (7, true)];
    let seen: Vec<_> = [2, 3, 5, 6].map(|seq| model.version_at("a", seq)).into();
    assert_eq!(seen, [None, Some(1), Some(1), None]);
    // Two may be written in one entry, and both are acknowledged.
    assert!(was(&queue, true, 4) && was(&queue, false, 4));
    assert!(!was(&queue, true, 5) && !was(&queue, true, 3));
    assert!(was(&queue, true, 8) && !was(&queue, false, 8));
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    use crate::client::{Kind, Operation, Outcome};
    // Entry n was sent at 10 n ms.
    let ids: Vec<EntryId> = (1..10).map(|seq| EntryId { seq, h64: seq }).collect();
    let sealed: BTreeMap<EntryId, u64> = ids.iter().map(|id| (*id, id.seq * 10)).collect();
    let run = Run { statuses: vec![(3, "PENDING"), (5, "SUCCEEDED")], ..Run::default() };
    let change = |version, seq| Change { policy: "p".into(), version, revision: seq, seq };
    let mut model = Model::default();
    model.ids = ids;
    model.runs.insert(Uuid::nil(), run);
    model.law = vec![change(Some(1), 2), change(None, 6)];
    model.joined.insert("n".into(), 4);
    let cancel = |run| Kind::Cancel(run);
    let (put, delete) = (Kind::Policy("p".into(), true), Kind::Policy("p".into(), false));
    let drain = |node: &str| Kind::Drain(node.into(), true);
    for (kind, status, asked_ms, answered_ms, right) in [
        (Kind::Submit(1), 403, 0, 90, false),
        (Kind::Queue(true), 409, 0, 90, false),
        (cancel(Uuid::nil()), 409, 20, 60, true),
        (cancel(Uuid::nil()), 409, 20, 40, false),
        (cancel(Uuid::nil()), 404, 60, 70, false),
        (cancel(Uuid::max()), 409, 60, 70, false),
        (put, 404, 0, 90, false),
        (delete.clone(), 404, 0, 10, true),
        (delete.clone(), 404, 30, 50, false),
        (delete.clone(), 404, 30, 60, true),
        (delete, 404, 70, 80, true),
        (drain("n"), 404, 30, 60, true),
        (drain("n"), 404, 50, 60, false),
        (drain("m"), 404, 50, 60, true),
    ] {
        let what = format!("{kind:?} {status} at {asked_ms} to {answered_ms}");
        let tries = vec![Outcome::NotApplied, Outcome::Refused(status)];
        let (name, keyed) = ("c0-1".to_owned(), false);
        let operation = Operation { name, kind, keyed, asked_ms, answered_ms, tries };
        assert_eq!(refused(&model, &sealed, &operation).is_none(), right, "{what}");
    }
}

#[test]
fn three_nodes_that_are_lost_together_are_found() {
    // When the entry before was sent, and when its own was.
    let lost = |at_ms: [u64; 3]| at_ms.map(|ms| (ms, ms + 50));
    assert!(are_a_mass(&lost([1_000, 1_100, 1_200])));
    assert!(are_a_mass(&lost([1_000, 1_100, 11_000])));
    assert!(!are_a_mass(&lost([1_000, 1_100, 11_100])), "one by one");
    assert!(!are_a_mass(&lost([1_000, 30_000, 31_000])), "the first is long ago");
    assert!(!are_a_mass(&lost([1_000, 1_100, 1_200])[..2]));
}

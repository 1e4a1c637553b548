//! The state at a point, and what changed between two.

use api::Time;
use domain::{Status, Timestamp, World};
use journal::catalog;
use replay::diff::{Changed, Diff, Moved};
use replay::source::Unreadable;
use replay::{Point, state};

use crate::day::{day, entries, journal, source};
use crate::law::{T0, run};

#[tokio::test]
async fn the_state_at_an_entry_or_a_time_is_the_fold_up_to_there() {
    let journal = journal(&day().0).await;
    let mut world = World::default();
    for entry in entries(&journal).await {
        for event in catalog::events(&entry) {
            world.evolve(entry.seq(), &event.expect("an event").1);
        }
        let mut points = vec![Point::Sequence(entry.seq())];
        // Before the first event there is no time.
        points.extend((world.now != Timestamp::default()).then(|| Point::Time(world.now.into())));
        for point in points {
            let then =
                state::at(&mut source(&journal), Some(point), |_| {}).await.expect("a state");
            assert_eq!(then.world.digest(), world.digest(), "{point}");
        }
    }
    let end = state::at(&mut source(&journal), None, |_| {}).await.expect("the end");
    assert_eq!(end.world.digest(), world.digest());
}

#[tokio::test]
async fn a_run_is_shown_as_it_was() {
    let journal = journal(&day().0).await;
    let statuses = async |n| {
        let mut seen = Vec::new();
        for sequence in 1..=entries(&journal).await.len() as u64 {
            let point = Some(Point::Sequence(sequence));
            let then = state::at(&mut source(&journal), point, |_| {}).await.expect("a state");
            let status = state::run(&then, run(n)).map(|run| run.status.as_str());
            if seen.last() != Some(&status) {
                seen.push(status);
            }
        }
        seen
    };
    let lived = [None, Some("PENDING"), Some("SCHEDULED"), Some("RUNNING"), Some("SUCCEEDED")];
    assert_eq!(statuses(1).await, lived);
    assert_eq!(statuses(4).await, [None, Some("REJECTED")]);
}

#[tokio::test]
async fn a_point_that_is_not_reached_is_said() {
    let journal = journal(&day().0).await;
    let beyond = Some(Point::Sequence(9_999));
    let refused = state::at(&mut source(&journal), beyond, |_| {}).await.unwrap_err();
    assert!(matches!(refused, Unreadable::Before { .. }), "{refused}");
    let later = Some(Point::Time(Time::MAX));
    state::at(&mut source(&journal), later, |_| {}).await.expect("nothing has happened since");
}

#[tokio::test]
async fn a_point_before_the_first_event_is_said_with_where_the_journal_begins() {
    let journal = journal(&day().0).await;
    for point in [Point::Sequence(0), Point::Time(Time(0)), Point::Time(Time(T0.0 - 1))] {
        let refused = state::at(&mut source(&journal), Some(point), |_| {}).await.unwrap_err();
        let begins = matches!(
            refused,
            Unreadable::Begins { sequence: 2, time, .. } if time == T0.into()
        );
        assert!(begins, "{point}: {refused}");
    }
    let first = Some(Point::Sequence(1));
    let nothing = state::at(&mut source(&journal), first, |_| {}).await.expect("an entry");
    assert_eq!(state::Snapshot::of(&nothing).time, None, "it has no event");
}

#[tokio::test]
async fn what_changed_between_two_points_is_told() {
    let (lived, world) = day();
    let journal = journal(&lived).await;
    let last = entries(&journal).await.len() as u64;
    // Behind the first node; the second policy is there.
    let points = (Point::Sequence(5), Point::Sequence(last));
    let (from, to) = state::both(&mut source(&journal), points, |_| {}).await.expect("both");
    assert_eq!(to.digest, Some(world.digest().to_string()));
    let diff = Diff::between(from, to);
    let canceled = world.runs.count(Status::Canceled);
    let way = |to, runs| Moved { from: None, to: Some(to), runs };
    assert!(diff.runs.contains(&way("CANCELED", canceled)), "{:?}", diff.runs);
    assert!(diff.runs.contains(&way("SUCCEEDED", 1)));
    assert_eq!(diff.runs.iter().map(|moved| moved.runs).sum::<u64>(), 27);
    let change = |name: &str, from, to| Changed { name: name.into(), from, to };
    let narrow = change("narrow", Some(1), None);
    assert_eq!(diff.policies, [narrow, change("open", Some(1), Some(2))]);
    assert_eq!(diff.nodes.len(), 2, "one was lost, one came");
    let nothing = (Point::Sequence(5), Point::Time(T0.plus(3_500).into()));
    let (from, to) = state::both(&mut source(&journal), nothing, |_| {}).await.expect("both");
    let diff = Diff::between(from, to);
    assert!(diff.runs.is_empty() && diff.policies.is_empty() && diff.queue.is_none());
}

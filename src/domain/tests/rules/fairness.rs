//! Whose turn it is: priority first, then tenants by their share, then the order of admission.

use std::sync::Arc;

use domain::World;
use domain::judge::Request;
use domain::pieces::Rebuild;

use crate::support::*;

/// Admits one run for each tenant named, in that order: run 1, 2, 3 …
fn line(world: &mut World, from: u64, tenants: &[&str]) {
    for (n, tenant) in (from..).zip(tenants) {
        let asked = judged(world, of_tenant(tenant));
        tell(world, T0, admit(n, asked)).expect("there is room");
    }
}

/// The runs in the order in which they will be taken.
fn order(world: &World) -> Vec<u64> {
    world.line.in_order().iter().map(|(_, run)| run.0.as_u128() as u64).collect()
}

#[test]
fn one_tenants_runs_are_taken_in_the_order_they_came() {
    let mut world = World::default();
    line(&mut world, 1, &["a", "a", "a"]);
    assert_eq!(order(&world), [1, 2, 3]);
}

#[test]
fn a_tenant_with_many_runs_does_not_hold_back_one_that_comes_with_its_first() {
    let mut world = World::default();
    line(&mut world, 1, &["a", "a", "a", "a", "b", "b", "c"]);
    assert_eq!(order(&world), [1, 5, 7, 2, 6, 3, 4], "a b c, a b, a, a");
}

#[test]
fn a_tenant_that_was_idle_has_saved_up_no_turns() {
    let mut world = world(&[joined("n1", BIG_NODE, STANDARD)]);
    line(&mut world, 1, &["a", "a", "a", "a"]);
    assert_eq!(place(&mut world, T0, 3).len(), 3, "the line has moved on to a's fourth");
    line(&mut world, 5, &["b", "b", "b", "a"]);
    assert_eq!(order(&world), [5, 4, 6, 7, 8], "b begins where the line is, no turn earlier");
}

#[test]
fn priority_goes_before_fairness() {
    let mut world = World::default();
    line(&mut world, 1, &["a", "b"]);
    for (n, priority) in [(3, 51), (4, 49), (5, 100), (6, 0)] {
        let urgent = Request { priority: Some(priority), ..of_tenant("a") };
        let asked = judged(&world, urgent);
        tell(&mut world, T0, admit(n, asked)).expect("there is room");
    }
    assert_eq!(order(&world), [5, 3, 1, 2, 4, 6]);
}

#[test]
fn what_waiting_runs_have_in_common_is_kept_once_lived_or_read_back() {
    let mut lived = World::default();
    line(&mut lived, 1, &["a", "a", "b"]);
    let mut rebuild = Rebuild::default();
    lived.pieces().for_each(|piece| rebuild.add(&piece).expect("a piece"));
    let read = rebuild.finish().expect("a World");
    assert_eq!(read, lived);
    for world in [lived, read] {
        let [a, another, b] = [1, 2, 3].map(|n| world.line.item(run(n)).expect("it waits").clone());
        assert!(Arc::ptr_eq(&a.tenant, &another.tenant) && *a.tenant != *b.tenant);
        assert!(Arc::ptr_eq(&a.class, &another.class) && Arc::ptr_eq(&a.class, &b.class));
    }
}

#[test]
fn placement_follows_the_line() {
    let mut world = World::default();
    line(&mut world, 1, &["a", "a", "a", "b"]);
    let room_for_two = SMALL.plus(SMALL);
    tell(&mut world, T0, join("n1", 1, room_for_two, STANDARD)).expect("it may join");
    let went: Vec<_> = place(&mut world, T0, 10).into_iter().map(|(run, _)| run).collect();
    assert_eq!(went, [run(1), run(4)], "one of each tenant");
}

#[test]
fn a_tenant_is_forgotten_when_it_has_nothing_left() {
    let mut world = world(&[joined("n1", NODE, STANDARD)]);
    line(&mut world, 1, &["a"]);
    assert_eq!(world.tenants.tenant("a").pending, 1);
    place(&mut world, T0, 1);
    let on_node = world.tenants.tenant("a");
    assert_eq!((on_node.pending, on_node.running, on_node.in_use), (0, 1, SMALL));
    tell(&mut world, T0, report(1, "n1", ended(exited(0)))).expect("the attempt is current");
    assert_eq!(world.tenants.iter().count(), 0);
}

#[test]
fn a_tenant_that_cancelled_its_turns_keeps_no_advantage_and_is_forgotten_when_the_line_gets_there()
{
    let mut world = world(&[joined("n1", BIG_NODE, STANDARD)]);
    line(&mut world, 1, &["a", "a", "a"]);
    for n in 1..=3 {
        tell(&mut world, T0, cancel(n)).expect("it waits");
    }
    assert_eq!(world.tenants.next_tag("a"), 4, "or cancelling would be a way to the front");
    line(&mut world, 4, &["b", "b"]);
    place(&mut world, T0, 10);
    assert_eq!(world.tenants.iter().count(), 2, "the line is at b's second, a at its third");
    line(&mut world, 6, &["b"]);
    place(&mut world, T0, 10);
    assert_eq!(world.tenants.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
    assert_eq!(world.tenants.next_tag("a"), world.tenants.next_tag("nobody"));
}

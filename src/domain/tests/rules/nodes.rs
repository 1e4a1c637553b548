//! Nodes: joining, coming back, going; and what that means for the runs they have.

use domain::command::Refusal;
use domain::event::{LostCause, Next};
use domain::fleet::{LOST_LISTED_MS, pool_of};
use domain::submission::{Demand, Pool};
use domain::{Event, World};

use crate::support::*;

const AGAIN: Next = Next::Again { not_before: T0 };

/// A node with two runs.
fn busy() -> Vec<Event> {
    vec![
        joined("n1", NODE, STANDARD),
        admitted(1, request()),
        admitted(2, request()),
        assigned(1, 1, "n1"),
        assigned(2, 1, "n1"),
    ]
}

#[test]
fn a_node_joins_once() {
    let here = vec![joined("n1", NODE, STANDARD)];
    check(&[], join("n1", 1, NODE, STANDARD), Ok(here.clone()));
    check(&here, join("n1", 1, NODE, STANDARD), Ok(vec![]));
    check(&busy(), join("n1", 1, NODE, STANDARD), Ok(vec![]));
}

#[test]
fn an_agent_that_starts_anew_has_lost_what_it_ran_before() {
    let lost = |n| lost(n, 1, "n1", LostCause::NodeRestarted, AGAIN);
    let then = vec![lost(1), lost(2), joined_anew("n1", 2, NODE, STANDARD)];
    check(&busy(), join("n1", 2, NODE, STANDARD), Ok(then));
}

#[test]
fn the_loss_of_a_node_names_every_run_it_takes() {
    let lost = |n| lost(n, 1, "n1", LostCause::NodeLost, AGAIN);
    check(&busy(), lose("n1", 1), Ok(vec![node_lost("n1"), lost(1), lost(2)]));
}

#[test]
fn only_the_process_that_is_registered_can_be_lost() {
    let refused = || Err(Refusal::NoSuchNode(node("n1")));
    check(&busy(), lose("n1", 2), refused());
    check(&[], lose("n1", 1), refused());
    check(&[joined("n1", NODE, STANDARD), node_lost("n1")], lose("n1", 1), refused());
}

#[test]
fn a_lost_node_comes_back_by_joining() {
    let gone = [joined("n1", NODE, STANDARD), node_lost("n1")];
    check(&gone, join("n1", 1, NODE, STANDARD), Ok(vec![joined("n1", NODE, STANDARD)]));
    let mut world = world(&gone);
    assert!(world.fleet.node(&node("n1")).is_some_and(|n| !n.is_ready()));
    tell(&mut world, T0, join("n1", 1, NODE, STANDARD)).expect("it may come back");
    assert!(world.fleet.node(&node("n1")).is_some_and(|n| n.is_ready()));
}

#[test]
fn a_node_changes_pools_only_while_it_is_empty() {
    let refused = || Err(Refusal::PoolChange { node: node("n1") });
    check(&busy(), join("n1", 1, NODE, QUARANTINE), refused());
    check(&busy(), join("n1", 1, NODE, HIGH_COMPUTE), refused());
    let idle = [joined("n1", NODE, STANDARD)];
    check(&idle, join("n1", 1, NODE, QUARANTINE), Ok(vec![joined("n1", NODE, QUARANTINE)]));
}

#[test]
fn other_labels_may_change_at_any_time() {
    let rack = &[("rack", "r7")];
    check(&busy(), join("n1", 1, NODE, rack), Ok(vec![joined("n1", NODE, rack)]));
    let world = world(&[busy(), vec![joined("n1", NODE, rack)]].concat());
    let node = world.fleet.node(&node("n1")).expect("it joined");
    assert_eq!((node.attempts.len(), node.allocated), (2, SMALL.plus(SMALL)), "it keeps its runs");
}

#[test]
fn a_node_cannot_shrink_below_what_is_set_aside_on_it() {
    let used = SMALL.plus(SMALL);
    check(&busy(), join("n1", 1, used, STANDARD), Ok(vec![joined("n1", used, STANDARD)]));
    for less in [
        Demand { cpu_milli: used.cpu_milli - 1, ..NODE },
        Demand { mem_mb: used.mem_mb - 1, ..NODE },
    ] {
        let refused = Refusal::CapacityBelowUse { node: node("n1") };
        check(&busy(), join("n1", 1, less, STANDARD), Err(refused));
    }
}

#[test]
fn a_lost_node_is_listed_for_a_day() {
    let mut world = world(&[joined("n1", NODE, STANDARD), node_lost("n1")]);
    let listed = |world: &World| world.fleet.node(&node("n1")).is_some();
    let almost = T0.plus(LOST_LISTED_MS - 1);
    tell(&mut world, almost, join("n2", 2, NODE, STANDARD)).expect("it may join");
    assert!(listed(&world));
    let later = T0.plus(LOST_LISTED_MS);
    tell(&mut world, later, join("n3", 3, NODE, STANDARD)).expect("it may join");
    assert!(!listed(&world));
}

#[test]
fn the_pool_of_a_node_is_told_by_its_labels() {
    let both = [QUARANTINE, HIGH_COMPUTE].concat();
    for (labels, pool) in [
        (STANDARD, Pool::Standard),
        (HIGH_COMPUTE, Pool::HighCompute),
        (QUARANTINE, Pool::Quarantine),
        (&*both, Pool::Quarantine),
        (&[("tartarus.io/typhon", "false")], Pool::Standard),
        (&[("tartarus.io/typhon", "True")], Pool::Standard),
        (&[("tartarus.io/phlegethon", "")], Pool::Standard),
    ] {
        assert_eq!(pool_of(&map(labels)), pool, "{labels:?}");
    }
}

//! Why no node takes a run: the test that each fails, by how much, and what would help.

use std::collections::BTreeMap;

use domain::event::{NodeDrained, NodeLabeled};
use domain::judge::Request;
use domain::placement::{
    Considered, Failed, FailedKind, Never, Resource, WaitReason, consider, never, why_waiting,
};
use domain::selector::{Requirement, Selector, Test};
use domain::submission::{Demand, Placement};
use domain::{Command, Event};

use crate::support::*;

fn requirement(key: &str, values: &[&str]) -> Requirement {
    let values = values.iter().map(|value| (*value).into()).collect();
    Requirement { key: key.into(), test: Test::In(values) }
}

fn requires(requirements: &[(&str, &str)]) -> Request {
    let requirements = requirements.iter().map(|(key, value)| requirement(key, &[value]));
    let require = Selector { requirements: requirements.collect() };
    Request { placement: Placement { require, ..Placement::default() }, ..request() }
}

fn isolated(features: &[&str]) -> Request {
    let isolation = features.iter().map(|feature| (*feature).into()).collect();
    Request { placement: Placement { isolation, ..Placement::default() }, ..request() }
}

fn of_mem(mem_mb: u32) -> Request {
    Request { mem_mb: Some(mem_mb), ..request() }
}

fn drained(name: &str) -> Event {
    let (node, origin) = (node(name), origin());
    Event::NodeDrained(NodeDrained { node, at: T0, origin, deadline: None })
}

fn seen(fleet: &[Event], request: Request, most: usize) -> Considered {
    let world = world(&[fleet, &[admitted_under(&open_law(), 1, request)]].concat());
    let item = world.line.item(run(1)).expect("it waits");
    consider(&world.line, &world.fleet, T0, item, most)
}

/// The first test that the only node of a fleet fails.
fn check_fails(fleet: &[Event], request: Request, then: Option<Failed>) {
    let seen = seen(fleet, request, 5);
    assert_eq!(seen.nodes.len(), 1, "{seen:#?}");
    assert_eq!(seen.hint.is_some(), then.is_some(), "{seen:#?}");
    assert_eq!(seen.nodes[0].failed, then);
}

#[test]
fn each_node_is_named_with_the_first_test_it_fails() {
    let small = Demand { cpu_milli: 600, mem_mb: 256, gpu: 0 };
    let here = [joined("n1", small, &[("zone", "a")])];
    let and = |event: Event| [&here[..], &[event]].concat();
    check_fails(&here, request(), None);
    check_fails(&here, quarantined(), Some(Failed::WrongPool));
    check_fails(&and(node_lost("n1")), request(), Some(Failed::Lost));
    check_fails(&and(drained("n1")), request(), Some(Failed::Draining));
    let unmet = Failed::Labels { requirement: "zone in (b)".into() };
    check_fails(&here, requires(&[("zone", "b")]), Some(unmet));
    check_fails(&here, requires(&[("zone", "a")]), None);
    let missing = Failed::Isolation { missing: vec!["seccomp".into()] };
    check_fails(&here, isolated(&["pid", "seccomp"]), Some(missing));
    let too_small = Failed::TooSmall { what: Resource::MemMb, need: 1_024, has: 256 };
    check_fails(&here, of_mem(1_024), Some(too_small));
    let busy = [&here[..], &[admitted(9, request()), assigned(9, 1, "n1")]].concat();
    let no_room = Failed::NoRoom { what: Resource::CpuMilli, need: 500, free: 100 };
    check_fails(&busy, request(), Some(no_room));
}

#[test]
fn the_closest_nodes_come_first_and_the_rest_is_counted() {
    let room = |mem_mb| Demand { cpu_milli: 1_000, mem_mb, gpu: 0 };
    let fleet = [
        joined("a", room(100), STANDARD),
        joined("b", room(900), STANDARD),
        joined("c", room(500), STANDARD),
        joined("q", room(9_000), QUARANTINE),
        joined("z", room(100), STANDARD),
        node_lost("z"),
    ];
    let seen = seen(&fleet, of_mem(1_000), 2);
    let names: Vec<_> = seen.nodes.iter().map(|test| test.node.as_str()).collect();
    assert_eq!(names, ["q", "b"], "one step away, by what it lacks");
    let then = [(FailedKind::Lost, 1), (FailedKind::TooSmall, 2)];
    assert_eq!(seen.failed_counts, BTreeMap::from(then));
}

#[test]
fn a_hint_says_everything_that_would_have_to_be_different() {
    let node = joined("n1", Demand { cpu_milli: 4_000, mem_mb: 64, gpu: 0 }, STANDARD);
    let hint = |fleet: &[Event], request| seen(fleet, request, 0).hint;
    let zone_and_memory = "node n1 would take it if its labels met zone in (a), and if the run \
                           asked for at most 64 MiB";
    assert_eq!(hint(&[node], requires(&[("zone", "a")])).as_deref(), Some(zone_and_memory));
    let busy = [joined("n1", SMALL, STANDARD), admitted(9, request()), assigned(9, 1, "n1")];
    let full = "node n1 would take it if 500 mCPU more were free on it, and if 128 MiB more were \
                free on it";
    assert_eq!(hint(&busy, request()).as_deref(), Some(full));
    assert_eq!(
        hint(&[], request()).as_deref(),
        Some("no node is known: start an agent with `tartarus agent`")
    );
    assert_eq!(hint(&[joined("n1", NODE, STANDARD)], request()), None, "its turn will come");
}

/// Whether a run waits for ever, and why.
fn check_never(fleet: &[Event], request: Request, reason: WaitReason, then: Option<Never>) {
    let world = world(&[fleet, &[admitted_under(&open_law(), 1, request)]].concat());
    let item = world.line.item(run(1)).expect("it waits");
    assert_eq!(why_waiting(&world.line, &world.fleet, T0, item), reason, "{fleet:#?}");
    assert_eq!(never(&world.fleet, &item.class), then, "{fleet:#?}");
}

#[test]
fn a_run_that_can_never_fit_says_what_is_in_the_way() {
    let fleet = [
        joined("a", Demand { mem_mb: 256, ..NODE }, &[("zone", "a")]),
        joined("b", Demand { mem_mb: 512, ..NODE }, &[("zone", "b"), ("disk", "ssd")]),
        joined("q", BIG_NODE, QUARANTINE),
    ];
    let never = WaitReason::NeverFits;
    let unmet = |requirement: &str| Some(Never::Labels { requirement: requirement.into() });
    check_never(&fleet, requires(&[("disk", "ssd"), ("zone", "c")]), never, unmet("zone in (c)"));
    let together = Never::Together { nearest: node("a"), requirement: "disk in (ssd)".into() };
    check_never(&fleet, requires(&[("disk", "ssd"), ("zone", "a")]), never, Some(together));
    let missing = vec!["kvm".into()];
    check_never(&fleet, isolated(&["pid", "kvm"]), never, Some(Never::Isolation { missing }));
    let large = |largest, has| {
        let (largest, what) = (node(largest), Resource::MemMb);
        Some(Never::TooLarge { largest, what, need: 1_024, has })
    };
    check_never(&fleet, of_mem(1_024), never, large("b", 512));
    let in_a = Request { mem_mb: Some(1_024), ..requires(&[("zone", "a")]) };
    check_never(&fleet, in_a, never, large("a", 256));
}

#[test]
fn a_run_that_only_a_draining_node_could_hold_waits_for_it() {
    let fleet = [joined("a", NODE, STANDARD), joined("b", BIG_NODE, STANDARD), drained("b")];
    let large = of_mem(NODE.mem_mb + 1);
    let world = world(&[&fleet[..], &[admitted_under(&open_law(), 1, large)]].concat());
    let item = world.line.item(run(1)).expect("it waits");
    assert_eq!(why_waiting(&world.line, &world.fleet, T0, item), WaitReason::Draining);
    let quarantine = [joined("q", NODE, QUARANTINE), drained("q")];
    let waits = [&quarantine[..], &[admitted(1, quarantined())]].concat();
    let world = crate::support::world(&waits);
    let item = world.line.item(run(1)).expect("it waits");
    assert_eq!(why_waiting(&world.line, &world.fleet, T0, item), WaitReason::Draining);
}

#[test]
fn a_label_of_an_operator_can_make_a_run_fit() {
    let mut world = world(&[
        joined("n1", NODE, STANDARD),
        admitted_under(&open_law(), 1, requires(&[("zone", "a")])),
    ]);
    assert!(place(&mut world, T0, 10).is_empty());
    let labels = [("zone".into(), Some("a".into()))].into();
    let labeled = NodeLabeled { node: node("n1"), at: T0, origin: origin(), labels };
    evolve(&mut world, &Event::NodeLabeled(labeled));
    assert_eq!(place(&mut world, T0, 10), [(run(1), node("n1"))]);
}

#[test]
fn a_fleet_that_is_written_down_and_read_again_is_the_same() {
    let mut world = world(&[
        joined("a", NODE, &[("zone", "a")]),
        joined("b", NODE, QUARANTINE),
        joined("c", NODE, HIGH_COMPUTE),
        node_lost("c"),
        drained("b"),
    ]);
    let labels = [("zone".into(), Some("b".into())), ("rack".into(), None)].into();
    let label = Command::LabelNode { node: node("a"), labels, origin: origin() };
    tell(&mut world, T0, label).expect("nothing runs there");
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(&world.fleet, config).expect("it has a shape");
    let (read, _) = bincode::serde::decode_from_slice(&bytes, config).expect("it was written");
    assert!(world.fleet == read);
}

#[test]
fn a_quarantine_node_that_drains_is_live_so_that_a_run_waits_for_it() {
    let given = [joined("q", NODE, QUARANTINE), drained("q")];
    let mut world = world(&given);
    let asked = judged(&world, quarantined());
    tell(&mut world, T0, admit(1, asked)).expect("it is decided");
    assert_eq!(world.runs.live(run(1)).map(|run| run.status), Some(domain::Status::Pending));
    assert!(place(&mut world, T0, 10).is_empty(), "nothing new goes there");
}

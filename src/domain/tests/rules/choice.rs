//! Of several nodes with room, which one; and that nobody waits for a run that fits nowhere.

use domain::judge::Request;
use domain::placement::{Ask, Plan, Room};
use domain::selector::{Requirement, Selector, Test};
use domain::submission::{Demand, Heat, Placement, Preference, Strategy};
use domain::{Event, World};

use crate::support::*;

fn zone(name: &str) -> Selector {
    let test = Test::In([name.into()].into());
    Selector { requirements: vec![Requirement { key: "zone".into(), test }] }
}

fn placed(placement: Placement) -> Request {
    Request { placement, ..request() }
}

fn packed() -> Request {
    placed(Placement { strategy: Strategy::Pack, ..Placement::default() })
}

fn rather(weights: &[(&str, u8)]) -> Request {
    let prefer =
        weights.iter().map(|(name, weight)| Preference { labels: zone(name), weight: *weight });
    placed(Placement { prefer: prefer.collect(), ..Placement::default() })
}

fn required(name: &str) -> Request {
    placed(Placement { require: zone(name), ..Placement::default() })
}

/// Which nodes runs of these requests go to, in the order of the line.
fn check_goes(fleet: &[Event], requests: &[Request], then: &[&str]) {
    let admitted = (1..).zip(requests).map(|(n, r)| admitted_under(&open_law(), n, r.clone()));
    let mut world = world(&[fleet, &admitted.collect::<Vec<_>>()].concat());
    let went = place(&mut world, T0, usize::MAX);
    let went: Vec<_> = went.iter().map(|(_, node)| node.as_str()).collect();
    assert_eq!(went, then, "{requests:#?}");
}

fn cores(n: u32) -> Demand {
    Demand { cpu_milli: 1_000 * n, ..NODE }
}

#[test]
fn spreading_takes_the_emptiest_node_and_packing_the_fullest_that_has_room() {
    let fleet = [
        joined("a", cores(2), STANDARD),
        joined("b", cores(4), STANDARD),
        joined("c", Demand { cpu_milli: 400, ..NODE }, STANDARD),
    ];
    check_goes(&fleet, &[request(), request(), request()], &["b", "b", "b"]);
    check_goes(
        &fleet,
        &[packed(), packed(), packed(), packed(), packed()],
        &["a", "a", "a", "a", "b"],
    );
}

#[test]
fn the_heaviest_preferences_go_before_the_strategy() {
    let fleet = [
        joined("a", cores(1), &[("zone", "a")]),
        joined("b", cores(2), &[("zone", "b")]),
        joined("c", cores(8), STANDARD),
    ];
    check_goes(&fleet, &[rather(&[("a", 10), ("b", 20)])], &["b"]);
    check_goes(&fleet, &[rather(&[("a", 30), ("b", 20)])], &["a"]);
    // They add up, and give way when there is no room.
    check_goes(&fleet, &[rather(&[("b", 15), ("a", 30), ("b", 20)])], &["b"]);
    let twice = rather(&[("a", 30)]);
    check_goes(&fleet, &[twice.clone(), twice.clone(), twice], &["a", "a", "c"]);
}

#[test]
fn a_requirement_is_never_given_up() {
    let fleet = [joined("a", cores(1), &[("zone", "a")]), joined("c", cores(8), STANDARD)];
    check_goes(&fleet, &[required("a"), required("a"), required("a")], &["a", "a"]);
    check_goes(&fleet, &[required("b"), request()], &["c"]);
}

#[test]
fn nodes_with_free_gpus_are_left_to_those_who_ask_for_one() {
    let gpus = Demand { gpu: 1, ..cores(8) };
    let fleet = [joined("gpu", gpus, STANDARD), joined("plain", cores(1), STANDARD)];
    let with_gpu = || Request { gpu: Some(1), heat: Some(Heat::Warm), ..request() };
    check_goes(&fleet, &[request(), request(), request()], &["plain", "plain", "gpu"]);
    check_goes(&fleet, &[with_gpu(), with_gpu()], &["gpu"]);
    // With none of its GPUs free it is a node like any other.
    check_goes(&fleet, &[with_gpu(), request()], &["gpu", "gpu"]);
    check_goes(&fleet, &[packed()], &["plain"]);
}

#[test]
fn ten_thousand_large_runs_of_one_tenant_hold_back_nobodys_small_ones() {
    let mut world = world(&[joined("n1", NODE, STANDARD)]);
    let law = open_law();
    let large = Request { cpu_milli: Some(NODE.cpu_milli + 1), ..of_tenant("whale") };
    for n in 1..=10_000 {
        world.evolve(0, &admitted_under(&law, n, large.clone()));
    }
    for (n, request) in (10_001..).zip([of_tenant("minnow"), of_tenant("whale")]) {
        world.evolve(0, &admitted_under(&law, n, request));
    }
    let mut room = Room::of(&world.fleet);
    let ask = Ask { most: 512, looks: 1_000, from: None };
    let plan = room.plan(&world.line, &world.fleet, T0, ask);
    let went: Vec<_> = plan.assignments.iter().map(|a| a.run).collect();
    assert_eq!((went, plan.rest), (vec![run(10_001), run(10_002)], None));
}

/// Plans with so few looks that one class is asked at a time, until the whole line was asked in vain.
fn in_pieces(world: &mut World) -> usize {
    let (mut room, mut from, mut placed, mut idle, mut plans) =
        (Room::of(&world.fleet), None, 0, 0, 0);
    while idle < 2 {
        let ask = Ask { most: 3, looks: 1, from };
        let Plan { assignments, rest } = room.plan(&world.line, &world.fleet, T0, ask);
        assert!(assignments.len() <= 1, "one class at a time: {assignments:?}");
        placed += assignments.len();
        for assignment in assignments {
            let event = tell(world, T0, assign_to(&assignment)).expect("it holds").events;
            room.touch(&world.fleet, &assignment.node);
            assert_eq!(event.len(), 1);
            idle = 0;
        }
        idle += usize::from(rest.is_none());
        from = rest;
        plans += 1;
        assert!(plans < 10_000, "it comes to an end");
    }
    placed
}

fn assign_to(assignment: &domain::placement::Assignment) -> domain::Command {
    let token = token(assignment.run.0.as_u128() as u64);
    let assignment = assignment.clone();
    domain::Command::Assign { assignment, token, planned_at: PLANNED_AT }
}

#[test]
fn a_plan_that_runs_out_of_looks_goes_on_where_it_stopped_and_nobody_starves() {
    let law = open_law();
    let fleet = [joined("a", cores(2), &[("zone", "a")]), joined("b", cores(2), &[("zone", "b")])];
    // Every run is a class of its own; most of them fit nowhere, and stand in front.
    let hopeless = (1..=50).map(|n| admitted_under(&law, n, required(&format!("z{n}"))));
    let sizes = (51..=58).map(|n| {
        let zone = if n % 2 == 0 { "a" } else { "b" };
        let sized = Request { cpu_milli: Some(540 + n as u32), ..required(zone) };
        admitted_under(&law, n, sized)
    });
    let all: Vec<Event> = fleet.into_iter().chain(hopeless).chain(sizes).collect();
    let mut world = world(&all);
    let at_once = {
        let ask = Ask { most: 1_000, looks: usize::MAX, from: None };
        Room::of(&world.fleet).plan(&world.line, &world.fleet, T0, ask).assignments.len()
    };
    assert_eq!((in_pieces(&mut world), at_once), (6, 6), "three to a zone, as at once");
}

//! Placement: which node a run goes to, which it never goes to, and why it waits.

use domain::command::Refusal;
use domain::event::{End, Next};
use domain::fleet::Node;
use domain::invariants::{self, Violation};
use domain::judge::Request;
use domain::law::Law;
use domain::placement::{Assignment, Route, WaitReason, routes, why_waiting};
use domain::submission::{Demand, Heat, Pool};
use domain::{Command, Event, World};

use crate::support::*;

fn of_heat(heat: Heat) -> Request {
    Request { heat: Some(heat), ..request() }
}

fn standard() -> Event {
    joined("standard", NODE, STANDARD)
}

fn high_compute() -> Event {
    joined("high", NODE, HIGH_COMPUTE)
}

fn quarantine() -> Event {
    joined("quarantine", NODE, QUARANTINE)
}

/// A node that is up and has no room.
fn full(name: &str, labels: &[(&str, &str)]) -> Vec<Event> {
    let filler = Request { cpu_milli: Some(NODE.cpu_milli), ..request() };
    let n = 900 + name.len() as u64;
    let admitted = admitted_under(&open_law(), n, filler);
    let Event::RunAssigned(assigned) = assigned(n, 1, name) else { panic!("made above") };
    let demand = Demand { cpu_milli: NODE.cpu_milli, ..SMALL };
    let assigned = Event::RunAssigned(domain::event::RunAssigned { demand, ..assigned });
    vec![joined(name, NODE, labels), admitted, assigned]
}

/// Where `request` goes in a fleet, and whether it is recorded as a fallback.
fn check_goes(fleet: &[Event], request: Request, then: Option<(&str, bool)>) {
    let law = law_of(&[put_event(1, policy("open", &["*"]))]);
    let mut world = world(&[fleet, &[admitted_under(&law, 1, request)]].concat());
    place(&mut world, T0, 10);
    let run = world.runs.live(run(1)).expect("it has not ended");
    let went =
        run.node.as_ref().zip(run.pool).map(|(node, (_, fallback))| (node.as_str(), fallback));
    assert_eq!(went, then, "{fleet:#?}");
}

#[test]
fn cold_and_warm_go_to_standard_nodes_and_avoid_high_compute() {
    for heat in [Heat::Cold, Heat::Warm] {
        check_goes(&[high_compute(), standard()], of_heat(heat), Some(("standard", false)));
        // Avoided, not forbidden.
        check_goes(&[high_compute()], of_heat(heat), Some(("high", true)));
        let busy = [full("standard", STANDARD), vec![high_compute()]].concat();
        check_goes(&busy, of_heat(heat), Some(("high", true)));
    }
}

#[test]
fn hot_goes_to_a_high_compute_node() {
    for heat in [Heat::Hot, Heat::Inferno] {
        check_goes(&[standard(), high_compute()], of_heat(heat), Some(("high", false)));
    }
}

#[test]
fn hot_falls_back_to_standard_only_when_no_high_compute_node_is_live() {
    let gone = [standard(), high_compute(), node_lost("high")];
    let busy = [vec![standard()], full("high", HIGH_COMPUTE)].concat();
    for heat in [Heat::Hot, Heat::Inferno] {
        check_goes(&[standard()], of_heat(heat), Some(("standard", true)));
        check_goes(&gone, of_heat(heat), Some(("standard", true)));
        check_goes(&busy, of_heat(heat), None);
    }
}

#[test]
fn hot_falls_back_when_no_live_high_compute_node_could_ever_hold_it() {
    let small = joined("high", SMALL, HIGH_COMPUTE);
    let large = Request { cpu_milli: Some(SMALL.cpu_milli + 1), ..of_heat(Heat::Hot) };
    check_goes(&[standard(), small.clone()], large, Some(("standard", true)));
    check_goes(&[standard(), small], of_heat(Heat::Hot), Some(("high", false)));
}

#[test]
fn inferno_needs_a_gpu_node_only_if_it_asked_for_a_gpu() {
    let gpu_node = joined("gpu", Demand { gpu: 2, ..NODE }, HIGH_COMPUTE);
    let with_gpu = || Request { gpu: Some(1), ..request() };
    check_goes(&[standard(), high_compute()], of_heat(Heat::Inferno), Some(("high", false)));
    check_goes(&[high_compute(), gpu_node.clone()], with_gpu(), Some(("gpu", false)));
    check_goes(&[standard(), high_compute()], with_gpu(), None);
    let greedy = Request { gpu: Some(3), ..request() };
    check_goes(&[gpu_node], greedy, None);
    let plain_gpu_node = joined("plain", Demand { gpu: 1, ..NODE }, STANDARD);
    check_goes(&[high_compute(), plain_gpu_node], with_gpu(), Some(("plain", true)));
}

#[test]
fn no_heat_ever_falls_back_to_a_quarantine_node() {
    for heat in Heat::ALL {
        check_goes(&[quarantine()], of_heat(heat), None);
        check_goes(
            &[quarantine(), standard()],
            of_heat(heat),
            Some(("standard", matches!(heat, Heat::Hot | Heat::Inferno))),
        );
    }
}

#[test]
fn quarantine_has_no_fallback() {
    let others = [standard(), high_compute()];
    check_goes(
        &[&others[..], &[quarantine()]].concat(),
        quarantined(),
        Some(("quarantine", false)),
    );
    let lost = [&others[..], &[quarantine(), node_lost("quarantine")]].concat();
    check_goes(&lost, quarantined(), None);
    let busy = [&others[..], &full("quarantine", STANDARD)].concat();
    check_goes(&busy, quarantined(), None);
}

#[test]
fn nothing_can_be_assigned_where_it_may_not_run() {
    let fleet = [standard(), high_compute(), quarantine()];
    for (request, nodes) in [
        (request(), &["quarantine"][..]),
        (of_heat(Heat::Hot), &["standard", "quarantine"]),
        (quarantined(), &["standard", "high"]),
    ] {
        for node in nodes {
            let given = [&fleet[..], &[admitted(1, request.clone())]].concat();
            check(&given, assign(1, node), Err(Refusal::Overtaken));
        }
    }
}

#[test]
fn an_assignment_is_recorded_with_its_pool_and_whether_it_is_a_fallback() {
    let Event::RunAssigned(plain) = assigned(1, 1, "high") else { panic!("made above") };
    let (pool, fallback) = (Pool::HighCompute, true);
    let then = Event::RunAssigned(domain::event::RunAssigned { pool, fallback, ..plain });
    check(&[high_compute(), admitted(1, request())], assign(1, "high"), Ok(vec![then]));
}

#[test]
fn a_plan_that_was_overtaken_is_dropped() {
    let given = [standard(), admitted(1, request())];
    let overtaken = || Err(Refusal::Overtaken);
    let after = |event: Event| [&given[..], &[event]].concat();
    check(&after(assigned(1, 1, "standard")), assign(1, "standard"), overtaken());
    check(&after(canceled(1)), assign(1, "standard"), overtaken());
    check(&after(node_lost("standard")), assign(1, "standard"), overtaken());
    check(&given, assign(1, "nowhere"), overtaken());
    check(&given, assign(2, "standard"), overtaken());
    let by = origin();
    let paused = Event::QueuePaused(domain::event::QueuePaused { at: T0, origin: by });
    check(&after(paused), assign(1, "standard"), overtaken());
    let crowded = [full("standard", STANDARD), vec![admitted(1, request())]].concat();
    check(&crowded, assign(1, "standard"), overtaken());
}

#[test]
fn the_emptiest_node_is_taken_first() {
    let mut world = world(&[
        joined("a", NODE, STANDARD),
        joined("b", Demand { cpu_milli: NODE.cpu_milli + 1, ..NODE }, STANDARD),
        admitted(1, request()),
        admitted(2, request()),
        admitted(3, request()),
    ]);
    let went = place(&mut world, T0, 10);
    assert_eq!(went, [(run(1), node("b")), (run(2), node("a")), (run(3), node("b"))]);
}

#[test]
fn a_run_that_fits_nowhere_holds_back_only_those_that_need_as_much() {
    let large = Request { cpu_milli: Some(1_000), ..request() };
    let room = Demand { cpu_milli: 900, ..NODE };
    let mut world = world(&[
        joined("n1", room, STANDARD),
        admitted(1, large.clone()),
        admitted(2, request()),
        admitted(3, large),
    ]);
    assert_eq!(place(&mut world, T0, 10), [(run(2), node("n1"))]);
}

#[test]
fn a_plan_that_passes_over_an_earlier_run_is_found_out() {
    let world = world(&[
        joined("n1", NODE, STANDARD),
        admitted(1, request()),
        admitted(2, request()),
        admitted(3, of_tenant("other")),
        admitted(4, Request { priority: Some(60), ..request() }),
        admitted(5, quarantined()),
        joined("q1", NODE, QUARANTINE),
    ]);
    let to = |n, name: &str| Assignment { run: run(n), node: node(name), fallback: false };
    let q2 = |plan: &[Assignment]| invariants::q2(&world.line, &world.fleet, T0, plan);
    let unplannable = |n, name| Err(Violation::Unplannable { run: run(n), node: node(name) });
    let (earlier, later) = (run(1), run(2));
    let passed_over = Err(Violation::PassedOver { earlier, later, node: node("n1") });
    assert_eq!(q2(&[to(2, "n1")]), passed_over);
    assert_eq!(q2(&[to(2, "n1"), to(1, "n1")]), passed_over);
    assert_eq!(q2(&[to(1, "n1"), to(2, "n1")]), Ok(()));
    // Another tenant, priority or pool is another line.
    assert_eq!(q2(&[to(3, "n1")]), Ok(()));
    assert_eq!(q2(&[to(4, "n1")]), Ok(()));
    assert_eq!(q2(&[to(5, "q1")]), Ok(()));
    assert_eq!(q2(&[to(5, "n1")]), unplannable(5, "n1"));
    assert_eq!(q2(&[to(1, "q1")]), unplannable(1, "q1"));
    assert_eq!(q2(&[to(1, "n1"), to(1, "n1")]), unplannable(1, "n1"));
    assert_eq!(q2(&[to(6, "n1")]), unplannable(6, "n1"));
}

#[test]
fn a_paused_line_gives_nothing_and_takes_all_the_same() {
    let by = origin;
    let mut world = world(&[standard()]);
    let paused = tell(&mut world, T0, Command::PauseQueue { origin: by() }).expect("allowed");
    assert_eq!(paused.events.len(), 1);
    let again = tell(&mut world, T0, Command::PauseQueue { origin: by() }).expect("allowed");
    assert_eq!(again.events, [], "it is paused already");
    let asked = judged(&world, request());
    tell(&mut world, T0, admit(1, asked)).expect("the line takes it");
    assert!(place(&mut world, T0, 10).is_empty());
    let resumed = tell(&mut world, T0, Command::ResumeQueue { origin: by() }).expect("allowed");
    assert_eq!(resumed.events.len(), 1);
    let again = tell(&mut world, T0, Command::ResumeQueue { origin: by() }).expect("allowed");
    assert_eq!(again.events, [], "it goes on already");
    assert_eq!(place(&mut world, T0, 10), [(run(1), node("standard"))]);
}

fn check_waits(given: &[Event], then: WaitReason) {
    let world = world(given);
    let item = world.line.item(run(1)).expect("it waits");
    assert_eq!(why_waiting(&world.line, &world.fleet, T0, item), then, "{given:#?}");
}

#[test]
fn why_a_run_waits_is_told_by_the_first_thing_in_its_way() {
    let waits = |request: Request| admitted_under(&Law::default(), 1, request);
    let by = origin();
    let paused = Event::QueuePaused(domain::event::QueuePaused { at: T0, origin: by });
    let later = Next::Again { not_before: T0.plus(1) };
    let backing_off = vec![
        standard(),
        waits(request()),
        assigned(1, 1, "standard"),
        finished(1, 1, "standard", exited(1), later),
    ];
    let crowded = |name: &str, labels: &[(&str, &str)], request: Request| {
        [full(name, labels), vec![waits(request)]].concat()
    };
    let tiny = joined("tiny", Demand { cpu_milli: 1, ..SMALL }, STANDARD);
    let tiny_high = joined("tiny", Demand { cpu_milli: 1, ..SMALL }, HIGH_COMPUTE);
    let tiny_quarantine = joined("tiny", Demand { cpu_milli: 1, ..SMALL }, QUARANTINE);
    for (given, then) in [
        (vec![waits(request())], WaitReason::NoNode),
        (vec![quarantine(), waits(request())], WaitReason::NoNode),
        (vec![waits(quarantined())], WaitReason::WaitingForQuarantineNode),
        (vec![standard(), waits(quarantined())], WaitReason::WaitingForQuarantineNode),
        (
            vec![quarantine(), waits(quarantined()), node_lost("quarantine")],
            WaitReason::WaitingForQuarantineNode,
        ),
        (vec![tiny.clone(), waits(request())], WaitReason::NeverFits),
        (vec![tiny_quarantine, waits(quarantined())], WaitReason::NeverFits),
        (vec![tiny_high, waits(of_heat(Heat::Hot))], WaitReason::NeverFits),
        (vec![tiny, waits(of_heat(Heat::Hot))], WaitReason::NeverFits),
        (crowded("standard", STANDARD, request()), WaitReason::WaitingForCapacity),
        (crowded("high", HIGH_COMPUTE, request()), WaitReason::WaitingForCapacity),
        (crowded("high", HIGH_COMPUTE, of_heat(Heat::Hot)), WaitReason::WaitingForCapacity),
        (crowded("high", QUARANTINE, quarantined()), WaitReason::WaitingForCapacity),
        (vec![standard(), waits(request())], WaitReason::WaitingForCapacity),
        (backing_off.clone(), WaitReason::BackingOff),
        ([backing_off, vec![paused.clone()]].concat(), WaitReason::QueuePaused),
        (vec![waits(request()), paused], WaitReason::QueuePaused),
    ] {
        check_waits(&given, then);
    }
}

#[test]
fn the_line_knows_when_the_next_pause_is_over() {
    let again = |ms| Next::Again { not_before: T0.plus(ms) };
    let mut world = World::default();
    for event in [
        standard(),
        admitted(1, request()),
        admitted(2, request()),
        assigned(1, 1, "standard"),
        assigned(2, 1, "standard"),
    ] {
        evolve(&mut world, &event);
    }
    assert_eq!(world.line.next_due(T0), None);
    evolve(&mut world, &finished(1, 1, "standard", exited(1), again(20)));
    evolve(&mut world, &finished(2, 1, "standard", exited(1), again(10)));
    assert_eq!(world.line.next_due(T0), Some(T0.plus(10)));
    assert_eq!(world.line.next_due(T0.plus(10)), Some(T0.plus(20)));
    assert_eq!(world.line.next_due(T0.plus(20)), None);
    evolve(&mut world, &canceled(2));
    assert_eq!(world.line.next_due(T0), Some(T0.plus(20)));
}

#[test]
fn a_route_says_how_each_pool_stands() {
    let end = Next::End(End::Succeeded);
    let world = world(
        &[
            full("standard", STANDARD),
            vec![
                joined("tiny", Demand { cpu_milli: 1, ..SMALL }, STANDARD),
                joined("empty", NODE, STANDARD),
                joined("gone", NODE, STANDARD),
                node_lost("gone"),
                high_compute(),
                admitted(1, request()),
                assigned(1, 1, "empty"),
                finished(1, 1, "empty", exited(0), end),
                admitted(2, request()),
            ],
        ]
        .concat(),
    );
    let class = world.line.item(run(2)).expect("it waits").class.clone();
    let standard =
        Route { pool: Pool::Standard, fallback: false, ready: 3, could_hold: 2, have_room: 1 };
    let high =
        Route { pool: Pool::HighCompute, fallback: true, ready: 1, could_hold: 1, have_room: 1 };
    assert_eq!(routes(&world.fleet, &class), [standard, high]);
    assert_eq!(world.fleet.nodes().values().filter(|node| Node::is_ready(node)).count(), 4);
}

//! Heat: the published table of thresholds, at their exact boundaries.

use domain::command::{Command, Guard};
use domain::event::{Event, ExitCause, Next, Usage};
use domain::heat::ENOUGH;
use domain::judge::{HeatCause, HeatDecision, Learned, Request, judge};
use domain::law::{HeatTable, Template};
use domain::submission::{Heat, Pool};
use domain::{Court, Inputs, Timestamp, World};

use crate::support::*;

const GIB: u32 = 1_024;

fn asking(cpu_milli: u32, mem_mb: u32, ttl_ms: u64) -> Request {
    Request { cpu_milli: Some(cpu_milli), mem_mb: Some(mem_mb), ttl_ms: Some(ttl_ms), ..request() }
}

fn check_heat(world: &World, request: Request, heat: Heat, cause: HeatCause) {
    let asked = format!("{request:?}");
    assert_eq!(
        judged(world, request).judgement().heat,
        HeatDecision { heat, cause, learned: None },
        "{asked}"
    );
}

#[test]
fn the_published_thresholds_hold_at_their_exact_values() {
    let world = World::default();
    for (request, heat, cause) in [
        // Cold: at most 500 mCPU, 256 MB and one minute, all three.
        (asking(500, 256, 60_000), Heat::Cold, HeatCause::Light),
        (asking(501, 256, 60_000), Heat::Warm, HeatCause::Ordinary),
        (asking(500, 257, 60_000), Heat::Warm, HeatCause::Ordinary),
        (asking(500, 256, 60_001), Heat::Warm, HeatCause::Ordinary),
        // Hot: 2 cores or 8 GiB and more.
        (asking(1_999, 8 * GIB - 1, 60_000), Heat::Warm, HeatCause::Ordinary),
        (asking(2_000, 256, 60_000), Heat::Hot, HeatCause::Cpu),
        (asking(500, 8 * GIB, 60_000), Heat::Hot, HeatCause::Memory),
        (asking(2_000, 8 * GIB, 60_000), Heat::Hot, HeatCause::Cpu),
        // Inferno: an hour and more, or a GPU.
        (asking(500, 256, HOUR - 1), Heat::Warm, HeatCause::Ordinary),
        (asking(500, 256, HOUR), Heat::Inferno, HeatCause::LongRunning),
        (asking(2_000, 8 * GIB, HOUR), Heat::Inferno, HeatCause::LongRunning),
        (Request { gpu: Some(1), ..asking(1, 1, 1) }, Heat::Inferno, HeatCause::Gpu),
        (Request { gpu: Some(1), ..asking(1, 1, HOUR) }, Heat::Inferno, HeatCause::Gpu),
        (Request { gpu: Some(0), ..asking(1, 1, 1) }, Heat::Cold, HeatCause::Light),
        // What says nothing is cold.
        (request(), Heat::Cold, HeatCause::Light),
    ] {
        check_heat(&world, request, heat, cause);
    }
}

#[test]
fn a_word_goes_before_the_thresholds_and_the_callers_before_the_templates() {
    let warm = Template { heat: Some(Heat::Warm), ..template("warm") };
    let (guard, by) = (Default::default(), origin());
    let mut world = World::default();
    tell(&mut world, T0, Command::PutTemplate { template: warm, guard, origin: by })
        .expect("there is none of that name");
    let of = |template: &str, heat, request| Request { template: template.into(), heat, ..request };
    let long = || asking(1, 1, HOUR);
    for (request, heat, cause) in [
        (of("warm", None, long()), Heat::Warm, HeatCause::Template),
        (of("warm", Some(Heat::Hot), long()), Heat::Hot, HeatCause::Hint),
        (of("host", Some(Heat::Cold), long()), Heat::Cold, HeatCause::Hint),
        (of("host", None, long()), Heat::Inferno, HeatCause::LongRunning),
    ] {
        check_heat(&world, request, heat, cause);
    }
}

#[test]
fn the_thresholds_are_law_and_can_be_changed() {
    let table = HeatTable {
        inferno_ttl_ms: 100,
        hot_cpu_milli: 10,
        hot_mem_mb: 20,
        cold_cpu_milli: 1,
        cold_mem_mb: 2,
        cold_ttl_ms: 3,
    };
    let mut world = World::default();
    let set = Command::SetHeatTable { table, guard: Guard::None, origin: origin() };
    tell(&mut world, T0, set).expect("always allowed");
    assert_eq!(world.law.current().revision, 1, "a change of the law like any other");
    for (request, heat, cause) in [
        (asking(1, 2, 3), Heat::Cold, HeatCause::Light),
        (asking(2, 2, 3), Heat::Warm, HeatCause::Ordinary),
        (asking(9, 19, 99), Heat::Warm, HeatCause::Ordinary),
        (asking(10, 2, 3), Heat::Hot, HeatCause::Cpu),
        (asking(1, 20, 3), Heat::Hot, HeatCause::Memory),
        (asking(1, 2, 100), Heat::Inferno, HeatCause::LongRunning),
    ] {
        check_heat(&world, request, heat, cause);
    }
}

#[test]
fn hot_and_inferno_prefer_high_compute_cold_and_warm_do_not() {
    for (heat, pool) in [
        (Heat::Cold, Pool::Standard),
        (Heat::Warm, Pool::Standard),
        (Heat::Hot, Pool::HighCompute),
        (Heat::Inferno, Pool::HighCompute),
    ] {
        let asked = judged(&World::default(), Request { heat: Some(heat), ..request() });
        assert_eq!(asked.judgement().pool, pool);
        // Quarantine goes before heat.
        let asked = judged(&World::default(), Request { heat: Some(heat), ..quarantined() });
        assert_eq!(asked.judgement().pool, Pool::Quarantine);
    }
}

/// What runs of `host` have used: so many attempts, each of this long and this much processor.
fn after(attempts: u64, cause: ExitCause, wall_ms: u64, cpu_ms: u64) -> World {
    let mut world = World::default();
    world.evolve(0, &admitted(1, asking(500, 128, 60_000)));
    for n in 0..attempts {
        let again = Next::Again { not_before: Timestamp(0) };
        let Event::RunFinished(e) = finished(1, 1, "n", exit(cause, None), again) else {
            panic!("an end")
        };
        let usage = Usage { cpu_ms, max_rss_mb: 1, wall_ms };
        let e = domain::event::RunFinished { usage, attempt: n as u32, ..(*e).clone() };
        // Only what is learned is looked at: the attempts need no node here.
        world.profiles.evolve(&Event::RunFinished(e.into()));
    }
    world
}

#[test]
fn what_is_learned_is_what_attempts_that_ended_by_themselves_have_used() {
    for (attempts, cause, wall_ms, learned) in [
        (ENOUGH, ExitCause::Exited, 2_000, Some((2_047, 1_535))),
        (ENOUGH - 1, ExitCause::Exited, 2_000, None),
        // How long it would have taken is not known: not less than its ttl.
        (ENOUGH, ExitCause::TimedOut, 2_000, Some((61_439, 1_535))),
        (ENOUGH, ExitCause::OutOfMemory, 2_000, None),
        (ENOUGH, ExitCause::Canceled, 2_000, None),
        (ENOUGH, ExitCause::NotExecutable, 2_000, None),
        (ENOUGH, ExitCause::SandboxFailed, 2_000, None),
        // Processor time is averaged over a second at least.
        (ENOUGH, ExitCause::Exited, 0, Some((0, 3_071))),
    ] {
        let found = after(attempts, cause, wall_ms, 3_000).profiles.learned("host");
        let found = found.map(|found| (found.p95_wall_ms, found.p95_cpu_milli));
        assert_eq!(found, learned, "{attempts} times {cause:?}");
    }
}

#[test]
fn learned_heat_goes_before_what_is_asked_for_and_behind_every_hint() {
    let used = |p95_wall_ms, p95_cpu_milli| Learned { runs: 20, p95_wall_ms, p95_cpu_milli };
    let hinted = Request { heat: Some(Heat::Warm), ..asking(500, 128, HOUR) };
    let gpu = Request { gpu: Some(1), ..asking(500, 128, 1_000) };
    for (request, learned, heat, cause) in [
        // It asks for an hour, and is done in a second.
        (asking(500, 128, HOUR), used(1_000, 100), Heat::Cold, HeatCause::Learned),
        // It asks for little, and burns three cores.
        (asking(500, 128, 1_000), used(1_000, 3_000), Heat::Hot, HeatCause::Learned),
        (asking(500, 128, 1_000), used(HOUR, 100), Heat::Inferno, HeatCause::Learned),
        // Memory is what was asked: it is held for the run whether used or not.
        (asking(500, 8 * GIB, 1_000), used(1_000, 100), Heat::Hot, HeatCause::Learned),
        (hinted, used(1_000, 3_000), Heat::Warm, HeatCause::Hint),
        (gpu, used(1_000, 100), Heat::Inferno, HeatCause::Gpu),
    ] {
        let asked = format!("{request:?}");
        let inputs = Inputs { learned: Some(learned), ..Inputs::bare(true) };
        let said = judge(&Court::default(), request, &inputs).expect("a template");
        let learned = Some(learned);
        assert_eq!(said.judgement().heat, HeatDecision { heat, cause, learned }, "{asked}");
        assert_eq!(said.judgement().inputs().learned, learned, "kept for the next judge");
    }
}

#[test]
fn a_deleted_template_is_forgotten_and_the_one_that_ran_longest_ago_makes_room() {
    use domain::heat::TEMPLATES_MOST;
    let mut world = World::default();
    for n in 1..=TEMPLATES_MOST as u64 + 1 {
        let name = format!("t{n}");
        let put = Command::PutTemplate {
            template: template(&name),
            guard: Guard::Absent,
            origin: origin(),
        };
        let put = world.decide(T0, put).expect("there is none").events.remove(0);
        world.law.evolve(&put);
        let law = world.law.current();
        let of = Request { template: (&*name).into(), ..request() };
        world.profiles.evolve(&admitted_under(law, n, of));
        let end = Next::End(domain::event::End::Succeeded);
        world.profiles.evolve(&finished(n, 1, "n", exited(0), end));
    }
    let known = |world: &World, name| world.profiles.iter().any(|(known, _)| known == name);
    assert_eq!(world.profiles.iter().count(), TEMPLATES_MOST);
    assert!(!known(&world, "t1") && known(&world, "t2"));
    let delete =
        Command::DeleteTemplate { name: "t2".into(), guard: Guard::None, origin: origin() };
    let deleted = world.decide(T0, delete).expect("it is there").events.remove(0);
    world.profiles.evolve(&deleted);
    assert!(!known(&world, "t2"));
}

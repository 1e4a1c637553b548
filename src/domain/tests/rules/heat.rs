//! Heat: the published table of thresholds, at their exact boundaries.

use domain::World;
use domain::command::{Command, Guard};
use domain::judge::{HeatCause, HeatDecision, Request};
use domain::law::{HeatTable, Template};
use domain::submission::{Heat, Pool};

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

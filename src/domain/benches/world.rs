//! What the law costs: `cargo bench -p domain`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use domain::judge::Request;
use domain::placement::{Ask, Room, plan};
use domain::submission::Heat;

mod house;

use house::{House, typical};

/// Admissions a sample: enough that one is not lost in the noise of the clock.
const ADMISSIONS: u64 = 1_000;

/// Judge, decide and evolve one admission, with so many finished runs in memory.
fn admit(c: &mut Criterion) {
    let mut group = c.benchmark_group("admit");
    group.throughput(Throughput::Elements(ADMISSIONS));
    for runs in [100_000, 1_000_000] {
        let mut house = House::with_nodes(8);
        for _ in 0..runs {
            let run = house.admit(typical());
            house.finish(run);
        }
        group.bench_function(BenchmarkId::from_parameter(runs), |b| {
            b.iter(|| {
                for _ in 0..ADMISSIONS {
                    black_box(house.admit(typical()));
                }
            });
        });
    }
    group.finish();
}

/// The whole life of a run: admit, assign, start, finish.
fn live(c: &mut Criterion) {
    let mut house = House::with_nodes(8);
    c.bench_function("life", |b| {
        b.iter(|| {
            let run = house.admit(typical());
            house.finish(run);
        });
    });
}

/// A plan for 100,000 runs of a hundred shapes and ten tenants: a thousand placements, by nodes;
/// as placement plans, with the room it keeps, and from nothing.
fn place(c: &mut Criterion) {
    const PLACEMENTS: usize = 1_000;
    let mut group = c.benchmark_group("plan");
    group.throughput(Throughput::Elements(PLACEMENTS as u64));
    for nodes in [100, 1_000, 10_000] {
        let mut house = House::with_nodes(nodes);
        wait(&mut house, 100_000);
        let (line, fleet) = (&house.world.line, &house.world.fleet);
        let mut room = Room::of(fleet);
        group.bench_function(BenchmarkId::new("kept room", nodes), |b| {
            b.iter(|| {
                let ask = Ask { most: PLACEMENTS, looks: usize::MAX, from: None };
                let plan = room.plan(line, fleet, house.now, ask);
                assert_eq!(plan.assignments.len(), PLACEMENTS);
                black_box(plan)
            });
        });
        group.bench_function(BenchmarkId::new("anew", nodes), |b| {
            b.iter(|| {
                let plan = plan(line, fleet, house.now, PLACEMENTS);
                assert_eq!(plan.len(), PLACEMENTS);
                black_box(plan)
            });
        });
    }
    group.finish();
}

/// What the registry asks again of each assignment, by nodes.
fn assign(c: &mut Criterion) {
    let mut group = c.benchmark_group("assign");
    for nodes in [100, 10_000] {
        let mut house = House::with_nodes(nodes);
        wait(&mut house, 1_000);
        let plan = plan(&house.world.line, &house.world.fleet, house.now, 1);
        group.bench_function(BenchmarkId::from_parameter(nodes), |b| {
            b.iter(|| black_box(house.check(plan[0].clone())));
        });
    }
    group.finish();
}

/// All 100,000 runs at once on 10,000 nodes, and a plan that finds no room for any.
fn place_all(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan all");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    let mut house = House::with_nodes(10_000);
    wait(&mut house, 100_000);
    let plan_all = |house: &House| plan(&house.world.line, &house.world.fleet, house.now, 1 << 20);
    let placed = plan_all(&house).len();
    group.throughput(Throughput::Elements(placed as u64));
    group.bench_function("room", |b| {
        b.iter_batched(|| (), |()| black_box(plan_all(&house)), BatchSize::PerIteration);
    });
    house.fill();
    assert!(plan_all(&house).is_empty(), "there is no room left");
    group.throughput(Throughput::Elements(house.world.line.waiting() as u64));
    group.bench_function("no room", |b| b.iter(|| black_box(plan_all(&house))));
    group.finish();
}

/// Lets so many runs wait: ten tenants, a hundred shapes, a quarter of them hot.
fn wait(house: &mut House, runs: u32) {
    for n in 0..runs {
        let tenant = format!("tenant-{}", n % 10);
        let metadata = [("tenant".into(), tenant.into())].into();
        let heat = if n % 4 == 0 { Heat::Hot } else { Heat::Warm };
        house.admit(Request {
            cpu_milli: Some(100 + 100 * (n % 10)),
            mem_mb: Some(64 + 64 * (n / 10 % 10)),
            heat: Some(heat),
            metadata,
            ..typical()
        });
    }
}

criterion_group!(benches, admit, live, place, assign, place_all);
criterion_main!(benches);

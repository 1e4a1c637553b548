//! What rules cost: `cargo bench -p domain --bench rules`.
//!
//! A submission is judged under a policy of twenty rules; none of them holds, so that all twenty are
//! read to the end.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use domain::Texts;
use domain::Timestamp;
use domain::law::Limits;
use domain::rules::{Facts, PolicyFacts, Program, TenantFacts, compile, eval};
use domain::submission::{Network, OnLost, Placement, Resources, Retention, Retry, Submission};
use domain::tenants::Holdings;

const RULES: usize = 20;

/// Ten of each kind of comparison that policies are made of.
const ONE_TEST: [&str; 10] = [
    r#"request.metadata.origin == "external""#,
    "request.resources.mem_mb > 4096",
    r#"request.labels["tartarus.io/team"] == "ml""#,
    "request.priority >= 90",
    r#"request.template.startsWith("gpu-")"#,
    "tenant.running > 100",
    r#""curl" in request.command"#,
    "now.getHours() < 6",
    r#"!has(request.metadata.user)"#,
    r#"request.network != "none""#,
];

fn submission() -> Submission {
    let texts = |pairs: &[(&str, &str)]| -> Texts {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    Submission {
        template: "python-3".into(),
        command: ["python3", "-c", "print(6*7)"].map(Into::into).into(),
        env: texts(&[("LANG", "C.UTF-8")]),
        stdin: "".into(),
        resources: Resources::DEFAULT,
        network: Network::None,
        heat_hint: None,
        priority: 50,
        retry: Retry::DEFAULT,
        on_lost: OnLost::Retry,
        retention: Retention::DEFAULT,
        metadata: texts(&[("tenant", "acme"), ("user", "alice"), ("origin", "internal")]),
        labels: texts(&[("team", "ml"), ("stage", "test")]),
        placement: Placement::default().into(),
    }
}

fn rules(c: &mut Criterion) {
    let one: Vec<String> = ONE_TEST.iter().cycle().take(RULES).map(|rule| (*rule).into()).collect();
    let second = ONE_TEST.iter().cycle().skip(3);
    let two = one.iter().zip(second).map(|(a, b)| format!("{a} || {b}")).collect();
    let request = submission();
    let tags = Texts::default();
    let limits = Limits { cpu_milli: Some(2_000), mem_mb: Some(1_024), gpu: 0, ttl_ms: None };
    let policy = PolicyFacts { name: "python", version: 3, limits: &limits, tags: &tags };
    let tenant = TenantFacts { name: "acme", held: Holdings::default() };
    let facts = Facts { request: &request, policy, tenant, now: Timestamp(1_795_820_709_042) };

    let mut group = c.benchmark_group("rules");
    // Submissions a second.
    group.throughput(Throughput::Elements(1));
    for (name, rules) in [("20_of_one_test", one), ("20_of_two_tests", two)] {
        let programs: Vec<Program> =
            rules.iter().map(|rule| compile(rule).expect("a rule")).collect();
        group.bench_function(name, |b| {
            b.iter(|| {
                programs.iter().fold(0, |holding, program| {
                    holding + u32::from(eval(program, black_box(&facts)) == Ok(true))
                })
            });
        });
    }
    // The most that one rule can cost: it ends with a fault when its steps are spent.
    let mut largest = submission();
    largest.command = (0..1_000).map(|n| format!("{n:064}").into()).collect();
    largest.stdin = "0".repeat(190 << 10).into();
    let largest = Facts { request: &largest, ..facts };
    for (name, rule) in [
        ("costliest_of_text", r#"request.command.exists(x, request.stdin.contains(x + "x"))"#),
        ("costliest_of_lists", "request.command.all(x, x in request.command)"),
    ] {
        let program = compile(rule).expect("a rule");
        group.bench_function(name, |b| b.iter(|| eval(&program, black_box(&largest))));
    }
    group.bench_function("compile_one_test", |b| b.iter(|| compile(black_box(ONE_TEST[0]))));
    group.finish();
}

criterion_group!(benches, rules);
criterion_main!(benches);

//! What judging costs: `cargo bench -p domain --bench judging`.
//!
//! A request is resolved and judged as the gateway has it done. Under twenty rules none of them
//! holds, so that all twenty are read to the end; under a thousand policies the one that applies is
//! found among globs that begin alike.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use domain::judge::{Heard, Request, hear};
use domain::law::{Current, Law, Limits, Policy, Rule, Verdict};
use domain::{Court, Inputs, Timestamp};

const RULES: usize = 20;

/// Ten kinds of comparison that policies are made of. None holds for [`request`].
const ONE_TEST: [&str; 10] = [
    r#"request.metadata.origin == "external""#,
    "request.resources.mem_mb > 4096",
    r#"request.labels["tartarus.io/team"] == "ml""#,
    "request.priority >= 90",
    r#"request.template.startsWith("gpu-")"#,
    "tenant.running > 100",
    r#""curl" in request.command"#,
    "now.getHours() < 6",
    "!has(request.metadata.user)",
    r#"request.network != "none""#,
];

fn policy(name: &str, pattern: &str, rules: Vec<String>) -> Policy {
    let rule = |(n, when): (usize, String)| Rule {
        name: format!("rule-{n}").into(),
        when: when.into(),
        verdict: Verdict::Reject,
        reason: "".into(),
    };
    Policy {
        name: name.into(),
        templates: vec![pattern.into()],
        limits: Limits { cpu_milli: Some(2_000), mem_mb: Some(1_024), gpu: 0, ttl_ms: None },
        rules: rules.into_iter().enumerate().map(rule).collect(),
        ..domain::law::lockdown_default()
    }
}

fn law(policies: impl IntoIterator<Item = Policy>) -> Law {
    let mut law = Law::default();
    for policy in policies {
        let name = policy.name.clone();
        law.policies.insert(name, Current { version: 1, revision: 1, body: Arc::new(policy) });
    }
    law
}

fn request() -> Request {
    let texts = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    Request {
        template: "host".into(),
        command: ["python3", "-c", "print(6*7)"].map(Into::into).into(),
        env: texts(&[("LANG", "C.UTF-8")]),
        metadata: texts(&[("tenant", "acme"), ("user", "alice"), ("origin", "internal")]),
        labels: texts(&[("team", "ml"), ("stage", "test")]),
        ..Request::default()
    }
}

/// As the gateway has it done, with what the policy wants to be seen at hand.
fn judged(court: &Arc<Court>, request: Request, inputs: &Inputs) -> Verdict {
    let judged = match hear(court, request, true).expect("the template is built in") {
        Heard::Judged(judged) => judged,
        Heard::Open(case) => case.conclude(inputs),
    };
    judged.judgement().verdict
}

fn judging(c: &mut Criterion) {
    let one: Vec<String> = ONE_TEST.iter().cycle().take(RULES).map(|rule| (*rule).into()).collect();
    let second = ONE_TEST.iter().cycle().skip(3);
    let two = one.iter().zip(second).map(|(a, b)| format!("{a} || {b}")).collect();
    let many = (0..1_000).map(|n| policy(&format!("p{n}"), &format!("python-{n}-*"), Vec::new()));
    let inputs = Inputs { at: Timestamp(1_795_820_709_042), ..Inputs::bare(true) };

    let mut group = c.benchmark_group("judging");
    // Submissions a second.
    group.throughput(Throughput::Elements(1));
    for (name, law) in [
        ("no_rules", law([policy("p", "*", Vec::new())])),
        ("20_rules_of_one_test", law([policy("p", "*", one)])),
        ("20_rules_of_two_tests", law([policy("p", "*", two)])),
        ("a_thousand_policies", law(many.clone())),
    ] {
        let court = Arc::new(Court::from(law));
        let verdict = judged(&court, request(), &inputs);
        assert_eq!(verdict, Verdict::Accept, "{name}: every rule is read to the end");
        group.bench_function(name, |b| {
            b.iter_batched(
                request,
                |request| judged(&court, black_box(request), &inputs),
                BatchSize::SmallInput,
            );
        });
    }
    let court = Court::from(law(many.clone()));
    group.bench_function("find_among_a_thousand_globs", |b| {
        b.iter(|| court.statute_for(black_box("python-999-x")).version());
    });
    let law = Arc::new(law(many));
    group.bench_function("court_of_a_thousand", |b| {
        b.iter(|| Court::new(law.clone(), Some(&court)));
    });
    group.finish();
}

criterion_group!(benches, judging);
criterion_main!(benches);

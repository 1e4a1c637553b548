//! What rules mean, by example, and what the refusals say.

use super::RuleFault::{DivisionByZero, OutOfRange, Overflow};
use super::*;
use crate::ids::Timestamp;
use crate::law::{Limits, lockdown_default};
use crate::submission::{
    Demand, Heat, Network, OnLost, Placement, Resources, Retention, Retry, Submission,
};
use crate::tenants::Holdings;

/// Friday, 27 November 2026, 23:05:09.042 UTC.
const NOW: Timestamp = Timestamp(1_795_820_709_042);

pub(super) fn request() -> Submission {
    let texts = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    Submission {
        template: "python-3".into(),
        command: vec!["python3".into(), "-c".into(), "print(6*7)".into()],
        env: texts(&[("LANG", "C.UTF-8"), ("EMPTY", "")]),
        stdin: "line one\nline two é".into(),
        resources: Resources { cpu_milli: 1_500, mem_mb: 2_048, gpu: 0, ttl_ms: 600_000 },
        network: Network::None,
        heat_hint: None,
        priority: 50,
        retry: Retry { max_attempts: 3, backoff_ms: 2_000 },
        on_lost: OnLost::Fail,
        retention: Retention { max_age_ms: 86_400_000, keep_output: true },
        metadata: texts(&[("origin", "external"), ("tenant", "acme"), ("user", "alice")]),
        labels: texts(&[("team", "ml"), ("tartarus.io/x", "1")]),
        placement: Placement::default().into(),
    }
}

/// Asks with the facts of [`request`], a policy `python` at version 7 and a busy tenant.
pub(super) fn with_facts<T>(request: &Submission, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
    let mut policy = lockdown_default();
    policy.name = "python".into();
    policy.limits = Limits { cpu_milli: Some(2_000), mem_mb: None, gpu: 1, ttl_ms: Some(600_000) };
    policy.tags = [("owner".into(), "platform".into())].into();
    let held = Holdings {
        running: 4,
        pending: 9,
        in_use: Demand { cpu_milli: 3_000, mem_mb: 4_096, gpu: 1 },
        ..Holdings::default()
    };
    ask(&Facts {
        request,
        policy: PolicyFacts::new(&policy, 7),
        tenant: TenantFacts { name: "acme", held },
        now: NOW,
    })
}

fn answer(rule: &str) -> Result<bool, RuleFault> {
    let program = compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    with_facts(&request(), |facts| eval(&program, facts))
}

fn check(given: &[(&str, Result<bool, RuleFault>)]) {
    let wrong: Vec<String> = given
        .iter()
        .filter(|(rule, then)| answer(rule) != *then)
        .map(|(rule, then)| format!("{rule}\n  is {:?}, not {then:?}", answer(rule)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const YES: Result<bool, RuleFault> = Ok(true);
const NO: Result<bool, RuleFault> = Ok(false);

#[test]
fn every_field_reads_as_documented() {
    check(&[
        (r#"request.template == "python-3""#, YES),
        (r#"request.command == ["python3", "-c", "print(6*7)"]"#, YES),
        (r#"request.command[0] == "python3""#, YES),
        (r#"request.env.LANG == "C.UTF-8""#, YES),
        (r#"request.stdin.startsWith("line one")"#, YES),
        ("request.resources.cpu_milli == 1500 && request.resources.mem_mb == 2048", YES),
        ("request.resources.gpu == 0", YES),
        (
            "request.resources.ttl == 600000 && request.resources.ttl_ms == request.resources.ttl",
            YES,
        ),
        (r#"request.network == "none" && request.heat == """#, YES),
        ("request.priority == 50", YES),
        ("request.retry.max_attempts == 3 && request.retry.backoff == 2000", YES),
        (r#"request.on_lost == "fail""#, YES),
        ("request.retention.max_age == 86400000 && request.retention.keep_output", YES),
        (r#"request.metadata.origin == "external""#, YES),
        (r#"request.labels["tartarus.io/x"] == "1""#, YES),
        (
            r#"policy.name == "python" && policy.version == 7 && policy.tags.owner == "platform""#,
            YES,
        ),
        (
            "policy.limits.cpu_milli == 2000 && policy.limits.gpu == 1 && policy.limits.ttl == 600000",
            YES,
        ),
        ("policy.limits.mem_mb == 9223372036854775807", YES),
        (r#"tenant.name == "acme" && tenant.running == 4 && tenant.pending == 9"#, YES),
        ("tenant.cpu_milli == 3000 && tenant.mem_mb == 4096 && tenant.gpu == 1", YES),
    ]);
}

#[test]
fn an_absent_key_reads_as_empty_and_can_be_told_from_one() {
    check(&[
        (r#"request.metadata.nothing == """#, YES),
        (r#"request.labels["nothing"] == """#, YES),
        (r#"request.env.EMPTY == """#, YES),
        (r#"policy.tags.nothing == """#, YES),
        ("has(request.env.EMPTY)", YES),
        ("has(request.env.nothing)", NO),
        (r#""EMPTY" in request.env"#, YES),
        (r#""nothing" in request.env"#, NO),
        (r#"!("origin" in request.labels)"#, YES),
        ("has(request.heat)", NO),
        ("has(policy.limits.cpu_milli) && !has(policy.limits.mem_mb)", YES),
        ("request.metadata[tenant.name] == request.metadata.nothing", YES),
        (r#"request.metadata["or" + "igin"] == "external""#, YES),
    ]);
}

#[test]
fn operators_mean_what_cel_says() {
    check(&[
        ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9", YES),
        ("7 / 2 == 3 && -7 / 2 == -3 && -7 % 2 == -1", YES),
        ("10 - 3 - 2 == 5", YES),
        ("-(1 - 2) == 1 && 0x1F == 31", YES),
        ("!!true && !false", YES),
        ("true || false && false", YES),
        ("1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2", YES),
        (r#""a" < "b" && "B" < "a" && "" < "a" && "a" <= "a""#, YES),
        (r#""é" > "z""#, YES),
        (r#""ab" + "cd" == "abcd""#, YES),
        (r#"[1] + [2, 3] == [1, 2, 3] && [] + [1] == [1]"#, YES),
        ("[1, 2] == [2, 1] || [] != []", NO),
        (r#"request.priority in [10, 50] && !("x" in [])"#, YES),
        (r#""-c" in request.command"#, YES),
        ("[true, false][1]", NO),
        ("request.priority > 40 ? true : 1 / request.resources.gpu == 1", YES),
        (r#"(request.priority > 60 ? "high" : "low") == "low""#, YES),
        ("false ? 1 == 2 : false ? 1 == 2 : true", YES),
        (r#""abc".contains("") && "abc".contains("bc") && !"abc".contains("cb")"#, YES),
        (r#""abc".startsWith("ab") && "abc".endsWith("bc") && !"a".endsWith("ba")"#, YES),
        (r#"size("é✓") == 2 && "".size() == 0"#, YES),
        ("size(request.command) == 3 && request.metadata.size() == 3 && size([]) == 0", YES),
        ("true == (1 == 1) && false != true", YES),
    ]);
}

#[test]
fn texts_are_written_as_in_cel() {
    check(&[
        (r#"'a' == "a" && '''a''' == """a""""#, YES),
        (r#""\x41\u00e9\U0001f431\101" == "Aé🐱A""#, YES),
        (r#"r"\n" == "\\n" && R'\' == "\\""#, YES),
        ("'''a\nb''' == 'a\\nb'", YES),
        (r#""\a\b\f\v\?\`" != """#, YES),
        ("size('e\u{301}') == 2 && 'e\u{301}' != 'é'", YES),
        (r#""\u202e" != "" && size("\u200b") == 1 && size("\000") == 1"#, YES),
        ("true // a comment: && false\n && true", YES),
    ]);
}

#[test]
fn lists_and_keys_are_gone_through_in_order() {
    check(&[
        (r#"request.command.exists(x, x.startsWith("print"))"#, YES),
        ("request.command.all(x, size(x) > 1)", YES),
        (r#"request.command.exists_one(x, x == "-c")"#, YES),
        ("[1, 2, 2].exists_one(x, x == 2)", NO),
        ("[1, 2, 3].map(x, x * 2) == [2, 4, 6]", YES),
        ("[1, 2, 3].filter(x, x % 2 == 1) == [1, 3]", YES),
        ("[1, 2, 3].map(x, x > 1, x * 10) == [20, 30]", YES),
        (r#"request.metadata.map(k, k) == ["origin", "tenant", "user"]"#, YES),
        (r#"request.metadata.exists(k, request.metadata[k] == "alice")"#, YES),
        (r#"request.labels.all(k, k in ["team", "tartarus.io/x"])"#, YES),
        ("[].all(x, x == \"a\") && ![].exists(x, x == x)", YES),
        (r#"["b", "a"].map(x, x + "!").filter(x, x > "a!") == ["b!"]"#, YES),
        ("[1, 2].map(x, x > 1)[1] && size(request.env.filter(k, k == k)) == 2", YES),
    ]);
}

#[test]
fn what_decides_hides_a_fault() {
    check(&[
        ("1 / request.resources.gpu == 1", Err(DivisionByZero)),
        ("1 % request.resources.gpu == 1", Err(DivisionByZero)),
        ("false && 1 / request.resources.gpu == 1", NO),
        ("1 / request.resources.gpu == 1 && false", NO),
        ("true || 1 / request.resources.gpu == 1", YES),
        ("1 / request.resources.gpu == 1 || true", YES),
        ("1 / request.resources.gpu == 1 && true", Err(DivisionByZero)),
        ("true && 1 / request.resources.gpu == 1", Err(DivisionByZero)),
        ("1 / request.resources.gpu == 1 || false", Err(DivisionByZero)),
        ("1 / request.resources.gpu == 1 || request.command[9] == \"\"", Err(DivisionByZero)),
        ("request.command[9] == \"\" || 1 / request.resources.gpu == 1", Err(OutOfRange)),
        ("request.command[request.resources.gpu - 1] == \"\"", Err(OutOfRange)),
        ("9223372036854775807 + request.priority > 0", Err(Overflow)),
        ("-9223372036854775808 - request.priority < 0", Err(Overflow)),
        ("-(-9223372036854775808) > request.priority", Err(Overflow)),
        ("-9223372036854775808 / (request.resources.gpu - 1) > 0", Err(Overflow)),
        ("9223372036854775807 * request.priority > 0", Err(Overflow)),
        ("[0, 1].exists(x, 1 / x == 1)", YES),
        ("[0, 2].exists(x, 1 / x == 1)", Err(DivisionByZero)),
        ("[0, 1].all(x, 1 / x == 2)", NO),
        ("[0, 1].all(x, 1 / x == 1)", Err(DivisionByZero)),
        ("[0, 1].exists_one(x, 1 / x == 1)", Err(DivisionByZero)),
        ("[0, 1].map(x, 1 / x) == [1]", Err(DivisionByZero)),
    ]);
}

#[test]
fn now_is_a_moment_in_utc() {
    check(&[
        ("now.getFullYear() == 2026 && now.getMonth() == 10 && now.getDate() == 27", YES),
        ("now.getDayOfMonth() == 26 && now.getDayOfWeek() == 5 && now.getDayOfYear() == 330", YES),
        ("now.getHours() == 23 && now.getMinutes() == 5 && now.getSeconds() == 9", YES),
        ("now.getMilliseconds() == 42 && int(now) == 1795820709", YES),
        (
            r#"now > timestamp("2026-11-27T23:05:09Z") && now < timestamp("2026-11-27T23:05:09.043Z")"#,
            YES,
        ),
        (r#"timestamp("2026-11-28T01:05:09.042+02:00") == now"#, YES),
        (r#"timestamp("2024-02-29T00:00:00Z").getDayOfYear() == 59"#, YES),
        (r#"timestamp("1969-12-31T23:59:59.9Z").getHours() == 23"#, YES),
        (r#"timestamp("1900-03-01T00:00:00Z").getDayOfWeek() == 4"#, YES),
        ("now.getDayOfWeek() in [0, 6] || now.getHours() >= 18", YES),
    ]);
}

#[test]
fn a_rule_that_holds_says_what_would_not() {
    let cases = [
        ("request.resources.mem_mb > 1024", Some("resources.mem_mb <= 1024")),
        ("request.resources.mem_mb >= 1024", Some("resources.mem_mb <= 1023")),
        ("1024 < request.resources.mem_mb", Some("resources.mem_mb <= 1024")),
        ("request.priority < 60", Some("priority >= 60")),
        ("request.priority == 50", Some("priority != 50")),
        (
            r#"request.metadata.origin == "external" && request.retry.max_attempts > 1"#,
            Some("retry.max_attempts <= 1"),
        ),
        ("request.resources.mem_mb > 4096", None),
        ("tenant.running > 1", None),
        ("request.priority > 10 || request.priority < 5", None),
        ("request.resources.gpu >= 0", None),
    ];
    for (rule, then) in cases {
        let program = compile(rule).expect(rule);
        let said = with_facts(&request(), |facts| hint(&program, facts));
        assert_eq!(said.map(|hint| hint.to_string()).as_deref(), then, "{rule}");
    }
}

#[test]
fn heat_reads_as_its_name() {
    let mut hot = request();
    hot.heat_hint = Some(Heat::Inferno);
    let program = compile(r#"has(request.heat) && request.heat == "inferno""#).expect("a rule");
    assert_eq!(with_facts(&hot, |facts| eval(&program, facts)), Ok(true));
    assert_eq!(program.clone(), compile(program.source()).expect("the same"));
}

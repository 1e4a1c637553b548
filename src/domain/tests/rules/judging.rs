//! What judges say: rules, identity, quotas, judges elsewhere, and which policy they say it by.

use std::sync::Arc;

use domain::judge::{
    Case, ExternalAnswer, ExternalOutcome, Heard, Judge, Judgement, Objection, Quota, Request,
    Room, RuleFault, ask_minos, hear, judge,
};
use domain::law::{
    Current, ExternalJudge, FailMode, Law, OnExceeded, OnViolation, Policy, Quotas, Required, Rule,
    Verdict,
};
use domain::pattern::{glob, specificity};
use domain::submission::{Demand, Pool, Total};
use domain::tenants::Holdings;
use domain::{Court, Inputs, Timestamp};

use crate::support::*;

fn rule(name: &str, when: &str, verdict: Verdict) -> Rule {
    Rule { name: name.into(), when: when.into(), verdict, reason: "said so".into() }
}

fn ruled(rules: &[(&str, &str, Verdict)]) -> Policy {
    let rules = rules.iter().map(|(name, when, verdict)| rule(name, when, *verdict)).collect();
    Policy { rules, ..policy("ruled", &["*"]) }
}

fn court(policy: Policy) -> Court {
    Court::from(law_of(&[put_event(1, policy)]))
}

fn asking(metadata: &[(&str, &str)], labels: &[(&str, &str)]) -> Request {
    Request { metadata: map(metadata), labels: map(labels), ..request() }
}

fn judged_by(policy: Policy, request: Request, inputs: &Inputs) -> Judgement {
    let judged = judge(&court(policy), request, inputs).expect("the template exists");
    judged.judgement().clone()
}

fn of(judgement: &Judgement, judge: &Judge) -> (Verdict, Vec<Objection>) {
    let opinion = judgement.opinions.iter().find(|opinion| opinion.judge == *judge);
    let opinion = opinion.expect("every judge answers");
    (opinion.verdict, opinion.objections.clone())
}

#[test]
fn every_rule_is_evaluated_and_the_severest_that_holds_decides() {
    use Verdict::{Accept, Quarantine, Reject};
    let rules: &[(&str, &str, Verdict)] = &[
        ("friend", "request.metadata.origin == \"inside\"", Accept),
        ("stranger", "request.metadata.origin == \"outside\"", Quarantine),
        (
            "enemy",
            "request.metadata.origin.endsWith(\"side\") && request.labels.x == \"1\"",
            Reject,
        ),
    ];
    for (origin, x, verdict, holding) in [
        ("nowhere", "", Accept, &[][..]),
        ("inside", "", Accept, &["friend"]),
        ("outside", "", Quarantine, &["stranger"]),
        ("outside", "1", Reject, &["stranger", "enemy"]),
        ("inside", "1", Reject, &["friend", "enemy"]),
    ] {
        let request = asking(&[("origin", origin)], &[("x", x)]);
        let judgement = judged_by(ruled(rules), request, &Inputs::bare(true));
        let (said, objections) = of(&judgement, &Judge::Rhadamanthus);
        let names: Vec<&str> = objections
            .iter()
            .map(|objection| match objection {
                Objection::RuleHolds { rule, .. } => &**rule,
                other => panic!("nothing else is wrong: {other:?}"),
            })
            .collect();
        assert_eq!((said, &*names), (verdict, holding), "{origin} {x:?}");
        assert_eq!(judgement.verdict, verdict);
        assert_eq!(judgement.pool == Pool::Quarantine, verdict == Quarantine);
        let against = names.iter().filter(|name| verdict > Accept && **name != "friend").count();
        assert_eq!(judgement.reasons().count(), against, "what speaks for it is no reason against");
    }
}

#[test]
fn a_rule_that_fails_is_a_violation_and_the_others_are_still_heard() {
    let rules: &[(&str, &str, Verdict)] = &[
        ("divides", "1 / size(request.metadata) == 1", Verdict::Accept),
        ("newer", "request.colour == \"red\"", Verdict::Accept),
        ("holds", "request.priority == 50", Verdict::Accept),
    ];
    for (on, verdict) in
        [(OnViolation::Reject, Verdict::Reject), (OnViolation::Quarantine, Verdict::Quarantine)]
    {
        let policy = Policy { on_violation: on, ..ruled(rules) };
        let judgement = judged_by(policy, request(), &Inputs::bare(true));
        let failed = |rule: &str, fault| Objection::RuleFailed { rule: rule.into(), fault };
        let (said, objections) = of(&judgement, &Judge::Rhadamanthus);
        assert_eq!(said, verdict);
        assert_eq!(objections[0], failed("divides", RuleFault::DivisionByZero));
        assert_eq!(objections[1], failed("newer", RuleFault::Uncompilable));
        assert!(matches!(&objections[2], Objection::RuleHolds { rule, .. } if **rule == *"holds"));
    }
}

#[test]
fn a_policy_wants_to_be_seen_what_its_rules_and_judges_need_and_nothing_else() {
    let nothing = [(&[("a", "request.priority > 5", Verdict::Reject)][..], [false; 2])];
    let tenant = [(&[("a", "tenant.running > 5", Verdict::Reject)][..], [true, false])];
    let now = [(&[("a", "now.getHours() == 3", Verdict::Reject)][..], [false, true])];
    for (rules, [tenant, now]) in nothing.into_iter().chain(tenant).chain(now) {
        let court = Arc::new(court(ruled(rules)));
        let wants = court.statute_for("host").wants();
        assert_eq!((wants.tenant, wants.now), (tenant, now), "{rules:?}");
        assert!(!wants.external && !wants.learned);
        let open = matches!(hear(&court, request(), true), Ok(Heard::Open(_)));
        assert_eq!(open, tenant || now, "{rules:?}");
    }
}

#[test]
fn rules_see_the_tenant_and_the_time_they_are_told_and_the_record_says_which() {
    let rules: &[(&str, &str, Verdict)] = &[
        ("busy", "tenant.running >= 3 && tenant.name == \"acme\"", Verdict::Reject),
        ("night", "now.getHours() < 6", Verdict::Quarantine),
    ];
    let court = Arc::new(court(ruled(rules)));
    // 1970-01-01 at 05:59:59 and at 06:00:00.
    for (running, at, verdict) in [
        (3, 21_600_000, Verdict::Reject),
        (2, 21_600_000, Verdict::Accept),
        (2, 21_599_999, Verdict::Quarantine),
    ] {
        let Ok(Heard::Open(case)) = hear(&court, asking(&[("tenant", "acme")], &[]), true) else {
            panic!("there is more to see")
        };
        let tenant = Holdings { running, ..Holdings::default() };
        let inputs = Inputs { at: Timestamp(at), index: 9, tenant, ..Inputs::bare(true) };
        let (_, judgement) = case.conclude(&inputs).into_parts();
        assert_eq!(judgement.verdict, verdict, "{running} at {at}");
        assert_eq!(judgement.inputs(), inputs, "what was seen is in the record");
    }
}

#[test]
fn what_a_request_must_say_of_itself_is_missed_by_name() {
    let required = Required {
        metadata: ["user".into(), "origin".into()].into(),
        labels: ["team".into()].into(),
    };
    let missing = |keys: &[&str], label: bool| {
        let keys = keys.iter().map(|key| Objection::MetadataMissing((*key).into()));
        let label = label.then(|| Objection::LabelMissing("team".into()));
        keys.chain(label).collect::<Vec<_>>()
    };
    let all = [("user", "alice"), ("origin", "inside")];
    for (metadata, labels, objections) in [
        (&all[..], &[("team", "")][..], missing(&[], false)),
        (&all[..1], &[("team", "ml")], missing(&["origin"], false)),
        (&[("user", ""), ("origin", "x")], &[], missing(&["user"], true)),
        (&[], &[], missing(&["origin", "user"], true)),
    ] {
        let policy = Policy { require: required.clone(), ..policy("strict", &["*"]) };
        let judgement = judged_by(policy, asking(metadata, labels), &Inputs::bare(true));
        let verdict = if objections.is_empty() { Verdict::Accept } else { Verdict::Reject };
        assert_eq!(of(&judgement, &Judge::Aeacus), (verdict, objections));
    }
}

#[test]
fn an_external_judge_is_heard_and_its_silence_means_what_the_policy_says() {
    let elsewhere = |name: &str, fail| ExternalJudge {
        name: name.into(),
        url: "http://127.0.0.1:1/".into(),
        timeout_ms: 100,
        fail,
    };
    let judges = vec![elsewhere("strict", FailMode::Closed), elsewhere("lax", FailMode::Open)];
    let said = |verdict| ExternalOutcome::Said { verdict, reason: "so".into() };
    use Verdict::{Accept, Quarantine, Reject};
    for (strict, lax, verdict) in [
        (Some(said(Accept)), Some(said(Accept)), Accept),
        (Some(said(Accept)), Some(said(Quarantine)), Quarantine),
        (Some(said(Quarantine)), Some(said(Reject)), Reject),
        (Some(said(Accept)), Some(ExternalOutcome::TimedOut), Accept),
        (Some(ExternalOutcome::Status(500)), Some(said(Accept)), Reject),
        (Some(ExternalOutcome::Unreadable), Some(said(Quarantine)), Reject),
        (None, Some(said(Accept)), Reject),
        (Some(said(Accept)), None, Accept),
    ] {
        let answer = |judge: &str, outcome: &Option<ExternalOutcome>| {
            let outcome = outcome.clone()?;
            Some(ExternalAnswer { judge: judge.into(), outcome, latency_ms: 3 })
        };
        let answers = [answer("lax", &lax), answer("strict", &strict)].into_iter().flatten();
        let inputs = Inputs { external: answers.collect(), ..Inputs::bare(true) };
        let policy = Policy { judges: judges.clone(), ..policy("asks", &["*"]) };
        let judgement = judged_by(policy.clone(), request(), &inputs);
        assert_eq!(judgement.verdict, verdict, "{strict:?} {lax:?}");
        let again = judged_by(policy, request(), &judgement.inputs());
        assert_eq!(again, judgement, "and it is made again from its own record");
    }
}

#[test]
fn minos_says_which_quota_would_be_exceeded_by_how_much_and_what_that_means() {
    let quotas = Quotas {
        running: Some(2),
        pending: Some(3),
        cpu_milli: Some(1_000),
        mem_mb: Some(1_000),
        per_minute: Some(4),
        on_exceeded: OnExceeded::Reject,
    };
    let full = Holdings {
        running: 1,
        pending: 2,
        in_use: Demand::default(),
        asked: Total { cpu_milli: 900, mem_mb: 900, gpu: 0 },
        last_minute: 3,
    };
    let request = || Request { cpu_milli: Some(100), mem_mb: Some(100), ..request() };
    let over = |quota, would_have, limit| Objection::OverQuota { quota, would_have, limit };
    for (held, objection) in [
        (full, None),
        (Holdings { running: 2, ..full }, Some(over(Quota::Running, 3, 2))),
        (Holdings { pending: 3, ..full }, Some(over(Quota::Pending, 4, 3))),
        (
            Holdings { asked: Total { cpu_milli: 901, mem_mb: 900, gpu: 0 }, ..full },
            Some(over(Quota::CpuMilli, 1_001, 1_000)),
        ),
        (
            Holdings { asked: Total { cpu_milli: 900, mem_mb: 901, gpu: 0 }, ..full },
            Some(over(Quota::MemMb, 1_001, 1_000)),
        ),
        (Holdings { last_minute: 4, ..full }, Some(over(Quota::PerMinute, 5, 4))),
    ] {
        for on_exceeded in [OnExceeded::Reject, OnExceeded::Throttle] {
            let policy = Policy { quotas: Quotas { on_exceeded, ..quotas }, ..policy("q", &["*"]) };
            let judged = judge(&court(policy.clone()), request(), &Inputs::bare(true));
            let judged = judged.expect("the template exists");
            let found: Vec<Objection> = objection.clone().into_iter().collect();
            match (ask_minos(&policy, judged, held), &objection, on_exceeded) {
                (Room::There(judged), None, _) => {
                    let minos = of(judged.judgement(), &Judge::Minos);
                    assert_eq!(minos, (Verdict::Accept, Vec::new()));
                }
                (Room::Rejected(judged), Some(_), OnExceeded::Reject) => {
                    assert_eq!(of(judged.judgement(), &Judge::Minos), (Verdict::Reject, found));
                    assert_eq!(judged.judgement().verdict, Verdict::Reject);
                }
                (Room::Later(_, over), Some(_), OnExceeded::Throttle) => assert_eq!(over, found),
                (room, ..) => panic!("{objection:?}, {on_exceeded:?}: {room:?}"),
            }
        }
    }
}

/// Which policy applies, by the definition.
fn most_specific<'l>(law: &'l Law, template: &str) -> &'l Current<Policy> {
    let matching = law.policies.values().filter_map(|policy| {
        let patterns = policy.body.templates.iter().filter(|p| glob(p, template));
        Some((patterns.map(|p| specificity(p)).max()?, policy))
    });
    let best = matching.max_by_key(|(specific, _)| *specific);
    best.map_or(law.lockdown(), |(_, policy)| policy)
}

#[test]
fn of_a_thousand_policies_the_most_specific_is_found() {
    let mut law = Law::default();
    for n in 0..1_000_u64 {
        let pattern = match n % 4 {
            0 => format!("exact-{n}"),
            1 => format!("glob-{n}-*"),
            2 => format!("*-tailed-{n}"),
            _ => format!("one-{n}-?"),
        };
        let body = Arc::new(policy(&format!("p{n}"), &[&pattern]));
        law.policies.insert(body.name.clone(), Current { version: n, revision: n, body });
    }
    let court = Court::from(law.clone());
    for n in 0..1_000 {
        for template in [
            format!("exact-{n}"),
            format!("glob-{n}-x"),
            format!("glob-{n}-tailed-{}", n + 1),
            format!("one-{n}-y"),
            format!("none-{n}"),
        ] {
            let found = court.statute_for(&template);
            let expected = most_specific(&law, &template);
            assert_eq!(found.policy().name, expected.body.name, "{template}");
        }
    }
}

#[test]
fn a_court_takes_over_what_has_not_changed_and_nothing_else() {
    let same = ruled(&[("a", "request.priority > 5", Verdict::Reject)]);
    let other = |mem_mb| Policy {
        limits: domain::law::Limits { mem_mb, ..same.limits },
        templates: vec!["other".into()],
        name: "other".into(),
        ..same.clone()
    };
    let mut world = world(&[put_event(1, same.clone()), put_event(2, other(None))]);
    let before = Court::new(world.law.current().clone(), None);
    let replaced = put(other(Some(5)), domain::command::Guard::None);
    tell(&mut world, T0, replaced).expect("allowed");
    let after = Court::new(world.law.current().clone(), Some(&before));
    assert!(Arc::ptr_eq(before.statute_for("host"), after.statute_for("host")), "the same");
    let (old, new) = (before.statute_for("other"), after.statute_for("other"));
    assert_eq!((old.version(), new.version()), (1, 2));
    assert_eq!(new.policy().limits.mem_mb, Some(5));
    assert_eq!(new.rules().filter(|(_, program)| program.is_ok()).count(), 1);
}

#[test]
fn a_rule_that_no_longer_compiles_is_told_once() {
    let rules = [("old", "request.colour == \"red\"", Verdict::Reject)];
    let mut world = world(&[put_event(1, ruled(&rules))]);
    let before = Court::new(world.law.current().clone(), None);
    let unfit: Vec<String> = before
        .unfit(None)
        .iter()
        .map(|(_, rule, error)| format!("{} {error}", rule.name))
        .collect();
    assert_eq!(unfit.len(), 1);
    assert!(unfit[0].starts_with("old line 1, column"), "{unfit:?}");
    tell(&mut world, T0, put(policy("new", &["new"]), domain::command::Guard::None)).expect("put");
    let after = Court::new(world.law.current().clone(), Some(&before));
    assert!(after.unfit(Some(&before)).is_empty(), "an operator was told");
}

#[test]
fn a_run_is_judged_again_as_it_was_admitted_under_the_law_of_today() {
    let admitted = admitted(1, request());
    let domain::Event::RunAdmitted(admitted) = admitted else { panic!("an admission") };
    let today = Arc::new(court(ruled(&[("all", "true", Verdict::Quarantine)])));
    let case = Case::again(&today, &admitted);
    assert_eq!(case.submission(), &*admitted.submission);
    let judged = case.conclude(&Inputs::bare(true));
    assert_eq!(judged.judgement().verdict, Verdict::Quarantine);
    assert_eq!(judged.judgement().revision, 1);
}

/// What the journal keeps of a decision so that it can be explained, at most, in bytes.
const EXPLAINED_IN: usize = 300;

#[test]
fn what_explains_a_decision_is_small_however_much_was_looked_at() {
    let size = |judgement: &Judgement| {
        let bytes = bincode::serde::encode_to_vec(judgement, bincode::config::standard());
        bytes.expect("a judgement has a shape").len()
    };
    let names: Vec<String> = (0..20).map(|n| format!("rule-{n}")).collect();
    let when = "request.metadata.origin == \"outside\" && tenant.running > 1000000";
    let rules: Vec<_> = names.iter().map(|name| (&**name, when, Verdict::Reject)).collect();
    let (most, total) = (Some(u32::MAX), Some(u64::MAX));
    let quotas = Quotas {
        running: most,
        pending: most,
        cpu_milli: total,
        mem_mb: total,
        per_minute: most,
        on_exceeded: OnExceeded::Throttle,
    };
    let busy = Holdings {
        running: 100_000,
        pending: 1_000_000,
        in_use: Demand { cpu_milli: 1 << 30, mem_mb: 1 << 30, gpu: 1 << 20 },
        asked: Total { cpu_milli: 1 << 40, mem_mb: 1 << 40, gpu: 1 << 30 },
        last_minute: 1_000_000,
    };
    let inputs = Inputs { at: T0, index: 1 << 40, tenant: busy, ..Inputs::bare(true) };
    let looked = Policy { quotas, ..ruled(&rules) };
    let judged = judge(&court(looked.clone()), request(), &inputs).expect("the template exists");
    let Room::There(judged) = ask_minos(&looked, judged, busy) else { panic!("there is room") };
    let plain = judged_by(policy("ruled", &["*"]), request(), &Inputs::bare(true));
    let more = size(judged.judgement()) - size(&plain);
    assert!((1..=EXPLAINED_IN).contains(&more), "{more} bytes more");
}

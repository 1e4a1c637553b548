//! What a script says, as the law takes it.

use domain::command::Guard;
use domain::fleet::HIGH_COMPUTE_LABEL;
use domain::judge::Request;
use domain::kept::LEVEL;
use domain::law::{Limits, Policy, Rule, Verdict};
use domain::selector::{Requirement, Selector, Test};
use domain::submission::{Demand, Placement, Preference, Retention, Strategy};
use domain::{Command, NodeId};

use crate::script::{Asked, Guarded, Terms, Wish};
use crate::support::*;

/// A policy on these terms.
pub fn on_terms(terms: Terms, base: Policy) -> Policy {
    let Terms { limits, on, rules, quotas, on_lost } = terms;
    let verdicts = [Verdict::Quarantine, Verdict::Reject, Verdict::Accept];
    let rule = |(n, when): (usize, &str)| Rule {
        name: format!("r{n}").into(),
        when: when.into(),
        verdict: verdicts[(n + when.len()) % 3],
        reason: "".into(),
    };
    let rules = rules.into_iter().enumerate().map(rule).collect();
    Policy { limits, on_violation: on, rules, quotas, on_lost, ..base }
}

/// All that this program can write may be written.
pub fn raise() -> Command {
    Command::RaiseLevel { level: LEVEL, origin: origin() }
}

pub const NO_LIMITS: Limits = Limits { cpu_milli: None, mem_mb: None, gpu: 0, ttl_ms: None };

pub fn node_named(name: &str) -> NodeId {
    node(name)
}

pub fn name(node: u8) -> String {
    format!("node-{node}")
}

pub fn template_name(template: u8) -> String {
    if template == 0 { "host".to_owned() } else { format!("t{}", template - 1) }
}

pub fn guard_of(guard: Guarded, found: u64) -> Guard {
    match guard {
        Guarded::Not => Guard::None,
        Guarded::Right => Guard::Version(found),
        Guarded::Wrong => Guard::Version(found + 1),
        Guarded::Absent => Guard::Absent,
    }
}

pub fn request_of(asked: Asked, tenant: &str) -> Request {
    let Demand { cpu_milli, mem_mb, gpu } = asked.demand;
    let mut metadata = map(&[("tenant", tenant)]);
    if asked.quarantine {
        metadata.insert("quarantine".into(), "true".into());
    }
    Request {
        template: template_name(asked.template).into(),
        cpu_milli: Some(cpu_milli),
        mem_mb: Some(mem_mb),
        gpu: Some(gpu),
        ttl_ms: Some(asked.ttl_ms),
        heat: asked.heat,
        priority: Some(asked.priority),
        retry: Some(asked.retry),
        on_lost: asked.on_lost,
        retention: Some(Retention { max_age_ms: asked.max_age_ms, keep_output: true }),
        metadata,
        placement: wished(asked.placement),
        ..request()
    }
}

fn wished(wish: Wish) -> Placement {
    let of = |key: &str, test| Requirement { key: key.into(), test };
    let zone = |zone: &str| of("zone", Test::In([zone.into()].into()));
    let selector = |requirements| Selector { requirements };
    let requires =
        |requirements| Placement { require: selector(requirements), ..Placement::default() };
    let enforces =
        |feature: &str| Placement { isolation: [feature.into()].into(), ..Placement::default() };
    match wish {
        Wish::None => Placement::default(),
        Wish::ZoneA => requires(vec![zone("a")]),
        Wish::PlainZoneA => requires(vec![of(HIGH_COMPUTE_LABEL, Test::Absent), zone("a")]),
        Wish::RatherB => {
            let preference = Preference { labels: selector(vec![zone("b")]), weight: 50 };
            Placement { prefer: vec![preference], ..Placement::default() }
        }
        Wish::Isolated => enforces("pid"),
        Wish::Unheard => enforces("unheard"),
        Wish::Packed => Placement { strategy: Strategy::Pack, ..Placement::default() },
    }
}

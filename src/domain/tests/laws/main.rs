//! The laws of the house, on random days: invariants after every event, lived equals replayed at
//! every prefix, a refusal changes nothing, the same past gives the same answer.
//!
//! `PROPTEST_CASES` asks for more days. A day that breaks a law is printed at its shortest; it
//! becomes a sentence in `tests/rules`, so no file of seeds is kept.

#[path = "../support/mod.rs"]
mod support;

mod asks;
mod ends;
mod house;
mod numbers;
mod parts;
mod script;
mod wire;

use domain::law::{OnExceeded, Quotas};
use house::House;
use proptest::prelude::*;
use proptest::test_runner::Config;
use script::{asked, capacity, day, fleet_days, repeats};
use support::{HIGH_COMPUTE, QUARANTINE, STANDARD};

/// So many cases, or as many as the environment asks for.
#[expect(clippy::disallowed_methods, reason = "how much is tested is not the law's business")]
fn cases(default: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    Config { cases: asked.unwrap_or(default), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn the_laws_hold_on_any_day(steps in day(100)) {
        let mut house = House::new();
        for step in steps {
            house.live(step);
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    /// [`House`] keeps a model of what each key answers, and checks every answer against it.
    #[test]
    fn a_key_makes_at_most_one_run_for_each_position_in_its_window(steps in repeats(60)) {
        let mut house = House::new();
        for step in steps {
            house.live(step);
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    /// Minos: whatever comes together, and whatever becomes of it, no tenant ever asks for more
    /// than its quota, nor submits more in a minute.
    #[test]
    fn no_tenant_ever_has_more_than_its_quota(
        steps in day(80),
        cpu_milli in 0..6_000u64,
        per_minute in 0..6u32,
        throttle in any::<bool>(),
    ) {
        let on_exceeded = if throttle { OnExceeded::Throttle } else { OnExceeded::Reject };
        let quotas =
            Quotas { cpu_milli: Some(cpu_milli), per_minute: Some(per_minute), on_exceeded, ..Quotas::default() };
        let mut house = House::within(quotas);
        let is_law = |step: &script::Step| {
            matches!(step, script::Step::PutPolicy { .. } | script::Step::DeletePolicy { .. })
        };
        for step in steps.into_iter().filter(|step| !is_law(step)) {
            house.live(step);
            for (tenant, _) in house.lived.tenants.iter() {
                let held = numbers::counted(&house.lived, tenant);
                prop_assert!(held.asked.cpu_milli <= cpu_milli, "{} has {:?}", tenant, held);
            }
            for (tenant, admitted) in house.admitted_within(60_000) {
                prop_assert!(admitted <= per_minute, "{tenant} got {admitted} in a minute");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    /// T-1: [`House`] checks each assignment; here the fleet and the line are all there is.
    #[test]
    fn no_quarantined_run_is_ever_elsewhere_and_no_other_ever_on_a_quarantine_node(
        nodes in prop::collection::vec((0..3usize, capacity()), 0..8),
        runs in prop::collection::vec(asked(), 1..24),
    ) {
        let mut house = House::new();
        for (boot, (labels, capacity)) in (0..).zip(nodes) {
            let labels = [STANDARD, HIGH_COMPUTE, QUARANTINE][labels];
            let node = boot % 6; // some come again, as another process and with other labels
            house.live(script::Step::Join { node, boot, labels, capacity });
        }
        for asked in runs {
            house.submit(asked, None, 0, None, usize::MAX);
        }
        house.place(usize::MAX);
        for node in house.lived.fleet.nodes().values() {
            for run in node.attempts.keys() {
                let asks = house.lived.runs.live(*run).expect("it is on a node");
                let quarantined = asks.submission().asks_for_quarantine();
                let quarantine_node = node.joined.labels.contains_key(domain::fleet::QUARANTINE_LABEL);
                prop_assert_eq!(quarantined, quarantine_node);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    /// T-1: nothing that operators or agents say of nodes lets a run into quarantine, or out of it.
    #[test]
    fn no_label_drain_or_loss_opens_quarantine(steps in fleet_days(100)) {
        let mut house = House::new();
        for step in steps {
            house.live(step);
            for node in house.lived.fleet.nodes().values() {
                for run in node.attempts.keys() {
                    let run = house.lived.runs.live(*run).expect("it is on a node");
                    let quarantined = run.submission().asks_for_quarantine();
                    let there = node.labels.get(domain::fleet::QUARANTINE_LABEL);
                    prop_assert_eq!(quarantined, there == Some("true"));
                }
            }
        }
    }
}

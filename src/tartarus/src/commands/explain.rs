//! `tartarus explain`: why a run is where it is, for a person at a terminal.

use std::fmt::Write as _;

use api::Duration;
use api::explain::{Explanation, InputsExplained, JudgeExplained, RuleExplained, TenantExplained};
use client::Client;

use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{Format, print_document, write};

/// Prints the explanation of a run.
///
/// # Errors
/// There is none of that id, or Olympus can't be reached.
pub fn run(client: &Client, id: &str, format: Format) -> Result<u8, Failure> {
    let why = block_on(async { Ok(client.explain(id).await?) })?;
    match format {
        Format::Json | Format::Yaml => print_document(format, &why)?,
        Format::Table | Format::Wide => {
            let mut text = told(&why);
            // The nodes that were looked at are those of another day: the past has them.
            if let Some(planned_at) = planned_at(client, &why) {
                let _ = writeln!(
                    text,
                    "Then       the nodes as they were: tartarus explain {} --at {planned_at}",
                    why.run_id
                );
            }
            write(text.as_bytes())?;
        }
    }
    Ok(DONE)
}

/// The entry that the run's last assignment was planned from. A hint is no reason to fail.
fn planned_at(client: &Client, why: &Explanation) -> Option<u64> {
    if why.attempts.is_empty() {
        return None;
    }
    let events = block_on(async { Ok(client.run_events(&why.run_id, None).await?) }).ok()?;
    let assigned = events.items.iter().rfind(|event| event.kind == "run.assigned")?;
    assigned.data["planned_at"].as_u64()
}

/// Nothing that a run, a policy or a judge says may give the terminal an order.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The whole story, a heading a decision.
fn told(why: &Explanation) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let mut say = |label: &str, text: &str| {
        let _ = writeln!(out, "{label:<11}{}", plain(text));
    };
    say("Run", &format!("{} {}", why.run_id, why.status.as_str()));
    if let Some(reason) = &why.reason {
        let message = why.message.as_deref().unwrap_or_default();
        say("", &format!("{reason}: {message}"));
    }
    let policy = &why.policy;
    let matched = match &policy.matched {
        Some(pattern) => format!("matched by {pattern:?}"),
        None => "built in: no policy matches the template".to_owned(),
    };
    let (name, version, revision) = (&policy.name, policy.version, policy.revision);
    say("Policy", &format!("{name} version {version}, revision {revision} of the law ({matched})"));
    say("Verdict", why.verdict.as_str());
    for judge in &why.judges {
        judged(judge, &mut say);
    }
    if let Some(inputs) = &why.inputs {
        given(inputs, &mut say);
    }
    if let Some(miss) = &why.nearest_miss {
        say("Nearest", &miss.message);
    }
    if let Some(sent) = &why.lost_to_quarantine {
        say("Quarantine", sent);
    }
    if let Some(operator) = &why.operator {
        let (action, by, at) = (&operator.action, &operator.by, operator.at);
        say("Operator", &format!("{action} by {by} at {at}: {}", operator.reason));
    }
    say("Heat", &format!("{}: {}", why.heat.heat.as_str(), why.heat.message));
    let fallback = match (why.fallback, why.quarantined) {
        (true, _) => " (a fallback: no live node of the pool it prefers could hold it)",
        (false, true) => " (quarantine has no fallback)",
        (false, false) => "",
    };
    say("Pool", &format!("{}{fallback}", why.pool.as_str()));
    if let Some(queue) = &why.queue {
        let turn = match queue.estimate_ms {
            Some(ms) => format!("its turn comes in about {}", rounded(ms)),
            None => "no estimate".to_owned(),
        };
        say("Queue", &format!("place {}; {turn} ({})", queue.place, queue.basis));
    }
    for (i, node) in why.nodes.iter().enumerate() {
        let failed = node.failed.as_deref().unwrap_or("would fit");
        let label = if i == 0 { "Nodes" } else { "" };
        say(label, &format!("{} ({}): {failed}", node.id, node.pool.as_str()));
    }
    if !why.nodes_failed.is_empty() {
        let counts = why.nodes_failed.iter().map(|(kind, n)| format!("{n} {kind}"));
        say("  others", &counts.collect::<Vec<_>>().join(", "));
    }
    if let Some(hint) = &why.would_fit {
        say("Would fit", hint);
    }
    for (i, attempt) in why.attempts.iter().enumerate() {
        let outcome = attempt.outcome.as_deref().unwrap_or("goes on");
        let label = if i == 0 { "Attempts" } else { "" };
        say(label, &format!("{} on {}: {outcome}", attempt.attempt, attempt.node));
    }
    if let Some(dead) = &why.redrive_of {
        say("Redrive", &format!("of {dead}"));
    }
    if let Some(dead) = &why.dead_letter {
        say("Dead", &format!("since {}: {}", dead.since, dead.message));
    }
    out
}

fn judged(judge: &JudgeExplained, say: &mut impl FnMut(&str, &str)) {
    let took = judge.latency_ms.map(|ms| format!(" in {ms}ms")).unwrap_or_default();
    let reasons = match judge.reasons.is_empty() {
        true => String::new(),
        false => format!(": {}", judge.reasons.join("; ")),
    };
    say("", &format!("{} says {}{took}{reasons}", judge.judge, judge.verdict.as_str()));
    for RuleExplained { rule, when, holds, verdict, fault } in &judge.rules {
        let said = match (holds, fault) {
            (Some(true), _) => format!("holds, so {}", verdict.as_str()),
            (Some(false), _) => "does not hold".to_owned(),
            (None, fault) => format!("failed: {}", fault.as_deref().unwrap_or("unknown")),
        };
        say("", &format!("  rule {rule}: {said}   [{when}]"));
    }
}

/// What the judges saw beside the request: what rules read, and what Minos held quotas against.
fn given(inputs: &InputsExplained, say: &mut impl FnMut(&str, &str)) {
    let InputsExplained { now, index, tenant, at_admission } = inputs;
    let now = now.map(|now| format!("now {now}"));
    let entry = index.map(|index| format!(" (entry {index})")).unwrap_or_default();
    let read = tenant.as_ref().map(|tenant| format!("{}{entry}", had(tenant)));
    let read: Vec<String> = now.into_iter().chain(read).collect();
    if !read.is_empty() {
        say("  given", &read.join(", "));
    }
    if let Some(tenant) = at_admission {
        say("  admitted", &had(tenant));
    }
}

fn had(tenant: &TenantExplained) -> String {
    let TenantExplained { running, pending, cpu_milli, mem_mb, last_minute } = tenant;
    format!(
        "tenant had {running} running, {pending} pending, {cpu_milli} mCPU and {mem_mb} MiB asked \
         for, {last_minute} submissions in a minute"
    )
}

/// Two significant digits are more than an estimate knows.
fn rounded(ms: u64) -> Duration {
    let step = match ms {
        0..10_000 => 1_000,
        10_000..600_000 => 10_000,
        _ => 60_000,
    };
    Duration::from_millis(ms.div_ceil(step) * step)
}

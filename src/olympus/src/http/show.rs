//! Runs as they are shown: the wire's shape, and why a run waits.

use std::borrow::Cow;

use api::{Pool, Time};
use domain::Run;
use domain::placement::WaitReason;
use olympus_actors::view::RunSeen;

/// A run with why it waits.
pub fn seen(seen: &RunSeen) -> api::Run {
    let mut shown = api::Run::from(&seen.run);
    if let Some(why) = seen.waiting
        && shown.reason.is_none()
    {
        let (reason, message) = waiting(seen, why);
        shown.reason = Some(Cow::Borrowed(reason));
        let sent = api::show::poison(&seen.run).filter(|_| seen.run.is_quarantined());
        shown.message =
            Some(sent.map_or_else(|| message.clone(), |sent| format!("{sent}; {message}")));
    }
    shown
}

/// The word and the message for a run that waits: what it waits for, and what would help.
fn waiting(seen: &RunSeen, why: WaitReason) -> (&'static str, String) {
    let run = &seen.run;
    let needs = || {
        let asked = run.submission().resources;
        let gpus = if asked.gpu > 0 { format!(", {} GPU", asked.gpu) } else { String::new() };
        format!("{} mCPU, {} MiB{gpus}", asked.cpu_milli, asked.mem_mb)
    };
    match why {
        WaitReason::QueuePaused => (
            "QueuePaused",
            "the queue is paused: resume it with `tartarus queue resume`".to_owned(),
        ),
        WaitReason::BackingOff => (
            "BackingOff",
            match run.not_before {
                Some(at) => format!(
                    "attempt {} did not succeed; the next one begins at {}",
                    run.attempt,
                    Time::from(at)
                ),
                None => format!("attempt {} did not succeed; it is tried again", run.attempt),
            },
        ),
        WaitReason::WaitingForQuarantineNode => (
            "WaitingForQuarantineNode",
            "it must run in quarantine, and no quarantine node is live: start an agent with \
             HADES_LABEL=\"tartarus.io/typhon=true\""
                .to_owned(),
        ),
        WaitReason::NeverFits => (
            "NeverFits",
            match &seen.never {
                Some(never) => never.to_string(),
                None => format!("no live {} node could hold it, it needs {}", pool(run), needs()),
            },
        ),
        WaitReason::Draining => (
            match run.preferred_pool() {
                Pool::Quarantine => "WaitingForQuarantineNode",
                Pool::Standard | Pool::HighCompute => "WaitingForCapacity",
            },
            "every node that could hold it is draining: start another, or end that with \
             `tartarus node undrain`"
                .to_owned(),
        ),
        WaitReason::WaitingForCapacity => (
            "WaitingForCapacity",
            format!(
                "the {} nodes that could hold it have other work, it needs {}: it starts when one \
                 of them has room",
                pool(run),
                needs()
            ),
        ),
        WaitReason::NoNode => (
            "WaitingForCapacity",
            "no node takes work: start an agent with `tartarus agent`".to_owned(),
        ),
    }
}

fn pool(run: &Run) -> &'static str {
    match run.preferred_pool() {
        Pool::Standard => "standard",
        Pool::HighCompute => "high-compute",
        Pool::Quarantine => "quarantine",
    }
}

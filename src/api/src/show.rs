//! Runs and nodes of the World in the shapes of the wire.
//!
//! Never:  says why a run waits: that takes the fleet, and the caller adds it.

use std::borrow::Cow;

use domain::event::{End, ExitCause, FailReason, LostCause, RejectCode};
use domain::fleet;
use domain::runs::{self, Birth, Outcome};

use crate::Pool;
use crate::duration::Duration;
use crate::fleet::{Drain, Node, NodeState};
use crate::placement::PlacementView;
use crate::problem::code;
use crate::run::{OutputSize, PolicyRef, Run};
use crate::status::Status;
use crate::time::Time;

impl From<runs::Status> for Status {
    fn from(status: runs::Status) -> Self {
        match status {
            runs::Status::Pending => Self::Pending,
            runs::Status::Scheduled => Self::Scheduled,
            runs::Status::Running => Self::Running,
            runs::Status::Succeeded => Self::Succeeded,
            runs::Status::Failed => Self::Failed,
            runs::Status::Canceled => Self::Canceled,
            runs::Status::Rejected => Self::Rejected,
        }
    }
}

impl From<Status> for runs::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Scheduled => Self::Scheduled,
            Status::Running => Self::Running,
            Status::Succeeded => Self::Succeeded,
            Status::Failed => Self::Failed,
            Status::Canceled => Self::Canceled,
            Status::Rejected => Self::Rejected,
        }
    }
}

/// The word for how a run failed.
pub const fn fail_reason(reason: FailReason) -> &'static str {
    match reason {
        FailReason::NonZeroExit => "NonZeroExit",
        FailReason::Signaled => "Signaled",
        FailReason::TimedOut => "TimedOut",
        FailReason::OutOfMemory => "OutOfMemory",
        FailReason::NotExecutable => "NotExecutable",
        FailReason::SandboxFailed => "SandboxFailed",
        FailReason::NodeLost => "NodeLost",
        FailReason::OutOfAttempts => "OutOfAttempts",
    }
}

/// The words for a rejection: the problem's code and the run's reason.
pub const fn reject_words(reject: RejectCode) -> (&'static str, &'static str) {
    match reject {
        RejectCode::PolicyRejected => (code::POLICY_REJECTED, "PolicyRejected"),
        RejectCode::QuarantineUnavailable => {
            (code::QUARANTINE_UNAVAILABLE, "QuarantineUnavailable")
        }
        // A quarantine verdict that may not be followed is a rejection like any other (S36g).
        RejectCode::QuarantineDisabled => (code::POLICY_REJECTED, "QuarantineDisabled"),
    }
}

/// What to tell the caller of a rejected submission.
pub fn reject_message(rejected: &domain::event::RunRejected) -> String {
    match rejected.code {
        RejectCode::PolicyRejected => {
            let reasons: Vec<String> = rejected.judgement.reasons().collect();
            format!("policy {} refused it: {}", rejected.judgement.policy.name, reasons.join("; "))
        }
        RejectCode::QuarantineUnavailable => "it must run in quarantine, and no live node is \
             labelled for it: start an agent with HADES_LABEL=\"tartarus.io/typhon=true\""
            .to_owned(),
        RejectCode::QuarantineDisabled => "it must run in quarantine, which is switched off: \
             start Olympus with TARTARUS_QUARANTINE=on"
            .to_owned(),
    }
}

/// How often, in words.
pub fn times(n: u32) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

/// What sent a run to quarantine that was let in elsewhere; none where a judge did, or nothing.
pub fn poison(run: &runs::Run) -> Option<String> {
    let e = run.quarantined.as_deref()?;
    let with = lost_with(run).join(", ");
    let with = if with.is_empty() { String::new() } else { format!(", with {with}") };
    Some(format!(
        "it was lost {}{with}: policy {} version {} sends it to quarantine",
        times(e.losses),
        e.policy.name,
        e.policy.version
    ))
}

/// The reason and the message of a run that has ended or is being ended.
fn ending(run: &runs::Run) -> (Option<&'static str>, Option<String>) {
    if let Birth::Rejected(rejected) = &run.birth {
        let (_, reason) = reject_words(rejected.code);
        return (Some(reason), Some(reject_message(rejected)));
    }
    if let Some(refused) = &run.refused {
        let why = if refused.reason.is_empty() { "no reason was given" } else { &refused.reason };
        let message = format!("an operator rejected it in quarantine: {why}");
        return (Some("RejectedByOperator"), Some(message));
    }
    match run.end {
        Some(End::Succeeded) => (None, None),
        Some(End::Canceled) => (Some("Canceled"), Some("a caller cancelled it".to_owned())),
        Some(End::Failed(reason)) => (Some(fail_reason(reason)), Some(failure(run, reason))),
        None if run.cancel_requested => {
            (Some("Canceling"), Some("a caller cancelled it; its node is ending it".to_owned()))
        }
        None => (None, None),
    }
}

/// The nodes that were lost while it was on them, or whose agents were, each once.
fn lost_with(run: &runs::Run) -> Vec<&str> {
    let latest = run.node.iter().zip(run.latest_outcome());
    let all = run.past.iter().map(|past| (&past.node, past.outcome)).chain(latest);
    let mut nodes = Vec::new();
    for (node, outcome) in all {
        let gone = match outcome {
            Outcome::Lost(LostCause::NodeLost | LostCause::NodeRestarted) => true,
            Outcome::Lost(LostCause::Unknown | LostCause::Drained) | Outcome::Ended(..) => false,
        };
        if gone && !nodes.contains(&node.as_str()) {
            nodes.push(node.as_str());
        }
    }
    nodes
}

fn failure(run: &runs::Run, reason: FailReason) -> String {
    let exit = run.last_exit.as_ref().map(|finished| &finished.exit);
    let resources = &run.submission().resources;
    let said = exit.and_then(|exit| exit.message.as_deref());
    let node = run.node.as_ref().map_or("its node", |node| node.as_str());
    match reason {
        FailReason::NonZeroExit => match exit.and_then(|exit| exit.code) {
            Some(code) => format!("the program exited with code {code}"),
            None => "the program failed".to_owned(),
        },
        FailReason::Signaled => match exit.and_then(|exit| exit.signal) {
            Some(signal) => format!("signal {signal} ended the program"),
            None => "a signal ended the program".to_owned(),
        },
        FailReason::TimedOut => format!(
            "it ran for its whole ttl of {}: ask for a longer resources.ttl",
            Duration::from_millis(resources.ttl_ms)
        ),
        FailReason::OutOfMemory => format!(
            "it wanted more than its {} MiB: ask for more resources.mem_mb",
            resources.mem_mb
        ),
        FailReason::NotExecutable => match said {
            Some(said) => said.to_owned(),
            None => "the command is not there, or can't be executed, in the sandbox".to_owned(),
        },
        FailReason::SandboxFailed => match said {
            Some(said) => format!("{node} could not make the sandbox: {said}"),
            None => format!("{node} could not make the sandbox"),
        },
        FailReason::NodeLost => format!("{node} was lost with it, and on_lost is \"fail\""),
        FailReason::OutOfAttempts => {
            let mut words = format!("it used up its attempts: {} failed", run.failures);
            let lost = run.losses - run.unmade;
            match lost_with(run).as_slice() {
                [] => words += &format!(", {lost} lost"),
                nodes => words += &format!(", {lost} lost, with {}", nodes.join(", ")),
            }
            if run.unmade > 0 {
                words += &format!(", {} got no sandbox", run.unmade);
            }
            let unmade = exit.is_some_and(|exit| exit.cause == ExitCause::SandboxFailed);
            match said.filter(|_| unmade && run.last_loss.is_none()) {
                Some(said) => format!("{words}; {node} said last: {said}"),
                None => words,
            }
        }
    }
}

impl From<&runs::Run> for Run {
    fn from(run: &runs::Run) -> Self {
        let (asked, judged) = (run.submission(), run.judgement());
        let (reason, message) = ending(run);
        let last = run.last_exit.as_deref();
        // What waits again may have come to another pool since its last attempt.
        let waits = run.status == runs::Status::Pending;
        let (pool, fallback) = run.pool.filter(|_| !waits).unwrap_or((run.preferred_pool(), false));
        Self {
            id: run.id().to_string(),
            status: run.status.into(),
            reason: reason.map(Cow::Borrowed),
            message,
            template: asked.template.clone(),
            command: asked.command.clone(),
            env: asked.env.clone(),
            stdin: asked.stdin.clone(),
            resources: asked.resources.into(),
            network: asked.network,
            priority: asked.priority,
            retry: asked.retry.into(),
            on_lost: asked.on_lost,
            retention: asked.retention.into(),
            metadata: asked.metadata.clone(),
            labels: asked.labels.clone(),
            placement: judged.placement.as_deref().map(PlacementView::from).unwrap_or_default(),
            verdict: judged.verdict,
            quarantined: run.is_quarantined() && !matches!(run.birth, Birth::Rejected(_)),
            heat: judged.heat.heat,
            pool,
            fallback,
            policy: PolicyRef::from(judged),
            node: run.node.as_ref().map(ToString::to_string),
            attempt: run.attempt,
            exit_code: last.and_then(|finished| finished.exit.code),
            signal: last.and_then(|finished| finished.exit.signal),
            created_at: run.created_at().into(),
            scheduled_at: run.scheduled_at.map(Time::from),
            started_at: run.started_at.map(Time::from),
            finished_at: run.finished_at.map(Time::from),
            usage: last.map(|finished| finished.usage.into()),
            output: last.map(|finished| OutputSize::from(&finished.output)),
            redrive_of: run.redrive_of().map(|id| id.to_string()),
            index: run.index,
        }
    }
}

impl From<&fleet::Node> for Node {
    /// The node as the journal knows it; the caller adds when it was last seen.
    fn from(node: &fleet::Node) -> Self {
        let joined = &node.joined;
        let text = |words: &[Box<str>]| words.iter().map(ToString::to_string).collect();
        Self {
            id: joined.node.to_string(),
            status: match (node.status, node.drain) {
                (fleet::NodeStatus::Ready, None) => NodeState::Ready,
                (fleet::NodeStatus::Ready, Some(_)) => NodeState::Draining,
                (fleet::NodeStatus::Lost { .. }, _) => NodeState::Lost,
            },
            pool: node.pool,
            labels: node.labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            operator_labels: node
                .overlay
                .iter()
                .map(|(k, v)| (k.to_string(), v.as_ref().map(ToString::to_string)))
                .collect(),
            drain: node.drain.map(|drain| Drain {
                since: drain.since.into(),
                deadline: drain.deadline.map(Time::from),
            }),
            capacity: joined.capacity.into(),
            allocated: node.allocated.into(),
            isolation: text(&joined.isolation),
            runtime: joined.runtime.to_string(),
            version: joined.version.to_string(),
            runs: u32::try_from(node.attempts.len()).unwrap_or(u32::MAX),
            joined_at: joined.at.into(),
            last_seen: match node.status {
                fleet::NodeStatus::Ready => None,
                fleet::NodeStatus::Lost { at, .. } => Some(at.into()),
            },
        }
    }
}

/// Every pool with a count of 0, to be filled: a status names all of them.
pub fn every_pool() -> std::collections::BTreeMap<String, u64> {
    Pool::ALL.iter().map(|pool| (pool.as_str().to_owned(), 0)).collect()
}

//! Events in words, for those who read a chain or a life of them; and whose agent told of them.

use domain::event::{
    End, Exit, ExitCause, LostCause, Next, NodeLostCause, RunLost, RunQuarantined,
};
use domain::judge::Judgement;
use domain::{Event, NodeId};

/// What happened.
pub fn what(event: &Event) -> String {
    match event {
        Event::LeaderStarted(e) => format!("{} leads, epoch {}", e.url, e.epoch),
        Event::RunAdmitted(e) => {
            let line = e.judgement.pool.as_str();
            format!("let in, to wait for a {line} node ({})", e.judgement.verdict.as_str())
        }
        Event::RunRejected(_) => "rejected".to_owned(),
        Event::RunAssigned(e) => {
            format!("attempt {} given to {} ({})", e.attempt, e.node, e.pool.as_str())
        }
        Event::RunStarted(e) => format!("attempt {} started on {}", e.attempt, e.node),
        Event::RunFinished(e) => {
            format!("attempt {} {}; {}", e.attempt, ended(&e.exit), next(e.next))
        }
        Event::RunLost(e) => {
            format!("attempt {} on {} was lost; {}", e.attempt, e.node, next(e.next))
        }
        Event::RunCancelRequested(e) => {
            format!("attempt {} on {} is to end: its run is cancelled", e.attempt, e.node)
        }
        Event::RunCanceled(_) => "cancelled while it waited".to_owned(),
        Event::RunForgotten(_) => "forgotten by all but the journal".to_owned(),
        Event::RunEvicted(e) => format!("attempt {} is to leave {}", e.attempt, e.node),
        Event::RunReleased(e) => {
            format!("let go from quarantine, to wait for a {} node", e.pool.as_str())
        }
        Event::RunRefused(_) => "rejected by an operator in quarantine".to_owned(),
        Event::NodeJoined(e) => format!("node {} joined, process {}", e.node, e.boot),
        Event::NodeLost(e) => match e.cause {
            NodeLostCause::HeartbeatExpired => format!("node {} was lost", e.node),
            NodeLostCause::Left => format!("node {} left", e.node),
        },
        Event::NodeDrained(e) => match e.deadline {
            Some(at) => format!("node {} drained, until {}", e.node, api::Time::from(at)),
            None => format!("node {} drained", e.node),
        },
        Event::NodeUndrained(e) => format!("node {} takes work again", e.node),
        Event::NodeLabeled(e) => format!("node {} labelled", e.node),
        Event::PolicyPut(e) => format!("policy {} version {}", e.policy.name, e.version),
        Event::PolicyDeleted(e) => format!("policy {} deleted", e.name),
        Event::TemplatePut(e) => format!("template {} version {}", e.template.name, e.version),
        Event::TemplateDeleted(e) => format!("template {} deleted", e.name),
        Event::HeatTableSet(e) => format!("thresholds of heat set, revision {}", e.revision),
        Event::QueuePaused(_) => "queue paused".to_owned(),
        Event::QueueResumed(_) => "queue resumed".to_owned(),
        Event::SnapshotBegun(_) => "snapshot begun".to_owned(),
        Event::SnapshotTaken(e) => format!("snapshot of entry {} taken", e.index),
        Event::JournalArchived(e) => format!("archived up to entry {}", e.through),
        Event::JournalTrimmed(e) => format!("trimmed up to entry {}", e.first),
        Event::CheckpointSigned(e) => format!("checkpoint of entry {} signed", e.index),
        Event::LevelRaised(e) => format!("level raised to {}", e.level),
        Event::RunQuarantined(_) => "sent to quarantine, to wait for a quarantine node".to_owned(),
    }
}

fn ended(exit: &Exit) -> String {
    match (exit.cause, exit.code, exit.signal) {
        (ExitCause::Exited, Some(code), _) => format!("exited with {code}"),
        (ExitCause::Exited, None, Some(signal)) => format!("was ended by signal {signal}"),
        (ExitCause::Exited, None, None) => "ended".to_owned(),
        (ExitCause::TimedOut, _, _) => "ran out of time".to_owned(),
        (ExitCause::OutOfMemory, _, _) => "ran out of memory".to_owned(),
        (ExitCause::Canceled, _, _) => "was stopped".to_owned(),
        (ExitCause::NotExecutable, _, _) => "could not be executed".to_owned(),
        (ExitCause::SandboxFailed, _, _) => "got no sandbox".to_owned(),
    }
}

fn next(next: Next) -> String {
    match next {
        Next::Again { not_before } => {
            format!("it is tried again, not before {}", api::Time::from(not_before))
        }
        Next::End(End::Succeeded) => "the run succeeded".to_owned(),
        Next::End(End::Canceled) => "the run is cancelled".to_owned(),
        Next::End(End::Failed(reason)) => {
            format!("the run failed: {}", api::show::fail_reason(reason))
        }
    }
}

/// Why an attempt counts as lost.
pub fn lost(lost: &RunLost) -> String {
    let node = &lost.node;
    match lost.cause {
        LostCause::NodeLost => format!("{node} was lost with all that ran there"),
        LostCause::NodeRestarted => {
            format!("the agent of {node} started anew: what it ran before is gone")
        }
        LostCause::Unknown => format!("{node} says that it never had it"),
        LostCause::Drained => format!("{node} was drained, and its deadline had passed"),
    }
}

/// Why the loss of nodes sends a run to quarantine.
pub fn poisoned(e: &RunQuarantined) -> String {
    let RunQuarantined { losses, node, policy, .. } = e;
    let (times, name, version) = (api::show::times(*losses), &policy.name, policy.version);
    format!("lost {times}, the last time with {node}: {name} version {version} says quarantine")
}

/// Under which law, and to which verdict.
pub fn judged(judgement: &Judgement) -> String {
    let (name, version, revision) =
        (&judgement.policy.name, judgement.policy.version, judgement.revision);
    let verdict = judgement.verdict.as_str();
    format!("{name} version {version} (revision {revision} of the law) says {verdict}")
}

/// The node whose agent reported what happened.
pub fn reporter(event: &Event) -> Option<&NodeId> {
    match event {
        Event::RunStarted(e) => Some(&e.node),
        Event::RunFinished(e) => Some(&e.node),
        Event::NodeJoined(e) => Some(&e.node),
        Event::RunLost(e) => match e.cause {
            LostCause::NodeRestarted | LostCause::Unknown | LostCause::Drained => Some(&e.node),
            LostCause::NodeLost => None,
        },
        Event::NodeLost(e) => match e.cause {
            NodeLostCause::Left => Some(&e.node),
            NodeLostCause::HeartbeatExpired => None,
        },
        Event::LeaderStarted(_)
        | Event::RunAdmitted(_)
        | Event::RunRejected(_)
        | Event::RunAssigned(_)
        | Event::RunCancelRequested(_)
        | Event::RunCanceled(_)
        | Event::RunForgotten(_)
        | Event::RunEvicted(_)
        | Event::RunReleased(_)
        | Event::RunRefused(_)
        | Event::PolicyPut(_)
        | Event::PolicyDeleted(_)
        | Event::TemplatePut(_)
        | Event::TemplateDeleted(_)
        | Event::HeatTableSet(_)
        | Event::QueuePaused(_)
        | Event::QueueResumed(_)
        | Event::NodeDrained(_)
        | Event::NodeUndrained(_)
        | Event::NodeLabeled(_)
        | Event::SnapshotBegun(_)
        | Event::SnapshotTaken(_)
        | Event::JournalArchived(_)
        | Event::JournalTrimmed(_)
        | Event::CheckpointSigned(_)
        | Event::LevelRaised(_)
        | Event::RunQuarantined(_) => None,
    }
}

//! What an event names: when, which run, node, policy or template, and whose request.
//!
//! Every event is in each list, so that a new one does not compile before it is answered.

use super::{Event, Origin};
use crate::ids::{NodeId, RunId, Timestamp};

impl Event {
    /// When it happened, in log time.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::LeaderStarted(e) => e.at,
            Self::RunAdmitted(e) => e.at,
            Self::RunRejected(e) => e.at,
            Self::RunAssigned(e) => e.at,
            Self::RunStarted(e) => e.at,
            Self::RunFinished(e) => e.at,
            Self::RunLost(e) => e.at,
            Self::RunCancelRequested(e) => e.at,
            Self::RunCanceled(e) => e.at,
            Self::RunForgotten(e) => e.at,
            Self::NodeJoined(e) => e.at,
            Self::NodeLost(e) => e.at,
            Self::PolicyPut(e) => e.at,
            Self::PolicyDeleted(e) => e.at,
            Self::TemplatePut(e) => e.at,
            Self::TemplateDeleted(e) => e.at,
            Self::HeatTableSet(e) => e.at,
            Self::QueuePaused(e) => e.at,
            Self::QueueResumed(e) => e.at,
            Self::NodeDrained(e) => e.at,
            Self::NodeUndrained(e) => e.at,
            Self::NodeLabeled(e) => e.at,
            Self::RunEvicted(e) => e.at,
            Self::RunReleased(e) => e.at,
            Self::RunRefused(e) => e.at,
            Self::SnapshotBegun(e) => e.at,
            Self::SnapshotTaken(e) => e.at,
            Self::JournalArchived(e) => e.at,
            Self::JournalTrimmed(e) => e.at,
            Self::CheckpointSigned(e) => e.at,
            Self::LevelRaised(e) => e.at,
            Self::RunQuarantined(e) => e.at,
        }
    }

    /// The run it changes, if it changes one.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::RunAdmitted(e) => Some(e.run),
            Self::RunRejected(e) => Some(e.run),
            Self::RunAssigned(e) => Some(e.run),
            Self::RunStarted(e) => Some(e.run),
            Self::RunFinished(e) => Some(e.run),
            Self::RunLost(e) => Some(e.run),
            Self::RunCancelRequested(e) => Some(e.run),
            Self::RunCanceled(e) => Some(e.run),
            Self::RunForgotten(e) => Some(e.run),
            Self::RunEvicted(e) => Some(e.run),
            Self::RunReleased(e) => Some(e.run),
            Self::RunRefused(e) => Some(e.run),
            Self::RunQuarantined(e) => Some(e.run),
            Self::LeaderStarted(_)
            | Self::NodeJoined(_)
            | Self::NodeLost(_)
            | Self::PolicyPut(_)
            | Self::PolicyDeleted(_)
            | Self::TemplatePut(_)
            | Self::TemplateDeleted(_)
            | Self::HeatTableSet(_)
            | Self::QueuePaused(_)
            | Self::QueueResumed(_)
            | Self::NodeDrained(_)
            | Self::NodeUndrained(_)
            | Self::NodeLabeled(_)
            | Self::SnapshotBegun(_)
            | Self::SnapshotTaken(_)
            | Self::JournalArchived(_)
            | Self::JournalTrimmed(_)
            | Self::CheckpointSigned(_)
            | Self::LevelRaised(_) => None,
        }
    }

    /// The node it names: the one it changes, or the one that the run's attempt is on.
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Self::NodeJoined(e) => Some(&e.node),
            Self::NodeLost(e) => Some(&e.node),
            Self::NodeDrained(e) => Some(&e.node),
            Self::NodeUndrained(e) => Some(&e.node),
            Self::NodeLabeled(e) => Some(&e.node),
            Self::RunAssigned(e) => Some(&e.node),
            Self::RunStarted(e) => Some(&e.node),
            Self::RunFinished(e) => Some(&e.node),
            Self::RunLost(e) => Some(&e.node),
            Self::RunCancelRequested(e) => Some(&e.node),
            Self::RunEvicted(e) => Some(&e.node),
            Self::RunQuarantined(e) => Some(&e.node),
            Self::LeaderStarted(_)
            | Self::RunAdmitted(_)
            | Self::RunRejected(_)
            | Self::RunCanceled(_)
            | Self::RunForgotten(_)
            | Self::PolicyPut(_)
            | Self::PolicyDeleted(_)
            | Self::TemplatePut(_)
            | Self::TemplateDeleted(_)
            | Self::HeatTableSet(_)
            | Self::QueuePaused(_)
            | Self::QueueResumed(_)
            | Self::RunReleased(_)
            | Self::RunRefused(_)
            | Self::SnapshotBegun(_)
            | Self::SnapshotTaken(_)
            | Self::JournalArchived(_)
            | Self::JournalTrimmed(_)
            | Self::CheckpointSigned(_)
            | Self::LevelRaised(_) => None,
        }
    }

    /// The request it is the answer to, where it is one.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::RunAdmitted(e) => Some(&e.origin),
            Self::RunRejected(e) => Some(&e.origin),
            Self::RunCancelRequested(e) => Some(&e.origin),
            Self::RunCanceled(e) => Some(&e.origin),
            Self::RunReleased(e) => Some(&e.origin),
            Self::RunRefused(e) => Some(&e.origin),
            Self::PolicyPut(e) => Some(&e.origin),
            Self::PolicyDeleted(e) => Some(&e.origin),
            Self::TemplatePut(e) => Some(&e.origin),
            Self::TemplateDeleted(e) => Some(&e.origin),
            Self::HeatTableSet(e) => Some(&e.origin),
            Self::QueuePaused(e) => Some(&e.origin),
            Self::QueueResumed(e) => Some(&e.origin),
            Self::NodeDrained(e) => Some(&e.origin),
            Self::NodeUndrained(e) => Some(&e.origin),
            Self::NodeLabeled(e) => Some(&e.origin),
            Self::LevelRaised(e) => Some(&e.origin),
            Self::LeaderStarted(_)
            | Self::RunAssigned(_)
            | Self::RunStarted(_)
            | Self::RunFinished(_)
            | Self::RunLost(_)
            | Self::RunForgotten(_)
            | Self::NodeJoined(_)
            | Self::NodeLost(_)
            | Self::RunEvicted(_)
            | Self::SnapshotBegun(_)
            | Self::SnapshotTaken(_)
            | Self::JournalArchived(_)
            | Self::JournalTrimmed(_)
            | Self::CheckpointSigned(_)
            | Self::RunQuarantined(_) => None,
        }
    }

    /// The policy or template it changes, by its name.
    pub fn statute(&self) -> Option<&str> {
        match self {
            Self::PolicyPut(e) => Some(&e.policy.name),
            Self::PolicyDeleted(e) => Some(&e.name),
            Self::TemplatePut(e) => Some(&e.template.name),
            Self::TemplateDeleted(e) => Some(&e.name),
            Self::LeaderStarted(_)
            | Self::RunAdmitted(_)
            | Self::RunRejected(_)
            | Self::RunAssigned(_)
            | Self::RunStarted(_)
            | Self::RunFinished(_)
            | Self::RunLost(_)
            | Self::RunCancelRequested(_)
            | Self::RunCanceled(_)
            | Self::RunForgotten(_)
            | Self::NodeJoined(_)
            | Self::NodeLost(_)
            | Self::HeatTableSet(_)
            | Self::QueuePaused(_)
            | Self::QueueResumed(_)
            | Self::NodeDrained(_)
            | Self::NodeUndrained(_)
            | Self::NodeLabeled(_)
            | Self::RunEvicted(_)
            | Self::RunReleased(_)
            | Self::RunRefused(_)
            | Self::SnapshotBegun(_)
            | Self::SnapshotTaken(_)
            | Self::JournalArchived(_)
            | Self::JournalTrimmed(_)
            | Self::CheckpointSigned(_)
            | Self::LevelRaised(_)
            | Self::RunQuarantined(_) => None,
        }
    }
}

//! What has happened: every change of state, in the past tense.
//!
//! The journal stores these shapes (`journal::catalog`), so a field is never added to one: a new
//! version of the event is. Each names every thing it changes, so that any single part of the
//! [`World`](crate::World) can be folded from events alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::journal::{
    CheckpointSigned, JournalArchived, JournalTrimmed, LeaderStarted, LevelRaised, SnapshotBegun,
    SnapshotTaken,
};
pub use self::law::{
    HeatTableSet, PolicyDeleted, PolicyPut, QueuePaused, QueueResumed, TemplateDeleted, TemplatePut,
};
pub use self::nodes::{
    NodeDrained, NodeJoined, NodeLabeled, NodeLost, NodeLostCause, NodeUndrained,
};
pub use self::runs::{
    End, Exit, ExitCause, FailReason, KeyUse, LostCause, Next, Output, Place, RejectCode,
    RunAdmitted, RunAssigned, RunCancelRequested, RunCanceled, RunEvicted, RunFinished,
    RunForgotten, RunLost, RunQuarantined, RunRefused, RunRejected, RunReleased, RunStarted, Usage,
};
use crate::ids::{Hex, NodeId};

mod journal;
mod law;
mod names;
mod nodes;
mod runs;

/// One change of state. Large bodies are shared by all that fold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// See [`LeaderStarted`].
    LeaderStarted(Arc<LeaderStarted>),
    /// See [`RunAdmitted`].
    RunAdmitted(Arc<RunAdmitted>),
    /// See [`RunRejected`].
    RunRejected(Arc<RunRejected>),
    /// See [`RunAssigned`].
    RunAssigned(RunAssigned),
    /// See [`RunStarted`].
    RunStarted(RunStarted),
    /// See [`RunFinished`].
    RunFinished(Arc<RunFinished>),
    /// See [`RunLost`].
    RunLost(RunLost),
    /// See [`RunCancelRequested`].
    RunCancelRequested(RunCancelRequested),
    /// See [`RunCanceled`].
    RunCanceled(RunCanceled),
    /// See [`RunForgotten`].
    RunForgotten(RunForgotten),
    /// See [`NodeJoined`].
    NodeJoined(Arc<NodeJoined>),
    /// See [`NodeLost`].
    NodeLost(NodeLost),
    /// See [`PolicyPut`].
    PolicyPut(Arc<PolicyPut>),
    /// See [`PolicyDeleted`].
    PolicyDeleted(PolicyDeleted),
    /// See [`TemplatePut`].
    TemplatePut(Arc<TemplatePut>),
    /// See [`TemplateDeleted`].
    TemplateDeleted(TemplateDeleted),
    /// See [`HeatTableSet`].
    HeatTableSet(HeatTableSet),
    /// See [`QueuePaused`].
    QueuePaused(QueuePaused),
    /// See [`QueueResumed`].
    QueueResumed(QueueResumed),
    /// See [`NodeDrained`].
    NodeDrained(NodeDrained),
    /// See [`NodeUndrained`].
    NodeUndrained(NodeUndrained),
    /// See [`NodeLabeled`].
    NodeLabeled(NodeLabeled),
    /// See [`RunEvicted`].
    RunEvicted(RunEvicted),
    /// See [`RunReleased`].
    RunReleased(Arc<RunReleased>),
    /// See [`RunRefused`].
    RunRefused(Arc<RunRefused>),
    /// See [`SnapshotBegun`].
    SnapshotBegun(SnapshotBegun),
    /// See [`SnapshotTaken`].
    SnapshotTaken(SnapshotTaken),
    /// See [`JournalArchived`].
    JournalArchived(JournalArchived),
    /// See [`JournalTrimmed`].
    JournalTrimmed(JournalTrimmed),
    /// See [`CheckpointSigned`].
    CheckpointSigned(Arc<CheckpointSigned>),
    /// See [`LevelRaised`].
    LevelRaised(LevelRaised),
    /// See [`RunQuarantined`].
    RunQuarantined(Arc<RunQuarantined>),
}

/// Who caused a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// A deadline or a rule of the system itself.
    System,
    /// A caller of an instance that asks for no token.
    Anonymous,
    /// The holder of a token, by the first 8 bytes of the token's BLAKE3 digest.
    Token(Hex<8>),
    /// A node's agent.
    Node(NodeId),
}

/// Who caused a change, and with which request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who.
    pub by: Principal,
    /// The `X-Request-Id` of the request.
    pub request: Uuid,
}

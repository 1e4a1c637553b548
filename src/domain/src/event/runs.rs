//! What has happened to runs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::ids::{Digest, Hex, NodeId, RunId, Sequence, Timestamp, Token};
use crate::judge::{Judgement, Pinned};
use crate::submission::{Demand, Pool, Submission};

/// The use of an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// The key, as the caller chose it.
    pub key: Box<str>,
    /// First 16 bytes of the BLAKE3 digest of the body it came with.
    pub body: Hex<16>,
}

/// A run's place in the line, stamped at admission and kept through retries.
///
/// Field order is sort order: the priority is stored inverted, so that the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// 100 less the priority.
    pub after: u8,
    /// Virtual finish tag of the tenant (start-time fair queueing, Goyal et al. 1996).
    pub finish_tag: u64,
    /// Number of the admission, from 1: no two are alike.
    pub number: u64,
}

/// A submission was accepted, or is to run in quarantine; it waits in line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAdmitted {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who asked.
    pub origin: Origin,
    /// What was asked.
    pub submission: Arc<Submission>,
    /// The idempotency key, and this run's position in the request that carried it.
    pub key: Option<(KeyUse, u32)>,
    /// What the judges said, and on what.
    pub judgement: Arc<Judgement>,
    /// Where it stands in line.
    pub place: Place,
    /// The run this one repeats, by an operator's redrive.
    pub redrive_of: Option<RunId>,
}

/// A submission was refused by the law. The refusal is kept as a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRejected {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who asked.
    pub origin: Origin,
    /// What was asked.
    pub submission: Arc<Submission>,
    /// The idempotency key, and this run's position in the request that carried it.
    pub key: Option<(KeyUse, u32)>,
    /// What the judges said, and on what.
    pub judgement: Arc<Judgement>,
    /// Which rule of admission refused it.
    pub code: RejectCode,
}

/// Why a submission was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectCode {
    /// A judge said reject.
    PolicyRejected,
    /// Quarantine was asked for or ordered, and no live node is labelled for it.
    QuarantineUnavailable,
    /// Quarantine was asked for or ordered, and it is switched off.
    QuarantineDisabled,
}

/// An attempt was given to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAssigned {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// What the node's agent must show.
    pub token: Token,
    /// The node.
    pub node: NodeId,
    /// The node's pool at that time.
    pub pool: Pool,
    /// Whether the pool is not the preferred one.
    pub fallback: bool,
    /// What is set aside on the node.
    pub demand: Demand,
    /// The journal entry the plan was made from.
    pub planned_at: Sequence,
}

/// The program was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Number of the attempt.
    pub attempt: u32,
    /// The node.
    pub node: NodeId,
}

/// An attempt ended, and its output is readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFinished {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Number of the attempt.
    pub attempt: u32,
    /// The node.
    pub node: NodeId,
    /// How it ended.
    pub exit: Exit,
    /// What it used.
    pub usage: Usage,
    /// What it wrote.
    pub output: Output,
    /// What becomes of the run.
    pub next: Next,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why.
    pub cause: ExitCause,
    /// Exit code, where it ended by itself.
    pub code: Option<i32>,
    /// Signal, where one ended it.
    pub signal: Option<i32>,
    /// The agent's own words, where there is more to say.
    pub message: Option<Box<str>>,
}

/// Why a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// By itself, or by a signal of its own.
    Exited,
    /// Its wall clock ran out.
    TimedOut,
    /// It wanted more memory than it asked for.
    OutOfMemory,
    /// It was stopped because its run was cancelled.
    Canceled,
    /// The command is not there or can't be executed in the sandbox.
    NotExecutable,
    /// The node could not make the sandbox.
    SandboxFailed,
}

/// What an attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in milliseconds.
    pub cpu_ms: u64,
    /// Highest resident memory in MiB.
    pub max_rss_mb: u64,
    /// Wall clock in milliseconds.
    pub wall_ms: u64,
}

/// What an attempt wrote, and where it lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Kept bytes of standard output.
    pub stdout_bytes: u64,
    /// Kept bytes of standard error.
    pub stderr_bytes: u64,
    /// Whether more was written than is kept.
    pub truncated: bool,
    /// BLAKE3 of the kept chunks in order; none where nothing was kept.
    pub digest: Option<Digest>,
    /// URL of the instance that keeps it.
    pub holder: Box<str>,
}

/// What becomes of a run when an attempt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// It has ended.
    End(End),
    /// It waits in line again, not before the given time.
    Again {
        /// Log time.
        not_before: Timestamp,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Exit code 0.
    Succeeded,
    /// Failed, for the given reason.
    Failed(FailReason),
    /// Cancelled by a caller.
    Canceled,
}

/// Why a run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailReason {
    /// It exited with a code other than 0.
    NonZeroExit,
    /// A signal ended it.
    Signaled,
    /// Its wall clock ran out.
    TimedOut,
    /// It wanted more memory than it asked for.
    OutOfMemory,
    /// The command is not there or can't be executed.
    NotExecutable,
    /// No node could make its sandbox.
    SandboxFailed,
    /// Its node was lost and `on_lost` is `fail`.
    NodeLost,
    /// It used up its attempts.
    OutOfAttempts,
}

/// An attempt is over without a report of its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLost {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Number of the attempt.
    pub attempt: u32,
    /// The node.
    pub node: NodeId,
    /// Why it counts as lost.
    pub cause: LostCause,
    /// What becomes of the run.
    pub next: Next,
}

/// Why an attempt counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostCause {
    /// The node was lost.
    NodeLost,
    /// The node's agent started anew: what it ran before is gone.
    NodeRestarted,
    /// The agent says that it never had the attempt.
    Unknown,
    /// The node was drained, and its deadline has passed.
    Drained,
}

/// A caller wants a run that is on a node to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCancelRequested {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who asked.
    pub origin: Origin,
    /// Number of the attempt.
    pub attempt: u32,
    /// The node.
    pub node: NodeId,
}

/// A run that waited was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCanceled {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who asked.
    pub origin: Origin,
}

/// A finished run is past its retention: nothing but the journal knows it from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunForgotten {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
}

/// A run that waits after its node was lost, one time too many, goes to quarantine from here on: it
/// may be what brings nodes down, and its policy wants that looked at. In its entry it follows the
/// [`RunLost`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunQuarantined {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Whom it counts for.
    pub tenant: Box<str>,
    /// Number of the attempt that was lost last.
    pub attempt: u32,
    /// The node that was lost last.
    pub node: NodeId,
    /// Attempts that were lost with their nodes, that one included; sandboxes that were not made are
    /// none.
    pub losses: u32,
    /// The policy that says so.
    pub policy: Pinned,
}

/// An attempt on a drained node is to end, so that its run can go elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvicted {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Number of the attempt.
    pub attempt: u32,
    /// The node.
    pub node: NodeId,
}

/// A run that waited in quarantine was judged again, and let go by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReleased {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// What the judges say of it under the law of that time.
    pub judgement: Arc<Judgement>,
    /// The pool it prefers from here on.
    pub pool: Pool,
    /// Why, in the operator's words.
    pub reason: Box<str>,
}

/// A run that waited in quarantine was rejected by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRefused {
    /// The run.
    pub run: RunId,
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// Why, in the operator's words.
    pub reason: Box<str>,
}

//! What the house may be asked to do, and why it may refuse.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::event::{CheckpointSigned, Exit, KeyUse, NodeLostCause, Origin, Output, Usage};
use crate::ids::{Digest, NodeId, RunId, Sequence, Token};
use crate::judge::Judged;
use crate::law::{HeatTable, Policy, Template};
use crate::placement::Assignment;
use crate::submission::Demand;
use crate::texts::Texts;

/// One request to change the state. Ids and tokens are inputs, drawn by the caller.
#[derive(Clone, Debug)]
pub enum Command {
    /// Let a judged submission in, or record its refusal.
    Admit(Box<Admit>),
    /// End a run.
    Cancel {
        /// The run.
        run: RunId,
        /// Who asks.
        origin: Origin,
    },
    /// Give a waiting run to a node.
    Assign {
        /// The proposal.
        assignment: Assignment,
        /// For the new attempt.
        token: Token,
        /// The entry the plan was made from.
        planned_at: Sequence,
    },
    /// A node's agent says what became of an attempt.
    Report {
        /// What.
        report: Report,
        /// Any number: spreads the pause before another attempt.
        chance: u64,
    },
    /// A node's agent registers.
    Join(Join),
    /// A node is gone.
    LoseNode {
        /// The node.
        node: NodeId,
        /// Only if its agent is still this process.
        boot: Uuid,
        /// Why.
        cause: NodeLostCause,
    },
    /// Create or replace a policy.
    PutPolicy {
        /// The policy.
        policy: Box<Policy>,
        /// What must be true of the one in force.
        guard: Guard,
        /// Who asks.
        origin: Origin,
        /// Digest of the report on what it would have changed, where one was made first.
        what_if: Option<Digest>,
    },
    /// Delete a policy.
    DeletePolicy {
        /// Its name.
        name: Box<str>,
        /// What must be true of the one in force.
        guard: Guard,
        /// Who asks.
        origin: Origin,
    },
    /// Create or replace a template.
    PutTemplate {
        /// The template.
        template: Template,
        /// What must be true of the one in force.
        guard: Guard,
        /// Who asks.
        origin: Origin,
    },
    /// Delete a template.
    DeleteTemplate {
        /// Its name.
        name: Box<str>,
        /// What must be true of the one in force.
        guard: Guard,
        /// Who asks.
        origin: Origin,
    },
    /// Set the heat thresholds.
    SetHeatTable {
        /// The thresholds.
        table: HeatTable,
        /// What must be true of those in force.
        guard: Guard,
        /// Who asks.
        origin: Origin,
    },
    /// Stop assigning.
    PauseQueue {
        /// Who asks.
        origin: Origin,
    },
    /// Assign again.
    ResumeQueue {
        /// Who asks.
        origin: Origin,
    },
    /// Let no more work go to a node.
    DrainNode {
        /// The node.
        node: NodeId,
        /// Milliseconds until what still runs is moved; never where there is none.
        deadline_ms: Option<u64>,
        /// Who asks.
        origin: Origin,
    },
    /// Let work go to a node again.
    UndrainNode {
        /// The node.
        node: NodeId,
        /// Who asks.
        origin: Origin,
    },
    /// Set an operator's labels of a node.
    LabelNode {
        /// The node.
        node: NodeId,
        /// All of them; none as a value takes a label of the agent's away.
        labels: BTreeMap<Box<str>, Option<Box<str>>>,
        /// Who asks.
        origin: Origin,
    },
    /// Let a run that waits in quarantine go to the pool of its heat.
    Release {
        /// The run, judged again: see [`crate::judge::judge_again`].
        run: RunId,
        /// What the judges say today.
        judged: Box<Judged>,
        /// Why, in the operator's words.
        reason: Box<str>,
        /// Who asks.
        origin: Origin,
    },
    /// Reject a run that waits in quarantine.
    Refuse {
        /// The run.
        run: RunId,
        /// Why, in the operator's words.
        reason: Box<str>,
        /// Who asks.
        origin: Origin,
    },
    /// Say that a snapshot of the state after this is being made.
    BeginSnapshot,
    /// Say that a snapshot is stored.
    TakeSnapshot {
        /// The entry after which the state was so.
        index: Sequence,
        /// Digest of the state.
        digest: Digest,
        /// Bytes stored.
        bytes: u64,
        /// The version of the state's shape that the digest is of.
        state: u32,
    },
    /// Say that the journal is in the archive.
    Archive {
        /// Up to this entry.
        through: Sequence,
        /// Its hash.
        hash: Digest,
    },
    /// Let what lies before an entry leave Redis.
    Trim {
        /// The first entry that stays.
        first: Sequence,
    },
    /// Vouch for the journal up to an entry.
    SignCheckpoint(CheckpointSigned),
    /// Let events be written that older programs do not read.
    RaiseLevel {
        /// The level.
        level: u32,
        /// Who asks.
        origin: Origin,
    },
    /// Do what is due, at most so many things.
    Tick {
        /// At most.
        most: usize,
    },
}

/// A submission at the door.
#[derive(Clone, Debug)]
pub struct Admit {
    /// The run it becomes; greater than every id before.
    pub run: RunId,
    /// What the judges said.
    pub judged: Judged,
    /// Idempotency key, and the position in the request.
    pub key: Option<(KeyUse, u32)>,
    /// Who asks.
    pub origin: Origin,
    /// Most runs that may wait.
    pub queue_max: usize,
    /// The dead letter that this submission is of, judged again.
    pub redrive_of: Option<RunId>,
}

/// What must be true of the version in force for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    #[default]
    None,
    /// It is this one (`If-Match`).
    Version(u64),
    /// There is none (`If-None-Match: *`).
    Absent,
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub struct Report {
    /// The node that says so.
    pub node: NodeId,
    /// The run.
    pub run: RunId,
    /// The attempt's token.
    pub token: Token,
    /// What.
    pub what: Reported,
}

/// What an agent can say of an attempt.
#[derive(Clone, Debug)]
pub enum Reported {
    /// The program was started.
    Started,
    /// It ended, and its output is kept.
    Finished {
        /// How.
        exit: Exit,
        /// What it used.
        usage: Usage,
        /// What it wrote.
        output: Output,
    },
    /// The agent does not have it, or gave it up.
    Gone,
}

/// A node's agent, registering.
#[derive(Clone, Debug)]
pub struct Join {
    /// The node.
    pub node: NodeId,
    /// The agent's process.
    pub boot: Uuid,
    /// Labels.
    pub labels: Texts,
    /// What the machine has.
    pub capacity: Demand,
    /// What its sandboxes enforce.
    pub isolation: Vec<Box<str>>,
    /// Name of the runtime.
    pub runtime: Box<str>,
    /// Version of the agent.
    pub version: Box<str>,
}

fn no_such_level(asked: u32, found: u32, known: u32) -> String {
    if asked <= found {
        return format!("level {found} is in force already: there is no way back to a lower one");
    }
    format!(
        "there is no level {asked} here: level {found} is in force, and this version knows up to \
         {known}"
    )
}

/// The law of the house said no. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such run.
    #[error("run {0} does not exist: list runs with GET /v1/runs")]
    NoSuchRun(RunId),
    /// The run has ended.
    #[error("run {0} has ended: nothing is left to cancel")]
    AlreadyEnded(RunId),
    /// The run is not waiting, or no longer fits: the plan was overtaken.
    #[error("the proposal no longer holds")]
    Overtaken,
    /// The submission was judged under another revision of the law.
    #[error("judged under revision {judged}, but revision {needed} is in force")]
    StaleLaw {
        /// Revision it was judged under.
        judged: u64,
        /// Revision in force.
        needed: u64,
    },
    /// The line is full.
    #[error("the queue holds {waiting} runs, its limit is {limit}: try again later")]
    QueueFull {
        /// Runs that wait.
        waiting: usize,
        /// Most that may.
        limit: usize,
    },
    /// The tenant has no more room, and its policy says that it is to come back later.
    #[error("tenant \"{tenant}\" is over its quota: {}", .over.join("; "))]
    QuotaExceeded {
        /// The tenant.
        tenant: Box<str>,
        /// Each quota it would exceed, in words.
        over: Vec<String>,
        /// Milliseconds until it can have changed, where that is known.
        retry_after_ms: Option<u64>,
    },
    /// The run does not wait in quarantine.
    #[error(
        "run {0} does not wait in quarantine: only a pending quarantined run can be released or rejected"
    )]
    NotInQuarantine(RunId),
    /// The law of today rejects the run: it stays in quarantine.
    #[error("today's policy rejects run {run}, so that it stays in quarantine: {}", .reasons.join("; "))]
    StillRejected {
        /// The run.
        run: RunId,
        /// What the judges said.
        reasons: Vec<String>,
    },
    /// The run is not out of attempts.
    #[error(
        "run {0} is no dead letter: only what ended FAILED for want of attempts can be redriven; list \
         it with GET /v1/queue/dead"
    )]
    NotDead(RunId),
    /// The dead letter has become another run.
    #[error("run {run} was redriven, it became run {redriven_as}: look at that one")]
    Redriven {
        /// The dead letter.
        run: RunId,
        /// What it became.
        redriven_as: RunId,
    },
    /// There is no such node.
    #[error("node {0} does not exist: list nodes with GET /v1/nodes")]
    UnknownNode(NodeId),
    /// The call is more than one journal entry holds.
    #[error(
        "the request takes {bytes} bytes of the journal, an entry holds {limit}: send fewer runs at once"
    )]
    TooLarge {
        /// Bytes it would take.
        bytes: usize,
        /// Most it may.
        limit: usize,
    },
    /// The idempotency key came with another body.
    #[error(
        "Idempotency-Key \"{key}\" was used with another body: use a new key for a new request"
    )]
    KeyReused {
        /// The key.
        key: Box<str>,
    },
    /// The attempt is not the run's current one.
    #[error("the attempt is not current")]
    StaleAttempt,
    /// What is kept of the journal grows; this is said again, or of less.
    #[error("{what} {asked} is not after {known}")]
    NotAfter {
        /// What is kept.
        what: &'static str,
        /// The entry named.
        asked: Sequence,
        /// The entry known.
        known: Sequence,
    },
    /// What would leave Redis is not archived, or not covered by two snapshots.
    #[error(
        "entries before {first} can't leave Redis: the archive reaches entry {archived}, and \
         snapshots cover what may leave up to entry {covered}"
    )]
    NotKept {
        /// The first entry that was to stay.
        first: Sequence,
        /// The last entry in the archive.
        archived: Sequence,
        /// The last entry that snapshots allow to leave.
        covered: Sequence,
    },
    /// Older programs could not read what would be written.
    #[error(
        "{what} take level {level}, and the journal is of level {found}, which older versions read: \
         raise it with `tartarus level raise {level}` when none of them is needed any more"
    )]
    LevelTooLow {
        /// What would be written.
        what: &'static str,
        /// The level that it takes.
        level: u32,
        /// The level in force.
        found: u32,
    },
    /// There is no such level, or it is in force.
    #[error("{}", no_such_level(*asked, *found, *known))]
    NoSuchLevel {
        /// What was asked for.
        asked: u32,
        /// What is in force.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// There is no such node, or another process speaks for it.
    #[error("node {0} is not registered by this agent")]
    NoSuchNode(NodeId),
    /// The pool labels of a node may change only while nothing is allocated on it.
    #[error("node {node} has runs: its pool labels can change only while it has none")]
    PoolChange {
        /// The node.
        node: NodeId,
    },
    /// A node that is not restarted must have at least what is set aside on it.
    #[error(
        "node {node} has runs that hold more than the capacity it names: it can shrink only when they have ended"
    )]
    CapacityBelowUse {
        /// The node.
        node: NodeId,
    },
    /// The version in force is not the one named.
    #[error("version {found} is in force, not {expected}: read it, then try again")]
    VersionMismatch {
        /// What was asked for.
        expected: u64,
        /// What there is; 0 for none.
        found: u64,
    },
    /// It exists.
    #[error("\"{name}\" exists at version {version}: leave If-None-Match out to replace it")]
    Exists {
        /// Its name.
        name: Box<str>,
        /// Its version.
        version: u64,
    },
    /// It does not exist.
    #[error("{kind} \"{name}\" does not exist")]
    NotFound {
        /// Policy or template.
        kind: &'static str,
        /// Its name.
        name: Box<str>,
    },
    /// It is built in.
    #[error("{kind} \"{name}\" is built in: choose another name")]
    BuiltIn {
        /// Policy or template.
        kind: &'static str,
        /// Its name.
        name: Box<str>,
    },
    /// There are as many as may be.
    #[error(
        "there are {limit} policies, which is the most: delete one, or add its templates to another"
    )]
    TooManyPolicies {
        /// Most that may be.
        limit: usize,
    },
    /// Another policy claims the same templates as specifically.
    #[error("policy \"{other}\" matches \"{pattern}\" just as specifically: change one of them")]
    Tie {
        /// The other policy.
        other: Box<str>,
        /// The pattern of this one.
        pattern: Box<str>,
    },
}

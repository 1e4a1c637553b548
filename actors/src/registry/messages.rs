//! What the registry may be asked. It is the only actor that changes anything.

use actix::Message;
use domain::command::{self, Command};
use domain::event::{KeyUse, Origin};
use domain::placement::Assignment;
use domain::{Judged, Refusal, Run, Sequence};

use crate::answer::Reply;

/// Lets judged submissions in, all in one journal entry.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Admit {
    /// With their position in the request.
    pub items: Vec<(u32, Judged)>,
    /// The request's idempotency key.
    pub key: Option<KeyUse>,
    /// The dead letter that they are of.
    pub redrive_of: Option<domain::RunId>,
    /// Who asks.
    pub origin: Origin,
    /// An answer for each item, in order.
    pub reply: Reply<Vec<Result<Admitted, Refusal>>>,
}

/// A submission that has a run.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The run.
    pub run: Run,
    /// Whether an earlier request with the same key made it.
    pub repeat: bool,
}

/// Ends a run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Cancel {
    /// The run.
    pub run: domain::RunId,
    /// Who asks.
    pub origin: Origin,
    /// The run as it is then.
    pub reply: Reply<Run>,
}

/// Lets a run that waits in quarantine go, judged again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Release {
    /// The run.
    pub run: domain::RunId,
    /// What the judges say today.
    pub judged: Box<Judged>,
    /// Why, in the operator's words.
    pub reason: Box<str>,
    /// Who asks.
    pub origin: Origin,
    /// The run as it is then.
    pub reply: Reply<Run>,
}

/// Rejects a run that waits in quarantine.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Refuse {
    /// The run.
    pub run: domain::RunId,
    /// Why, in the operator's words.
    pub reason: Box<str>,
    /// Who asks.
    pub origin: Origin,
    /// The run as it is then.
    pub reply: Reply<Run>,
}

/// Gives waiting runs to nodes, as far as each proposal still holds.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Assign {
    /// The plan.
    pub plan: Vec<Assignment>,
    /// The entry it was made from.
    pub planned_at: Sequence,
    /// How many proposals held.
    pub reply: Reply<usize>,
}

/// What became of an attempt. Refused reports are answered too: the agent may forget them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Report {
    /// The report.
    pub report: command::Report,
    /// Answered when it is durable.
    pub reply: Reply<()>,
}

/// Registers a node.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Join {
    /// What its agent says.
    pub join: command::Join,
    /// Answered when it is durable.
    pub reply: Reply<()>,
}

/// Declares a node lost.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LoseNode {
    /// The node.
    pub node: domain::NodeId,
    /// Only if its agent is still this process.
    pub boot: uuid::Uuid,
    /// Why.
    pub cause: domain::event::NodeLostCause,
    /// Answered when it is durable.
    pub reply: Reply<()>,
}

/// Changes the law or the queue, or says something of the record: policies, templates, thresholds,
/// pause; checkpoints, the level.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Enact {
    /// One of the commands of the law, the queue or the record.
    pub command: Command,
    /// Revision and version in force then.
    pub reply: Reply<Enacted>,
}

/// What was enacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enacted {
    /// Revision of the law.
    pub revision: u64,
    /// Version of the policy or template; 0 where there is none.
    pub version: u64,
}

//! What the view may be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use domain::Texts;
use domain::dead::Letter;
use domain::event::RunAdmitted;
use domain::explain::Standing;
use domain::fleet::Node;
use domain::judge::Learned;
use domain::kept::Kept;
use domain::law::{HeatTable, Law, RootFs, Version};
use domain::ledger::{Entry, Stand};
use domain::placement::{Never, WaitReason};
use domain::reigns::Reign;
use domain::submission::{Heat, Pool};
use domain::tenants::Holdings;
use domain::{NodeId, Run, RunId, Sequence, Status, Timestamp, Token};
use tokio::sync::oneshot;

use crate::answer::{Mark, Receipt};

/// A value, and the entry it reflects.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub mark: Mark,
}

/// A run, and why it waits if it does.
#[derive(Clone, Debug)]
pub struct RunSeen {
    /// The run.
    pub run: Run,
    /// Why it waits.
    pub waiting: Option<WaitReason>,
    /// What is in its way, where nothing that is live could ever hold it.
    pub never: Option<Never>,
    /// Its dead letter, where it is out of attempts.
    pub dead: Option<Letter>,
}

/// When a read of a run is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At once.
    Now,
    /// When the run has ended.
    Ended,
    /// When the run has changed after this entry.
    ChangedAfter(Sequence),
}

/// Reads a run; none when there is none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct GetRun {
    /// The run.
    pub run: RunId,
    /// When to answer.
    pub until: Until,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Seen<Option<RunSeen>>>,
}

/// What explaining a run takes; none when there is none.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Option<RunExplained>>")]
pub struct ExplainRun(pub RunId);

/// A run, and why it is where it is.
#[derive(Clone, Debug)]
pub struct RunExplained {
    /// The run.
    pub seen: RunSeen,
    /// The law it was judged by, as far as it was applied.
    pub law: Law,
    /// How it stands, if it waits.
    pub standing: Option<Standing>,
}

/// Which runs a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Any of these; all when empty.
    pub statuses: Vec<Status>,
    /// Started from this template.
    pub template: Option<Box<str>>,
    /// Of this tenant.
    pub tenant: Option<Box<str>>,
    /// Latest attempt on this node.
    pub node: Option<Box<str>>,
    /// Of this heat.
    pub heat: Option<Heat>,
    /// In, or preferring, this pool.
    pub pool: Option<Pool>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
    /// Whether labels match.
    pub labels: Option<LabelTest>,
}

/// A test of labels.
#[derive(Clone)]
pub struct LabelTest(pub Arc<dyn Fn(&Texts) -> bool + Send + Sync>);

impl std::fmt::Debug for LabelTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LabelTest")
    }
}

/// Lists runs, newest first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ListRuns {
    /// Which.
    pub filter: Filter,
    /// Older than this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Seen<RunPage>>,
}

/// A page of runs.
#[derive(Clone, Debug, Default)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunSeen>,
    /// Go on before this one, if there may be more.
    pub next: Option<RunId>,
}

/// Waits until an entry is applied, or a collection has changed after one.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AwaitIndex {
    /// At least this entry.
    pub index: Sequence,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Mark>,
}

/// Whether an entry that is folded is the one of this receipt, and no other under its number; none
/// where it is older than what the view remembers.
#[derive(Debug, Message)]
#[rtype(result = "Option<bool>")]
pub struct HasEntry(pub Receipt);

/// All nodes.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Vec<(NodeId, Node)>>")]
pub struct ListNodes;

/// One node.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Option<Node>>")]
pub struct GetNode(pub NodeId);

/// What a node should be doing.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Vec<Want>>")]
pub struct WantsOf(pub NodeId);

/// One attempt a node should have.
#[derive(Clone, Debug)]
pub struct Want {
    /// The run as it was admitted.
    pub admitted: Arc<RunAdmitted>,
    /// Number of the attempt.
    pub attempt: u32,
    /// Its token.
    pub token: Token,
    /// Whether to end it.
    pub stop: bool,
    /// The pinned template's root filesystem.
    pub rootfs: RootFs,
}

/// What judges want to see of the durable past.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Facts>")]
pub struct JudgingFacts {
    /// Of these tenants: what they have.
    pub tenants: Vec<Box<str>>,
    /// Of these templates: what runs of them have used.
    pub templates: Vec<Box<str>>,
}

/// What there was to see.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// When it was looked at, in log time.
    pub at: Timestamp,
    /// What each tenant has.
    pub tenants: BTreeMap<Box<str>, Holdings>,
    /// What runs of a template have used, where there were enough of them.
    pub learned: BTreeMap<Box<str>, Learned>,
}

/// Counts for metrics and readiness.
#[derive(Debug, Message)]
#[rtype(result = "Summary")]
pub struct Summarize;

/// Counts.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Entry applied.
    pub index: Sequence,
    /// Its receipt.
    pub receipt: Receipt,
    /// Leader's epoch.
    pub epoch: u64,
    /// Law revision.
    pub revision: u64,
    /// Runs by status.
    pub runs: Vec<(Status, u64)>,
    /// Nodes that take work.
    pub nodes_ready: usize,
    /// Nodes that finish what they have.
    pub nodes_draining: usize,
    /// Nodes that are gone.
    pub nodes_lost: usize,
    /// Latest log time.
    pub now: Timestamp,
    /// What is kept of the journal.
    pub kept: Kept,
}

/// Lists what is in quarantine, newest first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ListQuarantine {
    /// Only those that stand like this.
    pub stand: Option<Stand>,
    /// Only of this tenant.
    pub tenant: Option<Box<str>>,
    /// Older than this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Seen<QuarantinePage>>,
}

/// A page of the quarantine ledger.
#[derive(Clone, Debug, Default)]
pub struct QuarantinePage {
    /// Entries, with their runs.
    pub entries: Vec<(Entry, RunSeen)>,
    /// Go on before this one, if there may be more.
    pub next: Option<RunId>,
}

/// Lists dead letters, newest run first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ListDead {
    /// Those that had their redrive; otherwise those that wait for one.
    pub redriven: bool,
    /// Started from this template.
    pub template: Option<Box<str>>,
    /// Of this tenant.
    pub tenant: Option<Box<str>>,
    /// Older than this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Seen<DeadPage>>,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default)]
pub struct DeadPage {
    /// Their runs.
    pub runs: Vec<RunSeen>,
    /// Go on before this one, if there may be more.
    pub next: Option<RunId>,
    /// The entry that changed the dead letters last; all of them, not just this page.
    pub changed: Sequence,
}

/// The thresholds of heat, and what is learned.
#[derive(Debug, Message)]
#[rtype(result = "Seen<HeatSeen>")]
pub struct GetHeat;

/// The thresholds of heat, and what is learned.
#[derive(Clone, Debug)]
pub struct HeatSeen {
    /// The law in force.
    pub law: Arc<Law>,
    /// Every version of the thresholds, oldest first, without the published ones.
    pub history: Vec<Version<HeatTable>>,
    /// By template: attempts ever seen, what they come to, and whether there are enough.
    pub learned: Vec<(Box<str>, u64, Learned, bool)>,
}

/// The digest of all that the view has folded: the state less the idempotency keys.
#[derive(Message)]
#[rtype(result = "Seen<domain::ids::Digest>")]
pub struct TakeDigest;

/// What the journal says of itself: who has led it, and its level.
#[derive(Debug, Message)]
#[rtype(result = "Seen<RecordSeen>")]
pub struct GetRecord;

/// Who has led the journal, and its level.
#[derive(Clone, Debug)]
pub struct RecordSeen {
    /// Oldest first.
    pub reigns: Vec<Reign>,
    /// The level in force.
    pub level: u32,
}

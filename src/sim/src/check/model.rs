//! The model: what a journal says, told by a few rules of its own.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use domain::NodeId;
use domain::event::{End, Event, Exit, ExitCause, FailReason, LostCause, Next, NodeLostCause};
use domain::ids::Hex;
use domain::judge::Judgement;
use domain::law::LOCKDOWN_DEFAULT;
use domain::submission::OnLost;
use journal::{Entry, EntryId, catalog};
use uuid::Uuid;

use crate::world::World;

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The operation that made it.
    pub op: String,
    /// Its place in it.
    pub position: String,
    /// Its statuses, and after which entry each.
    pub statuses: Vec<(u64, &'static str)>,
    /// Its attempts: token, node, entry of the assignment, and of the end.
    pub attempts: Vec<Attempt>,
    /// How often it may fail by itself, its last failure included.
    pub most: u32,
    /// Whether it is tried again when its node is lost.
    pub again: bool,
    /// Attempts that failed by themselves.
    pub failed: u32,
    /// Attempts that were lost with their node.
    pub lost: u32,
    /// The entry since which a caller wants it to end.
    pub canceled: Option<u64>,
}

/// A run is given to four nodes (`docs/operations.md`): so often it is lost and tried again.
const LOSSES: u32 = 3;

/// An attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number.
    pub number: u32,
    /// Its token.
    pub token: Hex<16>,
    /// Its node.
    pub node: String,
    /// The entry that assigned it.
    pub assigned: u64,
    /// The entry that ended it.
    pub ended: Option<u64>,
    /// How it ended, where its agent said so.
    pub exit: Option<Exit>,
    /// Whether it was to be moved.
    pub evicted: bool,
}

/// A change of a policy.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub policy: String,
    /// Its version; none where it was deleted.
    pub version: Option<u64>,
    /// The revision of the law that it made.
    pub revision: u64,
    /// The entry.
    pub seq: u64,
}

/// A node's loss.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Which.
    pub node: String,
    /// The entry.
    pub id: EntryId,
    /// Why.
    pub cause: NodeLostCause,
    /// Who wrote it.
    pub boot: Uuid,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    /// Entries, in order.
    pub ids: Vec<EntryId>,
    /// Runs.
    pub runs: BTreeMap<Uuid, Run>,
    /// Reigns: entry, epoch, boot.
    pub reigns: Vec<(u64, u64, Uuid)>,
    /// Nodes that were lost.
    pub lost: Vec<Lost>,
    /// Changes of policies, in order.
    pub law: Vec<Change>,
    /// When the queue was stopped and let go on: the entry, and whether it stands from there on.
    pub queue: Vec<(u64, bool)>,
    /// When nodes were taken out and let in again, in the same way.
    pub drains: BTreeMap<String, Vec<(u64, bool)>>,
    /// When a node came first.
    pub joined: BTreeMap<String, u64>,
    /// What was found on the way.
    pub wrong: Vec<(&'static str, String)>,
    tokens: BTreeSet<Hex<16>>,
    in_force: BTreeMap<String, u64>,
}

impl Run {
    /// Its status after an entry.
    pub fn status_at(&self, seq: u64) -> Option<&'static str> {
        self.statuses.iter().rev().find(|(at, _)| *at <= seq).map(|(_, status)| *status)
    }

    /// Its last status.
    pub fn status(&self) -> &'static str {
        self.statuses.last().map_or("", |(_, status)| status)
    }

    /// S10: no more attempts than it may have. L6: it is given up only when it has had them.
    pub(super) fn within_limits(
        &mut self,
        how: How<'_>,
        next: Next,
    ) -> Option<(&'static str, String)> {
        let succeeded = how.is_success();
        let failed = matches!(how, How::Reported(_)) && !succeeded;
        // Being moved for an operator counts as nothing.
        let lost = matches!(how, How::Lost(cause) if cause != LostCause::Drained);
        self.failed += u32::from(failed);
        self.lost += u32::from(lost);
        let (asked_to_end, again) = (self.canceled.is_some(), self.again);
        let may_go_on = match how {
            How::Reported(_) => failed && self.failed < self.most,
            How::Lost(_) => again && self.lost <= LOSSES,
        };
        let (rule, right) = match next {
            Next::Again { .. } => ("S10", may_go_on && !asked_to_end),
            Next::End(End::Canceled) => ("S10", asked_to_end),
            Next::End(End::Succeeded) => ("S10", succeeded),
            Next::End(End::Failed(FailReason::NodeLost)) => {
                ("L6", matches!(how, How::Lost(_)) && !again && !asked_to_end)
            }
            Next::End(End::Failed(_)) => ("L6", (failed || lost) && !may_go_on && !asked_to_end),
        };
        let Self { failed, most, lost, .. } = self;
        (!right)
            .then(|| (rule, format!("{next:?} after {failed} of {most} failures, {lost} losses")))
    }

    fn is_live(&self, number: u32, node: &NodeId) -> bool {
        let live = self.attempts.last().filter(|attempt| attempt.ended.is_none());
        live.is_some_and(|live| live.number == number && live.node == node.as_str())
    }

    fn live(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut().filter(|attempt| attempt.ended.is_none())
    }
}

/// Whether something stood so, or did not, before, in or after an entry: by its changes.
pub fn was(changes: &[(u64, bool)], so: bool, seq: u64) -> bool {
    let changes = || changes.iter().filter(|(at, _)| *at <= seq);
    let before = changes().rfind(|(at, _)| *at < seq).is_some_and(|(_, was)| *was);
    before == so || changes().any(|(at, was)| *at == seq && *was == so)
}

/// Whether a status is an end.
pub fn is_end(status: &str) -> bool {
    matches!(status, "SUCCEEDED" | "FAILED" | "CANCELED" | "REJECTED")
}

/// How an attempt ended.
#[derive(Clone, Copy)]
pub(super) enum How<'a> {
    /// By itself, or by its agent's hand.
    Reported(&'a Exit),
    /// Nobody said.
    Lost(LostCause),
}

impl How<'_> {
    fn is_success(self) -> bool {
        let by_itself = |exit: &Exit| exit.cause == ExitCause::Exited && exit.code == Some(0);
        matches!(self, How::Reported(exit) if by_itself(exit))
    }
}

fn ends_as(next: Next) -> &'static str {
    match next {
        Next::Again { .. } => "PENDING",
        Next::End(End::Succeeded) => "SUCCEEDED",
        Next::End(End::Failed(_)) => "FAILED",
        Next::End(End::Canceled) => "CANCELED",
    }
}

impl Model {
    /// Runs that have not ended.
    pub fn unfinished(&self) -> usize {
        self.runs.values().filter(|run| !is_end(run.status())).count()
    }

    /// The version of a policy after an entry, where it was in force.
    pub fn version_at(&self, policy: &str, seq: u64) -> Option<u64> {
        let mut changes = self.law.iter().rev();
        changes.find(|change| change.policy == policy && change.seq <= seq)?.version
    }

    /// Whether a node is taken out, as far as was read.
    fn is_drained(&self, node: &NodeId) -> bool {
        let last = self.drains.get(node.as_str()).and_then(|changes| changes.last());
        last.is_some_and(|(_, drained)| *drained)
    }

    fn drained(&mut self, seq: u64, node: &NodeId, drained: bool) {
        self.drains.entry(node.as_str().to_owned()).or_default().push((seq, drained));
    }

    /// Of what Redis has.
    pub fn of(world: &World) -> Self {
        Self::told_by(world.store.entries(0))
    }

    /// Of some entries.
    pub fn told_by(entries: Vec<(EntryId, Bytes)>) -> Self {
        let mut model = Self::default();
        let mut before: Option<Entry> = None;
        for (id, bytes) in entries {
            model.ids.push(id);
            let entry = match Entry::parse(id, bytes) {
                Ok(entry) => entry,
                Err(damaged) => {
                    model.wrong.push(("S1", format!("{id} can't be read: {damaged}")));
                    continue;
                }
            };
            model.chain(before.as_ref(), &entry);
            model.entry(&entry);
            before = Some(entry);
        }
        model
    }

    /// S1, S7: contiguous, chained, of epochs that never go back.
    fn chain(&mut self, before: Option<&Entry>, entry: &Entry) {
        let Some(before) = before else { return };
        let (last, next) = (before.header(), entry.header());
        if entry.seq() != before.seq() + 1 || next.prev != before.position().hash {
            self.wrong.push(("S1", format!("{} does not follow {}", entry.id(), before.id())));
        }
        if next.epoch < last.epoch || next.epoch == last.epoch && next.boot != last.boot {
            let what = format!("{} is of epoch {} after {}", entry.id(), next.epoch, last.epoch);
            self.wrong.push(("S7", what));
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let (seq, boot) = (entry.seq(), entry.header().boot);
        let mut first = true;
        for event in catalog::events(entry) {
            match event {
                Ok((_, event)) => {
                    let barrier = matches!(event, Event::LeaderStarted(_));
                    let reigns = self.reigns.last().is_some_and(|(_, epoch, writer)| {
                        *epoch == entry.header().epoch && *writer == boot
                    });
                    if !barrier && !reigns || barrier && !first {
                        let what = format!("{} is written by one that does not lead", entry.id());
                        self.wrong.push(("S7", what));
                    }
                    first = false;
                    self.event(entry.id(), entry.header().epoch, boot, &event);
                }
                Err(unreadable) => {
                    self.wrong.push(("S1", format!("{}: {unreadable}", entry.id())));
                }
            }
        }
        if first && seq > 1 {
            self.wrong.push(("S1", format!("{} says nothing", entry.id())));
        }
    }

    fn born(&mut self, seq: u64, run: Uuid, submission: &domain::Submission, status: &'static str) {
        let word = |name: &str| submission.metadata.get(name).map_or("", |word| word).to_owned();
        let (op, position) = (word("op"), word("position"));
        let run_is = Run {
            op,
            position,
            statuses: vec![(seq, status)],
            most: submission.retry.max_attempts,
            again: submission.on_lost == OnLost::Retry,
            ..Run::default()
        };
        if self.runs.insert(run, run_is).is_some() {
            self.wrong.push(("S10", format!("run {run} is born twice")));
        }
    }

    /// P-1: a submission is judged by the law in force where it is written, by the most specific of
    /// the policies that are for it: of those that clients put, the first by name.
    fn judged(&mut self, seq: u64, judgement: &Judgement) {
        let Judgement { revision, policy, .. } = judgement;
        let built_in = (LOCKDOWN_DEFAULT, 0);
        let right = self.in_force.first_key_value();
        let right = right.map_or(built_in, |(name, version)| (name.as_str(), *version));
        let newest = self.law.last().map_or(0, |change| change.revision);
        if (&*policy.name, policy.version) != right || *revision != newest {
            let what = format!("{seq} is judged by {policy:?} of revision {revision}");
            self.wrong.push(("P-1", format!("{what}, and not by {right:?} of {newest}")));
        }
    }

    /// P-1: versions are counted from 1, also beyond a deletion; revisions grow.
    fn enacted(&mut self, policy: String, version: Option<u64>, revision: u64, seq: u64) {
        let its = self.law.iter().rev().filter(|change| change.policy == policy);
        let before = its.filter_map(|change| change.version).next().unwrap_or(0);
        let last = self.law.last().map_or(0, |change| change.revision);
        if version.is_some_and(|version| version != before + 1) || revision <= last {
            let what = format!("{seq}: {policy} has version {version:?} after {before}");
            self.wrong.push(("P-1", format!("{what}, revision {revision} after {last}")));
        }
        match version {
            Some(version) => self.in_force.insert(policy.clone(), version),
            None => self.in_force.remove(&policy),
        };
        self.law.push(Change { policy, version, revision, seq });
    }

    /// A run's next status, where it may have one.
    fn turn(&mut self, seq: u64, run: Uuid, from: &[&str], to: &'static str) -> Option<&mut Run> {
        let Some(known) = self.runs.get_mut(&run) else {
            self.wrong.push(("S10", format!("run {run} becomes {to}, and was never born")));
            return None;
        };
        let status = known.status();
        if !from.contains(&status) {
            self.wrong.push(("S10", format!("run {run} becomes {to} at {seq}, and was {status}")));
        }
        if status != to {
            known.statuses.push((seq, to));
        }
        Some(known)
    }

    /// An attempt is over: it must be the one that lives.
    fn over(
        &mut self,
        seq: u64,
        run: Uuid,
        (number, node): (u32, &NodeId),
        how: How<'_>,
        next: Next,
    ) {
        let to = ends_as(next);
        let Some(known) = self.turn(seq, run, &["SCHEDULED", "RUNNING"], to) else { return };
        let lived = known.is_live(number, node);
        if let Some(live) = known.live() {
            live.ended = Some(seq);
            if let How::Reported(exit) = how {
                live.exit = Some(exit.clone());
            }
        }
        let broken = known.within_limits(how, next);
        if !lived {
            let what =
                format!("run {run}: attempt {number} ends on {node} at {seq}, and did not live");
            self.wrong.push(("S10", what));
        }
        if let Some((rule, what)) = broken {
            self.wrong.push((rule, format!("run {run} at {seq}: {what}")));
        }
    }

    fn event(&mut self, id: EntryId, epoch: u64, boot: Uuid, event: &Event) {
        let seq = id.seq;
        match event {
            Event::LeaderStarted(e) => {
                if e.epoch != epoch || e.boot != boot {
                    self.wrong.push(("S7", format!("{id} says another's reign")));
                }
                self.reigns.push((seq, e.epoch, e.boot));
            }
            Event::RunAdmitted(e) => {
                self.judged(seq, &e.judgement);
                self.born(seq, e.run.0, &e.submission, "PENDING");
            }
            Event::RunRejected(e) => {
                self.judged(seq, &e.judgement);
                self.born(seq, e.run.0, &e.submission, "REJECTED");
            }
            Event::RunAssigned(e) => {
                if self.is_drained(&e.node) {
                    self.wrong.push(("S10", format!("{id} sends a run to a node that is drained")));
                }
                let (number, token) = (e.attempt, e.token);
                if !self.tokens.insert(token) {
                    self.wrong.push(("S10", format!("{id} gives a token out again")));
                }
                let attempt = Attempt {
                    number,
                    token,
                    node: e.node.as_str().to_owned(),
                    assigned: seq,
                    ended: None,
                    exit: None,
                    evicted: false,
                };
                let Some(run) = self.turn(seq, e.run.0, &["PENDING"], "SCHEDULED") else { return };
                let last = run.attempts.last().map_or(0, |last| last.number);
                let lives = run.live().is_some();
                run.attempts.push(attempt);
                if lives || number != last + 1 {
                    self.wrong.push(("S10", format!("{id}: attempt {number} follows {last}")));
                }
            }
            Event::RunStarted(e) => {
                if let Some(run) = self.turn(seq, e.run.0, &["SCHEDULED"], "RUNNING")
                    && run.live().is_none_or(|live| live.number != e.attempt)
                {
                    self.wrong.push(("S10", format!("{id}: an attempt starts that does not live")));
                }
            }
            Event::RunFinished(e) => {
                self.over(seq, e.run.0, (e.attempt, &e.node), How::Reported(&e.exit), e.next);
            }
            Event::RunEvicted(e) => {
                let drained = self.is_drained(&e.node);
                let live =
                    self.runs.get_mut(&e.run.0).filter(|run| run.is_live(e.attempt, &e.node));
                let live = live.and_then(Run::live).map(|live| live.evicted = true);
                if !drained || live.is_none() {
                    self.wrong.push(("S10", format!("{id}: what is to be moved need not be")));
                }
            }
            Event::RunLost(e) => {
                let live = self.runs.get_mut(&e.run.0).and_then(Run::live);
                if e.cause == LostCause::Drained && live.is_none_or(|live| !live.evicted) {
                    self.wrong.push(("S10", format!("{id}: moved, and nobody asked for it")));
                }
                self.over(seq, e.run.0, (e.attempt, &e.node), How::Lost(e.cause), e.next);
            }
            Event::RunCanceled(e) => {
                if let Some(run) = self.turn(seq, e.run.0, &["PENDING"], "CANCELED") {
                    run.canceled.get_or_insert(seq);
                }
            }
            Event::RunCancelRequested(e) => {
                let known = self.runs.get_mut(&e.run.0);
                match known.filter(|run| run.is_live(e.attempt, &e.node)) {
                    Some(run) => drop(run.canceled.get_or_insert(seq)),
                    None => self.wrong.push(("S10", format!("{id}: what does not live is to end"))),
                }
            }
            Event::NodeLost(e) => {
                self.lost.push(Lost { node: e.node.as_str().to_owned(), id, cause: e.cause, boot })
            }
            Event::PolicyPut(e) => {
                self.enacted(e.policy.name.to_string(), Some(e.version), e.revision, seq);
            }
            Event::PolicyDeleted(e) => self.enacted(e.name.to_string(), None, e.revision, seq),
            Event::QueuePaused(_) => self.queue.push((seq, true)),
            Event::QueueResumed(_) => self.queue.push((seq, false)),
            Event::NodeJoined(e) => {
                self.joined.entry(e.node.as_str().to_owned()).or_insert(seq);
            }
            Event::NodeDrained(e) => self.drained(seq, &e.node, true),
            Event::NodeUndrained(e) => self.drained(seq, &e.node, false),
            Event::RunForgotten(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::NodeLabeled(_)
            | Event::RunReleased(_)
            | Event::RunQuarantined(_)
            | Event::RunRefused(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_) => {}
        }
    }
}

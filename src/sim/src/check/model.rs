//! The model: what a journal says, told by a few rules of its own.

use std::collections::BTreeMap;

use domain::event::{Event, Exit, Next, NodeLostCause};
use domain::ids::Hex;
use journal::{Entry, EntryId, catalog};
use uuid::Uuid;

use crate::world::World;

/// A run.
#[derive(Debug, Default)]
pub struct Run {
    /// The operation that made it.
    pub op: String,
    /// Its place in it.
    pub position: String,
    /// Its statuses, and after which entry each.
    pub statuses: Vec<(u64, &'static str)>,
    /// Its attempts: token, node, entry of the assignment, and of the end.
    pub attempts: Vec<Attempt>,
}

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
    /// Versions of policies: name, version, revision, entry.
    pub policies: Vec<(String, u64, u64, u64)>,
    /// What was found on the way.
    pub wrong: Vec<(&'static str, String)>,
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

    fn live(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut().filter(|attempt| attempt.ended.is_none())
    }
}

/// Whether a status is an end.
pub fn is_end(status: &str) -> bool {
    matches!(status, "SUCCEEDED" | "FAILED" | "CANCELED" | "REJECTED")
}

fn ends_as(exit: Option<&Exit>, next: Next) -> &'static str {
    match next {
        Next::Again { .. } => "PENDING",
        Next::End(domain::event::End::Succeeded) => {
            if exit.is_none_or(|exit| exit.code != Some(0)) {
                return "SUCCEEDED without exit code 0";
            }
            "SUCCEEDED"
        }
        Next::End(domain::event::End::Failed(_)) => "FAILED",
        Next::End(domain::event::End::Canceled) => "CANCELED",
    }
}

impl Model {
    /// Runs that have not ended.
    pub fn unfinished(&self) -> usize {
        self.runs.values().filter(|run| !is_end(run.status())).count()
    }

    /// Of what Redis has.
    pub fn of(world: &World) -> Self {
        let mut model = Self::default();
        let mut before: Option<Entry> = None;
        for (id, bytes) in world.store.entries(0) {
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
        let run_is = Run { op, position, statuses: vec![(seq, status)], attempts: Vec::new() };
        if self.runs.insert(run, run_is).is_some() {
            self.wrong.push(("S10", format!("run {run} is born twice")));
        }
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
    fn over(&mut self, seq: u64, run: Uuid, number: u32, to: &'static str) {
        let ended = self.turn(seq, run, &["SCHEDULED", "RUNNING"], to).map(|run| {
            run.live().filter(|live| live.number == number).map(|live| live.ended = Some(seq))
        });
        if ended == Some(None) {
            let what = format!("run {run}: attempt {number} ends at {seq}, and did not live");
            self.wrong.push(("S10", what));
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
            Event::RunAdmitted(e) => self.born(seq, e.run.0, &e.submission, "PENDING"),
            Event::RunRejected(e) => self.born(seq, e.run.0, &e.submission, "REJECTED"),
            Event::RunAssigned(e) => {
                let (number, token) = (e.attempt, e.token);
                let mut every = self.runs.values().flat_map(|run| &run.attempts);
                if every.any(|attempt| attempt.token == token) {
                    self.wrong.push(("S10", format!("{id} gives a token out again")));
                }
                let attempt = Attempt {
                    number,
                    token,
                    node: e.node.as_str().to_owned(),
                    assigned: seq,
                    ended: None,
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
                self.over(seq, e.run.0, e.attempt, ends_as(Some(&e.exit), e.next));
            }
            Event::RunLost(e) => self.over(seq, e.run.0, e.attempt, ends_as(None, e.next)),
            Event::RunCanceled(e) => drop(self.turn(seq, e.run.0, &["PENDING"], "CANCELED")),
            Event::NodeLost(e) => {
                self.lost.push(Lost { node: e.node.as_str().to_owned(), id, cause: e.cause, boot })
            }
            Event::PolicyPut(e) => {
                let name = e.policy.name.to_string();
                self.policies.push((name, e.version, e.revision, seq));
            }
            Event::RunCancelRequested(_)
            | Event::RunForgotten(_)
            | Event::NodeJoined(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::RunEvicted(_)
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

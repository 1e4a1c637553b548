//! The World: all state, as a fold of the journal; `decide` and `evolve`.
//!
//! Owns:   runs, line, fleet, law, ledger, dead letters, tenants, keys and what is learned of heat:
//!         every part folds the same events.
//! Never:  reads a clock, draws a number, does IO. Time, ids and tokens are inputs.
//! Proof:  the property tests in `tests/laws`: lived equals replayed at every prefix, a refusal
//!         changes nothing, the invariants hold after every event.

use std::borrow::Cow;
use std::sync::Arc;

use crate::attempts::{after_exit, lost, quarantined_again};
use crate::command::{Admit, Command, Guard, Join, Refusal, Report, Reported};
use crate::dead::DeadLetters;
use crate::event::{
    CheckpointSigned, Event, ExitCause, HeatTableSet, JournalArchived, JournalTrimmed, LevelRaised,
    LostCause, NodeDrained, NodeJoined, NodeLabeled, NodeLost, NodeLostCause, NodeUndrained,
    Origin, Place, PolicyDeleted, PolicyPut, QueuePaused, QueueResumed, RejectCode, RunAdmitted,
    RunAssigned, RunCancelRequested, RunCanceled, RunEvicted, RunFinished, RunForgotten,
    RunRefused, RunRejected, RunReleased, RunStarted, SnapshotBegun, SnapshotTaken,
    TemplateDeleted, TemplatePut,
};
use crate::fleet::{Fleet, Node};
use crate::heat::Profiles;
use crate::ids::{NodeId, RunId, Sequence, Timestamp};
use crate::judge::{Judged, Objection, Quota, Room, ask_minos, preferred_pool};
use crate::kept::{HOUSE, Kept};
use crate::keys::{Keys, Known};
use crate::law::{HOST_TEMPLATE, LOCKDOWN_DEFAULT, LawBook, Verdict};
use crate::ledger::Ledger;
use crate::line::Line;
use crate::placement::may_assign;
use crate::runs::{Run, Runs, Status};
use crate::submission::Pool;
use crate::tenants::Tenants;

/// Everything the journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Runs.
    pub runs: Runs,
    /// The waiting line.
    pub line: Line,
    /// Nodes.
    pub fleet: Fleet,
    /// The law and its history.
    pub law: LawBook,
    /// The quarantine ledger.
    pub ledger: Ledger,
    /// The dead letters.
    pub dead: DeadLetters,
    /// Tenants.
    pub tenants: Tenants,
    /// Idempotency keys.
    pub keys: Keys,
    /// What is learned of heat.
    pub profiles: Profiles,
    /// What is kept of the journal.
    pub kept: Kept,
    /// Latest leader's epoch.
    pub epoch: u64,
    /// Admissions so far.
    pub admissions: u64,
    /// Time of the latest event.
    pub now: Timestamp,
}

/// What a command leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What has happened; nothing, where the command asks for what already is.
    pub events: Vec<Event>,
    /// The run the answer is about.
    pub run: Option<RunId>,
}

impl From<Event> for Decision {
    fn from(event: Event) -> Self {
        Self { run: event.run(), events: vec![event] }
    }
}

impl World {
    /// What a command leads to at this instant. Changes nothing.
    ///
    /// # Errors
    /// The law says no.
    pub fn decide(&self, at: Timestamp, command: Command) -> Result<Decision, Refusal> {
        match command {
            Command::Admit(admit) => self.admit(at, *admit),
            Command::Cancel { run, origin } => match self.status(run)? {
                Status::Pending => Ok(Event::RunCanceled(RunCanceled { run, at, origin }).into()),
                Status::Scheduled | Status::Running => Ok(self.request_cancel(run, at, origin)),
                Status::Succeeded | Status::Failed | Status::Canceled | Status::Rejected => {
                    Err(Refusal::AlreadyEnded(run))
                }
            },
            Command::Assign { assignment, token, planned_at } => {
                let (run, node) = (assignment.run, assignment.node);
                let (pool, fallback) = may_assign(&self.line, &self.fleet, at, run, &node)
                    .ok_or(Refusal::Overtaken)?;
                let item = self.line.item(run).ok_or(Refusal::Overtaken)?;
                let attempt = self.runs.live(run).map_or(0, |run| run.attempt) + 1;
                Ok(Event::RunAssigned(RunAssigned {
                    run,
                    at,
                    attempt,
                    token,
                    node,
                    pool,
                    fallback,
                    demand: item.class.demand,
                    planned_at,
                })
                .into())
            }
            Command::Report { report, chance } => self.report(at, report, chance),
            Command::Join(join) => self.join(at, join),
            Command::LoseNode { node, boot, cause } => self.lose_node(at, node, boot, cause),
            Command::PutPolicy { policy, guard, origin, what_if } => {
                if &*policy.name == LOCKDOWN_DEFAULT {
                    return Err(Refusal::BuiltIn { kind: "policy", name: policy.name });
                }
                self.kept.may_keep_report(what_if)?;
                self.kept.may_say(policy.on_lost)?;
                let law = self.law.current();
                let found = law.policies.get(&policy.name).map_or(0, |p| p.version);
                check_guard(guard, &policy.name, found)?;
                law.has_room_for(&policy)?;
                let version = self.law.next_policy_version(&policy.name);
                let revision = law.revision + 1;
                let put = PolicyPut { at, origin, revision, version, policy: *policy, what_if };
                Ok(Event::PolicyPut(Arc::new(put)).into())
            }
            Command::DeletePolicy { name, guard, origin } => {
                let law = self.law.current();
                let found = law.policies.get(&name).map(|p| p.version);
                let Some(found) = found else {
                    return Err(Refusal::NotFound { kind: "policy", name });
                };
                check_guard(guard, &name, found)?;
                let revision = law.revision + 1;
                Ok(Event::PolicyDeleted(PolicyDeleted { at, origin, revision, name }).into())
            }
            Command::PutTemplate { template, guard, origin } => {
                if &*template.name == HOST_TEMPLATE {
                    return Err(Refusal::BuiltIn { kind: "template", name: template.name });
                }
                let law = self.law.current();
                let found = law.templates.get(&template.name).map_or(0, |t| t.version);
                check_guard(guard, &template.name, found)?;
                let version = self.law.next_template_version(&template.name);
                let revision = law.revision + 1;
                let put = TemplatePut { at, origin, revision, version, template };
                Ok(Event::TemplatePut(Arc::new(put)).into())
            }
            Command::DeleteTemplate { name, guard, origin } => {
                if &*name == HOST_TEMPLATE {
                    return Err(Refusal::BuiltIn { kind: "template", name });
                }
                let law = self.law.current();
                let found = law.templates.get(&name).map(|t| t.version);
                let Some(found) = found else {
                    return Err(Refusal::NotFound { kind: "template", name });
                };
                check_guard(guard, &name, found)?;
                let revision = law.revision + 1;
                Ok(Event::TemplateDeleted(TemplateDeleted { at, origin, revision, name }).into())
            }
            Command::SetHeatTable { table, guard, origin } => {
                let found = self.law.heat_history().len() as u64;
                // There always are some: version 0 is the published ones.
                if guard != Guard::Version(found) {
                    check_guard(guard, "heat", found)?;
                }
                let revision = self.law.current().revision + 1;
                Ok(Event::HeatTableSet(HeatTableSet { at, origin, revision, table }).into())
            }
            Command::PauseQueue { origin } if !self.line.paused() => {
                Ok(Event::QueuePaused(QueuePaused { at, origin }).into())
            }
            Command::ResumeQueue { origin } if self.line.paused() => {
                Ok(Event::QueueResumed(QueueResumed { at, origin }).into())
            }
            Command::PauseQueue { .. } | Command::ResumeQueue { .. } => Ok(Decision::default()),
            Command::DrainNode { node, deadline_ms, origin } => {
                let known = self.known(&node)?;
                let deadline = deadline_ms.map(|ms| at.plus(ms));
                if known.drain.is_some_and(|drain| drain.deadline.is_none() && deadline.is_none()) {
                    return Ok(Decision::default());
                }
                Ok(Event::NodeDrained(NodeDrained { node, at, origin, deadline }).into())
            }
            Command::UndrainNode { node, origin } => {
                if self.known(&node)?.drain.is_none() {
                    return Ok(Decision::default());
                }
                Ok(Event::NodeUndrained(NodeUndrained { node, at, origin }).into())
            }
            Command::LabelNode { node, labels, origin } => {
                let known = self.known(&node)?;
                if known.overlay == labels {
                    return Ok(Decision::default());
                }
                if !known.attempts.is_empty() && known.pool_with(&labels) != known.pool {
                    return Err(Refusal::PoolChange { node });
                }
                Ok(Event::NodeLabeled(NodeLabeled { node, at, origin, labels }).into())
            }
            Command::Release { run, judged, reason, origin } => {
                self.release(at, run, *judged, reason, origin)
            }
            Command::Refuse { run, reason, origin } => {
                self.quarantined(run)?;
                let refused = RunRefused { run, at, origin, reason };
                Ok(Event::RunRefused(Arc::new(refused)).into())
            }
            Command::BeginSnapshot => {
                self.kept.may_begin()?;
                Ok(Event::SnapshotBegun(SnapshotBegun { at }).into())
            }
            Command::TakeSnapshot { index, digest, bytes, state } => {
                self.kept.may_take(index)?;
                let state = if self.kept.level() < HOUSE { 0 } else { state };
                Ok(Event::SnapshotTaken(SnapshotTaken { at, index, digest, bytes, state }).into())
            }
            Command::Archive { through, hash } => {
                self.kept.may_archive(through)?;
                Ok(Event::JournalArchived(JournalArchived { at, through, hash }).into())
            }
            Command::Trim { first } => {
                self.kept.may_trim(first)?;
                Ok(Event::JournalTrimmed(JournalTrimmed { at, first }).into())
            }
            Command::SignCheckpoint(signed) => {
                self.kept.may_sign()?;
                let signed = CheckpointSigned { at, ..signed };
                Ok(Event::CheckpointSigned(Arc::new(signed)).into())
            }
            Command::RaiseLevel { level, origin } => {
                self.kept.may_raise(level)?;
                Ok(Event::LevelRaised(LevelRaised { at, origin, level }).into())
            }
            Command::Tick { most } => {
                let forget = |run| Event::RunForgotten(RunForgotten { run, at });
                let mut events: Vec<Event> =
                    self.runs.expired(at, most).into_iter().map(forget).collect();
                let left = most - events.len();
                let evict = |(node, run, attempt): (&NodeId, RunId, u32)| {
                    Event::RunEvicted(RunEvicted { run, at, attempt, node: node.clone() })
                };
                events.extend(self.fleet.overstaying(at).take(left).map(evict));
                Ok(Decision { events, run: None })
            }
        }
    }

    fn known(&self, node: &NodeId) -> Result<&Node, Refusal> {
        self.fleet.node(node).ok_or_else(|| Refusal::UnknownNode(node.clone()))
    }

    /// A run that waits in quarantine.
    fn quarantined(&self, run: RunId) -> Result<Cow<'_, Run>, Refusal> {
        self.status(run)?;
        let waits = |live: &Cow<'_, Run>| live.status == Status::Pending && live.is_quarantined();
        self.runs.live(run).filter(waits).ok_or(Refusal::NotInQuarantine(run))
    }

    fn release(
        &self,
        at: Timestamp,
        run: RunId,
        judged: Judged,
        reason: Box<str>,
        origin: Origin,
    ) -> Result<Decision, Refusal> {
        let live = self.quarantined(run)?;
        let needed = self.law.current().revision;
        if judged.judgement().revision != needed {
            return Err(Refusal::StaleLaw { judged: judged.judgement().revision, needed });
        }
        if judged.submission() != live.submission() {
            return Err(Refusal::Overtaken);
        }
        let (_, judgement) = judged.into_parts();
        if judgement.verdict == Verdict::Reject {
            return Err(Refusal::StillRejected { run, reasons: judgement.reasons().collect() });
        }
        let pool = preferred_pool(judgement.heat.heat);
        let released = RunReleased { run, at, origin, judgement, pool, reason };
        Ok(Event::RunReleased(Arc::new(released)).into())
    }

    /// Folds one event that landed in journal entry `index` (0 where the writer runs ahead).
    pub fn evolve(&mut self, index: Sequence, event: &Event) {
        self.runs.evolve(index, event);
        self.evolve_all_but_runs(event);
    }

    /// The same of every part but the runs, which are as much work as all others together: a replay
    /// folds them beside. No part reads another.
    pub fn evolve_all_but_runs(&mut self, event: &Event) {
        self.line.evolve(event, |_| {});
        self.fleet.evolve(event);
        self.law.evolve(event);
        self.ledger.evolve(event);
        self.dead.evolve(event);
        self.tenants.evolve(event);
        self.keys.evolve(event);
        self.profiles.evolve(event);
        self.kept.evolve(event);
        self.now = self.now.max(event.at());
        match event {
            Event::LeaderStarted(e) => self.epoch = e.epoch,
            Event::RunAdmitted(e) => self.admissions = e.place.number,
            Event::RunRejected(_)
            | Event::RunAssigned(_)
            | Event::RunStarted(_)
            | Event::RunFinished(_)
            | Event::RunLost(_)
            | Event::RunCancelRequested(_)
            | Event::RunCanceled(_)
            | Event::RunForgotten(_)
            | Event::NodeJoined(_)
            | Event::NodeLost(_)
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
            | Event::RunEvicted(_)
            | Event::RunReleased(_)
            | Event::RunRefused(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_)
            | Event::RunQuarantined(_) => {}
        }
    }

    fn status(&self, run: RunId) -> Result<Status, Refusal> {
        self.runs.status(run).ok_or(Refusal::NoSuchRun(run))
    }

    /// The checks of admission, in the order of the plan: key, dead letter, law, room, a live
    /// quarantine node. What the judges refused needs no room: trying again later would not help it.
    fn admit(&self, at: Timestamp, admit: Admit) -> Result<Decision, Refusal> {
        let Admit { run, judged, key, origin, queue_max, redrive_of } = admit;
        let tenant = judged.submission().tenant();
        if let Some((key, position)) = &key {
            match self.keys.look_up(at, tenant, key, *position) {
                Known::New => {}
                Known::Repeat(run) if self.runs.status(run).is_some() => {
                    return Ok(Decision { events: Vec::new(), run: Some(run) });
                }
                Known::Repeat(run) => return Err(Refusal::NoSuchRun(run)),
                Known::OtherBody => return Err(Refusal::KeyReused { key: key.key.clone() }),
            }
        }
        if let Some(dead) = redrive_of {
            self.status(dead)?;
            self.dead.may_redrive(dead)?;
            if self.runs.get(dead).is_none_or(|dead| dead.submission() != judged.submission()) {
                return Err(Refusal::Overtaken);
            }
        }
        let needed = self.law.current().revision;
        if judged.judgement().revision != needed {
            return Err(Refusal::StaleLaw { judged: judged.judgement().revision, needed });
        }
        let reject = |judged: Judged, key, origin, code| {
            let (submission, judgement) = judged.into_parts();
            let rejected = RunRejected { run, at, origin, submission, key, judgement, code };
            Ok(Event::RunRejected(Arc::new(rejected)).into())
        };
        let quarantine = match judged.judgement().verdict {
            Verdict::Reject => return reject(judged, key, origin, RejectCode::PolicyRejected),
            Verdict::Quarantine if !judged.judgement().quarantine_on => {
                return reject(judged, key, origin, RejectCode::QuarantineDisabled);
            }
            Verdict::Quarantine => true,
            Verdict::Accept => false,
        };
        if self.line.waiting() >= queue_max {
            return Err(Refusal::QueueFull { waiting: self.line.waiting(), limit: queue_max });
        }
        let judged = match self.ask_minos(at, judged)? {
            Ok(judged) => judged,
            Err(judged) => return reject(judged, key, origin, RejectCode::PolicyRejected),
        };
        let tenant = judged.submission().tenant();
        // One that is draining is live: the run waits for it, or for another.
        if quarantine && !self.fleet.has_live(Pool::Quarantine) {
            return reject(judged, key, origin, RejectCode::QuarantineUnavailable);
        }
        let place = Place {
            after: 100 - judged.submission().priority.min(100),
            finish_tag: self.tenants.next_tag(tenant),
            number: self.admissions + 1,
        };
        let (submission, judgement) = judged.into_parts();
        let judgement = self.runs.newest_alike(&judgement).unwrap_or(judgement);
        let admitted =
            RunAdmitted { run, at, origin, submission, key, judgement, place, redrive_of };
        Ok(Event::RunAdmitted(Arc::new(admitted)).into())
    }

    /// Minos: exact, because asked in the step that admits. His answer becomes part of the
    /// judgement; as an error where it rejects.
    fn ask_minos(
        &self,
        at: Timestamp,
        judged: Judged,
    ) -> Result<std::result::Result<Judged, Judged>, Refusal> {
        let law = self.law.current();
        let policy = law.policies.get(&judged.judgement().policy.name).map(|policy| &policy.body);
        let Some(policy) = policy.filter(|policy| policy.quotas.is_any()) else {
            return Ok(Ok(judged));
        };
        let tenant = judged.submission().tenant();
        let eases = self.tenants.rate_eases_at(tenant, at).since(at);
        let (tenant, held) = (tenant.into(), self.tenants.holdings(tenant, at));
        match ask_minos(policy, judged, held) {
            Room::There(judged) => Ok(Ok(judged)),
            Room::Rejected(judged) => Ok(Err(judged)),
            Room::Later(_, objections) => {
                let rate = |o: &Objection| {
                    matches!(o, Objection::OverQuota { quota: Quota::PerMinute, .. })
                };
                Err(Refusal::QuotaExceeded {
                    tenant,
                    over: objections.iter().map(Objection::to_string).collect(),
                    retry_after_ms: objections.iter().all(rate).then_some(eases),
                })
            }
        }
    }

    /// The event that sends a run to quarantine which has just been lost with its node, decided
    /// again: its policy says so. None where it does not.
    pub fn quarantined_again(&self, run: RunId, at: Timestamp) -> Option<Event> {
        self.runs.live(run).and_then(|live| quarantined_again(self, &live, at))
    }

    fn request_cancel(&self, run: RunId, at: Timestamp, origin: crate::event::Origin) -> Decision {
        let live = self.runs.live(run).filter(|live| !live.cancel_requested);
        let Some((attempt, node)) = live.and_then(|live| Some((live.attempt, live.node.clone()?)))
        else {
            return Decision { events: Vec::new(), run: Some(run) };
        };
        Event::RunCancelRequested(RunCancelRequested { run, at, origin, attempt, node }).into()
    }

    fn report(&self, at: Timestamp, report: Report, chance: u64) -> Result<Decision, Refusal> {
        let Report { node, run, token, what } = report;
        let held = self.fleet.node(&node).and_then(|node| node.attempts.get(&run));
        let held = held.filter(|held| held.token == token).ok_or(Refusal::StaleAttempt)?;
        let (attempt, stop) = (held.attempt, held.stop);
        let live = self.runs.live(run).ok_or(Refusal::StaleAttempt)?;
        match what {
            Reported::Started => match live.status {
                Status::Scheduled => {
                    Ok(Event::RunStarted(RunStarted { run, at, attempt, node }).into())
                }
                Status::Running => Ok(Decision { events: Vec::new(), run: Some(run) }),
                Status::Pending
                | Status::Succeeded
                | Status::Failed
                | Status::Canceled
                | Status::Rejected => Err(Refusal::StaleAttempt),
            },
            Reported::Finished { exit, usage, output } => {
                if exit.cause == ExitCause::Canceled && !live.cancel_requested {
                    // Stopped to be moved, or by the agent for a reason of its own: nobody cancelled
                    // the run.
                    let cause = if stop { LostCause::Drained } else { LostCause::Unknown };
                    return Ok(about(run, lost(self, &live, at, node, cause)));
                }
                let next = after_exit(self, &live, at, exit.cause, exit.code, chance);
                let finished = RunFinished { run, at, attempt, node, exit, usage, output, next };
                Ok(Event::RunFinished(Arc::new(finished)).into())
            }
            Reported::Gone => Ok(about(run, lost(self, &live, at, node, LostCause::Unknown))),
        }
    }

    fn join(&self, at: Timestamp, join: Join) -> Result<Decision, Refusal> {
        let Join { node, boot, labels, capacity, isolation, runtime, version } = join;
        let joined = NodeJoined { node, at, boot, labels, capacity, isolation, runtime, version };
        let mut events = Vec::new();
        if let Some(known) = self.fleet.node(&joined.node) {
            if known.joined.boot != boot {
                let lost = |run: &RunId| {
                    let live = self.runs.live(*run)?;
                    Some(lost(self, &live, at, joined.node.clone(), LostCause::NodeRestarted))
                };
                events.extend(known.attempts.keys().filter_map(lost).flatten());
            } else {
                let same = NodeJoined { at: known.joined.at, ..joined.clone() };
                if known.is_live() && same == *known.joined {
                    return Ok(Decision::default());
                }
                if !known.attempts.is_empty() && known.pool != known.pool_under(&joined.labels) {
                    return Err(Refusal::PoolChange { node: joined.node });
                }
                if !known.allocated.fits(joined.capacity) {
                    return Err(Refusal::CapacityBelowUse { node: joined.node });
                }
            }
        }
        events.push(Event::NodeJoined(Arc::new(joined)));
        Ok(Decision { events, run: None })
    }

    fn lose_node(
        &self,
        at: Timestamp,
        node: NodeId,
        boot: uuid::Uuid,
        cause: NodeLostCause,
    ) -> Result<Decision, Refusal> {
        let known = self.fleet.node(&node).filter(|n| n.is_live() && n.joined.boot == boot);
        let known = known.ok_or_else(|| Refusal::NoSuchNode(node.clone()))?;
        let mut events = vec![Event::NodeLost(NodeLost { node: node.clone(), at, cause })];
        let runs = known.attempts.keys().filter_map(|run| self.runs.live(*run));
        events.extend(runs.flat_map(|l| lost(self, &l, at, node.clone(), LostCause::NodeLost)));
        Ok(Decision { events, run: None })
    }
}

fn about(run: RunId, events: Vec<Event>) -> Decision {
    Decision { events, run: Some(run) }
}

fn check_guard(guard: Guard, name: &str, found: u64) -> Result<(), Refusal> {
    match guard {
        Guard::None => Ok(()),
        Guard::Version(expected) if expected == found && found != 0 => Ok(()),
        Guard::Version(expected) => Err(Refusal::VersionMismatch { expected, found }),
        Guard::Absent if found == 0 => Ok(()),
        Guard::Absent => Err(Refusal::Exists { name: name.into(), version: found }),
    }
}

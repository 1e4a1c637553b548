//! Deciding again: what an event says, asked of the state one event earlier (D-1).
//!
//! A judgement keeps what it was made on, and a decision is a pure function of the state: both can be
//! made again from the journal alone, and must come out as they were recorded.
//! Never:  asks again what the journal does not hold: the reports of agents (started, finished) are
//!         checked for what the law makes of them; that an attempt was lost is taken as told.

use std::sync::Arc;

use domain::command::{Admit, Command, Guard, Report, Reported};
use domain::event::{
    CheckpointSigned, Next, Place, RunAdmitted, RunFinished, RunRejected, RunReleased,
};
use domain::judge::{Case, judge_again};
use domain::placement::Assignment;
use domain::runs::Birth;
use domain::{Court, Event, Judged, NodeId, RunId, Status, Timestamp, Token, World};
use journal::catalog;

/// The version since when records of submissions have all that was decided by.
const ALL_SINCE: u16 = 2;

/// What the judges say again of an event that a submission came in by; none of other events.
pub fn heard(court: &Arc<Court>, event: &Event) -> Option<Result<Judged, String>> {
    match event {
        Event::RunAdmitted(e) => Some(judged(court, e)),
        Event::RunRejected(e) => Some(judged(court, &as_admitted(e))),
        _ => None,
    }
}

/// Decides an event again, where that can be done; none where not.
///
/// `heard` is what [`heard`] said of it. `version` is the version of its record: what an older one
/// lacks was lifted to nothing, so that of those the judgement alone is made again.
pub fn decided(
    world: &World,
    court: &Arc<Court>,
    event: &Event,
    heard: Option<Result<Judged, String>>,
    version: u16,
) -> Option<Result<(), String>> {
    let at = event.at();
    let heard = match heard.transpose() {
        Ok(heard) => heard,
        Err(what) => return Some(Err(what)),
    };
    let command = match event {
        Event::RunAdmitted(e) => return Some(admitted(world, heard?, e, version)),
        Event::RunRejected(e) => return Some(rejected(world, heard?, e, version)),
        Event::RunReleased(e) => return Some(released(world, court, e)),
        Event::RunForgotten(e) => return Some(forgotten(world, e.run, at)),
        Event::RunAssigned(e) => Command::Assign {
            assignment: Assignment { run: e.run, node: e.node.clone(), fallback: e.fallback },
            token: e.token,
            planned_at: e.planned_at,
        },
        Event::RunStarted(e) => match report(world, e.run, &e.node, Reported::Started) {
            Some(report) => Command::Report { report, chance: 0 },
            None => return Some(Err("no attempt of this run is on that node".into())),
        },
        Event::RunFinished(e) => {
            let (exit, usage, output) = (e.exit.clone(), e.usage, e.output.clone());
            let what = Reported::Finished { exit, usage, output };
            match report(world, e.run, &e.node, what) {
                Some(report) => {
                    Command::Report { chance: chance(world, at, report.clone(), e), report }
                }
                None => return Some(Err("no attempt of this run is on that node".into())),
            }
        }
        Event::RunCancelRequested(e) => Command::Cancel { run: e.run, origin: e.origin.clone() },
        Event::RunCanceled(e) => Command::Cancel { run: e.run, origin: e.origin.clone() },
        Event::RunRefused(e) => {
            let (reason, origin) = (e.reason.clone(), e.origin.clone());
            Command::Refuse { run: e.run, reason, origin }
        }
        Event::PolicyPut(e) => Command::PutPolicy {
            policy: Box::new(e.policy.clone()),
            guard: Guard::None,
            origin: e.origin.clone(),
            what_if: e.what_if,
        },
        Event::PolicyDeleted(e) => Command::DeletePolicy {
            name: e.name.clone(),
            guard: Guard::None,
            origin: e.origin.clone(),
        },
        Event::TemplatePut(e) => Command::PutTemplate {
            template: e.template.clone(),
            guard: Guard::None,
            origin: e.origin.clone(),
        },
        Event::TemplateDeleted(e) => Command::DeleteTemplate {
            name: e.name.clone(),
            guard: Guard::None,
            origin: e.origin.clone(),
        },
        Event::HeatTableSet(e) => Command::SetHeatTable {
            table: e.table.clone(),
            guard: Guard::None,
            origin: e.origin.clone(),
        },
        Event::QueuePaused(e) => Command::PauseQueue { origin: e.origin.clone() },
        Event::QueueResumed(e) => Command::ResumeQueue { origin: e.origin.clone() },
        Event::NodeDrained(e) => Command::DrainNode {
            node: e.node.clone(),
            deadline_ms: e.deadline.map(|deadline| deadline.since(at)),
            origin: e.origin.clone(),
        },
        Event::NodeUndrained(e) => {
            Command::UndrainNode { node: e.node.clone(), origin: e.origin.clone() }
        }
        Event::NodeLabeled(e) => Command::LabelNode {
            node: e.node.clone(),
            labels: e.labels.clone(),
            origin: e.origin.clone(),
        },
        Event::SnapshotBegun(_) => Command::BeginSnapshot,
        Event::SnapshotTaken(e) => {
            let (index, digest, bytes, state) = (e.index, e.digest, e.bytes, e.state);
            Command::TakeSnapshot { index, digest, bytes, state }
        }
        Event::JournalArchived(e) => Command::Archive { through: e.through, hash: e.hash },
        Event::JournalTrimmed(e) => Command::Trim { first: e.first },
        Event::CheckpointSigned(e) => Command::SignCheckpoint(CheckpointSigned::clone(e)),
        Event::LevelRaised(e) => Command::RaiseLevel { level: e.level, origin: e.origin.clone() },
        Event::RunLost(e) => return Some(on_node(world, e.run, e.attempt, &e.node)),
        Event::RunEvicted(e) => return Some(on_node(world, e.run, e.attempt, &e.node)),
        Event::RunQuarantined(e) => {
            let again = world.quarantined_again(e.run, at);
            let same = again.as_ref() == Some(event);
            return Some(same.then_some(()).ok_or_else(|| "no policy sends it there".into()));
        }
        Event::LeaderStarted(_) | Event::NodeJoined(_) | Event::NodeLost(_) => return None,
    };
    Some(same(world, at, command, event))
}

/// Whether a command comes to exactly this event.
fn same(world: &World, at: Timestamp, command: Command, event: &Event) -> Result<(), String> {
    match world.decide(at, command) {
        Ok(decision) if decision.events == std::slice::from_ref(event) => Ok(()),
        Ok(decision) => match decision.events.as_slice() {
            [] => Err("decided again, nothing comes of it".into()),
            [other, ..] => {
                let (name, was) = (catalog::type_of(other).name, catalog::type_of(event).name);
                let how = if name == was { "another" } else { "a" };
                Err(format!("decided again, {how} {name} comes of it"))
            }
        },
        Err(refusal) => Err(format!("decided again, it is refused: {refusal}")),
    }
}

fn report(world: &World, run: RunId, node: &NodeId, what: Reported) -> Option<Report> {
    let token: Token = world.fleet.node(node)?.attempts.get(&run)?.token;
    Some(Report { node: node.clone(), run, token, what })
}

/// The number that a pause was spread by: what it is longer than without. One that is longer than
/// the law allows, or shorter, comes to another event.
fn chance(world: &World, at: Timestamp, report: Report, e: &RunFinished) -> u64 {
    let Next::Again { not_before } = e.next else { return 0 };
    let least = world.decide(at, Command::Report { report, chance: 0 });
    let least = least.map(|decision| decision.events);
    match least.as_deref() {
        Ok([Event::RunFinished(least)]) => match least.next {
            Next::Again { not_before: least } => not_before.since(least),
            Next::End(_) => 0,
        },
        _ => 0,
    }
}

/// Whether an attempt is where an event ends it.
fn on_node(world: &World, run: RunId, attempt: u32, node: &NodeId) -> Result<(), String> {
    let there = world.runs.live(run).is_some_and(|live| {
        let runs = matches!(live.status, Status::Scheduled | Status::Running);
        runs && live.attempt == attempt && live.node.as_ref() == Some(node)
    });
    if there { Ok(()) } else { Err("no such attempt of this run is on that node".into()) }
}

/// The event that a submission was let in by, with what a rejection has as well.
fn as_admitted(e: &RunRejected) -> RunAdmitted {
    RunAdmitted {
        run: e.run,
        at: e.at,
        origin: e.origin.clone(),
        submission: e.submission.clone(),
        key: e.key.clone(),
        judgement: e.judgement.clone(),
        place: Place { after: 0, finish_tag: 0, number: 0 },
        redrive_of: None,
    }
}

/// What the judges say of a record, made again; as an error where it is not what they said.
///
/// A pure function of the law and the record: it can be asked before the state is there.
///
/// # Errors
/// What is another.
fn judged(court: &Arc<Court>, e: &RunAdmitted) -> Result<Judged, String> {
    let judged = judge_again(court, e, &e.judgement.inputs());
    let again = judged.judgement();
    // Most were let in without a word of Minos: those are held against the record as it is.
    let same = *again == *e.judgement || *again == e.judgement.before_minos();
    if same && e.judgement.template.name == e.submission.template {
        return Ok(judged);
    }
    let recorded = e.judgement.before_minos();
    let part = if again.revision != recorded.revision {
        format!("of revision {} under a law of revision {}", recorded.revision, again.revision)
    } else if again.policy != recorded.policy {
        format!("by policy {} where {} applies", recorded.policy.name, again.policy.name)
    } else if again.verdict != recorded.verdict {
        format!("{} where the law says {}", recorded.verdict.as_str(), again.verdict.as_str())
    } else {
        "of other opinions, heat, pool, template or placement than the law gives".into()
    };
    Err(format!("its judgement is {part}"))
}

fn admitted(
    world: &World,
    judged: Judged,
    e: &Arc<RunAdmitted>,
    version: u16,
) -> Result<(), String> {
    if version < ALL_SINCE {
        return Ok(());
    }
    match world.decide(e.at, admit(judged, e)).map(|decision| decision.events) {
        Ok(events) => match events.as_slice() {
            [Event::RunAdmitted(again)] if again == e => Ok(()),
            [Event::RunAdmitted(again)] if again.place != e.place => {
                Err("admitted again, it stands elsewhere in line".into())
            }
            [Event::RunAdmitted(_)] => Err("admitted again, Minos says something else".into()),
            [Event::RunRejected(again)] => {
                Err(format!("admitted again, it is rejected: {}", api::show::reject_message(again)))
            }
            _ => Err("admitted again, it is another's idempotency key".into()),
        },
        Err(refusal) => Err(format!("admitted again, it is refused: {refusal}")),
    }
}

fn rejected(
    world: &World,
    judged: Judged,
    e: &Arc<RunRejected>,
    version: u16,
) -> Result<(), String> {
    if version < ALL_SINCE {
        return Ok(());
    }
    let command = admit(judged, &as_admitted(e));
    same(world, e.at, command, &Event::RunRejected(e.clone()))
}

fn admit(judged: Judged, e: &RunAdmitted) -> Command {
    Command::Admit(Box::new(Admit {
        run: e.run,
        judged,
        key: e.key.clone(),
        origin: e.origin.clone(),
        // How many may wait was a setting of that day, and what it kept out is not in the journal.
        queue_max: usize::MAX,
        redrive_of: e.redrive_of,
    }))
}

fn released(world: &World, court: &Arc<Court>, e: &Arc<RunReleased>) -> Result<(), String> {
    let Some(Birth::Admitted(birth)) = world.runs.live(e.run).map(|run| run.birth.clone()) else {
        return Err("it does not wait in quarantine".into());
    };
    let command = Command::Release {
        run: e.run,
        judged: Box::new(Case::again(court, &birth).conclude(&e.judgement.inputs())),
        reason: e.reason.clone(),
        origin: e.origin.clone(),
    };
    same(world, e.at, command, &Event::RunReleased(e.clone()))
}

fn forgotten(world: &World, run: RunId, at: Timestamp) -> Result<(), String> {
    let Some(run) = world.runs.get(run) else { return Err("nobody knows this run".into()) };
    let ended = run.finished_at.ok_or("it had not ended")?;
    let kept_ms = run.submission().retention.max_age_ms;
    if at.since(ended) < kept_ms { Err("its retention was not over".into()) } else { Ok(()) }
}

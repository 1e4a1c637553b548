//! What clients heard, held against the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use journal::{Entry, EntryId, Receipt};
use uuid::Uuid;

use super::Model;
use super::model::{Run, is_end, was};
use crate::client::{Done, Freshness, Kind, Operation, Outcome, What};
use crate::redis::Forgotten;
use crate::world::World;

/// S3, S4, S8, S9, S11 and what reads showed.
pub fn check(world: &Rc<World>, model: &Model) {
    let operations = world.operations.borrow();
    let excuse = Excuse::of(world, model);
    let mut made: BTreeMap<&str, Vec<(&Uuid, &Run)>> = BTreeMap::new();
    for (id, run) in &model.runs {
        made.entry(&run.op).or_default().push((id, run));
    }
    let sealed: BTreeMap<EntryId, u64> =
        world.sealed.borrow().iter().rev().map(|entry| (entry.id, entry.ms)).collect();
    for operation in operations.iter() {
        // What Redis forgot may have been a reason, where there can be one.
        let excused = !world.redis.forgotten.borrow().is_empty()
            && matches!(
                operation.kind,
                Kind::Cancel(_) | Kind::Policy(_, false) | Kind::Drain(..) | Kind::Read(..)
            );
        if let Some(wrong) = refused(model, &sealed, operation).filter(|_| !excused) {
            world.find("HTTP", wrong);
        }
        match &operation.kind {
            Kind::Submit(many) => {
                let made = made.get(&*operation.name).map_or(&[][..], Vec::as_slice);
                submitted(world, model, operation, *many, made, &excuse);
            }
            Kind::Cancel(_) | Kind::Policy(..) | Kind::Queue(_) | Kind::Drain(..) => {
                written(world, model, operation, &excuse);
            }
            Kind::Read(what, fresh) => read(world, model, operation, what, *fresh, &excuse),
        }
    }
    in_order(world, model, &operations);
}

/// What Redis forgot, and nobody could give back: that, and nothing behind it, may be missing.
struct Excuse {
    lost: BTreeSet<EntryId>,
    /// In which entries that were forgotten a run was born, also where they were given back.
    born: BTreeMap<Uuid, Vec<EntryId>>,
}

impl Excuse {
    fn of(world: &World, model: &Model) -> Self {
        let forgotten = world.redis.forgotten.borrow();
        let lost = |(id, entry): (&EntryId, &Forgotten)| {
            (entry.durable && !on_chain(model, *id)).then_some(*id)
        };
        let lost = forgotten.iter().filter_map(lost).collect();
        let mut born: BTreeMap<Uuid, Vec<EntryId>> = BTreeMap::new();
        for (id, entry) in forgotten.iter() {
            let alone = Model::told_by(vec![(*id, entry.bytes.clone())]);
            alone.runs.into_keys().for_each(|run| born.entry(run).or_default().push(*id));
        }
        Self { lost, born }
    }

    /// Whether a write may be missing.
    fn covers(&self, receipt: Option<Receipt>) -> bool {
        receipt.is_some_and(|receipt| self.lost.contains(&receipt.0))
    }

    /// Whether something is so in a history that ended with a lost entry of a number.
    fn was_so_at(&self, world: &World, index: u64, is_so: impl Fn(&Model) -> bool) -> bool {
        let from = EntryId { seq: index, h64: 0 };
        let tips = self.lost.range(from..).take_while(|id| id.seq == index);
        tips.into_iter().any(|tip| is_so(&Model::told_by(history(world, *tip))))
    }
}

/// The entries up to one that was lost, oldest first.
fn history(world: &World, tip: EntryId) -> Vec<(EntryId, Bytes)> {
    let forgotten = world.redis.forgotten.borrow();
    let mut known: Vec<(EntryId, Bytes)> = world.store.entries(0);
    known.extend(forgotten.iter().map(|(id, entry)| (*id, entry.bytes.clone())));
    let mut next = Some(tip);
    let mut entries = Vec::new();
    while let Some(id) = next {
        let found = known.iter().find(|(at, _)| *at == id);
        let Some((_, bytes)) = found else { break };
        let entry = Entry::parse(id, bytes.clone()).ok();
        let before = entry.map(|entry| entry.header().prev.h64());
        next = before.map(|h64| EntryId { seq: id.seq.saturating_sub(1), h64 });
        entries.push((id, bytes.clone()));
    }
    entries.reverse();
    entries
}

fn on_chain(model: &Model, id: EntryId) -> bool {
    let found = model.ids.binary_search_by_key(&id.seq, |id| id.seq);
    found.is_ok_and(|at| model.ids[at] == id)
}

/// S3: a receipt is on the chain.
fn receipt(world: &World, model: &Model, name: &str, done: &Done, excuse: &Excuse) {
    match done.receipt {
        Some(receipt) if on_chain(model, receipt.0) || excuse.covers(done.receipt) => {}
        Some(receipt) => {
            world.find("S3", format!("{name} has receipt {receipt}, which is not on the chain"));
        }
        None => world.find("S3", format!("{name} is done without a receipt")),
    }
}

fn submitted(
    world: &World,
    model: &Model,
    operation: &Operation,
    many: u32,
    made: &[(&Uuid, &Run)],
    excuse: &Excuse,
) {
    let Operation { name, keyed, tries, .. } = operation;
    for outcome in tries {
        let Outcome::Done(done) = outcome else { continue };
        receipt(world, model, name, done, excuse);
        if done.runs.len() != many as usize {
            world.find("S3", format!("{name} asked for {many} runs, and was told {:?}", done.runs));
        }
        for (run, _) in &done.runs {
            match model.runs.get(run) {
                Some(known) if known.op == *name => {}
                Some(known) => {
                    world.find("S3", format!("{name} was told run {run}, which is {}'s", known.op));
                }
                None if excuse.covers(done.receipt) => {}
                None => world.find("S3", format!("{name} was told run {run}, which is lost")),
            }
        }
    }
    // S11: once, whatever was tried; S4: never, where nothing was applied.
    let mut positions: Vec<&str> = made.iter().map(|(_, run)| &*run.position).collect();
    positions.sort_unstable();
    let doubled = positions.windows(2).any(|pair| pair[0] == pair[1]);
    let may_be_there = tries.iter().any(|t| matches!(t, Outcome::Done(_) | Outcome::Unknown));
    if doubled {
        let rule = if *keyed { "S11" } else { "S2" };
        world.find(rule, format!("{name} made runs twice: {positions:?}"));
    }
    if !may_be_there && !made.is_empty() {
        world.find("S4", format!("{name} was not applied ({tries:?}), and made {}", made.len()));
    }
    // All of them are one entry.
    if !made.is_empty() && made.len() != many as usize {
        world.find("S2", format!("{name} asked for {many} runs, and made {}", made.len()));
    }
}

/// Clients ask for nothing that the law refuses: what was refused must have been so already, or not
/// there yet. `sealed` says when each entry was first sent.
pub(super) fn refused(
    model: &Model,
    sealed: &BTreeMap<EntryId, u64>,
    operation: &Operation,
) -> Option<String> {
    let Operation { name, kind, asked_ms, answered_ms, .. } = operation;
    let Outcome::Refused(status) = operation.outcome() else { return None };
    let sealed_ms = |seq: u64| {
        let at = model.ids.binary_search_by_key(&seq, |id| id.seq).ok()?;
        sealed.get(&model.ids[at]).copied()
    };
    let right = match (kind, status) {
        // It has ended.
        (Kind::Cancel(run), 409) => {
            let statuses = model.runs.get(run).map_or(&[][..], |run| &run.statuses);
            let ended = statuses.iter().find(|(_, status)| is_end(status));
            ended.and_then(|(seq, _)| sealed_ms(*seq)).is_some_and(|ms| ms <= *answered_ms)
        }
        // There was none for a moment at least.
        (Kind::Policy(policy, false), 404) => {
            let its = model.law.iter().filter(|change| change.policy == *policy);
            let changes = its.filter_map(|change| Some((sealed_ms(change.seq)?, change.version)));
            let (before, later): (Vec<_>, Vec<_>) =
                changes.partition(|(sealed_ms, _)| sealed_ms < asked_ms);
            let stood = before.last().is_some_and(|(_, version)| version.is_some());
            !stood || later.iter().any(|(sealed_ms, _)| sealed_ms <= answered_ms)
        }
        // It had never come.
        (Kind::Drain(node, _), 404) => {
            let joined = model.joined.get(node).and_then(|seq| sealed_ms(*seq));
            joined.is_none_or(|ms| ms >= *asked_ms)
        }
        // Judged with what it showed.
        (Kind::Read(..), 404) => true,
        _ => false,
    };
    (!right).then(|| format!("{name}: {kind:?} was refused with {status} at {answered_ms} ms"))
}

/// S3: what was acknowledged has happened, where the receipt says so.
fn written(world: &World, model: &Model, operation: &Operation, excuse: &Excuse) {
    let Outcome::Done(done) = operation.outcome() else { return };
    let Operation { name, kind, .. } = operation;
    receipt(world, model, name, done, excuse);
    let Some(at) = done.receipt.map(|receipt| receipt.0.seq) else { return };
    if excuse.covers(done.receipt) {
        return;
    }
    let happened = match kind {
        // Two may have been written in one entry.
        Kind::Policy(policy, stands) => model.law.iter().any(|change| {
            let same = !*stands || change.version == done.version;
            change.seq == at
                && change.policy == *policy
                && same
                && change.version.is_some() == *stands
        }),
        Kind::Queue(stands) => was(&model.queue, *stands, at),
        Kind::Drain(node, drained) => {
            was(model.drains.get(node).map_or(&[], Vec::as_slice), *drained, at)
        }
        Kind::Cancel(run) => {
            let known = model.runs.get(run);
            known.is_some_and(|run| run.canceled.is_some_and(|since| since <= at))
        }
        Kind::Submit(_) | Kind::Read(..) => true,
    };
    if !happened {
        world.find("S3", format!("{name}: {kind:?} is not there at {at}"));
    }
}

/// A read shows the state of the entry that it names, and of none before the one it asked for.
fn read(
    world: &World,
    model: &Model,
    operation: &Operation,
    what: &What,
    fresh: Freshness,
    excuse: &Excuse,
) {
    let Operation { name, asked_ms, answered_ms, .. } = operation;
    match operation.outcome() {
        Outcome::Done(done) => {
            if fresh.least.is_some_and(|least| done.index < least) {
                let what = format!("{name} asked for {fresh:?}, and was shown {}", done.index);
                world.find("S9", what);
            }
            let is_so = |model: &Model| match what {
                What::Run(run) => {
                    let known = model.runs.get(run);
                    let was = known.and_then(|run| run.status_at(done.index));
                    was == done.runs.first().map(|(_, status)| status.as_str())
                }
                What::Policy(policy) => model.version_at(policy, done.index) == done.version,
            };
            if !is_so(model) && !excuse.was_so_at(world, done.index, is_so) {
                let shown = format!("{:?}, {:?} at {}", done.runs, done.version, done.index);
                world.find("S5", format!("{name} asked for {what:?}, and was shown {shown}"));
            }
        }
        // It was acknowledged to whoever asks for it now.
        Outcome::Refused(404) if fresh != Freshness::default() => {
            let What::Run(run) = what else { return };
            let forgotten = world.redis.forgotten.borrow();
            // A number says nothing where an entry up to it was lost.
            let least = fresh.least.filter(|_| fresh.by_number && !fresh.consistent);
            let lost = |least| forgotten.iter().any(|(id, f)| f.durable && id.seq <= least);
            if least.is_some_and(lost) {
                return;
            }
            let was_there = match excuse.born.get(run) {
                Some(births) => {
                    births.iter().any(|id| !forgotten[id].was_absent(*asked_ms, *answered_ms))
                }
                // Where it never was, that is found where its receipt is asked for.
                None => model.runs.contains_key(run),
            };
            if was_there {
                world.find("S9", format!("{name} does not find {run}, which was acknowledged"));
            }
        }
        Outcome::Refused(_) | Outcome::NotApplied | Outcome::Unknown => {}
    }
}

/// S8 and S9: what was asked after an answer comes behind what was answered, but for what was not in
/// Redis meanwhile.
fn in_order(world: &World, model: &Model, operations: &[Operation]) {
    let forgotten = world.redis.forgotten.borrow();
    let mut done: Vec<(&Operation, &Done)> = operations
        .iter()
        .filter_map(|operation| match operation.outcome() {
            Outcome::Done(done) => Some((operation, done)),
            _ => None,
        })
        .collect();
    let is_write = |operation: &Operation| !matches!(operation.kind, Kind::Read(..));
    let mut writes: Vec<(u64, EntryId)> = done
        .iter()
        .filter(|(operation, _)| is_write(operation))
        .filter_map(|(operation, done)| Some((operation.answered_ms, done.receipt?.0)))
        .collect();
    writes.sort_unstable();
    done.sort_by_key(|(operation, _)| operation.asked_ms);
    let mut writes = writes.into_iter().peekable();
    // The newest that was always there, and those that were not.
    let (mut newest, mut at_times) = (0, BTreeSet::new());
    for (operation, done) in done {
        let Operation { name, asked_ms, answered_ms, .. } = operation;
        while let Some((_, id)) = writes.next_if(|(answered_ms, _)| answered_ms < asked_ms) {
            // One that is in no history was never there: that is found where its receipt is.
            if on_chain(model, id) && !forgotten.contains_key(&id) {
                newest = newest.max(id.seq);
            } else {
                at_times.insert(id);
            }
        }
        let there = |id: &EntryId| {
            forgotten.get(id).is_some_and(|entry| !entry.was_absent(*asked_ms, *answered_ms))
        };
        let least = at_times.iter().rev().find(|id| there(id));
        let least = least.map_or(newest, |id| newest.max(id.seq));
        let consistent =
            matches!(operation.kind, Kind::Read(_, Freshness { consistent: true, .. }));
        let rule = if consistent { "S9" } else { "S8" };
        if (consistent || is_write(operation)) && done.index < least {
            let what = format!("{name} was asked at {asked_ms} ms and stands at {}", done.index);
            world.find(rule, format!("{what}, and {least} was answered before"));
        }
    }
}

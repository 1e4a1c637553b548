//! What clients heard, held against the journal.

use std::collections::BTreeMap;
use std::rc::Rc;

use journal::EntryId;
use uuid::Uuid;

use super::Model;
use super::model::Run;
use crate::client::{Done, Kind, Operation, Outcome};
use crate::world::World;

/// S3, S4, S8, S9, S11 and what reads showed.
pub fn check(world: &Rc<World>, model: &Model) {
    let operations = world.operations.borrow();
    let excuse = Excuse::of(world, model);
    let mut made: BTreeMap<&str, Vec<(&Uuid, &Run)>> = BTreeMap::new();
    for (id, run) in &model.runs {
        made.entry(&run.op).or_default().push((id, run));
    }
    for operation in operations.iter() {
        match &operation.kind {
            Kind::Submit(many) => {
                let made = made.get(&*operation.name).map_or(&[][..], Vec::as_slice);
                submitted(world, model, operation, *many, made, &excuse);
            }
            Kind::Cancel(_) | Kind::Policy(_) | Kind::Queue => {
                written(world, model, operation, &excuse);
            }
            Kind::Read { run, least, .. } => {
                read(world, model, operation, *run, *least, &excuse);
            }
        }
    }
    in_order(world, &operations, &excuse);
}

/// What Redis forgot, and nobody could give back.
struct Excuse {
    first_forgotten: Option<u64>,
    emptied: bool,
}

impl Excuse {
    fn of(world: &World, model: &Model) -> Self {
        let there = |id: &EntryId| {
            model
                .ids
                .binary_search_by_key(&id.seq, |id| id.seq)
                .is_ok_and(|at| model.ids[at] == *id)
        };
        let forgotten = world.redis.forgotten.borrow();
        let first_forgotten = forgotten.iter().filter(|id| !there(id)).map(|id| id.seq).min();
        Self { first_forgotten, emptied: world.redis.emptied.get() }
    }

    /// Whether an entry may be missing.
    fn covers(&self, seq: u64) -> bool {
        self.emptied || self.first_forgotten.is_some_and(|first| seq >= first)
    }

    fn is_any(&self) -> bool {
        self.emptied || self.first_forgotten.is_some()
    }
}

fn on_chain(model: &Model, id: EntryId) -> bool {
    let found = model.ids.binary_search_by_key(&id.seq, |id| id.seq);
    found.is_ok_and(|at| model.ids[at] == id)
}

/// S3: a receipt is on the chain.
fn receipt(world: &World, model: &Model, name: &str, done: &Done, excuse: &Excuse) {
    match done.receipt {
        Some(receipt) if on_chain(model, receipt.0) || excuse.covers(receipt.0.seq) => {}
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
                None if excuse.covers(done.index) => {}
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
    if !made.is_empty() && made.len() != many as usize && !excuse.is_any() {
        world.find("S2", format!("{name} asked for {many} runs, and made {}", made.len()));
    }
}

fn written(world: &World, model: &Model, operation: &Operation, excuse: &Excuse) {
    let Outcome::Done(done) = operation.outcome() else { return };
    receipt(world, model, &operation.name, done, excuse);
    if let Kind::Policy(name) = &operation.kind
        && !excuse.covers(done.index)
        && !model.policies.iter().any(|(put, _, _, seq)| put == name && *seq == done.index)
    {
        world.find(
            "S3",
            format!("{} put {name} at {}, which is not there", operation.name, done.index),
        );
    }
}

/// A read shows the state of the entry that it names, and of none before the one it asked for.
fn read(
    world: &World,
    model: &Model,
    operation: &Operation,
    run: Uuid,
    least: Option<u64>,
    excuse: &Excuse,
) {
    let name = &operation.name;
    match operation.outcome() {
        Outcome::Done(done) => {
            if least.is_some_and(|least| done.index < least) {
                world.find(
                    "S9",
                    format!("{name} asked for {least:?}, and was shown {}", done.index),
                );
            }
            let Some((_, shown)) = done.runs.first() else { return };
            let was = model.runs.get(&run).and_then(|run| run.status_at(done.index));
            if was != Some(shown.as_str()) && !excuse.covers(done.index) {
                let what = format!("{name} was shown {run} as {shown} at {}", done.index);
                world.find("S5", format!("{what}, where it was {was:?}"));
            }
        }
        // It was acknowledged to whoever asks for it now.
        Outcome::Refused(404) if least.is_some() && !excuse.is_any() => {
            world.find("S9", format!("{name} does not find {run}, which was acknowledged"));
        }
        Outcome::Refused(_) | Outcome::NotApplied | Outcome::Unknown => {}
    }
}

/// S8 and S9: what was asked after an answer comes behind what was answered.
fn in_order(world: &World, operations: &[Operation], excuse: &Excuse) {
    // A Redis that has forgotten shows less until it is given back what it lost.
    if !world.redis.forgotten.borrow().is_empty() {
        return;
    }
    let mut done: Vec<(&Operation, &Done)> = operations
        .iter()
        .filter_map(|operation| match operation.outcome() {
            Outcome::Done(done) => Some((operation, done)),
            _ => None,
        })
        .filter(|(_, done)| !excuse.covers(done.index))
        .collect();
    let is_write = |operation: &Operation| !matches!(operation.kind, Kind::Read { .. });
    let mut writes: Vec<(u64, u64)> = done
        .iter()
        .filter(|(operation, _)| is_write(operation))
        .map(|(operation, done)| {
            (operation.answered_ms, done.receipt.map_or(done.index, |r| r.0.seq))
        })
        .collect();
    writes.sort_unstable();
    done.sort_by_key(|(operation, _)| operation.asked_ms);
    let (mut newest, mut writes) = (0, writes.into_iter().peekable());
    for (operation, done) in done {
        while let Some((answered_ms, seq)) = writes.peek().copied()
            && answered_ms < operation.asked_ms
        {
            newest = newest.max(seq);
            writes.next();
        }
        let consistent = matches!(operation.kind, Kind::Read { consistent: true, .. });
        let rule = if consistent { "S9" } else { "S8" };
        if (consistent || is_write(operation)) && done.index < newest {
            let Operation { name, asked_ms, .. } = operation;
            let what = format!("{name} was asked at {asked_ms} ms and stands at {}", done.index);
            world.find(rule, format!("{what}, and {newest} was answered before"));
        }
    }
}

//! What nodes did, held against the journal and the clock of the world.

use std::collections::BTreeMap;
use std::rc::Rc;

use domain::event::{Event, ExitCause, NodeLostCause};
use domain::ids::Hex;
use journal::{Entry, EntryId, catalog};

use super::Model;
use super::model::is_end;
use crate::node::Program;
use crate::redis::Forgotten;
use crate::trace::now_ms;
use crate::world::{SealedAt, World};

/// Losses within this time count together, and beyond two of them one is let go in the other.
const MASS_MS: u64 = 30_000;
const TRICKLE_MS: u64 = 10_000;

/// S12, S15, S17, and that everything has ended.
pub fn check(world: &Rc<World>, model: &Model) {
    programs(world, model);
    losses(world, model);
    masses(world, model);
    if world.redis.emptied.get() || world.is_proved() {
        return;
    }
    for (id, run) in &model.runs {
        if !is_end(run.status()) {
            world.find("L3", format!("run {id} is {} in the end", run.status()));
        }
    }
}

/// Entries with an assignment that Redis forgot when it might have been told, also where they were
/// given back, by its token.
fn forgotten(entries: &BTreeMap<EntryId, Forgotten>) -> BTreeMap<Hex<16>, &Forgotten> {
    let mut by_token = BTreeMap::new();
    for (id, forgotten) in entries.iter().filter(|(_, forgotten)| forgotten.durable) {
        let Ok(entry) = Entry::parse(*id, forgotten.bytes.clone()) else { continue };
        by_token.extend(catalog::events(&entry).flatten().filter_map(|(_, event)| match event {
            Event::RunAssigned(assigned) => Some((assigned.token, forgotten)),
            _ => None,
        }));
    }
    by_token
}

/// S12: nothing runs before its assignment is in the journal. S17: no run twice at a time. S10: what
/// an end says is what its program came to.
fn programs(world: &World, model: &Model) {
    let programs = world.programs.borrow();
    let entries = world.redis.forgotten.borrow();
    let forgotten = forgotten(&entries);
    let was_absent = |program: &Program| {
        let entry = forgotten.get(&program.of.token);
        entry.is_some_and(|entry| entry.was_absent(program.began_ms, program.began_ms))
    };
    let is_lost =
        |program: &Program| forgotten.get(&program.of.token).is_some_and(|entry| entry.is_absent());
    let mut of_run: BTreeMap<_, Vec<&Program>> = BTreeMap::new();
    let mut of_token: BTreeMap<_, &Program> = BTreeMap::new();
    for program in programs.iter() {
        of_run.entry(program.of.run).or_default().push(program);
        if of_token.insert(program.of.token, program).is_some() {
            world.find("S12", format!("{} ran one attempt twice: {:?}", program.node, program.of));
        }
        let assigned = model
            .runs
            .get(&program.of.run.0)
            .and_then(|run| run.attempts.iter().find(|attempt| attempt.token == program.of.token));
        match assigned {
            Some(attempt) if attempt.assigned > program.journal_was && !was_absent(program) => {
                let what =
                    format!("{} ran {} at {} ms", program.node, program.of.run, program.began_ms);
                world.find("S12", format!("{what}, before entry {}", attempt.assigned));
            }
            Some(attempt) if attempt.node != program.node => {
                world.find("S12", format!("{} ran another's attempt", program.node));
            }
            Some(_) => {}
            None if is_lost(program) => {}
            None => {
                let what =
                    format!("{} ran {}, which was never assigned", program.node, program.of.run);
                world.find("S12", what);
            }
        }
    }
    for (id, run) in &model.runs {
        for attempt in &run.attempts {
            let exit = attempt.exit.as_ref().filter(|exit| exit.cause == ExitCause::Exited);
            let came_to = of_token.get(&attempt.token).and_then(|program| program.code.get());
            if let Some(exit) = exit
                && exit.code != came_to
            {
                let what =
                    format!("run {id}: attempt {} ended with {:?}", attempt.number, exit.code);
                world.find("S10", format!("{what}, and its program with {came_to:?}"));
            }
        }
    }
    let end = now_ms();
    for (run, mut programs) in of_run {
        programs.retain(|program| !program.frozen.get() && !is_lost(program));
        programs.sort_by_key(|program| program.began_ms);
        for pair in programs.windows(2) {
            let ended = pair[0].ended_ms.get().unwrap_or(end);
            if pair[1].began_ms < ended {
                let what = format!("{run} ran on {} until {ended} ms", pair[0].node);
                world.find(
                    "S17",
                    format!("{what}, and on {} from {} ms", pair[1].node, pair[1].began_ms),
                );
            }
        }
    }
}

/// S15: a node is lost only when it was not heard for its time to live, nor could have been.
fn losses(world: &World, model: &Model) {
    let sealed = world.sealed.borrow();
    let ttl_ms = world.plan.ttl_ms;
    for lost in model.lost.iter().filter(|lost| lost.cause == NodeLostCause::HeartbeatExpired) {
        let its: Vec<&SealedAt> = sealed.iter().filter(|at| at.boot == lost.boot).collect();
        let Some(place) = its.iter().position(|at| at.id == lost.id) else { continue };
        // It was decided after the entry before was sealed, and before its own was.
        let (sealed_ms, before) = (its[place].ms, place.checked_sub(1).map(|at| its[at].ms));
        let Some(before_ms) = before else {
            world.find("S15", format!("{} was lost in a leader's first entry", lost.node));
            continue;
        };
        let heard = world.heard.borrow();
        let heard = heard.iter().filter(|h| h.node == lost.node && h.acked_ms <= before_ms);
        let heard = heard.map(|heard| heard.sent_ms).max().unwrap_or(0);
        let barrier = model
            .reigns
            .iter()
            .rev()
            .find(|(seq, _, boot)| *seq < lost.id.seq && *boot == lost.boot);
        let barrier = barrier.and_then(|(seq, ..)| its.iter().find(|at| at.id.seq == *seq));
        let reign = barrier.map_or(0, |barrier| barrier.ms);
        let last = heard.max(reign);
        if sealed_ms.saturating_sub(last) < ttl_ms {
            let what = format!("{} was lost at {sealed_ms} ms", lost.node);
            world.find(
                "S15",
                format!("{what}: heard at {heard} ms, reign since {reign} ms, ttl {ttl_ms}"),
            );
        }
    }
}

/// S15: of nodes that are lost together one leader gives two up, as few as they are here, and each
/// other only a while after the one before.
fn masses(world: &World, model: &Model) {
    let sealed = world.sealed.borrow();
    let mut by_reign: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for lost in model.lost.iter().filter(|lost| lost.cause == NodeLostCause::HeartbeatExpired) {
        let reign = model.reigns.iter().rev().find(|(seq, ..)| *seq < lost.id.seq);
        let its: Vec<&SealedAt> = sealed.iter().filter(|at| at.boot == lost.boot).collect();
        let place = its.iter().position(|at| at.id == lost.id);
        let (Some((reign, ..)), Some(place)) = (reign, place) else { continue };
        // It was decided between these two.
        let before_ms = place.checked_sub(1).map_or(0, |at| its[at].ms);
        by_reign.entry(*reign).or_default().push((before_ms, its[place].ms));
    }
    for losses in by_reign.values().filter(|losses| are_a_mass(losses)) {
        world.find("S15", format!("three nodes were lost together: {losses:?} ms"));
    }
}

/// Whether three losses, each decided between two times, surely came too soon after each other.
pub(super) fn are_a_mass(losses: &[(u64, u64)]) -> bool {
    losses.windows(3).any(|three| match three {
        [(first_ms, _), (second_ms, _), (_, third_ms)] => {
            third_ms - first_ms < MASS_MS && third_ms - second_ms < TRICKLE_MS
        }
        _ => false,
    })
}

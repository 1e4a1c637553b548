//! The journal itself, and the law's own invariants over a fold of it.

use std::rc::Rc;

use domain::invariants::{Before, state};
use journal::{Entry, catalog};

use super::Model;
use crate::world::World;

/// S1, S7, S10, L6, P-1 as the model found them; the law's invariants after every event.
pub fn check(world: &Rc<World>, model: &Model) {
    for (rule, what) in &model.wrong {
        world.find(rule, what.clone());
    }
    let mut folded = domain::World::default();
    let mut at_ms = 0;
    for (id, bytes) in world.store.entries(0) {
        let Ok(entry) = Entry::parse(id, bytes) else { continue };
        for (_, event) in catalog::events(&entry).flatten() {
            let before = Before::of(&folded, &event);
            folded.evolve(id.seq, &event);
            if let Err(violation) = before.check(&event, &folded) {
                world.find("law", format!("{id}: {violation:?}"));
            }
            if event.at().0 < at_ms {
                world.find("S8", format!("{id} is of {} ms, after {at_ms} ms", event.at().0));
            }
            at_ms = event.at().0;
        }
        if let Err(violation) = state(&folded) {
            world.find("law", format!("after {id}: {violation:?}"));
        }
    }
    if world.plan.spares_the_leader() && model.reigns.len() > 1 {
        let what = format!("{} reigns, and nothing happened to a leader", model.reigns.len());
        world.find("L5", what);
    }
}

/// The state that the journal says, less what views leave out.
pub fn fold(world: &World) -> domain::World {
    let mut folded = domain::World::default();
    for (id, bytes) in world.store.entries(0) {
        let Ok(entry) = Entry::parse(id, bytes) else { continue };
        for (_, event) in catalog::events(&entry).flatten() {
            folded.evolve(id.seq, &event);
        }
    }
    folded.keys.clear();
    folded
}

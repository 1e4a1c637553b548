//! The checkers: what must be so at the end of a seed, whatever happened in it.
//!
//! Each knows rules that `docs/faults.md` names, and the histories of those who took part,
//! not the code that it checks; a model of its own stands against the house's folds.

#[cfg(test)]
mod forgotten_tests;
mod history;
mod journal;
mod model;
mod nodes;
#[cfg(test)]
mod tests;

use std::rc::Rc;

pub use journal::fold;
pub use model::Model;

use crate::world::World;

/// Holds the end of a seed against every rule.
pub fn all(world: &Rc<World>) -> Model {
    let model = Model::of(world);
    journal::check(world, &model);
    history::check(world, &model);
    nodes::check(world, &model);
    model
}

//! The rules of the house as sentences over data: given these events, when this is asked, then
//! exactly these events.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod cancel;
mod choice;
mod consider;
mod dead;
mod fairness;
mod heat;
mod judging;
mod keys;
mod law;
mod life;
mod nodes;
mod placement;
mod poison;
mod quarantine;
mod retention;
mod retry;

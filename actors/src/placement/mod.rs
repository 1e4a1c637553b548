//! Moirai, placement.
//!
//! Owns:   the line and the fleet, folded from durable batches, and at most one plan in flight.
//! Hears:  [`Published`](crate::Published) from the journal.
//! Says:   [`Assign`](crate::registry::Assign) to the registry, from one published entry at a time.
//! Never:  reserves anything, or plans before it has seen what became of the last plan.
//! Fails:  a plan without an answer is forgotten; the next published batch makes another.
//! Proof:  `tests.rs` beside it; and T-1 in `domain`.

mod actor;
#[cfg(test)]
mod tests;

pub use actor::PlacementActor;

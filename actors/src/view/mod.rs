//! Hades, the durable view: every read comes from here.
//!
//! Owns:   a [`domain::World`] folded from durable batches only, less the idempotency keys, which
//!         are the registry's to answer; those who wait for a change; the receipts of the latest
//!         entries.
//! Hears:  [`Published`](crate::Published) from the journal; reads from the gateway and sessions.
//! Says:   runs, nodes and counts, each with the index it reflects.
//! Never:  sees anything that is not durable; changes anything.
//! Fails:  never by itself; it is a fold.
//! Proof:  `tests.rs` beside it; J-2 in `domain`.

mod actor;
mod changes;
mod dead;
mod messages;
mod pace;
mod router;
#[cfg(test)]
mod tests;

pub use actor::ViewActor;
pub use changes::{ChangedAt, Part};
pub use messages::*;

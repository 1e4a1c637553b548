//! The projector: what `redis-cli` shows of the line and the law.
//!
//! Owns:   how far the projections are behind the journal.
//! Hears:  [`LineMoved`](crate::queue::LineMoved) from the queue; the law from policy.
//! Says:   absolute writes to the projected keys; to the gateway, that a revision is shown.
//! Never:  is read for a decision; sits on the way of a commit.
//! Fails:  a failed write is followed by a rebuild from the whole line, until one succeeds.
//! Proof:  `tests/tests/seed/persistence.rs`, `tests/tests/seed/policies.rs`.

mod actor;
mod messages;

pub use actor::ProjectorActor;
pub use messages::*;

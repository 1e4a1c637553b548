//! Themis, the policy actor.
//!
//! Owns:   the history of the law, folded from durable batches; the law in force, which it hands
//!         to the judges as one immutable value.
//! Hears:  [`Published`](crate::Published) from the journal; drafts and reads from the gateway.
//! Says:   the law to judges and projector; documents and histories to the gateway.
//! Never:  enacts anything: the registry numbers and records a change, and it is in force when it
//!         comes back from the journal.
//! Fails:  never by itself; it is a fold.
//! Proof:  P-1 in `domain`.

mod actor;
mod messages;

pub use actor::PolicyActor;
pub use messages::*;

//! Acheron, the queue.
//!
//! Owns:   the waiting line and the dead letters, folded from durable batches.
//! Hears:  [`Published`](crate::Published) from the journal; reads from the gateway.
//! Says:   depth and places to the gateway; what moved to the projector.
//! Never:  chooses a node, or lets anyone in.
//! Fails:  never by itself; it is a fold.
//! Proof:  in `domain`.

mod actor;
mod messages;

pub use actor::QueueActor;
pub use messages::*;

//! Hecatoncheir's side of the house: which node's agent is connected, and which node is lost.
//!
//! Owns:   the connected sessions, when each node was last heard, and the nodes folded from durable
//!         batches.
//! Hears:  [`Published`](crate::Published) from the journal; [`Connect`], [`Heard`] and
//!         [`Disconnect`] from the sessions.
//! Says:   to a session, that what its node should do has changed; to the registry, that a node is
//!         lost.
//! Never:  remembers what was sent: a session reads the wants of its node from the view.
//! Fails:  after a restart every node counts as heard at that instant; many that fall silent at
//!         once are given up slowly.
//! Proof:  `tests.rs` beside it, the end-to-end tests in `tests/`, and the simulation.

mod actor;
mod breaker;
mod messages;
#[cfg(test)]
mod tests;

pub use actor::{SessionsActor, Ttl};
pub use messages::*;

//! The actors: what moves. One folder an actor: its header says what it owns and never does, its
//! messages are its whole surface.
//!
//! Who talks to whom: the gateway asks judges, then the registry; the registry hands events and
//! held answers to the journal; the journal publishes what is durable to view, policy, queue,
//! routers, placement and sessions, then lets the answers out; placement and sessions ask the
//! registry. Every arrow is a typed message.

pub mod answer;
pub mod clock;
#[cfg(test)]
mod crash;
pub mod dice;
#[cfg(test)]
mod fixture;
pub mod heat;
pub mod journal;
pub mod judge;
pub mod notary;
pub mod placement;
pub mod policy;
pub mod projector;
pub mod publish;
pub mod quarantine;
pub mod queue;
pub mod registry;
pub mod sessions;
pub mod view;

pub use answer::{Answer, Committed, Failure, Mark, ask, begin};
pub use publish::{Batch, Published};

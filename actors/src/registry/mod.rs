//! Hades, the registry actor.
//!
//! Owns:   the [`domain::World`] that runs ahead of the journal; draws ids and tokens, stamps time.
//! Hears:  [`Admit`] from the gateway, [`Assign`] from placement, [`Report`] and [`Join`] from an
//!         agent's session, [`Enact`], [`Release`] and [`Refuse`] from the gateway, its own tick.
//! Says:   events and held answers to the journal; nothing to anyone before it is durable.
//! Never:  judges a submission, orders the queue, talks to Redis, or decides before the entry that
//!         makes this instance the leader is durable.
//! Fails:  a lost journal ends the process's role; the next start replays.
//! Proof:  `tests.rs` beside it, `domain`'s laws, the kill tests in `tests/`.

mod actor;
mod commit;
mod messages;
#[cfg(test)]
mod tests;

pub use actor::{Limits, RegistryActor};
pub use commit::Undurable;
pub use messages::*;

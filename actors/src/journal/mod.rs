//! Mnemosyne, the journal actor: group commit.
//!
//! Owns:   the writer's end of the chain, the outbox of what was decided and is not durable, and
//!         the level of features that events are written at. While there is nothing to write it looks at
//!         the journal's end, which may have been lost.
//! Hears:  [`Commit`] from the registry.
//! Says:   [`Published`](crate::Published) to every subscriber, then the held answers, in order.
//! Never:  decides anything but its own first entry, `leader.started` (in a new journal with its
//!         level); has more than one append
//!         under way; lets an answer out before everything decided earlier is durable.
//! Fails:  a journal that can't be written any more ends the role: held answers become *unknown* or
//!         *unavailable*, and [`Fallen`] tells the boot.
//! Proof:  `tests.rs` beside it, the kill tests in `tests/`.

mod actor;
mod messages;
#[cfg(test)]
mod tests;

pub use actor::{JournalActor, LOOK_EVERY};
pub use messages::*;

//! The notary: vouches for the chain, and knows its recent hashes.
//!
//! Owns:   the instance's key; which entry is the newest that it has vouched for; the hashes of the
//!         latest entries, to hold against them what an agent says that it saw.
//! Hears:  [`Published`](crate::Published) from the journal; [`SignNow`] from the boot, when the
//!         instance is to stop; [`Attest`] from the sessions; its own tick.
//! Says:   `checkpoint.signed` to the registry, over an entry that is durable.
//! Never:  signs an entry before it is durable, a checkpoint that would vouch for nothing but
//!         checkpoints, or anything under a key that the reign did not announce.
//! Fails:  a checkpoint that was not recorded is made again at the next tick, over what is durable
//!         then.
//! Proof:  `tests.rs` beside it, `tests/tests/live/sign.rs`.

mod actor;
mod messages;
#[cfg(test)]
mod tests;

pub use actor::{ENTRIES_MAX, NotaryActor};
pub use messages::*;

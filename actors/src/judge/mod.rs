//! Rhadamanthus, the judge actor: a pool of these judges submissions side by side.
//!
//! Owns:   a handle on the law in force, handed out by policy.
//! Hears:  [`Judge`] from the gateway, [`Conclude`] where it has seen what a policy wants to be
//!         seen, [`Reopen`] where a run is to be judged again.
//! Says:   judged submissions, which only judging can make and admission alone takes.
//! Never:  reads a clock, the fleet or Redis, asks a judge elsewhere: it is told what was seen.
//!         Owns any truth. A judgement under an older law is
//!         refused by the registry and made again here.
//! Fails:  a request whose law never comes is answered *unavailable* by the edge's own limit.
//! Proof:  `tests.rs` beside it.

mod actor;
mod messages;
#[cfg(test)]
mod tests;

pub use actor::JudgeActor;
pub use messages::{Conclude, Judge, Reopen};

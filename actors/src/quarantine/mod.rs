//! Typhon, the quarantine router.
//!
//! Owns:   the quarantine ledger and the live quarantine nodes, folded from durable batches.
//! Hears:  [`Published`](crate::Published) from the journal; [`GetLedger`] from the gateway.
//! Says:   what is quarantined, by what, since when.
//! Never:  lets a run out, or onto another node: T-1 is held where runs are assigned.
//! Fails:  never by itself; it is a fold.
//! Proof:  T-1 in `domain`.

mod actor;
mod messages;

pub use actor::QuarantineActor;
pub use messages::*;

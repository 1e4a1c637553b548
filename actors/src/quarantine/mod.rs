//! Typhon, the quarantine router.
//!
//! Owns:   the quarantine ledger and the live quarantine nodes, folded from durable batches.
//! Hears:  [`Published`](crate::Published) from the journal; [`CountQuarantine`] from the gateway.
//! Says:   how many runs stand how in quarantine; a warning when the last node for them is gone. The
//!         ledger itself is read from the view, with its runs, at one index.
//! Never:  lets a run out, or onto another node: T-1 is held where runs are assigned.
//! Fails:  never by itself; it is a fold.
//! Proof:  T-1 in `domain`; `tests/tests/seed/routing.rs`.

mod actor;
mod messages;

pub use actor::QuarantineActor;
pub use messages::*;

//! Phlegethon, the heat router.
//!
//! Owns:   how the pools stand, folded from durable batches.
//! Hears:  [`Published`](crate::Published) from the journal; [`GetRoutes`] from the gateway.
//! Says:   where a workload of a heat would go now, and which pool is its fallback.
//! Never:  routes quarantined work, or assigns: placement asks the same pure function
//!         ([`domain::placement::routes`]) on its own fold.
//! Fails:  never by itself; it is a fold.
//! Proof:  `tests/tests/seed/routing.rs`.

mod actor;
mod messages;

pub use actor::HeatActor;
pub use messages::*;

//! The client: Olympus' HTTP API in types.
//!
//! Owns:   where Olympus is, the token, and what is tried again.
//! Hears:  the CLI, the agent's operators, tests.
//! Says:   requests; every failure in one of three words ([`Error`]).
//! Never:  repeats a write without an idempotency key, or what the law refused.
//! Fails:  as refused, unavailable or unknown, with what to do.
//! Proof:  `tests/contract.rs`, and every live test of the project.

mod admin;
mod error;
mod events;
mod logs;
mod record;
mod runs;
mod transport;

pub use api;
pub use error::{BadAddress, Error};
pub use events::Events;
pub use logs::Logs;
pub use runs::Submitted;
pub use transport::{Client, DEFAULT_ADDR, Patience};

//! Hecatoncheir, the agent: runs attempts on one node, as Olympus wants them.
//!
//! Owns:   a node's sandboxes ([`sandbox`]), the session with Olympus ([`api::session`]), and what of
//!         its attempts Olympus has not acknowledged yet.
//! Hears:  what is wanted, over one outbound connection.
//! Says:   started, output, finished, gone; again until it is acknowledged.
//! Never:  listens on a port; writes to Redis; starts an attempt twice; lets work that another node
//!         may be given go on when it is cut off.
//! Fails:  a new process knows nothing of the old one's attempts and kills what they left behind.
//! Proof:  `src/reconcile/tests.rs`, `tests/`.
//!
//! | Module | Concern |
//! |---|---|
//! | `config` | the environment |
//! | `discovery` | where Olympus is |
//! | `reconcile` | the rules, without IO |
//! | `spool` | output until it is acknowledged |
//! | `attempt` | one sandbox from launch to end |
//! | `session` | the connection |
//! | `complaints` | what was said of a connection that failed |
//! | `node` | the loop that ties them together |
//! | `start` | checks before a node registers, start and stop |
//!
//! A program that calls [`start`] must call [`sandbox::init_hook`] first in its `main`.

mod attempt;
mod capacity;
mod clock;
mod complaints;
pub mod config;
pub mod discovery;
mod identity;
mod node;
mod obeyed;
pub mod reconcile;
mod session;
mod spool;
mod start;

pub use config::{Config, ConfigError};
pub use identity::Identity;
pub use node::Fatal;
pub use start::{Handle, StartError, serve, start};

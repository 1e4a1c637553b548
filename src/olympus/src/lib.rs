//! Olympus, the gateway: configuration, boot, roles and the HTTP API.
//!
//! Owns:   the process' configuration, its data directory, and the edge: parsing, limits, answers.
//! Never:  owns any state of a run: every answer comes from an actor.
//! Fails:  a closed or shut house is 503 with the reason; bad configuration ends the start.
//! Proof:  `tests/live`, `tests/seed`.

pub mod agent_session;
pub mod agent_wire;
pub mod boot;
pub mod config;
pub mod dangers;
mod external;
pub mod follow;
pub mod heartbeats;
pub mod house;
pub mod http;
pub mod instance_key;
mod janitor;
pub mod keep;
pub mod output;
pub mod past;
pub mod presence;
pub mod recover;
pub mod seat;
pub mod serve;
pub mod threads;
pub mod wire;
pub mod witness;

pub use replay::aside;

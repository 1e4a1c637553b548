//! How we know: real processes of the built program, real Redis servers, plain HTTP.
//!
//! Owns:   every process it starts, and every file they write; both are gone when a test ends.
//! Never:  sleeps to let something happen ([`wait`] polls for the condition itself), asks a process
//!         of another test, or links the code under test: what is tested is what users run.
//! Fails:  a failing test prints the last lines of each of its processes.

pub mod cli;
pub mod dice;
pub mod front;
pub mod house;
pub mod http;
pub mod judge;
pub mod net;
pub mod process;
pub mod program;
pub mod proxy;
pub mod redis_server;
pub mod wait;

pub use cli::{Finished, tartarus};
pub use house::{Agent, AgentPlan, House, Olympus, OlympusPlan};
pub use http::{Answer, Api};
pub use process::Process;
pub use redis_server::{Fsync, RedisServer};
pub use wait::{until, until_sync};

//! The contract, line by line, against the running program.
//!
//! Needs:  `redis-server` for what must outlive a process; the rest keeps nothing.
//! Never:  asks how something is done: every test here speaks HTTP, or the command line.

mod cancel;
mod cli;
mod dead;
mod drain;
mod events;
mod examples;
mod explain;
mod fleet;
mod followers;
mod judges;
mod law;
mod lists;
mod logs;
mod past;
mod quarantine;
mod reads;
mod record;
mod replay;
mod sign;
mod submit;
mod surface;
mod tls;
mod trouble;
mod what_if;
mod work;

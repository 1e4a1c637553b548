//! The memory: what the journal says to those who were not there, and whether it can be believed.
//!
//! Owns:   reading a journal or an export of one ([`Source`]), the audit of it ([`verify`]), who
//!         vouches for it ([`vouched`]), the state at any point ([`state`]) and in files
//!         ([`snapshot`]), what has left Redis ([`archive`]), what a draft of a policy would have
//!         changed ([`what_if`]), and how an event reads outside ([`cloud`]).
//! Hears:  entries, believed in nothing before they are checked.
//! Says:   what was found, and how far what is good reaches.
//! Never:  writes to a journal, decides, links an actor: the past has one implementation, the
//!         `evolve` that lived it.
//! Fails:  as [`Unreadable`] where nothing can be said; what is wrong with a journal is an answer.
//! Proof:  `src/replay/tests`, `tests/tests/live/replay.rs`.

pub mod again;
pub mod archive;
pub mod aside;
mod bucket;
pub mod cloud;
pub mod diff;
pub mod export;
pub mod fold;
pub mod import;
pub mod reveal;
pub mod show;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod step;
pub mod then;
pub mod verify;
pub mod vouched;
pub mod what_if;
pub mod why;
pub mod words;

pub use archive::Archive;
pub use fold::Point;
pub use journal::Kinds;
pub use snapshot::Snapshots;
pub use source::{Finding, Source, Unreadable};

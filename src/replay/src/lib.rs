//! The memory: what the journal says to those who were not there.
//!
//! Owns:   how an event reads outside ([`cloud`]).
//! Hears:  entries of a journal.
//! Says:   each event in the one form that feeds, lists and exports have.
//! Never:  writes, decides, links an actor.
//! Proof:  the tests beside the code.

pub mod cloud;

//! What runs write: one framed file an attempt, kept until its run is forgotten.
//!
//! Owns:   `output/` in the data directory, or in its `in-memory/` beside a journal that is there.
//! Hears:  numbered chunks from the sessions of agents; removals from the janitor.
//! Says:   pages of chunks to any number of readers, each with its own place in the file; to those
//!         who follow, that there is more.
//! Never:  keeps output in memory, or gives a chunk away before it is in the file; takes what an attempt
//!         wrote that the journal lost for that of another with its number.
//! Fails:  a file that ends in the middle of a frame, as after a crash, loses that frame and no
//!         other; a damaged frame ends a read with an error.
//! Proof:  `output/tests.rs`.

mod frame;
mod keep;
mod read;
mod sweep;
#[cfg(test)]
mod tests;

pub use frame::{Chunk, FRAME_HEADER};
pub use keep::{Append, OutputStore, Seal, Summary, Sync};
pub use read::{Page, Reader};
pub use sweep::sweep;

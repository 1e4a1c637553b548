//! Mnemosyne, the journal: the one truth, of which everything else is a fold.
//!
//! Owns:   the entry's bytes ([`entry`]), the chain ([`Chain`], [`Cursor`]), the event catalogue
//!         ([`catalog`]), the port ([`Journal`]) with its two implementations ([`redis`],
//!         [`memory`]), the insisting writer ([`Writer`]), the leader's key ([`Lease`]) and what a
//!         checkpoint signs ([`signature`]).
//! Hears:  batches of events from the journal actor.
//! Says:   committed, stepped down, failed; pages of verified entries.
//! Never:  decides, or reports "failed" for an append that may have happened.
//! Proof:  `tests/contract.rs`, `tests/replies.rs`, `tests/refusals.rs`, `tests/writer.rs`,
//!         `tests/kills.rs`, `tests/flips.rs`, `tests/golden.rs`, `tests/apart.rs`.
//!
//! # How to use it
//!
//! ```
//! # use std::sync::Arc;
//! # use journal::{Batch, Chain, Claim, Cursor, Journal, Lease, MemoryJournal, Outcome, Writer};
//! # async fn boot() -> Result<(), Box<dyn std::error::Error>> {
//! let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default()); // or RedisJournal::new(config)
//! let opened = journal.open(None).await?;               // OpenError::exit_code() is 2, 3 or 4
//!
//! // Fold: verified entries from the first to the last.
//! let mut cursor = Cursor::start(opened.tail.identity);
//! loop {
//!     let page = journal.read(&cursor).await?;
//!     if page.entries.is_empty() {
//!         break;
//!     }
//!     for entry in &page.entries {
//!         for event in journal::catalog::events(entry) {
//!             let (_n, _event) = event?;
//!         }
//!     }
//!     cursor = page.next;
//! }
//! let tail = cursor.tail().ok_or("nothing read")?;
//!
//! // Lead: the key, then the barrier, then everything else. The key's owner polls `keep`.
//! let boot = uuid::Uuid::new_v4();
//! let claim = Claim { boot, url: "http://127.0.0.1:8080".into() };
//! let lease = Lease::acquire(journal.clone(), claim).await?;
//! let mut chain = Chain::lead_from(tail, boot);         // chain.epoch() is the new epoch
//! let mut writer = Writer::new(journal.clone(), tail);
//! let barrier = Batch::new();                           // catalog::encode(&event, &mut batch)?
//! let sealed = chain.seal(1_700_000_000_000, barrier)?; // log time, ms
//! match writer.commit(&sealed).await {                  // writer.health() for the edge
//!     Outcome::Committed => println!("{}", sealed.receipt()), // publish sealed.entry()
//!     Outcome::SteppedDown(_) | Outcome::Failed(_) => {}
//! }
//! lease.release().await?;
//! # Ok(())
//! # }
//! ```

pub mod apart;
pub mod batch;
pub mod catalog;
pub mod chain;
mod damage;
pub mod entry;
pub mod errors;
mod frozen;
pub mod ids;
pub mod lease;
pub mod limits;
pub mod memory;
pub mod port;
mod public;
mod records;
pub mod redis;
pub mod signature;
pub mod writer;

pub use apart::{Kinds, Secrets};
pub use batch::{Batch, BatchTooLarge};
pub use chain::{Chain, Cursor, Sealed, Tail};
pub use entry::{
    BATCH_CUT_BYTES, DamagedEntry, Entry, EntryFault, Format, Header, Identity, MAX_BODY_BYTES,
    Record,
};
pub use ids::{ChainHash, ClusterId, EntryId, Position, Receipt};
pub use lease::{Lease, LeaseState, NotAcquired};
pub use memory::{Fault, Faults, MemoryJournal, MemoryStore, Weather};
pub use port::{
    Appended, CheckError, Claim, Claimed, Content, Durability, Expected, Heartbeat, Journal,
    OpenError, Opened, Ops, Page, Place, PolicyOp, Projected, Promise, QueueMember, QueueOp,
    ReadError, Refusal, Refused, Settled, Standing, Step, Trouble,
};
pub use redis::{Address, RedisConfig, RedisJournal};
pub use signature::{InstanceKey, PublicKey};
pub use writer::{FailReason, FailStop, Health, Outcome, SteppedDown, Writer, export};

//! What the notary is asked.

use actix::Message;
use domain::Sequence;
use journal::{EntryId, Receipt};
use tokio::sync::oneshot;

/// Vouches for what is durable now. Answered when that is recorded, or can't be: how many entries
/// are left that nobody vouches for, but for checkpoints.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SignNow(pub oneshot::Sender<u64>);

/// Holds an entry that somebody saw against the chain.
#[derive(Debug, Message)]
#[rtype(result = "Attested")]
pub struct Attest(pub Option<EntryId>);

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attested {
    /// Of the entry; none where none was named.
    pub seen: Option<Known>,
    /// The newest durable entry.
    pub newest: Receipt,
}

/// What is known of an entry here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is this one.
    Same,
    /// Another entry has its number here.
    Unlike(EntryId),
    /// It is behind the newest entry that is known here.
    Ahead(Sequence),
    /// It is older than what is remembered.
    Older,
}

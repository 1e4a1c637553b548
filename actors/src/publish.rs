//! Durable batches, handed to everyone that takes part in decisions or reads.
//!
//! One of the two places that may push without a bound: a subscriber that were skipped would be
//! wrong for ever, and one that parked the journal would stop the house. What is pushed is bounded
//! by what may be undurable, at the door (`registry`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{Message, Recipient};
use domain::{Event, Sequence};

use crate::answer::Receipt;

/// One durable journal entry.
#[derive(Debug)]
pub struct Batch {
    /// Its number.
    pub index: Sequence,
    /// Its receipt.
    pub receipt: Receipt,
    /// Its whole hash.
    pub hash: journal::ChainHash,
    /// Epoch of its writer.
    pub epoch: u64,
    /// Whether these very actors decided it and wrote it. What a follower reads may be of its own process
    /// too: of a reign that is over, which it had not read when it began to follow.
    pub written_here: bool,
    /// What has happened.
    pub events: Vec<Event>,
    /// Bytes of the entry.
    pub bytes: u64,
}

/// A batch is durable.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Published(pub Arc<Batch>);

/// Everyone that folds what is durable, in the order in which they hear of it.
#[derive(Clone, Default)]
pub struct Subscribers {
    recipients: Vec<Recipient<Published>>,
    written: Arc<AtomicU64>,
}

impl Subscribers {
    /// Adds one.
    pub fn add(&mut self, recipient: Recipient<Published>) {
        self.recipients.push(recipient);
    }

    /// Bytes of all batches so far, for whoever wants to know only that.
    pub fn written(&self) -> &Arc<AtomicU64> {
        &self.written
    }

    /// Pushes a batch to all. A subscriber that is gone ends with the process.
    #[allow(clippy::disallowed_methods)]
    pub fn publish(&self, batch: &Arc<Batch>) {
        self.written.fetch_add(batch.bytes, Ordering::Relaxed);
        for recipient in &self.recipients {
            recipient.do_send(Published(batch.clone()));
        }
    }
}

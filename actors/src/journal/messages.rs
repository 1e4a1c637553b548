//! What the journal is told.

use actix::Message;
use domain::Event;
use journal::{Chain, PublicKey, Writer};
use tokio::sync::oneshot;

use crate::answer::{Failure, Mark};
use crate::publish::Subscribers;

/// The events of one command, and the answer that waits for them. Without events the answer still
/// waits for everything before it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Commit {
    /// What was decided; never split over entries.
    pub events: Vec<Event>,
    /// The answer.
    pub release: Release,
}

/// A held answer. Dropped without a word it answers *unknown* by itself, as its channel closes.
pub struct Release(Box<dyn FnOnce(Result<Mark, Failure>) + Send>);

impl Release {
    /// An answer that `answer` gives when the outcome is known.
    pub fn new(answer: impl FnOnce(Result<Mark, Failure>) + Send + 'static) -> Self {
        Self(Box::new(answer))
    }

    /// Lets it out.
    pub fn out(self, outcome: Result<Mark, Failure>) {
        (self.0)(outcome);
    }
}

/// Why an instance does not lead any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallen {
    /// Another instance leads.
    Deposed(String),
    /// The journal can't be trusted or written any more.
    FailStop(String),
    /// It was asked to stop, and everything was written.
    Stopped,
}

/// Writes what is left, refuses everything after, and gives the lease back.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// Begins to lead: `leader.started` is the first entry, and nothing is decided before it is
/// durable.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Lead {
    /// The chain, at the next epoch.
    pub chain: Chain,
    /// The writer, at the end of the journal.
    pub writer: Writer,
    /// The same place.
    pub mark: Mark,
    /// Everyone that folds what is durable.
    pub subscribers: Subscribers,
    /// How others reach this instance.
    pub url: Box<str>,
    /// Version of the program.
    pub version: Box<str>,
    /// What this instance signs with: the public half.
    pub key: Option<PublicKey>,
    /// The level of features in force. A journal that was just begun is raised to the newest.
    pub level: u32,
    /// Answered when the entry is durable.
    pub reply: oneshot::Sender<Result<Mark, Failure>>,
}

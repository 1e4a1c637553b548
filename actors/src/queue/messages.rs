//! What the queue may be asked.

use actix::Message;
use domain::line::{Depth, LineChange, LineKey};
use domain::{RunId, Timestamp};

use crate::answer::Mark;
use crate::view::Seen;

/// How long the line is.
#[derive(Debug, Message)]
#[rtype(result = "Seen<QueueDepth>")]
pub struct GetDepth;

/// How long the line is.
#[derive(Clone, Debug)]
pub struct QueueDepth {
    /// Runs that wait.
    pub depth: Depth,
    /// When the one that waits longest was admitted.
    pub oldest: Option<Timestamp>,
    /// Whether assignments are paused.
    pub paused: bool,
    /// Dead letters that wait for a redrive.
    pub dead: usize,
}

/// How many wait before a run in its pool; none when it does not wait.
#[derive(Debug, Message)]
#[rtype(result = "Option<usize>")]
pub struct GetRank(pub RunId);

/// The whole line, in order.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Vec<(LineKey, RunId)>>")]
pub struct GetLine;

/// What moved in the line, for the projection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LineMoved {
    /// The entry that moved it.
    pub at: Mark,
    /// The entry of the message before this one, so that a lost one is noticed.
    pub previous: Mark,
    /// In order.
    pub changes: Vec<LineChange>,
}

//! What the projector may be asked.

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use crate::queue::GetLine;

/// Where the whole line can be had. The projector writes it once at the start, and again after a
/// write that failed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attach(pub Recipient<GetLine>);

/// Answered when the policies of this revision of the law, or a later one, are shown.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AwaitPolicies {
    /// The revision.
    pub revision: u64,
    /// Where the answer goes.
    pub reply: oneshot::Sender<()>,
}

/// Answered when the line as of the start is shown: readiness waits for it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AwaitLine(pub oneshot::Sender<()>);

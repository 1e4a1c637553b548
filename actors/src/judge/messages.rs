//! What a judge may be asked.

use actix::Message;
use domain::Judged;
use domain::judge::{Request, Unjudgeable};
use tokio::sync::oneshot;

/// Judges the requests of one call.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Judge {
    /// With their position in the call.
    pub requests: Vec<(u32, Request)>,
    /// Whether quarantine verdicts are switched on.
    pub quarantine_on: bool,
    /// Judge under this revision of the law, or a later one.
    pub revision: u64,
    /// Where the answers go.
    pub reply: oneshot::Sender<Vec<(u32, Result<Judged, Unjudgeable>)>>,
}

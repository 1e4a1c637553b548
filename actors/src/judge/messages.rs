//! What a judge may be asked.

use std::sync::Arc;

use actix::Message;
use domain::event::RunAdmitted;
use domain::judge::{Case, Heard, Request, Unjudgeable};
use domain::{Inputs, Judged};
use tokio::sync::oneshot;

/// Judges the requests of one call, and says which want more to be seen first.
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
    pub reply: oneshot::Sender<Vec<(u32, Result<Heard, Unjudgeable>)>>,
}

/// Opens an admitted run again, under the law in force.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Reopen {
    /// As its record has it.
    pub run: Arc<RunAdmitted>,
    /// As a new run, from the template of today.
    pub anew: bool,
    /// Judge under this revision of the law, or a later one.
    pub revision: u64,
    /// Where the case goes.
    pub reply: oneshot::Sender<Result<Case, Unjudgeable>>,
}

/// Judges cases on what they wanted to see.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Conclude {
    /// With their position in the call.
    pub cases: Vec<(u32, Case, Inputs)>,
    /// Where the answers go.
    pub reply: oneshot::Sender<Vec<(u32, Judged)>>,
}

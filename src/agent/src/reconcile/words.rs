//! What the [rules](super) hear and say.

use api::session::{AttemptRef, AttemptSpec, FromAgent, Refused, Stream, Terms, ToAgent};
use domain::event::{Exit, Usage};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A connection is open.
    Opened,
    /// Olympus said something on it.
    Heard(Box<ToAgent>),
    /// It is gone.
    Closed,
    /// The command runs.
    Launched(AttemptRef),
    /// It wrote.
    Wrote(AttemptRef, Written),
    /// It ended, and nothing more will be written.
    Ended(AttemptRef, Box<End>),
    /// The agent is to stop; work that ends within this many milliseconds may end.
    Leave(u64),
    /// Time has passed.
    Tick,
}

/// A piece of output as it was read: at most [`api::session::CHUNK_BYTES`].
#[derive(Debug)]
pub struct Written {
    /// Which stream.
    pub stream: Stream,
    /// When, on the wall.
    pub time_ms: u64,
    /// What.
    pub data: Vec<u8>,
}

/// How an attempt ended.
#[derive(Debug)]
pub struct End {
    /// How.
    pub exit: Exit,
    /// What it used.
    pub usage: Usage,
    /// Something was written that could not be read.
    pub cut: bool,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Put this on disk before anything that follows.
    Remember(Obeyed),
    /// Send a text frame.
    Send(FromAgent),
    /// Send a binary frame.
    SendOutput(Vec<u8>),
    /// Close the connection, and open another.
    Close(Cause),
    /// Start an attempt.
    Launch(AttemptRef, Box<AttemptSpec>, Terms),
    /// SIGTERM, the grace, SIGKILL: the run was cancelled.
    Stop(AttemptRef),
    /// SIGKILL; nobody waits for the result.
    Kill(AttemptRef),
    /// Nothing is left to do: the agent may end.
    Done,
}

/// Why a session is closed from this side.
#[derive(Debug, PartialEq)]
pub enum Cause {
    /// Olympus refused it.
    Refused(Refused),
    /// It led the wrong way.
    StaleEpoch {
        /// Its epoch.
        theirs: u64,
        /// The highest that was seen.
        seen: u64,
    },
    /// Nothing was heard for this many milliseconds.
    Silence(u64),
    /// A message out of turn.
    Rules(&'static str),
    /// The agent leaves.
    Leaving,
}

/// Whom the agent obeys: kept across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obeyed {
    /// The cluster of the last welcome.
    pub cluster: Option<Uuid>,
    /// The highest epoch seen of it.
    pub highest_epoch: u64,
}

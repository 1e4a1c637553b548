//! The contract on the wire: what clients, the control plane and its agents say to each other.
//!
//! Owns:   the JSON shapes, their limits with reasons, and the words of every refusal of a request.
//! Hears:  bytes from the network ([`parse`]).
//! Says:   [`domain::judge::Request`], or every reason why not ([`Invalid`]).
//! Never:  opens a socket, reads a clock, decides anything about a run.
//! Fails:  as [`Malformed`] (400, 413) or [`Invalid`] (422); both become a [`Problem`].
//! Proof:  unit tests beside the code, and `data/bad_requests.json`, which is also sent to a live server.

#[cfg(any(test, feature = "cases"))]
pub mod cases;
pub mod check;
pub mod dead;
pub mod document;
pub mod duration;
pub mod event;
pub mod explain;
pub mod fleet;
pub mod given;
pub mod headers;
pub mod heat;
pub mod judges;
pub mod labels;
pub mod law;
pub mod limits;
pub mod logs;
pub mod parse;
pub mod placement;
pub mod problem;
pub mod quarantine;
pub mod query;
pub mod record;
pub mod run;
pub mod selector;
pub mod session;
pub mod show;
pub mod status;
pub mod time;
pub mod what_if;
pub mod why;

pub use check::Invalid;
pub use dead::DeadLetter;
pub use domain::law::{OnViolation, Verdict};
pub use domain::submission::{Heat, Network, OnLost, Pool, Strategy};
pub use duration::Duration;
pub use event::CloudEvent;
pub use fleet::{Capacity, Node, NodeState, QueueStatus};
pub use given::Given;
pub use heat::{HeatDocument, HeatStatus};
pub use law::{PolicyDocument, TemplateDocument};
pub use logs::{LogChunk, Stream};
pub use parse::{Malformed, parse};
pub use problem::{Outcome, Problem};
pub use quarantine::Quarantined;
pub use query::{ReadQuery, RunsQuery};
pub use run::{Batch, BatchAnswer, BatchAnswers, DryRun, List, Run, RunRequest};
pub use selector::Selector;
pub use status::{Readyz, Role, Status};
pub use time::Time;
pub use why::Link;

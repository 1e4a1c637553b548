//! The law of the house, pure: no clock, no randomness, no IO, no floats, no actors.
//!
//! [`World::decide`](world::World::decide) says what a command leads to and changes nothing;
//! [`World::evolve`](world::World::evolve) folds what has happened and cannot fail. Replay is the
//! same `evolve`: there is no second implementation of the past.

mod attempts;
pub mod command;
pub mod court;
pub mod dead;
mod ended;
pub mod event;
pub mod explain;
pub mod fleet;
pub mod heat;
pub mod ids;
pub mod invariants;
pub mod judge;
pub mod kept;
pub mod keys;
pub mod law;
pub mod ledger;
pub mod line;
mod pack;
mod pairs;
pub mod pattern;
pub mod pieces;
pub mod placement;
pub mod reigns;
mod rows;
pub mod rules;
pub mod runs;
pub mod selector;
pub mod submission;
pub mod tenants;
mod texts;
pub mod world;

pub use command::{Command, Refusal};
pub use court::Court;
pub use event::Event;
pub use ids::{NodeId, RunId, Sequence, Timestamp, Token};
pub use judge::{Inputs, Judged, Judgement};
pub use law::Law;
pub use rows::Rows;
pub use runs::{Run, Status};
pub use submission::Submission;
pub use texts::Texts;
pub use world::{Decision, World};

//! One file a command.

pub mod audit;
pub mod completion;
pub mod dev;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod healthcheck;
pub mod heat;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod node;
pub mod policy;
pub mod ps;
pub mod quarantine;
pub mod queue;
pub mod record;
pub mod replay;
pub mod run;
pub mod template;
pub mod why;

mod documents;
mod reveal;
mod source;
mod step;
mod target;
mod vouching;
mod what_if;

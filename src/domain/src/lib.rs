//! The law of the house, pure: no clock, no randomness, no IO, no floats, no actors.

pub mod event;
pub mod ids;
pub mod judge;
pub mod law;
pub mod submission;

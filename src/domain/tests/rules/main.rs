//! The rules of the house as sentences over data: given these events, when this is asked, then
//! exactly these events.

#[path = "../support/mod.rs"]
mod support;

mod life;
mod nodes;
mod retry;

//! The memory of a day that was lived: audited, shown, taken away, and lied about.

#[path = "../../../journal/tests/support/dice.rs"]
#[allow(dead_code)]
mod dice;
#[path = "../../../domain/tests/support/mod.rs"]
mod law;

mod archives;
mod causes;
mod day;
mod exports;
mod recorded;
mod reveals;
mod snapshots;
mod states;
mod verifies;
mod vouched;

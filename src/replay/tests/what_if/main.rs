//! The past under a draft: what flips, what only moves, what can't be judged, and what never flips.
#![allow(dead_code)] // each fixture of the law is used in part

#[path = "../../../domain/tests/laws/asks.rs"]
mod asks;
#[path = "../memory/day.rs"]
mod day;
#[path = "../../../domain/tests/laws/ends.rs"]
mod ends;
#[path = "../../../domain/tests/laws/house.rs"]
mod house;
#[path = "../../../domain/tests/laws/numbers.rs"]
mod numbers;
#[path = "../../../domain/tests/laws/parts.rs"]
mod parts;
#[path = "../../../domain/tests/laws/script.rs"]
mod script;
#[path = "../../../domain/tests/support/mod.rs"]
mod support;
#[path = "../../../domain/tests/laws/wire.rs"]
mod wire;

mod any_day;
mod drafts;
mod lived;

use support as law;

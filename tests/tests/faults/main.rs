//! Faults, injected into real processes: what is kept, and what is said.
//!
//! Hears:  `TARTARUS_TEST_FAULTS` (how many times the repeated faults are injected; 3 where it is not
//!         set) and `TARTARUS_TEST_SEED`.
//! Says:   a row a fault to the directory `TARTARUS_TEST_FAULT_ROWS`, for `scripts/faults`.
//! Never:  judges by the clock: how long things took is said, not asserted.
//! Needs:  `redis-server`.

mod agents;
mod disks;
mod instances;
mod journal;
mod overload;
mod poison;
mod replicas;
mod server;
mod trio;
mod wires;

use std::time::Duration;

/// How often a repeated fault is injected.
fn times() -> usize {
    std::env::var("TARTARUS_TEST_FAULTS")
        .map_or(3, |text| text.parse().expect("TARTARUS_TEST_FAULTS is a number"))
}

/// A row of the table.
#[allow(clippy::print_stderr, reason = "what was seen is what this is run for")]
fn row(id: &str, fault: &str, times: usize, seen: &str) {
    let row = format!("| {id} | {fault} | {times} | {seen} |");
    eprintln!("{row}");
    if let Some(dir) = std::env::var_os("TARTARUS_TEST_FAULT_ROWS") {
        std::fs::write(std::path::Path::new(&dir).join(id), row + "\n").expect("a row");
    }
}

/// Median, 99th of 100 and most of some durations, in milliseconds.
fn spread(mut took: Vec<Duration>) -> String {
    took.sort();
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_millis();
    format!("{} ms at the median, {} at the 99th of 100, {} at most", at(50), at(99), at(100))
}

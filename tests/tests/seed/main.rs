//! The requirements, row by row: each test is named after the row it holds (S4, S5 …).
//!
//! Needs:  `redis-server`; agents with the embedded sandbox.
//! Absent: S2 and S3 as a whole, which `scripts/compose-proof` runs with a real Docker engine; S22 to
//!         S28 where they speak of several instances, which come with fail-over.

mod configuration;
mod doctor;
mod persistence;
mod policies;
mod routing;

use serde_json::Value;
use tests::{Olympus, Process};

/// Whether some log entry has exactly this message.
fn says(process: &Process, message: &str) -> bool {
    !process.said(message).is_empty()
}

/// The value and the origin of a variable, as the start-up log shows them.
fn configured(olympus: &Olympus, variable: &str) -> (String, String) {
    let lines = tests::until_sync("the effective configuration", || {
        let lines: Vec<Value> = olympus.process.said("configure");
        lines.iter().any(|line| line["name"] == variable).then_some(lines)
    });
    let line = lines.iter().find(|line| line["name"] == variable).cloned().unwrap_or_default();
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    (text("value"), text("origin"))
}

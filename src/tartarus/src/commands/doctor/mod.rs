//! `tartarus doctor`: is everything here that Tartarus needs?
//!
//! Owns:   the list of checks; each failed line says what to do.
//! Never:  changes anything: not in Redis, not on this machine, save a probe sandbox that is gone
//!         when it has been looked at.
//! Fails:  with exit code 1 when any check does.

mod environment;
mod machine;
mod redis;

use olympus::config::{Config, Origin};
use serde::Serialize;

use crate::connect::block_on;
use crate::exit::{DONE, ERROR, Failure};
use crate::print::{Columns, Format, print};
use crate::terminal::Terminal;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and someone may want to know.
    Warn,
    /// It does not work.
    Fail,
}

/// One line of the diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), remedy: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at everything, and says what to do about what is wrong.
///
/// # Errors
/// The diagnosis can't be printed.
pub fn run(addr: Option<&str>, format: Format, terminal: &Terminal) -> Result<u8, Failure> {
    let progress = terminal.progress();
    progress.say("looking around");
    let checks = block_on(async {
        let (mut checks, config) = environment::look();
        // Who is told where Olympus is, and nothing of a Redis, needs none.
        let told = |config: &&Config| addr.is_none() || config.redis.origin != Origin::Default;
        if let Some(config) = config.as_ref().filter(told) {
            checks.extend(redis::look(config).await);
        }
        checks.extend(environment::olympus(addr).await);
        checks.extend(machine::look().await);
        Ok(checks)
    })?;
    drop(progress);
    print(format, &checks, || columns(&checks))?;
    let failed = checks.iter().filter(|check| check.state == State::Fail).count();
    if failed == 0 {
        return Ok(DONE);
    }
    terminal.error(&format!("{failed} of {} checks failed", checks.len()));
    Ok(ERROR)
}

fn columns(checks: &[Check]) -> Columns {
    let mut rows = Vec::new();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        rows.push(vec![state.to_owned(), check.check.to_owned(), check.found.clone()]);
        if let Some(remedy) = &check.remedy {
            rows.push(vec![String::new(), String::new(), format!("→ {remedy}")]);
        }
    }
    Columns { head: vec!["STATE", "CHECK", "FOUND"], narrow: 3, rows }
}

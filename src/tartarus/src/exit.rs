//! Exit codes, and what is said on the way out.

use std::process::ExitCode;

use api::{Run, Status};
use client::{BadAddress, Error};

use crate::terminal::Terminal;

/// Done.
pub const DONE: u8 = 0;
/// An error, or something was found.
pub const ERROR: u8 = 1;
/// The command was not understood.
pub const USAGE: u8 = 2;
/// `run`: the program's time ran out.
pub const TIMED_OUT: u8 = 124;
/// `run`: Tartarus itself failed.
pub const FAILED: u8 = 125;
/// `run`: refused, or not placed.
pub const REFUSED: u8 = 126;
/// `run`: the command is not there, as shells say it.
pub const NOT_FOUND: u8 = 127;
/// `run`: a signal ended the program; its number is added.
pub const SIGNALED: u8 = 128;
/// `run`: the caller gave up with Ctrl-C (SIGINT is 2).
pub const INTERRUPTED: u8 = SIGNALED + 2;
/// Whoever read the output went away (SIGPIPE is 13).
const PIPE_CLOSED: u8 = SIGNALED + 13;
/// The kernel ends a program that wants too much memory with SIGKILL (9).
const KILLED: u8 = SIGNALED + 9;

/// Why a command ends without having done what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A mistake of the caller.
    #[error("{0}")]
    Usage(String),
    /// Something went wrong, under this exit code.
    #[error("{message}")]
    Code {
        /// The exit code.
        code: u8,
        /// What happened and what to do.
        message: String,
    },
    /// Olympus refused or can't be reached.
    #[error("{}", here(&.0.to_string()))]
    Client(#[from] Error),
    /// A journal, or an export of one, that says nothing.
    #[error(transparent)]
    Memory(#[from] replay::Unreadable),
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    /// A failure with exit code 1.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Code { code: ERROR, message: message.into() }
    }

    /// Tartarus itself failed, while it was to run something.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Code { code: FAILED, message: message.into() }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Code { code, .. } => *code,
            Self::Client(_) | Self::Memory(_) => ERROR,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => PIPE_CLOSED,
            Self::Output(_) => ERROR,
        }
    }

    /// The same, as `run` tells refusals from its own failures.
    pub fn of_run(self) -> Self {
        match self {
            Self::Client(error) => {
                let code = match error {
                    Error::Refused(_) => REFUSED,
                    Error::Unavailable { .. } | Error::Unknown { .. } => FAILED,
                };
                Self::Code { code, message: here(&error.to_string()) }
            }
            Self::Output(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Self::failed(format!("cannot write the output: {error}"))
            }
            Self::Usage(_) | Self::Code { .. } | Self::Memory(_) | Self::Output(_) => self,
        }
    }

    /// Says it on stderr, and gives the exit code.
    pub fn report(self, terminal: &Terminal) -> ExitCode {
        let code = self.code();
        // A reader that went away is no news to anyone.
        if code != PIPE_CLOSED {
            terminal.error(&self.to_string());
        }
        code.into()
    }
}

/// What Olympus tells every client to call, and what does the same on a command line. Its codes say
/// what is wrong, and not what to look at: these are its own words.
const HERE: &[(&str, &str)] = &[
    ("GET /v1/runs", "`tartarus ps`"),
    ("GET /v1/nodes", "`tartarus node list`"),
    ("GET /v1/policies", "`tartarus policy list`"),
    ("GET /v1/templates", "`tartarus template list`"),
    ("GET /v1/queue/dead", "`tartarus queue dead`"),
    (
        "send \"Authorization: Bearer TOKEN\"; clients read TARTARUS_TOKEN",
        "set TARTARUS_TOKEN or TARTARUS_TOKEN_FILE",
    ),
];

/// The words of Olympus, for one who sits at a command line.
pub fn here(words: &str) -> String {
    let named = |(call, command): &(&str, &str)| {
        let (before, after) = words.split_once(call)?;
        // "GET /v1/runs/ID" is another call than "GET /v1/runs".
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || "/:?".contains(c));
        whole.then(|| format!("{before}{command}{after}"))
    };
    HERE.iter().find_map(named).unwrap_or_else(|| words.to_owned())
}

impl From<BadAddress> for Failure {
    fn from(error: BadAddress) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The exit code that a finished run stands for.
pub fn of_run(run: &Run) -> u8 {
    let own = own_code(run);
    match (run.status, run.reason.as_deref()) {
        (Status::Succeeded, _) => DONE,
        (Status::Rejected, _) => REFUSED,
        (Status::Canceled, _) => match (own, run.attempt) {
            (Some(code), _) => code,
            (None, 0) => REFUSED,
            (None, _) => FAILED,
        },
        (Status::Failed, Some("TimedOut")) => TIMED_OUT,
        (Status::Failed, Some("NodeLost" | "SandboxFailed")) => FAILED,
        (Status::Failed, Some("OutOfMemory")) => own.unwrap_or(KILLED),
        (Status::Failed, Some("NotExecutable")) => own.unwrap_or(NOT_FOUND),
        (Status::Failed, _) => own.unwrap_or(FAILED),
        (Status::Pending | Status::Scheduled | Status::Running, _) => FAILED,
    }
}

/// What the program itself ended with, where that is not success.
fn own_code(run: &Run) -> Option<u8> {
    if let Some(signal) = run.signal {
        return u8::try_from(signal).ok().and_then(|signal| SIGNALED.checked_add(signal));
    }
    // A process' exit code is the lowest byte of what it gave (exit(3)).
    run.exit_code.map(|code| code.to_le_bytes()[0]).filter(|code| *code != DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::problem::Problem;

    fn run(status: &str, reason: Option<&str>, exit: Option<i32>, signal: Option<i32>) -> Run {
        let attempt = u32::from(exit.is_some() || signal.is_some() || reason.is_some());
        serde_json::from_value(serde_json::json!({
            "id": "r", "status": status, "reason": reason, "message": null, "template": "host",
            "command": ["true"], "env": {}, "stdin": "",
            "resources": {"cpu_milli": 500, "mem_mb": 128, "gpu": 0, "ttl": "30s"},
            "network": "none", "priority": 50, "retry": {"max_attempts": 1, "backoff": "1s"},
            "on_lost": "retry", "retention": {"max_age": "24h", "keep_output": true},
            "metadata": {}, "labels": {}, "verdict": "accept", "quarantined": false,
            "heat": "cold", "pool": "standard",
            "policy": {"name": "lockdown-default", "version": 0, "revision": 0}, "node": null,
            "attempt": attempt, "exit_code": exit, "signal": signal,
            "created_at": "2026-01-01T00:00:00.000Z", "scheduled_at": null, "started_at": null,
            "finished_at": null, "usage": null, "output": null, "redrive_of": null, "index": 1
        }))
        .unwrap()
    }

    #[test]
    fn a_run_exits_with_its_own_code_or_with_why_it_has_none() {
        for (status, reason, exit, signal, code) in [
            ("SUCCEEDED", None, Some(0), None, 0),
            ("FAILED", Some("NonZeroExit"), Some(7), None, 7),
            ("FAILED", Some("NonZeroExit"), Some(255), None, 255),
            ("FAILED", Some("TimedOut"), None, Some(9), 124),
            ("FAILED", Some("TimedOut"), Some(0), None, 124),
            ("FAILED", Some("Signaled"), None, Some(11), 139),
            ("FAILED", Some("Signaled"), None, Some(15), 143),
            ("FAILED", Some("OutOfMemory"), None, Some(9), 137),
            ("FAILED", Some("OutOfMemory"), None, None, 137),
            ("FAILED", Some("NotExecutable"), None, None, 127),
            ("FAILED", Some("NotExecutable"), Some(126), None, 126),
            ("FAILED", Some("NodeLost"), None, None, 125),
            ("FAILED", Some("SandboxFailed"), None, None, 125),
            ("FAILED", Some("OutOfAttempts"), Some(3), None, 3),
            ("FAILED", Some("OutOfAttempts"), None, None, 125),
            ("FAILED", Some("SomethingNew"), None, None, 125),
            ("REJECTED", Some("PolicyRejected"), None, None, 126),
            ("CANCELED", Some("Canceled"), None, Some(15), 143),
            ("CANCELED", None, None, None, 126),
            ("RUNNING", None, None, None, 125),
        ] {
            assert_eq!(of_run(&run(status, reason, exit, signal)), code, "{status} {reason:?}");
        }
    }

    #[test]
    fn a_call_of_the_api_is_named_as_the_command_that_does_it() {
        for (words, told) in [
            ("list runs with GET /v1/runs", "list runs with `tartarus ps`"),
            ("GET /v1/nodes, or not", "`tartarus node list`, or not"),
            ("read GET /v1/runs/7/logs", "read GET /v1/runs/7/logs"),
            ("as it is", "as it is"),
        ] {
            assert_eq!(here(words), told);
        }
    }

    #[test]
    fn failures_have_the_codes_of_the_contract() {
        let refused = || Failure::Client(Error::Refused(Box::new(Problem::new(422, "x", "no"))));
        let away = || {
            Failure::Client(Error::Unavailable {
                message: "away".into(),
                retry_after: None,
                source: None,
            })
        };
        let pipe = || Failure::Output(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!(Failure::Usage(String::new()).code(), 2);
        assert_eq!((refused().code(), refused().of_run().code()), (1, 126));
        assert_eq!((away().code(), away().of_run().code()), (1, 125));
        assert_eq!((pipe().code(), pipe().of_run().code()), (141, 141));
    }
}

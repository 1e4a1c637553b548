//! Commands that end by themselves.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program;

/// What a command said, and how it ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    what: String,
}

impl Finished {
    /// Itself, if it ended with this code.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// It is not.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: not JSON: {error}\n{}", self.what, self.stdout))
    }
}

/// Runs `tartarus` with these arguments and this environment to its end.
///
/// # Panics
/// It can't be started.
pub fn tartarus(args: &[&str], env: &[(&str, &str)]) -> Finished {
    finish(program::command().args(args).envs(env.iter().copied()), b"")
}

/// Runs any command to its end, with `input` on its standard input.
///
/// # Panics
/// It can't be started.
pub fn finish(command: &mut Command, input: &[u8]) -> Finished {
    let what = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let writing = std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            // A command that does not read its input is no failure.
            let _ = stdin.write_all(input);
        });
        let output = child.wait_with_output();
        let _ = writer.join();
        output
    });
    let output = writing.expect("a child can be waited for");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        what,
    }
}

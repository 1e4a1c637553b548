//! A child process that is never left behind, and whose words are kept.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wait::{pause, until_sync};

/// Lines shown of a process when its test fails.
const SHOWN: usize = 80;
/// How long a process may take to stop by itself before it is killed: longer than its own grace.
const STOP: Duration = Duration::from_secs(20);

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; what it writes is kept, line by line.
    ///
    /// # Panics
    /// It can't be started.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{name}: {:?} can't be started: {error}", command.get_program())
        });
        let lines = Arc::default();
        let readers = [
            child.stdout.take().map(|pipe| keep_lines(pipe, Arc::clone(&lines))),
            child.stderr.take().map(|pipe| keep_lines(pipe, Arc::clone(&lines))),
        ];
        let readers = readers.into_iter().flatten().collect();
        Self { name: name.to_owned(), child, lines, readers, ended: None }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its memory, in KiB.
    ///
    /// # Panics
    /// It does not run.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Everything it wrote so far, by lines.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its log so far, where it writes JSON lines.
    pub fn log(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Log entries with exactly this message.
    pub fn said(&self, message: &str) -> Vec<Value> {
        self.log().into_iter().filter(|entry| entry["message"] == message).collect()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// The system can't say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
            if self.ended.is_some() {
                for reader in self.readers.drain(..) {
                    let _ = reader.join();
                }
            }
        }
        self.ended
    }

    /// Waits for its end; the exit code, none after a signal.
    ///
    /// # Panics
    /// It does not end.
    pub fn exit_code(&mut self) -> Option<i32> {
        let what = format!("the end of {}", self.name);
        until_sync(&what, || self.ended()).code()
    }

    /// Waits until a line holds `words`.
    ///
    /// # Panics
    /// None ever does.
    pub fn until_says(&self, words: &str) -> String {
        until_sync(&format!("{} to say {words:?}", self.name), || {
            self.lines().into_iter().find(|line| line.contains(words))
        })
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// `kill -9`, and its end.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.exit_code();
        }
    }

    /// Asks it to stop; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.exit_code()
    }
}

fn keep_lines(pipe: impl Read + Send + 'static, into: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            into.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            line.clear();
        }
    })
}

impl Drop for Process {
    #[allow(clippy::print_stderr, reason = "what a failing test's processes said is the report")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines();
            let shown = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!("--- {} (pid {}) said last:\n{}", self.name, self.pid(), shown.join("\n"));
        }
        // An agent is given the time to end its sandboxes.
        self.signal(Signal::TERM);
        let began = Instant::now();
        while self.ended().is_none() && began.elapsed() < STOP {
            pause();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

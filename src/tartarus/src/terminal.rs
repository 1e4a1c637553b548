//! What is said to the person in front of it: messages and progress, on stderr.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Stderr, and what it can show.
#[derive(Clone, Debug)]
pub struct Terminal {
    quiet: bool,
    live: bool,
    colors: bool,
}

impl Terminal {
    /// The process' own. Colours only on a terminal, and not where `NO_COLOR` says so
    /// (no-color.org: present and not empty).
    pub fn of_process(quiet: bool) -> Self {
        let live = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { quiet, live, colors: live && !plain }
    }

    /// Whether a person looks at it.
    pub fn is_live(&self) -> bool {
        self.live
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colors { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Something worth knowing, as the program tells it; `--quiet` leaves it out.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.line(&format!("{} {text}", self.paint("2", "tartarus:")));
        }
    }

    /// Why it did not work: whatever makes the exit code another than 0, and is not what a sandboxed
    /// program ended with.
    pub fn error(&self, text: &str) {
        self.line(&format!("{} {text}", self.paint("1;31", "error:")));
    }

    /// A line as it is. A stderr that is gone is nobody's to be told.
    fn line(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Something that moves while nothing else does; on a terminal only.
    pub fn progress(&self) -> Progress {
        if self.quiet || !self.live {
            return Progress(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }
}

/// A moving line; gone when dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// What is going on.
    pub fn say(&self, text: impl Into<String>) {
        self.0.set_message(text.into());
    }

    /// How far it is, of how much where that is known.
    pub fn reach(&self, at: u64, of: Option<u64>) {
        match of {
            Some(of) => {
                let percent = at.min(of).saturating_mul(100) / of.max(1);
                self.say(format!("entry {at} of {of} ({percent} %)"));
            }
            None => self.say(format!("entry {at}")),
        }
    }

    /// Takes it away, for good.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

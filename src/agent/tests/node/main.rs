//! A real agent with real sandboxes on real sockets, and an Olympus that follows a script.
//!
//! The test program is also the keeper of its sandboxes, and an agent process to be killed, so it has
//! a `main` of its own. What this
//! machine lacks for a test is in that test's name, which is then reported as ignored.

mod attempts;
mod olympus;
mod process;
mod rules;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use agent::config::Demanded;
use agent::discovery::Find;
use agent::{Config, Handle};
use domain::Texts;
use domain::ids::NodeId;
use domain::submission::Demand;
use libtest_mimic::{Arguments, Failed, Trial};
use secret::Secret;
use tokio::time::timeout;

use crate::olympus::{Olympus, PATIENCE};

/// A test, as a future.
pub(crate) type Done = Pin<Box<dyn Future<Output = ()>>>;

/// A name that states the rule, what this machine must have for it, and the test.
pub(crate) type Test = (&'static str, Needs, fn() -> Done);

/// What a test needs of this machine.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Needs {
    Nothing,
    /// Control groups that may be written.
    Root,
    Redis,
}

fn main() {
    sandbox::init_hook();
    if std::env::args().nth(1).as_deref() == Some(process::ARGUMENT) {
        process::main();
    }
    let arguments = Arguments::from_args();
    let tests = rules::TESTS.iter().chain(attempts::TESTS).chain(process::TESTS);
    let trials = tests.map(|(name, needs, test)| trial(name, *needs, *test)).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, needs: Needs, test: fn() -> Done) -> Trial {
    let lacks = match needs {
        Needs::Root if !rustix::process::geteuid().is_root() => Some("needs_root"),
        Needs::Redis if !installed("redis-server") => Some("redis-server_is_not_installed"),
        Needs::Nothing | Needs::Root | Needs::Redis => None,
    };
    let name = name.replace(' ', "_");
    let name = lacks.map_or_else(|| name.clone(), |lacks| format!("{name}__{lacks}"));
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async { timeout(2 * PATIENCE, test()).await })
        }));
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failed::from("it took too long")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Err(Failed::from(text.unwrap_or_default()))
            }
        }
    };
    Trial::test(name, run).with_ignored_flag(lacks.is_some())
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// An agent in a directory of its own.
pub(crate) struct Agent {
    pub(crate) handle: Handle,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn config(find: Find, dir: &Path) -> Config {
    Config {
        node: NodeId::new("n1"),
        labels: Texts::from([("zone".into(), "a".into())]),
        capacity: Demand { cpu_milli: 4_000, mem_mb: 4_096, gpu: 0 },
        runtime: "embedded".into(),
        data_dir: dir.to_owned(),
        olympus: find,
        token: Some(Secret::new("s3cret")),
        token_file: None,
        isolation: Demanded::Nothing,
        drain_grace: Duration::ZERO,
        origins: Vec::new(),
    }
}

pub(crate) fn at(olympus: &Olympus) -> Find {
    Find::At(olympus.url().parse().unwrap())
}

impl Agent {
    pub(crate) async fn new(olympus: &Olympus) -> Self {
        Self::with(at(olympus), |_| {}).await
    }

    pub(crate) async fn with(find: Find, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(find, dir.path());
        change(&mut config);
        let handle = agent::start(config).await.unwrap();
        Self { handle, dir }
    }

    /// Ends what is left of its session, stops the agent, and keeps its directory.
    pub(crate) async fn stop<T>(mut self, session: T) -> tempfile::TempDir {
        drop(session);
        self.handle.stop();
        timeout(PATIENCE, self.handle.ended()).await.expect("the agent should end").unwrap();
        self.dir
    }
}

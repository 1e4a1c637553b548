//! An agent as a process of its own: what signals do to it, and to what it runs.

use std::path::Path;
use std::process::Stdio;

use api::session::{Action, FromAgent};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Needs;
use crate::Test;
use crate::olympus::{Olympus, PATIENCE, Said, Work, terms};

/// The argument with which the test program becomes an agent.
pub(crate) const ARGUMENT: &str = "agent-process";

pub(crate) const TESTS: &[Test] = &[
    ("sigterm stops the process with code 0 after a goodbye", Needs::Nothing, || {
        Box::pin(sigterm())
    }),
    (
        "a killed agent leaves nothing alive and its next life is another boot",
        Needs::Nothing,
        || Box::pin(killed()),
    ),
    ("a configuration that can not be used ends with code 2", Needs::Nothing, || {
        Box::pin(unusable())
    }),
];

/// The agent process.
pub(crate) fn main() -> ! {
    let code = match agent::Config::from_env(&|name| std::env::var(name).ok()) {
        Ok(config) => agent::serve(config),
        Err(_) => 2,
    };
    std::process::exit(code.into())
}

fn start(olympus: &Olympus, dir: &Path, more: &[(&str, &str)]) -> Child {
    Command::new("/proc/self/exe")
        .arg(ARGUMENT)
        .env("TARTARUS_ADDR", olympus.url())
        .env("TARTARUS_DATA_DIR", dir)
        .env("TARTARUS_DRAIN_GRACE", "0s")
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    kill_process(pid, signal).unwrap();
}

async fn code(mut child: Child) -> Option<i32> {
    timeout(PATIENCE, child.wait()).await.expect("it should end").unwrap().code()
}

async fn sigterm() {
    let olympus = Olympus::new().await;
    let dir = tempfile::tempdir().unwrap();
    let child = start(&olympus, dir.path(), &[]);
    let mut session = olympus.welcome(terms()).await;
    let work = Work::sleeper();
    session.wants(&[(&work, Action::Run)]).await;
    session.chunk(&work).await;
    send(&child, Signal::TERM);
    let is = |said: &Said| matches!(said, Said::Text(FromAgent::Goodbye {})).then_some(());
    session.until("goodbye", is).await;
    assert!(!work.alive());
    drop(session);
    assert_eq!(code(child).await, Some(0));
}

async fn killed() {
    let olympus = Olympus::new().await;
    let dir = tempfile::tempdir().unwrap();
    let child = start(&olympus, dir.path(), &[]);
    let mut session = olympus.welcome(terms()).await;
    let boot = session.hello().boot;
    let work = Work::sleeper();
    session.wants(&[(&work, Action::Run)]).await;
    session.chunk(&work).await;
    send(&child, Signal::KILL);
    assert_eq!(code(child).await, None);
    session.closed().await;
    work.dies().await;

    let again = start(&olympus, dir.path(), &[]);
    let mut session = olympus.welcome(terms()).await;
    assert_ne!(session.hello().boot, boot);
    assert!(session.hello().attempts.is_empty());
    // The old life's attempt is nothing to this one; Olympus has ended it with the old boot.
    session.wants(&[(&work, Action::Stop)]).await;
    session.gone(&work).await;
    drop(session);
    drop(again);
}

async fn unusable() {
    let olympus = Olympus::new().await;
    let dir = tempfile::tempdir().unwrap();
    let runtime = ("TARTARUS_RUNTIME", "/nonexistent/runtime");
    assert_eq!(code(start(&olympus, dir.path(), &[runtime])).await, Some(2));
    assert_eq!(code(start(&olympus, dir.path(), &[("HADES_LABEL", "x")])).await, Some(2));
}

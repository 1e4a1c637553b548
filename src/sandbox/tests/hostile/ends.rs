//! How sandboxes end, whoever is killed first.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::{
    AGENT,
    support::{PATIENCE, block_on, first_line, groups, node, processes_with, run, spec, until},
};

pub fn outlive(name: &str) {
    // That the output ends is the proof: the survivor would hold it open.
    let (out, ended) = run(name, spec(&["outlive"]));
    assert_eq!((out.trim(), ended.exit_code), ("parent ends", Some(0)));
}

pub fn flood(name: &str) {
    block_on(async {
        let node = node(name);
        let mut sandbox = node.launch(spec(&["flood"])).await;
        // One byte: a runtime that has not begun the command ends in its own way.
        let mut out = sandbox.take_stdout().unwrap();
        timeout(PATIENCE, out.read_u8()).await.expect("it says nothing").unwrap();
        sandbox.stop(Duration::from_millis(50));
        let ended = timeout(PATIENCE, sandbox.wait()).await.expect("it does not end").unwrap();
        assert!(matches!(ended.signal, Some(9 | 15)), "{ended:?}");
        drop(sandbox);
        node.nothing_remains().await;
    });
}

pub fn ignore_term(name: &str) {
    block_on(async {
        let node = node(name);
        let mut sandbox = node.launch(spec(&["ignore-term"])).await;
        assert_eq!(first_line(&mut sandbox).await, "ready\n");
        sandbox.stop(Duration::from_millis(50));
        let ended = timeout(PATIENCE, sandbox.wait()).await.expect("it does not end").unwrap();
        assert_eq!((ended.exit_code, ended.signal), (None, Some(9)));
        drop(sandbox);
        node.nothing_remains().await;
    });
}

pub fn stop_twice(name: &str) {
    block_on(async {
        let node = node(name);
        let mut sandbox = node.launch(spec(&["ignore-term"])).await;
        first_line(&mut sandbox).await;
        let sandbox = Arc::new(sandbox);
        let waiter = tokio::spawn({
            let sandbox = Arc::clone(&sandbox);
            async move { sandbox.wait().await }
        });
        sandbox.stop(Duration::from_secs(3_600));
        sandbox.stop(Duration::from_millis(20));
        sandbox.stop(Duration::from_secs(3_600));
        let ended = timeout(PATIENCE, sandbox.wait()).await.expect("it does not end").unwrap();
        assert_eq!(ended.signal, Some(9));
        assert_eq!(waiter.await.unwrap().unwrap(), ended);
        sandbox.stop(Duration::ZERO);
        assert_eq!(sandbox.wait().await.unwrap(), ended);
        drop(sandbox);
        node.nothing_remains().await;
    });
}

pub fn dropped(name: &str) {
    block_on(async {
        let node = node(name);
        let mut sandbox = node.launch(spec(&["wait"])).await;
        first_line(&mut sandbox).await;
        drop(sandbox);
        node.nothing_remains().await;
    });
}

pub fn launch_dropped(name: &str) {
    block_on(async {
        let node = node(name);
        for wait in [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000] {
            let launch = node.runtime.launch(spec(&["wait"]));
            // Either outcome is right; how far it came is a matter of luck.
            let _ = timeout(Duration::from_micros(wait), launch).await;
        }
        node.nothing_remains().await;
    });
}

/// The life of an agent that gets killed.
pub async fn agent(name: &str, marker: &str) {
    let node = node(name);
    let mut sandbox = node.launch(spec(&["wait", marker])).await;
    first_line(&mut sandbox).await;
    println_ready(node.home.tag());
    let _ = sandbox.wait().await;
}

#[allow(clippy::print_stdout)]
pub fn println_ready(tag: &str) {
    println!("{tag}");
}

pub fn agent_killed(name: &str) {
    let marker = format!("marker-{name}-{}", std::process::id());
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Command::new("/proc/self/exe")
        .args([AGENT, name, &marker])
        .env("TMPDIR", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tag = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut tag).unwrap();
    assert!(!tag.is_empty(), "the agent did not start");
    let inside = processes_with(&marker);
    assert!(inside.len() >= 2, "the agent and what it runs: {inside:?}");
    agent.kill().unwrap();
    agent.wait().unwrap();
    block_on(until("its sandbox is gone", || processes_with(&marker).is_empty()));
    let tag = tag.trim().to_owned();
    // The keeper removes the groups of the sandbox; the agent's own are for the next agent.
    block_on(until("its control groups are gone", || {
        groups(&tag).iter().all(|dir| files_and_dirs(dir) == 0)
    }));
    for group in groups(&tag) {
        fs::remove_dir(group).unwrap();
    }
}

pub fn files_and_dirs(dir: &str) -> usize {
    fs::read_dir(dir).unwrap().flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).count()
}

pub fn keeper_killed(name: &str) {
    block_on(async {
        let node = node(name);
        let marker = format!("keeper-{name}-{}", std::process::id());
        let mut sandbox = node.launch(spec(&["wait", &marker])).await;
        first_line(&mut sandbox).await;
        let keepers: Vec<i32> = processes_with("sandbox-keeper")
            .into_iter()
            .filter(|pid| parent(*pid) == Some(std::process::id() as i32))
            .collect();
        assert!(!keepers.is_empty());
        // Of this test only: others run beside it in threads of this process.
        let command = processes_with(&marker)[0];
        let keeper = ancestors(command).into_iter().find(|pid| keepers.contains(pid)).unwrap();
        let pid = rustix::process::Pid::from_raw(keeper).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let lost = timeout(PATIENCE, sandbox.wait()).await.expect("it does not end");
        assert!(lost.is_err(), "{lost:?}");
        until("its sandbox is gone", || processes_with(&marker).is_empty()).await;
        drop(sandbox);
        node.nothing_remains().await;
    });
}

pub fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

pub fn ancestors(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    while let Some(next) = all.last().and_then(|pid| parent(*pid)).filter(|pid| *pid > 0) {
        all.push(next);
    }
    all
}

//! What a node does beside running sandboxes: choose, prove, clean up.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use sandbox::{Home, Isolation, remove_leftovers, runtime};

use crate::{
    EVERYWHERE, inside,
    support::{block_on, groups, node},
};

pub fn unknown_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path(), "test").unwrap();
    let error = runtime("no-such-runtime", home).map(|r| r.name().to_owned()).unwrap_err();
    assert!(error.to_string().contains("no-such-runtime"), "{error}");
}

/// The whole suite of the embedded runtime again, and a probe, by somebody without privileges.
pub fn ordinary_user() {
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::copy("/proc/self/exe", &program).unwrap();
    let owner = std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY));
    owner.unwrap();
    let done = Command::new(&program)
        .args(["embedded::", "--test-threads", "2"])
        .env("TMPDIR", dir.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{out}");
    let wanted = format!("{} passed; 0 failed", EVERYWHERE.len() + 1);
    assert!(out.contains(&wanted), "not {wanted}: {out}");
}

/// What an ordinary user's node must be able to say of itself.
pub fn honest_probe(name: &str) {
    const GROUPS: [&str; 3] = ["cgroup-cpu", "cgroup-memory", "cgroup-pids"];
    block_on(async {
        let node = node(name);
        let isolation = sandbox::probe(node.runtime.as_ref()).await;
        let missing: Vec<&str> = isolation.missing.iter().map(|(what, _)| what.as_str()).collect();
        assert!(missing.iter().all(|what| GROUPS.contains(what)), "{:?}", isolation.missing);
        assert!(isolation.missing.iter().all(|(_, why)| !why.is_empty()));
        assert_eq!(isolation.enforced.len() + missing.len(), Isolation::FEATURES.len());
        node.nothing_remains().await;
    });
}

pub fn leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path(), "test").unwrap();
    let other_dir = tempfile::tempdir().unwrap();
    let other = Home::open(other_dir.path(), "test").unwrap();
    let mut sleepers = Vec::new();
    for tag in [home.tag(), other.tag()] {
        let sleeper = Command::new("/proc/self/exe")
            .args([inside::ARGUMENT, "wait"])
            .stdout(Stdio::null())
            .spawn();
        let sleeper = sleeper.unwrap();
        // Beside v1 trees, the tree of v2 has nothing that we limit by.
        for group in groups(tag).into_iter().filter(|group| !group.contains("/unified/")) {
            let left = Path::new(&group).join("left");
            fs::create_dir(&left).unwrap();
            fs::write(left.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
        }
        sleepers.push(sleeper);
    }
    // Buried here when it is killed, as a keeper would be by the system.
    let mut first = sleepers.remove(0);
    let burial = std::thread::spawn(move || first.wait().unwrap());
    let removed = remove_leftovers(&home);
    assert_eq!((removed.removed, removed.failed), (vec!["left".to_owned()], vec![]));
    assert!(!burial.join().unwrap().success());
    let mut second = sleepers.remove(0);
    assert_eq!(second.try_wait().unwrap(), None, "another agent's sandbox was killed");
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(remove_leftovers(&other).removed, ["left"]);
}

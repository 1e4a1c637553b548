//! Proof, on this very node, of what a runtime enforces.
//!
//! Owns:   the list of attempts ([`attempts`]), made from inside a real sandbox, and their verdict.
//! Says:   [`Isolation`]: what held, and for the rest what happened instead.
//! Never:  believes a configuration; a feature is enforced when the attempt to break it failed.
//! Proof:  `tests/hostile.rs` probes both runtimes; the tests below hold the verdict.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{Isolation, LaunchError, Limits, RootFs, Runtime, SELF, Sandbox, Spec, sys};

/// The hidden argument with which the program probes the sandbox it is in.
pub(crate) const ARGUMENT: &str = "sandbox-probe";

/// Small enough to be reached at once, and roomy for two attempts.
const PIDS: u32 = 8;
const MEM_MB: u32 = 24;
/// A probe that takes longer than this has not proved anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was seen from inside.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    /// Feature to what was wrong with it; empty when it held.
    wrong: BTreeMap<String, String>,
    /// Kind of namespace to its identity.
    namespaces: HashMap<String, String>,
}

/// Runs real sandboxes, and reports what they could not do.
pub async fn probe(runtime: &dyn Runtime) -> Isolation {
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    let (seen, memory) = tokio::join!(look(runtime), eat(runtime));
    match seen {
        Ok((seen, missing)) => {
            wrong.extend(seen.wrong.into_iter().filter(|(_, why)| !why.is_empty()));
            wrong.extend(missing);
            for (kind, id) in &seen.namespaces {
                let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
                if ours.to_string_lossy() == *id {
                    let feature = feature_of(kind);
                    wrong.insert(feature.to_owned(), "shared with the machine".to_owned());
                }
            }
        }
        Err(error) => {
            for feature in Isolation::FEATURES {
                wrong.insert(feature.to_owned(), error.clone());
            }
        }
    }
    if let Err(error) = memory {
        wrong.entry("cgroup-memory".to_owned()).or_insert(error);
    }
    verdict(runtime.name(), wrong)
}

fn verdict(runtime: &str, mut wrong: BTreeMap<String, String>) -> Isolation {
    let mut isolation = Isolation { runtime: runtime.to_owned(), ..Isolation::default() };
    for feature in Isolation::FEATURES {
        match wrong.remove(feature) {
            Some(why) => isolation.missing.push((feature.to_owned(), why)),
            None => isolation.enforced.push(feature.to_owned()),
        }
    }
    isolation
}

fn feature_of(kind: &str) -> &'static str {
    match kind {
        "user" => "user-ns",
        "pid" => "pid-ns",
        "mnt" => "mount-ns",
        "ipc" => "ipc-ns",
        "uts" => "uts-ns",
        _ => "net-none",
    }
}

type Missing = Vec<(String, String)>;

async fn look(runtime: &dyn Runtime) -> Result<(Seen, Missing), String> {
    let mut sandbox = launch(runtime, "look").await?;
    let missing = sandbox.missing().to_vec();
    let mut line = String::new();
    if let Some(stdout) = sandbox.take_stdout() {
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(PATIENCE, stdout.read_line(&mut line)).await;
        let read = read.map_err(|_| "the probe says nothing".to_owned())?;
        read.map_err(|error| format!("the probe can't be heard: {error}"))?;
    }
    // It stays until it is told to go, so that its groups were looked at while it was in them.
    sandbox.stop(Duration::ZERO);
    let ended = tokio::time::timeout(PATIENCE, sandbox.wait()).await;
    let ended = ended.map_err(|_| "the probe did not end".to_owned())?;
    let seen =
        serde_json::from_str(&line).map_err(|_| format!("the probe ended with {ended:?}"))?;
    Ok((seen, missing))
}

async fn eat(runtime: &dyn Runtime) -> Result<(), String> {
    let sandbox = launch(runtime, "eat").await?;
    let ended = tokio::time::timeout(PATIENCE, sandbox.wait()).await;
    match ended {
        Ok(Ok(ended)) if ended.out_of_memory => Ok(()),
        Ok(Ok(_)) => Err(format!("a process took more than {MEM_MB} MiB unhindered")),
        Ok(Err(lost)) => Err(lost.to_string()),
        Err(_) => Err("the probe did not end".to_owned()),
    }
}

async fn launch(runtime: &dyn Runtime, what: &str) -> Result<Sandbox, String> {
    let spec = Spec {
        id: format!("probe-{what}-{}", std::process::id()),
        rootfs: RootFs::HostAndSelf,
        argv: [SELF, ARGUMENT, what].map(str::to_owned).to_vec(),
        env: Vec::new(),
        cwd: "/".to_owned(),
        stdin: Vec::new(),
        limits: Limits { cpu_milli: 1_000, mem_mb: MEM_MB, pids: PIDS, tmp_mb: 1 },
    };
    runtime.launch(spec).await.map_err(|error: LaunchError| error.to_string())
}

/// The inside. Prints what it saw in one line, and waits to be killed.
pub(crate) fn main(what: Option<&str>) -> i32 {
    if what == Some("eat") {
        let mut eaten: Vec<Vec<u8>> = Vec::new();
        for _ in 0..2 * MEM_MB {
            // Written to, or the kernel would only promise it.
            eaten.push(vec![1; 1 << 20]);
        }
        return i32::from(eaten.iter().map(Vec::len).sum::<usize>() == 0);
    }
    let mut seen = Seen::default();
    for (feature, attempt) in attempts() {
        let wrong = attempt().err().unwrap_or_default();
        let entry = seen.wrong.entry(feature.to_owned()).or_default();
        if entry.is_empty() {
            *entry = wrong;
        }
    }
    for kind in ["user", "pid", "mnt", "ipc", "uts", "net"] {
        let id = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
        seen.namespaces.insert(kind.to_owned(), id.to_string_lossy().into_owned());
    }
    let text = serde_json::to_string(&seen).unwrap_or_default() + "\n";
    let done = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    if done.is_err() {
        return 1;
    }
    loop {
        sys::pause();
    }
}

type Attempt = fn() -> Result<(), String>;

/// Feature, and an attempt that is an error when the feature does not hold.
fn attempts() -> [(&'static str, Attempt); 11] {
    [
        ("no-new-privs", || status("NoNewPrivs", "1")),
        ("seccomp", || status("Seccomp", "2")),
        ("seccomp", refused_calls),
        ("cap-none", || {
            ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
                .iter()
                .try_for_each(|set| status(set, "0000000000000000"))
        }),
        ("ro-root", read_only),
        ("private-tmp", private_tmp),
        ("masked-proc", masked),
        ("net-none", loopback_only),
        ("pid-ns", alone),
        ("rlimits", limits),
        ("cgroup-pids", bounded_processes),
    ]
}

fn status(field: &str, value: &str) -> Result<(), String> {
    let text = fs::read_to_string("/proc/self/status").map_err(|e| format!("no status: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    match line.map(str::trim) {
        Some(is) if is == value => Ok(()),
        is => Err(format!("{field} is {is:?} instead of {value}")),
    }
}

fn refused_calls() -> Result<(), String> {
    for (name, error) in sys::forbidden_calls() {
        if !matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) {
            return Err(format!("{name} was answered: {error}"));
        }
    }
    Ok(())
}

fn read_only() -> Result<(), String> {
    for dir in ["/", "/usr", "/etc", "/proc", "/dev"] {
        match fs::write(Path::new(dir).join(".probe"), "") {
            Err(_) => {}
            Ok(()) => return Err(format!("{dir} can be written")),
        }
    }
    Ok(())
}

fn private_tmp() -> Result<(), String> {
    let found = fs::read_dir("/tmp").map_err(|e| e.to_string())?.count();
    if found > 0 {
        return Err("/tmp is not empty".to_owned());
    }
    let mut written = Ok(());
    // The limit is 1 MiB.
    for n in 0..4 {
        written = written.and_then(|()| fs::write(format!("/tmp/{n}"), vec![0; 1 << 19]));
    }
    match written {
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Ok(()),
        other => Err(format!("/tmp has no bound: {other:?}")),
    }
}

fn masked() -> Result<(), String> {
    for name in ["sysrq-trigger", "sys/kernel/core_pattern", "sys/kernel/hostname"] {
        let open = fs::File::options().write(true).open(Path::new("/proc").join(name));
        // A mask is the null device, which takes everything and does nothing.
        let null = |file: &fs::File| {
            use std::os::unix::fs::FileTypeExt;
            file.metadata().is_ok_and(|m| m.file_type().is_char_device())
        };
        if open.as_ref().is_ok_and(|file| !null(file)) {
            return Err(format!("/proc/{name} can be written"));
        }
    }
    match fs::read("/proc/kcore") {
        Ok(bytes) if !bytes.is_empty() => Err("/proc/kcore can be read".to_owned()),
        _ => Ok(()),
    }
}

fn loopback_only() -> Result<(), String> {
    let text = fs::read_to_string("/proc/net/dev").map_err(|e| e.to_string())?;
    let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    let foreign: Vec<&str> = names.filter(|name| *name != "lo" && !is_template(name)).collect();
    if foreign.is_empty() { Ok(()) } else { Err(format!("it has {}", foreign.join(", "))) }
}

/// Tunnel devices that some kernels put, down and unusable, into every new namespace.
fn is_template(name: &str) -> bool {
    const TEMPLATES: [&str; 8] =
        ["tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0"];
    TEMPLATES.contains(&name) || name == "ip6gre0"
}

fn alone() -> Result<(), String> {
    let numeric = |name: &str| name.chars().all(|c| c.is_ascii_digit());
    let processes = fs::read_dir("/proc")
        .map_err(|e| e.to_string())?
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(numeric))
        .count();
    // This one, and perhaps the first process of the sandbox.
    if processes <= 2 { Ok(()) } else { Err(format!("it sees {processes} processes")) }
}

fn limits() -> Result<(), String> {
    let core = rustix::process::getrlimit(rustix::process::Resource::Core);
    match core.maximum {
        Some(0) => Ok(()),
        other => Err(format!("core files of up to {other:?} bytes")),
    }
}

/// Starts processes until the kernel refuses.
fn bounded_processes() -> Result<(), String> {
    let mut started = Vec::new();
    let mut bounded = Err(format!("{} processes could be started", 4 * PIDS));
    for _ in 0..4 * PIDS {
        match sys::fork(0, None) {
            Ok(sys::Fork::Child { .. }) => loop {
                sys::pause();
            },
            Ok(sys::Fork::Parent(pid)) => started.push(pid),
            Err(_) => {
                bounded = Ok(());
                break;
            }
        }
    }
    for pid in started {
        sys::kill(pid, libc::SIGKILL);
        let _ = sys::reap(pid, true);
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_wrong_is_enforced_and_every_feature_is_accounted_for() {
        let wrong = BTreeMap::from([("seccomp".to_owned(), "off".to_owned())]);
        let isolation = verdict("x", wrong);
        assert_eq!(isolation.missing, [("seccomp".to_owned(), "off".to_owned())]);
        assert_eq!(isolation.enforced.len() + 1, Isolation::FEATURES.len());
        assert!(!isolation.complete());
        assert!(verdict("x", BTreeMap::new()).complete());
    }
}

//! Sandboxes by an OCI runtime of the node: `runc`, `crun`, or one that brings its own kernel.
//!
//! Owns:   the configuration ([`config`]) and the life of a container: create, start, kill, delete.
//! Hears:  [`crate::wire::Ask`]s, through the same keeper as the embedded runtime.
//! Never:  shows more than the embedded runtime does, or limits less: root, policy and limits come
//!         from the same tables.
//! Fails:  what the runtime printed is the message; nothing of the container remains.
//! Proof:  `tests/hostile.rs`, run against `runc` and `crun`.
//!
//! The command itself is the first process there, so without a handler of its own it does not see a
//! SIGTERM; it ends when the grace is over.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio as Standard},
    time::Instant,
};

use rustix::{
    mount::UnmountFlags,
    process::{Pid, PidfdFlags},
};
use serde_json::{Value, json};

use crate::{
    cgroup::{Bounds, Group},
    host,
    init::{self, Stdio},
    keeper::{self, Failed, Watch, node},
    root::{self, MASKED},
    seccomp, sys,
    wire::{self, Engine, Order, Refused, Root, Tell},
};

/// Places that exist everywhere and that everyone may pass through: the root is assembled on the
/// first that does not hide our own files. Only the keeper's mount namespace sees it.
const STAGES: [&str; 4] = ["/mnt", "/media", "/srv", "/tmp"];

/// Users of one container.
const ID_BLOCK: u32 = 1 << 16;

/// Runtimes are found by name here; their own helpers too.
pub(crate) const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Runtime<'a> {
    program: &'a Path,
    state: &'a Path,
    bundle: &'a Path,
    name: &'a str,
}

pub(crate) fn keep(
    agent: &mut UnixStream,
    order: &Order,
    bounds: Bounds,
    stdio: Stdio,
) -> Result<(), Failed> {
    let Engine::Oci { program, state, bundle } = &order.engine else {
        return Err(Failed(Refused::Node("no OCI runtime was ordered".to_owned())));
    };
    let runtime = Runtime { program, state, bundle, name: &order.name };
    let group = Group::named(&order.hierarchies, &order.name);
    let done = run(agent, order, bounds, stdio, &runtime, &group);
    runtime.delete();
    let _ = fs::remove_dir_all(bundle);
    keeper::clean_up(agent, &group);
    done
}

fn run(
    agent: &mut UnixStream,
    order: &Order,
    bounds: Bounds,
    stdio: Stdio,
    runtime: &Runtime<'_>,
    group: &Group,
) -> Result<(), Failed> {
    let stage = stage(&[runtime.bundle, runtime.state, runtime.program])
        .ok_or("no place for a root: none of /mnt, /media, /srv, /tmp can be used")
        .map_err(node("the root"))?;
    init::own_mount_namespace(order.host_id.is_none()).map_err(node("a mount namespace"))?;
    if order.hierarchies.iter().all(|h| !h.v2) {
        // crun refuses to work where some controller is on v2 and the others on v1. Out of its sight,
        // v2 is not there, and nothing of it is needed.
        let _ = rustix::mount::unmount("/sys/fs/cgroup/unified", UnmountFlags::DETACH);
    }
    let entries = match &order.root {
        Root::Host { with_self } => host::host(*with_self),
        Root::Dir(dir) => host::image(dir),
    };
    let entries = entries.map_err(node("reading the template"))?;
    root::assemble(&stage, entries).map_err(|(step, error)| node(&step)(error))?;

    fs::create_dir_all(runtime.bundle).map_err(node("the bundle"))?;
    let config = serde_json::to_vec(&config(order, &stage)).map_err(node("the configuration"))?;
    fs::write(runtime.bundle.join("config.json"), config).map_err(node("the configuration"))?;

    if let Some(id) = order.host_id {
        let id = block(id) + host::USER;
        for pipe in [&stdio.stdout, &stdio.stderr] {
            let (uid, gid) = (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id));
            rustix::fs::fchown(pipe, Some(uid), Some(gid)).map_err(node("the outputs"))?;
        }
    }
    // The container's first process becomes a child of the keeper when the runtime's own ends.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(node("becoming its parent"))?;
    let pid = runtime.create(stdio).map_err(|why| Failed(reason(order, &why)))?;
    let handle = pid_handle(pid).map_err(node("watching the container"))?;
    let mut missing = Group::unlimited(&order.hierarchies);
    missing.extend(group.holds(pid, bounds));
    if let Err(why) = runtime.start() {
        sys::kill(pid, libc::SIGKILL);
        let _ = sys::reap(pid, true);
        return Err(Failed(reason(order, &why)));
    }
    let started = Instant::now();
    let _ = wire::send(agent, &Tell::Started { missing });

    let mut watch = Watch::new();
    while !watch.wait(agent, handle.as_fd(), || runtime.kill("TERM")) {
        if watch.due() {
            runtime.kill("KILL");
            // A runtime that hangs does not keep a container alive.
            sys::kill(pid, libc::SIGKILL);
        }
    }
    if let Some(last) = sys::reap(pid, true).map_err(node("waiting"))? {
        let _ = wire::send(agent, &keeper::report(last, group, started));
    }
    Ok(())
}

impl Runtime<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.env_clear().env("PATH", SEARCH).arg("--root").arg(self.state);
        // Rootless runtimes ask for it.
        command.env("XDG_RUNTIME_DIR", self.state);
        command.stdin(Standard::null()).stdout(Standard::null()).stderr(Standard::null());
        command
    }

    /// Creates the container with its standard streams; the process that will be the command.
    fn create(&self, stdio: Stdio) -> Result<i32, String> {
        let log = self.bundle.join("log");
        let pid_file = self.bundle.join("pid");
        let mut command = self.command();
        command.arg("--log").arg(&log).arg("create").arg("--bundle").arg(self.bundle);
        command.arg("--pid-file").arg(&pid_file).arg(self.name);
        command.stdin(stdio.stdin).stdout(stdio.stdout).stderr(stdio.stderr);
        let status = command.status().map_err(|e| format!("{}: {e}", self.program.display()))?;
        drop(command);
        if !status.success() {
            return Err(self.said(&log, &status.to_string()));
        }
        let pid =
            fs::read_to_string(&pid_file).map_err(|e| format!("{}: {e}", pid_file.display()))?;
        pid.trim().parse().map_err(|_| format!("no process id in {}", pid_file.display()))
    }

    fn start(&self) -> Result<(), String> {
        let log = self.bundle.join("log-start");
        let status = self.command().arg("--log").arg(&log).arg("start").arg(self.name).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.said(&log, &status.to_string())),
            Err(error) => Err(format!("{}: {error}", self.program.display())),
        }
    }

    fn kill(&self, signal: &str) {
        let _ = self.command().arg("kill").arg(self.name).arg(signal).status();
    }

    fn delete(&self) {
        let _ = self.command().arg("delete").arg("--force").arg(self.name).status();
    }

    /// The last words in a log, without the runtime's decoration.
    fn said(&self, log: &Path, otherwise: &str) -> String {
        let log = fs::read_to_string(log).unwrap_or_default();
        let line = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(otherwise);
        let line = line.split_once("msg=").map_or(line, |(_, message)| message);
        line.trim_matches('"').replace("\\\"", "\"")
    }
}

/// Deletes a container that an earlier keeper left.
pub(crate) fn delete(program: &Path, state: &Path, name: &str) {
    Runtime { program, state, bundle: state, name }.delete();
}

/// Tells a command that is not there from a runtime that does not work.
fn reason(order: &Order, why: &str) -> Refused {
    let name = &order.argv[0];
    let lower = why.to_ascii_lowercase();
    let about_command = lower.contains("executable")
        || why.contains(name.as_str()) && (lower.contains("exec") || lower.contains("not found"));
    // runc tries to make the directory.
    let made = why.split_once("mkdir ").and_then(|(_, rest)| rest.split(':').next());
    if lower.contains("chdir")
        || lower.contains("cwd")
        || made.is_some_and(|d| order.cwd.starts_with(d))
    {
        return keeper::no_directory(order, libc::ENOENT);
    }
    let forbidden = lower.contains("permission denied") || lower.contains("not permitted");
    if about_command && forbidden {
        return keeper::no_command(order, libc::EACCES, true);
    }
    if about_command && (lower.contains("not found") || lower.contains("no such file")) {
        return keeper::no_command(order, libc::ENOENT, false);
    }
    Refused::Node(why.to_owned())
}

fn stage(ours: &[&Path]) -> Option<PathBuf> {
    let free = |stage: &&str| {
        Path::new(stage).is_dir() && ours.iter().all(|path| !path.starts_with(stage))
    };
    STAGES.iter().find(|stage| free(stage)).map(PathBuf::from)
}

fn pid_handle(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// The first user of the block that holds `id`.
fn block(id: u32) -> u32 {
    id & !(ID_BLOCK - 1)
}

/// The configuration of runtime-spec 1.0.
pub(crate) fn config(order: &Order, rootfs: &Path) -> Value {
    let bytes = |mb: u32| u64::from(mb) << 20;
    // An ordinary user is root of a namespace that has nobody else.
    let (user, map) = match order.host_id {
        Some(id) => {
            (host::USER, json!([{"containerID": 0, "hostID": block(id), "size": ID_BLOCK}]))
        }
        None => (0, json!([{"containerID": 0, "hostID": 0, "size": 1}])),
    };
    let limited = |controller: &str| {
        order.hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == controller))
    };
    let mut resources = json!({});
    if limited("cpu") {
        let quota = (u64::from(order.cpu_milli) * 100).max(1_000);
        resources["cpu"] = json!({"quota": quota, "period": 100_000});
    }
    if limited("memory") {
        resources["memory"] = json!({"limit": bytes(order.mem_mb), "swap": bytes(order.mem_mb)});
    }
    if limited("pids") {
        resources["pids"] = json!({"limit": order.pids});
    }
    let group = order.hierarchies.first().map(|h| h.path.join(&order.name));
    let tmp =
        [format!("size={}m", order.tmp_mb), format!("nr_inodes={}", root::tmp_names(order.tmp_mb))];
    let tmp = ["nosuid", "nodev", "mode=1777", &tmp[0], &tmp[1]];
    let env: Vec<String> =
        order.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let none: [&str; 0] = [];
    let kinds = ["user", "pid", "mount", "ipc", "uts", "network", "cgroup"];
    let namespaces = kinds.map(|kind| json!({"type": kind}));
    let masked: Vec<String> = MASKED.iter().map(|name| format!("/proc/{name}")).collect();
    let (soft, hard) = init::OPEN_FILES;
    let mut linux = json!({
        "namespaces": namespaces,
        "uidMappings": map,
        "gidMappings": map,
        "resources": resources,
        "seccomp": seccomp::oci(),
        "maskedPaths": masked,
        "readonlyPaths": ["/proc/sys"],
    });
    if let Some(group) = group {
        linux["cgroupsPath"] = json!(group);
    }
    json!({
        "ociVersion": "1.0.2",
        "hostname": "sandbox",
        "root": {"path": rootfs, "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": user, "gid": user, "umask": 0o022},
            "args": order.argv,
            "env": env,
            "cwd": order.cwd,
            "noNewPrivileges": true,
            "oomScoreAdj": 500,
            "capabilities": {"bounding": none, "effective": none, "inheritable": none,
                             "permitted": none, "ambient": none},
            "rlimits": [
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard},
            ],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "noexec", "mode=755", "size=64k"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "tmpfs",
             "options": tmp},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
             "options": tmp},
        ],
        "linux": linux,
    })
}

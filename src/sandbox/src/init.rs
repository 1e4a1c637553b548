//! The first process of an embedded sandbox.
//!
//! Owns:   the way from a privileged fork into the cage, and the life of the command in it.
//! Hears:  SIGTERM from its keeper, which it passes on to the command.
//! Says:   [`Said`] to its keeper.
//! Never:  outlives its keeper; leaves anything alive when the command has ended.
//! Fails:  with one sentence to the keeper; nothing of the sandbox remains.
//! Proof:  `tests/hostile.rs`.
//!
//! The order is the security of it. Namespaces, groups and mounts are made while privileged *outside*
//! of the sandbox's user namespace, so that not even its root could change them; then the process
//! becomes an unused user of the machine, enters a user namespace in which only that user exists,
//! gives up every capability, and installs the filter. Only then does it fork the command.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use rustix::{
    fs::{Gid, Mode, OFlags, Uid},
    process::{DumpableBehavior, Resource, Rlimit, Signal},
    thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets, UnshareFlags},
};
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::Door,
    host,
    root::{self, Failure},
    seccomp,
    sys::{self, Fork},
    wire::{self, Order, Root},
};

/// Open files of one process: what a login session has by default.
pub(crate) const OPEN_FILES: (u64, u64) = (1_024, 4_096);

/// Where a command without a slash is looked for, unless the submission says otherwise.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// From the first process to its keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The command has been executed.
    Started { missing: Vec<(String, String)> },
    /// It could not be: the error, and whether the file is there.
    NotExecuted { errno: i32, exists: bool },
    /// There is no such working directory.
    NoDirectory { errno: i32 },
    /// The sandbox could not be built.
    Failed(String),
    /// The command has ended with this wait status.
    Ended { status: i32, cpu_ms: u64, max_rss_mb: u64 },
}

/// What the sandbox reads and writes.
pub(crate) struct Stdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Runs in the new process; does not return.
pub(crate) fn run(
    order: &Order,
    mut keeper: UnixStream,
    stdio: Stdio,
    doors: io::Result<Vec<Door>>,
) -> ! {
    let caged =
        cage(order, &stdio, doors).and_then(|missing| start(order, &keeper, &stdio, missing));
    let code = match caged {
        Ok(Start { command, missing }) => {
            drop(stdio);
            live(&mut keeper, command, missing)
        }
        Err(Refusal::Say(said)) => {
            let _ = wire::send(&mut keeper, &said);
            1
        }
        Err(Refusal::Failed((step, error))) => {
            let _ = wire::send(&mut keeper, &Said::Failed(format!("{step}: {error}")));
            1
        }
    };
    sys::exit(code)
}

enum Refusal {
    Say(Said),
    Failed(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal::Failed(failure)
    }
}

struct Start {
    command: i32,
    missing: Vec<(String, String)>,
}

fn at<E: Into<io::Error>>(step: &str) -> impl FnOnce(E) -> Failure {
    let step = step.to_owned();
    move |error| (step, error.into())
}

/// Goes through every door, and locks it behind. Returns what could not be enforced.
fn cage(
    order: &Order,
    stdio: &Stdio,
    doors: io::Result<Vec<Door>>,
) -> Result<Vec<(String, String)>, Refusal> {
    // The machine's own view of this process: the /proc of the sandbox will be read-only.
    let machine = File::open("/proc/self").map_err(at("/proc/self"))?;
    let doors = doors.map_err(at("the control groups"))?;
    // When the machine runs out of memory, sandboxes go first.
    let _ = write_at(&machine, "oom_score_adj", "500");
    loopback();
    rustix::system::sethostname(b"sandbox").map_err(at("the host name"))?;

    let entries = match &order.root {
        Root::Host { with_self } => host::host(*with_self),
        Root::Dir(dir) => host::image(dir),
    };
    root::assemble(&order.stage, entries.map_err(at("reading the template"))?)?;
    root::furnish(&order.stage, order.tmp_mb)?;
    root::enter(&order.stage)?;

    // Only now, so that building the sandbox is neither counted nor slowed down by its limits.
    for (mut door, word) in doors {
        door.write_all(word.as_bytes()).map_err(at("entering the control group"))?;
    }
    sys::unshare(UnshareFlags::NEWCGROUP).map_err(at("a new cgroup namespace"))?;

    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::setsid().map_err(at("a new session"))?;
    let mut missing = Vec::new();
    become_nobody(order, stdio, &machine, &mut missing)?;
    drop(machine);
    if let Err(error) = limit_processes(order.pids) {
        missing.push(("rlimits".to_owned(), error.to_string()));
    }
    give_up_capabilities().map_err(at("giving up capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(at("no_new_privs"))?;
    for filter in
        seccomp::filters().map_err(|e| at("the system call filter")(io::Error::other(e)))?
    {
        seccompiler::apply_filter(&filter)
            .map_err(|e| at("the system call filter")(io::Error::other(e)))?;
    }
    // Closed to its own children: same user, but they may neither read nor trace it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(at("dumpable"))?;
    // Last, because every change of credentials forgets it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(at("tying to the keeper"))?;
    Ok(missing)
}

/// Makes an ordinary user root of a user namespace of its own, which may then make the others.
pub(crate) fn own_user_namespace() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::unshare(UnshareFlags::NEWUSER)?;
    let process = File::open("/proc/self")?;
    write_at(&process, "setgroups", "deny")?;
    write_at(&process, "uid_map", &format!("0 {} 1", uid.as_raw()))?;
    write_at(&process, "gid_map", &format!("0 {} 1", gid.as_raw()))
}

/// Leaves the machine's mounts behind, for a process that will mount without being in a sandbox.
pub(crate) fn own_mount_namespace(ordinary_user: bool) -> io::Result<()> {
    if ordinary_user {
        own_user_namespace()?;
    }
    sys::unshare(UnshareFlags::NEWNS)?;
    Ok(root::seclude()?)
}

/// A sandbox without even a loopback device is no less safe, so failing is no failure.
fn loopback() {
    use rustix::net::{AddressFamily, SocketType, socket};
    if let Ok(socket) = socket(AddressFamily::INET, SocketType::DGRAM, None) {
        let _ = sys::loopback_up(socket.as_fd());
    }
}

/// Becomes a user that owns nothing on the machine, in a namespace that has no other user.
fn become_nobody(
    order: &Order,
    stdio: &Stdio,
    machine: &File,
    missing: &mut Vec<(String, String)>,
) -> Result<(), Failure> {
    if let Some(id) = order.host_id {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        for pipe in [&stdio.stdout, &stdio.stderr] {
            // So that /dev/stdout can be opened by name.
            rustix::fs::fchown(pipe, Some(uid), Some(gid)).map_err(at("the outputs"))?;
        }
        drop_bounding_set();
        rustix::thread::set_thread_groups(&[]).map_err(at("groups"))?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at("the group"))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at("the user"))?;
        // Changing users made this process secret even to itself.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
            .map_err(at("dumpable"))?;
    }
    if let Err(error) = sys::unshare(UnshareFlags::NEWUSER) {
        // The user is still one that owns nothing and has no capability.
        missing.push(("user-ns".to_owned(), io::Error::from(error).to_string()));
        return Ok(());
    }
    // Without host_id this is the user namespace of an ordinary user, whose root that user is.
    let map = format!("{} {} 1", host::USER, order.host_id.unwrap_or(0));
    write_at(machine, "setgroups", "deny").map_err(at("setgroups"))?;
    write_at(machine, "uid_map", &map).map_err(at("uid_map"))?;
    write_at(machine, "gid_map", &map).map_err(at("gid_map"))
}

fn limit_processes(pids: u32) -> io::Result<()> {
    let limit = |resource, current, maximum| {
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        rustix::process::setrlimit(resource, limit)
    };
    limit(Resource::Core, 0, 0)?;
    let files = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    limit(Resource::Nofile, OPEN_FILES.0.min(files), OPEN_FILES.1.min(files))?;
    // Counted within the user namespace: holds where no control group does. One for this process.
    let processes = u64::from(pids) + 1;
    Ok(limit(Resource::Nproc, processes, processes)?)
}

fn drop_bounding_set() {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // Refused after the kernel's last capability.
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
}

fn give_up_capabilities() -> rustix::io::Result<()> {
    drop_bounding_set();
    use CapabilitiesSecureBits as Bits;
    let _ = rustix::thread::set_capabilities_secure_bits(
        Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
    );
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)
}

/// Forks the command and waits until it has been executed.
fn start(
    order: &Order,
    keeper: &UnixStream,
    stdio: &Stdio,
    missing: Vec<(String, String)>,
) -> Result<Start, Refusal> {
    if gone(keeper) {
        sys::exit(1);
    }
    // Before the fork, so that no signal of the command's end is lost.
    sys::block_signals(&HEARD);
    let (mut result, mut report) = io::pipe().map_err(at("pipe"))?;
    let command = match sys::fork(0, None).map_err(at("starting the command"))? {
        Fork::Child { .. } => {
            let said = become_command(order, stdio);
            // Closed by a successful exec, which is how the other side knows.
            let _ = wire::send(&mut report, &said);
            sys::exit(126)
        }
        Fork::Parent(pid) => pid,
    };
    drop(report);
    match wire::receive::<Said>(&mut result).map_err(at("starting the command"))? {
        None => Ok(Start { command, missing }),
        Some(said) => Err(Refusal::Say(said)),
    }
}

/// The command's own process, up to the exec. Returns why there was none.
fn become_command(order: &Order, stdio: &Stdio) -> Said {
    let failed = |(step, error): Failure| Said::Failed(format!("{step}: {error}"));
    sys::block_signals(&[]);
    sys::default_signals();
    if let Err(error) = rustix::process::setsid() {
        return failed(at("a new session")(error));
    }
    for (fd, place) in [(&stdio.stdin, 0), (&stdio.stdout, 1), (&stdio.stderr, 2)] {
        if let Err(error) = sys::dup_onto(fd.as_raw_fd(), place) {
            return failed(at("the standard streams")(error));
        }
    }
    if let Err(error) = sys::close_on_exec_from(3) {
        return failed(at("closing descriptors")(error));
    }
    if let Err(error) = rustix::process::chdir(order.cwd.as_str()) {
        return Said::NoDirectory { errno: error.raw_os_error() };
    }
    // Refused by the caller where they hold a zero byte.
    let c = |text: &String| CString::new(text.as_str()).unwrap_or_default();
    let argv: Vec<CString> = order.argv.iter().map(c).collect();
    let env: Vec<CString> =
        order.env.iter().map(|(name, value)| c(&format!("{name}={value}"))).collect();
    let name = &order.argv[0];
    if name.contains('/') {
        let error = sys::exec(&c(name), &argv, &env);
        return not_executed(&error, Path::new(name));
    }
    let path = order.env.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
    let mut worst = Said::NotExecuted { errno: libc::ENOENT, exists: false };
    for dir in path.split(':') {
        let file = Path::new(if dir.is_empty() { "." } else { dir }).join(name);
        let error = sys::exec(&c(&file.display().to_string()), &argv, &env);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) if !file.exists() => {}
            // Perhaps there is another one further on.
            Some(libc::EACCES) => worst = not_executed(&error, &file),
            _ => return not_executed(&error, &file),
        }
    }
    worst
}

fn not_executed(error: &io::Error, file: &Path) -> Said {
    Said::NotExecuted { errno: error.raw_os_error().unwrap_or(0), exists: file.exists() }
}

const HEARD: [i32; 2] = [libc::SIGCHLD, libc::SIGTERM];

/// Waits for the command, burying whatever dies before it.
fn live(keeper: &mut UnixStream, command: i32, missing: Vec<(String, String)>) -> i32 {
    if wire::send(keeper, &Said::Started { missing }).is_err() {
        return 1;
    }
    loop {
        if sys::wait_signal(&HEARD) == libc::SIGTERM {
            sys::kill(command, libc::SIGTERM);
            continue;
        }
        // One signal may stand for many children.
        while let Ok(Some(dead)) = sys::reap(-1, false) {
            if dead.pid == command {
                let sys::Reaped { status, cpu_ms, max_rss_mb, .. } = dead;
                let _ = wire::send(keeper, &Said::Ended { status, cpu_ms, max_rss_mb });
                // With this process everything else in its namespace is killed.
                return 0;
            }
        }
    }
}

/// Whether the keeper has closed its end.
fn gone(keeper: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(keeper, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = poll(&mut fds, Some(&now));
    fds[0].revents().contains(PollFlags::HUP)
}

fn write_at(dir: &File, name: &str, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    // In one call: the kernel takes a map whole or not at all.
    File::from(file).write_all(text.as_bytes())
}

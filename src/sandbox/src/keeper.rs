//! The keeper of one sandbox: this very program, executed again.
//!
//! Owns:   the control groups of its sandbox, and the process at the root of it.
//! Hears:  one [`Order`], then [`Ask`]s, on its standard input.
//! Says:   [`Tell`]s, there too.
//! Never:  has an environment, a second thread, or anything of the agent's memory; outlives the
//!         agent by more than it takes to clean up.
//! Fails:  whatever happens, the sandbox is killed and its groups are removed before the keeper ends.
//! Proof:  `tests/hostile.rs`, the test that kills the agent.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, Mode, OFlags, SealFlags},
};

use crate::{
    cgroup::{Bounds, Group},
    init::{self, Said, Stdio},
    oci,
    sys::{self, Fork, Reaped},
    wire::{self, Ask, Engine, Order, Refused, Root, Tell},
};

/// How long the kernel may take to let go of the control groups of a dead sandbox.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the keeper; does not return.
pub(crate) fn main() -> ! {
    let code = match keep() {
        Ok(()) => 0,
        // The agent is gone, or not an agent at all: there is nobody to tell.
        Err(_) => 1,
    };
    sys::exit(code)
}

fn keep() -> io::Result<()> {
    // Its own copies of the standard streams become /dev/null: nothing the keeper does may end up
    // in the sandbox's output.
    let mut agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for place in 0..3 {
        sys::dup_onto(null.as_raw_fd(), place)?;
    }
    let Some(order) = wire::receive::<Order>(&mut agent)? else { return Ok(()) };
    let Some(input) = wire::receive_bytes(&mut agent)? else { return Ok(()) };
    let stdin = match stdin(&input, null) {
        Ok(stdin) => stdin,
        Err(error) => return refuse(&mut agent, Refused::Node(format!("standard input: {error}"))),
    };
    drop(input);
    let stdio = Stdio { stdin, stdout, stderr };

    // The embedded runtime's first process keeps the command; it is not the command's to spend.
    let extra = u32::from(matches!(order.engine, Engine::Embedded));
    let bounds =
        Bounds { cpu_milli: order.cpu_milli, mem_mb: order.mem_mb, pids: order.pids + extra };
    let done = match &order.engine {
        Engine::Embedded => embedded(&mut agent, &order, bounds, stdio),
        Engine::Oci { .. } => oci::keep(&mut agent, &order, bounds, stdio),
    };
    if let Err(Failed(refused)) = done {
        refuse(&mut agent, refused)?;
    }
    Ok(())
}

fn refuse(agent: &mut UnixStream, refused: Refused) -> io::Result<()> {
    wire::send(agent, &Tell::Refused(refused))
}

/// Why a sandbox did not start.
pub(crate) struct Failed(pub Refused);

/// A step of the node's own that failed.
pub(crate) fn node<E: std::fmt::Display>(step: &str) -> impl FnOnce(E) -> Failed {
    let step = step.to_owned();
    move |error| Failed(Refused::Node(format!("{step}: {error}")))
}

/// All of the standard input, in memory, unchangeable: nobody has to feed it.
fn stdin(input: &[u8], null: OwnedFd) -> io::Result<OwnedFd> {
    if input.is_empty() {
        return Ok(null);
    }
    let memory =
        rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(input)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file.into())
}

fn embedded(
    agent: &mut UnixStream,
    order: &Order,
    bounds: Bounds,
    stdio: Stdio,
) -> Result<(), Failed> {
    let (group, missing) = Group::create(&order.hierarchies, &order.name, bounds);
    let result = run_embedded(agent, order, bounds, stdio, &group, missing);
    clean_up(agent, &group);
    result
}

/// Removes the groups; a group that stays is for an operator, and for the next agent's start.
pub(crate) fn clean_up(agent: &mut UnixStream, group: &Group) {
    if let Err(error) = group.remove(CLEANUP_PATIENCE) {
        let _ = wire::send(agent, &Tell::Warn(format!("a control group remains: {error}")));
    }
}

fn run_embedded(
    agent: &mut UnixStream,
    order: &Order,
    bounds: Bounds,
    stdio: Stdio,
    group: &Group,
    mut missing: Vec<(String, String)>,
) -> Result<(), Failed> {
    let hall = group.hall();
    let doors = |born_in| group.doors(bounds, born_in);
    if order.host_id.is_none() {
        init::own_user_namespace().map_err(node("a user namespace"))?;
    }
    let (mut init, theirs) = UnixStream::pair().map_err(node("socket"))?;
    let namespaces = libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWNET;
    let pid =
        match sys::fork(namespaces, hall.as_ref().map(AsFd::as_fd)).map_err(node("namespaces"))? {
            Fork::Child { in_group } => {
                // The way to the agent is the keeper's alone.
                sys::close(agent.as_raw_fd());
                drop(init);
                init::run(order, theirs, stdio, doors(in_group))
            }
            Fork::Parent(pid) => pid,
        };
    drop((theirs, stdio));

    let mut watch = Watch::new();
    let mut ended = None;
    let mut started = None;
    let mut refused = None;
    // Until the first process closes its end, which it does by ending.
    while let Some(said) = watch.next(agent, &mut init, pid) {
        match said {
            Said::Started { missing: more } => {
                started = Some(Instant::now());
                missing.extend(more);
                missing.extend(group.holds(pid, bounds));
                let missing = std::mem::take(&mut missing);
                let _ = wire::send(agent, &Tell::Started { missing });
            }
            Said::Ended { status, cpu_ms, max_rss_mb } => {
                ended = Some(Reaped { pid, status, cpu_ms, max_rss_mb });
            }
            Said::NotExecuted { errno, exists } => refused = Some(no_command(order, errno, exists)),
            Said::NoDirectory { errno } => refused = Some(no_directory(order, errno)),
            Said::Failed(why) => refused = Some(Refused::Node(why)),
        }
    }
    // Returns when the kernel has killed everything else in the namespace.
    let first = sys::reap(pid, true).map_err(node("waiting"))?;
    let Some(started) = started else {
        let ended = first.map_or(0, |first| first.status);
        let refused = refused.unwrap_or_else(|| {
            if group.counted().oom_kills > 0 {
                Refused::Spec(format!("{} MiB are too little to start anything", order.mem_mb))
            } else {
                Refused::Node(format!("the sandbox ended early (wait status {ended})"))
            }
        });
        return Err(Failed(refused));
    };
    if let Some(last) = ended.or(first) {
        let _ = wire::send(agent, &report(last, group, started));
    }
    Ok(())
}

/// The end, with what the control groups counted where there are any.
pub(crate) fn report(last: Reaped, group: &Group, started: Instant) -> Tell {
    let counted = group.counted();
    let exit_code = libc::WIFEXITED(last.status).then(|| libc::WEXITSTATUS(last.status));
    let signal = libc::WIFSIGNALED(last.status).then(|| libc::WTERMSIG(last.status));
    Tell::Ended {
        exit_code,
        signal,
        out_of_memory: counted.oom_kills > 0 && exit_code != Some(0),
        cpu_ms: counted.cpu_ms.unwrap_or(last.cpu_ms),
        max_rss_mb: counted.peak_mb.unwrap_or(last.max_rss_mb),
        wall_ms: started.elapsed().as_millis() as u64,
    }
}

/// What a shell would say, and with which code.
pub(crate) fn no_command(order: &Order, errno: i32, exists: bool) -> Refused {
    let name = &order.argv[0];
    let (exit_code, message) = match (errno, exists) {
        (libc::ENOENT | libc::ENOTDIR, false) => {
            let only = match order.root {
                Root::Host { .. } => ", which shows what is under /usr and nothing else",
                Root::Dir(_) => "",
            };
            (127, format!("{name}: no such command in the sandbox{only}"))
        }
        (libc::ENOENT, true) => {
            (127, format!("{name}: the interpreter or loader it names is not in the sandbox"))
        }
        (libc::EACCES, _) => (126, format!("{name}: not executable in the sandbox")),
        (libc::ENOEXEC, _) => (126, format!("{name}: not in a format this machine can execute")),
        (libc::E2BIG, _) => {
            (126, format!("{name}: its arguments and environment are longer than the system takes"))
        }
        _ => (126, format!("{name}: {}", io::Error::from_raw_os_error(errno))),
    };
    Refused::Command { exit_code, message }
}

pub(crate) fn no_directory(order: &Order, errno: i32) -> Refused {
    let error = io::Error::from_raw_os_error(errno);
    let message =
        format!("{}: no working directory {} in the sandbox: {error}", order.argv[0], order.cwd);
    Refused::Command { exit_code: 126, message }
}

/// Listens to the agent and to the sandbox at once, and kills the sandbox when it is time.
pub(crate) struct Watch {
    asked: Vec<u8>,
    said: Vec<u8>,
    kill_at: Option<Instant>,
    killed: bool,
    agent_gone: bool,
}

impl Watch {
    pub fn new() -> Watch {
        let (asked, said) = (Vec::new(), Vec::new());
        Watch { asked, said, kill_at: None, killed: false, agent_gone: false }
    }

    /// The next word of the first process `pid`, or `None` when it has closed its end.
    fn next(&mut self, agent: &mut UnixStream, init: &mut UnixStream, pid: i32) -> Option<Said> {
        loop {
            if let Ok(Some(said)) = wire::take(&mut self.said) {
                return Some(said);
            }
            let ready = self.wait(agent, init.as_fd(), || sys::kill(pid, libc::SIGTERM));
            if self.due() {
                sys::kill(pid, libc::SIGKILL);
            }
            if ready && !fill(init, &mut self.said) {
                return None;
            }
        }
    }

    /// Waits for something on `other`, or for the time to kill; obeys the agent meanwhile.
    pub fn wait(
        &mut self,
        agent: &mut UnixStream,
        other: impl AsFd,
        terminate: impl FnOnce(),
    ) -> bool {
        let timeout = self.kill_at.filter(|_| !self.killed).map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        let heard = if self.agent_gone { PollFlags::empty() } else { PollFlags::IN };
        let (agent_ready, other_ready) = {
            let mut fds = [
                PollFd::new(&other, PollFlags::IN),
                PollFd::from_borrowed_fd(agent.as_fd(), heard),
            ];
            // A hung-up peer would wake the poll for ever.
            let count = if self.agent_gone { 1 } else { 2 };
            let _ = poll(&mut fds[..count], timeout.as_ref());
            (count == 2 && !fds[1].revents().is_empty(), !fds[0].revents().is_empty())
        };
        if agent_ready {
            if !fill(agent, &mut self.asked) {
                self.agent_gone = true;
                self.kill_at = Some(Instant::now());
            }
            let mut asked = false;
            while let Ok(Some(Ask::Stop { grace_ms })) = wire::take(&mut self.asked) {
                let at = Instant::now() + Duration::from_millis(grace_ms);
                self.kill_at = Some(self.kill_at.map_or(at, |before| before.min(at)));
                asked = true;
            }
            if asked {
                terminate();
            }
        }
        other_ready
    }

    /// Whether to kill now; true once.
    pub fn due(&mut self) -> bool {
        let due = !self.killed && self.kill_at.is_some_and(|at| at <= Instant::now());
        self.killed |= due;
        due
    }
}

/// Reads what is there; false at the end.
fn fill(from: &mut UnixStream, buffer: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4_096];
    match from.read(&mut bytes) {
        Ok(0) => false,
        Ok(n) => {
            buffer.extend_from_slice(&bytes[..n]);
            true
        }
        Err(error) => error.kind() == io::ErrorKind::Interrupted,
    }
}

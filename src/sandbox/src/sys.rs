//! The few calls to the kernel for which no library has a safe form.
//!
//! Owns:   every `unsafe` block of this crate.
//! Never:  decides anything.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long},
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

/// Which side of a fork this is.
pub(crate) enum Fork {
    Parent(i32),
    /// `in_group`: born in the control group that was asked for.
    Child {
        in_group: bool,
    },
}

/// `CLONE_INTO_CGROUP` of `linux/sched.h`; the constant of the library is cut to 32 bits.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks into new namespaces (`CLONE_NEW*` in `flags`) and, where `group` is given and the kernel
/// (5.7) takes it, into that v2 control group.
///
/// The caller must be the only thread of its process, so that the child finds every lock free; the
/// keeper is, and that is checked here.
pub(crate) fn fork(flags: c_int, group: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !matches!(threads, Ok(1) | Err(_)) {
        return Err(io::Error::other("a keeper of sandboxes has exactly one thread"));
    }
    if let Some(group) = group {
        // SAFETY: all-zero bytes are valid arguments.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.flags = flags as u64 | INTO_CGROUP;
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.cgroup = group.as_raw_fd() as u64;
        // SAFETY: as below; the struct lives for the call and has the size given.
        let done = unsafe {
            libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
        };
        match done {
            -1 => {} // The ordinary way; the child then enters the group by itself.
            0 => return Ok(Fork::Child { in_group: true }),
            pid => return Ok(Fork::Parent(pid as i32)),
        }
    }
    let flags = c_long::from(flags) | c_long::from(libc::SIGCHLD);
    // SAFETY: a clone without CLONE_VM and without a new stack is a fork; the child continues here
    // on its own copy of this single-threaded process, which leaves no lock held by another thread.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child { in_group: false }),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// Leaves the namespaces in `flags` for new ones.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: CLONE_FILES, the flag that could pull descriptors away from under safe code, is never
    // among the callers' flags, and the process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// `_exit`: ends this process without running anything that its parent's copy would also run.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: always sound; no destructor or exit handler is relied on by its callers.
    unsafe { libc::_exit(code) }
}

/// Adds attributes to a mount and everything below it.
pub(crate) fn mount_attributes(path: &CStr, set: u64) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: path is a C string, and the struct lives for the call and has the size given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(done as c_int).map(drop)
}

/// Brings the loopback device of the current network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives for the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(done).map(drop)
}

/// Marks every descriptor from `first` on to be closed by the next exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only sets a flag on descriptors; closes nothing now.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(done as c_int).map(drop)
}

/// Closes a descriptor that its owner, a value of the parent process copied by a fork, never uses or
/// drops again.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: see above; a wrong number is refused by the kernel.
    unsafe { libc::close(fd) };
}

/// Makes `to` the same open file as `from`.
pub(crate) fn dup_onto(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: replaces a descriptor number that the caller owns.
    check(unsafe { libc::dup2(from, to) }).map(drop)
}

/// Blocks the signals in `set` for this thread, or lets all through when it is empty.
pub(crate) fn block_signals(signals: &[c_int]) {
    // SAFETY: the set is initialised before use and lives for the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Waits for one of the blocked signals.
pub(crate) fn wait_signal(signals: &[c_int]) -> c_int {
    let mut signal = 0;
    // SAFETY: the set is initialised before use; both pointers live for the call.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::sigwait(&raw const set, &raw mut signal);
    }
    signal
}

/// Gives every signal its default effect again (the Rust runtime ignores SIGPIPE, and what is
/// ignored stays so over an exec).
pub(crate) fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no code of ours; signals that can't be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub pid: i32,
    pub status: c_int,
    pub cpu_ms: u64,
    pub max_rss_mb: u64,
}

/// Reaps a child (`-1`: any); `None` when `block` is false and none has ended.
pub(crate) fn reap(pid: i32, block: bool) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    let options = if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: all-zero bytes are a valid rusage; both pointers live for the call.
        let (found, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &raw mut status, options, &raw mut usage), usage)
        };
        return match found {
            0 => Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                Err(error)
            }
            pid => {
                let ms = |t: libc::timeval| t.tv_sec as u64 * 1_000 + t.tv_usec as u64 / 1_000;
                Ok(Some(Reaped {
                    pid,
                    status,
                    cpu_ms: ms(usage.ru_utime) + ms(usage.ru_stime),
                    max_rss_mb: (usage.ru_maxrss as u64).div_ceil(1_024),
                }))
            }
        };
    }
}

/// Sends a signal; a process that is gone is no error.
pub(crate) fn kill(pid: i32, signal: c_int) {
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(pid, signal) };
}

/// Replaces this process. Returns only the error.
pub(crate) fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: path and all strings are C strings that outlive the call, both arrays end with null.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Waits for a signal.
pub(crate) fn pause() {
    // SAFETY: only waits.
    unsafe { libc::pause() };
}

/// Makes calls that no sandbox may make, in forms that could do no harm if they were let through,
/// and returns what the kernel said.
pub(crate) fn forbidden_calls() -> Vec<(&'static str, io::Error)> {
    let calls: [(&str, c_long, [c_long; 3]); 9] = [
        ("unshare", libc::SYS_unshare, [c_long::from(libc::CLONE_NEWUSER), 0, 0]),
        ("clone3", libc::SYS_clone3, [0, 0, 0]),
        ("mount", libc::SYS_mount, [0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [c_long::from(libc::PTRACE_TRACEME), 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0]),
    ];
    let made = calls.map(|(name, number, [a, b, c])| {
        // SAFETY: every pointer argument is null, which these calls refuse; unshare and ptrace only
        // change this process, which is a probe about to end.
        let done = unsafe { libc::syscall(number, a, b, c, 0, 0, 0) };
        let error = if done < 0 { io::Error::last_os_error() } else { io::Error::other("done") };
        (name, error)
    });
    made.into()
}

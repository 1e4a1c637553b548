//! What hostile programs do once they run in a sandbox.
//!
//! Each prints one line `HARM: …` for everything that it could do and should not have been able to,
//! and whatever its test wants to know.

#![allow(unsafe_code, clippy::print_stdout)]
// SAFETY: for every block of this file: a hostile program asks the kernel for things with null
// pointers, numbers and C strings that outlive the call, in a process of its own that has one thread
// and ends afterwards.

use std::{
    ffi::{CString, c_int, c_long},
    fs,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::FileTypeExt},
    path::Path,
};

/// The hidden argument with which the test program becomes a hostile one.
pub const ARGUMENT: &str = "hostile";

/// Runs the program of that name and returns its exit code.
pub fn run(name: &str, arguments: &[String]) -> i32 {
    match name {
        "fork-bomb" => fork_bomb(),
        "memory-bomb" => memory_bomb(),
        "memory-bomb-in-a-child" => {
            wait_for(fork(memory_bomb));
            3
        }
        "fill-tmp" => fill_tmp(),
        "fill-tmp-with-names" => fill_tmp_with_names(),
        "trace" => trace(),
        "mount" => mount(),
        "sockets" => sockets(),
        "namespaces" => namespaces(),
        "kernel-calls" => kernel_calls(),
        "other-tables" => other_tables(),
        "steal" => steal(&arguments[0]),
        "proc" => proc_tricks(),
        "write-root" => write_root(),
        "links" => links(),
        "become-root" => become_root(),
        "kill-outside" => kill_outside(&arguments[0]),
        "escape-groups" => escape_groups(),
        "outlive" => outlive(),
        "flood" => flood(),
        "ignore-term" => {
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            say("ready");
            pause()
        }
        "wait" => {
            say("ready");
            pause()
        }
        "spin" => spin(),
        "say" => {
            say(&arguments[0]);
            0
        }
        "cat" => cat(),
        "environment" => {
            let mut all: Vec<String> = std::env::vars().map(|(n, v)| format!("{n}={v}")).collect();
            all.sort();
            say(&all.join("\n"));
            let here = std::env::current_dir().unwrap_or_default();
            say(&format!("cwd={}", here.display()));
            0
        }
        "exit" => arguments[0].parse().unwrap_or(99),
        "die" => {
            unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
            pause()
        }
        other => {
            say(&format!("no program {other}"));
            99
        }
    }
}

fn say(line: &str) {
    println!("{line}");
    let _ = io::stdout().flush();
}

fn harm(what: &str) {
    say(&format!("HARM: {what}"));
}

fn pause() -> i32 {
    loop {
        unsafe { libc::pause() };
    }
}

fn fork(child: impl FnOnce() -> i32) -> c_int {
    match unsafe { libc::fork() } {
        0 => {
            let code = child();
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

fn wait_for(pid: c_int) -> c_int {
    let mut status = 0;
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status
}

/// A call that must be refused; its arguments are such that it would do nothing if it were not.
fn refused(name: &str, number: c_long, arguments: [c_long; 5]) {
    let [a, b, c, d, e] = arguments;
    let done = unsafe { libc::syscall(number, a, b, c, d, e) };
    let error = io::Error::last_os_error();
    if done >= 0 || !matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) {
        harm(&format!("{name}: {done} {error}"));
    }
}

fn fork_bomb() -> i32 {
    let mut children = 0;
    while children < 10_000 {
        // Every child forks on, too.
        let pid = fork(|| {
            while unsafe { libc::fork() } >= 0 {}
            pause()
        });
        if pid < 0 {
            break;
        }
        children += 1;
    }
    say(&format!("children={children}"));
    let processes = fs::read_dir("/proc").map_or(0, |dir| {
        dir.flatten().filter(|e| e.file_name().as_bytes()[0].is_ascii_digit()).count()
    });
    say(&format!("processes={processes}"));
    0
}

fn memory_bomb() -> i32 {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(vec![0xa5; 1 << 20]);
        if kept.len() > 4_096 {
            harm("4 GiB");
            return kept.len() as i32;
        }
    }
}

fn fill_tmp() -> i32 {
    let mut bytes = 0_u64;
    let block = vec![7; 1 << 16];
    for place in ["/tmp/a", "/dev/shm/b", "/var/tmp/c", "/run/d", "/home/e"] {
        let Ok(mut file) = fs::File::create(place) else { continue };
        while bytes < 1 << 30 {
            match file.write(&block) {
                Ok(n) => bytes += n as u64,
                Err(_) => break,
            }
        }
    }
    say(&format!("mb={}", bytes >> 20));
    0
}

fn fill_tmp_with_names() -> i32 {
    let mut names = 0;
    while names < 1_000_000 && fs::File::create(format!("/tmp/{names}")).is_ok() {
        names += 1;
    }
    say(&format!("names={names}"));
    0
}

fn trace() -> i32 {
    let attach = c_long::from(libc::PTRACE_ATTACH);
    refused("ptrace attach", libc::SYS_ptrace, [attach, 1, 0, 0, 0]);
    let me = c_long::from(libc::PTRACE_TRACEME);
    refused("ptrace me", libc::SYS_ptrace, [me, 0, 0, 0, 0]);
    refused("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]);
    refused("process_vm_writev", libc::SYS_process_vm_writev, [1, 0, 0, 0, 0]);
    refused("pidfd_getfd", libc::SYS_pidfd_getfd, [0, 0, 0, 0, 0]);
    refused("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0]);
    0
}

fn mount() -> i32 {
    let c = |text: &str| CString::new(text).unwrap();
    let (tmpfs, tmp, proc, root) = (c("tmpfs"), c("/tmp"), c("proc"), c("/"));
    let p = |text: &CString| text.as_ptr() as c_long;
    let bind = libc::MS_BIND as c_long;
    let rw = (libc::MS_REMOUNT | libc::MS_BIND) as c_long;
    refused("mount tmpfs", libc::SYS_mount, [p(&tmpfs), p(&tmp), p(&tmpfs), 0, 0]);
    refused("mount proc", libc::SYS_mount, [p(&proc), p(&tmp), p(&proc), 0, 0]);
    refused("bind", libc::SYS_mount, [p(&root), p(&tmp), 0, bind, 0]);
    refused("remount", libc::SYS_mount, [0, p(&root), 0, rw, 0]);
    refused("umount", libc::SYS_umount2, [p(&tmp), 0, 0, 0, 0]);
    refused("pivot_root", libc::SYS_pivot_root, [p(&tmp), p(&tmp), 0, 0, 0]);
    refused("chroot", libc::SYS_chroot, [p(&tmp), 0, 0, 0, 0]);
    refused("fsopen", libc::SYS_fsopen, [p(&tmpfs), 0, 0, 0, 0]);
    refused("open_tree", libc::SYS_open_tree, [-100, p(&root), 1, 0, 0]);
    refused("move_mount", libc::SYS_move_mount, [-100, p(&tmp), -100, p(&tmp), 0]);
    refused("mount_setattr", libc::SYS_mount_setattr, [-100, p(&root), 0, 0, 0]);
    0
}

fn sockets() -> i32 {
    const VSOCK: c_int = 40;
    const CLOSED: [(&str, c_int, c_int, c_int); 8] = [
        ("raw", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        ("raw v6", libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW),
        ("packet", libc::AF_PACKET, libc::SOCK_RAW, 0),
        ("vsock", VSOCK, libc::SOCK_STREAM, 0),
        ("alg", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ("netfilter", libc::AF_NETLINK, libc::SOCK_RAW, 12),
        ("audit", libc::AF_NETLINK, libc::SOCK_RAW, 9),
        ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW, 1),
    ];
    for (name, family, kind, protocol) in CLOSED {
        let socket = unsafe { libc::socket(family, kind, protocol) };
        if socket >= 0 {
            harm(&format!("a {name} socket"));
        }
    }
    // The loopback device is the sandbox's own and works; nothing else is there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    let connected = listener.and_then(|l| std::net::TcpStream::connect(l.local_addr()?));
    say(&format!("loopback={}", connected.is_ok()));
    for address in ["1.1.1.1:53", "10.0.0.1:80", "169.254.169.254:80", "[2606:4700::1111]:53"] {
        if std::net::TcpStream::connect(address).is_ok() {
            harm(&format!("connected to {address}"));
        }
    }
    0
}

fn namespaces() -> i32 {
    for (name, flag) in [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
    ] {
        refused(&format!("unshare {name}"), libc::SYS_unshare, [c_long::from(flag), 0, 0, 0, 0]);
        let flags = c_long::from(flag | libc::SIGCHLD);
        match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
            0 => unsafe { libc::_exit(0) },
            -1 => {}
            _ => harm(&format!("clone into a new {name} namespace")),
        }
    }
    refused("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0]);
    if let Ok(file) = fs::File::open("/proc/1/ns/net") {
        use std::os::fd::AsRawFd;
        refused("setns", libc::SYS_setns, [c_long::from(file.as_raw_fd()), 0, 0, 0, 0]);
    }
    refused("setns to nothing", libc::SYS_setns, [0, 0, 0, 0, 0]);
    // Threads and processes are no namespaces.
    let thread = std::thread::Builder::new().spawn(|| 7).map(std::thread::JoinHandle::join);
    say(&format!("thread={}", matches!(thread, Ok(Ok(7)))));
    0
}

fn kernel_calls() -> i32 {
    for (name, number) in [
        ("keyctl", libc::SYS_keyctl),
        ("add_key", libc::SYS_add_key),
        ("request_key", libc::SYS_request_key),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_enter", libc::SYS_io_uring_enter),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("kexec_load", libc::SYS_kexec_load),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("delete_module", libc::SYS_delete_module),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("name_to_handle_at", libc::SYS_name_to_handle_at),
        ("syslog", libc::SYS_syslog),
        ("swapon", libc::SYS_swapon),
        ("acct", libc::SYS_acct),
        ("quotactl", libc::SYS_quotactl),
        ("sethostname", libc::SYS_sethostname),
        ("settimeofday", libc::SYS_settimeofday),
        ("clock_settime", libc::SYS_clock_settime),
        ("fanotify_init", libc::SYS_fanotify_init),
        ("memfd_secret", libc::SYS_memfd_secret),
        ("a call of the future", 100_000),
    ] {
        refused(name, number, [0; 5]);
    }
    0
}

/// Tables of calls with other numbers, through which a filter could be walked around.
fn other_tables() -> i32 {
    #[cfg(target_arch = "x86_64")]
    {
        const X32: c_long = 0x4000_0000;
        for number in [libc::SYS_getpid, libc::SYS_unshare] {
            // Answered like a call that does not exist, or the end of the process.
            let status = wait_for(fork(|| {
                refused("a call by the x32 table", X32 | number, [0; 5]);
                0
            }));
            if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) != libc::SIGSYS {
                harm(&format!("x32 ended with signal {}", libc::WTERMSIG(status)));
            }
        }
        let status = wait_for(fork(|| {
            const GETPID: c_long = 20;
            let mut number = GETPID;
            unsafe { std::arch::asm!("int 0x80", inlateout("rax") number) };
            i32::from(number < 0)
        }));
        if libc::WIFEXITED(status) {
            harm(&format!("a call by the i386 table came back with {}", libc::WEXITSTATUS(status)));
        }
    }
    0
}

/// Looks for the agent's secret, and for the machine's.
fn steal(secret: &str) -> i32 {
    const PRIVATE: [&str; 12] = [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/ssh",
        "/etc/ssl/private",
        "/root",
        "/home/cloudsdk",
        "/opt",
        "/srv",
        "/var/lib",
        "/var/log",
        "/sys",
    ];
    for path in PRIVATE {
        if fs::read(path).is_ok() || fs::read_dir(path).is_ok_and(|mut dir| dir.next().is_some()) {
            harm(&format!("{path} can be read"));
        }
    }
    let mut looked = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let dir = entry.path();
        if !entry.file_name().as_bytes()[0].is_ascii_digit() {
            continue;
        }
        looked += 1;
        for file in ["environ", "cmdline", "maps"] {
            let text = fs::read(dir.join(file)).unwrap_or_default();
            if text.windows(secret.len()).any(|window| window == secret.as_bytes())
                && !(file == "cmdline" && dir == Path::new("/proc/self"))
                && entry.file_name().to_string_lossy() != std::process::id().to_string()
            {
                harm(&format!("{}/{file} holds the agent's secret", dir.display()));
            }
        }
        let own = entry.file_name().to_string_lossy() == std::process::id().to_string();
        if !own && fs::File::open(dir.join("mem")).is_ok() {
            harm(&format!("{}/mem can be opened", dir.display()));
        }
    }
    say(&format!("looked={looked}"));
    // Descriptors that came along by mistake.
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let to = fs::read_link(entry.path()).unwrap_or_default();
        let to = to.display().to_string();
        let number: i32 = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        if number > 2 && !to.starts_with("/proc/") {
            harm(&format!("descriptor {number} is {to}"));
        }
    }
    0
}

fn proc_tricks() -> i32 {
    let null = |file: &fs::File| file.metadata().is_ok_and(|m| m.file_type().is_char_device());
    for name in [
        "sysrq-trigger",
        "sys/kernel/core_pattern",
        "sys/kernel/modprobe",
        "sys/kernel/hostname",
        "sys/vm/drop_caches",
        "sys/vm/overcommit_memory",
        "sys/fs/binfmt_misc/register",
        "sys/net/ipv4/ip_forward",
        "1/oom_score_adj",
        "irq/default_smp_affinity",
        "bus/pci/00/00.0",
        "acpi/wakeup",
    ] {
        let path = Path::new("/proc").join(name);
        if name.starts_with("1/") && std::process::id() == 1 {
            continue;
        }
        if fs::File::options().write(true).open(&path).is_ok_and(|file| !null(&file)) {
            harm(&format!("{} can be written", path.display()));
        }
    }
    for name in ["kcore", "keys", "timer_list", "kallsyms", "iomem", "kmsg", "config.gz"] {
        let mut bytes = [0; 64];
        let read =
            fs::File::open(Path::new("/proc").join(name)).and_then(|mut f| f.read(&mut bytes));
        if matches!(read, Ok(n) if n > 0) {
            harm(&format!("/proc/{name} can be read"));
        }
    }
    // Ways out through other processes' roots and directories.
    for path in [
        "/proc/1/root/root",
        "/proc/self/root/root",
        "/proc/1/cwd/../root",
        "/proc/1/root/etc/shadow",
    ] {
        if fs::metadata(path).is_ok() {
            harm(&format!("{path} is there"));
        }
    }
    0
}

fn write_root() -> i32 {
    for dir in [
        "/",
        "/usr",
        "/usr/bin",
        "/bin",
        "/etc",
        "/etc/ssl/certs",
        "/dev",
        "/proc",
        "/var",
        "/home",
        "/run",
        "/.self",
    ] {
        if fs::write(Path::new(dir).join("planted"), "x").is_ok() {
            harm(&format!("{dir} can be written"));
        }
    }
    for file in ["/etc/passwd", "/etc/hosts", "/etc/ld.so.cache", "/usr/bin/env", "/.self"] {
        if fs::File::options().append(true).open(file).is_ok() {
            harm(&format!("{file} can be written"));
        }
        if fs::remove_file(file).is_ok() {
            harm(&format!("{file} can be removed"));
        }
    }
    let c = |text: &str| CString::new(text).unwrap();
    let (device, mode) = (c("/tmp/disk"), libc::S_IFBLK | 0o666);
    if unsafe { libc::mknod(device.as_ptr(), mode, libc::makedev(8, 0)) } == 0 {
        harm("a block device could be made");
    }
    0
}

fn links() -> i32 {
    use std::os::unix::fs::symlink;
    let _ = symlink("/etc/shadow", "/tmp/shadow");
    let _ = symlink("/", "/tmp/root");
    let _ = symlink("/proc/1/root", "/tmp/other");
    let _ = symlink("/usr/bin/env", "/tmp/env");
    for path in
        ["/tmp/shadow", "/tmp/../../../etc/shadow", "/tmp/root/root/.ssh", "/tmp/other/etc/shadow"]
    {
        if fs::read(path).is_ok() || fs::read_dir(path).is_ok() {
            harm(&format!("{path} can be read"));
        }
    }
    if fs::File::options().write(true).open("/tmp/env").is_ok() {
        harm("a program can be written through a link");
    }
    if fs::hard_link("/usr/bin/env", "/tmp/hard").is_ok() {
        harm("a program can be linked out of the root");
    }
    0
}

fn become_root() -> i32 {
    unsafe {
        if libc::setuid(0) == 0 || libc::seteuid(0) == 0 || libc::setresuid(0, 0, 0) == 0 {
            harm("it became root");
        }
        if libc::setgid(0) == 0 || libc::setgroups(0, std::ptr::null()) == 0 {
            harm("it changed its groups");
        }
    }
    // A set-user-id copy of this program must not help.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for set in ["CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb"] {
        let line = status.lines().find(|line| line.starts_with(set)).unwrap_or_default();
        if !line.ends_with("\t0000000000000000") {
            harm(line);
        }
    }
    if !status.contains("NoNewPrivs:\t1") || !status.contains("Seccomp:\t2") {
        harm("not locked in");
    }
    0
}

fn kill_outside(pid: &str) -> i32 {
    let pid: c_int = pid.parse().unwrap_or(0);
    for signal in [0, libc::SIGKILL] {
        if pid > 2 && unsafe { libc::kill(pid, signal) } == 0 {
            harm("a process outside can be signalled");
        }
    }
    // Everything in sight, but for this process.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    say("alive");
    0
}

fn escape_groups() -> i32 {
    let groups = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if groups.lines().any(|line| line.contains(" - cgroup")) {
        harm("control groups are mounted");
    }
    for path in ["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs"] {
        if fs::write(path, "0").is_ok() {
            harm(&format!("{path} can be written"));
        }
    }
    0
}

fn outlive() -> i32 {
    fork(|| {
        unsafe { libc::setsid() };
        fork(|| {
            for signal in 1..=64 {
                unsafe { libc::signal(signal, libc::SIG_IGN) };
            }
            unsafe { libc::setsid() };
            // Holds the output open for as long as it lives.
            pause()
        });
        0
    });
    say("parent ends");
    0
}

fn flood() -> i32 {
    let block = vec![b'x'; 1 << 16];
    loop {
        let _ = io::stdout().write_all(&block);
        let _ = io::stderr().write_all(&block);
    }
}

fn spin() -> i32 {
    let start = std::time::Instant::now();
    let mut n = 0_u64;
    while start.elapsed().as_millis() < 600 {
        n = n.wrapping_mul(31).wrapping_add(1);
    }
    i32::from(n == 0)
}

fn cat() -> i32 {
    let mut input = Vec::new();
    let read = io::stdin().read_to_end(&mut input);
    let written = io::stdout().write_all(&input);
    i32::from(read.is_err() || written.is_err())
}

//! Which system calls a sandbox may make: one policy, two forms.
//!
//! Owns:   the two lists, the rules on arguments, the filter for the kernel ([`filters`]) and the
//!         same for an OCI runtime ([`oci`]).
//! Never:  lets a call through because nobody thought of it: what is on no list does not exist.
//! Proof:  the tests below, `tests/hostile.rs`.
//!
//! A call is one of three kinds. *Allowed* calls are what ordinary programs make. *Refused* ones
//! exist and are answered EPERM: they reach parts of the kernel that are not divided by namespaces,
//! or make new namespaces, in which an unprivileged process would be root over code that ordinary
//! users never reach. Everything else is answered ENOSYS, as an older kernel would, so that libraries
//! fall back: `clone3` (its flags are behind a pointer, which a filter can't follow),
//! calls newer than this list, and the x32 table. A call through the i386 table ends the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use serde_json::{Value, json};

/// A call's name and number.
type Call = (&'static str, i64);

macro_rules! calls {
    ($($name:ident)*) => { &[$((strip(stringify!($name)), libc::$name)),*] };
}

const fn strip(name: &'static str) -> &'static str {
    // "SYS_" is four bytes.
    name.split_at(4).1
}

#[rustfmt::skip]
const ALLOWED: &[Call] = calls![
    SYS_accept SYS_accept4 SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_getres
    SYS_clock_gettime SYS_clock_nanosleep SYS_clone SYS_close SYS_close_range SYS_connect
    SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
    SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat
    SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown
    SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr
    SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv
    SYS_get_robust_list SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid
    SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid
    SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrusage SYS_getsid
    SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr
    SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_ioctl SYS_ioprio_get
    SYS_ioprio_set SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr
    SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier SYS_memfd_create
    SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect
    SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend
    SYS_mq_unlink SYS_mremap SYS_mseal SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync
    SYS_munlock SYS_munlockall SYS_munmap SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2
    SYS_personality SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free
    SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64
    SYS_pselect6 SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat
    SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr
    SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending
    SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend
    SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
    SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
    SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget
    SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto
    SYS_set_robust_list SYS_set_tid_address SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups
    SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid
    SYS_setreuid SYS_setsid SYS_setsockopt SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl
    SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_socket SYS_socketpair
    SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync SYS_syncfs SYS_sysinfo SYS_tee
    SYS_tgkill SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime
    SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times
    SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4
    SYS_waitid SYS_write SYS_writev
];

/// The older names of what newer machines do with one more argument.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[Call] = calls![
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
    SYS_epoll_wait SYS_eventfd SYS_fchmodat2 SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp
    SYS_getrlimit SYS_inotify_init SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_open
    SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_select
    SYS_setrlimit SYS_signalfd SYS_stat SYS_symlink SYS_sync_file_range SYS_time SYS_unlink
    SYS_utime SYS_utimes SYS_vfork
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[Call] = &[];

#[rustfmt::skip]
const REFUSED: &[Call] = calls![
    SYS_acct SYS_add_key SYS_adjtimex SYS_bpf SYS_chroot SYS_clock_adjtime SYS_clock_settime
    SYS_delete_module SYS_fanotify_init SYS_fanotify_mark SYS_finit_module SYS_fsconfig
    SYS_fsmount SYS_fsopen SYS_fspick SYS_get_mempolicy SYS_init_module SYS_io_uring_enter
    SYS_io_uring_register SYS_io_uring_setup SYS_kcmp SYS_kexec_file_load SYS_kexec_load
    SYS_keyctl SYS_lookup_dcookie SYS_mbind SYS_memfd_secret SYS_migrate_pages SYS_mount
    SYS_mount_setattr SYS_move_mount SYS_move_pages SYS_name_to_handle_at SYS_nfsservctl
    SYS_open_by_handle_at SYS_open_tree SYS_perf_event_open SYS_pidfd_getfd SYS_pivot_root
    SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev
    SYS_ptrace SYS_quotactl SYS_quotactl_fd SYS_reboot SYS_request_key SYS_set_mempolicy
    SYS_set_mempolicy_home_node SYS_setdomainname SYS_sethostname SYS_setns SYS_settimeofday
    SYS_swapoff SYS_swapon SYS_syslog SYS_umount2 SYS_unshare SYS_userfaultfd SYS_vhangup
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const REFUSED_HERE: &[Call] = calls![
    SYS__sysctl SYS_ioperm SYS_iopl SYS_modify_ldt SYS_sysfs SYS_uselib SYS_ustat
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[Call] = &[];

/// `clone` may start processes and threads, not namespaces.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// Sockets of the local machine and the internet (of which a sandbox has a loopback device). Not
/// among them: `AF_VSOCK`, which reaches the hypervisor past every network namespace, `AF_PACKET`,
/// `AF_ALG`, and the long tail of protocols that load kernel modules when first used.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Execution domains that only change how addresses are laid out, or ask for the current one.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Control codes that type into someone's terminal.
const TERMINAL: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

const EPERM: u32 = libc::EPERM as u32;
const ENOSYS: u32 = libc::ENOSYS as u32;

/// The filters to install, in this order. The kernel asks both and takes the strictest answer;
/// between two errors, that of the last one installed.
pub(crate) fn filters() -> Result<[BpfProgram; 2], String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let refused = rules().and_then(|rules| {
        let (otherwise, then) = (SeccompAction::Allow, SeccompAction::Errno(EPERM));
        SeccompFilter::new(rules, otherwise, then, arch)?.try_into()
    });
    let listed = ALLOWED.iter().chain(ALLOWED_HERE).chain(REFUSED).chain(REFUSED_HERE);
    let known = ranges(listed.map(|(_, number)| *number as u32).collect());
    Ok([known_only(&known), refused.map_err(|e| e.to_string())?])
}

/// Sorted numbers as ranges, both ends included.
fn ranges(mut numbers: Vec<u32>) -> Vec<(u32, u32)> {
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if number <= *last + 1 => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// Answers ENOSYS to every number in none of the ranges. Written by hand because the kernel runs a
/// filter once for every number when it is installed: with one rule a call, which is what the
/// library makes of a list, that took over a millisecond of every launch. The other architectures'
/// tables are left to the second filter, which ends the process.
fn known_only(ranges: &[(u32, u32)]) -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    let unknown = step(ANSWER, 0, libc::SECCOMP_RET_ERRNO | ENOSYS);
    let known = step(ANSWER, 0, libc::SECCOMP_RET_ALLOW);
    // The number is the first field of what a filter sees.
    let mut program = vec![step(LOAD, 0, 0)];
    for (first, last) in ranges {
        // Below this range and above the one before; in this range; or on to the next.
        program.extend([step(AT_LEAST, 1, *first), unknown.clone()]);
        program.extend([step(ABOVE, 1, *last), known.clone()]);
    }
    program.push(unknown);
    program
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let is = |arg, len, op, value| SeccompCondition::new(arg, len, op, value);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|(_, number)| (*number, Vec::new())).collect();
    let bits = (0..64).map(|bit| 1_u64 << bit).filter(|bit| NAMESPACES & bit != 0);
    rules.insert(
        libc::SYS_clone,
        bits.map(|bit| SeccompRule::new(vec![is(0, Qword, MaskedEq(bit), bit)?]))
            .collect::<Result<_, _>>()?,
    );
    let foreign = FAMILIES
        .iter()
        .map(|family| is(0, Dword, Ne, *family as u64))
        .collect::<Result<Vec<_>, _>>()?;
    // Of netlink only the routing tables of the own namespace, which address lookups read.
    let netlink = vec![
        is(0, Dword, Eq, libc::AF_NETLINK as u64)?,
        is(2, Dword, Ne, libc::NETLINK_ROUTE as u64)?,
    ];
    let sockets = vec![SeccompRule::new(foreign)?, SeccompRule::new(netlink)?];
    rules.insert(libc::SYS_socketpair, sockets.clone());
    rules.insert(libc::SYS_socket, sockets);
    let domains = PERSONALITIES
        .iter()
        .map(|domain| is(0, Dword, Ne, *domain))
        .collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(domains)?]);
    // The kernel looks at the low half only: comparing all 64 bits could be walked around.
    rules.insert(
        libc::SYS_ioctl,
        TERMINAL
            .iter()
            .map(|code| SeccompRule::new(vec![is(1, Dword, Eq, *code)?]))
            .collect::<Result<_, _>>()?,
    );
    Ok(rules)
}

/// The same as the `linux.seccomp` section of an OCI configuration. A rule there can only allow, so
/// that a forbidden argument is answered ENOSYS like an unknown call.
pub(crate) fn oci() -> Value {
    let conditional = ["clone", "socket", "socketpair", "personality", "ioctl"];
    let names = |lists: [&[Call]; 2]| -> Vec<&str> {
        let names = lists.into_iter().flatten().map(|(name, _)| *name);
        names.filter(|name| !conditional.contains(name)).collect()
    };
    let mut rules = vec![
        json!({"names": names([ALLOWED, ALLOWED_HERE]), "action": "SCMP_ACT_ALLOW"}),
        json!({"names": names([REFUSED, REFUSED_HERE]), "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}),
        json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
        ]}),
    ];
    for family in FAMILIES {
        let mut args = vec![json!({"index": 0, "value": family, "op": "SCMP_CMP_EQ"})];
        if family == libc::AF_NETLINK {
            args.push(json!({"index": 2, "value": libc::NETLINK_ROUTE, "op": "SCMP_CMP_EQ"}));
        }
        let names = ["socket", "socketpair"];
        rules.push(json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args}));
    }
    for domain in PERSONALITIES {
        rules.push(json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": domain, "op": "SCMP_CMP_EQ"},
        ]}));
    }
    // libseccomp can't take two codes out of a general permission; no sandbox has a terminal anyway.
    rules.push(json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"}));
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "SCMP_ARCH_AARCH64",
        _ => "SCMP_ARCH_X86_64",
    };
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": [architecture],
        "syscalls": rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_refused() {
        for (name, number) in REFUSED.iter().chain(REFUSED_HERE) {
            let allowed = ALLOWED.iter().chain(ALLOWED_HERE).any(|(_, n)| n == number);
            assert!(!allowed, "{name}");
        }
    }

    #[test]
    fn the_calls_the_plan_names_are_never_allowed() {
        const NAMED: [&str; 17] = [
            "unshare",
            "setns",
            "clone3",
            "mount",
            "umount2",
            "pivot_root",
            "move_mount",
            "open_tree",
            "fsopen",
            "ptrace",
            "bpf",
            "keyctl",
            "add_key",
            "io_uring_setup",
            "perf_event_open",
            "kexec_load",
            "init_module",
        ];
        for name in NAMED {
            let allowed = ALLOWED.iter().chain(ALLOWED_HERE).any(|(n, _)| *n == name);
            assert!(!allowed, "{name}");
        }
    }

    #[test]
    fn the_filters_compile_and_fit_the_kernel() {
        const BPF_MAXINSNS: usize = 4_096;
        for filter in filters().unwrap() {
            assert!((40..BPF_MAXINSNS).contains(&filter.len()), "{}", filter.len());
        }
    }

    #[test]
    fn ranges_hold_exactly_the_numbers_they_were_made_of() {
        assert_eq!(ranges(vec![7, 1, 2, 3, 9, 2]), [(1, 3), (7, 7), (9, 9)]);
        assert_eq!(ranges(vec![]), []);
    }

    /// What a program answers to a number: the four instructions it is made of.
    fn answer(program: &BpfProgram, number: u32) -> u32 {
        let mut at = 1;
        loop {
            let step = &program[at];
            let jump = match u32::from(step.code) & 0xf7 {
                code if code == libc::BPF_JMP | libc::BPF_JGE => number >= step.k,
                code if code == libc::BPF_JMP | libc::BPF_JGT => number > step.k,
                _ => return step.k,
            };
            at += 1 + usize::from(if jump { step.jt } else { step.jf });
        }
    }

    #[test]
    fn only_listed_numbers_exist() {
        let program = &filters().unwrap()[0];
        let listed: Vec<u32> = ALLOWED
            .iter()
            .chain(ALLOWED_HERE)
            .chain(REFUSED)
            .chain(REFUSED_HERE)
            .map(|(_, number)| *number as u32)
            .collect();
        const X32: u32 = 0x4000_0000;
        for number in (0..2_000).chain(X32..X32 + 2_000).chain([u32::MAX]) {
            let allowed = answer(program, number) == libc::SECCOMP_RET_ALLOW;
            assert_eq!(allowed, listed.contains(&number), "{number}");
        }
    }
}

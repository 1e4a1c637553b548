//! What a caller asks of a sandbox, and what it is told at the end.
//!
//! Owns:   the values that cross the border of this crate: [`Spec`], [`Ended`], the three errors.
//! Never:  does anything; these are plain data.

use std::path::PathBuf;

/// One sandbox to start.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Names the sandbox on this node: 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a dot or a
    /// dash. A launch waits until an earlier sandbox of the same id is gone.
    pub id: String,
    /// What the sandbox sees as its root.
    pub rootfs: RootFs,
    /// The command and its arguments. A command without a slash is looked up in the sandbox's own
    /// `PATH`, inside the sandbox.
    pub argv: Vec<String>,
    /// The whole environment. `PATH`, `HOME` and `TMPDIR` are added where they are missing; nothing
    /// of the caller's own environment is ever passed on.
    pub env: Vec<(String, String)>,
    /// Absolute path in the sandbox; empty means `/tmp`.
    pub cwd: String,
    /// Everything the command can read from its standard input; then end of file.
    pub stdin: Vec<u8>,
    /// What it may use.
    pub limits: Limits,
}

/// The root of a sandbox. Both are shown read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootFs {
    /// The machine's own programs and libraries, and none of its data: see [`crate::host`].
    Host,
    /// The same, and the running program itself as [`crate::SELF`]: for probes and tests.
    HostAndSelf,
    /// A directory, as [`crate::Images::resolve`] returns it.
    Dir(PathBuf),
}

/// What a sandbox may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of one processor. At least 10 is enforced: the scheduler's quota has no smaller
    /// step.
    pub cpu_milli: u32,
    /// MiB of memory, page cache and `/tmp` included. At least [`Limits::MIN_MEM_MB`].
    pub mem_mb: u32,
    /// Processes and threads of the command, at least 1.
    pub pids: u32,
    /// MiB that fit into `/tmp` and `/dev/shm` together.
    pub tmp_mb: u32,
}

impl Limits {
    /// Less than this and the kernel's own bookkeeping for a process no longer fits beside it.
    pub const MIN_MEM_MB: u32 = 8;
}

impl Default for Limits {
    /// One processor, 128 MiB, 256 processes, 64 MiB of `/tmp`.
    fn default() -> Self {
        Limits { cpu_milli: 1_000, mem_mb: 128, pids: 256, tmp_mb: 64 }
    }
}

/// How a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The command's own exit code; absent when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// The kernel killed something in this sandbox because its memory was used up, and the command
    /// did not end well.
    pub out_of_memory: bool,
    /// What it used.
    pub usage: Usage,
}

/// What a sandbox used, all its processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory in MiB, rounded up, as the memory controller counted it (page cache and `/tmp`
    /// included); without a controller the largest resident set of one process.
    pub max_rss_mb: u64,
    /// From the start of the command to its end, in milliseconds.
    pub wall_ms: u64,
}

/// Why a sandbox did not start. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The sandbox was there, but the command could not be executed in it. This is the fault of the
    /// submission, not of the node.
    #[error("{message}")]
    Command {
        /// 127 when there is no such command, 126 when it can't be executed: what a shell says.
        exit_code: i32,
        /// One sentence that names the command.
        message: String,
    },
    /// The [`Spec`] asks for something no node can do.
    #[error("bad sandbox specification: {0}")]
    Spec(String),
    /// This node could not build the sandbox. Another node may.
    #[error("this node could not start a sandbox: {0}")]
    Node(String),
}

/// The process that kept the sandbox went away without saying how the command ended (someone killed
/// it). The sandbox has been killed with it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the sandbox was lost: {0}")]
pub struct Lost(pub String);

/// What a node enforces on every sandbox, proven by running one.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Isolation {
    /// Name of the runtime that was probed.
    pub runtime: String,
    /// Stable feature names, a subset of [`Isolation::FEATURES`], in that order.
    pub enforced: Vec<String>,
    /// The other features, each with the reason.
    pub missing: Vec<(String, String)>,
}

impl Isolation {
    /// Every feature a probe looks for.
    pub const FEATURES: [&'static str; 16] = [
        "user-ns",
        "pid-ns",
        "mount-ns",
        "ipc-ns",
        "uts-ns",
        "net-none",
        "ro-root",
        "private-tmp",
        "masked-proc",
        "no-new-privs",
        "cap-none",
        "seccomp",
        "rlimits",
        "cgroup-cpu",
        "cgroup-memory",
        "cgroup-pids",
    ];

    /// Whether everything is enforced.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.missing.is_empty() && self.enforced.len() == Self::FEATURES.len()
    }
}

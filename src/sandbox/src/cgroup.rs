//! Control groups: limits on processor, memory and processes, under v1, v2 and both at once.
//!
//! Owns:   where groups of this agent can be made ([`Hierarchy`]), and the groups of one sandbox
//!         ([`Group`]).
//! Never:  leaves a limit half set: what could not be set is named as missing.
//! Proof:  `tests/hostile.rs` (fork bomb, memory bomb, nothing left behind).
//!
//! Rules of the kernel's `admin-guide/cgroup-v1` and `cgroup-v2`: v1 has one tree a controller, v2
//! one tree for all, in which a group may either hold processes or hand controllers to its children
//! (the root of all excepted).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// One tree in which groups can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hierarchy {
    /// The directory below which this agent makes its groups.
    pub base: PathBuf,
    /// The part of it below the mount point: what an OCI runtime calls `cgroupsPath`.
    pub path: PathBuf,
    pub v2: bool,
    /// Which of `cpu`, `cpuacct`, `memory`, `pids` it controls.
    pub controllers: Vec<String>,
}

const WANTED: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];
/// Where the agent's own processes go in v2, when they are in the way of its groups.
const ASIDE: &str = "tartarus-agent";
const MIB: u64 = 1 << 20;
/// The scheduler's own default, and the granularity users of CPU limits know.
const CPU_PERIOD_US: u64 = 100_000;
/// The kernel takes no quota below 1 ms, which is 10 thousandths of a processor.
const CPU_QUOTA_MIN_US: u64 = 1_000;

/// Finds the trees, makes the agent's own group `tag` in each, and hands controllers to its
/// children. A tree in which that is not possible is left out; the features it would have given are
/// then reported missing by every sandbox.
pub(crate) fn prepare(tag: &str) -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let root = rustix::process::geteuid().is_root();
    let mut found = find(&mounts, &own, root);
    for hierarchy in &mut found {
        hierarchy.base.push(tag);
        hierarchy.path.push(tag);
    }
    found.retain(|hierarchy| match make(hierarchy) {
        Ok(()) => true,
        Err(error) => {
            log::debug!("no control groups in {}: {error}", hierarchy.base.display());
            false
        }
    });
    for hierarchy in found.iter_mut().filter(|h| h.v2) {
        let enabled = fs::read_to_string(hierarchy.base.join("cgroup.subtree_control"));
        hierarchy.controllers = words(&enabled.unwrap_or_default());
        if !hierarchy.controllers.is_empty() {
            // v2 counts processor time in every group.
            hierarchy.controllers.push("cpuacct".into());
        }
    }
    found.retain(|hierarchy| !hierarchy.controllers.is_empty());
    found
}

/// Reads the trees off the process's own tables. A privileged agent makes its groups at the top of
/// what it sees, so that they are found again whichever session starts the next agent; an ordinary
/// user can only make them below the group it was given.
fn find(mounts: &str, own: &str, root: bool) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(mount_root), Some(mount_point)) = (left.get(3), left.get(4)) else { continue };
        let (Some(kind), Some(options)) = (right.first(), right.get(2)) else { continue };
        let (v2, controllers) = match *kind {
            "cgroup2" => (true, vec!["".to_owned()]),
            "cgroup" => {
                let has = |c: &&str| options.split(',').any(|option| option == *c);
                (false, WANTED.iter().filter(|c| has(c)).map(|c| (*c).to_owned()).collect())
            }
            _ => continue,
        };
        if controllers.is_empty() || found.iter().any(|f| f.controllers == controllers) {
            continue;
        }
        let below =
            if root { PathBuf::new() } else { own_path(own, v2, &controllers[0], mount_root) };
        found.push(Hierarchy {
            base: Path::new(mount_point).join(&below),
            path: Path::new("/").join(&below),
            v2,
            controllers,
        });
    }
    found
}

/// The group of this process, below what is mounted.
fn own_path(own: &str, v2: bool, controller: &str, mount_root: &str) -> PathBuf {
    own.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (id, names, path) = (parts.next()?, parts.next()?, parts.next()?);
            let matches =
                if v2 { id == "0" } else { names.split(',').any(|name| name == controller) };
            matches.then_some(path)
        })
        .next()
        .and_then(|path| Path::new(path).strip_prefix(mount_root).ok())
        // Where an earlier agent stepped aside is not where groups are made.
        .map(|path| if path.ends_with(ASIDE) { path.parent().unwrap_or(path) } else { path })
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

fn make(hierarchy: &Hierarchy) -> io::Result<()> {
    let parent = hierarchy.base.parent().unwrap_or(Path::new("/"));
    if hierarchy.v2 {
        hand_down(parent)?;
    }
    mkdir(&hierarchy.base)?;
    if hierarchy.v2 {
        hand_down(&hierarchy.base)?;
    }
    Ok(())
}

/// Gives the controllers of a v2 group to its children.
fn hand_down(group: &Path) -> io::Result<()> {
    let available = words(&fs::read_to_string(group.join("cgroup.controllers"))?);
    let control = group.join("cgroup.subtree_control");
    let enabled = words(&fs::read_to_string(&control)?);
    for controller in WANTED.iter().filter(|c| available.iter().any(|a| a == *c)) {
        if enabled.iter().any(|e| e == controller) {
            continue;
        }
        let line = format!("+{controller}");
        match fs::write(&control, &line) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                // Processes sit in this group (in a container: all of them). They move one down,
                // this one with them; only where we own the group, which is where this succeeds.
                let aside = group.join(ASIDE);
                mkdir(&aside)?;
                for pid in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
                    let _ = fs::write(aside.join("cgroup.procs"), pid);
                }
                fs::write(&control, &line)?;
            }
            other => other?,
        }
    }
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().filter(|w| WANTED.contains(w)).map(str::to_owned).collect()
}

fn mkdir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// What a sandbox may use, in the words of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub cpu_milli: u32,
    pub mem_mb: u32,
    /// The command's processes and threads, and the one that keeps them.
    pub pids: u32,
}

/// A file and the word to write into it.
pub(crate) type Door = (File, String);

/// The groups of one sandbox, one a tree.
#[derive(Debug)]
pub(crate) struct Group {
    dirs: Vec<(PathBuf, Hierarchy)>,
}

/// What the groups counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub cpu_ms: Option<u64>,
    pub peak_mb: Option<u64>,
    pub oom_kills: u64,
}

impl Group {
    /// The groups of that name, existing or not.
    pub fn named(hierarchies: &[Hierarchy], name: &str) -> Group {
        Group { dirs: hierarchies.iter().map(|h| (h.base.join(name), h.clone())).collect() }
    }

    /// Makes them and sets the limits (but for v2's quota, see [`Group::doors`]); returns the features that could not be set, and why.
    pub fn create(
        hierarchies: &[Hierarchy],
        name: &str,
        bounds: Bounds,
    ) -> (Group, Vec<(String, String)>) {
        let mut group = Group::named(hierarchies, name);
        let mut missing = Vec::new();
        group.dirs.retain(|(dir, _)| match mkdir(dir) {
            Ok(()) => true,
            Err(error) => {
                log::debug!("control group {}: {error}", dir.display());
                false
            }
        });
        for controller in ["cpu", "memory", "pids"] {
            let set = match group.of(controller) {
                Some((_, true)) if controller == "cpu" => Ok(()),
                Some((dir, v2)) => set(controller, dir, v2, bounds),
                None => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "no writable control group with this controller",
                )),
            };
            if let Err(error) = set {
                missing.push((format!("cgroup-{controller}"), error.to_string()));
            }
        }
        (group, missing)
    }

    /// The features no tree can give, when someone else makes the groups.
    pub fn unlimited(hierarchies: &[Hierarchy]) -> Vec<(String, String)> {
        let group = Group::named(hierarchies, "");
        let lacks = |controller: &&str| group.of(controller).is_none();
        let why = "no writable control group with this controller".to_owned();
        let missing = ["cpu", "memory", "pids"].into_iter().filter(lacks);
        missing.map(|controller| (format!("cgroup-{controller}"), why.clone())).collect()
    }

    fn of(&self, controller: &str) -> Option<(&Path, bool)> {
        let has = |h: &Hierarchy| h.controllers.iter().any(|c| c == controller);
        self.dirs.iter().find(|(_, h)| has(h)).map(|(dir, h)| (dir.as_path(), h.v2))
    }

    /// What a process of one thread writes, and where, to enter; the files work from any namespace.
    /// v1's list of threads is entered at once; a list of processes only after every processor has
    /// been waited for, which takes milliseconds (kernel: `cgroup_procs_write_start`). In v2, where
    /// it may have been born in the group, the quota waits until here.
    pub fn doors(&self, bounds: Bounds, born_in: bool) -> io::Result<Vec<Door>> {
        let mut doors = Vec::new();
        let mut door = |path: PathBuf, word: String| {
            doors.push((File::options().write(true).open(path)?, word));
            io::Result::Ok(())
        };
        for (dir, hierarchy) in &self.dirs {
            match (hierarchy.v2, born_in) {
                (false, _) => door(dir.join("tasks"), "0".to_owned())?,
                (true, false) => door(dir.join("cgroup.procs"), "0".to_owned())?,
                (true, true) => {}
            }
            if hierarchy.v2 && hierarchy.controllers.iter().any(|c| c == "cpu") {
                for (file, value) in limit("cpu", true, bounds) {
                    door(dir.join(file), value)?;
                }
            }
        }
        Ok(doors)
    }

    /// The v2 group itself, into which a process can be born: entering it later waits for every
    /// processor.
    pub fn hall(&self) -> Option<File> {
        let (dir, _) = self.dirs.iter().find(|(_, hierarchy)| hierarchy.v2)?;
        File::open(dir).ok()
    }

    /// Which of the limits are set on the groups that hold process `pid`, read back from the kernel.
    pub fn holds(&self, pid: i32, bounds: Bounds) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        for controller in ["cpu", "memory", "pids"] {
            let Some((dir, v2)) = self.of(controller) else { continue };
            let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            // One that has ended is in no group any more, whichever it was in.
            if !inside.lines().any(|line| line == pid.to_string()) && lives(pid) {
                wrong.push((format!("cgroup-{controller}"), "the sandbox is not in it".into()));
                continue;
            }
            for (file, value) in limit(controller, v2, bounds) {
                let is = fs::read_to_string(dir.join(file)).unwrap_or_default();
                if is.trim() != value {
                    let why = format!("{file} is {:?} instead of {value}", is.trim());
                    wrong.push((format!("cgroup-{controller}"), why));
                }
            }
        }
        wrong
    }

    /// What was used so far.
    pub fn counted(&self) -> Counted {
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let field = |path: PathBuf, key: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '))?;
            line.trim().parse::<u64>().ok()
        };
        let mut counted = Counted::default();
        if let Some((dir, v2)) = self.of("cpuacct") {
            counted.cpu_ms = if v2 {
                field(dir.join("cpu.stat"), "usage_usec").map(|us| us / 1_000)
            } else {
                number(dir.join("cpuacct.usage")).map(|ns| ns / 1_000_000)
            };
        }
        if let Some((dir, v2)) = self.of("memory") {
            let (peak, events) = if v2 {
                ("memory.peak", "memory.events")
            } else {
                ("memory.max_usage_in_bytes", "memory.oom_control")
            };
            counted.peak_mb = number(dir.join(peak)).map(|bytes| bytes.div_ceil(MIB));
            counted.oom_kills = field(dir.join(events), "oom_kill").unwrap_or(0);
        }
        counted
    }

    /// Kills everything in them.
    pub fn kill(&self) {
        for (dir, hierarchy) in &self.dirs {
            // v2 since Linux 5.14 does it at one stroke.
            if hierarchy.v2 && fs::write(dir.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
                let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) else {
                    continue;
                };
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Removes them, waiting up to `patience` for the last process to be gone from them: the kernel
    /// lets go of a process a moment after its parent has been told.
    pub fn remove(&self, patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        for (dir, _) in &self.dirs {
            loop {
                match fs::remove_dir(dir) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if Instant::now() >= until => return Err(error),
                    Err(_) => {
                        self.kill();
                        pause();
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a process exists that is not dead already.
fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it is in brackets and may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// A moment between two looks: the kernel tells nobody when a v1 group has become empty.
fn pause() {
    let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let _ = rustix::event::poll(&mut [], Some(&moment));
}

/// Files and values of one limit; the first must exist, the others where the kernel has them.
fn limit(controller: &str, v2: bool, bounds: Bounds) -> Vec<(&'static str, String)> {
    let quota = (u64::from(bounds.cpu_milli) * CPU_PERIOD_US / 1_000).max(CPU_QUOTA_MIN_US);
    let memory = (u64::from(bounds.mem_mb) * MIB).to_string();
    match (controller, v2) {
        ("cpu", true) => vec![("cpu.max", format!("{quota} {CPU_PERIOD_US}"))],
        ("cpu", false) => vec![
            ("cpu.cfs_quota_us", quota.to_string()),
            ("cpu.cfs_period_us", CPU_PERIOD_US.to_string()),
        ],
        ("memory", true) => vec![("memory.max", memory)],
        ("memory", false) => vec![("memory.limit_in_bytes", memory)],
        _ => vec![("pids.max", bounds.pids.to_string())],
    }
}

fn set(controller: &str, dir: &Path, v2: bool, bounds: Bounds) -> io::Result<()> {
    for (file, value) in limit(controller, v2, bounds) {
        fs::write(dir.join(file), value)
            .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
    }
    if controller == "memory" {
        // No escape into swap, where the kernel counts swap at all.
        let memory = (u64::from(bounds.mem_mb) * MIB).to_string();
        let (file, value) =
            if v2 { ("memory.swap.max", "0") } else { ("memory.memsw.limit_in_bytes", &*memory) };
        let _ = fs::write(dir.join(file), value);
        if v2 {
            // One of its processes killed, all killed: a sandbox never limps on half dead.
            let _ = fs::write(dir.join("memory.oom.group"), "1");
        }
    }
    Ok(())
}

/// Removes the agent's own groups, which are empty by now; also those an OCI runtime made in trees
/// that we don't limit by. One that is not empty stays, for the next agent to look into.
pub(crate) fn forget(hierarchies: &[Hierarchy]) {
    let Some(path) = hierarchies.first().map(|h| h.path.strip_prefix("/").unwrap_or(&h.path))
    else {
        return;
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        if let Some(mount_point) = line.split(' ').nth(4) {
            let _ = fs::remove_dir(Path::new(mount_point).join(path));
        }
    }
    for hierarchy in hierarchies {
        let _ = fs::remove_dir(&hierarchy.base);
    }
}

/// Names of the groups that exist directly under the agent's own.
pub(crate) fn existing(hierarchies: &[Hierarchy]) -> Vec<String> {
    let mut names: Vec<String> = hierarchies
        .iter()
        .filter_map(|h| fs::read_dir(&h.base).ok())
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.file_name().into_string().ok())?
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
33 24 0:29 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids";
    const V2: &str = "29 23 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn trees_that_control_nothing_we_limit_are_left_alone() {
        let found = find(V1, "", true);
        let controllers: Vec<_> = found.iter().map(|h| h.controllers.join(",")).collect();
        assert_eq!(controllers, ["cpu,cpuacct", "memory", "pids"]);
        assert_eq!(found[1].base, Path::new("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn an_ordinary_user_makes_groups_below_its_own() {
        let own = "0::/user.slice/user-1000.slice/session-3.scope";
        let found = find(V2, own, false);
        assert_eq!(
            found[0].base,
            Path::new("/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope")
        );
        assert_eq!(find(V2, own, true)[0].base, Path::new("/sys/fs/cgroup"));
        let again = "0::/user.slice/user-1000.slice/session-3.scope/tartarus-agent";
        assert_eq!(find(V2, again, false), find(V2, own, false));
    }

    #[test]
    fn a_tiny_share_of_a_processor_is_what_the_kernel_still_accepts() {
        let bounds = Bounds { cpu_milli: 1, mem_mb: 8, pids: 1 };
        assert_eq!(limit("cpu", true, bounds), [("cpu.max", "1000 100000".to_owned())]);
    }
}

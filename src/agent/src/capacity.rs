//! What this machine can give to attempts.
//!
//! Owns:   nothing; reads `/proc` and the control groups the agent is in.
//! Says:   processors and memory, whichever limit is the lowest.
//! Never:  counts what a sandbox can't be given: GPUs are named in the configuration.
//! Proof:  the tests below, on files as kernels write them.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use domain::submission::Demand;

/// What the machine has, and the agent's own control groups allow.
pub(crate) fn of_this_machine() -> Demand {
    let root = Path::new("/");
    // Respects affinity and the processor quotas of both versions of control groups.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let cpu_milli = u32::try_from(cores * 1_000).unwrap_or(u32::MAX);
    let mem_mb = u32::try_from(mem_bytes(root) / (1 << 20)).unwrap_or(u32::MAX);
    Demand { cpu_milli, mem_mb, gpu: 0 }
}

/// The machine's memory, or the lowest limit above this process.
fn mem_bytes(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo"))
        .ok()
        .and_then(|text| mem_total(&text))
        .unwrap_or(0);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    limits(root, &groups).into_iter().fold(machine, u64::min)
}

/// `MemTotal` in bytes (proc(5)).
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Every memory limit from the process's groups up to the root, in bytes (cgroups(7)).
fn limits(root: &Path, groups: &str) -> Vec<u64> {
    let mounts = root.join("sys/fs/cgroup");
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (tops, file) = if controllers.is_empty() {
            (vec![mounts.clone(), mounts.join("unified")], "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (vec![mounts.join(controllers)], "memory.limit_in_bytes")
        } else {
            continue;
        };
        for top in tops {
            found.extend(up_from(&top, path).filter_map(|group| limit(&group.join(file))));
        }
    }
    found
}

/// The group and all above it. In a container the path may be the host's and not be there at all;
/// the mount's own root then is the container's group.
fn up_from(top: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let start = Path::new(path.trim_start_matches('/'));
    let groups: Vec<PathBuf> = start.ancestors().map(|group| top.join(group)).collect();
    groups.into_iter()
}

fn limit(file: &Path) -> Option<u64> {
    // "max", or a number; version 1 writes a number beyond any memory for none.
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16384000 kB\nMemFree:         1 kB\n";

    fn check(files: &[(&str, &str)], then_mb: u64) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(mem_bytes(root.path()) >> 20, then_mb, "{files:?}");
    }

    #[test]
    fn memory_is_the_lowest_limit_above_the_process() {
        let meminfo = ("proc/meminfo", MEMINFO);
        check(&[meminfo], 16_000);
        check(&[meminfo, ("proc/self/cgroup", "0::/a/b\n")], 16_000);
        check(
            &[
                meminfo,
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/memory.max", "1073741824\n"),
            ],
            1_024,
        );
        check(
            &[
                meminfo,
                ("proc/self/cgroup", "4:memory:/x\n1:cpu:/\n0::/\n"),
                ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
            ],
            512,
        );
    }

    #[test]
    fn this_machine_has_something() {
        let capacity = of_this_machine();
        assert!(capacity.cpu_milli >= 1_000 && capacity.mem_mb > 0, "{capacity:?}");
    }
}

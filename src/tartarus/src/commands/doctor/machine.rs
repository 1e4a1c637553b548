//! This machine as a node: control groups, namespaces, runtimes, and a real sandbox.

use std::fs;
use std::path::Path;

use super::Check;

/// OCI runtimes that an agent can be told to use.
const RUNTIMES: [&str; 6] = ["runc", "crun", "youki", "runsc", "kata-runtime", "krun"];

/// Looks at the machine, and tries a sandbox.
pub async fn look() -> Vec<Check> {
    let mut checks = vec![cgroups(), user_namespaces(), seccomp(), runtimes()];
    checks.extend(probe().await);
    checks
}

/// Which control groups there are, and whether this process may make some.
fn cgroups() -> Check {
    const CHECK: &str = "control groups";
    let root = Path::new("/sys/fs/cgroup");
    let unified = root.join("cgroup.controllers");
    let v1: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|controller| root.join(controller).is_dir())
        .collect();
    let v2 = fs::read_to_string(&unified).unwrap_or_default();
    let mode = match (unified.exists(), v1.is_empty()) {
        (true, _) => "v2",
        (false, false) if root.join("unified").is_dir() => "hybrid",
        (false, false) => "v1",
        (false, true) => {
            return Check::fail(
                CHECK,
                "none at /sys/fs/cgroup",
                "mount them (mount -t cgroup2 none /sys/fs/cgroup), or give the container \
                 /sys/fs/cgroup",
            );
        }
    };
    let have = |name: &str| v1.contains(&name) || v2.split_whitespace().any(|c| c == name);
    let missing: Vec<&str> =
        ["cpu", "memory", "pids"].into_iter().filter(|name| !have(name)).collect();
    if missing.is_empty() {
        return Check::ok(CHECK, format!("{mode}, with cpu, memory and pids"));
    }
    Check::warn(
        CHECK,
        format!("{mode}, without {}", missing.join(", ")),
        "enable the controllers in the kernel's command line, or accept that sandboxes are not \
         limited in them",
    )
}

/// Whether a process may make user namespaces.
fn user_namespaces() -> Check {
    const CHECK: &str = "user namespaces";
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    match number("/proc/sys/user/max_user_namespaces") {
        None => Check::fail(CHECK, "not in this kernel", "use a kernel with CONFIG_USER_NS"),
        Some(0) => Check::fail(
            CHECK,
            "switched off",
            "sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d",
        ),
        Some(most) => match number("/proc/sys/kernel/unprivileged_userns_clone") {
            Some(0) => Check::warn(
                CHECK,
                "for root alone",
                "run the agent as root, or sysctl -w kernel.unprivileged_userns_clone=1",
            ),
            Some(_) | None => Check::ok(CHECK, format!("up to {most}")),
        },
    }
}

/// Whether the kernel filters system calls.
fn seccomp() -> Check {
    const CHECK: &str = "seccomp";
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        return Check::ok(CHECK, "in this kernel");
    }
    Check::fail(CHECK, "not in this kernel", "use a kernel with CONFIG_SECCOMP_FILTER")
}

/// The runtime that is configured, and the others there are.
fn runtimes() -> Check {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into))
        .collect();
    let found: Vec<&str> = RUNTIMES
        .into_iter()
        .filter(|name| dirs.iter().any(|dir| dir.join(name).is_file()))
        .collect();
    let list = if found.is_empty() { String::new() } else { format!(", {}", found.join(", ")) };
    Check::ok("runtimes", format!("embedded{list}"))
}

/// Runs a sandbox, and says what it does not enforce.
async fn probe() -> Vec<Check> {
    const CHECK: &str = "isolation";
    let chosen = std::env::var("TARTARUS_RUNTIME").ok().filter(|name| !name.trim().is_empty());
    let name = chosen.as_deref().map_or("embedded", str::trim);
    let failed = |what: String, remedy: &str| vec![Check::fail(CHECK, what, remedy)];
    let dir = match tempfile::Builder::new().prefix("tartarus-doctor-").tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            let what = format!("no directory for a sandbox: {error}");
            return failed(what, "make the directory for temporary files (TMPDIR) writable");
        }
    };
    let home = match sandbox::Home::open(dir.path(), "doctor") {
        Ok(home) => home,
        Err(error) => return failed(error.to_string(), "make TMPDIR writable"),
    };
    let runtime = match sandbox::runtime(name, home.clone()) {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(error.to_string(), "install it, or set TARTARUS_RUNTIME=embedded");
        }
    };
    let isolation = sandbox::probe(&*runtime).await;
    drop(runtime);
    let _ = sandbox::remove_leftovers(&home);
    let mut checks =
        vec![Check::ok(CHECK, format!("{name} enforces {}", isolation.enforced.join(", ")))];
    if isolation.enforced.is_empty() {
        checks.clear();
    }
    for (feature, why) in isolation.missing {
        checks.push(Check::fail(
            CHECK,
            format!("{name} does not enforce {feature}: {why}"),
            "run the agent as root with what docker-compose.yml gives it; in production it \
             refuses to start otherwise, unless TARTARUS_ISOLATION_MAY_MISS names the feature",
        ));
    }
    checks
}

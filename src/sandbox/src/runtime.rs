//! The runtimes a node can choose from, behind one trait.
//!
//! Owns:   [`Runtime`], and what a [`Spec`] must look like.
//! Says:   an order to a keeper, see [`crate::wire`].
//! Never:  isolates anything itself.

use std::{path::PathBuf, sync::Arc};

use crate::{
    Home, LaunchError, Limits, RootFs, Sandbox, Spec, init, oci, running,
    wire::{Engine, Order, Root},
};

/// One way to run sandboxes on this node.
#[async_trait::async_trait]
pub trait Runtime: Send + Sync {
    /// `embedded`, or the name or path the runtime was chosen by.
    fn name(&self) -> &str;

    /// Starts a sandbox. Returns when the command itself has been executed in it. Dropping the
    /// future kills what was started.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing is left behind then.
    async fn launch(&self, spec: Spec) -> Result<Sandbox, LaunchError>;
}

/// A runtime that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No executable of that name.
    #[error(
        "no OCI runtime {0:?} in PATH or the usual directories: install it, or set \
         TARTARUS_RUNTIME=embedded"
    )]
    NotFound(String),
}

/// The runtime of that name: `embedded`, or an OCI runtime by name or path.
///
/// # Errors
/// [`RuntimeError::NotFound`].
pub fn runtime(name: &str, home: Arc<Home>) -> Result<Box<dyn Runtime>, RuntimeError> {
    if name == "embedded" {
        return Ok(Box::new(Launcher { name: name.to_owned(), home, program: None }));
    }
    let program = find(name).ok_or_else(|| RuntimeError::NotFound(name.to_owned()))?;
    let kind = program.file_name().unwrap_or_default();
    let dir = home.oci().join(kind);
    // For whoever has to clean up after us.
    let noted = std::fs::create_dir_all(dir.join("state"))
        .and_then(|()| std::fs::write(dir.join("program"), program.as_os_str().as_encoded_bytes()));
    if let Err(error) = noted {
        log::warn!("{}: {error}", dir.display());
    }
    Ok(Box::new(Launcher { name: name.to_owned(), home, program: Some((program, dir)) }))
}

/// An ordinary user's PATH often lacks the directories where Debian puts runtimes.
fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        let path = std::fs::canonicalize(name).ok()?;
        return path.is_file().then_some(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(std::env::split_paths(oci::SEARCH))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

struct Launcher {
    name: String,
    home: Arc<Home>,
    program: Option<(PathBuf, PathBuf)>,
}

#[async_trait::async_trait]
impl Runtime for Launcher {
    fn name(&self) -> &str {
        &self.name
    }

    async fn launch(&self, spec: Spec) -> Result<Sandbox, LaunchError> {
        let (order, stdin) = self.order(spec)?;
        running::launch(Arc::clone(&self.home), order, stdin).await
    }
}

impl Launcher {
    fn order(&self, spec: Spec) -> Result<(Order, Vec<u8>), LaunchError> {
        let Spec { id, rootfs, argv, mut env, cwd, stdin, limits } = spec;
        check(&id, &argv, &env, &cwd, limits).map_err(LaunchError::Spec)?;
        for (name, value) in [("PATH", init::DEFAULT_PATH), ("HOME", "/tmp"), ("TMPDIR", "/tmp")] {
            if !env.iter().any(|(is, _)| is == name) {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        let engine = match &self.program {
            None => Engine::Embedded,
            Some((program, dir)) => Engine::Oci {
                program: program.clone(),
                state: dir.join("state"),
                bundle: dir.join("bundles").join(&id),
            },
        };
        let root = match rootfs {
            RootFs::Host => Root::Host { with_self: false },
            RootFs::HostAndSelf => Root::Host { with_self: true },
            RootFs::Dir(dir) => Root::Dir(dir),
        };
        let order = Order {
            host_id: host_id(&format!("{}/{id}", self.home.tag())),
            name: id,
            root,
            argv,
            env,
            cwd: if cwd.is_empty() { "/tmp".to_owned() } else { cwd },
            cpu_milli: limits.cpu_milli,
            mem_mb: limits.mem_mb,
            pids: limits.pids,
            tmp_mb: limits.tmp_mb,
            stage: self.home.stage(),
            hierarchies: self.home.hierarchies().to_vec(),
            engine,
        };
        Ok((order, stdin))
    }
}

fn check(
    id: &str,
    argv: &[String],
    env: &[(String, String)],
    cwd: &str,
    limits: Limits,
) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.is_empty() || id.len() > 64 || !id.chars().all(plain) || id.starts_with(['.', '-']) {
        return Err(format!("id {id:?}: 1 to 64 letters, digits, '.', '_', '-'"));
    }
    if argv.first().is_none_or(String::is_empty) {
        return Err("an empty command".to_owned());
    }
    let zero = |text: &String| text.contains('\0');
    if argv.iter().any(zero) || cwd.contains('\0') {
        return Err("a zero byte in the command or its directory".to_owned());
    }
    if !(cwd.is_empty() || cwd.starts_with('/')) {
        return Err(format!("working directory {cwd:?} is not absolute"));
    }
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("environment variable {name:?}: no '=' or zero byte in a name"));
        }
    }
    if limits.cpu_milli == 0 || limits.pids == 0 || limits.mem_mb < Limits::MIN_MEM_MB {
        return Err(format!(
            "limits too small: at least 1 mCPU, {} MiB of memory and 1 process",
            Limits::MIN_MEM_MB
        ));
    }
    Ok(())
}

/// A user id of the machine that nobody has, one for each sandbox as far as there are enough; only
/// root may choose. The range is left free by the conventions systemd documents ("Users, Groups,
/// UIDs and GIDs on systemd Systems") and lies above every delegated range of `/etc/subuid`.
fn host_id(name: &str) -> Option<u32> {
    const FIRST: u32 = 0x7000_0000;
    const COUNT: u32 = 0x0ffd_0000;
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let digest = blake3::hash(name.as_bytes());
    let [a, b, c, d, ..] = *digest.as_bytes();
    let id = FIRST + u32::from_le_bytes([a, b, c, d]) % COUNT;
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    Some(within(id, &map))
}

/// In a container that has only some of the machine's users, the last of those instead.
fn within(id: u32, map: &str) -> u32 {
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u64>().ok());
        let (first, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some((first, first + count))
    });
    let mut last = None;
    for (first, end) in ranges {
        if (first..end).contains(&u64::from(id)) {
            return id;
        }
        last = last.max(Some(end - 1));
    }
    last.and_then(|last| u32::try_from(last).ok()).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_that_no_node_can_run_is_refused_by_its_reason() {
        let argv = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let ok = Limits::default();
        let small = Limits { mem_mb: 1, ..ok };
        let cases = [
            ("", argv(&["x"]), "", ok, "id"),
            ("../x", argv(&["x"]), "", ok, "id"),
            ("-x", argv(&["x"]), "", ok, "id"),
            ("x", argv(&[]), "", ok, "empty command"),
            ("x", argv(&[""]), "", ok, "empty command"),
            ("x", argv(&["a\0b"]), "", ok, "zero byte"),
            ("x", argv(&["x"]), "tmp", ok, "not absolute"),
            ("x", argv(&["x"]), "", small, "too small"),
        ];
        for (id, argv, cwd, limits, why) in cases {
            let refused = check(id, &argv, &[], cwd, limits).unwrap_err();
            assert!(refused.contains(why), "{refused} does not say {why:?}");
        }
        check("x", &argv(&["x"]), &[], "/tmp", ok).unwrap();
        let bad = [("A=B".to_owned(), String::new())];
        assert!(check("x", &argv(&["x"]), &bad, "", ok).is_err());
    }

    #[test]
    fn a_sandbox_user_is_one_the_node_has() {
        assert_eq!(within(0x7000_0001, "0 0 4294967295\n"), 0x7000_0001);
        assert_eq!(within(0x7000_0001, "0 100000 65536\n"), 65_535);
    }
}

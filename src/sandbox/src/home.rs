//! The place on a node where sandboxes are kept.
//!
//! Owns:   `<data directory>/sandbox`: the lock that makes this agent the only one on it, the stage
//!         on which roots are assembled, the state of OCI runtimes; and the names that tell this
//!         agent's sandboxes from all others on the machine.
//! Never:  touches a container or a control group that does not carry its own name.
//! Fails:  a second agent on the same directory is refused.
//! Proof:  the tests below, `tests/hostile.rs`.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    cgroup::{self, Hierarchy},
    host,
};

/// Why the place can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another agent runs on the same data directory.
    #[error(
        "another agent is using {0}: stop it, or give this one a data directory of its own \
         (TARTARUS_DATA_DIR)"
    )]
    Taken(PathBuf),
    /// Sandboxes could read it.
    #[error(
        "{0} lies where every sandbox of the template host can look: put the data directory \
         (TARTARUS_DATA_DIR) outside of /usr and its companions"
    )]
    Shown(PathBuf),
    /// The directory can't be made or used.
    #[error("cannot use {path} for sandboxes")]
    Io {
        /// The path in question.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The place of one agent. As long as it lives, no other agent can have the same data directory.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    tag: String,
    hierarchies: Vec<Hierarchy>,
    keepers: watch::Sender<BTreeSet<String>>,
    // Held, not read: the lock goes with the file.
    _lock: File,
}

impl Home {
    /// Takes possession of `<data_dir>/sandbox`, making it where it does not exist.
    ///
    /// # Errors
    /// [`HomeError::Taken`] when another process holds it, [`HomeError::Shown`] when it lies among the
    /// machine's programs.
    pub fn open(data_dir: &Path, node_id: &str) -> Result<Arc<Home>, HomeError> {
        let dir = data_dir.join("sandbox");
        if host::shows(&real(data_dir)) {
            return Err(HomeError::Shown(data_dir.to_owned()));
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| HomeError::Io { path, source }
        };
        let make = |path: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))
        };
        make(&dir)?;
        let dir = fs::canonicalize(&dir).map_err(failed(&dir))?;
        let lock = dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(failed(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HomeError::Taken(data_dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&lock)(error)),
        }
        let tag = tag(node_id, &dir);
        let home = Home {
            hierarchies: cgroup::prepare(&tag),
            keepers: watch::Sender::new(BTreeSet::new()),
            tag,
            _lock: file,
            dir,
        };
        make(&home.stage())?;
        make(&home.oci())?;
        Ok(Arc::new(home))
    }

    /// `tartarus-<node>-<digest of the directory>`: what every name of this agent's begins with.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Where roots are assembled. Always empty: what is mounted on it is seen by its keeper alone.
    pub(crate) fn stage(&self) -> PathBuf {
        self.dir.join("stage")
    }

    /// State and bundles of OCI runtimes.
    pub(crate) fn oci(&self) -> PathBuf {
        self.dir.join("oci")
    }

    /// The control group hierarchies in which this agent may limit.
    pub(crate) fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// Waits until every sandbox launched from here has ended and nothing of it is left. What an
    /// agent does before it stops; a sandbox ends for its waiters a moment earlier.
    pub async fn idle(&self) {
        let mut keepers = self.keepers.subscribe();
        // The sender is ours, so it can't be gone.
        let _ = keepers.wait_for(BTreeSet::is_empty).await;
    }

    /// Takes a name for one keeper, waiting until nothing is left of an earlier one of that name.
    pub(crate) async fn keeper(self: &Arc<Self>, name: &str) -> Keeper {
        let mut keepers = self.keepers.subscribe();
        while !self.keepers.send_if_modified(|names| names.insert(name.to_owned())) {
            let _ = keepers.wait_for(|names| !names.contains(name)).await;
        }
        Keeper { home: Arc::clone(self), name: name.to_owned() }
    }
}

/// The name of one keeper, taken for as long as this lives.
#[derive(Debug)]
pub(crate) struct Keeper {
    home: Arc<Home>,
    name: String,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.home.keepers.send_modify(|names| {
            names.remove(&self.name);
        });
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Before the lock goes: whoever takes it next makes them anew.
        cgroup::forget(&self.hierarchies);
    }
}

/// A path as it is on the disk, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = absolute.ancestors().find_map(|ancestor| {
        let rest = absolute.strip_prefix(ancestor).ok()?;
        Some(fs::canonicalize(ancestor).ok()?.join(rest))
    });
    known.unwrap_or(absolute)
}

/// A name for one agent on one directory. The node's id is cut to what any runtime accepts in a
/// name; the digest over both keeps two agents apart whose cut ids are the same.
fn tag(node_id: &str, dir: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(node_id.as_bytes());
    hasher.update(&[0]);
    hasher.update(dir.as_os_str().as_encoded_bytes());
    let digest = hasher.finalize().to_hex();
    let node: String = node_id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(24)
        .collect();
    format!("tartarus-{node}-{}", &digest[..10])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_on_the_same_directory_is_refused_until_the_first_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Home::open(dir.path(), "a").unwrap();
        assert!(matches!(Home::open(dir.path(), "b"), Err(HomeError::Taken(_))));
        drop(first);
        Home::open(dir.path(), "b").unwrap();
    }

    #[test]
    fn a_directory_that_sandboxes_can_see_is_refused_also_by_a_link_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/usr/share", &link).unwrap();
        for path in [Path::new("/usr/local/var/none"), &link.join("none"), Path::new("/lib/none")] {
            let opened = Home::open(path, "a");
            assert!(matches!(opened, Err(HomeError::Shown(_))), "{}", path.display());
            assert!(!path.exists());
        }
    }

    #[test]
    fn names_differ_by_node_and_by_directory_and_hold_nothing_a_runtime_refuses() {
        let names = [
            tag("node", Path::new("/a")),
            tag("node", Path::new("/b")),
            tag("NODE.1/../x", Path::new("/a")),
            tag("NODE.1/../y", Path::new("/a")),
        ];
        for (n, name) in names.iter().enumerate() {
            assert!(!names[..n].contains(name), "{name} twice");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
        }
    }
}

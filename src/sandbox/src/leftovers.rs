//! What an earlier agent, or a killed keeper, left on the machine.
//!
//! Owns:   finding it by name, killing it, removing it.
//! Never:  touches what does not lie below this agent's own names, see [`Home::tag`].
//! Proof:  `tests/hostile.rs`.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    Home,
    cgroup::{self, Group},
    oci,
    wire::{Engine, Order},
};

/// A group that still holds a process after this long holds one the kernel can't kill.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Names of sandboxes that were killed or removed.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub failed: Vec<(String, String)>,
}

/// Kills and removes every sandbox that an earlier agent left on this data directory. To be called
/// before the first launch: what runs under this agent's names then is nobody's.
#[must_use]
pub fn remove_leftovers(home: &Home) -> Leftovers {
    let mut found = Leftovers::default();
    for kind in fs::read_dir(home.oci()).into_iter().flatten().flatten() {
        let dir = kind.path();
        // Written beside the state, so that a runtime is asked to delete its own.
        let program = fs::read_to_string(dir.join("program")).map(PathBuf::from);
        let state = dir.join("state");
        for container in fs::read_dir(&state).into_iter().flatten().flatten() {
            let Ok(name) = container.file_name().into_string() else { continue };
            if let Ok(program) = &program {
                oci::delete(program, &state, &name);
            }
            if container.path().exists() {
                let why = "its runtime did not delete it".to_owned();
                found.failed.push((name, why));
            } else {
                found.removed.push(name);
            }
        }
        let _ = fs::remove_dir_all(dir.join("bundles"));
    }
    for name in cgroup::existing(home.hierarchies()) {
        let group = Group::named(home.hierarchies(), &name);
        group.kill();
        match group.remove(PATIENCE) {
            Ok(()) => found.removed.push(name),
            Err(error) => found.failed.push((name, error.to_string())),
        }
    }
    found.removed.sort();
    found.removed.dedup();
    found
}

/// The same for one sandbox whose keeper was killed.
pub(crate) async fn remove_one(home: &Arc<Home>, order: &Order) {
    let (home, order) = (Arc::clone(home), order.clone());
    let done = tokio::task::spawn_blocking(move || {
        let group = Group::named(home.hierarchies(), &order.name);
        group.kill();
        if let Engine::Oci { program, state, bundle } = &order.engine {
            oci::delete(program, state, &order.name);
            let _ = fs::remove_dir_all(bundle);
        }
        group.remove(PATIENCE)
    });
    match done.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!("a lost sandbox's control group remains: {error}"),
        Err(error) => log::warn!("cleaning up after a lost sandbox: {error}"),
    }
}

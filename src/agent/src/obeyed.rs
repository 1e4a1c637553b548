//! The highest epoch, on disk.
//!
//! Owns:   `<data directory>/agent/obeyed.json`.
//! Never:  goes back: [`crate::reconcile`] decides, this writes.
//! Fails:  a file that can't be read counts as none, with a warning: an Olympus that is deposed can't
//!         make anything durable anyhow; this only spares its agents the attempt.
//! Proof:  the tests below; `tests/node/rules.rs` restarts an agent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::reconcile::Obeyed;

fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join("agent").join("obeyed.json")
}

/// What was stored last.
pub(crate) fn load(data_dir: &Path) -> Obeyed {
    let path = path_in(data_dir);
    let read = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Obeyed::default(),
        Err(error) => Err(error),
    };
    read.unwrap_or_else(|error| {
        log::warn!(path:% = path.display(); "the highest epoch is not known any more: {error}");
        Obeyed::default()
    })
}

/// Stores it, so that it is there after a power cut, or what was stored before is.
pub(crate) fn store(data_dir: &Path, obeyed: Obeyed) -> io::Result<()> {
    let path = path_in(data_dir);
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(&obeyed)?)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_stored_is_loaded_and_anything_else_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("agent")).unwrap();
        assert_eq!(load(dir.path()), Obeyed::default());
        let obeyed = Obeyed { cluster: Some(Uuid::from_u128(1)), highest_epoch: 7 };
        store(dir.path(), obeyed).unwrap();
        assert_eq!(load(dir.path()), obeyed);
        fs::write(path_in(dir.path()), "{").unwrap();
        assert_eq!(load(dir.path()), Obeyed::default());
    }
}

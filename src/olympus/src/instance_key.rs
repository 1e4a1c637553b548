//! The key of this instance, in its data directory.
//!
//! Owns:   `instance.key`: two lines, the secret and the public half, for nobody but its owner.
//! Never:  shows the secret; replaces a file that is there, whatever is in it: a key that is lost is
//!         an operator's to replace, since its checkpoints stay in the record.
//! Fails:  a file that is damaged, or that others may read, ends the start and is named.
//! Proof:  the tests below; `tests/tests/live/sign.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use domain::ids::Hex;
use journal::signature::{InstanceKey, PublicKey};

/// Its name in the data directory.
const FILE: &str = "instance.key";
/// Longer than both lines: what is longer is another file.
const LEN_MAX: u64 = 1_024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read or written.
    #[error("{}: {error}; name a TARTARUS_DATA_DIR that can be written", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// It is not what this program writes.
    #[error(
        "{} is damaged: restore it from a backup, or remove it to have a new key made, and give \
         the new public key to whoever keeps the old one (`tartarus keys`)", .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the secret.
    #[error(
        "{} may be read by others (mode {mode:04o}): `chmod 600` it, or remove it to have a new key \
         made if somebody may have read it", .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// The key in `dir`, made where there is none; and whether it was made now.
///
/// # Errors
/// See [`KeyError`].
pub fn load_or_make(dir: &Path) -> Result<(InstanceKey, bool), KeyError> {
    let path = dir.join(FILE);
    let io = |error| KeyError::Io { path: path.clone(), error };
    match File::open(&path) {
        Ok(file) => load(&path, file).map(|key| (key, false)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| io(io::Error::other(error.to_string())))?;
            let key = InstanceKey::from_seed(&seed);
            store(&path, &seed, key.public()).map_err(io)?;
            Ok((key, true))
        }
        Err(error) => Err(io(error)),
    }
}

fn load(path: &Path, file: File) -> Result<InstanceKey, KeyError> {
    let io = |error| KeyError::Io { path: path.to_owned(), error };
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    let damaged = || KeyError::Damaged { path: path.to_owned() };
    match file.take(LEN_MAX).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged()),
        Err(error) => return Err(io(error)),
    }
    let mut lines = text.lines();
    let mut half = |name: &str| -> Option<Hex<32>> {
        lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()
    };
    let (secret, public) = half("secret").zip(half("public")).ok_or_else(damaged)?;
    let key = InstanceKey::from_seed(&secret.0);
    // A secret of which one digit is another is a key, too: but not this one.
    if key.public() == public { Ok(key) } else { Err(damaged()) }
}

/// Writes the file whole: a crash leaves none or all of it.
fn store(path: &Path, seed: &[u8; 32], public: PublicKey) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // What an interrupted start left has the permissions that it had.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(format!("secret {}\npublic {public}\n", Hex(*seed)).as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (made, new) = load_or_make(dir.path()).expect("a key");
        assert!(new);
        let (again, new) = load_or_make(dir.path()).expect("the key");
        assert_eq!((again.public(), new), (made.public(), false));
        let file = dir.path().join(FILE);
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().expect("a directory");
        let (other, _) = load_or_make(other.path()).expect("a key");
        assert_ne!(other.public(), made.public());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        load_or_make(dir.path()).expect("a key");
        let file = dir.path().join(FILE);
        for open in [0o644, 0o640, 0o604, 0o660] {
            mode(&file, open);
            let refused = load_or_make(dir.path()).expect_err("refused").to_string();
            assert!(refused.contains("chmod 600") && refused.contains("instance.key"), "{refused}");
        }
        mode(&file, 0o400);
        load_or_make(dir.path()).expect("its owner alone reads it");
    }

    #[test]
    fn any_damage_is_named_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        load_or_make(dir.path()).expect("a key");
        let file = dir.path().join(FILE);
        let good = fs::read(&file).expect("readable");
        let mut bent = good.clone();
        bent[10] ^= 1;
        for bad in [&good[..40], b"", b"\xff\xfe", &bent] {
            fs::write(&file, bad).expect("writable");
            let refused = load_or_make(dir.path()).expect_err("refused");
            assert!(matches!(refused, KeyError::Damaged { .. }), "{refused}");
            assert!(refused.to_string().contains("restore it from a backup"), "{refused}");
            assert_eq!(fs::read(&file).expect("readable"), bad);
        }
    }
}

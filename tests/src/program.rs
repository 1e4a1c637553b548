//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Path of the built `tartarus`: `TARTARUS_TEST_BIN` if set, else the one beside this test's own
/// directory (so `CARGO_TARGET_DIR` and the profile are honoured), built when it is older than its
/// sources.
///
/// # Panics
/// It can't be built.
pub fn tartarus_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("TARTARUS_TEST_BIN") {
        Some(path) => path.into(),
        None => built(),
    })
}

/// Root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // <target>/<profile>/deps/<test>
    let profile_dir = test.parent().and_then(Path::parent).expect("cargo's layout");
    let binary = profile_dir.join("tartarus");
    let stamp = profile_dir.join("tartarus.tested");
    let newest = newest_source();
    if modified(&binary).max(modified(&stamp)) > Some(newest) && binary.exists() {
        return binary;
    }
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target = profile_dir.parent().expect("cargo's layout");
    let output = Command::new(env!("CARGO"))
        // With the features that the workspace has as a whole, as its tests were built.
        .args(["build", "--quiet", "--workspace", "--bin", "tartarus", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the program under test does not build:\n{words}");
    std::fs::write(&stamp, "").expect("the target directory is writable");
    binary
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

fn newest_source() -> SystemTime {
    fn walk(dir: &Path, newest: &mut SystemTime) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let no_part = ["tests", "benches", "examples"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && no_part {
                continue;
            }
            if path.is_dir() {
                walk(&path, newest);
            } else if let Some(time) = modified(&path) {
                *newest = time.max(*newest);
            }
        }
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for dir in ["src", "actors"] {
        walk(&workspace().join(dir), &mut newest);
    }
    newest.max(modified(&workspace().join("Cargo.lock")).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// The program, with nothing of this process's environment but the path.
pub fn command() -> Command {
    let mut command = Command::new(tartarus_path());
    command.env_clear();
    for name in ["PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

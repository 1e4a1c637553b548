//! What the root of a sandbox shows.
//!
//! Owns:   the list of entries ([`Entry`]) for the built-in template `host` and for an image.
//! Never:  shows the machine's data: no home, no `/var`, `/srv`, `/opt`, `/run`, `/sys`, no file of
//!         `/etc` that is not named below.
//! Proof:  the tests below, `tests/hostile.rs`.
//!
//! The root is always a small file system of our own, into which files and directories of the machine
//! or of an image are bound, read-only. So nothing in an image decides where something is mounted.
//!
//! `host` shows `/usr` and its companions (`/bin`, `/sbin`, `/lib*`), and from `/etc` what programs
//! need to start: the linker's cache, alternatives, certificates (not their private keys), the time
//! zone. Users, groups and hosts are made up. What is not under `/usr` is not there: an interpreter
//! in a home directory (pyenv, nvm) or in `/opt` is not found, and the one in `/usr` is taken; a
//! prefix in a home can't be shown without showing what else its owner keeps in it.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, openat};

/// Where [`crate::RootFs::HostAndSelf`] shows the running program.
pub const SELF: &str = "/.self";

/// The user the command runs as, in the sandbox's own numbers, at every privilege of the agent.
pub const USER: u32 = 1_000;

/// One thing in a root. Paths are relative to it.
#[derive(Debug)]
pub(crate) enum Entry {
    Dir(PathBuf),
    Link { path: PathBuf, to: OsString },
    File { path: PathBuf, text: &'static str },
    Bind { path: PathBuf, source: OwnedFd, dir: bool },
}

/// Made by the sandbox itself, whatever a template has at that place.
const OWN: [&str; 5] = ["proc", "dev", "tmp", "sys", "run"];

/// The machine's programs.
const PROGRAMS: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec"];

/// What of `/etc` programs need to start, and nothing that says who uses the machine.
const SETTINGS: [&str; 32] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "mime.types",
    "os-release",
    "perl",
    "pki/ca-trust/extracted",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "protocols",
    "python3",
    "rpc",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
];

const PASSWD: &str = "root:x:0:0:root:/:/usr/sbin/nologin\n\
    sandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost sandbox\n::1 localhost sandbox\n";
const NSSWITCH: &str =
    "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n";

/// Whether the template `host` would show what lies at this absolute path.
pub(crate) fn shows(path: &Path) -> bool {
    PROGRAMS.iter().any(|name| path.starts_with(Path::new("/").join(name)))
}

/// The template `host`.
pub(crate) fn host(with_self: bool) -> io::Result<Vec<Entry>> {
    let root = open(Path::new("/"))?;
    let mut entries = Vec::new();
    for name in PROGRAMS {
        entries.extend(show(&root, Path::new(name))?);
    }
    // Versioned settings of interpreters, like python3.11 and java-17-openjdk.
    let mut settings: BTreeSet<PathBuf> = SETTINGS.iter().map(PathBuf::from).collect();
    for entry in fs::read_dir("/etc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("python3.") || text.starts_with("java-") {
            settings.insert(name.into());
        }
    }
    entries.push(Entry::Dir("etc".into()));
    let mut made = BTreeSet::new();
    for setting in settings {
        let path = Path::new("etc").join(&setting);
        if let Some(entry) = show(&root, &path)? {
            for parent in parents(&setting) {
                if made.insert(parent.clone()) {
                    entries.push(Entry::Dir(Path::new("etc").join(parent)));
                }
            }
            entries.push(entry);
        }
    }
    for (path, text) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
        ("etc/nsswitch.conf", NSSWITCH),
        ("etc/hostname", "sandbox\n"),
        ("etc/resolv.conf", ""),
    ] {
        entries.push(Entry::File { path: path.into(), text });
    }
    for path in ["home", "var"] {
        entries.push(Entry::Dir(path.into()));
    }
    entries.push(Entry::Link { path: "var/tmp".into(), to: "/tmp".into() });
    if with_self {
        // By its path: the link in /proc leads into the mount namespace it was started in.
        let source = open(&fs::read_link("/proc/self/exe")?)?;
        let path = SELF.trim_start_matches('/').into();
        entries.push(Entry::Bind { path, source, dir: false });
    }
    Ok(entries)
}

/// An image: what its directory holds at the top.
pub(crate) fn image(dir: &Path) -> io::Result<Vec<Entry>> {
    let root = open(dir)?;
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = PathBuf::from(entry?.file_name());
        if OWN.iter().all(|own| Path::new(own) != name) {
            entries.extend(show(&root, &name)?);
        }
    }
    Ok(entries)
}

/// One path as it is: a link as the same link, a file or a directory bound, anything else and what
/// does not exist not at all.
fn show(root: &OwnedFd, path: &Path) -> io::Result<Option<Entry>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = match openat(root, path, flags, Mode::empty()) {
        Ok(source) => source,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ACCESS) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&source)?;
    let path = path.to_path_buf();
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Some(Entry::Bind { path, source, dir: true }),
        FileType::RegularFile => Some(Entry::Bind { path, source, dir: false }),
        FileType::Symlink => {
            let to = rustix::fs::readlinkat(root, &path, Vec::new())?;
            Some(Entry::Link { path, to: std::ffi::OsStr::from_bytes(to.to_bytes()).into() })
        }
        _ => None,
    })
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn parents(path: &Path) -> Vec<PathBuf> {
    let mut parents: Vec<PathBuf> = path
        .ancestors()
        .skip(1)
        .filter(|p| p.components().any(|c| matches!(c, Component::Normal(_))))
        .map(Path::to_path_buf)
        .collect();
    parents.reverse();
    parents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(entries: &[Entry]) -> Vec<PathBuf> {
        let path = |entry: &Entry| match entry {
            Entry::Dir(path)
            | Entry::Link { path, .. }
            | Entry::File { path, .. }
            | Entry::Bind { path, .. } => path.clone(),
        };
        entries.iter().map(path).collect()
    }

    #[test]
    fn the_host_shows_programs_and_nothing_of_anybody() {
        const PRIVATE: [&str; 12] = [
            "root",
            "opt",
            "srv",
            "mnt",
            "media",
            "boot",
            "run",
            "sys",
            "etc/shadow",
            "etc/ssl/private",
            "etc/ssh",
            "etc/sudoers",
        ];
        let paths = paths(&host(false).unwrap());
        assert!(paths.contains(&"usr".into()));
        for private in PRIVATE {
            assert!(!paths.contains(&private.into()), "{private}");
        }
        assert!(!paths.contains(&"etc/ssl".into()) || paths.contains(&"etc/ssl/certs".into()));
    }

    #[test]
    fn a_parent_comes_before_its_child_and_nothing_comes_twice() {
        let paths = paths(&host(true).unwrap());
        for (n, path) in paths.iter().enumerate() {
            assert!(!paths[..n].contains(path), "{} twice", path.display());
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                assert!(paths[..n].iter().any(|p| p == parent), "{}", path.display());
            }
        }
    }

    #[test]
    fn an_image_does_not_decide_what_proc_dev_and_tmp_are() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("proc")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("tmp")).unwrap();
        fs::create_dir(dir.path().join("dev")).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        assert_eq!(paths(&image(dir.path()).unwrap()), [PathBuf::from("bin")]);
    }
}

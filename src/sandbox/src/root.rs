//! Builds the root of a sandbox, in a mount namespace of its own.
//!
//! Owns:   the order in which things are mounted.
//! Never:  follows a path of an image, or mounts anything outside its stage.
//! Proof:  `tests/hostile.rs`.
//!
//! Called by a process that is alone in its mount namespace and privileged over it.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
};

use crate::{host::Entry, sys};

/// Devices that are safe to share: they keep no state and reach no hardware.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    // One bounded space for everything a sandbox writes.
    ("shm", "/tmp"),
];

/// What of /proc tells about the machine rather than the sandbox. An OCI runtime masks the same.
pub(crate) const MASKED: [&str; 24] = [
    "acpi",
    "asound",
    "bus",
    "config.gz",
    "driver",
    "fs",
    "interrupts",
    "iomem",
    "ioports",
    "irq",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "scsi",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
];

/// Why a root could not be built: the step, and what the system said.
pub(crate) type Failure = (String, io::Error);

fn at<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Failure {
    let step = step.into();
    move |error| (step, error.into())
}

/// From here on nothing mounted in this namespace is seen outside of it.
pub(crate) fn seclude() -> rustix::io::Result<()> {
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", flags)
}

/// Puts `entries` on `stage`, everything read-only, with empty places for what comes on top.
pub(crate) fn assemble(stage: &Path, entries: Vec<Entry>) -> Result<(), Failure> {
    seclude().map_err(at("making mounts private"))?;
    // Nothing but directories, links and a few small files goes on it.
    tmpfs(stage, MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755,size=1m,nr_inodes=4096")?;
    for entry in entries {
        place(stage, entry)?;
    }
    for dir in ["proc", "dev", "tmp", "run"] {
        fs::create_dir(stage.join(dir)).map_err(at(dir))?;
    }
    // runc gives what it mounts the mode of the place.
    let open_to_all = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(stage.join("tmp"), open_to_all).map_err(at("tmp"))?;
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::mount_attributes(&c_path(stage), set)
        .map_err(at("making the root read-only (needs Linux 5.12)"))
}

fn place(stage: &Path, entry: Entry) -> Result<(), Failure> {
    match entry {
        Entry::Dir(path) => fs::create_dir(stage.join(&path)).map_err(at(show(&path))),
        Entry::Link { path, to } => {
            std::os::unix::fs::symlink(to, stage.join(&path)).map_err(at(show(&path)))
        }
        Entry::File { path, text } => {
            let place = stage.join(&path);
            let written = fs::write(&place, text);
            let mode = || fs::set_permissions(&place, fs::Permissions::from_mode(0o444));
            written.and_then(|()| mode()).map_err(at(show(&path)))
        }
        Entry::Bind { path, source, dir } => {
            let place = stage.join(&path);
            if dir { fs::create_dir(&place) } else { fs::write(&place, "") }
                .map_err(at(show(&path)))?;
            bind(&source, &place).map_err(at(show(&path)))
        }
    }
}

/// Mounts /proc, /dev and /tmp over the places [`assemble`] left for them.
pub(crate) fn furnish(stage: &Path, tmp_mb: u32) -> Result<(), Failure> {
    let dev = stage.join("dev");
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    let devices = DEVICES.map(|name| (name, open(&Path::new("/dev").join(name))));
    tmpfs(&dev, quiet, c"mode=0755,size=64k,nr_inodes=64")?;
    for (name, device) in devices {
        let device = device.map_err(at(format!("/dev/{name}")))?;
        let place = dev.join(name);
        fs::write(&place, "").and_then(|()| bind(&device, &place)).map_err(at(show(&place)))?;
    }
    for (name, to) in DEVICE_LINKS {
        std::os::unix::fs::symlink(to, dev.join(name)).map_err(at(name))?;
    }
    remount_read_only(&dev, quiet)?;

    let options = format!("mode=1777,size={tmp_mb}m,nr_inodes={}", tmp_names(tmp_mb));
    let options = CString::new(options).map_err(at("/tmp"))?;
    tmpfs(&stage.join("tmp"), MountFlags::NOSUID | MountFlags::NODEV, &options)?;

    let proc = stage.join("proc");
    let closed = quiet | MountFlags::NODEV;
    rustix::mount::mount("proc", &proc, "proc", closed, None).map_err(at("mounting /proc"))?;
    let null = open(&dev.join("null")).map_err(at("/dev/null"))?;
    for name in MASKED {
        let place = proc.join(name);
        let Ok(kind) = fs::symlink_metadata(&place).map(|m| m.file_type()) else { continue };
        if kind.is_dir() {
            tmpfs(&place, closed | MountFlags::RDONLY, c"mode=0555,size=4k,nr_inodes=2")?;
        } else if kind.is_file() {
            bind(&null, &place).map_err(at(format!("/proc/{name}")))?;
        }
    }
    remount_read_only(&proc, closed)
}

/// How many names /tmp takes: an empty file costs memory as well, which its size does not count.
pub(crate) fn tmp_names(tmp_mb: u32) -> u64 {
    1_024 + u64::from(tmp_mb) * 64
}

/// Makes `stage` the root, and leaves nothing of the old one in sight.
pub(crate) fn enter(stage: &Path) -> Result<(), Failure> {
    let step = "entering the root";
    rustix::process::chdir(stage).map_err(at(step))?;
    rustix::process::pivot_root(".", ".").map_err(at(step))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(at("leaving the old root"))?;
    rustix::process::chdir("/").map_err(at(step))
}

fn tmpfs(place: &Path, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Failure> {
    rustix::mount::mount("tmpfs", place, "tmpfs", flags, Some(options)).map_err(at(show(place)))
}

fn remount_read_only(place: &Path, flags: MountFlags) -> Result<(), Failure> {
    let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_remount(place, flags, "").map_err(at(show(place)))
}

/// Binds by descriptor: what was looked at is what is shown.
fn bind(source: &OwnedFd, place: &Path) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", source.as_raw_fd());
    Ok(rustix::mount::mount_bind_recursive(source.as_str(), place)?)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

fn c_path(path: &Path) -> CString {
    // Paths come from the system and hold no zero byte.
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

fn show(path: &Path) -> String {
    format!("/{}", path.display().to_string().trim_start_matches('/'))
}

//! Root file systems from directories and archives.
//!
//! Owns:   `<data directory>/images`, where operators put templates, and `.unpacked` in it.
//! Says:   a directory for [`crate::RootFs::Dir`].
//! Never:  reads or writes outside that directory; unpacks the same archive twice.
//! Fails:  an archive that tries to leave its own directory is refused as a whole.
//! Proof:  the tests below.
//!
//! An archive is kept under the digest of its bytes, so a replaced file is a new image and a running
//! sandbox keeps the one it started from. Device nodes and the like are refused; owners and set-id
//! bits are not kept: in a sandbox nothing has an owner that counts.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
    sync::Mutex,
};

use flate2::read::GzDecoder;
use tar::EntryType;

const UNPACKED: &str = ".unpacked";
/// Unpacked size of one image. Four times the largest base image in common use.
const BYTES_MAX: u64 = 8 << 30;
/// Files of one image; a few times what a full distribution has.
const ENTRIES_MAX: u64 = 1_000_000;

/// Why there is no such image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not below the images directory, by its name or by a link in it.
    #[error(
        "{0:?} is not below the images directory ({1}): put the template there and name it relative to it"
    )]
    Outside(String, PathBuf),
    /// There is nothing of that name.
    #[error("no directory or archive {0:?} in {1}")]
    NotFound(String, PathBuf),
    /// Neither a directory nor an archive.
    #[error("{0:?} is neither a directory nor a .tar or .tar.gz archive")]
    Kind(String),
    /// The archive holds something no image may hold.
    #[error("archive {archive:?} is refused: {entry:?} {why}")]
    Unsafe {
        /// The archive, as it was asked for.
        archive: String,
        /// The entry in it.
        entry: PathBuf,
        /// What is wrong with the entry.
        why: &'static str,
    },
    /// Reading or writing failed.
    #[error("image {0:?} can't be used")]
    Io(String, #[source] io::Error),
}

/// The images of one node.
#[derive(Debug)]
pub struct Images {
    dir: PathBuf,
    // One at a time: two launches of a new archive unpack it once.
    unpacking: Mutex<()>,
}

impl Images {
    /// Images below `<data_dir>/images`, which is made if it does not exist.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(data_dir: &Path) -> io::Result<Images> {
        let dir = data_dir.join("images");
        fs::create_dir_all(&dir)?;
        let dir = fs::canonicalize(dir)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join(UNPACKED))?;
        // An unpacking that was cut short has no name yet.
        for entry in fs::read_dir(dir.join(UNPACKED))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("new-") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Images { dir, unpacking: Mutex::new(()) })
    }

    /// The directory to use as a root for the template `name`: a path relative to the images
    /// directory, or an absolute one below it. Unpacks an archive the first time; may block for as
    /// long as that takes.
    ///
    /// # Errors
    /// [`ImageError`]; nothing of a refused archive is kept.
    pub fn resolve(&self, name: &str) -> Result<PathBuf, ImageError> {
        let outside = || ImageError::Outside(name.to_owned(), self.dir.clone());
        let asked = Path::new(name);
        let relative = asked.strip_prefix(&self.dir).unwrap_or(asked);
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        let named = relative.components().any(|c| matches!(c, Component::Normal(_)));
        if !named || !relative.components().all(plain) || relative.starts_with(UNPACKED) {
            return Err(outside());
        }
        let path = match fs::canonicalize(self.dir.join(relative)) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ImageError::NotFound(name.to_owned(), self.dir.clone()));
            }
            Err(error) => return Err(ImageError::Io(name.to_owned(), error)),
        };
        // Once more, with every link followed.
        let real = path.strip_prefix(&self.dir).map_err(|_| outside())?;
        if real.as_os_str().is_empty() || real.starts_with(UNPACKED) {
            return Err(outside());
        }
        if path.is_dir() {
            return Ok(path);
        }
        let lower = path.to_string_lossy().to_ascii_lowercase();
        let gzip = lower.ends_with(".tar.gz") || lower.ends_with(".tgz");
        if !path.is_file() || !(gzip || lower.ends_with(".tar")) {
            return Err(ImageError::Kind(name.to_owned()));
        }
        self.unpack(name, &path, gzip)
    }

    fn unpack(&self, name: &str, archive: &Path, gzip: bool) -> Result<PathBuf, ImageError> {
        let failed = |error| ImageError::Io(name.to_owned(), error);
        let _one = self.unpacking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = File::open(archive).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut file).map_err(failed)?;
        let digest = hasher.finalize().to_hex();
        let place = self.dir.join(UNPACKED).join(&digest[..32]);
        if place.is_dir() {
            return Ok(place);
        }
        let new = self.dir.join(UNPACKED).join(format!("new-{}", &digest[..32]));
        let _ = fs::remove_dir_all(&new);
        fs::DirBuilder::new().mode(0o755).create(&new).map_err(failed)?;
        let file = File::open(archive).map_err(failed)?;
        let unpacked = if gzip {
            extract(name, GzDecoder::new(file), &new)
        } else {
            extract(name, file, &new)
        };
        match unpacked.and_then(|()| fs::rename(&new, &place).map_err(failed)) {
            Ok(()) => Ok(place),
            Err(error) => {
                let _ = fs::remove_dir_all(&new);
                Err(error)
            }
        }
    }
}

/// Unpacks without ever following a link that the archive made: links are put in place after all
/// files, and a path that leads through one is refused.
fn extract(name: &str, reader: impl Read, root: &Path) -> Result<(), ImageError> {
    let failed = |error| ImageError::Io(name.to_owned(), error);
    let mut archive = tar::Archive::new(reader);
    let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    let (mut bytes, mut entries) = (0_u64, 0_u64);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        let refuse =
            |why| Err(ImageError::Unsafe { archive: name.to_owned(), entry: path.clone(), why });
        entries += 1;
        if entries > ENTRIES_MAX {
            return refuse("is one too many: the image is too large");
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        let Some(inside) = normal(&path) else { return refuse("lies outside the image") };
        if inside.as_os_str().is_empty() {
            continue;
        }
        if links.iter().any(|(link, _)| inside != *link && inside.starts_with(link)) {
            return refuse("leads through a link");
        }
        let place = root.join(&inside);
        // The command is not the owner of anything: what the owner may read, it may.
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        let mode = mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6;
        match kind {
            EntryType::Directory => {
                links.retain(|(link, _)| *link != inside);
                fs::create_dir_all(&place).map_err(failed)?;
                modes.push((place, mode | 0o500));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                links.retain(|(link, _)| *link != inside);
                parent(&place).map_err(failed)?;
                let _ = fs::remove_file(&place);
                let mut file = File::options()
                    .write(true)
                    .create_new(true)
                    .mode(mode | 0o400)
                    .open(&place)
                    .map_err(failed)?;
                // Not by what the header says: a sparse file is longer than that.
                let left = BYTES_MAX - bytes;
                let written = io::copy(&mut entry.by_ref().take(left + 1), &mut file);
                let written = written.map_err(failed)?;
                if written > left {
                    return refuse("is one too many: the image is too large");
                }
                bytes += written;
                // Past the umask of this process.
                file.set_permissions(fs::Permissions::from_mode(mode | 0o400)).map_err(failed)?;
            }
            EntryType::Symlink | EntryType::Link => {
                let Some(to) = entry.link_name().map_err(failed)? else {
                    return refuse("is a link to nothing");
                };
                if kind == EntryType::Symlink {
                    // Where it points to is looked up inside the sandbox, if ever.
                    links.push((inside, to.into_owned()));
                    continue;
                }
                let Some(target) = normal(&to) else { return refuse("links to outside the image") };
                if links.iter().any(|(link, _)| target.starts_with(link)) {
                    if let Some((_, to)) = links.iter().find(|(link, _)| *link == target) {
                        links.push((inside, to.clone()));
                        continue;
                    }
                    return refuse("leads through a link");
                }
                parent(&place).map_err(failed)?;
                let _ = fs::remove_file(&place);
                fs::hard_link(root.join(target), &place).map_err(failed)?;
            }
            _ => return refuse("is neither a file, a directory nor a link"),
        }
    }
    for (link, to) in links {
        let place = root.join(link);
        parent(&place).map_err(failed)?;
        let _ = fs::remove_file(&place);
        std::os::unix::fs::symlink(to, &place).map_err(failed)?;
    }
    // Last, and from the inside out: a directory may forbid writing into it.
    for (dir, mode) in modes.iter().rev() {
        fs::set_permissions(dir, fs::Permissions::from_mode(*mode)).map_err(failed)?;
    }
    Ok(())
}

/// The path without `.` and a leading slash; none when it climbs.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

fn parent(place: &Path) -> io::Result<()> {
    place.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// Type, path, and link target or content.
    type Item = (EntryType, &'static str, &'static str);

    const GOOD: &[Item] = &[
        (EntryType::Directory, "./bin/", ""),
        (EntryType::Regular, "./bin/tool", "#!/bin/sh\n"),
        (EntryType::Symlink, "./bin/alias", "tool"),
        (EntryType::Link, "./bin/hard", "./bin/tool"),
        (EntryType::Symlink, "./etc", "/anywhere/at/all"),
        (EntryType::Regular, "usr/share/deep/file", "text"),
    ];

    /// Written field by field: the library refuses to make such archives.
    fn archive(items: &[Item]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, path, text) in items {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if path.ends_with("deep/file") { 0o700 } else { 0o4755 });
            let name = &mut header.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            let content = match kind {
                EntryType::Symlink | EntryType::Link => {
                    let link = &mut header.as_old_mut().linkname;
                    link[..text.len()].copy_from_slice(text.as_bytes());
                    ""
                }
                _ => text,
            };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn images() -> (tempfile::TempDir, Images) {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(dir.path()).unwrap();
        (dir, images)
    }

    fn put(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) {
        fs::write(dir.path().join("images").join(name), bytes).unwrap();
    }

    #[test]
    fn an_archive_becomes_a_directory_once_and_again_when_it_changes() {
        let (dir, images) = images();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        io::Write::write_all(&mut gzip, &archive(GOOD)).unwrap();
        put(&dir, "a.tar", &archive(GOOD));
        put(&dir, "a.tar.gz", &gzip.finish().unwrap());
        for name in ["a.tar", "a.tar.gz"] {
            let root = images.resolve(name).unwrap();
            assert_eq!(fs::read(root.join("bin/hard")).unwrap(), b"#!/bin/sh\n");
            assert_eq!(fs::read_link(root.join("bin/alias")).unwrap(), Path::new("tool"));
            assert_eq!(fs::read_link(root.join("etc")).unwrap(), Path::new("/anywhere/at/all"));
            let mode = fs::metadata(root.join("bin/tool")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o755, "set-id bits are not kept");
            let mode = fs::metadata(root.join("usr/share/deep/file")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "what its owner may read, everyone may");
            assert_eq!(images.resolve(name).unwrap(), root);
        }
        let before = images.resolve("a.tar").unwrap();
        put(&dir, "a.tar", &archive(&GOOD[..2]));
        assert_ne!(images.resolve("a.tar").unwrap(), before);
        assert!(before.is_dir(), "a running sandbox keeps its image");
    }

    #[test]
    fn an_archive_that_reaches_out_of_itself_is_refused_and_leaves_nothing() {
        use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
        let cases: [&[Item]; 10] = [
            &[(Regular, "../outside", "x")],
            &[(Regular, "a/../../outside", "x")],
            &[(Regular, "/absolute", "x")],
            &[(Symlink, "way", "/tmp"), (Regular, "way/file", "x")],
            &[(Symlink, "way", ".."), (Directory, "way/dir", "")],
            &[(Symlink, "way", ".."), (Link, "file", "way/secret")],
            &[(Link, "file", "../secret")],
            &[(Char, "dev", "")],
            &[(Block, "disk", "")],
            &[(Fifo, "pipe", "")],
        ];
        for case in cases {
            let (dir, images) = images();
            put(&dir, "bad.tar", &archive(case));
            let refused = images.resolve("bad.tar").unwrap_err();
            assert!(matches!(refused, ImageError::Unsafe { .. }), "{case:?}: {refused:?}");
            let kept = fs::read_dir(dir.path().join("images").join(UNPACKED)).unwrap().count();
            assert_eq!(kept, 0, "{case:?}");
            assert!(
                !dir.path().join("outside").exists() && !dir.path().join("images/outside").exists()
            );
        }
    }

    #[test]
    fn a_file_that_replaces_a_link_replaces_the_link_and_not_its_target() {
        let (dir, images) = images();
        let victim = dir.path().join("victim");
        fs::write(&victim, "whole").unwrap();
        let target: &'static str = victim.display().to_string().leak();
        put(
            &dir,
            "a.tar",
            &archive(&[(EntryType::Symlink, "file", target), (EntryType::Regular, "file", "mine")]),
        );
        let root = images.resolve("a.tar").unwrap();
        assert_eq!(fs::read(root.join("file")).unwrap(), b"mine");
        assert_eq!(fs::read(victim).unwrap(), b"whole");
    }

    #[test]
    fn only_what_is_below_the_images_directory_is_an_image() {
        let (dir, images) = images();
        let root = fs::canonicalize(dir.path().join("images")).unwrap();
        fs::create_dir(root.join("good")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("good", root.join("alias")).unwrap();
        put(&dir, "text.txt", b"x");
        assert_eq!(images.resolve("good").unwrap(), root.join("good"));
        assert_eq!(images.resolve("alias").unwrap(), root.join("good"));
        let absolute = root.join("good").display().to_string();
        assert_eq!(images.resolve(&absolute).unwrap(), root.join("good"));
        let outside = ["", ".", "..", "../images", "/etc", "good/..", "etc", "etc/ssl", UNPACKED];
        for name in outside {
            let refused = images.resolve(name).unwrap_err();
            assert!(matches!(refused, ImageError::Outside(..)), "{name}: {refused:?}");
        }
        assert!(matches!(images.resolve("none"), Err(ImageError::NotFound(..))));
        assert!(matches!(images.resolve("text.txt"), Err(ImageError::Kind(_))));
    }
}

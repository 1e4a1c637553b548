//! A file that is written: under another name until it is whole, and never in the place of one that is
//! there unless that is asked for: it may be somebody's only proof.

use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::cli::TargetArgs;
use crate::exit::Failure;

/// See the module.
pub struct Target<'a> {
    path: &'a Path,
    overwrite: bool,
    part: NamedTempFile,
}

impl<'a> Target<'a> {
    /// The file that is asked for, begun for the eyes of its owner; none where it goes to stdout.
    ///
    /// # Errors
    /// It is there already, or no file can be made where it is to be.
    pub fn begin(args: &'a TargetArgs) -> Result<Option<Self>, Failure> {
        let TargetArgs { output: Some(path), overwrite } = args else { return Ok(None) };
        let failed = |why: &str| Failure::error(format!("{}: {why}", path.display()));
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(named(path, &io::ErrorKind::AlreadyExists.into()));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !dir.is_dir() {
            return Err(failed(&format!("there is no directory {}", dir.display())));
        }
        // The library's words name a file that is nobody's business.
        let part = NamedTempFile::new_in(dir);
        let part = part.map_err(|e| {
            failed(&format!("no file can be made in {}: {}", dir.display(), e.kind()))
        })?;
        Ok(Some(Self { path, overwrite: *overwrite, part }))
    }

    /// What is written to.
    ///
    /// # Errors
    /// The system gives no second handle of it.
    pub fn file(&self) -> Result<std::fs::File, Failure> {
        self.part.as_file().try_clone().map_err(|e| named(self.path, &e))
    }

    /// Puts it in its place, once it is whole.
    ///
    /// # Errors
    /// It could not be written, or somebody else made one of that name meanwhile.
    pub fn finish(self) -> Result<(), Failure> {
        let Self { path, overwrite, part } = self;
        part.as_file().sync_all().map_err(|e| named(path, &e))?;
        let kept = if overwrite { part.persist(path) } else { part.persist_noclobber(path) };
        kept.map(drop).map_err(|e| named(path, &e.error))
    }
}

fn named(path: &Path, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "it is there already: give another name, or --overwrite to take its place".to_owned()
        }
        _ => error.to_string(),
    };
    Failure::error(format!("{}: {why}", path.display()))
}

//! Text that is never shown, and the files that it comes from.
//!
//! Owns:   the one reading of such a file: one line of bounded size, without its line break.
//! Never:  shows a secret, neither in what is printed of a configuration nor in an error.
//! Fails:  with what is wrong with the file, to follow its name in a sentence.
//! Proof:  the tests below.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Most bytes of a file that holds a secret: the longest tokens in use have some 2 KiB.
pub const FILE_MAX: u64 = 4_096;
/// A disk that does not answer in so long keeps no connection waiting.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a file holds. Blocks.
    ///
    /// # Errors
    /// It can't be read, is too large, holds nothing but blanks, or more than one line.
    pub fn of_file(path: &Path) -> Result<Self, String> {
        let file = File::open(path)
            .map_err(|error| format!("it can't be opened: {error}; {}", mend(&error)))?;
        let mut text = String::new();
        let read = file.take(FILE_MAX + 1).read_to_string(&mut text);
        let read = read.map_err(|error| format!("it can't be read: {error}; {}", mend(&error)))?;
        if read as u64 > FILE_MAX {
            return Err(format!("it has more than {FILE_MAX} bytes: give a file of one line"));
        }
        // Editors end a file with a line break, and no secret does.
        let line = text.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            let holds = if line.is_empty() { "is empty" } else { "holds nothing but blanks" };
            return Err(format!("it {holds}: write the secret into it"));
        }
        if line.contains(['\r', '\n']) {
            return Err("it has several lines: give a file of one line, the secret alone".into());
        }
        Ok(Self(line.to_owned()))
    }

    /// The secret of today: what the file says now, else what was known at the start. What is no plain
    /// file is not read again: a pipe gives what it holds once, and then keeps its reader waiting.
    pub async fn of_today(file: Option<&Path>, at_the_start: Option<&Self>) -> Option<Self> {
        let known = || at_the_start.cloned();
        let Some(file) = file.map(PathBuf::from) else { return known() };
        let read = spawn_blocking(move || match std::fs::metadata(&file) {
            Ok(found) if found.is_file() => Self::of_file(&file).ok(),
            Ok(_) | Err(_) => None,
        });
        match timeout(READ_WITHIN, read).await {
            Ok(Ok(Some(now))) => Some(now),
            Ok(Ok(None) | Err(_)) | Err(_) => known(),
        }
    }
}

/// The variable that said a secret: its own, or its twin, with the file that is named there.
#[must_use]
pub fn said_by(name: &str, file: Option<&Path>) -> String {
    match file {
        Some(file) => format!("{name}_FILE {file:?}"),
        None => name.to_owned(),
    }
}

/// What to do about a file that can't be read.
fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "write the secret there, or name the file that it is in",
        ErrorKind::IsADirectory => "name the file in it that holds the secret",
        ErrorKind::PermissionDenied => "let the user read it that this program runs as",
        ErrorKind::InvalidData => "give a file of text",
        _ => "name a file that can be read",
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = FILE_MAX as usize;

    #[test]
    fn a_file_holds_one_secret_of_bounded_size_and_what_is_wrong_with_it_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let of = |text: &str| {
            std::fs::write(&path, text).expect("written");
            Secret::of_file(&path)
        };
        for (text, secret) in [("open sesame\r\n", "open sesame"), (" a b \n\n", " a b ")] {
            assert_eq!(of(text), Ok(Secret::new(secret)));
        }
        assert!(of(&"x".repeat(LARGE)).is_ok());
        for (text, words) in [
            ("", "empty"),
            ("\r\n", "empty"),
            (" \t\n", "nothing but blanks"),
            ("\n \n", "nothing but blanks"),
            ("a\nb\n\n", "several lines"),
            ("\na\n", "several lines"),
            ("a\rb", "several lines"),
            (&*"x".repeat(LARGE + 1), "4096"),
        ] {
            assert!(of(text).is_err_and(|why| why.contains(words)), "{text:?}: {words}");
        }
        // It has no end.
        let endless = Secret::of_file(Path::new("/dev/zero"));
        assert!(endless.is_err_and(|why| why.contains("4096")));
        let gone = Secret::of_file(&dir.path().join("none"));
        let words = ["can't be opened", "or name the file"];
        assert!(gone.is_err_and(|why| words.iter().all(|word| why.contains(word))));
        let above = Secret::of_file(dir.path());
        assert!(above.is_err_and(|why| why.contains("name the file in it")));
        std::fs::write(&path, [0xff, 0xfe]).expect("written");
        assert!(Secret::of_file(&path).is_err_and(|why| why.contains("a file of text")));
    }

    #[tokio::test]
    async fn today_is_what_a_plain_file_says_and_else_what_was_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, known) = (dir.path().join("secret"), Secret::new("at the start"));
        let today = async |path: &Path| {
            let secret = Secret::of_today(Some(path), Some(&known)).await.expect("one");
            secret.reveal().to_owned()
        };
        assert_eq!(today(&path).await, "at the start");
        let large = "x".repeat(LARGE + 1);
        for (text, now) in [("new\n", "new"), ("\n", "at the start"), (&large, "at the start")] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(today(&path).await, now);
        }
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("a pipe");
        let asked = timeout(READ_WITHIN / 2, today(&pipe)).await;
        assert_eq!(asked.as_deref(), Ok("at the start"), "nobody writes into it");
        assert_eq!(Secret::of_today(None, None).await, None);
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}

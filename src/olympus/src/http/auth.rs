//! Who may come in: `TARTARUS_AUTH`.
//!
//! Owns:   the digest of the bootstrap token; the token itself is not kept.
//! Never:  compares tokens in a time that tells how much of one was right: digests are compared,
//!         in constant time.

use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use actix_web::http::header::HeaderValue;
use domain::event::Principal;
use domain::ids::Hex;

use crate::config::{AuthMode, Config};

/// File of the data directory that holds the digest of a token made at the first start.
const FILE: &str = "bootstrap-token.blake3";

/// Who may come in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Everyone.
    Off,
    /// Who has the token of this digest.
    Token(blake3::Hash),
}

/// A token that was made just now: to be shown once, and never again.
#[derive(Debug, PartialEq, Eq)]
pub struct NewToken(pub String);

impl Auth {
    /// As the configuration says. Where it asks for a token and gives none, the first start in a
    /// data directory makes one.
    ///
    /// # Errors
    /// The data directory can't be read or written, or holds something else in place of the digest.
    pub fn new(config: &Config) -> io::Result<(Self, Option<NewToken>)> {
        match (*config.auth, &config.bootstrap_token.value) {
            (AuthMode::Off, _) => Ok((Self::Off, None)),
            (AuthMode::Token, Some(token)) => Ok((Self::token(token.reveal()), None)),
            (AuthMode::Token, None) => Self::remembered(&config.data_dir),
        }
    }

    /// Who has this token.
    pub fn token(token: &str) -> Self {
        Self::Token(blake3::hash(token.as_bytes()))
    }

    fn remembered(data_dir: &Path) -> io::Result<(Self, Option<NewToken>)> {
        let path = data_dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let digest = blake3::Hash::from_hex(text.trim()).map_err(|_| {
                    let words = format!(
                        "{} is not the digest of a token: remove it to get a new token, or set \
                         TARTARUS_BOOTSTRAP_TOKEN",
                        path.display()
                    );
                    io::Error::new(ErrorKind::InvalidData, words)
                })?;
                Ok((Self::Token(digest), None))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut bytes = [0; 32];
                getrandom::fill(&mut bytes).map_err(io::Error::other)?;
                let token = Hex(bytes).to_string();
                let digest = blake3::hash(token.as_bytes());
                std::fs::create_dir_all(data_dir)?;
                let mut options = std::fs::OpenOptions::new();
                let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
                writeln!(file, "{digest}")?;
                file.sync_all()?;
                Ok((Self::Token(digest), Some(NewToken(token))))
            }
            Err(error) => Err(error),
        }
    }

    /// Who comes with this `Authorization`; none who may not come in.
    pub fn admit(&self, header: Option<&HeaderValue>) -> Option<Principal> {
        let digest = match self {
            Self::Off => return Some(Principal::Anonymous),
            Self::Token(digest) => digest,
        };
        let (scheme, token) = header?.to_str().ok()?.split_once(' ')?;
        let given = blake3::hash(token.trim().as_bytes());
        if !scheme.eq_ignore_ascii_case("bearer") || given != *digest {
            return None;
        }
        let mut name = [0; 8];
        name.copy_from_slice(&digest.as_bytes()[..8]);
        Some(Principal::Token(Hex(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn admits(auth: &Auth, header: Option<&str>) -> Option<Principal> {
        let header = header.map(|text| HeaderValue::from_str(text).expect("a header"));
        auth.admit(header.as_ref())
    }

    #[test]
    fn the_bearer_of_the_token_alone_comes_in() {
        let auth = Auth::token(TOKEN);
        for good in [format!("Bearer {TOKEN}"), format!("bearer {TOKEN}")] {
            assert!(matches!(admits(&auth, Some(&good)), Some(Principal::Token(_))), "{good}");
        }
        let bad = [
            TOKEN.to_owned(),
            format!("Basic {TOKEN}"),
            "Bearer ".into(),
            format!("Bearer {}", &TOKEN[1..]),
            format!("Bearer {TOKEN}0"),
        ];
        assert_eq!(admits(&auth, None), None);
        for bad in bad {
            assert_eq!(admits(&auth, Some(&bad)), None, "{bad}");
        }
        assert_eq!(admits(&Auth::Off, None), Some(Principal::Anonymous));
    }

    #[test]
    fn the_first_start_makes_a_token_and_the_second_remembers_its_digest() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_, made) = Auth::remembered(dir.path()).expect("a token");
        let NewToken(token) = made.expect("made at the first start");
        let (auth, again) = Auth::remembered(dir.path()).expect("the digest");
        assert_eq!(again, None);
        assert!(admits(&auth, Some(&format!("Bearer {token}"))).is_some());
        let kept = std::fs::read_to_string(dir.path().join(FILE)).expect("a file");
        assert!(!kept.contains(&token));
        std::fs::write(dir.path().join(FILE), "x").expect("a file");
        assert!(Auth::remembered(dir.path()).is_err());
    }
}

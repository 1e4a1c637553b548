//! What an auditor brings from elsewhere: public keys and receipts.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;
use replay::vouched::{PublicKey, Receipt, Trust};

/// Longer than a list of keys anyone keeps: what is longer is another file.
const FILE_MAX: u64 = 64 << 10;

#[derive(Debug, Args)]
pub struct TrustArgs {
    /// A public key of an instance, in hex, or a file of them, one a line; may be repeated
    #[arg(long = "key", value_name = "KEY|FILE", value_parser = pinned)]
    pub keys: Vec<Pinned>,
    /// A receipt that a client was given (X-Tartarus-Receipt), such as 17-db14c33df246c2f1; may be
    /// repeated
    #[arg(long = "receipt", value_name = "SEQ-HASH", value_parser = receipt)]
    pub receipts: Vec<Receipt>,
}

impl TrustArgs {
    /// What they say.
    pub fn into_trust(self) -> Trust {
        let keys: BTreeSet<PublicKey> =
            self.keys.into_iter().flat_map(|Pinned(keys)| keys).collect();
        Trust { keys, receipts: self.receipts }
    }
}

/// Keys of one argument.
#[derive(Clone, Debug)]
pub struct Pinned(Vec<PublicKey>);

fn receipt(text: &str) -> Result<Receipt, String> {
    text.parse().map_err(|_| {
        "give a receipt, <sequence>-<16 hex digits>, such as 17-db14c33df246c2f1: what \
         X-Tartarus-Receipt said in the answer to a write, or the last entry of an earlier export or \
         verification"
            .to_owned()
    })
}

fn pinned(text: &str) -> Result<Pinned, String> {
    if let Ok(key) = text.parse() {
        return Ok(Pinned(vec![key]));
    }
    let path = Path::new(text);
    let words = "give the 64 hex digits that `tartarus keys` shows, or a file of such lines";
    let length = path.metadata().map_err(|error| format!("{words} ({error})"))?.len();
    if length > FILE_MAX {
        return Err(format!("{words}: this one has {length} bytes"));
    }
    let read = std::fs::read_to_string(path).map_err(|error| format!("{words} ({error})"))?;
    let lines = read.lines().map(str::trim).zip(1..);
    let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|(line, number)| {
        if line.starts_with("secret ") {
            return Err(format!(
                "line {number} is the secret half of a key, which belongs to its instance alone: \
                 {words}"
            ));
        }
        // What stands behind a key is the reader's own note.
        let key = line.strip_prefix("public ").unwrap_or(line).split_whitespace().next();
        key.and_then(|key| key.parse().ok())
            .ok_or_else(|| format!("line {number} is no key: {words}"))
    });
    let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(format!("no key is in it: {words}")) } else { Ok(Pinned(keys)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn a_key_is_hex_or_a_file_and_never_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let file = path.display().to_string();
        assert_eq!(pinned(KEY).unwrap().0.len(), 1);
        for (text, keys) in [
            (format!("{KEY}\n"), 1),
            (format!("# ours\n\n{KEY} olympus-1\n{KEY} olympus-2\n"), 2),
            (format!("public {KEY}\n"), 1),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(pinned(&file).unwrap().0.len(), keys, "{text}");
        }
        for (text, words) in [
            ("".to_owned(), "no key is in it"),
            (format!("{KEY}\nolympus-2 {KEY}\n"), "line 2 is no key"),
            (format!("secret {KEY}\npublic {KEY}\n"), "line 1 is the secret half"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let refused = pinned(&file).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
        assert!(pinned(&KEY[1..]).unwrap_err().contains("give the 64 hex digits"));
    }
}

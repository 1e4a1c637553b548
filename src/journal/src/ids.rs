//! Names of places in the journal, each a type of its own.
//!
//! Owns:   entry ids bound to content, receipts, chain hashes, the cluster's id.
//! Never:  parses a float, or trusts a sequence number alone: a number can come again after Redis
//!         lost its tail, a hash can't.

use std::fmt;
use std::str::FromStr;

use domain::ids::{Hex, Sequence};
use uuid::Uuid;

/// The BLAKE3 hash of an entry and, through it, of every entry before.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// What the first entry is chained to.
    pub const ORIGIN: Self = Self([0; 32]);

    /// The first 8 bytes, big-endian: the part that goes into an [`EntryId`].
    pub fn h64(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.0).fmt(f)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.0).fmt(f)
    }
}

/// The id of an entry: its sequence, and the first 64 bits of its [`ChainHash`].
///
/// Displayed as Redis spells stream ids (`<seq>-<h64>`, both decimal); the form for people and for
/// `X-Tartarus-Receipt` is [`Receipt`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The sequence, from 1.
    pub seq: Sequence,
    /// First 8 bytes of the chain hash, big-endian.
    pub h64: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.h64)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not an id of the form asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct BadId {
    text: String,
    wanted: &'static str,
}

impl FromStr for EntryId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let refused = || BadId { text: text.into(), wanted: "an entry id (<sequence>-<number>)" };
        let (seq, h64) = text.split_once('-').ok_or_else(refused)?;
        Ok(Self { seq: digits(seq).ok_or_else(refused)?, h64: digits(h64).ok_or_else(refused)? })
    }
}

/// Decimal digits without sign or leading zeros, so that an id has one spelling only.
fn digits(text: &str) -> Option<u64> {
    let canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| canonical)
}

/// An entry id as clients see it: `<sequence>-<16 hex digits>`. Proof that they saw the entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt(pub EntryId);

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.0.seq, self.0.h64)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Receipt {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let refused =
            || BadId { text: text.into(), wanted: "a receipt (<sequence>-<16 hex digits>)" };
        let (seq, hex) = text.split_once('-').ok_or_else(refused)?;
        let hash: Hex<8> = hex.parse().map_err(|_| refused())?;
        let seq = digits(seq).ok_or_else(refused)?;
        Ok(Self(EntryId { seq, h64: u64::from_be_bytes(hash.0) }))
    }
}

/// A place in the chain: an entry's sequence and whole hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The sequence; 0 before the first entry.
    pub seq: Sequence,
    /// The entry's hash.
    pub hash: ChainHash,
}

impl Position {
    /// Before the first entry.
    pub const ORIGIN: Self = Self { seq: 0, hash: ChainHash::ORIGIN };

    /// The id of the entry at this place.
    pub fn id(&self) -> EntryId {
        EntryId { seq: self.seq, h64: self.hash.h64() }
    }
}

/// Which journal this is: a random number, made once with the first entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub Uuid);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ClusterId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| BadId { text: text.into(), wanted: "a cluster id (a UUID)" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_and_a_receipt_read_back_as_written(seq: u64, h64: u64) {
            let id = EntryId { seq, h64 };
            prop_assert_eq!(id.to_string().parse::<EntryId>(), Ok(id));
            prop_assert_eq!(Receipt(id).to_string().parse::<Receipt>(), Ok(Receipt(id)));
        }
    }

    #[test]
    fn an_id_has_one_spelling_only() {
        for text in ["", "1", "1-", "-1", "+1-1", "01-1", "1-01", "1-1-1", "1-*", " 1-1", "1-1 "] {
            assert!(text.parse::<EntryId>().is_err(), "{text:?} was taken for an id");
        }
        assert!("1-00000000000000g1".parse::<Receipt>().is_err());
        assert!("1-1".parse::<Receipt>().is_err());
    }

    #[test]
    fn a_receipt_shows_the_hash_as_hex() {
        let id = EntryId { seq: 7, h64: 0x00ff_0000_0000_0001 };
        assert_eq!(Receipt(id).to_string(), "7-00ff000000000001");
        assert_eq!(id.to_string(), "7-71776119061217281");
    }
}

//! What is kept apart from the records of an entry, so that it can be taken out and the rest verified.
//!
//! Owns:   the bytes behind the body in format 2, and the commitments that the hash covers instead.
//! Never:  knows what a secret means; chooses randomness: a seed is given.
//! Fails:  with nothing, where bytes are not so many secrets: the entry says that it is damaged.
//! Proof:  `entry_tests.rs`; `tests/flips.rs`; `tests/apart.rs`.
//!
//! ```text
//! apart      = 1 | seed 32 | secrets                        as written
//!            | 2 | for each secret: 0 | commitment 32       taken out
//!                                 | 1 | salt 32 | secret    left in beside others that were taken out
//! secrets    = the marks of all records, as one secret, each with its length; then env, then stdin of each record
//! secret     = length (LEB128) | bytes
//! salts      = BLAKE3 keyed with the seed, of nothing, 32 bytes of its output for each secret
//! commitment = BLAKE3 keyed with a constant, of salt | bytes
//! ```
//!
//! Without its salt, which leaves with it, a secret of few possible values can't be guessed from its
//! commitment. *Marks* are what the house makes of secrets and for secrets (a digest of a body, an
//! attempt's token): too small and too many to have a commitment each, so an entry has one for all.

use blake3::{Hasher, OutputReader};

const WRITTEN: u8 = 1;
const COPIED: u8 = 2;
const TAKEN: u8 = 0;
const SHOWN: u8 = 1;

/// Tells these hashes from all others.
const CONTEXT: &[u8; 32] = b"tartarus: what a journal's entry";

/// A secret's salt, or what commits to it.
type Bytes32 = [u8; 32];

/// What a record says of one of its secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secret<'a> {
    /// It has none.
    #[default]
    None,
    /// It is there.
    Open(&'a [u8]),
    /// It was taken out.
    Redacted,
}

/// What of a record is apart from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Secrets<'a> {
    /// Values of an environment.
    pub env: Secret<'a>,
    /// Standard input.
    pub stdin: Secret<'a>,
    /// What the house made of secrets, or as one.
    pub marks: Secret<'a>,
}

impl Secrets<'_> {
    /// Nothing.
    pub const NONE: Self = Self { env: Secret::None, stdin: Secret::None, marks: Secret::None };

    /// Whether something was taken out.
    pub fn is_redacted(&self) -> bool {
        [self.env, self.stdin, self.marks].contains(&Secret::Redacted)
    }
}

/// Kinds of secrets that someone may not see. Marks are taken out with any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Values of environments.
    pub env: bool,
    /// Standard input.
    pub stdin: bool,
}

impl Kinds {
    /// Everything may be seen.
    pub const NONE: Self = Self { env: false, stdin: false };
    /// Nothing may be seen.
    pub const ALL: Self = Self { env: true, stdin: true };
    /// Values of environments.
    pub const ENV: Self = Self { env: true, stdin: false };
    /// Standard input.
    pub const STDIN: Self = Self { env: false, stdin: true };

    /// Whether one of these is among those.
    #[must_use]
    pub fn meet(self, other: Self) -> bool {
        self.env && other.env || self.stdin && other.stdin
    }
}

/// One secret, as a section has it.
pub(crate) enum Part<'a> {
    Written(&'a [u8]),
    Shown(&'a Bytes32, &'a [u8]),
    Taken(&'a Bytes32),
}

impl<'a> Part<'a> {
    pub(crate) fn open(self) -> Option<&'a [u8]> {
        match self {
            Self::Written(bytes) | Self::Shown(_, bytes) => Some(bytes),
            Self::Taken(_) => None,
        }
    }

    pub(crate) fn secret(self) -> Secret<'a> {
        self.open().map_or(Secret::Redacted, Secret::Open)
    }
}

/// The secrets of a section, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    copied: bool,
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) const NONE: Self = Self { copied: false, rest: &[] };

    /// The secrets, and the seed of their salts where the section has it.
    fn open(section: &'a [u8]) -> Option<(Self, Option<&'a Bytes32>)> {
        match section.split_first()? {
            (&WRITTEN, rest) => {
                let (seed, rest) = rest.split_first_chunk()?;
                Some((Self { copied: false, rest }, Some(seed)))
            }
            (&COPIED, rest) => Some((Self { copied: true, rest }, None)),
            (_, _) => None,
        }
    }

    pub(crate) fn of(section: &'a [u8]) -> Option<Self> {
        Self::open(section).map(|(parts, _)| parts)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn next(&mut self) -> Option<Part<'a>> {
        if !self.copied {
            return take_text(&mut self.rest).map(Part::Written);
        }
        let (tag, rest) = self.rest.split_first()?;
        let (first, rest) = rest.split_first_chunk()?;
        self.rest = rest;
        match *tag {
            TAKEN => Some(Part::Taken(first)),
            SHOWN => take_text(&mut self.rest).map(|text| Part::Shown(first, text)),
            _ => None,
        }
    }
}

/// Salts, made two at a time: that is what the hash gives at once.
struct Salts {
    of: OutputReader,
    two: [Bytes32; 2],
    taken: usize,
}

impl Salts {
    fn of(seed: &Bytes32) -> Self {
        Self { of: Hasher::new_keyed(seed).finalize_xof(), two: [[0; 32]; 2], taken: 2 }
    }

    fn next(&mut self) -> Bytes32 {
        if self.taken == self.two.len() {
            self.of.fill(self.two.as_flattened_mut());
            self.taken = 0;
        }
        self.taken += 1;
        self.two[self.taken - 1]
    }
}

/// Secrets up to this length are hashed in one step with their salt; most are shorter.
const SHORT: usize = 224;

/// What commits to a secret.
pub fn commitment(salt: &[u8; 32], secret: &[u8]) -> [u8; 32] {
    if secret.len() > SHORT {
        return *Hasher::new_keyed(CONTEXT).update(salt).update(secret).finalize().as_bytes();
    }
    let (mut salted, len) = ([0; 32 + SHORT], 32 + secret.len());
    salted[..32].copy_from_slice(salt);
    salted[32..len].copy_from_slice(secret);
    *blake3::keyed_hash(CONTEXT, &salted[..len]).as_bytes()
}

/// Hashes the commitments to the marks and to so many secrets; none where there are not so many.
pub(crate) fn absorb(section: &[u8], secrets: u32, into: &mut Hasher) -> Option<()> {
    let (mut parts, seed) = Parts::open(section)?;
    let mut salts = seed.map(Salts::of);
    for _ in 0..=secrets {
        let commitment = match (parts.next()?, &mut salts) {
            (Part::Written(bytes), Some(salts)) => commitment(&salts.next(), bytes),
            (Part::Shown(salt, bytes), None) => commitment(salt, bytes),
            (Part::Taken(commitment), None) => *commitment,
            (Part::Written(_), None) | (Part::Shown(..) | Part::Taken(_), Some(_)) => return None,
        };
        into.update(&commitment);
    }
    parts.is_empty().then_some(())
}

/// A secret with what shows that it is the one committed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its salt.
    pub salt: [u8; 32],
    /// Its bytes.
    pub secret: Vec<u8>,
}

/// Every secret of a section: what commits to it and, where it is there, what opens it.
pub(crate) fn openings(section: &[u8]) -> Vec<([u8; 32], Option<Opening>)> {
    let Some((mut parts, seed)) = Parts::open(section) else { return Vec::new() };
    let mut salts = seed.map(Salts::of);
    let mut all = Vec::new();
    while let Some(part) = parts.next() {
        let salt = salts.as_mut().map(Salts::next);
        let of = |salt: Bytes32, bytes: &[u8]| {
            (commitment(&salt, bytes), Some(Opening { salt, secret: bytes.to_vec() }))
        };
        all.push(match part {
            Part::Written(bytes) => of(salt.unwrap_or_default(), bytes),
            Part::Shown(salt, bytes) => of(*salt, bytes),
            Part::Taken(commitment) => (*commitment, None),
        });
    }
    all
}

/// A section without some of its secrets, behind what is before it.
pub(crate) fn redact(before: &[u8], section: &[u8], taken: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(before.len() + section.len() + 33);
    bytes.extend_from_slice(before);
    bytes.push(COPIED);
    for ((commitment, opening), taken) in openings(section).into_iter().zip(taken) {
        match opening.filter(|_| !taken) {
            Some(Opening { salt, secret }) => {
                bytes.push(SHOWN);
                bytes.extend_from_slice(&salt);
                put_text(&mut bytes, &secret);
            }
            None => {
                bytes.push(TAKEN);
                bytes.extend_from_slice(&commitment);
            }
        }
    }
    bytes
}

/// Bytes that a section may have beyond an entry's limit: what was taken out can be shorter than
/// what stands for it.
pub(crate) fn room(section: &[u8]) -> usize {
    if is_copy(section) { crate::MAX_BODY_BYTES } else { 0 }
}

/// Whether something was taken out of a section.
pub(crate) fn is_copy(section: &[u8]) -> bool {
    section.first() == Some(&COPIED)
}

/// The secrets of an entry to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Apart {
    any: bool,
    marks: Vec<u8>,
    secrets: Vec<u8>,
    count: u32,
}

impl Apart {
    /// Adds what a record has.
    pub(crate) fn push(&mut self, secrets: Secrets<'_>) {
        self.any |= secrets != Secrets::NONE;
        if let Secret::Open(marks) = secrets.marks {
            put_text(&mut self.marks, marks);
        }
        for secret in [secrets.env, secrets.stdin] {
            if let Secret::Open(bytes) = secret {
                put_text(&mut self.secrets, bytes);
                self.count += 1;
            }
        }
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.any |= other.any;
        self.marks.extend_from_slice(&other.marks);
        self.secrets.extend_from_slice(&other.secrets);
        self.count += other.count;
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Secrets of single records.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the section.
    pub(crate) fn len(&self) -> usize {
        let marks = self.marks.len();
        if self.any { 33 + len_of_len(marks) + marks + self.secrets.len() } else { 0 }
    }

    /// Writes the section, salted from a seed that nobody can guess.
    pub(crate) fn write(&self, to: &mut Vec<u8>, seed: &[u8; 32]) {
        if self.any {
            to.reserve(self.len());
            to.push(WRITTEN);
            to.extend_from_slice(seed);
            put_text(to, &self.marks);
            to.extend_from_slice(&self.secrets);
        }
    }
}

fn len_of_len(len: usize) -> usize {
    let bits = usize::BITS - len.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}

fn put_text(to: &mut Vec<u8>, text: &[u8]) {
    let mut len = text.len();
    while len > 0x7f {
        to.push(len as u8 | 0x80);
        len >>= 7;
    }
    to.push(len as u8);
    to.extend_from_slice(text);
}

/// A length and so many bytes; none where they are not there, or the length has a shorter form.
pub(crate) fn take_text<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (mut len, mut shift, mut rest) = (0_usize, 0, *from);
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if *byte == 0 && shift > 0 {
                return None;
            }
            break;
        }
        shift += 7;
        // No section is so long.
        if shift > 28 {
            return None;
        }
    }
    let (text, rest) = rest.split_at_checked(len)?;
    *from = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_one_form() {
        for len in [0, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
            let (text, mut bytes) = (vec![7; len], Vec::new());
            put_text(&mut bytes, &text);
            assert_eq!(bytes.len(), len + len_of_len(len));
            let mut rest = &bytes[..];
            assert_eq!(take_text(&mut rest), Some(&text[..]));
            assert!(rest.is_empty());
            assert_eq!(take_text(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(take_text(&mut &[0x81, 0x00, 7][..]), None, "one could be said shorter");
        assert_eq!(take_text(&mut &[0xff; 12][..]), None);
    }

    #[test]
    fn salts_and_commitments_are_those_of_the_format_however_long_the_secret_is() {
        let seed = [5; 32];
        let (mut salts, mut stream) = (Salts::of(&seed), [0; 160]);
        Hasher::new_keyed(&seed).finalize_xof().fill(&mut stream);
        for salt in stream.chunks_exact(32) {
            assert_eq!(salts.next(), *salt);
        }
        for len in [0, 1, 31, 32, SHORT - 1, SHORT, SHORT + 1, 1_024, 5_000] {
            let secret = vec![7; len];
            let mut whole = Hasher::new_keyed(CONTEXT);
            whole.update(&seed).update(&secret);
            assert_eq!(commitment(&seed, &secret), *whole.finalize().as_bytes(), "{len}");
        }
    }

    #[test]
    fn no_two_salts_and_no_two_seeds_commit_alike() {
        let salts = |seed: u8| {
            let mut salts = Salts::of(&[seed; 32]);
            [salts.next(), salts.next(), salts.next()]
        };
        let all: std::collections::BTreeSet<_> =
            [salts(1), salts(2)].concat().iter().map(|salt| commitment(salt, b"x")).collect();
        assert_eq!(all.len(), 6);
    }
}

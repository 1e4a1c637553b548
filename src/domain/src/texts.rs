//! Text by text, as a request and a policy hold it: a few pairs, kept by the ten thousand.
//!
//! A tree sets room for eleven pairs aside for the first one. This is a slice as long as it has to
//! be, sorted by key, and written exactly as a map is.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Map;
use std::slice::Iter;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pairs::read_pairs;

/// A pair.
type Pair = (Box<str>, Box<str>);

/// Pairs of texts, sorted by their first; no two of those are alike.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Texts(Box<[Pair]>);

impl Texts {
    /// The text of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(have, _)| (**have).cmp(key)).ok()?;
        self.0.get(found).map(|(_, value)| &**value)
    }

    /// Whether there is a key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, sorted.
    pub fn iter(&self) -> <&Self as IntoIterator>::IntoIter {
        self.into_iter()
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// The texts, in the order of their keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        self.iter().map(|(_, value)| value)
    }

    /// Adds a pair, in place of one of the same key.
    pub fn insert(&mut self, key: Box<str>, value: Box<str>) {
        *self = std::mem::take(self).under([(key, value)].into_iter().collect());
    }

    /// Takes a pair out.
    pub fn remove(&mut self, key: &str) {
        if self.contains_key(key) {
            let others = std::mem::take(self).into_iter().filter(|(have, _)| **have != *key);
            *self = others.collect();
        }
    }

    /// These, and those of `upper`, which wins where both have a key.
    pub fn under(self, upper: Self) -> Self {
        if self.is_empty() { upper } else { self.into_iter().chain(upper).collect() }
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl From<Vec<Pair>> for Texts {
    /// Of two pairs with the same key the later one stays, as in a map.
    fn from(pairs: Vec<Pair>) -> Self {
        if pairs.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Self(pairs.into_boxed_slice());
        }
        Self(pairs.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
    }
}

impl<const N: usize> From<[Pair; N]> for Texts {
    fn from(pairs: [Pair; N]) -> Self {
        Vec::from(pairs).into()
    }
}

impl FromIterator<Pair> for Texts {
    fn from_iter<I: IntoIterator<Item = Pair>>(pairs: I) -> Self {
        pairs.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Texts {
    type Item = (&'a str, &'a str);
    type IntoIter = Map<Iter<'a, Pair>, fn(&Pair) -> (&str, &str)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl IntoIterator for Texts {
    type Item = Pair;
    type IntoIter = std::vec::IntoIter<Pair>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read_pairs(from, Vec::with_capacity, |pairs, key, value| pairs.push((key, value)))
            .map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &str)]) -> Vec<Pair> {
        of.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn they_are_what_a_map_is_in_whatever_order_they_come() {
        let cases: [&[(&str, &str)]; 4] = [
            &[],
            &[("tenant", "acme"), ("user", "alice")],
            &[("user", "alice"), ("tenant", "acme")],
            &[("user", "bob"), ("tenant", "acme"), ("user", "alice")],
        ];
        for case in cases {
            let (texts, map): (Texts, BTreeMap<_, _>) =
                (pairs(case).into(), pairs(case).into_iter().collect());
            let of_map: Vec<_> = map.iter().map(|(key, value)| (&**key, &**value)).collect();
            assert_eq!(texts.iter().collect::<Vec<_>>(), of_map);
            let config = bincode::config::standard();
            let bytes = bincode::serde::encode_to_vec(&texts, config).expect("texts");
            assert_eq!(bytes, bincode::serde::encode_to_vec(&map, config).expect("a map"));
            let (read, _) = bincode::serde::decode_from_slice(&bytes, config).expect("texts");
            assert_eq!(texts, read);
            for (key, value) in &map {
                assert_eq!(texts.get(key), Some(&**value));
            }
            assert_eq!(texts.get("nobody"), None);
        }
    }

    #[test]
    fn what_lies_over_others_wins() {
        let lower: Texts = pairs(&[("a", "1"), ("c", "1")]).into();
        let both = lower.under(pairs(&[("b", "2"), ("c", "2")]).into());
        assert_eq!(both.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2"), ("c", "2")]);
    }
}

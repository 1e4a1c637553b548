//! A sorted map for keys that come in order, by and large: ids of runs, places in line.
//!
//! A tree that is filled in order is left half empty, and looks from its root for each place that
//! turns out to be the last. These are full chunks in a row: what comes last is pushed, a key is
//! found by halves, and how many lie before it is the sum of some lengths. Written as a map is.
//!
//! Bounds: a chunk has [`CHUNK`] pairs at most, and two neighbours together have more than half of
//!         that: what is taken out at random gives its room back.
//! Proof:  the tests below, against the tree of the standard library.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pairs::read_pairs;

/// Pairs in a chunk: 2 to 6 KB of what the World keeps.
const CHUNK: usize = 64;

/// Pairs sorted by key; no two keys are alike.
#[derive(Clone)]
pub struct Rows<K, V> {
    /// None is empty.
    chunks: VecDeque<Vec<(K, V)>>,
    len: usize,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), len: 0 }
    }
}

/// Where a key is, or would be: the chunk, and the place in it.
struct Spot {
    chunk: usize,
    at: Result<usize, usize>,
}

impl<K: Ord, V> Rows<K, V> {
    fn spot(&self, key: &K) -> Spot {
        let begins = |chunk: &Vec<(K, V)>| chunk.first().is_some_and(|(first, _)| first <= key);
        let chunk = self.chunks.partition_point(begins).saturating_sub(1);
        let pairs = self.chunks.get(chunk).map(Vec::as_slice).unwrap_or_default();
        Spot { chunk, at: pairs.binary_search_by(|(have, _)| have.cmp(key)) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What belongs to a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let Spot { chunk, at } = self.spot(key);
        self.chunks.get(chunk)?.get(at.ok()?).map(|(_, value)| value)
    }

    /// What belongs to a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let Spot { chunk, at } = self.spot(key);
        self.chunks.get_mut(chunk)?.get_mut(at.ok()?).map(|(_, value)| value)
    }

    /// The pairs, sorted.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks.iter().flatten().map(|(key, value)| (key, value))
    }

    /// The least key.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.chunks.front()?.first().map(|(key, value)| (key, value))
    }

    /// The greatest key.
    pub fn last(&self) -> Option<(&K, &V)> {
        self.chunks.back()?.last().map(|(key, value)| (key, value))
    }

    /// The pairs whose key is less.
    pub fn before<'s>(
        &'s self,
        key: &K,
    ) -> impl DoubleEndedIterator<Item = (&'s K, &'s V)> + use<'s, K, V> {
        let Spot { chunk, at } = self.spot(key);
        let (Ok(at) | Err(at)) = at;
        let same = self.chunks.get(chunk).and_then(|pairs| pairs.get(..at)).unwrap_or_default();
        let chunks = self.chunks.range(..chunk).flatten();
        chunks.chain(same).map(|(key, value)| (key, value))
    }

    /// The pairs whose key is greater.
    pub fn behind<'s>(
        &'s self,
        key: &K,
    ) -> impl DoubleEndedIterator<Item = (&'s K, &'s V)> + use<'s, K, V> {
        let Spot { chunk, at } = self.spot(key);
        let at = at.map_or_else(|at| at, |at| at + 1);
        let same = self.chunks.get(chunk).and_then(|pairs| pairs.get(at..)).unwrap_or_default();
        let chunks = self.chunks.range((chunk + 1).min(self.chunks.len())..).flatten();
        same.iter().chain(chunks).map(|(key, value)| (key, value))
    }

    /// How many keys are less.
    pub fn rank(&self, key: &K) -> usize {
        let Spot { chunk, at } = self.spot(key);
        let (Ok(at) | Err(at)) = at;
        self.chunks.range(..chunk).map(Vec::len).sum::<usize>() + at
    }

    /// Keeps a pair, in place of one of the same key.
    pub fn insert(&mut self, key: K, value: V) -> &mut V {
        let comes_last = self.last().is_none_or(|(last, _)| *last < key);
        let (chunk, at) = if comes_last { self.room_behind() } else { self.room_for(&key) };
        let pairs = &mut self.chunks[chunk];
        match at {
            Ok(at) => pairs[at].1 = value,
            Err(at) => {
                pairs.insert(at, (key, value));
                self.len += 1;
            }
        }
        let (Ok(at) | Err(at)) = at;
        &mut self.chunks[chunk][at].1
    }

    /// The place behind the last pair.
    fn room_behind(&mut self) -> (usize, Result<usize, usize>) {
        match self.chunks.back() {
            None => self.chunks.push_back(Vec::new()),
            Some(last) if last.len() == CHUNK => self.chunks.push_back(Vec::with_capacity(CHUNK)),
            Some(_) => {}
        }
        let last = self.chunks.len() - 1;
        (last, Err(self.chunks[last].len()))
    }

    /// The place of a key, in a chunk with room for it.
    fn room_for(&mut self, key: &K) -> (usize, Result<usize, usize>) {
        let Spot { chunk, at } = self.spot(key);
        let pairs = &mut self.chunks[chunk];
        if at.is_ok() || pairs.len() < CHUNK {
            return (chunk, at);
        }
        let upper = pairs.split_off(CHUNK / 2);
        self.chunks.insert(chunk + 1, upper);
        let Spot { chunk, at } = self.spot(key);
        (chunk, at)
    }

    /// Takes a pair out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let Spot { chunk, at } = self.spot(key);
        let pairs = self.chunks.get_mut(chunk)?;
        let (_, value) = pairs.remove(at.ok()?);
        self.len -= 1;
        if pairs.is_empty() {
            self.chunks.remove(chunk);
        } else if pairs.len() <= CHUNK / 2 {
            self.join_up(chunk);
        }
        Some(value)
    }

    /// Joins a chunk of few pairs with a neighbour, where both have few.
    fn join_up(&mut self, chunk: usize) {
        let few = |at: usize| {
            let both = self.chunks.get(at)?.len() + self.chunks.get(at + 1)?.len();
            (both <= CHUNK / 2).then_some(at)
        };
        let Some(first) = few(chunk).or_else(|| few(chunk.checked_sub(1)?)) else { return };
        if let Some(mut second) = self.chunks.remove(first + 1) {
            self.chunks[first].append(&mut second);
        }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Rows<K, V> {
    /// However they came to be where they are.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.chunks.iter().flatten().eq(other.chunks.iter().flatten())
    }
}

impl<K: Eq, V: Eq> Eq for Rows<K, V> {}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Rows<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Rows<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut rows = Self::default();
        for (key, value) in pairs {
            rows.insert(key, value);
        }
        rows
    }
}

impl<K: Ord + Serialize, V: Serialize> Serialize for Rows<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        // The iterator does not know how many there are.
        let mut map = to.serialize_map(Some(self.len))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Rows<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read_pairs(
            from,
            |_| Self::default(),
            |rows, key, value| {
                rows.insert(key, value);
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// Keys that are the last, one after another.
        Append(u16),
        Insert(u16),
        Remove(u16),
        /// The first ones.
        Take(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (1..200_u16).prop_map(Step::Append),
            4 => (0..2_000_u16).prop_map(Step::Insert),
            8 => (0..2_000_u16).prop_map(Step::Remove),
            1 => (0..100_u8).prop_map(Step::Take),
        ]
    }

    fn chunks_hold_what_they_may(rows: &Rows<u16, usize>) -> bool {
        let lens: Vec<usize> = rows.chunks.iter().map(Vec::len).collect();
        lens.iter().all(|len| (1..=CHUNK).contains(len))
            && lens.windows(2).all(|two| two.iter().sum::<usize>() > CHUNK / 2)
            && lens.iter().sum::<usize>() == rows.len()
    }

    proptest! {
        #[test]
        fn they_are_what_a_tree_is(steps in proptest::collection::vec(step(), 1..200)) {
            let (mut rows, mut tree) = (Rows::default(), BTreeMap::new());
            for (n, step) in steps.into_iter().enumerate() {
                let asked = match step {
                    Step::Append(count) => {
                        let next = tree.last_key_value().map_or(0, |(last, _)| last + 1);
                        for key in next..next + count {
                            prop_assert_eq!(*rows.insert(key, n), n);
                            tree.insert(key, n);
                        }
                        next
                    }
                    Step::Insert(key) => {
                        prop_assert_eq!(*rows.insert(key, n), n);
                        tree.insert(key, n);
                        key
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(rows.remove(&key), tree.remove(&key));
                        key
                    }
                    Step::Take(count) => {
                        for _ in 0..count {
                            let first = rows.first().map(|(key, _)| *key);
                            prop_assert_eq!(first, tree.first_key_value().map(|(key, _)| *key));
                            if let Some(key) = first {
                                prop_assert_eq!(rows.remove(&key), tree.remove(&key));
                            }
                        }
                        u16::from(count)
                    }
                };
                prop_assert!(chunks_hold_what_they_may(&rows), "{:?}", rows.chunks);
                prop_assert!(rows.iter().eq(tree.iter()));
                prop_assert!(rows.iter().rev().eq(tree.iter().rev()));
                prop_assert!(rows.before(&asked).eq(tree.range(..asked)));
                prop_assert!(rows.before(&asked).rev().eq(tree.range(..asked).rev()));
                let behind = tree.range((Bound::Excluded(asked), Bound::Unbounded));
                prop_assert!(rows.behind(&asked).eq(behind));
                prop_assert_eq!(rows.rank(&asked), tree.range(..asked).count());
                prop_assert_eq!(rows.get(&asked), tree.get(&asked));
                prop_assert_eq!(rows.get_mut(&asked), tree.get_mut(&asked));
                prop_assert_eq!(rows.last(), tree.last_key_value());
                prop_assert_eq!((rows.len(), rows.is_empty()), (tree.len(), tree.is_empty()));
            }
            let config = bincode::config::standard();
            let bytes = bincode::serde::encode_to_vec(&rows, config).expect("rows");
            prop_assert_eq!(&bytes, &bincode::serde::encode_to_vec(&tree, config).expect("a tree"));
            let (read, _): (Rows<u16, usize>, _) =
                bincode::serde::decode_from_slice(&bytes, config).expect("rows");
            prop_assert_eq!(&read, &rows);
            prop_assert_eq!(tree.into_iter().collect::<Rows<_, _>>(), rows);
        }
    }

    #[test]
    fn what_is_taken_out_at_random_gives_its_room_back() {
        let mut rows: Rows<u32, u32> = (0..6_400).map(|n| (n, n)).collect();
        assert_eq!(rows.chunks.len(), 100);
        for n in (0..6_400).filter(|n| n % 64 != 0) {
            rows.remove(&n);
        }
        assert_eq!((rows.len(), rows.chunks.len() <= 13), (100, true), "{}", rows.chunks.len());
    }
}

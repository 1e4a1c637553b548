//! A map as it is read: pair by pair, into whatever it becomes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// What says how many pairs there are may lie: it is believed up to so many.
const BELIEVED: usize = 64;

/// Reads a map; `begin` is told how many pairs may come, and `take` takes each.
///
/// # Errors
/// It is no map, or a pair is none of these.
pub(crate) fn read_pairs<'de, D, K, V, T>(
    from: D,
    begin: impl FnOnce(usize) -> T,
    take: impl FnMut(&mut T, K, V),
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de>,
    V: Deserialize<'de>,
{
    from.deserialize_map(Pairs { begin, take, pair: PhantomData })
}

struct Pairs<B, F, K, V> {
    begin: B,
    take: F,
    pair: PhantomData<(K, V)>,
}

impl<'de, B, F, K, V, T> Visitor<'de> for Pairs<B, F, K, V>
where
    B: FnOnce(usize) -> T,
    F: FnMut(&mut T, K, V),
    K: Deserialize<'de>,
    V: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
        let mut all = (self.begin)(map.size_hint().unwrap_or(0).min(BELIEVED));
        while let Some((key, value)) = map.next_entry()? {
            (self.take)(&mut all, key, value);
        }
        Ok(all)
    }
}

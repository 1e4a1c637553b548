//! Chance: everything that a seed decides. One stream of it for each thing that draws, so that what one
//! draws does not change what another does.

use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// A stream of chance. Clones draw from the same.
#[derive(Clone, Debug)]
pub struct Chance(Arc<Mutex<u64>>);

impl Chance {
    /// The stream of a seed for one purpose.
    pub fn of(seed: u64, purpose: &str) -> Self {
        // FNV-1a, started by the seed.
        let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in purpose.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let chance = Self(Arc::new(Mutex::new(state)));
        chance.next();
        chance
    }

    /// 64 random bits (SplitMix64, Steele et al. 2014).
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..most`; 0 where that is empty.
    pub fn below(&self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    /// One of `from..=to`.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True so often of a thousand times.
    pub fn per_mille(&self, often: u64) -> bool {
        often > 0 && self.below(1_000) < often
    }

    /// One of some things.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0))
    }

    /// A UUID of version 4.
    pub fn uuid(&self) -> Uuid {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// Random bytes.
    pub fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.next().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}

//! Random numbers that can be thrown again: `TARTARUS_TEST_SEED` repeats a failed test.

use std::hash::{BuildHasher as _, RandomState};

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// With the seed of the environment, or a new one, which is printed for a failure to show.
    #[allow(clippy::print_stderr, reason = "shown when the test fails")]
    pub fn new() -> Self {
        let seed = number("TARTARUS_TEST_SEED", RandomState::new().hash_one(0_u8));
        eprintln!("TARTARUS_TEST_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.throw() % limit
    }

    /// Dice that fall apart from these.
    pub fn split(&mut self) -> Self {
        Self(self.throw())
    }
}

/// A number from the environment.
pub fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => otherwise,
    }
}

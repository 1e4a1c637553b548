//! Random numbers from one seed, which a failing test names.

/// A stream of numbers (splitmix64; Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The seed of `TARTARUS_TEST_SEED`, else one of the clock, and the stream it makes.
    ///
    /// # Panics
    /// The variable is no number.
    pub fn from_env() -> (u64, Self) {
        let seed = match std::env::var("TARTARUS_TEST_SEED") {
            Ok(text) => text.parse().expect("TARTARUS_TEST_SEED is a number"),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64),
        };
        (seed, Self(seed))
    }

    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// A 32-digit hexadecimal name.
    pub fn name(&mut self) -> String {
        format!("{:016x}{:016x}", self.roll(), self.roll())
    }
}

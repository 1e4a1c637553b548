//! Log time: the one clock of the house.
//!
//! It starts at max(wall, the journal's last) and advances with the monotonic clock, corrected
//! towards the wall by at most a tenth: so it never goes back, never jumps, and an hour put back
//! on the wall costs ten hours of slightly slow time instead of an hour of none.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use domain::Timestamp;
use tokio::time::Instant;

/// A clock on the wall: the machine's, or one that a simulation turns.
#[derive(Clone)]
pub struct Wall(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Wall {
    /// The machine's.
    pub fn of_the_machine() -> Self {
        Self::reading(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
    }

    /// One that reads as `read` says, in microseconds since 1970.
    pub fn reading(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    fn now_us(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}

/// The clock of this process, shared by all actors; or one that stands still, for a past.
#[derive(Debug)]
pub struct Clock(Hands);

#[derive(Debug)]
enum Hands {
    Going(Wall, Mutex<State>),
    Still(Timestamp),
}

#[derive(Debug)]
struct State {
    at_us: u64,
    read: Instant,
}

impl Clock {
    /// A clock drawn to `wall` that starts after `last`, the journal's latest time.
    pub fn starting_after(wall: Wall, last: Timestamp) -> Self {
        let at_us = wall.now_us().max(last.0.saturating_mul(1_000));
        Self(Hands::Going(wall, Mutex::new(State { at_us, read: Instant::now() })))
    }

    /// A clock that always says `at`.
    pub fn standing_at(at: Timestamp) -> Self {
        Self(Hands::Still(at))
    }

    /// Goes on after `last` too, the latest time of a journal that another instance wrote meanwhile.
    pub fn raise_to(&self, last: Timestamp) {
        if let Hands::Going(_, state) = &self.0 {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.at_us = state.at_us.max(last.0.saturating_mul(1_000));
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let (wall, state) = match &self.0 {
            Hands::Going(wall, state) => (wall, state),
            Hands::Still(at) => return *at,
        };
        let read = Instant::now();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = read.saturating_duration_since(state.read).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        state.at_us = advance(state.at_us, passed, wall.now_us());
        state.read = read;
        Timestamp(state.at_us / 1_000)
    }
}

/// `passed` microseconds after `at`, drawn towards `wall` by at most a tenth of what has passed.
fn advance(at: u64, passed: u64, wall: u64) -> u64 {
    let free = at.saturating_add(passed);
    let most = passed / 10;
    if wall >= free { free + (wall - free).min(most) } else { free - (free - wall).min(most) }
}

#[cfg(test)]
mod tests {
    use super::advance;

    #[test]
    fn log_time_is_drawn_to_the_wall_by_at_most_a_tenth_and_never_goes_back() {
        for (at, passed, wall, expected) in [
            (1_000, 100, 1_100, 1_100),
            (1_000, 100, 1_105, 1_105),
            (1_000, 100, 9_000, 1_110),
            (1_000, 100, 0, 1_090),
            (1_000, 0, 9_000, 1_000),
            (1_000, 0, 0, 1_000),
        ] {
            assert_eq!(advance(at, passed, wall), expected, "{at} {passed} {wall}");
        }
    }
}

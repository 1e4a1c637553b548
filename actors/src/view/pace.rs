//! How fast runs are given to nodes: what an estimate of a wait rests on.

use std::collections::{BTreeMap, VecDeque};

use domain::submission::Pool;
use domain::{Event, Timestamp};

/// What counts as now.
const WINDOW_MS: u64 = 60_000;

/// Assignments of the last minute, counted a second, by the pool that runs prefer. Not part of the
/// World: nothing is decided by it.
#[derive(Debug, Default)]
pub struct Pace {
    seconds: BTreeMap<Pool, VecDeque<(u64, u32)>>,
}

impl Pace {
    /// Counts a run of a pool that was assigned.
    pub fn assigned(&mut self, pool: Pool, at: Timestamp) {
        let seconds = self.seconds.entry(pool).or_default();
        let second = at.0 / 1_000;
        match seconds.back_mut().filter(|(last, _)| *last == second) {
            Some((_, count)) => *count += 1,
            None => seconds.push_back((second, 1)),
        }
        while seconds.front().is_some_and(|(second, _)| is_past(*second, at)) {
            seconds.pop_front();
        }
    }

    /// Runs of a pool that were assigned in the minute before `now`.
    pub fn of(&self, pool: Pool, now: Timestamp) -> u32 {
        let seconds = self.seconds.get(&pool).into_iter().flatten();
        seconds.filter(|(second, _)| !is_past(*second, now)).map(|(_, count)| count).sum()
    }
}

fn is_past(second: u64, now: Timestamp) -> bool {
    now.0 >= second * 1_000 + WINDOW_MS
}

/// The run an event assigned, and when.
pub fn assigned(event: &Event) -> Option<(domain::RunId, Timestamp)> {
    match event {
        Event::RunAssigned(e) => Some((e.run, e.at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_counted_and_no_more() {
        let mut pace = Pace::default();
        for second in 0..90 {
            pace.assigned(Pool::Standard, Timestamp(second * 1_000));
            pace.assigned(Pool::Standard, Timestamp(second * 1_000 + 500));
        }
        assert_eq!(pace.of(Pool::Standard, Timestamp(89_999)), 120);
        assert_eq!(pace.of(Pool::Quarantine, Timestamp(89_999)), 0);
        assert_eq!(pace.of(Pool::Standard, Timestamp(149_000)), 0);
        assert!(pace.seconds[&Pool::Standard].len() <= 61);
    }
}

//! Many nodes that fall silent at once: more likely the way to them is gone than they are.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Losses within this time, a node's time to live where nothing is said, are counted together.
const WINDOW: Duration = Duration::from_secs(30);
/// So many may always be lost in it.
const ALWAYS: usize = 2;
/// And so many of a hundred.
const PERCENT: usize = 30;
/// Beyond that one is let go in this time: if they are gone, their work goes on, slowly.
const TRICKLE: Duration = Duration::from_secs(10);

/// Holds losses back that come in a mass.
#[derive(Debug, Default)]
pub struct Breaker {
    lost: VecDeque<Instant>,
}

impl Breaker {
    /// Whether one of `live` nodes may be lost now; it is counted if so, and not live any more.
    pub fn lets(&mut self, now: Instant, live: usize) -> bool {
        while self.lost.front().is_some_and(|lost| now.duration_since(*lost) >= WINDOW) {
            self.lost.pop_front();
        }
        // Those that were lost lately were live when it began.
        let most = ALWAYS.max((live + self.lost.len()) * PERCENT / 100);
        let trickles = || self.lost.back().is_none_or(|last| now.duration_since(*last) >= TRICKLE);
        let lets = self.lost.len() < most || trickles();
        if lets {
            self.lost.push_back(now);
        }
        lets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `silent` nodes among `live` are lost after so many seconds, asked every second.
    fn lost_after(live: usize, silent: usize, seconds: u64) -> usize {
        let (mut breaker, start, mut lost) = (Breaker::default(), Instant::now(), 0);
        for second in 0..=seconds {
            let now = start + Duration::from_secs(second);
            while lost < silent && breaker.lets(now, live - lost) {
                lost += 1;
            }
        }
        lost
    }

    #[test]
    fn a_few_are_lost_at_once_and_a_mass_slowly() {
        for (live, silent, seconds, lost) in [
            (1, 1, 0, 1),
            (2, 2, 0, 2),
            (3, 3, 0, 2),
            (3, 3, 9, 2),
            (3, 3, 10, 3),
            (100, 30, 0, 30),
            (100, 100, 0, 30),
            (100, 100, 20, 32),
        ] {
            let found = lost_after(live, silent, seconds);
            assert_eq!(found, lost, "{silent} of {live} after {seconds} s");
        }
    }

    #[test]
    fn losses_of_long_ago_do_not_count() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.lets(start, 3) && breaker.lets(start, 2) && !breaker.lets(start, 1));
        let later = start + WINDOW;
        assert!(breaker.lets(later, 3) && breaker.lets(later, 2) && !breaker.lets(later, 1));
    }
}

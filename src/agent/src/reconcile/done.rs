//! Tokens that must not start (again), the newest of them. An Olympus in its right mind never wants
//! one again that it has stopped wanting; one whose journal lost its tail may.

use std::collections::{BTreeSet, VecDeque};

use api::session::AttemptRef;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Done {
    tokens: BTreeSet<AttemptRef>,
    by_age: VecDeque<AttemptRef>,
}

impl Done {
    /// A megabyte of them: hours on a busy node, where a journal loses seconds.
    const MOST: usize = 16_384;

    pub(super) fn insert(&mut self, of: AttemptRef) {
        if self.tokens.insert(of) {
            self.by_age.push_back(of);
        }
        if self.by_age.len() > Self::MOST
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.tokens.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, of: &AttemptRef) -> bool {
        self.tokens.contains(of)
    }
}

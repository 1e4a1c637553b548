//! What the agent has complained of since it was last welcome.
//!
//! Owns:   the last complaint about each place, and when it was made.
//! Says:   whether one is news: the first about a place, another than the last, or one that is due
//!         again.
//! Never:  logs; knows a place from another but by its name.
//! Proof:  the tests below.

use std::collections::BTreeMap;

/// What goes on being wrong is said again this much later: whoever looks at a log of today should find
/// it there.
const AGAIN_MS: u64 = 10 * 60 * 1_000;

/// Addresses that were named as a leader's, at most; then all is news again.
const PLACES: usize = 64;

/// Complaints by what they are about.
#[derive(Debug, Default)]
pub(crate) struct Complaints(BTreeMap<String, (String, u64)>);

impl Complaints {
    /// Takes a complaint down. True where it is worth a line.
    pub(crate) fn is_news(&mut self, now_ms: u64, place: &str, complaint: &str) -> bool {
        if let Some((last, said_ms)) = self.0.get(place)
            && last == complaint
            && now_ms < said_ms.saturating_add(AGAIN_MS)
        {
            return false;
        }
        if self.0.len() >= PLACES {
            self.0.clear();
        }
        self.0.insert(place.to_owned(), (complaint.to_owned(), now_ms));
        true
    }

    /// All is well.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_news_once_about_each_place_until_it_changes_or_is_old() {
        let mut complaints = Complaints::default();
        for (now_ms, place, complaint, news) in [
            (0, "a", "refused", true),
            (0, "b", "refused", true),
            (1, "a", "refused", false),
            (1, "b", "refused", false),
            (2, "a", "no route", true),
            (3, "b", "refused", false),
            (4, "a", "refused", true),
            (AGAIN_MS - 1, "b", "refused", false),
            (AGAIN_MS, "b", "refused", true),
            (AGAIN_MS, "a", "refused", false),
            (AGAIN_MS + 1, "b", "refused", false),
        ] {
            let found = complaints.is_news(now_ms, place, complaint);
            assert_eq!(found, news, "{now_ms} {place} {complaint}");
        }
        complaints.forget();
        assert!(complaints.is_news(AGAIN_MS + 2, "a", "refused"));
    }

    #[test]
    fn places_without_end_are_not_all_remembered() {
        let mut complaints = Complaints::default();
        for place in 0..10 * PLACES {
            assert!(complaints.is_news(0, &place.to_string(), "refused"));
            assert!(complaints.0.len() <= PLACES);
        }
    }
}

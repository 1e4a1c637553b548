//! On any day: a draft that is the policy in force flips nothing, and neither does one that no
//! template meets.

use api::Time;
use domain::law::LawBook;
use domain::{Event, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::Config;
use replay::what_if::{Question, what_if};

use crate::day::{Entries, journal, source};
use crate::house::House;
use crate::script::day;
use crate::support::policy;

fn entries(past: &[Event]) -> Entries {
    past.iter().map(|event| vec![event.clone()]).collect()
}

fn submissions(past: &[Event], since: Timestamp) -> u64 {
    let counted = past.iter().filter(|event| {
        matches!(event, Event::RunAdmitted(_) | Event::RunRejected(_)) && event.at() >= since
    });
    counted.count() as u64
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_is_in_force_flips_nothing(steps in day(60)) {
        let mut house = House::new();
        for step in steps {
            house.live(step);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let law = house.lived.law.current();
        let journal = runtime.block_on(journal(&entries(&house.past)));
        let report = |draft, since: Timestamp, book: Option<LawBook>| {
            let question = Question { draft, since: Time(since.0), until: None, book };
            runtime.block_on(async {
                what_if(&mut source(&journal), question, |_| {}).await.expect("a report")
            })
        };
        for current in law.policies.values() {
            // Whatever else has changed since, the law of each moment has the rest.
            let put = house.lived.law.policy_history(&current.body.name).last();
            let since = Timestamp(put.expect("it is in force").at.0 + 1);
            let draft = || domain::law::Policy::clone(&current.body);
            let folded = report(draft(), since, None);
            let all = submissions(&house.past, since);
            let found = (folded.counts.submissions, folded.counts.judged, folded.flips_total);
            prop_assert_eq!(found, (all, all, 0), "{:#?}", folded);
            let known = report(draft(), since, Some(house.lived.law.clone()));
            prop_assert_eq!(folded.digest, known.digest, "known beforehand or folded");
        }
        let stranger = report(policy("stranger", &["no-such-*"]), Timestamp(0), None);
        let all = submissions(&house.past, Timestamp(0));
        prop_assert_eq!((stranger.counts.judged, stranger.counts.applied), (all, 0));
    }
}

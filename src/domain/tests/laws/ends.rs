//! How runs end on a random day, and the way back: what was cancelled never waits again, and a dead
//! letter is redriven once.

use std::sync::Arc;

use domain::command::Admit;
use domain::event::{End, Next, RunAdmitted};
use domain::judge::Case;
use domain::law::Verdict;
use domain::runs::Birth;
use domain::{Command, Court, Event, Inputs, Refusal, RunId, Status, World};
use proptest::sample::Index;

use crate::house::House;
use crate::support::{origin, run};

impl House {
    /// Judges a dead letter again, or any run, and asks for it as a new one.
    pub fn redrive(&mut self, index: Index, any: bool, stale: bool) {
        let admitted = |(run, status)| (status != Status::Rejected).then_some(run);
        let from: Vec<RunId> = if any {
            self.lived.runs.newest_first(None).filter_map(admitted).collect()
        } else {
            self.lived.dead.newest_first(false, None).map(|(run, _)| run).collect()
        };
        if from.is_empty() {
            return;
        }
        let dead = *index.get(&from);
        let found = self.lived.runs.get(dead).expect("it was listed").into_owned();
        let Birth::Admitted(recorded) = &found.birth else { panic!("it was let in") };
        let current = self.lived.law.current().clone();
        let law = self.earlier_law.clone().filter(|_| stale).unwrap_or_else(|| current.clone());
        let court = Arc::new(Court::new(law, None));
        let revision = court.law().revision;
        // Its template may be no more.
        let Ok(case) = Case::anew(&court, recorded) else { return };
        let judged = case.conclude(&Inputs::bare(true));
        let rejected = judged.judgement().verdict == Verdict::Reject;
        let letter = self.lived.dead.get(dead).cloned();
        let waiting = self.lived.dead.waiting();
        let (run, key, origin, redrive_of) = (run(self.draw()), None, origin(), Some(dead));
        let admit = Admit { run, judged, key, origin, queue_max: usize::MAX, redrive_of };
        let answer = self.ask(Command::Admit(Box::new(admit)));
        let redriven_as = letter.as_ref().map(|letter| letter.redriven_as);
        match answer {
            Err(Refusal::NotDead(_)) => assert_eq!(redriven_as, None),
            Err(Refusal::Redriven { redriven_as: by, .. }) => {
                assert_eq!(redriven_as, Some(Some(by)), "once is enough");
            }
            Err(Refusal::StaleLaw { .. }) => assert!(revision < current.revision),
            Err(Refusal::QuotaExceeded { .. }) => assert_eq!(redriven_as, Some(None)),
            Ok(decision) => {
                assert_eq!((redriven_as, revision), (Some(None), current.revision));
                let now = self.lived.dead.get(dead).expect("it is remembered").redriven_as;
                match &*decision.events {
                    [Event::RunAdmitted(e)] => {
                        assert_eq!((e.redrive_of, now), (Some(dead), Some(run)));
                        assert_eq!(e.submission, recorded.submission, "what was asked");
                        assert!(!rejected && self.lived.dead.waiting() == waiting - 1);
                    }
                    [Event::RunRejected(_)] => assert_eq!(now, None, "it waits on"),
                    other => panic!("a redrive is one event: {other:?}"),
                }
            }
            Err(refusal) => panic!("a redrive is never refused like this: {refusal}"),
        }
    }
}

/// What must be true before a run is let in.
pub fn foresee(world: &World, e: &RunAdmitted) {
    let Some(dead) = e.redrive_of else { return };
    let letter = world.dead.get(dead).expect("only the dead are redriven");
    assert_eq!(letter.redriven_as, None, "a dead letter is redriven once");
}

/// What must be true of an attempt's end.
pub fn expect_cancel(world: &World, run: RunId, next: Next) {
    let run = world.runs.live(run).expect("what ends was alive");
    let canceled = next == Next::End(End::Canceled);
    assert_eq!(canceled, run.cancel_requested, "a cancelled run never waits again");
}

/// A run goes to quarantine only where its policy says so of the state one event earlier.
pub fn expect_poison(world: &World, event: &Event) {
    let again = event.run().and_then(|run| world.quarantined_again(run, event.at()));
    assert_eq!(again.as_ref(), Some(event), "its policy sends it there");
}

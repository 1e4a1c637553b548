//! What a draft of a policy would have changed: every recorded submission judged under it, beside
//! what really became of it.
//!
//! Owns:   the question, the fold that answers it, and what a report's digest is.
//! Hears:  entries, from the first recorded submission since a time to an end.
//! Says:   a report; the same question of the same entries gives the same digest anywhere.
//! Never:  judges by anything but the law of the moment with the draft in its place, on what the
//!         record says was seen then: what flips, flips because of the draft.
//! Fails:  as [`Unreadable`]; a submission that can't be judged is counted with the reason.
//! Proof:  `src/replay/tests/what_if`, `tests/tests/live/what_if.rs`.

mod bench;
mod case;
mod digest;
mod tally;

use std::sync::Arc;
use std::time::Instant;

use api::Time;
use api::what_if::{DraftRef, Recorded, WhatIfReport};
use domain::court::Wants;
use domain::heat::Profiles;
use domain::ids::Sequence;
use domain::law::{LawBook, Policy};
use domain::tenants::Tenants;
use domain::{Court, Event, Timestamp};
use journal::catalog::{self, UnreadableRecord};
use journal::{Entry, Receipt, Record};

use self::bench::Bench;
use self::case::Case;
use self::tally::Tally;
use crate::fold::{self, Fold, Point};
use crate::source::{Finding, Over, Source, Unreadable};

pub use digest::{of_draft, of_report};

/// What is asked.
#[derive(Debug)]
pub struct Question {
    /// The draft, valid as `PUT` has it.
    pub draft: Policy,
    /// From when on.
    pub since: Time,
    /// The last entry that counts; all, where none is named.
    pub until: Option<Sequence>,
    /// Every version of the law, where it is known beforehand. Without it, it is folded from the
    /// journal's first entry.
    pub book: Option<LawBook>,
}

/// Judges what a source has.
///
/// # Errors
/// It can't be read, or the law of `since` can't be known from it.
pub async fn what_if(
    source: &mut Source,
    question: Question,
    seen: impl FnMut(Sequence),
) -> Result<WhatIfReport, Unreadable> {
    let began = Instant::now();
    let oldest = source.oldest().await?;
    let mut judging = Judging::new(question);
    match oldest.filter(|oldest| oldest.sequence > 1) {
        Some(oldest) if !judging.knows_law => {
            return Err(Unreadable::NotWhole { first: oldest.sequence });
        }
        _ if judging.knows_law && judging.past.is_none() => {
            source.skip_to(Point::Time(judging.since.into())).await?;
        }
        Some(oldest) => source.skip_to(Point::Sequence(oldest.sequence)).await?,
        None => {}
    }
    judging.oldest = oldest;
    let head = source.head().await?;
    let (judging, over) = fold::run(source, judging, seen).await;
    if let Some(first) = judging.no_law {
        return Err(Unreadable::NotWhole { first });
    }
    if let Some(bad) = judging.bad {
        return Err(Unreadable::Bad(bad));
    }
    match over {
        Over::Bad(finding) => return Err(Unreadable::Bad(finding)),
        Over::Trouble(trouble) => return Err(trouble),
        Over::End if judging.first.is_none() && !judging.knows_law => {
            return Err(Unreadable::Empty);
        }
        Over::End => {}
    }
    let mut report = judging.report(head.map(Receipt));
    report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// What there is to do with a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Law,
    Submission,
    /// It says nothing of either.
    Past,
}

fn use_of(kind: u16) -> Option<Use> {
    let name = catalog::TYPES.iter().find(|known| known.kind == kind)?.name;
    Some(match name {
        "policy.put" | "policy.deleted" | "template.put" | "template.deleted"
        | "heat_table.set" => Use::Law,
        "run.admitted" | "run.rejected" => Use::Submission,
        _ => Use::Past,
    })
}

/// What tenants had and what was learned, folded from the journal's first entry on: for a draft
/// that asks, since the record has it only where a policy of then asked too.
#[derive(Default)]
struct Past {
    tenants: Tenants,
    profiles: Profiles,
}

/// The fold.
struct Judging {
    draft: Arc<Policy>,
    since: Timestamp,
    until: Option<Sequence>,
    book: LawBook,
    knows_law: bool,
    /// What the draft wants to see.
    wants: Wants,
    past: Option<Past>,
    bench: Option<Bench>,
    uses: Vec<Option<Use>>,
    tally: Tally,
    oldest: Option<Recorded>,
    first: Option<Sequence>,
    last: Option<Receipt>,
    from: Option<Recorded>,
    /// The first entry, where the law before it is not known.
    no_law: Option<Sequence>,
    bad: Option<Finding>,
}

impl Judging {
    fn new(question: Question) -> Self {
        let Question { draft, since, until, book } = question;
        let alone = Court::from(alone(&draft));
        let wants =
            alone.statute_of(&draft.name).map(|statute| statute.wants()).unwrap_or_default();
        let asks = draft.quotas.is_any() || wants.tenant || wants.learned;
        let kinds = catalog::TYPES.iter().map(|known| known.kind).max().unwrap_or(0);
        Self {
            draft: Arc::new(draft),
            since: Timestamp(since.0),
            until,
            knows_law: book.is_some(),
            book: book.unwrap_or_default(),
            wants,
            past: asks.then(Past::default),
            bench: None,
            uses: (0..=kinds).map(use_of).collect(),
            tally: Tally::default(),
            oldest: None,
            first: None,
            last: None,
            from: None,
            no_law: None,
            bad: None,
        }
    }

    fn fold(&mut self, entry: &Entry) -> Result<(), UnreadableRecord> {
        let in_time = entry.header().at_ms >= self.since.0;
        for (n, record) in (0..).zip(entry.records()) {
            let used = self.uses.get(usize::from(record.kind)).copied().flatten();
            let wanted = match used {
                Some(Use::Law) | None => true,
                Some(Use::Submission) => in_time || self.past.is_some(),
                Some(Use::Past) => self.past.is_some(),
            };
            if !wanted {
                continue;
            }
            let seq = entry.seq();
            let event = catalog::decode(&record);
            let Some(event) = event.map_err(|fault| UnreadableRecord { seq, n, fault })? else {
                continue;
            };
            if used == Some(Use::Submission) && event.at() >= self.since {
                self.judge(seq, &record, &event);
            }
            if used == Some(Use::Law) {
                self.learn_law(&event);
            }
            if let Some(past) = &mut self.past {
                past.tenants.evolve(&event);
                past.profiles.evolve(&event);
            }
        }
        self.last = Some(Receipt(entry.id()));
        Ok(())
    }

    /// Folds a change of the law, where it is not known already.
    fn learn_law(&mut self, event: &Event) {
        let revision = match event {
            Event::PolicyPut(e) => e.revision,
            Event::PolicyDeleted(e) => e.revision,
            Event::TemplatePut(e) => e.revision,
            Event::TemplateDeleted(e) => e.revision,
            Event::HeatTableSet(e) => e.revision,
            _ => return,
        };
        if revision > self.book.current().revision {
            self.book.evolve(event);
        }
    }

    fn judge(&mut self, sequence: Sequence, record: &Record<'_>, event: &Event) {
        let Some(case) = Case::of(sequence, record, event) else { return };
        self.from.get_or_insert(Recorded { sequence: case.sequence, time: case.at.into() });
        let revision = case.judgement.revision;
        if self.bench.as_ref().is_none_or(|bench| bench.revision != revision) {
            let before = self.bench.take();
            self.bench = Some(Bench::new(self.book.at(revision), &self.draft, before));
        }
        if let Some(bench) = &self.bench {
            let found = case.judge(bench, self.past.as_ref());
            self.tally.count(&case, found);
        }
    }

    fn report(self, head: Option<Receipt>) -> WhatIfReport {
        let Self { draft, since, wants, tally, oldest, from, last, .. } = self;
        let begins = oldest.filter(|oldest| oldest.sequence > 1 && oldest.time >= since.into());
        let named = DraftRef { name: draft.name.clone(), digest: of_draft(&draft) };
        let mut report = tally.report(assumptions(&draft, wants), named, since.into());
        report.from = from;
        report.begins = begins;
        report.head = last.or(head).map(|receipt| receipt.to_string());
        report.digest = of_report(&report);
        report
    }
}

/// What the answer takes for granted, of which a reader should know.
fn assumptions(draft: &Policy, wants: Wants) -> Vec<String> {
    let mut all = vec![
        format!(
            "each submission is judged under the law of its moment with the draft in the place of \
             policy {}, one by one: what the draft would have kept out or let in changes nothing \
             for those after it",
            draft.name
        ),
        "what was answered with 429 or as invalid is not recorded, and not judged".to_owned(),
        "a quarantine node was there, unless the record says that none was".to_owned(),
    ];
    if draft.quotas.is_any() || wants.tenant {
        all.push("quotas and rules see what the tenant really had".to_owned());
    }
    if wants.now {
        all.push("now is the time of admission, where that of judging is not recorded".to_owned());
    }
    if wants.external {
        all.push(
            "judges elsewhere are not asked again: what one answered to a policy of the same name \
             counts for the draft too"
                .to_owned(),
        );
    }
    all
}

/// A law that has nothing but the draft.
fn alone(draft: &Policy) -> domain::Law {
    let mut law = domain::Law::default();
    let body = Arc::new(draft.clone());
    let current = domain::law::Current { version: 1, revision: 1, body };
    law.policies.insert(draft.name.clone(), current);
    law
}

impl Fold for Judging {
    fn entry(&mut self, entry: &Entry) -> bool {
        if self.until.is_some_and(|until| entry.seq() > until) {
            return false;
        }
        if self.first.is_none() {
            self.first = Some(entry.seq());
            if entry.seq() > 1 {
                // What tenants had before is not there to be folded.
                self.past = None;
                if !self.knows_law {
                    self.no_law = Some(entry.seq());
                    return false;
                }
            }
        }
        match self.fold(entry) {
            Ok(()) => self.until != Some(entry.seq()),
            Err(UnreadableRecord { seq: sequence, n, fault }) => {
                let what = fault.to_string();
                self.bad = Some(Finding { sequence, n: Some(n), line: None, what });
                false
            }
        }
    }
}

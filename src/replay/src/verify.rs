//! The audit of a journal: is it whole, and is what it says what the law says?
//!
//! Asks of every entry: sequence, chain, checksum, hash, epoch and time; of every checkpoint: whether
//! it is one ([`vouched`](crate::vouched)); of every event: that it can
//! be decoded, that deciding it again one event earlier comes to the same ([`again`](crate::again)),
//! and that the invariants hold of the step; of a snapshot: that its digest is that of the state it is
//! of; of the last state: every invariant; of what is missing at the beginning: that an event lets it
//! leave. Behind an event that
//! can't have happened there is no state to ask: from there on the chain alone is verified.
//!
//! Where secrets were taken out, what was judged by them can't be judged again, and is counted; the
//! state is another one than was lived, and has no digest. All else is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use api::event::Place;
use domain::ids::{Digest, Sequence};
use domain::invariants::{self, Before};
use domain::law::{Law, LawBook};
use domain::pieces::STATE_VERSION;
use domain::rules::Reads;
use domain::{Court, Event, Judged, RunId, World};
use journal::apart::{Secret, Secrets};
use journal::{Entry, EntryId, Kinds, Receipt};
use serde::Serialize;

use crate::again;
use crate::fold::{self, FoldMade, Happened, Prepare, Told};
use crate::source::{Finding, Over, Source, Unreadable};
use crate::vouched::{Trust, Vouched, Vouching};

/// Findings that are told: a broken law breaks it everywhere.
const FINDINGS_MAX: usize = 20;

/// What an audit came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether nothing was found.
    pub good: bool,
    /// Entries read.
    pub entries: u64,
    /// Events folded.
    pub events: u64,
    /// Bytes of entries.
    pub bytes: u64,
    /// The first entry.
    pub first: Sequence,
    /// Receipt of the last entry that is whole and chained.
    pub last: Option<String>,
    /// The last entry before the first finding.
    pub good_until: Sequence,
    /// Epoch of the last leader.
    pub epoch: u64,
    /// Events that were decided again.
    pub decided_again: u64,
    /// Judgements among them.
    pub judgements: u64,
    /// Assignments among them.
    pub assignments: u64,
    /// Judgements that could not be made again: what they were made by was taken out.
    pub not_judged: u64,
    /// Events that something was taken out of.
    pub redacted: u64,
    /// Snapshots whose digest is of another shape of the state than this program's.
    pub not_compared: u64,
    /// Digest of the last state; none where it was not folded from the first entry to the last, or
    /// something was taken out.
    pub digest: Option<String>,
    /// Who vouches for it.
    pub vouching: Vouching,
    /// How long it took.
    pub elapsed_ms: u64,
    /// Events a second.
    pub events_per_s: u64,
    /// What is wrong, the first of it.
    pub findings: Vec<Finding>,
    /// How much is wrong in all.
    pub found: u64,
}

/// Audits all that a source has.
///
/// # Errors
/// There is nothing to audit, or it can't be read to its end.
pub async fn verify(
    source: &mut Source,
    seen: impl FnMut(Sequence, Option<Sequence>),
) -> Result<Report, Unreadable> {
    verify_with(source, Trust::default(), seen).await
}

/// The same, with what the auditor knows from elsewhere.
///
/// # Errors
/// As [`verify`].
pub async fn verify_with(
    source: &mut Source,
    trust: Trust,
    mut seen: impl FnMut(Sequence, Option<Sequence>),
) -> Result<Report, Unreadable> {
    let began = Instant::now();
    let (head, unsaid) = match source.end().await? {
        Some(Ok(head)) => (Some(head), None),
        Some(Err(refusal)) => (None, Some(refusal)),
        None => (None, None),
    };
    // An export is of what was asked for; it proves what it holds.
    let part = matches!(source, Source::File(_));
    let audit = Audit { head, part, vouched: Vouched::new(trust), ..Audit::default() };
    let (mut audit, over) =
        fold::prepared(source, Hearing::default(), audit, |at| seen(at, head.map(|head| head.seq)))
            .await;
    match over {
        Over::End => {}
        Over::Bad(finding) => audit.found(finding),
        Over::Trouble(trouble) => return Err(trouble),
    }
    let Some(first) = audit.first else {
        return match audit.findings.pop() {
            Some(finding) => Err(Unreadable::Bad(finding)),
            None => Err(Unreadable::Empty),
        };
    };
    audit.at_the_end();
    // What is wrong with the entries themselves is said by them.
    if let Some(refusal) = unsaid.filter(|_| audit.findings.is_empty()) {
        let sequence = audit.last.map(|id| id.seq).unwrap_or_default();
        audit.wrong(Place { sequence, n: None }, refusal.to_string());
    }
    let vouching = std::mem::take(&mut audit.vouched).at_the_end();
    for finding in &vouching.findings {
        audit.found(finding.clone());
    }
    audit.findings.sort_by_key(|finding| finding.sequence);
    // Where a signature does not fit, only what another one vouches for is known to be good.
    let sure = if vouching.is_good() { None } else { Some(vouching.last_signed.unwrap_or(0)) };
    let elapsed = began.elapsed();
    let last = audit.last.map(|id| id.seq).unwrap_or_default();
    Ok(Report {
        good: audit.findings.is_empty(),
        entries: audit.entries,
        events: audit.events,
        bytes: audit.bytes,
        first,
        last: audit.last.map(|id| Receipt(id).to_string()),
        good_until: audit
            .findings
            .first()
            .map_or(last, |found| found.sequence.saturating_sub(1).min(last))
            .min(sure.unwrap_or(last)),
        epoch: audit.epoch,
        decided_again: audit.decided,
        judgements: audit.judgements,
        assignments: audit.assignments,
        vouching,
        not_judged: audit.not_judged,
        redacted: audit.redacted,
        not_compared: audit.not_compared,
        digest: audit.is_exact().then(|| audit.world.digest().to_string()),
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        events_per_s: (audit.events as f64 / elapsed.as_secs_f64().max(1e-6)) as u64,
        found: audit.count,
        findings: audit.findings,
    })
}

/// Judges again what came in, on the way to the fold: that takes the law alone.
#[derive(Default)]
struct Hearing {
    law: LawBook,
    court: Arc<Court>,
    /// Whether the law is known: it is from the first entry on.
    whole: Option<bool>,
}

/// An entry, and what the judges say again of each of its events that a submission came in by.
struct Heard {
    told: Told,
    judged: Vec<Option<Result<Judged, String>>>,
}

impl Prepare for Hearing {
    type Made = Heard;

    fn prepare(&mut self, entry: Entry) -> Heard {
        let told = Told::from(entry);
        let whole = *self.whole.get_or_insert(told.entry.seq() == 1);
        let judge = |Happened { event, .. }: &Happened| {
            let judged = again::heard(sit(&mut self.court, self.law.current()), event);
            self.law.evolve(event);
            judged
        };
        let judged = if whole { told.events.iter().map(judge).collect() } else { Vec::new() };
        Heard { told, judged }
    }
}

/// The court of a law, made anew where the law has changed.
fn sit<'c>(court: &'c mut Arc<Court>, law: &Arc<Law>) -> &'c Arc<Court> {
    if !Arc::ptr_eq(court.law(), law) {
        *court = Arc::new(Court::new(law.clone(), Some(court)));
    }
    court
}

/// The fold of an audit.
#[derive(Default)]
struct Audit {
    world: World,
    /// Of the law when it was asked last: see [`sit`].
    court: Arc<Court>,
    /// The newest entry when the audit began.
    head: Option<EntryId>,
    /// Whether it may begin anywhere.
    part: bool,
    /// The first entry that is to stay, as the journal says.
    kept_from: Sequence,
    /// Whether this entry begins a snapshot; and the digests of the states that snapshots are of.
    begun: bool,
    states: BTreeMap<Sequence, Digest>,
    first: Option<Sequence>,
    last: Option<EntryId>,
    epoch: u64,
    entries: u64,
    events: u64,
    bytes: u64,
    decided: u64,
    judgements: u64,
    assignments: u64,
    vouched: Vouched,
    not_judged: u64,
    redacted: u64,
    not_compared: u64,
    /// What is hidden of runs in quarantine, which may be judged once more.
    hidden: BTreeMap<RunId, Kinds>,
    findings: Vec<Finding>,
    count: u64,
    /// Whether an event can't have happened: what follows from it is nobody's state.
    impossible: bool,
}

impl Audit {
    /// Whether the state is folded, from the beginning and up to here.
    fn is_whole(&self) -> bool {
        self.first == Some(1) && !self.impossible
    }

    /// Whether the state is the one that was lived.
    fn is_exact(&self) -> bool {
        self.is_whole() && self.redacted == 0
    }

    /// Whether an event is a judgement by what was taken out.
    fn is_by_secrets(&mut self, event: &Event, secrets: Secrets<'_>) -> bool {
        let taken = |secret| secret == Secret::Redacted;
        let here = Kinds { env: taken(secrets.env), stdin: taken(secrets.stdin) };
        let (hidden, reads) = match event {
            Event::RunAdmitted(e) => {
                // It may be judged again, when it is let out of quarantine.
                if here != Kinds::NONE {
                    self.hidden.insert(e.run, here);
                }
                (here, self.reads(&e.submission.template))
            }
            Event::RunRejected(e) => (here, self.reads(&e.submission.template)),
            Event::RunReleased(e) => {
                let hidden = self.hidden.get(&e.run).copied().unwrap_or_default();
                let run = self.world.runs.get(e.run);
                let template = run.map(|run| run.submission().template.clone());
                (hidden, template.map(|template| self.reads(&template)).unwrap_or_default())
            }
            _ if self.hidden.is_empty() => return false,
            _ => {
                let ended = event.run().filter(|run| self.world.runs.live(*run).is_none());
                if let Some(run) = ended {
                    self.hidden.remove(&run);
                }
                return false;
            }
        };
        reads.env && hidden.env || reads.stdin && hidden.stdin
    }

    /// What the rules read that apply to a template.
    fn reads(&mut self, template: &str) -> Reads {
        sit(&mut self.court, self.world.law.current()).statute_for(template).reads()
    }

    fn found(&mut self, finding: Finding) {
        self.count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    fn wrong(&mut self, place: Place, what: impl Into<String>) {
        let Place { sequence, n } = place;
        self.found(Finding { sequence, n, line: None, what: what.into() });
    }

    fn event(
        &mut self,
        entry: &Entry,
        Happened { n, version, event }: &Happened,
        secrets: Secrets<'_>,
        heard: Option<Result<Judged, String>>,
    ) {
        let (header, place) = (entry.header(), Place { sequence: entry.seq(), n: Some(*n) });
        if event.at() < self.world.now {
            self.wrong(place, "it is earlier than the event before it");
        }
        if event.at().0 > header.at_ms {
            self.wrong(place, "it is later than its entry");
        }
        if let Event::LeaderStarted(led) = event {
            let own = (led.epoch, led.boot) == (header.epoch, header.boot);
            if !own || led.epoch <= self.world.epoch {
                self.wrong(place, "J-4: it does not begin the reign that its entry belongs to");
            }
        } else if self.is_whole() && header.epoch != self.world.epoch {
            self.wrong(place, "J-4: its leader has not begun its reign");
        }
        self.kept(place, event);
        if !self.is_whole() {
            return;
        }
        let redacted = secrets.is_redacted() || !self.hidden.is_empty();
        if redacted && self.is_by_secrets(event, secrets) {
            self.not_judged += 1;
        } else if let Some(again) = {
            let court = sit(&mut self.court, self.world.law.current());
            again::decided(&self.world, court, event, heard, *version)
        } {
            self.decided += 1;
            match event {
                Event::RunAdmitted(_) | Event::RunRejected(_) | Event::RunReleased(_) => {
                    self.judgements += 1;
                }
                Event::RunAssigned(_) => self.assignments += 1,
                _ => {}
            }
            if let Err(what) = again {
                self.impossible = true;
                return self.wrong(place, format!("D-1: {what}"));
            }
        }
        let before = Before::of(&self.world, event);
        self.world.evolve(entry.seq(), event);
        if let Err(violation) = before.check(event, &self.world) {
            self.impossible = true;
            self.wrong(place, violation.to_string());
        }
    }

    /// What is said of snapshots, and of what may leave.
    fn kept(&mut self, place: Place, event: &Event) {
        match event {
            Event::JournalTrimmed(e) => self.kept_from = e.first,
            Event::SnapshotBegun(_) => self.begun = true,
            Event::SnapshotTaken(e) if self.is_whole() => match self.states.get(&e.index) {
                None => self.wrong(place, format!("entry {} begins no snapshot", e.index)),
                Some(digest) if *digest == e.digest => {}
                // Of another shape of the state, by an older program or a newer one, or of one that
                // does not say.
                Some(_) if e.state != STATE_VERSION => self.not_compared += 1,
                Some(digest) if self.redacted == 0 => {
                    let what = format!("the state after entry {} is {digest}", e.index);
                    self.wrong(place, what);
                }
                // Without what was taken out, the state is another one.
                Some(_) => {}
            },
            _ => {}
        }
    }

    fn at_the_end(&mut self) {
        if let Some(first) = self.first.filter(|first| !self.part && *first > self.kept_from.max(1))
        {
            let what = "those before it are missing, and no event lets them leave; where they are \
                        archived, name it (--archive)";
            self.wrong(Place { sequence: first, n: None }, what);
        }
        let last = self.last.map(|id| id.seq).unwrap_or_default();
        let end = Place { sequence: last, n: None };
        // What ended early is known not to reach the head.
        if let Some(head) = self.head.filter(|head| head.seq > last && self.findings.is_empty()) {
            let what = format!("the journal's head is {head}, and nothing is there");
            self.wrong(Place { sequence: last + 1, n: None }, what);
        }
        if self.is_whole()
            && self.findings.is_empty()
            && let Err(violation) = invariants::state(&self.world)
        {
            self.wrong(end, violation.to_string());
        }
    }
}

impl FoldMade<Heard> for Audit {
    fn made(&mut self, made: Vec<Heard>) -> bool {
        made.into_iter().all(|heard| self.heard(heard))
    }
}

impl Audit {
    fn heard(&mut self, Heard { told, judged }: Heard) -> bool {
        let Told { entry, events, fault } = told;
        self.first.get_or_insert(entry.seq());
        if let Some(head) = self.head.filter(|head| head.seq == entry.seq())
            && head != entry.id()
        {
            let what = format!("the journal's head says that it is {head}");
            self.wrong(Place { sequence: entry.seq(), n: None }, what);
        }
        let taken_out = if entry.is_redacted() { usize::MAX } else { 0 };
        let secrets: Vec<_> = entry.records().take(taken_out).map(|r| r.secrets).collect();
        let mut judged = judged.into_iter();
        for happened in &events {
            let secrets = secrets.get(happened.n as usize).copied().unwrap_or(Secrets::NONE);
            self.event(&entry, happened, secrets, judged.next().flatten());
        }
        if let Some(fault) = &fault {
            self.found(fault.into());
        }
        let read = fault.as_ref().map_or(entry.header().records, |fault| fault.n);
        self.events += u64::from(read);
        let redacted = secrets.iter().take(read as usize).filter(|s| s.is_redacted());
        self.redacted += redacted.count() as u64;
        if fault.is_some() {
            return false;
        }
        self.vouched.entry(&entry);
        if std::mem::take(&mut self.begun) && self.is_whole() {
            self.states.insert(entry.seq(), self.world.digest());
        }
        self.entries += 1;
        self.bytes += entry.bytes().len() as u64;
        self.epoch = entry.header().epoch;
        self.last = Some(entry.id());
        true
    }
}

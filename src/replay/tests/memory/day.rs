//! A day: commands decided by the law, and the journal that has their events.

use std::sync::Arc;

use domain::command::{Admit, Command, Guard, Reported};
use domain::event::{LeaderStarted, Output};
use domain::fleet::QUARANTINE_LABEL;
use domain::ids::Hex;
use domain::judge::{Inputs, Request, judge_again};
use domain::law::{Losses, OnExceeded, Poison, Quotas, Rule, Verdict};
use domain::pieces::STATE_VERSION;
use domain::placement::Assignment;
use domain::runs::Birth;
use domain::submission::{OnLost, Retry};
use domain::{Court, Event, Timestamp, World};
use journal::{Batch, Chain, Entry, Format, Journal, MemoryJournal, Tail, catalog};
use replay::Source;
use uuid::Uuid;

use crate::law::{
    NODE, T0, boot, cancel, ended, exited, join, judged, key, lose, map, node, of_tenant, origin,
    policy, put, quarantined, redrive, report, request, run, template, token,
};

/// Entries of events.
pub type Entries = Vec<Vec<Event>>;

/// Everything that a house does in a day, an entry a command, and what it came to.
pub fn day() -> (Entries, World) {
    let mut day = Day { world: World::default(), entries: Vec::new(), at: T0, leads: 0 };
    day.lead();
    day.ask(put(policy("open", &["*"]), Guard::Absent));
    let on_exceeded = OnExceeded::Reject;
    let quotas = Quotas { pending: Some(3), on_exceeded, ..Quotas::default() };
    day.ask(put(domain::law::Policy { quotas, ..policy("narrow", &["host"]) }, Guard::Absent));
    day.ask(join("n1", 1, NODE, &[]));
    day.ask(join("q1", 1, NODE, &[(QUARANTINE_LABEL, "true")]));
    for n in 1..=6 {
        // The fourth of a tenant is one too many: Minos refuses it, and that is kept.
        day.admit(n, if n <= 4 { of_tenant("acme") } else { request() });
    }
    day.admit(7, quarantined());
    day.assign(1, "n1");
    day.assign(7, "q1");
    day.ask(report(1, "n1", Reported::Started));
    day.ask(report(1, "n1", ended(exited(0))));
    day.ask(cancel(2));
    day.lead();
    day.ask(Command::PauseQueue { origin: origin() });
    day.ask(Command::ResumeQueue { origin: origin() });
    day.assign(5, "n1");
    day.ask(lose("n1", 1));
    day.ask(put(policy("open", &["*"]), Guard::Version(1)));
    day.ask(Command::DeletePolicy { name: "narrow".into(), guard: Guard::None, origin: origin() });
    for n in 10..30 {
        day.admit(n, request());
        day.ask(cancel(n));
    }
    (day.entries, day.world)
}

/// What nobody may see of [`secret_day`]: a value of the environment, standard input, a template's.
pub const SECRETS: [&str; 3] = ["hunter2-hunter2", "the input of a secret kind", "template-pass"];

/// A day of runs with secrets, some of them judged by their environment, with every kind of mark.
pub fn secret_day() -> (Entries, World) {
    let mut day = Day { world: World::default(), entries: Vec::new(), at: T0, leads: 0 };
    let [token, input, of_template] = SECRETS;
    day.lead();
    let level = domain::kept::LEVEL;
    day.ask(Command::RaiseLevel { level, origin: origin() });
    let (when, verdict) = ("request.env.TOKEN == \"known\"".into(), Verdict::Reject);
    let rule = Rule { name: "leaked".into(), when, verdict, reason: "it is known".into() };
    let on_lost = Losses { retries: 0, then: Poison::Quarantine };
    let careful =
        domain::law::Policy { rules: vec![rule], on_lost, ..policy("careful", &["careful"]) };
    day.ask(put(policy("open", &["*"]), Guard::Absent));
    day.ask(put(careful, Guard::Absent));
    let env = map(&[("PASS", of_template)]);
    let template = domain::law::Template { env, ..template("careful") };
    day.ask(Command::PutTemplate { template, guard: Guard::Absent, origin: origin() });
    day.ask(join("n1", 1, NODE, &[]));
    day.ask(join("q1", 1, NODE, &[(QUARANTINE_LABEL, "true")]));
    let env = |value: &str| map(&[("LANG", "C"), ("TOKEN", value)]);
    let careful =
        |value: &str| Request { template: "careful".into(), env: env(value), ..request() };
    day.admit(1, Request { env: env(token), stdin: input.into(), ..request() });
    day.admit(2, Request { on_lost: OnLost::Retry, ..careful(token) });
    day.admit(3, careful("known"));
    day.admit(4, Request { stdin: input.into(), ..request() });
    day.admit(5, Request { metadata: map(&[("quarantine", "true")]), ..careful(token) });
    day.admit(6, request());
    day.assign(1, "n1");
    day.ask(report(1, "n1", Reported::Started));
    let Reported::Finished { exit, usage, output } = ended(exited(0)) else { unreachable!() };
    let output = Output { stdout_bytes: 9, digest: Some(Hex([0xd1; 32])), ..output };
    day.ask(report(1, "n1", Reported::Finished { exit, usage, output }));
    let court = Court::new(day.world.law.current().clone(), None);
    day.assign(2, "n1");
    day.ask(lose("n1", 1));
    // One that a judge had sent to quarantine, and one that took a node down.
    for n in [5, 2] {
        let waiting = day.world.runs.live(run(n)).filter(|run| run.is_quarantined());
        let Some(Birth::Admitted(waits)) = waiting.map(|run| run.birth.clone()) else {
            panic!("{n} waits in quarantine")
        };
        let judged = Box::new(judge_again(&court, &waits, &Inputs::bare(true)));
        let reason = "looked at".into();
        day.ask(Command::Release { run: run(n), judged, reason, origin: origin() });
    }
    day.ask(Command::BeginSnapshot);
    let (index, digest) = (day.entries.len() as u64 + 1, day.world.digest());
    day.ask(Command::TakeSnapshot { index, digest, bytes: 9, state: STATE_VERSION });
    (day.entries, day.world)
}

/// A run fails twice, with a pause of a second and `chance` between, and is redriven.
pub fn day_of_failures(chance: u64) -> (Entries, World) {
    let mut day = Day { world: World::default(), entries: Vec::new(), at: T0, leads: 0 };
    day.lead();
    day.ask(join("n1", 1, NODE, &[]));
    let retry = Some(Retry { max_attempts: 2, backoff_ms: 1_000 });
    day.admit(1, Request { retry, ..request() });
    day.admit(2, request());
    for _ in 0..2 {
        day.assign(1, "n1");
        let Command::Report { report, .. } = report(1, "n1", ended(exited(1))) else {
            panic!("it is one")
        };
        day.ask(Command::Report { report, chance });
        day.at = day.at.plus(1_000);
    }
    let again = judged(&day.world, Request { retry, ..request() });
    day.ask(redrive(3, again, 1));
    (day.entries, day.world)
}

struct Day {
    world: World,
    entries: Entries,
    at: Timestamp,
    leads: u64,
}

impl Day {
    fn happens(&mut self, events: Vec<Event>) {
        assert!(!events.is_empty(), "something happens");
        for event in &events {
            self.world.evolve(self.entries.len() as u64 + 2, event);
        }
        self.entries.push(events);
        self.at = self.at.plus(1_000);
    }

    fn lead(&mut self) {
        self.leads += 1;
        let (at, epoch, boot) = (self.at, self.leads, boot(self.leads));
        let (url, version) = ("http://127.0.0.1:1".into(), "0.1.0".into());
        let started = LeaderStarted { at, epoch, boot, url, version, key: None, reads_level: 1 };
        self.happens(vec![Event::LeaderStarted(Arc::new(started))]);
    }

    fn ask(&mut self, command: Command) {
        let decision = self.world.decide(self.at, command).expect("the law allows it");
        self.happens(decision.events);
    }

    fn admit(&mut self, n: u64, request: Request) {
        let key = Some((key(&format!("key-{n}"), 1), 0));
        let judged = judged(&self.world, request);
        let (run, origin, queue_max) = (run(n), origin(), 9);
        let redrive_of = None;
        let admit = Admit { run, judged, key, origin, queue_max, redrive_of };
        self.ask(Command::Admit(Box::new(admit)));
    }

    fn assign(&mut self, n: u64, on: &str) {
        let assignment = Assignment { run: run(n), node: node(on), fallback: false };
        self.ask(Command::Assign { assignment, token: token(n), planned_at: 7 });
    }
}

/// A journal that has these events, whatever they say; it begins with an entry that has none.
pub async fn journal(entries: &Entries) -> MemoryJournal {
    journal_in(entries, |_| Format::Apart).await
}

/// The same in another format, from event to event.
pub async fn journal_in(entries: &Entries, format: impl Fn(usize) -> Format) -> MemoryJournal {
    let journal = MemoryJournal::default();
    let mut tail = journal.open(None).await.expect("a journal").tail;
    let mut chain = Chain::lead_from(tail, Uuid::nil());
    for (n, events) in entries.iter().enumerate() {
        if let [Event::LeaderStarted(led)] = events.as_slice() {
            tail = Tail { epoch: led.epoch - 1, ..journal.check().await.expect("its tail") };
            chain = Chain::lead_from(tail, led.boot);
        }
        let mut batch = Batch::of(format(n));
        for event in events {
            catalog::encode(event, &mut batch).expect("a record");
        }
        let at = events.iter().map(Event::at).max().unwrap_or_default();
        let sealed = chain.seal(at.0, batch).expect("below the limit");
        journal.append(&sealed).await;
    }
    journal
}

/// The same, to be read.
pub fn source(journal: &MemoryJournal) -> Source {
    Source::journal(Arc::new(journal.clone()))
}

/// The entries of a journal.
pub async fn entries(journal: &MemoryJournal) -> Vec<Entry> {
    let mut source = source(journal);
    let mut all = Vec::new();
    loop {
        let (page, over) = source.page().await;
        all.extend(page);
        if over.is_some() {
            return all;
        }
    }
}

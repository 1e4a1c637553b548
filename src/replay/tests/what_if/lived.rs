//! A past that is lived through with all that judges want to see, and asked about.

use std::sync::Arc;

use api::Time;
use api::what_if::WhatIfReport;
use domain::command::{Admit, Guard};
use domain::event::LeaderStarted;
use domain::judge::{Case, ExternalAnswer, Heard, Request, hear};
use domain::law::{LawBook, Policy};
use domain::{Command, Court, Event, Inputs, Judged, Timestamp, World};
use journal::MemoryJournal;
use replay::what_if::{Question, what_if};

use crate::day::{Entries, journal, source};
use crate::support::*;

/// A house without judges of its own kind: events as the law decides them, an entry a command.
pub struct Lived {
    pub world: World,
    pub entries: Entries,
    pub at: Timestamp,
    /// What judges elsewhere answer from here on.
    pub answers: Vec<ExternalAnswer>,
    pub quarantine_on: bool,
    runs: u64,
}

impl Lived {
    /// In which everything is allowed, and a node can quarantine.
    pub fn open() -> Self {
        let mut lived = Self::new();
        lived.ask(put(policy("open", &["*"]), Guard::Absent));
        lived.ask(join("q1", 1, BIG_NODE, QUARANTINE));
        lived
    }

    /// With the built-in law, and no node.
    pub fn new() -> Self {
        let (at, boot) = (T0, boot(1));
        let (url, version) = ("http://127.0.0.1:1".into(), "0.1.0".into());
        let led = LeaderStarted { at, epoch: 1, boot, url, version, key: None, reads_level: 1 };
        let world = World::default();
        let mut lived = Self {
            world,
            entries: Vec::new(),
            at,
            answers: Vec::new(),
            quarantine_on: true,
            runs: 0,
        };
        lived.happens(vec![Event::LeaderStarted(Arc::new(led))]);
        lived
    }

    fn happens(&mut self, events: Vec<Event>) {
        for event in &events {
            self.world.evolve(self.entries.len() as u64 + 2, event);
        }
        self.entries.push(events);
        self.at = self.at.plus(SECOND);
    }

    pub fn ask(&mut self, command: Command) {
        let decision = self.world.decide(self.at, command).expect("the law allows it");
        assert!(!decision.events.is_empty(), "something happens");
        self.happens(decision.events);
    }

    pub fn put(&mut self, policy: Policy) {
        self.ask(put(policy, Guard::None));
    }

    /// Submits, as the gateway does: judges see what they want to see, and no more.
    pub fn submit(&mut self, request: Request) -> u64 {
        self.runs += 1;
        let judged = self.judged(request);
        let (key, origin, queue_max) = (None, origin(), QUEUE_MAX);
        let run = run(self.runs);
        let redrive_of = None;
        let admit = Admit { run, judged, key, origin, queue_max, redrive_of };
        self.ask(Command::Admit(Box::new(admit)));
        self.runs
    }

    fn judged(&self, request: Request) -> Judged {
        let court = Arc::new(Court::new(self.world.law.current().clone(), None));
        let heard = hear(&court, request, self.quarantine_on).expect("the template exists");
        let case = match heard {
            Heard::Judged(judged) => return judged,
            Heard::Open(case) => case,
        };
        let inputs = self.inputs(&case);
        case.conclude(&inputs)
    }

    fn inputs(&self, case: &Case) -> Inputs {
        let (wants, submission) = (case.wants(), case.submission());
        let held = self.world.tenants.holdings(submission.tenant(), self.at);
        let learned = self.world.profiles.learned(&submission.template);
        Inputs {
            quarantine_on: self.quarantine_on,
            at: if wants.now || wants.tenant { self.at } else { Timestamp::default() },
            index: 1,
            tenant: if wants.tenant { held } else { Default::default() },
            learned: learned.filter(|_| wants.learned),
            external: if wants.external { self.answers.clone() } else { Vec::new() },
        }
    }

    /// What a draft would have changed, from the first entry on.
    pub async fn under(&self, draft: Policy) -> WhatIfReport {
        self.asked(draft, T0, None, None).await
    }

    pub async fn asked(
        &self,
        draft: Policy,
        since: Timestamp,
        until: Option<u64>,
        book: Option<LawBook>,
    ) -> WhatIfReport {
        let journal = journal(&self.entries).await;
        asked_of(&journal, draft, since, until, book).await
    }
}

pub async fn asked_of(
    journal: &MemoryJournal,
    draft: Policy,
    since: Timestamp,
    until: Option<u64>,
    book: Option<LawBook>,
) -> WhatIfReport {
    let question = Question { draft, since: Time(since.0), until, book };
    what_if(&mut source(journal), question, |_| {}).await.expect("a report")
}

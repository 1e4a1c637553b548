//! A house that lives a day, and checks itself at every event.
//!
//! Beside the World that decides it keeps the same past in other forms: worlds folded from the
//! encoded events alone, each part folded alone, the line as its projector sees it, and a model of
//! idempotency keys that shares no code with the law.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::command::{Admit, Guard, Report, Reported};
use domain::event::{KeyUse, LeaderStarted, NodeLostCause, Output, Usage};
use domain::ids::{Hex, Sequence};
use domain::invariants;
use domain::judge::{judge, judge_again, judge_resolved};
use domain::law::{Law, Limits, OnExceeded, Policy, Quotas, Verdict};
use domain::line::{LineChange, LineKey};
use domain::pieces::Rebuild;
use domain::placement::{Ask, Assignment, Plan, Room, may_assign, plan};
use domain::runs::Birth;
use domain::submission::{Demand, Pool, Submission};
use domain::tenants::Holdings;
use domain::{
    Command, Court, Decision, Event, Inputs, Judgement, NodeId, Refusal, RunId, Status, Timestamp,
    Token, World,
};

use crate::asks::*;
use crate::ends;
use crate::numbers;
use crate::parts::Parts;
use crate::script::{Asked, Shown, Step, What};
use crate::support::*;
use crate::wire;

/// A key's window, as the contract states it (24 h), and not as the law does.
const KEY_WINDOW_MS: u64 = 24 * HOUR;

#[derive(Default)]
pub struct House {
    /// The World that decides: it runs ahead of the journal and knows no sequence.
    pub lived: World,
    /// All that has happened.
    pub past: Vec<Event>,
    /// Folded from the journal's bytes, without sequences.
    folded: World,
    /// Folded from the journal's bytes, with sequences.
    replayed: World,
    alone: Parts,
    projected: BTreeMap<LineKey, RunId>,
    keyed: BTreeMap<(String, String), Keyed>,
    tokens: BTreeSet<Token>,
    last_token: Option<Token>,
    now: Timestamp,
    sequence: Sequence,
    drawn: u64,
    pub earlier_law: Option<Arc<Law>>,
    /// Every submission that became a run: when, whose, and whether it was let in.
    born: Vec<(Timestamp, String, bool)>,
    planned: Vec<Assignment>,
    /// Kept up as placement keeps it.
    room: Room,
}

struct Keyed {
    since: Timestamp,
    body: u8,
    runs: BTreeMap<u32, RunId>,
}

impl House {
    /// A house at `T0` in which everything is allowed and nothing has a node.
    pub fn new() -> Self {
        let mut house = Self { now: T0, ..Self::default() };
        house.lead();
        house.ask(raise()).expect("it is the first");
        let open = Policy { limits: Limits { gpu: 64, ..NO_LIMITS }, ..policy("open", &["*"]) };
        house.ask(put(open, Guard::Absent)).expect("there is none yet");
        house
    }

    /// The same, where no tenant may have more than this.
    pub fn within(quotas: Quotas) -> Self {
        let mut house = Self::new();
        let open = Policy { limits: Limits { gpu: 64, ..NO_LIMITS }, ..policy("open", &["*"]) };
        house.ask(put(Policy { quotas, ..open }, Guard::None)).expect("it may be replaced");
        house
    }

    pub fn live(&mut self, step: Step) {
        match step {
            Step::Wait(ms) => self.now = self.now.plus(ms),
            Step::Submit { runs, key, stale, queue_max } => {
                let stale = self.earlier_law.clone().filter(|_| stale);
                for (position, asked) in (0..).zip(runs) {
                    self.submit(asked, key, position, stale.as_deref(), queue_max);
                }
            }
            Step::Place { most } => self.place(most),
            Step::Plan { most } => {
                self.planned = plan(&self.lived.line, &self.lived.fleet, self.now, most);
            }
            Step::PlaceLate => {
                for assignment in std::mem::take(&mut self.planned) {
                    let _overtaken_or_done = self.assign(assignment);
                }
            }
            Step::Propose { run, node } => {
                let runs: Vec<RunId> = self.lived.line.items().map(|(run, _)| run).collect();
                let nodes: Vec<&NodeId> = self.lived.fleet.nodes().keys().collect();
                if !runs.is_empty() && !nodes.is_empty() {
                    let (run, node) = (*run.get(&runs), (*node.get(&nodes)).clone());
                    let _overtaken_or_done = self.assign(Assignment { run, node, fallback: false });
                }
            }
            Step::Report { attempt, what, shown } => {
                let attempts = self.attempts();
                if !attempts.is_empty() {
                    let (node, run, token) = attempt.get(&attempts).clone();
                    self.report(node, run, token, what, shown);
                }
            }
            Step::Cancel { run } => {
                let runs: Vec<(RunId, Status)> = self.lived.runs.newest_first(None).collect();
                if runs.is_empty() {
                    return;
                }
                let (run, status) = *run.get(&runs);
                let answer = self.ask(Command::Cancel { run, origin: origin() });
                assert_eq!(answer.is_err(), status.is_terminal(), "{run} is {status:?}");
            }
            Step::Join { node, boot, labels, capacity } => self.join(node, boot, labels, capacity),
            Step::Lose { node, right_boot, cause } => self.lose(node, right_boot, cause),
            Step::Drain { node, deadline_ms } => {
                let node = node_named(&name(node));
                let known = self.lived.fleet.node(&node).is_some();
                let drain = Command::DrainNode { node, deadline_ms, origin: origin() };
                assert_eq!(self.ask(drain).is_ok(), known);
            }
            Step::Undrain { node } => {
                let node = node_named(&name(node));
                let known = self.lived.fleet.node(&node).is_some();
                assert_eq!(
                    self.ask(Command::UndrainNode { node, origin: origin() }).is_ok(),
                    known
                );
            }
            Step::Label { node, labels } => self.label(node, labels),
            Step::PutPolicy { name, pattern, terms, guard } => {
                let name = format!("p{name}");
                let policy = on_terms(terms, policy(&name, &[pattern]));
                let found = self.lived.law.current().policies.get(&*name).map_or(0, |p| p.version);
                let guard = guard_of(guard, found);
                self.enact(put(policy, guard));
            }
            Step::DeletePolicy { name, guard } => {
                let name = format!("p{name}");
                let found = self.lived.law.current().policies.get(&*name).map_or(0, |p| p.version);
                self.enact(delete(&name, guard_of(guard, found)));
            }
            Step::PutTemplate { name, heat, guard } => {
                let template = domain::law::Template { heat, ..template(&template_name(name)) };
                let found = self.lived.law.current().templates.get(&template.name);
                let guard = guard_of(guard, found.map_or(0, |t| t.version));
                self.enact(Command::PutTemplate { template, guard, origin: origin() });
            }
            Step::DeleteTemplate { name, guard } => {
                let name = template_name(name);
                let found = self.lived.law.current().templates.get(&*name);
                let guard = guard_of(guard, found.map_or(0, |t| t.version));
                let name = name.into();
                self.enact(Command::DeleteTemplate { name, guard, origin: origin() });
            }
            Step::SetHeatTable { table, guard } => {
                let found = self.lived.law.heat_history().len() as u64;
                let guard = guard_of(guard, found);
                self.enact(Command::SetHeatTable { table, guard, origin: origin() });
            }
            Step::Release { run, stale } => {
                let stale = self.earlier_law.clone().filter(|_| stale);
                self.release(run, stale);
            }
            Step::Redrive { run, any, stale } => self.redrive(run, any, stale),
            Step::Refuse { run } => {
                let Some((run, waits)) = self.maybe_quarantined(run) else { return };
                let reason = "not here".into();
                let answer = self.ask(Command::Refuse { run, reason, origin: origin() });
                assert_eq!(answer.is_ok(), waits, "only what waits in quarantine: {answer:?}");
            }
            Step::Pause => {
                self.ask(Command::PauseQueue { origin: origin() }).expect("always allowed");
                let line = &self.lived.line;
                assert!(plan(line, &self.lived.fleet, self.now, 9).is_empty(), "paused is paused");
            }
            Step::Resume => {
                self.ask(Command::ResumeQueue { origin: origin() }).expect("always allowed");
            }
            Step::Tick { most } => {
                let due = self.lived.runs.expired(self.now, usize::MAX).len()
                    + self.lived.fleet.overstaying(self.now).count();
                let done = self.ask(Command::Tick { most }).expect("always allowed").events.len();
                assert_eq!(done, due.min(most));
            }
            Step::Lead => self.lead(),
        }
    }

    /// Submits one run of a request, and checks the answer against the model of keys.
    pub fn submit(
        &mut self,
        asked: Asked,
        key: Option<(u8, u8)>,
        position: u32,
        stale: Option<&Law>,
        queue_max: usize,
    ) {
        let current = self.lived.law.current().clone();
        let law = stale.unwrap_or(&current);
        let tenant = format!("tenant-{}", asked.tenant);
        let inputs = Inputs {
            at: self.now,
            index: self.sequence,
            tenant: self.lived.tenants.holdings(&tenant, self.now),
            learned: asked.learned,
            ..Inputs::bare(asked.quarantine_on)
        };
        let Ok(judged) = judge(&Court::from(law.clone()), request_of(asked, &tenant), &inputs)
        else {
            return;
        };
        let submitter = tenant.clone();
        let applied = law.policies.get(&judged.judgement().policy.name);
        let quotas = applied.map_or(Quotas::default(), |policy| policy.body.quotas);
        let demand = judged.submission().resources.into();
        let key = key.map(|(name, body)| (format!("key-{name}"), body));
        let known = key.as_ref().and_then(|(name, body)| {
            let keyed = self.keyed.get(&(tenant, name.clone()))?;
            let fresh = self.now.since(keyed.since) < KEY_WINDOW_MS;
            fresh.then(|| (keyed.body == *body).then(|| keyed.runs.get(&position).copied()))
        });
        let run = run(self.draw());
        let key_use = |(name, body): (String, u8)| {
            (KeyUse { key: name.into(), body: Hex([body; 16]) }, position)
        };
        let (key, origin) = (key.map(key_use), origin());
        let waiting = self.lived.line.waiting();
        let revision = law.revision;
        let redrive_of = None;
        let admit = Admit { run, judged, key, origin, queue_max, redrive_of };
        let answer = self.ask(Command::Admit(Box::new(admit)));
        match known {
            Some(None) => assert!(matches!(answer, Err(Refusal::KeyReused { .. })), "{answer:?}"),
            Some(Some(Some(first))) if self.lived.runs.status(first).is_some() => {
                let repeat = Decision { events: Vec::new(), run: Some(first) };
                assert_eq!(answer, Ok(repeat), "the first answer again, whatever has changed");
            }
            Some(Some(Some(first))) => assert_eq!(answer, Err(Refusal::NoSuchRun(first))),
            Some(Some(None)) | None => match answer {
                Err(Refusal::StaleLaw { .. }) => assert!(revision < current.revision),
                Err(Refusal::QueueFull { .. }) => assert!(waiting >= queue_max),
                Err(Refusal::QuotaExceeded { .. }) => {
                    assert_eq!(quotas.on_exceeded, OnExceeded::Throttle);
                    let held = self.held_by(&submitter, 61_000);
                    assert!(numbers::over(&quotas, held, demand), "{quotas:?} {held:?}");
                }
                Ok(decision) => {
                    assert_eq!(revision, current.revision);
                    assert_eq!((decision.run, decision.events.len()), (Some(run), 1));
                    if let Some(Event::RunAdmitted(_)) = decision.events.first() {
                        // Without the one that was just let in there was room for it.
                        let held = self.held_by(&submitter, 60_000);
                        let before = numbers::without(held, demand);
                        assert!(!numbers::over(&quotas, before, demand), "{quotas:?} {held:?}");
                    }
                }
                Err(refusal) => panic!("a submission is never refused like this: {refusal}"),
            },
        }
    }

    /// Plans on the state as it is, checks the plan, and does it: all of it must hold.
    pub fn place(&mut self, most: usize) {
        let plan_now = |house: &mut Self, most| {
            let (line, fleet) = (&house.lived.line, &house.lived.fleet);
            let ask = Ask { most, looks: usize::MAX, from: None };
            let Plan { assignments: plan, rest } = house.room.plan(line, fleet, house.now, ask);
            assert_eq!(rest, None);
            assert!(house.room == Room::of(fleet), "a plan takes nothing");
            let fair = invariants::q2(line, fleet, house.now, &plan);
            fair.unwrap_or_else(|broken| panic!("{plan:?}: {broken}"));
            plan
        };
        let plan = plan_now(self, most);
        assert!(plan.len() <= most);
        let all = plan.len() < most;
        for assignment in plan {
            let fallback = assignment.fallback;
            let decision = self.assign(assignment).expect("nothing came between plan and deed");
            let [Event::RunAssigned(assigned)] = &*decision.events else {
                panic!("an assignment is one event: {:?}", decision.events)
            };
            assert_eq!(assigned.fallback, fallback, "the plan says what will be recorded");
        }
        if all {
            assert_eq!(plan_now(self, usize::MAX), [], "nothing that fits is left waiting");
        }
    }

    fn assign(&mut self, assignment: Assignment) -> Result<Decision, Refusal> {
        let token = token(self.draw());
        let planned_at = self.sequence;
        self.ask(Command::Assign { assignment, token, planned_at })
    }

    /// Some run that was admitted, and whether it waits in quarantine. One that does where there is
    /// one: few do.
    fn maybe_quarantined(&self, index: proptest::sample::Index) -> Option<(RunId, bool)> {
        let line = self.lived.line.in_order();
        let waits = |(key, run): &(LineKey, RunId)| (key.pool == Pool::Quarantine).then_some(*run);
        let waiting: Vec<RunId> = line.iter().filter_map(waits).collect();
        if !waiting.is_empty() {
            return Some((*index.get(&waiting), true));
        }
        let admitted = |(run, status)| (status != Status::Rejected).then_some(run);
        let all: Vec<RunId> = self.lived.runs.newest_first(None).filter_map(admitted).collect();
        (!all.is_empty()).then(|| (*index.get(&all), false))
    }

    /// Judges a run again, and asks for its release.
    fn release(&mut self, index: proptest::sample::Index, stale: Option<Arc<Law>>) {
        let Some((run, waits)) = self.maybe_quarantined(index) else { return };
        let found = self.lived.runs.get(run).expect("it was listed").into_owned();
        let Birth::Admitted(admitted) = &found.birth else { return };
        let current = self.lived.law.current().clone();
        let law = stale.unwrap_or_else(|| current.clone());
        let revision = law.revision;
        let judged = judge_again(&Court::new(law, None), admitted, &Inputs::bare(true));
        let rejected = judged.judgement().verdict == Verdict::Reject;
        let (judged, reason, origin) = (Box::new(judged), "known to us".into(), origin());
        let answer = self.ask(Command::Release { run, judged, reason, origin });
        match answer {
            Err(Refusal::NotInQuarantine(_)) => assert!(!waits),
            Err(Refusal::StaleLaw { .. }) => assert!(waits && revision < current.revision),
            Err(Refusal::StillRejected { .. }) => assert!(waits && rejected),
            Ok(_) => {
                assert!(waits && !rejected && revision == current.revision);
                let item = self.lived.line.item(run).expect("it waits on");
                let (waiting, pool) = (item.waiting, item.class.pool);
                assert!(waiting && pool != Pool::Quarantine, "it is let go: {item:?}");
            }
            Err(refusal) => panic!("a release is never refused like this: {refusal}"),
        }
    }

    fn attempts(&self) -> Vec<(NodeId, RunId, Token)> {
        let nodes = self.lived.fleet.nodes().iter();
        nodes
            .flat_map(|(id, node)| node.attempts.iter().map(|(run, a)| (id.clone(), *run, a.token)))
            .collect()
    }

    fn report(&mut self, from: NodeId, run: RunId, right: Token, what: What, shown: Shown) {
        let token = match shown {
            Shown::Right | Shown::Elsewhere => right,
            Shown::Forged => Hex([0; 16]),
            Shown::Old => self.last_token.unwrap_or(Hex([0; 16])),
        };
        let node = if shown == Shown::Elsewhere { node("elsewhere") } else { from };
        let believed = token == right && shown != Shown::Elsewhere;
        let what = match what {
            What::Started => Reported::Started,
            What::Ended(cause, code) => {
                let (wall_ms, cpu_ms) = (self.drawn * SECOND, self.drawn * 700);
                let usage = Usage { wall_ms, cpu_ms, max_rss_mb: 1 };
                let (exit, output) = (exit(cause, code), Output::default());
                Reported::Finished { exit, usage, output }
            }
            What::Gone => Reported::Gone,
        };
        let (report, chance) = (Report { node, run, token, what }, self.drawn * 0x9e37_79b9);
        let answer = self.ask(Command::Report { report, chance });
        assert_eq!(answer.is_ok(), believed, "{shown:?} {answer:?}");
    }

    fn join(&mut self, n: u8, n_boot: u8, labels: &[(&str, &str)], capacity: Demand) {
        let (node, boot) = (node(&name(n)), boot(n_boot.into()));
        let known = self.lived.fleet.node(&node).cloned();
        let answer = self.ask(join(&name(n), n_boot.into(), capacity, labels));
        let anew = known.as_ref().is_some_and(|known| known.joined.boot != boot);
        let busy = known.is_some_and(|known| !known.attempts.is_empty());
        assert!(answer.is_ok() || (busy && !anew), "only a busy node is refused: {answer:?}");
        if answer.is_ok() {
            let node = self.lived.fleet.node(&node).expect("it joined");
            assert!(node.is_live() && node.joined.boot == boot);
            assert!(!anew || node.attempts.is_empty(), "what an agent ran before is gone");
        }
    }

    fn lose(&mut self, n: u8, right_boot: bool, cause: NodeLostCause) {
        let node = node(&name(n));
        let known = self.lived.fleet.node(&node).cloned();
        let right = known.as_ref().map_or(boot(9), |known| known.joined.boot);
        let boot = if right_boot { right } else { boot(8) };
        let answer = self.ask(Command::LoseNode { node: node.clone(), boot, cause });
        let there = known.filter(|known| known.is_live() && right_boot);
        assert_eq!(answer.is_ok(), there.is_some());
        if let (Ok(decision), Some(there)) = (answer, there) {
            assert_eq!(decision.events.len(), 1 + there.attempts.len(), "each run by its name");
        }
    }

    fn label(&mut self, n: u8, labels: &[(&str, Option<&str>)]) {
        let node = node(&name(n));
        let labels = labels.iter().map(|(key, value)| ((*key).into(), value.map(Into::into)));
        let labels = labels.collect();
        let known = self.lived.fleet.node(&node).cloned();
        let answer = self.ask(Command::LabelNode { node: node.clone(), labels, origin: origin() });
        match known {
            None => assert_eq!(answer, Err(Refusal::UnknownNode(node))),
            Some(known) => {
                let busy = !known.attempts.is_empty();
                assert!(answer.is_ok() || busy, "only a busy node keeps its pool: {answer:?}");
            }
        }
    }

    fn enact(&mut self, command: Command) {
        let before = self.lived.law.current().clone();
        if self.ask(command).is_ok() {
            self.earlier_law = Some(before);
        }
    }

    fn lead(&mut self) {
        self.sequence += 1;
        let (at, epoch, boot) = (self.now, self.lived.epoch + 1, boot(0));
        let (url, version) = ("http://127.0.0.1:1".into(), "0.1.0".into());
        let started = LeaderStarted { at, epoch, boot, url, version, key: None, reads_level: 1 };
        self.happens(&Event::LeaderStarted(Arc::new(started)));
    }

    /// What a tenant has, counted anew: submissions of the last `window_ms` among it.
    fn held_by(&self, tenant: &str, window_ms: u64) -> Holdings {
        let born = self.born.iter().rev().take_while(|(at, ..)| self.now.since(*at) < window_ms);
        let last_minute = born.filter(|(_, of, _)| of == tenant).count();
        let last_minute = u32::try_from(last_minute).expect("a day has few");
        Holdings { last_minute, ..numbers::counted(&self.lived, tenant) }
    }

    /// How many runs each tenant got in the last `window_ms`.
    pub fn admitted_within(&self, window_ms: u64) -> BTreeMap<&str, u32> {
        let mut all = BTreeMap::new();
        for (at, tenant, admitted) in &self.born {
            if *admitted && self.now.since(*at) < window_ms {
                *all.entry(&**tenant).or_default() += 1;
            }
        }
        all
    }

    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// Asks, and lets what follows happen. Whoever has the same past gives the same answer.
    pub fn ask(&mut self, command: Command) -> Result<Decision, Refusal> {
        let before = self.lived.clone();
        let answer = self.lived.decide(self.now, command.clone());
        assert_eq!(answer, self.lived.decide(self.now, command.clone()), "asked twice");
        assert_eq!(answer, self.replayed.decide(self.now, command), "asked of a replay");
        assert!(self.lived == before, "deciding changes nothing");
        if let Ok(decision) = &answer
            && !decision.events.is_empty()
        {
            self.sequence += 1;
            decision.events.iter().for_each(|event| self.happens(event));
            // Between the events of one entry a lost node may still have attempts; not after it.
            let kept = invariants::state(&self.lived);
            kept.unwrap_or_else(|broken| panic!("{:?}: {broken}", decision.events));
        }
        answer
    }

    fn happens(&mut self, event: &Event) {
        assert_eq!(event.at(), self.now, "an event happens when it is decided");
        let before = self.lived.clone();
        self.foresee(event);
        let (heard, sequence) = (wire::hear(event), self.sequence);
        self.lived.evolve(0, event);
        self.past.push(event.clone());
        self.folded.evolve(0, &heard);
        self.replayed.evolve(sequence, &heard);
        let touched = self.alone.evolve(&heard);
        if let Some(node) = touched {
            self.room.touch(&self.alone.fleet, &node);
        }
        assert!(self.room == Room::of(&self.lived.fleet), "room that is kept is the fleet's");
        self.project(&heard);

        let step = invariants::step(&before, event, &self.lived);
        step.and_then(|()| invariants::state(&self.lived))
            .unwrap_or_else(|broken| panic!("{event:?}: {broken}"));
        assert!(self.lived == self.folded, "lived equals folded");
        assert_eq!(self.lived.digest(), self.replayed.digest(), "lived equals replayed");
        assert_eq!(self.lived.digest() == before.digest(), self.lived == before, "of all there is");
        self.alone.agree_with(&self.lived);
        let law = before.law.current();
        assert!(self.lived.law.at(law.revision) == *law, "the law of then is not forgotten");
        assert!(restored(&self.replayed) == self.replayed, "its pieces are all there is of it");
        let visible: Vec<_> = self.projected.iter().map(|(key, run)| (*key, *run)).collect();
        assert_eq!(self.lived.line.in_order(), visible, "the projected line is the line");
        numbers::agree(&self.lived);
        if let Some(run) = event.run().and_then(|run| self.replayed.runs.get(run)) {
            assert_eq!(run.index, sequence, "a run knows the entry that changed it last");
        }
    }

    /// What must be true of an event before it happens.
    fn foresee(&mut self, event: &Event) {
        let world = &self.lived;
        let birth = match event {
            Event::RunAssigned(e) => {
                let pool = may_assign(&world.line, &world.fleet, self.now, e.run, &e.node);
                assert_eq!(pool, Some((e.pool, e.fallback)), "D-1: an assignment holds before it");
                let run = world.runs.live(e.run).expect("only what waits is assigned");
                assert_eq!(e.attempt, run.attempt + 1, "attempts are numbered from 1");
                let quarantined = run.is_quarantined();
                assert_eq!(quarantined, e.pool == Pool::Quarantine, "T-1");
                assert!(self.tokens.insert(e.token), "each attempt has a token of its own");
                self.last_token = Some(e.token);
                return;
            }
            Event::RunFinished(e) => return ends::expect_cancel(world, e.run, e.next),
            Event::RunLost(e) => return ends::expect_cancel(world, e.run, e.next),
            Event::RunQuarantined(_) => return ends::expect_poison(world, event),
            Event::RunReleased(e) => {
                let run = world.runs.live(e.run).expect("only what waits is let go");
                return self.remade(run.submission(), &e.judgement);
            }
            Event::RunForgotten(e) => {
                let run = world.runs.get(e.run).expect("nothing is forgotten twice");
                let ended = run.finished_at.expect("what has not ended is never forgotten");
                assert!(self.now.since(ended) >= run.submission().retention.max_age_ms);
                return;
            }
            Event::RunAdmitted(e) => {
                ends::foresee(world, e);
                (e.run, &e.submission, &e.judgement, &e.key)
            }
            Event::RunRejected(e) => (e.run, &e.submission, &e.judgement, &e.key),
            _ => return,
        };
        let (run, submission, judgement, key) = birth;
        let admitted = matches!(event, Event::RunAdmitted(_));
        self.born.push((self.now, submission.tenant().to_owned(), admitted));
        self.remade(submission, judgement);
        assert_eq!(world.runs.status(run), None, "an id is used once");
        if let Some((key, position)) = key {
            let scope = (submission.tenant().to_owned(), key.key.to_string());
            let old = |keyed: &Keyed| self.now.since(keyed.since) >= KEY_WINDOW_MS;
            if self.keyed.get(&scope).is_some_and(old) {
                self.keyed.remove(&scope);
            }
            let (since, body) = (self.now, key.body.0[0]);
            let fresh = Keyed { since, body, runs: BTreeMap::new() };
            let keyed = self.keyed.entry(scope).or_insert(fresh);
            assert_eq!(keyed.body, body, "a key has one body in its window");
            let earlier = keyed.runs.insert(*position, run);
            assert_eq!(earlier, None, "at most one run per key and position in the window");
        }
    }

    /// D-1: a judgement can be made again from its record.
    fn remade(&self, submission: &Submission, judgement: &Judgement) {
        let law = self.lived.law.current();
        let heat = law.templates.get(&submission.template).and_then(|t| t.body.heat);
        let (court, template) = (Court::new(law.clone(), None), judgement.template.clone());
        let again = judge_resolved(&court, submission, template, heat, &judgement.inputs());
        assert_eq!(judgement.before_minos(), again, "D-1: made again from its record");
    }

    fn project(&mut self, event: &Event) {
        let projected = &mut self.projected;
        self.alone.line.evolve(event, |change| match change {
            LineChange::Joined(key, run) => {
                assert_eq!(projected.insert(key, run), None, "two runs in one place");
            }
            LineChange::Left(key, run) => {
                assert_eq!(projected.remove(&key), Some(run), "only what stood there leaves");
            }
        });
    }
}

/// A World, taken to pieces and put together again.
fn restored(world: &World) -> World {
    let mut rebuild = Rebuild::default();
    world.pieces().for_each(|piece| rebuild.add(&piece).expect("the next piece"));
    rebuild.finish().expect("all pieces")
}

//! The actor.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use domain::command::{self, Command};
use domain::event::Event;
use domain::ids::Hex;
use domain::selector::Test;
use domain::submission::Placement;
use domain::{Decision, Refusal, Run, RunId, Token, World};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::commit::{Outbox, Undurable};
use super::messages::{
    Admit, Admitted, Assign, Cancel, Enact, Enacted, Join, LoseNode, Refuse, Release, Report,
};
use crate::answer::{Failure, Mark, Reply};
use crate::clock::Clock;
use crate::dice::Dice;
use crate::journal::Commit;
use crate::publish::Published;

/// Commands on their way to the journal beyond which submissions are turned away: about 50 ms of
/// work at the measured rate of group commit, so that accepted work keeps its latency.
const UNDURABLE_ITEMS: usize = 8_192;
/// The same in bytes: two full batches, held in memory once.
const UNDURABLE_BYTES: usize = 8 << 20;
/// Most that one call may add to the journal: an entry holds it whole, with room for what the
/// estimate of [`weight`] leaves out.
const ENTRY_BYTES: usize = journal::MAX_BODY_BYTES - (MAX_BODY_MARGIN);
const MAX_BODY_MARGIN: usize = 256 << 10;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(500);
/// At most so many deadlines a tick.
const TICK_MOST: usize = 1_000;

/// Limits that the operator sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most runs that may wait.
    pub queue_max: usize,
}

/// See the module.
pub struct RegistryActor {
    world: World,
    outbox: Outbox,
    clock: Arc<Clock>,
    dice: Dice,
    limits: Limits,
    boot: Uuid,
    leading: bool,
    ids: RunIds,
}

impl RegistryActor {
    /// A registry that starts from a replayed world, and decides once the journal says that `boot`
    /// leads.
    pub fn new(
        world: World,
        journal: Recipient<Commit>,
        undurable: Arc<Undurable>,
        clock: Arc<Clock>,
        dice: Dice,
        limits: Limits,
        boot: Uuid,
    ) -> Self {
        let ids = RunIds::after(world.runs.newest());
        let outbox = Outbox::new(journal, undurable);
        Self { world, outbox, clock, dice, limits, boot, leading: false, ids }
    }

    /// Decides and evolves one command; the events are still to be handed over.
    fn apply(&mut self, command: Command) -> Result<Decision, Refusal> {
        let decision = self.world.decide(self.clock.now(), command)?;
        for event in &decision.events {
            self.world.evolve(0, event);
        }
        Ok(decision)
    }

    /// One command with one answer.
    fn commit<T: Send + 'static>(
        &mut self,
        command: Command,
        reply: Reply<T>,
        answer: impl FnOnce(&World, &Decision) -> Result<T, Refusal>,
    ) {
        if !self.leading {
            return not_leading(reply);
        }
        let (events, answer) = match self.apply(command) {
            Ok(decision) => {
                let answer = answer(&self.world, &decision);
                (decision.events, answer)
            }
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        self.outbox.commit(events, 0, reply, answer.map(|value| move |_: Mark| value));
    }

    /// One command about a run; the answer is the run as it is then.
    fn commit_to_run(&mut self, command: Command, run: RunId, reply: Reply<Run>) {
        if !self.leading {
            return not_leading(reply);
        }
        let (events, found) = match self.apply(command) {
            Ok(decision) => {
                (decision.events, self.world.runs.get(run).ok_or(Refusal::NoSuchRun(run)))
            }
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        let changed = !events.is_empty();
        let answer = found.map(|found| {
            let mut found = found.into_owned();
            move |mark: Mark| {
                if changed {
                    found.index = mark.index;
                }
                found
            }
        });
        self.outbox.commit(events, 0, reply, answer);
    }
}

/// Upper bound of the bytes a submission takes in the journal: its texts with 10 bytes each for
/// their lengths, and 512 for numbers, judgement and place.
fn weight(judged: &domain::Judged) -> usize {
    let submission = judged.submission();
    let pairs = [&submission.env, &submission.metadata, &submission.labels];
    let pairs = pairs.into_iter().flatten().flat_map(|(key, value)| [key, value]);
    let others = submission.command.iter().chain([&submission.stdin, &submission.template]);
    let texts = pairs.chain(others.map(|text| &**text));
    let asked = [Some(&*submission.placement), judged.judgement().placement.as_deref()];
    let placements: usize = asked.into_iter().flatten().map(placement_weight).sum();
    texts.map(|text| text.len() + 10).sum::<usize>() + placements + 512
}

/// The same of a placement.
fn placement_weight(placement: &Placement) -> usize {
    let preferred = placement.prefer.iter().map(|preference| &preference.labels);
    let requirements = preferred.chain([&placement.require]).flat_map(|s| &s.requirements);
    let values = |test: &Test| match test {
        Test::In(values) | Test::NotIn(values) => values.iter().map(|v| v.len() + 10).sum(),
        Test::Exists | Test::Absent => 0,
    };
    let labels: usize = requirements.map(|r| r.key.len() + 20 + values(&r.test)).sum();
    let names: usize = placement.isolation.iter().map(|name| name.len() + 10).sum();
    labels + names
}

fn not_leading<T>(reply: Reply<T>) {
    let _ = reply.send(Err(Failure::Unavailable("this instance does not lead".into())));
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(UNDURABLE_ITEMS);
        context.run_interval(TICK, |registry, _| {
            if registry.leading
                && let Ok(decision) = registry.apply(Command::Tick { most: TICK_MOST })
                && !decision.events.is_empty()
            {
                // Nobody waits for the answer of a tick.
                let (reply, _) = oneshot::channel();
                registry.outbox.commit(decision.events, 0, reply, Ok(|_: Mark| ()));
            }
        });
    }
}

impl Handler<Published> for RegistryActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, _: &mut Self::Context) {
        // What it decided itself, it has folded. All else is another leader's, or of an earlier reign of
        // this process, or the journal's own first entry, which makes it leader.
        if self.leading && batch.written_here {
            return;
        }
        for event in &batch.events {
            self.world.evolve(batch.index, event);
            if let Event::LeaderStarted(started) = event {
                self.leading = batch.written_here && started.boot == self.boot;
                self.ids = RunIds::after(self.world.runs.newest());
            }
        }
    }
}

impl Handler<Admit> for RegistryActor {
    type Result = ();

    fn handle(&mut self, admit: Admit, _: &mut Self::Context) {
        let Admit { items, key, redrive_of, origin, reply } = admit;
        if !self.leading {
            return not_leading(reply);
        }
        let (undurable, bytes) = self.outbox.undurable();
        if undurable >= UNDURABLE_ITEMS || bytes >= UNDURABLE_BYTES {
            let why = format!("{undurable} commands wait to be written");
            let _ = reply.send(Err(Failure::Unavailable(why)));
            return;
        }
        let weight: usize = items.iter().map(|(_, judged)| weight(judged)).sum();
        if weight > ENTRY_BYTES {
            let refusal = Refusal::TooLarge { bytes: weight, limit: ENTRY_BYTES };
            let refused: Result<fn(Mark) -> Vec<_>, _> = Err(refusal);
            return self.outbox.commit(Vec::new(), 0, reply, refused);
        }
        let mut events = Vec::with_capacity(items.len());
        let mut answers = Vec::with_capacity(items.len());
        let now = self.clock.now();
        for (position, judged) in items {
            let command = Command::Admit(Box::new(command::Admit {
                run: self.ids.next(now, self.dice.draw()),
                judged,
                key: key.clone().map(|key| (key, position)),
                origin: origin.clone(),
                queue_max: self.limits.queue_max,
                redrive_of,
            }));
            answers.push(self.apply(command).and_then(|decision| {
                let repeat = decision.events.is_empty();
                events.extend(decision.events);
                let run = decision.run.and_then(|run| self.world.runs.get(run));
                let run = run.ok_or(Refusal::Overtaken)?.into_owned();
                Ok(Admitted { run, repeat })
            }));
        }
        let answer = move |mark: Mark| {
            for admitted in answers.iter_mut().flatten() {
                if !admitted.repeat {
                    admitted.run.index = mark.index;
                }
            }
            answers
        };
        self.outbox.commit(events, weight, reply, Ok(answer));
    }
}

impl Handler<Cancel> for RegistryActor {
    type Result = ();

    fn handle(&mut self, Cancel { run, origin, reply }: Cancel, _: &mut Self::Context) {
        self.commit_to_run(Command::Cancel { run, origin }, run, reply);
    }
}

impl Handler<Release> for RegistryActor {
    type Result = ();

    fn handle(&mut self, release: Release, _: &mut Self::Context) {
        let Release { run, judged, reason, origin, reply } = release;
        self.commit_to_run(Command::Release { run, judged, reason, origin }, run, reply);
    }
}

impl Handler<Refuse> for RegistryActor {
    type Result = ();

    fn handle(&mut self, Refuse { run, reason, origin, reply }: Refuse, _: &mut Self::Context) {
        self.commit_to_run(Command::Refuse { run, reason, origin }, run, reply);
    }
}

impl Handler<Assign> for RegistryActor {
    type Result = ();

    fn handle(&mut self, Assign { plan, planned_at, reply }: Assign, _: &mut Self::Context) {
        if !self.leading {
            return not_leading(reply);
        }
        let mut events = Vec::with_capacity(plan.len());
        for assignment in plan {
            let token: Token = Hex(self.dice.draw());
            // A proposal that no longer holds is dropped: the next plan sees why.
            if let Ok(decision) = self.apply(Command::Assign { assignment, token, planned_at }) {
                events.extend(decision.events);
            }
        }
        let held = events.len();
        self.outbox.commit(events, 0, reply, Ok(move |_| held));
    }
}

impl Handler<Report> for RegistryActor {
    type Result = ();

    fn handle(&mut self, Report { report, reply }: Report, _: &mut Self::Context) {
        let chance = u64::from_ne_bytes(self.dice.draw());
        self.commit(Command::Report { report, chance }, reply, |_, _| Ok(()));
    }
}

impl Handler<Join> for RegistryActor {
    type Result = ();

    fn handle(&mut self, Join { join, reply }: Join, _: &mut Self::Context) {
        self.commit(Command::Join(join), reply, |_, _| Ok(()));
    }
}

impl Handler<LoseNode> for RegistryActor {
    type Result = ();

    fn handle(&mut self, lose: LoseNode, _: &mut Self::Context) {
        let LoseNode { node, boot, cause, reply } = lose;
        self.commit(Command::LoseNode { node, boot, cause }, reply, |_, _| Ok(()));
    }
}

impl Handler<Enact> for RegistryActor {
    type Result = ();

    fn handle(&mut self, Enact { command, reply }: Enact, _: &mut Self::Context) {
        self.commit(command, reply, |world, decision| {
            let version = decision.events.iter().find_map(|event| match event {
                Event::PolicyPut(e) => Some(e.version),
                Event::TemplatePut(e) => Some(e.version),
                Event::HeatTableSet(_) => world.law.heat_history().last().map(|last| last.version),
                _ => None,
            });
            let revision = world.law.current().revision;
            Ok(Enacted { revision, version: version.unwrap_or(0) })
        });
    }
}

/// Draws ids that only grow: UUIDv7 in log time, with the last id as floor (RFC 9562, 6.2).
struct RunIds {
    last: u128,
}

impl RunIds {
    fn after(newest: Option<RunId>) -> Self {
        Self { last: newest.map_or(0, |run| run.0.as_u128()) }
    }

    fn next(&mut self, now: domain::Timestamp, random: [u8; 10]) -> RunId {
        let drawn = uuid::Builder::from_unix_timestamp_millis(now.0, &random).into_uuid();
        let id = if drawn.as_u128() > self.last {
            drawn
        } else {
            // Same millisecond: step on from the last one by up to 2^32, keeping the random tail
            // below 62 bits, so that the next id can't be guessed from this one.
            let step = u128::from(u32::from_be_bytes([random[0], random[1], random[2], random[3]]));
            step_on(self.last, step + 1)
        };
        self.last = id.as_u128();
        RunId(id)
    }
}

/// The id `step` places after `last`, version and variant bits skipped.
fn step_on(last: u128, step: u128) -> Uuid {
    const TAIL: u128 = (1 << 62) - 1;
    let tail = (last & TAIL) + step;
    let head_a = (last >> 64) & 0xfff;
    let (carry, tail) = (tail >> 62, tail & TAIL);
    let head = head_a + carry;
    // 12 bits full: the millisecond itself moves on.
    let (ms_carry, head) = (head >> 12, head & 0xfff);
    let ms = (last >> 80) + ms_carry;
    Uuid::from_u128((ms << 80) | (0x7 << 76) | (head << 64) | (0b10 << 62) | tail)
}

#[cfg(test)]
mod ids {
    use super::{RunIds, step_on};
    use crate::dice::Dice;
    use domain::Timestamp;

    #[test]
    fn ids_grow_within_a_millisecond_across_a_restart_and_when_the_clock_stands() {
        let (mut ids, dice) = (RunIds::after(None), Dice::of_the_system());
        let mut last = ids.next(Timestamp(1_000), dice.draw());
        for _ in 0..10_000 {
            let next = ids.next(Timestamp(1_000), dice.draw());
            assert!(next > last, "{next} after {last}");
            assert_eq!(next.0.get_version_num(), 7);
            last = next;
        }
        let after_restart = RunIds::after(Some(last)).next(Timestamp(10), dice.draw());
        assert!(after_restart > last);
    }

    #[test]
    fn stepping_over_a_full_tail_carries_into_the_time() {
        let full = uuid::Uuid::parse_str("00000000-0001-7fff-bfff-ffffffffffff").expect("an id");
        let next = step_on(full.as_u128(), 1);
        assert_eq!(next.to_string(), "00000000-0002-7000-8000-000000000000");
    }
}

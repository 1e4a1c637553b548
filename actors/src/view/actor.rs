//! The actor.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult};
use domain::explain::{Standing, law_of};
use domain::line::Class;
use domain::placement::{Never, WaitReason, consider, never, why_waiting};
use domain::runs::Birth;
use domain::{Run, RunId, Sequence, Status, World};
use tokio::sync::oneshot;

use super::changes::Changes;
use super::messages::{
    AwaitIndex, ExplainRun, Facts, Filter, GetNode, GetRecord, GetRun, HasEntry, JudgingFacts,
    ListNodes, ListRuns, RecordSeen, RunExplained, RunPage, RunSeen, Seen, Summarize, Summary,
    TakeDigest, Until, Want, WantsOf,
};
use super::pace::{self, Pace};
use crate::answer::{Mark, Receipt};
use crate::clock::Clock;
use crate::publish::Published;

/// A scan yields to others after this many rows: 10,000 statuses are looked at in about a
/// millisecond, which is as long as a read may keep a commit waiting.
pub(super) const SCAN_ROWS: usize = 10_000;

/// Entries whose receipts are remembered: what is lost with a Redis is a few seconds of them.
const RECEIPTS: usize = 16_384;

/// Nodes that an explanation shows by name: a screen of them; the others are counted.
const NODES_SHOWN: usize = 10;

/// See the module.
pub struct ViewActor {
    pub(super) world: World,
    mark: Mark,
    /// The entry that changed the dead letters last.
    pub(super) dead_changed: Sequence,
    clock: Arc<Clock>,
    waiting: BTreeMap<RunId, Vec<Waiter>>,
    awaiting: BTreeMap<u64, Vec<oneshot::Sender<Mark>>>,
    /// Receipts of the latest entries, in order.
    receipts: VecDeque<Receipt>,
    /// None in a past, where nothing was watched.
    pace: Option<Pace>,
    pub(super) changes: Changes,
}

struct Waiter {
    until: Until,
    reply: oneshot::Sender<Seen<Option<RunSeen>>>,
}

impl ViewActor {
    /// A view that starts from a replayed world. It keeps no idempotency keys: repeats are the
    /// registry's to answer, and a key weighs as much as half a run.
    pub fn new(mut world: World, mark: Mark, clock: Arc<Clock>) -> Self {
        world.keys.clear();
        let (waiting, awaiting) = (BTreeMap::new(), BTreeMap::new());
        let (dead_changed, pace) = (mark.index, Some(Pace::default()));
        let changes = Changes::since(mark.index);
        let receipts = [mark.receipt].into();
        Self { world, mark, dead_changed, clock, waiting, awaiting, receipts, pace, changes }
    }

    /// A view of a past world, which hears nothing more.
    pub fn of_past(world: World, mark: Mark, clock: Arc<Clock>) -> Self {
        Self { pace: None, ..Self::new(world, mark, clock) }
    }

    pub(super) fn seen<T>(&self, value: T) -> Seen<T> {
        Seen { value, mark: self.mark }
    }

    pub(super) fn run(&self, id: RunId) -> Option<RunSeen> {
        let run = self.world.runs.get(id)?.into_owned();
        Some(self.dress(run, &mut BTreeMap::new()))
    }

    /// A run, and why it waits. `asked` are the answers to runs of the same class.
    fn dress(&self, run: Run, asked: &mut BTreeMap<Class, Option<Never>>) -> RunSeen {
        let (line, fleet) = (&self.world.line, &self.world.fleet);
        let item = line.item(run.id()).filter(|item| item.waiting);
        let waiting = item.map(|item| why_waiting(line, fleet, self.clock.now(), item));
        let never = match (item, waiting) {
            (Some(item), Some(WaitReason::NeverFits)) => {
                let class = &*item.class;
                asked.entry(class.clone()).or_insert_with(|| never(fleet, class)).clone()
            }
            _ => None,
        };
        let dead = self.world.dead.get(run.id()).cloned();
        RunSeen { run, waiting, never, dead }
    }

    fn explain(&self, id: RunId) -> Option<RunExplained> {
        let seen = self.run(id)?;
        let law = law_of(&self.world.law, seen.run.judgement())?;
        let standing = seen.waiting.and_then(|why| {
            let (World { line, fleet, .. }, now) = (&self.world, self.clock.now());
            let item = line.item(id)?;
            Some(Standing {
                why,
                ahead: line.rank(id)?,
                since: item.since,
                pace: self.pace.as_ref().map(|pace| pace.of(item.class.pool, now)),
                considered: consider(line, fleet, now, item, NODES_SHOWN),
            })
        });
        Some(RunExplained { seen, law, standing })
    }

    fn is_due(&self, id: RunId, until: Until) -> bool {
        let Some(run) = self.world.runs.get(id) else { return true };
        match until {
            Until::Now => true,
            Until::Ended => run.status.is_terminal(),
            Until::ChangedAfter(index) => run.index > index,
        }
    }

    fn wake(&mut self, id: RunId) {
        let Some(waiters) = self.waiting.remove(&id) else { return };
        let (due, rest): (Vec<_>, Vec<_>) = waiters
            .into_iter()
            .filter(|waiter| !waiter.reply.is_closed())
            .partition(|waiter| self.is_due(id, waiter.until));
        for waiter in due {
            // The caller may have gone meanwhile; that is its own affair.
            let _ = waiter.reply.send(self.seen(self.run(id)));
        }
        if !rest.is_empty() {
            self.waiting.insert(id, rest);
        }
    }
}

impl Actor for ViewActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(8_192);
    }
}

impl Handler<Published> for ViewActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, _: &mut Self::Context) {
        for event in &batch.events {
            let dead = (self.world.dead.len(), self.world.dead.waiting());
            self.world.evolve(batch.index, event);
            if dead != (self.world.dead.len(), self.world.dead.waiting()) {
                self.dead_changed = batch.index;
            }
            self.changes.saw(batch.index, event);
            if let Some((run, at)) = pace::assigned(event)
                && let (Some(item), Some(pace)) = (self.world.line.item(run), &mut self.pace)
            {
                pace.assigned(item.class.pool, at);
            }
        }
        self.world.keys.clear();
        self.mark = Mark { index: batch.index, receipt: batch.receipt };
        if self.receipts.len() == RECEIPTS {
            self.receipts.pop_front();
        }
        self.receipts.push_back(batch.receipt);
        for run in batch.events.iter().filter_map(domain::Event::run) {
            self.wake(run);
        }
        let later = self.awaiting.split_off(&(batch.index + 1));
        for reply in std::mem::replace(&mut self.awaiting, later).into_values().flatten() {
            let _ = reply.send(self.mark);
        }
    }
}

impl Handler<GetRun> for ViewActor {
    type Result = ();

    fn handle(&mut self, GetRun { run, until, reply }: GetRun, _: &mut Self::Context) {
        if self.is_due(run, until) {
            let _ = reply.send(self.seen(self.run(run)));
        } else {
            self.waiting.entry(run).or_default().push(Waiter { until, reply });
        }
    }
}

impl Handler<ExplainRun> for ViewActor {
    type Result = MessageResult<ExplainRun>;

    fn handle(&mut self, ExplainRun(run): ExplainRun, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.seen(self.explain(run)))
    }
}

impl Handler<GetRecord> for ViewActor {
    type Result = MessageResult<GetRecord>;

    fn handle(&mut self, GetRecord: GetRecord, _: &mut Self::Context) -> Self::Result {
        let kept = &self.world.kept;
        let reigns = kept.reigns().iter().cloned().collect();
        MessageResult(self.seen(RecordSeen { reigns, level: kept.level() }))
    }
}

impl Handler<TakeDigest> for ViewActor {
    type Result = MessageResult<TakeDigest>;

    fn handle(&mut self, TakeDigest: TakeDigest, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.seen(self.world.digest()))
    }
}

impl Handler<ListRuns> for ViewActor {
    type Result = ();

    fn handle(&mut self, list: ListRuns, context: &mut Self::Context) {
        self.scan(Scan { list, page: RunPage::default() }, context);
    }
}

/// A list that goes on.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Scan {
    list: ListRuns,
    page: RunPage,
}

impl Handler<Scan> for ViewActor {
    type Result = ();

    fn handle(&mut self, scan: Scan, context: &mut Self::Context) {
        self.scan(scan, context);
    }
}

impl ViewActor {
    fn scan(&self, mut scan: Scan, context: &mut Context<Self>) {
        let Scan { list, page } = &mut scan;
        if list.reply.is_closed() {
            return;
        }
        let mut rows = self.world.runs.newest_first(list.before);
        let mut looked_at = 0;
        let mut asked = BTreeMap::new();
        let over = loop {
            let Some((id, status)) = rows.next() else { break true };
            looked_at += 1;
            if page.runs.len() == list.limit {
                page.next = list.before;
                break true;
            }
            list.before = Some(id);
            let wanted = list.filter.statuses.is_empty() || list.filter.statuses.contains(&status);
            if wanted && let Some(run) = self.world.runs.get(id) {
                if list.filter.since.is_some_and(|since| run.created_at() < since) {
                    // Ids grow with time: nothing older can match.
                    break true;
                }
                if matches(&list.filter, &run) {
                    page.runs.push(self.dress(run.into_owned(), &mut asked));
                }
            }
            if looked_at == SCAN_ROWS {
                break false;
            }
        };
        drop(rows);
        if over {
            let Scan { list, page } = scan;
            let _ = list.reply.send(self.seen(page));
        } else {
            context.notify(scan);
        }
    }
}

fn matches(filter: &Filter, run: &Run) -> bool {
    let asked = run.submission();
    let pool = run.pool.map_or(run.judgement().pool, |(pool, _)| pool);
    filter.template.as_ref().is_none_or(|template| *template == asked.template)
        && filter.tenant.as_ref().is_none_or(|tenant| **tenant == *asked.tenant())
        && filter
            .node
            .as_ref()
            .is_none_or(|wanted| run.node.as_ref().is_some_and(|node| **wanted == *node.as_str()))
        && filter.heat.is_none_or(|heat| heat == run.judgement().heat.heat)
        && filter.pool.is_none_or(|wanted| wanted == pool)
        && filter.since.is_none_or(|since| run.created_at() >= since)
        && filter.until.is_none_or(|until| run.created_at() < until)
        && filter.labels.as_ref().is_none_or(|test| (test.0)(&asked.labels))
}

impl Handler<AwaitIndex> for ViewActor {
    type Result = ();

    fn handle(&mut self, AwaitIndex { index, reply }: AwaitIndex, _: &mut Self::Context) {
        if self.mark.index >= index {
            let _ = reply.send(self.mark);
        } else {
            let waiting = self.awaiting.entry(index).or_default();
            waiting.retain(|reply| !reply.is_closed());
            waiting.push(reply);
        }
    }
}

impl Handler<HasEntry> for ViewActor {
    type Result = Option<bool>;

    fn handle(&mut self, HasEntry(receipt): HasEntry, _: &mut Self::Context) -> Option<bool> {
        let seq = receipt.0.seq;
        let at = self.receipts.binary_search_by_key(&seq, |known| known.0.seq).ok()?;
        Some(*self.receipts.get(at)? == receipt)
    }
}

impl Handler<ListNodes> for ViewActor {
    type Result = MessageResult<ListNodes>;

    fn handle(&mut self, _: ListNodes, _: &mut Self::Context) -> Self::Result {
        let nodes = self.world.fleet.nodes().iter();
        MessageResult(self.seen(nodes.map(|(id, node)| (id.clone(), node.clone())).collect()))
    }
}

impl Handler<GetNode> for ViewActor {
    type Result = MessageResult<GetNode>;

    fn handle(&mut self, GetNode(id): GetNode, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.seen(self.world.fleet.node(&id).cloned()))
    }
}

impl Handler<WantsOf> for ViewActor {
    type Result = MessageResult<WantsOf>;

    fn handle(&mut self, WantsOf(id): WantsOf, _: &mut Self::Context) -> Self::Result {
        let attempts = self.world.fleet.node(&id).map(|node| node.attempts.iter());
        let wants = attempts.into_iter().flatten().filter_map(|(run, attempt)| {
            let Birth::Admitted(admitted) = &self.world.runs.live(*run)?.birth else { return None };
            let pinned = &admitted.judgement.template;
            let template = self.world.law.template(&pinned.name, pinned.version)?;
            Some(Want {
                admitted: admitted.clone(),
                attempt: attempt.attempt,
                token: attempt.token,
                stop: attempt.stop,
                rootfs: template.rootfs.clone(),
            })
        });
        MessageResult(self.seen(wants.collect()))
    }
}

impl Handler<JudgingFacts> for ViewActor {
    type Result = MessageResult<JudgingFacts>;

    fn handle(&mut self, wanted: JudgingFacts, _: &mut Self::Context) -> Self::Result {
        let JudgingFacts { tenants, templates } = wanted;
        // What a batch of later time has brought is seen as of that time.
        let at = self.clock.now().max(self.world.now);
        let held = |name: Box<str>| {
            let held = self.world.tenants.holdings(&name, at);
            (name, held)
        };
        let tenants = tenants.into_iter().map(held).collect();
        let used = |name: Box<str>| {
            let learned = self.world.profiles.learned(&name)?;
            Some((name, learned))
        };
        let learned = templates.into_iter().filter_map(used).collect();
        MessageResult(self.seen(Facts { at, tenants, learned }))
    }
}

impl Handler<Summarize> for ViewActor {
    type Result = MessageResult<Summarize>;

    fn handle(&mut self, _: Summarize, _: &mut Self::Context) -> Self::Result {
        let nodes = self.world.fleet.nodes();
        let nodes_ready = nodes.values().filter(|node| node.is_ready()).count();
        let nodes_live = nodes.values().filter(|node| node.is_live()).count();
        MessageResult(Summary {
            index: self.mark.index,
            receipt: self.mark.receipt,
            epoch: self.world.epoch,
            revision: self.world.law.current().revision,
            runs: Status::ALL.map(|status| (status, self.world.runs.count(status))).to_vec(),
            nodes_ready,
            nodes_draining: nodes_live - nodes_ready,
            nodes_lost: nodes.len() - nodes_live,
            now: self.world.now,
            kept: self.world.kept.clone(),
        })
    }
}

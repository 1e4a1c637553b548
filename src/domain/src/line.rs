//! Acheron: the waiting line, as a fold of the journal.
//!
//! Owns:   the order of every run that waits, and what each unfinished run needs.
//! Never:  looks at nodes; that is placement.
//! Proof:  Q-1 in [`crate::invariants`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Event, ExitCause, Next, Place};
use crate::ids::{NodeId, RunId, Timestamp};
use crate::pairs::read_pairs;
use crate::rows::Rows;
use crate::submission::{Demand, Heat, Placement, Pool};

/// An unfinished run, as the line sees it. What many have in common is kept once: there may be a
/// million of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it stands.
    pub place: Place,
    /// The runs it stands among: what it needs, and of which nodes.
    pub class: Arc<Class>,
    /// Its heat.
    pub heat: Heat,
    /// Whom it counts for.
    pub tenant: Arc<str>,
    /// When it was admitted.
    pub since: Timestamp,
    /// It does not wait before this time.
    pub not_before: Timestamp,
    /// Whether it is in line; otherwise it is on a node.
    pub waiting: bool,
}

/// An item as it is written down.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    place: Place,
    pool: Pool,
    demand: Demand,
    placement: Option<Arc<Placement>>,
    heat: Heat,
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    since: Timestamp,
    not_before: Timestamp,
    waiting: bool,
    avoid: Option<NodeId>,
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { place, class, heat, tenant, since, not_before, waiting } = self;
        let Class { pool, demand, placement, avoid } = Class::clone(class);
        Written {
            place: *place,
            pool,
            demand,
            placement,
            heat: *heat,
            tenant: Cow::Borrowed(tenant),
            since: *since,
            not_before: *not_before,
            waiting: *waiting,
            avoid,
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Written {
            place,
            pool,
            demand,
            placement,
            heat,
            tenant,
            since,
            not_before,
            waiting,
            avoid,
        } = Written::deserialize(from)?;
        let class = Arc::new(Class { pool, demand, placement, avoid });
        Ok(Self { place, class, heat, tenant: tenant.into(), since, not_before, waiting })
    }
}

/// Runs that fit the same nodes: when the first finds no room, none of them does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Class {
    /// Preferred pool.
    pub pool: Pool,
    /// Need.
    pub demand: Demand,
    /// What is asked of the node; none where nothing is.
    pub placement: Option<Arc<Placement>>,
    /// The node that could not make their latest sandbox: others are tried before it.
    pub avoid: Option<NodeId>,
}

/// A place in the line of a pool. The order of the line is the order of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineKey {
    /// The pool.
    pub pool: Pool,
    /// The place.
    pub place: Place,
}

impl LineKey {
    /// The key as bytes that sort as the key does: pool, inverted priority, tag and number,
    /// big-endian.
    pub fn to_bytes(self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[0] = self.pool as u8;
        bytes[1] = self.place.after;
        bytes[2..10].copy_from_slice(&self.place.finish_tag.to_be_bytes());
        bytes[10..].copy_from_slice(&self.place.number.to_be_bytes());
        bytes
    }
}

/// A change of the visible line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineChange {
    /// A run stands in line.
    Joined(LineKey, RunId),
    /// A run stands there no more.
    Left(LineKey, RunId),
}

/// The line. Kept as its items alone: everything else here is made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    items: Rows<RunId, Item>,
    order: Order,
    paused: bool,
}

/// Whoever waits, in the orders in which they are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Order {
    classes: BTreeMap<Arc<Class>, Rows<Place, RunId>>,
    /// The first of each class: there may be as many classes as runs.
    heads: BTreeSet<(Place, RunId)>,
    delayed: BTreeSet<(Timestamp, RunId)>,
    /// How many wait, by when they were admitted: a batch is admitted in one millisecond.
    since: BTreeMap<Timestamp, usize>,
    depth: Depth,
}

/// How many runs wait, by what an operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// In all.
    pub total: usize,
    /// By preferred pool.
    pub pools: BTreeMap<Pool, usize>,
    /// By heat.
    pub heats: BTreeMap<Heat, usize>,
    /// By tenant.
    pub tenants: BTreeMap<Arc<str>, usize>,
}

impl Depth {
    fn add(&mut self, item: &Item) {
        self.total += 1;
        *self.pools.entry(item.class.pool).or_default() += 1;
        *self.heats.entry(item.heat).or_default() += 1;
        match self.tenants.get_mut(&item.tenant) {
            Some(count) => *count += 1,
            None => drop(self.tenants.insert(item.tenant.clone(), 1)),
        }
    }

    fn remove(&mut self, item: &Item) {
        self.total -= 1;
        less(&mut self.pools, &item.class.pool);
        less(&mut self.heats, &item.heat);
        less(&mut self.tenants, &item.tenant);
    }
}

/// One less of a kind; kinds of which there are none are not kept.
fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (&self.items, self.paused).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (Items(mut line), paused) = <(Items, bool)>::deserialize(from)?;
        line.paused = paused;
        Ok(line)
    }
}

/// A line made of its items, one by one.
struct Items(Line);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let take = |line: &mut Line, run, mut item: Item| {
            item.class = line.order.known(Class::clone(&item.class));
            item.tenant = line.order.named(&item.tenant);
            let waits = std::mem::take(&mut item.waiting).then_some(item.not_before);
            let item = line.items.insert(run, item);
            if let Some(not_before) = waits {
                line.order.join(run, item, not_before, &mut |_| {});
            }
        };
        read_pairs(from, |_| Line::default(), take).map(Self)
    }
}

impl Line {
    /// How many runs wait, those that pause before another attempt included.
    pub fn waiting(&self) -> usize {
        self.order.depth.total
    }

    /// How many runs wait, by what an operator asks for.
    pub fn depth(&self) -> &Depth {
        &self.order.depth
    }

    /// When the run that waits longest was admitted.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.order.since.first_key_value().map(|(since, _)| *since)
    }

    /// When the next pause after `now` is over.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let first = (now.plus(1), RunId(uuid::Uuid::nil()));
        self.order.delayed.range(first..).next().map(|(due, _)| *due)
    }

    /// Whether assignments are paused.
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// An unfinished run.
    pub fn item(&self, run: RunId) -> Option<&Item> {
        self.items.get(&run)
    }

    /// All unfinished runs.
    pub fn items(&self) -> impl Iterator<Item = (RunId, &Item)> {
        self.items.iter().map(|(run, item)| (*run, item))
    }

    /// The waiting runs by class, each class in the order of the line.
    pub fn classes(&self) -> &BTreeMap<Arc<Class>, Rows<Place, RunId>> {
        &self.order.classes
    }

    /// The first of each class, in the order in which they will be taken, from a place on.
    pub fn heads(&self, from: Option<Place>) -> impl Iterator<Item = (Place, RunId)> {
        let first = from.map(|place| (place, RunId(uuid::Uuid::nil())));
        let first = first.map_or(Bound::Unbounded, Bound::Included);
        self.order.heads.range((first, Bound::Unbounded)).copied()
    }

    /// The waiting runs of every pool, in the order in which they will be taken.
    pub fn in_order(&self) -> Vec<(LineKey, RunId)> {
        let mut all: Vec<(LineKey, RunId)> = self
            .classes()
            .iter()
            .flat_map(|(class, places)| {
                let key = |place: &Place| LineKey { pool: class.pool, place: *place };
                places.iter().map(move |(place, run)| (key(place), *run))
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// How many wait before `run` in its pool.
    pub fn rank(&self, run: RunId) -> Option<usize> {
        let item = self.items.get(&run).filter(|item| item.waiting)?;
        let of_pool = self.order.classes.iter().filter(|(class, _)| class.pool == item.class.pool);
        Some(of_pool.map(|(_, places)| places.rank(&item.place)).sum())
    }

    /// Folds an event, telling `changed` what moved.
    pub fn evolve(&mut self, event: &Event, mut changed: impl FnMut(LineChange)) {
        match event {
            Event::RunAdmitted(e) => {
                let class = Class {
                    pool: e.judgement.pool,
                    demand: e.submission.resources.into(),
                    placement: e.judgement.placement.clone(),
                    avoid: None,
                };
                let item = Item {
                    place: e.place,
                    class: self.order.known(class),
                    heat: e.judgement.heat.heat,
                    tenant: self.order.named(e.submission.tenant()),
                    since: e.at,
                    not_before: e.at,
                    waiting: false,
                };
                let item = self.items.insert(e.run, item);
                self.order.join(e.run, item, e.at, &mut changed);
            }
            Event::RunAssigned(e) => self.leave(e.run, &mut changed),
            Event::RunFinished(e) => {
                let unmade = e.exit.cause == ExitCause::SandboxFailed;
                self.next(e.run, e.next, unmade.then(|| e.node.clone()), &mut changed);
            }
            Event::RunLost(e) => self.next(e.run, e.next, None, &mut changed),
            Event::RunCanceled(e) => self.end(e.run, &mut changed),
            Event::RunRefused(e) => self.end(e.run, &mut changed),
            Event::RunReleased(e) => {
                self.move_to(e.run, &mut changed, |item, class| {
                    item.heat = e.judgement.heat.heat;
                    class.pool = e.pool;
                    class.placement = e.judgement.placement.clone();
                });
            }
            Event::RunQuarantined(e) => {
                self.move_to(e.run, &mut changed, |_, class| class.pool = Pool::Quarantine);
            }
            Event::QueuePaused(_) => self.paused = true,
            Event::QueueResumed(_) => self.paused = false,
            Event::LeaderStarted(_)
            | Event::RunRejected(_)
            | Event::RunStarted(_)
            | Event::RunCancelRequested(_)
            | Event::RunForgotten(_)
            | Event::NodeJoined(_)
            | Event::NodeLost(_)
            | Event::PolicyPut(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::RunEvicted(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_) => {}
        }
    }

    /// Another place for a run that waits.
    fn move_to(
        &mut self,
        run: RunId,
        changed: &mut impl FnMut(LineChange),
        change: impl FnOnce(&mut Item, &mut Class),
    ) {
        if !self.items.get(&run).is_some_and(|item| item.waiting) {
            return;
        }
        self.leave(run, changed);
        let Some(item) = self.items.get_mut(&run) else { return };
        let (mut class, not_before) = (Class::clone(&item.class), item.not_before);
        change(item, &mut class);
        item.class = self.order.known(class);
        self.join(run, not_before, changed);
    }

    fn end(&mut self, run: RunId, changed: &mut impl FnMut(LineChange)) {
        self.leave(run, changed);
        self.items.remove(&run);
    }

    fn next(
        &mut self,
        run: RunId,
        next: Next,
        avoid: Option<NodeId>,
        changed: &mut impl FnMut(LineChange),
    ) {
        if let Some(item) = self.items.get_mut(&run).filter(|item| item.class.avoid != avoid) {
            let class = Class { avoid, ..Class::clone(&item.class) };
            item.class = self.order.known(class);
        }
        match next {
            Next::End(_) => {
                self.items.remove(&run);
            }
            Next::Again { not_before } => self.join(run, not_before, changed),
        }
    }

    fn join(&mut self, run: RunId, not_before: Timestamp, changed: &mut impl FnMut(LineChange)) {
        if let Some(item) = self.items.get_mut(&run) {
            self.order.join(run, item, not_before, changed);
        }
    }

    fn leave(&mut self, run: RunId, changed: &mut impl FnMut(LineChange)) {
        if let Some(item) = self.items.get_mut(&run).filter(|item| item.waiting) {
            self.order.leave(run, item, changed);
        }
    }
}

impl Order {
    fn join(
        &mut self,
        run: RunId,
        item: &mut Item,
        not_before: Timestamp,
        changed: &mut impl FnMut(LineChange),
    ) {
        item.waiting = true;
        item.not_before = not_before;
        self.depth.add(item);
        *self.since.entry(item.since).or_default() += 1;
        // Whoever may go at once is due no later.
        if not_before > item.since {
            self.delayed.insert((not_before, run));
        }
        let places = self.classes.entry(item.class.clone()).or_default();
        let before = first(places);
        places.insert(item.place, run);
        lead(&mut self.heads, before, first(places));
        changed(LineChange::Joined(LineKey { pool: item.class.pool, place: item.place }, run));
    }

    fn leave(&mut self, run: RunId, item: &mut Item, changed: &mut impl FnMut(LineChange)) {
        item.waiting = false;
        self.depth.remove(item);
        less(&mut self.since, &item.since);
        self.delayed.remove(&(item.not_before, run));
        let class = &item.class;
        if let Some(places) = self.classes.get_mut(class) {
            let before = first(places);
            places.remove(&item.place);
            lead(&mut self.heads, before, first(places));
            if places.is_empty() {
                self.classes.remove(class);
            }
        }
        changed(LineChange::Left(LineKey { pool: item.class.pool, place: item.place }, run));
    }

    /// A class of runs that wait, where it is known.
    fn known(&self, class: Class) -> Arc<Class> {
        match self.classes.get_key_value(&class) {
            Some((known, _)) => known.clone(),
            None => class.into(),
        }
    }

    /// The name of a tenant, kept once where it has runs that wait.
    fn named(&self, name: &str) -> Arc<str> {
        let known = self.depth.tenants.get_key_value(name);
        known.map_or_else(|| name.into(), |(known, _)| known.clone())
    }
}

/// The first of a class.
fn first(places: &Rows<Place, RunId>) -> Option<(Place, RunId)> {
    places.first().map(|(place, run)| (*place, *run))
}

/// Puts the new first of a class among the heads, in place of the one before.
fn lead(
    heads: &mut BTreeSet<(Place, RunId)>,
    before: Option<(Place, RunId)>,
    after: Option<(Place, RunId)>,
) {
    if before != after {
        if let Some(before) = before {
            heads.remove(&before);
        }
        heads.extend(after);
    }
}

//! Redis, as the network shows it: a memory journal that every instance shares, behind a way on which
//! calls are late, lost, held, doubled and refused.
//!
//! Owns:   when a call is executed, and what of it comes back.
//! Never:  answers what it did not do, unless a bug was planted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use journal::{Appended, EntryId, Sealed};
use tokio::time::{Instant, sleep, sleep_until};

use crate::plan::Tier;
use crate::trace;
use crate::trace::now_ms;
use crate::world::World;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing was sent.
    Unreachable,
    /// Redis refuses for now.
    Busy,
    /// Redis is a replica.
    ReadOnly,
    /// Nobody knows.
    Unknown,
}

/// Executes a call, or fails it; what it gives back lets the answer out.
pub type Deed = Box<dyn FnMut(Option<Lost>) -> Out + Send>;
/// Lets an answer out.
pub type Out = Box<dyn FnOnce() + Send>;

/// A call on its way.
pub struct Request {
    /// Whose.
    pub by: usize,
    /// Its name.
    pub what: &'static str,
    /// What it appends.
    pub append: Option<Sealed>,
    /// What it does.
    pub deed: Deed,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Redis {
    /// Until when it is dead.
    pub down_until: Cell<Option<Instant>>,
    /// Until when it is stopped.
    pub paused_until: Cell<Option<Instant>>,
    /// How often it was killed.
    pub lives: Cell<u64>,
    /// The newest entry that is on its disk, or on its replica, where that is what counts.
    pub flushed: Cell<u64>,
    /// Until when it has no replica.
    pub alone_until: Cell<Option<Instant>>,
    /// What it has forgotten, also where it was given back later.
    pub forgotten: RefCell<BTreeMap<EntryId, Forgotten>>,
    /// Whether everything was deleted.
    pub emptied: Cell<bool>,
}

/// An entry that Redis forgot.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// What it said.
    pub bytes: Bytes,
    /// Whether it might have been shown.
    pub durable: bool,
    /// From when to when it was not there, each time, in milliseconds; the last may last.
    pub absences: Vec<(u64, Option<u64>)>,
}

impl Forgotten {
    /// Whether it is not there now.
    pub fn is_absent(&self) -> bool {
        self.absences.last().is_some_and(|(_, back)| back.is_none())
    }

    /// Whether it was not there at some moment between two.
    pub fn was_absent(&self, from_ms: u64, to_ms: u64) -> bool {
        let overlaps = |(gone, back): &(u64, Option<u64>)| {
            *gone <= to_ms && back.is_none_or(|back| back >= from_ms)
        };
        self.absences.iter().any(overlaps)
    }
}

impl Redis {
    fn is_up(&self) -> bool {
        self.down_until.get().is_none_or(|until| until <= Instant::now())
    }

    /// Whether no replica is connected.
    pub fn is_alone(&self) -> bool {
        self.alone_until.get().is_some_and(|until| until > Instant::now())
    }

    fn paused(&self) -> Option<Instant> {
        self.paused_until.get().filter(|until| *until > Instant::now())
    }

    /// SIGSTOP for so long. Says whether that changed anything.
    pub fn pause(&self, for_ms: u64) -> bool {
        let went_on = self.is_up() && self.paused().is_none();
        self.paused_until.set(Some(Instant::now() + Duration::from_millis(for_ms)));
        went_on
    }
}

impl World {
    /// What Redis does with a call.
    pub async fn serve(self: Rc<Self>, mut request: Request) {
        let calls = if self.faulty() { self.plan.calls } else { Default::default() };
        let instance = self.instances.borrow().get(request.by).cloned();
        let Some(instance) = instance else { return };
        let way_us = if self.faulty() { self.plan.calls.slow_ms * 1_000 } else { 1_000 };
        if instance.cut.get() {
            return self.lose(request, "cut off").await;
        }
        let held = self.chance.per_mille(calls.hold_request);
        self.way(50, way_us).await;
        if held {
            self.suffers("a call held");
            trace!("{} {}: held", instance.name, request.what);
            self.way(100_000, 5_000_000).await;
        }
        if self.chance.per_mille(calls.lose_request) {
            self.suffers("a call lost");
            return self.lose(request, "request lost").await;
        }
        while let Some(until) = self.redis.paused() {
            sleep_until(until).await;
        }
        if !self.redis.is_up() {
            return (request.deed)(Some(Lost::Unreachable))();
        }
        if self.chance.per_mille(calls.busy) {
            self.suffers("a call refused");
            return (request.deed)(Some(Lost::Busy))();
        }
        if self.chance.per_mille(calls.read_only) {
            self.suffers("a call refused");
            return (request.deed)(Some(Lost::ReadOnly))();
        }
        let life = self.redis.lives.get();
        let out = self.execute(&mut request);
        let append = request.append.is_some();
        if append && self.chance.per_mille(calls.duplicate) {
            self.suffers("an append doubled");
            let world = self.clone();
            self.spawn(async move {
                world.way(1_000, 800_000).await;
                trace!("{} append: once more", request.by);
                drop(world.execute(&mut request));
            });
        }
        if append && self.chance.per_mille(calls.lose_append_reply) {
            self.suffers("a reply lost");
            trace!("{} append: reply lost with the connection", instance.name);
            return;
        }
        if self.chance.per_mille(calls.lose_reply) {
            self.suffers("a reply lost");
            trace!("{} reply lost", instance.name);
            // The connection stands, and says nothing.
            sleep(Duration::from_secs(8)).await;
            return;
        }
        self.way(50, way_us).await;
        if self.chance.per_mille(calls.hold_reply) {
            self.suffers("a reply held");
            self.way(100_000, 3_000_000).await;
        }
        if instance.cut.get() || self.redis.lives.get() != life {
            return;
        }
        out();
    }

    /// A call that is never executed: the connection breaks, or stays and says nothing.
    async fn lose(&self, mut request: Request, why: &str) {
        trace!("{} {}: {why}", request.by, request.what);
        match self.chance.below(3) {
            0 => (request.deed)(Some(Lost::Unreachable))(),
            1 => drop(request),
            _ => {
                sleep(Duration::from_secs(8)).await;
                drop(request);
            }
        }
    }

    fn execute(&self, request: &mut Request) -> Out {
        let before = self.store.newest();
        let out = (request.deed)(None);
        let after = self.store.newest();
        if before != after {
            let (seq, hash) = after.map_or((0, 0), |id| (id.seq, id.h64));
            trace!("{} {} -> {seq}-{hash:016x}", request.by, request.what);
            // It may be one that Redis had forgotten, given back.
            let mut forgotten = self.redis.forgotten.borrow_mut();
            let absence = after.and_then(|id| forgotten.get_mut(&id)?.absences.last_mut());
            if let Some((_, back @ None)) = absence {
                *back = Some(now_ms());
            }
            drop(forgotten);
            if self.redis.emptied.get() {
                let what = format!("{}'s {}", request.by, request.what);
                self.find("S16", format!("{what} wrote {after:?} to a journal that was deleted"));
            }
        }
        if self.plan.tier == Tier::Always {
            self.redis.flushed.set(after.map_or(0, |id| id.seq));
        }
        out
    }

    /// Redis is killed: what it had not flushed is gone, or what the replica had not received that takes
    /// its place and has none of its own for a while. Says whether it ran.
    pub fn kill_redis(&self, down_ms: u64) -> bool {
        self.redis.lives.set(self.redis.lives.get() + 1);
        let ran = self.redis.is_up();
        let up = Instant::now() + Duration::from_millis(down_ms);
        self.redis.down_until.set(Some(up));
        match self.plan.tier {
            Tier::Always => {}
            Tier::Everysec => drop(self.forget_after(self.redis.flushed.get())),
            Tier::Replicated => {
                self.forget_after(self.redis.flushed.get());
                self.redis.alone_until.set(Some(up + Duration::from_millis(down_ms)));
            }
        }
        ran
    }

    /// Whether an entry is in the journal.
    pub fn has(&self, id: EntryId) -> bool {
        self.store.entries(id.seq).first().is_some_and(|(found, _)| *found == id)
    }

    /// The newest entry that may be shown.
    pub fn durable(&self) -> u64 {
        match self.plan.tier {
            Tier::Replicated => self.redis.flushed.get(),
            Tier::Always | Tier::Everysec => self.store.newest().map_or(0, |id| id.seq),
        }
    }

    /// Everything after an entry is gone. Says whether there was anything.
    pub fn forget_after(&self, seq: u64) -> bool {
        let gone = self.store.entries(seq + 1);
        let is_any = !gone.is_empty();
        if is_any {
            trace!("redis forgets {} entries after {seq}", gone.len());
        }
        let durable = self.durable();
        let mut forgotten = self.redis.forgotten.borrow_mut();
        for (id, bytes) in gone {
            let entry = forgotten.entry(id);
            let entry = entry.or_insert_with(|| Forgotten { bytes, ..Forgotten::default() });
            entry.durable |= id.seq <= durable;
            entry.absences.push((now_ms(), None));
        }
        self.store.roll_back(seq);
        self.redis.flushed.set(self.redis.flushed.get().min(seq));
        is_any
    }
}

/// What an append says of a call that failed.
pub fn append_lost(lost: Lost) -> Appended {
    match lost {
        Lost::Unreachable => Appended::Unreachable("no connection".into()),
        Lost::Busy => Appended::Busy("busy".into()),
        Lost::ReadOnly => Appended::WrongServer("read only".into()),
        Lost::Unknown => Appended::Unknown("no reply".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::Forgotten;

    #[test]
    fn what_was_given_back_is_known_to_have_been_away() {
        let absences = vec![(10, Some(20)), (50, None)];
        let entry = Forgotten { absences, ..Forgotten::default() };
        let away = [(0, 9), (5, 10), (12, 13), (20, 30), (21, 49), (60, 61)];
        let away = away.map(|(from_ms, to_ms)| entry.was_absent(from_ms, to_ms));
        assert_eq!(away, [false, true, true, true, false, true]);
        assert!(entry.is_absent());
    }
}

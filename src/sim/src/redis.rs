//! Redis, as the network shows it: a memory journal that every instance shares, behind a way on which
//! calls are late, lost, held, doubled and refused.
//!
//! Owns:   when a call is executed, and what of it comes back.
//! Never:  answers what it did not do, unless a bug was planted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use journal::{Appended, EntryId, Sealed};
use tokio::time::{Instant, sleep, sleep_until};

use crate::plan::Tier;
use crate::trace;
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
    /// The newest entry that is on its disk.
    pub flushed: Cell<u64>,
    /// What it has forgotten.
    pub forgotten: RefCell<BTreeSet<EntryId>>,
    /// Whether everything was deleted.
    pub emptied: Cell<bool>,
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
            trace!("{} {}: held", instance.name, request.what);
            self.way(100_000, 5_000_000).await;
        }
        if self.chance.per_mille(calls.lose_request) {
            return self.lose(request, "request lost").await;
        }
        while let Some(until) =
            self.redis.paused_until.get().filter(|until| *until > Instant::now())
        {
            sleep_until(until).await;
        }
        if self.redis.down_until.get().is_some_and(|until| until > Instant::now()) {
            return (request.deed)(Some(Lost::Unreachable))();
        }
        if self.chance.per_mille(calls.busy) {
            return (request.deed)(Some(Lost::Busy))();
        }
        if self.chance.per_mille(calls.read_only) {
            return (request.deed)(Some(Lost::ReadOnly))();
        }
        let life = self.redis.lives.get();
        let out = self.execute(&mut request);
        let append = request.append.is_some();
        if append && self.chance.per_mille(calls.duplicate) {
            let world = self.clone();
            self.spawn(async move {
                world.way(1_000, 800_000).await;
                trace!("{} append: once more", request.by);
                drop(world.execute(&mut request));
            });
        }
        if append && self.chance.per_mille(calls.lose_append_reply) {
            trace!("{} append: reply lost with the connection", instance.name);
            return;
        }
        if self.chance.per_mille(calls.lose_reply) {
            trace!("{} reply lost", instance.name);
            // The connection stands, and says nothing.
            sleep(Duration::from_secs(8)).await;
            return;
        }
        self.way(50, way_us).await;
        if self.chance.per_mille(calls.hold_reply) {
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
            self.appended(request, after);
        }
        if self.plan.tier == Tier::Always {
            self.redis.flushed.set(after.map_or(0, |id| id.seq));
        }
        out
    }

    fn appended(&self, request: &Request, after: Option<EntryId>) {
        if request.append.is_some() && self.redis.emptied.get() {
            self.find(
                "S16",
                format!("{} wrote {:?} to a journal that was deleted", request.by, after),
            );
        }
    }

    /// Redis is killed: what it had not flushed is gone.
    pub fn kill_redis(&self, down_ms: u64) {
        self.redis.lives.set(self.redis.lives.get() + 1);
        self.redis.down_until.set(Some(Instant::now() + Duration::from_millis(down_ms)));
        if self.plan.tier == Tier::Everysec {
            self.forget_after(self.redis.flushed.get());
        }
    }

    /// Everything after an entry is gone.
    pub fn forget_after(&self, seq: u64) {
        let gone: Vec<EntryId> =
            self.store.entries(seq + 1).into_iter().map(|(id, _)| id).collect();
        if !gone.is_empty() {
            trace!("redis forgets {} entries after {seq}", gone.len());
        }
        self.redis.forgotten.borrow_mut().extend(gone);
        self.store.roll_back(seq);
        self.redis.flushed.set(self.redis.flushed.get().min(seq));
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

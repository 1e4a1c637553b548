//! The journal's port of one instance, over the simulated network. The bugs that are planted in the
//! port are here, each beside the truth.

use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use domain::Event;
use futures_util::FutureExt as _;
use journal::limits::REPLY_TIMEOUT;
use journal::{
    Appended, CheckError, Claim, Claimed, Content, Cursor, EntryId, Expected, Heartbeat, Journal,
    MemoryJournal, MemoryStore, OpenError, Opened, Page, Place, Projected, ReadError, Sealed,
    Settled, Step, Tail, Trouble, catalog,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::plan::Tier;
use crate::planted::Planted;
use crate::redis::{Lost, Request, append_lost};
use crate::world::{self, World};

/// See the module.
pub struct SimJournal {
    by: usize,
    memory: MemoryJournal,
    to: mpsc::UnboundedSender<Request>,
    planted: Option<Planted>,
}

impl fmt::Debug for SimJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimJournal({})", self.by)
    }
}

/// A memory journal waits for nothing.
fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("a memory journal answers at once")
}

/// The world, if the house waits for a replica in it.
fn replicated() -> Option<Rc<World>> {
    world::current().filter(|world| world.plan.tier == Tier::Replicated)
}

fn trouble(lost: Lost) -> Trouble {
    match lost {
        Lost::Unreachable => Trouble::Unreachable("no connection".into()),
        Lost::Unknown => Trouble::Unreachable("no reply in time".into()),
        Lost::Busy => Trouble::Busy("busy".into()),
        Lost::ReadOnly => Trouble::WrongServer("read only".into()),
    }
}

impl SimJournal {
    /// The port of a process.
    pub fn new(
        by: usize,
        store: MemoryStore,
        to: mpsc::UnboundedSender<Request>,
        planted: Option<Planted>,
    ) -> Self {
        let memory = MemoryJournal::over(store);
        Self { by, memory, to, planted }
    }

    fn send<T: Send + 'static>(
        &self,
        what: &'static str,
        append: Option<Sealed>,
        call: impl Fn(&MemoryJournal) -> T + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Lost>> {
        let (reply, answer) = oneshot::channel();
        let (memory, reply) = (self.memory.clone(), Arc::new(Mutex::new(Some(reply))));
        let deed = move |lost: Option<Lost>| -> crate::redis::Out {
            let result = match lost {
                None => Ok(call(&memory)),
                Some(lost) => Err(lost),
            };
            let reply = reply.clone();
            Box::new(move || {
                let reply = reply.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(reply) = reply {
                    // Who asked may be dead.
                    let _ = reply.send(result);
                }
            })
        };
        let request = Request { by: self.by, what, append, deed: Box::new(deed) };
        // The world ends with the seed.
        let _ = self.to.send(request);
        answer
    }

    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl Fn(&MemoryJournal) -> T + Send + 'static,
    ) -> Result<T, Lost> {
        Self::answered(self.send(what, None, call)).await
    }

    async fn answered<T>(answer: oneshot::Receiver<Result<T, Lost>>) -> Result<T, Lost> {
        match timeout(REPLY_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Lost::Unknown),
        }
    }

    /// The append as the planted comparison of numbers has it.
    fn append_by_number(memory: &MemoryJournal, sealed: &Sealed) -> Appended {
        match memory.store().newest() {
            Some(head) if head == sealed.id() => Appended::Committed { duplicate: true },
            Some(head) if head.seq == sealed.prev_id().seq => {
                memory.store().put(sealed.id(), sealed.bytes().clone());
                Appended::Committed { duplicate: false }
            }
            Some(head) => Appended::Conflict { head },
            None => now(memory.append(sealed)),
        }
    }

    fn is_barrier(sealed: &Sealed) -> bool {
        let first = catalog::events(sealed.entry()).next();
        matches!(first, Some(Ok((_, Event::LeaderStarted(_)))))
    }
}

#[async_trait]
impl Journal for SimJournal {
    fn place(&self) -> &Place {
        self.memory.place()
    }

    async fn open(&self, expected: Option<&Expected>) -> Result<Opened, OpenError> {
        let expected = expected.cloned();
        let opened = self.call("open", move |memory| now(memory.open(expected.as_ref()))).await;
        opened.unwrap_or_else(|lost| Err(OpenError::Unreachable(format!("{lost:?}"))))
    }

    async fn check(&self) -> Result<Tail, CheckError> {
        let checked = self.call("check", |memory| now(memory.check())).await;
        checked.unwrap_or_else(|lost| Err(trouble(lost).into()))
    }

    async fn head(&self) -> Result<EntryId, CheckError> {
        let head = self.call("head", |memory| now(memory.head())).await;
        head.unwrap_or_else(|lost| Err(trouble(lost).into()))
    }

    async fn contains(&self, id: EntryId) -> Result<bool, Trouble> {
        let by_number = self.planted == Some(Planted::KnowByNumber);
        let found = self.call("contains", move |memory| match by_number {
            true => Ok(memory.store().newest().is_some_and(|newest| newest.seq >= id.seq)),
            false => now(memory.contains(id)),
        });
        found.await.unwrap_or_else(|lost| Err(trouble(lost)))
    }

    async fn stored(&self, from: u64, most_bytes: usize) -> Result<Vec<(EntryId, Bytes)>, Trouble> {
        let stored = self.call("stored", move |memory| {
            let mut stored = now(memory.stored(from, most_bytes))?;
            // What a replica does not have is not there yet.
            if let Some(world) = replicated() {
                stored.retain(|(id, _)| id.seq <= world.durable());
            }
            Ok(stored)
        });
        let stored = stored.await;
        let mut stored = stored.unwrap_or_else(|lost| Err(trouble(lost)))?;
        if self.planted == Some(Planted::ReadBeyondDurable)
            && let Some(world) = world::current()
        {
            let last = stored.last().map(|(id, _)| *id).or_else(|| self.memory.store().newest());
            let instances = world.instances.borrow();
            let mut ahead = instances.iter().filter_map(|instance| instance.under_way());
            let next = ahead.find(|sealed| last == Some(sealed.prev_id()));
            stored.extend(
                next.filter(|sealed| sealed.seq() >= from)
                    .map(|sealed| (sealed.id(), sealed.bytes().clone())),
            );
        }
        Ok(stored)
    }

    async fn read_some(&self, cursor: &Cursor, most_bytes: usize) -> Result<Page, ReadError> {
        let stored = self.stored(cursor.seq().saturating_add(1), most_bytes).await?;
        let mut next = *cursor;
        let mut entries = Vec::with_capacity(stored.len());
        let skips = self.planted == Some(Planted::SkipContiguity) && stored.len() > 1;
        for (n, (id, bytes)) in stored.into_iter().enumerate() {
            if skips && n == 0 && cursor.seq() > 0 {
                let passed = next.accept(id, bytes)?;
                next = Cursor::at(passed.tail());
                continue;
            }
            entries.push(next.accept(id, bytes)?);
        }
        Ok(Page { entries, next })
    }

    async fn append(&self, sealed: &Sealed) -> Appended {
        if let Some(world) = world::current() {
            world.sent(self.by, sealed);
        }
        let (by_number, entry) = (self.planted == Some(Planted::CompareNumbers), sealed.clone());
        let answer = self.send("append", Some(sealed.clone()), move |memory| match by_number {
            true => Self::append_by_number(memory, &entry),
            false => now(memory.append(&entry)),
        });
        let lies = match self.planted {
            Some(Planted::AckBeforeDurable) => true,
            Some(Planted::DropBarrier) => Self::is_barrier(sealed),
            _ => false,
        };
        if lies {
            return Appended::Committed { duplicate: false };
        }
        let appended = Self::answered(answer).await.unwrap_or_else(append_lost);
        match appended {
            Appended::Committed { duplicate: true }
                if self.planted == Some(Planted::DupIsConflict) =>
            {
                Appended::Conflict { head: sealed.id() }
            }
            other => other,
        }
    }

    async fn trim(&self, _: u64, _: EntryId) -> Result<u64, Trouble> {
        Err(Trouble::Denied("nothing is trimmed in a simulation".into()))
    }

    async fn settle(&self, sealed: &Sealed) -> Settled {
        if replicated().is_none() {
            return Settled::Durable;
        }
        let (id, anywhere) = (sealed.id(), self.planted == Some(Planted::SettleAnywhere));
        let settled = self.call("settle", move |memory| {
            let Some(world) = replicated() else { return Settled::Durable };
            if memory.store().newest().is_some_and(|newest| newest.seq > world.durable()) {
                Settled::NotYet("the replica lags".into())
            } else if anywhere || world.has(id) {
                Settled::Durable
            } else {
                Settled::Gone
            }
        });
        settled.await.unwrap_or_else(|lost| Settled::NotYet(format!("{lost:?}").into()))
    }

    async fn claim(&self, claim: &Claim, from: Option<&Claim>) -> Result<Claimed, Trouble> {
        let (claim, from) = (claim.clone(), from.cloned());
        let claimed =
            self.call("claim", move |memory| now(memory.claim(&claim, from.as_ref()))).await;
        claimed.unwrap_or_else(|lost| Err(trouble(lost)))
    }

    async fn release(&self, claim: &Claim) -> Result<(), Trouble> {
        let claim = claim.clone();
        let released = self.call("release", move |memory| now(memory.release(&claim))).await;
        released.unwrap_or_else(|lost| Err(trouble(lost)))
    }

    async fn leader(&self) -> Result<Option<Claim>, Trouble> {
        let leader = self.call("leader", |memory| now(memory.leader())).await;
        leader.unwrap_or_else(|lost| Err(trouble(lost)))
    }

    async fn put_heartbeats(&self, beats: &[Heartbeat]) -> Result<(), Trouble> {
        let beats = beats.to_vec();
        let put = self.call("beats", move |memory| now(memory.put_heartbeats(&beats))).await;
        put.unwrap_or_else(|lost| Err(trouble(lost)))
    }

    async fn drop_heartbeat(&self, node: &str) -> Result<(), Trouble> {
        let node = node.to_owned();
        let dropped = self.call("drop beat", move |memory| now(memory.drop_heartbeat(&node))).await;
        dropped.unwrap_or_else(|lost| Err(trouble(lost)))
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, Trouble> {
        let beats = self.call("read beats", |memory| now(memory.heartbeats())).await;
        beats.unwrap_or_else(|lost| Err(trouble(lost)))
    }

    async fn project(&self, step: &Step) -> Result<Projected, Trouble> {
        let step = step.clone();
        let projected = self.call("project", move |memory| now(memory.project(&step))).await;
        projected.unwrap_or_else(|lost| Err(trouble(lost)))
    }

    async fn rebuild(&self, content: Content, at: EntryId) -> Result<(), Trouble> {
        let rebuilt =
            self.call("rebuild", move |memory| now(memory.rebuild(content.clone(), at))).await;
        rebuilt.unwrap_or_else(|lost| Err(trouble(lost)))
    }
}

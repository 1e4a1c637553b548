//! The journal in this process' own memory: for `dev`, for an explicit `REDIS_ADDR=""`, and for
//! tests.
//!
//! Owns:   [`MemoryStore`], which outlives the [`MemoryJournal`]s made over it as Redis outlives
//!         an instance.
//! Never:  softer than Redis: the same compare-and-append, the same checks, the same lease.
//! Fails:  only as [`Faults`] tell it to.
//! Proof:  `tests/contract.rs`.

mod faults;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::ids::Sequence;
use tokio::time::Instant;
use uuid::Uuid;

use self::faults::Plan;
pub use self::faults::{Fault, Faults, Weather};
pub use self::store::MemoryStore;
use self::store::State;
use crate::chain::{Sealed, Tail, belongs, tail_of};
use crate::entry::{Entry, Identity};
use crate::ids::{ClusterId, EntryId};
use crate::limits::{LEASE_TTL, TRIM_STEP};
use crate::port::{
    Appended, CheckError, Claim, Claimed, Content, Expected, Heartbeat, Journal, OpenError, Opened,
    Ops, Place, PolicyOp, Projected, Promise, QueueOp, Refusal, Refused, Settled, Step, Trouble,
};

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    place: Place,
    store: MemoryStore,
    faults: Faults,
    pinned: Arc<Mutex<Option<Identity>>>,
}

impl Default for MemoryJournal {
    /// Over a store of its own.
    fn default() -> Self {
        Self::over(MemoryStore::default())
    }
}

impl MemoryJournal {
    /// Over a store that others may share.
    pub fn over(store: MemoryStore) -> Self {
        let place = Place {
            kind: "memory",
            address: "memory".into(),
            db: 0,
            journal_key: "journal".into(),
            queue_key: "queue".into(),
        };
        Self { place, store, faults: Faults::default(), pinned: Arc::default() }
    }

    /// What makes it fail, and when.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What it keeps.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    fn reach(&self) -> Result<MutexGuard<'_, State>, Trouble> {
        match self.faults.weather() {
            Weather::Fair | Weather::Degraded => Ok(self.store.lock()),
            Weather::Mute | Weather::Severed => {
                Err(Trouble::Unreachable("the fault plan says so".into()))
            }
        }
    }

    fn reach_to_write(&self) -> Result<MutexGuard<'_, State>, Trouble> {
        match self.faults.weather() {
            Weather::Degraded => Err(Trouble::Busy("the fault plan says so".into())),
            Weather::Fair | Weather::Mute | Weather::Severed => self.reach(),
        }
    }

    fn pinned(&self) -> MutexGuard<'_, Option<Identity>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self, state: &State) -> Result<Tail, Refusal> {
        let key = || self.place.journal_key.clone();
        let missing = || Refusal::Key { key: key(), found: "missing".into(), wanted: "journal" };
        let (first, last) = state.entries.first().zip(state.entries.last()).ok_or_else(missing)?;
        let length = state.entries.len() as u64;
        if last.0.seq - first.0.seq + 1 != length {
            return Err(Refusal::Hole { first: first.0, last: last.0, length });
        }
        let floor = state.floor.max(1);
        if first.0.seq > floor {
            return Err(Refusal::Trimmed { first: first.0, floor });
        }
        let entry = Entry::parse(last.0, last.1.clone())?;
        let tail = tail_of(&entry);
        match *self.pinned() {
            Some(pinned) if pinned != tail.identity => {
                Err(Refusal::Swapped { pinned, found: tail.identity })
            }
            Some(_) | None => Ok(tail),
        }
    }

    fn append_now(&self, sealed: &Sealed) -> Appended {
        let mut state = self.store.lock();
        match state.entries.last().map(|(id, _)| *id) {
            Some(head) if head == sealed.id() => Appended::Committed { duplicate: true },
            Some(head) if head != sealed.prev_id() => Appended::Conflict { head },
            Some(_) => {
                state.entries.push((sealed.id(), sealed.bytes().clone()));
                Appended::Committed { duplicate: false }
            }
            None => Appended::Damaged(Refused::Reply("NOSTREAM".into())),
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    fn place(&self) -> &Place {
        &self.place
    }

    async fn open(&self, expected: Option<&Expected>) -> Result<Opened, OpenError> {
        let unreachable = |trouble: Trouble| OpenError::Unreachable(trouble.to_string());
        let mut state = self.reach_to_write().map_err(unreachable)?;
        let begin = state.entries.is_empty();
        if begin {
            if let Some(Expected { cluster, source }) = expected {
                return Err(OpenError::Refused(Refusal::Empty {
                    place: "memory".into(),
                    expected: *cluster,
                    expected_by: source.clone(),
                }));
            }
            let identity = Identity { cluster: ClusterId(Uuid::new_v4()), incarnation: 1 };
            drop(state);
            self.store.begin(identity);
            state = self.store.lock();
        }
        *self.pinned() = None;
        let tail = self.checked(&state).map_err(OpenError::Refused)?;
        let found = tail.identity.cluster;
        if let Some(Expected { cluster, source }) = expected.filter(|e| e.cluster != found) {
            return Err(OpenError::Refused(Refusal::Foreign {
                place: "memory".into(),
                expected: *cluster,
                found,
                expected_by: source.clone(),
            }));
        }
        *self.pinned() = Some(tail.identity);
        let first_seq = state.entries.first().map_or(1, |(id, _)| id.seq);
        Ok(Opened {
            tail,
            first_seq,
            genesis: begin,
            promise: Promise::Memory,
            warnings: vec!["the journal is in memory: nothing survives a restart".into()],
            server_version: String::new(),
        })
    }

    async fn check(&self) -> Result<Tail, CheckError> {
        let state = self.reach()?;
        Ok(self.checked(&state)?)
    }

    async fn head(&self) -> Result<EntryId, CheckError> {
        if self.faults.is_head_lost() {
            return Err(Trouble::Unreachable("the fault plan says so".into()).into());
        }
        let state = self.reach()?;
        Ok(self.checked(&state)?.position.id())
    }

    async fn contains(&self, id: EntryId) -> Result<bool, Trouble> {
        Ok(self.reach()?.from(id.seq).next().is_some_and(|(found, _)| *found == id))
    }

    async fn stored(
        &self,
        from: Sequence,
        most_bytes: usize,
    ) -> Result<Vec<(EntryId, Bytes)>, Trouble> {
        let mut entries = Vec::new();
        let mut bytes_left = most_bytes;
        let state = self.reach()?;
        for (id, bytes) in state.from(from) {
            if bytes.len() > bytes_left && !entries.is_empty() {
                break;
            }
            bytes_left = bytes_left.saturating_sub(bytes.len());
            entries.push((*id, bytes.clone()));
        }
        Ok(entries)
    }

    async fn append(&self, sealed: &Sealed) -> Appended {
        let planned = "the fault plan says so";
        match self.faults.next_append() {
            Plan::Go => self.append_now(sealed),
            Plan::Refuse => Appended::Busy(planned.into()),
            Plan::Unreachable => Appended::Unreachable(planned.into()),
            Plan::Lose { executed } => {
                if executed {
                    self.append_now(sealed);
                }
                Appended::Unknown(planned.into())
            }
            Plan::Hold => {
                self.faults.hold(sealed.clone());
                Appended::Unknown(planned.into())
            }
            Plan::Damage => Appended::Damaged(Refused::Reply(planned.into())),
            Plan::Stop { executed } => {
                if executed {
                    self.append_now(sealed);
                }
                self.faults.announce_stop();
                std::future::pending().await
            }
        }
    }

    async fn trim(&self, first: Sequence, logged: EntryId) -> Result<Sequence, Trouble> {
        self.may_leave(first, logged).await?;
        let mut state = self.reach_to_write()?;
        state.floor = state.floor.max(first);
        let leave = state.entries.partition_point(|(id, _)| id.seq < first);
        state.entries.drain(..leave.min(TRIM_STEP as usize));
        Ok(state.entries.first().map_or(first, |(id, _)| id.seq))
    }

    async fn settle(&self, _appended: &Sealed) -> Settled {
        Settled::Durable
    }

    async fn claim(&self, claim: &Claim, from: Option<&Claim>) -> Result<Claimed, Trouble> {
        if self.faults.is_claim_silent() {
            return std::future::pending().await;
        }
        let mut state = self.reach_to_write()?;
        let now = Instant::now();
        if let Some((held, until)) = &state.lease
            && *until > now
            && held != claim
            && Some(held) != from
        {
            return Ok(Claimed::Other { holder: held.to_string(), left: *until - now });
        }
        state.lease = Some((claim.clone(), now + LEASE_TTL));
        Ok(Claimed::Held)
    }

    async fn release(&self, claim: &Claim) -> Result<(), Trouble> {
        let mut state = self.reach_to_write()?;
        if state.lease.as_ref().is_some_and(|(held, _)| held == claim) {
            state.lease = None;
        }
        Ok(())
    }

    async fn leader(&self) -> Result<Option<Claim>, Trouble> {
        drop(self.reach()?);
        Ok(self.store.holder())
    }

    async fn put_heartbeats(&self, beats: &[Heartbeat]) -> Result<(), Trouble> {
        let mut state = self.reach_to_write()?;
        let now = Instant::now();
        for Heartbeat { node, value, ttl } in beats {
            state.beats.insert(node.clone(), (value.clone(), now + *ttl));
        }
        Ok(())
    }

    async fn drop_heartbeat(&self, node: &str) -> Result<(), Trouble> {
        self.reach_to_write()?.beats.remove(node);
        Ok(())
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, Trouble> {
        let mut state = self.reach()?;
        let now = Instant::now();
        state.beats.retain(|_, (_, until)| *until > now);
        let beat = |(node, (value, until)): (&String, &(String, Instant))| Heartbeat {
            node: node.clone(),
            value: value.clone(),
            ttl: until.duration_since(now).max(Duration::from_millis(1)),
        };
        Ok(state.beats.iter().map(beat).collect())
    }

    async fn project(&self, step: &Step) -> Result<Projected, Trouble> {
        let mut state = self.reach_to_write()?;
        let State { queue, queue_at, policies, policies_at, .. } = &mut *state;
        let shown = match &step.ops {
            Ops::Queue(_) => queue_at,
            Ops::Policies(_) => policies_at,
        };
        if *shown != Some(step.from) {
            return Ok(Projected::Elsewhere(*shown));
        }
        match &step.ops {
            Ops::Queue(ops) => {
                for op in ops {
                    match op {
                        QueueOp::Add(member) => queue.insert(member.as_str().into()),
                        QueueOp::Remove(member) => queue.remove(member.as_str()),
                    };
                }
            }
            Ops::Policies(ops) => {
                for op in ops {
                    match op {
                        PolicyOp::Put(name, json) => policies.insert(name.clone(), json.clone()),
                        PolicyOp::Delete(name) => policies.remove(name),
                    };
                }
            }
        }
        *shown = Some(step.to);
        Ok(Projected::Moved)
    }

    async fn rebuild(&self, content: Content, at: EntryId) -> Result<(), Trouble> {
        let mut state = self.reach_to_write()?;
        match content {
            Content::Queue(members) => {
                state.queue = members.iter().map(|member| member.as_str().into()).collect();
                state.queue_at = Some(at);
            }
            Content::Policies(policies) => {
                state.policies = policies.into_iter().collect();
                state.policies_at = Some(at);
            }
        }
        Ok(())
    }
}

impl MemoryJournal {
    /// Executes an append that [`Fault::Hold`] held back, as a network may long after everybody
    /// gave it up; none when nothing is held.
    pub fn deliver_held(&self) -> Option<Appended> {
        let sealed = self.faults.unhold()?;
        let identity = sealed.entry().header().identity;
        match self.pinned().map(|pinned| belongs(pinned, identity)) {
            Some(Ok(())) | None => Some(self.append_now(&sealed)),
            Some(Err(_)) => None,
        }
    }
}

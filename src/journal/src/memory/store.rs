//! What a memory journal keeps, and what a test may do to it behind everybody's back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::ids::Sequence;
use tokio::time::Instant;
use uuid::Uuid;

use crate::chain::genesis;
use crate::entry::Identity;
use crate::ids::EntryId;
use crate::port::Claim;

/// The content: shared by every journal made over it, as Redis is by every instance.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: Vec<(EntryId, Bytes)>,
    /// The first entry that was to stay; 0 before anything left.
    pub(super) floor: Sequence,
    pub(super) lease: Option<(Claim, Instant)>,
    pub(super) beats: BTreeMap<String, (String, Instant)>,
    pub(super) queue: BTreeSet<String>,
    pub(super) queue_at: Option<EntryId>,
    pub(super) policies: BTreeMap<String, String>,
    pub(super) policies_at: Option<EntryId>,
}

impl State {
    /// Entries from the sequence `seq` on.
    pub(super) fn from(&self, seq: Sequence) -> impl Iterator<Item = &(EntryId, Bytes)> {
        let start = self.entries.partition_point(|(id, _)| id.seq < seq);
        self.entries[start..].iter()
    }
}

impl MemoryStore {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ids of all entries, oldest first.
    pub fn ids(&self) -> Vec<EntryId> {
        self.lock().entries.iter().map(|(id, _)| *id).collect()
    }

    /// The newest entry.
    pub fn newest(&self) -> Option<EntryId> {
        self.lock().entries.last().map(|(id, _)| *id)
    }

    /// Entries from the sequence `from` on, as they are stored.
    pub fn entries(&self, from: Sequence) -> Vec<(EntryId, Bytes)> {
        self.lock().from(from).cloned().collect()
    }

    /// Begins a journal of this identity, where there is none.
    pub fn begin(&self, identity: Identity) {
        let mut state = self.lock();
        if state.entries.is_empty() {
            let first = genesis(identity, Uuid::nil(), 0);
            state.entries.push((first.id(), first.bytes().clone()));
        }
    }

    /// The visible queue, in the order of the line.
    pub fn queue(&self) -> Vec<String> {
        self.lock().queue.iter().cloned().collect()
    }

    /// The visible policies.
    pub fn policies(&self) -> BTreeMap<String, String> {
        self.lock().policies.clone()
    }

    /// Forgets every entry after `seq`, as Redis does when it loses the tail of its file.
    pub fn roll_back(&self, seq: Sequence) {
        self.lock().entries.retain(|(id, _)| id.seq <= seq);
    }

    /// Removes one entry, as `XDEL` does.
    pub fn remove(&self, seq: Sequence) {
        self.lock().entries.retain(|(id, _)| id.seq != seq);
    }

    /// Puts an entry behind all others, as it was stored elsewhere: believed in nothing.
    pub fn put(&self, id: EntryId, bytes: Bytes) {
        self.lock().entries.push((id, bytes));
    }

    /// Replaces the bytes of one entry.
    pub fn tamper(&self, seq: Sequence, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some((_, bytes)) = self.lock().entries.iter_mut().find(|(id, _)| id.seq == seq) {
            let mut changed = bytes.to_vec();
            change(&mut changed);
            *bytes = changed.into();
        }
    }

    /// Who holds the leader's key.
    pub fn holder(&self) -> Option<Claim> {
        let now = Instant::now();
        self.lock().lease.as_ref().filter(|(_, until)| *until > now).map(|(held, _)| held.clone())
    }

    /// Lets the leader's key expire now.
    pub fn expire_lease(&self) {
        self.lock().lease = None;
    }

    /// Lets the leader's key live longer, as a clock does that stands still.
    pub fn stretch_lease(&self, by: Duration) {
        if let Some((_, until)) = &mut self.lock().lease {
            *until += by;
        }
    }

    /// Lets every heartbeat expire now.
    pub fn expire_heartbeats(&self) {
        self.lock().beats.clear();
    }
}

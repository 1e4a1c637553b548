//! Idempotency keys: which answer a repeated request gets.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Event, KeyUse};
use crate::ids::{Hex, RunId, Timestamp};

/// A key is remembered for a day of log time: a caller that tries again does so within it.
pub const WINDOW_MS: u64 = 86_400_000;

/// Keys in use, by the digest of tenant and key. Small on purpose: most runs have a key.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    uses: BTreeMap<Scope, Used>,
    /// The runs of a request beside its first, by position; most requests make just one.
    more: BTreeMap<(Scope, u32), RunId>,
    /// Oldest first: log time never goes back. The order of those of one instant, which are
    /// forgotten together, means nothing.
    by_age: VecDeque<(Timestamp, Scope)>,
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.uses == other.uses && self.more == other.more
    }
}

impl Eq for Keys {}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (&self.uses, &self.more).serialize(to)
    }
}

/// Keys as they are kept.
type Kept = (Vec<(Scope, Used)>, BTreeMap<(Scope, u32), RunId>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // A sequence of pairs has the shape of a map, and a map is built of one faster.
        let (uses, more) = Kept::deserialize(from)?;
        let mut by_age: Vec<_> = uses.iter().map(|(scope, used)| (used.at, *scope)).collect();
        by_age.sort_unstable();
        Ok(Self { by_age: by_age.into(), uses: uses.into_iter().collect(), more })
    }
}

/// First 16 bytes of the BLAKE3 digest of tenant and key: a key belongs to its tenant.
type Scope = Hex<16>;

fn scope(tenant: &str, key: &str) -> Scope {
    let mut hash = blake3::Hasher::new();
    hash.update(&(tenant.len() as u64).to_le_bytes()).update(tenant.as_bytes());
    hash.update(key.as_bytes());
    let mut bytes = [0; 16];
    hash.finalize_xof().fill(&mut bytes);
    Hex(bytes)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    at: Timestamp,
    /// Enough to tell a caller of his own mistake.
    body: Hex<8>,
    /// Position and run that came first.
    first: (u32, RunId),
}

fn short(body: &Hex<16>) -> Hex<8> {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&body.0[..8]);
    Hex(bytes)
}

/// What a key says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: the request is new.
    New,
    /// It was answered with this run.
    Repeat(RunId),
    /// The key came with another body before.
    OtherBody,
}

impl Keys {
    /// Looks a key up for the run at `position` of a request.
    pub fn look_up(&self, now: Timestamp, tenant: &str, key: &KeyUse, position: u32) -> Known {
        let scope = scope(tenant, &key.key);
        let used = self.uses.get(&scope);
        let Some(used) = used.filter(|used| now.since(used.at) < WINDOW_MS) else {
            return Known::New;
        };
        if used.body != short(&key.body) {
            return Known::OtherBody;
        }
        if used.first.0 == position {
            return Known::Repeat(used.first.1);
        }
        self.more.get(&(scope, position)).copied().map_or(Known::New, Known::Repeat)
    }

    /// Folds an event.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::RunAdmitted(e) => self.used(e.at, e.submission.tenant(), &e.key, e.run),
            Event::RunRejected(e) => self.used(e.at, e.submission.tenant(), &e.key, e.run),
            Event::LeaderStarted(_)
            | Event::RunAssigned(_)
            | Event::RunStarted(_)
            | Event::RunFinished(_)
            | Event::RunLost(_)
            | Event::RunCancelRequested(_)
            | Event::RunCanceled(_)
            | Event::RunForgotten(_)
            | Event::NodeJoined(_)
            | Event::NodeLost(_)
            | Event::PolicyPut(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::RunEvicted(_)
            | Event::RunReleased(_)
            | Event::RunRefused(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_)
            | Event::RunQuarantined(_) => {}
        }
    }

    /// Forgets all of them: for a World that is only read, and never asked for a repeat.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn used(&mut self, at: Timestamp, tenant: &str, key: &Option<(KeyUse, u32)>, run: RunId) {
        self.forget_old(at);
        let Some((key, position)) = key else { return };
        let scope = scope(tenant, &key.key);
        match self.uses.entry(scope) {
            Slot::Occupied(_) => {
                self.more.insert((scope, *position), run);
            }
            Slot::Vacant(new) => {
                new.insert(Used { at, body: short(&key.body), first: (*position, run) });
                self.by_age.push_back((at, scope));
            }
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.by_age.front()
            && now.since(*at) >= WINDOW_MS
            && let Some((_, scope)) = self.by_age.pop_front()
        {
            self.uses.remove(&scope);
            while let Some((place, _)) = self.more.range((scope, 0)..=(scope, u32::MAX)).next() {
                let place = *place;
                self.more.remove(&place);
            }
        }
    }
}

//! Idempotency keys: which answer a repeated request gets.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::event::{Event, KeyUse};
use crate::ids::{Hex, RunId, Timestamp};

/// A key is remembered for a day of log time: `api.md`, `Idempotency-Key`.
pub const WINDOW_MS: u64 = 86_400_000;

/// Keys in use, by the digest of tenant and key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    uses: BTreeMap<Scope, Used>,
    /// Oldest first: log time never goes back.
    by_age: VecDeque<(Timestamp, Scope)>,
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
    body: Hex<16>,
    /// Position and run that came first; most requests make just one.
    first: (u32, RunId),
    /// Further ones, by position.
    more: Vec<(u32, RunId)>,
}

impl Used {
    fn run(&self, position: u32) -> Option<RunId> {
        if self.first.0 == position {
            return Some(self.first.1);
        }
        let found = self.more.binary_search_by_key(&position, |(p, _)| *p).ok()?;
        Some(self.more[found].1)
    }
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
        let used = self.uses.get(&scope(tenant, &key.key));
        let Some(used) = used.filter(|used| now.since(used.at) < WINDOW_MS) else {
            return Known::New;
        };
        if used.body != key.body {
            return Known::OtherBody;
        }
        used.run(position).map_or(Known::New, Known::Repeat)
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
            | Event::RunRefused(_) => {}
        }
    }

    fn used(&mut self, at: Timestamp, tenant: &str, key: &Option<(KeyUse, u32)>, run: RunId) {
        self.forget_old(at);
        let Some((key, position)) = key else { return };
        let scope = scope(tenant, &key.key);
        match self.uses.get_mut(&scope) {
            Some(used) => {
                // Positions of one request come in order, unless a repeat fills a gap.
                let place = used.more.partition_point(|(p, _)| p < position);
                used.more.insert(place, (*position, run));
            }
            None => {
                let used = Used { at, body: key.body, first: (*position, run), more: Vec::new() };
                self.uses.insert(scope, used);
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
        }
    }
}

//! What each tenant has in the house, and whose turn it is.
//!
//! Tags follow start-time fair queueing (Goyal, Vin, Cheng, 1996): each admission of a tenant gets
//! a tag one step after its last, or after the line's virtual time when it was idle, so that a
//! tenant with a thousand runs waiting does not hold back one that comes with its first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Next};
use crate::ids::{RunId, Timestamp};
use crate::rows::Rows;
use crate::submission::{Demand, Total};

/// What one tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Runs in line.
    pub pending: u32,
    /// Runs on nodes.
    pub running: u32,
    /// What those on nodes hold.
    pub in_use: Demand,
    /// What all unfinished runs ask for.
    pub asked: Total,
    /// Tag of its latest admission.
    pub last_tag: u64,
}

/// What a tenant has at one moment, as quotas and rules see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Runs on nodes.
    pub running: u32,
    /// Runs in line.
    pub pending: u32,
    /// What those on nodes hold.
    pub in_use: Demand,
    /// What all unfinished runs ask for.
    pub asked: Total,
    /// Submissions that became runs in the last 60 seconds, rejected ones included.
    pub last_minute: u32,
}

/// The window of `per_minute`.
pub const RATE_WINDOW_MS: u64 = 60_000;

/// Submissions of one tenant in the last minute, counted a second: exact to the second, and never
/// more than 61 numbers a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Recent {
    /// Seconds since the epoch, and how many.
    seconds: VecDeque<(u64, u32)>,
}

impl Recent {
    fn add(&mut self, at: Timestamp) {
        self.forget(at);
        let second = at.0 / 1_000;
        match self.seconds.back_mut().filter(|(last, _)| *last == second) {
            Some((_, count)) => *count += 1,
            None => self.seconds.push_back((second, 1)),
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while self.seconds.front().is_some_and(|(second, _)| is_past(*second, now)) {
            self.seconds.pop_front();
        }
    }

    fn counted(&self, now: Timestamp) -> impl Iterator<Item = &(u64, u32)> {
        self.seconds.iter().filter(move |(second, _)| !is_past(*second, now))
    }
}

/// Whether a second is over for the window: counted from its end, so that no minute holds more.
fn is_past(second: u64, now: Timestamp) -> bool {
    now.0 >= (second + 1) * 1_000 + RATE_WINDOW_MS
}

/// All tenants that have something, or are still ahead of the line's virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenants {
    tenants: BTreeMap<Arc<str>, Tenant>,
    runs: Rows<RunId, Share>,
    virtual_time: u64,
    /// Those that have nothing and are ahead, by tag: they are forgotten when the line gets there.
    ahead: BTreeSet<(u64, Arc<str>)>,
    /// Who submitted in the last minute.
    recent: BTreeMap<Box<str>, Recent>,
    /// When a tenant's latest submission leaves the window, oldest first.
    leaving: VecDeque<(Timestamp, Box<str>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    tenant: Arc<str>,
    tag: u64,
    demand: Demand,
}

impl Tenants {
    /// One tenant.
    pub fn tenant(&self, name: &str) -> Tenant {
        self.tenants.get(name).copied().unwrap_or_default()
    }

    /// What a tenant has at `now`.
    pub fn holdings(&self, name: &str, now: Timestamp) -> Holdings {
        let Tenant { running, pending, in_use, asked, .. } = self.tenant(name);
        let recent = self.recent.get(name).into_iter().flat_map(|recent| recent.counted(now));
        let last_minute = recent.map(|(_, count)| *count).sum();
        Holdings { running, pending, in_use, asked, last_minute }
    }

    /// When a tenant's submissions of the last minute will be fewer than they are at `now`.
    pub fn rate_eases_at(&self, name: &str, now: Timestamp) -> Timestamp {
        let oldest = self.recent.get(name).and_then(|recent| recent.counted(now).next());
        oldest.map_or(now, |(second, _)| Timestamp((second + 1) * 1_000 + RATE_WINDOW_MS))
    }

    fn submitted(&mut self, at: Timestamp, name: &str) {
        while let Some((until, _)) = self.leaving.front()
            && *until <= at
            && let Some((_, left)) = self.leaving.pop_front()
        {
            if let Some(recent) = self.recent.get_mut(&left) {
                recent.forget(at);
                if recent.seconds.is_empty() {
                    self.recent.remove(&left);
                }
            }
        }
        let recent = match self.recent.get_mut(name) {
            Some(recent) => recent,
            None => self.recent.entry(name.into()).or_default(),
        };
        let seconds = recent.seconds.len();
        let last = recent.seconds.back().map(|(second, _)| *second);
        recent.add(at);
        if seconds == 0 || last != recent.seconds.back().map(|(second, _)| *second) {
            self.leaving.push_back((at.plus(RATE_WINDOW_MS + 1_000), name.into()));
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tenant)> {
        self.tenants.iter().map(|(name, tenant)| (&**name, tenant))
    }

    /// The tag of a tenant's next admission.
    pub fn next_tag(&self, name: &str) -> u64 {
        self.virtual_time.max(self.tenant(name).last_tag) + 1
    }

    /// Folds an event.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::RunRejected(e) => self.submitted(e.at, e.submission.tenant()),
            Event::RunAdmitted(e) => {
                self.submitted(e.at, e.submission.tenant());
                // Most come from a tenant that has others: its name is kept once.
                let name = e.submission.tenant();
                let known = self.tenants.get_key_value(name).map(|(name, _)| name.clone());
                let name = known.unwrap_or_else(|| name.into());
                let tenant = self.tenants.entry(name.clone()).or_default();
                if tenant.pending == 0 && tenant.running == 0 {
                    self.ahead.remove(&(tenant.last_tag, name.clone()));
                }
                tenant.pending += 1;
                tenant.last_tag = e.place.finish_tag;
                let demand = e.submission.resources.into();
                tenant.asked.add(demand);
                self.runs.insert(e.run, Share { tenant: name, tag: e.place.finish_tag, demand });
            }
            Event::RunAssigned(e) => {
                let Some(share) = self.runs.get(&e.run) else { return };
                // Tags of a tenant are one step apart: the line has reached the step before.
                self.virtual_time = self.virtual_time.max(share.tag - 1);
                let Some(tenant) = self.tenants.get_mut(&share.tenant) else { return };
                tenant.pending -= 1;
                tenant.running += 1;
                tenant.in_use = tenant.in_use.plus(share.demand);
                while let Some((tag, _)) = self.ahead.first()
                    && *tag <= self.virtual_time + 1
                    && let Some((_, name)) = self.ahead.pop_first()
                {
                    self.tenants.remove(&name);
                }
            }
            Event::RunFinished(e) => self.off_node(e.run, e.next),
            Event::RunLost(e) => self.off_node(e.run, e.next),
            Event::RunCanceled(e) => self.left_line(e.run),
            Event::RunRefused(e) => self.left_line(e.run),
            Event::LeaderStarted(_)
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
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::RunEvicted(_)
            | Event::RunReleased(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_)
            | Event::RunQuarantined(_) => {}
        }
    }

    fn left_line(&mut self, run: RunId) {
        let Some(share) = self.runs.remove(&run) else { return };
        if let Some(tenant) = self.tenants.get_mut(&share.tenant) {
            tenant.pending -= 1;
            tenant.asked.remove(share.demand);
        }
        self.forget_idle(&share.tenant);
    }

    fn off_node(&mut self, run: RunId, next: Next) {
        let Some(share) = self.runs.get(&run).cloned() else { return };
        let Some(tenant) = self.tenants.get_mut(&share.tenant) else { return };
        tenant.running -= 1;
        tenant.in_use = tenant.in_use.minus(share.demand);
        match next {
            Next::Again { .. } => tenant.pending += 1,
            Next::End(_) => {
                tenant.asked.remove(share.demand);
                self.runs.remove(&run);
                self.forget_idle(&share.tenant);
            }
        }
    }

    fn forget_idle(&mut self, name: &str) {
        let Some(tenant) = self.tenants.get(name) else { return };
        if tenant.pending > 0 || tenant.running > 0 {
            return;
        }
        if tenant.last_tag <= self.virtual_time + 1 {
            self.tenants.remove(name);
        } else {
            self.ahead.insert((tenant.last_tag, name.into()));
        }
    }
}

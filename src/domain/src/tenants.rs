//! What each tenant has in the house, and whose turn it is.
//!
//! Tags follow start-time fair queueing (Goyal, Vin, Cheng, 1996): each admission of a tenant gets
//! a tag one step after its last, or after the line's virtual time when it was idle, so that a
//! tenant with a thousand runs waiting does not hold back one that comes with its first.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::{Event, Next};
use crate::ids::RunId;
use crate::submission::Demand;

/// What one tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Runs in line.
    pub pending: u32,
    /// Runs on nodes.
    pub running: u32,
    /// What those on nodes hold.
    pub in_use: Demand,
    /// Tag of its latest admission.
    pub last_tag: u64,
}

/// All tenants that have something, or are still ahead of the line's virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenants {
    tenants: BTreeMap<Box<str>, Tenant>,
    runs: BTreeMap<RunId, Share>,
    virtual_time: u64,
    /// Those that have nothing and are ahead, by tag: they are forgotten when the line gets there.
    ahead: BTreeSet<(u64, Box<str>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    tenant: Box<str>,
    tag: u64,
    demand: Demand,
}

impl Tenants {
    /// One tenant.
    pub fn tenant(&self, name: &str) -> Tenant {
        self.tenants.get(name).copied().unwrap_or_default()
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
            Event::RunAdmitted(e) => {
                let name: Box<str> = e.submission.tenant().into();
                let tenant = self.tenants.entry(name.clone()).or_default();
                self.ahead.remove(&(tenant.last_tag, name.clone()));
                tenant.pending += 1;
                tenant.last_tag = e.place.finish_tag;
                let demand = e.submission.resources.into();
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
            Event::RunCanceled(e) => {
                let Some(share) = self.runs.remove(&e.run) else { return };
                if let Some(tenant) = self.tenants.get_mut(&share.tenant) {
                    tenant.pending -= 1;
                }
                self.forget_idle(&share.tenant);
            }
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
            | Event::QueuePaused(_)
            | Event::QueueResumed(_) => {}
        }
    }

    fn off_node(&mut self, run: RunId, next: Next) {
        let Some(share) = self.runs.get(&run).cloned() else { return };
        let Some(tenant) = self.tenants.get_mut(&share.tenant) else { return };
        tenant.running -= 1;
        tenant.in_use = tenant.in_use.minus(share.demand);
        match next {
            Next::Again { .. } => tenant.pending += 1,
            Next::End(_) => {
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

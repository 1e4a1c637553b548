//! What a rule may read: the request, the policy, the tenant and the time of the judgement.
//!
//! Owns:   the names a rule can use, with their types, and how each is read.
//! Never:  holds a value of its own: facts are borrowed from whoever judges.
//! Proof:  `tests.rs`.

use crate::ids::Timestamp;
use crate::law::{Limits, Policy};
use crate::submission::{Network, OnLost, Submission};
use crate::tenants::Holdings;
use crate::texts::Texts;

/// Everything a rule is evaluated against.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The request, with its defaults filled in.
    pub request: &'a Submission,
    /// The policy the rule stands in.
    pub policy: PolicyFacts<'a>,
    /// The tenant the request counts for.
    pub tenant: TenantFacts<'a>,
    /// The time of the judgement, in log time.
    pub now: Timestamp,
}

/// What a rule sees of its own policy.
#[derive(Clone, Copy, Debug)]
pub struct PolicyFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// The version in force.
    pub version: u64,
    /// Its limits; one that is not set reads as the largest integer.
    pub limits: &'a Limits,
    /// Its tags.
    pub tags: &'a Texts,
}

impl<'a> PolicyFacts<'a> {
    /// The facts of a policy at one version.
    pub fn new(policy: &'a Policy, version: u64) -> Self {
        Self { name: &policy.name, version, limits: &policy.limits, tags: &policy.tags }
    }
}

/// What a rule sees of the tenant.
#[derive(Clone, Copy, Debug)]
pub struct TenantFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it has in the house.
    pub held: Holdings,
}

/// A whole number a rule can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntField {
    CpuMilli,
    MemMb,
    Gpu,
    TtlMs,
    Priority,
    MaxAttempts,
    BackoffMs,
    MaxAgeMs,
    PolicyVersion,
    LimitCpuMilli,
    LimitMemMb,
    LimitGpu,
    LimitTtlMs,
    TenantRunning,
    TenantPending,
    TenantCpuMilli,
    TenantMemMb,
    TenantGpu,
}

impl IntField {
    /// How a request spells it, for what a request can choose.
    pub fn in_request(self) -> Option<String> {
        REQUEST.fields.iter().find_map(|(name, entry)| match entry {
            Entry::Int(field) => (*field == self).then(|| (*name).to_owned()),
            Entry::Group(group) => {
                let is_self = |entry: &Entry| matches!(entry, Entry::Int(field) if *field == self);
                let (field, _) = group.fields.iter().find(|(_, entry)| is_self(entry))?;
                Some(format!("{name}.{field}"))
            }
            Entry::Text(_) | Entry::Map(_) | Entry::Command | Entry::KeepOutput | Entry::Now => {
                None
            }
        })
    }
}

/// A text a rule can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextField {
    Template,
    Stdin,
    Network,
    Heat,
    OnLost,
    PolicyName,
    TenantName,
}

/// A map a rule can read; an absent key reads as "".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapField {
    Env,
    Metadata,
    Labels,
    Tags,
}

/// What may be absent although it is no key of a map: what `has()` asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Optional {
    Heat,
    LimitCpuMilli,
    LimitMemMb,
    LimitTtlMs,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    Int(IntField),
    Text(TextField),
    Map(MapField),
    Command,
    KeepOutput,
    Now,
    Group(&'static Group),
}

/// Names under one name.
#[derive(Debug)]
pub(super) struct Group {
    /// How it is written.
    pub path: &'static str,
    /// What it holds.
    pub fields: &'static [(&'static str, Entry)],
}

impl Group {
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, entry)| *entry)
    }
}

/// The names a rule begins with.
pub(super) static ROOT: Group = Group {
    path: "",
    fields: &[
        ("request", Entry::Group(&REQUEST)),
        ("policy", Entry::Group(&POLICY)),
        ("tenant", Entry::Group(&TENANT)),
        ("now", Entry::Now),
    ],
};

static REQUEST: Group = Group {
    path: "request",
    fields: &[
        ("template", Entry::Text(TextField::Template)),
        ("command", Entry::Command),
        ("env", Entry::Map(MapField::Env)),
        ("stdin", Entry::Text(TextField::Stdin)),
        ("resources", Entry::Group(&RESOURCES)),
        ("network", Entry::Text(TextField::Network)),
        ("heat", Entry::Text(TextField::Heat)),
        ("priority", Entry::Int(IntField::Priority)),
        ("retry", Entry::Group(&RETRY)),
        ("on_lost", Entry::Text(TextField::OnLost)),
        ("retention", Entry::Group(&RETENTION)),
        ("metadata", Entry::Map(MapField::Metadata)),
        ("labels", Entry::Map(MapField::Labels)),
    ],
};

static RESOURCES: Group = Group {
    path: "request.resources",
    fields: &[
        ("cpu_milli", Entry::Int(IntField::CpuMilli)),
        ("mem_mb", Entry::Int(IntField::MemMb)),
        ("gpu", Entry::Int(IntField::Gpu)),
        ("ttl", Entry::Int(IntField::TtlMs)),
        ("ttl_ms", Entry::Int(IntField::TtlMs)),
    ],
};

static RETRY: Group = Group {
    path: "request.retry",
    fields: &[
        ("max_attempts", Entry::Int(IntField::MaxAttempts)),
        ("backoff", Entry::Int(IntField::BackoffMs)),
    ],
};

static RETENTION: Group = Group {
    path: "request.retention",
    fields: &[("max_age", Entry::Int(IntField::MaxAgeMs)), ("keep_output", Entry::KeepOutput)],
};

static POLICY: Group = Group {
    path: "policy",
    fields: &[
        ("name", Entry::Text(TextField::PolicyName)),
        ("version", Entry::Int(IntField::PolicyVersion)),
        ("tags", Entry::Map(MapField::Tags)),
        ("limits", Entry::Group(&LIMITS)),
    ],
};

static LIMITS: Group = Group {
    path: "policy.limits",
    fields: &[
        ("cpu_milli", Entry::Int(IntField::LimitCpuMilli)),
        ("mem_mb", Entry::Int(IntField::LimitMemMb)),
        ("gpu", Entry::Int(IntField::LimitGpu)),
        ("ttl", Entry::Int(IntField::LimitTtlMs)),
    ],
};

static TENANT: Group = Group {
    path: "tenant",
    fields: &[
        ("name", Entry::Text(TextField::TenantName)),
        ("running", Entry::Int(IntField::TenantRunning)),
        ("pending", Entry::Int(IntField::TenantPending)),
        ("cpu_milli", Entry::Int(IntField::TenantCpuMilli)),
        ("mem_mb", Entry::Int(IntField::TenantMemMb)),
        ("gpu", Entry::Int(IntField::TenantGpu)),
    ],
};

impl<'a> Facts<'a> {
    pub(super) fn int(&self, field: IntField) -> i64 {
        let (request, limits, tenant) = (self.request, self.policy.limits, self.tenant.held);
        match field {
            IntField::CpuMilli => request.resources.cpu_milli.into(),
            IntField::MemMb => request.resources.mem_mb.into(),
            IntField::Gpu => request.resources.gpu.into(),
            IntField::TtlMs => held(request.resources.ttl_ms),
            IntField::Priority => request.priority.into(),
            IntField::MaxAttempts => request.retry.max_attempts.into(),
            IntField::BackoffMs => held(request.retry.backoff_ms),
            IntField::MaxAgeMs => held(request.retention.max_age_ms),
            IntField::PolicyVersion => held(self.policy.version),
            IntField::LimitCpuMilli => limits.cpu_milli.map_or(i64::MAX, i64::from),
            IntField::LimitMemMb => limits.mem_mb.map_or(i64::MAX, i64::from),
            IntField::LimitGpu => limits.gpu.into(),
            IntField::LimitTtlMs => limits.ttl_ms.map_or(i64::MAX, held),
            IntField::TenantRunning => tenant.running.into(),
            IntField::TenantPending => tenant.pending.into(),
            IntField::TenantCpuMilli => tenant.in_use.cpu_milli.into(),
            IntField::TenantMemMb => tenant.in_use.mem_mb.into(),
            IntField::TenantGpu => tenant.in_use.gpu.into(),
        }
    }

    pub(super) fn text(&self, field: TextField) -> &'a str {
        let request = self.request;
        match field {
            TextField::Template => &request.template,
            TextField::Stdin => &request.stdin,
            TextField::Network => match request.network {
                Network::None => "none",
            },
            TextField::Heat => request.heat_hint.map_or("", |heat| heat.as_str()),
            TextField::OnLost => match request.on_lost {
                OnLost::Retry => "retry",
                OnLost::Fail => "fail",
            },
            TextField::PolicyName => self.policy.name,
            TextField::TenantName => self.tenant.name,
        }
    }

    pub(super) fn map(&self, field: MapField) -> &'a Texts {
        match field {
            MapField::Env => &self.request.env,
            MapField::Metadata => &self.request.metadata,
            MapField::Labels => &self.request.labels,
            MapField::Tags => self.policy.tags,
        }
    }

    pub(super) fn has(&self, optional: Optional) -> bool {
        match optional {
            Optional::Heat => self.request.heat_hint.is_some(),
            Optional::LimitCpuMilli => self.policy.limits.cpu_milli.is_some(),
            Optional::LimitMemMb => self.policy.limits.mem_mb.is_some(),
            Optional::LimitTtlMs => self.policy.limits.ttl_ms.is_some(),
        }
    }
}

/// As a signed number, held at the largest.
fn held(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

//! Themis: the law as it stands, and every version it ever had.
//!
//! Owns:   policies, templates and heat thresholds, under one revision for all of them.
//! Never:  judges (that is [`crate::judge`]), or forgets a version.
//! Proof:  P-1 in [`crate::invariants`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::Refusal;
use crate::event::{Event, Principal};
use crate::ids::{Digest, Timestamp};
use crate::judge::Pinned;
use crate::pattern::{overlap, specificity};
use crate::submission::{Heat, Network, Placement};
use crate::texts::Texts;

pub use crate::submission::{Losses, Poison};

/// What a group of submissions may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: Box<str>,
    /// Template names and globs (`*`, `?`) it applies to; the most specific match wins.
    pub templates: Vec<Box<str>>,
    /// Highest resources a request may ask for.
    pub limits: Limits,
    /// Network profiles a request may ask for.
    pub network: Vec<Network>,
    /// Longest retention a request may ask for, in milliseconds.
    pub max_age_ms: Option<u64>,
    /// What breaking limits or network means.
    pub on_violation: OnViolation,
    /// Rules in CEL; each is evaluated, severity decides.
    pub rules: Vec<Rule>,
    /// Free words for the owners.
    pub tags: Texts,
    /// What a request must say of itself.
    pub require: Required,
    /// What its tenant may have in the house.
    pub quotas: Quotas,
    /// Judges elsewhere that are asked too.
    pub judges: Vec<ExternalJudge>,
    /// Where heat comes from, when nobody gives a hint.
    pub heat: HeatSource,
    /// What is asked of nodes, beside what the request asks.
    pub placement: Placement,
    /// What the loss of its nodes comes to for a run whose own `on_lost` is to be tried again.
    pub on_lost: Losses,
}

/// What a request must say of itself, for Aeacus to let it pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Required {
    /// Keys of `metadata` that must be there and not empty.
    pub metadata: BTreeSet<Box<str>>,
    /// Keys of `labels` that must be there.
    pub labels: BTreeSet<Box<str>>,
}

/// What a tenant may have in the house when it submits under a policy. Counted over all of its
/// runs, whatever policy admitted them, as Kubernetes counts a `ResourceQuota`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// Runs on nodes.
    pub running: Option<u32>,
    /// Runs in line.
    pub pending: Option<u32>,
    /// Thousandths of a core asked for by all unfinished runs.
    pub cpu_milli: Option<u64>,
    /// MiB asked for by all unfinished runs.
    pub mem_mb: Option<u64>,
    /// Submissions that became runs in the last 60 seconds, rejected ones included.
    pub per_minute: Option<u32>,
    /// What going beyond them means.
    pub on_exceeded: OnExceeded,
}

impl Quotas {
    /// Whether any is set.
    pub fn is_any(&self) -> bool {
        *self != Self { on_exceeded: self.on_exceeded, ..Self::default() }
    }
}

/// What going beyond a quota means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExceeded {
    /// Nothing is written, and the caller is told when to come back.
    #[default]
    Throttle,
    /// The submission is rejected, which is recorded.
    Reject,
}

/// A judge that is asked over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalJudge {
    /// Its name, unique in the policy.
    pub name: Box<str>,
    /// Where the request is sent.
    pub url: Box<str>,
    /// Milliseconds it has for an answer.
    pub timeout_ms: u64,
    /// What it means when it gives none.
    pub fail: FailMode,
}

/// What no answer from an external judge means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailMode {
    /// It counts as a violation.
    #[default]
    Closed,
    /// The judge is passed over, and that is recorded.
    Open,
}

/// Where heat comes from, when neither request nor template gives a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeatSource {
    /// From what the request asks for.
    #[default]
    Table,
    /// From what runs of the template have used, once there are enough of them.
    Learned,
}

/// Highest resources; none means that this policy sets no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_milli: Option<u32>,
    /// MiB.
    pub mem_mb: Option<u32>,
    /// Whole GPUs: never unlimited by omission.
    pub gpu: u32,
    /// Milliseconds.
    pub ttl_ms: Option<u64>,
}

/// What breaking a limit means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnViolation {
    /// The submission is rejected.
    #[default]
    Reject,
    /// It runs in quarantine.
    Quarantine,
}

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name, unique in the policy.
    pub name: Box<str>,
    /// CEL expression over the request.
    pub when: Box<str>,
    /// The verdict when it holds.
    pub verdict: Verdict,
    /// Said to the caller.
    pub reason: Box<str>,
}

/// A judge's answer, in the order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Let it run.
    Accept,
    /// Let it run on quarantine nodes only.
    Quarantine,
    /// Refuse it.
    Reject,
}

impl Verdict {
    /// The verdict's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// What a sandbox starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Its name.
    pub name: Box<str>,
    /// Its root filesystem.
    pub rootfs: RootFs,
    /// Used where the request has none.
    pub command: Vec<Box<str>>,
    /// Set before the request's own.
    pub env: Texts,
    /// Thousandths of a core, where the request does not say.
    pub cpu_milli: Option<u32>,
    /// MiB, where the request does not say.
    pub mem_mb: Option<u32>,
    /// GPUs, where the request does not say.
    pub gpu: Option<u32>,
    /// Milliseconds of wall clock, where the request does not say.
    pub ttl_ms: Option<u64>,
    /// The template's word on heat; the request's goes before it.
    pub heat: Option<Heat>,
}

/// Where a root filesystem comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootFs {
    /// A read-only view of the node's programs.
    Host,
    /// A directory, relative to the node's image directory.
    Directory(Box<str>),
    /// A tar archive, relative to the node's image directory.
    Archive(Box<str>),
}

/// The thresholds of heat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeatTable {
    /// At or above: inferno. Milliseconds.
    pub inferno_ttl_ms: u64,
    /// At or above: hot. Thousandths of a core.
    pub hot_cpu_milli: u32,
    /// At or above: hot. MiB.
    pub hot_mem_mb: u32,
    /// Cold needs no more than this. Thousandths of a core.
    pub cold_cpu_milli: u32,
    /// Cold needs no more than this. MiB.
    pub cold_mem_mb: u32,
    /// Cold needs no more than this. Milliseconds.
    pub cold_ttl_ms: u64,
}

impl HeatTable {
    /// The published thresholds.
    pub const PUBLISHED: Self = Self {
        inferno_ttl_ms: 3_600_000,
        hot_cpu_milli: 2_000,
        hot_mem_mb: 8_192,
        cold_cpu_milli: 500,
        cold_mem_mb: 256,
        cold_ttl_ms: 60_000,
    };
}

/// Name of the policy that applies where no other matches.
pub const LOCKDOWN_DEFAULT: &str = "lockdown-default";

/// Most policies in force at once: each new one is held against all patterns of the others, in the
/// step that records it.
pub const POLICIES_MAX: usize = 1_024;

/// Name of the built-in template.
pub const HOST_TEMPLATE: &str = "host";

/// The policy that applies where no other matches: little, and nothing dangerous.
pub fn lockdown_default() -> Policy {
    Policy {
        name: LOCKDOWN_DEFAULT.into(),
        templates: vec!["*".into()],
        limits: Limits { cpu_milli: Some(1_000), mem_mb: Some(128), gpu: 0, ttl_ms: Some(300_000) },
        network: vec![Network::None],
        max_age_ms: None,
        on_violation: OnViolation::Reject,
        rules: Vec::new(),
        tags: Texts::default(),
        require: Required::default(),
        quotas: Quotas::default(),
        judges: Vec::new(),
        heat: HeatSource::Table,
        placement: Placement::default(),
        on_lost: Losses::default(),
    }
}

fn host_template() -> Template {
    Template {
        name: HOST_TEMPLATE.into(),
        rootfs: RootFs::Host,
        command: Vec::new(),
        env: Texts::default(),
        cpu_milli: None,
        mem_mb: None,
        gpu: None,
        ttl_ms: None,
        heat: None,
    }
}

/// A version in force. Version 0 is built in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current<T> {
    /// Its number.
    pub version: u64,
    /// The law's revision that it made; 0 is built in.
    pub revision: u64,
    /// The thing itself.
    pub body: Arc<T>,
}

/// The law in force at one revision. Immutable: judges hold it while the next one is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Law {
    /// Grows by one with every change.
    pub revision: u64,
    /// By name, without the built-in one.
    pub policies: BTreeMap<Box<str>, Current<Policy>>,
    /// By name, the built-in one included.
    pub templates: BTreeMap<Box<str>, Current<Template>>,
    /// Thresholds.
    pub heat: HeatTable,
    lockdown: Current<Policy>,
}

impl Default for Law {
    fn default() -> Self {
        let host = Current { version: 0, revision: 0, body: Arc::new(host_template()) };
        Self {
            revision: 0,
            policies: BTreeMap::new(),
            templates: BTreeMap::from([(HOST_TEMPLATE.into(), host)]),
            heat: HeatTable::PUBLISHED,
            lockdown: Current { version: 0, revision: 0, body: Arc::new(lockdown_default()) },
        }
    }
}

impl Law {
    /// The policy that applies where no other matches.
    pub fn lockdown(&self) -> &Current<Policy> {
        &self.lockdown
    }

    /// Whether `policy` can be in force beside the others.
    ///
    /// # Errors
    /// It is one too many, or claims what another claims as specifically.
    pub fn has_room_for(&self, policy: &Policy) -> Result<(), Refusal> {
        if !self.policies.contains_key(&policy.name) && self.policies.len() >= POLICIES_MAX {
            return Err(Refusal::TooManyPolicies { limit: POLICIES_MAX });
        }
        match self.tied_with(policy) {
            Some((other, pattern)) => {
                Err(Refusal::Tie { other: other.into(), pattern: pattern.into() })
            }
            None => Ok(()),
        }
    }

    /// A policy that has one of `policy`'s patterns, so that neither is more specific.
    fn tied_with<'a>(&'a self, policy: &'a Policy) -> Option<(&'a str, &'a str)> {
        let mine: Vec<_> = policy.templates.iter().map(|p| (specificity(p), &**p)).collect();
        let others = self.policies.values().filter(|other| other.body.name != policy.name);
        let claims = others.flat_map(|o| o.body.templates.iter().map(|p| (&*o.body.name, p)));
        claims.into_iter().find_map(|(other, theirs)| {
            let specific = specificity(theirs);
            let tied = |(own, p): &&(_, &str)| *own == specific && overlap(p, theirs);
            mine.iter().find(tied).map(|(_, shared)| (other, *shared))
        })
    }
}

/// One version in a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version<T> {
    /// Its number; a deletion repeats the number of what it deleted.
    pub version: u64,
    /// The law's revision it made.
    pub revision: u64,
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub by: Principal,
    /// The thing itself; none for a deletion.
    pub body: Option<Arc<T>>,
    /// Digest of the report on what it would have changed, where one was made first.
    pub what_if: Option<Digest>,
}

/// The last version of a history that a revision knows.
fn as_of<T>(history: &[Version<T>], revision: u64) -> Option<&Version<T>> {
    let known = history.partition_point(|version| version.revision <= revision);
    history[..known].last()
}

/// The versions in force at a revision.
fn in_force<T>(
    all: &BTreeMap<Box<str>, Vec<Version<T>>>,
    revision: u64,
) -> impl Iterator<Item = (Box<str>, Current<T>)> {
    all.iter().filter_map(move |(name, history)| {
        let Version { version, revision, body, .. } = as_of(history, revision)?;
        let (version, revision, body) = (*version, *revision, body.clone()?);
        Some((name.clone(), Current { version, revision, body }))
    })
}

/// The law and its history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LawBook {
    current: Arc<Law>,
    policies: BTreeMap<Box<str>, Vec<Version<Policy>>>,
    templates: BTreeMap<Box<str>, Vec<Version<Template>>>,
    heat: Vec<Version<HeatTable>>,
}

impl LawBook {
    /// The law in force.
    pub fn current(&self) -> &Arc<Law> {
        &self.current
    }

    /// The law as it stood at a revision: what a judgement of that revision was made under.
    pub fn at(&self, revision: u64) -> Arc<Law> {
        if revision == self.current.revision {
            return self.current.clone();
        }
        let mut law = Law { revision, lockdown: self.current.lockdown.clone(), ..Law::default() };
        law.policies.extend(in_force(&self.policies, revision));
        law.templates.extend(in_force(&self.templates, revision));
        if let Some(table) = as_of(&self.heat, revision).and_then(|version| version.body.as_ref()) {
            law.heat = HeatTable::clone(table);
        }
        Arc::new(law)
    }

    /// Every version of a policy, oldest first.
    pub fn policy_history(&self, name: &str) -> &[Version<Policy>] {
        self.policies.get(name).map_or(&[], Vec::as_slice)
    }

    /// What a pinned version of a policy makes of lost nodes.
    pub fn losses(&self, policy: &Pinned) -> Losses {
        let mut history = self.policy_history(&policy.name).iter();
        let pinned = history.find(|v| v.version == policy.version && v.body.is_some());
        pinned.and_then(|v| v.body.as_deref()).map_or_else(Losses::default, |body| body.on_lost)
    }

    /// Names of all policies there ever were.
    pub fn policy_names(&self) -> impl Iterator<Item = &str> {
        self.policies.keys().map(|name| &**name)
    }

    /// Every version of a template, oldest first.
    pub fn template_history(&self, name: &str) -> &[Version<Template>] {
        self.templates.get(name).map_or(&[], Vec::as_slice)
    }

    /// Every version of the heat thresholds, oldest first; without the published ones, which are
    /// version 0.
    pub fn heat_history(&self) -> &[Version<HeatTable>] {
        &self.heat
    }

    /// The template that a run pinned.
    pub fn template(&self, name: &str, version: u64) -> Option<Arc<Template>> {
        if version == 0 {
            return (name == HOST_TEMPLATE).then(|| Arc::new(host_template()));
        }
        self.template_history(name).iter().find(|v| v.version == version)?.body.clone()
    }

    /// The number that the next version of a policy gets.
    pub fn next_policy_version(&self, name: &str) -> u64 {
        self.policy_history(name).last().map_or(1, |last| last.version + 1)
    }

    /// The number that the next version of a template gets.
    pub fn next_template_version(&self, name: &str) -> u64 {
        self.template_history(name).last().map_or(1, |last| last.version + 1)
    }

    /// Folds an event; says whether the law changed.
    pub fn evolve(&mut self, event: &Event) -> bool {
        match event {
            Event::PolicyPut(e) => {
                let body = Arc::new(e.policy.clone());
                let history = self.policies.entry(e.policy.name.clone()).or_default();
                history.push(Version {
                    version: e.version,
                    revision: e.revision,
                    at: e.at,
                    by: e.origin.by.clone(),
                    body: Some(body.clone()),
                    what_if: e.what_if,
                });
                let law = Arc::make_mut(&mut self.current);
                law.revision = e.revision;
                law.policies.insert(
                    e.policy.name.clone(),
                    Current { version: e.version, revision: e.revision, body },
                );
            }
            Event::PolicyDeleted(e) => {
                let history = self.policies.entry(e.name.clone()).or_default();
                history.push(Version {
                    version: history.last().map_or(0, |last| last.version),
                    revision: e.revision,
                    at: e.at,
                    by: e.origin.by.clone(),
                    body: None,
                    what_if: None,
                });
                let law = Arc::make_mut(&mut self.current);
                law.revision = e.revision;
                law.policies.remove(&e.name);
            }
            Event::TemplatePut(e) => {
                let body = Arc::new(e.template.clone());
                let history = self.templates.entry(e.template.name.clone()).or_default();
                history.push(Version {
                    version: e.version,
                    revision: e.revision,
                    at: e.at,
                    by: e.origin.by.clone(),
                    body: Some(body.clone()),
                    what_if: None,
                });
                let law = Arc::make_mut(&mut self.current);
                law.revision = e.revision;
                law.templates.insert(
                    e.template.name.clone(),
                    Current { version: e.version, revision: e.revision, body },
                );
            }
            Event::TemplateDeleted(e) => {
                let history = self.templates.entry(e.name.clone()).or_default();
                history.push(Version {
                    version: history.last().map_or(0, |last| last.version),
                    revision: e.revision,
                    at: e.at,
                    by: e.origin.by.clone(),
                    body: None,
                    what_if: None,
                });
                let law = Arc::make_mut(&mut self.current);
                law.revision = e.revision;
                law.templates.remove(&e.name);
            }
            Event::HeatTableSet(e) => {
                let law = Arc::make_mut(&mut self.current);
                law.revision = e.revision;
                law.heat = e.table.clone();
                self.heat.push(Version {
                    version: self.heat.len() as u64 + 1,
                    revision: e.revision,
                    at: e.at,
                    by: e.origin.by.clone(),
                    body: Some(Arc::new(e.table.clone())),
                    what_if: None,
                });
            }
            Event::LeaderStarted(_)
            | Event::RunAdmitted(_)
            | Event::RunRejected(_)
            | Event::RunAssigned(_)
            | Event::RunStarted(_)
            | Event::RunFinished(_)
            | Event::RunLost(_)
            | Event::RunCancelRequested(_)
            | Event::RunCanceled(_)
            | Event::RunForgotten(_)
            | Event::NodeJoined(_)
            | Event::NodeLost(_)
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
            | Event::RunQuarantined(_) => return false,
        }
        true
    }
}

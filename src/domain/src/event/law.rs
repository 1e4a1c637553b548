//! What has happened to the law, and to the queue as a whole.

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::ids::{Digest, Timestamp};
use crate::law::{HeatTable, Policy, Template};

/// A policy was created or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyPut {
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// The law's revision from here on.
    pub revision: u64,
    /// The policy's version, from 1.
    pub version: u64,
    /// The policy.
    pub policy: Policy,
    /// Digest of the report on what the policy would have changed, where one was made first.
    pub what_if: Option<Digest>,
}

/// A policy was deleted. Its versions stay readable, and its numbering goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDeleted {
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// The law's revision from here on.
    pub revision: u64,
    /// The policy.
    pub name: Box<str>,
}

/// A template was created or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplatePut {
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// The law's revision from here on.
    pub revision: u64,
    /// The template's version, from 1.
    pub version: u64,
    /// The template.
    pub template: Template,
}

/// A template was deleted. Runs that pinned it still find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateDeleted {
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// The law's revision from here on.
    pub revision: u64,
    /// The template.
    pub name: Box<str>,
}

/// The heat thresholds were set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeatTableSet {
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// The law's revision from here on.
    pub revision: u64,
    /// The thresholds.
    pub table: HeatTable,
}

/// No run is assigned from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePaused {
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
}

/// Runs are assigned again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueResumed {
    /// When, in log time.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
}

//! What judges object to, in types for the record and in words for the caller.

use serde::{Deserialize, Serialize};

use super::ExternalAnswer;
use crate::law::Verdict;
use crate::submission::Network;

/// Why a judge did not simply accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objection {
    /// A resource is above the policy's limit.
    OverLimit {
        /// Which.
        field: Limited,
        /// What was asked, in the field's unit.
        asked: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The network profile is not among the policy's.
    NetworkNotAllowed(Network),
    /// The caller set `metadata.quarantine`.
    QuarantineAsked,
    /// A rule of the policy holds.
    RuleHolds {
        /// Its name.
        rule: Box<str>,
        /// What it says then.
        verdict: Verdict,
        /// Why, in the policy's words.
        reason: Box<str>,
    },
    /// A rule could not be evaluated: a violation.
    RuleFailed {
        /// Its name.
        rule: Box<str>,
        /// Why.
        fault: RuleFault,
    },
    /// `metadata` lacks a key that the policy requires.
    MetadataMissing(Box<str>),
    /// `labels` lacks a key that the policy requires.
    LabelMissing(Box<str>),
    /// The tenant has no more room.
    OverQuota {
        /// Which quota.
        quota: Quota,
        /// What it would have with this run, in the quota's unit.
        would_have: u64,
        /// What it may have.
        limit: u64,
    },
    /// An external judge's answer, also where it is only passed over.
    External(Box<ExternalAnswer>),
}

impl Objection {
    /// Whether it speaks against the submission: a rule may also hold in its favour.
    pub fn counts(&self) -> bool {
        !matches!(self, Self::RuleHolds { verdict: Verdict::Accept, .. })
    }
}

/// A quota of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Runs on nodes.
    Running,
    /// Runs in line.
    Pending,
    /// Thousandths of a core, of all unfinished runs.
    CpuMilli,
    /// MiB, of all unfinished runs.
    MemMb,
    /// Submissions in 60 seconds.
    PerMinute,
}

impl Quota {
    /// The quota's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Pending => "pending",
            Self::CpuMilli => "cpu_milli",
            Self::MemMb => "mem_mb",
            Self::PerMinute => "per_minute",
        }
    }
}

/// Why a rule could not be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleFault {
    /// It divides by zero.
    DivisionByZero,
    /// A number leaves the range of 64 bits.
    Overflow,
    /// An index is beyond the end of a list.
    OutOfRange,
    /// It takes more steps than a rule may.
    TooCostly,
    /// This program can't compile it.
    Uncompilable,
}

impl std::fmt::Display for RuleFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DivisionByZero => "it divides by zero",
            Self::Overflow => "a number leaves the range of 64 bits",
            Self::OutOfRange => "an index is beyond the end of a list",
            Self::TooCostly => "it takes more steps than a rule may",
            Self::Uncompilable => "this version of tartarus can't compile it",
        })
    }
}

/// A field that a policy can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limited {
    /// `resources.cpu_milli`.
    CpuMilli,
    /// `resources.mem_mb`.
    MemMb,
    /// `resources.gpu`.
    Gpu,
    /// `resources.ttl`, in milliseconds.
    TtlMs,
    /// `retention.max_age`, in milliseconds.
    MaxAgeMs,
}

impl Limited {
    /// The field's name in a request, and the unit of its numbers.
    pub fn name_and_unit(self) -> (&'static str, &'static str) {
        match self {
            Self::CpuMilli => ("resources.cpu_milli", ""),
            Self::MemMb => ("resources.mem_mb", ""),
            Self::Gpu => ("resources.gpu", ""),
            Self::TtlMs => ("resources.ttl", "ms"),
            Self::MaxAgeMs => ("retention.max_age", "ms"),
        }
    }
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OverLimit { field, asked, limit } => {
                let (name, unit) = field.name_and_unit();
                write!(f, "{name} is {asked}{unit}, the limit is {limit}{unit}")
            }
            Self::NetworkNotAllowed(Network::None) => f.write_str("network none is not allowed"),
            Self::QuarantineAsked => f.write_str("metadata.quarantine is \"true\""),
            Self::RuleHolds { rule, reason, .. } if reason.is_empty() => {
                write!(f, "rule {rule} holds")
            }
            Self::RuleHolds { rule, reason, .. } => write!(f, "rule {rule}: {reason}"),
            Self::RuleFailed { rule, fault } => write!(f, "rule {rule} can't be applied: {fault}"),
            Self::MetadataMissing(key) => write!(f, "metadata.{key} is missing"),
            Self::LabelMissing(key) => write!(f, "label {key} is missing"),
            Self::OverQuota { quota, would_have, limit } => {
                write!(
                    f,
                    "quota {}: the tenant would have {would_have}, the limit is {limit}",
                    quota.as_str()
                )
            }
            Self::External(answer) => write!(f, "judge {}: {}", answer.judge, answer.outcome),
        }
    }
}

//! What a caller could ask for instead: the nearest miss of a simple rule.

use std::fmt;

use super::Program;
use super::eval::{Compare, Machine, Node};
use super::facts::{Facts, IntField};
use crate::submission::Submission;

/// A number of the request, and what it would have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    field: IntField,
    name: String,
    sign: &'static str,
    value: i64,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.sign, self.value)
    }
}

impl Hint {
    /// Asks for that instead, as far as a request can; for `!=`, for one less, or one more than 0.
    pub fn apply(&self, asked: &mut Submission) {
        let value = match (self.sign, self.value) {
            ("!=", 0) => 1,
            ("!=", value) => value - 1,
            (_, value) => value,
        };
        let long = u64::try_from(value).unwrap_or(0);
        let short = u32::try_from(long).unwrap_or(u32::MAX);
        match self.field {
            IntField::CpuMilli => asked.resources.cpu_milli = short,
            IntField::MemMb => asked.resources.mem_mb = short,
            IntField::Gpu => asked.resources.gpu = short,
            IntField::TtlMs => asked.resources.ttl_ms = long,
            IntField::Priority => asked.priority = u8::try_from(long).unwrap_or(100).min(100),
            IntField::MaxAttempts => asked.retry.max_attempts = short,
            IntField::BackoffMs => asked.retry.backoff_ms = long,
            IntField::MaxAgeMs => asked.retention.max_age_ms = long,
            // No request can choose these: `in_request` knows no name for them.
            IntField::PolicyVersion
            | IntField::LimitCpuMilli
            | IntField::LimitMemMb
            | IntField::LimitGpu
            | IntField::LimitTtlMs
            | IntField::TenantRunning
            | IntField::TenantPending
            | IntField::TenantCpuMilli
            | IntField::TenantMemMb
            | IntField::TenantGpu => {}
        }
    }
}

/// For a rule that holds and compares a number of the request with something the request does not
/// change: a value with which it would not hold, such as `resources.mem_mb <= 1024`. Of several
/// comparisons joined by `&&` one is enough: the first that can be turned.
pub fn hint(program: &Program, facts: &Facts<'_>) -> Option<Hint> {
    let root = &program.inner.root;
    let holds = Machine::new(facts).holds(root) == Ok(true);
    if holds { turned(root) } else { None }
}

fn turned(node: &Node) -> Option<Hint> {
    match node {
        Node::And(of) => turned(&of[0]).or_else(|| turned(&of[1])),
        Node::Compare(compare, of) => match &**of {
            [Node::IntField(field), Node::Int(value)] => negated(*field, *compare, *value),
            [Node::Int(value), Node::IntField(field)] => {
                negated(*field, mirrored(*compare), *value)
            }
            _ => None,
        },
        _ => None,
    }
}

fn mirrored(compare: Compare) -> Compare {
    match compare {
        Compare::Less => Compare::Greater,
        Compare::LessOrEqual => Compare::GreaterOrEqual,
        Compare::Greater => Compare::Less,
        Compare::GreaterOrEqual => Compare::LessOrEqual,
        same @ (Compare::Equal | Compare::NotEqual) => same,
    }
}

fn negated(field: IntField, compare: Compare, value: i64) -> Option<Hint> {
    let name = field.in_request()?;
    let (sign, value) = match compare {
        Compare::Less => (">=", value),
        Compare::LessOrEqual => (">=", value.checked_add(1)?),
        Compare::Greater => ("<=", value),
        Compare::GreaterOrEqual => ("<=", value.checked_sub(1)?),
        Compare::Equal => ("!=", value),
        Compare::NotEqual => ("==", value),
    };
    // Nothing in a request is below zero.
    (value >= 0).then_some(Hint { field, name, sign, value })
}

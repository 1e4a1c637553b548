//! The language of a policy's rules: a part of CEL in which every rule ends, soon.
//!
//! Owns:   what a rule may say ([`compile`]) and what it means ([`eval`]).
//! Hears:  the text of a rule, and borrowed [`Facts`].
//! Says:   a yes or no; a [`RuleError`] that says what to write instead; a [`RuleFault`].
//! Never:  judges (that is [`crate::judge`]), reads a clock, keeps state, depends on an order.
//! Fails:  a rule that can be known to fail is refused when it is compiled; what is left
//!         (division by zero, overflow, index, cost) is a fault that the judge records.
//! Proof:  `tests.rs`, `refusals.rs`, `hostile.rs`; why it is built so: `docs/adr/0009-rules-are-cel-evaluated-here.md`.
//!
//! The path of a rule: `scan.rs` (limits and syntax, before any parser), `parse.rs` (the parser of
//! the `cel` crate, and the only file that knows it), `check.rs` (names and types), `eval.rs`.

mod calendar;
mod call;
mod check;
mod eval;
mod facts;
mod hint;
#[cfg(test)]
mod hostile;
mod parse;
mod reads;
#[cfg(test)]
mod refusals;
mod scan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::judge::RuleFault;
pub use facts::{Facts, PolicyFacts, TenantFacts};
pub use hint::{Hint, hint};
pub use reads::Reads;

/// Longest rule, in bytes: a page that a person reads in one look.
pub const MAX_BYTES: usize = 1_024;

/// Most names, literals and operators in a rule.
pub const MAX_NODES: usize = 200;

/// Deepest nesting of brackets and conditions. Nobody reads deeper, and the parser pays for each
/// level with stack.
pub const MAX_NESTING: usize = 24;

/// Most operations inside one another: what [`eval`] needs of the caller's stack. A chain such as
/// `a + b + c` counts each sign; `&&` and `||` are balanced.
pub const MAX_DEPTH: usize = 64;

/// What one evaluation may cost: a step is one node, or 16 bytes of text that are looked at. Enough
/// for the largest rule over a thousand arguments, or to search the largest request 16 times. The worst pair of rule
/// and request that was found takes 11 ms (`benches/rules.rs`).
pub const MAX_STEPS: u32 = 262_144;

const _: () = assert!(MAX_STEPS as usize >= MAX_NODES * 1_000);

/// A rule that compiled. Cheap to clone; equal when the text is.
#[derive(Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<str>,
    reads: Reads,
    root: eval::Node,
}

impl Program {
    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// What it reads that is not in every record of a request, nor in its policy.
    pub fn reads(&self) -> Reads {
        self.inner.reads
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Program {}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.source()).finish()
    }
}

const fn shared<T: Send + Sync + Clone>() {}
const _: () = shared::<Program>();

/// Why a rule is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct RuleError {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Something wrong at a byte of the source.
#[derive(Debug)]
struct Wrong {
    at: usize,
    message: String,
}

impl Wrong {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    fn in_source(self, source: &str) -> RuleError {
        let at = (0..=self.at.min(source.len())).rev().find(|at| source.is_char_boundary(*at));
        let before = &source[..at.unwrap_or(0)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        // A rule has at most 1,024 bytes unless its length is what is wrong, and then `at` is 0.
        let count = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
        RuleError {
            line: count(before.matches('\n').count()),
            column: count(before[line_start..].chars().count()),
            message: self.message,
        }
    }
}

/// Compiles a rule.
///
/// # Errors
/// The text is too large, is not CEL, uses what this language leaves out, names what does not
/// exist, or has a type error.
///
/// # Panics
/// The machine can't start a thread: that is no verdict on a rule.
pub fn compile(when: &str) -> Result<Program, RuleError> {
    scan::scan(when)
        .and_then(|()| parse::parse(when, check::check))
        .map(|root| {
            let reads = reads::of(&root);
            Program { inner: Arc::new(Inner { source: when.into(), reads, root }) }
        })
        .map_err(|wrong| wrong.in_source(when))
}

/// Whether a rule holds.
///
/// # Errors
/// What can only be known with the facts at hand; the same rule and facts give the same fault.
pub fn eval(program: &Program, facts: &Facts<'_>) -> Result<bool, RuleFault> {
    eval::Machine::new(facts).holds(&program.inner.root)
}

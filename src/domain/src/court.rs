//! The court: the law in force, made ready to judge by.
//!
//! Owns:   every policy as a [`Statute`], found by the template of a submission.
//! Never:  changes: the next one is made beside it, from what has not changed in this one.
//! Proof:  `tests/rules/law.rs`; what it costs with a thousand policies: `benches/judging.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::law::{Current, HeatSource, Law, Policy, Rule};
use crate::pattern::{Specificity, glob, is_exact, specificity};
use crate::rules::{Program, Reads, RuleError, compile};

/// A policy made ready to judge by.
#[derive(Clone, Debug)]
pub struct Statute {
    policy: Current<Policy>,
    programs: Box<[Result<Program, RuleError>]>,
    reads: Reads,
    wants: Wants,
}

/// What judging needs to see beside the law and the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// What the tenant has.
    pub tenant: bool,
    /// The time.
    pub now: bool,
    /// What runs of the template have used.
    pub learned: bool,
    /// What external judges say.
    pub external: bool,
}

impl Wants {
    /// Whether the request alone is enough.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl Statute {
    /// Compiles the rules of a policy, but for those that stand as they are in `before`. One that
    /// does not compile was written for another version of this program: it stays, and fails.
    fn new(policy: &Current<Policy>, before: Option<&Self>) -> Self {
        let body = &policy.body;
        let compiled = |rule: &Rule| {
            let old = before.into_iter().flat_map(|before| &before.programs).flatten();
            let mut same = old.filter(|program| *program.source() == *rule.when);
            same.next().cloned().map_or_else(|| compile(&rule.when), Ok)
        };
        let programs: Box<[_]> = body.rules.iter().map(compiled).collect();
        let reads =
            programs.iter().flatten().map(Program::reads).fold(Reads::default(), Reads::and);
        let wants = Wants {
            tenant: reads.tenant,
            now: reads.now,
            learned: body.heat == HeatSource::Learned,
            external: !body.judges.is_empty(),
        };
        Self { policy: policy.clone(), programs, reads, wants }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy.body
    }

    /// Its rules, each with its program.
    pub fn rules(&self) -> impl Iterator<Item = (&Rule, &Result<Program, RuleError>)> {
        self.policy.body.rules.iter().zip(&self.programs)
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.policy.version
    }

    /// The law's revision that it made.
    pub fn revision(&self) -> u64 {
        self.policy.revision
    }

    /// What its rules read.
    pub fn reads(&self) -> Reads {
        self.reads
    }

    /// What judging by it needs to see.
    pub fn wants(&self) -> Wants {
        self.wants
    }
}

/// The law of one revision, as judges hold it. Immutable.
#[derive(Debug)]
pub struct Court {
    law: Arc<Law>,
    /// By the policy's name.
    statutes: BTreeMap<Box<str>, Arc<Statute>>,
    lockdown: Arc<Statute>,
    /// By the name that a pattern is.
    exact: BTreeMap<Box<str>, Arc<Statute>>,
    /// By their globs, the most specific first.
    globs: Vec<(Box<str>, Arc<Statute>)>,
    /// By template, from the first time it is asked for.
    found: BTreeMap<Box<str>, OnceLock<Arc<Statute>>>,
}

impl Default for Court {
    fn default() -> Self {
        Self::from(Law::default())
    }
}

impl From<Law> for Court {
    fn from(law: Law) -> Self {
        Self::new(Arc::new(law), None)
    }
}

impl Court {
    /// A court for `law`. What `before` has of policies that are still the same is taken over.
    pub fn new(law: Arc<Law>, before: Option<&Self>) -> Self {
        let ready = |name: &str, policy: &Current<Policy>| {
            let same = |old: &&Arc<Statute>| {
                Arc::ptr_eq(&old.policy.body, &policy.body) && old.policy.version == policy.version
            };
            let old = before.and_then(|before| before.statutes.get(name));
            let make = || Arc::new(Statute::new(policy, old.map(|old| &**old)));
            old.filter(same).cloned().unwrap_or_else(make)
        };
        let statutes: BTreeMap<Box<str>, Arc<Statute>> =
            law.policies.iter().map(|(name, policy)| (name.clone(), ready(name, policy))).collect();
        let mut exact = BTreeMap::new();
        let mut globs: Vec<(Specificity, &Box<str>, &Arc<Statute>)> = Vec::new();
        for statute in statutes.values() {
            for pattern in &statute.policy().templates {
                if is_exact(pattern) {
                    exact.insert(pattern.clone(), statute.clone());
                } else {
                    globs.push((specificity(pattern), pattern, statute));
                }
            }
        }
        // Of two that are as specific no template matches both: enacting one more would be a tie.
        globs.sort_by_key(|(specific, _, _)| std::cmp::Reverse(*specific));
        let globs = globs.into_iter().map(|(_, p, statute)| (p.clone(), statute.clone())).collect();
        let lockdown = before.map(|before| before.lockdown.clone());
        Self {
            lockdown: lockdown.unwrap_or_else(|| Arc::new(Statute::new(law.lockdown(), None))),
            found: law.templates.keys().map(|name| (name.clone(), OnceLock::new())).collect(),
            law,
            statutes,
            exact,
            globs,
        }
    }

    /// The law.
    pub fn law(&self) -> &Arc<Law> {
        &self.law
    }

    /// Rules that this version of the program can't compile, in policies that `before` did not have
    /// like this: they are for an operator to look at.
    pub fn unfit(&self, before: Option<&Self>) -> Vec<(&Statute, &Rule, &RuleError)> {
        let known = |statute: &&Arc<Statute>| {
            let old = before.and_then(|b| b.statutes.get(&statute.policy().name));
            !old.is_some_and(|old| Arc::ptr_eq(old, statute))
        };
        let new = self.statutes.values().filter(known).flat_map(|statute| {
            statute.rules().filter_map(|(rule, program)| {
                let error = program.as_ref().err()?;
                Some((&**statute, rule, error))
            })
        });
        new.collect()
    }

    /// The policy of this name, ready to judge by.
    pub fn statute_of(&self, name: &str) -> Option<&Arc<Statute>> {
        self.statutes.get(name)
    }

    /// What applies to submissions that start from `template`: the policy with the most specific
    /// match, else the built-in lockdown.
    pub fn statute_for(&self, template: &str) -> &Arc<Statute> {
        match self.found.get(template) {
            Some(found) => found.get_or_init(|| self.look_up(template).clone()),
            None => self.look_up(template),
        }
    }

    fn look_up(&self, template: &str) -> &Arc<Statute> {
        self.exact.get(template).unwrap_or_else(|| {
            let first = self.globs.iter().find(|(pattern, _)| glob(pattern, template));
            first.map_or(&self.lockdown, |(_, statute)| statute)
        })
    }
}

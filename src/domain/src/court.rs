//! The court: the law in force, made ready to judge by.
//!
//! Owns:   every policy as a [`Statute`], found by the template of a submission.
//! Never:  changes: the next one is made beside it, from what has not changed in this one.
//! Proof:  `tests/rules/law.rs`; what it costs with a thousand policies: `benches/judging.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::law::{Current, HeatSource, Law, Policy};
use crate::pattern::{Specificity, glob, is_exact, specificity};

/// A policy made ready to judge by.
#[derive(Clone, Debug)]
pub struct Statute {
    policy: Current<Policy>,
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
    fn new(policy: &Current<Policy>) -> Self {
        let body = &policy.body;
        let wants = Wants {
            tenant: false,
            now: false,
            learned: body.heat == HeatSource::Learned,
            external: !body.judges.is_empty(),
        };
        Self { policy: policy.clone(), wants }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy.body
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.policy.version
    }

    /// The law's revision that it made.
    pub fn revision(&self) -> u64 {
        self.policy.revision
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
            let kept = before.and_then(|before| before.statutes.get(name)).filter(same);
            kept.cloned().unwrap_or_else(|| Arc::new(Statute::new(policy)))
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
            lockdown: lockdown.unwrap_or_else(|| Arc::new(Statute::new(law.lockdown()))),
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

//! Label selectors, as the journal keeps them: the grammar (that of Kubernetes) is the wire's.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::texts::Texts;

/// What labels must be like: every requirement holds. Without any, all labels match.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selector {
    /// All of them hold.
    pub requirements: Vec<Requirement>,
}

/// What one label must be like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: Box<str>,
    /// What is asked of it.
    pub test: Test,
}

/// What is asked of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// It is there with one of these values.
    In(BTreeSet<Box<str>>),
    /// It is not there, or has none of these values.
    NotIn(BTreeSet<Box<str>>),
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
}

impl Requirement {
    /// Whether labels, given by look-up, meet it.
    pub fn holds<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let value = label(&self.key);
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
        }
    }
}

impl Selector {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels, given by look-up, meet every requirement.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(&label))
    }

    /// Whether these labels meet every requirement.
    pub fn selects(&self, labels: &Texts) -> bool {
        self.matches(|key| labels.get(key))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, test } = self;
        let (word, values) = match test {
            Test::Exists => return f.write_str(key),
            Test::Absent => return write!(f, "!{key}"),
            Test::In(values) => ("in", values),
            Test::NotIn(values) => ("notin", values),
        };
        write!(f, "{key} {word} (")?;
        for (i, value) in values.iter().enumerate() {
            write!(f, "{}{value}", if i > 0 { "," } else { "" })?;
        }
        f.write_str(")")
    }
}

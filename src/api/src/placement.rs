//! Which nodes a run may use, and which it would rather: one shape for requests, runs and policies.

use std::collections::BTreeSet;

use domain::submission::{Placement, Preference, Strategy};
use serde::{Deserialize, Serialize};

use crate::check::Complaints;
use crate::given::Given;
use crate::labels::shorten;
use crate::limits::{PREFERENCES_MAX, REQUIREMENTS_MAX};
use crate::parse::some_objects;
use crate::selector::Selector;

/// What a node's sandboxes can enforce, by the names that agents report.
pub const ISOLATION: [&str; 16] = [
    "user-ns",
    "pid-ns",
    "mount-ns",
    "ipc-ns",
    "uts-ns",
    "net-none",
    "ro-root",
    "private-tmp",
    "masked-proc",
    "no-new-privs",
    "cap-none",
    "seccomp",
    "rlimits",
    "cgroup-cpu",
    "cgroup-memory",
    "cgroup-pids",
];

/// Weight of a preference that names none.
pub const DEFAULT_WEIGHT: u8 = 50;

/// `placement` of a request or a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementDocument {
    /// A selector that the node's labels must meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Box<str>>,
    /// Selectors that they should meet.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some_objects")]
    pub prefer: Option<Vec<PreferenceDocument>>,
    /// What the node's sandboxes must enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Vec<Box<str>>>,
    /// Which of several nodes is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Given<Strategy>>,
}

/// An item of `placement.prefer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferenceDocument {
    /// The selector.
    pub labels: Box<str>,
    /// How much it counts, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}

/// `placement` of a run, every default filled in: what the request and the policy ask together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementView {
    /// What the node's labels must meet; empty where nothing is asked.
    pub require: String,
    /// What they should meet.
    pub prefer: Vec<PreferenceView>,
    /// What the node's sandboxes must enforce.
    pub isolation: Vec<Box<str>>,
    /// Which of several nodes is taken.
    pub strategy: Strategy,
}

/// A preference of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferenceView {
    /// The selector.
    pub labels: String,
    /// How much it counts.
    pub weight: u8,
}

impl From<&Placement> for PlacementView {
    fn from(placement: &Placement) -> Self {
        let prefer = placement.prefer.iter().map(|preference| PreferenceView {
            labels: preference.labels.to_string(),
            weight: preference.weight,
        });
        Self {
            require: placement.require.to_string(),
            prefer: prefer.collect(),
            isolation: placement.isolation.iter().cloned().collect(),
            strategy: placement.strategy,
        }
    }
}

impl PlacementDocument {
    /// A policy's placement as a document; none where it asks for nothing.
    pub fn from_placement(placement: &Placement) -> Option<Self> {
        let shown = PlacementView::from(placement);
        let prefer = shown.prefer.into_iter().map(|preference| PreferenceDocument {
            labels: preference.labels.into(),
            weight: Some(preference.weight.into()),
        });
        (!placement.is_default()).then(|| Self {
            require: Some(shown.require.into()),
            prefer: Some(prefer.collect()),
            isolation: Some(shown.isolation),
            strategy: Some(Given::Known(shown.strategy)),
        })
    }

    pub(crate) fn into_placement(self, found: &mut Complaints) -> Placement {
        let require = self.require.map(|text| selector(found, "placement.require", &text));
        let require = require.unwrap_or_default().0;
        let prefer = self.prefer.unwrap_or_default();
        let count = prefer.len();
        if count > PREFERENCES_MAX {
            found.add(|| {
                format!("placement.prefer has {count} entries: give at most {PREFERENCES_MAX}")
            });
        }
        let prefer = (0..).zip(prefer.into_iter().take(PREFERENCES_MAX)).map(|(i, given)| {
            let field = format!("placement.prefer[{i}]");
            let labels = selector(found, &format!("{field}.labels"), &given.labels).0;
            if labels.is_empty() {
                found.add(|| {
                    format!("{field}.labels is empty: every node meets that, leave it out")
                });
            }
            let weight = found.number(&format!("{field}.weight"), given.weight, 1, 100);
            Preference { labels, weight: weight.unwrap_or(DEFAULT_WEIGHT) }
        });
        let prefer = prefer.collect();
        let isolation: BTreeSet<Box<str>> = self.isolation.into_iter().flatten().collect();
        for name in isolation.iter().filter(|name| !ISOLATION.contains(&&***name)) {
            let known = ISOLATION.join(", ");
            found.add(|| format!("placement.isolation has {:?}: known are {known}", shorten(name)));
        }
        let strategy = found.word("placement.strategy", self.strategy).unwrap_or_default();
        Placement { require, prefer, isolation, strategy }
    }
}

fn selector(found: &mut Complaints, field: &str, text: &str) -> Selector {
    match text.parse::<Selector>() {
        Ok(selector) if selector.requirements.len() > REQUIREMENTS_MAX => {
            let count = selector.requirements.len();
            found.add(|| {
                format!("{field} has {count} requirements: give at most {REQUIREMENTS_MAX}")
            });
            Selector::default()
        }
        Ok(selector) => selector,
        Err(error) => {
            found.add(|| format!("{field}: {error}"));
            Selector::default()
        }
    }
}

/// Bytes of the text of a placement, in requirements and in names.
pub fn text_bytes(placement: &Placement) -> usize {
    let selectors = placement.prefer.iter().map(|preference| &preference.labels);
    let selectors = selectors.chain([&placement.require]);
    let names: usize = placement.isolation.iter().map(|name| name.len()).sum();
    selectors.map(|selector| selector.to_string().len()).sum::<usize>() + names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Placement, String> {
        let document: PlacementDocument =
            crate::parse(text.as_bytes()).map_err(|e| e.to_string())?;
        let mut found = Complaints::default();
        let placement = document.into_placement(&mut found);
        found.finish(placement).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn what_is_asked_reads_back() {
        let text = r#"{"require": "disk=ssd,zone in (a,b)", "isolation": ["seccomp", "seccomp"],
            "prefer": [{"labels": "gpu", "weight": 80}, {"labels": "!old"}], "strategy": "pack"}"#;
        let placement = read(text).expect("it is valid");
        let shown = PlacementView::from(&placement);
        assert_eq!(shown.require, "disk in (ssd),zone in (a,b)");
        let weights: Vec<_> = shown.prefer.iter().map(|p| (&*p.labels, p.weight)).collect();
        assert_eq!(weights, [("gpu", 80), ("!old", DEFAULT_WEIGHT)]);
        assert_eq!((shown.isolation.len(), shown.strategy), (1, Strategy::Pack));
        let again = PlacementDocument::from_placement(&placement).expect("it asks for something");
        let again = serde_json::to_string(&again).expect("a document");
        assert_eq!(read(&again), Ok(placement));
        assert_eq!(read("{}"), Ok(Placement::default()));
        assert_eq!(PlacementDocument::from_placement(&Placement::default()), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = (0..17).map(|n| format!("k{n}")).collect::<Vec<_>>().join(",");
        let nine = [r#"{"labels":"a"}"#; 9].join(",");
        for (text, words) in [
            (r#"{"require": "a b"}"#.to_owned(), "placement.require: \"a b\" is no requirement"),
            (format!(r#"{{"require": "{many}"}}"#), "placement.require has 17 requirements"),
            (
                format!(r#"{{"prefer": [{nine}]}}"#),
                "placement.prefer has 9 entries: give at most 8",
            ),
            (
                r#"{"prefer": [{"labels": "a", "weight": 0}]}"#.to_owned(),
                "placement.prefer[0].weight is 0: give 1 to 100",
            ),
            (r#"{"prefer": [{"labels": ""}]}"#.to_owned(), "placement.prefer[0].labels is empty"),
            (r#"{"isolation": ["magic"]}"#.to_owned(), "known are user-ns, pid-ns"),
            (
                r#"{"strategy": "random"}"#.to_owned(),
                "placement.strategy is \"random\": give spread or pack",
            ),
            (r#"{"requires": "a"}"#.to_owned(), "did you mean \"require\"?"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}

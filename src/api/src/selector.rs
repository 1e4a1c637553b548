//! Label selectors in the grammar of Kubernetes: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use domain::selector::{Requirement, Test};

use crate::labels::{self, BadLabel, shorten};
use crate::limits::SELECTOR_MAX;

/// A selector in words. See [`domain::selector::Selector`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(pub domain::selector::Selector);

impl std::ops::Deref for Selector {
    type Target = domain::selector::Selector;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSelector {
    /// It is too long.
    #[error("a selector has at most {SELECTOR_MAX} bytes")]
    TooLong,
    /// A requirement has none of the known forms.
    #[error(
        "{0:?} is no requirement: write key, !key, key=value, key!=value, key in (a,b) or key notin (a,b), with commas between them"
    )]
    Form(String),
    /// A key or value is not one.
    #[error(transparent)]
    Label(#[from] BadLabel),
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        if text.len() > SELECTOR_MAX {
            return Err(BadSelector::TooLong);
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let requirements = split(text).map(requirement).collect::<Result<_, _>>()?;
        Ok(Self(domain::selector::Selector { requirements }))
    }
}

/// The parts between commas that are not within parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.split(move |c| {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
}

fn requirement(text: &str) -> Result<Requirement, BadSelector> {
    let text = text.trim();
    let form = || BadSelector::Form(shorten(text));
    if let Some(key) = text.strip_prefix('!') {
        return make(key.trim(), Test::Absent);
    }
    if let Some(open) = text.find('(') {
        let (head, values) = (&text[..open], &text[open + 1..]);
        let values = values.strip_suffix(')').ok_or_else(form)?;
        let (key, word) = head.trim_end().rsplit_once(char::is_whitespace).ok_or_else(form)?;
        let values = values
            .split(',')
            .map(|value| labels::check_value(value.trim()).map(|()| value.trim().into()))
            .collect::<Result<_, _>>()?;
        let test = match word {
            "in" => Test::In(values),
            "notin" => Test::NotIn(values),
            _ => return Err(form()),
        };
        return make(key.trim(), test);
    }
    if let Some((key, value)) = text.split_once("!=") {
        return one(key, value, Test::NotIn);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return one(key, value, Test::In);
    }
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(form());
    }
    make(text, Test::Exists)
}

fn one(
    key: &str,
    value: &str,
    test: fn(BTreeSet<Box<str>>) -> Test,
) -> Result<Requirement, BadSelector> {
    let value = value.trim();
    labels::check_value(value)?;
    make(key.trim(), test(BTreeSet::from([value.into()])))
}

fn make(key: &str, test: Test) -> Result<Requirement, BadSelector> {
    labels::check_key(key)?;
    Ok(Requirement { key: key.into(), test })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LABELS: [(&str, &str); 3] = [("team", "ml"), ("tier", "gold"), ("empty", "")];

    fn matches(selector: &str) -> bool {
        let selector: Selector = selector.parse().unwrap();
        selector.matches(|key| LABELS.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
    }

    #[test]
    fn a_selector_selects() {
        for selector in [
            "",
            "team=ml",
            "team==ml",
            "team = ml , tier=gold",
            "tier!=silver",
            "absent!=anything",
            "team in (ml, web)",
            "team notin (web)",
            "absent notin (x)",
            "team",
            "!absent",
            "! absent",
            "empty=",
            "empty in ()",
            "team in (a,ml),tier notin (x,y),!z",
        ] {
            assert!(matches(selector), "{selector}");
        }
        for selector in [
            "team=web",
            "absent=x",
            "absent",
            "!team",
            "team!=ml",
            "team in (web)",
            "team notin (ml,web)",
            "team=ml,tier=silver",
            "absent=",
        ] {
            assert!(!matches(selector), "{selector}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            ",",
            "a,",
            "a b",
            "a in",
            "a in b",
            "a in (b",
            "a on (b)",
            "in (b)",
            "(b)",
            "a=b c",
            "a=b=c",
            "!",
            "a!",
            "-a=b",
            "a in (b)c",
            "a=(b)",
            "a in ((b))",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text:?}");
        }
        assert_eq!("a".repeat(5_000).parse::<Selector>(), Err(BadSelector::TooLong));
    }

    fn word() -> impl Strategy<Value = Box<str>> {
        "[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?".prop_map(Into::into)
    }

    fn test() -> impl Strategy<Value = Test> {
        let values = || prop::collection::btree_set(word(), 1..4);
        prop_oneof![
            values().prop_map(Test::In),
            values().prop_map(Test::NotIn),
            Just(Test::Exists),
            Just(Test::Absent),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(parts in prop::collection::vec((word(), test()), 0..6)) {
            let requirements =
                parts.into_iter().map(|(key, test)| Requirement { key, test }).collect();
            let selector = Selector(domain::selector::Selector { requirements });
            prop_assert_eq!(selector.to_string().parse(), Ok(selector));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,64}|[a-c!=,() in]{0,24}") {
            let _ = text.parse::<Selector>();
        }
    }
}

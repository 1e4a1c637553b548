//! Labels in the syntax of Kubernetes, and names.
//!
//! A key is `[prefix/]name`: the prefix a DNS subdomain of at most 253 characters, the name at
//! most 63 of letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit. A
//! value is such a name, or empty.

use std::collections::BTreeMap;

use domain::Texts;

use crate::limits::{LABEL_NAME_MAX, LABEL_PREFIX_MAX, NAME_MAX};

/// What is wrong with a label or a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    /// The name part of a key.
    #[error(
        "{0:?} is no label key: after an optional \"prefix/\", use 1 to 63 letters, digits, \"-\", \"_\" or \".\", beginning and ending with a letter or digit"
    )]
    Key(String),
    /// The prefix of a key.
    #[error(
        "{0:?} is no label key: the part before \"/\" must be a DNS name in lower case, such as \"example.com\""
    )]
    Prefix(String),
    /// A value.
    #[error(
        "{0:?} is no label value: use at most 63 letters, digits, \"-\", \"_\" or \".\", beginning and ending with a letter or digit, or leave it empty"
    )]
    Value(String),
    /// An item of a list that has no `=`.
    #[error("{0:?} is not key=value")]
    NoEquals(String),
    /// A key twice in a list.
    #[error("label {0:?} is given twice")]
    Twice(String),
}

fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    matches!(bytes, [first, .., last] | [first @ last]
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes.len() <= LABEL_NAME_MAX
        && bytes.iter().all(|b| inner(*b))
}

fn is_dns_label(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| edge(*b))
        && bytes.last().is_some_and(|b| edge(*b))
        && bytes.iter().all(|b| edge(*b) || *b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= LABEL_PREFIX_MAX && text.split('.').all(is_dns_label)
}

/// Checks a label key.
///
/// # Errors
/// It is not `[prefix/]name`.
pub fn check_key(key: &str) -> Result<(), BadLabel> {
    let (prefix, name) = match key.rsplit_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        return Err(BadLabel::Prefix(shorten(key)));
    }
    if is_name(name) { Ok(()) } else { Err(BadLabel::Key(shorten(key))) }
}

/// Checks a label value.
///
/// # Errors
/// It is neither empty nor a name.
pub fn check_value(value: &str) -> Result<(), BadLabel> {
    if value.is_empty() || is_name(value) { Ok(()) } else { Err(BadLabel::Value(shorten(value))) }
}

/// Reads `key=value,key=value`, as `HADES_LABEL` has it. Blanks around an item are allowed, and
/// empty text means no labels.
///
/// # Errors
/// The first item that is no label, or a key that is there twice.
pub fn parse_list(text: &str) -> Result<Texts, BadLabel> {
    let mut labels = BTreeMap::new();
    if text.trim().is_empty() {
        return Ok(Texts::default());
    }
    for item in text.split(',').map(str::trim) {
        let (key, value) = item.split_once('=').ok_or_else(|| BadLabel::NoEquals(shorten(item)))?;
        let (key, value) = (key.trim(), value.trim());
        check_key(key)?;
        check_value(value)?;
        if labels.insert(key.into(), value.into()).is_some() {
            return Err(BadLabel::Twice(shorten(key)));
        }
    }
    Ok(labels.into_iter().collect())
}

/// Whether text can name a policy, a template or a tenant: 1 to 63 lower-case letters, digits,
/// `-`, `_` or `.`, beginning and ending with a letter or digit.
pub fn is_object_name(text: &str) -> bool {
    text.len() <= NAME_MAX && is_name(text) && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// What [`is_object_name`] asks for, for messages.
pub const OBJECT_NAME: &str = "use 1 to 63 lower-case letters, digits, \"-\", \"_\" or \".\", \
                               beginning and ending with a letter or digit";

/// At most 64 characters of text that a message repeats: a caller's own words must not flood it.
pub(crate) fn shorten(text: &str) -> String {
    const KEPT: usize = 64;
    match text.char_indices().nth(KEPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_kubernetes() {
        for key in ["a", "app", "A-b_c.9", "tartarus.io/typhon", "a.b.c/D", &"x".repeat(63)] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        for key in ["", "-a", "a-", "a b", "ä", "/a", "A.b/c", "a/", "a/b/c", &"x".repeat(64)] {
            assert!(check_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn values_may_be_empty() {
        for value in ["", "true", "a_B.c-1"] {
            assert_eq!(check_value(value), Ok(()));
        }
        for value in [" ", "a=b", "a,b", ".x", "x."] {
            assert!(check_value(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_list_is_read_or_the_bad_item_is_named() {
        let labels = parse_list("tartarus.io/phlegethon=true, zone = a ,empty=").unwrap();
        let pairs: Vec<_> = labels.iter().collect();
        assert_eq!(pairs, [("empty", ""), ("tartarus.io/phlegethon", "true"), ("zone", "a")]);
        assert_eq!(parse_list("  "), Ok(Texts::default()));
        assert_eq!(parse_list("typhon"), Err(BadLabel::NoEquals("typhon".into())));
        assert_eq!(parse_list("a=1,"), Err(BadLabel::NoEquals(String::new())));
        assert_eq!(parse_list("a=1,a=2"), Err(BadLabel::Twice("a".into())));
        assert_eq!(parse_list("a=b=c"), Err(BadLabel::Value("b=c".into())));
    }

    #[test]
    fn names_are_lower_case() {
        for name in ["host", "python-3.12", "a", "a_b"] {
            assert!(is_object_name(name), "{name}");
        }
        for name in ["", "Host", "a/b", "../x", "-x", ".x"] {
            assert!(!is_object_name(name), "{name}");
        }
    }
}

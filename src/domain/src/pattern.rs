//! Patterns of template names: what they match, which is more specific, and whether two could ever
//! claim one name.
//!
//! Never:  slow: every question is answered in one pass over both texts for each `*`, without
//!         memory of its own, since callers choose the patterns.

use std::iter::Peekable;
use std::str::Chars;

/// How specific a pattern is: exact names before globs, then by the number of literal characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    exact: bool,
    literal: usize,
}

/// How specific a pattern is.
pub fn specificity(pattern: &str) -> Specificity {
    let literal = pattern.chars().filter(|c| !is_wild(*c)).count();
    Specificity { exact: !pattern.contains(is_wild), literal }
}

/// Whether a pattern is a name: it matches itself alone.
pub fn is_exact(pattern: &str) -> bool {
    !pattern.contains(is_wild)
}

fn is_wild(c: char) -> bool {
    matches!(c, '*' | '?')
}

/// Whether `text` matches `pattern`, where `*` stands for any characters and `?` for one.
/// Linear in the text for each `*`: no pattern is slow.
pub fn glob(pattern: &str, text: &str) -> bool {
    matches(pattern, text, |p, t| p == '?' || p == t)
}

/// Whether some template could match both patterns equally well.
pub fn ambiguous(a: &str, b: &str) -> bool {
    specificity(a) == specificity(b) && overlap(a, b)
}

/// Whether some text matches both patterns.
pub fn overlap(a: &str, b: &str) -> bool {
    // A character of one pattern stands for itself or for any: each place is free of the others.
    let meet = |x, y| x == y || x == '?' || y == '?';
    match (a.split_once('*'), b.split_once('*')) {
        (Some((a_head, _)), Some((b_head, _))) => {
            // Between head and tail either takes whatever the other asks for.
            let tail = |pattern: &'_ str| pattern.rsplit('*').next().map(str::len).unwrap_or(0);
            let (a_tail, b_tail) = (&a[a.len() - tail(a)..], &b[b.len() - tail(b)..]);
            a_head.chars().zip(b_head.chars()).all(|(x, y)| meet(x, y))
                && a_tail.chars().rev().zip(b_tail.chars().rev()).all(|(x, y)| meet(x, y))
        }
        (Some(_), None) => matches(a, b, meet),
        (None, _) => matches(b, a, meet),
    }
}

/// Whether `text` matches `pattern` where `meet` says what one character of it stands for.
fn matches(pattern: &str, text: &str, meet: impl Fn(char, char) -> bool) -> bool {
    let (mut p, mut t) = (pattern.chars().peekable(), text.chars());
    let mut retry: Option<(Peekable<Chars<'_>>, Chars<'_>)> = None;
    loop {
        let rest = t.clone();
        let Some(c) = t.next() else { break };
        match p.next() {
            Some('*') => {
                t = rest;
                retry = Some((p.clone(), t.clone()));
            }
            Some(wanted) if meet(wanted, c) => {}
            Some(_) | None => match &mut retry {
                Some((after, from)) => {
                    // The star takes one character more.
                    from.next();
                    (p, t) = (after.clone(), from.clone());
                }
                None => return false,
            },
        }
    }
    p.all(|c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_what_it_says_and_nothing_else() {
        for (pattern, text, expected) in [
            ("python", "python", true),
            ("python", "python3", false),
            ("python-*", "python-3.12", true),
            ("python-*", "python", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxbxx", false),
            ("*ab", "aab", true),
            ("a*a", "a", false),
            ("ü*", "über", true),
            ("?ber", "über", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn two_patterns_are_ambiguous_when_a_name_could_match_both_equally_well() {
        for (a, b, expected) in [
            ("python", "python", true),
            ("python-*", "python-*", true),
            ("a*", "*a", true),
            ("ab*", "ac*", false),
            ("python", "python-*", false),
            ("a?", "?b", true),
            ("a?", "b?", false),
            ("a*", "?b", true),
            ("a*b", "b*a", false),
            ("*a*", "*b*", true),
            ("*", "*", true),
        ] {
            assert_eq!(ambiguous(a, b), expected, "{a} and {b}");
            assert_eq!(ambiguous(b, a), expected, "{b} and {a}");
        }
    }

    /// Every text of up to `length` letters `a` and `b`.
    fn texts(length: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..length {
            last = last.iter().flat_map(|t| [format!("{t}a"), format!("{t}b")]).collect();
            all.extend(last.clone());
        }
        all
    }

    /// What a glob means, by its definition.
    fn means(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                means(rest, text) || !text.is_empty() && means(pattern, &text[1..])
            }
            (Some((p, rest)), Some((t, text))) => (*p == b'?' || p == t) && means(rest, text),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    #[test]
    fn short_patterns_match_and_overlap_exactly_as_trying_every_text_says() {
        let mut patterns = vec![String::new()];
        for _ in 0..4 {
            let grown =
                patterns.iter().flat_map(|p| ["a", "b", "?", "*"].map(|c| format!("{p}{c}")));
            let grown: Vec<String> = grown.collect();
            patterns.extend(grown);
            patterns.sort();
            patterns.dedup();
        }
        let texts = texts(8);
        let means: Vec<Vec<bool>> = patterns
            .iter()
            .map(|p| texts.iter().map(|t| means(p.as_bytes(), t.as_bytes())).collect())
            .collect();
        for (a, means_a) in patterns.iter().zip(&means) {
            for (text, expected) in texts.iter().zip(means_a) {
                assert_eq!(glob(a, text), *expected, "{a:?} on {text:?}");
            }
            for (b, means_b) in patterns.iter().zip(&means) {
                let expected = means_a.iter().zip(means_b).any(|(x, y)| *x && *y);
                assert_eq!(overlap(a, b), expected, "{a:?} and {b:?}");
            }
        }
    }
}

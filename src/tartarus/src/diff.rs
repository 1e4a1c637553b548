//! The difference of two texts, by lines, as `diff -u` shows it.

use std::fmt::Write as _;

/// Lines of agreement around a change.
const CONTEXT: usize = 3;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Gone,
    New,
}

/// The difference, with a heading for each text; none where they are the same.
pub fn unified(old_label: &str, old: &str, new_label: &str, new: &str) -> Option<Vec<String>> {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let fates = fates(&a, &b);
    if fates.iter().all(|(fate, _)| *fate == Fate::Kept) {
        return None;
    }
    let mut lines = vec![format!("--- {old_label}"), format!("+++ {new_label}")];
    let near = |at: usize| {
        let around = &fates[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(fates.len())];
        around.iter().any(|(fate, _)| *fate != Fate::Kept)
    };
    let (mut old_line, mut new_line, mut within) = (1, 1, false);
    for (at, (fate, text)) in fates.iter().enumerate() {
        if near(at) {
            if !within {
                let rest = &fates[at..];
                let end = (at..fates.len()).find(|n| !near(*n)).unwrap_or(fates.len()) - at;
                let count = |but: Fate| rest[..end].iter().filter(|(f, _)| *f != but).count();
                let (olds, news) = (count(Fate::New), count(Fate::Gone));
                lines.push(format!("@@ -{old_line},{olds} +{new_line},{news} @@"));
            }
            let sign = match fate {
                Fate::Kept => ' ',
                Fate::Gone => '-',
                Fate::New => '+',
            };
            lines.push(format!("{sign}{text}"));
        }
        within = near(at);
        old_line += usize::from(*fate != Fate::New);
        new_line += usize::from(*fate != Fate::Gone);
    }
    Some(lines)
}

/// Every line of both texts with its fate, by a longest common subsequence.
fn fates<'t>(a: &[&'t str], b: &[&'t str]) -> Vec<(Fate, &'t str)> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (&a[head..], &b[head..]);
    let tail = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (mid_a, mid_b) = (&rest_a[..rest_a.len() - tail], &rest_b[..rest_b.len() - tail]);
    // common[i][j]: lines that the rests from i and j share. A document has 64 KiB at most.
    let width = mid_b.len() + 1;
    let mut common = vec![0_u32; (mid_a.len() + 1) * width];
    for i in (0..mid_a.len()).rev() {
        for j in (0..mid_b.len()).rev() {
            common[i * width + j] = if mid_a[i] == mid_b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let mut all: Vec<_> = a[..head].iter().map(|line| (Fate::Kept, *line)).collect();
    let (mut i, mut j) = (0, 0);
    while i < mid_a.len() || j < mid_b.len() {
        if i < mid_a.len() && j < mid_b.len() && mid_a[i] == mid_b[j] {
            all.push((Fate::Kept, mid_a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == mid_b.len()
            || i < mid_a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]
        {
            all.push((Fate::Gone, mid_a[i]));
            i += 1;
        } else {
            all.push((Fate::New, mid_b[j]));
            j += 1;
        }
    }
    all.extend(a[a.len() - tail..].iter().map(|line| (Fate::Kept, *line)));
    all
}

/// The lines as text; what is gone red and what is new green, where colours are wanted.
pub fn painted(lines: &[String], colored: bool) -> String {
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        let code = match line.as_bytes().first() {
            _ if n < 2 => "1",
            Some(b'-') => "31",
            Some(b'+') => "32",
            Some(b'@') => "36",
            _ => "",
        };
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = match (colored, code) {
            (true, "1" | "31" | "32" | "36") => writeln!(text, "\u{1b}[{code}m{line}\u{1b}[0m"),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{painted, unified};

    #[test]
    fn a_difference_is_shown_with_three_lines_around_it() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        for (new, expected) in [
            (old, None),
            (
                "a\nb\nc\nd\nX\nf\ng\nh\ni\n",
                Some("@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+X\n f\n g\n h\n"),
            ),
            ("b\nc\nd\ne\nf\ng\nh\ni\n", Some("@@ -1,4 +1,3 @@\n-a\n b\n c\n d\n")),
            ("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n", Some("@@ -7,3 +7,5 @@\n g\n h\n i\n+j\n+k\n")),
            (
                "X\nb\nc\nd\ne\nf\ng\nh\nY\n",
                Some("@@ -1,4 +1,4 @@\n-a\n+X\n b\n c\n d\n@@ -6,4 +6,4 @@\n f\n g\n h\n-i\n+Y\n"),
            ),
            ("", Some("@@ -1,9 +1,0 @@\n-a\n-b\n-c\n-d\n-e\n-f\n-g\n-h\n-i\n")),
        ] {
            let shown = unified("one", old, "two", new);
            let text = shown.map(|lines| painted(&lines, false));
            let expected = expected.map(|hunks| format!("--- one\n+++ two\n{hunks}"));
            assert_eq!(text, expected, "{new:?}");
        }
    }

    #[test]
    fn colours_are_for_terminals_and_no_line_orders_one_about() {
        let lines = unified("one", "a", "two", "b\u{1b}[31m").expect("a difference");
        assert!(!painted(&lines, false).contains('\u{1b}'));
        assert!(painted(&lines, true).contains("\u{1b}[31m-a\u{1b}[0m"));
    }
}

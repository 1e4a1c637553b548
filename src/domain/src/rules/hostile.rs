//! Rules and requests that mean harm: each is refused, or answered in bounded steps.
//!
//! Everything here runs on a thread with [`STACK_BYTES`] of stack, a quarter of what a thread of
//! the program has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::tests::{request, with_facts};
use super::*;
use crate::submission::Submission;

const STACK_BYTES: usize = 512 << 10;

/// Random rules: 100,000 in all. Well-typed ones take a parse each, so there are fewer of them.
const CONDITIONS: u32 = 10_000;
const JOINED: u32 = 10_000;
const DAMAGED: u32 = 30_000;
const SOUPS: u32 = 50_000;
const _: () = assert!(CONDITIONS + JOINED + DAMAGED + SOUPS == 100_000);

/// The body of a request is at most this long.
const BODY_BYTES: usize = 256 << 10;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let small = thread::Builder::new().stack_size(STACK_BYTES);
    small.spawn(test).expect("a thread").join().expect("no panic");
}

/// Compiles, and when it compiles evaluates twice: the same answer both times.
fn survive(rule: &str, request: &Submission) -> Option<Result<bool, RuleFault>> {
    let program = compile(rule).ok()?;
    let (first, second) =
        with_facts(request, |facts| (eval(&program, facts), eval(&program, facts)));
    assert_eq!(first, second, "{rule}");
    Some(first)
}

/// As much of everything as a request may have.
fn largest_request() -> Submission {
    let mut largest = request();
    largest.command = (0..1_000).map(|n| format!("{n:064}").into()).collect();
    largest.stdin = "a".repeat(BODY_BYTES).into();
    for map in [&mut largest.metadata, &mut largest.labels, &mut largest.env] {
        *map = (0..64).map(|n| (format!("{n:01000}").into(), "v".repeat(1_000).into())).collect();
    }
    largest
}

#[test]
fn nesting_is_refused_before_it_costs_stack() {
    on_a_small_stack(|| {
        let nested: &[(&str, &str, &str)] = &[
            ("(", "true", ")"),
            ("!(", "true", ")"),
            ("-(", "1", ")"),
            ("[", "1", "]"),
            ("true ? ", "1", " : 2"),
            ("true ? 1 : ", "2", ""),
            ("size(", "\"\"", ")"),
            ("request.command[", "0", "]"),
            ("[1].map(x, ", "1", ")"),
            ("[{1:", "1", "}]"),
            ("a.b(", "1", ")"),
        ];
        for (before, middle, after) in nested {
            for depth in [1, 10, MAX_NESTING, MAX_NESTING + 1, 100, 500, 5_000] {
                let rule = before.repeat(depth) + middle + &after.repeat(depth);
                let _ = survive(&rule, &request());
                let _ = survive(&format!("{rule} == 1"), &request());
            }
        }
        let deepest = "(".repeat(MAX_NESTING) + "true" + &")".repeat(MAX_NESTING);
        assert_eq!(survive(&deepest, &request()), Some(Ok(true)));
        let error = compile(&format!("({deepest})")).expect_err("too deep");
        assert_eq!((error.line, error.column), (1, MAX_NESTING as u32 + 1));
    });
}

#[test]
fn a_full_rule_of_every_operator_and_bracket_ends() {
    on_a_small_stack(|| {
        let parts = [
            "+1",
            "-1",
            "*1",
            "/1",
            "%1",
            "==1",
            "<1",
            "&&1",
            "||1",
            "!",
            "-",
            "- ",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ".a",
            "?1:",
            ":",
            ",",
            "\"",
            "'",
            "\\",
            "1",
            "a",
            "é",
            "\0",
            "\n",
            "//",
            "`",
            "1.",
            "0x",
            ".all(x,",
            "has(",
            "\"\"+",
            "[]+",
            "\u{202e}",
            "r'",
            "'''",
            "&&true",
            "||!true",
            "&& 1 < 2",
            "request.",
            "[0]",
            ".map(x,x)",
            "in",
            "true?",
            "@result",
            "__result__",
        ];
        for part in parts {
            for start in
                ["", "1", "true", "request", "request.command", "\"a\"", "request.priority"]
            {
                let count = (MAX_BYTES - start.len()) / part.len();
                for count in [count, 90, 30, 3] {
                    let _ = survive(&(start.to_owned() + &part.repeat(count)), &request());
                }
            }
        }
    });
}

#[test]
fn size_is_checked_to_the_byte_and_to_the_node() {
    let text = |bytes: usize| format!("\"{}\" != \"\"", "a".repeat(bytes - 8));
    assert!(compile(&text(MAX_BYTES)).is_ok());
    let error = compile(&text(MAX_BYTES + 1)).expect_err("too long");
    assert_eq!((error.line, error.column), (1, 1));
    // `1`, `in` and the bracket, then one for each element.
    let list = |elements: usize| format!("1 in [{}]", vec!["1"; elements].join(","));
    assert_eq!(survive(&list(MAX_NODES - 3), &request()), Some(Ok(true)));
    let error = compile(&list(MAX_NODES - 2)).expect_err("too many");
    assert!(error.message.starts_with("more than 200"), "{error}");
}

#[test]
fn the_deepest_tree_is_walked_on_a_small_stack() {
    on_a_small_stack(|| {
        let deepest = |signs: usize| "1 == 1".to_owned() + &" + 1".repeat(signs);
        // `==` is one operation, each literal at the bottom another.
        assert_eq!(survive(&deepest(MAX_DEPTH - 2), &request()), Some(Ok(false)));
        assert!(compile(&deepest(MAX_DEPTH - 1)).is_err());
        let ones = |sign: &str| ["1"; 98].join(sign);
        for rule in [
            format!("1 == {}", ones("+")),
            format!("1 == {}", ones("-")),
            format!("{} == \"\"", ["\"a\""; 98].join("+")),
            ["true"; 100].join("&&"),
            ["true"; 100].join("=="),
            "!".repeat(198) + "true",
            "[1]".to_owned() + &"[0]".repeat(60) + " == 1",
        ] {
            let _ = survive(&rule, &request());
        }
    });
}

#[test]
fn cost_is_bounded_for_the_largest_request() {
    on_a_small_stack(|| {
        let largest = largest_request();
        let costly = Some(Err(RuleFault::TooCostly));
        let contains = "request.stdin.contains(\"ab\")";
        let cases = [
            (contains.to_owned(), Some(Ok(false))),
            ([contains; 12].join(" || "), Some(Ok(false))),
            ([contains; 20].join(" || "), costly),
            ("request.command.exists(x, request.stdin.contains(x))".to_owned(), costly),
            ("request.command.all(x, x + request.stdin != \"\")".to_owned(), costly),
            ("size(request.command.map(x, x + request.stdin)) == 1".to_owned(), costly),
            ("request.command.exists(x, x in request.command)".to_owned(), Some(Ok(true))),
            ("request.command.all(x, x in request.command)".to_owned(), costly),
            ("request.stdin in request.labels".to_owned(), Some(Ok(false))),
            (
                "request.labels.all(k, request.metadata[k] == request.env[k])".to_owned(),
                Some(Ok(true)),
            ),
            ("request.stdin + request.stdin == request.stdin".to_owned(), Some(Ok(false))),
            // What was too costly is not made good by something cheap behind it.
            (format!("request.command.exists(x, {contains}) || true"), costly),
            (format!("true || request.command.exists(x, {contains})"), Some(Ok(true))),
        ];
        for (rule, then) in cases {
            assert_eq!(survive(&rule, &largest), then, "{rule}");
        }
        let doubled = ["request.stdin"; 60].join(" + ");
        assert_eq!(survive(&format!("{doubled} == \"\""), &largest), costly);
        // The largest rule goes through a thousand arguments.
        let body = ["x == x"; 48].join(" && ");
        let rule = format!("request.command.all(x, {body})");
        assert!(survive(&rule, &largest).is_some(), "{rule}");
    });
}

#[test]
fn invisible_characters_are_written_as_escapes() {
    for c in ['\0', '\u{7f}', '\u{ad}', '\u{200b}', '\u{200d}', '\u{202e}', '\u{2066}', '\u{feff}']
    {
        for rule in [format!("\"a{c}\" == \"a\""), format!("true // {c}"), format!("{c}true")] {
            let error = compile(&rule).expect_err("invisible");
            assert!(error.message.contains(&format!("U+{:04X}", c as u32)), "{error}");
        }
    }
    // Marks, scripts and emoji that a reader sees are texts like any other.
    for text in ["e\u{301}", "שלום", "日本語", "🐱", "а"] {
        assert!(compile(&format!("request.stdin == \"{text}\"")).is_ok(), "{text}");
    }
}

/// Rules that are mostly well-typed: a condition from terms of each type.
fn condition() -> impl Strategy<Value = String> {
    let int = select(vec![
        "1",
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "request.priority",
        "tenant.running",
        "request.resources.gpu",
        "size(request.command)",
        "size(request.stdin)",
        "policy.limits.mem_mb",
        "now.getHours()",
        "int(now)",
        "[1, 0, 2][1]",
        "[3, 4][request.priority]",
        "[2, 0].map(x, 6 / x)[0]",
    ])
    .prop_map(str::to_owned)
    .prop_recursive(3, 12, 2, |inner| {
        let sign = select(vec!["+", "-", "*", "/", "%"]);
        prop_oneof![
            (inner.clone(), sign, inner.clone())
                .prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            inner.prop_map(|a| format!("-({a})")),
        ]
    });
    let text = select(vec![
        "\"\"",
        "\"a\"",
        "'\\u202e'",
        "request.stdin",
        "request.metadata.origin",
        "request.env[\"x\"]",
        "request.command[1]",
        "request.command[7]",
        "tenant.name",
        "request.labels[tenant.name]",
        "request.command.filter(x, x > \"p\")[0]",
        "(request.heat + policy.name)",
    ])
    .prop_map(str::to_owned);
    let compare = || select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let find = select(vec!["startsWith", "endsWith", "contains"]);
    let leaf = prop_oneof![
        (int.clone(), compare(), int.clone()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        (text.clone(), compare(), text.clone()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        (text.clone(), find, text.clone()).prop_map(|(a, find, b)| format!("{a}.{find}({b})")),
        (text, select(vec!["request.metadata", "request.command", "[\"a\"]"]))
            .prop_map(|(a, b)| format!("{a} in {b}")),
        select(vec![
            "true",
            "false",
            "has(request.heat)",
            "has(request.env.LANG)",
            "request.retention.keep_output"
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let fold = select(vec!["all", "exists", "exists_one"]);
        let over = select(vec!["request.command", "request.labels", "[0, 1]", "[]"]);
        prop_oneof![
            (inner.clone(), select(vec!["&&", "||", "=="]), inner.clone())
                .prop_map(|(a, sign, b)| format!("({a}) {sign} ({b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            (over, fold, inner)
                .prop_map(|(over, fold, a)| format!("{over}.{fold}(x, x == x || {a})")),
        ]
    })
}

/// Pieces of the language in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        "?",
        ":",
        ",",
        "+",
        "-",
        "*",
        "/",
        "%",
        "!",
        "&&",
        "||",
        "==",
        "!=",
        "<",
        ">=",
        "in",
        "true",
        "null",
        "1",
        "0x1",
        "1.5",
        "1u",
        "\"a\"",
        "'\\x41'",
        "'\\ud800'",
        "b'a'",
        "r'\\'",
        "'''",
        "\"",
        "request",
        "priority",
        "request.command",
        "metadata",
        "has(",
        "size(",
        ".all(x,",
        ".map(x,",
        "x",
        "now",
        "tenant",
        " ",
        "\n",
        "// c\n",
        "\u{202e}",
        "é",
        "\0",
        "`a`",
        "[?",
        "?.",
        "a{b:1}",
        "@result",
        "if",
        "as",
    ]);
    vec(pieces, 1..24).prop_map(|pieces| pieces.concat())
}

/// A rule with one piece cut out, doubled, or put elsewhere.
fn damaged() -> impl Strategy<Value = String> {
    (condition(), any::<(u16, u16, u8)>()).prop_map(|(rule, (from, to, how))| {
        let chars: Vec<char> = rule.chars().collect();
        let (from, to) = (from as usize % chars.len(), to as usize % chars.len());
        let (from, to) = (from.min(to), from.max(to));
        let (head, piece, tail) = (&chars[..from], &chars[from..to], &chars[to..]);
        match how % 3 {
            0 => [head, tail].concat(),
            1 => [head, piece, piece, tail].concat(),
            _ => [head, tail, piece].concat(),
        }
        .into_iter()
        .collect()
    })
}

fn random<S: Strategy<Value = String>>(
    rules: impl FnOnce() -> S + Send + 'static,
    cases: u32,
    at_least: u32,
) {
    on_a_small_stack(move || {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let request = request();
        let compiled = AtomicU32::new(0);
        TestRunner::new(config)
            .run(&rules(), |rule| {
                let answer = survive(&rule, &request);
                compiled.fetch_add(answer.is_some().into(), Ordering::Relaxed);
                Ok(())
            })
            .expect("every rule is refused or answered");
        let compiled = compiled.into_inner();
        assert!(compiled >= at_least, "only {compiled} compiled: nothing was tested");
    });
}

#[test]
fn random_conditions_are_refused_or_answered() {
    random(condition, CONDITIONS, CONDITIONS / 2);
}

#[test]
fn random_joined_conditions_are_refused_or_answered() {
    let joined =
        || (condition(), condition()).prop_map(|(left, right)| format!("{left} || {right}"));
    random(joined, JOINED, JOINED / 4);
}

#[test]
fn random_damage_is_refused_or_answered() {
    random(damaged, DAMAGED, DAMAGED / 100);
}

#[test]
fn random_pieces_are_refused_or_answered() {
    random(soup, SOUPS, 1);
}

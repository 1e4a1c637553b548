//! Tidiness: what a reader relies on, held against the source text.
//!
//! Needs nothing but the files of the checkout. Each test collects everything that is wrong before
//! it fails, and says what to do about it.

use std::{
    collections::BTreeSet,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

/// A file that fits in a head. Over it: a room worth dividing, or a reason worth writing down.
const MAX_LINES: usize = 600;

/// Files over [`MAX_LINES`], each with the reason why dividing it would not help.
const LONG: &[(&str, &str)] = &[
    (
        "src/agent/src/reconcile.rs",
        "one table of states and one function over it, read side by side",
    ),
    ("src/agent/src/reconcile/tests.rs", "a list of sentences about that table"),
];

/// Files that may lift a ban of `clippy.toml`, and why. The bound that makes an unbounded push safe
/// is at the door (`registry`), so nothing else may push.
const LIFTED_BANS: &[(&str, &str)] = &[
    ("actors/src/publish.rs", "a subscriber that were skipped would be wrong for ever"),
    ("actors/src/registry/commit.rs", "the outbox never parks and never drops"),
    ("src/domain/examples/memory.rs", "a measurement reads its own arguments"),
    ("src/domain/tests/laws/main.rs", "how much is tested is not the law's business"),
    ("tests/tests/kept/main.rs", "how long is waited before a kill is what is drawn"),
    ("tests/tests/kills/main.rs", "how long is waited before a kill is what is drawn"),
];

/// Files with `unsafe` code, and why there is no safe form.
const UNSAFE: &[(&str, &str)] = &[
    ("src/domain/examples/memory.rs", "an allocator that counts, for a measurement"),
    ("src/sandbox/src/sys.rs", "the few calls to the kernel for which no library has a safe form"),
    (
        "src/sandbox/tests/hostile/inside.rs",
        "a hostile program asks the kernel for what it should not",
    ),
];

/// Who may link whom: dependencies point one way. (The crate `tests` starts the program instead.)
const LINKS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("sandbox", &[]),
    ("secret", &[]),
    ("tls", &[]),
    ("journal", &["domain", "secret"]),
    ("api", &["domain"]),
    ("client", &["api", "tls"]),
    ("agent", &["api", "domain", "sandbox", "secret", "tls"]),
    ("olympus-actors", &["domain", "journal"]),
    ("replay", &["api", "domain", "journal", "tls"]),
    ("olympus", &["api", "domain", "journal", "olympus-actors", "replay", "secret", "tls"]),
    (
        "tartarus",
        &["agent", "api", "client", "domain", "olympus", "replay", "sandbox", "secret", "tls"],
    ),
    ("bench", &["api", "domain", "journal", "olympus", "replay", "sandbox"]),
    ("sim", &["agent", "api", "domain", "journal", "olympus", "olympus-actors"]),
    ("tests", &["api", "tls"]),
];

/// What the law may link. A clock, dice, a socket or an executor would make replay a guess.
/// (`cel`: its parser alone, docs/adr/0009.)
const LAW_LINKS: &[&str] = &["bincode", "blake3", "cel", "serde", "strsim", "thiserror", "uuid"];

/// Words that mean "not finished" or "only on my machine". Spelt in halves, since this file is read too.
const LEFTOVERS: &[(&str, &str, &str)] = &[
    ("todo", "!(", "write it"),
    ("unimplemented", "!(", "write it"),
    ("dbg", "!(", "remove it"),
    ("FIX", "ME", "fix it, or say what is true"),
    ("XX", "X", "say it in a sentence"),
    ("TO", "DO", "do it, or write an issue"),
    ("#[ign", "ore", "a test that is not run proves nothing: remove it or run it"),
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/home", "/", "a path of one machine"),
];

/// Lines that must hold one of [`LEFTOVERS`]: the file, a part of the line, and why.
const MEANT: &[(&str, &str, &str)] = &[
    ("scripts/compose-proof", "mktemp", "the pattern of a temporary name"),
    ("src/sandbox/tests/hostile/inside.rs", "/", "what a hostile program tries to read"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// Every file of the checkout whose name ends like one of `ends`, relative to the top, sorted.
fn files(ends: &[&str]) -> Vec<String> {
    fn walk(top: &Path, dir: &Path, found: &mut Vec<String>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(dir)
            .expect("readable")
            .map(|entry| entry.expect("readable").path())
            .collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !matches!(&*name, "target" | ".git" | ".tartarus") {
                    walk(top, &path, found);
                }
            } else {
                found.push(path.strip_prefix(top).expect("below the top").display().to_string());
            }
        }
    }
    let top = root();
    let mut found = Vec::new();
    walk(&top, &top, &mut found);
    found.retain(|path| ends.is_empty() || ends.iter().any(|end| path.ends_with(end)));
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources() -> Vec<(String, String)> {
    files(&[".rs"])
        .into_iter()
        .map(|path| {
            let text = read(&path);
            (path, text)
        })
        .collect()
}

fn documents() -> Vec<(String, String)> {
    files(&[".md"])
        .into_iter()
        .map(|path| {
            let text = read(&path);
            (path, text)
        })
        .collect()
}

fn nothing_wrong<T: Display>(wrong: &[T]) {
    let lines: Vec<String> = wrong.iter().map(|line| format!("\n  {line}")).collect();
    assert!(wrong.is_empty(), "{} things are wrong:{}", wrong.len(), lines.concat());
}

/// What stands between single backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.lines()
        .scan(false, |in_block, line| {
            let fence = line.trim_start().starts_with("```");
            *in_block ^= fence;
            Some(if *in_block || fence { "" } else { line })
        })
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

/// Whether a quoted word claims to be a path of this repository.
fn claims_to_be_a_path(word: &str) -> bool {
    let plain = !word.contains(|c: char| c.is_whitespace() || "<>*{}$=|()".contains(c));
    let inside = ["src/", "actors/", "tests/", "docs/", "scripts/", ".ci/", ".config/"];
    let at_top = ["md", "toml", "yml", "lock"];
    plain
        && (inside.iter().any(|dir| word.starts_with(dir))
            || (!word.contains('/') && at_top.iter().any(|end| word.ends_with(&format!(".{end}")))))
}

fn exists_anywhere(word: &str, places: &[PathBuf]) -> bool {
    let word = word.trim_end_matches('/');
    places.iter().any(|place| {
        let path = place.join(word);
        let stem = path.with_extension("");
        path.exists()
            || path.with_extension("rs").exists()
            || stem.join("main.rs").exists()
            || stem.join("mod.rs").exists()
    })
}

/// A crate of the workspace: its folder, its name, and its `Cargo.toml`.
fn crates() -> Vec<(String, String, String)> {
    let manifests = files(&["Cargo.toml"]).into_iter().filter(|path| path != "Cargo.toml");
    manifests
        .map(|path| {
            let text = read(&path);
            let name = text.lines().find_map(|line| line.strip_prefix("name = ")).expect("a name");
            let name = name.trim_matches('"').to_owned();
            (path.trim_end_matches("/Cargo.toml").to_owned(), name, text)
        })
        .collect()
}

/// The names under `[dependencies]` of a manifest, and the lines they stand on.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| {
            Some((line.split_once('=')?.0.trim().trim_end_matches(".workspace"), line))
        })
        .collect()
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let in_programs = |path: &str| {
        path.starts_with("actors/src/") || path.starts_with("src/") && path.contains("/src/")
    };
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| in_programs(path) && !text.starts_with("//! "))
        .map(|(path, _)| format!("{path}: the first line is not `//! …`"))
        .collect();
    nothing_wrong(&wrong);
}

#[test]
fn no_file_outgrows_a_head() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        match (lines > MAX_LINES, LONG.iter().any(|(long, _)| *long == path)) {
            (true, false) => {
                wrong.push(format!("{path}: {lines} lines: divide it, or add the reason to LONG"))
            }
            (false, true) => {
                wrong.push(format!("{path}: {lines} lines: no longer long, take it off LONG"))
            }
            _ => {}
        }
    }
    let all = files(&[".rs"]);
    wrong.extend(
        LONG.iter()
            .filter(|(path, _)| !all.contains(&(*path).to_owned()))
            .map(|(path, _)| format!("{path}: in LONG, but gone")),
    );
    nothing_wrong(&wrong);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut wrong = Vec::new();
    for path in files(&[
        ".rs",
        ".md",
        ".toml",
        ".yml",
        "scripts/test",
        "scripts/compose-proof",
        ".ci/run",
        "Dockerfile",
    ]) {
        for (number, line) in read(&path).lines().enumerate() {
            for (first, second, what) in LEFTOVERS {
                let word = format!("{first}{second}");
                let meant =
                    MEANT.iter().any(|(file, part, _)| *file == path && line.contains(part));
                if line.contains(&word) && !meant {
                    wrong.push(format!("{path}:{}: {word}: {what}", number + 1));
                }
            }
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn a_ban_is_lifted_only_where_the_reason_is_known() {
    let marks = |text: &str, word: &str| {
        text.lines().any(|line| {
            let line = line.trim_start();
            (line.starts_with("#[") || line.starts_with("#![")) && line.contains(word)
        })
    };
    let mut wrong = Vec::new();
    let rules: [(&str, &[(&str, &str)]); 3] = [
        ("clippy::disallowed_methods", LIFTED_BANS),
        ("clippy::disallowed_types", &[]),
        ("unsafe_code", UNSAFE),
    ];
    for (path, text) in sources() {
        for (lint, known) in rules {
            let known = known.iter().any(|(file, _)| *file == path);
            match (marks(&text, lint), known) {
                (true, false) => wrong.push(format!(
                    "{path} allows {lint}: add it with its reason to this file, or do without"
                )),
                (false, true) => {
                    wrong.push(format!("{path} no longer allows {lint}: take it off the list"))
                }
                _ => {}
            }
        }
        if marks(&text, "unsafe_code") && !text.contains("// SAFETY:") {
            wrong.push(format!("{path}: unsafe code without a `// SAFETY:` line"));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn dependencies_point_one_way() {
    let crates = crates();
    let names: BTreeSet<&str> = crates.iter().map(|(_, name, _)| name.as_str()).collect();
    let mut wrong = Vec::new();
    for (_, name, manifest) in &crates {
        let Some((_, allowed)) = LINKS.iter().find(|(of, _)| of == name) else {
            wrong.push(format!("{name}: a new crate: add it to LINKS, with what it may link"));
            continue;
        };
        for (dependency, line) in dependencies(manifest) {
            if names.contains(dependency) && !allowed.contains(&dependency) {
                wrong.push(format!("{name} links {dependency}"));
            }
            if name == "domain" && !LAW_LINKS.contains(&dependency) {
                wrong.push(format!(
                    "domain links {dependency}: the law has no clock, no dice and no IO"
                ));
            }
            // The versions of uuid that draw dice or read a clock.
            if name == "domain"
                && ["\"v1\"", "\"v4\"", "\"v6\"", "\"v7\""].iter().any(|v| line.contains(v))
            {
                wrong.push(format!("domain: {line}: ids are made outside and handed in"));
            }
        }
    }
    for (name, _) in LINKS {
        if !names.contains(name) {
            wrong.push(format!("{name}: in LINKS, but not in the workspace"));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn an_actor_is_a_folder_that_fits_on_one_screen() {
    let all = files(&[".rs"]);
    let mut wrong = Vec::new();
    for actor in actors() {
        for file in ["mod.rs", "actor.rs"] {
            let path = format!("actors/src/{actor}/{file}");
            if !all.contains(&path) {
                wrong.push(format!("{path} is missing"));
            }
        }
        let header = read(&format!("actors/src/{actor}/mod.rs"));
        for word in ["Owns:", "Hears:", "Says:", "Never:", "Fails:", "Proof:"] {
            if !header.contains(&format!("//! {word}")) {
                wrong.push(format!("actors/src/{actor}/mod.rs: its header has no `{word}`"));
            }
        }
    }
    nothing_wrong(&wrong);
}

fn actors() -> Vec<String> {
    let folders = files(&["/mod.rs"]).into_iter();
    folders
        .filter_map(|path| {
            Some(path.strip_prefix("actors/src/")?.strip_suffix("/mod.rs")?.to_owned())
        })
        .collect()
}

#[test]
fn the_map_names_every_crate_and_actor_and_nothing_that_is_gone() {
    let map = read("ARCHITECTURE.md");
    let words = quoted(&map);
    let mut wrong = Vec::new();
    let lines = map.lines().count();
    if lines > 250 {
        wrong
            .push(format!("ARCHITECTURE.md has {lines} lines: a map of more than 250 is not read"));
    }
    let folders = crates().into_iter().map(|(folder, _, _)| folder);
    for folder in folders.chain(actors().into_iter().map(|actor| format!("actors/src/{actor}"))) {
        if !words.iter().any(|word| word.trim_end_matches('/') == folder) {
            wrong.push(format!("ARCHITECTURE.md does not name `{folder}`"));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn every_path_a_document_names_exists() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        // A decision record tells of its own day, and is never edited to agree with the code.
        if path.starts_with("docs/adr/") {
            continue;
        }
        let folder = root().join(&path).parent().expect("a folder").to_owned();
        let places = [root(), folder.clone()];
        for word in quoted(&text) {
            let word = word.split("::").next().unwrap_or(word).trim_end_matches(':');
            if claims_to_be_a_path(word) && !exists_anywhere(word, &places) {
                wrong.push(format!("{path} names `{word}`, which does not exist"));
            }
        }
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(to, _)| to))
        {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                wrong.push(format!("{path} links to {target}, which does not exist"));
            }
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn every_proof_a_header_names_exists() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let header: String =
            text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
        let file = root().join(&path);
        let crate_root = file
            .ancestors()
            .find(|dir| dir.join("Cargo.toml").exists())
            .expect("a crate")
            .to_owned();
        let mut places =
            vec![root(), root().join("tests"), crate_root.join("src"), file.with_extension("")];
        places.extend(
            file.ancestors()
                .skip(1)
                .take_while(|dir| dir.starts_with(&crate_root))
                .map(Path::to_owned),
        );
        for word in quoted(&header) {
            // The one that says what every folder below it has.
            if path == "actors/src/lib.rs" && !word.contains('/') {
                continue;
            }
            let is_file =
                [".rs", ".md"].iter().any(|end| word.ends_with(end)) && !word.contains(' ');
            if (claims_to_be_a_path(word) || is_file) && !exists_anywhere(word, &places) {
                wrong.push(format!("{path}: its header names `{word}`, which does not exist"));
            }
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn every_promised_number_names_what_holds_it() {
    let sources = sources();
    let test_exists = |word: &str| {
        let name = word.rsplit("::").next().unwrap_or(word);
        let is_name =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name
            && sources.iter().any(|(_, text)| {
                text.contains(&format!("fn {name}(")) || text.contains(&format!("const {name}:"))
            })
    };
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in read("docs/limits.md").lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let heading = cells.iter().all(|cell| cell.chars().all(|c| "-: ".contains(c)));
        let Some(held_by) = cells.last().filter(|_| !heading) else { continue };
        rows += 1;
        let proof = held_by.contains("not yet")
            || quoted(held_by).into_iter().any(|word| {
                test_exists(word)
                    || exists_anywhere(word, &[root()])
                    || word.contains("tartarus-bench ")
            });
        // The row above a line of dashes names the columns.
        if !proof && !["held by", "proof"].contains(&held_by.to_lowercase().as_str()) {
            wrong.push(format!("docs/limits.md: its last column names no test, no benchmark, and not `not yet`: {line}"));
        }
    }
    assert!(rows > 1, "docs/limits.md has no table of promised numbers");
    nothing_wrong(&wrong);
}

/// What tests wait for in logs, or see that it is not there: words that nobody says any more would
/// prove nothing.
#[test]
fn what_a_test_looks_for_in_a_log_is_said_by_the_program() {
    // A literal may go on in the next line.
    let joined = |text: &str| {
        let mut parts = text.split("\\\n");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| all + part.trim_start())
    };
    let (tests, program): (Vec<_>, Vec<_>) = sources()
        .into_iter()
        .partition(|(path, _)| path.split('/').any(|part| part.trim_end_matches(".rs") == "tests"));
    let program: Vec<String> = program.iter().map(|(_, text)| joined(text)).collect();
    let (mut wrong, mut looked) = (Vec::new(), 0);
    for (path, text) in tests.iter().filter(|(path, _)| !path.ends_with("tidy.rs")) {
        let text = joined(text);
        for asked in [".said(", "says(&"].iter().flat_map(|call| text.split(call).skip(1)) {
            let asked = asked.split(')').next().unwrap_or_default();
            let literal = match asked.split('"').nth(1) {
                Some(literal) => literal,
                // A constant of the file.
                None if asked.chars().all(|c| c.is_ascii_uppercase() || c == '_') => text
                    .split(&format!("const {asked}: &str = \""))
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .unwrap_or(asked),
                None => continue,
            };
            looked += 1;
            if !program.iter().any(|text| text.contains(&format!("\"{literal}\""))) {
                wrong.push(format!("{path} looks for {literal:?}, which the program never says"));
            }
        }
    }
    assert!(looked > 10, "{looked}");
    nothing_wrong(&wrong);
}

#[test]
fn a_decision_record_says_what_it_costs_and_when_to_reopen_it() {
    let records: Vec<String> =
        files(&[".md"]).into_iter().filter(|path| path.starts_with("docs/adr/")).collect();
    let mut wrong = Vec::new();
    for (n, path) in records.iter().enumerate() {
        if !path.starts_with(&format!("docs/adr/{:04}-", n + 1)) {
            wrong.push(format!("{path}: records are numbered without a gap, from 0001"));
        }
        let text = read(path);
        for part in ["## Context", "## Decision", "## Cost", "## Reopen when"] {
            if !text.contains(part) {
                wrong.push(format!("{path} has no `{part}`"));
            }
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn what_changed_is_told() {
    let text = read("CHANGELOG.md");
    let unreleased = text.split("\n## ").find(|part| part.starts_with("Unreleased"));
    let told = unreleased.is_some_and(|part| part.lines().any(|line| line.starts_with("- ")));
    assert!(told, "CHANGELOG.md has no `## Unreleased` with at least one line of what changed");
}

//! `tartarus policy what-if`: what a draft would have changed, and whether that is too much.

use std::fmt::Write as _;
use std::path::Path;

use api::PolicyDocument;
use api::time::Moment;
use api::what_if::{Flip, SINCE_DEFAULT, Share, WhatIfReport, WhatIfRequest};
use client::Client;
use replay::what_if::Question;

use super::documents::{name_of, read};
use super::source;
use crate::cli::{GateArgs, Limit, WhatIfArgs};
use crate::connect::block_on;
use crate::exit::{DONE, ERROR, Failure};
use crate::print::{self, Columns, Format, many};
use crate::terminal::Terminal;

/// Flips that `table` shows; the others have all that are listed.
const SHOWN: usize = 20;
/// Characters of a reason that `table` shows.
const WHY_WIDTH: usize = 60;

/// Prints the report. Exit 1 where something flips, or a gate is exceeded.
pub fn run(
    client: &Client,
    args: &WhatIfArgs,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let document: PolicyDocument = read(&args.file)?;
    let name = named(args.name.as_deref(), &document, &args.file)?;
    let report = match args.beside.source() {
        None if args.beside.until.is_some() => {
            let words = "--until is for a journal that is read here: give --redis or --export";
            return Err(Failure::Usage(words.to_owned()));
        }
        None => {
            valid(&document, &name, &args.file)?;
            ask(client, &name, &document, args.gates.since, terminal)?
        }
        Some(from) => {
            let draft = valid(&document, &name, &args.file)?;
            let since = args.gates.since.unwrap_or(SINCE_DEFAULT).resolve(print::now());
            let mut source = source::open(&from)?;
            let bar = terminal.progress();
            let question = Question { draft, since, until: args.beside.until, book: None };
            block_on(async {
                let head = source.head().await?.map(|head| head.seq);
                let seen = |at| bar.reach(at, head);
                Ok(replay::what_if::what_if(&mut source, question, seen).await?)
            })?
        }
    };
    match format {
        Format::Json | Format::Yaml => print::print_document(format, &report)?,
        Format::Table | Format::Wide => {
            print::write(told(&report, format == Format::Wide).as_bytes())?;
            if !report.flips.is_empty() {
                print::print(format, &report, || columns(&report, format == Format::Wide))?;
            }
        }
    }
    if report.flips_total > 0 {
        terminal.note("`tartarus explain RUN` tells how a run was judged then");
    }
    Ok(if passes(&report, &args.gates, terminal) { DONE } else { ERROR })
}

/// The name of the policy: the option's, which the draft's own must not contradict.
fn named(given: Option<&str>, document: &PolicyDocument, path: &Path) -> Result<String, Failure> {
    name_of(given.or(document.name.as_deref()), path)
}

fn valid(
    document: &PolicyDocument,
    name: &str,
    path: &Path,
) -> Result<domain::law::Policy, Failure> {
    let policy = document.clone().into_policy(Some(name));
    policy.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Asks Olympus.
pub fn ask(
    client: &Client,
    name: &str,
    document: &PolicyDocument,
    since: Option<Moment>,
    terminal: &Terminal,
) -> Result<WhatIfReport, Failure> {
    let since = since.map(|moment| moment.to_string().into());
    let ask = WhatIfRequest { policy: Some(document.clone()), since };
    let bar = terminal.progress();
    bar.say("judging the recorded submissions");
    block_on(async { Ok(client.what_if(name, &ask).await?) })
}

/// Whether any limit is given.
pub fn has_gates(gates: &GateArgs) -> bool {
    let GateArgs { since: _, max_newly_rejected, max_newly_quarantined, .. } = gates;
    let GateArgs { max_flips, max_not_replayed, .. } = gates;
    [max_newly_rejected, max_newly_quarantined, max_flips, max_not_replayed]
        .iter()
        .any(|limit| limit.is_some())
}

/// Whether every gate holds, or nothing flips where there is none; says what is too much.
pub fn passes(report: &WhatIfReport, gates: &GateArgs, terminal: &Terminal) -> bool {
    let counts = &report.counts;
    let rejected = (counts.newly_rejected.count, counts.judged);
    let quarantined = (counts.newly_quarantined.count, counts.judged);
    let rows = [
        ("newly rejected", rejected, gates.max_newly_rejected),
        ("newly quarantined", quarantined, gates.max_newly_quarantined),
        ("flips", (report.flips_total, counts.judged), gates.max_flips),
        (
            "not judged again",
            (report.not_replayed.total, counts.submissions),
            gates.max_not_replayed,
        ),
    ];
    if !has_gates(gates) {
        if report.flips_total > 0 {
            let flips = many(report.flips_total, "flip", "flips");
            let words = "give a gate, such as --max-newly-rejected 0.5%, to let some pass";
            terminal.error(&format!("{flips}: {words}"));
        }
        return report.flips_total == 0;
    }
    let mut holds = true;
    for (what, (count, of), limit) in rows {
        if let Some(limit) = limit.filter(|limit| !limit.holds(count, of)) {
            holds = false;
            terminal.error(&exceeded(what, count, of, limit));
        }
    }
    holds
}

fn exceeded(what: &str, count: u64, of: u64, limit: Limit) -> String {
    let percent = Share::new(count, of).percent;
    format!("{what}: {count} of {of} ({percent} %), the limit is {limit}")
}

fn told(report: &WhatIfReport, wide: bool) -> String {
    let WhatIfReport { draft, since, counts, moved, not_replayed, .. } = report;
    let mut text = String::new();
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "{name:<12}{words}");
    };
    let head = report.head.as_deref().unwrap_or("-");
    line("draft", format!("{} since {since}, read to {head}", draft.name));
    if let Some(begins) = report.begins {
        let words = format!("entry {} at {}: before it is nothing", begins.sequence, begins.time);
        line("begins with", words);
    }
    let (judged, all, applied) = (counts.judged, counts.submissions, counts.applied);
    line(
        "judged",
        format!("{judged} of {all} submissions; the draft changes the law for {applied}"),
    );
    let share = |share: &Share| format!("{} ({} %)", share.count, share.percent);
    let throttled = match counts.newly_throttled.count {
        0 => String::new(),
        count => format!(", {count} of them told to come back"),
    };
    line("rejected", format!("{} newly{throttled}", share(&counts.newly_rejected)));
    line("quarantined", format!("{} newly", share(&counts.newly_quarantined)));
    line("accepted", format!("{} newly", share(&counts.newly_accepted)));
    if counts.otherwise_rejected.count > 0 {
        line(
            "otherwise",
            format!("{} rejected for another reason", share(&counts.otherwise_rejected)),
        );
    }
    if moved.total > 0 {
        let (pool, heat, placement) = (moved.pool, moved.heat, moved.placement);
        let words = format!(
            "{pool} to another pool, {heat} in another heat, {placement} asking other things of nodes"
        );
        line("moved", words);
    }
    for because in &not_replayed.reasons {
        line("not judged", format!("{}: {}", because.count, because.reason));
    }
    if wide {
        report.assumptions.iter().for_each(|assumed| line("assumed", assumed.clone()));
    }
    line("report", report.digest.to_string());
    if report.flips_total > 0 {
        let listed = if wide { report.flips.len() } else { report.flips.len().min(SHOWN) };
        line(
            "flips",
            match listed as u64 == report.flips_total {
                true => report.flips_total.to_string(),
                false => format!("{}, of which the first {listed} are", report.flips_total),
            },
        );
        text.push('\n');
    }
    text
}

fn columns(report: &WhatIfReport, wide: bool) -> Columns {
    let shown = if wide { report.flips.len() } else { SHOWN };
    let verdict = |verdict: &str, code: &Option<Box<str>>| match code.as_deref() {
        None | Some("policy_rejected") => verdict.to_owned(),
        Some(code) => code.to_owned(),
    };
    let row = |flip: &Flip| {
        let why = flip.why.join("; ");
        vec![
            flip.run_id.to_string(),
            flip.tenant.to_string(),
            flip.template.to_string(),
            verdict(&flip.old_verdict, &flip.old_code),
            verdict(&flip.new_verdict, &flip.new_code),
            flip.rule.as_deref().unwrap_or("-").to_owned(),
            if wide { why } else { print::cut(&why, WHY_WIDTH) },
            flip.time.to_string(),
            flip.old_policy.to_string(),
            flip.new_policy.to_string(),
        ]
    };
    Columns {
        head: vec![
            "RUN",
            "TENANT",
            "TEMPLATE",
            "WAS",
            "WOULD BE",
            "RULE",
            "WHY",
            "TIME",
            "POLICY",
            "UNDER DRAFT",
        ],
        narrow: 7,
        rows: report.flips.iter().take(shown).map(row).collect(),
    }
}

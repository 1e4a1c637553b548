//! `tartarus audit`: the journal, taken away in a form that anyone can verify.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use replay::export::{self, Export, Exported};
use replay::import::{BadLine, Import};
use replay::reveal::{Opening, Shown};
use replay::source::Over;
use replay::vouched::{Vouched, Vouching};
use replay::{Kinds, fold};
use serde::Serialize;

use super::replay::say;
use super::target::Target;
use super::{reveal, source, vouching};
use crate::cli::{AuditVerb, ExportArgs, TrustArgs};
use crate::connect::block_on;
use crate::exit::{DONE, ERROR, Failure};
use crate::print::{Format, many};
use crate::terminal::Terminal;

/// Does what the verb says.
///
/// # Errors
/// There is no journal or export to read, or no file to write.
pub fn run(verb: AuditVerb, format: Format, terminal: &Terminal) -> Result<u8, Failure> {
    match verb {
        AuditVerb::Export(args) => export(args, terminal),
        AuditVerb::Verify { file, openings, trust } => {
            verify(&file, reveal::read(&openings)?, trust, format, terminal)
        }
        AuditVerb::Reveal(args) => reveal::run(&args, terminal),
    }
}

fn export(args: ExportArgs, terminal: &Terminal) -> Result<u8, Failure> {
    // Before the journal is read, which takes its time.
    let exported = match Target::begin(&args.target)? {
        None => write(&args, io::stdout(), terminal)?,
        Some(target) => {
            let exported = write(&args, target.file()?, terminal)?;
            target.finish()?;
            exported
        }
    };
    let Exported { entries, events, last } = exported;
    let last = last.unwrap_or_default();
    let (entries, events) = (many(entries, "entry", "entries"), many(events, "event", "events"));
    terminal.note(&format!("exported {entries} with {events}, to {last}"));
    let kinds = args.redact.unwrap_or_default();
    if kinds != Kinds::ALL {
        let held = match (kinds.env, kinds.stdin) {
            (false, false) => "the values of env, stdin and the tokens of attempts",
            (true, _) => "stdin",
            (_, _) => "the values of env",
        };
        let advice = if args.redact.is_none() { ": --redact all leaves it out" } else { "" };
        terminal.note(&format!("it holds {held} of every run{advice}"));
    }
    Ok(DONE)
}

fn write<W: Write + Send + 'static>(
    args: &ExportArgs,
    to: W,
    terminal: &Terminal,
) -> Result<Exported, Failure> {
    let to = BufWriter::with_capacity(1 << 20, to);
    let mut source = source::open(&args.source)?;
    let bar = terminal.progress();
    let (export, over) = block_on(async {
        let head = source.head().await?.map(|head| head.seq);
        if let Some(since) = args.since {
            source.skip_to(since).await?;
        }
        let export =
            Export::new(to, args.since, args.until).redacting(args.redact.unwrap_or_default());
        Ok(fold::run(&mut source, export, |at| bar.reach(at, head)).await)
    })?;
    drop(bar);
    match over {
        Over::End => {}
        // What can't be verified is not taken away as if it could.
        Over::Bad(finding) => {
            return Err(Failure::error(format!(
                "{finding}: `tartarus replay verify` says more; --until exports what is before it"
            )));
        }
        Over::Trouble(trouble) => return Err(trouble.into()),
    }
    let (mut to, exported) = export.finish()?;
    to.flush().map_err(|e| Failure::error(format!("the export: {e}")))?;
    if exported.last.is_none() {
        return Err(Failure::error("there is nothing to export between these points"));
    }
    Ok(exported)
}

/// What a verification came to.
#[derive(Serialize)]
struct Verified {
    good: bool,
    entries: u64,
    events: u64,
    last: Option<String>,
    /// What was taken out.
    redacted: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    /// What openings show.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revealed: Vec<Shown>,
    /// Openings that are of no entry of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_opened: Vec<String>,
    vouching: Vouching,
}

fn verify(
    path: &Path,
    mut openings: Vec<Opening>,
    trust: TrustArgs,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let named = |e: io::Error| Failure::error(format!("{}: {e}", path.display()));
    let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(named)?);
    let bar = terminal.progress();
    let mut vouched = Vouched::new(trust.into_trust());
    let mut revealed = Vec::new();
    let (counts, redacted, bad) = match Import::open(file) {
        Ok(mut import) => {
            let bad = loop {
                match import.next_entry() {
                    Ok(Some(entry)) => {
                        vouched.entry(&entry);
                        for opening in openings.extract_if(.., |opening| opening.opens(&entry)) {
                            revealed.extend(opening.shown());
                        }
                        bar.reach(entry.seq(), None);
                    }
                    Ok(None) => break None,
                    Err(bad) => break Some(bad),
                }
            };
            (import.counts(), import.redacted(), bad)
        }
        Err(bad) => ((0, 0, None), Kinds::NONE, Some(bad)),
    };
    drop(bar);
    let (entries, events, last) = counts;
    let last = last.map(|last| last.to_string());
    let vouching = vouched.at_the_end();
    let not_opened: Vec<String> = openings.iter().map(|o| o.receipt().to_string()).collect();
    let good = bad.is_none() && vouching.is_good() && not_opened.is_empty();
    let (line, what) = bad.map(|BadLine { line, what, .. }| (line, what)).unzip();
    let redacted = export::names(redacted);
    let verified = Verified {
        good,
        entries,
        events,
        last,
        redacted,
        line,
        what,
        revealed,
        not_opened,
        vouching,
    };
    say(format, &verified, || {
        let Verified { entries, events, last, redacted, line, what, vouching, .. } = &verified;
        let last = last.as_deref().unwrap_or("-");
        match (line, what) {
            (Some(line), Some(what)) => format!(
                "line {line}: {what}\nBAD: {entries} entries before it are good, to {last}\n"
            ),
            (_, _) => {
                let mut text = String::new();
                for finding in &vouching.findings {
                    let _ = writeln!(text, "{finding}");
                }
                for receipt in &verified.not_opened {
                    let _ = writeln!(text, "an opening is of entry {receipt}, which is not in it");
                }
                let word = if good { "good" } else { "BAD" };
                let gone = match redacted.is_empty() {
                    true => String::new(),
                    false => format!("; without {}", redacted.join(" and ")),
                };
                let _ =
                    writeln!(text, "{word}: {entries} entries, {events} events, to {last}{gone}");
                reveal::tell(&verified.revealed, &mut text);
                text + &vouching::told(vouching)
            }
        }
    })?;
    Ok(if good { DONE } else { ERROR })
}

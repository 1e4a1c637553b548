//! `tartarus replay`: the past, from the journal itself or from an export of it, without a server.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::sync::mpsc;

use api::{CloudEvent, Time};
use domain::RunId;
use replay::diff::{Changed, Diff};
use replay::show::{Show, Sink};
use replay::source::Over;
use replay::state::{self, Snapshot};
use replay::verify::{self, Report};
use replay::{Point, fold, show};
use serde::Serialize;

use super::events;
use super::{source, vouching};
use crate::cli::{AtArgs, DiffArgs, ReplayVerb, ShowArgs};
use crate::connect::block_on;
use crate::exit::{DONE, ERROR, Failure};
use crate::print::{self, Format};
use crate::terminal::Terminal;

/// Does what the verb says.
///
/// # Errors
/// There is no journal to read, or not the point that was asked for.
pub fn run(verb: ReplayVerb, format: Format, terminal: &Terminal) -> Result<u8, Failure> {
    match verb {
        ReplayVerb::Verify { source, trust } => {
            let mut source = source::open(&source)?;
            let trust = trust.into_trust();
            let bar = terminal.progress();
            let seen = |at, of: Option<u64>| bar.reach(at, of);
            let report =
                block_on(async { Ok(verify::verify_with(&mut source, trust, seen).await?) })?;
            drop(bar);
            say(format, &report, || verified(&report))?;
            Ok(if report.good { DONE } else { ERROR })
        }
        ReplayVerb::Show(args) => shown(args, format),
        ReplayVerb::At(args) => at(args, format, terminal),
        ReplayVerb::Diff(args) => differ(args, format, terminal),
        ReplayVerb::Step(args) => super::step::run(&args, format, terminal),
    }
}

/// Prints a value for programs, or text for people.
pub fn say<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide => print::write(text().as_bytes()),
        Format::Json | Format::Yaml => print::print_document(format, value),
    }
}

fn verified(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let _ = writeln!(text, "{finding}");
    }
    let Report { entries, events, epoch, decided_again, judgements, assignments, .. } = report;
    let last = report.last.as_deref().unwrap_or("-");
    let word = if report.good { "good" } else { "BAD" };
    let _ = writeln!(text, "{word}: {entries} entries, {events} events, epoch {epoch}, to {last}");
    if !report.good {
        let (good, found) = (report.good_until, report.found);
        let _ = writeln!(text, "{found} found; good up to entry {good}");
    }
    let _ = writeln!(
        text,
        "decided again: {decided_again} events, {judgements} judgements and {assignments} \
         assignments among them"
    );
    if report.redacted > 0 {
        let Report { redacted, not_judged, .. } = report;
        let _ = writeln!(
            text,
            "redacted: secrets of {redacted} events; {not_judged} judgements not made again: they were \
             made by what was taken out"
        );
    }
    if report.not_compared > 0 {
        let snapshots = report.not_compared;
        let _ = writeln!(
            text,
            "snapshots: {snapshots} not compared, their digests are of the state of another version, or do \
             not say of which"
        );
    }
    match &report.digest {
        Some(digest) => {
            let _ = writeln!(text, "state: {digest}");
        }
        None if report.redacted > 0 => {
            text.push_str("state: folded, and without what was taken out it has another digest\n");
        }
        None => text.push_str(
            "state: not folded to its end, which takes all entries and only what can have happened\n",
        ),
    }
    text.push_str(&vouching::told(&report.vouching));
    let (seconds, rate) = (report.elapsed_ms as f64 / 1_000.0, report.events_per_s);
    let _ = writeln!(text, "{seconds:.1} s, {rate} events/s");
    text
}

fn shown(args: ShowArgs, format: Format) -> Result<u8, Failure> {
    let ShowArgs { source, run, types, tenant, since, until } = args;
    for name in &types {
        replay::cloud::type_number(name).map_err(|e| Failure::Usage(e.to_string()))?;
    }
    let wanted = show::Wanted { run: run.map(RunId), types, tenant, since, until };
    let mut source = source::open(&source)?;
    let (failed, failure) = mpsc::channel::<io::Error>();
    let mut out = BufWriter::new(io::stdout());
    let sink: Sink = Box::new(move |event| {
        let written = line(event, format).and_then(|line| out.write_all(line.as_bytes()));
        // Nobody hears of it only where the command is over.
        written.map_err(|error| failed.send(error)).is_ok()
    });
    let show = Show::new(wanted.clone(), sink);
    let (show, over) = block_on(async {
        if let Some(since) = Show::may_skip(&wanted) {
            source.skip_to(since).await?;
        }
        Ok(fold::run(&mut source, show, |_| {}).await)
    })?;
    let (bad, read) = (show.bad.clone(), show.read || wanted.since.is_some());
    // What is in the buffer is written when the sink is gone.
    drop(show);
    if let Ok(error) = failure.try_recv() {
        return Err(error.into());
    }
    match (bad, over) {
        (Some(bad), _) | (None, Over::Bad(bad)) => Err(Failure::error(bad.to_string())),
        (None, Over::Trouble(trouble)) => Err(trouble.into()),
        (None, Over::End) if !read => Err(replay::Unreadable::Empty.into()),
        (None, Over::End) => Ok(DONE),
    }
}

fn line(event: &CloudEvent<replay::cloud::Body<'_>>, format: Format) -> io::Result<String> {
    if format == Format::Json {
        return Ok(serde_json::to_string(event)? + "\n");
    }
    let event: CloudEvent = serde_json::from_value(serde_json::to_value(event)?)?;
    events::shown(&event, format).map_err(|failure| io::Error::other(failure.to_string()))
}

fn at(args: AtArgs, format: Format, terminal: &Terminal) -> Result<u8, Failure> {
    let mut source = source::open(&args.source)?;
    let bar = terminal.progress();
    let state = block_on(async {
        let head = source.head().await?.map(|head| head.seq);
        Ok(state::at(&mut source, Some(args.point), |at| bar.reach(at, head)).await?)
    })?;
    drop(bar);
    let Some(id) = args.run else {
        let snapshot = Snapshot::of(&state);
        say(format, &snapshot, || pictured(&snapshot))?;
        return Ok(DONE);
    };
    match state::run(&state, RunId(id)) {
        Some(run) => print::print_document(format, &run).map(|()| DONE),
        None => Err(Failure::error(format!("run {id} was not known at {}", args.point))),
    }
}

fn pictured(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let Snapshot { sequence, time, epoch, revision, queue, .. } = snapshot;
    let _ = writeln!(text, "entry     {}, epoch {epoch}", placed(*sequence, *time));
    let _ = writeln!(text, "law       revision {revision}: {}", named(&snapshot.policies));
    let runs = snapshot.runs.iter().filter(|(_, runs)| **runs > 0);
    let runs: Vec<String> = runs.map(|(status, runs)| format!("{runs} {status}")).collect();
    let _ = writeln!(
        text,
        "runs      {}",
        if runs.is_empty() { "none".into() } else { runs.join(", ") }
    );
    let _ = writeln!(text, "queue     {}", lined_up(queue));
    for node in &snapshot.nodes {
        let (status, pool) = (node.status.as_str(), node.pool.as_str());
        let _ = writeln!(text, "node      {} {status}, {pool}, {} runs", node.id, node.runs);
    }
    let digest = snapshot.digest.as_deref().unwrap_or("without secrets that were taken out");
    let _ = writeln!(text, "state     {digest}");
    text
}

fn placed(sequence: u64, time: Option<Time>) -> String {
    let when = time.map_or(", before the first event".to_owned(), |time| format!(" at {time}"));
    format!("{sequence}{when}")
}

fn named(versions: &std::collections::BTreeMap<String, u64>) -> String {
    let all: Vec<String> = versions.iter().map(|(name, v)| format!("{name} v{v}")).collect();
    if all.is_empty() { "no policies".into() } else { all.join(", ") }
}

fn lined_up(queue: &state::Queue) -> String {
    let paused = if queue.paused { ", paused" } else { "" };
    let oldest = queue.oldest.map_or(String::new(), |at: Time| format!(", the oldest of {at}"));
    format!("{} waiting{oldest}{paused}", queue.total)
}

fn differ(args: DiffArgs, format: Format, terminal: &Terminal) -> Result<u8, Failure> {
    let backwards = match (args.from, args.to) {
        (Point::Sequence(from), Point::Sequence(to)) => from > to,
        (Point::Time(from), Point::Time(to)) => from > to,
        (_, _) => false,
    };
    if backwards {
        return Err(Failure::Usage(format!(
            "{} comes after {}: give the earlier point first",
            args.from, args.to
        )));
    }
    let mut source = source::open(&args.source)?;
    let bar = terminal.progress();
    let points = (args.from, args.to);
    let (from, to) = block_on(async {
        let head = source.head().await?.map(|head| head.seq);
        Ok(state::both(&mut source, points, |at| bar.reach(at, head)).await?)
    })?;
    drop(bar);
    let diff = Diff::between(from, to);
    say(format, &diff, || told(&diff))?;
    Ok(DONE)
}

fn told(diff: &Diff) -> String {
    let mut text = String::new();
    let place = |snapshot: &Snapshot| placed(snapshot.sequence, snapshot.time);
    let _ = writeln!(text, "from      entry {}", place(&diff.from));
    let _ = writeln!(text, "to        entry {}", place(&diff.to));
    for moved in &diff.runs {
        let (from, to) = (moved.from.unwrap_or("new"), moved.to.unwrap_or("forgotten"));
        let _ = writeln!(text, "runs      {} {from} → {to}", moved.runs);
    }
    versions(&mut text, "policy", &diff.policies);
    versions(&mut text, "template", &diff.templates);
    for Changed { name, from, to } in &diff.nodes {
        let (from, to) = (from.as_deref().unwrap_or("none"), to.as_deref().unwrap_or("gone"));
        let _ = writeln!(text, "node      {name}: {from} → {to}");
    }
    if let Some([from, to]) = &diff.queue {
        let _ = writeln!(text, "queue     {} → {}", lined_up(from), lined_up(to));
    }
    text
}

fn versions(text: &mut String, what: &str, changes: &[Changed<u64>]) {
    for Changed { name, from, to } in changes {
        let said = match (from, to) {
            (None, Some(to)) => format!("added as v{to}"),
            (Some(from), None) => format!("v{from} removed"),
            (Some(from), Some(to)) => format!("v{from} → v{to}"),
            (None, None) => continue,
        };
        let _ = writeln!(text, "{what:<9} {name}: {said}");
    }
}

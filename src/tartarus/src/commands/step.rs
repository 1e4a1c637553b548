//! `tartarus replay step`: a run's life, event by event.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};

use api::{Duration, Link};
use domain::RunId;
use replay::diff::Changed;
use replay::step::{self, Step};
use serde_json::Value;

use super::source;
use crate::cli::StepArgs;
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{self, Format};
use crate::terminal::Terminal;

/// A value is cut here: a step is to be seen at a glance, `-o json` has all of it.
const VALUE_WIDTH: usize = 72;

/// Walks through a run's life: on a terminal step by step, else all of it.
///
/// # Errors
/// There is no such run, or no journal to read.
pub fn run(args: &StepArgs, format: Format, terminal: &Terminal) -> Result<u8, Failure> {
    let mut source = source::open(&args.source)?;
    let bar = terminal.progress();
    let steps = block_on(async {
        let head = source.head().await?.map(|head| head.seq);
        Ok(step::steps(&mut source, RunId(args.run), |at| bar.reach(at, head)).await?)
    })?;
    drop(bar);
    if steps.is_empty() {
        return Err(Failure::error(format!("nothing in the journal is about run {}", args.run)));
    }
    match format {
        Format::Json | Format::Yaml => print::print_document(format, &steps)?,
        Format::Table | Format::Wide
            if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() =>
        {
            walk(&steps)?;
        }
        Format::Table | Format::Wide => {
            let all: Vec<String> = (0..steps.len()).map(|at| told(&steps, at)).collect();
            print::write(all.join("\n").as_bytes())?;
        }
    }
    Ok(DONE)
}

/// One step at a time, until there is no more or the person has seen enough.
fn walk(steps: &[Step]) -> Result<(), Failure> {
    let mut asked = std::io::stdin().lock().lines();
    let mut at = 0;
    loop {
        print::write(told(steps, at).as_bytes())?;
        let last = at + 1 == steps.len();
        print::write(if last { b"[p]rev, [q]uit: " } else { b"[Enter] next, [p]rev, [q]uit: " })?;
        let Some(word) = asked.next() else { return print::write(b"\n") };
        match moved(word?.trim(), at, steps.len()) {
            Some(to) => at = to,
            None => return Ok(()),
        }
    }
}

/// Where a word leads; none where it ends the walk.
fn moved(word: &str, at: usize, of: usize) -> Option<usize> {
    match word {
        "q" | "quit" => None,
        "p" | "prev" => Some(at.saturating_sub(1)),
        // Behind the last step there is nothing to see.
        "" | "n" | "next" => Some(at + 1).filter(|to| *to < of),
        _ => match word.parse::<usize>() {
            Ok(number) if (1..=of).contains(&number) => Some(number - 1),
            _ => Some(at),
        },
    }
}

fn told(steps: &[Step], at: usize) -> String {
    let Step { link, since_ms, changes, queue, node } = &steps[at];
    let Link { id, kind, time, actor, what, because, .. } = link;
    let mut out = String::new();
    let since = since_ms.map_or(String::new(), |ms| format!("  +{}", Duration::from_millis(ms)));
    let (number, of) = (at + 1, steps.len());
    let _ = writeln!(out, "[{number}/{of}] {id}  {time}{since}  {kind}");
    let mut say = |label: &str, text: &str| {
        // Nothing that a run or an operator says may give the terminal an order.
        let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(out, "  {label:<9}{plain}");
    };
    say("what", what);
    say("by", actor);
    if let Some(because) = because {
        say("because", because);
    }
    for Changed { name, from, to } in changes {
        let text = match (from, to) {
            (None, Some(to)) => shown(to),
            (Some(from), None) => format!("{} → none", shown(from)),
            (Some(from), Some(to)) => format!("{} → {}", shown(from), shown(to)),
            (None, None) => continue,
        };
        say("change", &format!("{name}: {text}"));
    }
    let place = queue.place.map_or(String::new(), |place| format!(", this one at place {place}"));
    say("queue", &format!("{} waiting{place}", queue.depth));
    if let Some(node) = node {
        let (gave, has) = (&node.allocated, &node.capacity);
        say(
            "node",
            &format!(
                "{} {}: {}/{} mCPU, {}/{} MiB, {} runs",
                node.id,
                node.status.as_str(),
                gave.cpu_milli,
                has.cpu_milli,
                gave.mem_mb,
                has.mem_mb,
                node.runs
            ),
        );
    }
    out
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    print::cut(&text, VALUE_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::moved;

    #[test]
    fn a_word_leads_to_a_step() {
        for (word, at, to) in [
            ("", 0, Some(1)),
            ("n", 1, Some(2)),
            ("", 2, None),
            ("p", 2, Some(1)),
            ("p", 0, Some(0)),
            ("3", 0, Some(2)),
            ("4", 0, Some(0)),
            ("what", 1, Some(1)),
            ("q", 0, None),
        ] {
            assert_eq!(moved(word, at, 3), to, "{word:?} at {at}");
        }
    }
}

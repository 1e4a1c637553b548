//! `tartarus audit reveal`: a secret for somebody who has an export without it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use replay::reveal::{self, NotShown, Opening, Shown, Whose};

use super::source;
use super::target::Target;
use crate::cli::RevealArgs;
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print;
use crate::terminal::Terminal;

/// Writes the line that shows it.
///
/// # Errors
/// There is no journal to read, or nothing to show.
pub fn run(args: &RevealArgs, terminal: &Terminal) -> Result<u8, Failure> {
    let whose = match (args.id.parse::<uuid::Uuid>(), args.id.parse::<api::event::Place>()) {
        (Ok(run), _) => Whose::Run(domain::RunId(run)),
        (_, Ok(place)) if place.n.is_some() => Whose::Event(place),
        (_, _) => {
            return Err(Failure::Usage("give the id of a run, or of an event (17.3)".to_owned()));
        }
    };
    let target = Target::begin(&args.target)?;
    let mut source = source::open(&args.source)?;
    let bar = terminal.progress();
    let opening = block_on(async {
        let head = source.head().await?.map(|head| head.seq);
        reveal::find(&mut source, whose, args.show, |at| bar.reach(at, head)).await.map_err(
            |error| match error {
                NotShown::Unreadable(unreadable) => unreadable.into(),
                other => Failure::error(format!("{}: {other}", args.id)),
            },
        )
    })?;
    drop(bar);
    match target {
        None => print::write(&opening.line())?,
        Some(target) => {
            let written = target.file()?.write_all(&opening.line());
            written.map_err(|e| Failure::error(format!("the opening: {e}")))?;
            target.finish()?;
        }
    }
    let names: Vec<String> = opening.shown().iter().map(|shown| shown.event.clone()).collect();
    terminal.note(&format!(
        "it shows what was given in event {}; `tartarus audit verify EXPORT --opening FILE` says what",
        names.join(", ")
    ));
    Ok(DONE)
}

/// Openings from files of them, one a line.
///
/// # Errors
/// A file can't be read, or holds something else.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Opening>, Failure> {
    let mut openings = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(|error| named(path, &error))?;
        for (line, number) in text.lines().zip(1..) {
            let opening = Opening::read(line)
                .map_err(|what| Failure::error(format!("{}:{number}: {what}", path.display())))?;
            openings.push(opening);
        }
    }
    Ok(openings)
}

fn named(path: &Path, error: &std::io::Error) -> Failure {
    Failure::error(format!("{}: {error}", path.display()))
}

/// Says what openings show, for people.
pub fn tell(revealed: &[Shown], text: &mut String) {
    for Shown { event, kind, run, env, stdin } in revealed {
        let of = run.as_ref().map_or(String::new(), |run| format!(" of {run}"));
        let _ = writeln!(text, "event {event}, {kind}{of}, was given");
        for (name, value) in env.iter().flatten() {
            let _ = writeln!(text, "  env    {name}={value:?}");
        }
        if let Some(input) = stdin {
            let _ = writeln!(text, "  stdin  {input:?}");
        }
    }
}

//! `tartarus why`: the chain of causes, from an event back to its roots.

use std::fmt::Write as _;

use api::Link;
use api::event::Place;
use client::Client;
use domain::{NodeId, RunId};
use replay::source::Over;
use replay::why::{Target, Why, led_to};
use replay::{Point, Source, fold};

use super::{replay::say, source};
use crate::cli::WhyArgs;
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::Format;
use crate::terminal::Terminal;

/// Prints why the last thing that happened to a run or a node did, or why one event did. Of runs a
/// server tells; for the rest, or where a source is given, the journal is read.
///
/// # Errors
/// There is no such thing, or neither Olympus nor the journal can be reached.
pub fn run(
    client: &Client,
    args: &WhyArgs,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let id = args.id.trim();
    let by_hand = args.source.is_given();
    let links = match (id.parse::<uuid::Uuid>(), id.parse::<Place>()) {
        (Ok(run), _) if by_hand => read(args, Target::Run(RunId(run)), None, terminal)?,
        (Ok(_), _) => block_on(async { Ok(client.why(id).await?) })?,
        (Err(_), Ok(Place { n: None, .. })) => {
            return Err(Failure::Usage(format!(
                "{id} is an entry: give an event of it, such as {id}.0"
            )));
        }
        (Err(_), Ok(place)) => of_event(client, args, place, terminal)?,
        (Err(_), Err(_)) => read(args, Target::Node(NodeId::new(id)), None, terminal)?,
    };
    if links.is_empty() {
        return Err(Failure::error(format!(
            "nothing in the journal is about {id:?}: give the id of a run, of an event (17.3) or of \
             a node"
        )));
    }
    say(format, &links, || told(&links))?;
    Ok(DONE)
}

/// The chain of one event: of a run's, where it is one, else of its own.
fn of_event(
    client: &Client,
    args: &WhyArgs,
    place: Place,
    terminal: &Terminal,
) -> Result<Vec<Link>, Failure> {
    if !args.source.is_given() {
        let links = block_on(async {
            match client.event(place).await?.and_then(|event| event.subject) {
                Some(run) if run.parse::<uuid::Uuid>().is_ok() => Ok(Some(client.why(&run).await?)),
                Some(_) | None => Ok(None),
            }
        })?;
        if let Some(links) = links {
            return Ok(led_to(links, &place.to_string()));
        }
    }
    let from = Some(Point::Sequence(place.sequence));
    let own = read_from(from, args, Target::Event(place), None, terminal)?;
    let subject = own.first().and_then(|link| Some((link.subject.clone()?, &*link.kind)));
    let target = match subject {
        Some((node, kind)) if kind.starts_with("node.") => Target::Node(NodeId::new(&node)),
        Some((run, kind)) if kind.starts_with("run.") => match run.parse() {
            Ok(run) => Target::Run(RunId(run)),
            Err(_) => Target::Event(place),
        },
        Some(_) | None => Target::Event(place),
    };
    read(args, target, Some(place), terminal)
}

/// Reads a journal for what concerns the target: all of it.
fn read(
    args: &WhyArgs,
    target: Target,
    until: Option<Place>,
    terminal: &Terminal,
) -> Result<Vec<Link>, Failure> {
    read_from(None, args, target, until, terminal)
}

fn read_from(
    from: Option<Point>,
    args: &WhyArgs,
    target: Target,
    until: Option<Place>,
    terminal: &Terminal,
) -> Result<Vec<Link>, Failure> {
    let mut source: Source = source::open(&args.source)?;
    let bar = terminal.progress();
    let (why, over) = block_on(async {
        let head = source.head().await?.map(|head| head.seq);
        if let Some(from) = from {
            source.skip_to(from).await?;
        }
        Ok(fold::run(&mut source, Why::new(target), |at| bar.reach(at, head)).await)
    })?;
    drop(bar);
    match (&why.bad, over) {
        (Some(bad), _) => Err(Failure::error(bad.to_string())),
        (None, Over::Bad(bad)) => Err(Failure::error(bad.to_string())),
        (None, Over::Trouble(trouble)) => Err(trouble.into()),
        (None, Over::End) if !why.read => Err(replay::Unreadable::Empty.into()),
        (None, Over::End) => Ok(why.chain(until)),
    }
}

/// A line an event, and below it why.
fn told(links: &[Link]) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    };
    let width = links.iter().map(|link| link.id.len()).max().unwrap_or_default();
    let mut out = String::new();
    for link in links {
        let Link { id, kind, time, actor, what, because, cause, correlationid, .. } = link;
        // Nothing that a run or an operator says may give the terminal an order.
        let _ = writeln!(out, "{id:<width$}  {time}  {kind:<20}  {}", plain(what));
        let mut below = |label: &str, text: &str| {
            let _ = writeln!(out, "{:<width$}    {label:<8} {}", "", plain(text));
        };
        below("by", actor);
        if let Some(because) = because {
            below("because", because);
        }
        if !cause.is_empty() {
            below("after", &cause.join(", "));
        }
        // The request of a run is told where it came in.
        if cause.is_empty()
            && let Some(request) = correlationid
        {
            below("request", &request.to_string());
        }
    }
    out
}

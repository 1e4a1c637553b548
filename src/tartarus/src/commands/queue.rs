//! `tartarus queue`: the waiting line, and the runs that are out of attempts.

use api::problem::Problem;
use api::query::DeadQuery;
use api::{DeadLetter, Duration, QueueStatus, Run};
use client::{Client, Error};
use serde::Serialize;

use crate::cli::{DeadArgs, QueueVerb, RedriveArgs};
use crate::connect::block_on;
use crate::exit::{DONE, ERROR, Failure, here};
use crate::print::{Columns, Format, age, now, print};
use crate::terminal::Terminal;

/// Does what the verb says.
///
/// # Errors
/// Olympus can't be reached.
pub fn run(
    client: &Client,
    verb: QueueVerb,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let status = match verb {
        QueueVerb::Status(when) => {
            let client = client.clone().at(when.at);
            block_on(async { Ok(client.queue().await?) })?
        }
        QueueVerb::Pause => block_on(async { Ok(client.pause_queue().await?) })?,
        QueueVerb::Resume => block_on(async { Ok(client.resume_queue().await?) })?,
        QueueVerb::Dead(args) => return dead(client, args, format, terminal),
        QueueVerb::Redrive(args) => return redrive(client, args, format),
    };
    print(format, &status, || columns(&status))?;
    Ok(DONE)
}

fn columns(status: &QueueStatus) -> Columns {
    let oldest =
        status.oldest_wait_ms.map_or("-".to_owned(), |ms| Duration::from_millis(ms).to_string());
    let mut rows = vec![
        vec!["paused".to_owned(), if status.paused { "yes" } else { "no" }.to_owned()],
        vec!["depth".to_owned(), status.depth.to_string()],
        vec!["oldest wait".to_owned(), oldest],
    ];
    for (kind, counts) in
        [("pool", &status.by_pool), ("heat", &status.by_heat), ("tenant", &status.by_tenant)]
    {
        rows.extend(counts.iter().map(|(name, n)| vec![format!("{kind} {name}"), n.to_string()]));
    }
    rows.push(vec!["dead".to_owned(), status.dead.to_string()]);
    Columns { head: vec!["QUEUE", "VALUE"], narrow: 2, rows }
}

fn dead(
    client: &Client,
    args: DeadArgs,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let DeadArgs { template, tenant, redriven, limit: most } = args;
    let query = DeadQuery { redriven, template, tenant, ..DeadQuery::default() };
    // One more than asked for tells whether there are more.
    let ask = most.saturating_add(1);
    let mut letters = block_on(async { Ok(client.dead_letters(&query, ask).await?) })?;
    let more = letters.len() > most;
    letters.truncate(most);
    print(format, &letters, || listed(&letters))?;
    if more {
        terminal.note(&format!("there are more than {most}: --limit shows them"));
    }
    Ok(DONE)
}

fn listed(letters: &[DeadLetter]) -> Columns {
    let now = now();
    let row = |letter: &DeadLetter| {
        let run = &letter.run;
        vec![
            run.id.clone(),
            run.metadata.get("tenant").map_or("default", |tenant| tenant).to_owned(),
            run.template.to_string(),
            run.attempt.to_string(),
            run.node.clone().unwrap_or_else(|| "-".to_owned()),
            age(letter.dead_since, now),
            run.message.clone().unwrap_or_default(),
            letter.redriven_as.clone().unwrap_or_else(|| "-".to_owned()),
            run.redrive_of.clone().unwrap_or_else(|| "-".to_owned()),
            run.command.join(" "),
        ]
    };
    Columns {
        head: vec![
            "RUN",
            "TENANT",
            "TEMPLATE",
            "ATTEMPTS",
            "NODE",
            "DEAD",
            "MESSAGE",
            "REDRIVEN-AS",
            "REDRIVE-OF",
            "COMMAND",
        ],
        narrow: 8,
        rows: letters.iter().map(row).collect(),
    }
}

/// What became of one dead letter.
#[derive(Debug, Serialize)]
struct Redriven {
    /// The dead letter.
    id: String,
    /// The run that it became.
    run: Option<Run>,
    /// Why it became none.
    problem: Option<Problem>,
}

/// Redrives each; what is refused is shown beside what is not.
fn redrive(client: &Client, args: RedriveArgs, format: Format) -> Result<u8, Failure> {
    let RedriveArgs { ids, all, template, tenant } = args;
    let mut done: Vec<Redriven> = Vec::new();
    let outcome = block_on(async {
        let ids = match all {
            false => ids,
            true => {
                let query = DeadQuery { template, tenant, ..DeadQuery::default() };
                let letters = client.dead_letters(&query, usize::MAX).await?;
                // Those that wait longest come first.
                letters.into_iter().rev().map(|letter| letter.run.id).collect()
            }
        };
        for id in ids {
            let (run, problem) = match client.redrive(&id).await {
                Ok(run) => (Some(run), None),
                Err(Error::Refused(problem)) => (None, Some(*problem)),
                Err(error) => return Err(error.into()),
            };
            done.push(Redriven { id, run, problem });
        }
        Ok(())
    });
    // What was done is shown, also when the next could not be.
    if outcome.is_ok() || !done.is_empty() {
        print(format, &done, || redriven(&done))?;
    }
    outcome.map(|()| if done.iter().all(|done| done.run.is_some()) { DONE } else { ERROR })
}

fn redriven(done: &[Redriven]) -> Columns {
    let row = |done: &Redriven| {
        let (run, status, message) = match (&done.run, &done.problem) {
            (Some(run), _) => (run.id.clone(), run.status.to_string(), String::new()),
            (None, problem) => {
                let detail = problem.as_ref().map(|problem| here(&problem.detail));
                ("-".to_owned(), "refused".to_owned(), detail.unwrap_or_default())
            }
        };
        vec![done.id.clone(), run, status, message]
    };
    Columns {
        head: vec!["DEAD", "RUN", "STATUS", "MESSAGE"],
        narrow: 4,
        rows: done.iter().map(row).collect(),
    }
}

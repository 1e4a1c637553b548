//! `tartarus ps`: runs, newest first.

use api::query::{Page, ReadQuery};
use api::{Run, RunsQuery, Time};
use client::Client;

use crate::cli::PsArgs;
use crate::connect::{block_on, clock};
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, age, cut, print};
use crate::terminal::Terminal;

/// A command is cut here; `-o wide` shows more, `inspect` all of it.
const COMMAND_WIDTH: usize = 32;
const COMMAND_WIDTH_WIDE: usize = 120;

/// Lists runs.
///
/// # Errors
/// Olympus can't be reached.
pub fn run(
    client: &Client,
    args: PsArgs,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let query = RunsQuery {
        status: args.status,
        template: args.template,
        tenant: args.tenant,
        node: args.node,
        heat: args.heat,
        pool: args.pool,
        label: args.label.unwrap_or_default(),
        since: args.since,
        until: args.until,
        page: Page::default(),
        read: ReadQuery::default(),
    };
    let most = args.limit;
    // One more than asked for tells whether there are more.
    let ask = most.saturating_add(1);
    let client = client.clone().at(args.when.at);
    let (mut runs, now) = block_on(async {
        let runs = client.runs_up_to(&query, ask).await?;
        Ok((runs, clock(&client, args.when.at, format).await?))
    })?;
    let more = runs.len() > most;
    runs.truncate(most);
    print(format, &runs, || columns(&runs, format, now))?;
    if more {
        terminal.note(&format!("there are more than {most}: --limit shows them"));
    }
    Ok(DONE)
}

fn columns(runs: &[Run], format: Format, now: Time) -> Columns {
    let width = if format == Format::Wide { COMMAND_WIDTH_WIDE } else { COMMAND_WIDTH };
    let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let number = |n: Option<i32>| n.map_or("-".to_owned(), |n| n.to_string());
    let row = |run: &Run| {
        vec![
            run.id.clone(),
            run.status.as_str().to_owned(),
            text(run.reason.as_deref()),
            run.template.to_string(),
            cut(&run.command.join(" "), width),
            text(run.node.as_deref()),
            age(run.created_at, now),
            number(run.exit_code),
            number(run.signal),
            run.heat.as_str().to_owned(),
            run.pool.as_str().to_owned(),
            run.attempt.to_string(),
            run.metadata.get("tenant").map_or("default", |tenant| tenant).to_owned(),
            format!("{}@{}", run.policy.name, run.policy.version),
            run.created_at.to_string(),
            run.message.clone().unwrap_or_default(),
        ]
    };
    Columns {
        head: vec![
            "ID", "STATUS", "REASON", "TEMPLATE", "COMMAND", "NODE", "AGE", "EXIT", "SIGNAL",
            "HEAT", "POOL", "ATTEMPT", "TENANT", "POLICY", "CREATED", "MESSAGE",
        ],
        narrow: 7,
        rows: runs.iter().map(row).collect(),
    }
}

//! `tartarus quarantine`: what judges sent there, and the two ways out.

use api::{Quarantined, Run, Time};
use client::Client;

use crate::cli::{QuarantineVerb, WordArgs};
use crate::connect::{block_on, clock};
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, age, print};

/// Does what the verb says.
///
/// # Errors
/// The run does not wait in quarantine, today's policy rejects it, or Olympus can't be reached.
pub fn run(client: &Client, verb: QuarantineVerb, format: Format) -> Result<u8, Failure> {
    match verb {
        QuarantineVerb::List { status, tenant, when } => {
            let client = client.clone().at(when.at);
            let stand = status.map(|stand| stand.as_str());
            let (all, now) = block_on(async {
                let all = client.quarantine(stand, tenant.as_deref()).await?;
                Ok((all, clock(&client, when.at, format).await?))
            })?;
            print(format, &all, || columns(&all, now))?;
        }
        QuarantineVerb::Release(WordArgs { id, reason }) => {
            let run = block_on(async { Ok(client.release(&id, reason.as_deref()).await?) })?;
            print(format, &run, || resolved(&run))?;
        }
        QuarantineVerb::Reject(WordArgs { id, reason }) => {
            let run = block_on(async { Ok(client.reject(&id, reason.as_deref()).await?) })?;
            print(format, &run, || resolved(&run))?;
        }
    }
    Ok(DONE)
}

fn resolved(run: &Run) -> Columns {
    let reason = run.reason.as_deref().unwrap_or("-").to_owned();
    let row = vec![run.id.clone(), run.status.to_string(), run.pool.as_str().to_owned(), reason];
    Columns { head: vec!["ID", "STATUS", "POOL", "REASON"], narrow: 4, rows: vec![row] }
}

fn columns(all: &[Quarantined], now: Time) -> Columns {
    let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let row = |entry: &Quarantined| {
        let by: Vec<&str> =
            entry.judges.iter().map(|j| j.rule.as_deref().unwrap_or(&j.judge)).collect();
        let by = if entry.losses.is_some() { vec!["on_lost"] } else { by };
        let (action, word) = match &entry.resolved {
            Some(resolved) => (resolved.action.as_str(), &*resolved.reason),
            None => ("-", "-"),
        };
        vec![
            entry.run_id.clone(),
            entry.state.as_str().to_owned(),
            entry.status.as_str().to_owned(),
            entry.tenant.to_string(),
            by.join(","),
            text(entry.node.as_deref()),
            age(entry.since, now),
            entry.reasons.join("; "),
            action.to_owned(),
            word.to_owned(),
        ]
    };
    Columns {
        head: vec![
            "RUN", "STATE", "STATUS", "TENANT", "BY", "NODE", "AGE", "REASONS", "RESOLVED", "WORD",
        ],
        narrow: 8,
        rows: all.iter().map(row).collect(),
    }
}

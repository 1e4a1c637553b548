//! `tartarus queue`: the waiting line.

use api::{Duration, QueueStatus};
use client::Client;

use crate::cli::QueueVerb;
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, print};

/// Does what the verb says.
///
/// # Errors
/// Olympus can't be reached.
pub fn run(client: &Client, verb: QueueVerb, format: Format) -> Result<u8, Failure> {
    let status = block_on(async {
        Ok(match verb {
            QueueVerb::Status => client.queue().await?,
            QueueVerb::Pause => client.pause_queue().await?,
            QueueVerb::Resume => client.resume_queue().await?,
        })
    })?;
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
    Columns { head: vec!["QUEUE", "VALUE"], narrow: 2, rows }
}

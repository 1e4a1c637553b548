//! `tartarus kill`: cancels runs.

use api::Run;
use client::Client;

use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, print};

/// Cancels each run; the first that can't be cancelled ends the command.
///
/// # Errors
/// A run has ended or is not there, or Olympus can't be reached.
pub fn run(client: &Client, ids: &[String], format: Format) -> Result<u8, Failure> {
    let mut canceled: Vec<Run> = Vec::with_capacity(ids.len());
    let outcome = block_on(async {
        for id in ids {
            canceled.push(client.cancel(id).await?);
        }
        Ok(())
    });
    // What was done is shown, also when the next could not be.
    if !canceled.is_empty() {
        print(format, &canceled, || Columns {
            head: vec!["ID", "STATUS", "REASON"],
            narrow: 3,
            rows: canceled
                .iter()
                .map(|run| {
                    let reason = run.reason.as_deref().unwrap_or_default();
                    vec![run.id.clone(), run.status.to_string(), reason.to_owned()]
                })
                .collect(),
        })?;
    }
    outcome.map(|()| DONE)
}

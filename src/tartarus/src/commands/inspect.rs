//! `tartarus inspect`: one run, whole.

use client::Client;

use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{Format, print_document};

/// Prints a run.
///
/// # Errors
/// There is none of that id, or Olympus can't be reached.
pub fn run(client: &Client, id: &str, format: Format) -> Result<u8, Failure> {
    let run = block_on(async { Ok(client.run(id).await?) })?;
    print_document(format, &run)?;
    Ok(DONE)
}

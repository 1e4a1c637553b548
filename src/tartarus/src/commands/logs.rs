//! `tartarus logs`: a run's output, each stream where it belongs.

use std::io::Write;

use api::logs::{LogChunk, Stream};
use api::query::LogsQuery;
use client::{Client, Logs};

use crate::cli::LogsArgs;
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{self, Format};
use crate::terminal::Terminal;

/// Prints a run's output: stdout on stdout, stderr on stderr; in JSON, a line a chunk.
///
/// # Errors
/// There is no such run, its output is past its retention, or Olympus can't be reached.
pub fn run(
    client: &Client,
    args: LogsArgs,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let query = LogsQuery { stream: args.stream, follow: args.follow, tail: args.tail };
    block_on(async {
        let mut logs = client.logs(&args.id, query).await?;
        if format == Format::Json {
            while let Some(chunk) = logs.next().await? {
                print::write(&json_line(&chunk))?;
            }
        } else {
            pump(&mut logs, || {}).await?;
        }
        if !args.follow {
            let run = client.run(&args.id).await?;
            if !run.status.is_terminal() {
                terminal.note("the run has not ended: --follow shows what is to come");
            }
        }
        Ok(DONE)
    })
}

fn json_line(chunk: &LogChunk<'_>) -> Vec<u8> {
    let mut line = serde_json::to_vec(chunk).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Writes chunks out as they come; `before` is called ahead of each.
///
/// # Errors
/// The output can't be read or written.
pub async fn pump(logs: &mut Logs, before: impl Fn()) -> Result<(), Failure> {
    while let Some(chunk) = logs.next().await? {
        before();
        let bytes = chunk.bytes().map_err(|e| Failure::failed(e.to_string()))?;
        match chunk.stream {
            Stream::Stdout => print::write(&bytes)?,
            Stream::Stderr => {
                let mut stderr = std::io::stderr().lock();
                stderr.write_all(&bytes)?;
                stderr.flush()?;
            }
        }
    }
    Ok(())
}

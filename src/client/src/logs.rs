//! A run's output, as it comes.

use std::collections::VecDeque;

use api::headers;
use api::logs::{LogChunk, Stream};
use api::query::LogsQuery;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::error::Error;
use crate::runs::part;
use crate::transport::Client;

/// A line longer than this is not a chunk of output, whoever says so: chunks are at most 64 KiB
/// before base64 and JSON's escapes.
const LINE_MAX: usize = 1024 * 1024;

/// Output as a stream of chunks. A broken connection is opened again, and what was seen is left
/// out, so that nothing is missing and nothing comes twice.
pub struct Logs {
    client: Client,
    path: String,
    query: LogsQuery,
    open: Option<BoxStream<'static, reqwest::Result<Vec<u8>>>>,
    partial: Vec<u8>,
    ready: VecDeque<LogChunk<'static>>,
    /// Bytes given out, by stream.
    seen: [u64; 2],
    /// Bytes still to leave out after another connection, by stream.
    skip: [u64; 2],
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("path", &self.path).field("seen", &self.seen).finish()
    }
}

fn lane(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Client {
    /// A run's output; with `follow` until the run has ended.
    ///
    /// # Errors
    /// There is no such run, its output is past its retention, or Olympus can't be reached.
    pub async fn logs(&self, id: &str, query: LogsQuery) -> Result<Logs, Error> {
        let mut logs = Logs {
            client: self.clone(),
            path: format!("/v1/runs/{}/logs", part(id)),
            query,
            open: None,
            partial: Vec::new(),
            ready: VecDeque::new(),
            seen: [0; 2],
            skip: [0; 2],
        };
        logs.connect().await?;
        Ok(logs)
    }
}

impl Logs {
    async fn connect(&mut self) -> Result<(), Error> {
        let query = self.query.to_query();
        let mark = if query.is_empty() { "" } else { "?" };
        let path = format!("{}{mark}{query}", self.path);
        let client = self.client.clone();
        // A followed run may be silent for days: no timeout but the connection's own.
        let send = || client.get(&path).header("accept", headers::NDJSON);
        let stream = client
            .persist_untimed(send, |response| async {
                Ok(response.bytes_stream().map(|bytes| bytes.map(|b| b.to_vec())).boxed())
            })
            .await?;
        self.open = Some(stream);
        self.partial.clear();
        self.skip = self.seen;
        Ok(())
    }

    /// The next chunk; none when the output is complete.
    ///
    /// # Errors
    /// The output is past its retention, or Olympus can't be reached for the whole of the client's
    /// patience.
    pub async fn next(&mut self) -> Result<Option<LogChunk<'static>>, Error> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            match open.next().await {
                None => {
                    self.open = None;
                    if !self.partial.is_empty() {
                        let line = std::mem::take(&mut self.partial);
                        self.take_line(&line)?;
                    }
                }
                Some(Ok(bytes)) => self.take_bytes(&bytes)?,
                Some(Err(error)) => {
                    // With `tail` the beginning is not where it was: what was seen can't be left out.
                    if self.query.tail.is_some() {
                        return Err(self.client.transport(error, false));
                    }
                    log::debug!("the log stream broke, opening it again: {error}");
                    self.connect().await?;
                }
            }
        }
    }

    fn take_bytes(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.take_line(&line)?;
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > LINE_MAX { Err(garbled(None)) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Error> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let chunk: LogChunk<'_> =
            serde_json::from_slice(line).map_err(|e| garbled(Some(e.into())))?;
        let bytes = chunk.bytes().map_err(|e| garbled(Some(e.into())))?;
        let (lane, length) = (lane(chunk.stream), bytes.len() as u64);
        let known = self.skip[lane].min(length);
        self.skip[lane] -= known;
        if known == length && length > 0 {
            return Ok(());
        }
        self.seen[lane] += length - known;
        let fresh = &bytes[usize::try_from(known).unwrap_or(usize::MAX)..];
        let owned = LogChunk::new(chunk.time, chunk.stream, fresh);
        let data = owned.data.into_owned().into();
        self.ready.push_back(LogChunk { data, ..owned });
        Ok(())
    }
}

fn garbled(source: Option<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable {
        message: "the output that came is not what this version of the program understands: use \
                  the same version on both sides"
            .to_owned(),
        retry_after: None,
        source,
    }
}

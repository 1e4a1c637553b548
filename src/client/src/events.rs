//! The journal as a feed, without a gap and without anything twice.

use std::collections::VecDeque;

use api::event::{POSITION, Place, Position};
use api::query::EventsQuery;
use api::run::List;
use api::{CloudEvent, headers};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::error::Error;
use crate::runs::part;
use crate::transport::Client;

/// No event is longer: an entry of the journal holds 4 MiB, and JSON may take several bytes for one.
const LINE_MAX: usize = 64 << 20;

/// A feed of events. A broken connection is opened again behind the last event seen.
pub struct Events {
    client: Client,
    query: EventsQuery,
    open: Option<BoxStream<'static, reqwest::Result<Vec<u8>>>>,
    partial: Vec<u8>,
    ready: VecDeque<CloudEvent>,
    /// Whether the feed said that it ends before it is complete.
    cut: bool,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("query", &self.query).finish_non_exhaustive()
    }
}

impl Client {
    /// The events of the journal that a query asks for.
    ///
    /// # Errors
    /// The query is not valid, its place is not in the journal any more (410), or Olympus can't be
    /// reached.
    pub async fn events(&self, query: EventsQuery) -> Result<Events, Error> {
        let mut events = Events {
            client: self.clone(),
            query,
            open: None,
            partial: Vec::new(),
            ready: VecDeque::new(),
            cut: false,
        };
        events.connect().await?;
        Ok(events)
    }

    /// One event of the journal; none where there is no such place.
    ///
    /// # Errors
    /// The journal does not reach back to it any more (410), or Olympus can't be reached.
    pub async fn event(&self, place: Place) -> Result<Option<CloudEvent>, Error> {
        let before = match place.n {
            Some(n) if n > 0 => Place { n: Some(n - 1), ..place },
            Some(_) | None => Place { sequence: place.sequence.saturating_sub(1), n: None },
        };
        let query = EventsQuery {
            after: Some(before),
            follow: false,
            limit: Some(1),
            ..EventsQuery::default()
        };
        let next = self.events(query).await?.next().await?;
        Ok(next.filter(|event| event.id == place.to_string()))
    }

    /// What happened to a run, oldest first: a page of it.
    ///
    /// # Errors
    /// There is no such run, or Olympus can't be reached.
    pub async fn run_events(
        &self,
        id: &str,
        cursor: Option<&str>,
    ) -> Result<List<CloudEvent>, Error> {
        let cursor = cursor.map_or(String::new(), |cursor| format!("&cursor={}", part(cursor)));
        let limit = api::limits::PAGE_MAX;
        self.read(&format!("/v1/runs/{}/events?limit={limit}{cursor}", part(id))).await
    }
}

impl Events {
    async fn connect(&mut self) -> Result<(), Error> {
        let query = self.query.to_query();
        let mark = if query.is_empty() { "" } else { "?" };
        let path = format!("/v1/events{mark}{query}");
        let client = self.client.clone();
        // Nothing may happen for days: no timeout but the connection's own.
        let send = || client.get(&path).header("accept", headers::NDJSON);
        let stream = client
            .persist_untimed(send, |response| async {
                Ok(response.bytes_stream().map(|bytes| bytes.map(|b| b.to_vec())).boxed())
            })
            .await?;
        self.open = Some(stream);
        self.partial.clear();
        self.cut = false;
        Ok(())
    }

    /// The next event; none where the feed has come to its end.
    ///
    /// # Errors
    /// The journal does not reach back to what comes next, or Olympus can't be reached for the whole
    /// of the client's patience.
    pub async fn next(&mut self) -> Result<Option<CloudEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            match open.next().await {
                // A feed that is complete was to end, and ends between two lines.
                None if self.partial.is_empty() && !self.cut && !self.query.follow => {
                    self.open = None;
                }
                Some(Ok(bytes)) => self.take_bytes(&bytes)?,
                None | Some(Err(_)) => {
                    log::debug!("the feed broke, opening it again");
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
            if !line.iter().all(u8::is_ascii_whitespace) {
                self.take_line(&line)?;
            }
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > LINE_MAX { Err(garbled(None)) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Error> {
        let garble = |e: serde_json::Error| garbled(Some(e.into()));
        let position = serde_json::from_slice::<Position>(line).ok();
        if let Some(Position { id, reason, .. }) =
            position.filter(|position| position.kind == POSITION)
        {
            self.query.after = Some(id.parse().map_err(|_| garbled(None))?);
            self.cut |= reason.is_some();
            return Ok(());
        }
        let event: CloudEvent = serde_json::from_slice(line).map_err(garble)?;
        self.query.after = Some(Place { sequence: event.sequence, n: Some(event.n) });
        self.query.limit = self.query.limit.map(|left| left.saturating_sub(1));
        if self.query.limit == Some(0) {
            self.open = None;
        }
        self.ready.push_back(event);
        Ok(())
    }
}

fn garbled(source: Option<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable {
        message: "the feed is not what this version of the program understands: use the same \
                  version on both sides"
            .to_owned(),
        retry_after: None,
        source,
    }
}

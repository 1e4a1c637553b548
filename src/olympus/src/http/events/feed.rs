//! A feed: pulled from the journal page by page, as fast as its reader takes it.
//!
//! Owns:   at most a page of entries and two pieces of text, however far behind its reader is.
//! Never:  queues events for a reader: one that is slow reads the journal later.
//! Fails:  a reader that takes nothing for [`SLOW`] is cut. The last line of a feed that ends before
//!         it is complete says why, and from where it may go on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use api::event::{Place, Position};
use api::headers::{EVENT_STREAM, NDJSON};
use bytes::Bytes;
use domain::{Event, Sequence};
use futures_util::Stream;
use journal::{Cursor, Page, ReadError};
use olympus_actors::view::AwaitIndex;
use replay::cloud;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::{Open, read};
use super::wanted::Wanted;

/// Feeds an instance serves at a time: each may hold a page, 64 MiB in all.
pub const FEEDS_MAX: usize = 256;
/// A page of a feed, in bytes. Small, since there may be many that are not taken.
const PAGE_BYTES: usize = 256 << 10;
/// A piece of text is handed over at this size.
const PIECE_BYTES: usize = 32 << 10;
/// A feed that has nothing to show says so after this long: within the 5 s of the contract.
const QUIET: Duration = Duration::from_secs(4);
/// A reader that takes nothing for so long is cut.
const SLOW: Duration = Duration::from_secs(30);
/// Pause before the journal is asked again when it does not answer.
const AGAIN: Duration = Duration::from_millis(250);

/// Places for feeds.
#[derive(Clone, Debug)]
pub struct Feeds(Arc<Semaphore>);

impl Default for Feeds {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(FEEDS_MAX)))
    }
}

impl Feeds {
    /// A place, if there is one.
    pub fn seat(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Server-sent events (HTML standard, 9.2).
    Events,
    /// An object a line.
    Lines,
}

impl Form {
    /// What a request accepts: lines where it says so, else server-sent events.
    pub fn of(headers: &HeaderMap) -> Self {
        if read::accepts_lines(headers) { Self::Lines } else { Self::Events }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Events => EVENT_STREAM,
            Self::Lines => NDJSON,
        }
    }

    /// Writes what stands at a place. `kind` names it for those who listen to it alone.
    fn write<T: Serialize>(self, to: &mut Vec<u8>, id: Place, kind: Option<&str>, what: &T) {
        if self == Self::Events {
            if let Some(kind) = kind {
                to.extend_from_slice(format!("event: {kind}\n").as_bytes());
            }
            to.extend_from_slice(format!("id: {id}\ndata: ").as_bytes());
        }
        // Keys are text and numbers finite: it has a JSON form, which is one line.
        let _ = serde_json::to_writer(&mut *to, what);
        to.extend_from_slice(if self == Self::Events { b"\n\n" } else { b"\n" });
    }

    fn position(self, position: &Position, place: Place) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes, place, Some(api::event::POSITION), position);
        bytes
    }
}

/// Why a feed ends.
enum End {
    /// All that was asked for was said.
    Complete,
    /// Nobody listens.
    Gone,
    /// It breaks off, for this reason.
    Cut(String),
}

/// See the module.
pub struct Feed {
    open: Open,
    source: String,
    wanted: Wanted,
    form: Form,
    /// All of this entry and those before it was read.
    read: Sequence,
    /// Of the entry behind that, events up to this one are left out.
    skip: Option<u32>,
    /// Ends behind this entry.
    until: Option<Sequence>,
    /// Ends after so many events.
    left: Option<u64>,
    /// Text that was not handed over yet, and the place behind it.
    text: Vec<u8>,
    place: Place,
    /// The place behind what was handed over, and when it was.
    told: Place,
    at: Instant,
}

impl Feed {
    /// A feed that begins after a place.
    pub fn new(
        open: Open,
        wanted: Wanted,
        form: Form,
        after: Place,
        until: Option<Sequence>,
        limit: Option<u64>,
    ) -> Self {
        // The entry that holds the event is read again, but for what comes up to it.
        let (read, skip) = match (after.sequence.checked_sub(1), after.n) {
            (Some(before), Some(n)) => (before, Some(n)),
            (_, _) => (after.sequence, None),
        };
        let source = cloud::source(open.identity.cluster);
        let (text, at) = (Vec::new(), Instant::now());
        Self {
            open,
            source,
            wanted,
            form,
            read,
            skip,
            until,
            left: limit,
            text,
            place: after,
            told: after,
            at,
        }
    }

    /// The body of the answer. Reading goes on beside it, and ends with it.
    pub fn start(
        mut self,
        seat: OwnedSemaphorePermit,
        mut stop: watch::Receiver<bool>,
    ) -> impl Stream<Item = io::Result<Bytes>> {
        let (to, pieces) = mpsc::channel(1);
        let (ending, ended) = oneshot::channel();
        actix_web::rt::spawn(async move {
            let _seat = seat;
            let end = tokio::select! {
                // A stop closes what the feed reads from: asked first, it is the reason that is told.
                biased;
                _ = stop.wait_for(|stop| *stop) => End::Cut("the instance is stopping".into()),
                () = to.closed() => End::Gone,
                end = self.run(&to) => end,
            };
            if let End::Cut(reason) = end {
                log::debug!(place:% = self.told, reason = reason; "cut a feed");
                let position = Position { reason: Some(reason), ..Position::at(self.told) };
                // Whoever is gone meanwhile needs no farewell.
                let _ = ending.send(self.form.position(&position, self.told));
            }
        });
        let body = Body { pieces, ended: Some(ended) };
        futures_util::stream::unfold(body, |mut body| async move {
            body.next().await.map(|piece| (piece, body))
        })
    }

    async fn run(&mut self, to: &mpsc::Sender<Bytes>) -> End {
        loop {
            let applied = match self.applied(0).await {
                Ok(applied) => applied,
                Err(end) => return end,
            };
            let last = self.until.unwrap_or(applied).min(applied);
            while self.read < last {
                if let Err(end) = self.page(last, to).await {
                    return end;
                }
            }
            if self.until.is_some_and(|until| self.read >= until) {
                return End::Complete;
            }
            let quiet = self.at + QUIET;
            tokio::select! {
                applied = self.applied(self.read + 1) => match applied {
                    Ok(_) => {}
                    Err(end) => return end,
                },
                () = sleep_until(quiet) => if let Err(end) = self.say_place(to).await {
                    return end;
                },
            }
        }
    }

    /// How far the view is, once it is as far as `index`.
    async fn applied(&self, index: Sequence) -> Result<Sequence, End> {
        let ask = read::get_later(&self.open.view, |reply| AwaitIndex { index, reply });
        // A view that is gone has ended with its role: whoever leads next has the same journal.
        ask.await.map(|mark| mark.index).map_err(|fault| End::Cut(fault.to_string()))
    }

    /// Reads a page and hands over what is asked for, up to entry `last`.
    async fn page(&mut self, last: Sequence, to: &mpsc::Sender<Bytes>) -> Result<(), End> {
        let cursor = Cursor::after(self.open.identity, self.read);
        let page = match self.open.journal.read_some(&cursor, PAGE_BYTES).await {
            Ok(Page { entries, .. }) => entries,
            Err(ReadError::Trouble(trouble)) => {
                log::debug!(error:% = trouble; "a feed waits for the journal");
                sleep(AGAIN).await;
                Vec::new()
            }
            Err(ReadError::Damaged(damaged)) => {
                log::warn!(error:% = damaged; "break off a feed");
                return Err(End::Cut(damaged.to_string()));
            }
        };
        for entry in page.iter().take_while(|entry| entry.seq() <= last) {
            let sequence = entry.seq();
            let skip = self.skip.take();
            for (n, record) in (0..).zip(entry.records()) {
                if skip.is_some_and(|skip| n <= skip) {
                    continue;
                }
                let event = self.wanted.event(&record);
                match event.map_err(|fault| End::Cut(format!("entry {sequence}: {fault}")))? {
                    Some(event) => self.write((sequence, n), &event),
                    None => self.place = Place { sequence, n: Some(n) },
                }
                if self.left == Some(0) {
                    self.hand_over(to).await?;
                    return Err(End::Complete);
                }
                if self.text.len() >= PIECE_BYTES {
                    self.hand_over(to).await?;
                }
            }
            self.read = sequence;
            if entry.header().records == 0 {
                self.place = Place { sequence, n: None };
            }
        }
        self.hand_over(to).await?;
        if self.at.elapsed() >= QUIET { self.say_place(to).await } else { Ok(()) }
    }

    fn write(&mut self, (sequence, n): (Sequence, u32), event: &Event) {
        self.place = Place { sequence, n: Some(n) };
        let shown = cloud::cloud_event(&*self.source, (sequence, n), event);
        self.form.write(&mut self.text, self.place, None, &shown);
        self.left = self.left.map(|left| left - 1);
    }

    /// Hands over what was written, if anything was.
    async fn hand_over(&mut self, to: &mpsc::Sender<Bytes>) -> Result<(), End> {
        if self.text.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        match timeout(SLOW, to.send(text.into())).await {
            Ok(Ok(())) => {
                (self.told, self.at) = (self.place, Instant::now());
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Cut(format!("nothing was taken for {} s", SLOW.as_secs()))),
        }
    }

    /// Says how far it has read.
    async fn say_place(&mut self, to: &mpsc::Sender<Bytes>) -> Result<(), End> {
        // Without a filter, the last event says it: what is said then keeps the connection alive.
        let quiet = !self.wanted.is_filter() && self.form == Form::Events;
        self.text = if quiet {
            b":\n\n".to_vec()
        } else {
            self.form.position(&Position::at(self.place), self.place)
        };
        self.hand_over(to).await
    }
}

/// What a connection takes.
struct Body {
    pieces: mpsc::Receiver<Bytes>,
    /// The last words of a feed that was cut; dropped without any where it is complete.
    ended: Option<oneshot::Receiver<Vec<u8>>>,
}

impl Body {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(piece) = self.pieces.recv().await {
            return Some(Ok(piece));
        }
        // The connection is not broken off: what was handed over, and these words, might be lost.
        let words = self.ended.take()?.await.ok()?;
        Some(Ok(words.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_or_what_a_browser_listens_to() {
        let place = Place { sequence: 17, n: Some(3) };
        let position = Position::at(place);
        let text = |form: Form| String::from_utf8(form.position(&position, place)).expect("text");
        assert_eq!(text(Form::Lines), "{\"type\":\"feed.position\",\"id\":\"17.3\"}\n");
        assert_eq!(
            text(Form::Events),
            "event: feed.position\nid: 17.3\ndata: {\"type\":\"feed.position\",\"id\":\"17.3\"}\n\n"
        );
    }

    #[tokio::test]
    async fn a_feed_that_was_cut_says_where_behind_all_that_was_handed_over() {
        let (to, pieces) = mpsc::channel(1);
        let (ending, ended) = oneshot::channel();
        to.try_send(Bytes::from_static(b"event\n")).expect("room");
        drop(to);
        ending.send(b"place\n".to_vec()).expect("heard");
        let mut body = Body { pieces, ended: Some(ended) };
        assert!(matches!(body.next().await, Some(Ok(piece)) if &*piece == b"event\n"));
        assert!(matches!(body.next().await, Some(Ok(piece)) if &*piece == b"place\n"));
        assert!(body.next().await.is_none());
    }
}

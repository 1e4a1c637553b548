//! `GET /v1/runs/{id}/logs`: what a run wrote, as text or as one object a chunk.
//!
//! Never:  holds more than a page of it, however long it is or slow its reader.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use api::query::LogsQuery;
use api::{LogChunk, Stream, Time};
use bytes::Bytes;
use domain::{Run, RunId};
use olympus_actors::view::Until;
use tokio::sync::watch;
use tokio::time::timeout;

use super::problem::{self, Fault};
use super::{AppState, Open, answer, forward, read};
use crate::house::Role;
use crate::output::{Chunk, OutputStore, Reader};

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// The instance that keeps an output must begin to answer by then: it looks into a file, and the way to
/// it is as long as that to a leader.
const KEEPER_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
pub async fn get(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let (attempt, rest) = take_attempt(request.query_string())?;
    let query = LogsQuery::parse(&rest)?;
    let id = read::run_id(&id)?;
    let open = state.open()?;
    let seen = read::run(&open, id, Until::Now, Duration::ZERO).await?;
    state.saw(seen.mark.index);
    let Some(run) = seen.value.map(|seen| seen.run) else {
        return Err(Fault::from(domain::Refusal::NoSuchRun(id)).at(seen.mark));
    };
    let wanted = attempt.unwrap_or(run.attempt);
    if attempt.is_some_and(|attempt| attempt == 0 || attempt > run.attempt) {
        let words = format!("attempt {wanted} of run {id} does not exist: it had {}", run.attempt);
        return Err(problem::not_found(words).at(seen.mark));
    }
    // What is followed from before its first attempt will be written where the leader is.
    let will_write = query.follow && run.attempt == 0 && !run.status.is_terminal();
    if let Some(keeper) = keeper(&state, &open, &run, wanted, will_write).await?
        && !forward::was_forwarded(request.headers())
    {
        let asked = forward::ask(&state, &request, &keeper, None, Bytes::new());
        return match timeout(KEEPER_WITHIN, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(problem::output_elsewhere(id, &keeper).at(seen.mark)),
        };
    }
    let mut follow = Follow {
        output: open.output.clone(),
        open: query.follow.then_some(open),
        id,
        index: run.index,
        attempt: wanted,
        pinned: attempt.is_some(),
        reader: None,
        over: !query.follow,
    };
    follow.find(&run).await?;
    if follow.reader.is_none() && was_written(&run, wanted) {
        let words = "its output is not here any more: retention is over, or it was not kept";
        return Err(problem::output_unavailable(id, words).at(seen.mark));
    }
    if let Some(tail) = query.tail {
        follow.skip_to_tail(query.stream, tail).await?;
    }
    let form = Form::of(request.headers());
    let mut response = HttpResponse::Ok();
    answer::mark(&mut response, seen.mark, false);
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static(form.media_type())));
    // What untrusted programs write is never guessed to be a page.
    response.insert_header((NOSNIFF, HeaderValue::from_static("nosniff")));
    let source = Source {
        follow,
        stop: state.stop.clone(),
        stream: query.stream,
        form,
        ready: VecDeque::new(),
    };
    Ok(response.streaming(futures_util::stream::unfold(source, |mut source| async move {
        source.next().await.map(|bytes| (bytes, source))
    })))
}

/// `attempt=N`, taken out of a query string.
fn take_attempt(query: &str) -> Result<(Option<u32>, String), Fault> {
    let mut attempt = None;
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("attempt=") {
            Some(number) if attempt.is_none() => match number.parse::<u32>() {
                Ok(number) => attempt = Some(number),
                Err(_) => {
                    let shown: String = number.chars().take(32).collect();
                    let words = format!("attempt is {shown:?}: give the number of an attempt");
                    return Err(api::Invalid::one(words).into());
                }
            },
            Some(_) => {
                return Err(api::Invalid::one("attempt is given twice: give it once").into());
            }
            None => rest.push(pair),
        }
    }
    Ok((attempt, rest.join("&")))
}

/// The instance that has an attempt's output, where it is not this one: while it is or will be written
/// the leader, and then the one that led at its end.
async fn keeper(
    state: &AppState,
    open: &Open,
    run: &Run,
    attempt: u32,
    will_write: bool,
) -> Result<Option<String>, Fault> {
    if will_write || may_write(run, attempt) {
        return Ok(match &open.role {
            Role::Leader => None,
            Role::Follower(sight) => sight.borrow().live_leader().map(str::to_owned),
        });
    }
    let last = run.last_exit.as_deref().filter(|finished| finished.attempt == attempt);
    let Some(output) = last.map(|finished| &finished.output) else { return Ok(None) };
    if output.digest.is_none() || *output.holder == *state.url || output.holder.is_empty() {
        return Ok(None);
    }
    // An instance that has another URL than when it was written still has it.
    let here = open.output.is_whole(run.id(), attempt, output.digest).await;
    let here = here.map_err(|error| problem::internal("read output", &error))?;
    Ok((!here).then(|| output.holder.to_string()))
}

/// Whether an attempt that has ended says that it wrote something.
fn was_written(run: &Run, attempt: u32) -> bool {
    let last = run.last_exit.as_deref().filter(|finished| finished.attempt == attempt);
    last.is_some_and(|finished| finished.output.digest.is_some())
}

/// Whether an attempt may still write.
fn may_write(run: &Run, attempt: u32) -> bool {
    match run.status {
        domain::Status::Scheduled | domain::Status::Running => run.attempt == attempt,
        domain::Status::Pending
        | domain::Status::Succeeded
        | domain::Status::Failed
        | domain::Status::Canceled
        | domain::Status::Rejected => false,
    }
}

/// How output is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Lines,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        if read::accepts_lines(headers) { Self::Lines } else { Self::Text }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Lines => api::headers::NDJSON,
        }
    }

    fn write(self, chunk: &Chunk, data: Bytes) -> Bytes {
        match self {
            Self::Text => data,
            Self::Lines => {
                let line = LogChunk::new(Time(chunk.time_ms), chunk.stream, &data);
                let mut bytes = Vec::with_capacity(data.len() + 96);
                // A chunk is made of text and numbers, which always have a JSON form.
                let _ = serde_json::to_writer(&mut bytes, &line);
                bytes.push(b'\n');
                bytes.into()
            }
        }
    }
}

/// The output of a run, attempt after attempt.
struct Follow {
    output: Arc<OutputStore>,
    /// The house, where the run is followed.
    open: Option<Open>,
    id: RunId,
    /// The entry that the run was seen at.
    index: u64,
    attempt: u32,
    /// Whether one attempt alone was asked for.
    pinned: bool,
    reader: Option<Reader>,
    /// Whether nothing comes after what is there.
    over: bool,
}

impl Follow {
    /// Opens the output of the attempt, as the run stands.
    async fn find(&mut self, run: &Run) -> Result<(), Fault> {
        self.index = run.index;
        self.over = self.open.is_none()
            || run.status.is_terminal()
            || (self.pinned && !may_write(run, self.attempt));
        if self.attempt == 0 || self.reader.is_some() {
            return Ok(());
        }
        let expected = self.open.is_some() && may_write(run, self.attempt);
        let reader = self.output.read(self.id, self.attempt, expected).await;
        self.reader = reader.map_err(|error| problem::internal("read output", &error))?;
        Ok(())
    }

    /// The next chunks; none at the end.
    async fn next(&mut self) -> io::Result<Option<Vec<Chunk>>> {
        loop {
            // Asked before the page is read: what was written before the end is in it.
            let over = self.over;
            if let Some(reader) = &mut self.reader {
                let page = reader.page().await?;
                if !page.chunks.is_empty() {
                    return Ok(Some(page.chunks));
                }
            }
            let Some(open) = self.open.clone().filter(|_| !over) else { return Ok(None) };
            let changed = read::get_later(&open.view, |reply| olympus_actors::view::GetRun {
                run: self.id,
                until: Until::ChangedAfter(self.index),
                reply,
            });
            let written = async {
                match &mut self.reader {
                    Some(reader) => reader.more().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = written => {}
                changed = changed => {
                    let seen = changed.map_err(|fault| io::Error::other(fault.to_string()))?;
                    match seen.value {
                        Some(seen) => self.changed(&seen.run).await?,
                        None => self.over = true,
                    }
                }
            }
        }
    }

    async fn changed(&mut self, run: &Run) -> io::Result<()> {
        // A new attempt: the rest of the old one is read first.
        if run.attempt != self.attempt && !self.pinned {
            if let Some(reader) = &mut self.reader
                && !reader.at_end().await?
            {
                return Ok(());
            }
            self.attempt = run.attempt;
            self.reader = None;
        }
        self.find(run).await.map_err(|fault| io::Error::other(fault.to_string()))
    }

    /// Leaves out all but the last `lines` lines of what is there now.
    async fn skip_to_tail(&mut self, stream: Option<Stream>, lines: u64) -> Result<(), Fault> {
        let broken = |error: io::Error| problem::internal("read output", &error);
        let Some(reader) = &mut self.reader else { return Ok(()) };
        // Counted first, then skipped: a tail of any length takes no memory.
        let (mut breaks, mut open_end) = (0, false);
        loop {
            let page = reader.page().await.map_err(broken)?;
            if page.chunks.is_empty() {
                break;
            }
            for chunk in page.chunks.iter().filter(|chunk| is_of(chunk, stream)) {
                breaks += line_breaks(&chunk.data);
                open_end = chunk.data.last() != Some(&b'\n');
            }
        }
        let all = breaks + u64::from(open_end);
        reader.skip_lines(all.saturating_sub(lines), stream);
        Ok(())
    }
}

fn is_of(chunk: &Chunk, stream: Option<Stream>) -> bool {
    stream.is_none_or(|stream| stream == chunk.stream)
}

fn line_breaks(data: &[u8]) -> u64 {
    data.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The body of the answer.
struct Source {
    follow: Follow,
    stop: watch::Receiver<bool>,
    stream: Option<Stream>,
    form: Form,
    ready: VecDeque<Bytes>,
}

impl Source {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(Ok(bytes));
            }
            let chunks = tokio::select! {
                chunks = self.follow.next() => chunks,
                // A feed that ends early must not look complete.
                _ = self.stop.wait_for(|stop| *stop) => {
                    return Some(Err(io::Error::other("the instance is stopping")));
                }
            };
            match chunks {
                Ok(None) => return None,
                Err(error) => {
                    log::warn!(run:% = self.follow.id, error:% = error; "break off a feed of output");
                    return Some(Err(error));
                }
                Ok(Some(chunks)) => {
                    let wanted = chunks.iter().filter(|chunk| is_of(chunk, self.stream));
                    self.ready
                        .extend(wanted.map(|chunk| self.form.write(chunk, chunk.data.clone())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_attempt_may_be_asked_for() {
        for (query, attempt, rest) in [
            ("", None, ""),
            ("attempt=2", Some(2), ""),
            ("follow=true&attempt=1&tail=3", Some(1), "follow=true&tail=3"),
        ] {
            let taken = take_attempt(query).map_err(|fault| fault.to_string());
            assert_eq!(taken, Ok((attempt, rest.to_owned())), "{query}");
        }
        for bad in ["attempt=", "attempt=x", "attempt=-1", "attempt=1&attempt=2"] {
            assert!(take_attempt(bad).is_err(), "{bad}");
        }
    }
}

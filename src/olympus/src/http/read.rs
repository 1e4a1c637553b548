//! Reads: bodies, how fresh an answer must be, and waiting for a change.

use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::SendError;
use actix::{Actor, Addr, Handler, Message};
use actix_web::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::{HttpMessage as _, HttpRequest, web};
use api::ReadQuery;
use api::query::Least;
use bytes::{Bytes, BytesMut};
use domain::{RunId, Sequence};
use futures_util::StreamExt as _;
use journal::{EntryId, Receipt, Trouble};
use olympus_actors::Mark;
use olympus_actors::view::{AwaitIndex, ChangedAt, GetRun, HasEntry, Part, RunSeen, Seen, Until};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::ingress::{DRAIN_BYTES, Held, body_limit};
use super::problem::{self, Fault};
use super::{AppState, Open, at};
use crate::house::{Role, Windows};

/// A read that asks for an entry waits for it so long where it does not say: as long as a command
/// is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Lists are answered at most so often to one who waits for changes.
const LIST_EVERY: Duration = Duration::from_millis(250);
/// A body must have come by then: 256 KiB in 30 s is slower than any link in use.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a body that its route finds small enough.
pub async fn body(request: &HttpRequest, mut payload: web::Payload) -> Result<Bytes, Fault> {
    if let Some(kind) = request.headers().get(CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default();
        if !is_text(kind) {
            return Err(problem::media_type(kind));
        }
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let (_, check) = body_limit(request);
    let reading = async {
        let mut refused = check(length).err();
        let (mut first, mut all, mut seen) = (Bytes::new(), BytesMut::new(), 0);
        while let Some(part) = payload.next().await {
            let part = part.map_err(|e| problem::malformed(format!("the body broke off: {e}")))?;
            seen += part.len();
            if refused.is_none() {
                refused = check(seen).err();
            }
            if refused.is_some() {
                if seen > DRAIN_BYTES {
                    break;
                }
            } else if first.is_empty() && all.is_empty() {
                // Nearly every body comes in one piece, which then is not copied.
                first = part;
            } else {
                if all.is_empty() {
                    all.reserve(length.max(first.len() + part.len()));
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&part);
            }
        }
        match refused {
            Some(refused) => Err(refused.into()),
            None if all.is_empty() => Ok(first),
            None => Ok(all.freeze()),
        }
    };
    let read = timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|_| {
        let secs = BODY_TIMEOUT.as_secs();
        Err(problem::malformed(format!("the body did not come within {secs} s: send it faster")))
    });
    if let Some(share) = request.extensions_mut().get_mut::<Held>() {
        share.resize(read.as_ref().map_or(0, Bytes::len));
    }
    read
}

/// Kinds of bodies that are read: JSON and YAML, under whatever name a plain client gives them.
fn is_text(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.is_empty()
        || media == "application/json"
        || media.ends_with("+json")
        || media.starts_with("text/")
        // What curl says where nothing is said.
        || media == "application/x-www-form-urlencoded"
        || api::headers::is_yaml(&media)
}

/// Whether a caller asks for one JSON object a line.
pub fn accepts_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut kinds = accepted.split(',').map(|part| part.split(';').next().unwrap_or("").trim());
    kinds.any(|kind| kind == api::headers::NDJSON)
}

/// The id in a path.
pub fn run_id(text: &str) -> Result<RunId, Fault> {
    let id = Uuid::try_parse(text).map(RunId);
    id.map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        problem::not_found(format!(
            "run {shown:?} does not exist: an id is a UUID; list runs with GET /v1/runs"
        ))
    })
}

/// Asks an actor that answers from what it has.
pub async fn get<A, M>(from: &Addr<A>, message: M) -> Result<M::Result, Fault>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    from.send(message).await.map_err(|_| problem::unanswered())
}

/// Asks an actor that may answer later.
pub async fn get_later<A, M, T>(
    from: &Addr<A>,
    message: impl FnOnce(oneshot::Sender<T>) -> M,
) -> Result<T, Fault>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    match from.try_send(message(reply)) {
        Ok(()) => {}
        // A read waits for its turn.
        Err(SendError::Full(message)) => get(from, message).await?,
        Err(SendError::Closed(_)) => return Err(problem::unanswered()),
    }
    answer.await.map_err(|_| problem::unanswered())
}

/// What a read is answered from: the present, as fresh as the query asks, or the past it asks for.
pub async fn windows(state: &AppState, query: &ReadQuery) -> Result<Windows, Fault> {
    let open = state.open()?;
    if let Some(at) = query.at {
        return at::windows(state, &open, at).await;
    }
    freshness(&open, query).await?;
    Ok(open.windows.clone())
}

/// Waits until this instance is as far as the query asks.
async fn freshness(open: &Open, query: &ReadQuery) -> Result<(), Fault> {
    let mut least = query.min_index.map_or(0, |least| least.index);
    if query.consistent {
        // Before the journal is asked: one that ends earlier than this lost it.
        let here = get_later(&open.view, |reply| AwaitIndex { index: 0, reply }).await?;
        let asked = timeout(PATIENCE, open.journal.proven_head()).await;
        let or = "leave consistent out to read what is known here";
        let head = asked.map_err(|_| problem::unasked(&"the journal does not answer", or))?;
        let head = head.map_err(|error| problem::unasked(&error, or))?.seq;
        if head < here.index && matches!(open.role, Role::Follower(_)) {
            return Err(problem::shrunk());
        }
        least = least.max(head);
    }
    if least == 0 {
        return Ok(());
    }
    let patience = query.wait.map_or(PATIENCE, api::Duration::to_std);
    let applied = async {
        get_later(&open.view, |reply| AwaitIndex { index: least, reply }).await?;
        if let Role::Follower(sight) = &open.role {
            let whole = sight.clone().wait_for(|sight| sight.shrunk.is_none()).await.map(drop);
            whole.map_err(|_| problem::unanswered())?;
        }
        match query.min_index.and_then(receipt) {
            Some(seen) if !is_here(open, seen).await? => Err(problem::replaced(seen)),
            Some(_) | None => Ok(()),
        }
    };
    let in_time = timeout(patience, applied).await;
    in_time.unwrap_or_else(|_| match &open.role {
        Role::Follower(sight) if sight.borrow().shrunk.is_some() => Err(problem::shrunk()),
        Role::Follower(_) | Role::Leader => Err(problem::not_yet(least)),
    })
}

/// The receipt that a caller brings, in place of a number.
fn receipt(least: Least) -> Option<Receipt> {
    let h64 = u64::from_be_bytes(least.hash?.0);
    Some(Receipt(EntryId { seq: least.index, h64 }))
}

/// Whether this instance has folded the entry of a receipt, and no other under its number.
async fn is_here(open: &Open, Receipt(id): Receipt) -> Result<bool, Fault> {
    if let Some(known) = get(&open.view, HasEntry(Receipt(id))).await? {
        return Ok(known);
    }
    // It was folded before this instance can remember: what has left the journal since was archived,
    // and is there for good.
    let asked = async {
        if open.journal.contains(id).await? {
            return Ok(true);
        }
        let stored = open.journal.stored(1, 1).await?;
        Ok(stored.first().is_some_and(|(first, _)| first.seq > id.seq))
    };
    let asked = timeout(PATIENCE, asked).await;
    let or = "give the number alone as min_index to read what is known here";
    let asked = asked.map_err(|_| problem::unasked(&"the journal does not answer", or))?;
    asked.map_err(|trouble: Trouble| problem::unasked(&trouble, or))
}

/// A run, at once or when `until` holds, and in any case after `wait`.
pub async fn run(
    open: &Windows,
    run: RunId,
    until: Until,
    wait: Duration,
) -> Result<Seen<Option<RunSeen>>, Fault> {
    let ask = |until| get_later(&open.view, move |reply| GetRun { run, until, reply });
    if until != Until::Now
        && let Ok(seen) = timeout(wait, ask(until)).await
    {
        return seen;
    }
    ask(Until::Now).await
}

/// Reads a run as the query says: when it has changed after an entry, or at once.
pub async fn run_when_due(
    windows: &Windows,
    run: RunId,
    query: &ReadQuery,
) -> Result<Seen<Option<RunSeen>>, Fault> {
    let (until, wait) = match (query.index, query.wait) {
        (Some(index), Some(wait)) => (Until::ChangedAfter(index), wait.to_std()),
        (_, _) => (Until::Now, Duration::ZERO),
    };
    self::run(windows, run, until, wait).await
}

/// Reads a collection, again and again until `changed` says that what was read is news after
/// `query.index`, or the wait is over. Without an index, once.
pub async fn collection<T, F: Future<Output = Result<(T, Mark), Fault>>>(
    state: &AppState,
    windows: &Windows,
    query: &ReadQuery,
    mut read: impl FnMut() -> F,
    changed: impl Fn(&T, u64) -> bool,
) -> Result<(T, Mark), Fault> {
    let deadline = Instant::now() + query.wait.map_or(Duration::ZERO, api::Duration::to_std);
    let mut seen_at = query.index.unwrap_or(0);
    loop {
        let turn = Instant::now() + LIST_EVERY;
        let (found, mark) = read().await?;
        state.saw(mark.index);
        let news = match query.index {
            None => true,
            Some(index) => mark.index > index && changed(&found, index),
        };
        if news || Instant::now() >= deadline {
            return Ok((found, mark));
        }
        drop(found);
        seen_at = seen_at.max(mark.index);
        let next = seen_at + 1;
        let applied = get_later(&windows.view, |reply| AwaitIndex { index: next, reply });
        tokio::select! {
            applied = applied => { applied?; }
            () = sleep_until(deadline) => {}
        }
        sleep_until(turn.min(deadline)).await;
    }
}

/// Reads a long list as [`collection`] does, each time in its turn, which stays with what was read until
/// that is answered or thrown away: whoever waits for a change, or for a past to be folded, keeps nobody
/// else waiting.
pub async fn list<T, F: Future<Output = Result<Seen<T>, Fault>>>(
    state: &AppState,
    windows: &Windows,
    query: &ReadQuery,
    mut read: impl FnMut() -> F,
    changed: impl Fn(&T, u64) -> bool,
) -> Result<((T, OwnedSemaphorePermit), Mark), Fault> {
    let deadline = query.wait.map(|wait| Instant::now() + wait.to_std());
    let in_turn = || {
        let reading = read();
        async move {
            let turn = match deadline {
                Some(deadline) => state.ingress.turn_by(deadline).await?,
                None => state.ingress.turn().await?,
            };
            let Seen { value, mark } = reading.await?;
            Ok(((value, turn), mark))
        }
    };
    let changed = |(found, _): &(T, _), index| changed(found, index);
    collection(state, windows, query, in_turn, changed).await
}

/// Reads a part of the house as [`collection`] does; it is news where the part has changed.
pub async fn part<T, F: Future<Output = Result<(T, Mark), Fault>>>(
    state: &AppState,
    windows: &Windows,
    query: &ReadQuery,
    part: Part,
    mut read: impl FnMut() -> F,
) -> Result<(T, Mark), Fault> {
    let read = || {
        let (reading, part) = (read(), part.clone());
        async move {
            // Asked before it is read: a change in between is seen by the next turn.
            let changed_at = match query.index {
                Some(_) => get(&windows.view, ChangedAt(part)).await?,
                None => 0,
            };
            let (found, mark) = reading.await?;
            // Who was asked may not have heard of the change yet.
            let changed_at = if mark.index < changed_at { 0 } else { changed_at };
            Ok(((found, changed_at), mark))
        }
    };
    let changed = |(_, changed_at): &(T, Sequence), index| *changed_at > index;
    let ((found, _), mark) = collection(state, windows, query, read, changed).await?;
    Ok((found, mark))
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn plain_clients_are_understood_and_other_kinds_refused() {
        for kind in [
            "",
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
            "application/yaml",
            "text/x-yaml",
            "text/plain",
            "application/x-www-form-urlencoded",
        ] {
            assert!(is_text(kind), "{kind}");
        }
        for kind in ["application/xml", "multipart/form-data; boundary=x", "image/png"] {
            assert!(!is_text(kind), "{kind}");
        }
    }
}

//! `/v1/events` and `/v1/runs/{id}/events`: the journal as a feed, and a run's own part of it.
//!
//! Owns:   which events are asked for, and where reading begins.
//! Never:  shows an entry that the view has not folded: what is not durable is nobody's to see.
//! Fails:  410 where the place asked for is not in the journal any more.
//! Proof:  `src/olympus/tests/api/events.rs`, `tests/tests/live/events.rs`.

mod feed;
mod of_run;
mod reader;
mod wanted;
mod why;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use api::event::{Place, last_event_id};
use api::query::EventsQuery;
use domain::Sequence;
use olympus_actors::Mark;
use olympus_actors::view::AwaitIndex;
use tokio::time::timeout;

use self::feed::{Feed, Form};
use self::wanted::Wanted;
use super::problem::{self, Fault};
use super::{AppState, Open, answer, read};

pub use self::feed::{FEEDS_MAX, Feeds};
pub use self::of_run::of_run;
pub use self::reader::unread;
pub use self::why::why;

/// `GET /v1/events`.
pub async fn feed(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let mut query = EventsQuery::parse(request.query_string())?;
    let wanted = Wanted::of(&query)?;
    // What a broken connection had seen counts for more than where it began.
    let resumed = request.headers().get("last-event-id").map(|value| value.to_str().unwrap_or(""));
    if let Some(id) = resumed.filter(|id| !id.trim().is_empty()) {
        query.after = Some(last_event_id(id)?);
    }
    let open = state.open()?;
    let begin = begin(&open, query.after).await?;
    let mark = mark(&open, begin.sequence).await?;
    state.saw(mark.index);
    let seat = state.feeds.seat().ok_or_else(problem::too_many_feeds)?;
    let form = Form::of(request.headers());
    let mut response = HttpResponse::Ok();
    answer::mark(&mut response, mark, false);
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static(form.media_type())));
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
    let until = (!query.follow).then_some(mark.index);
    let feed = Feed::new(open, wanted, form, begin, until, query.limit);
    Ok(response.streaming(feed.start(seat, state.stop.clone())))
}

/// Where reading begins: at `after`, if the journal still has what comes next.
async fn begin(open: &Open, after: Option<Place>) -> Result<Place, Fault> {
    let first = first(open).await?;
    let oldest = Place { sequence: first.saturating_sub(1), n: None };
    match after {
        None => Ok(oldest),
        Some(after) if after.sequence < oldest.sequence => {
            Err(problem::trimmed(after, oldest.sequence))
        }
        Some(after) => Ok(after),
    }
}

/// The oldest entry of the journal.
async fn first(open: &Open) -> Result<Sequence, Fault> {
    let stored = open.journal.stored(1, 1).await.map_err(|trouble| problem::unread(&trouble))?;
    Ok(stored.first().map_or(1, |(id, _)| id.seq))
}

/// How far the view is, once it is as far as `index`.
async fn mark(open: &Open, index: Sequence) -> Result<Mark, Fault> {
    let applied = read::get_later(&open.view, |reply| AwaitIndex { index, reply });
    match timeout(read::PATIENCE, applied).await {
        Ok(mark) => mark,
        Err(_) => Err(problem::ahead(index)),
    }
}

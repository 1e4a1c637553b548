//! `GET /v1/runs/{id}/events`: what happened to one run, oldest first.
//!
//! There is no index from runs to entries. A run knows when it was made and the last entry that
//! changed it, and entries never go back in time: the first is found by halving (20 small reads in a
//! million entries), and what lies between is looked through without decoding what is not asked for.
//! What has left Redis is read from the archive.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::List;
use api::event::Place;
use api::query::ListQuery;
use domain::{Event, Sequence};
use journal::Entry;
use replay::cloud;

use super::super::problem::{self, Fault};
use super::super::runs::bad_cursor;
use super::super::{AppState, answer, read};
use super::reader::Reader;
use super::wanted::Wanted;

/// So much of the journal is looked through for one page, in bytes: some tens of milliseconds. A run
/// that lived through more gets shorter pages, perhaps empty ones, and a cursor.
pub const BUDGET_BYTES: usize = 32 << 20;

/// See the module.
pub async fn of_run(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ListQuery::parse(request.query_string())?;
    let id = read::run_id(&id)?;
    let after = query.page.cursor.as_deref().map(|text| text.parse::<Place>());
    let after = after.transpose().map_err(|_| bad_cursor())?;
    let open = state.open()?;
    let windows = read::windows(&state, &query.read).await?;
    let seen = read::run_when_due(&windows, id, &query.read).await?;
    state.saw(seen.mark.index);
    let Some(run) = seen.value.map(|seen| seen.run) else {
        return Err(Fault::from(domain::Refusal::NoSuchRun(id)).at(seen.mark));
    };
    let mut reader = Reader::open(&state, &open).await?;
    let after = match after {
        Some(after) => after,
        None => before_birth(&mut reader, run.created_at().0).await?,
    };
    let mut search = Search {
        wanted: Wanted::of_run(id),
        after,
        last: run.index,
        limit: query.page.limit as usize,
        found: Vec::new(),
        next: None,
    };
    search.through(&mut reader).await?;
    let source = cloud::source(open.identity.cluster);
    let shown = search.found.iter().map(|(at, event)| cloud::cloud_event(&*source, *at, event));
    let list = List {
        items: shown.collect::<Vec<_>>(),
        next_cursor: search.next.map(|place| place.to_string()),
    };
    Ok(answer::json(StatusCode::OK, &list, seen.mark, false))
}

/// The entry before the first one that is as late as `at_ms`.
pub async fn before_birth(reader: &mut Reader, at_ms: u64) -> Result<Place, Fault> {
    let first = reader.first_where(|header| header.at_ms >= at_ms).await?;
    Ok(Place { sequence: first.saturating_sub(1), n: None })
}

/// A page in the making.
struct Search {
    wanted: Wanted,
    after: Place,
    last: Sequence,
    limit: usize,
    found: Vec<((Sequence, u32), Event)>,
    /// Where to go on, where there may be more.
    next: Option<Place>,
}

impl Search {
    async fn through(&mut self, reader: &mut Reader) -> Result<(), Fault> {
        let mut seen = 0;
        // The entry that holds the event is read again, but for what comes up to it.
        let mut read = match (self.after.sequence.checked_sub(1), self.after.n) {
            (Some(before), Some(_)) => before,
            (_, _) => self.after.sequence,
        };
        while read < self.last {
            if seen >= BUDGET_BYTES {
                self.next = Some(Place { sequence: read, n: None });
                return Ok(());
            }
            let page = reader.page(read).await?;
            if page.is_empty() {
                return Ok(());
            }
            let last = self.last;
            for entry in page.iter().take_while(|entry| entry.seq() <= last) {
                if self.take(entry)? {
                    return Ok(());
                }
                (read, seen) = (entry.seq(), seen + entry.bytes().len());
            }
        }
        Ok(())
    }

    /// Takes what is asked for of an entry; says whether the page is full and there is more.
    fn take(&mut self, entry: &Entry) -> Result<bool, Fault> {
        let sequence = entry.seq();
        for (n, record) in (0..).zip(entry.records()) {
            let known = self.after.sequence == sequence && self.after.n.is_some_and(|to| n <= to);
            if known {
                continue;
            }
            let event = self.wanted.event(&record);
            let event = event.map_err(|fault| problem::internal("read the journal", &fault))?;
            let Some(event) = event else { continue };
            if self.found.len() == self.limit {
                let last = self.found.last().map(|((sequence, n), _)| (*sequence, *n));
                self.next = last.map(|(sequence, n)| Place { sequence, n: Some(n) });
                return Ok(true);
            }
            self.found.push(((sequence, n), event));
        }
        Ok(false)
    }
}

//! `GET /v1/snapshots/newest`: the newest snapshot here, as the file that it is; what another
//! instance is lent (see [`lent`](crate::keep::lent)), or a look at the state offline begins with.

use std::fs::File;
use std::io::Read as _;

use actix_web::body::SizedStream;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use domain::ids::Sequence;
use futures_util::stream;
use olympus_actors::view::Summarize;

use super::problem::{self, Fault};
use super::{AppState, answer, read, runs};
use crate::aside::aside;

/// So much of it is in memory at a time.
const PART_BYTES: u64 = 256 * 1024;

/// See the module.
pub async fn newest(
    request: HttpRequest,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    runs::no_query(&request)?;
    let Some(snapshots) = state.pasts.snapshots() else {
        return Err(problem::not_found("a journal in memory has no snapshots"));
    };
    // One that the journal names: nobody else would believe another.
    let kept = read::get(&state.open()?.view, Summarize).await?.kept;
    let named: Vec<Sequence> = kept.snapshots().map(|taken| taken.index).collect();
    let opened = aside(move || {
        let mut all = snapshots.candidates(None, None).into_iter();
        let found = all.find(|found| named.contains(&found.id.seq))?;
        let file = File::open(&found.path).ok()?;
        let bytes = file.metadata().ok()?.len();
        Some((found.id.seq, file, bytes))
    });
    let opened = opened.await.map_err(|error| problem::internal("read a snapshot", &error))?;
    let Some((index, file, bytes)) = opened else {
        return Err(problem::not_found(
            "this instance has no snapshot yet: one is made after TARTARUS_SNAPSHOT_BYTES of journal",
        ));
    };
    let parts = stream::try_unfold(file, |file| async move {
        let read = aside(move || {
            let mut part = Vec::new();
            (&file).take(PART_BYTES).read_to_end(&mut part).map(|_| (Bytes::from(part), file))
        });
        let (part, file) = read.await.map_err(std::io::Error::other)??;
        Ok::<_, std::io::Error>((!part.is_empty()).then_some((part, file)))
    });
    let mut response = HttpResponse::Ok();
    response.content_type("application/octet-stream");
    response.insert_header((answer::INDEX, index.to_string()));
    Ok(response.body(SizedStream::new(bytes, parts)))
}

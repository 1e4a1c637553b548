//! `?at=`: which past is meant, and the windows on it.

use api::query::At;
use domain::Timestamp;
use olympus_actors::view::AwaitIndex;
use tokio::time::timeout;

use super::problem::{self, Fault};
use super::{AppState, Open, read};
use crate::house::Windows;
use crate::past::Key;

/// Entries are asked for one by one here.
const ONE: usize = 1;

/// The windows on the past that is asked for.
pub async fn windows(state: &AppState, open: &Open, at: At) -> Result<Windows, Fault> {
    let key = key(state, open, at).await?;
    let windows = state.pasts.windows(key, &open.journal).await;
    windows.map_err(|error| problem::no_past(error, at))
}

/// The last entry that has a part in it. A time means what was written until then.
async fn key(state: &AppState, open: &Open, at: At) -> Result<Key, Fault> {
    let key = match at {
        At::Sequence(sequence) => Key { sequence, now: None },
        At::Time(time) => {
            if time.0 > open.clock.now().0 {
                return Err(problem::future(at));
            }
            let source = state.pasts.source(&open.journal, ONE).await;
            let last = async { source?.last_until(time).await };
            let last = last.await.map_err(|error| problem::unread(&error))?;
            Key { sequence: last, now: Some(Timestamp(time.0)) }
        }
    };
    if key.sequence > 0 {
        applied(open, key.sequence, at).await?;
    }
    Ok(key)
}

/// Nobody sees what is not durable, in the past either.
async fn applied(open: &Open, sequence: u64, at: At) -> Result<(), Fault> {
    let seen = read::get_later(&open.view, |reply| AwaitIndex { index: 0, reply }).await?;
    if seen.index >= sequence {
        return Ok(());
    }
    let head = timeout(read::PATIENCE, open.journal.head()).await;
    let head = head.map_err(|_| problem::unread(&"the journal does not answer"))?;
    if head.map_err(|error| problem::unread(&error))?.seq < sequence {
        return Err(problem::future(at));
    }
    let applied = read::get_later(&open.view, |reply| AwaitIndex { index: sequence, reply });
    match timeout(read::PATIENCE, applied).await {
        Ok(applied) => applied.map(drop),
        Err(_) => Err(problem::not_yet(sequence)),
    }
}

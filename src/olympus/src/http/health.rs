//! `/healthz`: whether the process works. `/readyz`: whether it may be asked.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use api::Readyz;
use api::status::WitnessConflict;
use journal::Health;
use olympus_actors::Mark;
use olympus_actors::projector::AwaitLine;
use olympus_actors::view::{Summarize, Summary};
use serde_json::json;
use tokio::time::timeout;

use super::{AppState, Open, answer, read};
use crate::follow::Sight;
use crate::house::{Role, State};

/// A probe waits no longer for the shown queue: it comes again.
const PROBE_PATIENCE: Duration = Duration::from_millis(250);

/// `GET /healthz`.
pub async fn healthz(state: web::Data<AppState>) -> HttpResponse {
    match &*state.door.state() {
        State::Open(house) => match &*house.health.borrow() {
            Health::FailStop { reason } => {
                let shown = json!({"status": "failed", "message": &**reason});
                answer::body(HttpResponse::ServiceUnavailable(), &shown)
            }
            Health::Leading
            | Health::Degraded { .. }
            | Health::Suspect { .. }
            | Health::SteppedDown => answer::body(HttpResponse::Ok(), &json!({"status": "ok"})),
        },
        State::Shut(why) if state.door.is_failed() => {
            let shown = json!({"status": "failed", "message": why});
            answer::body(HttpResponse::ServiceUnavailable(), &shown)
        }
        State::Shut(_) => answer::body(HttpResponse::Ok(), &json!({"status": "ok"})),
    }
}

/// `GET /readyz`.
pub async fn readyz(state: web::Data<AppState>) -> HttpResponse {
    let shut = |why: String| Readyz {
        role: api::Role::Follower,
        epoch: 0,
        applied_index: 0,
        policy_revision: 0,
        journal_lag: 0,
        leader: None,
        durability: String::new(),
        public_key: None,
        witness: None,
        message: Some(why),
    };
    let open = match &*state.door.state() {
        State::Shut(why) => {
            return answer::body(HttpResponse::ServiceUnavailable(), &shut(why.clone()));
        }
        State::Open(_) => state.open(),
    };
    let summary = match &open {
        Ok(open) => read::get(&open.view, Summarize).await,
        Err(_) => {
            return answer::body(HttpResponse::ServiceUnavailable(), &shut("starting".into()));
        }
    };
    let (Ok(open), Ok(summary)) = (open, summary) else {
        let shown = shut("this instance is stopping".into());
        return answer::body(HttpResponse::ServiceUnavailable(), &shown);
    };
    let (role, leader, lag, message) = match &open.role {
        Role::Leader => {
            (api::Role::Leader, Some(state.url.clone()), 0, not_ready(&state, &open).await)
        }
        Role::Follower(sight) => {
            let sight = sight.borrow();
            let lag = sight.head.saturating_sub(summary.index);
            let leader = sight.live_leader().map(str::to_owned);
            (api::Role::Follower, leader, lag, not_following(&sight, lag))
        }
    };
    let mut response =
        if message.is_none() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer::mark(&mut response, mark(&summary), false);
    state.saw(summary.index);
    let shown = Readyz {
        role,
        epoch: summary.epoch,
        applied_index: summary.index,
        // What the judges enforce, which is what is asked.
        policy_revision: open.judges.court().law().revision,
        journal_lag: lag,
        leader,
        durability: state.standing.borrow().promise.as_str().to_owned(),
        public_key: Some(open.public_key.to_string()),
        witness: witness(&open),
        message,
    };
    answer::body(response, &shown)
}

fn witness(open: &Open) -> Option<WitnessConflict> {
    let (conflicts, latest) = open.witnesses.told();
    latest.map(|latest| WitnessConflict {
        conflicts,
        node: latest.node.to_string(),
        seen: latest.seen.to_string(),
        found: latest.found.map(|found| found.to_string()),
    })
}

fn mark(summary: &Summary) -> Mark {
    Mark { index: summary.index, receipt: summary.receipt }
}

/// A follower that lacks no more is caught up: what comes is read every 20 ms.
const LAG_MOST: u64 = 1_024;

/// Why a follower is not ready.
fn not_following(sight: &Sight, lag: u64) -> Option<String> {
    if let Some(trouble) = &sight.trouble {
        return Some(format!("the journal does not answer: {trouble}"));
    }
    if sight.live_leader().is_none() {
        return Some("nobody leads at the moment".into());
    }
    (lag > LAG_MOST).then(|| format!("{lag} entries of the journal are still to be read"))
}

/// Why a leader is not ready.
async fn not_ready(state: &AppState, open: &Open) -> Option<String> {
    match &*open.health.borrow() {
        Health::Leading => {}
        Health::Degraded { reason, .. } => return Some(format!("the journal refuses: {reason}")),
        Health::Suspect { reason, .. } => {
            return Some(format!("the journal does not answer: {reason}"));
        }
        Health::SteppedDown => return Some("another instance leads".into()),
        Health::FailStop { reason } => return Some(reason.to_string()),
    }
    // Later it may lag behind: it decides nothing, and is no reason to send callers elsewhere.
    if state.line_shown.load(Ordering::Relaxed) == open.epoch {
        return None;
    }
    let shown = read::get_later(&open.projector, AwaitLine);
    match timeout(PROBE_PATIENCE, shown).await {
        Ok(Ok(())) => {
            state.line_shown.store(open.epoch, Ordering::Relaxed);
            None
        }
        Ok(Err(_)) => Some("this instance is stopping".into()),
        Err(_) => Some("the queue in Redis is not current yet".into()),
    }
}

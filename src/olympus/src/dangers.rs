//! Whether Redis is still set up to keep a journal: an operator can change that under a running house.
//!
//! Owns:   what was found last.
//! Says:   a line in the log for each danger that comes or goes; all of it, for the metrics and
//!         `/readyz`.
//! Never:  stops anything: what is lost is found by the chain.
//! Fails:  a Redis that does not answer is asked the next time.
//! Proof:  `f27_redis_evicts` in `tests/tests/faults/journal.rs`.

use std::sync::Arc;
use std::time::Duration;

use journal::{Journal, RedisJournal, Standing, Trouble};
use tokio::sync::watch;

use crate::config::Config;

/// How often Redis is asked.
const EVERY: Duration = Duration::from_secs(5);

/// What endangers a journal in the Redis of this configuration, for one who has no journal open;
/// none without a Redis.
///
/// # Errors
/// It can't be asked.
pub async fn of(config: &Config) -> Option<Result<Vec<String>, Trouble>> {
    let standing = RedisJournal::new(config.redis_config()?).standing().await.transpose()?;
    Some(standing.map(|standing| standing.dangers))
}

/// Looks until this instance stops; `known` was said at the start.
pub async fn watch(
    journal: Arc<dyn Journal>,
    mut known: Vec<String>,
    standing: watch::Sender<Standing>,
    mut stop: watch::Receiver<bool>,
) {
    let mut before = Vec::new();
    loop {
        if let Ok(Some(now)) = journal.standing().await {
            let found = now.dangers.clone();
            for danger in found.iter().filter(|danger| !known.contains(danger)) {
                log::warn!(danger = danger.as_str(); "Redis endangers the journal");
            }
            for danger in before.iter().filter(|danger: &&String| !found.contains(danger)) {
                log::info!(danger = danger.as_str(); "Redis endangers the journal no more");
            }
            standing.send_replace(now);
            before.clone_from(&found);
            known = found;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.changed() => return,
        }
    }
}

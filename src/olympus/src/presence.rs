//! Which instances live: each says so in Redis, with the highest level of the journal that it reads.
//!
//! Says:   a key for each instance, which expires.
//! Never:  decides anything of the journal's; it keeps an operator from shutting an instance out that
//!         is there.
//! Fails:  a key that can't be written is written the next time.
//! Proof:  `tests/tests/live/sign.rs`.

use std::sync::Arc;
use std::time::Duration;

use domain::kept::LEVEL;
use journal::{Heartbeat, Journal, Trouble};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

/// How often an instance says that it lives.
const EVERY: Duration = Duration::from_secs(5);
/// How long that holds: three may be missed.
const TTL: Duration = Duration::from_secs(20);

/// An instance, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// How others reach it.
    pub url: String,
    /// Version of its program.
    pub version: String,
    /// The highest level that it reads.
    pub reads_level: u32,
}

/// Says that this instance lives, until it stops.
pub async fn keep(
    journal: Arc<dyn Journal>,
    boot: Uuid,
    url: String,
    mut stop: watch::Receiver<bool>,
) {
    let me = Presence { url, version: env!("CARGO_PKG_VERSION").into(), reads_level: LEVEL };
    // Texts and a number have a JSON form.
    let value = serde_json::to_string(&me).unwrap_or_default();
    loop {
        let beat = Heartbeat { node: boot.to_string(), value: value.clone(), ttl: TTL };
        if let Err(trouble) = journal.put_presence(&beat).await {
            log::debug!(error:% = trouble; "could not say that this instance lives");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.changed() => return,
        }
    }
}

/// The living instances that read less than a level.
///
/// # Errors
/// Redis can't be asked.
pub async fn below(journal: &dyn Journal, level: u32) -> Result<Vec<Presence>, Trouble> {
    let all = journal.presences().await?;
    let read = |beat: &Heartbeat| serde_json::from_str::<Presence>(&beat.value).ok();
    let mut below: Vec<Presence> = all.iter().filter_map(read).collect();
    below.retain(|presence| presence.reads_level < level);
    Ok(below)
}

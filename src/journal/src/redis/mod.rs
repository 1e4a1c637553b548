//! The journal in Redis: a stream, compared and appended to by one script.
//!
//! Owns:   five connections that don't wait for each other (appends, reads, the small periodic
//!         calls, projections, and what readers ask replicas), the scripts, what replies mean.
//! Never:  retries an append, uses pub/sub, keeps a key outside `REDIS_DB`, or believes what it
//!         reads without its hash.
//! Fails:  as [`port`](crate::port) says; [`reply`] draws the line between "not executed" and
//!         "unknown".
//! Proof:  `tests/contract.rs`, `tests/replies.rs`, `tests/refusals.rs`, `tests/kills.rs`.
//!
//! | key | holds |
//! |---|---|
//! | `tartarus:journal` | the stream; ids are `<sequence>-<first 64 bits of the chain hash>`, one field `b` |
//! | `tartarus:head` | the id of the newest entry |
//! | `tartarus:meta` | a hash: cluster, incarnation, genesis, format, and the first entry that stays |
//! | `tartarus:leader` | `<boot uuid> <advertise url>`, expires |
//! | `tartarus:node:<id>` | a node's heartbeat, expires |
//! | `tartarus:instance:<boot>` | that an instance lives, its URL, version and level; expires |
//! | `tartarus:sync` | nothing: what is written there has replicas confirm what came before |
//! | `tartarus:queue` (`REDIS_QUEUE_KEY`), `…:cursor` | the line, and the entry it shows |
//! | `themis:policies`, `…:cursor` | the policies, and the entry they show |

mod checks;
mod config;
mod link;
mod opening;
mod projection;
mod replicas;
mod reply;
mod scripts;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{FromRedisValue, RedisError, Value, cmd, pipe};
use async_trait::async_trait;
use bytes::Bytes;
use domain::ids::Sequence;
use tokio::time::{Instant, sleep};

use self::config::Keys;
pub use self::config::{Address, BadAddress, RedisConfig};
use self::link::{Connection, Link, NoLink};
use self::opening::Attempt;
use self::replicas::{READ_WAIT_MS, Reached, Replicas, WAIT_MS};
use self::reply::{Failure, describe};
use crate::chain::{Sealed, Tail};
use crate::entry::Identity;
use crate::ids::EntryId;
use crate::limits::{LEASE_TTL, TRIM_STEP};
use crate::port::{
    Appended, CheckError, Claim, Claimed, Content, Expected, Heartbeat, Journal, OpenError, Opened,
    Place, Projected, Refusal, Settled, Standing, Step, Trouble,
};

/// Pause between two tries at start.
const OPEN_PAUSE: Duration = Duration::from_millis(100);
/// Keys that one `SCAN` step looks at.
const SCAN_COUNT: u32 = 1_000;

/// See the [module](self).
pub struct RedisJournal {
    config: RedisConfig,
    keys: Keys,
    place: Place,
    appends: Link,
    reads: Link,
    calls: Link,
    projections: Link,
    /// Asks replicas for readers, one at a time.
    proofs: tokio::sync::Mutex<Link>,
    pinned: Mutex<Option<Identity>>,
    replicas: Arc<Replicas>,
}

impl fmt::Debug for RedisJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisJournal").field("config", &self.config).finish_non_exhaustive()
    }
}

impl RedisJournal {
    /// A journal at that place. Connects to nothing yet.
    pub fn new(config: RedisConfig) -> Self {
        let keys = Keys::of(&config);
        let place = Place {
            kind: "redis",
            address: config.address.to_string(),
            db: config.db,
            journal_key: keys.journal.clone(),
            queue_key: keys.queue.clone(),
        };
        Self {
            config,
            keys,
            place,
            appends: Link::default(),
            reads: Link::default(),
            calls: Link::default(),
            projections: Link::default(),
            proofs: tokio::sync::Mutex::default(),
            pinned: Mutex::default(),
            replicas: Arc::default(),
        }
    }

    fn pinned(&self) -> MutexGuard<'_, Option<Identity>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one call on a link; a link whose reply is not clean is not used again.
    async fn call<T>(
        &self,
        link: &Link,
        call: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, Trouble> {
        let mut connection = link.get(&self.config).await.map_err(|no_link| match no_link {
            NoLink::Unreachable(reason) => Trouble::Unreachable(reason),
            NoLink::Busy(reason) => Trouble::Busy(reason),
            NoLink::Configuration(text) => Trouble::Denied(text.into()),
        })?;
        match call(&mut connection).await {
            Ok(done) => Ok(done),
            Err(error) => {
                let failure = Failure::of(&error);
                match failure {
                    Failure::Unknown(_) | Failure::ReadOnly(_) | Failure::LoggedOut(_) => {
                        link.set(None).await;
                    }
                    Failure::NoScript | Failure::Busy(_) | Failure::Denied(_) => {}
                }
                Err(failure.trouble())
            }
        }
    }

    /// Runs the script of appends. A connection is not used again whose reply is not clean, or says that
    /// something is not as it was.
    async fn compare_and_append(&self, prev: &str, new: &str, bytes: &[u8]) -> Appended {
        let mut connection = match self.append_link().await {
            Ok(connection) => connection,
            Err(attempt) => return attempt.into(),
        };
        let args = [prev.as_bytes(), new.as_bytes(), bytes];
        let keys = [self.keys.journal.as_str(), &self.keys.head];
        let appended = match connection.run(&scripts::APPEND, &keys, &args).await {
            Ok(reply) => reply::appended(&reply),
            Err(error) => Failure::of(&error).appended(),
        };
        match &appended {
            Appended::Committed { .. } | Appended::Busy(_) => {}
            // What is asked now must not be asked of a server that this one has replaced.
            Appended::Conflict { .. } => {
                self.appends.set(None).await;
                if self.waits() {
                    for link in [&self.reads, &self.calls, &self.projections] {
                        link.set(None).await;
                    }
                }
            }
            Appended::Damaged(_)
            | Appended::WrongServer(_)
            | Appended::Unreachable(_)
            | Appended::Unknown(_) => self.appends.set(None).await,
        }
        appended
    }

    async fn append_link(&self) -> Result<Connection, Attempt> {
        if let Some(connection) = self.appends.live().await {
            return Ok(connection);
        }
        let (connection, _tail) = self.checked().await?;
        self.appends.set(Some(connection.clone())).await;
        Ok(connection)
    }
}

#[async_trait]
impl Journal for RedisJournal {
    fn place(&self) -> &Place {
        &self.place
    }

    async fn open(&self, expected: Option<&Expected>) -> Result<Opened, OpenError> {
        let give_up = Instant::now() + self.config.wait;
        let Place { address, .. } = &self.place;
        loop {
            let reason = match self.open_once(expected).await {
                Ok(opened) => return Ok(opened),
                Err(Attempt::Configuration(text)) => return Err(OpenError::Configuration(text)),
                Err(Attempt::Refused(refusal)) => return Err(OpenError::Refused(refusal)),
                Err(Attempt::WrongServer(text)) => {
                    return Err(OpenError::Configuration(format!(
                        "Redis at {address} takes no writes ({text}): point REDIS_ADDR at the primary"
                    )));
                }
                Err(Attempt::Later(reason)) => (reason, false),
                Err(Attempt::Busy(reason)) => (reason, true),
            };
            if Instant::now() + OPEN_PAUSE > give_up {
                let ((reason, answers), waited) = (reason, self.config.wait.as_millis());
                let Address { host, port } = &self.config.address;
                let advice = if answers {
                    "it answers, so wait for it, or raise TARTARUS_REDIS_WAIT".to_owned()
                } else {
                    format!(
                        "start it (check with `redis-cli ping`, here `redis-cli -h {host} -p {port} \
                         ping`), or correct REDIS_ADDR; in development REDIS_ADDR=\"\" keeps \
                         everything in memory"
                    )
                };
                return Err(OpenError::Unreachable(format!(
                    "Redis at {address} could not be used within {waited} ms ({reason}): {advice}"
                )));
            }
            sleep(OPEN_PAUSE).await;
        }
    }

    async fn check(&self) -> Result<Tail, CheckError> {
        let (connection, tail) = self.checked().await?;
        self.appends.set(Some(connection)).await;
        // What is asked behind it is asked of the server that was checked.
        if self.waits() {
            self.reads.set(None).await;
        }
        Ok(tail)
    }

    async fn head(&self) -> Result<EntryId, CheckError> {
        let head = self
            .call(&self.reads, async |to| {
                let reply = to.send(cmd("GET").arg(&self.keys.head)).await?;
                Ok(reply::text(&reply))
            })
            .await?;
        let head = self.id_of(head)?;
        // A journal that has lost its end may get another one.
        self.replicas.settled.fetch_min(head.seq, Ordering::Relaxed);
        Ok(head)
    }

    async fn proven_head(&self) -> Result<EntryId, CheckError> {
        if !self.waits() {
            return self.head().await;
        }
        let proofs = self.proofs.lock().await;
        match self.call(&proofs, async |to| self.reach(to, READ_WAIT_MS).await).await? {
            Reached::InStep(head) => self.id_of(head),
            Reached::Few(few) => {
                proofs.set(None).await;
                Err(Trouble::Busy(few).into())
            }
        }
    }

    async fn contains(&self, id: EntryId) -> Result<bool, Trouble> {
        self.call(&self.reads, async |to| self.has(to, id).await).await
    }

    async fn stored(
        &self,
        from: Sequence,
        most_bytes: usize,
    ) -> Result<Vec<(EntryId, Bytes)>, Trouble> {
        let (from, most) = (format!("{from}-0"), most_bytes.to_string());
        let page = self
            .call(&self.reads, async |to| {
                let args = [from.as_bytes(), most.as_bytes()];
                to.run(&scripts::READ, &[&self.keys.journal], &args).await
            })
            .await?;
        let strange = || Trouble::Denied("an unexpected reply to a read".into());
        let mut entries = entries(page).ok_or_else(strange)?;
        // Nobody sees what would be gone if a replica took over now.
        if self.waits()
            && let Some((last, _)) = entries.last()
        {
            let settled = self.replicas.settled.load(Ordering::Relaxed);
            if last.seq > settled && !self.is_settled(*last).await? {
                entries.retain(|(id, _)| id.seq <= settled);
            }
        }
        Ok(entries)
    }

    async fn append(&self, sealed: &Sealed) -> Appended {
        let (prev, new) = (sealed.prev_id().to_string(), sealed.id().to_string());
        self.compare_and_append(&prev, &new, sealed.bytes()).await
    }

    async fn confirm(&self, committed: EntryId, whole: bool) -> Appended {
        // Behind no entry at all: it is there, or it is not.
        let there = self.compare_and_append("", &committed.to_string(), &[]).await;
        if !matches!(there, Appended::Committed { .. }) {
            return there;
        }
        if !whole {
            return if self.waits() { self.confirm_by_replicas(committed).await } else { there };
        }
        // Where it is gone by now, the next one is checked before it appends.
        let Some(mut connection) = self.appends.live().await else { return there };
        match self.found(&mut connection).await {
            Ok(_) => there,
            Err(failure) => {
                self.appends.set(None).await;
                failure.appended()
            }
        }
    }

    async fn trim(&self, first: Sequence, logged: EntryId) -> Result<Sequence, Trouble> {
        self.may_leave(first, logged).await?;
        let args = [first.to_string(), logged.to_string(), TRIM_STEP.to_string()];
        let args = [args[0].as_bytes(), args[1].as_bytes(), args[2].as_bytes()];
        let keys = [self.keys.journal.as_str(), &self.keys.meta];
        let reply =
            self.call(&self.calls, async |to| to.run(&scripts::TRIM, &keys, &args).await).await?;
        match reply::texts(&reply).as_slice() {
            [Some(oldest), Some(seq)] if oldest == "OLDEST" => seq
                .parse()
                .map_err(|_| Trouble::Denied(format!("an unexpected reply: {seq:?}").into())),
            strange => Err(Trouble::Denied(format!("an unexpected reply: {strange:?}").into())),
        }
    }

    async fn settle(&self, appended: &Sealed) -> Settled {
        if !self.waits() {
            return Settled::Durable;
        }
        let mut connection = match self.append_link().await {
            Ok(connection) => connection,
            // What is wrong is met where it is to be appended again.
            Err(Attempt::Refused(_)) => return Settled::Gone,
            Err(attempt) => {
                return Settled::NotYet(CheckError::from(attempt).to_string().into());
            }
        };
        let settled = self.settle_by(&mut connection, appended.id(), WAIT_MS).await;
        if !matches!(settled, Ok(Settled::Durable)) {
            // The address may have moved.
            self.appends.set(None).await;
            self.reads.set(None).await;
        }
        settled.unwrap_or_else(|error| Settled::NotYet(describe(&error).into()))
    }

    fn beside(&self) -> Option<Arc<dyn Journal>> {
        let other = Self::new(self.config.clone());
        Some(Arc::new(Self { replicas: self.replicas.clone(), ..other }))
    }

    async fn claim(&self, claim: &Claim, from: Option<&Claim>) -> Result<Claimed, Trouble> {
        let (me, ttl) = (claim.to_string(), LEASE_TTL.as_millis().to_string());
        let loses = from.map(Claim::to_string).unwrap_or_default();
        let args = [me.as_bytes(), ttl.as_bytes(), loses.as_bytes()];
        let reply = self
            .call(&self.calls, async |to| {
                to.run(&scripts::CLAIM, &[&self.keys.leader], &args).await
            })
            .await?;
        match reply::texts(&reply).as_slice() {
            [Some(held)] if held == "HELD" => Ok(Claimed::Held),
            [Some(_other), Some(holder), Some(left)] => Ok(Claimed::Other {
                holder: holder.clone(),
                left: Duration::from_millis(left.parse().unwrap_or(0)),
            }),
            strange => Err(Trouble::Denied(format!("an unexpected reply: {strange:?}").into())),
        }
    }

    async fn release(&self, claim: &Claim) -> Result<(), Trouble> {
        let me = claim.to_string();
        self.call(&self.calls, async |to| {
            to.run(&scripts::RELEASE, &[&self.keys.leader], &[me.as_bytes()]).await
        })
        .await
        .map(|_ok| ())
    }

    async fn leader(&self) -> Result<Option<Claim>, Trouble> {
        let text = self
            .call(&self.calls, async |to| {
                let reply = to.send(cmd("GET").arg(&self.keys.leader)).await?;
                Ok(reply::text(&reply))
            })
            .await?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    async fn put_heartbeats(&self, beats: &[Heartbeat]) -> Result<(), Trouble> {
        self.put_beats(&self.keys.node, beats).await
    }

    async fn put_presence(&self, beat: &Heartbeat) -> Result<(), Trouble> {
        self.put_beats(&self.keys.instance, std::slice::from_ref(beat)).await
    }

    async fn presences(&self) -> Result<Vec<Heartbeat>, Trouble> {
        self.beats(&self.keys.instance).await
    }

    async fn standing(&self) -> Result<Option<Standing>, Trouble> {
        let tier = self.config.durability;
        self.call(&self.calls, async |to| checks::standing(to, tier).await).await.map(Some)
    }

    async fn drop_heartbeat(&self, node: &str) -> Result<(), Trouble> {
        let key = format!("{}{node}", self.keys.node);
        self.call(&self.calls, async |to| to.send(cmd("DEL").arg(key)).await).await.map(|_n| ())
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, Trouble> {
        self.beats(&self.keys.node).await
    }

    async fn project(&self, step: &Step) -> Result<Projected, Trouble> {
        self.call(&self.projections, async |to| projection::project(to, &self.keys, step).await)
            .await
    }

    async fn rebuild(&self, content: Content, at: EntryId) -> Result<(), Trouble> {
        let built = self
            .call(&self.projections, async |to| {
                projection::rebuild(to, &self.keys, content, at).await
            })
            .await?;
        built.map_err(Trouble::Busy)
    }
}

impl RedisJournal {
    /// The entry that the head names.
    fn id_of(&self, head: Option<String>) -> Result<EntryId, CheckError> {
        let key = self.keys.head.clone();
        match head {
            Some(found) => found
                .parse()
                .map_err(|_| Refusal::Value { key, found, wanted: "the id of an entry" }.into()),
            None => Err(Refusal::Key { key, found: "missing".into(), wanted: "string" }.into()),
        }
    }

    async fn put_beats(&self, prefix: &str, beats: &[Heartbeat]) -> Result<(), Trouble> {
        if beats.is_empty() {
            return Ok(());
        }
        let mut all = pipe();
        for Heartbeat { node, value, ttl } in beats {
            let key = format!("{prefix}{node}");
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
            all.cmd("SET").arg(key).arg(value).arg("PX").arg(ttl_ms).ignore();
        }
        self.call(&self.calls, async |to| to.send_all(&all).await).await.map(|_ok| ())
    }

    /// All that is under a prefix, by name.
    async fn beats(&self, prefix: &str) -> Result<Vec<Heartbeat>, Trouble> {
        let pattern = format!("{}*", escaped(prefix));
        let mut beats = self
            .call(&self.calls, async |to| {
                let mut beats = Vec::new();
                let mut cursor = String::from("0");
                loop {
                    let mut scan = cmd("SCAN");
                    scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
                    scan.arg("TYPE").arg("string");
                    let reply = to.send(&scan).await?;
                    let (next, keys) = <(String, Vec<Vec<u8>>)>::from_redis_value(reply)?;
                    if !keys.is_empty() {
                        let mut get = pipe();
                        for key in &keys {
                            get.cmd("GET").arg(key).cmd("PTTL").arg(key);
                        }
                        let values = to.send_all(&get).await?;
                        for (key, pair) in keys.iter().zip(values.chunks_exact(2)) {
                            if let [value, left] = pair {
                                let value = reply::text(value);
                                let left_ms = i64::from_redis_value_ref(left)?;
                                let key = String::from_utf8_lossy(key);
                                beats.extend(beat(prefix, &key, value, left_ms));
                            }
                        }
                    }
                    if next == "0" {
                        return Ok(beats);
                    }
                    cursor = next;
                }
            })
            .await?;
        // SCAN may show a key twice.
        beats.sort_by(|a, b| a.node.cmp(&b.node));
        beats.dedup_by(|a, b| a.node == b.node);
        Ok(beats)
    }
}

/// The entries of a page, if it is one.
fn entries(page: Value) -> Option<Vec<(EntryId, Bytes)>> {
    let Value::Array(items) = page else { return None };
    let mut entries = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(id), Some(body)) = (items.next(), items.next()) {
        let (Value::BulkString(id), Value::BulkString(body)) = (id, body) else { return None };
        let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok())?;
        entries.push((id, body.into()));
    }
    Some(entries)
}

/// A heartbeat as its key has it; none where it expired in between.
fn beat(prefix: &str, key: &str, value: Option<String>, left_ms: i64) -> Option<Heartbeat> {
    let ttl = Duration::from_millis(u64::try_from(left_ms).ok()?);
    Some(Heartbeat { node: key.strip_prefix(prefix)?.into(), value: value?, ttl })
}

/// A prefix as a pattern that matches nothing but itself.
fn escaped(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len());
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

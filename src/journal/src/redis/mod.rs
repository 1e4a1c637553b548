//! The journal in Redis: a stream, compared and appended to by one script.
//!
//! Owns:   four connections that don't wait for each other (appends, reads, the small periodic
//!         calls, projections), the scripts, what replies mean.
//! Never:  retries an append, uses pub/sub, keeps a key outside `REDIS_DB`, or believes what it
//!         reads without its hash.
//! Fails:  as [`port`](crate::port) says; [`reply`] draws the line between "not executed" and
//!         "unknown".
//! Proof:  `tests/contract.rs`, `tests/refusals.rs`, `tests/writer.rs`, `tests/kills.rs`.
//!
//! | key | holds |
//! |---|---|
//! | `tartarus:journal` | the stream; ids are `<sequence>-<first 64 bits of the chain hash>`, one field `b` |
//! | `tartarus:head` | the id of the newest entry |
//! | `tartarus:meta` | a hash: cluster, incarnation, genesis, format |
//! | `tartarus:leader` | `<boot uuid> <advertise url>`, expires |
//! | `tartarus:node:<id>` | a node's heartbeat, expires |
//! | `tartarus:sync` | the last entry that replicas were waited for |
//! | `tartarus:queue` (`REDIS_QUEUE_KEY`), `…:cursor` | the line, and the entry it shows |
//! | `themis:policies`, `…:cursor` | the policies, and the entry they show |

mod checks;
mod config;
mod link;
mod projection;
mod reply;
mod scripts;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{FromRedisValue, RedisError, Value, cmd, pipe};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use self::checks::{CheckFailure, FORMAT, Found, Preflight, PreflightFailure};
use self::config::Keys;
pub use self::config::{Address, BadAddress, RedisConfig, Secret};
use self::link::{Connection, Link, NoLink};
use self::reply::{Failure, describe};
use crate::chain::{Cursor, Sealed, Tail, belongs, genesis, tail_of};
use crate::entry::{DamagedEntry, Entry, EntryFault, Identity};
use crate::ids::{ClusterId, EntryId};
use crate::limits::{LEASE_TTL, PAGE_BYTES};
use crate::port::{
    Appended, CheckError, Claim, Claimed, Claiming, Content, Expected, Heartbeat, Journal,
    OpenError, Opened, Page, Place, Projected, Promise, ReadError, Refusal, Refused, Settled, Step,
    Trouble,
};

/// Pause between two tries at start.
const OPEN_PAUSE: Duration = Duration::from_millis(100);
/// How long one `WAIT` waits for replicas, in milliseconds: well below the reply timeout.
const WAIT_MS: u32 = 500;
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
    pinned: Mutex<Option<Identity>>,
    replicas: AtomicU32,
    /// The entry whose append this very append connection carried: `WAIT` speaks of writes of its
    /// own connection only.
    carried: Mutex<Option<EntryId>>,
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
            pinned: Mutex::default(),
            replicas: AtomicU32::new(0),
            carried: Mutex::default(),
        }
    }

    fn pinned(&self) -> MutexGuard<'_, Option<Identity>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carried(&self) -> MutexGuard<'_, Option<EntryId>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn where_it_is(&self) -> String {
        format!(
            "Redis at {}, db {}, key {}",
            self.config.address, self.config.db, self.keys.journal
        )
    }

    /// Runs one call on a link; a link whose reply is not clean is not used again.
    async fn call<T>(
        &self,
        link: &Link,
        call: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, Trouble> {
        let mut connection = link.get(&self.config).await.map_err(|no_link| match no_link {
            NoLink::Unreachable(reason) => Trouble::Unreachable(reason),
            NoLink::Configuration(text) => Trouble::Denied(text.into()),
        })?;
        match call(&mut connection).await {
            Ok(done) => Ok(done),
            Err(error) => {
                let failure = Failure::of(&error);
                match failure {
                    Failure::Unknown(_) | Failure::ReadOnly(_) => link.set(None).await,
                    Failure::NoScript | Failure::Busy(_) | Failure::Denied(_) => {}
                }
                Err(failure.trouble())
            }
        }
    }

    async fn open_once(&self, expected: Option<&Expected>) -> Result<Opened, Attempt> {
        let mut connection = Connection::open(&self.config).await?;
        let Preflight { version, promise, warnings } =
            checks::preflight(&mut connection, &self.config).await?;
        let (found, genesis) = match checks::keys(&mut connection, &self.keys).await? {
            Some(found) => (found, false),
            None => self.begin(&mut connection, expected).await?,
        };
        let cluster = found.identity.cluster;
        if let Some(Expected { cluster: expected, source }) =
            expected.filter(|expected| expected.cluster != cluster)
        {
            return Err(Attempt::Refused(Refusal::Foreign {
                place: self.where_it_is(),
                expected: *expected,
                found: cluster,
                expected_by: source.clone(),
            }));
        }
        let tail = self.tail(&mut connection, &found).await?;
        *self.pinned() = Some(found.identity);
        if let Promise::Replicated(replicas) = promise {
            self.replicas.store(replicas, Ordering::Relaxed);
        }
        *self.carried() = None;
        self.appends.set(Some(connection)).await;
        let first_seq = found.first.seq;
        Ok(Opened { tail, first_seq, genesis, promise, warnings, server_version: version })
    }

    async fn begin(
        &self,
        connection: &mut Connection,
        expected: Option<&Expected>,
    ) -> Result<(Found, bool), Attempt> {
        if let Some(Expected { cluster, source }) = expected {
            return Err(Attempt::Refused(Refusal::Empty {
                place: self.where_it_is(),
                expected: *cluster,
                expected_by: source.clone(),
            }));
        }
        let identity = Identity { cluster: ClusterId(Uuid::new_v4()), incarnation: 1 };
        let first = genesis(identity, Uuid::nil(), 0);
        let Keys { journal, head, meta, .. } = &self.keys;
        let id = first.id().to_string();
        let cluster = identity.cluster.to_string();
        let incarnation = identity.incarnation.to_string();
        let format = FORMAT.to_string();
        let args = [
            id.as_bytes(),
            first.bytes(),
            cluster.as_bytes(),
            incarnation.as_bytes(),
            format.as_bytes(),
        ];
        let reply = connection.run(&scripts::GENESIS, &[journal, head, meta], &args).await?;
        // "EXISTS": another instance, or an earlier try whose reply was lost, was faster.
        let genesis = String::from_redis_value(reply).is_ok_and(|text| text == "OK");
        match checks::keys(connection, &self.keys).await? {
            Some(found) => Ok((found, genesis)),
            None => Err(Attempt::Later("the journal vanished while it was begun".into())),
        }
    }

    /// Reads the newest entry, which proves its own hash.
    async fn tail(&self, connection: &mut Connection, found: &Found) -> Result<Tail, Attempt> {
        let id = found.head.to_string();
        let reply =
            connection.send(cmd("XRANGE").arg(&self.keys.journal).arg(&id).arg(&id)).await?;
        let Some(body) = only_body(reply) else {
            // Somebody appended or trimmed in between: look again.
            return Err(Attempt::Later("the journal changed while it was opened".into()));
        };
        let damaged = |fault| DamagedEntry { id: found.head, fault };
        let entry = Entry::parse(found.head, body).map_err(Refusal::from)?;
        belongs(found.identity, entry.header().identity)
            .map_err(|fault: EntryFault| Refusal::from(damaged(fault)))?;
        Ok(tail_of(&entry))
    }

    /// A new connection that may append: the server is a primary, and the journal is whole and
    /// the same as at start.
    async fn checked(&self) -> Result<(Connection, Tail), Attempt> {
        let mut connection = Connection::open(&self.config).await?;
        if !checks::is_primary(&mut connection).await? {
            return Err(Attempt::WrongServer("ROLE is not master".into()));
        }
        let found = checks::keys(&mut connection, &self.keys).await?.ok_or_else(|| {
            let (key, found) = (self.keys.journal.clone(), "missing".into());
            Refusal::Key { key, found, wanted: "stream" }
        })?;
        if let Some(pinned) = *self.pinned()
            && pinned != found.identity
        {
            return Err(Attempt::Refused(Refusal::Swapped { pinned, found: found.identity }));
        }
        let tail = self.tail(&mut connection, &found).await?;
        Ok((connection, tail))
    }

    async fn append_link(&self) -> Result<Connection, Attempt> {
        if let Some(connection) = self.appends.live().await {
            return Ok(connection);
        }
        let (connection, _tail) = self.checked().await?;
        *self.carried() = None;
        self.appends.set(Some(connection.clone())).await;
        Ok(connection)
    }
}

/// Why a try to open or check did not succeed.
enum Attempt {
    /// Nobody answers.
    Later(Arc<str>),
    /// The server answers, and refuses for now.
    Busy(Arc<str>),
    WrongServer(Arc<str>),
    Configuration(String),
    Refused(Refusal),
}

impl From<NoLink> for Attempt {
    fn from(no_link: NoLink) -> Self {
        match no_link {
            NoLink::Unreachable(reason) => Self::Later(reason),
            NoLink::Configuration(text) => Self::Configuration(text),
        }
    }
}

impl From<RedisError> for Attempt {
    fn from(error: RedisError) -> Self {
        match Failure::of(&error) {
            Failure::ReadOnly(text) => Self::WrongServer(text),
            Failure::Denied(text) => Self::Configuration(format!(
                "Redis refuses a command of Tartarus ({text}): correct the ACL of its user, or REDIS_USERNAME and REDIS_PASSWORD"
            )),
            Failure::Busy(text) => Self::Busy(text),
            Failure::Unknown(text) => Self::Later(text),
            Failure::NoScript => Self::Busy(describe(&error).into()),
        }
    }
}

impl From<Refusal> for Attempt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<CheckFailure> for Attempt {
    fn from(failure: CheckFailure) -> Self {
        match failure {
            CheckFailure::Redis(error) => error.into(),
            CheckFailure::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<PreflightFailure> for Attempt {
    fn from(failure: PreflightFailure) -> Self {
        match failure {
            PreflightFailure::Redis(error) => error.into(),
            PreflightFailure::Refused(OpenError::Configuration(text)) => Self::Configuration(text),
            PreflightFailure::Refused(OpenError::Unreachable(text)) => Self::Later(text.into()),
            PreflightFailure::Refused(OpenError::Refused(refusal)) => Self::Refused(refusal),
        }
    }
}

impl From<Attempt> for CheckError {
    fn from(attempt: Attempt) -> Self {
        match attempt {
            Attempt::Later(reason) => Trouble::Unreachable(reason).into(),
            Attempt::Busy(reason) => Trouble::Busy(reason).into(),
            Attempt::WrongServer(reason) => Trouble::WrongServer(reason).into(),
            Attempt::Configuration(text) => Trouble::Denied(text.into()).into(),
            Attempt::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<Attempt> for Appended {
    fn from(attempt: Attempt) -> Self {
        match attempt {
            Attempt::Later(reason) => Self::Unreachable(reason),
            Attempt::Busy(reason) => Self::Busy(reason),
            Attempt::WrongServer(reason) => Self::WrongServer(reason),
            Attempt::Configuration(text) => Self::Unreachable(text.into()),
            Attempt::Refused(refusal) => Self::Damaged(Refused::Check(Arc::new(refusal))),
        }
    }
}

/// The bytes of the one entry in an `XRANGE` reply; empty where it has another shape than ours.
fn only_body(reply: Value) -> Option<Bytes> {
    let mut entries = Vec::<(String, Vec<Vec<u8>>)>::from_redis_value(reply).ok()?;
    let (_, mut fields) = entries.pop()?;
    match (fields.len(), fields.first().map(Vec::as_slice)) {
        (2, Some(b"b")) => fields.pop().map(Bytes::from),
        (_, _) => Some(Bytes::new()),
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
                Err(Attempt::Later(reason) | Attempt::Busy(reason)) => reason,
            };
            if Instant::now() + OPEN_PAUSE > give_up {
                let waited = self.config.wait.as_millis();
                let Address { host, port } = &self.config.address;
                return Err(OpenError::Unreachable(format!(
                    "Redis at {address} could not be used within {waited} ms ({reason}): start it \
                     (check with `redis-cli -h {host} -p {port} ping`), or correct REDIS_ADDR"
                )));
            }
            sleep(OPEN_PAUSE).await;
        }
    }

    async fn check(&self) -> Result<Tail, CheckError> {
        let (connection, tail) = self.checked().await?;
        *self.carried() = None;
        self.appends.set(Some(connection)).await;
        Ok(tail)
    }

    async fn head(&self) -> Result<EntryId, CheckError> {
        let reply = self
            .call(&self.reads, async |to| to.send(cmd("GET").arg(&self.keys.head)).await)
            .await?;
        let key = self.keys.head.clone();
        match Option::<String>::from_redis_value(reply) {
            Ok(Some(found)) => found
                .parse()
                .map_err(|_| Refusal::Value { key, found, wanted: "the id of an entry" }.into()),
            Ok(None) | Err(_) => {
                Err(Refusal::Key { key, found: "missing".into(), wanted: "string" }.into())
            }
        }
    }

    async fn contains(&self, id: EntryId) -> Result<bool, Trouble> {
        let id = id.to_string();
        let reply = self
            .call(&self.reads, async |to| {
                to.send(cmd("XRANGE").arg(&self.keys.journal).arg(&id).arg(&id)).await
            })
            .await?;
        Ok(matches!(reply, Value::Array(entries) if !entries.is_empty()))
    }

    async fn read(&self, cursor: &Cursor) -> Result<Page, ReadError> {
        let from = format!("{}-0", cursor.seq().saturating_add(1));
        let most = PAGE_BYTES.to_string();
        let reply = self
            .call(&self.reads, async |to| {
                let args = [from.as_bytes(), most.as_bytes()];
                to.run(&scripts::READ, &[&self.keys.journal], &args).await
            })
            .await?;
        let strange = || Trouble::Denied("an unexpected reply to a read".into());
        let Value::Array(items) = reply else { return Err(strange().into()) };
        let mut next = *cursor;
        let mut entries = Vec::with_capacity(items.len() / 2);
        let mut items = items.into_iter();
        while let (Some(id), Some(body)) = (items.next(), items.next()) {
            let (Value::BulkString(id), Value::BulkString(body)) = (id, body) else {
                return Err(strange().into());
            };
            let id: EntryId =
                std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok()).ok_or_else(strange)?;
            entries.push(next.accept(id, body.into())?);
        }
        Ok(Page { entries, next })
    }

    async fn append(&self, sealed: &Sealed) -> Appended {
        let mut connection = match self.append_link().await {
            Ok(connection) => connection,
            Err(attempt) => return attempt.into(),
        };
        let (prev, new) = (sealed.prev_id().to_string(), sealed.id().to_string());
        let args = [prev.as_bytes(), new.as_bytes(), sealed.bytes()];
        let keys = [self.keys.journal.as_str(), &self.keys.head];
        let appended = match connection.run(&scripts::APPEND, &keys, &args).await {
            Ok(reply) => reply::appended(&reply),
            Err(error) => Failure::of(&error).appended(),
        };
        match &appended {
            Appended::Committed { duplicate: false } => *self.carried() = Some(sealed.id()),
            Appended::Committed { duplicate: true } | Appended::Busy(_) => {}
            Appended::Conflict { .. }
            | Appended::Damaged(_)
            | Appended::WrongServer(_)
            | Appended::Unreachable(_)
            | Appended::Unknown(_) => self.appends.set(None).await,
        }
        appended
    }

    async fn settle(&self, appended: &Sealed) -> Settled {
        let replicas = self.replicas.load(Ordering::Relaxed);
        if replicas == 0 {
            return Settled::Durable;
        }
        let mut connection = match self.append_link().await {
            Ok(connection) => connection,
            Err(attempt) => {
                return Settled::NotYet(CheckError::from(attempt).to_string().into());
            }
        };
        let mut wait = pipe();
        if *self.carried() != Some(appended.id()) {
            // The entry came by an earlier connection: a write behind it, on this one, is waited for.
            wait.cmd("SET").arg(&self.keys.sync).arg(appended.id().to_string()).ignore();
        }
        wait.cmd("WAIT").arg(replicas).arg(WAIT_MS);
        match connection.send_all(&wait).await {
            Ok(replies) => {
                let reached = replies.into_iter().next_back().map(u32::from_redis_value);
                match reached {
                    Some(Ok(reached)) if reached >= replicas => Settled::Durable,
                    Some(Ok(reached)) => Settled::NotYet(
                        format!("{reached} of {replicas} replicas have the entry").into(),
                    ),
                    Some(Err(_)) | None => Settled::NotYet("an unexpected reply to WAIT".into()),
                }
            }
            Err(error) => {
                self.appends.set(None).await;
                Settled::NotYet(describe(&error).into())
            }
        }
    }

    async fn claim(&self, claim: &Claim, how: Claiming) -> Result<Claimed, Trouble> {
        let (me, ttl) = (claim.to_string(), LEASE_TTL.as_millis().to_string());
        let how = match how {
            Claiming::Acquire => "acquire",
            Claiming::Renew => "renew",
        };
        let args = [me.as_bytes(), claim.url.as_bytes(), ttl.as_bytes(), how.as_bytes()];
        let reply = self
            .call(&self.calls, async |to| {
                let reply = to.run(&scripts::CLAIM, &[&self.keys.leader], &args).await?;
                Ok(Vec::<String>::from_redis_value(reply)?)
            })
            .await?;
        Ok(match reply.as_slice() {
            [_other, holder, left] => Claimed::Other {
                holder: holder.clone(),
                left: Duration::from_millis(left.parse().unwrap_or(0)),
            },
            _ => Claimed::Held,
        })
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
                Ok(Option::<String>::from_redis_value(reply)?)
            })
            .await?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    async fn put_heartbeats(&self, beats: &[Heartbeat]) -> Result<(), Trouble> {
        if beats.is_empty() {
            return Ok(());
        }
        let mut all = pipe();
        for Heartbeat { node, value, ttl } in beats {
            let key = format!("{}{node}", self.keys.node);
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
            all.cmd("SET").arg(key).arg(value).arg("PX").arg(ttl_ms).ignore();
        }
        self.call(&self.calls, async |to| to.send_all(&all).await).await.map(|_ok| ())
    }

    async fn drop_heartbeat(&self, node: &str) -> Result<(), Trouble> {
        let key = format!("{}{node}", self.keys.node);
        self.call(&self.calls, async |to| to.send(cmd("DEL").arg(key)).await).await.map(|_n| ())
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, Trouble> {
        let pattern = format!("{}*", escaped(&self.keys.node));
        let mut beats = self
            .call(&self.calls, async |to| {
                let mut beats = Vec::new();
                let mut cursor = String::from("0");
                loop {
                    let mut scan = cmd("SCAN");
                    scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
                    scan.arg("TYPE").arg("string");
                    let reply = to.send(&scan).await?;
                    let (next, keys) = <(String, Vec<String>)>::from_redis_value(reply)?;
                    if !keys.is_empty() {
                        let mut get = pipe();
                        for key in &keys {
                            get.cmd("GET").arg(key).cmd("PTTL").arg(key);
                        }
                        let values = to.send_all(&get).await?;
                        for (key, pair) in keys.iter().zip(values.chunks_exact(2)) {
                            if let [value, left] = pair {
                                let value = Option::<String>::from_redis_value_ref(value)?;
                                let left_ms = i64::from_redis_value_ref(left)?;
                                beats.extend(self.beat(key, value, left_ms));
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
    /// A heartbeat as its key has it; none where it expired in between.
    fn beat(&self, key: &str, value: Option<String>, left_ms: i64) -> Option<Heartbeat> {
        let ttl = Duration::from_millis(u64::try_from(left_ms).ok()?);
        let node = key.strip_prefix(&self.keys.node)?.into();
        Some(Heartbeat { node, value: value?, ttl })
    }
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

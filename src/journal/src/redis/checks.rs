//! What is asked of a Redis before it is trusted: `docs/journal.md` 6 (on every connection that will
//! append) and 7 (at start).
//!
//! Owns:   the questions, and which answers refuse, warn or pass.
//! Never:  writes.
//! Proof:  `tests/refusals.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ::redis::{FromRedisValue, RedisError, Value, cmd};

use super::config::{Keys, RedisConfig};
use super::link::Connection;
use super::reply::{self, Failure, describe};
use super::scripts;
use crate::entry::Identity;
use crate::ids::{ClusterId, EntryId};
use crate::limits::MIN_PROTO_MAX_BULK_LEN;
use crate::port::{Appended, Durability, OpenError, Promise, Refusal, Refused, Standing};

/// Format of the keys of a journal, as `meta` says it.
pub(super) const FORMAT: u32 = 1;
/// A clock this far from Redis' own is worth a warning, in milliseconds.
const CLOCK_SKEW_MS: u128 = 500;

/// What the journal's keys hold, found consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) identity: Identity,
    pub(super) first: EntryId,
    pub(super) head: EntryId,
}

/// Why the keys were not accepted.
#[derive(Debug)]
pub(super) enum CheckFailure {
    Redis(RedisError),
    Refused(Refusal),
}

impl CheckFailure {
    /// As the outcome of an append, of which this is asked in its place.
    pub(super) fn appended(self) -> Appended {
        match self {
            Self::Redis(error) => Failure::of(&error).appended(),
            Self::Refused(refusal) => Appended::Damaged(Refused::Check(Arc::new(refusal))),
        }
    }
}

impl From<RedisError> for CheckFailure {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<Refusal> for CheckFailure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Reads the journal's keys at one instant. None when there are none at all.
pub(super) async fn keys(
    connection: &mut Connection,
    keys: &Keys,
) -> Result<Option<Found>, CheckFailure> {
    let names = [keys.journal.as_str(), &keys.head, &keys.meta];
    let reply = connection.run(&scripts::CHECK, &names, &[]).await?;
    let Ok([t0, t1, t2, head, last, length, first, cluster, incarnation, format, floor]) =
        <[Option<String>; 11]>::try_from(reply::texts(&reply))
    else {
        let wanted = "the answer of the check script";
        return Err(
            Refusal::Value { key: keys.journal.clone(), found: String::new(), wanted }.into()
        );
    };
    let types = [t0, t1, t2].map(Option::unwrap_or_default);
    if types.iter().all(|kind| kind == "none") {
        return Ok(None);
    }
    for ((key, found), wanted) in names.into_iter().zip(types).zip(["stream", "string", "hash"]) {
        if found != wanted {
            let found = if found == "none" { "missing".into() } else { format!("a {found}") };
            return Err(Refusal::Key { key: key.into(), found, wanted }.into());
        }
    }
    if format.as_deref() != Some(FORMAT.to_string().as_str()) {
        let found = format.unwrap_or_default();
        let newer = found.parse::<u32>().is_ok_and(|found| found > FORMAT);
        return Err(match newer {
            true => Refusal::TooNew { found, known: FORMAT },
            false => Refusal::Value { key: keys.meta.clone(), found, wanted: "a known format" },
        }
        .into());
    }
    let identity = Identity {
        cluster: ClusterId(parsed(&keys.meta, cluster, "the UUID of a cluster")?),
        incarnation: parsed(&keys.meta, incarnation, "an incarnation")?,
    };
    let head: EntryId = parsed(&keys.head, head, "the id of an entry")?;
    let last: EntryId = parsed(&keys.journal, last, "a stream with the id of an entry")?;
    let length: u64 = parsed(&keys.journal, length, "a stream with a length")?;
    if length == 0 {
        let found = "an empty stream".into();
        return Err(
            Refusal::Key { key: keys.journal.clone(), found, wanted: "stream of entries" }.into()
        );
    }
    let first: EntryId = parsed(&keys.journal, first, "a stream with the id of an entry")?;
    if last != head {
        return Err(Refusal::HeadDiffers { key: keys.head.clone(), head, last }.into());
    }
    if last.seq.checked_sub(first.seq).and_then(|span| span.checked_add(1)) != Some(length) {
        return Err(Refusal::Hole { first, last, length }.into());
    }
    let floor = match floor {
        Some(floor) => parsed(&keys.meta, Some(floor), "the first entry that stays")?,
        None => 1,
    };
    if first.seq > floor {
        return Err(Refusal::Trimmed { first, floor }.into());
    }
    Ok(Some(Found { identity, first, head }))
}

fn parsed<T: std::str::FromStr>(
    key: &str,
    found: Option<String>,
    wanted: &'static str,
) -> Result<T, Refusal> {
    let found = found.unwrap_or_default();
    found.parse().map_err(|_| Refusal::Value { key: key.into(), found, wanted })
}

/// Whether the server is a primary: what `ROLE` says.
pub(super) async fn is_primary(connection: &mut Connection) -> Result<bool, RedisError> {
    let reply = connection.send(&cmd("ROLE")).await?;
    let Value::Array(parts) = reply else { return Ok(false) };
    Ok(parts.first().and_then(reply::text).as_deref() == Some("master"))
}

/// What a server promises, and what an operator should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preflight {
    pub(super) version: String,
    pub(super) promise: Promise,
    pub(super) warnings: Vec<String>,
}

/// The sections of `INFO` that are read here.
const SECTIONS: [&str; 7] =
    ["server", "replication", "persistence", "memory", "cluster", "stats", "errorstats"];

/// Asks the server what it is and how it is set up.
///
/// Refused without `TARTARUS_DURABILITY`: the version, the role, cluster mode. With it, also
/// whatever breaks the tier. All else is a warning.
pub(super) async fn preflight(
    connection: &mut Connection,
    config: &RedisConfig,
) -> Result<Preflight, PreflightFailure> {
    let at = &config.address;
    let info = info(connection).await?;
    let say = |key: &str| info.get(key).map_or("", String::as_str);

    let version = say("redis_version").to_owned();
    let major: u32 = version.split('.').next().and_then(|m| m.parse().ok()).unwrap_or(0);
    if major < 7 {
        return refuse(format!(
            "Redis at {at} is version {version:?}: Tartarus needs Redis 7.0 or newer; upgrade it"
        ));
    }
    if say("cluster_enabled") == "1" {
        return refuse(format!(
            "Redis at {at} runs in cluster mode, in which a journal of several keys cannot be \
             written at once: use a Redis with `cluster-enabled no`"
        ));
    }
    if say("role") != "master" {
        return refuse(format!(
            "Redis at {at} is a replica of {}:{}: point REDIS_ADDR at the primary",
            say("master_host"),
            say("master_port")
        ));
    }

    let settings = settings(connection).await?;
    let replicas = replicas(&info);
    let faults = tier_faults(&info, settings.as_ref(), replicas, config.durability);
    let mut warnings = hints(&info, settings.as_ref(), replicas, config.durability);
    warnings.extend(clock_skew(connection).await?);
    match (config.durability, faults.is_empty()) {
        (Some(tier), false) => {
            let tier = tier.as_str();
            return refuse(format!(
                "TARTARUS_DURABILITY is {tier}, and Redis at {at} does not meet it: {}",
                faults.join("; ")
            ));
        }
        (None, false) => warnings.extend(faults),
        (Some(_) | None, true) => {}
    }
    let promise = promise(&info, settings.as_ref(), replicas, config.durability);
    Ok(Preflight { version, promise, warnings })
}

/// What breaks the tier by now, and what is promised nevertheless.
pub(super) async fn standing(
    connection: &mut Connection,
    tier: Option<Durability>,
) -> Result<Standing, RedisError> {
    let (info, settings) = (info(connection).await?, settings(connection).await?);
    let replicas = replicas(&info);
    let dangers = tier_faults(&info, settings.as_ref(), replicas, tier);
    let met = tier.filter(|_| dangers.is_empty());
    Ok(Standing { promise: promise(&info, settings.as_ref(), replicas, met), dangers })
}

fn replicas(info: &Pairs) -> u32 {
    info.get("connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Why a preflight ended.
#[derive(Debug)]
pub(super) enum PreflightFailure {
    Redis(RedisError),
    Refused(OpenError),
}

impl From<RedisError> for PreflightFailure {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

fn refuse<T>(text: String) -> Result<T, PreflightFailure> {
    Err(PreflightFailure::Refused(OpenError::Configuration(text)))
}

type Pairs = BTreeMap<String, String>;

async fn info(connection: &mut Connection) -> Result<Pairs, RedisError> {
    let reply = connection.send(cmd("INFO").arg(&SECTIONS)).await?;
    let text = reply::text(&reply).unwrap_or_default();
    let pair = |line: &str| line.split_once(':').map(|(k, v)| (k.into(), v.trim_end().into()));
    Ok(text.lines().filter_map(pair).collect())
}

const SETTINGS: [&str; 6] = [
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "proto-max-bulk-len",
    "aof-load-truncated",
    "propagation-error-behavior",
    "maxmemory",
];

/// Settings, or none where `CONFIG` is forbidden, as it is on a managed Redis.
async fn settings(connection: &mut Connection) -> Result<Option<Pairs>, RedisError> {
    match connection.send(cmd("CONFIG").arg("GET").arg(&SETTINGS)).await {
        Ok(reply) => Ok(Some(Pairs::from_redis_value(reply)?)),
        Err(error) => match Failure::of(&error) {
            Failure::Busy(_) | Failure::ReadOnly(_) => Err(error),
            // "NOPERM", or "ERR unknown command": a server's reply, not a broken connection.
            Failure::Denied(_)
            | Failure::LoggedOut(_)
            | Failure::Unknown(_)
            | Failure::NoScript
                if error.code().is_some() =>
            {
                log::debug!(reason:% = describe(&error); "the server's settings cannot be read");
                Ok(None)
            }
            Failure::Denied(_)
            | Failure::LoggedOut(_)
            | Failure::Unknown(_)
            | Failure::NoScript => Err(error),
        },
    }
}

/// Everything that breaks a tier; with no tier set, `fsync` is what it is measured by.
fn tier_faults(
    info: &Pairs,
    settings: Option<&Pairs>,
    replicas: u32,
    tier: Option<Durability>,
) -> Vec<String> {
    let say = |key: &str| info.get(key).map_or("", String::as_str);
    let set = |key: &str| settings.and_then(|s| s.get(key)).map(String::as_str);
    let mut faults = Vec::new();
    if say("aof_enabled") != "1" {
        faults.push("it keeps no append-only file (fix: CONFIG SET appendonly yes)".into());
    }
    match (tier, set("appendfsync")) {
        (_, Some("always") | None) | (Some(Durability::Everysec), Some("everysec")) => {}
        (Some(Durability::Everysec), Some(found)) => {
            faults.push(format!("appendfsync is {found} (fix: CONFIG SET appendfsync everysec)"))
        }
        (Some(Durability::Fsync | Durability::Replicated) | None, Some(found)) => {
            faults.push(format!("appendfsync is {found} (fix: CONFIG SET appendfsync always)"));
        }
    }
    if set("no-appendfsync-on-rewrite") == Some("yes") {
        faults.push(
            "no-appendfsync-on-rewrite is yes, which suspends every flush while the file is \
             rewritten (fix: CONFIG SET no-appendfsync-on-rewrite no)"
                .into(),
        );
    }
    let policy = say("maxmemory_policy");
    if policy != "noeviction" {
        faults.push(format!(
            "maxmemory-policy is {policy}, which may evict the journal (fix: CONFIG SET \
             maxmemory-policy noeviction)"
        ));
    }
    let errors = say("unexpected_error_replies");
    if !matches!(errors, "0" | "") {
        faults.push(format!(
            "it met {errors} errors while it loaded its data: look into its log, repair the data, \
             and restart it"
        ));
    }
    if let Some(limit) = set("proto-max-bulk-len").and_then(|text| text.parse::<u64>().ok())
        && limit < MIN_PROTO_MAX_BULK_LEN
    {
        faults.push(format!(
            "proto-max-bulk-len is {limit}, less than an entry may need (fix: CONFIG SET \
             proto-max-bulk-len {MIN_PROTO_MAX_BULK_LEN})"
        ));
    }
    if tier == Some(Durability::Replicated) && replicas == 0 {
        faults.push("it has no replica (fix: connect one)".into());
    }
    faults
}

fn hints(
    info: &Pairs,
    settings: Option<&Pairs>,
    replicas: u32,
    tier: Option<Durability>,
) -> Vec<String> {
    let set = |key: &str| settings.and_then(|s| s.get(key)).map(String::as_str);
    let mut hints: Vec<String> = Vec::new();
    if set("aof-load-truncated") == Some("yes") {
        hints.push("aof-load-truncated is yes: Redis drops a torn tail without a word".into());
    }
    if set("propagation-error-behavior") == Some("ignore") {
        hints.push(
            "propagation-error-behavior is ignore: Redis loads a damaged file with holes; panic \
             is safer"
                .into(),
        );
    }
    if info.get("maxmemory").is_some_and(|limit| limit == "0") {
        hints.push("maxmemory is 0: Redis grows until the system kills it".into());
    }
    match tier {
        Some(Durability::Replicated) | None => {}
        Some(Durability::Fsync | Durability::Everysec) if replicas == 0 => {}
        Some(Durability::Fsync | Durability::Everysec) => hints.push(format!(
            "{replicas} replicas are connected, and TARTARUS_DURABILITY does not wait for them"
        )),
    }
    if settings.is_none() {
        hints.push(match tier {
            Some(tier) => format!(
                "CONFIG is forbidden: that Redis meets {} is taken from TARTARUS_DURABILITY",
                tier.as_str()
            ),
            None => "CONFIG is forbidden: state what Redis promises in TARTARUS_DURABILITY".into(),
        });
    }
    hints
}

async fn clock_skew(connection: &mut Connection) -> Result<Option<String>, RedisError> {
    let reply = connection.send(&cmd("TIME")).await?;
    let (seconds, micros) = <(u64, u64)>::from_redis_value(reply)?;
    let theirs = u128::from(seconds) * 1_000 + u128::from(micros) / 1_000;
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let skew = ours.abs_diff(theirs);
    Ok((skew > CLOCK_SKEW_MS).then(|| format!("the clock of Redis is {skew} ms away from ours")))
}

fn promise(
    info: &Pairs,
    settings: Option<&Pairs>,
    replicas: u32,
    tier: Option<Durability>,
) -> Promise {
    match tier {
        Some(Durability::Replicated) => return Promise::Replicated(replicas),
        Some(Durability::Fsync) => return Promise::Fsync,
        Some(Durability::Everysec) => return Promise::Everysec,
        None => {}
    }
    if info.get("aof_enabled").map(String::as_str) != Some("1") {
        return Promise::Nothing;
    }
    let set = |key: &str| settings.and_then(|s| s.get(key)).map(String::as_str);
    match (set("appendfsync"), set("no-appendfsync-on-rewrite")) {
        (Some("always"), Some("no")) => Promise::Fsync,
        (Some("always" | "everysec"), _) => Promise::Everysec,
        (Some(_), _) => Promise::Nothing,
        (None, _) => Promise::Unknown,
    }
}

//! Opening a journal: a connection is trusted step by step, and a new journal begins only where
//! there is nothing at all.
//!
//! Owns:   the order of the checks, and what a failed try means.
//! Never:  begins a journal on behalf of a running instance, or of one that remembers another.
//! Proof:  `tests/contract.rs`, `tests/refusals.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::redis::{FromRedisValue, RedisError, Value, cmd};
use bytes::Bytes;
use uuid::Uuid;

use super::RedisJournal;
use super::checks::{self, CheckFailure, FORMAT, Found, Preflight, PreflightFailure};
use super::config::Keys;
use super::link::{Connection, NoLink};
use super::replicas::WAIT_MS;
use super::reply::{self, Failure, describe};
use super::scripts;
use crate::chain::{Tail, belongs, genesis, tail_of};
use crate::entry::{DamagedEntry, Entry, EntryFault, Identity};
use crate::ids::ClusterId;
use crate::port::{
    Appended, CheckError, Expected, OpenError, Opened, Promise, Refusal, Refused, Settled, Trouble,
};

impl RedisJournal {
    fn where_it_is(&self) -> String {
        format!(
            "Redis at {}, db {}, key {}",
            self.config.address, self.config.db, self.keys.journal
        )
    }

    pub(super) async fn open_once(&self, expected: Option<&Expected>) -> Result<Opened, Attempt> {
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
            self.replicas.many.store(replicas, Ordering::Relaxed);
            // What is read from here on begins with what is on all of them.
            let settled = self.settle_by(&mut connection, tail.position.id(), WAIT_MS).await?;
            if settled != Settled::Durable {
                let why = "its replicas do not have the whole journal yet";
                return Err(Attempt::Busy(why.into()));
            }
        }
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
        let genesis = reply::text(&reply).as_deref() == Some("OK");
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

    /// What the keys hold: the journal is whole, and the same as at start.
    pub(super) async fn found(&self, connection: &mut Connection) -> Result<Found, CheckFailure> {
        let found = checks::keys(connection, &self.keys).await?.ok_or_else(|| {
            let (key, found) = (self.keys.journal.clone(), "missing".into());
            Refusal::Key { key, found, wanted: "stream" }
        })?;
        match *self.pinned() {
            Some(pinned) if pinned != found.identity => {
                Err(Refusal::Swapped { pinned, found: found.identity }.into())
            }
            Some(_) | None => Ok(found),
        }
    }

    /// A new connection that may append: the server is a primary, and the journal is whole and
    /// the same as at start.
    pub(super) async fn checked(&self) -> Result<(Connection, Tail), Attempt> {
        let mut connection = Connection::open(&self.config).await?;
        if !checks::is_primary(&mut connection).await? {
            return Err(Attempt::WrongServer("ROLE is not master".into()));
        }
        let found = self.found(&mut connection).await?;
        let tail = self.tail(&mut connection, &found).await?;
        Ok((connection, tail))
    }
}

/// Why a try to open or check did not succeed.
pub(super) enum Attempt {
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
            NoLink::Busy(reason) => Self::Busy(reason),
            NoLink::Configuration(text) => Self::Configuration(text),
        }
    }
}

impl From<RedisError> for Attempt {
    fn from(error: RedisError) -> Self {
        match Failure::of(&error) {
            Failure::ReadOnly(text) => Self::WrongServer(text),
            Failure::Denied(text) | Failure::LoggedOut(text) => Self::Configuration(format!(
                "Redis refuses a command of Tartarus ({text}): correct the ACL of its user, or \
                 REDIS_USERNAME and its password"
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

//! Replicas: what is on them counts, and what is not is shown to nobody (`TARTARUS_DURABILITY=replicated`).
//!
//! Owns:   how many are waited for, and the last entry that they are known to have.
//! Never:  believes a server that has its replicas to have an entry, before it is asked for behind
//!         `WAIT` on the same connection.
//! Fails:  too few replicas are a journal that refuses for now; a connection that says so is not used
//!         again, since the address may lead to another server by now.
//! Proof:  `tests/replicas.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ::redis::{FromRedisValue, RedisError, Value, cmd, pipe};

use super::RedisJournal;
use super::link::Connection;
use super::reply::{self, Failure};
use crate::ids::EntryId;
use crate::port::{Appended, Settled, Trouble};

/// How long one `WAIT` of a write waits for replicas, in milliseconds: well below the reply timeout.
pub(super) const WAIT_MS: u32 = 500;
/// The same before something is read, where readers ask one behind the other: a replica that is in
/// step answers in one or two.
pub(super) const READ_WAIT_MS: u32 = 50;

/// The replicas that are waited for.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// How many; 0 where none are.
    pub(super) many: AtomicU32,
    /// The last entry that is known to be on all of them.
    pub(super) settled: AtomicU64,
}

/// What replicas say.
pub(super) enum Reached {
    /// They have all that the server had when it was asked; its newest entry.
    InStep(Option<String>),
    /// Too few of them do.
    Few(Arc<str>),
}

impl RedisJournal {
    /// Waits until the replicas that were promised have all that a connection's server has had so far.
    ///
    /// From Redis 7.2 on `WAIT` speaks of writes of its own connection only, so one is made. The head
    /// is asked for behind it, on the same connection: what is there then is on the replicas.
    pub(super) async fn reach(
        &self,
        connection: &mut Connection,
        most_ms: u32,
    ) -> Result<Reached, RedisError> {
        let replicas = self.replicas.many.load(Ordering::Relaxed);
        let mut wait = pipe();
        wait.cmd("SET").arg(&self.keys.sync).arg("").ignore();
        wait.cmd("WAIT").arg(replicas).arg(most_ms).cmd("GET").arg(&self.keys.head);
        let replies = match connection.send_all(&wait).await {
            Ok(replies) => replies,
            Err(error) => match Failure::of(&error) {
                Failure::Busy(text) => return Ok(Reached::Few(text)),
                _ => return Err(error),
            },
        };
        let [reached, head] = replies.as_slice() else {
            return Ok(Reached::Few("an unexpected reply to WAIT".into()));
        };
        Ok(match u32::from_redis_value_ref(reached) {
            Ok(reached) if reached >= replicas => Reached::InStep(reply::text(head)),
            Ok(reached) => {
                Reached::Few(format!("{reached} of {replicas} replicas are in step").into())
            }
            Err(_) => Reached::Few("an unexpected reply to WAIT".into()),
        })
    }

    /// Whether a connection's server has an entry, and the replicas have it.
    pub(super) async fn settle_by(
        &self,
        connection: &mut Connection,
        id: EntryId,
        most_ms: u32,
    ) -> Result<Settled, RedisError> {
        let settled = match self.reach(connection, most_ms).await? {
            Reached::Few(few) => Settled::NotYet(few),
            Reached::InStep(Some(head)) if head == id.to_string() => Settled::Durable,
            // Another has written behind it, or it is on another server.
            Reached::InStep(_) if self.has(connection, id).await? => Settled::Durable,
            Reached::InStep(_) => Settled::Gone,
        };
        if settled == Settled::Durable {
            self.replicas.settled.fetch_max(id.seq, Ordering::Relaxed);
        }
        Ok(settled)
    }

    /// The same for readers. A server that does not say so is not asked again: the address may have
    /// moved.
    pub(super) async fn is_settled(&self, id: EntryId) -> Result<bool, Trouble> {
        let proofs = self.proofs.lock().await;
        let asking = async |to: &mut Connection| self.settle_by(to, id, READ_WAIT_MS).await;
        let is_settled = self.call(&proofs, asking).await? == Settled::Durable;
        if !is_settled {
            proofs.set(None).await;
            self.reads.set(None).await;
        }
        Ok(is_settled)
    }

    pub(super) async fn has(
        &self,
        connection: &mut Connection,
        id: EntryId,
    ) -> Result<bool, RedisError> {
        let id = id.to_string();
        let range =
            connection.send(cmd("XRANGE").arg(&self.keys.journal).arg(&id).arg(&id)).await?;
        Ok(matches!(range, Value::Array(entries) if !entries.is_empty()))
    }

    pub(super) fn waits(&self) -> bool {
        self.replicas.many.load(Ordering::Relaxed) > 0
    }

    /// Whether the journal ends with an entry on a server that has its replicas.
    pub(super) async fn confirm_by_replicas(&self, committed: EntryId) -> Appended {
        let mut connection = match self.append_link().await {
            Ok(connection) => connection,
            Err(attempt) => return attempt.into(),
        };
        let said = match self.reach(&mut connection, WAIT_MS).await {
            Ok(Reached::InStep(Some(head))) if head == committed.to_string() => {
                return Appended::Committed { duplicate: true };
            }
            // Asked again, the journal says what has come of it.
            Ok(Reached::InStep(_)) => Appended::Unknown("the journal has moved".into()),
            Ok(Reached::Few(few)) => Appended::Busy(few),
            Err(error) => Failure::of(&error).appended(),
        };
        self.appends.set(None).await;
        said
    }
}

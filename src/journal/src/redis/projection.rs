//! Writing the projections: `tartarus:queue` for people with `redis-cli`, `themis:policies`.
//!
//! Owns:   steps in chunks behind a cursor, and whole rebuilds beside the old content.
//! Never:  takes part in an append, or is read back for a decision.
//! Fails:  a step over a foreign cursor is refused, and asks for a rebuild.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::redis::{RedisError, Value, cmd, pipe};
use uuid::Uuid;

use super::config::Keys;
use super::link::Connection;
use super::reply;
use super::scripts::{self, Lua};
use crate::ids::EntryId;
use crate::limits::PROJECT_CHUNK;
use crate::port::{Content, Ops, PolicyOp, Projected, QueueOp, Step};

/// A half-built projection that nobody finishes is gone after this, in milliseconds.
const ABANDONED_MS: u32 = 600_000;

/// One chunk: what is added (with values, for a hash), and what is removed.
#[derive(Default)]
struct Chunk {
    adds: usize,
    words: Vec<String>,
    removes: Vec<String>,
}

/// Applies a step.
pub(super) async fn project(
    connection: &mut Connection,
    keys: &Keys,
    step: &Step,
) -> Result<Projected, RedisError> {
    let (script, key, chunks) = match &step.ops {
        Ops::Queue(ops) => (&scripts::PROJECT_QUEUE, &keys.queue, queue_chunks(ops)),
        Ops::Policies(ops) => (&scripts::PROJECT_HASH, &keys.policies, policy_chunks(ops)),
    };
    let (last, earlier) = match chunks.split_last() {
        Some((last, earlier)) => (last, earlier),
        None => (&Chunk::default(), &[][..]),
    };
    for chunk in earlier {
        let projected = one(connection, script, key, step.from, None, chunk).await?;
        if projected != Projected::Moved {
            return Ok(projected);
        }
    }
    one(connection, script, key, step.from, Some(step.to), last).await
}

async fn one(
    connection: &mut Connection,
    script: &Lua,
    key: &str,
    from: EntryId,
    to: Option<EntryId>,
    chunk: &Chunk,
) -> Result<Projected, RedisError> {
    let cursor = cursor_of(key);
    let from = from.to_string();
    let to = to.map(|to| to.to_string()).unwrap_or_default();
    let adds = chunk.adds.to_string();
    let mut args: Vec<&[u8]> = vec![from.as_bytes(), to.as_bytes(), adds.as_bytes()];
    args.extend(chunk.words.iter().chain(&chunk.removes).map(String::as_bytes));
    let reply = connection.run(script, &[key, &cursor], &args).await?;
    let words = reply::texts(&reply);
    Ok(match words.first() {
        Some(Some(word)) if word == "MOVED" => Projected::Moved,
        Some(_) | None => {
            let at = words.get(1).and_then(Option::as_deref).and_then(|text| text.parse().ok());
            Projected::Elsewhere(at)
        }
    })
}

/// The last operation on a member wins, so that adds and removes can be sent apart.
fn queue_chunks(ops: &[QueueOp]) -> Vec<Chunk> {
    let mut last: BTreeMap<&str, bool> = BTreeMap::new();
    for op in ops {
        match op {
            QueueOp::Add(member) => last.insert(member.as_str(), true),
            QueueOp::Remove(member) => last.insert(member.as_str(), false),
        };
    }
    let items: Vec<_> = last.into_iter().collect();
    let chunk = |items: &[(&str, bool)]| {
        let mut chunk = Chunk::default();
        for (member, add) in items {
            if *add {
                chunk.adds += 1;
                chunk.words.push((*member).into());
            } else {
                chunk.removes.push((*member).into());
            }
        }
        chunk
    };
    items.chunks(PROJECT_CHUNK).map(chunk).collect()
}

fn policy_chunks(ops: &[PolicyOp]) -> Vec<Chunk> {
    let mut last: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for op in ops {
        match op {
            PolicyOp::Put(name, json) => last.insert(name, Some(json)),
            PolicyOp::Delete(name) => last.insert(name, None),
        };
    }
    let items: Vec<_> = last.into_iter().collect();
    let chunk = |items: &[(&str, Option<&str>)]| {
        let mut chunk = Chunk::default();
        for (name, json) in items {
            match json {
                Some(json) => {
                    chunk.adds += 1;
                    chunk.words.extend([(*name).to_owned(), (*json).to_owned()]);
                }
                None => chunk.removes.push((*name).into()),
            }
        }
        chunk
    };
    items.chunks(PROJECT_CHUNK).map(chunk).collect()
}

/// Replaces a whole projection.
pub(super) async fn rebuild(
    connection: &mut Connection,
    keys: &Keys,
    content: Content,
    at: EntryId,
) -> Result<Result<(), Arc<str>>, RedisError> {
    let key = match &content {
        Content::Queue(_) => &keys.queue,
        Content::Policies(_) => &keys.policies,
    };
    // A name of its own: two projectors at once must not write into one set.
    let new = format!("{key}:new:{}", Uuid::new_v4());
    let (count, measure) = match &content {
        Content::Queue(members) => {
            for chunk in members.chunks(PROJECT_CHUNK) {
                let mut add = cmd("ZADD");
                add.arg(&new);
                for member in chunk {
                    add.arg(0).arg(member.as_str());
                }
                fill(connection, add, &new).await?;
            }
            (members.len(), "ZCARD")
        }
        Content::Policies(policies) => {
            for chunk in policies.chunks(PROJECT_CHUNK) {
                let mut put = cmd("HSET");
                put.arg(&new);
                for (name, json) in chunk {
                    put.arg(name).arg(json);
                }
                fill(connection, put, &new).await?;
            }
            (policies.len(), "HLEN")
        }
    };
    let names = [new.as_str(), key, &cursor_of(key)];
    let (at, count) = (at.to_string(), count.to_string());
    let args = [at.as_bytes(), count.as_bytes(), measure.as_bytes()];
    let reply = connection.run(&scripts::SWAP, &names, &args).await?;
    Ok(match reply::text(&reply).as_deref() {
        Some("OK") => Ok(()),
        found => Err(format!("the rebuilt {key} is {}", found.unwrap_or("strange")).into()),
    })
}

async fn fill(
    connection: &mut Connection,
    command: ::redis::Cmd,
    new: &str,
) -> Result<Vec<Value>, RedisError> {
    let mut both = pipe();
    both.add_command(command).cmd("PEXPIRE").arg(new).arg(ABANDONED_MS);
    connection.send_all(&both).await
}

/// Where a projection says which entry it shows.
fn cursor_of(key: &str) -> String {
    format!("{key}:cursor")
}

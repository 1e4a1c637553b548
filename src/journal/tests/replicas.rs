//! `TARTARUS_DURABILITY=replicated`: what is acknowledged is on the replicas, and what is not on them
//! yet is shown to nobody.

mod support;

use std::sync::Arc;
use std::time::Duration;

use journal::{
    Appended, Chain, CheckError, Durability, Journal, Opened, Outcome, Promise, RedisConfig,
    RedisJournal, Sealed, Settled, Trouble, Writer,
};
use support::{RedisServer, lead, seal, until};
use tokio::time::timeout;
use uuid::Uuid;

struct Pair {
    primary: RedisServer,
    replica: RedisServer,
}

impl Pair {
    async fn start() -> Self {
        let args =
            ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"];
        let primary = RedisServer::with(&args).await;
        let of = format!("127.0.0.1 {}", primary.port);
        let mut replica = RedisServer::idle(&["--appendonly", "yes", "--replicaof", &of]);
        replica.start().await;
        until("the replica is in step", async || {
            let info = primary.text(&["INFO", "replication"]).await;
            info.contains("connected_slaves:1") && info.contains("state=online")
        })
        .await;
        Self { primary, replica }
    }

    async fn open(&self) -> (Arc<RedisJournal>, Opened) {
        let durability = Some(Durability::Replicated);
        let config = RedisConfig { durability, ..self.primary.config() };
        let journal = Arc::new(RedisJournal::new(config));
        let opened = journal.open(None).await.unwrap();
        assert_eq!(opened.promise, Promise::Replicated(1));
        (journal, opened)
    }

    /// What a server that never had the last entry says, to new connections as to those there were.
    async fn forget(&self, last: &Sealed) {
        let (last, before) = (last.id().to_string(), last.prev_id().to_string());
        let forget = "redis.call('XDEL', KEYS[1], ARGV[1])
            redis.call('XSETID', KEYS[1], ARGV[2])
            redis.call('SET', KEYS[2], ARGV[2])";
        let keys = ["tartarus:journal", "tartarus:head"];
        self.primary.raw(&["EVAL", forget, "2", keys[0], keys[1], &last, &before]).await;
        self.primary.raw(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    }
}

async fn has(server: &RedisServer, entry: &Sealed) -> bool {
    let id = entry.id().to_string();
    let found = server.raw(&["XRANGE", "tartarus:journal", &id, &id]).await;
    matches!(found, redis::Value::Array(entries) if !entries.is_empty())
}

/// A wait that has no end before something else happens.
async fn still_waits<T>(waiting: impl Future<Output = T>) {
    assert!(timeout(Duration::from_millis(1_500), waiting).await.is_err(), "it waits for nobody");
}

#[tokio::test]
async fn a_replicated_entry_waits_for_its_replica() {
    let pair = Pair::start().await;
    let (journal, opened) = pair.open().await;
    let mut chain = lead(&opened);
    let first = seal(&mut chain, "both have it");
    let _ = journal.append(&first).await;
    until("the replica has the entry", async || journal.settle(&first).await == Settled::Durable)
        .await;
    assert_eq!(pair.replica.text(&["GET", "tartarus:head"]).await, first.id().to_string());
    // Connected, and out of step.
    pair.replica.freeze(true);
    let second = seal(&mut chain, "one has it");
    let _ = journal.append(&second).await;
    let short = journal.settle(&second).await;
    assert!(matches!(&short, Settled::NotYet(text) if text.contains("0 of 1")), "{short:?}");
    // A new connection has written nothing yet, which `WAIT` would take for "all of it".
    journal.check().await.unwrap();
    let short = journal.settle(&second).await;
    assert!(matches!(short, Settled::NotYet(_)), "{short:?}");
    pair.replica.freeze(false);
    until("the replica catches up", async || journal.settle(&second).await == Settled::Durable)
        .await;
}

#[tokio::test]
async fn what_a_new_primary_does_not_have_is_appended_again_before_it_counts() {
    let mut pair = Pair::start().await;
    let (journal, opened) = pair.open().await;
    let (mut chain, mut writer) = (lead(&opened), Writer::new(journal, opened.tail));
    let first = seal(&mut chain, "both have it");
    assert_eq!(writer.commit(&first).await, Outcome::Committed);
    pair.replica.kill();
    let second = seal(&mut chain, "one had it");
    let moves = async {
        until("replicas to be waited for", async || {
            pair.primary.text(&["CLIENT", "LIST"]).await.contains("cmd=wait")
        })
        .await;
        pair.forget(&second).await;
        pair.replica.start().await;
    };
    let (committed, ()) = tokio::join!(writer.commit(&second), moves);
    assert_eq!(committed, Outcome::Committed);
    for server in [&pair.primary, &pair.replica] {
        assert!(has(server, &second).await, "acknowledged, and not there");
    }
}

#[tokio::test]
async fn what_a_new_primary_does_not_have_is_missed_where_it_was_waited_for() {
    let mut pair = Pair::start().await;
    let (journal, opened) = pair.open().await;
    let mut chain = lead(&opened);
    pair.replica.kill();
    let entry = seal(&mut chain, "one had it");
    assert_eq!(journal.append(&entry).await, Appended::Committed { duplicate: false });
    pair.forget(&entry).await;
    pair.replica.start().await;
    until("the replica to be asked", async || {
        let settled = journal.settle(&entry).await;
        assert_ne!(settled, Settled::Durable, "it is on no server");
        settled == Settled::Gone
    })
    .await;
    assert_eq!(journal.append(&entry).await, Appended::Committed { duplicate: false });
    until("the replica has it", async || journal.settle(&entry).await == Settled::Durable).await;
}

#[tokio::test]
async fn a_leader_that_was_replaced_acknowledges_what_replicas_have() {
    let mut pair = Pair::start().await;
    let (journal, opened) = pair.open().await;
    let (other, _) = pair.open().await;
    let (mut chain, mut writer) = (lead(&opened), Writer::new(journal, opened.tail));
    pair.replica.kill();
    let mine = seal(&mut chain, "mine");
    still_waits(writer.commit(&mine)).await;
    let mut theirs = Chain::lead_from(other.check().await.unwrap(), Uuid::new_v4());
    let theirs = seal(&mut theirs, "theirs");
    assert_eq!(other.append(&theirs).await, Appended::Committed { duplicate: false });
    // It is in their history, and on no replica.
    still_waits(writer.commit(&mine)).await;
    pair.replica.start().await;
    let Outcome::SteppedDown(down) = writer.commit(&mine).await else { panic!("not deposed") };
    assert_eq!((down.head, down.written), (theirs.id(), true));
    assert!(has(&pair.replica, &mine).await);
}

#[tokio::test]
async fn what_replicas_do_not_have_yet_is_shown_to_nobody() {
    let pair = Pair::start().await;
    let (journal, opened) = pair.open().await;
    let (reader, _) = pair.open().await;
    let read = async || {
        let stored = reader.stored(2, 1 << 20).await.unwrap();
        stored.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    let mut chain = lead(&opened);
    let [first, second] = ["both have it", "one has it"].map(|text| seal(&mut chain, text));
    let _ = journal.append(&first).await;
    until("the entry to be read", async || read().await == [first.id()]).await;
    pair.replica.freeze(true);
    let _ = journal.append(&second).await;
    assert_eq!(read().await, [first.id()], "what a promoted replica would not have");
    let aside = reader.beside().expect("one with connections of its own");
    let stored = aside.stored(2, 1 << 20).await.unwrap();
    assert_eq!(stored.len(), 1, "by whoever reads aside");
    pair.replica.freeze(false);
    until("both to be read", async || read().await == [first.id(), second.id()]).await;
}

#[tokio::test]
async fn a_primary_without_its_replica_does_not_say_what_is_newest() {
    let mut pair = Pair::start().await;
    let (journal, opened) = pair.open().await;
    let entry = seal(&mut lead(&opened), "both have it");
    let _ = journal.append(&entry).await;
    until("the replica has it", async || journal.settle(&entry).await == Settled::Durable).await;
    let there = Appended::Committed { duplicate: true };
    until("both to be said", async || {
        let head = journal.proven_head().await;
        head == Ok(entry.id()) && journal.confirm(entry.id(), false).await == there
    })
    .await;
    pair.replica.kill();
    let said = journal.proven_head().await;
    assert!(matches!(said, Err(CheckError::Trouble(Trouble::Busy(_)))), "{said:?}");
    let said = journal.confirm(entry.id(), false).await;
    assert!(matches!(said, Appended::Busy(_)), "{said:?}");
    // Nobody's answer hangs on a look.
    assert_eq!(journal.confirm(entry.id(), true).await, there);
    assert_eq!(journal.head().await, Ok(entry.id()));
}

//! Every row of the reply table, as a real Redis gives it: what is surely not executed, what is in
//! the journal, what ends the writing, and what is unknown.

mod support;

use std::time::Duration;

use journal::{
    Appended, Chain, Claim, Claimed, Journal, Opened, RedisJournal, Refusal, Refused, Trouble,
    Writer,
};
use redis::Value;
use support::{RedisServer, lead, read_all, seal, texts, until};

struct Given {
    server: RedisServer,
    journal: std::sync::Arc<RedisJournal>,
    /// Another of the same, whose connection has seen nothing.
    looker: std::sync::Arc<RedisJournal>,
    opened: Opened,
    chain: Chain,
}

/// A journal with one entry beside the first.
async fn given(args: &[&str]) -> Given {
    let server = RedisServer::with(args).await;
    let journal = server.journal();
    let opened = journal.open(None).await.unwrap();
    let mut chain = lead(&opened);
    let sealed = seal(&mut chain, "before");
    assert_eq!(journal.append(&sealed).await, Appended::Committed { duplicate: false });
    let looker = server.journal();
    looker.open(None).await.unwrap();
    Given { server, journal, looker, opened, chain }
}

const FLEETING: &[&str] = &["--appendonly", "no"];

impl Given {
    /// What the next append gives.
    async fn append(&mut self, text: &str) -> Appended {
        let sealed = seal(&mut self.chain, text);
        self.journal.append(&sealed).await
    }

    async fn texts(&self) -> Vec<String> {
        texts(&read_all(&*self.server.journal(), &self.opened).await)
    }
}

/// Given what an operator did, an append is refused for now; when that is undone, the same bytes
/// go in, once.
async fn check_passing(given: Given, undo: &[&str], word: &str) {
    let Given { server, journal, opened, mut chain, .. } = given;
    let sealed = seal(&mut chain, "patient");
    for tried in [journal.append(&sealed).await, journal.confirm(sealed.prev_id(), false).await] {
        match tried {
            Appended::Busy(reason) | Appended::WrongServer(reason) if reason.contains(word) => {}
            found => panic!("{word}: {found:?}"),
        }
    }
    server.raw(undo).await;
    let there = Appended::Committed { duplicate: true };
    assert_eq!(journal.confirm(sealed.prev_id(), false).await, there, "{word}");
    let mut writer = Writer::new(journal, opened.tail);
    assert_eq!(writer.commit(&sealed).await, journal::Outcome::Committed, "{word}");
    let all = texts(&read_all(&*server.journal(), &opened).await);
    assert_eq!(all, ["before", "patient"], "{word}");
}

#[tokio::test]
async fn a_full_memory_is_not_executed() {
    let given = given(FLEETING).await;
    given.server.raw(&["CONFIG", "SET", "maxmemory", "1"]).await;
    check_passing(given, &["CONFIG", "SET", "maxmemory", "0"], "OOM").await;
}

#[tokio::test]
async fn a_full_disk_is_not_executed() {
    let given = given(FLEETING).await;
    // A directory where the snapshot should be makes every snapshot fail.
    std::fs::create_dir(given.server.dir().join("dump.rdb")).unwrap();
    given.server.raw(&["CONFIG", "SET", "save", "3600 1"]).await;
    given.server.raw(&["BGSAVE"]).await;
    until("the snapshot fails", async || {
        given.server.text(&["INFO", "persistence"]).await.contains("rdb_last_bgsave_status:err")
    })
    .await;
    check_passing(given, &["CONFIG", "SET", "save", ""], "MISCONF").await;
}

#[tokio::test]
async fn missing_replicas_are_not_executed() {
    let given = given(FLEETING).await;
    given.server.raw(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let undo = ["CONFIG", "SET", "min-replicas-to-write", "0"];
    check_passing(given, &undo, "NOREPLICAS").await;
}

#[tokio::test]
async fn a_replica_is_not_executed_and_the_checks_of_the_next_connection_say_so_too() {
    let given = given(FLEETING).await;
    given.server.raw(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let mut chain = given.chain.clone();
    let first = given.journal.append(&seal(&mut chain, "patient")).await;
    assert!(
        matches!(&first, Appended::WrongServer(text) if text.contains("READONLY")),
        "{first:?}"
    );
    check_passing(given, &["REPLICAOF", "NO", "ONE"], "ROLE is not master").await;
}

#[tokio::test]
async fn a_busy_script_is_not_executed() {
    let given = given(&["--appendonly", "no", "--busy-reply-threshold", "20"]).await;
    let endless = async {
        let stopped = given.server.try_raw(&["EVAL", "while true do end", "0"]).await;
        assert!(stopped.is_err(), "it was killed: {stopped:?}");
    };
    let work = async {
        let mut chain = given.chain.clone();
        let sealed = seal(&mut chain, "patient");
        until("the script is found busy", async || {
            given.server.try_raw(&["PING"]).await.is_err_and(|e| e.code() == Some("BUSY"))
        })
        .await;
        let found = given.journal.append(&sealed).await;
        assert!(matches!(&found, Appended::Busy(text) if text.contains("BUSY")), "{found:?}");
        given.server.raw(&["SCRIPT", "KILL"]).await;
        sealed
    };
    let ((), sealed) = tokio::join!(endless, work);
    assert_eq!(given.journal.append(&sealed).await, Appended::Committed { duplicate: false });
}

#[tokio::test]
async fn a_loading_server_is_not_executed() {
    // It sleeps behind one command in four that it loads, and looks after its clients every 1,024: on a
    // busy machine, where a sleep is long, within the time that a reply is waited for.
    let slow = ["--appendonly", "yes", "--appendfsync", "always", "--key-load-delay", "-4"];
    let mut given = given(&slow).await;
    let fill = "for i = 1, 20000 do redis.call('SET', 'filler:' .. i, i) end";
    for _ in 0..15 {
        given.server.raw(&["EVAL", fill, "0"]).await;
    }
    given.server.kill();
    given.server.spawn();
    let sealed = seal(&mut given.chain, "patient");
    let mut seen = None;
    until("the server loads", async || {
        match given.journal.append(&sealed).await {
            Appended::Busy(text) => seen = Some(text),
            Appended::Committed { .. } => return true,
            Appended::Unreachable(_) | Appended::Unknown(_) => {}
            found => panic!("{found:?}"),
        }
        seen.is_some()
    })
    .await;
    assert!(seen.is_some_and(|text| text.contains("LOADING")));
}

#[tokio::test]
async fn a_forgotten_script_is_loaded_and_the_append_goes_in() {
    let mut given = given(FLEETING).await;
    for text in ["one", "two"] {
        given.server.raw(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(given.append(text).await, Appended::Committed { duplicate: false });
    }
    assert_eq!(given.texts().await, ["before", "one", "two"]);
}

/// Given what an operator did, an append ends the writing with this word, and nothing was written.
async fn check_final(given: Given, word: &str) {
    let Given { server, journal, looker, opened: _, mut chain } = given;
    let sealed = seal(&mut chain, "never");
    // A look at the end finds what is wrong with the head, one at all of it the rest as well.
    let head = server.try_raw(&["GET", "tartarus:head"]).await;
    let head_is = head == Ok(Value::BulkString(sealed.prev_id().to_string().into_bytes()));
    match looker.confirm(sealed.prev_id(), false).await {
        Appended::Committed { duplicate: true } if head_is => {}
        Appended::Damaged(Refused::Reply(reason)) if !head_is && reason.contains(word) => {}
        found => panic!("{word}: {found:?}"),
    }
    let looked = looker.confirm(sealed.prev_id(), true).await;
    assert!(matches!(&looked, Appended::Damaged(_)), "{word}: {looked:?}");
    match journal.append(&sealed).await {
        Appended::Damaged(Refused::Reply(reason)) if reason.contains(word) => {}
        found => panic!("{word}: {found:?}"),
    }
    // The next try is stopped by the checks of a new connection, or in the same way.
    let again = journal.append(&sealed).await;
    assert!(matches!(again, Appended::Damaged(_)), "{word}: {again:?}");
    let found = server.try_raw(&["XRANGE", "tartarus:journal", "-", "+"]).await;
    if let Ok(Value::Array(entries)) = found {
        assert!(entries.len() <= 3, "{word}: something was written");
    }
}

#[tokio::test]
async fn a_missing_head_ends_the_writing() {
    let given = given(FLEETING).await;
    given.server.raw(&["DEL", "tartarus:head"]).await;
    check_final(given, "NOHEAD").await;
}

#[tokio::test]
async fn a_missing_stream_ends_the_writing_and_is_not_made_again() {
    let given = given(FLEETING).await;
    given.server.raw(&["DEL", "tartarus:journal"]).await;
    check_final(given, "NOSTREAM").await;
}

#[tokio::test]
async fn a_flushed_database_ends_the_writing_and_is_not_begun_again() {
    let given = given(FLEETING).await;
    given.server.raw(&["FLUSHALL"]).await;
    let port = given.server.port;
    check_final(given, "NOHEAD").await;
    assert_ne!(port, 0);
}

#[tokio::test]
async fn what_an_append_does_not_ask_is_seen_by_a_look_at_all_of_it() {
    for (done, word) in [
        (vec!["DEL", "tartarus:meta"], "tartarus:meta is missing"),
        (vec!["HSET", "tartarus:meta", "incarnation", "7"], "another one than at start"),
        (vec!["XDEL", "tartarus:journal", "the last"], "some are missing"),
        (vec!["XDEL", "tartarus:journal", "the first"], "were to stay"),
    ] {
        let Given { server, journal, opened, mut chain, .. } = given(FLEETING).await;
        let (first, last) = (opened.tail.position.id(), seal(&mut chain, "never").prev_id());
        let done: Vec<String> = done
            .into_iter()
            .map(|part| match part {
                "the last" => last.to_string(),
                "the first" => first.to_string(),
                other => other.to_owned(),
            })
            .collect();
        let there = Appended::Committed { duplicate: true };
        assert_eq!(journal.confirm(last, true).await, there);
        server.raw(&done.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(journal.confirm(last, false).await, there, "{done:?}");
        match journal.confirm(last, true).await {
            Appended::Damaged(refused) if refused.to_string().contains(word) => {}
            found => panic!("{done:?}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn an_entry_written_by_hand_ends_the_writing() {
    let given = given(FLEETING).await;
    given.server.raw(&["XADD", "tartarus:journal", "*", "b", "by hand"]).await;
    check_final(given, "REJECTED").await;
}

#[tokio::test]
async fn a_stream_that_is_something_else_ends_the_writing() {
    let given = given(FLEETING).await;
    given.server.raw(&["SET", "tartarus:journal", "by hand"]).await;
    check_final(given, "WRONGTYPE").await;
}

#[tokio::test]
async fn a_head_that_is_something_else_ends_the_writing() {
    let given = given(FLEETING).await;
    given.server.raw(&["DEL", "tartarus:head"]).await;
    given.server.raw(&["LPUSH", "tartarus:head", "by hand"]).await;
    check_final(given, "WRONGTYPE").await;
}

#[tokio::test]
async fn a_head_that_is_no_id_ends_the_writing() {
    let given = given(FLEETING).await;
    given.server.raw(&["SET", "tartarus:head", "by hand"]).await;
    check_final(given, "CONFLICT by hand").await;
}

#[tokio::test]
async fn a_user_who_may_not_run_scripts_ends_the_writing() {
    for looks in [false, true] {
        let given = given(FLEETING).await;
        given.server.raw(&["ACL", "SETUSER", "default", "-evalsha"]).await;
        let Given { server, journal, mut chain, .. } = given;
        let sealed = seal(&mut chain, "never");
        let found = match looks {
            true => journal.confirm(sealed.prev_id(), false).await,
            false => journal.append(&sealed).await,
        };
        let Appended::Damaged(Refused::Reply(text)) = found else { panic!("{found:?}") };
        assert!(text.contains("NOPERM"), "{text}");
        assert_eq!(server.text(&["XLEN", "tartarus:journal"]).await, "2");
    }
}

#[tokio::test]
async fn another_history_is_a_conflict() {
    let mut given = given(FLEETING).await;
    given.server.raw(&["SET", "tartarus:head", "2-12345"]).await;
    let found = given.append("late").await;
    assert!(matches!(found, Appended::Conflict { head } if head.to_string() == "2-12345"));
    // Now the head and the stream differ, which the checks of a new connection find.
    let found = given.append("later").await;
    let Appended::Damaged(Refused::Check(refusal)) = found else { panic!("{found:?}") };
    assert!(matches!(*refusal, Refusal::HeadDiffers { .. }), "{refusal}");
}

#[tokio::test]
async fn a_server_that_ends_before_it_answers_leaves_an_append_unknown_until_it_is_resent() {
    let mut given = given(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    // A command that holds the server up, so that the append waits behind it.
    let sleeping = given.server.try_raw(&["DEBUG", "SLEEP", "20"]);
    let sealed = seal(&mut given.chain, "in doubt");
    let found = tokio::select! {
        biased;
        found = given.journal.append(&sealed) => found,
        _ = sleeping => panic!("the sleep ended first"),
    };
    assert!(matches!(found, Appended::Unknown(_) | Appended::Committed { .. }), "{found:?}");
    given.server.kill();
    let unreachable = given.journal.append(&sealed).await;
    assert!(
        matches!(unreachable, Appended::Unreachable(_) | Appended::Unknown(_)),
        "{unreachable:?}"
    );
    given.server.start().await;
    let mut writer = Writer::new(given.journal.clone(), given.opened.tail);
    assert_eq!(writer.commit(&sealed).await, journal::Outcome::Committed);
    assert_eq!(given.texts().await, ["before", "in doubt"]);
}

#[tokio::test]
async fn an_entry_over_the_protocols_limit_is_unknown_and_never_a_success() {
    let mut given = given(FLEETING).await;
    given.server.raw(&["CONFIG", "SET", "proto-max-bulk-len", "1048576"]).await;
    let found = given.append(&"x".repeat(2 << 20)).await;
    assert!(matches!(found, Appended::Unknown(_)), "{found:?}");
    assert_eq!(given.texts().await, ["before"]);
}

#[tokio::test]
async fn the_other_calls_say_whether_to_ask_again() {
    let mut given = given(FLEETING).await;
    given.server.raw(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let beat =
        journal::Heartbeat { node: "n".into(), value: "v".into(), ttl: Duration::from_secs(30) };
    let beats = [beat];
    let full = given.journal.put_heartbeats(&beats).await;
    assert!(matches!(full, Err(Trouble::Busy(_))), "{full:?}");
    assert_eq!(given.texts().await, ["before"], "reads go on");
    given.server.raw(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(given.journal.put_heartbeats(&beats).await, Ok(()));
    given.server.kill();
    let gone = given.journal.put_heartbeats(&beats).await;
    assert!(matches!(gone, Err(Trouble::Unreachable(_))), "{gone:?}");
    given.server.start().await;
    assert_eq!(given.journal.put_heartbeats(&beats).await, Ok(()), "a new connection is made");
}

#[tokio::test]
async fn a_leaders_key_that_somebodys_hand_made_stay_expires_again() {
    let given = given(FLEETING).await;
    let claim = |url: &str| Claim { boot: uuid::Uuid::new_v4(), url: url.into() };
    let (gone, next) = (claim("http://gone"), claim("http://next"));
    assert_eq!(given.journal.claim(&gone, None).await, Ok(Claimed::Held));
    given.server.raw(&["PERSIST", "tartarus:leader"]).await;
    let claimed = given.journal.claim(&next, None).await;
    let Ok(Claimed::Other { left, .. }) = claimed else { panic!("{claimed:?}") };
    assert_eq!(left, journal::limits::LEASE_TTL, "its holder has that long to renew it");
    until("the key to expire", async || {
        given.journal.claim(&next, None).await == Ok(Claimed::Held)
    })
    .await;
}

/// Facts of streams that the protocol rests on.
#[tokio::test]
async fn streams_behave_as_the_protocol_expects() {
    let server = RedisServer::fleeting().await;
    let top = u64::MAX.to_string();
    server.raw(&["XADD", "s", "5-7", "b", "x"]).await;
    assert!(server.try_raw(&["XADD", "s", "5-7", "b", "x"]).await.is_err(), "an id comes once");
    assert!(server.try_raw(&["XADD", "s", "5-6", "b", "x"]).await.is_err(), "ids grow");
    server.raw(&["XADD", "s", &format!("9-{top}"), "b", "x"]).await;
    assert_eq!(server.text(&["XLEN", "s"]).await, "2", "gaps and whole u64 parts are accepted");
    server.raw(&["XTRIM", "s", "MAXLEN", "0"]).await;
    assert!(
        server.try_raw(&["XADD", "s", "6-1", "b", "x"]).await.is_err(),
        "a trim keeps the last id"
    );
    server.raw(&["DEL", "s"]).await;
    let none = server.raw(&["XADD", "s", "NOMKSTREAM", "6-1", "b", "x"]).await;
    assert_eq!(none, Value::Nil, "NOMKSTREAM makes no stream");
    server.raw(&["XADD", "s", "1-0", "b", "x"]).await;
    assert_eq!(server.text(&["XLEN", "s"]).await, "1", "a deletion forgets the last id");
}

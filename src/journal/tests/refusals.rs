//! What a start refuses: each with its exit code, and a sentence that names the record, the key or
//! the variable and says what to do.

mod support;

use std::time::Duration;

use journal::{Cursor, Durability, Journal, OpenError, Promise, RedisConfig, RedisJournal};
use secret::Secret;
use support::{RedisServer, lead, seal};

async fn refused(config: RedisConfig) -> OpenError {
    match RedisJournal::new(config).open(None).await {
        Err(refused) => refused,
        Ok(opened) => panic!("it was opened: {opened:?}"),
    }
}

/// The start ends with this exit code and a message that has all of these words.
fn check(refused: &OpenError, exit_code: u8, words: &[&str]) {
    let text = refused.to_string();
    assert_eq!(refused.exit_code(), exit_code, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(!text.contains('\n'), "one sentence: {text}");
}

/// A journal with five entries after the first.
async fn given(args: &[&str]) -> RedisServer {
    let server = RedisServer::with(args).await;
    let journal = server.journal();
    let mut chain = lead(&journal.open(None).await.unwrap());
    for i in 0..5 {
        journal.append(&seal(&mut chain, &i.to_string())).await;
    }
    server
}

const FLEETING: &[&str] = &["--appendonly", "no"];

/// Given what an operator typed, the start is refused.
async fn check_damage(commands: &[&[&str]], words: &[&str]) {
    let server = given(FLEETING).await;
    for command in commands {
        server.raw(command).await;
    }
    check(&refused(server.config()).await, 4, words);
}

#[tokio::test]
async fn keys_that_are_missing_or_something_else_are_named() {
    check_damage(&[&["DEL", "tartarus:head"]], &["tartarus:head is missing"]).await;
    check_damage(&[&["DEL", "tartarus:journal"]], &["tartarus:journal is missing"]).await;
    check_damage(&[&["DEL", "tartarus:meta"]], &["tartarus:meta is missing"]).await;
    let list = [&["DEL", "tartarus:head"][..], &["LPUSH", "tartarus:head", "x"]];
    check_damage(&list, &["tartarus:head is a list", "needs a string"]).await;
    check_damage(&[&["SET", "tartarus:journal", "x"]], &["tartarus:journal is a string"]).await;
    check_damage(&[&["XTRIM", "tartarus:journal", "MAXLEN", "0"]], &["an empty stream"]).await;
}

#[tokio::test]
async fn values_that_nobody_wrote_are_named() {
    let words = &["tartarus:head holds \"x\"", "the id of an entry"];
    check_damage(&[&["SET", "tartarus:head", "x"]], words).await;
    check_damage(&[&["HSET", "tartarus:meta", "cluster", "x"]], &["the UUID of a cluster"]).await;
    check_damage(&[&["HDEL", "tartarus:meta", "format"]], &["a known format"]).await;
    let words = &["has format 2", "start a newer program"];
    check_damage(&[&["HSET", "tartarus:meta", "format", "2"]], words).await;
}

#[tokio::test]
async fn a_journal_changed_by_hand_is_refused() {
    let words = &["tartarus:head says that entry 3-3 is the newest", "written by hand"];
    check_damage(&[&["SET", "tartarus:head", "3-3"]], words).await;
    check_damage(&[&["XADD", "tartarus:journal", "*", "b", "x"]], &["written by hand"]).await;
    check_damage(&[&["XSETID", "tartarus:journal", "99-0"]], &["99-0"]).await;
    let server = given(FLEETING).await;
    let script = "local e = redis.call('XRANGE', KEYS[1], '3', '3')[1][1] \
                  return redis.call('XDEL', KEYS[1], e)";
    server.raw(&["EVAL", script, "1", "tartarus:journal"]).await;
    check(&refused(server.config()).await, 4, &["goes from entry 1-", "has 5 entries", "missing"]);
}

#[tokio::test]
async fn a_damaged_newest_entry_is_refused_at_once_and_an_older_one_when_it_is_read() {
    let server = given(FLEETING).await;
    // Replaces the bytes of an entry and keeps its id, which no honest command can.
    let replace = "local all = redis.call('XRANGE', KEYS[1], '-', '+') \
                   redis.call('DEL', KEYS[1]) \
                   for i, e in ipairs(all) do \
                     local body = e[2][2] \
                     if i == tonumber(ARGV[1]) then \
                       body = string.sub(body, 1, -2) .. string.char(255) \
                     end \
                     redis.call('XADD', KEYS[1], e[1], 'b', body) \
                   end return #all";
    server.raw(&["EVAL", replace, "1", "tartarus:journal", "3"]).await;
    let journal = server.journal();
    let opened = journal.open(None).await.unwrap();
    let read = journal.read(&Cursor::start(opened.tail.identity)).await.unwrap_err();
    check(&read.into(), 4, &["journal entry 3-", "does not match its checksum"]);
    server.raw(&["EVAL", replace, "1", "tartarus:journal", "6"]).await;
    check(&refused(server.config()).await, 4, &["journal entry 6-", "does not match its checksum"]);
}

#[tokio::test]
async fn another_database_and_another_prefix_are_other_journals() {
    let server = given(FLEETING).await;
    let first = server.journal().open(None).await.unwrap();
    let expected = journal::Expected {
        cluster: first.tail.identity.cluster,
        source: "/data/cluster-id".into(),
    };
    for config in [
        RedisConfig { db: 3, ..server.config() },
        RedisConfig { key_prefix: "other:".into(), ..server.config() },
    ] {
        let journal = RedisJournal::new(config.clone());
        let refused = journal.open(Some(&expected)).await.unwrap_err();
        check(&refused, 4, &["there is no journal in", "remove /data/cluster-id"]);
        assert!(journal.open(None).await.unwrap().genesis);
        let refused = journal.open(Some(&expected)).await.unwrap_err();
        check(&refused, 4, &["belongs to cluster", "REDIS_DB", "/data/cluster-id"]);
    }
    let keys = server.list(&["KEYS", "*"]).await;
    for key in ["other:journal", "other:head", "other:meta", "tartarus:journal"] {
        assert!(keys.iter().any(|found| found == key), "{key} is not among {keys:?}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_a_bad_configuration() {
    let server = RedisServer::fleeting().await;
    let config = RedisConfig { db: 16, ..server.config() };
    check(&refused(config).await, 2, &["REDIS_DB 16", "out of range"]);
}

#[tokio::test]
async fn a_password_is_needed_right_and_never_shown() {
    let server = RedisServer::with(&["--appendonly", "no", "--requirepass", "hunter2"]).await;
    let with = |password: Option<&str>| RedisConfig {
        password: password.map(Secret::new),
        ..server.config()
    };
    check(&refused(with(None)).await, 2, &["asks for a password", "REDIS_PASSWORD"]);
    check(&refused(with(Some(""))).await, 2, &["asks for a password", "REDIS_PASSWORD"]);
    let wrong = refused(with(Some("swordfish"))).await;
    check(&wrong, 2, &["refuses REDIS_PASSWORD", "WRONGPASS"]);
    assert!(!wrong.to_string().contains("swordfish"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "swordfish\n").unwrap();
    let file = || RedisConfig { password_file: Some(path.clone()), ..with(Some("swordfish")) };
    let named = format!("refuses REDIS_PASSWORD_FILE {path:?} (");
    check(&refused(file()).await, 2, &[&named, "WRONGPASS"]);
    let user = RedisConfig { username: Some("bob".into()), ..file() };
    check(&refused(user).await, 2, &["\"bob\" with REDIS_PASSWORD_FILE"]);
    let user = RedisConfig { username: Some("bob".into()), ..with(Some("hunter2")) };
    check(&refused(user).await, 2, &["REDIS_USERNAME \"bob\""]);
    let named = RedisConfig { username: Some("default".into()), ..with(Some("hunter2")) };
    RedisJournal::new(named).open(None).await.unwrap();
    let opened = RedisJournal::new(with(Some("hunter2"))).open(None).await.unwrap();
    assert!(!opened.genesis);
    let open = RedisServer::fleeting().await;
    let needless = RedisConfig { password: Some(Secret::new("hunter2")), ..open.config() };
    check(&refused(needless).await, 2, &["refuses REDIS_PASSWORD", "without any password"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_after_the_wait() {
    let server = RedisServer::idle(FLEETING);
    let config = RedisConfig { wait: Duration::from_millis(250), ..server.config() };
    let refused = refused(config).await;
    let ping = format!("redis-cli -h 127.0.0.1 -p {} ping", server.port);
    check(&refused, 3, &["could not be used within 250 ms", &ping, "REDIS_ADDR"]);
}

#[tokio::test]
async fn a_server_that_comes_within_the_wait_is_used() {
    let mut server = RedisServer::idle(FLEETING);
    let config = RedisConfig { wait: Duration::from_secs(20), ..server.config() };
    let journal = RedisJournal::new(config);
    let (opened, ()) = tokio::join!(journal.open(None), server.start());
    assert!(opened.unwrap().genesis);
}

#[tokio::test]
async fn a_server_that_never_answers_is_unreachable() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("127.0.0.1:{}", silent.local_addr().unwrap().port()).parse().unwrap();
    let config = RedisConfig { wait: Duration::from_millis(100), ..RedisConfig::at(address) };
    check(&refused(config).await, 3, &["could not be used"]);
}

#[tokio::test]
async fn a_replica_is_a_bad_configuration() {
    let server = given(FLEETING).await;
    server.raw(&["REPLICAOF", "127.0.0.1", "1"]).await;
    check(&refused(server.config()).await, 2, &["is a replica of 127.0.0.1:1", "primary"]);
}

#[tokio::test]
async fn cluster_mode_is_a_bad_configuration() {
    let server = RedisServer::with(&["--appendonly", "no", "--cluster-enabled", "yes"]).await;
    check(&refused(server.config()).await, 2, &["cluster mode", "cluster-enabled no"]);
}

#[tokio::test]
async fn a_promise_that_redis_does_not_keep_is_refused_with_the_command_that_fixes_it() {
    let always = &["--appendonly", "yes", "--appendfsync", "always"][..];
    let everysec = &["--appendonly", "yes", "--appendfsync", "everysec"][..];
    let more = |base: &[&'static str], more: &[&'static str]| [base, more].concat();
    let cases: [(Vec<&str>, Durability, Option<&str>); 9] = [
        (FLEETING.into(), Durability::Fsync, Some("CONFIG SET appendonly yes")),
        (FLEETING.into(), Durability::Everysec, Some("CONFIG SET appendonly yes")),
        (everysec.into(), Durability::Fsync, Some("CONFIG SET appendfsync always")),
        (everysec.into(), Durability::Everysec, None),
        (always.into(), Durability::Everysec, None),
        (always.into(), Durability::Fsync, None),
        (always.into(), Durability::Replicated, Some("no replica")),
        (
            more(always, &["--no-appendfsync-on-rewrite", "yes"]),
            Durability::Fsync,
            Some("CONFIG SET no-appendfsync-on-rewrite no"),
        ),
        (
            more(always, &["--proto-max-bulk-len", "1048576"]),
            Durability::Fsync,
            Some("CONFIG SET proto-max-bulk-len 8388608"),
        ),
    ];
    for (args, durability, refusal) in cases {
        let server = RedisServer::with(&args).await;
        let config = RedisConfig { durability: Some(durability), ..server.config() };
        match refusal {
            Some(word) => {
                check(&refused(config).await, 2, &["TARTARUS_DURABILITY is", word]);
            }
            None => drop(RedisJournal::new(config).open(None).await.unwrap()),
        }
    }
    let server = RedisServer::with(always).await;
    server.raw(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let config = RedisConfig { durability: Some(Durability::Fsync), ..server.config() };
    check(&refused(config).await, 2, &["CONFIG SET maxmemory-policy noeviction"]);
    let warned = server.journal().open(None).await.unwrap().warnings;
    assert!(warned.iter().any(|warning| warning.contains("allkeys-lru")), "{warned:?}");
}

#[tokio::test]
async fn without_a_promise_redis_says_what_it_really_does() {
    for (args, promise) in [
        (&["--appendonly", "no"][..], Promise::Nothing),
        (&["--appendonly", "yes", "--appendfsync", "no"], Promise::Nothing),
        (&["--appendonly", "yes", "--appendfsync", "everysec"], Promise::Everysec),
        (&["--appendonly", "yes", "--appendfsync", "always"], Promise::Fsync),
        (&["--appendonly", "yes", "--rename-command", "CONFIG", ""], Promise::Unknown),
    ] {
        let server = RedisServer::with(args).await;
        let opened = server.journal().open(None).await.unwrap();
        assert_eq!(opened.promise, promise, "{args:?}: {:?}", opened.warnings);
        let wanting = opened.warnings.iter().any(|warning| {
            warning.contains("append-only")
                || warning.contains("appendfsync")
                || warning.contains("CONFIG")
        });
        assert_eq!(wanting, !promise.survives_power_loss(), "{args:?}: {:?}", opened.warnings);
        assert!(opened.server_version.starts_with(|c: char| c.is_ascii_digit()));
    }
}

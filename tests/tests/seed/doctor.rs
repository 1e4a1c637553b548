//! S38 to S41: `tartarus doctor` says what chose the backend, and what is wrong with it.

use serde_json::Value;
use tests::net::free_port;
use tests::{Finished, RedisServer, tartarus};

fn doctor(env: &[(&str, &str)]) -> (Finished, Vec<Value>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().display().to_string();
    let mut all = vec![("TARTARUS_DATA_DIR", &*data)];
    all.extend_from_slice(env);
    let said = tartarus(&["doctor", "-o", "json"], &all);
    let checks = said.json().as_array().cloned().unwrap_or_default();
    (said, checks)
}

/// The check of this name.
#[track_caller]
fn of<'c>(checks: &'c [Value], name: &str) -> &'c Value {
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{checks:#?}"))
}

#[track_caller]
fn fails(checks: &[Value], name: &str, remedy: &str) {
    let check = of(checks, name);
    assert_eq!(check["state"], "fail", "{check:#}");
    assert!(check["remedy"].as_str().is_some_and(|text| text.contains(remedy)), "{check:#}");
}

#[test]
fn s38_it_says_which_variable_chose_the_backend() {
    let redis = RedisServer::durable();
    let addr = redis.addr();
    for (env, word) in [
        (vec![("REDIS_ADDR", &*addr)], "REDIS_ADDR is set"),
        (vec![("REDIS_ADDR", "")], "REDIS_ADDR is empty"),
    ] {
        let (said, checks) = doctor(&env);
        let found =
            checks.iter().any(|check| check["found"].as_str().is_some_and(|f| f.contains(word)));
        assert!(found, "{word}: {}", said.stdout);
    }
}

#[test]
fn s39_s40_a_redis_out_of_reach_comes_with_the_documents_own_advice() {
    let addr = format!("127.0.0.1:{}", free_port());
    let (said, checks) = doctor(&[("REDIS_ADDR", &addr)]);
    said.expect(1);
    fails(&checks, "redis", "redis-cli ping");
    fails(&checks, "redis", "redis://host:port");
}

#[test]
fn s41_it_checks_what_a_journal_needs_of_redis() {
    let redis = RedisServer::durable();
    let addr = redis.addr();
    let (_, checks) = doctor(&[("REDIS_ADDR", &addr)]);
    for name in [
        "redis",
        "redis version",
        "redis appendonly",
        "redis appendfsync",
        "redis maxmemory-policy",
        "redis durability",
    ] {
        assert_eq!(of(&checks, name)["state"], "ok", "{checks:#?}");
    }
    for (setting, bad, check) in [
        ("maxmemory-policy", "allkeys-lru", "redis maxmemory-policy"),
        ("no-appendfsync-on-rewrite", "yes", "redis no-appendfsync-on-rewrite"),
        ("appendfsync", "no", "redis appendfsync"),
        ("appendonly", "no", "redis appendonly"),
    ] {
        let mut connection = redis.connect(0);
        let set = |connection: &mut redis::Connection, value: &str| {
            let done = redis::cmd("CONFIG").arg("SET").arg(setting).arg(value).query(connection);
            let () = done.expect("CONFIG SET");
        };
        let read = redis::cmd("CONFIG").arg("GET").arg(setting).query(&mut connection);
        let (_, good): (String, String) = read.expect("CONFIG GET");
        set(&mut connection, bad);
        let (said, checks) = doctor(&[("REDIS_ADDR", &addr)]);
        said.expect(1);
        fails(&checks, check, &format!("CONFIG SET {setting}"));
        assert_eq!(of(&checks, "redis durability")["state"], "warn", "{checks:#?}");
        // Olympus would not start.
        let stated = [("REDIS_ADDR", &*addr), ("TARTARUS_DURABILITY", "fsync")];
        fails(&doctor(&stated).1, "redis durability", "TARTARUS_DURABILITY");
        set(&mut connection, &good);
    }
    // What only the journal knows to ask.
    let mut connection = redis.connect(0);
    let mut short = redis::cmd("CONFIG");
    let short = short.arg("SET").arg("proto-max-bulk-len").arg(1 << 20);
    let () = short.query(&mut connection).expect("CONFIG SET");
    let (_, checks) = doctor(&[("REDIS_ADDR", &addr)]);
    let found = &of(&checks, "redis durability")["found"];
    assert!(found.as_str().is_some_and(|text| text.contains("proto-max-bulk-len")), "{found}");
}

#[test]
fn a_password_that_is_refused_is_named_by_the_variable_that_was_set() {
    let redis = RedisServer::durable();
    let addr = redis.addr();
    let set = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("another").clone();
    let () = set.query(&mut redis.connect(0)).expect("CONFIG SET");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("password").display().to_string();
    std::fs::write(&path, "swordfish\n").expect("a file");
    for (name, value, found) in [
        ("REDIS_PASSWORD", "swordfish", "refuses REDIS_PASSWORD: ".to_owned()),
        ("REDIS_PASSWORD_FILE", &*path, format!("refuses REDIS_PASSWORD_FILE {path:?}: ")),
    ] {
        let (said, checks) = doctor(&[("REDIS_ADDR", &addr), (name, value)]);
        said.expect(1);
        let check = of(&checks, "redis");
        assert!(check["found"].as_str().is_some_and(|text| text.contains(&found)), "{check:#}");
    }
}

//! What an environment makes of an agent.

use super::*;

/// Set, so that no test depends on who runs it.
const DATA_DIR: (&str, &str) = ("TARTARUS_DATA_DIR", "/data");

fn read(set: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let find = |name: &str, from: &[(&str, &str)]| {
        from.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    Config::from_env(&|name| find(name, set).or_else(|| find(name, &[DATA_DIR])))
}

fn olympus(set: &[(&str, &str)]) -> String {
    match read(set).unwrap().olympus {
        Find::At(url) => url.to_string(),
        Find::Through(redis) => {
            format!("{}|{}|{}|{}", redis.host, redis.port, redis.db, redis.prefix)
        }
    }
}

fn refused(set: &[(&str, &str)], words: &[&str]) {
    let text = read(set).expect_err(&format!("{set:?} should be refused")).to_string();
    for word in words {
        assert!(text.contains(word), "{set:?}: {text:?} does not say {word:?}");
    }
}

#[test]
fn nothing_set_is_development_with_redis_on_this_host() {
    let config = read(&[]).unwrap();
    assert_eq!(olympus(&[]), "localhost|6379|0|tartarus:");
    assert_eq!(config.runtime, "embedded");
    assert_eq!(config.isolation, Demanded::Nothing);
    assert!(config.labels.is_empty() && config.token.is_none());
    assert!(config.capacity.cpu_milli >= 1_000 && config.capacity.mem_mb > 0);
    assert!(!config.node.as_str().is_empty());
}

#[test]
fn olympus_is_found_by_its_address_before_redis() {
    let addr = ("TARTARUS_ADDR", "http://olympus:8080");
    assert_eq!(olympus(&[addr, ("REDIS_ADDR", "redis:6379")]), "http://olympus:8080");
    assert_eq!(olympus(&[("TARTARUS_ENV", "production"), addr]), "http://olympus:8080");
    assert_eq!(
        olympus(&[
            ("TARTARUS_ENV", " Production "),
            ("REDIS_ADDR", "[::1]:7000"),
            ("REDIS_DB", "3"),
            ("TARTARUS_KEY_PREFIX", "x:"),
        ]),
        "::1|7000|3|x:"
    );
}

#[test]
fn an_empty_redis_address_means_olympus_is_on_this_host() {
    assert_eq!(olympus(&[("REDIS_ADDR", "")]), "http://127.0.0.1:8080");
}

#[test]
fn every_value_is_taken() {
    let config = read(&[
        ("TARTARUS_NODE_ID", "n-1.rack"),
        ("HADES_LABEL", "tartarus.io/phlegethon=true, zone=a"),
        ("TARTARUS_NODE_CPU_MILLI", "1500"),
        ("TARTARUS_NODE_MEM_MB", "64"),
        ("TARTARUS_NODE_GPUS", "2"),
        ("TARTARUS_RUNTIME", "runc"),
        ("TARTARUS_TOKEN", "s3cret"),
        ("TARTARUS_DRAIN_GRACE", "1m"),
        ("TARTARUS_ENV", "production"),
        ("TARTARUS_ADDR", "http://a:1"),
        ("TARTARUS_ISOLATION_MAY_MISS", "user-ns, cgroup-cpu"),
    ])
    .unwrap();
    assert_eq!(config.node.as_str(), "n-1.rack");
    assert_eq!(config.labels.get("tartarus.io/phlegethon"), Some("true"));
    assert_eq!(config.labels.len(), 2);
    assert_eq!(config.capacity, Demand { cpu_milli: 1_500, mem_mb: 64, gpu: 2 });
    assert_eq!(config.runtime, "runc");
    assert_eq!(config.token.as_ref().map(Secret::reveal), Some("s3cret"));
    assert_eq!(config.drain_grace, Duration::from_secs(60));
    assert_eq!(
        config.isolation,
        Demanded::AllBut(vec!["user-ns".to_owned(), "cgroup-cpu".to_owned()])
    );
}

#[test]
fn production_demands_all_isolation() {
    let set = [("TARTARUS_ENV", "production"), ("TARTARUS_ADDR", "http://a:1")];
    assert_eq!(read(&set).unwrap().isolation, Demanded::AllBut(Vec::new()));
}

#[test]
fn a_bad_value_is_refused_by_variable_and_value() {
    refused(&[("TARTARUS_ENV", "staging")], &["TARTARUS_ENV", "staging", "development"]);
    for production in [vec![], vec![("REDIS_ADDR", "")]] {
        let set = [vec![("TARTARUS_ENV", "production")], production].concat();
        refused(&set, &["TARTARUS_ADDR", "REDIS_ADDR", "production"]);
    }
    refused(&[("TARTARUS_ADDR", "olympus")], &["TARTARUS_ADDR", "\"olympus\"", "http://"]);
    for bad in ["redis://redis:6379", "redis", "redis:", ":6379", "redis:0", "redis:x", "::1:1"] {
        refused(&[("REDIS_ADDR", bad)], &["REDIS_ADDR", bad, "host:port"]);
    }
    refused(&[("REDIS_ADDR", "redis://redis:6379")], &["\"redis:6379\""]);
    for bad in ["x", "-1", "1.5", "4294967295"] {
        refused(&[("REDIS_DB", bad)], &["REDIS_DB", bad]);
    }
    for bad in ["a b", "a/b", "é", &"x".repeat(254)] {
        refused(&[("TARTARUS_NODE_ID", bad)], &["TARTARUS_NODE_ID", "node name"]);
    }
    for bad in ["gpu", "a=b=c", "=x", "a=b,a=c", "a=b,,c=d"] {
        refused(&[("HADES_LABEL", bad)], &["HADES_LABEL", bad, "key=value"]);
    }
    for name in ["TARTARUS_NODE_CPU_MILLI", "TARTARUS_NODE_MEM_MB"] {
        refused(&[(name, "0")], &[name, "0"]);
        refused(&[(name, "two")], &[name, "two"]);
    }
    refused(&[("TARTARUS_NODE_GPUS", "-1")], &["TARTARUS_NODE_GPUS", "-1"]);
    refused(&[("TARTARUS_DATA_DIR", "data")], &["TARTARUS_DATA_DIR", "data", "absolute"]);
    refused(&[("TARTARUS_DRAIN_GRACE", "soon")], &["TARTARUS_DRAIN_GRACE", "soon", "5s"]);
    refused(
        &[("TARTARUS_ISOLATION_MAY_MISS", "seccomp,magic")],
        &["TARTARUS_ISOLATION_MAY_MISS", "\"magic\"", "cgroup-memory"],
    );
}

#[test]
fn a_secret_is_never_shown() {
    let set = [("TARTARUS_TOKEN", "s3cret"), ("REDIS_PASSWORD", "hunter2")];
    let config = read(&set).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("hunter2"), "{shown}");
    let token = config.origins.iter().find(|setting| setting.name == "TARTARUS_TOKEN").unwrap();
    assert_eq!((token.shown.as_str(), token.origin), ("***", "environment"));
    refused(&[("TARTARUS_TOKEN", "s3 cret")], &["TARTARUS_TOKEN"]);
    let text = read(&[("TARTARUS_TOKEN", "s3\ncret")]).unwrap_err().to_string();
    assert!(!text.contains("cret"), "{text}");
}

#[test]
fn a_secret_may_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "from-file\n").unwrap();
    let path = path.to_str().unwrap();
    let config = read(&[("TARTARUS_TOKEN_FILE", path)]).unwrap();
    assert_eq!(config.token.as_ref().map(Secret::reveal), Some("from-file"));
    std::fs::write(path, "from file\n").unwrap();
    refused(&[("TARTARUS_TOKEN_FILE", path)], &["TARTARUS_TOKEN_FILE", path, "can't be sent"]);
    refused(
        &[("TARTARUS_TOKEN_FILE", path), ("TARTARUS_TOKEN", "x")],
        &["TARTARUS_TOKEN", "TARTARUS_TOKEN_FILE"],
    );
    refused(
        &[("REDIS_PASSWORD_FILE", "/nonexistent/secret")],
        &["REDIS_PASSWORD_FILE", "/nonexistent/secret"],
    );
    assert!(read(&[("REDIS_PASSWORD", "")]).is_ok(), "empty means none");
    refused(&[("REDIS_PASSWORD_FILE", "/dev/null")], &["REDIS_PASSWORD_FILE", "it is empty"]);
    refused(&[("REDIS_PASSWORD_FILE", "/dev/zero")], &["REDIS_PASSWORD_FILE", "more than 4096"]);
}

#[test]
fn every_variable_read_is_listed() {
    let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let ask = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        (name == "REDIS_ADDR").then(|| "redis:1".to_owned())
    };
    // Without a home directory it may be refused; it has asked by then.
    let _ = Config::from_env(&ask);
    let unlisted: Vec<String> = asked
        .into_inner()
        .into_iter()
        .filter(|name| !VARIABLES.contains(&name.as_str()))
        .filter(|name| !["HOME", "XDG_STATE_HOME"].contains(&name.as_str()))
        .collect();
    assert_eq!(unlisted, Vec::<String>::new());
}

#[test]
fn an_embedded_agent_takes_olympus_from_its_process() {
    let config = Config::embedded(
        &|name| (name == "TARTARUS_ADDR").then(|| "http://elsewhere:1".to_owned()),
        "http://127.0.0.1:4000",
        None,
        PathBuf::from("/data"),
    )
    .unwrap();
    assert!(matches!(config.olympus, Find::At(url) if url.to_string() == "http://127.0.0.1:4000"));
    assert_eq!(config.isolation, Demanded::Nothing);
}

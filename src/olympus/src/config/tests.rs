//! The environment as tables: what is given, then what is read or refused.

use std::collections::BTreeMap;

use super::{AuthMode, Config, Environment, Origin, Program};

fn read(program: Program, given: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let vars: BTreeMap<String, String> =
        given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::read(program, &|name| vars.get(name).cloned(), vars.clone().into_iter())
        .map_err(|error| error.complaints().to_vec())
}

fn good(given: &[(&str, &str)]) -> Config {
    read(Program::Olympus, given).unwrap_or_else(|complaints| panic!("{given:?}: {complaints:?}"))
}

fn redis(config: &Config) -> String {
    config.redis.as_ref().map_or("memory".into(), ToString::to_string)
}

#[test]
fn the_backend_follows_environment_and_address() {
    const PRODUCTION: (&str, &str) = ("TARTARUS_ENV", "production");
    for (program, given, backend) in [
        (Program::Olympus, vec![], "localhost:6379"),
        (Program::Olympus, vec![("REDIS_ADDR", "")], "memory"),
        (Program::Olympus, vec![("REDIS_ADDR", "redis:6379")], "redis:6379"),
        (Program::Olympus, vec![("REDIS_ADDR", "[::1]:7000")], "[::1]:7000"),
        (Program::Olympus, vec![PRODUCTION, ("REDIS_ADDR", "10.0.0.1:6379")], "10.0.0.1:6379"),
        (Program::Embedded, vec![], "memory"),
        (Program::Embedded, vec![("REDIS_ADDR", "")], "memory"),
        (Program::Embedded, vec![("REDIS_ADDR", "redis:6379")], "redis:6379"),
    ] {
        let config = read(program, &given).expect("a good environment");
        assert_eq!(redis(&config), backend, "{program:?} {given:?}");
        assert!(!config.redis_reason.is_empty());
    }
}

#[test]
fn production_without_redis_is_fatal_and_names_the_variable() {
    for (given, words) in [
        (vec![("TARTARUS_ENV", "production")], "REDIS_ADDR is not set"),
        (vec![("TARTARUS_ENV", "production"), ("REDIS_ADDR", "")], "REDIS_ADDR is empty"),
    ] {
        for program in [Program::Olympus, Program::Embedded] {
            let complaints = read(program, &given).expect_err("fatal");
            assert!(complaints[0].starts_with(words), "{complaints:?}");
            assert!(complaints[0].contains("host:port"), "{complaints:?}");
        }
    }
}

#[test]
fn the_environment_is_trimmed_and_case_folded() {
    for (text, env) in [
        ("development", Environment::Development),
        ("", Environment::Development),
        ("Production", Environment::Production),
        ("  PRODUCTION \n", Environment::Production),
    ] {
        let config = good(&[("TARTARUS_ENV", text), ("REDIS_ADDR", "redis:6379")]);
        assert_eq!(*config.env, env, "{text:?}");
    }
    let complaints = read(Program::Olympus, &[("TARTARUS_ENV", "staging")]).expect_err("fatal");
    assert_eq!(complaints, ["TARTARUS_ENV is \"staging\": give development or production"]);
}

#[test]
fn a_bad_value_is_named_with_what_to_write() {
    const LISTEN: &str =
        "write host:port, such as 127.0.0.1:8080 or [::]:8080; port 0 picks a free one";
    const KEY: &str = "give 1 to 128 visible ASCII characters";
    for (name, value, hint) in [
        ("REDIS_DB", "one", "give the number of a database, such as 0"),
        ("REDIS_DB", "-1", "give the number of a database, such as 0"),
        ("REDIS_DB", "2147483647", "give the number of a database, such as 0"),
        ("REDIS_QUEUE_KEY", "a b", KEY),
        (
            "REDIS_QUEUE_KEY",
            "tartarus:journal",
            "that key holds something else: choose another, such as tartarus:queue",
        ),
        (
            "REDIS_QUEUE_KEY",
            "themis:policies",
            "that key holds something else: choose another, such as tartarus:queue",
        ),
        (
            "REDIS_QUEUE_KEY",
            "tartarus:instance:1",
            "that key holds something else: choose another, such as tartarus:queue",
        ),
        (
            "REDIS_QUEUE_KEY",
            "themis:policies:cursor",
            "that key holds something else: choose another, such as tartarus:queue",
        ),
        ("TARTARUS_KEY_PREFIX", "ü:", KEY),
        ("TARTARUS_CLUSTER_ID", "7", "give the UUID that the log of the first start shows"),
        ("TARTARUS_DURABILITY", "always", "give one of fsync, everysec, replicated"),
        ("TARTARUS_LISTEN_ADDR", "8080", LISTEN),
        ("TARTARUS_LISTEN_ADDR", "host:http", LISTEN),
        ("TARTARUS_LISTEN_ADDR", "::1:8080", LISTEN),
        (
            "TARTARUS_ADVERTISE_URL",
            "10.0.0.5:8080",
            "write the URL that others reach this instance by, such as http://10.0.0.5:8080",
        ),
        (
            "TARTARUS_ADVERTISE_URL",
            "http://u:p@h",
            "write the URL that others reach this instance by, such as http://10.0.0.5:8080",
        ),
        ("TARTARUS_QUARANTINE", "yes", "give on or off"),
        ("TARTARUS_QUEUE_MAX", "0", "give how many runs may wait, such as 1000000"),
        ("TARTARUS_QUEUE_MAX", "1e6", "give how many runs may wait, such as 1000000"),
        (
            "TARTARUS_NODE_TTL",
            "30",
            "the unit is missing: write ms, s, m, h or d after the number, such as \"30s\"",
        ),
        ("TARTARUS_NODE_TTL", "0s", "give more than nothing and at most 365d, such as \"30s\""),
        (
            "TARTARUS_REDIS_WAIT",
            "9999d",
            "give more than nothing and at most 365d, such as \"30s\"",
        ),
        ("TARTARUS_AUTH", "basic", "give off or token"),
    ] {
        let complaints = read(Program::Olympus, &[(name, value)]).expect_err(value);
        let shown = value.replace("u:p@", "***@");
        assert_eq!(complaints, [format!("{name} is {shown:?}: {hint}")]);
    }
}

#[test]
fn an_address_that_is_none_is_shown_with_the_right_form() {
    for (value, words) in [
        ("redis://h:6379", "a URL is not accepted"),
        ("rediss://h", "a URL is not accepted"),
        ("redis", "the port is missing"),
        ("redis:", "the port is"),
        ("redis:0", "the port is not from 1 to 65535"),
        ("redis:+1", "the port is not a number"),
        (":6379", "the host is missing"),
        (" ", "the port is missing"),
        ("::1:6379", "an IPv6 address needs brackets"),
        ("/run/redis.sock", "the port is missing"),
    ] {
        let complaints = read(Program::Olympus, &[("REDIS_ADDR", value)]).expect_err(value);
        let [complaint] = &complaints[..] else { panic!("{value}: {complaints:?}") };
        for part in ["REDIS_ADDR is wrong", &format!("{value:?}"), words, "localhost:6379"] {
            assert!(complaint.contains(part), "{complaint} has no {part}");
        }
    }
}

#[test]
fn every_bad_value_is_named_at_once() {
    let given = [("TARTARUS_ENV", "x"), ("REDIS_DB", "x"), ("TARTARUS_AUTH", "x")];
    assert_eq!(read(Program::Olympus, &given).expect_err("fatal").len(), 3);
}

#[test]
fn good_values_are_taken() {
    let config = good(&[
        ("REDIS_ADDR", "redis:6380"),
        ("REDIS_DB", "3"),
        ("REDIS_QUEUE_KEY", "acheron"),
        ("REDIS_USERNAME", "tartarus"),
        ("REDIS_PASSWORD", "open sesame"),
        ("TARTARUS_LISTEN_ADDR", "localhost:0"),
        ("TARTARUS_ADVERTISE_URL", "https://olympus.example/"),
        ("TARTARUS_DATA_DIR", "/var/lib/tartarus"),
        ("TARTARUS_KEY_PREFIX", "t7:"),
        ("TARTARUS_CLUSTER_ID", "00000000-0000-0000-0000-000000000007"),
        ("TARTARUS_DURABILITY", "fsync"),
        ("TARTARUS_QUARANTINE", "OFF"),
        ("TARTARUS_QUEUE_MAX", "10"),
        ("TARTARUS_NODE_TTL", "2s"),
        ("TARTARUS_REDIS_WAIT", "250ms"),
        ("TARTARUS_AUTH", "token"),
        ("TARTARUS_BOOTSTRAP_TOKEN", "0123456789abcdef"),
    ]);
    assert_eq!((redis(&config).as_str(), *config.redis_db), ("redis:6380", 3));
    assert_eq!(&**config.redis_queue_key, "acheron");
    assert_eq!(config.advertise_url.as_deref(), Some("https://olympus.example"));
    assert_eq!(*config.durability, Some(journal::Durability::Fsync));
    assert!(!*config.quarantine_on);
    assert_eq!((*config.queue_max, config.node_ttl.as_secs()), (10, 2));
    assert_eq!(config.redis_wait.as_millis(), 250);
    assert_eq!(*config.auth, AuthMode::Token);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn a_token_is_the_default_in_production_alone() {
    assert_eq!(*good(&[]).auth, AuthMode::Off);
    let production = [("TARTARUS_ENV", "production"), ("REDIS_ADDR", "redis:6379")];
    assert_eq!(*good(&production).auth, AuthMode::Token);
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let config = good(&[("REDIS_DB", ""), ("REDIS_PASSWORD", ""), ("TARTARUS_QUEUE_MAX", "")]);
    assert_eq!((*config.redis_db, config.redis_db.origin.clone()), (0, Origin::Default));
    assert_eq!(*config.redis_password, None);
    assert_eq!(*config.queue_max, 1_000_000);
}

#[test]
fn a_secret_comes_from_its_file_without_the_last_line_break() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("password");
    std::fs::write(&path, "open sesame\r\n").expect("a file");
    let path = path.to_str().expect("a path");
    let config = good(&[("REDIS_PASSWORD_FILE", path)]);
    assert_eq!(config.redis_password.as_ref().map(|s| s.reveal()), Some("open sesame"));
    assert_eq!(config.redis_password.origin, Origin::File(path.into()));

    let both = [("REDIS_PASSWORD_FILE", path), ("REDIS_PASSWORD", "x")];
    let complaints = read(Program::Olympus, &both).expect_err("both");
    assert_eq!(
        complaints,
        ["REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set: set one of them"]
    );

    let gone = format!("{path}.gone");
    let complaints = read(Program::Olympus, &[("REDIS_PASSWORD_FILE", &gone)]).expect_err("gone");
    assert!(complaints[0].contains("it can't be opened"), "{complaints:?}");
    std::fs::write(path, "\n").expect("a file");
    let complaints = read(Program::Olympus, &[("REDIS_PASSWORD_FILE", path)]).expect_err("empty");
    assert!(complaints[0].contains("it is empty"), "{complaints:?}");
}

#[test]
fn tls_takes_a_certificate_and_its_key() {
    const CERT: (&str, &str) = ("TARTARUS_TLS_CERT_FILE", "cert.pem");
    const KEY: (&str, &str) = ("TARTARUS_TLS_KEY_FILE", "key.pem");
    for (one, words) in [
        (CERT, "TARTARUS_TLS_CERT_FILE is set and TARTARUS_TLS_KEY_FILE is not: set both, or none"),
        (KEY, "TARTARUS_TLS_KEY_FILE is set and TARTARUS_TLS_CERT_FILE is not: set both, or none"),
    ] {
        assert_eq!(read(Program::Olympus, &[one]).expect_err("one alone"), [words]);
    }
    let bare = ("TARTARUS_ADVERTISE_URL", "http://olympus.example");
    let complaints = read(Program::Olympus, &[CERT, KEY, bare]).expect_err("nobody is there");
    assert!(complaints[0].ends_with("this instance speaks TLS: write https://"), "{complaints:?}");
    let both = Some(("cert.pem".into(), "key.pem".into()));
    assert_eq!(good(&[CERT, KEY]).tls.value, both);
    assert_eq!(good(&[]).tls.value, None);
    let embedded = read(Program::Embedded, &[CERT, KEY]).expect("good");
    assert_eq!(embedded.tls.value, None, "its agent and its client are of this process");
}

#[test]
fn a_token_that_is_of_no_use_is_named_by_the_variable_that_was_set() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("token");
    std::fs::write(&path, "a token with blanks\n").expect("a file");
    let path = path.to_str().expect("a path");
    let by_file = format!("TARTARUS_BOOTSTRAP_TOKEN_FILE {path:?} is too short or has blanks");
    for (given, words) in [
        (("TARTARUS_BOOTSTRAP_TOKEN", "short"), "TARTARUS_BOOTSTRAP_TOKEN is too short"),
        (("TARTARUS_BOOTSTRAP_TOKEN_FILE", path), &*by_file),
    ] {
        let complaints = read(Program::Olympus, &[given]).expect_err("of no use");
        assert!(complaints[0].contains(words), "{complaints:?}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    const SECRET: &str = "swordfish-swordfish";
    let config = good(&[("REDIS_PASSWORD", SECRET), ("TARTARUS_BOOTSTRAP_TOKEN", SECRET)]);
    let shown = format!("{config:?} {:?}", config.effective());
    assert!(!shown.contains("swordfish"), "{shown}");
    assert!(config.effective().iter().any(|e| e.name == "REDIS_PASSWORD" && e.value == "****"));

    let complaints = read(Program::Olympus, &[("REDIS_ADDR", "redis://u:swordfish@h:1")]);
    let complaints = complaints.expect_err("a URL").concat();
    assert!(complaints.contains("@h:1") && !complaints.contains("swordfish"), "{complaints}");
    let complaints = read(Program::Olympus, &[("TARTARUS_BOOTSTRAP_TOKEN", "swordfish")]);
    let complaints = complaints.expect_err("too short").concat();
    assert!(!complaints.contains("swordfish"), "{complaints}");
}

#[test]
fn each_value_says_where_it_came_from() {
    let config = good(&[("REDIS_DB", "2")]);
    let origin = |name| {
        let effective = config.effective();
        effective.into_iter().find(|e| e.name == name).map(|e| (e.value, e.origin))
    };
    assert_eq!(origin("REDIS_DB"), Some(("2".into(), Origin::Environment)));
    assert_eq!(origin("TARTARUS_NODE_TTL"), Some(("30s".into(), Origin::Default)));
    assert_eq!(origin("REDIS_ADDR"), Some(("localhost:6379".into(), Origin::Default)));
}

#[test]
fn an_unknown_name_gets_a_warning_with_the_nearest_known_one() {
    for (name, words) in [
        ("TARTARUS_QUEUE_MAXX", "did you mean TARTARUS_QUEUE_MAX?"),
        ("TARTARUS_NODE_TLL", "did you mean TARTARUS_NODE_TTL?"),
        ("TARTARUS_SOMETHING_ELSE", "TARTARUS_SOMETHING_ELSE means nothing here"),
    ] {
        let config = good(&[(name, "1")]);
        assert!(config.warnings.iter().any(|w| w.contains(words)), "{:?}", config.warnings);
    }
    assert!(good(&[("TARTARUS_NODE_ID", "n1"), ("OTHER", "x")]).warnings.is_empty());
}

#[test]
fn an_open_door_and_a_short_memory_are_warned_of() {
    for (given, warned) in [
        (vec![("TARTARUS_LISTEN_ADDR", "0.0.0.0:8080")], "TARTARUS_AUTH is off"),
        (vec![("TARTARUS_LISTEN_ADDR", "[::]:8080")], "TARTARUS_AUTH is off"),
        (vec![("REDIS_ADDR", "")], "ends with this process"),
    ] {
        let warnings = good(&given).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(warned), "{given:?}: {warnings:?}");
    }
    for quiet in ["127.0.0.1:1", "localhost:1", "[::1]:1"] {
        assert!(good(&[("TARTARUS_LISTEN_ADDR", quiet)]).warnings.is_empty(), "{quiet}");
    }
    let guarded = [("TARTARUS_LISTEN_ADDR", "0.0.0.0:8080"), ("TARTARUS_AUTH", "token")];
    assert!(good(&guarded).warnings.is_empty());
}

#[test]
fn a_bucket_without_its_store_or_its_keys_is_warned_of() {
    const BUCKET: (&str, &str) = ("TARTARUS_ARCHIVE", "s3://bucket/prefix");
    const AT: (&str, &str) = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
    const KEY: (&str, &str) = ("AWS_ACCESS_KEY_ID", "key");
    const SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "secret");
    for (given, warned) in [
        (
            vec![BUCKET, ("AWS_ENDPOINT_URL", "s3.example.com"), KEY, SECRET],
            vec!["nothing is archived: AWS_ENDPOINT_URL is no URL"],
        ),
        (vec![BUCKET, AT, KEY], vec!["and AWS_SECRET_ACCESS_KEY is not set"]),
        (vec![BUCKET, AT], vec!["and AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not set"]),
        (
            vec![
                BUCKET,
                ("AWS_ENDPOINT_URL", "https://s3.example.com"),
                KEY,
                ("AWS_SECRET_ACCESS_KEY", ""),
            ],
            vec!["AWS_SECRET_ACCESS_KEY"],
        ),
        (vec![BUCKET, AT, KEY, SECRET], vec![]),
        (vec![BUCKET, KEY, SECRET], vec![]),
        (vec![("TARTARUS_ARCHIVE", "/var/archive")], vec![]),
        (vec![BUCKET, ("REDIS_ADDR", "")], vec!["ends with this process"]),
    ] {
        let warnings = good(&given).warnings;
        let as_expected = warnings.len() == warned.len()
            && warned.iter().zip(&warnings).all(|(words, warning)| warning.contains(words));
        assert!(as_expected, "{given:?}: {warnings:?}");
    }
}

#[test]
fn the_data_directory_follows_the_desktop_specification() {
    for (given, dir) in [
        (vec![("TARTARUS_DATA_DIR", "x")], "x"),
        (vec![("XDG_STATE_HOME", "/s"), ("HOME", "/h")], "/s/tartarus/olympus"),
        (vec![("XDG_STATE_HOME", "relative"), ("HOME", "/h")], "/h/.local/state/tartarus/olympus"),
        (vec![("HOME", "/h")], "/h/.local/state/tartarus/olympus"),
        (vec![], ".tartarus/olympus"),
    ] {
        assert_eq!(good(&given).data_dir.to_str(), Some(dir), "{given:?}");
    }
}

//! Reading the variables: one function a form, every complaint collected.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use journal::{Address, ClusterId, Durability};
use secret::Secret;

use crate::keep::{DEFAULT_ARCHIVE_BYTES, DEFAULT_SNAPSHOT_BYTES, DEFAULT_SNAPSHOT_EVERY};

use super::{
    AuthMode, Config, ConfigError, DEFAULT_CHECKPOINT_EVERY, DEFAULT_KEY_PREFIX, DEFAULT_NODE_TTL,
    DEFAULT_QUEUE_KEY, DEFAULT_QUEUE_MAX, Environment, Origin, POLICIES_KEY, Program, SPAN_MAX,
    Setting, TOKEN_LEN_MIN,
};

/// Every name that begins with `TARTARUS_` and means something to one of the programs.
pub const KNOWN: [&str; 34] = [
    "TARTARUS_ADDR",
    "TARTARUS_ADVERTISE_URL",
    "TARTARUS_ARCHIVE",
    "TARTARUS_ARCHIVE_BYTES",
    "TARTARUS_AUTH",
    "TARTARUS_BOOTSTRAP_TOKEN",
    "TARTARUS_BOOTSTRAP_TOKEN_FILE",
    tls::CA_FILE,
    "TARTARUS_CHECKPOINT_EVERY",
    "TARTARUS_CLUSTER_ID",
    "TARTARUS_DATA_DIR",
    "TARTARUS_DRAIN_GRACE",
    "TARTARUS_DURABILITY",
    "TARTARUS_ENV",
    "TARTARUS_ISOLATION_MAY_MISS",
    "TARTARUS_KEY_PREFIX",
    "TARTARUS_LISTEN_ADDR",
    "TARTARUS_LOG_FORMAT",
    "TARTARUS_NODE_CPU_MILLI",
    "TARTARUS_NODE_GPUS",
    "TARTARUS_NODE_ID",
    "TARTARUS_NODE_MEM_MB",
    "TARTARUS_NODE_TTL",
    "TARTARUS_QUARANTINE",
    "TARTARUS_QUEUE_MAX",
    "TARTARUS_REDIS_WAIT",
    "TARTARUS_RUNTIME",
    "TARTARUS_SNAPSHOT_BYTES",
    "TARTARUS_SNAPSHOT_EVERY",
    tls::CERT_FILE,
    tls::KEY_FILE,
    "TARTARUS_TOKEN",
    "TARTARUS_TOKEN_FILE",
    "TARTARUS_TRIM",
];

/// The highest database number that Redis could be configured to have.
const DB_MAX: u32 = 2_147_483_646;
/// A key of Redis is a word here: long enough for any naming scheme, short in every log line.
const KEY_MAX: usize = 128;
/// Bounds of a number of bytes of journal: fewer than an entry has, and more than a Redis holds, is
/// a slip.
const BYTES_MIN: u64 = 4_096;
const BYTES_MAX: u64 = 1 << 40;

pub(super) fn read(
    program: Program,
    env: &dyn Fn(&str) -> Option<String>,
    vars: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut reader = Reader { env, complaints: Vec::new() };
    let env = reader.environment();
    let (redis, redis_reason) = reader.redis(program, &env);
    let key_prefix = reader.text("TARTARUS_KEY_PREFIX", DEFAULT_KEY_PREFIX, key);
    let redis_queue_key = reader.text("REDIS_QUEUE_KEY", DEFAULT_QUEUE_KEY, key);
    reader.queue_key_is_free(&redis_queue_key, &key_prefix);
    let auth = reader.word(
        "TARTARUS_AUTH",
        match env.value {
            Environment::Development => AuthMode::Off,
            Environment::Production => AuthMode::Token,
        },
        &[("off", AuthMode::Off), ("token", AuthMode::Token)],
    );
    let listen_addr = reader.text("TARTARUS_LISTEN_ADDR", "127.0.0.1:8080", listen_addr);
    let mut config = Config {
        redis,
        redis_reason,
        redis_db: reader.parsed("REDIS_DB", 0, |text| match text.parse() {
            Ok(db) if db <= DB_MAX => Ok(db),
            _ => Err("give the number of a database, such as 0".into()),
        }),
        redis_username: reader.optional("REDIS_USERNAME", |text| Ok(text.to_owned())),
        redis_password: reader.secret("REDIS_PASSWORD", "REDIS_PASSWORD_FILE"),
        redis_wait: reader.span("TARTARUS_REDIS_WAIT", journal::limits::DEFAULT_WAIT),
        cluster_id: reader.optional("TARTARUS_CLUSTER_ID", |text| {
            ClusterId::from_str(text)
                .map_err(|_| "give the UUID that the log of the first start shows".into())
        }),
        durability: reader.optional("TARTARUS_DURABILITY", |text| {
            Durability::from_str(text)
                .map_err(|_| format!("give one of {}", Durability::NAMES.join(", ")))
        }),
        tls: reader.tls(program),
        advertise_url: reader.optional("TARTARUS_ADVERTISE_URL", advertise_url),
        data_dir: reader.data_dir(),
        quarantine_on: reader.word("TARTARUS_QUARANTINE", true, &[("on", true), ("off", false)]),
        queue_max: reader.parsed("TARTARUS_QUEUE_MAX", DEFAULT_QUEUE_MAX, |text| {
            match text.parse() {
                Ok(most) if most > 0 => Ok(most),
                _ => Err("give how many runs may wait, such as 1000000".into()),
            }
        }),
        node_ttl: reader.span("TARTARUS_NODE_TTL", DEFAULT_NODE_TTL),
        checkpoint_every: reader.span("TARTARUS_CHECKPOINT_EVERY", DEFAULT_CHECKPOINT_EVERY),
        archive: reader.optional("TARTARUS_ARCHIVE", archive),
        archive_bytes: reader.bytes("TARTARUS_ARCHIVE_BYTES", DEFAULT_ARCHIVE_BYTES),
        snapshot_bytes: reader.bytes("TARTARUS_SNAPSHOT_BYTES", DEFAULT_SNAPSHOT_BYTES),
        snapshot_every: reader.span("TARTARUS_SNAPSHOT_EVERY", DEFAULT_SNAPSHOT_EVERY),
        trim: reader.word("TARTARUS_TRIM", true, &[("on", true), ("off", false)]),
        bootstrap_token: reader.secret("TARTARUS_BOOTSTRAP_TOKEN", "TARTARUS_BOOTSTRAP_TOKEN_FILE"),
        warnings: Vec::new(),
        env,
        redis_queue_key,
        key_prefix,
        auth,
        listen_addr,
    };
    reader.token_is_usable(&config.bootstrap_token);
    if let (Some(_), Some(url)) = (&*config.tls, &*config.advertise_url)
        && url.starts_with("http://")
    {
        reader.complain("TARTARUS_ADVERTISE_URL", url, "this instance speaks TLS: write https://");
    }
    config.warnings = warnings(&config, reader.env, vars);
    if reader.complaints.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { complaints: reader.complaints })
    }
}

fn warnings(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
    vars: impl Iterator<Item = (String, String)>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.redis.is_none() {
        warnings.push(format!(
            "{}; the state is in memory and ends with this process",
            config.redis_reason
        ));
    }
    let listen_addr = &*config.listen_addr;
    if config.auth.value == AuthMode::Off && !is_loopback(listen_addr) {
        warnings.push(format!(
            "TARTARUS_AUTH is off and TARTARUS_LISTEN_ADDR is {listen_addr}: everyone who reaches \
             it may run programs here; set TARTARUS_AUTH=token"
        ));
    }
    // A journal in memory is not archived.
    let archive = config.archive.as_deref().filter(|_| config.redis.is_some());
    if let Some(place) = archive.filter(|place| place.starts_with("s3://")) {
        warnings.extend(store_warnings(place, env));
    }
    let mut unknown: Vec<String> = vars
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("TARTARUS_") && !KNOWN.contains(&&**name))
        .collect();
    unknown.sort_unstable();
    warnings.extend(unknown.into_iter().map(|name| match api::parse::nearest(&name, &KNOWN) {
        Some(near) => format!("{name} means nothing here: did you mean {near}?"),
        None => format!("{name} means nothing here"),
    }));
    warnings
}

/// What a bucket needs beside its name, and is not there: it is asked only when there is something
/// to archive.
fn store_warnings(place: &str, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    let mut warnings = Vec::new();
    if let Err(why) = replay::archive::endpoint(env) {
        warnings.push(format!("TARTARUS_ARCHIVE is {place}, and nothing is archived: {why}"));
    }
    let missing: Vec<&str> = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .into_iter()
        .filter(|name| !set(name))
        .collect();
    if !missing.is_empty() {
        warnings.push(format!(
            "TARTARUS_ARCHIVE is {place}, and {} is not set: the store will want it, unless this \
             machine has a role there",
            missing.join(" or ")
        ));
    }
    warnings
}

struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    complaints: Vec<String>,
}

impl Reader<'_> {
    /// The value of a variable; an empty one counts as not set.
    fn given(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    fn complain(&mut self, name: &str, value: &str, hint: &str) {
        // A URL may carry a password before its `@`.
        let shown = match (value.split_once("://"), value.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
            _ => value.to_owned(),
        };
        self.complaints.push(format!("{name} is {shown:?}: {hint}"));
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        default: T,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Setting<T> {
        let Some(text) = self.given(name) else { return Setting::default(default) };
        match read(text.trim()) {
            Ok(value) => Setting { value, origin: Origin::Environment },
            Err(hint) => {
                self.complain(name, &text, &hint);
                Setting::default(default)
            }
        }
    }

    fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Setting<Option<T>> {
        self.parsed(name, None, |text| read(text).map(Some))
    }

    fn text(
        &mut self,
        name: &str,
        default: &str,
        read: fn(&str) -> Result<String, String>,
    ) -> Setting<String> {
        self.parsed(name, default.to_owned(), read)
    }

    fn word<T: Copy>(&mut self, name: &str, default: T, words: &[(&str, T)]) -> Setting<T> {
        self.parsed(name, default, |text| {
            let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
            found.map(|(_, value)| *value).ok_or_else(|| {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("give {}", known.join(" or "))
            })
        })
    }

    fn bytes(&mut self, name: &str, default: u64) -> Setting<u64> {
        self.parsed(name, default, |text| match text.parse() {
            Ok(bytes) if (BYTES_MIN..=BYTES_MAX).contains(&bytes) => Ok(bytes),
            _ => Err(format!("give a number of bytes from {BYTES_MIN} to {BYTES_MAX}")),
        })
    }

    fn span(&mut self, name: &str, default: Duration) -> Setting<Duration> {
        self.parsed(name, default, |text| {
            let span = api::Duration::from_str(text).map_err(|e| e.to_string())?.to_std();
            if span.is_zero() || span > SPAN_MAX {
                return Err("give more than nothing and at most 365d, such as \"30s\"".into());
            }
            Ok(span)
        })
    }

    /// Both files or none. Instances with an agent in the same process speak plain HTTP.
    fn tls(&mut self, program: Program) -> Setting<Option<(PathBuf, PathBuf)>> {
        if program == Program::Embedded {
            return Setting::program(None);
        }
        let (set, other) = match (self.given(tls::CERT_FILE), self.given(tls::KEY_FILE)) {
            (None, None) => return Setting::default(None),
            (Some(cert), Some(key)) => {
                let files = (PathBuf::from(cert), PathBuf::from(key));
                return Setting { value: Some(files), origin: Origin::Environment };
            }
            (Some(_), None) => (tls::CERT_FILE, tls::KEY_FILE),
            (None, Some(_)) => (tls::KEY_FILE, tls::CERT_FILE),
        };
        self.complaints.push(format!("{set} is set and {other} is not: set both, or none"));
        Setting::default(None)
    }

    fn environment(&mut self) -> Setting<Environment> {
        self.word(
            "TARTARUS_ENV",
            Environment::Development,
            &[("development", Environment::Development), ("production", Environment::Production)],
        )
    }

    /// Production names its Redis; elsewhere one that is not named is a default, and an empty name asks
    /// for memory.
    fn redis(
        &mut self,
        program: Program,
        env: &Setting<Environment>,
    ) -> (Setting<Option<Address>>, String) {
        const NAME: &str = "REDIS_ADDR";
        let given = (self.env)(NAME);
        if let (Environment::Production, None | Some("")) = (env.value, given.as_deref()) {
            let what = if given.is_some() { "empty" } else { "not set" };
            self.complaints.push(format!(
                "REDIS_ADDR is {what}, and TARTARUS_ENV=production keeps its state in Redis: set \
                 REDIS_ADDR to host:port, such as localhost:6379"
            ));
            return (Setting::default(None), String::new());
        }
        match given.as_deref() {
            None => match program {
                Program::Olympus => {
                    let local = Address { host: "localhost".into(), port: 6379 };
                    let why = "REDIS_ADDR is not set: the default in development";
                    (Setting::default(Some(local)), why.into())
                }
                Program::Embedded => {
                    let why = "REDIS_ADDR is not set: an embedded instance keeps its state in \
                               memory";
                    (Setting::default(None), why.into())
                }
            },
            Some("") => {
                let setting = Setting { value: None, origin: Origin::Environment };
                (setting, "REDIS_ADDR is empty: in-memory storage was asked for".into())
            }
            Some(text) => match Address::from_str(text) {
                Ok(address) => {
                    let setting = Setting { value: Some(address), origin: Origin::Environment };
                    (setting, "REDIS_ADDR is set".into())
                }
                // Its words show the value, without a password that a URL may carry.
                Err(bad) => {
                    self.complaints.push(format!("{NAME} is wrong: {bad}"));
                    (Setting::default(None), String::new())
                }
            },
        }
    }

    fn secret(&mut self, name: &str, file_name: &str) -> Setting<Option<Secret>> {
        let direct = self.given(name);
        let Some(path) = self.given(file_name) else {
            return match direct {
                Some(text) => {
                    Setting { value: Some(Secret::new(text)), origin: Origin::Environment }
                }
                None => Setting::default(None),
            };
        };
        if direct.is_some() {
            self.complaints.push(format!("{name} and {file_name} are both set: set one of them"));
            return Setting::default(None);
        }
        match Secret::of_file(Path::new(&path)) {
            Ok(secret) => {
                Setting { value: Some(secret), origin: Origin::File(PathBuf::from(path)) }
            }
            Err(why) => {
                self.complain(file_name, &path, &why);
                Setting::default(None)
            }
        }
    }

    fn token_is_usable(&mut self, token: &Setting<Option<Secret>>) {
        let name = token.said_by("TARTARUS_BOOTSTRAP_TOKEN");
        let Some(token) = token.value.as_ref().map(Secret::reveal) else { return };
        if token.len() < TOKEN_LEN_MIN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            self.complaints.push(format!(
                "the token of {name} is too short or has blanks: give at least {TOKEN_LEN_MIN} \
                 visible ASCII characters, as `openssl rand -hex 32` makes them"
            ));
        }
    }

    /// `$XDG_STATE_HOME/tartarus/olympus` (XDG Base Directory Specification), else
    /// `~/.local/state/tartarus/olympus`, else `.tartarus/olympus`: a directory of its own, since
    /// an agent on the same machine has another.
    fn data_dir(&mut self) -> Setting<PathBuf> {
        if let Some(given) = self.given("TARTARUS_DATA_DIR") {
            return Setting { value: PathBuf::from(given), origin: Origin::Environment };
        }
        let absolute = |path: String| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let state = self.given("XDG_STATE_HOME").and_then(absolute);
        let home = || self.given("HOME").and_then(absolute).map(|home| home.join(".local/state"));
        let dir = match state.or_else(home) {
            Some(state) => state.join("tartarus/olympus"),
            None => PathBuf::from(".tartarus/olympus"),
        };
        Setting::default(dir)
    }

    fn queue_key_is_free(&mut self, queue_key: &str, prefix: &str) {
        let own = ["journal", "head", "meta", "leader", "sync"];
        let families = ["node:", "instance:", "snapshot:"];
        // Beside each shown key is the entry that it shows.
        let taken = queue_key.strip_suffix(":cursor").unwrap_or(queue_key) == POLICIES_KEY
            || queue_key.strip_prefix(prefix).is_some_and(|rest| {
                own.contains(&rest) || families.iter().any(|family| rest.starts_with(family))
            });
        if taken {
            self.complain(
                "REDIS_QUEUE_KEY",
                queue_key,
                &format!(
                    "that key holds something else: choose another, such as {DEFAULT_QUEUE_KEY}"
                ),
            );
        }
    }
}

/// `parse` would take a sign.
fn port_is_plain(text: &str) -> bool {
    text.rsplit(':').next().is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

/// A DNS name or an IPv4 address; underscores are what container networks put into names.
fn is_host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn listen_addr(text: &str) -> Result<String, String> {
    let form = "write host:port, such as 127.0.0.1:8080 or [::]:8080; port 0 picks a free one";
    let (host, port) = text.rsplit_once(':').ok_or(form)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good_host = match bracketed {
        Some(inner) => Ipv6Addr::from_str(inner).is_ok(),
        None => is_host(host),
    };
    let good_port = port_is_plain(text) && port.parse::<u16>().is_ok();
    if good_host && good_port { Ok(text.to_owned()) } else { Err(form.into()) }
}

/// Whether only this machine reaches it.
fn is_loopback(listen_addr: &str) -> bool {
    let host = listen_addr.rsplit_once(':').map_or(listen_addr, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn advertise_url(text: &str) -> Result<String, String> {
    let form = "write the URL that others reach this instance by, such as http://10.0.0.5:8080";
    let text = text.trim_end_matches('/');
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    // The journal keeps it behind a blank, and logs show it: no blanks, no credentials.
    let good = rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty()
            && rest.bytes().all(|b| b.is_ascii_graphic())
            && !rest.contains(['@', '?', '#'])
    });
    if good { Ok(text.to_owned()) } else { Err(form.into()) }
}

fn archive(text: &str) -> Result<String, String> {
    let bucket = text.strip_prefix("s3://").map(|rest| rest.split('/').next().unwrap_or_default());
    match bucket {
        Some("") => Err("name the bucket, as in s3://bucket/prefix".into()),
        None if text.contains("://") => Err("give a directory, or s3://bucket/prefix".into()),
        Some(_) | None => Ok(text.to_owned()),
    }
}

fn key(text: &str) -> Result<String, String> {
    if (1..=KEY_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!("give 1 to {KEY_MAX} visible ASCII characters"))
    }
}

//! Configuration: what the environment says, where each value came from, and what is wrong with it.
//!
//! Owns:   every variable of the control plane, its default and its form; the README lists them.
//! Hears:  the environment, as a function and a list, so that tests need no process.
//! Says:   [`Config`], or every bad value at once ([`ConfigError`]), never a secret's.
//! Never:  connects anywhere, or falls back in silence: a bad value ends the start with exit code 2.
//! Proof:  `config/tests.rs`.

mod effective;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use journal::{ClusterId, Durability, RedisConfig};
use secret::Secret;

pub use effective::Effective;
pub use journal::Address;
pub use read::KNOWN;

/// Most runs that may wait where `TARTARUS_QUEUE_MAX` does not say: at about 2,060 bytes each in
/// lines, registry and view it is some 2.1 GB, and at 100 placements a second almost three hours of
/// work; whoever waits behind more should be told to come back.
pub const DEFAULT_QUEUE_MAX: usize = 1_000_000;
/// Time to live of a node's heartbeat where `TARTARUS_NODE_TTL` does not say: an agent beats three
/// times in it, and a rack may lose its switch for 20 s without losing its runs.
pub const DEFAULT_NODE_TTL: Duration = Duration::from_secs(30);
/// How often a checkpoint is signed where `TARTARUS_CHECKPOINT_EVERY` does not say: what may be
/// rewritten without breaking a signature is then at most a minute's.
pub const DEFAULT_CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Longest `TARTARUS_NODE_TTL`, `TARTARUS_REDIS_WAIT` and `TARTARUS_CHECKPOINT_EVERY`: beyond a year it is a slip, and adding
/// it to a clock must not overflow.
pub const SPAN_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Least length of `TARTARUS_BOOTSTRAP_TOKEN`: 16 characters of hex are 64 bits, beyond guessing
/// over a network.
pub const TOKEN_LEN_MIN: usize = 16;
/// Default of `REDIS_QUEUE_KEY`.
pub const DEFAULT_QUEUE_KEY: &str = "tartarus:queue";
/// Default of `TARTARUS_KEY_PREFIX`.
pub const DEFAULT_KEY_PREFIX: &str = "tartarus:";
/// The hash of policies, whose name the requirements fix.
pub const POLICIES_KEY: &str = "themis:policies";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The variable of that name.
    Environment,
    /// The file that the variable's `_FILE` twin names.
    File(PathBuf),
    /// Nobody said anything.
    Default,
    /// The program itself: `dev` and embedded instances.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
            Self::Program => f.write_str("program"),
        }
    }
}

/// A value and where it came from. Not to be cloned whole, so that `clone` reaches the value.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value that the program itself chose.
    pub fn program(value: T) -> Self {
        Self { value, origin: Origin::Program }
    }

    fn default(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    /// The variable that was set, where `name` and its `_FILE` twin may both say a secret.
    pub fn said_by(&self, name: &str) -> String {
        let file = match &self.origin {
            Origin::File(path) => Some(path.as_path()),
            Origin::Environment | Origin::Default | Origin::Program => None,
        };
        secret::said_by(name, file)
    }
}

impl<T> std::ops::Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// `TARTARUS_ENV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Defaults that suit one person and one machine.
    Development,
    /// Redis and a token are required.
    Production,
}

impl Environment {
    /// The word of the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
        }
    }
}

/// `TARTARUS_AUTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Nobody is asked for a token.
    Off,
    /// Every call but `/healthz` and `/readyz` needs the bearer token.
    Token,
}

impl AuthMode {
    /// The word of the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Token => "token",
        }
    }
}

/// Who reads the environment: the defaults of `REDIS_ADDR` differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `tartarus olympus`: Redis at `localhost:6379` where nothing is said, in development.
    Olympus,
    /// `tartarus dev`, and `tartarus run` without a server: in memory unless `REDIS_ADDR` is set.
    Embedded,
}

/// The configuration of one instance.
#[derive(Debug)]
pub struct Config {
    /// `TARTARUS_ENV`.
    pub env: Setting<Environment>,
    /// `REDIS_ADDR`; none keeps everything in memory.
    pub redis: Setting<Option<Address>>,
    /// Why that backend was chosen, in words for the log.
    pub redis_reason: String,
    /// `REDIS_DB`.
    pub redis_db: Setting<u32>,
    /// `REDIS_QUEUE_KEY`.
    pub redis_queue_key: Setting<String>,
    /// `REDIS_USERNAME`.
    pub redis_username: Setting<Option<String>>,
    /// `REDIS_PASSWORD`, or the content of `REDIS_PASSWORD_FILE`.
    pub redis_password: Setting<Option<Secret>>,
    /// `TARTARUS_REDIS_WAIT`: how long a start waits for Redis.
    pub redis_wait: Setting<Duration>,
    /// `TARTARUS_KEY_PREFIX`: begins every key but the two that the requirements name.
    pub key_prefix: Setting<String>,
    /// `TARTARUS_CLUSTER_ID`: the cluster this instance belongs to, whatever its directory says.
    pub cluster_id: Setting<Option<ClusterId>>,
    /// `TARTARUS_DURABILITY`: what Redis must promise; none takes what it does.
    pub durability: Setting<Option<Durability>>,
    /// `TARTARUS_LISTEN_ADDR`, as `host:port`; port 0 picks a free one.
    pub listen_addr: Setting<String>,
    /// `TARTARUS_TLS_CERT_FILE` and `TARTARUS_TLS_KEY_FILE`; without them it speaks plain HTTP.
    pub tls: Setting<Option<(PathBuf, PathBuf)>>,
    /// `TARTARUS_ADVERTISE_URL`, without a slash at its end; none advertises the bound address.
    pub advertise_url: Setting<Option<String>>,
    /// `TARTARUS_DATA_DIR`.
    pub data_dir: Setting<PathBuf>,
    /// `TARTARUS_QUARANTINE`: whether quarantine verdicts are switched on.
    pub quarantine_on: Setting<bool>,
    /// `TARTARUS_QUEUE_MAX`: most runs that may wait.
    pub queue_max: Setting<usize>,
    /// `TARTARUS_NODE_TTL`: after so long without a heartbeat a node is lost.
    pub node_ttl: Setting<Duration>,
    /// `TARTARUS_CHECKPOINT_EVERY`: how often a checkpoint is signed, if anything was appended.
    pub checkpoint_every: Setting<Duration>,
    /// `TARTARUS_ARCHIVE`: a directory or `s3://bucket/prefix`; none is a directory of the data
    /// directory.
    pub archive: Setting<Option<String>>,
    /// `TARTARUS_ARCHIVE_BYTES`: bytes of journal in a segment.
    pub archive_bytes: Setting<u64>,
    /// `TARTARUS_SNAPSHOT_BYTES`: bytes of journal between two snapshots.
    pub snapshot_bytes: Setting<u64>,
    /// `TARTARUS_SNAPSHOT_EVERY`: time between two.
    pub snapshot_every: Setting<Duration>,
    /// `TARTARUS_TRIM`: whether what is archived leaves Redis.
    pub trim: Setting<bool>,
    /// `TARTARUS_AUTH`.
    pub auth: Setting<AuthMode>,
    /// `TARTARUS_BOOTSTRAP_TOKEN`, or the content of its file; none makes one at the first start.
    pub bootstrap_token: Setting<Option<Secret>>,
    /// What an operator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Why a start ends: every bad value, each with its variable and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .complaints.join("\n"))]
pub struct ConfigError {
    complaints: Vec<String>,
}

impl ConfigError {
    /// Exit code of a server that ends with this.
    pub const EXIT_CODE: u8 = 2;

    /// One sentence for each bad value.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

impl Config {
    /// Reads the environment of `tartarus olympus`: values through `env`, and all names through
    /// `vars`, so that a slip in a name gets a warning.
    ///
    /// # Errors
    /// Every bad value.
    pub fn from_env(
        env: &dyn Fn(&str) -> Option<String>,
        vars: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::read(Program::Olympus, env, vars)
    }

    /// Reads the environment of `program`.
    ///
    /// # Errors
    /// Every bad value.
    pub fn read(
        program: Program,
        env: &dyn Fn(&str) -> Option<String>,
        vars: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        read::read(program, env, vars)
    }

    /// Reads the environment of this process.
    ///
    /// # Errors
    /// Every bad value.
    pub fn of_process(program: Program) -> Result<Self, ConfigError> {
        // Names and values that are not UTF-8 can't be any of ours.
        let vars: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let env = |name: &str| {
            vars.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
        };
        Self::read(program, &env, vars.iter().cloned())
    }

    /// What the Redis journal needs to know; none where everything stays in memory.
    pub fn redis_config(&self) -> Option<RedisConfig> {
        Some(RedisConfig {
            address: self.redis.value.clone()?,
            db: *self.redis_db,
            username: self.redis_username.value.clone(),
            password: self.redis_password.value.clone(),
            password_file: match &self.redis_password.origin {
                Origin::File(path) => Some(path.clone()),
                _ => None,
            },
            key_prefix: self.key_prefix.value.clone(),
            queue_key: self.redis_queue_key.value.clone(),
            wait: *self.redis_wait,
            durability: *self.durability,
        })
    }
}

//! The agent's configuration, and where each value came from.
//!
//! Owns:   the variables of `docs/operations.md` that an agent reads, their syntax and defaults.
//! Hears:  a function from a variable's name to its value: the process's environment, or a test's.
//! Says:   a [`Config`], or one sentence that names the variable and the value.
//! Never:  shows a secret.
//! Proof:  `config/tests.rs`; `tests/tests/seed/configuration.rs`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use domain::Texts;
use domain::ids::NodeId;
use domain::submission::Demand;
use secret::Secret;

use crate::capacity;
use crate::discovery::{Find, Redis, Url, Urls};

mod labels;
#[cfg(test)]
mod tests;

pub use labels::odd_labels;

/// Every variable an agent reads.
pub const VARIABLES: [&str; 20] = [
    "TARTARUS_ENV",
    "TARTARUS_ADDR",
    "TARTARUS_TOKEN",
    "TARTARUS_TOKEN_FILE",
    tls::CA_FILE,
    "REDIS_ADDR",
    "REDIS_DB",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_PASSWORD_FILE",
    "TARTARUS_KEY_PREFIX",
    "TARTARUS_NODE_ID",
    "HADES_LABEL",
    "TARTARUS_NODE_CPU_MILLI",
    "TARTARUS_NODE_MEM_MB",
    "TARTARUS_NODE_GPUS",
    "TARTARUS_RUNTIME",
    "TARTARUS_DATA_DIR",
    "TARTARUS_ISOLATION_MAY_MISS",
    "TARTARUS_DRAIN_GRACE",
];

/// Work that ends this soon after SIGTERM may end: less than the ten seconds after which
/// `docker stop` kills, with room for the last reports.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Everything an agent needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name; unique in the cluster.
    pub node: NodeId,
    /// Labels, which decide its pool.
    pub labels: Texts,
    /// What attempts may use, all together.
    pub capacity: Demand,
    /// `embedded`, or the name or path of an OCI runtime.
    pub runtime: String,
    /// Where sandboxes, images and spools are kept. One agent a directory.
    pub data_dir: PathBuf,
    /// Where Olympus is.
    pub olympus: Find,
    /// The bearer token for Olympus.
    pub token: Option<Secret>,
    /// The file it was read from.
    pub token_file: Option<PathBuf>,
    /// Which isolation the node may do without.
    pub isolation: Demanded,
    /// After being told to stop, how long work may go on.
    pub drain_grace: Duration,
    /// Name, shown value and origin of each setting, for the log.
    pub origins: Vec<Setting>,
}

/// What must be enforced before a node registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demanded {
    /// Nothing; what is missing is logged, and told to Olympus. The default in development.
    Nothing,
    /// All of [`sandbox::Isolation::FEATURES`] but these. The default in production, with none.
    AllBut(Vec<String>),
}

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// Its value; stars for a secret.
    pub shown: String,
    /// `environment`, `file`, `default`, or what else decided it.
    pub origin: &'static str,
}

/// A setting that can't be used. The message names the variable and, unless it is a secret, the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Looks variables up, and remembers what was found.
struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    origins: Vec<Setting>,
}

impl Reader<'_> {
    /// A trimmed value; empty counts as unset.
    fn text(&self, name: &str) -> Option<String> {
        let value = (self.variable)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn note(&mut self, name: &'static str, shown: &dyn fmt::Display, origin: &'static str) {
        self.origins.push(Setting { name, shown: shown.to_string(), origin });
    }

    /// A value of its own syntax, or a default.
    fn value<T: FromStr + fmt::Display>(
        &mut self,
        name: &'static str,
        default: impl FnOnce() -> T,
        form: &str,
    ) -> Result<T, ConfigError> {
        let (value, origin) = match self.text(name) {
            None => (default(), "default"),
            Some(text) => match text.parse() {
                Ok(value) => (value, "environment"),
                Err(_) => return Err(ConfigError(format!("{name}={text:?} is not {form}"))),
            },
        };
        self.note(name, &value, origin);
        Ok(value)
    }

    /// A secret, from its variable or from the file its twin names. Empty means none.
    fn secret(
        &mut self,
        name: &'static str,
        twin: &'static str,
    ) -> Result<Option<Secret>, ConfigError> {
        let direct = (self.variable)(name).filter(|value| !value.is_empty());
        let (secret, origin) = match (direct, self.text(twin)) {
            (Some(_), Some(_)) => {
                return Err(ConfigError(format!(
                    "{name} and {twin} are both set: set one of them"
                )));
            }
            (Some(value), None) => (Secret::new(value), "environment"),
            (None, None) => return Ok(None),
            (None, Some(path)) => match Secret::of_file(Path::new(&path)) {
                Ok(secret) => (secret, "file"),
                Err(why) => return Err(ConfigError(format!("{twin}={path:?}: {why}"))),
            },
        };
        self.note(name, &"***", origin);
        Ok(Some(secret))
    }
}

impl Config {
    /// Reads the configuration of `tartarus agent`.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn from_env(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut read = Reader { variable, origins: Vec::new() };
        let production = environment(&mut read)?;
        let token = read.secret("TARTARUS_TOKEN", "TARTARUS_TOKEN_FILE")?;
        // `secret` has read it.
        let token_file = read.text("TARTARUS_TOKEN_FILE").map(PathBuf::from);
        if token.as_ref().is_some_and(|token| !is_header_text(token.reveal())) {
            let name = secret::said_by("TARTARUS_TOKEN", token_file.as_deref());
            return Err(ConfigError(format!(
                "{name} holds a character that can't be sent: use visible ASCII"
            )));
        }
        let olympus = olympus(&mut read, production)?;
        let node = node(&mut read)?;
        let labels = labels(&mut read)?;
        let capacity = capacity(&mut read)?;
        let runtime =
            read.value("TARTARUS_RUNTIME", || "embedded".to_owned(), "a runtime's name or path")?;
        let data_dir = data_dir(&mut read)?;
        let isolation = isolation(&mut read, production)?;
        let drain_grace = read
            .value(
                "TARTARUS_DRAIN_GRACE",
                || api::Duration::from(DRAIN_GRACE),
                "a duration such as \"5s\"",
            )?
            .to_std();
        let origins = read.origins;
        Ok(Self {
            node,
            labels,
            capacity,
            runtime,
            data_dir,
            olympus,
            token,
            token_file,
            isolation,
            drain_grace,
            origins,
        })
    }

    /// The configuration of an agent in the same process as its Olympus: `olympus` and `token` say
    /// where that is, the environment what the node is.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn embedded(
        variable: &dyn Fn(&str) -> Option<String>,
        olympus: &str,
        token: Option<Secret>,
        data_dir: PathBuf,
    ) -> Result<Self, ConfigError> {
        let mut read = Reader { variable, origins: Vec::new() };
        let production = environment(&mut read)?;
        let url = olympus
            .parse()
            .map_err(|error| ConfigError(format!("olympus at {olympus:?}: {error}")))?;
        Ok(Self {
            node: node(&mut read)?,
            labels: labels(&mut read)?,
            capacity: capacity(&mut read)?,
            runtime: read.value(
                "TARTARUS_RUNTIME",
                || "embedded".to_owned(),
                "a runtime's name or path",
            )?,
            data_dir,
            olympus: Find::At(url),
            token,
            token_file: read.text("TARTARUS_TOKEN_FILE").map(PathBuf::from),
            isolation: isolation(&mut read, production)?,
            drain_grace: Duration::ZERO,
            origins: read.origins,
        })
    }

    /// Logs every setting and where it came from, secrets masked.
    pub fn log(&self) {
        for Setting { name, shown, origin } in &self.origins {
            log::info!(value = shown.as_str(), origin = *origin; "configured {name}");
        }
    }
}

/// Whether this is production.
fn environment(read: &mut Reader<'_>) -> Result<bool, ConfigError> {
    let (production, origin) = match read.text("TARTARUS_ENV") {
        None => (false, "default"),
        Some(text) => match text.to_lowercase().as_str() {
            "development" => (false, "environment"),
            "production" => (true, "environment"),
            _ => {
                return Err(ConfigError(format!(
                    "TARTARUS_ENV={text:?} is neither \"development\" nor \"production\""
                )));
            }
        },
    };
    read.note("TARTARUS_ENV", &if production { "production" } else { "development" }, origin);
    Ok(production)
}

/// Where Olympus is. In production nothing is guessed.
fn olympus(read: &mut Reader<'_>, production: bool) -> Result<Find, ConfigError> {
    if let Some(text) = read.text("TARTARUS_ADDR") {
        let urls: Urls =
            text.parse().map_err(|error| ConfigError(format!("TARTARUS_ADDR={text:?} {error}")))?;
        read.note("TARTARUS_ADDR", &urls, "environment");
        return Ok(Find::At(urls));
    }
    let given = (read.variable)("REDIS_ADDR").map(|value| value.trim().to_owned());
    let (address, origin) = match given {
        Some(address) if !address.is_empty() => (address, "environment"),
        Some(_) | None if production => {
            return Err(ConfigError(
                "the agent can't find Olympus: in production set TARTARUS_ADDR (its URL) or \
                 REDIS_ADDR (host:port of its Redis)"
                    .into(),
            ));
        }
        Some(_) => {
            let url = Url::local();
            read.note("TARTARUS_ADDR", &url, "default, as REDIS_ADDR is empty");
            return Ok(Find::At(url.into()));
        }
        None => ("localhost:6379".to_owned(), "default"),
    };
    let (host, port) = host_port(&address).ok_or_else(|| {
        let right = address.split_once("://").map_or("localhost:6379", |(_, rest)| rest);
        ConfigError(format!(
            "REDIS_ADDR={address:?} is not host:port: write it like {right:?}, without a scheme"
        ))
    })?;
    read.note("REDIS_ADDR", &address, origin);
    let db = read.value("REDIS_DB", || 0_u32, "a database number, 0 or more")?;
    if db > i32::MAX.unsigned_abs() {
        return Err(ConfigError(format!("REDIS_DB={db} is out of range")));
    }
    let username = read.text("REDIS_USERNAME");
    if let Some(name) = &username {
        read.note("REDIS_USERNAME", name, "environment");
    }
    let password = read.secret("REDIS_PASSWORD", "REDIS_PASSWORD_FILE")?;
    let prefix = read.value("TARTARUS_KEY_PREFIX", || "tartarus:".to_owned(), "a key prefix")?;
    // `secret` has read it.
    let password_file = read.text("REDIS_PASSWORD_FILE").map(PathBuf::from);
    Ok(Find::Through(Redis { host, port, db, username, password, password_file, prefix }))
}

/// `host:port` or `[v6]:port`, no URL.
fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => host,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bare.is_empty() || (host == bare && !bare.chars().all(plain)) {
        return None;
    }
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((bare.to_owned(), port))
}

/// The node's name: what was given, else the host's.
fn node(read: &mut Reader<'_>) -> Result<NodeId, ConfigError> {
    let (name, origin) = match read.text("TARTARUS_NODE_ID") {
        Some(name) => (name, "environment"),
        None => {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            (host, "host name")
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > NodeId::MAX_LEN || !name.chars().all(plain) {
        return Err(ConfigError(format!(
            "TARTARUS_NODE_ID={name:?} ({origin}) is no node name: use at most {} letters, digits, \
             \"-\", \"_\" or \".\"",
            NodeId::MAX_LEN
        )));
    }
    read.note("TARTARUS_NODE_ID", &name, origin);
    Ok(NodeId::new(&name))
}

/// Labels, which decide the pool.
fn labels(read: &mut Reader<'_>) -> Result<Texts, ConfigError> {
    let text = read.text("HADES_LABEL").unwrap_or_default();
    let labels = api::labels::parse_list(&text).map_err(|error| {
        ConfigError(format!(
            "HADES_LABEL={text:?}: {error}; write key=value,key=value, such as \
             \"tartarus.io/phlegethon=true\""
        ))
    })?;
    let origin = if text.is_empty() { "default" } else { "environment" };
    read.note("HADES_LABEL", &text, origin);
    Ok(labels)
}

fn capacity(read: &mut Reader<'_>) -> Result<Demand, ConfigError> {
    let machine = capacity::of_this_machine();
    let mut number = |name, default, form: &str| {
        let value = read.value(name, || default, form)?;
        let least = u32::from(name != "TARTARUS_NODE_GPUS");
        if value < least {
            return Err(ConfigError(format!("{name}={value} leaves nothing to run with")));
        }
        Ok(value)
    };
    Ok(Demand {
        cpu_milli: number(
            "TARTARUS_NODE_CPU_MILLI",
            machine.cpu_milli,
            "a number of thousandths of a core, such as 2000",
        )?,
        mem_mb: number("TARTARUS_NODE_MEM_MB", machine.mem_mb, "a number of MiB, such as 4096")?,
        gpu: number("TARTARUS_NODE_GPUS", machine.gpu, "a number of GPUs")?,
    })
}

fn data_dir(read: &mut Reader<'_>) -> Result<PathBuf, ConfigError> {
    if let Some(text) = read.text("TARTARUS_DATA_DIR") {
        let dir = PathBuf::from(&text);
        if !dir.is_absolute() {
            return Err(ConfigError(format!("TARTARUS_DATA_DIR={text:?} is not an absolute path")));
        }
        read.note("TARTARUS_DATA_DIR", &text, "environment");
        return Ok(dir);
    }
    let home = || read.text("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = if rustix::process::geteuid().is_root() {
        Some(PathBuf::from("/var/lib"))
    } else {
        read.text("XDG_STATE_HOME").map(PathBuf::from).or_else(home)
    };
    let Some(state) = state.filter(|state| state.is_absolute()) else {
        return Err(ConfigError(
            "there is no home directory to keep state in: set TARTARUS_DATA_DIR".into(),
        ));
    };
    let dir = state.join("tartarus");
    read.note("TARTARUS_DATA_DIR", &dir.display(), "default");
    Ok(dir)
}

fn isolation(read: &mut Reader<'_>, production: bool) -> Result<Demanded, ConfigError> {
    const NAME: &str = "TARTARUS_ISOLATION_MAY_MISS";
    let known = sandbox::Isolation::FEATURES;
    match read.text(NAME) {
        None if production => {
            read.note(NAME, &"", "default");
            Ok(Demanded::AllBut(Vec::new()))
        }
        None => Ok(Demanded::Nothing),
        Some(text) => {
            let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
            if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
                return Err(ConfigError(format!(
                    "{NAME}={text:?}: there is no {name:?}; known are {}",
                    known.join(", ")
                )));
            }
            read.note(NAME, &text, "environment");
            Ok(Demanded::AllBut(names))
        }
    }
}

fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

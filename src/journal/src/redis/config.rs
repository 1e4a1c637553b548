//! Where Redis is and what it is asked for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secret::Secret;

use crate::limits::DEFAULT_WAIT;
use crate::port::Durability;

/// What a Redis journal needs to know. The README lists its variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// `REDIS_ADDR`.
    pub address: Address,
    /// `REDIS_DB`.
    pub db: u32,
    /// `REDIS_USERNAME`.
    pub username: Option<String>,
    /// `REDIS_PASSWORD`; empty means none.
    pub password: Option<Secret>,
    /// `REDIS_PASSWORD_FILE`: read again for every connection, so that a password can be changed under
    /// a running house.
    pub password_file: Option<PathBuf>,
    /// `TARTARUS_KEY_PREFIX`, with its colon.
    pub key_prefix: String,
    /// `REDIS_QUEUE_KEY`.
    pub queue_key: String,
    /// `TARTARUS_REDIS_WAIT`: how long a start waits for a usable server.
    pub wait: Duration,
    /// `TARTARUS_DURABILITY`; none takes what Redis gives, and says what that is.
    pub durability: Option<Durability>,
}

impl RedisConfig {
    /// Everything at its default, at this address.
    pub fn at(address: Address) -> Self {
        Self {
            address,
            db: 0,
            username: None,
            password: None,
            password_file: None,
            key_prefix: "tartarus:".into(),
            queue_key: "tartarus:queue".into(),
            wait: DEFAULT_WAIT,
            durability: None,
        }
    }

    /// The variable that says the password, and the file where it names one.
    pub(super) fn password_variable(&self) -> String {
        secret::said_by("REDIS_PASSWORD", self.password_file.as_deref())
    }
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or address, without the brackets of an IPv6 address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not host:port ({why}); write it as localhost:6379 or [::1]:6379")]
pub struct BadAddress {
    text: String,
    why: &'static str,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |why| BadAddress { text: without_secret(text), why };
        if text.contains("://") {
            return Err(bad("a URL is not accepted"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest.strip_suffix(']').ok_or_else(|| bad("a bracket is missing"))?;
                host.parse::<std::net::Ipv6Addr>()
                    .map_err(|_| bad("that is not an IPv6 address"))?;
                host
            }
            None if host.contains(':') => return Err(bad("an IPv6 address needs brackets")),
            None => host,
        };
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        if host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | ',')) {
            return Err(bad("the host has a character that no host has"));
        }
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(bad("the port is not a number"));
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(bad("the port is not from 1 to 65535")),
            Ok(port) => Ok(Self { host: host.into(), port }),
        }
    }
}

/// A URL may carry a password before its `@`: an error message must not.
fn without_secret(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => text.into(),
    }
}

/// The keys of a journal: all in one database, none shared with another prefix but the
/// projections, whose names are the requirements'.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) journal: String,
    pub(super) head: String,
    pub(super) meta: String,
    pub(super) leader: String,
    pub(super) node: String,
    pub(super) instance: String,
    pub(super) sync: String,
    pub(super) queue: String,
    pub(super) policies: String,
}

impl Keys {
    pub(super) fn of(config: &RedisConfig) -> Self {
        let under = |name: &str| format!("{}{name}", config.key_prefix);
        Self {
            journal: under("journal"),
            head: under("head"),
            meta: under("meta"),
            leader: under("leader"),
            node: under("node:"),
            instance: under("instance:"),
            sync: under("sync"),
            queue: config.queue_key.clone(),
            policies: "themis:policies".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("localhost:6379", "localhost", 6379),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:6379", "::1", 6379),
            ("redis.internal:65535", "redis.internal", 65535),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_bad_address_is_refused_and_the_message_shows_the_right_form() {
        for text in [
            "",
            "localhost",
            ":6379",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "localhost:+1",
            "localhost:redis",
            "::1:6379",
            "[::1:6379",
            "[localhost]:6379",
            "redis://localhost:6379",
            "a b:6379",
            "localhost:6379/0",
        ] {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains("localhost:6379 or [::1]:6379"), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let mut config = RedisConfig::at("localhost:6379".parse().unwrap());
        config.password = Some(Secret::new("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
        let message = "redis://:hunter2@localhost:6379".parse::<Address>().unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
}

//! Where Olympus is.
//!
//! Owns:   the two ways to know: URLs, tried in turn, each of which reaches an instance; or the leader's
//!         key in Redis (`<prefix>leader`, which holds `<boot-uuid> <url>`).
//! Says:   the URL to try next.
//! Never:  reads anything else from Redis, or writes to it; keeps a connection to it, or a password that
//!         was changed in its file.
//! Fails:  with a sentence; the session tries again.
//! Proof:  the tests below; `tests/node/rules.rs` against a real Redis.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
use secret::Secret;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::http::Uri;

/// For all of one question to Redis: longer than a hiccup, shorter than an operator's patience.
const REDIS_PATIENCE: Duration = Duration::from_secs(3);

/// How the agent finds Olympus.
#[derive(Debug, Clone)]
pub enum Find {
    /// It is there: each of these reaches an instance.
    At(Urls),
    /// The leader's address is in this Redis.
    Through(Redis),
}

/// Where the leader's key is.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database number.
    pub db: u32,
    /// User, where access lists are used.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// The file it was read from, which is read again for every question.
    pub password_file: Option<PathBuf>,
    /// What every key begins with.
    pub prefix: String,
}

/// `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    encrypted: bool,
    host: String,
    port: u16,
}

/// One or more URLs, tried in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls(Vec<Url>);

impl Urls {
    /// The one that is tried after so many others.
    #[must_use]
    pub fn nth(&self, tried: usize) -> &Url {
        &self.0[tried % self.0.len()]
    }

    /// How many there are: at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there always is one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Url> for Urls {
    fn from(url: Url) -> Self {
        Self(vec![url])
    }
}

impl FromStr for Urls {
    type Err = NotUrl;

    fn from_str(text: &str) -> Result<Self, NotUrl> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Urls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(Url::to_string).collect();
        f.write_str(&all.join(","))
    }
}

/// What is wrong with a URL, to follow the URL in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no URL of Olympus: write it like \"http://127.0.0.1:8080\", or several with commas between"
)]
pub struct NotUrl;

impl Url {
    /// Where Olympus listens when nobody says otherwise.
    #[must_use]
    pub fn local() -> Self {
        Self { encrypted: false, host: "127.0.0.1".into(), port: 8080 }
    }

    /// Host and port, as a socket wants them.
    #[must_use]
    pub fn socket(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// Whether it is spoken to over TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The same place, over a WebSocket.
    #[must_use]
    pub fn websocket(&self, path: &str) -> String {
        let scheme = if self.encrypted { "wss" } else { "ws" };
        format!("{scheme}://{}:{}{path}", self.host, self.port)
    }
}

impl FromStr for Url {
    type Err = NotUrl;

    fn from_str(text: &str) -> Result<Self, NotUrl> {
        let uri: Uri = text.trim().parse().map_err(|_| NotUrl)?;
        let (encrypted, usual_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(NotUrl),
        };
        let authority = uri.authority().ok_or(NotUrl)?;
        let bare = uri.path().trim_end_matches('/').is_empty() && uri.query().is_none();
        if !bare || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(NotUrl);
        }
        // A port that is too large reads as none.
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => usual_port,
            None => return Err(NotUrl),
        };
        Ok(Self { encrypted, host: authority.host().to_owned(), port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Why no leader was found.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// Redis could not be asked.
    #[error(
        "cannot ask Redis at {address} for the leader: {reason}; check it with `redis-cli ping`"
    )]
    Redis {
        /// Host and port.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// Redis wants a password.
    #[error("Redis at {address} asks for a password: set REDIS_PASSWORD (or REDIS_PASSWORD_FILE)")]
    NoPassword {
        /// Host and port.
        address: String,
    },
    /// Redis refused the password, or what its user asks.
    #[error("Redis at {address} refuses {name} ({reason}): correct it, REDIS_USERNAME or its ACL")]
    Password {
        /// Host and port.
        address: String,
        /// The variable that said the password.
        name: String,
        /// What it said.
        reason: String,
    },
    /// Redis has fewer databases.
    #[error(
        "Redis at {address} refuses REDIS_DB {db} ({reason}): give the number that Olympus has"
    )]
    NoDatabase {
        /// Host and port.
        address: String,
        /// Which.
        db: u32,
        /// What it said.
        reason: String,
    },
    /// There is no leader now.
    #[error("no instance of Olympus leads: {key} is not set in Redis at {address}")]
    NoLeader {
        /// The key.
        key: String,
        /// Host and port.
        address: String,
    },
    /// The key holds something else.
    #[error("{key} holds {value:?}, which names no leader")]
    Unreadable {
        /// The key.
        key: String,
        /// What it holds.
        value: String,
    },
}

impl Find {
    /// Where the leader should be now, or who may name it, after so many were tried.
    ///
    /// # Errors
    /// [`NotFound`]; trying again may help.
    pub async fn leader(&self, tried: usize) -> Result<Url, NotFound> {
        match self {
            Self::At(urls) => Ok(urls.nth(tried).clone()),
            Self::Through(redis) => redis.leader().await,
        }
    }

    /// Whether a leader that is named may be asked: where every address was given with TLS, the token is
    /// sent nowhere without.
    pub(crate) fn allows(&self, leader: &Url) -> bool {
        match self {
            Self::At(urls) => leader.encrypted || !urls.0.iter().all(Url::is_encrypted),
            Self::Through(_) => true,
        }
    }

    /// Whether there is an address that was not tried since the last pause.
    pub(crate) fn has_another(&self, tried: usize) -> bool {
        match self {
            Self::At(urls) => !tried.is_multiple_of(urls.len()),
            Self::Through(_) => false,
        }
    }
}

impl Redis {
    async fn leader(&self) -> Result<Url, NotFound> {
        let key = format!("{}leader", self.prefix);
        let address = format!("{}:{}", self.host, self.port);
        let failed = |reason: String| NotFound::Redis { address: address.clone(), reason };
        let value = match timeout(REDIS_PATIENCE, self.get(&key)).await {
            Err(_) => return Err(failed("no answer in time".into())),
            Ok(Err(error)) => {
                let reason = error.to_string();
                let code = error.code().unwrap_or_default();
                let refused = matches!(code, "WRONGPASS" | "NOPERM")
                    || error.kind() == redis::ErrorKind::AuthenticationFailed;
                let file = self.password_file.as_deref();
                return Err(if code == "NOAUTH" {
                    NotFound::NoPassword { address }
                } else if error.detail().is_some_and(|said| said.contains("DB index")) {
                    NotFound::NoDatabase { address, db: self.db, reason }
                } else if refused {
                    let name = secret::said_by("REDIS_PASSWORD", file);
                    NotFound::Password { address, name, reason }
                } else {
                    failed(reason)
                });
            }
            Ok(Ok(value)) => value,
        };
        let Some(value) = value else { return Err(NotFound::NoLeader { key, address }) };
        leader_in(&value).ok_or(NotFound::Unreadable { key, value })
    }

    async fn get(&self, key: &str) -> redis::RedisResult<Option<String>> {
        let mut settings = RedisConnectionInfo::default();
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        let file = self.password_file.as_deref();
        if let Some(password) = Secret::of_today(file, self.password.as_ref()).await {
            settings = settings.set_password(password.reveal());
        }
        let info = ConnectionAddr::Tcp(self.host.clone(), self.port)
            .into_connection_info()?
            .set_redis_settings(settings);
        let client = redis::Client::open(info)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        // Not by the connection's own settings: those hide what the server answers. One who may read
        // the key alone need not be let select the first.
        if self.db != 0 {
            redis::cmd("SELECT").arg(self.db).exec_async(&mut connection).await?;
        }
        redis::cmd("GET").arg(key).query_async(&mut connection).await
    }
}

/// The URL in `<boot-uuid> <url>`.
fn leader_in(value: &str) -> Option<Url> {
    let (boot, url) = value.trim().split_once(' ')?;
    boot.parse::<uuid::Uuid>().ok()?;
    url.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        let check = |text: &str, then: Result<&str, NotUrl>| {
            let read = text.parse::<Url>().map(|url| url.to_string());
            assert_eq!(read, then.map(str::to_owned), "{text}");
        };
        check("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080"));
        check(" http://olympus:8080/ ", Ok("http://olympus:8080"));
        check("http://olympus", Ok("http://olympus:80"));
        check("http://[::1]:8080", Ok("http://[::1]:8080"));
        check("https://olympus:8443", Ok("https://olympus:8443"));
        check("https://olympus", Ok("https://olympus:443"));
        for bad in ["", "olympus:8080", "redis://a:1", "http://", "http://a:99999", "http://a/v1"] {
            check(bad, Err(NotUrl));
        }
        check("http://user@a:1", Err(NotUrl));
    }

    #[test]
    fn who_was_given_with_tls_alone_names_nobody_without() {
        for (given, leader, allowed) in [
            ("https://a", "https://b", true),
            ("https://a", "http://b", false),
            ("https://a,https://c", "http://b", false),
            ("https://a,http://c", "http://b", true),
            ("http://a", "http://b", true),
            ("http://a", "https://b", true),
        ] {
            let find = Find::At(given.parse().unwrap());
            assert_eq!(find.allows(&leader.parse().unwrap()), allowed, "{given} {leader}");
        }
    }

    #[test]
    fn several_urls_are_tried_in_turn() {
        let urls: Urls = "http://a:1, http://b:2/,http://c:3".parse().unwrap();
        assert_eq!(urls.to_string(), "http://a:1,http://b:2,http://c:3");
        let tried: Vec<String> = (0..4).map(|tried| urls.nth(tried).to_string()).collect();
        assert_eq!(tried, ["http://a:1", "http://b:2", "http://c:3", "http://a:1"]);
        let find = Find::At(urls);
        let more: Vec<bool> = (1..=4).map(|tried| find.has_another(tried)).collect();
        assert_eq!(more, [true, true, false, true], "a pause when all were tried");
        for bad in ["", ",", "http://a:1,", "http://a:1,b:2"] {
            assert_eq!(bad.parse::<Urls>(), Err(NotUrl), "{bad}");
        }
    }

    #[test]
    fn a_socket_wants_a_v6_address_without_brackets() {
        let url: Url = "http://[::1]:8080".parse().unwrap();
        assert_eq!(url.socket(), ("::1", 8080));
        assert_eq!(url.websocket("/x"), "ws://[::1]:8080/x");
    }

    #[test]
    fn the_leaders_key_names_a_boot_and_a_url() {
        let boot = uuid::Uuid::nil();
        assert_eq!(leader_in(&format!("{boot} http://a:1")), "http://a:1".parse().ok());
        for bad in ["", "http://a:1", "x http://a:1", &format!("{boot} a:1"), &boot.to_string()] {
            assert_eq!(leader_in(bad), None, "{bad}");
        }
    }
}

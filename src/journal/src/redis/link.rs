//! One connection to Redis, made again when it breaks.
//!
//! Owns:   connecting (with credentials and database), a slot for the live connection, sending
//!         scripts by digest.
//! Never:  retries a command: a reply that did not come is somebody else's decision.
//! Fails:  whatever is not a clean reply empties the slot; the next call connects anew.

use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    Pipeline, RedisError, Value, cmd,
};
use secret::Secret;
use tokio::sync::Mutex;

use super::config::RedisConfig;
use super::reply::{Failure, describe};
use super::scripts::Lua;
use crate::limits::{CONNECT_TIMEOUT, REPLY_TIMEOUT};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoLink {
    /// Nobody answers.
    Unreachable(Arc<str>),
    /// The server answers, and refuses for now.
    Busy(Arc<str>),
    /// The credentials or the database are refused; one sentence.
    Configuration(String),
}

/// A live connection.
#[derive(Clone)]
pub(super) struct Connection(MultiplexedConnection);

impl Connection {
    pub(super) async fn open(config: &RedisConfig) -> Result<Self, NoLink> {
        // The library's own limit covers name resolution, connecting and its handshake.
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(REPLY_TIMEOUT));
        let connection = Self::client(config)
            .map_err(|error| NoLink::Configuration(error.to_string()))?
            .get_multiplexed_async_connection_with_config(&limits)
            .await
            .map_err(NoLink::from)?;
        let mut connection = Self(connection);
        connection.introduce(config).await?;
        Ok(connection)
    }

    fn client(config: &RedisConfig) -> Result<Client, RedisError> {
        let address = ConnectionAddr::Tcp(config.address.host.clone(), config.address.port);
        let info: ConnectionInfo = address.into_connection_info()?;
        // Credentials and database are sent by `introduce`, which keeps the server's own words.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
    }

    async fn introduce(&mut self, config: &RedisConfig) -> Result<(), NoLink> {
        let file = config.password_file.as_deref();
        let password = Secret::of_today(file, config.password.as_ref()).await;
        let password = password.as_ref().map(|p| p.reveal()).filter(|p| !p.is_empty());
        let at = &config.address;
        if let Some(password) = password {
            let mut auth = cmd("AUTH");
            if let Some(username) = &config.username {
                auth.arg(username);
            }
            auth.arg(password);
            self.send(&auth).await.map_err(|error| {
                if error.code().is_some() && !is_passing(&error) {
                    let said = describe(&error);
                    let of = config.password_variable();
                    NoLink::Configuration(match config.username.as_deref() {
                        Some(user) => format!(
                            "Redis at {at} refuses REDIS_USERNAME {user:?} with {of} ({said}): \
                             correct them"
                        ),
                        None => format!("Redis at {at} refuses {of} ({said}): correct it"),
                    })
                } else {
                    error.into()
                }
            })?;
        }
        // Also when the database is 0: the first reply tells whether a password is needed.
        self.send(cmd("SELECT").arg(config.db)).await.map_err(|error| match error.code() {
            Some("NOAUTH") => NoLink::Configuration(format!(
                "Redis at {at} asks for a password: set REDIS_PASSWORD (or REDIS_PASSWORD_FILE)"
            )),
            Some("NOPERM") => NoLink::Configuration(format!(
                "Redis at {at} lets this user not select a database ({}): correct its ACL, \
                 REDIS_USERNAME or {}",
                describe(&error),
                config.password_variable()
            )),
            Some(_) if !is_passing(&error) => NoLink::Configuration(format!(
                "Redis at {at} refuses REDIS_DB {} ({}): choose a lower number, or raise `databases` in redis.conf",
                config.db, describe(&error)
            )),
            Some(_) | None => error.into(),
        })?;
        Ok(())
    }

    /// Sends one command.
    pub(super) async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        // An error reply inside of an array is still an error.
        self.0.send_packed_command(command).await?.extract_error()
    }

    /// Sends several commands at once; the first error is the result.
    pub(super) async fn send_all(&mut self, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
        match commands.query_async(&mut self.0).await {
            Ok(replies) => Ok(replies),
            // The library wraps the replies of a pipeline; the first is as good as a single one.
            Err(error) => match error.clone().into_server_errors().as_deref() {
                Some([(_, first), ..]) => Err(first.clone().into()),
                Some([]) | None => Err(error),
            },
        }
    }

    /// Runs a script by its digest, loading it where the server does not know it (`NOSCRIPT`
    /// means that nothing was executed).
    pub(super) async fn run(
        &mut self,
        script: &Lua,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<Value, RedisError> {
        let call = {
            let mut call = cmd("EVALSHA");
            call.arg(script.digest()).arg(keys.len()).arg(keys).arg(args);
            call
        };
        match self.send(&call).await {
            Err(error) if Failure::of(&error) == Failure::NoScript => {
                self.send(cmd("SCRIPT").arg("LOAD").arg(script.source())).await?;
                self.send(&call).await
            }
            result => result,
        }
    }
}

impl From<RedisError> for NoLink {
    fn from(error: RedisError) -> Self {
        let said = describe(&error).into();
        if is_passing(&error) { Self::Busy(said) } else { Self::Unreachable(said) }
    }
}

/// Whether a refusal passes by itself.
fn is_passing(error: &RedisError) -> bool {
    matches!(Failure::of(error), Failure::Busy(_))
}

/// A slot for a connection.
#[derive(Default)]
pub(super) struct Link {
    slot: Mutex<Option<Connection>>,
}

impl Link {
    /// The live connection, or a new one.
    pub(super) async fn get(&self, config: &RedisConfig) -> Result<Connection, NoLink> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let connection = Connection::open(config).await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// The live connection, if there is one.
    pub(super) async fn live(&self) -> Option<Connection> {
        self.slot.lock().await.clone()
    }

    /// Puts a connection in place.
    pub(super) async fn set(&self, connection: Option<Connection>) {
        *self.slot.lock().await = connection;
    }
}

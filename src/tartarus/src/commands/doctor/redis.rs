//! Redis: can it be reached, and does it keep what it is given?

use std::collections::BTreeMap;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisError, cmd,
};
use olympus::config::Config;
use olympus::dangers;

use super::Check;

type Pairs = BTreeMap<String, String>;

/// A Redis that takes longer is not one to build on.
const PATIENCE: Duration = Duration::from_secs(3);
/// The oldest major version whose scripts and streams behave as the journal needs.
const OLDEST: u32 = 7;

/// Connects as Olympus would, and asks.
pub async fn look(config: &Config) -> Vec<Check> {
    let Some(address) = config.redis.value.as_ref() else { return Vec::new() };
    let tcp = ConnectionAddr::Tcp(address.host.clone(), address.port);
    let address = address.to_string();
    let mut connection = match connect(config, tcp, &address).await {
        Ok(connection) => connection,
        Err(check) => return vec![*check],
    };
    let info: String = match cmd("INFO").query_async(&mut connection).await {
        Ok(info) => info,
        Err(error) => {
            return vec![Check::fail(
                "redis",
                format!("{address} does not answer INFO: {error}"),
                "give this user the right to INFO (ACL SETUSER … +info)",
            )];
        }
    };
    let info: Pairs = info
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim_end().to_owned()))
        .collect();
    // A managed Redis may forbid CONFIG: what INFO says must do then.
    let settings = ["appendfsync", "no-appendfsync-on-rewrite"];
    let settings: Pairs = cmd("CONFIG")
        .arg("GET")
        .arg(&settings)
        .query_async(&mut connection)
        .await
        .unwrap_or_default();
    let mut checks = vec![Check::ok("redis", format!("{address} answers"))];
    checks.extend(judge(&info, &settings));
    checks.extend(durability(config).await);
    checks
}

/// What the journal itself would find, by the promise that it is to keep: Olympus does not start
/// where one is stated in `TARTARUS_DURABILITY` and not kept.
async fn durability(config: &Config) -> Option<Check> {
    const CHECK: &str = "redis durability";
    let dangers = match dangers::of(config).await? {
        Ok(dangers) => dangers,
        Err(trouble) => {
            let remedy = "mend what it names: Olympus would not start";
            return Some(Check::fail(CHECK, trouble.to_string(), remedy));
        }
    };
    let stated = *config.durability;
    if dangers.is_empty() {
        return Some(Check::ok(CHECK, "nothing found that endangers the journal"));
    }
    let found = dangers.join("; ");
    Some(match stated {
        Some(_) => Check::fail(
            CHECK,
            found,
            "mend it, here and in redis.conf, or state less in TARTARUS_DURABILITY: Olympus does not \
             start like this",
        ),
        None => Check::warn(
            CHECK,
            found,
            "mend it, here and in redis.conf; with TARTARUS_DURABILITY=fsync Olympus would not start \
             like this",
        ),
    })
}

async fn connect(
    config: &Config,
    tcp: ConnectionAddr,
    address: &str,
) -> Result<MultiplexedConnection, Box<Check>> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Box::new(Check::fail(
            "redis",
            format!("{address} can't be reached: {error}"),
            "verify that Redis is running (redis-cli ping) and that REDIS_ADDR is host:port, not \
             redis://host:port; check the network between; or set REDIS_ADDR=\"\" to keep \
             everything in memory",
        ))
    };
    let open = async {
        let info = tcp.into_connection_info()?;
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        Client::open(info)?.get_multiplexed_async_connection_with_config(&limits).await
    };
    let mut connection = open.await.map_err(|e: RedisError| unreachable(&e))?;

    if let Some(password) = &*config.redis_password {
        let mut auth = cmd("AUTH");
        if let Some(username) = &*config.redis_username {
            auth.arg(username);
        }
        auth.arg(password.reveal());
        auth.query_async::<()>(&mut connection).await.map_err(|error| {
            let name = config.redis_password.said_by("REDIS_PASSWORD");
            Box::new(Check::fail(
                "redis",
                format!("{address} refuses {name}: {error}"),
                "correct it, or REDIS_USERNAME",
            ))
        })?;
    }
    let select = cmd("SELECT").arg(*config.redis_db).query_async::<()>(&mut connection).await;
    match select {
        Ok(()) => Ok(connection),
        Err(error) if error.code() == Some("NOAUTH") => Err(Box::new(Check::fail(
            "redis",
            format!("{address} asks for a password"),
            "set REDIS_PASSWORD (or REDIS_PASSWORD_FILE)",
        ))),
        Err(error) if error.code().is_some() => Err(Box::new(Check::fail(
            "redis",
            format!("{address} refuses REDIS_DB={}: {error}", *config.redis_db),
            "choose a lower number, or raise `databases` in redis.conf",
        ))),
        Err(error) => Err(unreachable(&error)),
    }
}

/// What a server's own words mean for a journal.
fn judge(info: &Pairs, settings: &Pairs) -> Vec<Check> {
    let say = |key: &str| info.get(key).map_or("", String::as_str);
    let mut checks = Vec::new();

    let version = say("redis_version");
    let major: u32 = version.split('.').next().and_then(|m| m.parse().ok()).unwrap_or(0);
    checks.push(if major >= OLDEST {
        Check::ok("redis version", version)
    } else {
        let found = if version.is_empty() { "unknown" } else { version };
        Check::fail("redis version", found, format!("upgrade Redis to {OLDEST}.0 or newer"))
    });
    checks.push(match say("role") {
        "master" => Check::ok("redis role", "primary"),
        _ => Check::fail(
            "redis role",
            format!("a replica of {}:{}", say("master_host"), say("master_port")),
            "point REDIS_ADDR at the primary",
        ),
    });
    if say("cluster_enabled") == "1" {
        checks.push(Check::fail(
            "redis cluster mode",
            "on",
            "use a Redis with cluster-enabled no: the journal writes several keys at once",
        ));
    }
    checks.push(match say("aof_enabled") {
        "1" => Check::ok("redis appendonly", "yes"),
        _ => Check::fail(
            "redis appendonly",
            "no: a restart of Redis loses what was acknowledged",
            "CONFIG SET appendonly yes, and the same in redis.conf",
        ),
    });
    if let Some(mode) = settings.get("appendfsync") {
        checks.push(match mode.as_str() {
            "always" => Check::ok("redis appendfsync", "always"),
            "everysec" => Check::warn(
                "redis appendfsync",
                "everysec: a power failure may lose the last second",
                "CONFIG SET appendfsync always, where that matters",
            ),
            other => Check::fail(
                "redis appendfsync",
                format!("{other}: a power failure may lose the last half minute"),
                "CONFIG SET appendfsync always",
            ),
        });
    } else {
        checks.push(Check::warn(
            "redis appendfsync",
            "unknown: this user may not CONFIG GET",
            "ask who runs Redis that it is always",
        ));
    }
    if let Some(mode) = settings.get("no-appendfsync-on-rewrite") {
        checks.push(match mode.as_str() {
            "no" => Check::ok("redis no-appendfsync-on-rewrite", "no"),
            other => Check::fail(
                "redis no-appendfsync-on-rewrite",
                format!("{other}: nothing is flushed while the file is rewritten"),
                "CONFIG SET no-appendfsync-on-rewrite no",
            ),
        });
    }
    checks.push(match say("maxmemory_policy") {
        "noeviction" => Check::ok("redis maxmemory-policy", "noeviction"),
        other => Check::fail(
            "redis maxmemory-policy",
            format!("{other}: Redis may throw the journal away"),
            "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        ),
    });
    checks
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("redis_version", "7.2.4"),
        ("role", "master"),
        ("cluster_enabled", "0"),
        ("aof_enabled", "1"),
        ("maxmemory_policy", "noeviction"),
    ];
    const SETTINGS: [(&str, &str); 2] =
        [("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")];

    fn with(base: &[(&str, &str)], change: Option<(&str, &str)>) -> Pairs {
        base.iter()
            .copied()
            .chain(change)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn a_redis_as_the_compose_file_starts_it_is_good() {
        let checks = judge(&with(&GOOD, None), &with(&SETTINGS, None));
        assert!(checks.iter().all(|check| check.state == State::Ok), "{checks:?}");
    }

    #[test]
    fn each_wrong_setting_is_named_with_its_remedy() {
        for (key, value, check, state, remedy) in [
            ("redis_version", "6.2.1", "redis version", State::Fail, "upgrade"),
            ("role", "slave", "redis role", State::Fail, "REDIS_ADDR"),
            ("cluster_enabled", "1", "redis cluster mode", State::Fail, "cluster-enabled no"),
            ("aof_enabled", "0", "redis appendonly", State::Fail, "appendonly yes"),
            (
                "maxmemory_policy",
                "allkeys-lru",
                "redis maxmemory-policy",
                State::Fail,
                "noeviction",
            ),
            ("appendfsync", "everysec", "redis appendfsync", State::Warn, "always"),
            ("appendfsync", "no", "redis appendfsync", State::Fail, "always"),
            (
                "no-appendfsync-on-rewrite",
                "yes",
                "redis no-appendfsync-on-rewrite",
                State::Fail,
                "no-appendfsync-on-rewrite no",
            ),
        ] {
            let of_info = GOOD.iter().any(|(name, _)| *name == key);
            let change = Some((key, value));
            let checks = if of_info {
                judge(&with(&GOOD, change), &with(&SETTINGS, None))
            } else {
                judge(&with(&GOOD, None), &with(&SETTINGS, change))
            };
            let bad: Vec<&Check> = checks.iter().filter(|c| c.state != State::Ok).collect();
            assert_eq!(bad.len(), 1, "{key}={value}: {bad:?}");
            assert_eq!((bad[0].check, bad[0].state), (check, state));
            assert!(bad[0].remedy.as_deref().unwrap_or_default().contains(remedy), "{bad:?}");
        }
    }

    #[test]
    fn a_redis_that_hides_its_settings_gets_a_warning() {
        let checks = judge(&with(&GOOD, None), &Pairs::new());
        let bad: Vec<&Check> = checks.iter().filter(|c| c.state != State::Ok).collect();
        assert_eq!(bad.len(), 1);
        assert_eq!(bad[0].state, State::Warn);
    }
}

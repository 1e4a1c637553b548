//! Variables, the backend they choose, and the Olympus they point to.

use std::time::Duration;

use client::{Client, Error, Patience};
use olympus::config::{Config, Program};

use super::Check;
use crate::connect;

/// Reads the configuration as `tartarus olympus` and `tartarus agent` would.
pub fn look() -> (Vec<Check>, Option<Config>) {
    let mut checks = Vec::new();
    let config = match Config::of_process(Program::Olympus) {
        Ok(config) => {
            for warning in &config.warnings {
                checks.push(Check::warn("variables", warning, "correct it, or unset it"));
            }
            checks.push(Check::ok("variables of olympus", "every value can be used"));
            checks.push(backend(&config));
            checks.extend(certificate(&config));
            Some(config)
        }
        Err(error) => {
            checks.extend(error.complaints().iter().map(|complaint| {
                Check::fail("variables of olympus", complaint, "correct it, or unset it")
            }));
            None
        }
    };
    match agent::Config::from_env(&|name| std::env::var(name).ok()) {
        Ok(config) => {
            let node = format!("node {}, runtime {}", config.node, config.runtime);
            checks.push(Check::ok("variables of agent", node));
            checks.extend(agent::config::odd_labels(&config.labels).into_iter().map(|odd| {
                Check::warn("variables of agent", format!("HADES_LABEL: {odd}"), "correct it")
            }));
        }
        Err(error) => checks.push(Check::fail(
            "variables of agent",
            error.to_string(),
            "correct it, or unset it",
        )),
    }
    (checks, config)
}

/// Which variable chose the backend.
fn backend(config: &Config) -> Check {
    match &*config.redis {
        Some(address) => {
            let found = format!(
                "Redis at {address}, db {}, queue {}: {}",
                *config.redis_db, *config.redis_queue_key, config.redis_reason
            );
            Check::ok("backend", found)
        }
        None => Check::warn(
            "backend",
            format!("in memory: {}", config.redis_reason),
            "nothing survives a restart: set TARTARUS_ENV=production to enforce Redis, or set \
             REDIS_ADDR=host:port",
        ),
    }
}

/// What Olympus would prove itself with, where it is told to.
fn certificate(config: &Config) -> Option<Check> {
    let (cert, key) = config.tls.value.as_ref()?;
    Some(match tls::Proof::of(cert, key) {
        Ok(_) => Check::ok("certificate", format!("{} and its key", cert.display())),
        Err(bad) => Check::fail(
            "certificate",
            bad.to_string(),
            "give a certificate and its key, in PEM, that Olympus may read",
        ),
    })
}

/// The Olympus that clients and agents are pointed to, where they are pointed to one.
pub async fn olympus(addr: Option<&str>) -> Vec<Check> {
    let mut checks = Vec::new();
    // Any of them may have to do for all.
    for one in addr.into_iter().flat_map(|addr| addr.split(',')) {
        checks.extend(instance(one.trim()).await);
    }
    checks
}

async fn instance(addr: &str) -> Vec<Check> {
    const CHECK: &str = "olympus";
    let client = match connect::client(Some(addr)) {
        Ok(client) => client.with_patience(Patience(Duration::ZERO)),
        Err(failure) => {
            return vec![Check::fail(CHECK, failure.to_string(), "correct TARTARUS_ADDR")];
        }
    };
    let ready = match client.readyz().await {
        Ok((true, readyz)) => {
            let found = format!("{addr} is ready, durability {}", readyz.durability);
            match &*readyz.durability {
                "none" => Check::warn(
                    CHECK,
                    found,
                    "its Redis may lose what was acknowledged: its log says which settings, and so \
                     does `tartarus doctor` with its REDIS_ADDR",
                ),
                _ => Check::ok(CHECK, found),
            }
        }
        Ok((false, readyz)) => {
            let why = readyz.message.unwrap_or_default();
            Check::fail(CHECK, format!("{addr} is not ready: {why}"), "look into its log")
        }
        Err(error) => Check::fail(
            CHECK,
            error.to_string(),
            "start it with `tartarus dev` or `tartarus olympus`, or correct TARTARUS_ADDR",
        ),
    };
    let mut checks = vec![ready];
    checks.extend(token(&client).await);
    checks
}

/// Whether the token is taken.
async fn token(client: &Client) -> Option<Check> {
    match client.queue().await {
        Ok(_) => Some(Check::ok("token", "it is taken")),
        Err(error @ Error::Refused(_)) if error.is_status(401) || error.is_status(403) => {
            Some(Check::fail(
                "token",
                error.to_string(),
                "set TARTARUS_TOKEN (or TARTARUS_TOKEN_FILE) to the token of Olympus",
            ))
        }
        // That it can't be reached has been said.
        Err(Error::Refused(_) | Error::Unavailable { .. } | Error::Unknown { .. }) => None,
    }
}

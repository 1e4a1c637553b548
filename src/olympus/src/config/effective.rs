//! The configuration as the start-up log shows it.

use super::{Config, Origin};

/// One line of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Name of the variable.
    pub name: &'static str,
    /// Its value; a secret's is masked, and an empty one means that there is none.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Config {
    /// Every variable with its value and origin, secrets masked.
    pub fn effective(&self) -> Vec<Effective> {
        let line = |name, value: String, origin: &Origin| Effective {
            name,
            value,
            origin: origin.clone(),
        };
        fn shown<T: ToString>(value: &Option<T>) -> String {
            value.as_ref().map_or(String::new(), T::to_string)
        }
        fn masked<T>(value: &Option<T>) -> String {
            value.as_ref().map_or(String::new(), |_| "****".into())
        }
        let span = |value| api::Duration::from(value).to_string();
        let quarantine = if *self.quarantine_on { "on" } else { "off" };
        let trim = if *self.trim { "on" } else { "off" };
        let (cert_file, key_file) =
            self.tls.as_ref().map_or_else(Default::default, |(cert, key)| {
                (cert.display().to_string(), key.display().to_string())
            });
        let durability = self.durability.map_or("", journal::Durability::as_str);
        vec![
            line("TARTARUS_ENV", self.env.as_str().into(), &self.env.origin),
            line("REDIS_ADDR", shown(&self.redis), &self.redis.origin),
            line("REDIS_DB", self.redis_db.to_string(), &self.redis_db.origin),
            line(
                "REDIS_QUEUE_KEY",
                self.redis_queue_key.value.clone(),
                &self.redis_queue_key.origin,
            ),
            line("REDIS_USERNAME", shown(&self.redis_username), &self.redis_username.origin),
            line("REDIS_PASSWORD", masked(&self.redis_password), &self.redis_password.origin),
            line("TARTARUS_REDIS_WAIT", span(*self.redis_wait), &self.redis_wait.origin),
            line("TARTARUS_KEY_PREFIX", self.key_prefix.value.clone(), &self.key_prefix.origin),
            line("TARTARUS_CLUSTER_ID", shown(&self.cluster_id), &self.cluster_id.origin),
            line("TARTARUS_DURABILITY", durability.into(), &self.durability.origin),
            line("TARTARUS_LISTEN_ADDR", self.listen_addr.value.clone(), &self.listen_addr.origin),
            line(tls::CERT_FILE, cert_file, &self.tls.origin),
            line(tls::KEY_FILE, key_file, &self.tls.origin),
            line("TARTARUS_ADVERTISE_URL", shown(&self.advertise_url), &self.advertise_url.origin),
            line("TARTARUS_DATA_DIR", self.data_dir.display().to_string(), &self.data_dir.origin),
            line("TARTARUS_QUARANTINE", quarantine.into(), &self.quarantine_on.origin),
            line("TARTARUS_QUEUE_MAX", self.queue_max.to_string(), &self.queue_max.origin),
            line("TARTARUS_NODE_TTL", span(*self.node_ttl), &self.node_ttl.origin),
            line(
                "TARTARUS_CHECKPOINT_EVERY",
                span(*self.checkpoint_every),
                &self.checkpoint_every.origin,
            ),
            line("TARTARUS_ARCHIVE", shown(&self.archive), &self.archive.origin),
            line(
                "TARTARUS_ARCHIVE_BYTES",
                self.archive_bytes.to_string(),
                &self.archive_bytes.origin,
            ),
            line(
                "TARTARUS_SNAPSHOT_BYTES",
                self.snapshot_bytes.to_string(),
                &self.snapshot_bytes.origin,
            ),
            line(
                "TARTARUS_SNAPSHOT_EVERY",
                span(*self.snapshot_every),
                &self.snapshot_every.origin,
            ),
            line("TARTARUS_TRIM", trim.into(), &self.trim.origin),
            line("TARTARUS_AUTH", self.auth.as_str().into(), &self.auth.origin),
            line(
                "TARTARUS_BOOTSTRAP_TOKEN",
                masked(&self.bootstrap_token),
                &self.bootstrap_token.origin,
            ),
        ]
    }
}

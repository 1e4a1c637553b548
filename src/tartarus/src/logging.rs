//! Logs, on stderr: text for people, JSON for machines.

use std::io::{IsTerminal, Write};
use std::str::FromStr;

use env_logger::{Builder, Env};
use log::kv::{Key, Value, VisitSource, VisitValue};
use log::{LevelFilter, Record};
use serde::{Serialize, Serializer};

use crate::exit::Failure;

/// The crates of this program that log.
const PARTS: [&str; 8] =
    ["agent", "client", "journal", "olympus", "olympus_actors", "replay", "sandbox", "tartarus"];

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It serves: what it does is worth a line.
    Server,
    /// It answers one question: only what is wrong is.
    Client,
}

impl Kind {
    fn level(self) -> &'static str {
        match self {
            // The web server's own account of its threads is no news to an operator.
            Self::Server => "info,actix_server=warn",
            // What an Olympus made for one run has to say of itself is no news to its caller.
            Self::Client => "warn,olympus=error,actix_http=off",
        }
    }
}

/// Starts logging as `RUST_LOG` and `TARTARUS_LOG_FORMAT` say.
///
/// # Errors
/// `TARTARUS_LOG_FORMAT` is neither `text` nor `json`.
pub fn start(kind: Kind) -> Result<(), Failure> {
    let format = std::env::var("TARTARUS_LOG_FORMAT").unwrap_or_default();
    let json = match format.trim() {
        "" => !std::io::stderr().is_terminal(),
        "text" => false,
        "json" => true,
        other => {
            return Err(Failure::Usage(format!(
                "TARTARUS_LOG_FORMAT={other:?}: give text or json"
            )));
        }
    };
    // Empty is not set, as with every variable.
    let levels = std::env::var("RUST_LOG").ok().filter(|levels| !levels.trim().is_empty());
    let mut builder = Builder::from_env(Env::default());
    if levels.is_none() {
        builder.parse_filters(kind.level());
    }
    let silent = levels.filter(|levels| !hears_us(levels));
    if silent.is_some() {
        builder.filter_module(module_path!(), LevelFilter::Warn);
    }
    if json {
        builder.format(|to, record| {
            let line = line(&crate::print::now().to_string(), record);
            writeln!(to, "{line}")
        });
    } else {
        builder.format_timestamp_millis();
    }
    // A second logger can't be there: this is the first thing a process does.
    let _ = builder.try_init();
    if let Some(levels) = silent {
        log::warn!(
            "RUST_LOG={levels:?} names neither a level (off, error, warn, info, debug, trace) nor a \
             part of this program: nothing more is logged; give one, such as RUST_LOG=info"
        );
    }
    Ok(())
}

/// Whether anything of this program can be heard under these levels, or was silenced on purpose: a
/// word that is no level is taken for a part's name.
fn hears_us(levels: &str) -> bool {
    let levels = levels.split('/').next().unwrap_or_default();
    levels.split(',').map(str::trim).filter(|part| !part.is_empty()).any(|part| {
        let (name, level) = part.split_once('=').unwrap_or((part, ""));
        let (name, level) = (name.trim(), level.trim());
        let ours = PARTS.iter().any(|own| own.starts_with(name) || name.starts_with(own));
        let good = level.is_empty() || LevelFilter::from_str(level).is_ok();
        LevelFilter::from_str(part).is_ok() || (!name.is_empty() && ours && good)
    })
}

/// A record as one JSON object: `time`, `level`, `target`, `message`, then its own fields.
fn line(time: &str, record: &Record<'_>) -> String {
    let mut fields = Fields(vec![
        ("time".into(), time.into()),
        ("level".into(), record.level().as_str().to_lowercase().into()),
        ("target".into(), record.target().into()),
        ("message".into(), record.args().to_string().into()),
    ]);
    // A source that can't be read loses its fields, not its line.
    let _ = record.key_values().visit(&mut fields);
    serde_json::to_string(&fields).unwrap_or_default()
}

/// Names and values in the order in which they came.
struct Fields(Vec<(String, serde_json::Value)>);

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let mut json = Json(serde_json::Value::Null);
        value.visit(&mut json)?;
        // The first of a name stands: a field can't take the place of the message.
        if self.0.iter().all(|(name, _)| *name != key.as_str()) {
            self.0.push((key.to_string(), json.0));
        }
        Ok(())
    }
}

struct Json(serde_json::Value);

impl VisitValue<'_> for Json {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), log::kv::Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), log::kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_u128(&mut self, value: u128) -> Result<(), log::kv::Error> {
        self.0 = u64::try_from(value).map_or_else(|_| value.to_string().into(), Into::into);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), log::kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_under_which_nothing_of_ours_is_heard_are_known() {
        for heard in [
            "info",
            "WARN",
            "off",
            "loud,info",
            "olympus",
            "agent=debug",
            "olympus::follow=trace",
            "actix_server=warn,journal=info",
            "info/redis",
            "tartarus=info, x",
        ] {
            assert!(hears_us(heard), "{heard}");
        }
        for silent in [
            "loud",
            "inf0",
            "actix_server=debug",
            "loud,louder",
            "loud/info",
            "=info",
            "agent=loud",
        ] {
            assert!(!hears_us(silent), "{silent}");
        }
    }

    #[test]
    fn a_line_is_one_object_with_its_fields() {
        let fields: &[(&str, Value<'_>)] = &[
            ("address", Value::from("localhost:6379")),
            ("db", Value::from(0_u64)),
            ("ms", Value::from(15_u128)),
            ("message", Value::from("not the message")),
        ];
        let record = Record::builder()
            .level(log::Level::Info)
            .target("olympus")
            .args(format_args!("Using Redis queue"))
            .key_values(&fields)
            .build();
        assert_eq!(
            line("T", &record),
            r#"{"time":"T","level":"info","target":"olympus","message":"Using Redis queue","address":"localhost:6379","db":0,"ms":15}"#
        );
    }
}

//! Heat: the thresholds as a document, and what is learned.

use domain::event::Principal;
use domain::law::HeatTable;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::Heat;
use crate::check::{Complaints, Invalid};
use crate::duration::Duration;
use crate::given::Given;
use crate::limits::{CPU_MILLI_MAX, CPU_MILLI_MIN, MEM_MB_MAX, MEM_MB_MIN, TTL_MS_MAX, TTL_MS_MIN};
use crate::parse::object;
use crate::time::Time;

/// The thresholds. What is left out is as published; `version`, `revision` and `learned` are told,
/// never taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeatDocument {
    /// Their version; 0 is the published ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The revision of the law that they made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Cold asks for no more than this, in all of them.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub cold: Option<Threshold>,
    /// Hot asks for at least this, in one of them.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub hot: Option<HotThreshold>,
    /// Inferno asks for at least this, or for a GPU.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub inferno: Option<InfernoThreshold>,
    /// What a read shows, so that it can be sent back.
    #[serde(skip_serializing)]
    learned: Option<IgnoredAny>,
}

/// `cold` of the thresholds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Threshold {
    /// Thousandths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<i64>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_mb: Option<i64>,
    /// Wall clock of one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Given<Duration>>,
}

/// `hot` of the thresholds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HotThreshold {
    /// Thousandths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<i64>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_mb: Option<i64>,
}

/// `inferno` of the thresholds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InfernoThreshold {
    /// Wall clock of one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Given<Duration>>,
}

impl HeatDocument {
    /// The thresholds it describes.
    ///
    /// # Errors
    /// Every value that is out of bounds, and every pair that leaves no room between two levels.
    pub fn into_table(self) -> Result<HeatTable, Invalid> {
        let mut found = Complaints::default();
        let (cold, hot) = (self.cold.unwrap_or_default(), self.hot.unwrap_or_default());
        let inferno = self.inferno.unwrap_or_default();
        let mut cpu = |field, given| found.number(field, given, CPU_MILLI_MIN, CPU_MILLI_MAX);
        let (cold_cpu, hot_cpu) =
            (cpu("cold.cpu_milli", cold.cpu_milli), cpu("hot.cpu_milli", hot.cpu_milli));
        let mut mem = |field, given| found.number(field, given, MEM_MB_MIN, MEM_MB_MAX);
        let (cold_mem, hot_mem) = (mem("cold.mem_mb", cold.mem_mb), mem("hot.mem_mb", hot.mem_mb));
        let mut ttl = |field, given| found.span(field, given, TTL_MS_MIN, TTL_MS_MAX);
        let (cold_ttl, inferno_ttl) = (ttl("cold.ttl", cold.ttl), ttl("inferno.ttl", inferno.ttl));
        let published = HeatTable::PUBLISHED;
        let table = HeatTable {
            inferno_ttl_ms: inferno_ttl.unwrap_or(published.inferno_ttl_ms),
            hot_cpu_milli: hot_cpu.unwrap_or(published.hot_cpu_milli),
            hot_mem_mb: hot_mem.unwrap_or(published.hot_mem_mb),
            cold_cpu_milli: cold_cpu.unwrap_or(published.cold_cpu_milli),
            cold_mem_mb: cold_mem.unwrap_or(published.cold_mem_mb),
            cold_ttl_ms: cold_ttl.unwrap_or(published.cold_ttl_ms),
        };
        let span = |ms| Duration::from_millis(ms).to_string();
        for (ordered, low, cold, high, warm) in [
            (
                table.cold_cpu_milli < table.hot_cpu_milli,
                "cold.cpu_milli",
                table.cold_cpu_milli.to_string(),
                "hot.cpu_milli",
                table.hot_cpu_milli.to_string(),
            ),
            (
                table.cold_mem_mb < table.hot_mem_mb,
                "cold.mem_mb",
                table.cold_mem_mb.to_string(),
                "hot.mem_mb",
                table.hot_mem_mb.to_string(),
            ),
            (
                table.cold_ttl_ms < table.inferno_ttl_ms,
                "cold.ttl",
                span(table.cold_ttl_ms),
                "inferno.ttl",
                span(table.inferno_ttl_ms),
            ),
        ] {
            if !ordered {
                found.add(|| {
                    format!("{low} is {cold} and {high} is {warm}: give {low} less than {high}")
                });
            }
        }
        found.finish(table)
    }

    /// Thresholds as a document.
    pub fn from_table(table: &HeatTable, version: u64, revision: u64) -> Self {
        let span = |ms| Some(Given::Known(Duration::from_millis(ms)));
        Self {
            version: Some(version),
            revision: Some(revision),
            cold: Some(Threshold {
                cpu_milli: Some(table.cold_cpu_milli.into()),
                mem_mb: Some(table.cold_mem_mb.into()),
                ttl: span(table.cold_ttl_ms),
            }),
            hot: Some(HotThreshold {
                cpu_milli: Some(table.hot_cpu_milli.into()),
                mem_mb: Some(table.hot_mem_mb.into()),
            }),
            inferno: Some(InfernoThreshold { ttl: span(table.inferno_ttl_ms) }),
            learned: None,
        }
    }
}

/// One version of the thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeatVersion {
    /// Its number.
    pub version: u64,
    /// The revision of the law it made.
    pub revision: u64,
    /// When.
    pub at: Time,
    /// Who.
    pub by: Principal,
    /// The thresholds.
    pub document: HeatDocument,
}

/// The answer to `GET /v1/heat`: the thresholds in force, and what is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeatStatus {
    /// The thresholds.
    #[serde(flatten)]
    pub thresholds: HeatDocument,
    /// What runs of each template have used.
    pub learned: LearnedHeat,
}

/// What is learned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedHeat {
    /// Attempts of a template before anything is said of it.
    pub enough: u64,
    /// By template; only those of which an attempt has ended.
    pub templates: Vec<TemplateHeat>,
}

/// What runs of a template have used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateHeat {
    /// Its name.
    pub template: String,
    /// Attempts that these numbers are of.
    pub runs: u64,
    /// Attempts ever seen; what was long ago fades.
    pub seen: u64,
    /// Whether there are enough of them.
    pub enough: bool,
    /// Wall clock that 95 of 100 did not exceed, in milliseconds; at most an eighth too high.
    pub p95_wall_ms: u64,
    /// Thousandths of a core, averaged over an attempt, that 95 of 100 did not exceed.
    pub p95_cpu_milli: u32,
    /// The level that this makes for a run with the template's memory; none while there are too few.
    pub heat: Option<Heat>,
    /// Whether the policy for this template says `heat: learned`: otherwise it is only shown.
    pub used: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{read, to_yaml};

    fn check(text: &str) -> Result<HeatTable, String> {
        let document: HeatDocument = read(text.as_bytes()).map_err(|e| e.to_string())?;
        document.into_table().map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_left_out_is_as_published() {
        assert_eq!(check("{}"), Ok(HeatTable::PUBLISHED));
        let hotter = HeatTable { hot_cpu_milli: 4_000, ..HeatTable::PUBLISHED };
        assert_eq!(check("hot: {cpu_milli: 4000}"), Ok(hotter));
    }

    #[test]
    fn thresholds_written_read_back() {
        let table = HeatTable { cold_ttl_ms: 1_500, hot_mem_mb: 9_000, ..HeatTable::PUBLISHED };
        let document = HeatDocument::from_table(&table, 3, 7);
        let learned = LearnedHeat::default();
        let status = HeatStatus { thresholds: document.clone(), learned };
        for text in [
            to_yaml(&document).unwrap(),
            serde_json::to_string(&document).unwrap(),
            serde_json::to_string(&status).unwrap(),
        ] {
            assert_eq!(check(&text), Ok(table.clone()), "{text}");
        }
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<HeatStatus>(&text).unwrap(), status);
    }

    #[test]
    fn levels_without_room_between_them_are_refused() {
        for (text, words) in [
            (
                "cold: {cpu_milli: 2000}",
                "cold.cpu_milli is 2000 and hot.cpu_milli is 2000: give cold.cpu_milli less than \
                 hot.cpu_milli",
            ),
            (
                "hot: {mem_mb: 128}",
                "cold.mem_mb is 256 and hot.mem_mb is 128: give cold.mem_mb less than hot.mem_mb",
            ),
            (
                "inferno: {ttl: 10s}",
                "cold.ttl is 1m and inferno.ttl is 10s: give cold.ttl less than inferno.ttl",
            ),
            ("hot: {cpu_milli: 0}", "hot.cpu_milli is 0: give 1 to 1024000"),
            ("inferno: {ttl: 8d}", "inferno.ttl is 8d: give 1ms to 7d"),
            ("cold: {ttl: soon}", "cold.ttl is \"soon\": "),
            ("warm: {}", "unknown field \"warm\": "),
            ("hot: {ttl: 1h}", "unknown field \"hot.ttl\": "),
        ] {
            let refused = check(text).unwrap_err();
            assert!(refused.starts_with(words), "{text}: {refused}");
        }
    }
}

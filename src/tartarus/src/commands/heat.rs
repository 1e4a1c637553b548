//! `tartarus heat`: the thresholds, and what is learned.

use api::heat::{HeatDocument, HeatStatus, HeatVersion};
use api::{Duration, Given};
use client::Client;

use super::documents::read;
use crate::cli::{ApplyArgs, HeatVerb};
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, print, print_document};

/// Does what the verb says; without one, shows what is in force and what is learned.
///
/// # Errors
/// A document is not valid, or Olympus refuses it or can't be reached.
pub fn run(client: &Client, verb: Option<HeatVerb>, format: Format) -> Result<u8, Failure> {
    match verb {
        None => {
            let status = block_on(async { Ok(client.heat().await?) })?;
            print(format, &status, || shown(&status))?;
        }
        Some(HeatVerb::Get) => {
            let status = block_on(async { Ok(client.heat().await?) })?;
            print_document(format, &status.thresholds)?;
        }
        Some(HeatVerb::Apply(args)) => {
            let applied = apply(client, &args)?;
            print_document(format, &applied)?;
        }
        Some(HeatVerb::History) => {
            let history = block_on(async { Ok(client.heat_versions().await?) })?.items;
            print(format, &history, || versions(&history))?;
        }
    }
    Ok(DONE)
}

fn apply(client: &Client, args: &ApplyArgs) -> Result<HeatDocument, Failure> {
    let [path] = &*args.file else {
        return Err(Failure::Usage("heat has one table of thresholds: give one file".to_owned()));
    };
    let document: HeatDocument = read(path)?;
    let checked = document.clone().into_table();
    checked.map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
    block_on(async { Ok(client.put_heat(&document, args.if_version).await?) })
}

fn number(n: Option<i64>) -> String {
    n.map_or("-".to_owned(), |n| n.to_string())
}

fn span(given: Option<&Given<Duration>>) -> String {
    match given {
        Some(Given::Known(span)) => span.to_string(),
        Some(Given::Unknown(_)) | None => "-".to_owned(),
    }
}

/// The numbers of a document: cold's three, hot's two, inferno's one.
fn cells(document: &HeatDocument) -> [String; 6] {
    let cold = document.cold.clone().unwrap_or_default();
    let hot = document.hot.clone().unwrap_or_default();
    let inferno = document.inferno.clone().unwrap_or_default();
    [
        number(cold.cpu_milli),
        number(cold.mem_mb),
        span(cold.ttl.as_ref()),
        number(hot.cpu_milli),
        number(hot.mem_mb),
        span(inferno.ttl.as_ref()),
    ]
}

fn shown(status: &HeatStatus) -> Columns {
    let [cold_cpu, cold_mem, cold_ttl, hot_cpu, hot_mem, inferno_ttl] = cells(&status.thresholds);
    let version = status.thresholds.version.unwrap_or_default();
    let pair = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        pair("version", version.to_string()),
        pair("cold", format!("up to {cold_cpu} mCPU, {cold_mem} MiB and {cold_ttl}")),
        pair("hot", format!("from {hot_cpu} mCPU or {hot_mem} MiB")),
        pair("inferno", format!("from {inferno_ttl}, or with a GPU")),
    ];
    for learned in &status.learned.templates {
        let level = match (learned.heat, learned.used) {
            (Some(heat), true) => format!("{}, used", heat.as_str()),
            (Some(heat), false) => format!("{}, not used: no policy asks", heat.as_str()),
            (None, _) => format!("too few, {} are enough", status.learned.enough),
        };
        let words = format!(
            "{level}; of {} runs, 95 of 100 took up to {} and {} mCPU",
            learned.runs,
            Duration::from_millis(learned.p95_wall_ms),
            learned.p95_cpu_milli
        );
        rows.push(pair(&format!("learned {}", learned.template), words));
    }
    Columns { head: vec!["HEAT", "VALUE"], narrow: 2, rows }
}

fn versions(history: &[HeatVersion]) -> Columns {
    let row = |version: &HeatVersion| {
        let mut row = vec![version.version.to_string(), version.at.to_string()];
        row.extend(cells(&version.document));
        row.push(version.revision.to_string());
        row
    };
    Columns {
        head: vec![
            "VERSION",
            "AT",
            "COLD_CPU",
            "COLD_MEM",
            "COLD_TTL",
            "HOT_CPU",
            "HOT_MEM",
            "INFERNO_TTL",
            "REVISION",
        ],
        narrow: 9,
        rows: history.iter().map(row).collect(),
    }
}

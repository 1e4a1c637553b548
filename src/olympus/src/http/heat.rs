//! `/v1/heat`: the thresholds, every version of them, and what is learned.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::heat::{LearnedHeat, TemplateHeat};
use api::{HeatDocument, HeatStatus, List, ReadQuery};
use domain::Court;
use domain::command::{Command, Guard};
use domain::heat::ENOUGH;
use domain::law::{HeatSource, HeatTable};
use domain::submission::Resources;
use olympus_actors::view::{GetHeat, HeatSeen, Part};

use super::caller::Caller;
use super::law::{self, VersionShown};
use super::problem::Fault;
use super::{AppState, answer, read};
use crate::house::Windows;

async fn heat(open: &Windows) -> Result<(HeatSeen, olympus_actors::Mark), Fault> {
    let seen = read::get(&open.view, GetHeat).await?;
    Ok((seen.value, seen.mark))
}

/// The version in force; 0 is the published ones.
fn version(seen: &HeatSeen) -> u64 {
    seen.history.last().map_or(0, |last| last.version)
}

/// `GET /v1/heat`.
pub async fn get(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query).await?;
    let (seen, mark) = read::part(&state, &open, &query, Part::Heat, || heat(&open)).await?;
    let version = version(&seen);
    let mut response = HttpResponse::Ok();
    answer::mark(&mut response, mark, false);
    law::tag(&mut response, version);
    let revision = seen.history.last().map_or(0, |last| last.revision);
    let court = open.judges.court();
    let templates = seen.learned.iter().map(|learned| shown(&court, &seen, learned));
    let status = HeatStatus {
        thresholds: HeatDocument::from_table(&seen.law.heat, version, revision),
        learned: LearnedHeat { enough: ENOUGH, templates: templates.collect() },
    };
    Ok(answer::body(response, &status))
}

/// What is learned of a template, and what that makes for a run that asks for no other memory.
fn shown(
    court: &Court,
    seen: &HeatSeen,
    (name, attempts, learned, enough): &(Box<str>, u64, domain::judge::Learned, bool),
) -> TemplateHeat {
    let template = seen.law.templates.get(name);
    let mem_mb = template.and_then(|template| template.body.mem_mb);
    let mem_mb = mem_mb.unwrap_or(Resources::DEFAULT.mem_mb);
    TemplateHeat {
        template: name.to_string(),
        runs: learned.runs,
        seen: *attempts,
        enough: *enough,
        p95_wall_ms: learned.p95_wall_ms,
        p95_cpu_milli: learned.p95_cpu_milli,
        heat: enough.then(|| learned.heat(&seen.law.heat, mem_mb)),
        used: court.statute_for(name).policy().heat == HeatSource::Learned,
    }
}

/// `PUT /v1/heat`.
pub async fn put(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let dry_run = law::dry_run(&request)?;
    let document: HeatDocument = law::document(&request, payload).await?;
    let table = document.into_table()?;
    let open = if dry_run { state.open()? } else { state.open_for_writes()? };
    let (seen, mark) = heat(&open).await?;
    let found = version(&seen);
    let guard = law::guard(request.headers(), "heat", "heat", || Some(found))?;
    if dry_run {
        return match guard {
            Guard::Absent if found > 0 => {
                Err(domain::Refusal::Exists { name: "heat".into(), version: found }.into())
            }
            Guard::Version(expected) if found != expected => {
                Err(domain::Refusal::VersionMismatch { expected, found }.into())
            }
            Guard::None | Guard::Absent | Guard::Version(_) => {
                let mut checked = HeatDocument::from_table(&table, 0, 0);
                (checked.version, checked.revision) = (None, None);
                Ok(answer::json(StatusCode::OK, &checked, mark, false))
            }
        };
    }
    let command = Command::SetHeatTable { table: table.clone(), guard, origin: caller.origin() };
    let enacted = law::enact(&state, &open, command).await?;
    let (version, revision) = (enacted.value.version, enacted.value.revision);
    let mut response = HttpResponse::Ok();
    answer::mark(&mut response, enacted.mark, true);
    law::tag(&mut response, version);
    Ok(answer::body(response, &HeatDocument::from_table(&table, version, revision)))
}

/// `GET /v1/heat/versions`: oldest first; the published ones, version 0, are not among them.
pub async fn versions(
    request: HttpRequest,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query).await?;
    let (seen, mark) = read::part(&state, &open, &query, Part::Heat, || heat(&open)).await?;
    let shown =
        |table: &HeatTable, version, revision| HeatDocument::from_table(table, version, revision);
    let items = seen.history.iter().map(|version| VersionShown::new(version, shown));
    let list = List { items: items.collect(), next_cursor: None };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

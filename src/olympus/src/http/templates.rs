//! `/v1/templates`: what a sandbox starts from.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::query::ListQuery;
use api::{List, ReadQuery, TemplateDocument};
use domain::command::{Command, Guard};
use domain::law::{HOST_TEMPLATE, Law, Template};
use olympus_actors::policy::{GetLaw, TemplateHistory};
use olympus_actors::view::{Part, Seen};
use std::sync::Arc;

use super::caller::Caller;
use super::law;
use super::problem::{self, Fault};
use super::{AppState, Open, answer, paging, read, runs};
use crate::house::Windows;

const KIND: &str = "template";

async fn law_in_force(open: &Windows) -> Result<Seen<Arc<Law>>, Fault> {
    read::get(&open.policy, GetLaw).await
}

fn version_in(law: &Law, name: &str) -> Option<u64> {
    law.templates.get(name).map(|template| template.version)
}

/// The document of the template in force, and its version.
fn in_force(law: &Law, name: &str) -> Option<(TemplateDocument, u64)> {
    let found = law.templates.get(name)?;
    let document =
        TemplateDocument::from_template(&found.body, found.version, Some(found.revision));
    Some((document, found.version))
}

fn unknown(name: &str) -> Fault {
    let shown: String = name.chars().take(64).collect();
    problem::not_found(format!(
        "template {shown:?} does not exist: list templates with GET /v1/templates"
    ))
}

/// `GET /v1/templates`: by name, the built-in one among them.
pub async fn list(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = ListQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query.read).await?;
    let read = || async {
        let seen = law_in_force(&open).await?;
        Ok((seen.value, seen.mark))
    };
    let (law, mark) = read::part(&state, &open, &query.read, Part::Templates, read).await?;
    let names = law.templates.keys().map(|name| (name.to_string(), name.to_string()));
    let page = paging::page(names, &query.page)?;
    let items = page.items.iter().filter_map(|name| Some(in_force(&law, name)?.0));
    let list = List { items: items.collect(), next_cursor: page.next_cursor };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

/// `GET /v1/templates/{name}`.
pub async fn get(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query).await?;
    let part = Part::Template(name.as_str().into());
    let read = || async {
        let seen = law_in_force(&open).await?;
        Ok((seen.value, seen.mark))
    };
    let (law, mark) = read::part(&state, &open, &query, part, read).await?;
    let Some((document, version)) = in_force(&law, &name) else {
        return Err(unknown(&name).at(mark));
    };
    if law::is_known(request.headers(), version) {
        return Ok(law::not_modified(version));
    }
    let mut response = HttpResponse::Ok();
    answer::mark(&mut response, mark, false);
    law::tag(&mut response, version);
    Ok(answer::body(response, &document))
}

/// `PUT /v1/templates/{name}`.
pub async fn put(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let dry_run = law::dry_run(&request)?;
    let document: TemplateDocument = law::document(&request, payload).await?;
    let template = document.into_template(Some(&name))?;
    if dry_run {
        let open = state.open()?;
        return check(&request, &open, template).await;
    }
    let open = state.open_for_writes()?;
    let found = version_in(&law_in_force(&open).await?.value, &name);
    let guard = law::guard(request.headers(), KIND, &name, || found)?;
    let mut shown = TemplateDocument::from_template(&template, 0, None);
    let command = Command::PutTemplate { template, guard, origin: caller.origin() };
    let enacted = law::enact(&state, &open, command).await?;
    let history = read::get(&open.policy, TemplateHistory(name.as_str().into())).await?.value;
    let created = law::is_first(&history, enacted.value.version);
    (shown.version, shown.revision) = (Some(enacted.value.version), Some(enacted.value.revision));
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    answer::mark(&mut response, enacted.mark, true);
    law::tag(&mut response, enacted.value.version);
    Ok(answer::body(response, &shown))
}

/// What enacting it would say, with nothing written.
async fn check(
    request: &HttpRequest,
    open: &Open,
    template: Template,
) -> Result<HttpResponse, Fault> {
    if &*template.name == HOST_TEMPLATE {
        return Err(domain::Refusal::BuiltIn { kind: KIND, name: template.name }.into());
    }
    let seen = law_in_force(open).await?;
    let found = version_in(&seen.value, &template.name);
    match law::guard(request.headers(), KIND, &template.name, || found)? {
        Guard::Absent if let Some(version) = found => {
            let name = template.name;
            return Err(domain::Refusal::Exists { name, version }.into());
        }
        Guard::Version(expected) if found != Some(expected) => {
            let found = found.unwrap_or(0);
            return Err(domain::Refusal::VersionMismatch { expected, found }.into());
        }
        Guard::None | Guard::Absent | Guard::Version(_) => {}
    }
    let document =
        TemplateDocument { version: None, ..TemplateDocument::from_template(&template, 0, None) };
    Ok(answer::json(StatusCode::OK, &document, seen.mark, false))
}

/// `DELETE /v1/templates/{name}`: runs that pinned it still start from it.
pub async fn delete(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    runs::no_query(&request)?;
    let open = state.open_for_writes()?;
    let found = version_in(&law_in_force(&open).await?.value, &name);
    let guard = law::guard(request.headers(), KIND, &name, || found)?;
    let command =
        Command::DeleteTemplate { name: name.as_str().into(), guard, origin: caller.origin() };
    let enacted = law::enact(&state, &open, command).await?;
    let mut response = HttpResponse::NoContent();
    answer::mark(&mut response, enacted.mark, true);
    Ok(response.finish())
}

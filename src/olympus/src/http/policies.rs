//! `/v1/policies`: what submissions may ask for, every version of it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::law::PolicyVersion;
use api::query::{ListQuery, PutQuery};
use api::{List, PolicyDocument, ReadQuery};
use domain::command::{Command, Guard};
use domain::ids::Digest;
use domain::law::{LOCKDOWN_DEFAULT, Law, Policy, Version, lockdown_default};
use olympus_actors::Mark;
use olympus_actors::policy::{CheckPolicy, GetLaw, PolicyHistory};
use olympus_actors::view::{Part, Seen};
use std::sync::Arc;

use super::caller::Caller;
use super::law;
use super::problem::{self, Fault};
use super::{AppState, Open, answer, paging, read, runs};
use crate::house::Windows;

const KIND: &str = "policy";

async fn law_in_force(open: &Windows) -> Result<Seen<Arc<Law>>, Fault> {
    read::get(&open.policy, GetLaw).await
}

async fn history(open: &Windows, name: &str) -> Result<Seen<Vec<Version<Policy>>>, Fault> {
    read::get(&open.policy, PolicyHistory(name.into())).await
}

/// The document of the policy in force, and its version.
fn in_force(law: &Law, name: &str) -> Option<(PolicyDocument, u64)> {
    match law.policies.get(name) {
        Some(found) => {
            let document = PolicyDocument::from_policy(&found.body, found.version, found.revision);
            Some((document, found.version))
        }
        None if name == LOCKDOWN_DEFAULT => {
            Some((PolicyDocument::from_policy(&lockdown_default(), 0, 0), 0))
        }
        None => None,
    }
}

fn unknown(name: &str) -> Fault {
    let shown: String = name.chars().take(64).collect();
    problem::not_found(format!(
        "policy {shown:?} does not exist: list policies with GET /v1/policies"
    ))
}

/// `GET /v1/policies`: by name, the built-in one among them.
pub async fn list(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Fault> {
    let query = ListQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query.read).await?;
    let read = || async {
        let seen = law_in_force(&open).await?;
        Ok((seen.value, seen.mark))
    };
    let (law, mark) = read::part(&state, &open, &query.read, Part::Policies, read).await?;
    let mut names: Vec<String> = law.policies.keys().map(ToString::to_string).collect();
    let place = names.partition_point(|name| **name < *LOCKDOWN_DEFAULT);
    names.insert(place, LOCKDOWN_DEFAULT.to_owned());
    let page = paging::page(names.into_iter().map(|name| (name.clone(), name)), &query.page)?;
    let items = page.items.iter().filter_map(|name| Some(in_force(&law, name)?.0));
    let list = List { items: items.collect(), next_cursor: page.next_cursor };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

/// `GET /v1/policies/{name}`.
pub async fn get(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query).await?;
    let part = Part::Policy(name.as_str().into());
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

/// `PUT /v1/policies/{name}`.
pub async fn put(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let query = PutQuery::parse(request.query_string())?;
    let document: PolicyDocument = law::document(&request, payload).await?;
    let policy = document.into_policy(Some(&name))?;
    if let Some(report) = query.what_if {
        state.what_ifs.check(&policy, report)?;
    }
    if query.dry_run {
        let open = state.open()?;
        return check(&request, &open, policy).await;
    }
    let open = state.open_for_writes()?;
    let found = law_in_force(&open).await?.value.policies.get(&*policy.name).map(|p| p.version);
    let guard = law::guard(request.headers(), KIND, &name, || found)?;
    put_policy(&state, &open, policy, guard, query.what_if, caller).await
}

/// What enacting it would say, with nothing written.
async fn check(request: &HttpRequest, open: &Open, policy: Policy) -> Result<HttpResponse, Fault> {
    let seen = law_in_force(open).await?;
    let found = seen.value.policies.get(&policy.name).map(|p| p.version);
    match law::guard(request.headers(), KIND, &policy.name, || found)? {
        Guard::Absent if let Some(version) = found => {
            let name = policy.name;
            return Err(domain::Refusal::Exists { name, version }.into());
        }
        Guard::Version(expected) if found != Some(expected) => {
            let found = found.unwrap_or(0);
            return Err(domain::Refusal::VersionMismatch { expected, found }.into());
        }
        Guard::None | Guard::Absent | Guard::Version(_) => {}
    }
    if &*policy.name == LOCKDOWN_DEFAULT {
        return Err(domain::Refusal::BuiltIn { kind: KIND, name: policy.name }.into());
    }
    read::get(&open.policy, CheckPolicy(Box::new(policy.clone()))).await??;
    let document = PolicyDocument {
        version: None,
        revision: None,
        ..PolicyDocument::from_policy(&policy, 0, 0)
    };
    Ok(answer::json(StatusCode::OK, &document, seen.mark, false))
}

async fn put_policy(
    state: &AppState,
    open: &Open,
    policy: Policy,
    guard: Guard,
    what_if: Option<Digest>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    let name = policy.name.clone();
    let mut shown = PolicyDocument::from_policy(&policy, 0, 0);
    let (policy, origin) = (policy.into(), caller.origin());
    let command = Command::PutPolicy { policy, guard, origin, what_if };
    let enacted = law::enact(state, open, command).await?;
    law::shown(open, enacted.value.revision).await?;
    let history = history(open, &name).await?.value;
    let created = law::is_first(&history, enacted.value.version);
    (shown.version, shown.revision) = (Some(enacted.value.version), Some(enacted.value.revision));
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    answer::mark(&mut response, enacted.mark, true);
    law::tag(&mut response, enacted.value.version);
    Ok(answer::body(response, &shown))
}

/// `DELETE /v1/policies/{name}`.
pub async fn delete(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    runs::no_query(&request)?;
    let open = state.open_for_writes()?;
    if *name == *LOCKDOWN_DEFAULT {
        let name = LOCKDOWN_DEFAULT.into();
        return Err(domain::Refusal::BuiltIn { kind: KIND, name }.into());
    }
    let found = law_in_force(&open).await?.value.policies.get(name.as_str()).map(|p| p.version);
    let guard = law::guard(request.headers(), KIND, &name, || found)?;
    let command =
        Command::DeletePolicy { name: name.as_str().into(), guard, origin: caller.origin() };
    let enacted = law::enact(&state, &open, command).await?;
    law::shown(&open, enacted.value.revision).await?;
    let mut response = HttpResponse::NoContent();
    answer::mark(&mut response, enacted.mark, true);
    Ok(response.finish())
}

/// Every version, when one was added where that is waited for.
async fn versions_of(
    state: &AppState,
    open: &Windows,
    query: &ReadQuery,
    name: &str,
) -> Result<(Vec<Version<Policy>>, Mark), Fault> {
    let read = || async {
        let seen = history(open, name).await?;
        Ok((seen.value, seen.mark))
    };
    read::part(state, open, query, Part::Policy(name.into()), read).await
}

/// `GET /v1/policies/{name}/versions`: oldest first.
pub async fn versions(
    request: HttpRequest,
    name: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let open = read::windows(&state, &query).await?;
    let (history, mark) = versions_of(&state, &open, &query, &name).await?;
    if history.is_empty() {
        return Err(unknown(&name).at(mark));
    }
    let items = history.iter().map(PolicyVersion::from);
    let list = List { items: items.collect(), next_cursor: None };
    Ok(answer::json(StatusCode::OK, &list, mark, false))
}

/// `GET /v1/policies/{name}/versions/{v}`.
pub async fn version(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let (name, number) = path.into_inner();
    let open = read::windows(&state, &query).await?;
    let (history, mark) = versions_of(&state, &open, &query, &name).await?;
    let version = law::version_in(&history, &number, KIND, &name).map_err(|f| f.at(mark))?;
    let shown = PolicyVersion::from(version);
    Ok(answer::json(StatusCode::OK, &shown, mark, false))
}

/// `POST /v1/policies/{name}/versions/{v}/restore`: in force again, as a new version.
pub async fn restore(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    runs::no_query(&request)?;
    let (name, number) = path.into_inner();
    let open = state.open_for_writes()?;
    let history = history(&open, &name).await?.value;
    let version = law::version_in(&history, &number, KIND, &name)?;
    let Some(policy) = version.body.as_deref().cloned() else { return Err(unknown(&name)) };
    api::law::check_policy(&policy)?;
    let found = history.last().and_then(|v| v.body.as_ref().map(|_| v.version));
    let guard = law::guard(request.headers(), KIND, &name, || found)?;
    put_policy(&state, &open, policy, guard, None, caller).await
}

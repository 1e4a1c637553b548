//! What policies and templates share: guards, versions, and the way to the registry.

use actix_web::http::header::{ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use api::Time;
use domain::command::{Command, Guard};
use domain::event::Principal;
use domain::law::Version;
use olympus_actors::Committed;
use olympus_actors::answer::ask;
use olympus_actors::projector::AwaitPolicies;
use olympus_actors::registry::{Enact, Enacted};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::{self, Fault};
use super::{AppState, Open, read, runs};

/// Asks the registry to change the law or the queue.
pub async fn enact(
    state: &AppState,
    open: &Open,
    command: Command,
) -> Result<Committed<Enacted>, Fault> {
    let registry = open.registry.clone();
    let asked = async move { ask(&registry, |reply| Enact { command, reply }).await };
    let enacted = runs::decided(asked).await?;
    state.saw(enacted.mark.index);
    Ok(enacted)
}

/// Waits until `themis:policies` shows a revision: an answer says no less.
pub async fn shown(open: &Open, revision: u64) -> Result<(), Fault> {
    let shown = read::get_later(&open.projector, |reply| AwaitPolicies { revision, reply });
    match timeout(read::PATIENCE, shown).await {
        Ok(shown) => shown,
        Err(_) => {
            let words = format!("revision {revision} is enacted, but Redis does not show it yet");
            Err(problem::unknown(&words))
        }
    }
}

/// What a write asks of the version in force; `found` is that version, where there is one.
pub fn guard(
    headers: &HeaderMap,
    kind: &str,
    name: &str,
    found: impl FnOnce() -> Option<u64>,
) -> Result<Guard, Fault> {
    let text = |header| headers.get(header).map(|value| value.to_str().unwrap_or_default().trim());
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (None, None) => Ok(Guard::None),
        (Some("*"), None) => match found() {
            Some(version) => Ok(Guard::Version(version)),
            None => Err(problem::nothing_to_match(kind, name)),
        },
        (Some(tag), None) => version_of(tag).map(Guard::Version).ok_or_else(|| {
            problem::malformed(
                "If-Match is not a version: write it as the ETag says, such as \"3\"",
            )
        }),
        (None, Some("*")) => Ok(Guard::Absent),
        (None, Some(_)) => {
            Err(problem::malformed("If-None-Match takes \"*\" here: it guards a creation"))
        }
        (Some(_), Some(_)) => {
            Err(problem::malformed("If-Match and If-None-Match exclude each other: send one"))
        }
    }
}

/// The version that an entity tag names.
fn version_of(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Whether the caller has this version already: `If-None-Match` of a read.
pub fn is_known(headers: &HeaderMap, version: u64) -> bool {
    let tags = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    tags.is_some_and(|tags| tags.split(',').any(|tag| version_of(tag.trim()) == Some(version)))
}

/// Adds the entity tag of a version.
pub fn tag(response: &mut HttpResponseBuilder, version: u64) {
    response.insert_header((ETAG, format!("\"{version}\"")));
}

/// A document in the body of a request.
pub async fn document<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Fault> {
    let body = read::body(request, payload).await?;
    Ok(api::document::read(&body)?)
}

/// Whether a write is only to be checked.
pub fn dry_run(request: &HttpRequest) -> Result<bool, Fault> {
    let query = api::query::SubmitQuery::parse(request.query_string())?;
    if query.wait.is_some() {
        let words = "unknown parameter \"wait\": known here: dry_run";
        return Err(api::Invalid::one(words).into());
    }
    Ok(query.dry_run)
}

/// One version of a document.
#[derive(Serialize)]
pub struct VersionShown<D> {
    /// Its number; a deletion repeats the number of what it deleted.
    version: u64,
    /// The revision of the law it made.
    revision: u64,
    /// When, in log time.
    at: Time,
    /// Who.
    by: Principal,
    /// Whether this is the end of the one before.
    deleted: bool,
    /// The document; none for a deletion.
    document: Option<D>,
}

impl<D> VersionShown<D> {
    /// A version as the history has it.
    pub fn new<T>(version: &Version<T>, document: impl FnOnce(&T, u64, u64) -> D) -> Self {
        let Version { version, revision, at, by, body, .. } = version;
        Self {
            version: *version,
            revision: *revision,
            at: (*at).into(),
            by: by.clone(),
            deleted: body.is_none(),
            document: body.as_ref().map(|body| document(body, *version, *revision)),
        }
    }
}

/// Whether a version began a document, or began it anew after a deletion.
pub fn is_first<T>(history: &[Version<T>], version: u64) -> bool {
    let at = history.iter().position(|v| v.version == version && v.body.is_some());
    at.is_none_or(|at| at == 0 || history[at - 1].body.is_none())
}

/// A version in the history, by its number.
pub fn version_in<'a, T>(
    history: &'a [Version<T>],
    number: &str,
    kind: &str,
    name: &str,
) -> Result<&'a Version<T>, Fault> {
    let wanted = number.parse::<u64>().ok();
    let found = history.iter().find(|v| Some(v.version) == wanted && v.body.is_some());
    found.ok_or_else(|| {
        let shown: String = number.chars().take(32).collect();
        problem::not_found(format!("{kind} {name:?} has no version {shown:?}"))
    })
}

/// The answer to a read of a version that the caller has.
pub fn not_modified(version: u64) -> HttpResponse {
    let mut response = HttpResponse::NotModified();
    tag(&mut response, version);
    response.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn guarded(headers: &[(&'static str, &'static str)], found: Option<u64>) -> Result<Guard, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = actix_web::http::header::HeaderName::from_static(name);
            map.insert(name, HeaderValue::from_static(value));
        }
        guard(&map, "policy", "p", || found).map_err(|fault| fault.problem().status)
    }

    #[test]
    fn a_guard_is_what_the_headers_say() {
        for (headers, found, expected) in [
            (&[][..], Some(3), Ok(Guard::None)),
            (&[("if-match", "\"3\"")], None, Ok(Guard::Version(3))),
            (&[("if-match", "*")], Some(7), Ok(Guard::Version(7))),
            (&[("if-match", "*")], None, Err(412)),
            (&[("if-none-match", "*")], None, Ok(Guard::Absent)),
            (&[("if-match", "3")], None, Err(400)),
            (&[("if-match", "\"\"")], None, Err(400)),
            (&[("if-match", "W/\"3\"")], None, Err(400)),
            (&[("if-none-match", "\"3\"")], None, Err(400)),
            (&[("if-match", "\"3\""), ("if-none-match", "*")], None, Err(400)),
        ] {
            assert_eq!(guarded(headers, found), expected, "{headers:?}");
        }
    }
}

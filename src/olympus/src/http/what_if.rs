//! `POST /v1/policies/{name}/what-if`: the recorded submissions, judged under a draft.
//!
//! Owns:   the one seat for it, and the digests of the reports that were made here, for a `PUT` that
//!         says what was seen first.
//! Never:  judges on a thread that others wait for: this one reads, in small pages, and a blocking
//!         one judges. A caller who goes away takes his question with him.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::what_if::{WhatIfReport, WhatIfRequest};
use domain::Refusal;
use domain::ids::Digest;
use domain::law::{LOCKDOWN_DEFAULT, Policy};
use olympus_actors::policy::{CheckPolicy, GetBook};
use replay::Source;
use replay::what_if::{Question, of_draft, what_if};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::events::unread;
use super::problem::{self, Fault};
use super::{AppState, answer, law, read, runs};

/// Questions an instance works on at a time: one takes a whole processor.
const AT_ONCE: usize = 1;
/// So much is read at a time: what a thread of the gateway does with it (checksums, hashes) takes
/// well below a millisecond.
const PAGE_BYTES: usize = 256 << 10;
/// A question that takes longer is for an export, or a shorter `since`. Clients wait for an answer
/// as long as the longest `wait`.
pub const WITHIN: Duration = Duration::from_secs(240);
const _: () = assert!(WITHIN.as_millis() < api::limits::WAIT_MS_MAX as u128);
/// Reports that are remembered: an operator applies what he has just looked at.
const REMEMBERED: usize = 256;

/// The seat, and the reports that were made here.
#[derive(Debug)]
pub struct WhatIfs {
    seats: Arc<Semaphore>,
    /// Draft and report, the latest last.
    made: Mutex<VecDeque<(Digest, Digest)>>,
}

impl Default for WhatIfs {
    fn default() -> Self {
        Self { seats: Arc::new(Semaphore::new(AT_ONCE)), made: Mutex::default() }
    }
}

impl WhatIfs {
    fn seat(&self) -> Option<OwnedSemaphorePermit> {
        self.seats.clone().try_acquire_owned().ok()
    }

    fn remember(&self, report: &WhatIfReport) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() == REMEMBERED {
            made.pop_front();
        }
        made.push_back((report.draft.digest, report.digest));
    }

    /// Whether a report of this digest was made here for exactly this policy.
    ///
    /// # Errors
    /// It was not, or is forgotten.
    pub fn check(&self, policy: &Policy, report: Digest) -> Result<(), Fault> {
        let draft = of_draft(policy);
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.contains(&(draft, report)) {
            return Ok(());
        }
        let name = &policy.name;
        Err(problem::conflict(match made.iter().any(|(_, known)| *known == report) {
            true => format!(
                "the what-if report {report} is of another draft: ask POST \
                 /v1/policies/{name}/what-if for the policy that you put, and give its digest"
            ),
            false => format!(
                "no what-if report {report} is known here: an instance remembers the last \
                 {REMEMBERED} that it made, until it stops; ask POST /v1/policies/{name}/what-if \
                 again, and give its digest"
            ),
        }))
    }
}

/// See the module.
pub async fn ask(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    runs::no_query(&request)?;
    let asked: WhatIfRequest = law::document(&request, payload).await?;
    let (draft, since) = asked.check(&name)?;
    if &*draft.name == LOCKDOWN_DEFAULT {
        return Err(Refusal::BuiltIn { kind: "policy", name: draft.name }.into());
    }
    let open = state.open()?;
    read::get(&open.policy, CheckPolicy(Box::new(draft.clone()))).await??;
    let _seat = state.what_ifs.seat().ok_or_else(problem::what_if_busy)?;
    let since = since.resolve(open.clock.now().into());
    let (book, mark) = {
        let seen = read::get(&open.policy, GetBook).await?;
        (seen.value, seen.mark)
    };
    // What is written while it is answered would never end.
    let head = timeout(read::PATIENCE, open.journal.head()).await;
    let or = "see what GET /readyz says";
    let head = head.map_err(|_| problem::unasked(&"the journal does not answer", or))?;
    let until = Some(head.map_err(|error| problem::unasked(&error, or))?.seq);
    let question = Question { draft, since, until, book: Some(book) };
    let source = state.pasts.source(&open.journal, PAGE_BYTES).await;
    let report = judged(source.map_err(unread)?, question).await?;
    state.what_ifs.remember(&report);
    state.saw(mark.index);
    Ok(answer::json(StatusCode::OK, &report, mark, false))
}

async fn judged(mut source: Source, question: Question) -> Result<WhatIfReport, Fault> {
    // Dropping the question ends the judging behind it with the page it has.
    match timeout(WITHIN, what_if(&mut source, question, |_| {})).await {
        Ok(report) => report.map_err(unread),
        Err(_) => Err(problem::what_if_too_long(WITHIN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::Hex;
    use domain::law::lockdown_default;

    fn made(what_ifs: &WhatIfs, draft: &Policy, digest: u8) {
        let mut made = what_ifs.made.lock().expect("nobody else");
        made.push_back((of_draft(draft), Hex([digest; 32])));
    }

    #[test]
    fn one_question_is_worked_on_at_a_time() {
        let what_ifs = WhatIfs::default();
        let seat = what_ifs.seat().expect("the only one");
        assert!(what_ifs.seat().is_none());
        let busy = problem::what_if_busy();
        assert_eq!(busy.problem().status, 503);
        drop(seat);
        assert!(what_ifs.seat().is_some());
    }

    #[test]
    fn a_report_counts_for_exactly_the_draft_that_it_is_of() {
        let what_ifs = WhatIfs::default();
        let draft = Policy { name: "p".into(), ..lockdown_default() };
        let other = Policy { max_age_ms: Some(1), ..draft.clone() };
        made(&what_ifs, &draft, 1);
        assert!(what_ifs.check(&draft, Hex([1; 32])).is_ok());
        for (policy, digest, words) in
            [(&other, 1, "is of another draft"), (&draft, 2, "is known here")]
        {
            let fault = what_ifs.check(policy, Hex([digest; 32])).expect_err("it is not");
            assert_eq!(fault.problem().status, 409);
            assert!(fault.problem().detail.contains(words), "{fault}");
        }
    }
}

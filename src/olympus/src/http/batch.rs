//! `POST /v1/runs:batch`: many submissions, one journal entry, an answer each.

use actix_web::{HttpRequest, HttpResponse, web};
use api::{Batch, BatchAnswer, BatchAnswers, RunRequest};
use domain::Refusal;
use domain::judge::Request;
use domain::runs::Birth;
use olympus_actors::registry::Admitted;

use super::caller::Caller;
use super::problem::{self, Fault};
use super::submit::{self, Asked, Decided, Said, decide};
use super::{AppState, answer, read, runs};

/// See the module.
pub async fn submit(
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
    caller: Caller,
) -> Result<HttpResponse, Fault> {
    runs::no_query(&request)?;
    let body = read::body(&request, payload).await?;
    let turn = state.ingress.batch().await?;
    let key = submit::key_use(&request, &body)?;
    let asked = api::parse::<Batch>(&body)?.check()?;
    let open = state.open_for_writes()?;
    let mut answers: Vec<Option<BatchAnswer>> = Vec::with_capacity(asked.len());
    let mut good = Vec::with_capacity(asked.len());
    for (position, asked) in (0..).zip(asked) {
        match Request::try_from(asked) {
            Ok(request) => {
                good.push((position, request));
                answers.push(None);
            }
            Err(invalid) => answers.push(Some(BatchAnswer::refused(invalid.into()))),
        }
    }
    if good.is_empty() {
        return Ok(answer::body(HttpResponse::Ok(), &collect(answers)));
    }
    let again = move |positions: &[u32]| {
        let mut asked: Vec<Option<RunRequest>> = match api::parse::<Batch>(&body) {
            Ok(batch) => batch.runs.into_iter().map(Some).collect(),
            // What was good once is good again.
            Err(_) => Vec::new(),
        };
        let mut anew = |position: u32| asked.get_mut(position as usize)?.take();
        let request = |position| Some((position, Request::try_from(anew(position)?).ok()?));
        positions.iter().copied().filter_map(request).collect()
    };
    let asked = Asked { requests: good, turn };
    let Decided { said, mark } = decide(&state, open, asked, key, caller.origin(), again).await?;
    // The answers of a thousand runs are long work, too; it is done, so that it is turned away no more.
    let _turn = state.ingress.turn_to_go_on().await;
    let mut said: Vec<(u32, Said)> = said;
    if let Some(reused) = reused_by_all(&mut said, answers.iter().filter(|a| a.is_none()).count()) {
        return Err(reused);
    }
    for (position, said) in said {
        if let Some(answer) = answers.get_mut(position as usize) {
            *answer = Some(match said {
                Said::Admitted(admitted) => admitted_item(&admitted),
                Said::Unjudgeable(unjudgeable) => refused(unjudgeable.into()),
                Said::Refused(refusal) => refused(refusal.into()),
            });
        }
    }
    let mut response = HttpResponse::Ok();
    if let Some(mark) = mark {
        state.saw(mark.index);
        answer::mark(&mut response, mark, true);
    }
    let answers = collect(answers);
    Ok(answer::list(response, &answers, answers.items.len()))
}

/// The key covers the whole batch: with another body, the whole is refused.
fn reused_by_all(said: &mut Vec<(u32, Said)>, asked: usize) -> Option<Fault> {
    let reused = |said: &Said| matches!(said, Said::Refused(Refusal::KeyReused { .. }));
    if said.len() != asked || !said.iter().all(|(_, said)| reused(said)) {
        return None;
    }
    match said.pop() {
        Some((_, Said::Refused(refusal))) => Some(refusal.into()),
        Some((_, Said::Admitted(_) | Said::Unjudgeable(_))) | None => None,
    }
}

fn admitted_item(admitted: &Admitted) -> BatchAnswer {
    let Admitted { run, repeat } = admitted;
    match &run.birth {
        Birth::Rejected(rejected) => refused(problem::rejected(rejected)),
        Birth::Admitted(_) => {
            BatchAnswer::accepted(if *repeat { 200 } else { 202 }, api::Run::from(run))
        }
    }
}

fn refused(fault: Fault) -> BatchAnswer {
    BatchAnswer::refused(fault.into_problem())
}

fn collect(answers: Vec<Option<BatchAnswer>>) -> BatchAnswers {
    let lost = || refused(problem::unknown("the answer was lost"));
    BatchAnswers { items: answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect() }
}

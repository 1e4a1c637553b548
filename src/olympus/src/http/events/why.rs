//! `GET /v1/runs/{id}/why`: the chain of causes of a run, its last event first.
//!
//! The run's own part of the journal is looked through once; the law it was judged by and the leaders
//! of its time, which may be long before, are found by halving.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use api::event::Place;
use api::{List, ReadQuery};
use domain::event::RunReleased;
use domain::judge::Judgement;
use domain::runs::Birth;
use domain::{Event, Run, Sequence, Timestamp};
use journal::{Entry, catalog};
use olympus_actors::policy::{PolicyHistory, TemplateHistory};
use olympus_actors::view::GetHeat;
use replay::fold::Fold as _;
use replay::why::{Target, Why};

use super::super::problem::{self, Fault};
use super::super::{AppState, answer, read};
use super::of_run::{BUDGET_BYTES, before_birth};
use super::reader::Reader;
use crate::house::Windows;

/// A change of the law stands in one of the first entries that are as late as it is: in the very
/// first, unless many were written within its millisecond.
const LOOKED_AT_BYTES: usize = 4 << 20;

/// See the module.
pub async fn why(
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Fault> {
    let query = ReadQuery::parse(request.query_string())?;
    let id = read::run_id(&id)?;
    let open = state.open()?;
    let windows = read::windows(&state, &query).await?;
    let seen = read::run_when_due(&windows, id, &query).await?;
    state.saw(seen.mark.index);
    let Some(run) = seen.value.map(|seen| seen.run) else {
        return Err(Fault::from(domain::Refusal::NoSuchRun(id)).at(seen.mark));
    };
    let (mut why, mut reader) = (Why::new(Target::Run(id)), Reader::open(&state, &open).await?);
    for judgement in judgements(&run) {
        for at in law_of(&windows, judgement).await? {
            look_for(&mut reader, &mut why, at, run.index).await?;
        }
    }
    let epochs = live_through(&mut reader, &mut why, &run).await?;
    for epoch in epochs {
        let entry = reader.first_where(|header| header.epoch >= epoch).await?;
        let page = reader.page(entry.saturating_sub(1)).await?;
        page.first().map_or(Ok(()), |entry| fold(&mut why, entry))?;
    }
    let list = List { items: why.chain(None), next_cursor: None };
    Ok(answer::json(StatusCode::OK, &list, seen.mark, false))
}

/// What the run was judged by, when it came in and when it was let go.
fn judgements(run: &Run) -> Vec<&Judgement> {
    let released = run.released.as_deref().map(|RunReleased { judgement, .. }| &**judgement);
    let birth: &Judgement = match &run.birth {
        Birth::Admitted(e) => &e.judgement,
        Birth::Rejected(e) => &e.judgement,
    };
    [Some(birth), released].into_iter().flatten().collect()
}

/// When the law that a judgement names was made.
async fn law_of(windows: &Windows, judgement: &Judgement) -> Result<Vec<Timestamp>, Fault> {
    let Judgement { policy, template, revision, .. } = judgement;
    let policies = read::get(&windows.policy, PolicyHistory(policy.name.clone())).await?.value;
    let policy = policies.iter().find(|v| v.version == policy.version).map(|v| v.at);
    let templates = read::get(&windows.policy, TemplateHistory(template.name.clone())).await?.value;
    let template = templates.iter().find(|v| v.version == template.version).map(|v| v.at);
    let heat = read::get(&windows.view, GetHeat).await?.value.history;
    let heat = heat.iter().rfind(|v| v.revision <= *revision).map(|v| v.at);
    Ok([policy, template, heat].into_iter().flatten().collect())
}

/// Takes in what was enacted at a time.
async fn look_for(
    reader: &mut Reader,
    why: &mut Why,
    at: Timestamp,
    last: Sequence,
) -> Result<(), Fault> {
    let mut next = reader.first_where(|header| header.at_ms >= at.0).await?;
    let mut seen = 0;
    while next <= last && seen < LOOKED_AT_BYTES {
        let entries = reader.page(next - 1).await?;
        let Some(end) = entries.last().map(Entry::seq) else { return Ok(()) };
        let mut found = false;
        for entry in &entries {
            for event in catalog::events(entry) {
                let (n, event) = event.map_err(|e| problem::internal("read the journal", &e))?;
                let law = matches!(
                    event,
                    Event::PolicyPut(_) | Event::TemplatePut(_) | Event::HeatTableSet(_)
                );
                if law && event.at() == at {
                    let place = Place { sequence: entry.seq(), n: Some(n) };
                    why.saw(place, entry.header().epoch, &event);
                    found = true;
                }
            }
        }
        if found {
            return Ok(());
        }
        (next, seen) = (end + 1, seen + bytes(&entries));
    }
    Ok(())
}

/// Takes in all of the run's life; the epochs it went through.
async fn live_through(
    reader: &mut Reader,
    why: &mut Why,
    run: &Run,
) -> Result<std::collections::BTreeSet<u64>, Fault> {
    let mut read = before_birth(reader, run.created_at().0).await?.sequence;
    let (mut seen, mut epochs) = (0, std::collections::BTreeSet::new());
    while read < run.index {
        if seen >= BUDGET_BYTES {
            return Err(problem::long_life(run.id()));
        }
        let entries = reader.page(read).await?;
        let Some(last) = entries.last().map(Entry::seq) else { break };
        for entry in entries.iter().take_while(|entry| entry.seq() <= run.index) {
            epochs.insert(entry.header().epoch);
            fold(why, entry)?;
        }
        (read, seen) = (last, seen + bytes(&entries));
    }
    Ok(epochs)
}

fn fold(why: &mut Why, entry: &Entry) -> Result<(), Fault> {
    why.entry(entry);
    match &why.bad {
        Some(bad) => Err(problem::internal("read the journal", bad)),
        None => Ok(()),
    }
}

fn bytes(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.bytes().len()).sum()
}

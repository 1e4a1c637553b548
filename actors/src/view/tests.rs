//! Reads: what is durable, and nothing else.

use domain::{RunId, Status};
use tokio::sync::oneshot;

use super::messages::{AwaitIndex, Filter, ListRuns, RunPage, Until};
use crate::fixture::{Fixture, judged};

async fn list(house: &Fixture, filter: Filter, before: Option<RunId>, limit: usize) -> RunPage {
    let (reply, seen) = oneshot::channel();
    house.view.send(ListRuns { filter, before, limit, reply }).await.expect("a view");
    seen.await.expect("a page").value
}

#[actix::test]
async fn a_wait_is_answered_when_the_run_has_ended() {
    let house = Fixture::leading().await;
    house.join("n1", 4_000).await;
    let run = house.submit().await;
    let wait = house.run(run, Until::Ended);
    let end = async {
        while house.run(run, Until::Now).await.value.expect("there").run.status != Status::Scheduled
        {
            tokio::task::yield_now().await;
        }
        house.finish("n1", run, 0).await.expect("recorded");
    };
    let wait = async {
        let seen = wait.await;
        seen.value.expect("there").run.status
    };
    assert_eq!(tokio::join!(wait, end).0, Status::Succeeded);
}

#[actix::test]
async fn a_list_goes_on_behind_its_cursor_newest_first_and_misses_nothing() {
    let house = Fixture::leading().await;
    let answer = house.admit(vec![judged(); 25], None).await.expect("durable").value;
    let mut expected: Vec<RunId> = answer.iter().flatten().map(|a| a.run.id()).collect();
    expected.reverse();
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = list(&house, Filter::default(), before, 10).await;
        found.extend(page.runs.iter().map(|seen| seen.run.id()));
        before = page.next;
        if before.is_none() {
            break;
        }
        assert_eq!(page.runs.len(), 10);
    }
    assert_eq!(found, expected);
}

#[actix::test]
async fn a_scan_over_its_budget_still_finds_what_lies_behind() {
    let house = Fixture::leading().await;
    let first = house.submit().await;
    house.join("n1", 500).await;
    while house.run(first, Until::Now).await.value.expect("there").run.status == Status::Pending {
        tokio::task::yield_now().await;
    }
    house.finish("n1", first, 0).await.expect("recorded");
    for _ in 0..12 {
        // Most of these stay out of the queue's limit: cancel them to make rows.
        let runs = house.admit(vec![judged(); 900], None).await.expect("durable").value;
        for admitted in runs.into_iter().flatten() {
            let run = admitted.run.id();
            let origin = crate::fixture::origin();
            let cancel = |reply| crate::registry::Cancel { run, origin, reply };
            let _ = crate::answer::ask(&house.registry, cancel).await;
        }
    }
    let filter = Filter { statuses: vec![Status::Succeeded], ..Filter::default() };
    let page = list(&house, filter, None, 10).await;
    assert_eq!(page.runs.iter().map(|seen| seen.run.id()).collect::<Vec<_>>(), [first]);
}

#[actix::test]
async fn an_index_is_awaited_until_it_is_applied() {
    let house = Fixture::leading().await;
    let now = house.run(RunId(uuid::Uuid::nil()), Until::Now).await.mark.index;
    let (reply, reached) = oneshot::channel();
    house.view.send(AwaitIndex { index: now + 1, reply }).await.expect("a view");
    house.submit().await;
    assert_eq!(reached.await.expect("reached").index, now + 1);
}

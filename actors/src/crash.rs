//! A process that stops at every single append, before and after the write, and starts again: the
//! same history, nothing acknowledged lost, nothing done twice.

use std::collections::BTreeMap;

use domain::{RunId, Status, invariants};
use journal::memory::Fault;
use journal::{MemoryJournal, MemoryStore};

use crate::fixture::{Fixture, judged, replay};
use crate::view::Until;

/// Runs of a life, each with an idempotency key of its own.
const RUNS: usize = 4;
/// More appends than a life has: the last rounds stop nowhere, and prove that none was missed.
const STOPS: usize = 24;

/// One life: a node joins, every run is submitted and brought to its end.
async fn life(house: &Fixture, acknowledged: &mut BTreeMap<String, RunId>) {
    house.join("n1", 1_000).await;
    for number in 0..RUNS {
        let key = format!("key-{number}");
        let answer = house.admit(vec![judged()], Some(&key)).await.expect("durable");
        let run = answer.value[0].as_ref().expect("let in").run.id();
        let before = acknowledged.insert(key, run);
        assert!(before.is_none_or(|before| before == run), "a key has one run for ever");
    }
    for run in acknowledged.values() {
        loop {
            let seen = house.run(*run, Until::Now).await;
            match seen.value.expect("there").run.status {
                Status::Succeeded => break,
                Status::Scheduled => {
                    // Refused when the attempt was lost meanwhile: look again.
                    let _ = house.finish("n1", *run, 0).await;
                }
                _ => {
                    house.run(*run, Until::ChangedAfter(seen.mark.index)).await;
                }
            }
        }
    }
}

async fn stop_at(append: usize, fault: Fault) -> bool {
    let store = MemoryStore::default();
    let mut acknowledged = BTreeMap::new();
    let mut stopped = false;
    {
        let memory = MemoryJournal::over(store.clone());
        memory.faults().plan_after(append, fault);
        let faults = memory.faults().clone();
        let mut house = Fixture::over(memory).await;
        let whole = async {
            house.lead().await;
            life(&house, &mut acknowledged).await;
        };
        tokio::select! {
            () = whole => {}
            () = faults.stopped() => stopped = true,
        }
    }
    let mut house = Fixture::over(MemoryJournal::over(store.clone())).await;
    house.lead().await;
    let known = acknowledged.clone();
    life(&house, &mut acknowledged).await;
    let (world, _) = replay(&(house.store.clone() as _)).await;
    invariants::state(&world).expect("every rule holds");
    assert_eq!(world.runs.len(), RUNS, "stop at append {append}, {fault:?}");
    assert_eq!(world.runs.count(Status::Succeeded), RUNS as u64);
    for (key, run) in known {
        assert_eq!(acknowledged.get(&key), Some(&run), "acknowledged before the stop");
    }
    stopped
}

#[actix::test]
async fn a_stop_before_any_append_loses_nothing_that_was_acknowledged() {
    let mut stops = 0;
    for append in 0..STOPS {
        stops += usize::from(stop_at(append, Fault::StopBefore).await);
    }
    assert!((RUNS * 2..STOPS).contains(&stops), "{stops} stops");
}

#[actix::test]
async fn a_stop_after_any_append_does_nothing_twice() {
    let mut stops = 0;
    for append in 0..STOPS {
        stops += usize::from(stop_at(append, Fault::StopAfter).await);
    }
    assert!((RUNS * 2..STOPS).contains(&stops), "{stops} stops");
}

//! Placement, end to end over the journal.

use domain::{Status, World};

use crate::fixture::{Fixture, judged, replay};
use crate::view::Until;

async fn until(house: &Fixture, holds: impl Fn(&World) -> bool) -> World {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let (world, _) = replay(&(house.store.clone() as _)).await;
        if holds(&world) {
            return world;
        }
        assert!(std::time::Instant::now() < deadline, "not reached in 10 s");
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn work_that_waited_for_a_node_is_given_to_it_in_order_and_never_beyond_its_room() {
    let house = Fixture::leading().await;
    house.admit(vec![judged(); 10], None).await.expect("durable");
    house.join("n1", 2_000).await;
    // 500 mCPU each: four fit.
    let world = until(&house, |world| world.runs.count(Status::Scheduled) == 4).await;
    let scheduled: Vec<bool> =
        world.runs.newest_first(None).map(|(_, status)| status == Status::Scheduled).collect();
    assert_eq!(scheduled, [[false; 6].as_slice(), [true; 4].as_slice()].concat());
    domain::invariants::state(&world).expect("every rule holds");
}

#[actix::test]
async fn freed_room_goes_to_the_next_in_line() {
    let house = Fixture::leading().await;
    house.join("n1", 500).await;
    let (first, second) = (house.submit().await, house.submit().await);
    until(&house, |world| world.runs.status(first) == Some(Status::Scheduled)).await;
    house.finish("n1", first, 0).await.expect("recorded");
    until(&house, |world| world.runs.status(second) == Some(Status::Scheduled)).await;
    let seen = house.run(first, Until::Ended).await;
    assert_eq!(seen.value.expect("there").run.status, Status::Succeeded);
}

#[actix::test]
async fn a_run_that_pauses_before_its_next_attempt_is_placed_when_the_pause_is_over() {
    let house = Fixture::leading().await;
    house.join("n1", 500).await;
    let mut request = crate::fixture::request();
    request.retry = Some(domain::submission::Retry { max_attempts: 2, backoff_ms: 1 });
    let judged =
        domain::judge::judge(&domain::Court::default(), request, &domain::Inputs::bare(true))
            .expect("judged");
    let admitted = house.admit(vec![judged], None).await.expect("durable").value.remove(0);
    let run = admitted.expect("let in").run.id();
    until(&house, |world| world.runs.status(run) == Some(Status::Scheduled)).await;
    house.finish("n1", run, 1).await.expect("recorded");
    until(&house, |world| world.runs.live(run).is_some_and(|run| run.attempt == 2)).await;
}

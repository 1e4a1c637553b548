//! What any GET takes: `index` and `wait`, `min_index`, `consistent`.

use serde_json::json;
use tests::House;
use tests::http::{host, id};

#[tokio::test]
async fn a_run_is_answered_once_it_has_changed() {
    let house = House::memory().await;
    let run = house.api.submit_command(&["true"]).await;
    let path = format!("/v1/runs/{}", id(&run));
    let watched = format!("{path}?index={}&wait=60s", run["index"]);
    let (seen, _) = tokio::join!(house.api.get(&watched), async {
        // Another run's change is not this one's.
        house.api.submit_command(&["true"]).await;
        house.api.post(&format!("{path}/cancel"), &json!({})).await.expect(200);
    });
    let seen = seen.expect(200).json();
    assert_eq!(seen["status"], "CANCELED");
    assert!(seen["index"].as_u64() > run["index"].as_u64());
}

#[tokio::test]
async fn a_run_that_does_not_change_is_answered_after_the_wait() {
    let house = House::memory().await;
    let run = house.api.submit_command(&["true"]).await;
    let path = format!("/v1/runs/{}?index={}&wait=100ms", id(&run), run["index"]);
    assert_eq!(house.api.get(&path).await.expect(200).json(), run_as_read(&house, &run).await);
}

async fn run_as_read(house: &House, run: &serde_json::Value) -> serde_json::Value {
    house.api.run(&id(run)).await
}

#[tokio::test]
async fn a_run_that_changed_already_is_answered_at_once() {
    let house = House::memory().await;
    let run = house.api.submit_command(&["true"]).await;
    let before = run["index"].as_u64().unwrap_or(1) - 1;
    let path = format!("/v1/runs/{}?index={before}&wait=5m", id(&run));
    assert_eq!(house.api.get(&path).await.expect(200).json()["status"], "PENDING");
}

#[tokio::test]
async fn wait_alone_blocks_until_the_run_has_ended() {
    let house = House::memory().await;
    let run = house.api.submit_command(&["true"]).await;
    let path = format!("/v1/runs/{}?wait=60s", id(&run));
    let plan = house.agent("n1");
    let (seen, _agent) = tokio::join!(house.api.get(&path), plan.start(&house.api));
    assert_eq!(seen.expect(200).json()["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_list_is_answered_once_it_has_changed() {
    let house = House::memory().await;
    let before = house.api.get("/v1/runs").await.expect(200);
    let watched = format!("/v1/runs?index={}&wait=60s", before.index());
    let (seen, _) = tokio::join!(house.api.get(&watched), house.api.submit_command(&["true"]));
    assert_eq!(seen.expect(200).ids().len(), 1);
}

#[tokio::test]
async fn min_index_waits_until_it_is_applied() {
    let house = House::memory().await;
    let run = house.api.submit_command(&["true"]).await;
    let next = run["index"].as_u64().unwrap_or(0) + 1;
    let path = format!("/v1/runs?min_index={next}&wait=60s");
    let (seen, _) = tokio::join!(house.api.get(&path), house.api.submit_command(&["true"]));
    let seen = seen.expect(200);
    assert!(seen.index() >= next && seen.ids().len() == 2, "{seen}");
}

#[tokio::test]
async fn a_receipt_is_known_from_another_also_by_an_instance_that_was_not_there() {
    let mut house = House::redis().await;
    let written = house.api.post("/v1/runs", &host(&["true"])).await.expect(202);
    let receipt = written.header("x-tartarus-receipt").expect("a receipt").to_owned();
    let (number, _) = receipt.split_once('-').expect("a receipt");
    let other = format!("/v1/runs?min_index={number}-0123456789abcdef&wait=10ms");
    // What it has folded since it started it remembers; what was there before, the journal has.
    for _ in ["wrote it", "read it"] {
        let seen = house.api.get(&format!("/v1/runs?min_index={receipt}")).await.expect(200);
        assert_eq!(seen.ids(), [id(&written.json())]);
        let said = house.api.get(&other).await.problem(503, "unavailable");
        let detail = said["detail"].as_str().expect("words");
        assert!(detail.contains("is another one here"), "{detail}");
        house.olympus.restart().await;
    }
    // Without the journal nobody can say, and the number alone is answered.
    house.redis.as_mut().expect("a Redis").kill();
    let said = house.api.get(&format!("/v1/runs?min_index={receipt}")).await;
    let said = said.problem(503, "journal_unavailable");
    let detail = said["detail"].as_str().expect("words");
    assert!(detail.contains("give the number alone"), "{detail}");
    house.api.get(&format!("/v1/runs?min_index={number}")).await.expect(200);
}

#[tokio::test]
async fn consistent_asks_the_journal_first() {
    for house in [House::memory().await, House::redis().await] {
        let run = house.api.submit_command(&["true"]).await;
        let seen = house.api.get("/v1/runs?consistent=true").await.expect(200);
        assert_eq!(seen.ids(), [id(&run)]);
    }
}

#[tokio::test]
async fn every_index_only_grows() {
    let house = House::memory().await;
    let mut last = 0;
    for _ in 0..20 {
        let answer = house.api.post("/v1/runs", &host(&["true"])).await.expect(202);
        assert!(answer.index() > last, "{answer}");
        last = answer.index();
        assert!(house.api.get("/v1/queue").await.index() >= last);
    }
}

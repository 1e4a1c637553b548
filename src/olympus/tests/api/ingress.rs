//! What waits takes no room from what is asked.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Answer, House, PATIENCE, hello};

/// As large as a submission may be.
const LARGE: usize = 256 * 1024;
/// All bodies that there is room for, and some more.
const MANY: usize = 32 * 1024 * 1024 / LARGE + 2;

/// Asks again and again until the answer is as it should be.
async fn until(house: &House, path: &str, good: impl Fn(&Answer) -> bool) {
    let asking = async {
        while !good(&house.get(path).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} in time"));
}

/// Sends so many requests, each on a connection of its own, and returns when all of them are there: what
/// they are answered.
async fn crowd(house: &House, of: usize, path: &str) -> JoinSet<u16> {
    let mut crowd = JoinSet::new();
    for _ in 0..of {
        let request = house.request(Method::GET, path);
        crowd
            .spawn_local(async move { request.send().await.expect("an answer").status().as_u16() });
    }
    until(house, "/metrics", |answer| {
        let found = answer.text.lines().find_map(|line| line.strip_prefix("tartarus_connections "));
        found.and_then(|count| count.parse().ok()) >= Some(of)
    })
    .await;
    crowd
}

#[actix_web::test]
async fn a_submission_that_waits_for_its_end_gives_the_room_of_its_body_back() {
    let house = House::new().await;
    let mut body = hello().to_string();
    body.push_str(&" ".repeat(LARGE - body.len()));
    let mut waiting = JoinSet::new();
    for _ in 0..MANY {
        // No more at a time than there is room for.
        let ids = waiting.len() + 1;
        let request = house.request(Method::POST, "/v1/runs?wait=5m").body(body.clone());
        waiting.spawn_local(async move {
            let _ = request.send().await;
        });
        until(&house, "/v1/runs?limit=1000", |answer| {
            answer.json()["items"].as_array().map(Vec::len) == Some(ids)
        })
        .await;
    }
    let after = house.request(Method::POST, "/v1/runs").body(body.clone());
    house.send(after).await.expect(202);
    drop(waiting);
    house.stop().await;
}

#[actix_web::test]
async fn a_list_that_waits_takes_nobodys_turn_and_is_never_turned_away() {
    let house = House::new().await;
    let run = house.run(&hello()).await;
    let index = house.get(&format!("/v1/runs/{run}")).await.json()["index"].clone();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Twice all that may have a turn or wait for one.
    let many = 2 * (2 * cores + 64);
    let waiting = crowd(&house, many, &format!("/v1/runs?index={index}&wait=1m")).await;
    house.get("/v1/runs").await.expect(200);
    // The one entry that all of them wait for.
    house.post("/v1/runs:batch", &json!({"runs": [hello()]})).await.expect(200);
    let answers = waiting.join_all().await;
    assert_eq!(answers.iter().filter(|status| **status != 200).count(), 0, "{answers:?}");
    let waiting = crowd(&house, many, "/v1/queue/dead?min_index=99999").await;
    house.get("/v1/runs").await.expect(200);
    house.post("/v1/runs:batch", &json!({"runs": [hello()]})).await.expect(200);
    drop(waiting);
    house.stop().await;
}

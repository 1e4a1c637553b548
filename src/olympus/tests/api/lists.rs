//! Reads: lists, pages, filters, freshness, waiting.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{House, hello};

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

#[actix_web::test]
async fn pages_show_every_run_once_newest_first() {
    let house = House::new().await;
    let mut submitted = Vec::new();
    for _ in 0..7 {
        submitted.push(house.run(&hello()).await);
    }
    submitted.reverse();
    let (mut seen, mut path) = (Vec::new(), "/v1/runs?limit=3".to_owned());
    loop {
        let page = house.get(&path).await.expect(200).json();
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert!(
            cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
            "{cursor}"
        );
        path = format!("/v1/runs?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, submitted);
    house.get("/v1/runs?cursor=%20").await.problem(422, "invalid");
    house.stop().await;
}

#[actix_web::test]
async fn filters_select() {
    let house = House::new().await;
    let run = |tenant: &str, team: &str, cpu: u32| {
        json!({"template": "host", "command": ["x"], "metadata": {"tenant": tenant},
               "labels": {"team": team}, "resources": {"cpu_milli": cpu}})
    };
    let acme = house.run(&run("acme", "ml", 500)).await;
    let other = house.run(&run("other", "web", 900)).await;
    let ended = house.run(&run("acme", "web", 900)).await;
    house.post(&format!("/v1/runs/{ended}/cancel"), &json!({})).await.expect(200);
    for (query, expected) in [
        ("", vec![&ended, &other, &acme]),
        ("tenant=acme", vec![&ended, &acme]),
        ("status=PENDING", vec![&other, &acme]),
        ("status=PENDING&status=CANCELED", vec![&ended, &other, &acme]),
        ("label=team%3Dweb", vec![&ended, &other]),
        ("label=team%20notin%20(web)", vec![&acme]),
        ("heat=cold", vec![&acme]),
        ("heat=warm&tenant=acme", vec![&ended]),
        ("pool=standard", vec![&ended, &other, &acme]),
        ("pool=quarantine", vec![]),
        ("template=none", vec![]),
        ("node=n1", vec![]),
        ("since=1h", vec![&ended, &other, &acme]),
        ("until=1h", vec![]),
    ] {
        let list = house.get(&format!("/v1/runs?{query}")).await.expect(200).json();
        assert_eq!(ids(&list).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    house.stop().await;
}

#[actix_web::test]
async fn a_read_waits_for_what_it_asks() {
    let house = House::new().await;
    let id = house.run(&hello()).await;
    let run = house.get(&format!("/v1/runs/{id}")).await.expect(200);
    let index: u64 = run.json()["index"].as_u64().expect("a number");

    let now = house.get(&format!("/v1/runs/{id}?min_index={index}")).await.expect(200);
    assert_eq!(now.json()["id"], *id);
    let late = house.get(&format!("/v1/runs/{id}?min_index={}&wait=10ms", index + 1_000)).await;
    assert!(!late.header("retry-after").is_empty());
    late.problem(503, "unavailable");
    house.get(&format!("/v1/runs/{id}?consistent=true")).await.expect(200);
    // By its receipt an entry is known from another of the same number.
    let cancelled =
        house.post(&format!("/v1/runs/{}/cancel", house.run(&hello()).await), &json!({})).await;
    let receipt = cancelled.expect(200).header("x-tartarus-receipt").to_owned();
    house.get(&format!("/v1/runs/{id}?min_index={receipt}")).await.expect(200);
    let (number, _) = receipt.split_once('-').expect("a receipt");
    let other = house.get(&format!("/v1/runs/{id}?min_index={number}-0123456789abcdef")).await;
    assert!(!other.header("retry-after").is_empty());
    let detail = other.problem(503, "unavailable")["detail"].as_str().expect("words").to_owned();
    assert!(detail.contains(&format!("under the number of {number}-0123")), "{detail}");

    let (watch, cancel) =
        (format!("/v1/runs/{id}?index={index}&wait=30s"), format!("/v1/runs/{id}/cancel"));
    let unchanged = house.get(&format!("/v1/runs/{id}?index={index}&wait=10ms")).await.expect(200);
    assert_eq!(unchanged.json()["status"], "PENDING");
    let nothing = json!({});
    let (changed, _) = tokio::join!(house.get(&watch), house.post(&cancel, &nothing));
    assert_eq!(changed.expect(200).json()["status"], "CANCELED");
    house.stop().await;
}

#[actix_web::test]
async fn a_list_is_watched_by_its_index() {
    let house = House::new().await;
    house.run(&hello()).await;
    let list = house.get("/v1/runs").await.expect(200);
    let index = list.header("x-tartarus-index").to_owned();
    let watch = format!("/v1/runs?index={index}&wait=30s");
    let submission = hello();
    let (changed, id) = tokio::join!(house.get(&watch), house.run(&submission));
    let changed = changed.expect(200);
    assert!(ids(&changed.json()).contains(&id));
    let index: u64 = changed.header("x-tartarus-index").parse().expect("a number");
    let quiet = house.get(&format!("/v1/runs?index={index}&wait=10ms")).await.expect(200);
    assert_eq!(ids(&quiet.json()).len(), 2);
    house.stop().await;
}

#[actix_web::test]
async fn what_does_not_exist_is_said_so() {
    let house = House::new().await;
    for path in [
        "/v1/runs/00000000-0000-7000-8000-000000000000",
        "/v1/runs/not-an-id",
        "/v1/runs/not-an-id/logs",
        "/v1/nodes/nobody",
        "/v1/policies/none",
        "/v1/policies/none/versions",
        "/v1/policies/none/versions/1",
        "/v1/templates/none",
    ] {
        let problem = house.get(path).await.problem(404, "not_found");
        assert!(problem["detail"].as_str().is_some_and(|d| d.len() > 10), "{path}: {problem}");
    }
    house.stop().await;
}

#[actix_web::test]
async fn the_queue_is_counted_paused_and_resumed() {
    let house = House::new().await;
    house.run(&hello()).await;
    let queue = house.get("/v1/queue").await.expect(200).json();
    assert_eq!((&queue["depth"], &queue["paused"]), (&json!(1), &json!(false)));
    assert_eq!(queue["by_pool"], json!({"high_compute": 0, "quarantine": 0, "standard": 1}));
    assert_eq!(queue["by_heat"], json!({"cold": 1, "warm": 0, "hot": 0, "inferno": 0}));
    assert_eq!(queue["by_tenant"], json!({"default": 1}));
    assert!(queue["oldest_wait_ms"].is_u64());
    for (path, paused) in [("pause", true), ("pause", true), ("resume", false)] {
        let answer = house.post(&format!("/v1/queue/{path}"), &json!({})).await.expect(200);
        assert_eq!(answer.json()["paused"], paused);
        assert!(!answer.header("x-tartarus-receipt").is_empty());
    }
    let id = house.run(&hello()).await;
    house.post("/v1/queue/pause", &json!({})).await.expect(200);
    let run = house.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!(run["reason"], "QueuePaused");
    house.stop().await;
}

#[actix_web::test]
async fn probes_and_numbers_are_there() {
    let house = House::new().await;
    house.run(&hello()).await;
    let ready = house.get("/readyz").await.expect(200).json();
    assert_eq!((&ready["role"], &ready["durability"]), (&json!("leader"), &json!("memory")));
    assert!(ready["epoch"].as_u64().is_some_and(|epoch| epoch > 0));
    assert_eq!(ready["leader"], house.served.url);
    house.get("/healthz").await.expect(200);
    let metrics = house.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    let lines: BTreeSet<&str> = metrics.text.lines().collect();
    for line in [
        "tartarus_leader 1",
        "tartarus_runs{status=\"PENDING\"} 1",
        "tartarus_queue_depth{pool=\"standard\"} 1",
        "tartarus_nodes{status=\"READY\"} 0",
        "tartarus_undurable_commands 0",
    ] {
        assert!(lines.contains(line), "{line} is not in\n{}", metrics.text);
    }
    let head = house.send(house.request(Method::HEAD, "/v1/runs")).await.expect(200);
    assert_eq!(head.text, "");
    let document = house.get("/v1/openapi.json").await.expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    house.stop().await;
}

//! `GET /v1/runs`: filters, order, pages.

use serde_json::{Value, json};
use tests::House;
use tests::http::{host, id};

/// Runs that differ in everything that is filtered by. None of them is ever given to a node but
/// the first.
async fn several() -> (House, tests::Agent, Vec<String>) {
    let house = House::memory().await;
    let agent = house.agent("n1").start(&house.api).await;
    let template = json!({"rootfs": {"host": true}, "command": ["true"]});
    house.api.put("/v1/templates/other", &template).await.expect(201);
    let done = house.api.submit_command(&["true"]).await;
    house.api.ended(&id(&done)).await;
    house.api.post("/v1/queue/pause", &json!({})).await.expect(200);
    let mut ids = vec![id(&done)];
    for run in [
        json!({"template": "other"}),
        json!({"template": "host", "command": ["true"], "metadata": {"tenant": "acme"}}),
        json!({"template": "host", "command": ["true"], "heat": "hot"}),
        json!({"template": "host", "command": ["true"], "labels": {"team": "ml", "tier": "1"}}),
        json!({"template": "host", "command": ["true"], "labels": {"team": "web"}}),
    ] {
        ids.push(id(&house.api.submit(&run).await));
    }
    let greedy = json!({"template": "host", "command": ["true"], "resources": {"gpu": 1}});
    let refused = house.api.post("/v1/runs", &greedy).await.problem(403, "policy_rejected");
    ids.push(refused["run_id"].as_str().expect("a run").to_owned());
    (house, agent, ids)
}

#[tokio::test]
async fn each_filter_lets_through_what_it_names() {
    let (house, _agent, ids) = several().await;
    // In the order they were made: done, other, acme, hot, ml, web, refused.
    for (query, expected) in [
        ("", vec![6, 5, 4, 3, 2, 1, 0]),
        ("status=SUCCEEDED", vec![0]),
        ("status=succeeded&status=REJECTED", vec![6, 0]),
        ("status=CANCELED", vec![]),
        ("template=other", vec![1]),
        ("tenant=acme", vec![2]),
        ("tenant=default&status=PENDING", vec![5, 4, 3, 1]),
        ("node=n1", vec![0]),
        ("heat=hot", vec![3]),
        ("heat=inferno", vec![6]),
        ("pool=high_compute&status=PENDING", vec![3]),
        ("label=team%3Dml", vec![4]),
        ("label=team", vec![5, 4]),
        ("label=team,!tier", vec![5]),
        ("label=team%20in%20(ml,web)", vec![5, 4]),
        ("label=team&label=tier%3D1", vec![4]),
        ("since=1h", vec![6, 5, 4, 3, 2, 1, 0]),
        ("until=1h", vec![]),
        ("since=2100-01-01T00:00:00Z", vec![]),
    ] {
        let found = house.api.get(&format!("/v1/runs?{query}")).await.expect(200).ids();
        let expected: Vec<&String> = expected.iter().map(|i| &ids[*i]).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "?{query}");
    }
    let third = house.api.run(&ids[3]).await;
    let from = third["created_at"].as_str().expect("a time");
    let since = house.api.get(&format!("/v1/runs?since={from}")).await.expect(200).ids();
    let until = house.api.get(&format!("/v1/runs?until={from}")).await.expect(200).ids();
    assert!(since.contains(&ids[3]) && !until.contains(&ids[3]), "since includes, until excludes");
    assert_eq!(since.len() + until.len(), ids.len());
}

#[tokio::test]
async fn a_list_shows_the_same_objects_as_a_single_get() {
    let (house, _agent, ids) = several().await;
    for run in house.api.get("/v1/runs").await.json()["items"].as_array().into_iter().flatten() {
        assert_eq!(run, &house.api.run(&id(run)).await);
    }
    assert_eq!(ids.len(), 7);
}

#[tokio::test]
async fn pages_stay_where_they_are_while_new_runs_arrive() {
    let house = House::memory().await;
    let batch = json!({"runs": vec![host(&["true"]); 25]});
    let made = house.api.post("/v1/runs:batch", &batch).await.json();
    let mut expected: Vec<String> =
        made["items"].as_array().into_iter().flatten().map(|item| id(&item["run"])).collect();
    expected.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house.api.get(&format!("/v1/runs?limit=4{cursor}")).await.expect(200);
        seen.extend(page.ids());
        house.api.submit_command(&["true"]).await;
        let json = page.json();
        let Some(next) = json["next_cursor"].as_str() else {
            assert_eq!(json["next_cursor"], Value::Null, "said, not left out");
            break;
        };
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        assert!(!next.is_empty() && next.bytes().all(safe), "{next:?} is not safe in a URL");
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_cursor_goes_on_under_its_filter_and_ends() {
    let house = House::memory().await;
    for i in 0..10 {
        let tenant = if i % 2 == 0 { "even" } else { "odd" };
        let run = json!({"template": "host", "command": ["true"], "metadata": {"tenant": tenant}});
        house.api.submit(&run).await;
    }
    let all = house.api.all("/v1/runs?tenant=odd&limit=2").await;
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|run| run["metadata"]["tenant"] == "odd"));
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused() {
    let house = House::memory().await;
    house.api.submit_command(&["true"]).await;
    let answer = house.api.get("/v1/runs?cursor=nonsense").await;
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!([400, 422].contains(&answer.status) && detail.contains("cursor"), "{answer}");
}

#[tokio::test]
async fn the_default_page_holds_a_hundred() {
    let house = House::memory().await;
    let batch = json!({"runs": vec![host(&["true"]); 130]});
    house.api.post("/v1/runs:batch", &batch).await;
    assert_eq!(house.api.get("/v1/runs").await.ids().len(), 100);
    assert_eq!(house.api.get("/v1/runs?limit=1000").await.ids().len(), 130);
}

//! `GET /v1/events` and `GET /v1/runs/{id}/events`.

use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{House, PATIENCE, hello};

/// What a feed that ends says, line by line.
async fn lines(house: &House, query: &str) -> Vec<Value> {
    let request = house.request(Method::GET, &format!("/v1/events?follow=false&{query}"));
    let answer = house.send(request.header("accept", "application/x-ndjson")).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

fn id(event: &Value) -> &str {
    event["id"].as_str().expect("an id")
}

#[actix_web::test]
async fn a_feed_is_the_journal_from_any_event_on() {
    let house = House::new().await;
    let run = house.run(&hello()).await;
    house.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(200);
    house.post("/v1/queue/pause", &json!({})).await.expect(200);
    let all = lines(&house, "").await;
    let expected =
        ["leader.started", "level.raised", "run.admitted", "run.canceled", "queue.paused"];
    assert_eq!(types(&all), expected);
    let admitted = &all[2];
    assert_eq!((&admitted["subject"], &admitted["specversion"]), (&json!(run), &json!("1.0")));
    assert_eq!(admitted["data"]["submission"]["command"], json!(["echo", "hello"]));
    assert_eq!(id(admitted), format!("{}.{}", admitted["sequence"], admitted["n"]));
    assert!(admitted["source"].as_str().is_some_and(|from| from.starts_with("/clusters/")));
    for seen in 0..all.len() {
        let rest = lines(&house, &format!("after={}", id(&all[seen]))).await;
        assert_eq!(rest, all[seen + 1..], "after event {seen}");
        let rest = lines(&house, &format!("after={}", all[seen]["sequence"])).await;
        let entry = all[seen]["sequence"].as_u64();
        let behind = all.iter().filter(|event| event["sequence"].as_u64() > entry);
        assert!(rest.iter().eq(behind), "after the entry of event {seen}");
    }
    house.stop().await;
}

#[actix_web::test]
async fn a_feed_shows_what_is_asked_for() {
    let house = House::new().await;
    let (one, two) = (house.run(&hello()).await, house.run(&hello()).await);
    house.post(&format!("/v1/runs/{one}/cancel"), &json!({})).await.expect(200);
    for (query, expected) in [
        (format!("run={one}"), vec!["run.admitted", "run.canceled"]),
        (format!("run={two}"), vec!["run.admitted"]),
        (format!("run={two}&type=run.canceled"), vec![]),
        ("type=run.canceled&type=leader.started".into(), vec!["leader.started", "run.canceled"]),
        ("limit=1".into(), vec!["leader.started"]),
        ("limit=2&type=run.admitted".into(), vec!["run.admitted"; 2]),
    ] {
        assert_eq!(types(&lines(&house, &query).await), expected, "{query}");
    }
    for (bad, words) in [
        ("type=run.admited", "did you mean \\\"run.admitted\\\"?"),
        ("after=last", "after is \\\"last\\\": give the id of an event"),
        ("run=seven", "give the id of a run"),
        ("limit=0", "give an integer of at least 1"),
        ("since=1h", "unknown parameter \\\"since\\\""),
    ] {
        let answer = house.get(&format!("/v1/events?{bad}")).await;
        assert!(answer.text.contains(words), "{bad}: {}", answer.text);
        answer.problem(422, "invalid");
    }
    let resumed = house.request(Method::GET, "/v1/events").header("last-event-id", "last");
    house.send(resumed).await.problem(422, "invalid");
    house.stop().await;
}

/// Reads a feed until `enough` says so.
async fn follow(request: RequestBuilder, enough: impl Fn(&str) -> bool) -> String {
    let reading = async {
        let mut body = request.send().await.expect("an answer").bytes_stream();
        let mut text = String::new();
        while !enough(&text) {
            let part = body.next().await.expect("more").expect("whole");
            text.push_str(std::str::from_utf8(&part).expect("text"));
        }
        text
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("in time")
}

#[actix_web::test]
async fn a_browser_hears_what_comes_and_goes_on_where_it_was() {
    let (house, hello) = (House::new().await, hello());
    let path = "/v1/events?type=run.admitted&after=0";
    let (seen, run) = tokio::join!(
        follow(house.request(Method::GET, path), |text| text.contains("\n\n")),
        house.run(&hello),
    );
    let (head, rest) = seen.split_once("\ndata: ").expect("an id, then data");
    let event: Value = serde_json::from_str(rest.trim_end()).expect("JSON");
    assert_eq!((head, &event["subject"]), (&*format!("id: {}", id(&event)), &json!(run)));
    // What the browser has seen counts for more than where it once began.
    let again = house.request(Method::GET, path).header("last-event-id", id(&event));
    let (seen, run) = tokio::join!(follow(again, |text| text.contains("\n\n")), house.run(&hello));
    assert!(seen.contains(&run) && seen.matches("data: ").count() == 1, "{seen}");
    house.stop().await;
}

#[actix_web::test]
async fn a_filtered_feed_says_how_far_it_is() {
    let house = House::new().await;
    house.run(&hello()).await;
    let head = id(lines(&house, "").await.last().expect("events")).to_owned();
    let began = std::time::Instant::now();
    let request = house.request(Method::GET, "/v1/events?type=node.lost");
    let seen = follow(request, |text| text.contains("\n\n")).await;
    assert!(began.elapsed().as_secs() < 5, "at least every 5 s");
    assert!(seen.starts_with(&format!("event: feed.position\nid: {head}\n")), "{seen}");
    house.stop().await;
}

#[actix_web::test]
async fn a_place_that_is_not_there_is_refused_in_words() {
    let house = House::new().await;
    let ahead = house.get("/v1/events?after=9999.0").await;
    assert!(ahead.text.contains("there is no entry 9999 here"), "{}", ahead.text);
    ahead.problem(503, "unavailable");
    house.stop().await;
}

#[actix_web::test]
async fn an_instance_that_stops_cuts_its_feeds_and_says_where() {
    let house = House::new().await;
    let request = house.request(Method::GET, "/v1/events?limit=9");
    let response = request.header("accept", "application/x-ndjson").send().await;
    let mut body = response.expect("an answer").bytes_stream();
    let reading = async {
        let mut text = String::new();
        while let Some(part) = body.next().await {
            text.push_str(std::str::from_utf8(&part.expect("whole")).expect("text"));
        }
        text
    };
    let stopping = async {
        tokio::task::yield_now().await;
        house.stop().await;
    };
    let (text, ()) = tokio::join!(reading, stopping);
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["type"], "feed.position", "{text}");
    assert_eq!(last["reason"], "the instance is stopping");
}

#[actix_web::test]
async fn a_run_has_its_own_events_page_by_page() {
    let house = House::new().await;
    let before = house.run(&hello()).await;
    let mut batch = vec![hello(); 50];
    batch.iter_mut().for_each(|run| run["stdin"] = "x".repeat(1_000).into());
    house.post("/v1/runs:batch", &json!({"runs": batch})).await.expect(200);
    let run = house.run(&hello()).await;
    house.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(200);
    house.post(&format!("/v1/runs/{before}/cancel"), &json!({})).await.expect(200);
    for run in [&before, &run] {
        let path = format!("/v1/runs/{run}/events");
        let list = house.get(&path).await.expect(200).json();
        let all = list["items"].as_array().expect("items");
        assert_eq!(types(all), ["run.admitted", "run.canceled"]);
        assert_eq!(list["next_cursor"], Value::Null);
        assert_eq!(*all, lines(&house, &format!("run={run}")).await, "as the feed has them");
        let first = house.get(&format!("{path}?limit=1")).await.expect(200).json();
        assert_eq!(first["items"], json!([all[0]]));
        let cursor = first["next_cursor"].as_str().expect("a cursor");
        let second = house.get(&format!("{path}?limit=1&cursor={cursor}")).await.expect(200).json();
        assert_eq!((&second["items"], &second["next_cursor"]), (&json!([all[1]]), &Value::Null));
    }
    let nobody = "/v1/runs/0190a8a0-0000-7000-8000-000000000000/events";
    house.get(nobody).await.problem(404, "not_found");
    house.get(&format!("/v1/runs/{run}/events?cursor=x")).await.problem(422, "invalid");
    house.stop().await;
}

//! `?at=`: the state as it was, by the same handlers; and waiting for the part that is asked for.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, House, hello};

fn index(answer: &Answer) -> u64 {
    answer.header("x-tartarus-index").parse().expect("an index")
}

fn names<'l>(list: &'l Value, key: &str) -> Vec<&'l str> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item[key].as_str().expect("a name")).collect()
}

/// A run that waits, a policy, and the run cancelled: the entry that each was written with.
struct Day {
    house: House,
    run: String,
    submitted: u64,
    enacted: u64,
    canceled: u64,
}

impl Day {
    async fn lived() -> Self {
        let house = House::new().await;
        let run = house.post("/v1/runs", &hello()).await.expect(202);
        let submitted = index(&run);
        let run = run.json()["id"].as_str().expect("an id").to_owned();
        let enacted = index(&house.put("/v1/policies/p", &policy(1_000)).await.expect(201));
        let cancel = format!("/v1/runs/{run}/cancel");
        let canceled = index(&house.post(&cancel, &json!({})).await.expect(200));
        Self { house, run, submitted, enacted, canceled }
    }

    async fn at(&self, path: &str, at: impl std::fmt::Display) -> Answer {
        let mark = if path.contains('?') { '&' } else { '?' };
        self.house.get(&format!("{path}{mark}at={at}")).await
    }
}

fn policy(cpu_milli: u32) -> Value {
    json!({"match": {"templates": ["python"]}, "limits": {"cpu_milli": cpu_milli}})
}

#[actix_web::test]
async fn a_run_a_policy_and_the_line_are_shown_as_they_were() {
    let day = Day::lived().await;
    let path = format!("/v1/runs/{}", day.run);
    for (at, status, depth, policies) in [
        (day.submitted, "PENDING", 1, vec!["lockdown-default"]),
        (day.enacted, "PENDING", 1, vec!["lockdown-default", "p"]),
        (day.canceled, "CANCELED", 0, vec!["lockdown-default", "p"]),
    ] {
        let run = day.at(&path, at).await.expect(200);
        assert_eq!((index(&run), run.json()["status"].as_str()), (at, Some(status)));
        let queue = day.at("/v1/queue", at).await.expect(200);
        assert_eq!((index(&queue), queue.json()["depth"].as_u64()), (at, Some(depth)));
        let listed = day.at("/v1/policies", at).await.expect(200);
        assert_eq!((index(&listed), names(&listed.json(), "name")), (at, policies));
    }
    let waiting = day.at(&format!("{path}/explain"), day.submitted).await.expect(200).json();
    assert_eq!(waiting["reason"], "WaitingForCapacity", "{waiting}");
    assert_eq!(waiting["queue"]["place"], 1, "{waiting}");
    let events = day.at(&format!("{path}/events"), day.enacted).await.expect(200).json();
    assert_eq!(names(&events, "type"), ["run.admitted"]);
    let events = day.at(&format!("{path}/events"), day.canceled).await.expect(200).json();
    assert_eq!(names(&events, "type"), ["run.admitted", "run.canceled"]);
    day.at("/v1/policies/p", day.submitted).await.problem(404, "not_found");
    day.at("/v1/policies/p/versions/1", day.submitted).await.problem(404, "not_found");
    day.house.stop().await;
}

#[actix_web::test]
async fn why_goes_back_to_who_asked_and_to_the_law() {
    let house = House::new().await;
    let law = json!({"match": {"templates": ["host"]}, "limits": {"cpu_milli": 1_000}});
    let put = house.put("/v1/policies/mine", &law).await.expect(201);
    let put = format!("{}.0", index(&put));
    let submitted = house.post("/v1/runs", &hello()).await.expect(202);
    let (request, entry) = (submitted.header("x-request-id").to_owned(), index(&submitted));
    let run = submitted.json()["id"].as_str().expect("an id").to_owned();
    let canceled =
        index(&house.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(200));
    let why = house.get(&format!("/v1/runs/{run}/why")).await.expect(200).json();
    assert_eq!(names(&why, "type"), ["run.canceled", "run.admitted", "policy.put"], "{why:#}");
    let admitted = &why["items"][1];
    assert_eq!(why["items"][0]["id"], format!("{canceled}.0"));
    assert_eq!(why["items"][0]["cause"], json!([admitted["id"]]));
    assert_eq!(
        (&admitted["id"], &admitted["cause"]),
        (&json!(format!("{entry}.0")), &json!([put]))
    );
    assert_eq!(
        (&admitted["actor"], &admitted["correlationid"]),
        (&json!("anonymous"), &json!(request))
    );
    assert!(admitted["because"].as_str().is_some_and(|b| b.contains("mine version 1")), "{why:#}");
    // The run's own request, whoever cancelled it.
    assert_eq!(why["items"][0]["correlationid"], json!(request));

    let greedy = json!({"template": "host", "command": ["x"], "resources": {"cpu_milli": 2_000}});
    let refused = house.post("/v1/runs", &greedy).await.problem(403, "policy_rejected");
    let id = refused["run_id"].as_str().expect("an id");
    let why = house.get(&format!("/v1/runs/{id}/why")).await.expect(200).json();
    assert_eq!(names(&why, "type"), ["run.rejected", "policy.put"], "{why:#}");
    let because = why["items"][0]["because"].as_str().expect("words");
    assert!(because.contains("policy mine refused it"), "{because}");
    house.get(&format!("/v1/runs/{}/why", uuid::Uuid::nil())).await.problem(404, "not_found");
    house.stop().await;
}

#[actix_web::test]
async fn every_read_of_state_has_a_past() {
    let day = Day::lived().await;
    for path in [
        "/v1/runs",
        &format!("/v1/runs/{}", day.run),
        &format!("/v1/runs/{}/explain", day.run),
        &format!("/v1/runs/{}/events", day.run),
        &format!("/v1/runs/{}/why", day.run),
        "/v1/policies",
        "/v1/policies/p",
        "/v1/policies/p/versions",
        "/v1/policies/p/versions/1",
        "/v1/templates",
        "/v1/templates/host",
        "/v1/heat",
        "/v1/heat/versions",
        "/v1/nodes",
        "/v1/queue",
        "/v1/queue/dead",
        "/v1/quarantine",
    ] {
        let then = day.at(path, day.enacted).await.expect(200);
        assert_eq!(index(&then), day.enacted, "{path}");
        for other in ["wait=1s", "index=1", "min_index=1", "consistent=true"] {
            let both = day.at(&format!("{path}?{other}"), day.enacted).await;
            let detail = both.problem(422, "invalid")["detail"].to_string();
            assert!(detail.contains("is given with at"), "{path} {other}: {detail}");
        }
    }
    day.house.stop().await;
}

#[actix_web::test]
async fn a_time_means_what_was_written_until_then_and_its_clock_stands_there() {
    let day = Day::lived().await;
    let run = day.house.get(&format!("/v1/runs/{}", day.run)).await.expect(200).json();
    let created = run["created_at"].as_str().expect("a time").to_owned();
    let before = day.at("/v1/runs", "2001-01-01T00:00:00Z").await.expect(200);
    // A journal begins with an entry that is older than everything.
    assert_eq!((index(&before), names(&before.json(), "id").len()), (1, 0));
    let zero = day.at("/v1/queue", 0).await.expect(200);
    assert_eq!((index(&zero), zero.json()["depth"].as_u64()), (0, Some(0)));
    let then = day.at(&format!("/v1/runs/{}", day.run), &created).await.expect(200);
    assert!((day.submitted..=day.canceled).contains(&index(&then)), "{}", index(&then));
    let now = run["finished_at"].as_str().expect("a time");
    let last = day.at(&format!("/v1/runs/{}", day.run), now).await.expect(200);
    assert_eq!(index(&last), day.canceled);

    let waits = day.house.run(&hello()).await;
    let run = day.house.get(&format!("/v1/runs/{waits}")).await.expect(200).json();
    let made: api::Time =
        run["created_at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    // The clock of the house goes on while nothing happens.
    let later = api::Time(made.0 + 50);
    let queue = loop {
        let answer = day.at("/v1/queue", later).await;
        if answer.status == 200 {
            break answer.json();
        }
        answer.problem(422, "invalid");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(queue["oldest_wait_ms"], 50, "{queue}");
    day.house.stop().await;
}

#[actix_web::test]
async fn what_is_no_past_is_refused() {
    let day = Day::lived().await;
    for at in ["999999", "2999-01-01T00:00:00Z"] {
        let detail = day.at("/v1/runs", at).await.problem(422, "invalid")["detail"].to_string();
        assert!(detail.contains("at is in the future"), "{detail}");
    }
    for at in ["yesterday", "-1", ""] {
        let detail = day.at("/v1/runs", at).await.problem(422, "invalid")["detail"].to_string();
        assert!(detail.contains("give a sequence or a time"), "{detail}");
    }
    let house = &day.house;
    let run = day.run.as_str();
    for (method, path) in [
        (Method::POST, "/v1/runs".to_owned()),
        (Method::POST, format!("/v1/runs/{run}/cancel")),
        (Method::PUT, "/v1/policies/p".to_owned()),
        (Method::DELETE, "/v1/policies/p".to_owned()),
        (Method::POST, "/v1/queue/pause".to_owned()),
    ] {
        let sent = house.request(method, &format!("{path}?at=1")).json(&hello());
        let detail = house.send(sent).await.problem(422, "invalid")["detail"].to_string();
        assert!(detail.contains("unknown parameter \\\"at\\\""), "{path}: {detail}");
    }
    day.house.stop().await;
}

#[actix_web::test]
async fn pages_of_a_past_stand_still_while_the_present_goes_on() {
    let house = House::new().await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.insert(0, house.run(&hello()).await);
    }
    let at = index(&house.get(&format!("/v1/runs/{}", runs[0])).await.expect(200));
    let (mut seen, mut path) = (Vec::new(), format!("/v1/runs?limit=2&at={at}"));
    loop {
        let page = house.get(&path).await.expect(200);
        assert_eq!(index(&page), at);
        let page = page.json();
        seen.extend(names(&page, "id").into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/runs?limit=2&at={at}&cursor={cursor}");
        house.post(&format!("/v1/runs/{}/cancel", runs[4]), &json!({})).await;
        house.run(&hello()).await;
    }
    assert_eq!(seen, runs);
    house.stop().await;
}

#[actix_web::test]
async fn who_waits_for_a_part_is_not_woken_by_another() {
    let house = House::new().await;
    let head = index(&house.get("/v1/policies").await.expect(200));
    let watch = format!("/v1/policies?index={head}&wait=20s");
    let one = format!("/v1/policies/p/versions?index={head}&wait=20s");
    let (listed, versions, ()) = tokio::join!(house.get(&watch), house.get(&one), async {
        // Entries that are none of the law's, then one that is.
        for _ in 0..3 {
            house.run(&hello()).await;
        }
        house.put("/v1/policies/p", &policy(1_000)).await.expect(201);
    });
    assert_eq!(names(&listed.expect(200).json(), "name"), ["lockdown-default", "p"]);
    assert_eq!(versions.expect(200).json()["items"].as_array().map(Vec::len), Some(1));

    let head = index(&house.get("/v1/queue").await.expect(200));
    let quiet = house.get(&format!("/v1/nodes?index={head}&wait=50ms")).await.expect(200);
    assert!(index(&quiet) >= head);
    let path = format!("/v1/queue?index={head}&wait=20s");
    let (queue, ()) = tokio::join!(house.get(&path), async {
        house.put("/v1/policies/p", &policy(2_000)).await.expect(200);
        house.run(&hello()).await;
    });
    assert_eq!(queue.expect(200).json()["depth"], 4);
    house.stop().await;
}

//! The dead letters: what is among them, and the way back to the line.

use api::session::{AttemptRef, ToAgent, Wants};
use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::{Agent, finished};
use crate::support::{Answer, House, hello};

const NOBODY: &str = "0190a8a0-0000-7000-8000-000000000000";

fn twice(tenant: &str) -> Value {
    let retry = json!({"max_attempts": 2, "backoff": "0s"});
    json!({"template": "host", "command": ["x"], "retry": retry, "metadata": {"tenant": tenant}})
}

/// The attempt of this number of a run, when it is wanted.
async fn attempt(agent: &mut Agent, run: &str, number: u32) -> AttemptRef {
    let wanted = |word| match word {
        ToAgent::Wants(Wants { attempts, .. }) => {
            let mut all = attempts.iter().filter(|want| want.spec.is_some());
            let this = |of: &AttemptRef| of.run.to_string() == run && of.attempt == number;
            all.find(|want| this(&want.of)).map(|want| want.of)
        }
        _ => None,
    };
    agent.until(wanted).await
}

/// A run of this tenant that has failed as often as it may; its id.
async fn dead(house: &House, agent: &mut Agent, tenant: &str) -> String {
    let run = house.run(&twice(tenant)).await;
    for number in [1, 2] {
        let of = attempt(agent, &run, number).await;
        agent.say(&finished(of, 3, &[])).await;
    }
    let ended = house.get(&format!("/v1/runs/{run}?wait=5s")).await.expect(200).json();
    assert_eq!(ended["reason"], "OutOfAttempts", "{ended}");
    run
}

async fn listed(house: &House, query: &str) -> Vec<Value> {
    let page = house.get(&format!("/v1/queue/dead{query}")).await.expect(200).json();
    page["items"].as_array().expect("items").clone()
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["id"].as_str()).collect()
}

async fn redrive(house: &House, run: &str) -> Answer {
    house.send(house.request(Method::POST, &format!("/v1/queue/dead/{run}/redrive"))).await
}

#[actix_web::test]
async fn a_dead_letter_is_redriven_once_and_names_the_run_that_it_became() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let run = dead(&house, &mut agent, "acme").await;

    let shown = house.get(&format!("/v1/runs/{run}")).await.json();
    let mut letter = shown.clone();
    (letter["dead_since"], letter["redriven_as"]) = (shown["finished_at"].clone(), Value::Null);
    assert_eq!(listed(&house, "").await, [letter.clone()], "the run, and two fields more");
    assert_eq!(listed(&house, "?redriven=true").await, [] as [Value; 0]);
    assert_eq!(house.get("/v1/queue").await.json()["dead"], 1);
    let metrics = house.get("/metrics").await.text;
    assert!(metrics.lines().any(|line| line == "tartarus_dead_letters 1"), "{metrics}");
    let why = house.get(&format!("/v1/runs/{run}/explain")).await.json();
    let words = format!("`tartarus queue redrive {run}`");
    assert!(why["dead_letter"]["message"].as_str().is_some_and(|m| m.contains(&words)), "{why}");

    house.post("/v1/queue/pause", &json!({})).await.expect(200);
    let redriven = redrive(&house, &run).await.expect(202);
    let new = redriven.json();
    let id = new["id"].as_str().expect("an id").to_owned();
    assert_eq!(redriven.header("location"), format!("/v1/runs/{id}"));
    assert!(!redriven.header("x-tartarus-receipt").is_empty());
    assert_eq!((&new["redrive_of"], &new["status"]), (&json!(run), &json!("PENDING")));
    for field in ["command", "metadata", "retry", "resources", "priority", "retention"] {
        assert_eq!(new[field], shown[field], "{field}");
    }
    assert_eq!(house.get(&format!("/v1/runs/{run}")).await.json(), shown, "it stays as it ended");

    let again = redrive(&house, &run).await.problem(409, "conflict");
    assert_eq!(again["run_id"], json!(id));
    assert!(again["detail"].as_str().is_some_and(|d| d.contains(&id)), "{again}");
    assert_eq!(listed(&house, "").await, [] as [Value; 0]);
    letter["redriven_as"] = json!(id);
    assert_eq!(listed(&house, "?redriven=true").await, [letter]);
    assert_eq!(house.get("/v1/queue").await.json()["dead"], 0);
    let why = house.get(&format!("/v1/runs/{run}/explain")).await.json();
    assert_eq!(why["dead_letter"]["redriven_as"], json!(id));
    let why = house.get(&format!("/v1/runs/{id}/explain")).await.json();
    assert_eq!((&why["redrive_of"], &why["dead_letter"]), (&json!(run), &Value::Null));
    house.stop().await;
}

#[actix_web::test]
async fn a_redrive_with_a_key_is_answered_again() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let run = dead(&house, &mut agent, "acme").await;
    let asked = || {
        let path = format!("/v1/queue/dead/{run}/redrive");
        house.request(Method::POST, &path).header("Idempotency-Key", "k1")
    };
    let first = house.send(asked()).await.expect(202).json();
    let again = house.send(asked()).await.expect(200).json();
    assert_eq!(first["id"], again["id"]);
    let other = house.request(Method::POST, "/v1/runs").header("Idempotency-Key", "k1");
    let other = house.send(other.json(&twice("acme"))).await;
    other.problem(422, "idempotency_key_reused");
    house.stop().await;
}

#[actix_web::test]
async fn what_todays_law_rejects_stays_a_dead_letter() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let run = dead(&house, &mut agent, "acme").await;
    let strict = json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": 64}});
    house.put("/v1/policies/strict", &strict).await.expect(201);
    let refused = redrive(&house, &run).await.problem(403, "policy_rejected");
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.ends_with(&format!("; run {run} stays a dead letter")), "{detail}");
    let id = refused["run_id"].as_str().expect("a run");
    assert_ne!(id, run);
    let rejected = house.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!((&rejected["status"], &rejected["command"]), (&json!("REJECTED"), &json!(["x"])));
    assert_eq!(ids(&listed(&house, "").await), [&run]);
    house.delete("/v1/policies/strict").await.expect(204);
    redrive(&house, &run).await.expect(202);
    house.stop().await;
}

#[actix_web::test]
async fn dead_letters_are_filtered_paged_and_watched() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let mut all = Vec::new();
    for tenant in ["acme", "other", "acme"] {
        all.push(dead(&house, &mut agent, tenant).await);
    }
    assert_eq!(ids(&listed(&house, "?tenant=other").await), [&all[1]]);
    assert_eq!(listed(&house, "?template=python").await.len(), 0);
    assert_eq!(listed(&house, "?template=host&tenant=acme").await.len(), 2);
    for limit in 1..5 {
        let (mut seen, mut query) = (Vec::new(), format!("?limit={limit}"));
        loop {
            let page = house.get(&format!("/v1/queue/dead{query}")).await.expect(200).json();
            let items = page["items"].as_array().expect("items");
            seen.extend(ids(items).into_iter().map(str::to_owned));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("?limit={limit}&cursor={cursor}");
        }
        seen.reverse();
        assert_eq!(seen, all, "pages of {limit}");
    }
    let index = house.get("/v1/queue/dead").await.header("x-tartarus-index").to_owned();
    let path = format!("/v1/queue/dead?index={index}&wait=20s");
    let watched = house.get(&path);
    let (watched, redriven) = tokio::join!(watched, redrive(&house, &all[1]));
    redriven.expect(202);
    let watched = watched.expect(200).json();
    let left = watched["items"].as_array().expect("items");
    assert_eq!(ids(left), [&all[2], &all[0]], "it answers when one has left");
    house.stop().await;
}

#[actix_web::test]
async fn what_is_no_dead_letter_is_not_redriven() {
    let house = House::new().await;
    let waiting = house.run(&hello()).await;
    let to = |id: &str| format!("/v1/queue/dead/{id}/redrive");
    house.post(&to(&waiting), &json!({})).await.problem(409, "conflict");
    let keyed = house.request(Method::POST, &to(&waiting)).header("Idempotency-Key", "k");
    house.send(keyed).await.problem(409, "conflict");
    house.post(&to("seven"), &json!({})).await.problem(404, "not_found");
    house.post(&to(NOBODY), &json!({})).await.problem(404, "not_found");
    house.post(&to(&waiting), &json!({"reason": "x"})).await.problem(400, "malformed");
    house.post(&format!("{}?force=true", to(&waiting)), &json!({})).await.problem(422, "invalid");
    for query in ["redriven=perhaps", "status=FAILED", "limit=0", "cursor=%20"] {
        house.get(&format!("/v1/queue/dead?{query}")).await.problem(422, "invalid");
    }
    let page = house.get("/v1/runs").await.json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "nothing was made");
    house.stop().await;
}

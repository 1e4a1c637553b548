//! The thresholds of heat: versions, guards, and what is learned.

use api::session::FromAgent;
use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::{Agent, finished};
use crate::support::{Answer, House, hello};

async fn put_if(house: &House, guard: (&str, &str), body: &Value) -> Answer {
    let request = house.request(Method::PUT, "/v1/heat").header(guard.0, guard.1);
    house.send(request.json(body)).await
}

fn published(version: u64, revision: u64) -> Value {
    json!({
        "version": version, "revision": revision,
        "cold": {"cpu_milli": 500, "mem_mb": 256, "ttl": "1m"},
        "hot": {"cpu_milli": 2000, "mem_mb": 8192},
        "inferno": {"ttl": "1h"},
    })
}

#[actix_web::test]
async fn the_thresholds_have_versions_and_the_answer_is_the_law() {
    let house = House::new().await;
    let first = house.get("/v1/heat").await.expect(200);
    assert_eq!(first.header("etag"), "\"0\"");
    let mut expected = published(0, 0);
    expected["learned"] = json!({"enough": 20, "templates": []});
    assert_eq!(first.json(), expected);

    let hotter = json!({"hot": {"cpu_milli": 600}});
    let checked = house.put("/v1/heat?dry_run=true", &hotter).await.expect(200).json();
    assert_eq!(checked["hot"], json!({"cpu_milli": 600, "mem_mb": 8192}));
    assert_eq!(house.get("/v1/heat").await.header("etag"), "\"0\"", "nothing was written");

    let set = put_if(&house, ("if-match", "\"0\""), &hotter).await.expect(200);
    assert_eq!(set.header("etag"), "\"1\"");
    assert!(!set.header("x-tartarus-receipt").is_empty());
    assert_eq!((&set.json()["version"], &set.json()["revision"]), (&json!(1), &json!(1)));
    let warm = json!({"template": "host", "command": ["x"], "resources": {"cpu_milli": 600}});
    let said = house.post("/v1/runs?dry_run=true", &warm).await.expect(200).json();
    assert_eq!((&said["heat"], &said["heat_cause"]), (&json!("hot"), &json!("cpu")));

    for (guard, body) in [
        (("if-match", "\"0\""), &hotter),
        (("if-match", "\"7\""), &hotter),
        (("if-none-match", "*"), &hotter),
    ] {
        put_if(&house, guard, body).await.problem(412, "stale");
    }
    // What a read shows can be sent back.
    let shown = house.get("/v1/heat").await.json();
    let again = put_if(&house, ("if-match", "\"1\""), &shown).await.expect(200).json();
    assert_eq!((&again["version"], &again["hot"]), (&json!(2), &shown["hot"]));

    let history = house.get("/v1/heat/versions").await.expect(200).json();
    let items = history["items"].as_array().expect("items");
    let seen: Vec<_> = items.iter().map(|v| (v["version"].clone(), v["deleted"].clone())).collect();
    assert_eq!(seen, [(json!(1), json!(false)), (json!(2), json!(false))]);
    assert_eq!(items[0]["document"]["hot"]["cpu_milli"], 600);
    house.stop().await;
}

#[actix_web::test]
async fn thresholds_that_leave_no_room_are_refused_in_words() {
    let house = House::new().await;
    for (body, status, code, words) in [
        (json!({"cold": {"cpu_milli": 2000}}), 422, "invalid", "give cold.cpu_milli less than"),
        (json!({"inferno": {"ttl": "30s"}}), 422, "invalid", "give cold.ttl less than inferno.ttl"),
        (json!({"hot": {"mem_mb": -1}}), 422, "invalid", "hot.mem_mb is -1"),
        (json!({"warm": {}}), 400, "malformed", "unknown field \"warm\""),
        (json!({"hot": [1]}), 400, "malformed", "hot"),
    ] {
        let problem = house.put("/v1/heat", &body).await.problem(status, code);
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{detail} lacks {words}");
    }
    assert_eq!(house.get("/v1/heat").await.header("etag"), "\"0\"");
    house.stop().await;
}

#[actix_web::test]
async fn what_runs_of_a_template_have_used_is_shown_with_its_numbers() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    for n in 1..=20_u64 {
        let run = house.run(&hello()).await;
        let of = agent.assigned().await;
        agent.say(&FromAgent::Started(of)).await;
        assert!(agent.recorded().await);
        // Each of 7 ms, and 5 ms of processor.
        agent.say(&finished(of, 0, &[])).await;
        assert!(agent.recorded().await);
        house.get(&format!("/v1/runs/{run}?wait=5s")).await.expect(200);
        let shown = house.get("/v1/heat").await.expect(200).json();
        let host = &shown["learned"]["templates"][0];
        assert_eq!((&host["template"], &host["runs"]), (&json!("host"), &json!(n)));
        let enough = n == 20;
        assert_eq!(host["enough"], enough);
        let heat = if enough { json!("cold") } else { Value::Null };
        assert_eq!(
            (&host["p95_wall_ms"], &host["p95_cpu_milli"], &host["heat"], &host["used"]),
            (&json!(7), &json!(5), &heat, &json!(false)),
            "5 ms of processor, averaged over a second"
        );
    }
    house.stop().await;
}

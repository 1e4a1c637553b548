//! Headers, problems, tokens, health: what holds for every path.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::json;
use tests::http::host;
use tests::{House, RedisServer};

#[tokio::test]
async fn every_failure_is_a_problem_that_says_what_to_do() {
    let house = House::memory().await;
    let api = &house.api;
    api.get("/v1/nothing").await.problem(404, "not_found");
    api.get("/v1/runs/0190a8a0-0000-7000-8000-000000000000").await.problem(404, "not_found");
    let method = api.delete("/v1/runs").await;
    method.problem(405, "method_not_allowed");
    let allow = method.header("allow").expect("405 names what is allowed");
    assert!(allow.contains("GET") && allow.contains("POST"), "{method}");
    api.delete("/healthz").await.expect(405);
    api.send(api.request(Method::POST, "/v1/runs").body("{")).await.problem(400, "malformed");
    let xml = api.request(Method::POST, "/v1/runs").header("Content-Type", "application/xml");
    api.send(xml.body("<run/>")).await.problem(415, "unsupported_media_type");
    let big = "x".repeat(5 * 1024 * 1024);
    let request = api.request(Method::POST, "/v1/runs").header("Content-Type", "application/json");
    api.send(request.body(big)).await.problem(413, "too_large");
    let outside = api.get("/nothing").await;
    assert_eq!((outside.status, outside.media_type()), (404, "application/problem+json"));
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_takes_the_callers() {
    let house = House::memory().await;
    let first = house.api.get("/v1/runs").await;
    let second = house.api.get("/v1/runs").await;
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    const MINE: &str = "0190a8a0-0000-7000-8000-000000000007";
    let named = house.api.request(Method::GET, "/v1/runs").header("X-Request-Id", MINE);
    assert_eq!(house.api.send(named).await.header("x-request-id"), Some(MINE));
    let hostile = "x".repeat(10_000);
    let request = house.api.request(Method::GET, "/v1/runs").header("X-Request-Id", &hostile);
    let answer = house.api.send(request).await;
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() < 1_000), "not repeated whole");
}

#[tokio::test]
async fn a_body_in_chunks_is_read_and_bounded() {
    let house = House::memory().await;
    let chunks = |text: String| {
        let parts: Vec<Result<Vec<u8>, std::io::Error>> =
            text.into_bytes().chunks(1_000).map(|chunk| Ok(chunk.to_vec())).collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(parts))
    };
    let json = |body| {
        let request = house.api.request(Method::POST, "/v1/runs");
        request.header("Content-Type", "application/json").body(body)
    };
    house.api.send(json(chunks(host(&["true"]).to_string()))).await.expect(202);
    let endless = host(&["echo", &"x".repeat(300 * 1024)]).to_string();
    house.api.send(json(chunks(endless))).await.problem(413, "too_large");
}

#[tokio::test]
async fn with_tokens_every_call_but_the_health_checks_needs_one() {
    let house = House::with(
        None,
        &[("TARTARUS_AUTH", "token"), ("TARTARUS_BOOTSTRAP_TOKEN", "s3cret-s3cret-s3cret")],
    )
    .await;
    let stranger = house.olympus.api();
    for (path, token) in [
        ("/v1/runs", None),
        ("/v1/nodes", Some("wrong")),
        ("/metrics", None),
        ("/v1/nothing", None),
    ] {
        let api = token.map_or(stranger.clone(), |token| stranger.with_token(token));
        let answer = api.get(path).await;
        assert_eq!(answer.status, 401, "{answer}");
        assert_eq!(answer.json()["code"], "unauthenticated");
        assert!(
            answer.header("www-authenticate").is_some_and(|h| h.starts_with("Bearer")),
            "{answer}"
        );
    }
    stranger.post("/v1/runs", &host(&["true"])).await.problem(401, "unauthenticated");
    stranger.get("/healthz").await.expect(200);
    stranger.get("/readyz").await.expect(200);
    let mut plan = house.agent("n1");
    let refused = plan.spawn();
    refused.process.until_says("wants a token: set TARTARUS_TOKEN (or TARTARUS_TOKEN_FILE)");
    drop(refused);
    let file = house.path("token").display().to_string();
    std::fs::write(&file, "another-token-altogether\n").expect("a file");
    let refused = house.agent("n1").env("TARTARUS_TOKEN_FILE", &file).spawn();
    let said = refused.process.until_says("refuses TARTARUS_TOKEN_FILE");
    assert!(said.contains(&file) && said.contains("TARTARUS_BOOTSTRAP_TOKEN"), "{said}");
    assert_eq!(house.api.get("/v1/nodes").await.json()["items"], json!([]));
    drop(refused);
    let _agent = plan.env("TARTARUS_TOKEN", "s3cret-s3cret-s3cret").start(&house.api).await;
    let run = house.api.submit(&host(&["true"])).await;
    assert_eq!(house.api.ended(&tests::http::id(&run)).await["status"], "SUCCEEDED");
    assert_eq!(house.api.get("/v1/runs").await.ids().len(), 1, "the stranger's was not written");
    let said = house.olympus.process.lines().join("\n");
    assert!(!said.contains("s3cret-s3cret"), "a secret is never logged");
}

#[tokio::test]
async fn readyz_says_what_the_instance_is() {
    let house = House::with(Some(RedisServer::durable()), &[]).await;
    let ready = house.api.get("/readyz").await.expect(200).json();
    assert_eq!(ready["role"], "leader");
    assert!(ready["epoch"].as_u64() >= Some(1), "{ready:#}");
    assert_eq!((&ready["policy_revision"], &ready["journal_lag"]), (&json!(0), &json!(0)));
    assert!(ready["leader"].is_string() && ready["durability"].is_string(), "{ready:#}");
    let index = ready["applied_index"].as_u64();
    house.api.submit_command(&["true"]).await;
    assert!(house.api.get("/readyz").await.json()["applied_index"].as_u64() > index);
    house.api.get("/healthz").await.expect(200);
}

#[tokio::test]
async fn metrics_are_there_to_be_scraped() {
    let house = House::memory().await;
    house.api.submit_command(&["true"]).await;
    let metrics = house.api.get("/metrics").await.expect(200);
    assert_eq!(metrics.media_type(), "text/plain");
    let text = metrics.text();
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for sample in samples.clone() {
        let (name, value) = sample.rsplit_once(' ').expect("name and value");
        assert!(name.starts_with("tartarus_"), "{sample}");
        assert!(value.parse::<f64>().is_ok(), "{sample}");
    }
    assert!(samples.count() >= 5, "{text}");
}

#[tokio::test]
async fn the_contract_is_served_and_names_every_path_that_answers() {
    let house = House::memory().await;
    let contract = house.api.get("/v1/openapi.json").await.expect(200).json();
    assert!(contract["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    for path in [
        "/v1/runs",
        "/v1/runs:batch",
        "/v1/runs/{id}",
        "/v1/runs/{id}/cancel",
        "/v1/runs/{id}/logs",
        "/v1/nodes",
        "/v1/queue",
        "/v1/policies/{name}",
        "/v1/templates/{name}",
    ] {
        assert!(contract["paths"][path].is_object(), "{path} is missing");
    }
}

#[tokio::test]
async fn unknown_parameters_are_refused_on_reads_too() {
    let house = House::memory().await;
    for path in ["/v1/runs", "/v1/nodes", "/v1/policies", "/v1/templates"] {
        let answer = house.api.get(&format!("{path}?limitt=3")).await;
        assert!(
            answer.problem(422, "invalid")["detail"].as_str().is_some_and(|d| d.contains("limitt"))
        );
    }
}

#[tokio::test]
async fn a_stop_on_request_is_clean_and_finishes_what_it_was_asked() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let run = house.api.submit_command(&["true"]).await;
    assert_eq!(house.olympus.process.stop(), Some(0));
    assert_eq!(
        house.redis.as_ref().map(|redis| redis.keys(0).contains(&"tartarus:leader".to_owned())),
        Some(false),
        "the leader's key is given back"
    );
    house.olympus.restart().await;
    assert_eq!(house.api.get("/v1/runs").await.ids(), [tests::http::id(&run)]);
}

/// What comes back until the connection is closed, to somebody who sends this and no more.
async fn sent_and_no_more(port: u16, beginning: &'static str) -> String {
    let waited = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_read_timeout(Some(tests::wait::SOON)).expect("a bound");
        stream.write_all(beginning.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is closed");
        answer
    });
    waited.await.expect("closed")
}

#[tokio::test]
async fn a_head_or_a_body_that_does_not_come_is_closed() {
    let house = House::memory().await;
    let port = house.olympus.plan.port();
    let (head, body) = tokio::join!(
        sent_and_no_more(port, "POST /v1/runs HTTP/1.1\r\nhost: x\r\nx-slow: "),
        sent_and_no_more(
            port,
            "POST /v1/runs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: 100\r\n\r\n{",
        )
    );
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    assert!(body.starts_with("HTTP/1.1 400") && body.contains("did not come within"), "{body}");
}

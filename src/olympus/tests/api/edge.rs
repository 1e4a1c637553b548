//! What holds of every answer.

use reqwest::Method;
use serde_json::json;

use crate::support::{House, hello};

#[actix_web::test]
async fn every_answer_has_an_id_and_says_where_it_stands() {
    const MINE: &str = "0194a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
    let house = House::new().await;
    for (method, path, status) in [
        (Method::GET, "/v1/runs", 200),
        (Method::GET, "/healthz", 200),
        (Method::GET, "/nowhere", 404),
        (Method::PATCH, "/v1/runs", 405),
        (Method::POST, "/v1/runs", 400),
        (Method::GET, "/v1/runs?x=1", 422),
    ] {
        let answer = house.send(house.request(method.clone(), path)).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.header("x-request-id").len() == 36, "{method} {path}");
        assert!(answer.header("x-tartarus-index").parse::<u64>().is_ok(), "{method} {path}");
        let request = house.request(method.clone(), path).header("x-request-id", MINE);
        assert_eq!(house.send(request).await.header("x-request-id"), MINE, "{method} {path}");
    }
    // What is no UUID comes back as well, unless it is too long to be an id.
    let long = "x".repeat(129);
    for (given, taken) in [("mine", true), (long.as_str(), false)] {
        let request = house.request(Method::GET, "/v1/runs").header("x-request-id", given);
        assert_eq!(house.send(request).await.header("x-request-id") == given, taken, "{given}");
    }
    house.stop().await;
}

#[actix_web::test]
async fn other_paths_and_methods_are_problems() {
    let house = House::new().await;
    for path in ["/", "/v1", "/v1/", "/v1/runs/", "/v2/runs", "/v1/runs:other"] {
        house.get(path).await.problem(404, "not_found");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/v1/runs", "GET, POST"),
        (Method::PUT, "/v1/runs/x/cancel", "POST"),
        (Method::GET, "/v1/runs:batch", "POST"),
        (Method::POST, "/v1/policies/p", "GET, PUT, DELETE"),
        (Method::OPTIONS, "/v1/nodes", "GET"),
    ] {
        let answer = house.send(house.request(method.clone(), path)).await;
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        answer.problem(405, "method_not_allowed");
    }
    house.stop().await;
}

#[actix_web::test]
async fn a_body_of_another_kind_or_size_is_refused() {
    let house = House::new().await;
    let send = |kind: &'static str, body: Vec<u8>| {
        let request = house.request(Method::POST, "/v1/runs").header("content-type", kind);
        house.send(request.body(body))
    };
    let good = hello().to_string().into_bytes();
    for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
        send(kind, good.clone()).await.expect(202);
    }
    send("application/xml", good).await.problem(415, "unsupported_media_type");
    for bytes in [262_145, 4 << 20] {
        send("application/json", vec![b' '; bytes]).await.problem(413, "too_large");
    }
    let batch = house.request(Method::POST, "/v1/runs:batch").body(vec![b' '; (4 << 20) + 1]);
    house.send(batch).await.problem(413, "too_large");
    let policy = house.request(Method::PUT, "/v1/policies/p").body(vec![b' '; 65_537]);
    house.send(policy).await.problem(413, "too_large");
    // Without a length, the body is measured as it comes.
    let parts =
        futures_util::stream::iter((0..10).map(|_| Ok::<_, std::io::Error>(vec![b' '; 65_536])));
    let request = house.request(Method::POST, "/v1/runs");
    house.send(request.body(reqwest::Body::wrap_stream(parts))).await.problem(413, "too_large");
    house.stop().await;
}

#[actix_web::test]
async fn a_page_of_another_origin_can_not_submit() {
    let house = House::new().await;
    let request = house.request(Method::POST, "/v1/runs").header("origin", "https://evil.example");
    house.send(request.json(&hello())).await.problem(403, "forbidden");
    let own = house.served.url.clone();
    let request = house.request(Method::POST, "/v1/runs").header("origin", own);
    house.send(request.json(&hello())).await.expect(202);
    house.stop().await;
}

#[actix_web::test]
async fn a_client_that_goes_away_cancels_nothing() {
    use std::io::Write as _;
    let house = House::new().await;
    let body = hello().to_string();
    for _ in 0..20 {
        let address = house.served.url.trim_start_matches("http://").to_owned();
        let mut socket = std::net::TcpStream::connect(address).expect("a connection");
        let head = format!(
            "POST /v1/runs HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(head.as_bytes()).expect("sent");
    }
    let after = house.run(&hello()).await;
    house.post(&format!("/v1/runs/{after}/cancel"), &json!({})).await.expect(200);
    let ready = house.get("/readyz").await.expect(200).json();
    assert_eq!(ready["role"], "leader");
    house.stop().await;
}

//! `TARTARUS_AUTH`.

use reqwest::Method;

use crate::support::{House, hello};

const TOKEN: &str = "a-token-of-enough-characters";

#[actix_web::test]
async fn a_token_is_needed_for_all_but_the_probes() {
    let house =
        House::with(&[("TARTARUS_AUTH", "token"), ("TARTARUS_BOOTSTRAP_TOKEN", TOKEN)]).await;
    for path in ["/healthz", "/readyz"] {
        house.get(path).await.expect(200);
    }
    for path in ["/v1/runs", "/metrics", "/v1/openapi.json", "/nowhere", "/v1/agent/session"] {
        let answer = house.get(path).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
        answer.problem(401, "unauthenticated");
    }
    let with = |token: &str| {
        let request = house.request(Method::POST, "/v1/runs").bearer_auth(token);
        house.send(request.json(&hello()))
    };
    with("another-token-of-enough-characters").await.problem(401, "unauthenticated");
    with(TOKEN).await.expect(202);
    house.stop().await;
}

#[actix_web::test]
async fn without_one_the_first_start_makes_a_token() {
    let house = House::with(&[("TARTARUS_AUTH", "token")]).await;
    let token =
        house.served.new_token.as_ref().expect("made at the first start").reveal().to_owned();
    assert!(token.len() >= 32);
    house.get("/v1/runs").await.problem(401, "unauthenticated");
    let request = house.request(Method::GET, "/v1/runs").bearer_auth(token);
    house.send(request).await.expect(200);
    house.stop().await;
}

//! An instance that does not lead.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web;
use olympus::house::Door;
use olympus::http::{AppState, Auth, finish, serve};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

struct Shut {
    door: Arc<Door>,
    url: String,
    server: ServerHandle,
    state: web::Data<AppState>,
    _stop: watch::Sender<bool>,
}

fn shut() -> Shut {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let door = Arc::new(Door::shut("replaying the journal"));
    let (stop, stopped) = watch::channel(false);
    let ttl = Duration::from_secs(30);
    let (auth, id) = (Auth::Off, Uuid::nil());
    let state = AppState::new(door.clone(), auth, url.clone(), id, true, ttl, stopped);
    let state = web::Data::new(state);
    let server = serve(listener, None, state.clone(), 1).expect("a server");
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Shut { door, url, server: handle, state, _stop: stop }
}

impl Shut {
    async fn ask(&self, path: &str, body: Option<&Value>) -> (u16, Value) {
        let client = tls::plain_http().build().expect("a client");
        let url = format!("{}{path}", self.url);
        let request = match body {
            Some(body) => client.post(url).json(body),
            None => client.get(url),
        };
        let answer = request.send().await.expect("an answer");
        if answer.status().as_u16() == 503 && path.starts_with("/v1") {
            assert_eq!(answer.headers()["retry-after"], "1", "{path}");
        }
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }
}

#[actix_web::test]
async fn an_instance_that_is_shut_says_why() {
    let shut = shut();
    let (status, ready) = shut.ask("/readyz", None).await;
    assert_eq!(status, 503);
    assert_eq!(ready["role"], "follower");
    assert_eq!(ready["message"], "replaying the journal");
    assert_eq!(shut.ask("/healthz", None).await.0, 200, "it works, it does not lead");

    let run = json!({"template": "host", "command": ["x"]});
    for (path, body) in [
        ("/v1/runs", None),
        ("/v1/queue", None),
        ("/v1/runs", Some(&run)),
        ("/v1/runs:batch", Some(&json!({"runs": [run]}))),
        ("/v1/queue/pause", Some(&json!({}))),
    ] {
        let (status, problem) = shut.ask(path, body).await;
        assert_eq!((status, &problem["code"]), (503, &json!("no_leader")), "{path}");
        assert_eq!(problem["outcome"], "not_applied", "{path}");
        assert_eq!(problem["detail"], "replaying the journal: try again", "{path}");
    }
    finish(&shut.server, &shut.state).await;
}

#[actix_web::test]
async fn a_journal_that_can_not_be_used_any_more_shows_on_both_probes() {
    let shut = shut();
    shut.door.fail("the journal can't be used: entry 7 is damaged".into());
    for path in ["/healthz", "/readyz"] {
        let (status, answer) = shut.ask(path, None).await;
        assert_eq!(status, 503, "{path}");
        assert!(answer["message"].as_str().is_some_and(|m| m.contains("entry 7")), "{answer}");
    }
    finish(&shut.server, &shut.state).await;
}

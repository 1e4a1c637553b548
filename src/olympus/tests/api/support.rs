//! A server for one test, and what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use olympus::config::{Config, Program, Setting};
use olympus::serve::{Served, serve};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// Long enough for anything that is not broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server and its data directory.
pub struct House {
    pub served: Served,
    pub http: Client,
    _dir: tempfile::TempDir,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {:?}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The answer itself, where it has the status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The problem, where it is one of this status and code.
    pub fn problem(self, status: u16, code: &str) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], answer.header("x-request-id"), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty()), "{problem}");
        problem
    }
}

impl House {
    /// A server with these variables.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        Self::in_dir(tempfile::tempdir().expect("a directory"), variables).await
    }

    /// A server in this directory.
    pub async fn in_dir(dir: tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        let given: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let env = |name: &str| given.get(name).map(|value| (*value).to_owned());
        let mut config =
            Config::read(Program::Embedded, &env, std::iter::empty()).expect("a configuration");
        config.data_dir = Setting::program(dir.path().to_owned());
        config.listen_addr = Setting::program("127.0.0.1:0".to_owned());
        let served = serve(config).await.expect("a server");
        let house = Self { served, http: tls::plain_http().build().expect("a client"), _dir: dir };
        house.until_ready().await;
        house
    }

    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn until_ready(&self) {
        let ready = async {
            loop {
                let answer = self.get("/readyz").await;
                if answer.status == 200 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("it gets ready");
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.served.url))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a body") }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Submits a run that is let in; its id.
    pub async fn run(&self, submission: &Value) -> String {
        let run = self.post("/v1/runs", submission).await.expect(202).json();
        run["id"].as_str().expect("an id").to_owned()
    }

    pub async fn stop(self) {
        drop(self.http);
        self.served.stop().await.expect("a clean stop");
    }
}

/// A submission that the default policy lets in.
pub fn hello() -> Value {
    json!({"template": "host", "command": ["echo", "hello"]})
}

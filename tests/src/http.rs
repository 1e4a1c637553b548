//! Plain HTTP, and what every answer must be.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// Longer than the longest `wait` a test asks for.
const TIMEOUT: Duration = Duration::from_secs(90);

/// One instance's HTTP interface.
#[derive(Clone, Debug)]
pub struct Api {
    /// `http://host:port`.
    pub url: String,
    client: reqwest::Client,
    token: Option<String>,
}

impl Api {
    /// The interface at a URL.
    ///
    /// # Panics
    /// No client can be made.
    pub fn new(url: &str) -> Self {
        let client = tls::plain_http().timeout(TIMEOUT).no_proxy().build();
        Self { url: url.to_owned(), client: client.expect("a client"), token: None }
    }

    /// The same, with a bearer token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// A request to be completed.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; the answer is checked against the rules that hold for all of them.
    ///
    /// # Panics
    /// There is no answer, or it breaks a rule.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = self.try_send(request).await.unwrap_or_else(|error| panic!("{error:?}"));
        answer.check();
        answer
    }

    /// Sends a request to a server that may be dying.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn try_send(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let request = request.build()?;
        let what = format!("{} {}", request.method(), request.url());
        let path = request.url().path().to_owned();
        let response = self.client.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?.to_vec();
        Ok(Answer { status, headers, body, what, path })
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `PUT` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// `POST` with an idempotency key.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("Idempotency-Key", key);
        self.send(request.json(body)).await
    }

    /// Submits a run that must be let in.
    pub async fn submit(&self, run: &Value) -> Value {
        self.post("/v1/runs", run).await.expect(202).json()
    }

    /// Submits a run that the judges must reject; the problem is the answer.
    pub async fn submit_rejected(&self, run: &Value) -> Value {
        self.post("/v1/runs", run).await.problem(403, "policy_rejected")
    }

    /// Submits a command on the host template.
    pub async fn submit_command(&self, command: &[&str]) -> Value {
        self.submit(&host(command)).await
    }

    /// A run as it is now.
    pub async fn run(&self, id: &str) -> Value {
        self.get(&format!("/v1/runs/{id}")).await.expect(200).json()
    }

    /// A run once it has ended.
    ///
    /// # Panics
    /// It does not end within a minute.
    pub async fn ended(&self, id: &str) -> Value {
        let run = self.get(&format!("/v1/runs/{id}?wait=60s")).await.expect(200).json();
        let status = run["status"].as_str().unwrap_or_default();
        let over = ["SUCCEEDED", "FAILED", "CANCELED", "REJECTED"].contains(&status);
        assert!(over, "waited a minute in vain for the end of {run:#}");
        run
    }

    /// Waits until a run has this status, and shows it then.
    pub async fn until_status(&self, id: &str, status: &str) -> Value {
        crate::until(&format!("run {id} to be {status}"), || async {
            Some(self.run(id).await).filter(|run| run["status"] == status)
        })
        .await
    }

    /// One stream of a run's output.
    pub async fn output(&self, id: &str, stream: &str) -> String {
        self.get(&format!("/v1/runs/{id}/logs?stream={stream}")).await.expect(200).text()
    }

    /// Every item of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = match &cursor {
                Some(cursor) => self.get(&format!("{path}{join}cursor={cursor}")).await,
                None => self.get(path).await,
            };
            let page = page.expect(200).json();
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return items,
            }
        }
    }
}

/// A submission of a command on the host template.
pub fn host(command: &[&str]) -> Value {
    json!({"template": "host", "command": command})
}

/// The id of a run.
///
/// # Panics
/// It has none.
#[track_caller]
pub fn id(run: &Value) -> String {
    run["id"].as_str().unwrap_or_else(|| panic!("no run: {run:#}")).to_owned()
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
    what: String,
    path: String,
}

impl Answer {
    /// What every answer must be, whatever was asked.
    fn check(&self) {
        let v1 = self.path.starts_with("/v1/");
        if v1 {
            assert!(self.header("x-request-id").is_some(), "no X-Request-Id: {self}");
        }
        if v1 && self.status < 400 {
            assert!(self.index() > 0, "no X-Tartarus-Index: {self}");
        }
        if v1 && self.status >= 400 {
            let problem = self.json();
            assert_eq!(self.media_type(), "application/problem+json", "{self}");
            assert_eq!(problem["status"], self.status, "{self}");
            for field in ["type", "title", "code", "detail"] {
                let text = problem[field].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "a problem without {field}: {self}");
            }
            assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{self}");
        }
        if v1 && [429, 503].contains(&self.status) && self.json()["code"] != "not_ready" {
            assert!(self.header("retry-after").is_some(), "no Retry-After: {self}");
        }
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `Content-Type` without its parameters.
    pub fn media_type(&self) -> &str {
        self.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim()
    }

    /// `X-Tartarus-Index`; 0 where it is missing.
    pub fn index(&self) -> u64 {
        self.header("x-tartarus-index").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Itself, if it has this status.
    ///
    /// # Panics
    /// It has another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The problem, if it is this one.
    ///
    /// # Panics
    /// It is another, or none.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self}");
        problem
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is not.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON: {error}: {self}"))
    }

    /// The body as JSON, a value a line.
    ///
    /// # Panics
    /// A line is none.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let text = self.text();
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}: {self}"))
        };
        text.lines().map(parse).collect()
    }

    /// The ids of a list's items, in order.
    ///
    /// # Panics
    /// It is no list.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        let json = self.json();
        let items = json["items"].as_array().unwrap_or_else(|| panic!("no list: {self}"));
        items.iter().map(id).collect()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered {}", self.what, self.status)?;
        for (name, value) in &self.headers {
            write!(f, "\n{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        write!(f, "\n\n{}", self.text())
    }
}

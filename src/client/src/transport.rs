//! One request and one answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::headers;
use api::problem::Problem;
use api::query::At;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::error::{BadAddress, Error, UNKNOWN};

/// Where Olympus listens unless it is told otherwise.
pub const DEFAULT_ADDR: &str = "http://127.0.0.1:8080";

/// A host that does not answer the first packet within this is not on a network nearby.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that takes longer than the longest `wait` and this does not come.
const ANSWER_SLACK: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a call that may be repeated is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(pub Duration);

impl Default for Patience {
    /// Longer than a fail-over, shorter than a person's.
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

/// Olympus, over HTTP. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Each reaches an instance of the same Olympus; at least one.
    bases: Arc<[Url]>,
    /// Which of them is asked, until it can't be reached.
    turn: Arc<AtomicUsize>,
    patience: Patience,
    past: Option<At>,
}

impl Client {
    /// Olympus at an address (`http://host:port`, `https://host`, or `host:port`), or at several with
    /// commas between, of which any may answer; with a bearer token where it asks for one. Connects at the first
    /// call, and goes to the next address where one can't be reached.
    ///
    /// # Errors
    /// The address is none, or the token can't be sent.
    pub fn new(addr: &str, token: Option<&str>) -> Result<Self, BadAddress> {
        let bases = addr.split(',').map(parse_addr).collect::<Result<Arc<[Url]>, _>>()?;
        let mut always = HeaderMap::new();
        if let Some(token) = token {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| BadAddress::Token)?;
            value.set_sensitive(true);
            always.insert(AUTHORIZATION, value);
        }
        let encrypted = bases.iter().any(|base| base.scheme() == "https");
        let http = if encrypted { tls::http() } else { tls::plain_http() };
        let http = http
            .default_headers(always)
            .user_agent(concat!("tartarus/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| BadAddress::Form { given: addr.to_owned() })?;
        let turn = Arc::default();
        Ok(Self { http, bases, turn, patience: Patience::default(), past: None })
    }

    /// The same, with another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The same, whose reads are of the state as it was then.
    #[must_use]
    pub fn at(mut self, past: Option<At>) -> Self {
        self.past = past;
        self
    }

    /// The address that is asked now, without a slash at its end.
    pub fn addr(&self) -> &str {
        self.base().as_str().trim_end_matches('/')
    }

    fn base(&self) -> &Url {
        &self.bases[self.turn.load(Ordering::Relaxed) % self.bases.len()]
    }

    /// Goes on to the next address, unless another call has.
    fn pass_over(&self, asked: &Url) {
        let turn = self.turn.load(Ordering::Relaxed);
        if self.bases[turn % self.bases.len()].origin() == asked.origin() {
            let next = turn.wrapping_add(1);
            let _ = self.turn.compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        // The path is made of literals and escaped parts, so that joining can't fail; were it to,
        // the base alone is asked, which answers 404.
        let base = self.base();
        let url = base.join(path).unwrap_or_else(|_| base.clone());
        self.http.request(method, url)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Sends once. The answer is 2xx.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = self.reach(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let asked = response.url().clone();
        let refusal = refusal(response).await;
        if !matches!(refusal, Error::Refused(_)) {
            // Another may be better off.
            self.pass_over(&asked);
        }
        Err(refusal)
    }

    /// Sends to the address whose turn it is, or to the next where nobody is there: then nothing was
    /// sent. The answer may be any.
    pub(crate) async fn reach(&self, request: RequestBuilder) -> Result<Response, Error> {
        let (http, request) = request.build_split();
        let mut request = request.map_err(|e| self.transport(e, false))?;
        let writes = !request.method().is_safe();
        let mut others = self.bases.len() - 1;
        loop {
            let again = if others > 0 { request.try_clone() } else { None };
            let asked = self.base().clone();
            move_to(request.url_mut(), &asked);
            let failed = match http.execute(request).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let nobody = failed.is_connect();
            let error = self.transport(failed, writes);
            self.pass_over(&asked);
            match again {
                Some(again) if nobody => request = again,
                _ => return Err(error),
            }
            others -= 1;
        }
    }

    /// Sends once, and reads the answer's body.
    pub(crate) async fn once<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        body(self.send(request.timeout(answer_timeout())).await?).await
    }

    /// Reads: sends until there is an answer or patience ends.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let path = match self.past {
            None => path.to_owned(),
            Some(at) => format!("{path}{}at={at}", if path.contains('?') { '&' } else { '?' }),
        };
        self.persist(|| self.get(&path), body).await.map_err(Error::of_read)
    }

    /// Sends until there is an answer or patience ends. The request must be one that may be
    /// repeated: a read, or a write that names its key.
    pub(crate) async fn persist<T, F: Future<Output = Result<T, Error>>>(
        &self,
        request: impl Fn() -> RequestBuilder,
        take: impl Fn(Response) -> F,
    ) -> Result<T, Error> {
        self.persist_untimed(|| request().timeout(answer_timeout()), take).await
    }

    /// The same for an answer that may take as long as it likes.
    pub(crate) async fn persist_untimed<T, F: Future<Output = Result<T, Error>>>(
        &self,
        request: impl Fn() -> RequestBuilder,
        take: impl Fn(Response) -> F,
    ) -> Result<T, Error> {
        let begun = tokio::time::Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut unknown = false;
        loop {
            let tried = match self.send(request()).await {
                Ok(response) => {
                    let asked = response.url().clone();
                    take(response).await.inspect_err(|_| self.pass_over(&asked))
                }
                Err(error) => Err(error),
            };
            let error = match tried {
                Ok(value) => return Ok(value),
                Err(error @ Error::Refused(_)) => return Err(error),
                Err(error) => error,
            };
            unknown |= matches!(error, Error::Unknown { .. });
            let wait = error.retry_after().unwrap_or(pause).min(LONGEST_PAUSE);
            if begun.elapsed() + wait > self.patience.0 {
                return Err(if unknown { error.after_unknown() } else { error });
            }
            log::debug!(wait_ms = wait.as_millis() as u64; "trying again: {error}");
            tokio::time::sleep(jittered(wait)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Words for a connection that failed, under a call that may change something or not.
    pub(crate) fn transport(&self, error: reqwest::Error, writes: bool) -> Error {
        let addr = self.addr().to_owned();
        if error.is_connect() {
            let all: Vec<&str> =
                self.bases.iter().map(|base| base.as_str().trim_end_matches('/')).collect();
            let message = match tls::advice(&error) {
                Some(advice) => format!("Olympus at {addr} is not believed: {advice}"),
                None => format!(
                    "cannot reach Olympus at {}: start it with `tartarus dev`, or set \
                     TARTARUS_ADDR to where it is",
                    all.join(" or ")
                ),
            };
            return Error::Unavailable { message, retry_after: None, source: Some(error.into()) };
        }
        let message = if error.is_timeout() {
            format!("Olympus at {addr} gave no answer in time")
        } else {
            let tls =
                if self.base().scheme() == "http" { ", or speaks TLS (https://)" } else { "" };
            format!("{addr} broke the connection off, or is no Olympus{tls}")
        };
        let (retry_after, source) = (None, Some(error.into()));
        if writes {
            let message = message + UNKNOWN;
            return Error::Unknown { message, retry_after, source };
        }
        Error::Unavailable { message, retry_after, source }
    }
}

fn answer_timeout() -> Duration {
    Duration::from_millis(api::limits::WAIT_MS_MAX) + ANSWER_SLACK
}

/// Between half and all of a pause, so that clients that failed together don't return together.
fn jittered(pause: Duration) -> Duration {
    let byte = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    pause / 2 + pause * byte / 512
}

/// Reads an answer's body.
pub(crate) async fn body<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let status = response.status();
    let bytes = response.bytes().await.map_err(|error| Error::Unknown {
        message: "the connection to Olympus broke within its answer".to_owned(),
        retry_after: None,
        source: Some(error.into()),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Unknown {
        message: format!(
            "the answer ({status}) is not what this version of the program understands: use the \
             same version on both sides"
        ),
        retry_after: None,
        source: Some(error.into()),
    })
}

/// The error that an answer other than 2xx means.
async fn refusal(response: Response) -> Error {
    let status = response.status();
    let seconds = response.headers().get(headers::RETRY_AFTER).and_then(|v| v.to_str().ok());
    let retry_after = seconds.and_then(|v| v.parse().ok()).map(Duration::from_secs);
    let bytes = response.bytes().await.unwrap_or_default();
    let problem = match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => problem,
        Err(_) => foreign(status),
    };
    Error::from_problem(problem, retry_after)
}

/// Words for an answer that is not of the contract: a proxy's, or another server's.
fn foreign(status: StatusCode) -> Problem {
    let detail = format!(
        "the answer is {status} without a reason: is something else than Olympus at this address?"
    );
    Problem::new(status.as_u16(), api::problem::code::INTERNAL, detail)
}

/// Puts another scheme, host and port into a URL of this client.
fn move_to(url: &mut Url, base: &Url) {
    // Both are URLs of HTTP with a host, which take any other's.
    let _ = url.set_scheme(base.scheme());
    let _ = url.set_host(base.host_str());
    let _ = url.set_port(base.port());
}

fn parse_addr(addr: &str) -> Result<Url, BadAddress> {
    let form = || BadAddress::Form { given: addr.to_owned() };
    let text = addr.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).map_err(|_| form())?;
    match url.scheme() {
        "http" | "https" => {}
        _ => return Err(form()),
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let named = url.host_str().is_some_and(|host| !host.is_empty()) && url.username().is_empty();
    if bare && named { Ok(url) } else { Err(form()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_the_scheme() {
        for (given, addr) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://olympus:8080/", "http://olympus:8080"),
            ("https://olympus", "https://olympus"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("localhost", "http://localhost"),
            ("a:1,http://b:2", "http://a:1"),
            (" a:1 , b:2 ", "http://a:1"),
        ] {
            assert_eq!(Client::new(given, None).map(|c| c.addr().to_owned()), Ok(addr.to_owned()));
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_right_form() {
        for given in [
            ",",
            "a:1,",
            "",
            "ftp://a:1",
            "http://",
            "http://a:1/v1",
            "http://u@a:1",
            "a:99999",
            "a b",
        ] {
            let error = Client::new(given, None).map(drop).unwrap_err();
            assert!(matches!(error, BadAddress::Form { .. }), "{given}");
        }
        let token = Client::new("http://a:1", Some("line\nbreak")).map(drop).unwrap_err();
        assert_eq!(token, BadAddress::Token);
    }

    #[test]
    fn a_pause_is_between_half_and_whole() {
        let whole = Duration::from_millis(1_000);
        for _ in 0..100 {
            let pause = jittered(whole);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?}");
        }
    }
}

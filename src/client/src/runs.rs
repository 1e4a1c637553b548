//! Submitting, looking at and cancelling runs.

use api::run::{Batch, BatchAnswers, DryRun, List, Run, RunRequest};
use api::{RunsQuery, headers};
use reqwest::{Method, Response};
use uuid::Uuid;

use crate::error::Error;
use crate::transport::{Client, body};

/// The answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The run.
    pub run: Run,
    /// Whether it is the answer to an earlier try with the same key.
    pub repeated: bool,
    /// `<sequence>-<hash>` of the journal entry that holds it.
    pub receipt: Option<String>,
}

/// One round of waiting for a run's end, in seconds: most proxies allow a minute of silence.
const WAIT_ROUND: &str = "30s";

/// A path part with everything escaped that could end it.
pub(crate) fn part(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

impl Client {
    /// Submits a run under a fresh idempotency key, and goes on trying with it while Olympus can't
    /// be reached: the run is made once or not at all.
    ///
    /// # Errors
    /// Refused: among others, a rejection by the judges, whose problem names the run.
    pub async fn submit(&self, request: &RunRequest) -> Result<Submitted, Error> {
        self.submit_with_key(request, &Uuid::new_v4().to_string()).await
    }

    /// The same under the caller's own key, which makes it safe to repeat across processes.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_with_key(
        &self,
        request: &RunRequest,
        key: &str,
    ) -> Result<Submitted, Error> {
        let send = || {
            let post = self.request(Method::POST, "/v1/runs");
            post.header(headers::IDEMPOTENCY_KEY, key).json(request)
        };
        self.persist(send, submitted).await
    }

    /// Asks what the judges would say. Nothing is written.
    ///
    /// # Errors
    /// The request is not valid, or Olympus can't be reached.
    pub async fn dry_run(&self, request: &RunRequest) -> Result<DryRun, Error> {
        let send = || self.request(Method::POST, "/v1/runs?dry_run=true").json(request);
        self.persist(send, body).await.map_err(Error::of_read)
    }

    /// Submits up to 1,000 runs in one journal entry: one answer each, in order.
    ///
    /// # Errors
    /// The batch as a whole is not valid, or Olympus can't be reached.
    pub async fn batch(&self, batch: &Batch) -> Result<BatchAnswers, Error> {
        let key = Uuid::new_v4().to_string();
        let send = || {
            let post = self.request(Method::POST, "/v1/runs:batch");
            post.header(headers::IDEMPOTENCY_KEY, &key).json(batch)
        };
        self.persist(send, body).await
    }

    /// A run.
    ///
    /// # Errors
    /// There is none of that id, or Olympus can't be reached.
    pub async fn run(&self, id: &str) -> Result<Run, Error> {
        self.read(&format!("/v1/runs/{}", part(id))).await
    }

    /// Why a run is where it is.
    ///
    /// # Errors
    /// There is none of that id, or Olympus can't be reached.
    pub async fn explain(&self, id: &str) -> Result<api::explain::Explanation, Error> {
        self.read(&format!("/v1/runs/{}/explain", part(id))).await
    }

    /// The chain of causes of a run, its last event first.
    ///
    /// # Errors
    /// There is none of that id, or Olympus can't be reached.
    pub async fn why(&self, id: &str) -> Result<Vec<api::Link>, Error> {
        let list: List<_> = self.read(&format!("/v1/runs/{}/why", part(id))).await?;
        Ok(list.items)
    }

    /// A run, when it has ended.
    ///
    /// # Errors
    /// There is none of that id, or Olympus can't be reached for the whole of this client's
    /// patience.
    pub async fn wait(&self, id: &str) -> Result<Run, Error> {
        let path = format!("/v1/runs/{}?wait={WAIT_ROUND}", part(id));
        loop {
            let run: Run = self.read(&path).await?;
            if run.status.is_terminal() {
                return Ok(run);
            }
        }
    }

    /// A run, when it has changed after journal entry `index`, or after half a minute.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub async fn changed(&self, id: &str, index: u64) -> Result<Run, Error> {
        self.read(&format!("/v1/runs/{}?index={index}&wait={WAIT_ROUND}", part(id))).await
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// The query is not valid, or Olympus can't be reached.
    pub async fn runs(&self, query: &RunsQuery) -> Result<List<Run>, Error> {
        let query = query.to_query();
        let mark = if query.is_empty() { "" } else { "?" };
        self.read(&format!("/v1/runs{mark}{query}")).await
    }

    /// At most `most` runs, newest first, from as many pages as it takes.
    ///
    /// # Errors
    /// As [`Client::runs`].
    pub async fn runs_up_to(&self, query: &RunsQuery, most: usize) -> Result<Vec<Run>, Error> {
        let mut query = query.clone();
        let mut all = Vec::new();
        while all.len() < most {
            let left = u32::try_from(most - all.len()).unwrap_or(u32::MAX);
            query.page.limit = left.min(api::limits::PAGE_MAX);
            let page = self.runs(&query).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(cursor) => query.page.cursor = Some(cursor),
                None => break,
            }
        }
        all.truncate(most);
        Ok(all)
    }

    /// Cancels a run: one that waits ends now, one on a node when the node has ended it. Asking
    /// again changes nothing, so a call that got no answer is repeated.
    ///
    /// # Errors
    /// 409: it has ended. 404: there is none of that id.
    pub async fn cancel(&self, id: &str) -> Result<Run, Error> {
        let path = format!("/v1/runs/{}/cancel", part(id));
        self.persist(|| self.request(Method::POST, &path), body).await
    }
}

async fn submitted(response: Response) -> Result<Submitted, Error> {
    let repeated = response.status() == reqwest::StatusCode::OK;
    let receipt = response.headers().get(headers::RECEIPT).and_then(|v| v.to_str().ok());
    let receipt = receipt.map(str::to_owned);
    Ok(Submitted { run: body(response).await?, repeated, receipt })
}

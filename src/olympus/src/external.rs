//! Judges elsewhere, asked over HTTP before a submission is judged here.
//!
//! Owns:   one HTTP client on each thread of the gateway, whose connections are used again.
//! Hears:  a judge of a policy, and the question as JSON.
//! Says:   its answer, or why there is none, and how long that took: never an error.
//! Never:  follows a redirect, goes through a proxy, reads more than [`ANSWER_MAX`], decides what
//!         no answer means (that is the law's: `fail`).
//! Proof:  `tests/live/judges.rs`.

use std::time::Duration;

use api::judges::JudgeAnswer;
use bytes::Bytes;
use domain::judge::{ExternalAnswer, ExternalOutcome};
use domain::law::ExternalJudge;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode};
use tokio::time::{Instant, timeout_at};

/// Bytes of an answer: a verdict and a reason, of which 1 KiB is kept.
const ANSWER_MAX: usize = 16 << 10;
/// A connection that was not used for so long is closed here, before the usual server closes it.
const IDLE: Duration = Duration::from_secs(20);

thread_local! {
    static CLIENT: Option<Client> = tls::http()
        .user_agent(concat!("tartarus-olympus/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE)
        .build()
        .map_err(|error| log::error!(error:% = error; "could not make an HTTP client for judges"))
        .ok();
}

/// Asks a judge, until its own time is over or `until` has come.
pub async fn ask(judge: &ExternalJudge, question: Bytes, until: Instant) -> ExternalAnswer {
    let began = Instant::now();
    let until = until.min(began + Duration::from_millis(judge.timeout_ms));
    let asking = async {
        match once(judge, &question).await {
            // A connection that was kept may be closed by the judge as the question is on its way:
            // a judge only says what it thinks, so it may be asked again.
            Err(broken) if !broken.is_connect() => once(judge, &question).await,
            other => other,
        }
    };
    let outcome = match timeout_at(until, asking).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            tls::complain(&judge.name, &error);
            log::debug!(judge = *judge.name, error:% = error; "a judge can't be reached");
            ExternalOutcome::Unreachable
        }
        Err(_) => ExternalOutcome::TimedOut,
    };
    let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    ExternalAnswer { judge: judge.name.clone(), outcome, latency_ms }
}

async fn once(judge: &ExternalJudge, question: &Bytes) -> Result<ExternalOutcome, reqwest::Error> {
    let Some(client) = CLIENT.with(Clone::clone) else { return Ok(ExternalOutcome::Unreachable) };
    let post = client.post(&*judge.url).body(question.clone());
    let json = HeaderValue::from_static("application/json");
    let mut response = post.header(CONTENT_TYPE, json).send().await?;
    if response.status() != StatusCode::OK {
        return Ok(ExternalOutcome::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > ANSWER_MAX {
            return Ok(ExternalOutcome::Unreadable);
        }
        body.extend_from_slice(&part);
    }
    Ok(match JudgeAnswer::read(&body) {
        Ok(JudgeAnswer { verdict, reason }) => ExternalOutcome::Said { verdict, reason },
        Err(_) => ExternalOutcome::Unreadable,
    })
}

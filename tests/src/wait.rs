//! Waiting for a condition instead of for a time.

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest wait for anything that should happen soon. A loaded machine is slow, not broken: this
/// bounds how long a failing test takes, and no passing test comes near it.
pub const SOON: Duration = Duration::from_secs(60);

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(15);

/// Asks again and again until there is an answer.
///
/// # Panics
/// There is none within [`SOON`]; the message says what was waited for.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < SOON, "waited {SOON:?} in vain for {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// [`until`], for what needs no await.
///
/// # Panics
/// As [`until`].
pub fn until_sync<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < SOON, "waited {SOON:?} in vain for {what}");
        pause();
    }
}

/// The pause between two looks, for a loop of one's own.
#[allow(
    clippy::disallowed_methods,
    reason = "between two looks at a condition, not instead of one"
)]
pub fn pause() {
    std::thread::sleep(PAUSE);
}

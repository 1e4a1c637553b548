//! Callers whose work is refused by policy: an entry each, and no sandbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tests::Api;

/// Callers at once: few, so that an entry holds few.
const CALLERS: u64 = 3;
/// Pause of a caller between two calls: the house is not to be asked for all that it can do, so that
/// what is kept keeps up.
const PACE: Duration = Duration::from_millis(4);
/// Pause after an answer that settles nothing.
const AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    settled: AtomicU64,
}

/// Callers on a thread of their own.
pub struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<Vec<String>>,
}

impl Load {
    /// Starts calling.
    pub fn start(url: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let (url, inner) = (url.to_owned(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            crate::runtime().block_on(async {
                let callers = (0..CALLERS).map(|caller| call(Api::new(&url), caller, &inner));
                futures_util::future::join_all(callers).await.concat()
            })
        });
        Self { shared, thread }
    }

    /// Calls settled so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.settled.load(Ordering::Relaxed)
    }

    /// Lets every caller settle the call it is in; the runs they were told of.
    pub fn stop(self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the callers")
    }
}

async fn call(api: Api, caller: u64, shared: &Shared) -> Vec<String> {
    let body = json!({
        "template": "host", "command": ["true"], "resources": {"mem_mb": 4_096},
    });
    let mut told = Vec::new();
    for number in 0_u64.. {
        let key = format!("{caller}-{number}");
        loop {
            let request = api.request(Method::POST, "/v1/runs").json(&body);
            let request = request.header("Idempotency-Key", &key).timeout(Duration::from_secs(10));
            match api.try_send(request).await {
                Ok(answer) if answer.status == 403 => {
                    told.push(answer.json()["run_id"].as_str().expect("an id").to_owned());
                    break;
                }
                Ok(answer) => assert_eq!(answer.status, 503, "nobody asked for this: {answer}"),
                Err(_) => {}
            }
            // Nobody is there, or it is not known what became of it: the same again.
            tokio::time::sleep(AGAIN).await;
        }
        shared.settled.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    told
}

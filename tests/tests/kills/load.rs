//! Callers who want their work done once, and write down what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::dice::Dice;
use tests::{Answer, Api};

/// Callers at once.
const CALLERS: u64 = 12;
/// Longest pause of a caller between two calls: some 200 calls a second in all, so that after 200
/// kills a development build still replays in a moment, and every kill hits a start or work.
const THINK: Duration = Duration::from_millis(120);
/// Pause after an answer that settles nothing.
const AGAIN: Duration = Duration::from_millis(20);
/// Runs that a node may have in front of it: the test ends when they have.
const PENDING_MOST: u64 = 60;

/// What became of one submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was let in, as this run.
    Admitted(String),
    /// It was refused, as this run.
    Rejected(String),
}

/// A settled call: its key, and what was told of each of its submissions.
#[derive(Clone, Debug)]
pub struct Promise {
    /// The idempotency key, which is also the label `key` of each run.
    pub key: String,
    /// Path and body, to be sent again.
    pub call: (&'static str, Value),
    /// In the order of the submissions, which have their place as label `item`.
    pub told: Vec<Told>,
}

/// Everything that was promised.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Settled calls.
    pub promises: Vec<Promise>,
    /// Calls whose caller gave up without knowing: each may have landed, but not twice.
    pub given_up: Vec<String>,
    /// Settled calls that took more than one try.
    pub repeated: u64,
}

impl Ledger {
    /// Submissions that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.promises.iter().map(|promise| promise.told.len()).sum()
    }

    fn take(&mut self, other: Self) {
        self.promises.extend(other.promises);
        self.given_up.extend(other.given_up);
        self.repeated += other.repeated;
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Settled calls.
    settled: AtomicU64,
    /// Runs that may still have to be executed, as the callers last saw it.
    pending: AtomicU64,
}

/// Callers on a thread of their own.
pub struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<Ledger>,
}

impl Load {
    /// Starts calling, each time any of the instances.
    pub fn start(instances: Vec<Api>, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            crate::runtime().block_on(async {
                let mut dice = Dice::new(seed);
                let watch = watch_pending(&instances, &inner);
                let callers = (0..CALLERS).map(|_| {
                    let dice = Dice::new(dice.roll());
                    Caller { instances: &instances, dice, shared: &inner }.call_until_stopped()
                });
                let callers = futures_util::future::join_all(callers);
                let mut whole = Ledger::default();
                let (ledgers, ()) = tokio::join!(callers, watch);
                for ledger in ledgers {
                    whole.take(ledger);
                }
                whole
            })
        });
        Self { shared, thread }
    }

    /// Calls settled so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.settled.load(Ordering::Relaxed)
    }

    /// Lets every caller settle the call it is in; what they were told.
    pub fn stop(self) -> Ledger {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the callers")
    }
}

/// Keeps an eye on the queue, so that it never grows beyond what a node ends in seconds.
async fn watch_pending(instances: &[Api], shared: &Shared) {
    for api in instances.iter().cycle() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(answer) = api.try_send(api.request(Method::GET, "/v1/queue")).await
            && answer.status == 200
        {
            let depth = answer.json()["depth"].as_u64().unwrap_or(u64::MAX);
            shared.pending.store(depth, Ordering::Relaxed);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

struct Caller<'s> {
    instances: &'s [Api],
    dice: Dice,
    shared: &'s Shared,
}

impl Caller<'_> {
    async fn call_until_stopped(mut self) -> Ledger {
        let mut ledger = Ledger::default();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let key = self.dice.name();
            let (path, count) = match self.dice.below(12) {
                0 => ("/v1/runs:batch", 2 + self.dice.below(7)),
                _ => ("/v1/runs", 1),
            };
            let runs: Vec<Value> = (0..count).map(|item| self.submission(&key, item)).collect();
            let body = if path == "/v1/runs" { runs[0].clone() } else { json!({"runs": runs}) };
            let think = Duration::from_micros(self.dice.below(THINK.as_micros() as u64));
            tokio::time::sleep(think).await;
            self.settle(Promise { key, call: (path, body), told: Vec::new() }, &mut ledger).await;
        }
        ledger
    }

    /// Most are refused by policy: a fact like any other, which costs no sandbox.
    fn submission(&mut self, key: &str, item: u64) -> Value {
        let busy = self.shared.pending.load(Ordering::Relaxed) >= PENDING_MOST;
        let refused = busy || self.dice.below(5) != 0;
        json!({
            "template": "host", "command": ["echo", format!("{key} {item}")],
            "resources": {"cpu_milli": 100, "mem_mb": if refused { 4_096 } else { 32 }},
            "labels": {"key": key, "item": item.to_string()},
        })
    }

    /// Sends a call until its answer settles it, or, once in a while, gives up on the way.
    async fn settle(&mut self, mut promise: Promise, ledger: &mut Ledger) {
        let mut tries = 0;
        loop {
            tries += 1;
            let (path, body) = &promise.call;
            let api = &self.instances[self.dice.below(self.instances.len() as u64) as usize];
            let request = api.request(Method::POST, path).json(body);
            let request = request.header("Idempotency-Key", &promise.key);
            let answer = api.try_send(request.timeout(Duration::from_secs(10))).await;
            if let Some(told) = answer.ok().and_then(|answer| told(&answer)) {
                promise.told = told;
                ledger.promises.push(promise);
                ledger.repeated += u64::from(tries > 1);
                self.shared.settled.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if self.dice.below(50) == 0 {
                ledger.given_up.push(promise.key);
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// What an answer says of each submission; none where it settles nothing.
///
/// # Panics
/// It is an answer that no submission of these callers may get.
pub fn told(answer: &Answer) -> Option<Vec<Told>> {
    let one = |status: u64, run: &Value, problem: &Value| {
        let id = |value: &Value| value.as_str().expect("an id").to_owned();
        match status {
            200 | 202 => Told::Admitted(id(&run["id"])),
            403 => Told::Rejected(id(&problem["run_id"])),
            other => panic!("nobody asked for {other}: {answer}"),
        }
    };
    match answer.status {
        // Trouble on the way: not applied, or unknown.
        503 => {
            let outcomes = BTreeMap::from([("not_applied", ()), ("unknown", ())]);
            let outcome = answer.json()["outcome"].as_str().unwrap_or_default().to_owned();
            assert!(outcomes.contains_key(&*outcome), "503 says what is known: {answer}");
            None
        }
        200 | 202 | 403 => {
            let body = answer.json();
            Some(match body["items"].as_array() {
                Some(items) => items
                    .iter()
                    .map(|item| {
                        one(item["status"].as_u64().unwrap_or(0), &item["run"], &item["problem"])
                    })
                    .collect(),
                None => vec![one(answer.status.into(), &body, &body)],
            })
        }
        _ => panic!("nobody asked for this: {answer}"),
    }
}

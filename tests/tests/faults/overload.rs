//! More than the house can take, in every way there is at once: what it lets in it keeps, what it turns
//! away it tells, and it goes on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::wait::SOON;
use tests::{Api, House, RedisServer, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::{row, spread};

/// How long it lasts, in seconds, unless `TARTARUS_TEST_OVERLOAD` says.
const LASTS: u64 = 10;
/// What may come of it in memory, in MiB: what the bounds of `docs/limits.md` come to.
const GROWTH_MIB: u64 = 256;
/// A probe comes again after this long.
const PROBE: Duration = Duration::from_millis(100);
/// A caller that was turned away comes again after this long.
const PAUSE: Duration = Duration::from_millis(20);

/// What the callers of one kind were told.
#[derive(Default)]
struct Told {
    over: AtomicBool,
    taken: AtomicUsize,
    shed: AtomicUsize,
    acknowledged: Mutex<BTreeSet<String>>,
    wrong: Mutex<Vec<String>>,
    /// Whose connection was dropped before there was an answer.
    dropped: Mutex<Vec<String>>,
}

impl Told {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Judges an answer; whether it was taken.
    fn hear(&self, status: u16, retry_after: bool, body: &Value) -> bool {
        if (200..300).contains(&status) {
            self.taken.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let clear = [429, 503].contains(&status)
            && retry_after
            && body["code"].is_string()
            && body["detail"].as_str().is_some_and(|detail| detail.contains("again"));
        if clear {
            self.shed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.wrong.lock().expect("unpoisoned").push(format!("{status}: {body}"));
        }
        false
    }
}

/// Sends one kind of request until it is over.
async fn flood(told: Arc<Told>, api: Api, method: Method, path: String, body: Option<Value>) {
    let body = body.map(|body| body.to_string());
    while told.goes_on() {
        let mut request = api.request(method.clone(), &path).timeout(SOON);
        if let Some(body) = &body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let answer = match api.try_send(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let dropped = format!("{method} {path}: {error:?}");
                told.dropped.lock().expect("unpoisoned").push(dropped);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let retry_after = answer.header("retry-after").is_some();
        let json = answer.json();
        let taken = told.hear(answer.status, retry_after, &json);
        if taken && method == Method::POST {
            let runs: Vec<String> = match json["items"].as_array().or(json["runs"].as_array()) {
                Some(items) => items.iter().filter_map(|item| item.get("run").map(id)).collect(),
                None => vec![id(&json)],
            };
            told.acknowledged.lock().expect("unpoisoned").extend(runs);
        }
        if !taken {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Connects, sends a beginning, and then a byte now and again; takes no answer.
async fn dawdle(told: Arc<Told>, addr: String, beginning: &'static str) {
    while told.goes_on() {
        if let Ok(mut stream) = TcpStream::connect(&addr).await
            && stream.write_all(beginning.as_bytes()).await.is_ok()
        {
            while told.goes_on() && stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(PROBE).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks again and again as somebody who looks whether the house is well, on connections of its own.
async fn probe(told: Arc<Told>, api: Api, path: &str) -> Vec<Duration> {
    let mut took = Vec::new();
    while told.goes_on() {
        let (began, api) = (Instant::now(), Api::new(&api.url));
        let request = api.request(Method::GET, path).timeout(SOON);
        let answer = api.try_send(request).await.expect("it answers");
        assert_eq!(answer.status, 200, "{path}: {answer}");
        took.push(began.elapsed());
        tokio::time::sleep(PROBE).await;
    }
    took
}

#[tokio::test]
async fn f68_the_house_is_asked_for_more_than_it_can_do() {
    let files = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files }).expect("more files");
    let env = [("TARTARUS_QUEUE_MAX", "5000"), ("TARTARUS_NODE_TTL", "9s")];
    let house = House::with(Some(RedisServer::durable()), &env).await;
    let (_n1, _n2) =
        (house.agent("n1").start(&house.api).await, house.agent("n2").start(&house.api).await);
    // The machine of this test has no processor for the runs as well.
    house.api.post("/v1/queue/pause", &json!({})).await.expect(200);
    let (api, addr) = (&house.api, house.api.url.trim_start_matches("http://").to_owned());
    let before = house.olympus.process.resident_kib() / 1_024;

    let told = Arc::new(Told::default());
    let mut crowd = Vec::new();
    let mut big = host(&["sleep", "1"]);
    big["env"] = json!({"WORDS": "x".repeat(1_000)});
    let batch = json!({"runs": vec![big; 1_000]});
    let mut join = |times: usize, method: Method, path: &str, body: Option<&Value>| {
        for _ in 0..times {
            let (told, api, path, body) = (told.clone(), api.clone(), path.into(), body.cloned());
            crowd.push(tokio::spawn(flood(told, api, method.clone(), path, body)));
        }
    };
    join(200, Method::POST, "/v1/runs", Some(&host(&["sleep", "1"])));
    join(40, Method::POST, "/v1/runs:batch", Some(&batch));
    join(60, Method::GET, "/v1/runs?limit=1000", None);
    join(150, Method::GET, "/v1/queue?index=1&wait=2s", None);
    for beginning in [
        "POST /v1/runs HTTP/1.1\r\nhost: x\r\nx-slow: ",
        "POST /v1/runs:batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: 4000000\r\n\r\n",
        "GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n",
        "GET /v1/runs?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/runs?limit=1000 HTTP/1.1\r\n\
         host: x\r\n\r\n",
    ] {
        for _ in 0..80 {
            crowd.push(tokio::spawn(dawdle(told.clone(), addr.clone(), beginning)));
        }
    }
    let probes = ["/healthz", "/readyz", "/v1/nodes"].map(|path| {
        let (told, api) = (told.clone(), api.clone());
        tokio::spawn(async move { probe(told, api, path).await })
    });
    let lasts = std::env::var("TARTARUS_TEST_OVERLOAD").ok().and_then(|text| text.parse().ok());
    let (began, lasts) = (Instant::now(), Duration::from_secs(lasts.unwrap_or(LASTS)));
    let mut most = before;
    while began.elapsed() < lasts {
        most = most.max(house.olympus.process.resident_kib() / 1_024);
        tokio::time::sleep(PROBE).await;
    }
    told.over.store(true, Ordering::Relaxed);
    let over = Instant::now();
    let took: Vec<Duration> =
        join_all(probes).await.into_iter().flat_map(|took| took.expect("probes")).collect();
    until("a write to be taken again", || async {
        let policy = json!({"match": {"templates": ["after"]}});
        let request = api.request(Method::PUT, "/v1/policies/after").json(&policy);
        let answer = api.try_send(request.timeout(Duration::from_secs(5))).await.ok()?;
        [200, 201].contains(&answer.status).then_some(())
    })
    .await;
    let normal = over.elapsed();
    join_all(crowd).await;

    let wrong = told.wrong.lock().expect("unpoisoned").clone();
    assert!(wrong.is_empty(), "{} answers say too little: {:?}", wrong.len(), &wrong[..1]);
    let dropped = told.dropped.lock().expect("unpoisoned").clone();
    // A body that is refused unseen is waited for no longer than a few seconds; all others are told.
    let large = |dropped: &&String| dropped.starts_with("POST /v1/runs:batch:");
    let small: Vec<_> = dropped.iter().filter(|dropped| !large(dropped)).collect();
    assert!(small.is_empty(), "{} got no answer: {:?}", small.len(), &small[..1]);
    let (taken, shed) = (told.taken.load(Ordering::Relaxed), told.shed.load(Ordering::Relaxed));
    assert!(shed > 0 && taken > 0, "{taken} taken, {shed} shed");
    assert!(most - before <= GROWTH_MIB, "{before} MiB before, {most} MiB at most");
    let acknowledged = told.acknowledged.lock().expect("unpoisoned").clone();
    let there: BTreeSet<String> = api.all("/v1/runs?limit=1000").await.iter().map(id).collect();
    let lost = acknowledged.difference(&there).count();
    assert_eq!(lost, 0, "of {} acknowledged", acknowledged.len());
    let events = api.get("/v1/events?type=node.lost&follow=false").await.expect(200).text();
    assert!(!events.contains("node.lost"), "no node is lost for want of an ear: {events}");
    until("both nodes to be there", || async {
        let nodes = api.all("/v1/nodes").await;
        (nodes.len() == 2 && nodes.iter().all(|node| node["status"] == "READY")).then_some(())
    })
    .await;
    // An agent that hears nothing for a while opens another one, within its node's time.
    let again = house.olympus.process.said("connect an agent").len() - 2;
    let redis = house.redis.as_ref().expect("a Redis").addr();
    tests::tartarus(&["replay", "verify", "--redis", &redis], &[]).expect(0);
    let seen = format!(
        "{taken} taken, {shed} turned away with Retry-After, {} dropped without an answer; {} runs \
         acknowledged, 0 lost; no node lost, {again} sessions of agents opened again; +{} MiB; a probe \
         takes {}; normal again after {} ms",
        dropped.len(),
        acknowledged.len(),
        most - before,
        spread(took),
        normal.as_millis()
    );
    let fault = "one instance, 770 callers at once: submissions, batches of 1 MiB, long lists, blocking \
                 reads, slow heads, slow bodies, feeds and lists that nobody takes";
    row("F68", fault, 1, &seen);
}

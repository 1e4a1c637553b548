//! Reads what there is, and compares it with what was promised.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::Value;
use tests::http::id;
use tests::{Api, House, RedisServer, until};

use crate::load::{Ledger, Told, told};

/// Promises asked for again at the end, and outputs read.
const SAMPLE: usize = 60;

/// What is not as it should be, and how the runs ended.
#[derive(Debug, Default)]
pub struct Found {
    /// Promised and not there.
    pub lost: Vec<String>,
    /// There more than once.
    pub duplicates: Vec<String>,
    /// Not ended.
    pub unfinished: Vec<String>,
    /// There, but not what was promised.
    pub wrong: Vec<String>,
    /// Runs by status and reason.
    pub ended: BTreeMap<String, usize>,
}

/// Every run, by the key and the item it was submitted as.
type Runs = BTreeMap<(String, String), Vec<Value>>;

async fn runs(api: &Api) -> Runs {
    let mut runs = Runs::new();
    for run in api.all("/v1/runs?limit=1000").await {
        let label = |name: &str| run["labels"][name].as_str().unwrap_or_default().to_owned();
        runs.entry((label("key"), label("item"))).or_default().push(run);
    }
    runs
}

fn word(run: &Value, field: &str) -> String {
    run[field].as_str().unwrap_or_default().to_owned()
}

/// Waits until nothing moves any more, then looks.
pub async fn check(house: &mut House, ledger: &Ledger, seed: u64) -> Found {
    let api = house.api.clone();
    house.olympus.until_ready().await;
    until(&format!("every run to end (seed {seed})"), || async {
        let unfinished = "/v1/runs?status=PENDING&status=SCHEDULED&status=RUNNING&limit=1";
        let answer = api.try_send(api.request(Method::GET, unfinished)).await.ok()?;
        (answer.status == 200 && answer.ids().is_empty()).then_some(())
    })
    .await;
    let there = runs(&api).await;
    let mut found = Found::default();
    for ((key, item), same) in &there {
        if same.len() > 1 {
            found.duplicates.push(format!("{key}/{item}: {}", same.len()));
        }
        for run in same {
            let status = word(run, "status");
            if ["PENDING", "SCHEDULED", "RUNNING"].contains(&&*status) {
                found.unfinished.push(id(run));
            }
            *found.ended.entry(format!("{status} {}", word(run, "reason"))).or_default() += 1;
        }
    }
    for promise in &ledger.promises {
        for (item, told) in promise.told.iter().enumerate() {
            let (Told::Admitted(promised) | Told::Rejected(promised)) = told;
            let same = there.get(&(promise.key.clone(), item.to_string()));
            let run = same.into_iter().flatten().find(|run| run["id"] == **promised);
            match run.map(|run| (word(run, "status") == "REJECTED", told)) {
                None => found.lost.push(format!("{}/{item}: {told:?}", promise.key)),
                Some((true, Told::Rejected(_)) | (false, Told::Admitted(_))) => {}
                Some(_) => {
                    found.wrong.push(format!("{}/{item}: {told:?} is {run:#?}", promise.key))
                }
            }
        }
    }
    repeat(&api, ledger, &mut found).await;
    outputs(&api, &there, &mut found).await;
    at_rest(house, &mut found).await;
    // What was lived is what is replayed.
    house.olympus.restart().await;
    let again = runs(&api).await;
    if again != there {
        found.wrong.push("after one more restart the runs are not the same".to_owned());
    }
    found
}

/// A key sent again is told the same.
async fn repeat(api: &Api, ledger: &Ledger, found: &mut Found) {
    for promise in ledger.promises.iter().rev().step_by(ledger.promises.len() / SAMPLE + 1) {
        let (path, body) = &promise.call;
        let answer = api.post_once(path, &promise.key, body).await;
        let again = told(&answer);
        if answer.status == 202 && *path == "/v1/runs" || again.as_ref() != Some(&promise.told) {
            found.wrong.push(format!("{} sent again: {answer}", promise.key));
        }
    }
}

/// A run that succeeded has its whole output.
async fn outputs(api: &Api, there: &Runs, found: &mut Found) {
    let succeeded = there.iter().flat_map(|(name, same)| same.iter().map(move |run| (name, run)));
    let succeeded: Vec<_> = succeeded.filter(|(_, run)| run["status"] == "SUCCEEDED").collect();
    for ((key, item), run) in succeeded.iter().step_by(succeeded.len() / SAMPLE + 1) {
        let output = api.output(&id(run), "stdout").await;
        if output != format!("{key} {item}\n") {
            found.wrong.push(format!("{} wrote {output:?}", id(run)));
        }
    }
}

/// Nothing waits, nothing is set aside, and Redis shows the same.
async fn at_rest(house: &House, found: &mut Found) {
    let queue = house.api.get("/v1/queue").await.expect(200).json();
    if queue["depth"] != 0 {
        found.wrong.push(format!("the queue is not empty: {queue:#}"));
    }
    let node = house.api.get("/v1/nodes/n1").await.expect(200).json();
    if node["allocated"]["cpu_milli"] != 0 || node["runs"] != 0 {
        found.wrong.push(format!("something stays set aside: {node:#}"));
    }
    let redis: &RedisServer = house.redis.as_ref().expect("a Redis");
    until("the shown queue to be empty", || async {
        redis.line(0, "tartarus:queue").is_empty().then_some(())
    })
    .await;
}

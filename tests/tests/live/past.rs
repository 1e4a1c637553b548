//! Time travel on the running program: `?at=`, `--at`, `why` and `replay step`.

use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{Finished, House, RedisServer};

fn index(value: &Value) -> u64 {
    value["index"].as_u64().expect("an index")
}

fn kinds(list: &Value) -> Vec<&str> {
    let links = list.as_array().expect("a list");
    links.iter().map(|link| link["type"].as_str().expect("a type")).collect()
}

#[tokio::test]
async fn the_past_is_read_as_the_present_was_and_says_what_led_to_it() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    // It waits: there is no node yet.
    let run = id(&house.api.submit(&host(&["sh", "-c", "exit 3"])).await);
    let waiting = house.api.get(&format!("/v1/runs/{run}")).await.expect(200).json();
    let then = index(&waiting);
    let policy = json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": 512}});
    house.api.put("/v1/policies/open", &policy).await.expect(201);
    let agent = house.agent("n1").start(&house.api).await;
    let ended = house.api.ended(&run).await;
    assert_eq!(ended["status"], "FAILED", "{ended:#}");

    // Over HTTP.
    let path = format!("/v1/runs/{run}?at={then}");
    assert_eq!(house.api.get(&path).await.expect(200).json(), waiting, "as it was answered then");
    let created = waiting["created_at"].as_str().expect("a time");
    let path = format!("/v1/policies?at={created}");
    let policies = house.api.get(&path).await.expect(200).json();
    assert_eq!(policies["items"].as_array().map(Vec::len), Some(1), "{policies:#}");
    let why = house.api.get(&format!("/v1/runs/{run}/explain?at={then}")).await.expect(200).json();
    assert_eq!(why["queue"]["place"], 1, "{why:#}");

    // On the command line.
    let addr = house.api.url.clone();
    let tartarus = |args: &str| -> Finished {
        let args: Vec<&str> = args.split_whitespace().collect();
        tests::tartarus(&args, &[("TARTARUS_ADDR", &addr)])
    };
    let was = tartarus(&format!("inspect {run} --at {then} -o json")).expect(0).json();
    assert_eq!(was, waiting);
    let pending = tartarus(&format!("ps --status pending --at {then} -o json")).expect(0).json();
    assert_eq!(pending[0]["id"], *run);
    assert_eq!(tartarus("ps --status pending -o json").expect(0).json(), json!([]));
    let queue = tartarus(&format!("queue status --at {then} -o json")).expect(0).json();
    assert_eq!(queue["depth"], 1);
    let nodes = tartarus(&format!("node list --at {then} -o json")).expect(0).json();
    assert_eq!(nodes, json!([]));
    let none = tartarus(&format!("policy get open --at {then}")).expect(1);
    assert!(none.stderr.contains("does not exist"), "{}", none.stderr);
    tartarus(&format!("quarantine list --at {then}")).expect(0);
    let future = tartarus("ps --at 999999").expect(1);
    assert!(future.stderr.contains("at is in the future"), "{}", future.stderr);
    // The hint of an explanation leads to the nodes that were looked at.
    let told = tartarus(&format!("explain {run}")).expect(0).stdout;
    let hint = told.lines().find(|line| line.starts_with("Then")).expect("a hint");
    let (_, point) = hint.split_once("--at ").expect("a point");
    let looked = tartarus(&format!("explain {run} --at {point} -o json")).expect(0).json();
    assert_eq!(looked["nodes"][0]["id"], "n1", "{looked:#}");
    assert_eq!(looked["nodes"][0]["failed"], Value::Null, "{looked:#}");

    // What led to what: by the server, and by the journal alone.
    let told = tartarus(&format!("why {run} -o json")).expect(0).json();
    let lived = ["run.finished", "run.started", "run.assigned", "node.joined", "run.admitted"];
    assert_eq!(kinds(&told), lived, "{told:#}");
    assert_eq!(told[0]["actor"], "node n1");
    let redis = house.redis.as_ref().expect("a redis").addr();
    let alone = tartarus(&format!("why {run} --redis {redis} -o json")).expect(0).json();
    assert_eq!(alone, told);
    let started = told[1]["id"].as_str().expect("an id");
    let of_event = tartarus(&format!("why {started} -o json")).expect(0).json();
    assert_eq!(kinds(&of_event), lived[1..]);
    let of_event = tartarus(&format!("why {started} --redis {redis} -o json")).expect(0).json();
    assert_eq!(kinds(&of_event), lived[1..]);
    let of_node = tartarus(&format!("why n1 --redis {redis}")).expect(0).stdout;
    assert!(of_node.contains("node n1 joined"), "{of_node}");
    let nobody = tartarus(&format!("why nobody --redis {redis}")).expect(1);
    assert!(nobody.stderr.contains("nothing in the journal"), "{}", nobody.stderr);

    drop(agent);
    house.olympus.process.kill();
    let steps = tartarus(&format!("replay step {run} --redis {redis} -o json")).expect(0).json();
    assert_eq!(kinds(&steps), ["run.admitted", "run.assigned", "run.started", "run.finished"]);
    assert_eq!(steps[1]["node"]["runs"], 1, "{steps:#}");
    let text = tartarus(&format!("replay step {run} --redis {redis}")).expect(0).stdout;
    assert!(text.contains("[4/4]") && text.contains("status: RUNNING → FAILED"), "{text}");
}

/// The cell of the first row under a heading; words in a heading or a cell are two spaces apart.
fn cell(table: &str, heading: &str) -> String {
    let mut lines = table.lines();
    let at = lines.next().expect("a heading").find(heading).expect("that heading");
    let row = lines.next().expect("a row");
    row[at..].split("  ").next().expect("a cell").to_owned()
}

#[tokio::test]
async fn an_age_is_counted_to_the_moment_that_is_looked_at() {
    let house = House::memory().await;
    let typhon = house.agent("t1").labels("tartarus.io/typhon=true").start(&house.api).await;
    let mut request = host(&["true"]);
    request["metadata"] = json!({"quarantine": "true"});
    house.api.post("/v1/queue/pause", &json!({})).await.expect(200);
    let run = house.api.submit(&request).await;
    let (sequence, created) = (index(&run), run["created_at"].as_str().expect("a time"));
    let addr = house.api.url.clone();
    let told = |args: &[&str]| tests::tartarus(args, &[("TARTARUS_ADDR", &addr)]).expect(0).stdout;
    tests::until_sync("a run that is older than a second", || {
        (cell(&told(&["ps"]), "AGE") != "0s").then_some(())
    });
    let sequence = sequence.to_string();
    for point in [&*sequence, created] {
        assert_eq!(cell(&told(&["ps", "--at", point]), "AGE"), "0s", "{point}");
        let ledger = told(&["quarantine", "list", "--at", point]);
        assert_eq!(cell(&ledger, "AGE"), "0s", "{point}: {ledger}");
        let line = told(&["queue", "status", "--at", point]);
        let waited = |line: &str| line.starts_with("oldest wait") && line.ends_with(" 0s");
        assert!(line.lines().any(waited), "{point}: {line}");
        let fleet = told(&["node", "list", "--at", point]);
        assert!(fleet.contains("t1"), "{point}: {fleet}");
    }
    drop(typhon);
}

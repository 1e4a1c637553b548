//! Several instances on one Redis: one leads, the others follow, and take over.

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::house::Agent;
use tests::http::{host, id};

use tests::{AgentPlan, Api, House, RedisServer, until, until_sync};

/// An agent that asks Redis who leads.
async fn agent(house: &House) -> Agent {
    let mut plan = house.agent("n1");
    plan.unset("TARTARUS_ADDR");
    plan.env("REDIS_ADDR", &house.redis.as_ref().expect("a Redis").addr());
    plan.start(&house.api).await
}

async fn ready(api: &Api) -> Value {
    api.get("/readyz").await.json()
}

async fn until_leading(api: &Api) -> Value {
    until("the follower to lead", || async {
        Some(ready(api).await)
            .filter(|ready| ready["role"] == "leader" && ready["message"].is_null())
    })
    .await
}

/// A run with its output, seen through an instance.
async fn succeeded(api: &Api, run: &str, output: &str) {
    let ended = api.ended(run).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    assert_eq!(api.output(run, "stdout").await, output);
}

#[tokio::test]
async fn a_follower_reads_what_is_written_and_hands_writes_on() {
    let house = House::redis().await;
    let _agent = agent(&house).await;
    let other = house.another("other").start().await;
    let api = other.api();
    let said = ready(&api).await;
    assert_eq!((&said["role"], &said["leader"]), (&json!("follower"), &json!(house.api.url)));
    assert_eq!(said["epoch"], ready(&house.api).await["epoch"]);
    for (api, leads) in [(&house.api, "1"), (&api, "0")] {
        let metrics = api.get("/metrics").await.expect(200).text();
        assert!(metrics.contains(&format!("\ntartarus_leader {leads}\n")), "{metrics}");
    }

    // Written through the follower, and read there at the entry that the answer names.
    let answer = api.post("/v1/runs", &host(&["echo", "through"])).await.expect(202);
    assert!(answer.header("x-tartarus-receipt").is_some(), "{answer:?}");
    let (run, index) = (id(&answer.json()), answer.index());
    let seen = api.get(&format!("/v1/runs/{run}?min_index={index}")).await.expect(200);
    assert!(seen.index() >= index);
    succeeded(&api, &run, "through\n").await;
    succeeded(&house.api, &run, "through\n").await;

    let node = api.get("/v1/nodes/n1").await.expect(200).json();
    assert_eq!(node["status"], "READY");
    assert!(node["last_seen"].is_string(), "by its sign of life in Redis: {node:#}");
    let lines = api.get("/v1/events?follow=false").await.expect(200).text();
    assert!(lines.contains("run.finished"), "{lines}");
}

#[tokio::test]
async fn a_refusal_comes_back_as_the_leader_gave_it() {
    let house = House::redis().await;
    let other = house.another("other").start().await;
    for body in [json!({"template": "host"}), json!({"template": "none", "command": ["x"]})] {
        let (there, here) =
            (house.api.post("/v1/runs", &body).await, other.api().post("/v1/runs", &body).await);
        let words = |answer: &tests::Answer| {
            let problem = answer.json();
            (answer.status, problem["code"].clone(), problem["detail"].clone())
        };
        assert_eq!(words(&there), words(&here));
    }
    let policy = json!({"name": "p", "match": {"templates": ["host"]}, "limits": {"cpu_milli": 1}});
    let put = other.api().put("/v1/policies/p", &policy).await.expect(201);
    assert_eq!(put.header("etag"), Some("\"1\""));
    // S26: what was put through any instance is the law for all.
    let refused = house.api.post("/v1/runs", &host(&["true"])).await;
    refused.problem(403, "policy_rejected");
}

#[tokio::test]
async fn what_was_handed_on_once_is_not_handed_on_again() {
    let house = House::redis().await;
    let other = house.another("other").start().await;
    let api = other.api();
    let request = api.request(reqwest::Method::POST, "/v1/runs").json(&host(&["true"]));
    let request = request.header("x-tartarus-forwarded-by", "http://somebody");
    let problem = api.send(request).await.problem(503, "no_leader");
    assert_eq!(problem["outcome"], "not_applied");
}

#[tokio::test]
async fn what_names_the_instance_in_its_request_line_is_handed_on_too() {
    let house = House::redis().await;
    let other = house.another("other").start().await;
    // A client that is told of a proxy sends the whole URL.
    let proxy = reqwest::Proxy::http(&other.api().url).expect("a URL");
    let client = tls::plain_http().proxy(proxy).build().expect("a client");
    let submission = client.post("http://olympus.example/v1/runs");
    let answer = submission.json(&host(&["true"])).send().await.expect("an answer");
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap_or_default());
}

#[tokio::test]
async fn a_leader_that_stays_and_never_answers_is_not_waited_for_without_end() {
    // It keeps its key, and where it says it is somebody listens and says nothing.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", nobody.local_addr().expect("an address"));
    let env = [("TARTARUS_ADVERTISE_URL", &*url)];
    let house = House::with(Some(RedisServer::start()), &env).await;
    let other = house.another("other").start().await;
    let api = other.api();
    let once = api.post_once("/v1/runs", "once", &host(&["true"])).await;
    let problem = once.problem(503, "unavailable");
    assert_eq!(problem["outcome"], "unknown", "{problem}");
    let detail = problem["detail"].as_str().expect("words");
    assert!(detail.contains(&url) && detail.contains("did not answer"), "{detail}");
    assert_eq!(ready(&api).await["leader"], json!(url), "it led all the time");
}

#[tokio::test]
async fn an_instance_that_keeps_an_output_and_hangs_is_not_waited_for_without_end() {
    let mut house = House::redis().await;
    let _agent = agent(&house).await;
    let other = house.another("other").start().await;
    let api = other.api();
    let run = id(&api.submit_command(&["echo", "kept"]).await);
    succeeded(&api, &run, "kept\n").await;
    // Its machine takes connections, and nothing answers them.
    house.olympus.process.signal(Signal::STOP);
    let logs = api.get(&format!("/v1/runs/{run}/logs")).await;
    house.olympus.process.signal(Signal::CONT);
    logs.problem(503, "unavailable");
}

#[tokio::test]
async fn what_is_followed_through_a_follower_from_before_it_begins_is_all_there() {
    let house = House::redis().await;
    let other = house.another("other").start().await;
    let api = other.api();
    let run = id(&api.submit_command(&["echo", "here"]).await);
    // It has begun to answer, and there is no node yet.
    let logs =
        api.request(reqwest::Method::GET, &format!("/v1/runs/{run}/logs?follow=true")).send().await;
    let logs = logs.expect("an answer");
    let _agent = agent(&house).await;
    assert_eq!(logs.text().await.expect("all of it"), "here\n");
}

#[tokio::test]
async fn a_number_says_nothing_where_the_journal_lost_what_was_read() {
    let mut house = House::redis().await;
    let other = house.another("other").start().await;
    let api = other.api();
    let written = house.api.submit_command(&["true"]).await;
    let (run, index) = (id(&written), written["index"].as_u64().expect("an index"));
    let at_least = format!("/v1/runs/{run}?min_index={index}");
    api.get(&at_least).await.expect(200);
    // The leader falls silent with its key in hand, and Redis loses the end of the journal.
    house.olympus.process.signal(Signal::STOP);
    let mut redis = house.redis.as_ref().expect("a Redis").connect(0);
    let newest: Vec<(String, redis::Value)> = redis::cmd("XREVRANGE")
        .arg(&["tartarus:journal", "+", "-", "COUNT", "2"])
        .query(&mut redis)
        .expect("two entries");
    let (last, before) = (&newest[0].0, &newest[1].0);
    for command in [
        &["PERSIST", "tartarus:leader"][..],
        &["XDEL", "tartarus:journal", last],
        &["XSETID", "tartarus:journal", before],
        &["SET", "tartarus:head", before],
    ] {
        let done = redis::cmd(command[0]).arg(&command[1..]).query::<redis::Value>(&mut redis);
        done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }
    until("the follower to see it", || async {
        let message = ready(&api).await["message"].as_str().map(str::to_owned);
        message.filter(|message| message.contains("lost what this instance has read"))
    })
    .await;
    api.get(&format!("/v1/runs/{run}")).await.expect(200);
    for asks in [&format!("min_index={index}"), "consistent=true"] {
        let refused = api.get(&format!("/v1/runs/{run}?{asks}&wait=10ms")).await;
        refused.problem(503, "journal_unavailable");
    }
    // It comes back, and gives the journal its end again.
    house.olympus.process.signal(Signal::CONT);
    api.get(&at_least).await.expect(200);
}

#[tokio::test]
async fn a_follower_takes_over_from_a_killed_leader_and_nothing_acknowledged_is_lost() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let _agent = agent(&house).await;
    let other = house.another("other").start().await;
    let api = other.api();
    let epoch = ready(&api).await["epoch"].as_u64().expect("a number");

    let done = id(&house.api.submit_command(&["echo", "before"]).await);
    succeeded(&house.api, &done, "before\n").await;
    let long = id(&house.api.submit_command(&["sh", "-c", "echo one; sleep 3; echo two"]).await);
    house.api.until_status(&long, "RUNNING").await;
    let key = "the-same-key";
    let body = host(&["echo", "waits"]);
    let waits = id(&house.api.post_once("/v1/runs", key, &body).await.expect(202).json());
    house.olympus.process.kill();

    let said = until_leading(&api).await;
    assert!(said["epoch"].as_u64() > Some(epoch), "{said}");
    let again = api.post_once("/v1/runs", key, &body).await.expect(200).json();
    assert_eq!(id(&again), waits, "the new leader knows the old one's keys");
    succeeded(&api, &waits, "waits\n").await;
    // The node went on with what it had, and gave the new leader the whole of it.
    succeeded(&api, &long, "one\ntwo\n").await;
    assert_eq!(api.run(&long).await["attempt"], 1);
    let lost = api.get(&format!("/v1/runs/{done}/logs")).await;
    lost.problem(503, "unavailable");

    // The old leader comes back as a follower, with what it kept.
    house.olympus.respawn();
    house.olympus.until_ready().await;
    assert_eq!(ready(&house.api).await["role"], "follower");
    succeeded(&api, &done, "before\n").await;
    succeeded(&house.api, &long, "one\ntwo\n").await;
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over() {
    let mut house = House::redis().await;
    let other = house.another("other").start().await;
    let run = id(&house.api.submit_command(&["echo", "x"]).await);
    house.olympus.process.signal(Signal::TERM);
    until_leading(&other.api()).await;
    assert_eq!(other.api().run(&run).await["status"], "PENDING");
    assert_eq!(house.olympus.process.exit_code(), Some(0));
}

/// What an agent has said of its connection.
fn of_connections(agent: &Agent, level: &str) -> Vec<String> {
    let lines = agent.process.log().into_iter();
    let of = lines.filter(|line| line["target"] == "agent::node" && line["level"] == level);
    of.filter_map(|line| line["message"].as_str().map(str::to_owned)).collect()
}

#[test]
fn an_agent_says_once_what_is_wrong_with_each_address() {
    let dir = tempfile::tempdir().expect("a directory");
    let urls = [(); 2].map(|()| format!("http://127.0.0.1:{}", tests::net::free_port()));
    let mut plan = AgentPlan::new("n1", dir.path());
    plan.env("TARTARUS_ADDR", &urls.join(",")).env("RUST_LOG", "agent=debug");
    let agent = plan.spawn();
    let about = |level: &str, url: &str| {
        let said = of_connections(&agent, level);
        said.iter()
            .filter(|line| line.contains(&format!("cannot reach Olympus at {url}: ")))
            .count()
    };
    // What is not said again is told to who asks for everything.
    until_sync("three more rounds", || (about("debug", &urls[1]) >= 3).then_some(()));
    for url in &urls {
        assert_eq!(about("warn", url), 1, "{:?}", agent.process.lines());
    }
}

#[tokio::test]
async fn of_a_list_of_addresses_a_living_one_is_found() {
    let mut house = House::redis().await;
    let other = house.another("other").start().await;
    let nobody = format!("http://127.0.0.1:{}", tests::net::free_port());
    let list = format!("{nobody},{},{}", other.api().url, house.api.url);
    let mut plan = house.agent("n1");
    plan.env("TARTARUS_ADDR", &list);
    let agent = plan.start(&house.api).await;
    let warned = of_connections(&agent, "warn");
    assert!(warned.len() == 1 && warned[0].contains(&nobody), "a follower is normal: {warned:?}");
    let told = of_connections(&agent, "info");
    let follows = format!("Olympus at {} follows the one at {}", other.api().url, house.api.url);
    assert_eq!(told.iter().filter(|line| **line == follows).count(), 1, "{told:?}");
    let cli = |args: &[&str]| tests::tartarus(args, &[("TARTARUS_ADDR", &list)]);
    let ran = cli(&["run", "--", "echo", "here"]).expect(0);
    assert_eq!(ran.stdout, "here\n", "a write, and output, through the list");
    let doctor = cli(&["doctor"]).stdout;
    assert!(doctor.contains(&nobody) && doctor.contains(&other.api().url), "{doctor}");
    let refused = tests::tartarus(&["ps"], &[("TARTARUS_ADDR", &format!("{nobody},ftp://x"))]);
    assert!(refused.expect(2).stderr.contains("several with commas"), "what is wrong is named");

    // The agent has no Redis to ask.
    house.olympus.process.signal(Signal::KILL);
    let api = other.api();
    until_leading(&api).await;
    let run = id(&api.submit(&host(&["echo", "still"])).await);
    succeeded(&api, &run, "still\n").await;
    assert_eq!(cli(&["run", "--", "echo", "here"]).expect(0).stdout, "here\n");
}

//! Agents and control planes that die, and nodes that fall silent.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{House, RedisServer};

fn forever(on_lost: &str) -> Value {
    let mut run = host(&["sh", "-c", "echo up; sleep 600"]);
    run["on_lost"] = json!(on_lost);
    run["resources"] = json!({"ttl": "5m"});
    run
}

async fn running(house: &House, run: &Value) -> String {
    let run = id(&house.api.submit(run).await);
    house.api.until_status(&run, "RUNNING").await;
    run
}

#[tokio::test]
async fn an_agent_that_is_killed_and_comes_back_gives_up_its_old_attempts() {
    let house = House::memory().await;
    let mut agent = house.agent("n1").start(&house.api).await;
    let retried = running(&house, &forever("retry")).await;
    let failed = running(&house, &forever("fail")).await;
    agent.restart(&house.api).await;
    let again = tests::until("the second attempt to run", || async {
        Some(house.api.run(&retried).await)
            .filter(|run| run["status"] == "RUNNING" && run["attempt"] == 2)
    })
    .await;
    assert_eq!(again["node"], "n1");
    let lost = house.api.ended(&failed).await;
    assert_eq!((&lost["status"], &lost["reason"]), (&json!("FAILED"), &json!("NodeLost")));
    let node = house.api.get("/v1/nodes/n1").await.json();
    assert_eq!((&node["runs"], &node["allocated"]["cpu_milli"]), (&json!(1), &json!(500)));
    house.api.post(&format!("/v1/runs/{retried}/cancel"), &json!({})).await;
    house.api.ended(&retried).await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_lost_and_its_runs_go_elsewhere() {
    let house = House::with(None, &[("TARTARUS_NODE_TTL", "3s")]).await;
    let mut first = house.agent("n1").start(&house.api).await;
    let retried = running(&house, &forever("retry")).await;
    let failed = running(&house, &forever("fail")).await;
    let _second = house.agent("n2").start(&house.api).await;
    first.process.kill();
    let moved = tests::until("the run to be on the other node", || async {
        Some(house.api.run(&retried).await)
            .filter(|run| run["status"] == "RUNNING" && run["node"] == "n2")
    })
    .await;
    assert_eq!(moved["attempt"], 2);
    assert_eq!(house.api.ended(&failed).await["reason"], "NodeLost");
    let node = house.api.get("/v1/nodes/n1").await.json();
    assert_eq!((&node["status"], &node["runs"]), (&json!("LOST"), &json!(0)), "{node:#}");
    house.api.post(&format!("/v1/runs/{retried}/cancel"), &json!({})).await;
    house.api.ended(&retried).await;
}

#[tokio::test]
async fn an_agent_that_was_paused_beyond_its_time_does_not_go_on_with_what_was_given_away() {
    let house = House::with(None, &[("TARTARUS_NODE_TTL", "3s")]).await;
    let mut first = house.agent("n1").start(&house.api).await;
    let run = running(&house, &forever("retry")).await;
    first.process.signal(Signal::STOP);
    let _second = house.agent("n2").start(&house.api).await;
    tests::until("the run to be on the other node", || async {
        Some(house.api.run(&run).await)
            .filter(|run| run["node"] == "n2" && run["status"] == "RUNNING")
    })
    .await;
    first.process.signal(Signal::CONT);
    tests::until("the first node to be back, and empty", || async {
        let node = house.api.get("/v1/nodes/n1").await.json();
        (node["status"] == "READY" && node["runs"] == 0).then_some(())
    })
    .await;
    let still = house.api.run(&run).await;
    assert_eq!((&still["node"], &still["attempt"]), (&json!("n2"), &json!(2)), "{still:#}");
    house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    house.api.ended(&run).await;
}

#[tokio::test]
async fn a_run_survives_the_control_plane() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let _agent = house.agent("n1").start(&house.api).await;
    let script = "echo before; sleep 2; echo after; exit 5";
    let run = id(&house.api.submit_command(&["sh", "-c", script]).await);
    house.api.until_status(&run, "RUNNING").await;
    house.olympus.restart().await;
    let ended = house.api.ended(&run).await;
    assert_eq!((&ended["exit_code"], &ended["attempt"]), (&json!(5), &json!(1)), "{ended:#}");
    assert_eq!(house.api.output(&run, "stdout").await, "before\nafter\n");
}

#[tokio::test]
async fn a_run_that_ends_while_the_control_plane_is_away_is_not_forgotten() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let agent = house.agent("n1").start(&house.api).await;
    let run = id(&house.api.submit_command(&["sh", "-c", "sleep 1; echo done; exit 6"]).await);
    house.api.until_status(&run, "RUNNING").await;
    house.olympus.process.kill();
    // The program ends now; its agent has nobody to tell.
    tests::until("the sandbox to be gone", || async {
        (!has_children(agent.process.pid())).then_some(())
    })
    .await;
    house.olympus.restart().await;
    let ended = house.api.ended(&run).await;
    assert_eq!((&ended["exit_code"], &ended["attempt"]), (&json!(6), &json!(1)), "{ended:#}");
    assert_eq!(house.api.output(&run, "stdout").await, "done\n");
}

/// Whether a process has any child.
fn has_children(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.into_iter().any(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        !children.trim().is_empty()
    })
}

#[tokio::test]
async fn an_agent_that_is_stopped_on_request_leaves_no_program_behind() {
    let house = House::memory().await;
    let mut agent = house.agent("n1").start(&house.api).await;
    let marker = format!("60{}", std::process::id());
    let mut run = host(&["sleep", &marker]);
    run["on_lost"] = json!("retry");
    let run = running(&house, &run).await;
    assert_eq!(agent.process.stop(), Some(0));
    assert!(!is_running(&marker), "sleep {marker} goes on");
    let after = house.api.run(&run).await;
    assert!(["PENDING", "RUNNING"].iter().any(|status| after["status"] == *status), "{after:#}");
}

/// Whether any process of the machine has this argument.
fn is_running(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.into_iter().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|part| part == argument.as_bytes())
            && line.starts_with(b"sleep")
    })
}

#[tokio::test]
async fn a_second_agent_on_the_same_directory_is_refused() {
    let house = House::memory().await;
    let plan = house.agent("n1");
    let _first = plan.start(&house.api).await;
    let mut second = plan.spawn();
    assert!(second.process.exit_code().is_some_and(|code| code != 0));
    let words = second.process.lines().join("\n");
    assert!(words.contains("TARTARUS_DATA_DIR"), "{words}");
}

#[tokio::test]
async fn reads_go_on_and_writes_say_503_while_redis_is_away() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let run = id(&house.api.submit_command(&["true"]).await);
    house.redis_mut().kill();
    let body = host(&["true"]);
    let refused = house.api.post_once("/v1/runs", "k", &body).await;
    assert_eq!(refused.status, 503, "{refused}");
    let outcome = refused.json()["outcome"].clone();
    assert!(["not_applied", "unknown"].iter().any(|word| outcome == *word), "{refused}");
    assert_eq!(house.api.run(&run).await["status"], "PENDING");
    house.redis_mut().restart();
    let landed = tests::until("writes to be taken again", || async {
        Some(house.api.post_once("/v1/runs", "k", &body).await).filter(|a| a.status != 503)
    })
    .await;
    assert!([200, 202].contains(&landed.status), "{landed}");
    assert_eq!(house.api.get("/v1/runs").await.ids().len(), 2, "never twice");
}

#[tokio::test]
async fn a_write_that_redis_does_not_decide_is_unknown_and_asked_again_it_is_the_same() {
    let mut house = House::redis().await;
    house.redis_mut().signal(Signal::STOP);
    let began = Instant::now();
    let undecided = house.api.post_once("/v1/runs", "undecided", &host(&["true"])).await;
    let took = began.elapsed();
    assert!(undecided.header("retry-after").is_some(), "{undecided:?}");
    let problem = undecided.problem(503, "unavailable");
    assert_eq!(problem["outcome"], "unknown", "{problem:#}");
    // Not before it is due: a Redis that is slow for a moment is waited for.
    assert!(took >= Duration::from_secs(5), "{took:?}");
    house.redis_mut().signal(Signal::CONT);
    let again = tests::until("writes to be taken again", || async {
        let again = house.api.post_once("/v1/runs", "undecided", &host(&["true"])).await;
        (again.status < 500).then_some(again)
    })
    .await;
    let run = id(&again.json());
    assert_eq!(house.api.all("/v1/runs").await.iter().map(id).collect::<Vec<_>>(), [run]);
}

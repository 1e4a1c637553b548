//! `POST /v1/runs/{id}/cancel`, in every state.

use serde_json::json;
use tests::House;
use tests::http::id;

#[tokio::test]
async fn a_pending_run_ends_at_once_and_leaves_the_line() {
    let house = House::memory().await;
    let run = id(&house.api.submit_command(&["true"]).await);
    let answer = house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(200);
    assert_eq!(answer.json()["status"], "CANCELED", "{answer}");
    assert!(answer.header("x-tartarus-receipt").is_some(), "{answer}");
    assert_eq!(house.api.get("/v1/queue").await.json()["depth"], 0);
    let _agent = house.agent("n1").start(&house.api).await;
    house.api.ended(&id(&house.api.submit_command(&["true"]).await)).await;
    let run = house.api.run(&run).await;
    assert_eq!((&run["status"], &run["attempt"]), (&json!("CANCELED"), &json!(0)));
}

#[tokio::test]
async fn cancel_takes_no_body_too() {
    let house = House::memory().await;
    let run = id(&house.api.submit_command(&["true"]).await);
    let request = house.api.request(reqwest::Method::POST, &format!("/v1/runs/{run}/cancel"));
    house.api.send(request).await.expect(200);
}

#[tokio::test]
async fn a_running_run_is_asked_to_stop_and_ends_as_its_program_ended() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let run = id(&house.api.submit_command(&["sh", "-c", script]).await);
    tests::until("the program to be up", || async {
        house.api.output(&run, "stdout").await.contains("up").then_some(())
    })
    .await;
    let answer = house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    assert!([200, 202].contains(&answer.status), "{answer}");
    let ended = house.api.ended(&run).await;
    assert_eq!(ended["status"], "CANCELED", "{ended:#}");
    assert_eq!((&ended["exit_code"], &ended["signal"]), (&json!(3), &json!(null)), "{ended:#}");
    assert_eq!(house.api.output(&run, "stdout").await, "up\nbye\n");
}

#[tokio::test]
async fn a_program_that_ignores_the_request_is_killed() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let script = "trap '' TERM INT HUP; echo up; while :; do sleep 1; done";
    let run = id(&house.api.submit_command(&["sh", "-c", script]).await);
    tests::until("the program to be up", || async {
        house.api.output(&run, "stdout").await.contains("up").then_some(())
    })
    .await;
    house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    let ended = house.api.ended(&run).await;
    assert_eq!((&ended["status"], &ended["signal"]), (&json!("CANCELED"), &json!(9)), "{ended:#}");
    let node = house.api.get("/v1/nodes/n1").await.json();
    assert_eq!(node["allocated"]["cpu_milli"], 0, "nothing stays set aside: {node:#}");
}

#[tokio::test]
async fn cancelling_twice_while_it_ends_changes_nothing() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let script = "trap '' TERM; echo up; while :; do sleep 1; done";
    let run = id(&house.api.submit_command(&["sh", "-c", script]).await);
    tests::until("the program to be up", || async {
        house.api.output(&run, "stdout").await.contains("up").then_some(())
    })
    .await;
    let path = format!("/v1/runs/{run}/cancel");
    let first = house.api.post(&path, &json!({})).await;
    let again = house.api.post(&path, &json!({})).await;
    assert!(first.status < 300, "{first}");
    assert!(again.status < 300 || again.status == 409, "{again}");
    assert_eq!(house.api.ended(&run).await["status"], "CANCELED");
}

#[tokio::test]
async fn a_run_that_has_ended_stays_as_it_is() {
    let house = House::memory().await;
    let agent = house.agent("n1").start(&house.api).await;
    let done = id(&house.api.submit_command(&["true"]).await);
    house.api.ended(&done).await;
    drop(agent);
    let canceled = id(&house.api.submit_command(&["true"]).await);
    house.api.post(&format!("/v1/runs/{canceled}/cancel"), &json!({})).await.expect(200);
    let greedy = json!({"template": "host", "command": ["true"], "resources": {"gpu": 1}});
    let refused = house.api.post("/v1/runs", &greedy).await.problem(403, "policy_rejected");
    let refused = refused["run_id"].as_str().expect("a run").to_owned();
    for (run, status) in [(done, "SUCCEEDED"), (canceled, "CANCELED"), (refused, "REJECTED")] {
        let answer = house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
        answer.problem(409, "already_ended");
        assert_eq!(house.api.run(&run).await["status"], status);
    }
}

#[tokio::test]
async fn a_run_that_waits_for_another_attempt_can_be_cancelled() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = json!({"template": "host", "command": ["false"], "retry": {"max_attempts": 9, "backoff": "1h"}});
    let run = id(&house.api.submit(&run).await);
    tests::until("the first attempt to fail", || async {
        Some(house.api.run(&run).await).filter(|run| run["reason"] == "BackingOff")
    })
    .await;
    let answer = house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(200);
    assert_eq!(answer.json()["status"], "CANCELED");
}

#[tokio::test]
async fn a_run_that_is_not_there_can_not_be_cancelled() {
    let house = House::memory().await;
    let before = house.api.get("/v1/runs").await.index();
    let path = "/v1/runs/0190a8a0-0000-7000-8000-000000000000/cancel";
    house.api.post(path, &json!({})).await.problem(404, "not_found");
    let malformed = house.api.post("/v1/runs/seven/cancel", &json!({})).await;
    assert!([400, 404, 422].contains(&malformed.status), "{malformed}");
    assert_eq!(house.api.get("/v1/runs").await.index(), before);
}

/// A runtime that makes sandboxes until a file is there, and then none for ever.
fn hanging_runtime(house: &House) -> (String, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let (script, hangs) = (house.path("runtime"), house.path("hangs"));
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *\" run \"*|*\" create \"*) [ -e {} ] && exec sleep 600;; esac\n\
         exec runc \"$@\"\n",
        hangs.display()
    );
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it runs");
    (script.display().to_string(), hangs)
}

#[tokio::test]
async fn a_run_whose_sandbox_is_never_made_can_be_cancelled() {
    let house = House::memory().await;
    let (runtime, hangs) = hanging_runtime(&house);
    let mut plan = house.agent("n1");
    plan.env("TARTARUS_RUNTIME", &runtime);
    let _agent = plan.start(&house.api).await;
    house.api.ended(&id(&house.api.submit_command(&["true"]).await)).await;
    std::fs::write(&hangs, "").expect("a file");
    let run = id(&house.api.submit_command(&["true"]).await);
    house.api.until_status(&run, "SCHEDULED").await;
    house.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    assert_eq!(house.api.ended(&run).await["status"], "CANCELED");
    std::fs::remove_file(&hangs).expect("removed");
    let next = id(&house.api.submit_command(&["true"]).await);
    assert_eq!(house.api.ended(&next).await["status"], "SUCCEEDED", "the node goes on");
}

//! What judges say of a submission: rules, identity, quotas, and judges elsewhere.

use std::cell::Cell;

use serde_json::{Value, json};
use tests::House;
use tests::http::{host, id};
use tests::judge::{Answers, FakeJudge};

/// A policy for everything, with these fields.
fn policy(fields: &Value) -> Value {
    let mut policy = json!({"match": {"templates": ["*"]}});
    for (name, value) in fields.as_object().into_iter().flatten() {
        policy[name] = value.clone();
    }
    policy
}

async fn enact(house: &House, fields: &Value) -> Value {
    let answer = house.api.put("/v1/policies/p", &policy(fields)).await;
    assert!(answer.status < 300, "{answer}");
    answer.json()
}

fn from(metadata: &Value) -> Value {
    let mut run = host(&["true"]);
    run["metadata"] = metadata.clone();
    run
}

/// The dry run's verdict, and one judge's opinion in it.
async fn foreseen(house: &House, run: &Value, judge: &str) -> (Value, Value) {
    let said = house.api.post("/v1/runs?dry_run=true", run).await.expect(200).json();
    let opinions = said["opinions"].as_array().cloned().unwrap_or_default();
    let opinion = opinions.into_iter().find(|opinion| opinion["judge"] == judge);
    (said, opinion.unwrap_or_default())
}

#[tokio::test]
async fn a_rule_decides_the_next_verdict_after_the_answer_to_its_policy() {
    let house = House::memory().await;
    let ruled = |word: &str, verdict: &str| {
        let when = format!("request.metadata.origin == \"{word}\"");
        json!({"rules": [{"name": "origin", "when": when, "verdict": verdict, "reason": "because"}]})
    };
    for round in 0..20 {
        let word = format!("w{round}");
        enact(&house, &ruled(&word, "reject")).await;
        let problem = house.api.post("/v1/runs", &from(&json!({"origin": word}))).await;
        let problem = problem.problem(403, "policy_rejected");
        assert_eq!(problem["reasons"], json!(["rule origin: because"]));
        house.api.post("/v1/runs", &from(&json!({"origin": "other"}))).await.expect(202);
    }
    enact(&house, &ruled("x", "accept")).await;
    house.api.post("/v1/runs", &from(&json!({"origin": "x"}))).await.expect(202);
    let (_, opinion) = foreseen(&house, &from(&json!({"origin": "x"})), "rhadamanthus").await;
    assert_eq!(opinion["reasons"], json!(["rule origin: because"]), "it is told all the same");
}

#[tokio::test]
async fn a_rule_that_fails_on_a_request_is_a_violation() {
    let house = House::memory().await;
    let when = "10 / size(request.metadata) > 0";
    enact(&house, &json!({"rules": [{"name": "share", "when": when, "verdict": "accept"}]})).await;
    house.api.post("/v1/runs", &from(&json!({"a": "b"}))).await.expect(202);
    let problem = house.api.submit_rejected(&host(&["true"])).await;
    assert_eq!(problem["reasons"], json!(["rule share can't be applied: it divides by zero"]));
}

#[tokio::test]
async fn rules_read_what_the_tenant_has_and_the_time() {
    let house = House::memory().await;
    let rules = json!([
        {"name": "busy", "when": "tenant.pending >= 2", "verdict": "reject", "reason": "enough"},
        {"name": "past", "when": "now < timestamp(\"2020-01-01T00:00:00Z\")", "verdict": "reject"},
    ]);
    enact(&house, &json!({"rules": rules})).await;
    let run = from(&json!({"tenant": "acme"}));
    house.api.submit(&run).await;
    house.api.submit(&run).await;
    let problem = house.api.submit_rejected(&run).await;
    assert_eq!(problem["reasons"], json!(["rule busy: enough"]), "its own writes count");
    house.api.submit(&from(&json!({"tenant": "other"}))).await;
}

#[tokio::test]
async fn what_a_policy_requires_of_a_request_is_missed_by_name() {
    let house = House::memory().await;
    enact(&house, &json!({"require": {"metadata": ["user"], "labels": ["team"]}})).await;
    let problem = house.api.submit_rejected(&host(&["true"])).await;
    assert_eq!(problem["reasons"], json!(["metadata.user is missing", "label team is missing"]));
    let mut run = from(&json!({"user": "alice"}));
    run["labels"] = json!({"team": "ml"});
    house.api.submit(&run).await;
}

#[tokio::test]
async fn over_its_quota_a_tenant_is_told_when_to_come_back_and_nothing_is_written() {
    let house = House::memory().await;
    enact(&house, &json!({"quotas": {"pending": 2}})).await;
    let run = from(&json!({"tenant": "acme"}));
    let first = id(&house.api.submit(&run).await);
    house.api.submit(&run).await;
    let (said, opinion) = foreseen(&house, &run, "minos").await;
    assert_eq!((&said["throttled"], &said["verdict"]), (&json!(true), &json!("accept")));
    assert_eq!(opinion, Value::Null, "nothing of it would be written");
    let before = house.api.get("/v1/runs").await.expect(200).ids().len();
    let problem = house.api.post("/v1/runs", &run).await.problem(429, "quota_exceeded");
    let over = "quota pending: the tenant would have 3, the limit is 2";
    assert_eq!(problem["reasons"], json!([over]));
    assert_eq!(house.api.get("/v1/runs").await.expect(200).ids().len(), before);
    house.api.submit(&from(&json!({"tenant": "other"}))).await;
    house.api.post(&format!("/v1/runs/{first}/cancel"), &json!({})).await.expect(200);
    house.api.submit(&run).await;
}

#[tokio::test]
async fn a_quota_may_reject_which_is_recorded() {
    let house = House::memory().await;
    let quotas = json!({"cpu_milli": 700, "per_minute": 50, "on_exceeded": "reject"});
    enact(&house, &json!({"quotas": quotas})).await;
    house.api.submit_command(&["true"]).await;
    let (said, opinion) = foreseen(&house, &host(&["true"]), "minos").await;
    assert_eq!((&said["verdict"], &opinion["verdict"]), (&json!("reject"), &json!("reject")));
    let problem = house.api.submit_rejected(&host(&["true"])).await;
    let over = "quota cpu_milli: the tenant would have 1000, the limit is 700";
    assert_eq!(problem["reasons"], json!([over]));
    let run = problem["run_id"].as_str().expect("it is recorded").to_owned();
    assert_eq!(house.api.run(&run).await["status"], "REJECTED");
}

#[tokio::test]
async fn a_quota_is_exact_however_many_come_at_once() {
    let house = House::memory().await;
    enact(&house, &json!({"quotas": {"pending": 25}})).await;
    let batch = json!({"runs": vec![host(&["true"]); 10]});
    let (run, api) = (host(&["true"]), &house.api);
    let singles = futures_util::future::join_all((0..30).map(|_| api.post("/v1/runs", &run)));
    let batches =
        futures_util::future::join_all((0..3).map(|_| api.post("/v1/runs:batch", &batch)));
    let (singles, batches) = tokio::join!(singles, batches);
    let mut statuses: Vec<u64> = singles.iter().map(|answer| answer.status.into()).collect();
    for answer in batches {
        let items = answer.expect(200).json();
        let status = |item: &Value| item["status"].as_u64().unwrap_or(0);
        statuses.extend(items["items"].as_array().into_iter().flatten().map(status));
    }
    assert_eq!(statuses.len(), 60);
    assert!(statuses.iter().all(|status| [202, 429].contains(status)), "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 25);
}

#[tokio::test]
async fn a_rate_eases_after_a_minute_and_says_so() {
    let house = House::memory().await;
    enact(&house, &json!({"quotas": {"per_minute": 3}})).await;
    for _ in 0..3 {
        house.api.submit_command(&["true"]).await;
    }
    let answer = house.api.post("/v1/runs", &host(&["true"])).await;
    answer.problem(429, "quota_exceeded");
    let after: u64 = answer.header("retry-after").and_then(|s| s.parse().ok()).unwrap_or(0);
    assert!((50..=61).contains(&after), "{after} s");
}

/// A policy that asks this judge.
fn asks(judge: &FakeJudge, more: &Value) -> Value {
    let mut asked = json!({"name": "scanner", "url": judge.url, "timeout": "1s"});
    for (name, value) in more.as_object().into_iter().flatten() {
        asked[name] = value.clone();
    }
    json!({"judges": [asked]})
}

#[tokio::test]
async fn a_judge_elsewhere_is_asked_with_the_whole_request_and_heard() {
    let house = House::memory().await;
    let judge = FakeJudge::saying("reject", "it mines coins").await;
    enact(&house, &asks(&judge, &json!({}))).await;
    let run = from(&json!({"tenant": "acme", "user": "alice"}));
    let problem = house.api.submit_rejected(&run).await;
    assert_eq!(problem["reasons"], json!(["judge scanner: it mines coins"]));
    let question = judge.questions().remove(0);
    for (pointer, value) in [
        ("/request/command", json!(["true"])),
        ("/request/resources/ttl", json!("30s")),
        ("/request/priority", json!(50)),
        ("/request/metadata/user", json!("alice")),
        ("/policy/name", json!("p")),
        ("/policy/version", json!(1)),
        ("/tenant/name", json!("acme")),
        ("/tenant/pending", json!(0)),
    ] {
        assert_eq!(question.pointer(pointer), Some(&value), "{pointer} of {question:#}");
    }
    for (verdict, status) in [("accept", 202), ("reject", 403), ("quarantine", 403)] {
        let body = json!({"verdict": verdict, "score": 1}).to_string();
        judge.set(Answers::With(200, body));
        let answer = house.api.post("/v1/runs", &run).await;
        assert_eq!(answer.status, status, "{verdict}: {answer}");
    }
    for _ in 0..20 {
        house.api.post("/v1/runs", &run).await;
    }
    let (asked, connections) = (judge.questions().len(), judge.connections());
    assert_eq!(asked, 24);
    assert!(connections <= 8, "{connections} connections for {asked} questions one at a time");
}

#[tokio::test]
async fn no_answer_is_a_violation_unless_the_policy_leaves_the_door_open() {
    let house = House::memory().await;
    let judge = FakeJudge::answering(Answers::Never).await;
    let elsewhere = FakeJudge::saying("accept", "").await;
    let redirect =
        format!("HTTP/1.1 307 X\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url);
    let flood = "x".repeat(17 << 10);
    let flood = format!("{{\"verdict\": \"accept\", \"reason\": \"{flood}\"}}");
    let with = |status, body: &str| Answers::With(status, body.to_owned());
    for (answers, words) in [
        (Answers::Never, "it gave no answer in time"),
        (with(500, "{\"verdict\": \"accept\"}"), "it answered with status 500"),
        (with(200, "accept"), "its answer could not be read"),
        (with(200, "{\"verdict\": \"perhaps\"}"), "its answer could not be read"),
        (with(200, &flood), "its answer could not be read"),
        (Answers::Raw(redirect), "it answered with status 307"),
        (Answers::Raw("hello\r\n\r\n".to_owned()), "it can't be reached"),
    ] {
        judge.set(answers);
        enact(&house, &asks(&judge, &json!({"timeout": "300ms"}))).await;
        let problem = house.api.submit_rejected(&host(&["true"])).await;
        assert_eq!(problem["reasons"], json!([format!("judge scanner: {words}")]));
        enact(&house, &asks(&judge, &json!({"timeout": "300ms", "fail": "open"}))).await;
        let (said, opinion) = foreseen(&house, &host(&["true"]), "scanner").await;
        assert_eq!(said["verdict"], "accept");
        assert_eq!(opinion["reasons"], json!([format!("judge scanner: {words}")]), "it is told");
        house.api.submit_command(&["true"]).await;
    }
    assert!(elsewhere.questions().is_empty(), "a redirect is not followed");
    let url = judge.url.clone();
    drop(judge);
    let gone = json!({"judges": [{"name": "scanner", "url": url}]});
    enact(&house, &gone).await;
    let problem = house.api.submit_rejected(&host(&["true"])).await;
    assert_eq!(problem["reasons"], json!(["judge scanner: it can't be reached"]));
}

#[tokio::test]
async fn judges_are_asked_side_by_side() {
    let house = House::memory().await;
    let judges =
        futures_util::future::join_all((0..4).map(|_| FakeJudge::answering(Answers::Never)));
    let judges = judges.await;
    let asked: Vec<Value> = judges
        .iter()
        .enumerate()
        .map(|(n, judge)| {
            json!({"name": format!("j{n}"), "url": judge.url, "timeout": "2s", "fail": "open"})
        })
        .collect();
    enact(&house, &json!({"judges": asked})).await;
    let batch = json!({"runs": vec![host(&["true"]); 5]});
    let answered = Cell::new(false);
    let (answers, ()) = tokio::join!(
        async {
            let answer = house.api.post("/v1/runs:batch", &batch).await;
            answered.set(true);
            answer.expect(200).json()
        },
        // Nobody waits for one of them before the next one is asked.
        tests::until("all of them to be asked", || async {
            let all = judges.iter().all(|judge| judge.questions().len() == 5);
            assert!(all || !answered.get(), "answered before all of them were asked");
            all.then_some(())
        })
    );
    let all = answers["items"].as_array().cloned().unwrap_or_default();
    assert!(!all.is_empty() && all.iter().all(|item| item["status"] == 202), "{answers:#}");
}

#[tokio::test]
async fn a_thousand_policies_are_enacted_and_the_right_one_applies() {
    let house = House::memory().await;
    let put = async |n: usize| {
        let body = json!({"match": {"templates": [format!("t{n}"), format!("glob-{n}-*")]},
                          "rules": [{"name": "r", "when": "request.priority > 90", "verdict": "reject"}]});
        house.api.put(&format!("/v1/policies/p{n}"), &body).await.expect(201);
    };
    for tens in 0..100 {
        futures_util::future::join_all((0..10).map(|n| put(tens * 10 + n))).await;
    }
    let template = json!({"rootfs": {"host": true}, "command": ["true"]});
    house.api.put("/v1/templates/glob-777-x", &template).await.expect(201);
    let run = house.api.submit(&json!({"template": "glob-777-x"})).await;
    assert_eq!(run["policy"]["name"], "p777");
    for n in 1_000..1_024 {
        put(n).await;
    }
    let body = json!({"match": {"templates": ["one-more"]}});
    let problem = house.api.put("/v1/policies/one-more", &body).await.problem(422, "invalid");
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("1024 policies")), "{problem}");
    house.api.put("/v1/policies/p7", &json!({"match": {"templates": ["t7"]}})).await.expect(200);
}

//! Houses that speak TLS, or stand behind a proxy that ends it.

use std::path::Path;

use serde_json::json;
use tests::cli::{Finished, tartarus};
use tests::front::{Front, Issued};
use tests::house::{AgentPlan, OlympusPlan};
use tests::http::{host, id};
use tests::judge::FakeJudge;
use tests::net::free_port;
use tests::redis_server::RedisServer;
use tests::wait::until;
use tests::{Api, House};

/// Runs `tartarus` beside what a test serves itself.
async fn beside(args: &'static [&str], env: &[(&str, &str)]) -> Finished {
    let env: Vec<_> =
        env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let running = tokio::task::spawn_blocking(move || {
        let env: Vec<_> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
        tartarus(args, &env)
    });
    running.await.expect("it ends")
}

#[tokio::test]
async fn people_and_agents_reach_a_house_behind_tls() {
    let house = House::memory().await;
    let front = Front::before(&house.api.url, "127.0.0.1").await;
    let ca_file = front.issued.ca_file();
    let mut plan = house.agent("n1");
    plan.env("TARTARUS_ADDR", &front.url).env("TARTARUS_CA_FILE", &ca_file);
    let _agent = plan.start(&house.api).await;
    let believing = [("TARTARUS_ADDR", &*front.url), ("TARTARUS_CA_FILE", &ca_file)];
    let ran = beside(&["run", "--", "echo", "hello"], &believing).await;
    assert_eq!(ran.expect(0).stdout, "hello\n");
}

#[tokio::test]
async fn who_is_not_believed_is_told_why_and_what_to_do() {
    let house = House::memory().await;
    let (front, other) = (
        Front::before(&house.api.url, "127.0.0.1").await,
        Front::before(&house.api.url, "olympus.example").await,
    );
    let plain = house.api.url.replace("http://", "https://");
    let (of_front, of_other) = (front.issued.ca_file(), other.issued.ca_file());
    for (url, ca_file, advice) in [
        (&front.url, &of_other, "no authority that this machine believes vouches for"),
        (&other.url, &of_other, "its certificate is of another name"),
        (&plain, &of_front, "it does not speak TLS there: use http://"),
    ] {
        let env = [("TARTARUS_ADDR", &**url), ("TARTARUS_CA_FILE", &**ca_file)];
        let told = beside(&["ps"], &env).await.expect(1).stderr;
        assert!(told.contains(url) && told.contains(advice), "{told}");
    }
    let env = [("TARTARUS_CA_FILE", "/no/such/file")];
    let told = beside(&["ps"], &env).await.expect(2).stderr;
    assert!(told.contains("TARTARUS_CA_FILE=\"/no/such/file\": it can't be read"), "{told}");
}

#[tokio::test]
async fn a_write_is_handed_to_a_leader_behind_tls_that_is_believed() {
    let port = free_port();
    let front = Front::before(&format!("http://127.0.0.1:{port}"), "127.0.0.1").await;
    let listen = format!("127.0.0.1:{port}");
    let env = [("TARTARUS_LISTEN_ADDR", &*listen), ("TARTARUS_ADVERTISE_URL", &front.url)];
    let redis = RedisServer::start();
    let addr = redis.addr();
    let dir = tempfile::tempdir().expect("a directory");
    let instance = |name: &str, env: &[(&str, &str)]| {
        let mut plan = OlympusPlan::new(&dir.path().join(name));
        plan.set("REDIS_ADDR", &addr);
        for (name, value) in env {
            plan.set(name, value);
        }
        plan
    };
    let _leader = instance("leader", &env).spawn();
    let leads = Api::new(&format!("http://{listen}"));
    until("the leader to be ready", || async {
        let asked = leads.try_send(leads.request(reqwest::Method::GET, "/readyz")).await.ok()?;
        (asked.status == 200).then_some(())
    })
    .await;
    let ca_file = front.issued.ca_file();
    let believing = instance("believing", &[("TARTARUS_CA_FILE", &ca_file)]).start().await;
    let written = believing.api().post("/v1/runs", &host(&["true"])).await.expect(202).json();
    assert_eq!(leads.get(&format!("/v1/runs/{}", id(&written))).await.status, 200);
    let doubting = instance("doubting", &[]).start().await;
    let problem = doubting.api().post("/v1/runs", &host(&["true"])).await;
    let problem = problem.problem(503, "no_leader");
    assert_eq!(problem["outcome"], "not_applied");
    until("its log to say why", || async {
        let lines = doubting.process.lines();
        let why = "no authority that this machine believes";
        lines.iter().any(|line| line.contains(why)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_to_be_sent_over_tls_is_sent_nowhere_without() {
    let house = House::redis().await;
    let follower = house.another("follower").start().await;
    let front = Front::before(&follower.api().url, "127.0.0.1").await;
    let mut plan = house.agent("n1");
    plan.env("TARTARUS_ADDR", &front.url).env("TARTARUS_CA_FILE", &front.issued.ca_file());
    let agent = plan.spawn();
    until("the agent to say so", || async {
        let lines = agent.process.lines();
        lines
            .iter()
            .any(|line| line.contains("which is not asked: TARTARUS_ADDR asks for TLS"))
            .then_some(())
    })
    .await;
    assert_eq!(house.api.get("/v1/nodes").await.expect(200).json()["items"], json!([]));
    let mut plan = house.another("bare");
    plan.set("TARTARUS_ADVERTISE_URL", &front.url);
    let problem = plan.start().await.api().post("/v1/runs", &host(&["true"])).await;
    let problem = problem.problem(503, "no_leader");
    assert_eq!(problem["outcome"], "not_applied");
    let detail = problem["detail"].as_str().expect("words");
    assert!(detail.contains("give that one a TARTARUS_ADVERTISE_URL with https://"), "{detail}");
}

/// An instance that speaks TLS itself and believes its like.
fn speaking_tls(dir: &Path, redis: &RedisServer, issued: &Issued) -> OlympusPlan {
    let mut plan = OlympusPlan::new(dir);
    plan.set("REDIS_ADDR", &redis.addr());
    plan.set("TARTARUS_TLS_CERT_FILE", &issued.cert_file());
    plan.set("TARTARUS_TLS_KEY_FILE", &issued.key_file());
    plan.set("TARTARUS_CA_FILE", &issued.ca_file());
    plan
}

async fn until_healthy(plan: &OlympusPlan, ca_file: &str) -> String {
    let url = format!("https://127.0.0.1:{}", plan.port());
    let env = [("TARTARUS_CA_FILE".to_owned(), ca_file.to_owned())];
    until("the instance to be ready", || async {
        let (url, env) = (url.clone(), env.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let env: Vec<_> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
            tartarus(&["healthcheck", &url], &env)
        });
        (asked.await.expect("it ends").code == Some(0)).then_some(())
    })
    .await;
    url
}

#[tokio::test]
async fn instances_that_speak_tls_work_together_and_one_that_dies_is_missed_at_once() {
    let (redis, issued) = (RedisServer::start(), Issued::to("127.0.0.1"));
    let ca_file = issued.ca_file();
    let dir = tempfile::tempdir().expect("a directory");
    let plan = |name: &str| speaking_tls(&dir.path().join(name), &redis, &issued);
    let mut leader = plan("leader").spawn();
    until_healthy(&leader.plan, &ca_file).await;
    let follower = plan("follower").spawn();
    let url = until_healthy(&follower.plan, &ca_file).await;
    let mut agent = AgentPlan::new("n1", &dir.path().join("agent"));
    agent.env("REDIS_ADDR", &redis.addr()).env("TARTARUS_CA_FILE", &ca_file);
    let _agent = agent.spawn();
    let env = [("TARTARUS_ADDR", &*url), ("TARTARUS_CA_FILE", &ca_file)];
    const RUN: [&str; 4] = ["run", "--", "echo", "hello"];
    assert_eq!(beside(&RUN, &env).await.expect(0).stdout, "hello\n", "through the follower");
    leader.process.kill();
    until("the follower to take over", || async {
        let lines = follower.process.lines();
        lines.iter().any(|line| line.contains("the leader is gone: take its key")).then_some(())
    })
    .await;
    assert_eq!(beside(&RUN, &env).await.expect(0).stdout, "hello\n", "through the new leader");
}

#[tokio::test]
async fn who_speaks_plain_http_to_tls_is_told_so_and_the_doctor_looks_at_the_files() {
    let (redis, issued) = (RedisServer::start(), Issued::to("127.0.0.1"));
    let dir = tempfile::tempdir().expect("a directory");
    let olympus = speaking_tls(dir.path(), &redis, &issued).spawn();
    let url = until_healthy(&olympus.plan, &issued.ca_file()).await;
    let plain = url.replace("https://", "http://");
    let told = beside(&["ps"], &[("TARTARUS_ADDR", &plain)]).await.expect(1).stderr;
    assert!(told.contains("or speaks TLS (https://)"), "{told}");
    let (cert, key) = (issued.cert_file(), issued.key_file());
    for (key_file, state) in [(&key, "ok"), (&cert, "FAIL")] {
        let env = [("TARTARUS_TLS_CERT_FILE", &*cert), ("TARTARUS_TLS_KEY_FILE", key_file)];
        let shown = beside(&["doctor"], &env).await.stdout;
        let line = shown.lines().find(|line| line.contains(" certificate "));
        let line = line.unwrap_or_else(|| panic!("{shown}"));
        assert!(line.starts_with(state) && line.contains(&cert), "{line}");
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_restart() {
    let (redis, issued, renewed) =
        (RedisServer::start(), Issued::to("127.0.0.1"), Issued::to("127.0.0.1"));
    let dir = tempfile::tempdir().expect("a directory");
    let olympus = speaking_tls(dir.path(), &redis, &issued).spawn();
    until_healthy(&olympus.plan, &issued.ca_file()).await;
    for (new, old) in
        [(renewed.cert_file(), issued.cert_file()), (renewed.key_file(), issued.key_file())]
    {
        std::fs::copy(new, old).expect("copied");
    }
    until_healthy(&olympus.plan, &renewed.ca_file()).await;
}

#[tokio::test]
async fn a_judge_behind_tls_is_asked() {
    let judge = FakeJudge::saying("reject", "no miners").await;
    let front = Front::before(judge.url.trim_end_matches("/judge"), "127.0.0.1").await;
    let ca_file = front.issued.ca_file();
    let house = House::with(None, &[("TARTARUS_CA_FILE", &ca_file)]).await;
    let judges = json!([{"name": "scanner", "url": format!("{}/judge", front.url)}]);
    let policy = json!({"match": {"templates": ["*"]}, "judges": judges});
    house.api.put("/v1/policies/p", &policy).await.expect(201);
    let problem = house.api.post("/v1/runs", &host(&["true"])).await;
    let problem = problem.problem(403, "policy_rejected");
    assert!(problem["reasons"].to_string().contains("no miners"), "{problem:#}");
}

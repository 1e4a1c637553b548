//! Agents that are cut off, frozen, killed and started twice, and what their runs leave behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::http::{host, id};
use tests::proxy::{Proxy, Weather};
use tests::{Agent, AgentPlan, Api, RedisServer, until, until_sync};

use crate::trio::Trio;
use crate::{row, spread, times};

const ENDED: [&str; 4] = ["SUCCEEDED", "FAILED", "CANCELED", "REJECTED"];

/// One instance, and agents that each reach it over a wire of its own.
struct Yard {
    agents: Vec<Agent>,
    wires: Vec<Proxy>,
    trio: Trio,
    api: Api,
    dir: tempfile::TempDir,
    marks: u64,
}

impl Yard {
    async fn with(agents: usize) -> Self {
        let trio = Trio::planned(RedisServer::durable(), 1, |_, plan| {
            plan.set("TARTARUS_NODE_TTL", "3s");
        })
        .await;
        let (api, port) = (trio.instances[0].api(), trio.instances[0].plan.port());
        let dir = tempfile::tempdir().expect("a directory");
        let marks = 1_000_000 * u64::from(std::process::id());
        let mut yard = Self { agents: Vec::new(), wires: Vec::new(), trio, api, dir, marks };
        for n in 0..agents {
            let wire = Proxy::to(port);
            let plan = yard.plan(n, &n.to_string(), &wire);
            yard.agents.push(plan.start(&yard.api).await);
            yard.wires.push(wire);
        }
        yard
    }

    fn plan(&self, node: usize, dir: &str, wire: &Proxy) -> AgentPlan {
        let mut plan = AgentPlan::new(&format!("n{node}"), &self.dir.path().join(dir));
        plan.env("TARTARUS_ADDR", &format!("http://{}", wire.addr()));
        plan
    }

    /// A run that sleeps so long, and the argument that its process alone has.
    async fn sleeps(&mut self, seconds: u32) -> (String, String) {
        self.marks += 1;
        let mark = format!("{seconds}.{:018}", self.marks);
        let mut body = host(&["sleep", &mark]);
        body["resources"] = json!({"ttl": "5m"});
        let run = id(&self.api.submit(&body).await);
        self.trio.acknowledged.insert(run.clone());
        (run, mark)
    }

    /// Waits until a run is running, not for the first time.
    async fn until_attempt(&self, run: &str, attempt: u64) -> Value {
        until("the attempt to run", || async {
            Some(self.api.run(run).await)
                .filter(|run| run["status"] == "RUNNING" && run["attempt"] == attempt)
        })
        .await
    }

    fn place_of(run: &Value) -> usize {
        let node = run["node"].as_str().expect("a node");
        node.trim_start_matches('n').parse().expect("a number")
    }

    async fn cancel(&self, run: &str) {
        self.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
        assert_eq!(self.api.ended(run).await["status"], "CANCELED");
    }
}

/// How many processes have this argument.
fn sleepers() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut parts = line.split(|b| *b == 0);
        if parts.next() == Some(b"sleep")
            && let Some(mark) = parts.next()
        {
            *found.entry(String::from_utf8_lossy(mark).into_owned()).or_default() += 1;
        }
    }
    found
}

fn asleep(mark: &str) -> usize {
    sleepers().get(mark).copied().unwrap_or(0)
}

/// Looks all the time whether one of a run's attempts goes on beside another.
struct Eyes {
    stop: Arc<AtomicBool>,
    looking: JoinHandle<(usize, usize)>,
}

impl Eyes {
    fn open(marks: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let looking = std::thread::spawn(move || {
            let (mut looks, mut most) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let found = sleepers();
                looks += 1;
                most =
                    marks.iter().filter_map(|mark| found.get(mark)).copied().fold(most, usize::max);
                std::thread::park_timeout(Duration::from_millis(10));
            }
            (looks, most)
        });
        Self { stop, looking }
    }

    /// How often it was looked, and the most processes that one run had at once.
    fn close(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().expect("it looked")
    }
}

#[tokio::test]
async fn f60_what_agents_and_olympus_say_is_lost() {
    let (mut yard, times) = (Yard::with(2).await, 10 * times());
    let weathers = [Weather::Reset, Weather::OneWay, Weather::Silent, Weather::Refusing];
    for _ in 0..times {
        for _ in 0..3 {
            yard.sleeps(0).await;
        }
        let wire = &yard.wires[yard.trio.dice.below(2) as usize];
        wire.set(weathers[yard.trio.dice.below(4) as usize]);
        tokio::time::sleep(Duration::from_millis(yard.trio.dice.below(500))).await;
        wire.set(Weather::Fair);
    }
    let mut again = 0;
    for run in &yard.trio.acknowledged {
        let ended = yard.api.ended(run).await;
        assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
        again += usize::from(ended["attempt"] != 1);
        let events = yard.api.get(&format!("/v1/runs/{run}/events?limit=1000")).await.expect(200);
        let ends = events.text().matches("\"run.finished\"").count();
        assert_eq!(ends, 1, "it ends once: {}", events.text());
    }
    yard.trio.check().await;
    let events = yard.api.get("/v1/events?follow=false&type=node.lost").await.expect(200).text();
    let lost = events.matches("\"node.lost\"").count();
    let seen = format!(
        "{} runs, each ended once and well, {again} of them by another attempt; a node was given up \
         {lost} times",
        yard.trio.acknowledged.len()
    );
    let fault = "the wire of an agent: reset, replies held, silent, refused, for up to 0.5 s";
    row("F60", fault, times, &seen);
}

#[tokio::test]
async fn f62_an_agent_is_frozen_beyond_its_time() {
    let (mut yard, times, mut took) = (Yard::with(2).await, times().div_ceil(3), Vec::new());
    for _ in 0..times {
        let (run, mark) = yard.sleeps(600).await;
        let frozen = Yard::place_of(&yard.until_attempt(&run, 1).await);
        yard.agents[frozen].process.signal(Signal::STOP);
        let moved = yard.until_attempt(&run, 2).await;
        assert_ne!(Yard::place_of(&moved), frozen);
        let began = Instant::now();
        yard.agents[frozen].process.signal(Signal::CONT);
        until_sync("what was given away to end", || (asleep(&mark) == 1).then_some(()));
        took.push(began.elapsed());
        until("the node to be back", || async {
            let node = yard.api.get(&format!("/v1/nodes/n{frozen}")).await.json();
            (node["status"] == "READY" && node["runs"] == 0).then_some(())
        })
        .await;
        let still = yard.api.run(&run).await;
        assert_eq!((&still["attempt"], &still["status"]), (&json!(2), &json!("RUNNING")));
        yard.cancel(&run).await;
    }
    yard.trio.check().await;
    let seen = format!(
        "its run went elsewhere, nothing it said of it counted; its own process ended after {}",
        spread(took)
    );
    row("F62", "SIGSTOP of an agent until its run was given away", times, &seen);
}

#[tokio::test]
async fn f63_an_agent_is_killed_with_work() {
    let (mut yard, times, mut took) = (Yard::with(1).await, times(), Vec::new());
    for _ in 0..times {
        let (run, mark) = yard.sleeps(600).await;
        yard.until_attempt(&run, 1).await;
        let began = Instant::now();
        yard.agents[0].process.kill();
        until_sync("its program to end", || (asleep(&mark) == 0).then_some(()));
        took.push(began.elapsed());
        let api = yard.api.clone();
        yard.agents[0].restart(&api).await;
        yard.until_attempt(&run, 2).await;
        assert_eq!(asleep(&mark), 1);
        yard.cancel(&run).await;
    }
    yard.trio.check().await;
    let seen = format!("its program has ended after {}; the run goes on, once", spread(took));
    row("F63", "kill -9 of an agent that runs something", times, &seen);
}

#[tokio::test]
async fn f64_an_agent_is_cut_off() {
    let (mut yard, times) = (Yard::with(2).await, times().div_ceil(3));
    let (mut runs, mut looks) = (0, 0);
    for _ in 0..times {
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(yard.sleeps(600).await);
        }
        let eyes = Eyes::open(all.iter().map(|(_, mark)| mark.clone()).collect());
        let mut first = Vec::new();
        for (run, _) in &all {
            first.push(Yard::place_of(&yard.until_attempt(run, 1).await));
        }
        let cut = first[0];
        yard.wires[cut].set(Weather::Silent);
        for ((run, _), place) in all.iter().zip(&first) {
            if *place == cut {
                let moved = yard.until_attempt(run, 2).await;
                assert_ne!(Yard::place_of(&moved), cut);
                runs += 1;
            }
        }
        yard.wires[cut].set(Weather::Fair);
        until("the node to be back", || async {
            let node = yard.api.get(&format!("/v1/nodes/n{cut}")).await.json();
            (node["status"] == "READY" && node["runs"] == 0).then_some(())
        })
        .await;
        for (run, _) in &all {
            yard.cancel(run).await;
        }
        let (looked, most) = eyes.close();
        assert_eq!(most, 1, "two attempts of a run at once (seed {})", yard.trio.seed);
        looks += looked;
    }
    yard.trio.check().await;
    let seen = format!(
        "{runs} runs went elsewhere; of none did two attempts run at once, in {looks} looks at all \
         processes"
    );
    row("F64", "an agent is cut off until its runs were given away", times, &seen);
}

#[tokio::test]
async fn f65_a_node_is_started_twice() {
    let (mut yard, times) = (Yard::with(1).await, times());
    for n in 0..times {
        let (run, mark) = yard.sleeps(600).await;
        yard.until_attempt(&run, 1).await;
        let mut twin = yard.plan(0, &format!("twin-{n}"), &yard.wires[0]).spawn();
        twin.process.until_says("another agent");
        assert_eq!(asleep(&mark), 1);
        let still = yard.api.run(&run).await;
        assert_eq!((&still["attempt"], &still["status"]), (&json!(1), &json!("RUNNING")));
        twin.process.kill();
        yard.cancel(&run).await;
    }
    yard.trio.check().await;
    row(
        "F65",
        "a second agent with the same id",
        times,
        "it is refused; the first one's run goes on",
    );
}

#[tokio::test]
async fn f66_a_run_takes_its_agent_down() {
    let (mut yard, times) = (Yard::with(2).await, times().div_ceil(3));
    for _ in 0..times {
        let (poison, _) = yard.sleeps(600).await;
        for attempt in 1..=4 {
            let place = Yard::place_of(&yard.until_attempt(&poison, attempt).await);
            let api = yard.api.clone();
            yard.agents[place].restart(&api).await;
        }
        let ended = yard.api.ended(&poison).await;
        assert_eq!(
            (&ended["status"], &ended["reason"]),
            (&json!("FAILED"), &json!("OutOfAttempts"))
        );
        let (other, _) = yard.sleeps(0).await;
        assert_eq!(yard.api.ended(&other).await["status"], "SUCCEEDED");
    }
    for run in &yard.trio.acknowledged {
        let status = yard.api.run(run).await["status"].clone();
        assert!(ENDED.iter().any(|ended| status == *ended), "{status}");
    }
    yard.trio.check().await;
    row("F66", "a run whose agent dies each time", times, "a dead letter after four; others run");
}

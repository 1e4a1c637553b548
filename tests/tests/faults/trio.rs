//! Three instances on one Redis, and what was promised by any of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use tests::dice::Dice;
use tests::http::{host, id};
use tests::proxy::Proxy;
use tests::wait::SOON;
use tests::{Api, Finished, Olympus, OlympusPlan, RedisServer, until};

/// A probe comes again after this long.
const PROBE: Duration = Duration::from_millis(10);

pub struct Trio {
    // Dropped in this order: without Redis an instance takes its time to stop.
    pub instances: Vec<Olympus>,
    pub redis: RedisServer,
    pub dice: Dice,
    pub seed: u64,
    pub acknowledged: BTreeSet<String>,
    dir: tempfile::TempDir,
}

impl Trio {
    pub async fn start() -> Self {
        let redis = RedisServer::durable();
        let addr = redis.addr();
        Self::with(redis, &[&addr, &addr, &addr], &[]).await
    }

    /// Instances that reach Redis by these addresses.
    pub async fn with(redis: RedisServer, addresses: &[&str], env: &[(&str, &str)]) -> Self {
        Self::planned(redis, addresses.len(), |n, plan| {
            plan.set("REDIS_ADDR", addresses[n]);
            for (name, value) in env {
                plan.set(name, value);
            }
        })
        .await
    }

    /// Instances that each reach Redis over a wire of its own. The wires come first, since what is
    /// bound last is dropped first.
    pub async fn wired() -> (Vec<Proxy>, Self) {
        let redis = RedisServer::durable();
        let wires: Vec<Proxy> = (0..3).map(|_| Proxy::to(redis.port())).collect();
        let addresses: Vec<String> = wires.iter().map(Proxy::addr).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let trio = Self::with(redis, &addresses, &[]).await;
        (wires, trio)
    }

    /// So many instances, each planned so.
    pub async fn planned(
        redis: RedisServer,
        count: usize,
        mut planned: impl FnMut(usize, &mut OlympusPlan),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut instances = Vec::new();
        for n in 0..count {
            let mut plan = OlympusPlan::new(&dir.path().join(n.to_string()));
            plan.set("REDIS_ADDR", &redis.addr());
            planned(n, &mut plan);
            instances.push(plan.start().await);
        }
        let (seed, dice) = Dice::from_env();
        Self { redis, instances, dice, seed, acknowledged: BTreeSet::new(), dir }
    }

    /// Where an instance keeps its files.
    pub fn dir(&self, place: usize) -> PathBuf {
        self.dir.path().join(place.to_string())
    }

    /// Sends a signal to an instance.
    pub fn signal(&mut self, place: usize, signal: Signal) {
        self.instances[place].process.signal(signal);
    }

    /// How often all instances together have said so.
    pub fn said(&self, message: &str) -> usize {
        self.instances.iter().map(|instance| instance.process.said(message).len()).sum()
    }

    /// The number of the reign, once one leads and the others follow.
    pub async fn epoch(&self) -> u64 {
        let leader = self.leader().await;
        let api = self.instances[leader].api();
        let ready = until("the leader to be ready", || ready(&api)).await;
        ready["epoch"].as_u64().expect("a number")
    }

    /// Waits until whoever leads still does after twice the time that its key lives: those who fight a
    /// duel never let one.
    pub async fn until_calm(&mut self) {
        let began = Instant::now();
        loop {
            let epoch = self.epoch().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            self.write(&[0, 1, 2]).await;
            if self.epoch().await == epoch {
                return;
            }
            assert!(began.elapsed() < SOON, "a duel (seed {})", self.seed);
        }
    }

    pub fn apis(&self) -> Vec<Api> {
        self.instances.iter().map(Olympus::api).collect()
    }

    /// The place of the one that leads, once all others say so too.
    pub async fn leader(&self) -> usize {
        let apis = self.apis();
        until("one to lead and the others to follow", || async {
            let mut leaders = Vec::new();
            for (place, api) in apis.iter().enumerate() {
                let ready = ready(api).await?;
                if ready["role"] == "leader" {
                    leaders.push(place);
                }
            }
            (leaders.len() == 1).then(|| leaders[0])
        })
        .await
    }

    /// Waits until each instance has read all that this one has.
    pub async fn until_read(&self, place: usize) {
        let apis = self.apis();
        let index = apis[place].get("/v1/queue").await.index();
        for api in &apis {
            api.get(&format!("/v1/queue?min_index={index}&wait=60s")).await.expect(200);
        }
    }

    /// Writes through any of these instances until one takes it; how long that took.
    pub async fn write(&mut self, through: &[usize]) -> Duration {
        let (began, key, apis) = (Instant::now(), self.dice.name(), self.apis());
        loop {
            let api = &apis[through[self.dice.below(through.len() as u64) as usize]];
            let request = api.request(Method::POST, "/v1/runs").json(&host(&["true"]));
            let request = request.header("Idempotency-Key", &key).timeout(Duration::from_secs(6));
            if let Ok(answer) = api.try_send(request).await
                && [200, 202].contains(&answer.status)
            {
                assert!(self.acknowledged.insert(id(&answer.json())), "another's run");
                return began.elapsed();
            }
            assert!(began.elapsed() < SOON, "nobody takes a write (seed {})", self.seed);
            tokio::time::sleep(PROBE).await;
        }
    }

    /// Whether all that was acknowledged is there, once, on every instance, and the record is clean.
    pub async fn check(&self) {
        for there in self.kept().await {
            // A write that was under way when it was given up is the only other there can be.
            assert_eq!(there.len(), self.acknowledged.len(), "more than was asked for");
        }
        self.verify().expect(0);
    }

    /// The runs that each instance has where the leader is now: all that was acknowledged, and each
    /// once.
    pub async fn kept(&self) -> Vec<BTreeSet<String>> {
        let leader = self.leader().await;
        let apis = self.apis();
        let ready = until("the leader to be ready", || ready(&apis[leader])).await;
        let index = &ready["applied_index"];
        let mut kept = Vec::new();
        for api in &apis {
            let runs = api.all(&format!("/v1/runs?limit=1000&min_index={index}&wait=60s")).await;
            let there: BTreeSet<String> = runs.iter().map(id).collect();
            assert_eq!(there.len(), runs.len(), "twice (seed {})", self.seed);
            let lost: Vec<_> = self.acknowledged.difference(&there).collect();
            assert!(lost.is_empty(), "lost (seed {}): {lost:?}", self.seed);
            kept.push(there);
        }
        kept
    }

    pub fn verify(&self) -> Finished {
        tests::tartarus(&["replay", "verify", "--redis", &self.redis.addr()], &[])
    }
}

/// What `/readyz` says, if it is ready.
pub async fn ready(api: &Api) -> Option<Value> {
    let answer = api.try_send(api.request(Method::GET, "/readyz")).await.ok()?;
    (answer.status == 200).then(|| answer.json())
}

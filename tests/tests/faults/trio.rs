//! Three instances on one Redis, and what was promised by any of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tests::dice::Dice;
use tests::http::{host, id};
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
    _dir: tempfile::TempDir,
}

impl Trio {
    pub async fn start() -> Self {
        let redis = RedisServer::durable();
        let addr = redis.addr();
        Self::with(redis, &[&addr, &addr, &addr], &[]).await
    }

    /// Instances that reach Redis by these addresses.
    pub async fn with(redis: RedisServer, addresses: &[&str], env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut instances = Vec::new();
        for (n, address) in addresses.iter().enumerate() {
            let mut plan = OlympusPlan::new(&dir.path().join(n.to_string()));
            plan.set("REDIS_ADDR", address);
            for (name, value) in env {
                plan.set(name, value);
            }
            instances.push(plan.start().await);
        }
        let (seed, dice) = Dice::from_env();
        Self { redis, instances, dice, seed, acknowledged: BTreeSet::new(), _dir: dir }
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
            assert!(
                began.elapsed() < tests::wait::SOON,
                "nobody takes a write (seed {})",
                self.seed
            );
            tokio::time::sleep(PROBE).await;
        }
    }

    /// Whether all that was acknowledged is there, once, on every instance, and the record is clean.
    pub async fn check(&self) {
        let leader = self.leader().await;
        let apis = self.apis();
        let index = ready(&apis[leader]).await.expect("ready")["applied_index"].clone();
        for api in &apis {
            let runs = api.all(&format!("/v1/runs?limit=1000&min_index={index}")).await;
            let there: BTreeSet<String> = runs.iter().map(id).collect();
            assert_eq!(there.len(), runs.len(), "twice (seed {})", self.seed);
            let lost: Vec<_> = self.acknowledged.difference(&there).collect();
            assert!(lost.is_empty(), "lost (seed {}): {lost:?}", self.seed);
            // A write that was under way when it was given up is the only other there can be.
            assert_eq!(there.len(), self.acknowledged.len(), "more than was asked for");
        }
        self.verify().expect(0);
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

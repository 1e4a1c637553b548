//! Olympus and its agents, as processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Api;
use crate::net::free_port;
use crate::process::Process;
use crate::redis_server::RedisServer;
use crate::{program, until};

/// One Olympus, its Redis if it has one, and room for agents.
#[derive(Debug)]
pub struct House {
    /// The control plane.
    pub olympus: Olympus,
    /// Its Redis.
    pub redis: Option<RedisServer>,
    /// Its HTTP interface.
    pub api: Api,
    dir: TempDir,
}

impl House {
    /// One that keeps nothing: the quickest there is.
    pub async fn memory() -> Self {
        Self::with(None, &[]).await
    }

    /// One with a Redis of its own.
    pub async fn redis() -> Self {
        Self::with(Some(RedisServer::start()), &[]).await
    }

    /// One with this Redis, or none, and more environment.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn with(redis: Option<RedisServer>, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut plan = OlympusPlan::new(&dir.path().join("olympus"));
        plan.set("REDIS_ADDR", &redis.as_ref().map_or(String::new(), RedisServer::addr));
        for (name, value) in env {
            plan.set(name, value);
        }
        let olympus = plan.start().await;
        let api = match env.iter().find(|(name, _)| *name == "TARTARUS_BOOTSTRAP_TOKEN") {
            Some((_, token)) => olympus.api().with_token(token),
            None => olympus.api(),
        };
        Self { olympus, redis, api, dir }
    }

    /// An agent to be.
    pub fn agent(&self, node: &str) -> AgentPlan {
        let mut plan = AgentPlan::new(node, &self.dir.path().join(format!("agent-{node}")));
        plan.env("TARTARUS_ADDR", &self.api.url);
        plan
    }

    /// Another instance on this house's Redis, to be.
    ///
    /// # Panics
    /// It has no Redis.
    pub fn another(&self, name: &str) -> OlympusPlan {
        let mut plan = OlympusPlan::new(&self.path(name));
        plan.set("REDIS_ADDR", &self.redis.as_ref().expect("a Redis").addr());
        plan
    }

    /// The Redis of a house that has one.
    ///
    /// # Panics
    /// It has none.
    pub fn redis_mut(&mut self) -> &mut RedisServer {
        self.redis.as_mut().expect("this house has a Redis")
    }

    /// A directory of this house.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// How an Olympus is started.
#[derive(Clone, Debug)]
pub struct OlympusPlan {
    env: BTreeMap<String, String>,
    port: u16,
}

impl OlympusPlan {
    /// One that keeps its files here. `REDIS_ADDR` is not set.
    pub fn new(dir: &Path) -> Self {
        let port = free_port();
        let mut plan = Self { env: BTreeMap::new(), port };
        plan.set("TARTARUS_LISTEN_ADDR", &format!("127.0.0.1:{port}"));
        plan.set("TARTARUS_DATA_DIR", &dir.display().to_string());
        plan.set("TARTARUS_LOG_FORMAT", "json");
        plan
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Leaves a variable out.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.env.remove(name);
        self
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The command line and environment.
    pub fn command(&self) -> Command {
        let mut command = program::command();
        command.arg("olympus").envs(&self.env);
        command
    }

    /// The process, not waited for.
    pub fn spawn(&self) -> Olympus {
        let process = Process::spawn("olympus", &mut self.command());
        Olympus { plan: self.clone(), process }
    }

    /// The process, once it is ready.
    ///
    /// # Panics
    /// It ends, or does not become ready.
    pub async fn start(&self) -> Olympus {
        let mut olympus = self.spawn();
        olympus.until_ready().await;
        olympus
    }
}

/// A running control plane.
#[derive(Debug)]
pub struct Olympus {
    /// How it was started.
    pub plan: OlympusPlan,
    /// Its process.
    pub process: Process,
}

impl Olympus {
    /// Its HTTP interface.
    pub fn api(&self) -> Api {
        Api::new(&format!("http://127.0.0.1:{}", self.plan.port))
    }

    /// Waits until `/readyz` says so; what it says.
    ///
    /// # Panics
    /// The process ends first.
    pub async fn until_ready(&mut self) -> Value {
        let api = self.api();
        let process = std::cell::RefCell::new(&mut self.process);
        until("olympus to be ready", || async {
            {
                let mut process = process.borrow_mut();
                let ended = process.ended();
                assert!(
                    ended.is_none(),
                    "olympus ended: {ended:?}\n{}",
                    process.lines().join("\n")
                );
            }
            let answer = api.try_send(api.request(reqwest::Method::GET, "/readyz")).await.ok()?;
            (answer.status == 200).then(|| answer.json())
        })
        .await
    }

    /// `kill -9`, then a new process with the same plan, not waited for.
    pub fn respawn(&mut self) {
        self.process.kill();
        self.process = Process::spawn("olympus", &mut self.plan.command());
    }

    /// `kill -9`, then a new process with the same plan, once it is ready.
    pub async fn restart(&mut self) {
        self.respawn();
        self.until_ready().await;
    }
}

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    env: BTreeMap<String, String>,
    node: String,
}

impl AgentPlan {
    /// The agent of a node that has 4 cores and 2 GiB, whatever the machine has.
    pub fn new(node: &str, dir: &Path) -> Self {
        let mut plan = Self { env: BTreeMap::new(), node: node.to_owned() };
        for (name, value) in [
            ("TARTARUS_NODE_ID", node),
            ("TARTARUS_NODE_CPU_MILLI", "4000"),
            ("TARTARUS_NODE_MEM_MB", "2048"),
            ("TARTARUS_LOG_FORMAT", "json"),
        ] {
            plan.env(name, value);
        }
        plan.env("TARTARUS_DATA_DIR", &dir.display().to_string());
        plan
    }

    /// Sets a variable.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Leaves a variable out.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.env.remove(name);
        self
    }

    /// Sets its labels.
    pub fn labels(&mut self, labels: &str) -> &mut Self {
        self.env("HADES_LABEL", labels)
    }

    /// Sets its capacity.
    pub fn capacity(&mut self, cpu_milli: u32, mem_mb: u32) -> &mut Self {
        self.env("TARTARUS_NODE_CPU_MILLI", &cpu_milli.to_string());
        self.env("TARTARUS_NODE_MEM_MB", &mem_mb.to_string())
    }

    /// The process, not waited for.
    pub fn spawn(&self) -> Agent {
        let mut command = program::command();
        command.arg("agent").envs(&self.env);
        let process = Process::spawn(&format!("agent {}", self.node), &mut command);
        Agent { plan: self.clone(), process }
    }

    /// The process, once its node is ready.
    ///
    /// # Panics
    /// It ends, or its node does not become ready.
    pub async fn start(&self, api: &Api) -> Agent {
        let before = node(api, &self.node).await;
        let mut agent = self.spawn();
        let process = std::cell::RefCell::new(&mut agent.process);
        until(&format!("node {} to be ready", self.node), || async {
            {
                let mut process = process.borrow_mut();
                let ended = process.ended();
                assert!(ended.is_none(), "agent ended: {ended:?}\n{}", process.lines().join("\n"));
            }
            let now = node(api, &self.node).await?;
            let joined = before.as_ref().is_none_or(|old| old["joined_at"] != now["joined_at"]);
            (joined && now["status"] == "READY").then_some(())
        })
        .await;
        agent
    }
}

/// A node, if it is known.
async fn node(api: &Api, id: &str) -> Option<Value> {
    let path = format!("/v1/nodes/{id}");
    let answer = api.try_send(api.request(reqwest::Method::GET, &path)).await.ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    /// How it was started.
    pub plan: AgentPlan,
    /// Its process.
    pub process: Process,
}

impl Agent {
    /// `kill -9`, then a new process with the same plan, once its node is ready.
    pub async fn restart(&mut self, api: &Api) {
        self.process.kill();
        let plan = self.plan.clone();
        *self = plan.start(api).await;
    }
}

//! Clients: what people and programs do to the house, and what they hear.
//!
//! Owns:   the history of every operation: when it was asked, when answered, and what.
//! Never:  tries anything again under another key.

use std::rc::Rc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use journal::Receipt;
use olympus::http::{Asked, Silent};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::chance::Chance;
use crate::instance::Answer;
use crate::trace;
use crate::trace::now_ms;
use crate::world::World;

/// A client waits so long for an answer.
const PATIENCE: Duration = Duration::from_secs(9);
/// How often one that does not know is tried again.
const TRIES: u32 = 8;
/// What the policies that clients put are for: each run starts from `host`, and the first by name is
/// the most specific.
const POLICIES: [&str; 3] = ["host", "ho*", "*"];
/// L2: when somebody leads, a write that is tried again until then is answered.
pub const LAST_WITHIN_MS: u64 = 9_000;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// So many runs.
    Submit(u32),
    /// A run to end.
    Cancel(Uuid),
    /// A policy to be in force, or not.
    Policy(String, bool),
    /// The queue to stand still, or to go on.
    Queue(bool),
    /// A node to be drained, or not any more.
    Drain(String, bool),
    /// One thing.
    Read(What, Freshness),
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A run.
    Run(Uuid),
    /// A policy.
    Policy(String),
}

/// How fresh an answer is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// `min_index`.
    pub least: Option<u64>,
    /// Whether that was a number alone.
    pub by_number: bool,
    /// `consistent`.
    pub consistent: bool,
}

/// What came of a try, or of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done(Done),
    /// The law said no.
    Refused(u16),
    /// Surely not applied.
    NotApplied,
    /// Nobody knows.
    Unknown,
}

/// What an answer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Status.
    pub status: u16,
    /// The entry it reflects.
    pub index: u64,
    /// The receipt of a write.
    pub receipt: Option<Receipt>,
    /// The runs it names, with their status.
    pub runs: Vec<(Uuid, String)>,
    /// The version of the policy it shows; none where there is no such policy.
    pub version: Option<u64>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its name: in every run that it makes.
    pub name: String,
    /// What.
    pub kind: Kind,
    /// Whether it had an idempotency key.
    pub keyed: bool,
    /// When it was asked first.
    pub asked_ms: u64,
    /// When the last answer came.
    pub answered_ms: u64,
    /// What each try came to.
    pub tries: Vec<Outcome>,
}

impl Operation {
    /// What all tries came to.
    pub fn outcome(&self) -> &Outcome {
        let done = self.tries.iter().find(|outcome| matches!(outcome, Outcome::Done(_)));
        let unknown = self.tries.iter().find(|outcome| **outcome == Outcome::Unknown);
        done.or(unknown).or(self.tries.last()).unwrap_or(&Outcome::Unknown)
    }
}

/// One that asks.
pub struct Client {
    world: Rc<World>,
    name: String,
    chance: Chance,
    asked: u64,
    runs: Vec<Uuid>,
    /// The newest entry that an answer named.
    newest: u64,
    /// Of its latest write.
    receipt: Option<Receipt>,
    /// It has nothing else to do.
    patient: bool,
    /// The instance it asks, where it does not choose.
    only: Option<String>,
}

impl Client {
    /// The client of a number.
    pub fn new(world: &Rc<World>, number: usize) -> Self {
        let name = format!("c{number}");
        let chance = Chance::of(world.plan.seed, &name);
        Self {
            world: world.clone(),
            name,
            chance,
            asked: 0,
            runs: Vec::new(),
            newest: 0,
            receipt: None,
            patient: false,
            only: None,
        }
    }

    /// One that tries until it is too late.
    pub fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// Asks until the first phase is over.
    pub async fn live(mut self) {
        while self.world.faulty() {
            let think = self.chance.between(5, 400);
            sleep(Duration::from_millis(think)).await;
            self.act().await;
        }
    }

    /// Reads until the first phase is over.
    pub async fn look(mut self) {
        while self.world.faulty() {
            let think = self.chance.between(5, 60);
            sleep(Duration::from_millis(think)).await;
            let name = self.some_policy();
            let path = format!("/v1/policies/{name}");
            self.read(What::Policy(name), path).await;
        }
    }

    async fn act(&mut self) {
        let some = self.chance.pick(&self.runs).copied();
        match (self.chance.below(100), some) {
            (0..50, _) => drop(self.submit(1).await),
            (50..60, _) => {
                let many = u32::try_from(self.chance.between(2, 5)).unwrap_or(2);
                drop(self.submit(many).await);
            }
            (60..70, Some(run)) => {
                let (kind, path) = (Kind::Cancel(run), format!("/v1/runs/{run}/cancel"));
                self.perform(kind, Method::POST, &path, None, false).await;
            }
            (70..74, _) => self.policy().await,
            (74..78, _) => {
                for (stands, what) in [(true, "pause"), (false, "resume")] {
                    let path = format!("/v1/queue/{what}");
                    self.perform(Kind::Queue(stands), Method::POST, &path, None, false).await;
                }
            }
            (78..81, _) => self.drain().await,
            (81..85, _) => {
                let name = self.some_policy();
                let path = format!("/v1/policies/{name}");
                self.read(What::Policy(name), path).await;
            }
            (_, Some(run)) => self.read(What::Run(run), format!("/v1/runs/{run}")).await,
            (_, None) => {}
        }
    }

    async fn read(&mut self, what: What, path: String) {
        let (mut fresh, mut query) = (Freshness::default(), String::new());
        match self.chance.below(4) {
            0 => {
                fresh.least = Some(self.newest);
                let receipt = self.receipt.filter(|receipt| receipt.0.seq == self.newest);
                fresh.by_number = receipt.is_none();
                query = match receipt {
                    Some(receipt) => format!("?min_index={receipt}"),
                    None => format!("?min_index={}", self.newest),
                };
            }
            1 => {
                fresh.consistent = true;
                query = "?consistent=true".into();
            }
            2 if matches!(what, What::Run(_)) => query = "?wait=700ms".into(),
            _ => {}
        }
        let (kind, path) = (Kind::Read(what, fresh), format!("{path}{query}"));
        self.perform(kind, Method::GET, &path, None, false).await;
    }

    /// Takes a node out for a while, and moves what is still on it after a moment.
    async fn drain(&mut self) {
        let nodes: Vec<&str> = self.world.nodes.borrow().iter().map(|node| node.name).collect();
        let Some(node) = self.chance.pick(&nodes).copied() else { return };
        let deadline = format!("{}ms", self.chance.between(0, 1_500));
        self.set_drained(node, Some(json!({"deadline": deadline}))).await;
        sleep(Duration::from_millis(self.chance.between(0, 3_000))).await;
        self.set_drained(node, None).await;
    }

    /// Takes a node out as a body says, or lets it take runs again.
    async fn set_drained(&mut self, node: &str, body: Option<Value>) {
        let verb = if body.is_some() { "drain" } else { "undrain" };
        let kind = Kind::Drain(node.to_owned(), body.is_some());
        self.perform(kind, Method::POST, &format!("/v1/nodes/{node}/{verb}"), body, false).await;
    }

    /// Lets every node take runs.
    pub async fn undrain(&mut self) {
        let nodes: Vec<&str> = self.world.nodes.borrow().iter().map(|node| node.name).collect();
        for node in nodes {
            self.set_drained(node, None).await;
        }
    }

    fn some_policy(&self) -> String {
        format!("p{}", self.chance.below(POLICIES.len() as u64))
    }

    async fn policy(&mut self) {
        let name = self.some_policy();
        let path = format!("/v1/policies/{name}");
        if self.chance.per_mille(250) {
            self.perform(Kind::Policy(name, false), Method::DELETE, &path, None, false).await;
            return;
        }
        let which = name.trim_start_matches('p').parse().unwrap_or(0_usize);
        // Never one that a run does not pass: what is refused ends nothing.
        let body = json!({
            "name": name, "match": {"templates": [POLICIES[which]]},
            "limits": {"cpu_milli": 1000 + self.chance.below(1000), "mem_mb": 512, "ttl": "10m"},
        });
        self.perform(Kind::Policy(name, true), Method::PUT, &path, Some(body), false).await;
    }

    /// Lets the queue go on.
    pub async fn resume(&mut self) {
        let path = "/v1/queue/resume";
        self.perform(Kind::Queue(false), Method::POST, path, None, false).await;
    }

    /// Asks an instance for one of each, once, when nothing is in the way; what came to no answer.
    pub async fn ask_once(&mut self, url: &str) -> Vec<String> {
        self.only = Some(url.to_owned());
        let before = self.world.operations.borrow().len();
        if let Outcome::Done(done) = self.submit_as(1, false).await
            && let [(run, _)] = done.runs[..]
        {
            let (path, what) = (format!("/v1/runs/{run}"), What::Run(run));
            let consistent = Freshness { consistent: true, ..Freshness::default() };
            let kind = Kind::Read(what.clone(), consistent);
            self.perform(kind, Method::GET, &format!("{path}?consistent=true"), None, false).await;
            let least = Freshness { least: Some(done.index), ..Freshness::default() };
            let query = done.receipt.map(|receipt| format!("?min_index={receipt}"));
            let own = format!("{path}{}", query.unwrap_or_default());
            self.perform(Kind::Read(what, least), Method::GET, &own, None, false).await;
            let cancel = format!("{path}/cancel");
            self.perform(Kind::Cancel(run), Method::POST, &cancel, None, false).await;
        }
        let operations = self.world.operations.borrow();
        let answered = |o: &&Operation| match (&o.kind, &o.tries[..]) {
            (_, [Outcome::Done(_)]) => true,
            // It had ended.
            (Kind::Cancel(_), [Outcome::Refused(409)]) => true,
            _ => false,
        };
        let left = operations[before..].iter().filter(|operation| !answered(operation));
        left.map(|o| format!("{} {:?} of {url} came to {:?}", o.name, o.kind, o.tries)).collect()
    }

    /// Submits some runs, most times under a key.
    pub async fn submit(&mut self, many: u32) -> Outcome {
        let keyed = self.chance.per_mille(800);
        self.submit_as(many, keyed).await
    }

    /// Submits some runs: under a key it is tried again until it is known what came of it.
    pub async fn submit_as(&mut self, many: u32, keyed: bool) -> Outcome {
        let name = format!("{}-{}", self.name, self.asked);
        let one = |client: &Self, position: u32| {
            let last_ms = client.chance.between(20, 1_500);
            let code = if client.chance.per_mille(150) { 1 } else { 0 };
            json!({
                "template": "host",
                "command": ["sim", last_ms.to_string(), code.to_string()],
                "resources": {"cpu_milli": 200, "mem_mb": 32},
                "metadata": {"op": name, "position": position.to_string()},
                "env": {"SECRET": client.chance.below(10).to_string()},
                "priority": client.chance.below(101),
                "retry": {"max_attempts": client.chance.between(1, 3), "backoff": "200ms"},
                "on_lost": if client.chance.per_mille(800) { "retry" } else { "fail" },
            })
        };
        let (path, body) = match many {
            1 if self.chance.per_mille(100) => ("/v1/runs?wait=700ms", one(self, 0)),
            1 => ("/v1/runs", one(self, 0)),
            _ => {
                let runs: Vec<Value> = (0..many).map(|position| one(self, position)).collect();
                ("/v1/runs:batch", json!({ "runs": runs }))
            }
        };
        let outcome = self.perform(Kind::Submit(many), Method::POST, path, Some(body), keyed).await;
        if let Outcome::Done(done) = &outcome {
            self.runs.extend(done.runs.iter().map(|(run, _)| run));
        }
        outcome
    }

    async fn perform(
        &mut self,
        kind: Kind,
        method: Method,
        path: &str,
        body: Option<Value>,
        keyed: bool,
    ) -> Outcome {
        let name = format!("{}-{}", self.name, self.asked);
        self.asked += 1;
        let asked_ms = now_ms();
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut tries = Vec::new();
        loop {
            let answer = self.once(&name, tries.len(), &method, path, body.clone(), keyed).await;
            let outcome = match answer {
                Ok(answer) => outcome(&self.world, &name, &kind, &answer),
                Err(silent) => silent,
            };
            trace!("{name} {method} {path}: {outcome:?}");
            let again = match &outcome {
                // One who does not trust the answer, and asks for the same again.
                Outcome::Done(_) => {
                    let repeated = tries.iter().any(|tried| matches!(tried, Outcome::Done(_)));
                    keyed && !repeated && self.chance.per_mille(50)
                }
                Outcome::Refused(_) => false,
                // What surely was not done may be done again; what is unknown under its key alone.
                Outcome::NotApplied => true,
                // What says how it is to stand may be said twice.
                Outcome::Unknown => keyed || matches!(kind, Kind::Queue(_) | Kind::Drain(..)),
            };
            tries.push(outcome);
            let patient = self.patient && now_ms() - asked_ms < LAST_WITHIN_MS;
            let enough = tries.len() >= TRIES as usize && !patient;
            if !again || enough || matches!(kind, Kind::Read(..)) {
                break;
            }
            sleep(Duration::from_millis(self.chance.between(50, 900))).await;
        }
        let answered_ms = now_ms();
        let operation = Operation { name, kind, keyed, asked_ms, answered_ms, tries };
        let outcome = operation.outcome().clone();
        if let Outcome::Done(done) = &outcome {
            self.newest = self.newest.max(done.index);
            self.receipt = done.receipt.or(self.receipt);
        }
        self.world.operations.borrow_mut().push(operation);
        outcome
    }

    async fn once(
        &self,
        name: &str,
        tried: usize,
        method: &Method,
        path: &str,
        body: Bytes,
        keyed: bool,
    ) -> Result<Answer, Outcome> {
        let url = if let Some(only) = &self.only {
            only.clone()
        } else {
            let instances = self.world.instances.borrow();
            let leader = instances.iter().find(|instance| instance.leads());
            let any = self.chance.pick(&instances);
            let to = if self.chance.per_mille(500) { leader.or(any) } else { any };
            to.map(|instance| instance.url.clone()).unwrap_or_default()
        };
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        add("x-request-id", &format!("{name}.{tried}"));
        add("content-type", api::headers::JSON);
        if keyed {
            add(api::headers::IDEMPOTENCY_KEY, name);
        }
        let asked = Asked { method: method.clone(), url: format!("{url}{path}"), headers, body };
        match timeout(PATIENCE, self.world.ask(asked, false)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Silent::Away)) => Err(Outcome::NotApplied),
            Ok(Err(Silent::Unanswered)) | Err(_) => Err(Outcome::Unknown),
        }
    }
}

fn outcome(world: &World, name: &str, kind: &Kind, answer: &Answer) -> Outcome {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let other = body["detail"].as_str().is_some_and(|words| words.contains("is another one here"));
    let lost = || world.redis.forgotten.borrow().values().any(|entry| entry.durable);
    if other && !lost() && !world.redis.emptied.get() {
        world.find("S9", format!("{name} is told that an entry was replaced, and none was lost"));
    }
    let run = |body: &Value| {
        let id = body["id"].as_str().or(body["run_id"].as_str())?;
        Some((Uuid::try_parse(id).ok()?, body["status"].as_str().unwrap_or("REJECTED").to_owned()))
    };
    let items = body["runs"].as_array().or(body["items"].as_array());
    let runs = match items {
        Some(items) => items.iter().filter_map(|item| run(&item["run"])).collect(),
        None => run(&body).into_iter().collect(),
    };
    let done = Done {
        status: answer.status,
        index: answer.index().unwrap_or(0),
        receipt: answer.receipt(),
        runs,
        version: body["version"].as_u64(),
    };
    let of_policy = matches!(kind, Kind::Read(What::Policy(_), _));
    match (answer.status, body["outcome"].as_str()) {
        (200..300, _) => Outcome::Done(done),
        // That there is none is an answer too.
        (404, _) if of_policy && answer.index().is_some() => Outcome::Done(done),
        (403, _) if done.receipt.is_some() => Outcome::Done(done),
        (404, _) => Outcome::Refused(404),
        (503, Some("not_applied")) => Outcome::NotApplied,
        (503, _) => Outcome::Unknown,
        (status @ 400..500, _) => Outcome::Refused(status),
        (status, _) => {
            world.find("HTTP", format!("{name} was answered {status}: {body}"));
            Outcome::Unknown
        }
    }
}

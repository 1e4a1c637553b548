//! A house for measuring: builders of typical commands, and no checks of its own.
#![allow(dead_code)] // the bench and the example each use a part

use domain::Texts;
use domain::command::{Admit, Guard, Join, Report, Reported};
use domain::event::{Exit, ExitCause, KeyUse, Origin, Output, Principal, Usage};
use domain::fleet::{HIGH_COMPUTE_LABEL, QUARANTINE_LABEL};
use domain::ids::Hex;
use domain::judge::{Request, judge};
use domain::law::{Limits, Policy};
use domain::placement::Assignment;
use domain::submission::{Demand, Heat};
use domain::{Command, Court, Decision, Inputs, NodeId, RunId, Timestamp, World};
use uuid::Uuid;

const T0: Timestamp = Timestamp(1_760_000_000_000);

/// A World, and what it takes to draw ids and time for it.
pub struct House {
    pub world: World,
    pub now: Timestamp,
    court: Court,
    drawn: u64,
}

impl House {
    /// A house with so many nodes; every third is for high compute, every tenth for quarantine.
    pub fn with_nodes(nodes: u64) -> Self {
        let mut house =
            Self { world: World::default(), now: T0, court: Court::default(), drawn: 0 };
        let policy = Policy {
            name: "default".into(),
            templates: vec!["*".into()],
            limits: Limits { cpu_milli: None, mem_mb: None, gpu: 8, ttl_ms: None },
            ..domain::law::lockdown_default()
        };
        house.tell(Command::PutPolicy {
            policy: policy.into(),
            guard: Guard::None,
            origin: origin(),
            what_if: None,
        });
        for n in 0..nodes {
            let label = match n % 10 {
                9 => &[(QUARANTINE_LABEL, "true")][..],
                3 | 6 => &[(HIGH_COMPUTE_LABEL, "true")],
                _ => &[],
            };
            house.tell(Command::Join(Join {
                node: node(n),
                boot: Uuid::from_u128(u128::from(n) + 1),
                labels: map(label),
                capacity: Demand { cpu_milli: 64_000, mem_mb: 262_144, gpu: 0 },
                isolation: vec!["seccomp".into()],
                runtime: "embedded".into(),
                version: "0.1.0".into(),
            }));
        }
        house
    }

    pub fn tell(&mut self, command: Command) {
        let decision = self.world.decide(self.now, command).expect("measured commands are allowed");
        for event in &decision.events {
            self.world.evolve(0, event);
        }
    }

    pub fn admit(&mut self, request: Request) -> RunId {
        self.admit_as(request, None)
    }

    pub fn admit_with_key(&mut self, request: Request) -> RunId {
        let key = format!("order-{:08}", self.drawn);
        self.admit_as(request, Some((KeyUse { key: key.into(), body: Hex([7; 16]) }, 0)))
    }

    fn admit_as(&mut self, request: Request, key: Option<(KeyUse, u32)>) -> RunId {
        self.now = self.now.plus(1);
        let run = self.draw();
        let law = self.world.law.current();
        if self.court.law().revision != law.revision {
            self.court = Court::new(law.clone(), Some(&self.court));
        }
        let judged = judge(&self.court, request, &Inputs::bare(true));
        let judged = judged.expect("the template is built in");
        let (origin, queue_max) = (origin(), usize::MAX);
        let redrive_of = None;
        let admit = Admit { run, judged, key, origin, queue_max, redrive_of };
        self.tell(Command::Admit(Box::new(admit)));
        run
    }

    /// Gives a run to the first node, and lets it run and succeed there.
    pub fn finish(&mut self, run: RunId) {
        let token = Hex([9; 16]);
        let assignment = Assignment { run, node: node(0), fallback: false };
        self.tell(Command::Assign { assignment, token, planned_at: 1_000_000 });
        let report = |what| {
            let report = Report { node: node(0), run, token, what };
            Command::Report { report, chance: 0 }
        };
        self.now = self.now.plus(20);
        self.tell(report(Reported::Started));
        self.now = self.now.plus(80);
        let exit = Exit { cause: ExitCause::Exited, code: Some(0), signal: None, message: None };
        let usage = Usage { cpu_ms: 23, max_rss_mb: 11, wall_ms: 80 };
        let output = Output {
            stdout_bytes: 3,
            stderr_bytes: 0,
            truncated: false,
            digest: Some(Hex([3; 32])),
            holder: "http://olympus-1.internal:8080".into(),
        };
        self.tell(report(Reported::Finished { exit, usage, output }));
    }

    /// Leaves no node with room for even the least of runs, by runs that take a whole node each.
    pub fn fill(&mut self) {
        let nodes: Vec<_> = self.world.fleet.nodes().values().map(|n| n.joined.clone()).collect();
        for joined in nodes {
            let quarantine = joined.labels.contains_key(QUARANTINE_LABEL);
            let hot = joined.labels.contains_key(HIGH_COMPUTE_LABEL);
            let mut request = Request {
                cpu_milli: Some(joined.capacity.cpu_milli),
                heat: Some(if hot { Heat::Hot } else { Heat::Warm }),
                ..typical()
            };
            if quarantine {
                request.metadata.insert("quarantine".into(), "true".into());
            }
            let run = self.admit(request);
            let (node, fallback) = (joined.node.clone(), false);
            let assignment = Assignment { run, node, fallback };
            let token = Hex([9; 16]);
            self.tell(Command::Assign { assignment, token, planned_at: 1_000_000 });
        }
    }

    /// Decides an assignment, and does not let it happen.
    pub fn check(&self, assignment: Assignment) -> Decision {
        let command = Command::Assign { assignment, token: Hex([9; 16]), planned_at: 1_000_000 };
        self.world.decide(self.now, command).expect("measured commands are allowed")
    }

    /// A UUIDv7 of this house's time.
    fn draw(&mut self) -> RunId {
        self.drawn += 1;
        let random = blake3::hash(&self.drawn.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&random.as_bytes()[..16]);
        bytes[..6].copy_from_slice(&self.now.0.to_be_bytes()[2..]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        RunId(Uuid::from_bytes(bytes))
    }
}

pub fn node(n: u64) -> NodeId {
    NodeId::new(&format!("worker-{n:05}.cluster.internal"))
}

fn origin() -> Origin {
    Origin { by: Principal::Anonymous, request: Uuid::from_u128(0x0190_a0a0_7000_8000_1234_5678) }
}

fn map(pairs: &[(&str, &str)]) -> Texts {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

/// A short Python script with two metadata and one label.
pub fn typical() -> Request {
    Request {
        template: "host".into(),
        command: vec!["python3".into(), "-c".into(), "print(sum(range(1000)))".into()],
        metadata: map(&[("tenant", "acme"), ("user", "alice")]),
        labels: map(&[("team", "ml")]),
        ..Request::default()
    }
}

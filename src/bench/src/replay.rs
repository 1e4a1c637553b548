//! Events replayed a second.

use std::sync::Arc;
use std::time::Instant;

use domain::Texts;
use domain::command::{Admit, Command, Join, Report, Reported};
use domain::event::{Exit, ExitCause, LeaderStarted, Origin, Output, Principal, Usage};
use domain::ids::Hex;
use domain::judge::{Request, judge};
use domain::placement::Assignment;
use domain::submission::Demand;
use domain::{Court, Event, Inputs, NodeId, RunId, Timestamp, World};
use journal::{Batch, Chain, Journal, MemoryJournal, Outcome, RedisConfig, RedisJournal, Writer};
use uuid::Uuid;

use crate::Failed;
use crate::servers::redis;
use crate::stats::median;

/// Arguments.
#[derive(clap::Args)]
pub struct Replay {
    /// Runs in the journal.
    #[arg(long, default_value_t = 500_000)]
    runs: u32,
    /// Each run is cancelled while it waits, the dearest two events there are for what is folded;
    /// otherwise each is admitted, assigned, started and finished.
    #[arg(long)]
    canceled: bool,
    /// Runs an entry.
    #[arg(long, default_value_t = 100)]
    entry: u32,
    /// From a Redis, as at a start; otherwise from memory.
    #[arg(long)]
    redis: bool,
    /// Audits it as `tartarus replay verify` does, instead of folding it as a start does.
    #[arg(long)]
    audit: bool,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

impl Replay {
    /// So many runs, a hundred an entry.
    pub fn lived(runs: u32) -> Self {
        Self { runs, canceled: false, entry: 100, redis: false, audit: false, rounds: 0 }
    }

    /// Measures and prints.
    pub async fn run(self) -> Result<(), Failed> {
        let server = if self.redis { Some(redis("everysec").await?) } else { None };
        let journal: Arc<dyn Journal> = match &server {
            Some(server) => Arc::new(RedisJournal::new(RedisConfig::at(server.address.parse()?))),
            None => Arc::new(MemoryJournal::default()),
        };
        let tail = journal.open(None).await?.tail;
        let Filled { world, bytes, events } = self.fill(&journal, tail).await?;
        println!("{events} events, {:.0} bytes each in the journal", bytes as f64 / events as f64);
        let mut rates = Vec::new();
        for round in 1..=self.rounds {
            if self.audit {
                let mut source = ::replay::Source::journal(journal.clone());
                let report = ::replay::verify::verify(&mut source, |_, _| {}).await?;
                if !report.good || report.digest != Some(world.digest().to_string()) {
                    return Err(format!("the audit found {:?}", report.findings).into());
                }
                println!("{round:>5} {:>12} events/s", report.events_per_s);
                rates.push(report.events_per_s as f64);
                continue;
            }
            let tail = journal.check().await?;
            let began = Instant::now();
            let recovered = olympus::recover::recover(&journal, tail, None).await?;
            let rate = recovered.events as f64 / began.elapsed().as_secs_f64();
            if recovered.world.digest() != world.digest() {
                return Err("the replayed state is not the one that was lived".into());
            }
            println!("{round:>5} {rate:>12.0} events/s");
            rates.push(rate);
        }
        println!("median: {:.0} events/s", median(&rates));
        Ok(())
    }

    /// Lives through the lives of runs, a batch of them at a time, and writes what happened.
    pub async fn fill(
        &self,
        journal: &Arc<dyn Journal>,
        tail: journal::Tail,
    ) -> Result<Filled, Failed> {
        let mut chain = Chain::lead_from(tail, Uuid::nil());
        let mut writer = Writer::new(journal.clone(), tail);
        let court = Court::default();
        let mut live = Live { world: World::default(), at: START, batch: Batch::new(), events: 0 };
        let (epoch, url, version) = (chain.epoch(), "bench".into(), "0".into());
        let (boot, key) = (Uuid::nil(), None);
        let led = LeaderStarted { at: START, epoch, boot, url, version, key, reads_level: 1 };
        live.happened(&Event::LeaderStarted(Arc::new(led)))?;
        for n in 0..NODES {
            live.tell(Command::Join(joining(n)))?;
        }
        let (mut number, mut bytes) = (0, 0);
        while number < self.runs {
            let runs = number..(number + self.entry).min(self.runs);
            number = runs.end;
            for run in runs.clone() {
                let judged = judge(&court, typical(), &Inputs::bare(true))?;
                let (run, origin) = (id(run), origin());
                let (key, queue_max, redrive_of) = (None, 1_000_000, None);
                let admit = Admit { run, judged, key, origin, queue_max, redrive_of };
                live.tell(Command::Admit(Box::new(admit)))?;
            }
            // Each step of their lives is an entry of its own, as it is where nodes report.
            for step in if self.canceled { &[Step::Cancel][..] } else { &Step::LIFE } {
                bytes += live.write(&mut chain, &mut writer).await?;
                for run in runs.clone() {
                    live.tell(step.command(run))?;
                }
            }
            bytes += live.write(&mut chain, &mut writer).await?;
        }
        let Live { world, events, .. } = live;
        Ok(Filled { world, bytes, events })
    }
}

const START: Timestamp = Timestamp(1_700_000_000_000);
/// Enough that a batch of runs fits on them.
const NODES: u32 = 32;

/// A journal that was filled.
pub struct Filled {
    world: World,
    /// Bytes of entries.
    pub bytes: u64,
    events: u64,
}

/// A house that lives.
struct Live {
    world: World,
    at: Timestamp,
    batch: Batch,
    events: u64,
}

impl Live {
    fn tell(&mut self, command: Command) -> Result<(), Failed> {
        self.at = self.at.plus(1);
        let decision = self.world.decide(self.at, command)?;
        decision.events.iter().try_for_each(|event| self.happened(event))
    }

    fn happened(&mut self, event: &Event) -> Result<(), Failed> {
        self.world.evolve(0, event);
        self.events += 1;
        Ok(journal::catalog::encode(event, &mut self.batch)?)
    }

    /// Writes what has happened since, as one entry; says how many bytes it took.
    async fn write(&mut self, chain: &mut Chain, writer: &mut Writer) -> Result<u64, Failed> {
        let sealed = chain.seal(self.at.0, std::mem::take(&mut self.batch))?;
        match writer.commit(&sealed).await {
            Outcome::Committed => Ok(sealed.bytes().len() as u64),
            other => Err(format!("not committed: {other:?}").into()),
        }
    }
}

/// A step in the life of a run that was admitted.
#[derive(Clone, Copy)]
enum Step {
    Cancel,
    Assign,
    Start,
    Finish,
}

impl Step {
    const LIFE: [Self; 3] = [Self::Assign, Self::Start, Self::Finish];

    fn command(self, number: u32) -> Command {
        let (run, node) = (id(number), node(number % NODES));
        let token = Hex([9; 16]);
        let report = |node, what| {
            let report = Report { node, run, token, what };
            Command::Report { report, chance: 0 }
        };
        match self {
            Self::Cancel => Command::Cancel { run, origin: origin() },
            Self::Assign => {
                let assignment = Assignment { run, node, fallback: false };
                Command::Assign { assignment, token, planned_at: 1_000_000 }
            }
            Self::Start => report(node, Reported::Started),
            Self::Finish => report(
                node,
                Reported::Finished {
                    exit: Exit {
                        cause: ExitCause::Exited,
                        code: Some(0),
                        signal: None,
                        message: None,
                    },
                    usage: Usage { cpu_ms: 23, max_rss_mb: 11, wall_ms: 80 },
                    output: Output {
                        stdout_bytes: 3,
                        stderr_bytes: 0,
                        truncated: false,
                        digest: Some(Hex([3; 32])),
                        holder: "http://olympus-1.internal:8080".into(),
                    },
                },
            ),
        }
    }
}

fn id(number: u32) -> RunId {
    RunId(Uuid::from_u128(u128::from(number) + 1))
}

fn node(number: u32) -> NodeId {
    NodeId::new(&format!("node-{number}"))
}

fn origin() -> Origin {
    Origin { by: Principal::Anonymous, request: Uuid::nil() }
}

fn joining(number: u32) -> Join {
    Join {
        node: node(number),
        boot: Uuid::from_u128(u128::from(number) + 1),
        labels: Texts::default(),
        capacity: Demand { cpu_milli: 64_000, mem_mb: 262_144, gpu: 0 },
        isolation: vec!["seccomp".into()],
        runtime: "embedded".into(),
        version: "0.1.0".into(),
    }
}

/// A short script with two metadata and a label.
fn typical() -> Request {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    Request {
        template: "host".into(),
        command: ["python3", "-c", "print(6*7)"].map(Into::into).to_vec(),
        metadata: pairs(&[("tenant", "acme"), ("user", "alice")]),
        labels: pairs(&[("team", "ml")]),
        ..Request::default()
    }
}

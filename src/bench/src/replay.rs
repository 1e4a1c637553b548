//! Events replayed a second.

use std::sync::Arc;
use std::time::Instant;

use domain::command::{Admit, Command};
use domain::event::{LeaderStarted, Origin, Principal};
use domain::judge::{Request, judge};
use domain::{Court, Event, Inputs, RunId, Timestamp, World};
use journal::{Batch, Chain, Journal, MemoryJournal, Outcome, RedisConfig, RedisJournal, Writer};
use uuid::Uuid;

use crate::Failed;
use crate::servers::redis;
use crate::stats::median;

/// Arguments.
#[derive(clap::Args)]
pub struct Replay {
    /// Runs in the journal; each has an admission and a cancellation.
    #[arg(long, default_value_t = 500_000)]
    runs: u32,
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
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Failed> {
        let server = if self.redis { Some(redis("everysec").await?) } else { None };
        let journal: Arc<dyn Journal> = match &server {
            Some(server) => Arc::new(RedisJournal::new(RedisConfig::at(server.address.parse()?))),
            None => Arc::new(MemoryJournal::default()),
        };
        let tail = journal.open(None).await?.tail;
        let (bytes, world) = self.fill(&journal, tail).await?;
        let events = u64::from(self.runs) * 2;
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
            let recovered = olympus::recover::recover(&journal, tail).await?;
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

    /// Lives through admissions and cancellations, and writes them.
    async fn fill(
        &self,
        journal: &Arc<dyn Journal>,
        tail: journal::Tail,
    ) -> Result<(u64, World), Failed> {
        let mut world = World::default();
        let mut chain = Chain::lead_from(tail, Uuid::nil());
        let mut writer = Writer::new(journal.clone(), tail);
        let origin = || Origin { by: Principal::Anonymous, request: Uuid::nil() };
        let (court, mut bytes) = (Court::default(), 0);
        let mut at = Timestamp(1_700_000_000_000);
        let (epoch, url, version) = (chain.epoch(), "bench".into(), "0".into());
        let led =
            LeaderStarted { at, epoch, boot: Uuid::nil(), url, version, key: None, reads_level: 1 };
        let led = Event::LeaderStarted(Arc::new(led));
        world.evolve(0, &led);
        let barrier = chain.seal(at.0, journal::catalog::batch([&led])?)?;
        if writer.commit(&barrier).await != Outcome::Committed {
            return Err("not committed".into());
        }
        let mut number = 0_u128;
        while number < u128::from(self.runs) {
            let mut batch = Batch::new();
            for _ in 0..self.entry.min(self.runs - number as u32) {
                number += 1;
                let run = RunId(Uuid::from_u128(number));
                let judged = judge(&court, typical(), &Inputs::bare(true))?;
                let admit = Admit { run, judged, key: None, origin: origin(), queue_max: 1_000 };
                let cancel = Command::Cancel { run, origin: origin() };
                for command in [Command::Admit(Box::new(admit)), cancel] {
                    at = at.plus(1);
                    for event in world.decide(at, command)?.events {
                        world.evolve(0, &event);
                        journal::catalog::encode(&event, &mut batch)?;
                    }
                }
            }
            let sealed = chain.seal(at.0, batch)?;
            bytes += sealed.bytes().len() as u64;
            match writer.commit(&sealed).await {
                Outcome::Committed => {}
                other => return Err(format!("not committed: {other:?}").into()),
            }
        }
        Ok((bytes, world))
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

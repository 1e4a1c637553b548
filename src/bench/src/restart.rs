//! A restart from a snapshot, and what snapshot, journal and archive take for a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{Entry, Journal, MemoryJournal, RedisConfig, RedisJournal};
use olympus::keep::Keeping;
use replay::{Point, Snapshots, Source, archive, state};

use crate::Failed;
use crate::replay::{Filled, Replay};
use crate::servers::redis;
use crate::stats::median;

/// Arguments.
#[derive(clap::Args)]
pub struct Restart {
    /// Runs in the snapshot.
    #[arg(long, default_value_t = 1_000_000)]
    runs: u32,
    /// Runs behind it; each is four events.
    #[arg(long, default_value_t = 25_000)]
    behind: u32,
    /// From a Redis, as at a start; otherwise from memory.
    #[arg(long)]
    redis: bool,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Runs an entry, and entries for each hundred: admitted, assigned, started, finished.
const ENTRY: u32 = 100;
const ENTRIES: u64 = 4;

impl Restart {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Failed> {
        let server = if self.redis { Some(redis("everysec").await?) } else { None };
        let journal: Arc<dyn Journal> = match &server {
            Some(server) => Arc::new(RedisJournal::new(RedisConfig::at(server.address.parse()?))),
            None => Arc::new(MemoryJournal::default()),
        };
        let tail = journal.open(None).await?.tail;
        let all = self.runs + self.behind;
        let Filled { bytes, .. } = Replay::lived(all).fill(&journal, tail).await?;
        let head = journal.head().await?.seq;
        let at = head - u64::from(self.behind / ENTRY) * ENTRIES;
        let mut source = Source::journal(journal.clone());
        let then = state::at(&mut source, Some(Point::Sequence(at)), |_| {}).await?;
        let stored = journal.stored(at, 1).await?.into_iter().next().ok_or("no such entry")?;
        let entry = Entry::parse(stored.0, stored.1)?;

        let dir = tempfile::tempdir()?;
        let snapshots = Snapshots::at(dir.path().join("snapshots"));
        let began = Instant::now();
        let (found, digest, size) = snapshots.store(entry.tail(), &then.world)?;
        let stored = began.elapsed();
        let runs = then.world.runs.len() as u64;
        let began = Instant::now();
        let loaded = found.load()?;
        println!(
            "snapshot: {runs} runs, {} bytes a run; written and read back in {} ms, read in {} ms",
            size / runs,
            stored.as_millis(),
            began.elapsed().as_millis()
        );
        if loaded.digest != digest {
            return Err("what was read is not what was written".into());
        }
        drop((loaded, then));
        let (mut archived, mut entries, mut source) =
            (0, Vec::new(), Source::journal(journal.clone()));
        loop {
            let (page, over) = source.page().await;
            entries.extend(page);
            let segment: usize = entries.iter().map(|e: &Entry| e.bytes().len()).sum();
            if segment >= 16 << 20 || over.is_some() {
                archived += archive::encode(&entries).map_or(0, |(_, bytes)| bytes.len() as u64);
                entries.clear();
            }
            if over.is_some() {
                break;
            }
        }
        println!(
            "a run takes {} bytes in the journal, {} in the archive",
            bytes / u64::from(all),
            archived / u64::from(all)
        );

        let keeping = Keeping {
            snapshots,
            archive: dir.path().join("archive").display().to_string(),
            trim: false,
            snapshot_bytes: u64::MAX,
            snapshot_every: Duration::MAX,
            archive_bytes: u64::MAX,
            url: String::new(),
            token: None,
            turn: Arc::default(),
        };
        let mut times = Vec::new();
        for round in 1..=self.rounds {
            let tail = journal.check().await?;
            let began = Instant::now();
            let recovered = olympus::recover::recover(&journal, tail, Some(&keeping)).await?;
            let took = began.elapsed().as_secs_f64();
            if recovered.snapshot != at || recovered.mark.index != head {
                return Err("the start did not go on from the snapshot".into());
            }
            println!("{round:>5} {took:>8.2} s, {} events behind the snapshot", recovered.events);
            times.push(took);
        }
        println!("median: {:.2} s", median(&times));
        Ok(())
    }
}

//! Submissions a second.

use std::time::{Duration, Instant};

use crate::Failed;
use crate::http::{load, post};
use crate::servers::{echo, olympus, redis};
use crate::stats::{median, ms, quantile};

/// Arguments.
#[derive(clap::Args)]
pub struct Submit {
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Submissions a request: 1 is `POST /v1/runs`, more is `POST /v1/runs:batch`.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Redis' `appendfsync`.
    #[arg(long, default_value = "everysec")]
    appendfsync: String,
    /// Rounds of floor and house in turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds a round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Beside a second house that takes a snapshot and archives after each so many bytes of journal;
    /// the first does neither.
    #[arg(long)]
    snapshots: Option<u64>,
    /// Worker threads of the echo server, as Olympus has on this machine.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

const RUN: &str = r#"{"template":"host","command":["python3","-c","print(6*7)"],"resources":{"cpu_milli":500,"mem_mb":128,"ttl":"30s"},"metadata":{"tenant":"acme","user":"alice"},"labels":{"team":"ml"}}"#;

impl Submit {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Failed> {
        let redis = redis(&self.appendfsync).await?;
        let floor = echo(self.workers).await?;
        let never = [("TARTARUS_SNAPSHOT_BYTES", NEVER), ("TARTARUS_ARCHIVE_BYTES", NEVER)];
        let quiet: &[_] = if self.snapshots.is_some() { &never } else { &[] };
        let house = olympus("olympus", Some(&redis.address), quiet).await?;
        let time = Duration::from_secs(self.seconds);
        let (path, expected) =
            if self.batch == 1 { ("/v1/runs", 202) } else { ("/v1/runs:batch", 200) };
        let body = if self.batch == 1 {
            RUN.to_owned()
        } else {
            format!("{{\"runs\":[{}]}}", vec![RUN; self.batch].join(","))
        };
        let submit = post(&house.address, path, &body);
        if let Some(bytes) = self.snapshots {
            return self.beside_snapshots(&house.address, bytes, &body, path, expected).await;
        }
        let bare = post(&floor.address, "/v1/runs", RUN);
        let appends = raw_appends(&redis.address, time).await?;
        println!("raw Redis append (XADD, 1 connection, 1 under way): {appends:.0}/s");
        println!(
            "{} connections, {} a request, appendfsync {}",
            self.connections, self.batch, self.appendfsync
        );
        println!(
            "{:>5} {:>12} {:>14} {:>7}  latency p50, p99",
            "round", "echo/s", "runs/s", "ratio"
        );
        let (mut floors, mut rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            let floor = load(&floor.address, &bare, 200, self.connections, time).await?;
            let mut house = load(&house.address, &submit, expected, self.connections, time).await?;
            if let Some((count, first)) = &house.refused {
                println!("{count} answers were not {expected}; the first of them:\n{first}");
            }
            let rate = house.rate() * self.batch as f64;
            let ratio = rate / floor.rate();
            let (p50, p99) =
                (quantile(&mut house.latencies, 0.5), quantile(&mut house.latencies, 0.99));
            println!(
                "{round:>5} {:>12.0} {rate:>14.0} {ratio:>7.2}  {}, {}",
                floor.rate(),
                ms(p50),
                ms(p99)
            );
            floors.push(floor.rate());
            rates.push(rate);
            ratios.push(ratio);
        }
        println!(
            "median: echo {:.0}/s, runs {:.0}/s, ratio {:.2}",
            median(&floors),
            median(&rates),
            median(&ratios)
        );
        Ok(())
    }
}

impl Submit {
    /// The same house twice, in turn; one of them keeps its journal as often as it can.
    async fn beside_snapshots(
        &self,
        without: &str,
        bytes: u64,
        body: &str,
        path: &str,
        expected: u16,
    ) -> Result<(), Failed> {
        let (redis, bytes) = (redis(&self.appendfsync).await?, bytes.to_string());
        let often = [("TARTARUS_SNAPSHOT_BYTES", &*bytes), ("TARTARUS_ARCHIVE_BYTES", &*bytes)];
        let with = olympus("olympus", Some(&redis.address), &often).await?;
        let time = Duration::from_secs(self.seconds);
        let mut ratios = Vec::new();
        println!("round    without/s       with/s   ratio");
        for round in 1..=self.rounds {
            let (quiet, busy) = (post(without, path, body), post(&with.address, path, body));
            let quiet = load(without, &quiet, expected, self.connections, time).await?;
            let busy = load(&with.address, &busy, expected, self.connections, time).await?;
            let ratio = busy.rate() / quiet.rate();
            println!("{round:>5} {:>12.0} {:>12.0} {ratio:>7.2}", quiet.rate(), busy.rate());
            ratios.push(ratio);
        }
        println!("median: {:.2} with a snapshot every {bytes} bytes", median(&ratios));
        Ok(())
    }
}

/// More than a journal in Redis ever has.
const NEVER: &str = "1000000000000";

/// What Redis itself does: one XADD of a submission's size after the other.
async fn raw_appends(address: &str, time: Duration) -> Result<f64, Failed> {
    let client = redis::Client::open(format!("redis://{address}"))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let (began, mut done) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        redis::cmd("XADD")
            .arg(&["bench:raw", "*", "b", RUN])
            .query_async::<String>(&mut connection)
            .await?;
        done += 1;
    }
    let rate = done as f64 / began.elapsed().as_secs_f64();
    redis::cmd("DEL").arg("bench:raw").query_async::<u64>(&mut connection).await?;
    Ok(rate)
}

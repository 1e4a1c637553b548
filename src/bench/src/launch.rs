//! From submission to first output.

use std::time::{Duration, Instant};

use sandbox::{Home, Limits, RootFs, Runtime, Spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failed;
use crate::http::post;
use crate::servers::olympus;
use crate::stats::{median, ms, quantile};

/// Arguments.
#[derive(clap::Args)]
pub struct Launch {
    /// Launches of each kind, in turn.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
}

const COMMAND: [&str; 2] = ["echo", "hello"];
const RUN: &str = r#"{"template":"host","command":["echo","hello"]}"#;

impl Launch {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Failed> {
        let dir = tempfile::tempdir()?;
        let home = Home::open(dir.path(), "bench")?;
        let runtime = sandbox::runtime("embedded", home)?;
        let house = olympus("dev", None, &[]).await?;
        // The first of each pays for what is cached later.
        bare(runtime.as_ref(), 0).await?;
        while through_the_house(&house.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (mut floors, mut houses, mut over) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            let floor = bare(runtime.as_ref(), round).await?;
            let house = through_the_house(&house.address).await?;
            floors.push(floor);
            houses.push(house);
            over.push(house.saturating_sub(floor));
        }
        println!("{} launches of each kind, in turn, to the first byte of output", self.rounds);
        for (name, times) in
            [("bare runtime", &mut floors), ("submission", &mut houses), ("difference", &mut over)]
        {
            println!("{name:>14}: median {}, p90 {}", ms(median(times)), ms(quantile(times, 0.9)));
        }
        Ok(())
    }
}

async fn bare(runtime: &dyn Runtime, round: usize) -> Result<Duration, Failed> {
    let spec = Spec {
        id: format!("bench-{round}"),
        rootfs: RootFs::Host,
        argv: COMMAND.map(Into::into).to_vec(),
        env: Vec::new(),
        cwd: String::new(),
        stdin: Vec::new(),
        limits: Limits::default(),
    };
    let began = Instant::now();
    let mut running = runtime.launch(spec).await?;
    let mut first = [0; 1];
    let mut stdout = running.take_stdout().ok_or("no stdout")?;
    stdout.read_exact(&mut first).await?;
    let took = began.elapsed();
    running.wait().await?;
    Ok(took)
}

async fn through_the_house(address: &str) -> Result<Duration, Failed> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let began = Instant::now();
    stream.write_all(&post(address, "/v1/runs", RUN)).await?;
    let (mut answer, mut piece) = (String::new(), [0; 4096]);
    let id = loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Err("the connection was closed".into());
        }
        answer.push_str(std::str::from_utf8(&piece[..read])?);
        if let Some((_, rest)) = answer.split_once("\"id\":\"")
            && let Some((id, _)) = rest.split_once('"')
        {
            break id.to_owned();
        }
    };
    // The same connection may still carry the rest of the answer: logs go over another one.
    let mut logs = TcpStream::connect(address).await?;
    let request = format!(
        "GET /v1/runs/{id}/logs?follow=true HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    logs.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if logs.read_buf(&mut answer).await? == 0 {
            return Err("no output".into());
        }
        if answer.windows(5).any(|five| five == b"hello") {
            return Ok(began.elapsed());
        }
    }
}

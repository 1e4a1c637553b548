//! A closed loop of HTTP/1.1 requests over kept connections, as lean as can be: it shares the
//! machine with what it measures.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failed;

/// What one round came to.
pub struct Round {
    /// Answers with the expected status.
    pub done: u64,
    /// Answers with another one, by the first of them.
    pub refused: Option<(u64, String)>,
    /// How long it took.
    pub took: Duration,
    /// How long each answer took.
    pub latencies: Vec<Duration>,
}

impl Round {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }
}

/// A POST with a JSON body.
pub fn post(address: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends `request` over and over on `connections` connections for `time`.
///
/// # Errors
/// A connection that can't be made or breaks.
pub async fn load(
    address: &str,
    request: &[u8],
    expected: u16,
    connections: usize,
    time: Duration,
) -> Result<Round, Failed> {
    let mut workers = Vec::new();
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = request.to_vec();
        workers.push(actix_rt::spawn(async move {
            let (mut done, mut refused, mut latencies) = (0, None, Vec::new());
            let mut buffer = Vec::with_capacity(64 << 10);
            let end = Instant::now() + time;
            while Instant::now() < end {
                let sent = Instant::now();
                stream.write_all(&request).await?;
                let status = answer(&mut stream, &mut buffer).await?;
                latencies.push(sent.elapsed());
                if status == expected {
                    done += 1;
                } else {
                    let (count, _) = refused
                        .get_or_insert_with(|| (0, String::from_utf8_lossy(&buffer).into_owned()));
                    *count += 1;
                }
            }
            Ok::<_, std::io::Error>((done, refused, latencies))
        }));
    }
    let began = Instant::now();
    let mut round = Round { done: 0, refused: None, took: Duration::ZERO, latencies: Vec::new() };
    for worker in workers {
        let (done, refused, latencies) = worker.await??;
        round.done += done;
        round.latencies.extend(latencies);
        if let Some((count, text)) = refused {
            let (sum, _) = round.refused.get_or_insert((0, text));
            *sum += count;
        }
    }
    round.took = began.elapsed();
    Ok(round)
}

/// Reads one whole answer into `buffer`, and says its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<u16> {
    let broken = |why: &str| std::io::Error::other(why.to_owned());
    buffer.clear();
    let head = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(broken("the connection was closed"));
        }
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = std::str::from_utf8(&buffer[..head]).map_err(|_| broken("headers are not text"))?;
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| broken("no status"))?;
    let length = text
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())
        })
        .flatten()
        .ok_or_else(|| broken("no Content-Length"))?;
    while buffer.len() < head + length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(broken("the connection was closed"));
        }
    }
    Ok(status)
}

//! Servers for one measurement: started on loopback in empty directories, stopped by their pids.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failed;

/// A process that ends with its handle.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: String,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<String, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Waits until somebody answers at `address`.
async fn listening(address: &str, child: &mut Child) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(format!("the server ended at its start: {status}").into());
        }
        if Instant::now() > deadline {
            return Err(format!("nobody answers at {address}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A Redis with an append-only file.
pub async fn redis(appendfsync: &str) -> Result<Server, Failed> {
    let dir = tempfile::tempdir()?;
    let address = free_address()?;
    let (_, port) = address.rsplit_once(':').ok_or("no port")?;
    let mut child = Command::new("redis-server")
        .args(["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", appendfsync, "--maxmemory-policy", "noeviction"])
        .arg("--dir")
        .arg(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("redis-server can't be started: {error}"))?;
    listening(&address, &mut child).await?;
    Ok(Server { child, address, _dir: dir })
}

/// The echo server: this program again.
pub async fn echo(workers: usize) -> Result<Server, Failed> {
    let (dir, address) = (tempfile::tempdir()?, free_address()?);
    let mut child = Command::new(std::env::current_exe()?)
        .args(["echo", "--listen", &address, "--workers", &workers.to_string()])
        .spawn()?;
    listening(&address, &mut child).await?;
    Ok(Server { child, address, _dir: dir })
}

/// The `tartarus` of the same build.
pub fn tartarus() -> Result<PathBuf, Failed> {
    let beside = std::env::current_exe()?;
    let path = beside.parent().unwrap_or(Path::new(".")).join("tartarus");
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is missing: cargo build --release -p tartarus", path.display()).into())
    }
}

/// A ready `tartarus olympus` or `tartarus dev`.
pub async fn olympus(
    command: &str,
    redis: Option<&str>,
    env: &[(&str, &str)],
) -> Result<Server, Failed> {
    let (dir, address) = (tempfile::tempdir()?, free_address()?);
    let mut child = Command::new(tartarus()?)
        .arg(command)
        .env("TARTARUS_LISTEN_ADDR", &address)
        .env("TARTARUS_DATA_DIR", dir.path())
        .env("REDIS_ADDR", redis.unwrap_or(""))
        .env("TARTARUS_QUEUE_MAX", "1000000000")
        .env("RUST_LOG", "warn")
        .envs(env.iter().copied())
        .stdout(Stdio::null())
        .spawn()?;
    listening(&address, &mut child).await?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready(&address).await {
        if Instant::now() > deadline {
            return Err("the server is not ready after 20 s".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Server { child, address, _dir: dir })
}

async fn ready(address: &str) -> bool {
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return false };
    let mut answer = Vec::new();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(request.as_bytes()).await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

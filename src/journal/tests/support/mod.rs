//! What the journal's tests share: a Redis of their own, and entries to write.

#![allow(dead_code, reason = "each test file uses another part")]

pub mod dice;
pub mod proxy;

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{
    Address, Batch, Chain, Cursor, Entry, Journal, Opened, Record, RedisConfig, RedisJournal,
    Sealed, Secrets,
};
use redis::Value;
use tempfile::TempDir;
use uuid::Uuid;

/// A condition that is not met by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server on a free port of the loopback, in an empty directory, ended with the test.
pub struct RedisServer {
    pub port: u16,
    args: Vec<String>,
    dir: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// A server that flushes every write (`appendfsync always`).
    pub async fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// A server that writes nothing down.
    pub async fn fleeting() -> Self {
        Self::with(&["--appendonly", "no"]).await
    }

    /// A server with these arguments beside the usual ones.
    pub async fn with(args: &[&str]) -> Self {
        let mut server = Self::idle(args);
        server.start().await;
        server
    }

    /// A server that does not run yet.
    pub fn idle(args: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let args = args.iter().map(|&arg| arg.into()).collect();
        Self { port, args, dir, child: None }
    }

    /// Starts it, over what is in its directory.
    pub async fn start(&mut self) {
        self.spawn();
        let give_up = Instant::now() + PATIENCE;
        while let Err(error) = self.try_raw(&["PING"]).await {
            // A password or a loading data set is an answer too.
            if error.code().is_some_and(|code| code != "LOADING") {
                break;
            }
            assert!(Instant::now() < give_up, "redis-server does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.dir.path())
            .args(["--port", &self.port.to_string()])
            .args(["--maxmemory-policy", "noeviction", "--enable-debug-command", "local"])
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(
                "redis-server must be on the PATH for this test: install it (apt-get install \
                 redis-server, brew install redis, dnf install redis)",
            );
        self.child = Some(child);
    }

    /// Ends it as a crash does, by its process id.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Has it stand still, as a machine does that is paused; or go on.
    pub fn freeze(&self, frozen: bool) {
        let pid = self.child.as_ref().expect("it runs").id();
        let signal = if frozen { "STOP" } else { "CONT" };
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
        assert!(sent.unwrap().success());
    }

    pub fn address(&self) -> Address {
        Address { host: "127.0.0.1".into(), port: self.port }
    }

    pub fn config(&self) -> RedisConfig {
        RedisConfig { wait: Duration::from_secs(5), ..RedisConfig::at(self.address()) }
    }

    pub fn journal(&self) -> Arc<RedisJournal> {
        Arc::new(RedisJournal::new(self.config()))
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What an operator types into redis-cli.
    pub async fn try_raw(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let client = redis::Client::open(("127.0.0.1", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await
    }

    /// As [`Self::try_raw`], and it works.
    pub async fn raw(&self, words: &[&str]) -> Value {
        self.try_raw(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// As [`Self::raw`], and the answer is text or a number.
    pub async fn text(&self, words: &[&str]) -> String {
        redis::from_redis_value(self.raw(words).await).unwrap()
    }

    /// As [`Self::raw`], and the answer is a list.
    pub async fn list(&self, words: &[&str]) -> Vec<String> {
        redis::from_redis_value(self.raw(words).await).unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < give_up, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A batch with one record that holds `text`.
pub fn batch(text: &str) -> Batch {
    let mut batch = Batch::new();
    let (payload, secrets) = (text.as_bytes(), Secrets::NONE);
    batch.push(Record { kind: 60_000, version: 1, critical: false, payload, secrets });
    batch
}

/// The next entry, holding `text`.
pub fn seal(chain: &mut Chain, text: &str) -> Sealed {
    chain.seal(0, batch(text)).unwrap()
}

/// A chain that goes on after what was opened.
pub fn lead(opened: &Opened) -> Chain {
    Chain::lead_from(opened.tail, Uuid::new_v4())
}

/// Every entry of a journal, verified.
pub async fn read_all(journal: &dyn Journal, opened: &Opened) -> Vec<Entry> {
    let mut cursor = Cursor::start(opened.tail.identity);
    let mut all = Vec::new();
    loop {
        let page = journal.read(&cursor).await.unwrap();
        if page.entries.is_empty() {
            return all;
        }
        all.extend(page.entries);
        cursor = page.next;
    }
}

/// The texts that [`batch`] wrote.
pub fn texts(entries: &[Entry]) -> Vec<String> {
    let text = |entry: &Entry| {
        entry.records().fold(String::new(), |mut text, record| {
            write!(text, "{}", String::from_utf8_lossy(record.payload)).unwrap();
            text
        })
    };
    entries.iter().filter(|entry| entry.header().records > 0).map(text).collect()
}

//! A Redis server of one's own.

use std::process::{Command, Stdio};

use redis::{Commands, Connection};
use tempfile::TempDir;

use crate::net::free_port;
use crate::process::Process;
use crate::wait::until_sync;

/// When Redis writes through to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before each answer.
    Always,
    /// Once a second.
    EverySecond,
}

/// A Redis server on a free port, in an empty directory.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Process>,
    dir: TempDir,
    port: u16,
    fsync: Fsync,
    password: Option<String>,
    maxmemory_policy: &'static str,
}

impl RedisServer {
    /// Starts one that writes through once a second.
    pub fn start() -> Self {
        Self::configured(Fsync::EverySecond, None)
    }

    /// Starts one that loses nothing.
    pub fn durable() -> Self {
        Self::configured(Fsync::Always, None)
    }

    /// Starts one that asks for a password.
    pub fn with_password(password: &str) -> Self {
        Self::configured(Fsync::EverySecond, Some(password))
    }

    fn configured(fsync: Fsync, password: Option<&str>) -> Self {
        Self::kept_in(tempfile::tempdir().expect("a temporary directory"), fsync, password)
    }

    /// Starts one that keeps its files there.
    pub fn kept_in(dir: TempDir, fsync: Fsync, password: Option<&str>) -> Self {
        let mut server = Self {
            process: None,
            dir,
            port: free_port(),
            fsync,
            password: password.map(str::to_owned),
            maxmemory_policy: "noeviction",
        };
        server.restart();
        server
    }

    /// `host:port`.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// It does not run.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        self.process.as_mut().expect("it runs").signal(signal);
    }

    /// Bytes of the newest append-only file.
    ///
    /// # Panics
    /// There is none.
    pub fn written(&self) -> u64 {
        std::fs::metadata(self.newest_file()).expect("a file").len()
    }

    /// Cuts the newest append-only file, as a power cut does to what was not flushed. Redis must not
    /// run.
    ///
    /// # Panics
    /// There is none.
    pub fn cut(&self, bytes: u64) {
        assert!(self.process.is_none(), "it runs");
        let file = std::fs::OpenOptions::new().write(true).open(self.newest_file());
        file.and_then(|file| file.set_len(bytes)).expect("a file that can be cut");
    }

    /// The newest of its append-only files.
    ///
    /// # Panics
    /// There is none.
    pub fn newest_file(&self) -> std::path::PathBuf {
        self.files().pop().expect("an append-only file")
    }

    /// Its append-only files, the oldest first.
    ///
    /// # Panics
    /// Its directory can't be read.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(self.dir.path().join("appendonlydir")).expect("a directory");
        let incr = files.flatten().map(|file| file.path());
        let mut incr: Vec<_> =
            incr.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).collect();
        incr.sort();
        incr
    }

    /// Its process.
    ///
    /// # Panics
    /// It does not run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    /// Where its data lies.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it (again) on the same port and directory, and waits until it has loaded its data.
    ///
    /// # Panics
    /// It can't be started.
    pub fn restart(&mut self) {
        if let Err(said) = self.try_restart() {
            panic!("redis-server ended: {said:?}");
        }
    }

    /// The same; what it said where it ends instead.
    ///
    /// # Errors
    /// It refuses its files.
    ///
    /// # Panics
    /// It can't be started.
    pub fn try_restart(&mut self) -> Result<(), Vec<String>> {
        self.respawn();
        self.until_ready()
    }

    /// Starts it (again) on the same port and directory, and does not wait.
    ///
    /// # Panics
    /// It can't be started.
    pub fn respawn(&mut self) {
        self.kill();
        installed();
        let always = match self.fsync {
            Fsync::Always => "always",
            Fsync::EverySecond => "everysec",
        };
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "-::1", "--port", &self.port.to_string()])
            .args(["--dir", &self.dir.path().display().to_string()])
            .args(["--appendonly", "yes", "--appendfsync", always, "--save", ""])
            .args(["--maxmemory-policy", self.maxmemory_policy, "--databases", "16"])
            .args(["--repl-diskless-load", "disabled", "--repl-diskless-sync-delay", "0"])
            .args(["--daemonize", "no"]);
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        self.process = Some(Process::spawn("redis-server", &mut command));
    }

    /// Waits until it has loaded its data; what it said where it ends instead.
    ///
    /// # Errors
    /// It refuses its files.
    ///
    /// # Panics
    /// It was not started.
    pub fn until_ready(&mut self) -> Result<(), Vec<String>> {
        let mut process = self.process.take().expect("it was started");
        until_sync("redis-server to answer", || {
            if process.ended().is_some() {
                return Some(Err(process.lines()));
            }
            let mut connection = self.try_connect(0)?;
            let pong: Option<String> = redis::cmd("PING").query(&mut connection).ok();
            // The process is asked too, so that another one on this port is not taken for it.
            let info: String = redis::cmd("INFO").arg("server").query(&mut connection).ok()?;
            let own = info.contains(&format!("process_id:{}\r", process.pid()));
            pong.filter(|_| own).map(|_| Ok(()))
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn try_connect(&self, db: u8) -> Option<Connection> {
        let password = self.password.as_ref().map_or(String::new(), |p| format!(":{p}@"));
        let url = format!("redis://{password}127.0.0.1:{}/{db}", self.port);
        redis::Client::open(url).ok()?.get_connection().ok()
    }

    /// A connection to a database.
    ///
    /// # Panics
    /// Redis does not answer.
    pub fn connect(&self, db: u8) -> Connection {
        self.try_connect(db).expect("redis-server answers")
    }

    /// Every key of a database, sorted.
    ///
    /// # Panics
    /// Redis does not answer.
    pub fn keys(&self, db: u8) -> Vec<String> {
        let mut keys: Vec<String> = self.connect(db).keys("*").expect("KEYS answers");
        keys.sort();
        keys
    }

    /// The runs of a shown waiting line (`<order>:<run>`), in order; none where there is no key.
    ///
    /// # Panics
    /// It is something else.
    pub fn line(&self, db: u8, key: &str) -> Vec<String> {
        let members: Vec<String> = self.connect(db).zrange(key, 0, -1).expect("a sorted set");
        let run = |member: &String| member.split(':').next_back().unwrap_or_default().to_owned();
        members.iter().map(run).collect()
    }
}

/// Fails with a sentence that helps where `redis-server` is not installed.
fn installed() {
    let found = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "these tests need redis-server: install it (Debian and Ubuntu: apt-get install \
         redis-server; Fedora: dnf install redis; macOS: brew install redis)"
    );
}

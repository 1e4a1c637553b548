//! The process: from a configuration to a server that answers, and its end.
//!
//! Owns:   the data directory (one process each), the listening socket, the order of start and stop.
//! Says:   what it runs with, once, with the origin of each value.
//! Fails:  with the exit code of the contract and one sentence that says what to do.
//! Proof:  `tests/tests/seed/configuration.rs`, `tests/tests/seed/persistence.rs`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use domain::Law;
use journal::{
    ClusterId, Expected, Journal, MemoryJournal, OpenError, Opened, RedisJournal, Standing,
};
use olympus_actors::clock::Wall;
use olympus_actors::dice::Dice;
use olympus_actors::registry::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secret::Secret;
use tls::Proof;
use tokio::sync::watch;
use uuid::Uuid;

use crate::boot::{self, Plan};
use crate::config::{AuthMode, Config, ConfigError, Environment};
use crate::dangers;
use crate::house::Door;
use crate::http::{self, AppState, Auth, Ingress};
use crate::instance_key::{self, KeyError};
use crate::keep::Keeping;
use crate::output::{OutputStore, Sync, sweep};
use crate::past::Pasts;
use crate::presence;
use crate::threads::Threads;
use crate::wire;

/// How often the certificate is read again: it is two small files, and who renews one looks whether it
/// is in use.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// Why a start ended. Supervisors tell the exit codes apart: `docs/operations.md`, watching.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Bad configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The journal can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal can't be replayed.
    #[error("{0}")]
    Refused(String),
    /// The instance's key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The machine does not give what the configuration asks for.
    #[error("{0}")]
    Machine(String),
}

impl StartError {
    /// Exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Key(_) | Self::Machine(_) => ConfigError::EXIT_CODE,
            Self::Open(error) => error.exit_code(),
            Self::Refused(_) => 4,
        }
    }
}

/// A running instance.
pub struct Served {
    /// How others reach it.
    pub url: String,
    /// The bearer token that was made at this start, to be shown once.
    pub new_token: Option<Secret>,
    /// The token that callers need, where they need one and this process knows it: of one that an
    /// earlier start made only the digest is kept.
    pub token: Option<Secret>,
    /// Whether the house is open, shut, and why.
    pub door: Arc<Door>,
    stop: watch::Sender<bool>,
    leading: tokio::task::JoinHandle<Result<(), StartError>>,
    server: actix_web::dev::ServerHandle,
    state: web::Data<AppState>,
    _lock: File,
}

impl Served {
    /// Waits for the end of the role: an error that must end the process, or a stop.
    ///
    /// # Errors
    /// The journal can't be replayed.
    pub async fn ended(&mut self) -> Result<(), StartError> {
        match (&mut self.leading).await {
            Ok(ended) => ended,
            Err(error) => Err(StartError::Machine(format!("the leading task ended: {error}"))),
        }
    }

    /// Stops: takes no more connections, answers what is under way, writes what was decided, gives
    /// the leader's key back.
    ///
    /// # Errors
    /// The journal could not be replayed meanwhile.
    pub async fn stop(mut self) -> Result<(), StartError> {
        log::info!("stop");
        // Watches and sessions end with the house; requests under way are answered before.
        self.server.pause().await;
        self.stop.send_replace(true);
        let ended = self.ended().await;
        http::finish(&self.server, &self.state).await;
        ended
    }
}

/// Starts an instance on this thread's actix system.
///
/// # Errors
/// See [`StartError`]; nothing is left running then.
pub async fn serve(config: Config) -> Result<Served, StartError> {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    for value in config.effective() {
        log::info!(name = value.name, value = value.value.as_str(), origin:% = value.origin; "configure");
    }
    let dir = config.data_dir.value.clone();
    let lock = lock(&dir)?;
    let (key, made) = instance_key::load_or_make(&dir)?;
    log::info!(public_key:% = key.public(), made; "sign checkpoints");
    let proof = match &*config.tls {
        Some((cert, key)) => {
            Some(Proof::of(cert, key).map_err(|error| StartError::Machine(error.to_string()))?)
        }
        None => None,
    };
    let journal = journal(&config);
    let expected = expected(&config, &dir)?;
    let opened = journal.open(expected.as_ref()).await?;
    let identity = opened.tail.identity;
    remember(&dir, identity.cluster, &config)?;
    announce(&config, journal.as_ref(), &opened);

    let listener = std::net::TcpListener::bind(config.listen_addr.as_str()).map_err(|error| {
        StartError::Machine(format!(
            "TARTARUS_LISTEN_ADDR={}: {error}; choose another address, or stop what listens there",
            *config.listen_addr
        ))
    })?;
    let bound = listener.local_addr().map_err(|error| StartError::Machine(error.to_string()))?;
    let url = advertised(&config, bound);
    let (auth, new_token) =
        Auth::new(&config).map_err(|error| StartError::Machine(data_dir_trouble(&dir, &error)))?;
    let new_token = new_token.map(|token| Secret::new(token.0));
    let token = match *config.auth {
        AuthMode::Off => None,
        AuthMode::Token => config.bootstrap_token.value.clone().or(new_token.clone()),
    };
    if *config.auth == AuthMode::Off && !bound.ip().is_loopback() {
        log::warn!(
            address:% = bound;
            "nobody is asked for a token, and the address is not loopback: set TARTARUS_AUTH=token"
        );
    }

    let sync = if opened.promise.survives_power_loss() { Sync::Disk } else { Sync::Later };
    // What a journal in memory does not know, one in Redis may: their outputs lie apart, since at a
    // start that of unknown runs is removed.
    let output_dir = if config.redis.is_some() { dir.clone() } else { dir.join("in-memory") };
    let output = OutputStore::open(&output_dir, sync)
        .map_err(|error| StartError::Machine(data_dir_trouble(&dir, &error)))?;
    let output = Arc::new(output);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let aside = journal.beside();
    let plan = Plan {
        journal,
        url: url.clone(),
        boot: Uuid::new_v4(),
        until_gone: wire::tcp(proof.is_some()),
        limits: Limits { queue_max: *config.queue_max },
        node_ttl: *config.node_ttl,
        output: output.clone(),
        export_dir: dir.join("lost"),
        render_policies,
        witnesses: Arc::default(),
        key: Arc::new(key),
        checkpoint_every: *config.checkpoint_every,
        threads: Threads::Own(cores),
        wall: Wall::of_the_machine(),
        dice: Dice::of_the_system(),
        keeping: aside.map(|aside| {
            let keeping = Keeping::new(&dir, &url, &config);
            if let Err(error) = keeping.snapshots.sweep() {
                log::warn!(error:%; "could not remove unfinished snapshots");
            }
            (keeping, aside)
        }),
    };
    let door = Arc::new(Door::shut("starting"));
    let (stop, stopped) = watch::channel(false);
    actix_rt::spawn(sweep(output, door.clone(), stopped.clone()));
    let mut state = AppState::new(
        door.clone(),
        auth,
        url.clone(),
        identity.cluster.0,
        *config.quarantine_on,
        *config.node_ttl,
        stopped.clone(),
    );
    state.pasts = Pasts::over(plan.keeping.as_ref().map(|(keeping, _)| keeping.clone()));
    state.ingress = Ingress::new(files(), cores);
    let standing = watch::Sender::new(Standing { promise: opened.promise, dangers: Vec::new() });
    state.standing = standing.subscribe();
    let state = web::Data::new(state);
    actix_rt::spawn(dangers::watch(
        plan.journal.clone(),
        opened.warnings,
        standing,
        stopped.clone(),
    ));
    let encryption = proof.as_ref().map(Proof::config);
    let server = http::serve(listener, encryption, state.clone(), cores)
        .map_err(|error| StartError::Machine(format!("the server can't be started: {error}")))?;
    let handle = server.handle();
    actix_rt::spawn(server);
    if let Some(proof) = proof {
        actix_rt::spawn(renew(proof, stopped.clone()));
    }
    let alive = presence::keep(plan.journal.clone(), plan.boot, url.clone(), stopped.clone());
    actix_rt::spawn(alive);
    let leading = {
        let door = door.clone();
        actix_rt::spawn(async move {
            let ended = boot::run(plan, door, stopped).await;
            ended.map_err(|error| StartError::Refused(error.to_string()))
        })
    };
    log::info!(url = url.as_str(), address:% = bound; "listen");
    Ok(Served { url, new_token, token, door, stop, leading, server: handle, state, _lock: lock })
}

/// How others reach this instance. Of "all addresses" only the loopback is sure.
fn advertised(config: &Config, bound: SocketAddr) -> String {
    if let Some(url) = &config.advertise_url.value {
        return url.clone();
    }
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    if !bound.ip().is_unspecified() {
        return format!("{scheme}://{bound}");
    }
    let url = format!("{scheme}://127.0.0.1:{}", bound.port());
    log::warn!(
        url = url.as_str();
        "agents and clients on other machines can't reach the advertised address: set \
         TARTARUS_ADVERTISE_URL"
    );
    url
}

/// Reads the certificate again until this instance stops: whoever renews it puts it in the same place.
async fn renew(proof: Arc<Proof>, mut stop: watch::Receiver<bool>) {
    let mut bad = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            _ = stop.changed() => return,
        }
        match proof.renew() {
            Ok(is_new) => {
                if is_new {
                    log::info!("use the renewed certificate");
                }
                bad = None;
            }
            Err(error) => {
                if bad.as_ref() != Some(&error) {
                    log::warn!(error:%; "could not renew the certificate: the one before stays in use");
                }
                bad = Some(error);
            }
        }
    }
}

fn journal(config: &Config) -> Arc<dyn Journal> {
    match config.redis_config() {
        Some(redis) => Arc::new(RedisJournal::new(redis)),
        None => Arc::new(MemoryJournal::default()),
    }
}

/// Where queue and registry are, and why there: two lines in fixed words, each once.
fn announce(config: &Config, journal: &dyn Journal, opened: &Opened) {
    let (place, why) = (journal.place(), config.redis_reason.as_str());
    if place.kind == "redis" {
        let (addr, db) = (place.address.as_str(), place.db);
        log::info!(addr, db, key = place.queue_key.as_str(), why; "Using Redis queue");
        log::info!(addr, db, key = place.journal_key.as_str(), why; "Using Redis registry");
    } else {
        log::info!(why; "Using in-memory queue");
        log::info!(why; "Using in-memory registry");
        log::warn!("nothing survives a restart: set REDIS_ADDR=host:port to keep runs");
    }
    for warning in &opened.warnings {
        log::warn!("{warning}");
    }
    let promise = opened.promise;
    log::info!(
        cluster:% = opened.tail.identity.cluster.0, index = opened.tail.position.seq,
        begun = opened.genesis, durability = promise.as_str(), server = opened.server_version.as_str();
        "open the journal"
    );
    if *config.env == Environment::Production && !promise.survives_power_loss() {
        log::warn!(
            durability = promise.as_str();
            "an acknowledged run may be lost with the power: set appendfsync always in Redis, or \
             TARTARUS_DURABILITY=fsync to insist"
        );
    }
}

/// Takes the data directory for this process.
fn lock(dir: &Path) -> Result<File, StartError> {
    std::fs::create_dir_all(dir)
        .map_err(|error| StartError::Machine(data_dir_trouble(dir, &error)))?;
    let path = dir.join("olympus.lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|error| StartError::Machine(data_dir_trouble(dir, &error)))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Machine(format!(
            "TARTARUS_DATA_DIR={}: another instance uses it; give each instance its own",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(StartError::Machine(data_dir_trouble(dir, &error))),
    }
}

fn data_dir_trouble(dir: &Path, error: &std::io::Error) -> String {
    format!("TARTARUS_DATA_DIR={}: {error}; name a directory that can be written", dir.display())
}

fn cluster_file(dir: &Path) -> PathBuf {
    dir.join("cluster-id")
}

/// The cluster that this instance belongs to, if it knows one. Nothing is remembered of a journal
/// in memory.
fn expected(config: &Config, dir: &Path) -> Result<Option<Expected>, StartError> {
    if config.redis.is_none() {
        return Ok(None);
    }
    if let Some(cluster) = *config.cluster_id {
        return Ok(Some(Expected { cluster, source: "TARTARUS_CLUSTER_ID".into() }));
    }
    let path = cluster_file(dir);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StartError::Machine(data_dir_trouble(dir, &error))),
    };
    let source = path.display().to_string();
    match Uuid::try_parse(text.trim()) {
        Ok(cluster) => Ok(Some(Expected { cluster: ClusterId(cluster), source })),
        Err(_) => Err(StartError::Refused(format!(
            "{source} holds {:?}, which is not a cluster id: remove it to take the journal that \
             REDIS_ADDR names",
            text.trim()
        ))),
    }
}

/// Keeps the cluster's id, so that an empty or another journal is noticed at the next start.
fn remember(dir: &Path, cluster: ClusterId, config: &Config) -> Result<(), StartError> {
    if config.redis.is_none() {
        return Ok(());
    }
    let path = cluster_file(dir);
    write_new(&path, &format!("{}\n", cluster.0), 0o644)
        .map_err(|error| StartError::Machine(data_dir_trouble(dir, &error)))
}

/// How policies read in `themis:policies`: their document, with version and revision.
fn render_policies(law: &Law) -> Vec<(String, String)> {
    let policies = law.policies.iter().map(|(name, policy)| {
        let document =
            api::PolicyDocument::from_policy(&policy.body, policy.version, policy.revision);
        // A document of the wire has nothing that JSON can't say.
        (name.to_string(), serde_json::to_string(&document).unwrap_or_default())
    });
    policies.collect()
}

/// Writes a small file whole: a crash leaves the old one or the new one.
fn write_new(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// Files that this process may open: as many as the system lets it ask for, since each connection is
/// one.
fn files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let raised = setrlimit(Resource::Nofile, most).is_ok();
    let files = if raised { limit.maximum } else { limit.current };
    files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

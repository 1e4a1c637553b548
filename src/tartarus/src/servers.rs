//! The servers in this process: Olympus, an agent, both, and both for one run alone.
//!
//! Owns:   the order in which they start and stop, and what signals mean.
//! Says:   the exit codes of the servers: 0 stopped on request, 2 bad configuration, 3 Redis
//!         unreachable at start, 4 journal refused.
//! Never:  decides anything about runs.

use std::path::Path;
use std::time::Duration;

use client::{Client, Patience};
use olympus::config::{AuthMode, Config, ConfigError, Program, Setting};
use olympus::serve::{Served, StartError, serve};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::connect;
use crate::exit::{DONE, Failure, USAGE};
use crate::print;
use crate::terminal::Terminal;

/// An Olympus in this process that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked: a millisecond is little against the start of a sandbox.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// SIGTERM and SIGINT.
struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|e| Failure::error(format!("cannot listen for signals: {e}")))
        };
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// `tartarus olympus`.
///
/// # Errors
/// See the exit codes above.
pub fn olympus() -> Result<u8, Failure> {
    let config = Config::of_process(Program::Olympus).map_err(|e| bad_config(&e))?;
    // Under load all wait for a thread that waits for 2 MiB to be cleared: docs/adr/0017. Sandboxes
    // would inherit it, and nothing is started here. A kernel without huge pages refuses.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    actix_rt::System::new().block_on(async {
        let mut stop = Stop::listen()?;
        let served = tokio::select! {
            served = serve(config) => served.map_err(|e| bad_start(&e))?,
            () = stop.asked() => return Ok(DONE),
        };
        show_token(&served)?;
        attend(served, None, &mut stop).await
    })
}

/// `tartarus agent`.
///
/// # Errors
/// See the exit codes above.
pub fn agent() -> Result<u8, Failure> {
    let config = agent::Config::from_env(&variable)
        .map_err(|e| Failure::Code { code: USAGE, message: e.to_string() })?;
    Ok(agent::serve(config))
}

/// `tartarus dev`: calls `ready` with the URL when a run can be submitted.
///
/// # Errors
/// See the exit codes above.
pub fn dev(
    listen: Option<&str>,
    ready: impl FnOnce(&str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut config = Config::of_process(Program::Embedded).map_err(|e| bad_config(&e))?;
    if let Some(addr) = listen {
        config.listen_addr = Setting::program(addr.to_owned());
    }
    let data_dir = config.data_dir.value.clone();
    actix_rt::System::new().block_on(async {
        let mut stop = Stop::listen()?;
        let served = serve(config).await.map_err(|e| bad_start(&e))?;
        show_token(&served)?;
        tokio::select! {
            client = until_ready(&served) => { client?; }
            () = stop.asked() => {
                end(served, None).await?;
                return Ok(DONE);
            }
        }
        // Behind the open door: who knocks before complains in the log.
        let agent = start_agent(&served, &data_dir).await?;
        ready(&served.url)?;
        attend(served, Some(agent), &mut stop).await
    })
}

/// Waits until it is told to stop, or until something that must not end ends.
async fn attend(
    mut served: Served,
    mut agent: Option<agent::Handle>,
    stop: &mut Stop,
) -> Result<u8, Failure> {
    tokio::select! {
        ended = served.ended() => {
            return match ended {
                Ok(()) => Ok(DONE),
                Err(error) => Err(bad_start(&error)),
            };
        }
        fatal = agent_ended(&mut agent) => return Err(fatal),
        () = stop.asked() => {}
    }
    tokio::select! {
        ended = end(served, agent) => ended.map(|()| DONE),
        () = stop.asked() => {
            log::warn!("told to stop twice: leave at once");
            Ok(DONE)
        }
    }
}

/// Why the agent ended by itself; never, where there is none.
async fn agent_ended(agent: &mut Option<agent::Handle>) -> Failure {
    match agent {
        Some(agent) => match agent.ended().await {
            Ok(()) => Failure::failed("the agent ended"),
            Err(fatal) => Failure::Code { code: USAGE, message: fatal.to_string() },
        },
        None => std::future::pending().await,
    }
}

/// Stops the agent, then Olympus: what the agent still has to say is heard.
async fn end(served: Served, agent: Option<agent::Handle>) -> Result<(), Failure> {
    if let Some(mut agent) = agent {
        agent.stop();
        if let Err(fatal) = agent.ended().await {
            log::warn!("{fatal}");
        }
    }
    served.stop().await.map_err(|e| bad_start(&e))
}

async fn start_agent(served: &Served, data_dir: &Path) -> Result<agent::Handle, Failure> {
    let bad = |message: String| Failure::Code { code: USAGE, message };
    let token = token_for(served)?.map(secret::Secret::new);
    let config = agent::Config::embedded(&variable, &served.url, token, data_dir.to_owned())
        .map_err(|e| bad(e.to_string()))?;
    agent::start(config).await.map_err(|e| bad(e.to_string()))
}

/// The token that the Olympus in this process asks for: its own, or, where an earlier start made
/// one and showed it, what the environment says.
fn token_for(served: &Served) -> Result<Option<String>, Failure> {
    match &served.token {
        Some(token) => Ok(Some(token.reveal().to_owned())),
        None => connect::token(),
    }
}

/// A client of the Olympus in this process, once that takes runs.
async fn until_ready(served: &Served) -> Result<Client, Failure> {
    let client =
        Client::new(&served.url, token_for(served)?.as_deref())?.with_patience(Patience::default());
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let why = match client.readyz().await {
            Ok((true, _)) => return Ok(client),
            Ok((false, readyz)) => readyz.message.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::failed(format!("Olympus does not become ready: {why}")));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// An Olympus and an agent for one run alone.
#[derive(Debug)]
pub struct Embedded;

impl Embedded {
    /// Starts both on a free port with a directory of their own, does `work` with a client of
    /// them, and takes everything away again.
    ///
    /// # Errors
    /// What `work` fails with, or the servers do.
    pub fn with<F: Future<Output = Result<u8, Failure>>>(
        terminal: &Terminal,
        work: impl FnOnce(Client) -> F,
    ) -> Result<u8, Failure> {
        let mut config = Config::of_process(Program::Embedded).map_err(|e| bad_config(&e))?;
        let dir = own_dir()?;
        config.listen_addr = Setting::program("127.0.0.1:0".to_owned());
        config.advertise_url = Setting::program(None);
        config.data_dir = Setting::program(dir.path().to_owned());
        // Others on this machine could reach the port, too: they'd need the token that this start
        // makes in its own directory.
        config.auth = Setting::program(AuthMode::Token);
        config.bootstrap_token = Setting::program(None);
        let place = match &*config.redis {
            Some(address) => format!("with the Redis at {address}"),
            None => "in memory".to_owned(),
        };
        terminal.note(&format!(
            "TARTARUS_ADDR is not set: this run has an Olympus of its own, {place}"
        ));
        actix_rt::System::new().block_on(async {
            let mut served = serve(config).await.map_err(|e| bad_start(&e))?;
            let client = until_ready(&served).await?;
            let mut agent = Some(start_agent(&served, dir.path()).await?);
            let done = tokio::select! {
                done = work(client) => done,
                ended = served.ended() => {
                    return Err(match ended {
                        Ok(()) => Failure::failed("the embedded Olympus ended"),
                        Err(error) => bad_start(&error),
                    });
                }
                fatal = agent_ended(&mut agent) => return Err(fatal),
            };
            end(served, agent).await?;
            done
        })
    }
}

/// A directory that is gone with the run.
fn own_dir() -> Result<TempDir, Failure> {
    tempfile::Builder::new().prefix("tartarus-").tempdir().map_err(|e| {
        Failure::failed(format!(
            "no directory for an embedded Olympus: {e}; make the one for temporary files (TMPDIR) \
             writable"
        ))
    })
}

/// A token that was made at this start is shown once, to whoever started it.
fn show_token(served: &Served) -> Result<(), Failure> {
    match &served.new_token {
        Some(token) => print::write(format!("TARTARUS_TOKEN={}\n", token.reveal()).as_bytes()),
        None => Ok(()),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn bad_config(error: &ConfigError) -> Failure {
    Failure::Code { code: ConfigError::EXIT_CODE, message: error.to_string() }
}

fn bad_start(error: &StartError) -> Failure {
    Failure::Code { code: error.exit_code(), message: error.to_string() }
}

//! The start of an agent, and its end.
//!
//! Owns:   the thread an agent lives on: its heartbeats must not wait for anyone else's work.
//! Says:   a [`Handle`] once the node is proved fit to register, or a [`StartError`].
//! Never:  registers a node that enforces less than was demanded.
//! Proof:  `tests/node/rules.rs`.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use sandbox::{Home, Images, Isolation};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::attempt;
use crate::config::{Config, Demanded, odd_labels};
use crate::identity::Identity;
use crate::node::{Agent, Fatal};
use crate::obeyed;
use crate::reconcile::Core;
use crate::session::Bearer;
use crate::spool;

/// Stopped on request.
const EXIT_STOPPED: u8 = 0;
/// Bad configuration, which includes a node that can't do what is demanded of it.
const EXIT_CONFIG: u8 = 2;

/// Why an agent can't start on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error("cannot use TARTARUS_DATA_DIR={path:?}: {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The data directory, as far as sandboxes need it; another agent may be using it.
    #[error("{}", chain(.0))]
    Home(#[from] sandbox::HomeError),
    /// The runtime.
    #[error("TARTARUS_RUNTIME: {}", chain(.0))]
    Runtime(#[from] sandbox::RuntimeError),
    /// The probe found less than is demanded.
    #[error(
        "this node does not enforce {}; give the agent what it needs, or name what may be missing in \
         TARTARUS_ISOLATION_MAY_MISS", listed(.0)
    )]
    Isolation(Vec<(String, String)>),
    /// No thread or no event loop.
    #[error("cannot start the agent's thread: {0}")]
    Thread(#[from] io::Error),
}

fn listed(missing: &[(String, String)]) -> String {
    let items: Vec<String> = missing.iter().map(|(name, why)| format!("{name} ({why})")).collect();
    items.join(", ")
}

/// An error and its causes, in one sentence.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// A running agent. Dropped, it stops without grace.
#[derive(Debug)]
pub struct Handle {
    leave: Option<oneshot::Sender<u64>>,
    grace_ms: u64,
    ended: oneshot::Receiver<Result<(), Fatal>>,
    isolation: Isolation,
}

impl Handle {
    /// What the probe found.
    #[must_use]
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Tells the agent to stop, with the grace of its configuration; [`Handle::ended`] says when it
    /// has.
    pub fn stop(&mut self) {
        if let Some(leave) = self.leave.take() {
            // An agent that has ended need not be told.
            let _ = leave.send(self.grace_ms);
        }
    }

    /// Waits for the agent's end. Everything it ran is dead then.
    ///
    /// # Errors
    /// [`Fatal`] when Olympus refused the node for good.
    pub async fn ended(&mut self) -> Result<(), Fatal> {
        // Without a sender the thread is over: a panic would have ended the process.
        (&mut self.ended).await.unwrap_or(Ok(()))
    }
}

/// Starts an agent on a thread of its own: removes what an earlier one left, proves what sandboxes
/// enforce here, and opens the session. Returns before the session is open: Olympus may come later.
///
/// # Errors
/// [`StartError`] when this machine or its configuration does not allow it.
pub async fn start(config: Config) -> Result<Handle, StartError> {
    let (leave, left) = oneshot::channel();
    let (ready, started) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let grace_ms = u64::try_from(config.drain_grace.as_millis()).unwrap_or(u64::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("agent".into()).spawn(move || {
        let outcome = runtime.block_on(async {
            match prepare(config).await {
                Ok((agent, isolation)) => {
                    // Whoever does not wait for the start still gets an agent.
                    let _ = ready.send(Ok(isolation));
                    Some(agent.run(left).await)
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    None
                }
            }
        });
        // What blocks (an image being unpacked) is not waited for.
        runtime.shutdown_background();
        if let Some(outcome) = outcome {
            let _ = end.send(outcome);
        }
    })?;
    let isolation = started
        .await
        .unwrap_or_else(|_| Err(StartError::Thread(io::Error::other("it ended early"))))?;
    Ok(Handle { leave: Some(leave), grace_ms, ended, isolation })
}

async fn prepare(config: Config) -> Result<(Agent, Isolation), StartError> {
    let data_dir = config.data_dir.clone();
    let bad_dir = |source| StartError::DataDir { path: data_dir.clone(), source };

    // The lock comes first: nothing of another agent's is touched.
    let home = Home::open(&data_dir, config.node.as_str())?;
    let leftovers = sandbox::remove_leftovers(&home);
    log::debug!(leftovers:? = leftovers; "removed what an earlier agent left");
    let spools = prepare_spools(&data_dir).map_err(bad_dir)?;
    let images = Images::open(&data_dir).map_err(bad_dir)?;

    for odd in odd_labels(&config.labels) {
        log::warn!("HADES_LABEL: {odd}");
    }
    let runtime = sandbox::runtime(&config.runtime, home)?;
    let isolation = sandbox::probe(&*runtime).await;
    for (name, why) in &isolation.missing {
        log::warn!(feature = name.as_str(), reason = why.as_str(); "isolation is not enforced");
    }
    if let Some(missing) = unmet(&config.isolation, &isolation) {
        return Err(StartError::Isolation(missing));
    }

    let identity = Identity {
        node: config.node,
        boot: Uuid::new_v4(),
        labels: config.labels,
        capacity: config.capacity,
        isolation: isolation.enforced.iter().map(|name| name.as_str().into()).collect(),
        runtime: runtime.name().into(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    log::info!(
        node = identity.node.as_str(),
        boot:% = identity.boot,
        runtime = &*identity.runtime,
        cpu_milli = identity.capacity.cpu_milli,
        mem_mb = identity.capacity.mem_mb,
        gpu = identity.capacity.gpu;
        "agent ready"
    );
    let core = Core::new(identity, obeyed::load(&data_dir), spools);
    let node = attempt::Node { runtime: Arc::from(runtime), images: Arc::new(images) };
    let name = secret::said_by("TARTARUS_TOKEN", config.token_file.as_deref());
    let token = config.token.map(|token| Bearer { token, name });
    let agent = Agent::new(core, Arc::new(node), config.olympus, token, data_dir);
    Ok((agent, isolation))
}

/// An empty directory for spools; an earlier agent's have no name and need no removal.
fn prepare_spools(data_dir: &Path) -> io::Result<Arc<Path>> {
    let dir = spool::dir_in(data_dir);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    Ok(Arc::from(dir))
}

/// What is demanded and not enforced, where there is such.
fn unmet(demanded: &Demanded, isolation: &Isolation) -> Option<Vec<(String, String)>> {
    let Demanded::AllBut(may_miss) = demanded else { return None };
    let missing = isolation.missing.iter().filter(|(name, _)| !may_miss.contains(name));
    let missing: Vec<(String, String)> = missing.cloned().collect();
    (!missing.is_empty()).then_some(missing)
}

/// The process `tartarus agent`: runs until SIGTERM or SIGINT, a second one of which ends it at once.
/// Returns the exit code (`docs/operations.md`): 0 stopped on request, 2 bad configuration.
#[must_use]
pub fn serve(config: Config) -> u8 {
    config.log();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("cannot start: {error}");
            return EXIT_CONFIG;
        }
    };
    runtime.block_on(async {
        let (mut term, mut int) =
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(term), Ok(int)) => (term, int),
                (Err(error), _) | (_, Err(error)) => {
                    log::error!("cannot listen for signals: {error}");
                    return EXIT_CONFIG;
                }
            };
        let mut handle = match start(config).await {
            Ok(handle) => handle,
            Err(error) => {
                log::error!("{error}");
                return EXIT_CONFIG;
            }
        };
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = handle.ended() => match ended {
                    Ok(()) => return EXIT_STOPPED,
                    Err(fatal) => {
                        log::error!("{fatal}");
                        return EXIT_CONFIG;
                    }
                },
                Some(()) = term.recv() => {}
                Some(()) = int.recv() => {}
            }
            if stopping {
                log::warn!("stopping at once");
                return EXIT_STOPPED;
            }
            stopping = true;
            handle.stop();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolation(missing: &[&str]) -> Isolation {
        let missing = missing.iter().map(|name| ((*name).to_owned(), "because".to_owned()));
        Isolation { missing: missing.collect(), ..Isolation::default() }
    }

    #[test]
    fn a_node_is_refused_for_what_is_missing_and_was_not_named() {
        let but = |names: &[&str]| {
            Demanded::AllBut(names.iter().map(|name| (*name).to_owned()).collect())
        };
        let check = |demanded: &Demanded, missing: &[&str], refused: &[&str]| {
            let unmet = unmet(demanded, &isolation(missing)).unwrap_or_default();
            let names: Vec<&str> = unmet.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, refused, "{demanded:?} {missing:?}");
        };
        check(&Demanded::Nothing, &["seccomp"], &[]);
        check(&but(&[]), &[], &[]);
        check(&but(&[]), &["seccomp"], &["seccomp"]);
        check(&but(&["user-ns"]), &["user-ns"], &[]);
        check(&but(&["user-ns"]), &["user-ns", "seccomp"], &["seccomp"]);
    }

    #[test]
    fn the_refusal_names_feature_reason_and_variable() {
        let text = StartError::Isolation(isolation(&["seccomp"]).missing).to_string();
        for word in ["seccomp", "because", "TARTARUS_ISOLATION_MAY_MISS"] {
            assert!(text.contains(word), "{text}");
        }
    }
}

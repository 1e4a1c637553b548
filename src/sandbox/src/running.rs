//! The agent's hold on one running sandbox.
//!
//! Owns:   the keeper process, the socket to it, and the two outputs.
//! Says:   [`Ended`] once, to everyone who waits.
//! Never:  waits for a reader: the end comes whether or not anyone reads the output.
//! Fails:  a keeper that goes without a word is [`Lost`]; what it kept is then killed and removed
//!         from here.
//! Proof:  `tests/hostile.rs`.

use std::{io, os::fd::OwnedFd, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    Ended, Home, LaunchError, Lost, Usage, leftovers,
    wire::{self, Ask, Order, Tell},
};

/// What a sandbox writes: readable with tokio, at its end when nothing in the sandbox can write any
/// more.
pub type Output = tokio::net::unix::pipe::Receiver;

type End = Option<Result<Ended, Lost>>;

/// A running sandbox. Dropping it kills everything in it.
#[derive(Debug)]
pub struct Sandbox {
    stdout: Option<Output>,
    stderr: Option<Output>,
    missing: Vec<(String, String)>,
    stops: mpsc::UnboundedSender<Duration>,
    end: watch::Receiver<End>,
}

impl Sandbox {
    /// Its standard output, the first time it is asked for.
    pub fn take_stdout(&mut self) -> Option<Output> {
        self.stdout.take()
    }

    /// Its standard error, the first time it is asked for.
    pub fn take_stderr(&mut self) -> Option<Output> {
        self.stderr.take()
    }

    /// The features of [`crate::Isolation::FEATURES`] this sandbox was started without, and why.
    #[must_use]
    pub fn missing(&self) -> &[(String, String)] {
        &self.missing
    }

    /// Asks the command to end (SIGTERM), and kills everything in the sandbox when `grace` is over.
    /// Returns at once; [`Sandbox::wait`] tells the end. Asked again, only an earlier end counts.
    pub fn stop(&self, grace: Duration) {
        // A keeper that is gone needs no stopping.
        let _ = self.stops.send(grace);
    }

    /// How it ended, for any number of callers, at any time.
    ///
    /// # Errors
    /// [`Lost`] when the keeper was killed.
    pub async fn wait(&self) -> Result<Ended, Lost> {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_else(|| Err(Lost("no end was recorded".into()))),
            Err(_) => Err(Lost("the agent stopped watching it".into())),
        }
    }
}

/// Starts a keeper, gives it the order, and waits until the command runs.
pub(crate) async fn launch(
    home: Arc<Home>,
    order: Order,
    stdin: Vec<u8>,
) -> Result<Sandbox, LaunchError> {
    let place = home.keeper(&order.name).await;
    let (control, theirs) = UnixStream::pair().map_err(node("socket"))?;
    let (stdout, out) = std::io::pipe().map_err(node("pipe"))?;
    let (stderr, err) = std::io::pipe().map_err(node("pipe"))?;
    let stdout = Output::from_owned_fd(stdout.into()).map_err(node("pipe"))?;
    let stderr = Output::from_owned_fd(stderr.into()).map_err(node("pipe"))?;
    let theirs = theirs.into_std().map_err(node("socket"))?;
    theirs.set_nonblocking(false).map_err(node("socket"))?;

    // The keeper starts from nothing: no environment, so that no secret of the agent is in it.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(crate::KEEPER)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(out)))
        .stderr(Stdio::from(OwnedFd::from(err)));
    // Not killed on drop: a keeper that loses its agent kills the sandbox and cleans up after it.
    let child = command.spawn().map_err(node("the sandbox keeper"))?;
    // Closes the write ends in this process, so that the outputs can end.
    drop(command);

    // From here on a task of its own knows the keeper, so that whoever stops waiting for the launch
    // leaves nothing behind.
    let (stops, asked) = mpsc::unbounded_channel();
    let (ended, end) = watch::channel(None);
    let (begin, begun) = oneshot::channel();
    let watcher = Watcher { home, order, child, control, buffer: Vec::new(), asked, held: true };
    tokio::spawn(async move {
        watcher.watch(stdin, begin, ended).await;
        drop(place);
    });
    let missing = begun.await.unwrap_or_else(|_| {
        Err(LaunchError::Node("the agent stopped watching the launch".to_owned()))
    })?;
    Ok(Sandbox { stdout: Some(stdout), stderr: Some(stderr), missing, stops, end })
}

fn node(what: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
    move |error| LaunchError::Node(format!("{what}: {error}"))
}

type Begun = oneshot::Sender<Result<Vec<(String, String)>, LaunchError>>;

/// Knows one keeper, for as long as it lives.
struct Watcher {
    home: Arc<Home>,
    order: Order,
    child: Child,
    control: UnixStream,
    buffer: Vec<u8>,
    asked: mpsc::UnboundedReceiver<Duration>,
    /// Whether anyone still holds the sandbox, or waits for its launch.
    held: bool,
}

impl Watcher {
    async fn watch(mut self, stdin: Vec<u8>, begin: Begun, ended: watch::Sender<End>) {
        let mut begin = Some(begin);
        let why = match self.give_order(stdin).await {
            Ok(()) => self.listen(&mut begin, &ended).await,
            Err(error) => format!("its keeper takes no order: {error}"),
        };
        let Watcher { home, order, mut child, control, .. } = self;
        drop(control);
        let status = child.wait().await;
        if let Some(begin) = begin {
            leftovers::remove_one(&home, &order).await;
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            let _ = begin.send(Err(LaunchError::Node(format!("{why} ({status})"))));
        } else if ended.borrow().is_none() {
            leftovers::remove_one(&home, &order).await;
            ended.send_replace(Some(Err(Lost(why))));
        }
    }

    async fn give_order(&mut self, stdin: Vec<u8>) -> io::Result<()> {
        self.control.write_all(&wire::encode(&self.order)?).await?;
        self.control.write_all(&wire::frame(&stdin)).await
    }

    /// Until the keeper has no more to say; returns why, should that be too early.
    async fn listen(&mut self, begin: &mut Option<Begun>, ended: &watch::Sender<End>) -> String {
        loop {
            tokio::select! {
                stop = self.asked.recv(), if self.held => {
                    // No grace for a sandbox nobody holds any more.
                    self.held = stop.is_some();
                    let grace_ms = stop.map_or(0, |grace| grace.as_millis() as u64);
                    let Ok(frame) = wire::encode(&Ask::Stop { grace_ms }) else { continue };
                    // A keeper that can't be told is ending; its end of stream comes next.
                    let _ = self.control.write_all(&frame).await;
                }
                tell = next(&mut self.control, &mut self.buffer) => match tell {
                    Ok(Some(Tell::Started { missing })) => {
                        if let Some(begin) = begin.take() {
                            // Nobody waits: `asked` has ended, too.
                            let _ = begin.send(Ok(missing));
                        }
                    }
                    Ok(Some(Tell::Refused(refused))) => {
                        if let Some(begin) = begin.take() {
                            let _ = begin.send(Err(refused.into()));
                        }
                        // There is no end where there was no beginning.
                        ended.send_replace(Some(Err(Lost("it did not start".to_owned()))));
                    }
                    Ok(Some(Tell::Ended {
                        exit_code, signal, out_of_memory, cpu_ms, max_rss_mb, wall_ms,
                    })) => {
                        let usage = Usage { cpu_ms, max_rss_mb, wall_ms };
                        let end = Ended { exit_code, signal, out_of_memory, usage };
                        ended.send_replace(Some(Ok(end)));
                    }
                    Ok(Some(Tell::Warn(what))) => {
                        log::warn!(sandbox = self.order.name.as_str(); "{what}");
                    }
                    Ok(None) => return "its keeper was killed".to_owned(),
                    Err(error) => return format!("its keeper can't be heard: {error}"),
                },
            }
        }
    }
}

/// The keeper's next message. Safe to cancel: what was read stays in the buffer.
async fn next(control: &mut UnixStream, buffer: &mut Vec<u8>) -> io::Result<Option<Tell>> {
    loop {
        if let Some(tell) = wire::take(buffer)? {
            return Ok(Some(tell));
        }
        if control.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

//! The agent's hold on one running sandbox.
//!
//! Owns:   the keeper process, the socket to it, and the two outputs.
//! Says:   [`Ended`] once, to everyone who waits.
//! Never:  waits for a reader: the end comes whether or not anyone reads the output.
//! Fails:  a keeper that goes without a word is [`Lost`]; what it kept is then killed and removed
//!         from here.
//! Proof:  `tests/hostile.rs`.

use std::{io, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    sync::{mpsc, watch},
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
    let keeper = home.keeper(&order.name).await;
    let node = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| LaunchError::Node(format!("{what}: {error}"))
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(node("socket"))?;
    let (stdout, out) = std::io::pipe().map_err(node("pipe"))?;
    let (stderr, err) = std::io::pipe().map_err(node("pipe"))?;
    ours.set_nonblocking(true).map_err(node("socket"))?;
    let mut control = UnixStream::from_std(ours).map_err(node("socket"))?;
    let stdout = Output::from_owned_fd(stdout.into()).map_err(node("pipe"))?;
    let stderr = Output::from_owned_fd(stderr.into()).map_err(node("pipe"))?;

    // The keeper starts from nothing: no environment, so that no secret of the agent is in it.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(crate::KEEPER)
        .env_clear()
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(out)))
        .stderr(Stdio::from(std::os::fd::OwnedFd::from(err)));
    // Not killed on drop: a keeper that loses its agent kills the sandbox and cleans up after it.
    let mut child = command.spawn().map_err(node("the sandbox keeper"))?;
    // Closes the write ends in this process, so that the outputs can end.
    drop(command);

    let mut bytes = wire::encode(&order).map_err(node("order"))?;
    bytes.extend(wire::frame(&stdin));
    control.write_all(&bytes).await.map_err(node("order"))?;
    drop((bytes, stdin));

    let mut buffer = Vec::new();
    let missing = match next(&mut control, &mut buffer).await {
        Ok(Some(Tell::Started { missing })) => missing,
        Ok(Some(Tell::Refused(refused))) => {
            let _ = child.wait().await;
            return Err(refused.into());
        }
        other => {
            drop(control);
            let status = child.wait().await;
            leftovers::remove_one(&home, &order).await;
            return Err(LaunchError::Node(format!(
                "the sandbox keeper ended early ({status:?}, {other:?})"
            )));
        }
    };

    let (stops, asked) = mpsc::unbounded_channel();
    let (ended, end) = watch::channel(None);
    tokio::spawn(async move {
        watch_over(home, order, child, control, buffer, asked, ended).await;
        drop(keeper);
    });
    Ok(Sandbox { stdout: Some(stdout), stderr: Some(stderr), missing, stops, end })
}

/// Lives as long as the keeper does.
async fn watch_over(
    home: Arc<Home>,
    order: Order,
    mut child: Child,
    mut control: UnixStream,
    mut buffer: Vec<u8>,
    mut asked: mpsc::UnboundedReceiver<Duration>,
    ended: watch::Sender<End>,
) {
    let mut held = true;
    let why = loop {
        tokio::select! {
            stop = asked.recv(), if held => {
                // No grace for a sandbox nobody holds any more.
                held = stop.is_some();
                let grace_ms = stop.map_or(0, |grace| grace.as_millis() as u64);
                let Ok(frame) = wire::encode(&Ask::Stop { grace_ms }) else { continue };
                // A keeper that can't be told is ending; its end of stream comes next.
                let _ = control.write_all(&frame).await;
            }
            tell = next(&mut control, &mut buffer) => match tell {
                Ok(Some(Tell::Ended { exit_code, signal, out_of_memory, cpu_ms, max_rss_mb, wall_ms })) => {
                    let usage = Usage { cpu_ms, max_rss_mb, wall_ms };
                    ended.send_replace(Some(Ok(Ended { exit_code, signal, out_of_memory, usage })));
                }
                Ok(Some(Tell::Warn(what))) => log::warn!(sandbox = order.name.as_str(); "{what}"),
                Ok(Some(Tell::Started { .. } | Tell::Refused(_))) => break "it spoke out of turn".to_owned(),
                Ok(None) => break "its keeper was killed".to_owned(),
                Err(error) => break format!("its keeper can't be heard: {error}"),
            },
        }
    };
    drop(control);
    let _ = child.wait().await;
    if ended.borrow().is_none() {
        leftovers::remove_one(&home, &order).await;
        ended.send_replace(Some(Err(Lost(why))));
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

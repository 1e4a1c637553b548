//! One attempt: a sandbox from launch to end, and its output on the way out.
//!
//! Owns:   the sandbox, the wall clock limit, and the question why it ended.
//! Hears:  an [`AttemptSpec`], and [`Order`]s.
//! Says:   [`Input`]s: launched, wrote, ended, in that order.
//! Never:  knows the session; waits for anyone but a full channel, which slows the program down.
//! Fails:  a node that can't make the sandbox is an end like any other (`sandbox_failed`).
//! Proof:  the tests below; `tests/node/attempts.rs` with real sandboxes.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::session::{AttemptRef, AttemptSpec, CHUNK_BYTES, Stream, Terms};
use domain::event::{Exit, ExitCause, Usage};
use domain::law::RootFs;
use sandbox::{Ended, LaunchError, Limits, Lost, Runtime, Sandbox, Spec};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock;
use crate::reconcile::{End, Input, Written};
use crate::start::chain;

/// Processes and threads of one attempt: enough for a parallel build on a large machine, far below
/// what makes a kernel slow.
const PIDS: u32 = 512;

/// Most of `/tmp` in MiB, and never more than half of the memory it counts against.
const TMP_MB: u32 = 64;

/// The first chunks go out one by one, as they are written.
const EAGER_CHUNKS: u32 = 256;

/// After those, a program that writes in small pieces is read at most this often per stream: the pipe
/// gathers the pieces. Nobody sees five milliseconds; the journal of a day of single bytes does.
const PACE: Duration = Duration::from_millis(5);

/// A read of this much is no small piece.
const PACE_BELOW: usize = 4 * 1024;

/// Beyond the limit, output is read to be thrown away, and at most this often: a program that writes
/// for ever costs the agent a few percent of a core, and still writes 64 MB a second.
const DISCARD_PACE: Duration = Duration::from_millis(1);

/// When everything in the sandbox is dead, its pipes are at their end; a pipe that is not is given
/// up after this.
const PIPES_CLOSE: Duration = Duration::from_secs(5);

/// A sandbox must be made by then: unpacking a large image takes minutes, and a runtime or a disk that
/// hangs must not hold a run for ever.
const LAUNCH_WITHIN: Duration = Duration::from_secs(600);

/// What an attempt needs of its node.
pub(crate) struct Node {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) images: Arc<sandbox::Images>,
}

/// What an attempt is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Order {
    /// SIGTERM, the grace, SIGKILL.
    Stop,
    /// SIGKILL.
    Kill,
}

/// Why this side ended it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ordered {
    Canceled,
    TimedOut,
}

/// Runs an attempt to its end. Dropped, it kills what it runs.
pub(crate) async fn run(
    node: Arc<Node>,
    of: AttemptRef,
    spec: Box<AttemptSpec>,
    terms: Terms,
    mut orders: mpsc::UnboundedReceiver<Order>,
    inputs: mpsc::Sender<Input>,
) {
    let end = live(&node, of, *spec, terms, &mut orders, &inputs).await;
    // Without a receiver the agent has ended, and with it all interest.
    let _ = inputs.send(Input::Ended(of, Box::new(end))).await;
}

async fn live(
    node: &Node,
    of: AttemptRef,
    spec: AttemptSpec,
    terms: Terms,
    orders: &mut mpsc::UnboundedReceiver<Order>,
    inputs: &mpsc::Sender<Input>,
) -> End {
    let ttl = Duration::from_millis(spec.resources.ttl_ms);
    let grace = Duration::from_millis(terms.grace_ms);

    let mut stop_first = false;
    let mut give_up = None;
    let launch_by = Instant::now() + LAUNCH_WITHIN;
    let launched = {
        let mut launch = std::pin::pin!(launch(node, of, spec));
        loop {
            tokio::select! {
                launched = &mut launch => break launched,
                order = orders.recv() => match order {
                    Some(Order::Stop) => {
                        stop_first = true;
                        give_up = give_up.or_else(|| Instant::now().checked_add(grace));
                    }
                    Some(Order::Kill) | None => return End::of(canceled(), Usage::default()),
                },
                // What is dropped here is killed, as far as there is anything of it.
                () = until(give_up), if give_up.is_some() => {
                    return End::of(canceled(), Usage::default());
                }
                () = sleep_until(launch_by) => {
                    let secs = LAUNCH_WITHIN.as_secs();
                    break Err(LaunchError::Node(format!("it was not made within {secs} s")));
                }
            }
        }
    };
    let mut running = match launched {
        Ok(running) => running,
        Err(error) => return End::of(not_launched(error), Usage::default()),
    };
    // A limit beyond the end of time is none.
    let deadline = Instant::now().checked_add(ttl);
    let (stdout, stderr) = (running.take_stdout(), running.take_stderr());
    if inputs.send(Input::Launched(of)).await.is_err() {
        return End::of(canceled(), Usage::default());
    }

    let supervised = async {
        let mut ordered = stop_first.then_some(Ordered::Canceled);
        if stop_first {
            running.stop(grace);
        }
        let mut heard = true;
        loop {
            tokio::select! {
                ended = running.wait() => return (ended, ordered),
                order = orders.recv(), if heard => match order {
                    Some(Order::Stop) => {
                        ordered.get_or_insert(Ordered::Canceled);
                        running.stop(grace);
                    }
                    Some(Order::Kill) | None => {
                        heard = order.is_some();
                        ordered.get_or_insert(Ordered::Canceled);
                        running.stop(Duration::ZERO);
                    }
                },
                () = until(deadline), if ordered.is_none() => {
                    ordered = Some(Ordered::TimedOut);
                    running.stop(grace);
                }
            }
        }
    };
    let pumped = async {
        tokio::join!(
            pump(of, Stream::Stdout, stdout, terms.output_max_bytes, inputs),
            pump(of, Stream::Stderr, stderr, terms.output_max_bytes, inputs)
        );
    };
    let mut pumped = std::pin::pin!(pumped);
    let mut supervised = std::pin::pin!(supervised);
    let (ended, ordered, cut) = tokio::select! {
        (ended, ordered) = &mut supervised => {
            let cut = timeout(PIPES_CLOSE, pumped).await.is_err();
            (ended, ordered, cut)
        }
        () = &mut pumped => {
            let (ended, ordered) = supervised.await;
            (ended, ordered, false)
        }
    };
    let usage = ended.as_ref().map(|ended| ended.usage).unwrap_or_default();
    let usage =
        Usage { cpu_ms: usage.cpu_ms, max_rss_mb: usage.max_rss_mb, wall_ms: usage.wall_ms };
    End { exit: exit(ended, ordered), usage, cut }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl End {
    fn of(exit: Exit, usage: Usage) -> Self {
        End { exit, usage, cut: false }
    }
}

async fn launch(node: &Node, of: AttemptRef, spec: AttemptSpec) -> Result<Sandbox, LaunchError> {
    let rootfs = match spec.template.rootfs {
        RootFs::Host => sandbox::RootFs::Host,
        RootFs::Directory(path) | RootFs::Archive(path) => {
            let images = Arc::clone(&node.images);
            // Unpacks an archive the first time: not on the thread that keeps the session.
            tokio::task::spawn_blocking(move || images.resolve(&path))
                .await
                .map_err(|error| LaunchError::Node(error.to_string()))?
                .map(sandbox::RootFs::Dir)
                .map_err(|error| LaunchError::Node(chain(&error)))?
        }
    };
    let resources = spec.resources;
    let pairs = spec.env.into_iter();
    node.runtime
        .launch(Spec {
            // Unique on this node: tokens are.
            id: of.token.to_string(),
            rootfs,
            argv: spec.command.into_iter().map(String::from).collect(),
            env: pairs.map(|(key, value)| (key.into(), value.into())).collect(),
            cwd: String::new(),
            stdin: String::from(spec.stdin).into_bytes(),
            limits: Limits {
                cpu_milli: resources.cpu_milli,
                mem_mb: resources.mem_mb,
                pids: PIDS,
                tmp_mb: TMP_MB.min(resources.mem_mb / 2).max(1),
            },
        })
        .await
}

thread_local! {
    // One read buffer for all pipes of a thread: it is never held across an await.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK_BYTES]);
}

/// Passes on what a stream says until its end. Goes on reading when nobody wants it any more: a
/// program must not hang because it writes too much.
async fn pump(
    of: AttemptRef,
    stream: Stream,
    output: Option<sandbox::Output>,
    max_bytes: u64,
    inputs: &mpsc::Sender<Input>,
) {
    let Some(output) = output else { return };
    let mut chunks = 0_u32;
    let mut bytes = 0_u64;
    loop {
        if output.readable().await.is_err() {
            return;
        }
        let read = SCRATCH.with_borrow_mut(|scratch| {
            output.try_read(scratch).map(|length| scratch[..length].to_vec())
        });
        let data = match read {
            Ok(data) if data.is_empty() => return,
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                log::warn!(run:% = of.run; "output can't be read: {error}");
                return;
            }
        };
        if bytes > max_bytes {
            sleep(DISCARD_PACE).await;
            continue;
        }
        // The chunk that passes the limit is passed on: it is what says that there was more.
        bytes = bytes.saturating_add(data.len() as u64);
        let small = data.len() < PACE_BELOW;
        let written = Written { stream, time_ms: clock::wall_ms(), data };
        if inputs.send(Input::Wrote(of, written)).await.is_err() {
            return;
        }
        chunks = chunks.saturating_add(1);
        if small && chunks > EAGER_CHUNKS {
            sleep(PACE).await;
        }
    }
}

fn canceled() -> Exit {
    Exit { cause: ExitCause::Canceled, code: None, signal: None, message: None }
}

fn not_launched(error: LaunchError) -> Exit {
    let (cause, code) = match &error {
        LaunchError::Command { exit_code, .. } => (ExitCause::NotExecutable, Some(*exit_code)),
        LaunchError::Spec(_) => (ExitCause::NotExecutable, None),
        LaunchError::Node(_) => (ExitCause::SandboxFailed, None),
    };
    Exit { cause, code, signal: None, message: Some(error.to_string().into()) }
}

/// Why it ended: what this side did to it comes before what the kernel did, since being stopped for
/// good reason is no fault of memory.
fn exit(ended: Result<Ended, Lost>, ordered: Option<Ordered>) -> Exit {
    let ended = match ended {
        Ok(ended) => ended,
        Err(lost) => {
            return Exit {
                cause: match ordered {
                    Some(Ordered::Canceled) => ExitCause::Canceled,
                    Some(Ordered::TimedOut) => ExitCause::TimedOut,
                    None => ExitCause::SandboxFailed,
                },
                code: None,
                signal: None,
                message: Some(lost.to_string().into()),
            };
        }
    };
    let cause = match ordered {
        Some(Ordered::Canceled) => ExitCause::Canceled,
        Some(Ordered::TimedOut) => ExitCause::TimedOut,
        None if ended.out_of_memory => ExitCause::OutOfMemory,
        None => ExitCause::Exited,
    };
    Exit { cause, code: ended.exit_code, signal: ended.signal, message: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: Option<i32>, signal: Option<i32>, out_of_memory: bool) -> Ended {
        Ended { exit_code, signal, out_of_memory, usage: sandbox::Usage::default() }
    }

    #[test]
    fn the_cause_is_the_first_reason_it_could_not_go_on() {
        let check = |ended: Ended, ordered, cause| {
            let exit = exit(Ok(ended), ordered);
            assert_eq!(
                (exit.cause, exit.code, exit.signal),
                (cause, ended.exit_code, ended.signal)
            );
        };
        check(ended(Some(0), None, false), None, ExitCause::Exited);
        check(ended(Some(7), None, false), None, ExitCause::Exited);
        check(ended(None, Some(11), false), None, ExitCause::Exited);
        check(ended(None, Some(9), true), None, ExitCause::OutOfMemory);
        check(ended(None, Some(15), false), Some(Ordered::TimedOut), ExitCause::TimedOut);
        check(ended(Some(0), None, false), Some(Ordered::TimedOut), ExitCause::TimedOut);
        check(ended(None, Some(9), true), Some(Ordered::Canceled), ExitCause::Canceled);
    }

    #[test]
    fn a_sandbox_that_vanished_is_the_nodes_fault_unless_it_was_told_to_end() {
        let lost = || Err(Lost("its keeper was killed".into()));
        let check = |ordered, cause| assert_eq!(exit(lost(), ordered).cause, cause);
        check(None, ExitCause::SandboxFailed);
        check(Some(Ordered::Canceled), ExitCause::Canceled);
        check(Some(Ordered::TimedOut), ExitCause::TimedOut);
    }

    #[test]
    fn a_launch_that_failed_says_whose_fault_it_was() {
        let check = |error, cause, code| {
            let exit = not_launched(error);
            assert_eq!((exit.cause, exit.code), (cause, code));
            assert!(exit.message.is_some_and(|message| message.contains("because")));
        };
        let because = || "because".to_owned();
        let command = LaunchError::Command { exit_code: 127, message: because() };
        check(command, ExitCause::NotExecutable, Some(127));
        check(LaunchError::Spec(because()), ExitCause::NotExecutable, None);
        check(LaunchError::Node(because()), ExitCause::SandboxFailed, None);
    }
}

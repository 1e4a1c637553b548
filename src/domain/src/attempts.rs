//! What becomes of a run whose attempt is over: again, after which pause, or the end.
//!
//! Never:  draws a number: what spreads a pause is an input, and stands in the event.

use crate::event::{End, Event, ExitCause, FailReason, LostCause, Next, RunLost};
use crate::ids::{NodeId, Timestamp};
use crate::runs::Run;
use crate::submission::{OnLost, Retry};

/// What becomes of a run whose attempt ended with a report.
///
/// `chance` is any number: see [`Retry::jittered`].
pub(crate) fn after_exit(
    run: &Run,
    at: Timestamp,
    cause: ExitCause,
    code: Option<i32>,
    chance: u64,
) -> Next {
    if run.cancel_requested {
        return Next::End(End::Canceled);
    }
    let reason = match (cause, code) {
        (ExitCause::Exited, Some(0)) => return Next::End(End::Succeeded),
        (ExitCause::Exited, Some(_)) => FailReason::NonZeroExit,
        (ExitCause::Exited | ExitCause::Canceled, _) => FailReason::Signaled,
        (ExitCause::TimedOut, _) => FailReason::TimedOut,
        (ExitCause::OutOfMemory, _) => FailReason::OutOfMemory,
        (ExitCause::NotExecutable, _) => FailReason::NotExecutable,
        (ExitCause::SandboxFailed, _) => {
            // The program never ran: the node's fault, so another try does not count as one.
            return after_loss_of(run, at, FailReason::SandboxFailed, chance);
        }
    };
    let retry = run.submission().retry;
    let failed = run.failures + 1;
    if failed < retry.max_attempts {
        Next::Again { not_before: at.plus(Retry::jittered(retry.pause_ms(failed), chance)) }
    } else if retry.max_attempts > 1 {
        Next::End(End::Failed(FailReason::OutOfAttempts))
    } else {
        Next::End(End::Failed(reason))
    }
}

/// What becomes of a run whose attempt is over without having failed by itself.
fn after_loss_of(run: &Run, at: Timestamp, reason: FailReason, chance: u64) -> Next {
    if run.cancel_requested {
        Next::End(End::Canceled)
    } else if run.losses + 1 > OnLost::MAX_LOSSES {
        Next::End(End::Failed(reason))
    } else {
        // A broken node must not be asked again at once: a second, doubling with each loss.
        let pause_ms = match reason {
            FailReason::SandboxFailed => 1_000 << run.losses,
            FailReason::NonZeroExit
            | FailReason::Signaled
            | FailReason::TimedOut
            | FailReason::OutOfMemory
            | FailReason::NotExecutable
            | FailReason::NodeLost
            | FailReason::OutOfAttempts => 0,
        };
        Next::Again { not_before: at.plus(Retry::jittered(pause_ms, chance)) }
    }
}

/// The event that an attempt is over without a report of its end.
pub(crate) fn lost(run: &Run, at: Timestamp, node: NodeId, cause: LostCause) -> Event {
    let next = match run.submission().on_lost {
        OnLost::Fail if !run.cancel_requested => Next::End(End::Failed(FailReason::NodeLost)),
        // Being moved for an operator says nothing about the run, and does not count.
        OnLost::Retry if cause == LostCause::Drained && !run.cancel_requested => {
            Next::Again { not_before: at }
        }
        // It is given away at once: there is no pause to spread.
        OnLost::Fail | OnLost::Retry => after_loss_of(run, at, FailReason::OutOfAttempts, 0),
    };
    Event::RunLost(RunLost { run: run.id(), at, attempt: run.attempt, node, cause, next })
}

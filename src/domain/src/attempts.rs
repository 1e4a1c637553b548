//! What becomes of a run whose attempt is over: again, after which pause, in quarantine, or the end.
//!
//! Never:  draws a number: what spreads a pause is an input, and stands in the event.
//! Proof:  `tests/rules/retry.rs`, `tests/rules/dead.rs`, `tests/rules/poison.rs`.

use std::sync::Arc;

use crate::event::{End, Event, ExitCause, FailReason, LostCause, Next, RunLost, RunQuarantined};
use crate::ids::{NodeId, Timestamp};
use crate::kept::HOUSE;
use crate::law::{Losses, Poison};
use crate::runs::{Run, Status};
use crate::submission::{OnLost, Retry};
use crate::world::World;

/// What becomes of a run whose attempt ended with a report.
///
/// `chance` is any number: see [`Retry::jittered`].
pub(crate) fn after_exit(
    world: &World,
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
            return unmade(world, run, at, chance);
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

/// What becomes of a run whose sandbox could not be made. The program never ran, so that another try
/// counts as none of its own, and is safe whatever its `on_lost`.
fn unmade(world: &World, run: &Run, at: Timestamp, chance: u64) -> Next {
    if run.cancel_requested {
        return Next::End(End::Canceled);
    }
    if run.losses < OnLost::MAX_LOSSES {
        // A broken node must not be asked again at once: a second, doubling with each loss.
        let pause_ms = 1_000 << run.losses;
        return Next::Again { not_before: at.plus(Retry::jittered(pause_ms, chance)) };
    }
    // Until there was this level it was no dead letter, though there is nothing to mend in the run.
    let dead = world.kept.level() >= HOUSE;
    let reason = if dead { FailReason::OutOfAttempts } else { FailReason::SandboxFailed };
    Next::End(End::Failed(reason))
}

/// The events that an attempt is over without a report of its end.
pub(crate) fn lost(
    world: &World,
    run: &Run,
    at: Timestamp,
    node: NodeId,
    cause: LostCause,
) -> Vec<Event> {
    let again = Next::Again { not_before: at };
    let (next, quarantined) = if run.cancel_requested {
        (Next::End(End::Canceled), None)
    } else {
        match (run.submission().on_lost, cause) {
            (OnLost::Fail, _) => (Next::End(End::Failed(FailReason::NodeLost)), None),
            // Being moved for an operator says nothing about the run, and does not count.
            (OnLost::Retry, LostCause::Drained) => (again, None),
            (
                OnLost::Retry,
                LostCause::NodeLost | LostCause::NodeRestarted | LostCause::Unknown,
            ) => match poison(world, run, run.losses + 1) {
                None => (again, None),
                Some(Poison::Quarantine) => {
                    (again, Some(quarantined(run, at, node.clone(), run.losses + 1)))
                }
                Some(Poison::DeadLetter) => {
                    (Next::End(End::Failed(FailReason::OutOfAttempts)), None)
                }
            },
        }
    };
    let lost = RunLost { run: run.id(), at, attempt: run.attempt, node, cause, next };
    [Event::RunLost(lost)].into_iter().chain(quarantined).collect()
}

/// What becomes of a run with so many losses, as the policy says that it was judged by; none where
/// they are not too many. A sandbox that was not made is no loss of a node: with those together there
/// may be too many, and yet nothing is wrong with the run.
fn poison(world: &World, run: &Run, losses: u32) -> Option<Poison> {
    let Losses { retries, then } = world.law.losses(&run.judgement().policy);
    if losses - run.unmade <= retries {
        return (losses > OnLost::MAX_LOSSES).then_some(Poison::DeadLetter);
    }
    // Once: what was lost in quarantine, or after an operator had let it go, is looked at no more.
    let fresh = !run.is_quarantined() && run.released.is_none();
    match then {
        Poison::Quarantine if fresh && run.judgement().quarantine_on => Some(Poison::Quarantine),
        Poison::Quarantine | Poison::DeadLetter => Some(Poison::DeadLetter),
    }
}

fn quarantined(run: &Run, at: Timestamp, node: NodeId, losses: u32) -> Event {
    Event::RunQuarantined(Arc::new(RunQuarantined {
        run: run.id(),
        at,
        tenant: run.submission().tenant().into(),
        attempt: run.attempt,
        node,
        losses: losses - run.unmade,
        policy: run.judgement().policy.clone(),
    }))
}

/// The event that sends a run to quarantine which has just been lost with its node, decided again
/// after that loss; none where nothing sends it there.
pub(crate) fn quarantined_again(world: &World, run: &Run, at: Timestamp) -> Option<Event> {
    let lost = run.status == Status::Pending
        && matches!(
            run.last_loss,
            Some(LostCause::NodeLost | LostCause::NodeRestarted | LostCause::Unknown)
        );
    let poisoned = lost && poison(world, run, run.losses) == Some(Poison::Quarantine);
    let node = run.node.clone().filter(|_| poisoned)?;
    Some(quarantined(run, at, node, run.losses))
}

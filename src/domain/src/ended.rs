//! A finished run as one packed slice.
//!
//! What its key in the table says, or what it would say twice, is left out, and times are kept as
//! distances from its birth: a house remembers far more finished runs than others. Its idempotency
//! key is left out too: repeats are answered from [`crate::keys`], and the journal has the text. For
//! memory and snapshots; the journal has shapes of its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{
    End, Exit, LostCause, Next, Origin, Output, Place, Principal, RejectCode, RunAdmitted,
    RunFinished, RunQuarantined, RunRefused, RunRejected, RunReleased, Usage,
};
use crate::ids::{Hex, NodeId, RunId, Sequence, Timestamp};
use crate::judge::Judgement;
use crate::pack::{pack, unpack, unpack_first};
use crate::runs::{Birth, Past, Run, Status};
use crate::submission::{Pool, Submission};

/// What the two kinds of birth do not share.
#[derive(Serialize, Deserialize)]
enum Kind {
    Admitted { place: Place, redrive_of: Option<RunId> },
    Rejected(RejectCode),
}

/// Both births, read back. Written as a tuple of references of the same shape.
type BirthRead = (Kind, Timestamp, Principal, Hex<16>, Arc<Submission>, Arc<Judgement>);

/// All but the birth. Distances are in milliseconds after it, and wrap.
type LifeRead = (Attempts, Option<NodeId>, Times, Option<ExitRead>, Ending);
type Attempts = (u32, u32, u32, u32, u32, bool);
type Times = (Option<u64>, Option<u64>, Option<u64>, Option<u64>);
type Ending = (Option<(Pool, bool)>, Option<LostCause>, Option<End>, Word);
/// Why it went to quarantine later, what an operator said of it there, and its attempts before the
/// latest.
type Word =
    (Option<Arc<RunQuarantined>>, Option<Arc<RunReleased>>, Option<Arc<RunRefused>>, Vec<Past>);
/// Its node is none where it is the run's.
type ExitRead = (u64, u32, Option<NodeId>, Exit, Usage, Output, Next);

/// Packs a run, the entry that changed it last in front. [`unpack_run`] is its inverse for every run
/// there can be, but for its key.
pub(crate) fn pack_run(run: &Run) -> Box<[u8]> {
    let (kind, at, origin) = match &run.birth {
        Birth::Admitted(e) => {
            let kind = Kind::Admitted { place: e.place, redrive_of: e.redrive_of };
            (kind, e.at, &e.origin)
        }
        Birth::Rejected(e) => (Kind::Rejected(e.code), e.at, &e.origin),
    };
    let request = Hex(*origin.request.as_bytes());
    let judgement = match &run.birth {
        Birth::Admitted(e) => &e.judgement,
        Birth::Rejected(e) => &e.judgement,
    };
    let birth = (kind, at, &origin.by, request, run.submission(), judgement);
    let after = |time: Timestamp| time.0.wrapping_sub(at.0);
    let times: Times = (
        run.scheduled_at.map(after),
        run.started_at.map(after),
        run.finished_at.map(after),
        run.not_before.map(after),
    );
    let exit = run.last_exit.as_deref().map(|e| {
        let elsewhere = Some(&e.node).filter(|node| Some(*node) != run.node.as_ref());
        (after(e.at), e.attempt, elsewhere, &e.exit, e.usage, &e.output, e.next)
    });
    let attempts: Attempts =
        (run.attempt, run.failures, run.losses, run.unmade, run.moves, run.cancel_requested);
    let word =
        (run.quarantined.clone(), run.released.clone(), run.refused.clone(), run.past.clone());
    let ending: Ending = (run.pool, run.last_loss, run.end, word);
    pack(&(run.index, birth, (attempts, &run.node, times, exit, ending)))
}

/// Unpacks what [`pack_run`] made of the run `id` in this same process.
pub(crate) fn unpack_run(id: RunId, status: Status, packed: &[u8]) -> Run {
    let (index, birth, life): (Sequence, BirthRead, LifeRead) = unpack(packed);
    let (kind, at, by, request, submission, judgement) = birth;
    let (run, origin) = (id, Origin { by, request: uuid::Uuid::from_bytes(request.0) });
    let birth = match kind {
        Kind::Admitted { place, redrive_of } => Birth::Admitted(Arc::new(RunAdmitted {
            run,
            at,
            origin,
            submission,
            key: None,
            judgement,
            place,
            redrive_of,
        })),
        Kind::Rejected(code) => Birth::Rejected(Arc::new(RunRejected {
            run,
            at,
            origin,
            submission,
            key: None,
            judgement,
            code,
        })),
    };
    let (attempts, node, times, exit, ending) = life;
    let (attempt, failures, losses, unmade, moves, cancel_requested) = attempts;
    let (pool, last_loss, end, (quarantined, released, refused, past)) = ending;
    let time = |after: u64| Timestamp(at.0.wrapping_add(after));
    let last_exit = exit.and_then(|(at, attempt, elsewhere, exit, usage, output, next)| {
        let (at, node) = (time(at), elsewhere.or_else(|| node.clone())?);
        Some(Arc::new(RunFinished { run, at, attempt, node, exit, usage, output, next }))
    });
    Run {
        birth,
        status,
        attempt,
        failures,
        losses,
        unmade,
        moves,
        cancel_requested,
        node,
        pool,
        scheduled_at: times.0.map(time),
        started_at: times.1.map(time),
        finished_at: times.2.map(time),
        not_before: times.3.map(time),
        last_exit,
        last_loss,
        end,
        past,
        released,
        refused,
        quarantined,
        index,
    }
}

/// A packed run, taken apart: the entry that changed it last, and all that was decided of it.
pub(crate) fn without_index(packed: &[u8]) -> (Sequence, &[u8]) {
    unpack_first(packed).expect("packed with its entry in front")
}

/// The inverse of [`without_index`].
pub(crate) fn with_index(index: Sequence, decided: &[u8]) -> Box<[u8]> {
    let index = pack(&index);
    let mut packed = Vec::with_capacity(index.len() + decided.len());
    packed.extend_from_slice(&index);
    packed.extend_from_slice(decided);
    packed.into()
}

/// A run as [`unpack_run`] gives it back.
pub(crate) fn without_key(run: &Run) -> Run {
    let mut run = run.clone();
    match &mut run.birth {
        Birth::Admitted(e) => Arc::make_mut(e).key = None,
        Birth::Rejected(e) => Arc::make_mut(e).key = None,
    }
    run
}

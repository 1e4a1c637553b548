//! The writer: insists until the fate of a batch is known.
//!
//! Owns:   the loop around [`Journal::append`], a ring of what was sealed lately and of what was read
//!         before, and the health that the edge reads.
//! Hears:  sealed entries, one at a time.
//! Says:   [`Outcome`], and [`Health`] through a watch channel.
//! Never:  builds another batch for a sequence, or calls a batch in doubt "failed": the same bytes
//!         are resent until the journal says OK, DUP or CONFLICT.
//! Fails:  a journal that lost its tail is given it back, as far as the ring reaches; one that is
//!         damaged or lost more ends it for good ([`FailStop`]), with everything that may be missing
//!         in hand.
//! Proof:  `tests/writer.rs`, `tests/replies.rs` (every row of the reply table), `tests/kills.rs`.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::chain::{Sealed, Tail};
use crate::ids::EntryId;
use crate::limits::{REFUSED_BACKOFF, RING_BYTES, UNKNOWN_BACKOFF};
use crate::port::{Appended, Journal, Refused, Settled};

/// A commit that waits longer than this for replicas makes the writer degraded: new work is then
/// refused instead of piled up.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// How the writer is, as the edge needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Appends succeed.
    Leading,
    /// The journal refuses for now, and says so: writes get 503, reads go on.
    Degraded {
        /// What it says.
        reason: Arc<str>,
        /// Since when.
        since: Instant,
    },
    /// The journal does not answer, or gave an answer that settles nothing.
    Suspect {
        /// What was seen.
        reason: Arc<str>,
        /// Since when.
        since: Instant,
    },
    /// Another instance writes this journal now.
    SteppedDown,
    /// The journal must not be written any more; only an operator changes that.
    FailStop {
        /// Why.
        reason: Arc<str>,
    },
}

impl Health {
    /// Whether new work may be taken in.
    pub fn accepts(&self) -> bool {
        matches!(self, Self::Leading)
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "answers may leave only after Committed"]
pub enum Outcome {
    /// It is in the journal, as durable as configured.
    Committed,
    /// Another leader wrote. This writer is done.
    SteppedDown(SteppedDown),
    /// The journal must not be written any more. This writer is done.
    Failed(FailStop),
}

/// Another history was found in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteppedDown {
    /// The newest entry there.
    pub head: EntryId,
    /// Whether the batch at hand is part of that history: its answers may then be released. Otherwise
    /// it was not written, and never will be.
    pub written: bool,
    /// Committed entries that are not part of that history. Never empty without an incident: keep
    /// them ([`export`]).
    pub lost: Vec<Sealed>,
}

/// The end of writing. Whether the batch at hand was written is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailStop {
    /// Why.
    pub reason: FailReason,
    /// Entries of the ring that the journal may lack, committed ones and the batch at hand: keep
    /// them ([`export`]).
    pub held: Vec<Sealed>,
}

/// Why writing ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// The journal is damaged or refuses for good.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The journal ends before what was committed: it lost its tail.
    #[error(
        "the journal lost what was written: its newest entry is {head}, and {committed} was \
         committed"
    )]
    RolledBack {
        /// Its newest entry.
        head: EntryId,
        /// The last entry known to be committed.
        committed: EntryId,
    },
    /// The writer had ended before.
    #[error("this writer has stepped down")]
    Ended,
}

/// The only user of [`Journal::append`].
pub struct Writer {
    journal: Arc<dyn Journal>,
    health: watch::Sender<Health>,
    committed: EntryId,
    ring: VecDeque<Sealed>,
    ring_bytes: usize,
    /// Whether this writer has committed something itself.
    wrote: bool,
    ended: Option<FailReason>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("journal", &self.journal)
            .field("committed", &self.committed)
            .field("health", &*self.health.borrow())
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer that goes on after `tail`.
    pub fn new(journal: Arc<dyn Journal>, tail: Tail) -> Self {
        Self {
            journal,
            health: watch::Sender::new(Health::Leading),
            committed: tail.position.id(),
            ring: VecDeque::new(),
            ring_bytes: 0,
            wrote: false,
            ended: None,
        }
    }

    /// With the entries that were read last, up to the tail, to give them back as its own.
    #[must_use]
    pub fn remembering(mut self, read: impl IntoIterator<Item = Sealed>) -> Self {
        read.into_iter().for_each(|entry| self.keep(entry));
        self
    }

    /// How it is, now and later.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// The last entry known to be in the journal.
    pub fn committed(&self) -> EntryId {
        self.committed
    }

    /// Appends, and returns when the fate of the batch is known, however long that takes. Entries
    /// come in the order they were sealed in. Dropping the future leaves the batch in doubt; the
    /// same entry may then be committed again.
    pub async fn commit(&mut self, sealed: &Sealed) -> Outcome {
        self.insist(Some(sealed), false).await
    }

    /// Looks where the journal ends, as a batch would: asked before an answer leaves that writes
    /// nothing, which was decided from what this writer knows, and now and then while there is nothing
    /// to write. Committed means that nobody else has written since, and that nothing is missing: a
    /// journal that lost its tail is given it back. `whole` also asks whether all of it is there still.
    pub async fn confirm(&mut self, whole: bool) -> Outcome {
        self.insist(None, whole).await
    }

    async fn insist(&mut self, sealed: Option<&Sealed>, whole: bool) -> Outcome {
        if let Some(reason) = &self.ended {
            return Outcome::Failed(FailStop { reason: reason.clone(), held: Vec::new() });
        }
        let mut trying = Trying::default();
        loop {
            let tried = match sealed {
                Some(sealed) => self.journal.append(sealed).await,
                None => self.journal.confirm(self.committed, whole).await,
            };
            match tried {
                Appended::Committed { duplicate } => {
                    let Some(sealed) = sealed else { break };
                    if duplicate {
                        log::info!(entry:% = sealed.id(), tries = trying.tries; "found the lost reply of an append");
                    }
                    if self.settle(sealed).await {
                        break;
                    }
                    log::warn!(entry:% = sealed.id(); "the journal lost what was not settled: append it again");
                    trying.pause(REFUSED_BACKOFF).await;
                }
                Appended::Conflict { head } if head.seq < self.committed.seq => {
                    if let Err(outcome) = self.put_back(sealed, head, &mut trying).await {
                        return outcome;
                    }
                }
                Appended::Conflict { head } => return self.conflict(sealed, head).await,
                Appended::Damaged(refused) => return self.fail(sealed, refused.into()),
                Appended::Busy(reason) | Appended::WrongServer(reason) => {
                    self.degraded(&mut trying, reason);
                    trying.pause(REFUSED_BACKOFF).await;
                }
                Appended::Unreachable(reason) | Appended::Unknown(reason) => {
                    self.suspect(&mut trying, reason);
                    trying.pause(UNKNOWN_BACKOFF).await;
                }
            }
        }
        if let Some(sealed) = sealed {
            self.keep(sealed.clone());
            self.committed = sealed.id();
            self.wrote = true;
        }
        self.set_health(Health::Leading);
        Outcome::Committed
    }

    /// Waits until an entry is as durable as configured; says whether it is, or is not there any more.
    async fn settle(&self, sealed: &Sealed) -> bool {
        let mut trying = Trying::default();
        loop {
            match self.journal.settle(sealed).await {
                Settled::Durable => return true,
                Settled::Gone => return false,
                Settled::NotYet(reason) => {
                    if trying.since.elapsed() > SETTLE_PATIENCE {
                        self.degraded(&mut trying, reason);
                    }
                    trying.pause(REFUSED_BACKOFF).await;
                }
            }
        }
    }

    /// Redis lost its tail, and ends with an entry that this writer went on from: what came after is
    /// appended again, byte for byte, as far as that goes. Whatever stands in the way is met again
    /// when the batch at hand is tried, or the journal is looked at.
    async fn put_back(
        &mut self,
        sealed: Option<&Sealed>,
        head: EntryId,
        trying: &mut Trying,
    ) -> Result<(), Outcome> {
        let missing: Vec<Sealed> =
            self.ring.iter().filter(|kept| kept.seq() > head.seq).cloned().collect();
        let first = missing.first().map(Sealed::prev_id);
        if first.is_some_and(|before| before.seq == head.seq && before != head) {
            // Another went on from an earlier entry, and is not as far yet.
            return Err(self.conflict(sealed, head).await);
        }
        if first != Some(head) {
            let committed = self.committed;
            return Err(self.fail(sealed, FailReason::RolledBack { head, committed }));
        }
        log::error!(
            head:% = head, entries = missing.len();
            "the journal lost what was written: put it back"
        );
        for kept in &missing {
            match self.journal.append(kept).await {
                Appended::Committed { .. } if self.settle(kept).await => {}
                Appended::Damaged(refused) => return Err(self.fail(sealed, refused.into())),
                // Another look says who is there, and how far the journal reaches.
                Appended::Committed { .. } | Appended::Conflict { .. } => {
                    trying.pause(REFUSED_BACKOFF).await;
                    break;
                }
                Appended::Busy(reason)
                | Appended::WrongServer(reason)
                | Appended::Unreachable(reason)
                | Appended::Unknown(reason) => {
                    self.suspect(trying, reason);
                    trying.pause(UNKNOWN_BACKOFF).await;
                    break;
                }
            }
        }
        Ok(())
    }

    async fn conflict(&mut self, sealed: Option<&Sealed>, head: EntryId) -> Outcome {
        let written = match sealed {
            Some(sealed) => self.surely_keeps(sealed).await,
            None => false,
        };
        let mut lost = Vec::new();
        if !written {
            for kept in self.ring.iter().rev() {
                if self.surely_contains(kept.id()).await {
                    break;
                }
                lost.push(kept.clone());
            }
            lost.reverse();
            // Nothing was committed by this writer yet, and what it went on from is gone.
            if !self.wrote && !self.surely_contains(self.committed).await {
                let committed = self.committed;
                return self.fail(sealed, FailReason::RolledBack { head, committed });
            }
        }
        self.ended = Some(FailReason::Ended);
        self.set_health(Health::SteppedDown);
        log::warn!(head:% = head, written, lost = lost.len(); "another instance writes the journal");
        Outcome::SteppedDown(SteppedDown { head, written, lost })
    }

    /// Whether an entry is part of the history that goes on, as durable as configured: whoever has
    /// written behind it may still wait for replicas.
    async fn surely_keeps(&self, sealed: &Sealed) -> bool {
        let mut trying = Trying::default();
        while self.surely_contains(sealed.id()).await {
            if self.settle(sealed).await {
                return true;
            }
            self.suspect(&mut trying, "an entry is there and gone by turns".into());
            trying.pause(UNKNOWN_BACKOFF).await;
        }
        false
    }

    async fn surely_contains(&self, id: EntryId) -> bool {
        let mut trying = Trying::default();
        loop {
            match self.journal.contains(id).await {
                Ok(found) => return found,
                Err(trouble) => {
                    self.suspect(&mut trying, trouble.to_string().into());
                    trying.pause(UNKNOWN_BACKOFF).await;
                }
            }
        }
    }

    fn fail(&mut self, sealed: Option<&Sealed>, reason: FailReason) -> Outcome {
        let present = match &reason {
            FailReason::RolledBack { head, .. } => head.seq,
            FailReason::Refused(_) | FailReason::Ended => 0,
        };
        let held = self.ring.drain(..).chain(sealed.cloned());
        let held = held.filter(|kept| kept.seq() > present).collect();
        let last = sealed.map_or(self.committed, Sealed::id);
        log::error!(entry:% = last, reason:% = reason; "stopped writing the journal");
        self.set_health(Health::FailStop { reason: reason.to_string().into() });
        self.ended = Some(reason.clone());
        Outcome::Failed(FailStop { reason, held })
    }

    fn keep(&mut self, sealed: Sealed) {
        self.ring_bytes += sealed.bytes().len();
        self.ring.push_back(sealed);
        while self.ring_bytes > RING_BYTES
            && let Some(oldest) = self.ring.pop_front()
        {
            self.ring_bytes -= oldest.bytes().len();
        }
    }

    fn degraded(&self, trying: &mut Trying, reason: Arc<str>) {
        trying.note(&reason);
        self.set_health(Health::Degraded { reason, since: trying.since });
    }

    fn suspect(&self, trying: &mut Trying, reason: Arc<str>) {
        trying.note(&reason);
        self.set_health(Health::Suspect { reason, since: trying.since });
    }

    fn set_health(&self, health: Health) {
        self.health.send_if_modified(|before| {
            let changed = *before != health;
            if changed {
                *before = health;
            }
            changed
        });
    }
}

/// One batch's tries.
struct Trying {
    since: Instant,
    tries: u32,
    pause: Duration,
    last: Option<Arc<str>>,
}

impl Default for Trying {
    fn default() -> Self {
        Self { since: Instant::now(), tries: 0, pause: Duration::ZERO, last: None }
    }
}

impl Trying {
    /// Logs a reason once, however often it comes in a row.
    fn note(&mut self, reason: &Arc<str>) {
        self.tries += 1;
        if self.last.as_ref() != Some(reason) {
            log::warn!(reason:% = reason, tries = self.tries; "the journal does not answer as it should yet");
            self.last = Some(reason.clone());
        }
    }

    async fn pause(&mut self, (first, longest): (Duration, Duration)) {
        self.pause = (self.pause * 2).clamp(first, longest);
        sleep(self.pause).await;
    }
}

/// Writes entries that the journal may lack to a new file `<first>-<last>-<hash>.entries` in
/// `dir`, each as its length (u32, little-endian) and its bytes, and flushes it to the disk.
///
/// # Errors
/// The file system's own.
pub fn export(dir: &Path, entries: &[Sealed]) -> std::io::Result<Option<std::path::PathBuf>> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Ok(None);
    };
    let name = format!("{}-{}-{:016x}.entries", first.seq(), last.seq(), last.id().h64);
    std::fs::create_dir_all(dir)?;
    let path = dir.join(name);
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    for entry in entries {
        let bytes = entry.bytes();
        // At most MAX_BODY_BYTES and a header: far below u32.
        file.write_all(&(bytes.len() as u32).to_le_bytes())?;
        file.write_all(bytes)?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(Some(path))
}

//! A follower: a replay that never ends, until the leader's key is free or its process is gone.
//!
//! Owns:   the place up to which the journal was folded here, the last entries of it, and what is seen
//!         of who leads.
//! Hears:  the journal, page by page; the leader's key; the wire to its process.
//! Says:   every entry to the folds, as a leader's journal actor does.
//! Never:  writes, but for what it has read and the journal has lost, and that with the key in hand; takes
//!         a key that is not free, but that of a process that is gone;
//!         believes that it leads because it holds the key: the barrier says so.
//! Fails:  a journal that does not answer is asked again, and reads go on meanwhile; one that trimming
//!         took out of reach is replayed; one that has lost what was folded here, and is not given it
//!         back, or holds what can't be read, ends the following for good.
//! Proof:  `tests/tests/live/followers.rs`, `tests/tests/faults`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::{Event, Sequence};
use journal::{
    Appended, CheckError, Claim, Cursor, Entry, EntryFault, EntryId, Journal, Lease, NotAcquired,
    ReadError, Receipt, Sealed, Tail, Trouble, catalog,
};
use olympus_actors::journal::LOOK_EVERY;
use olympus_actors::publish::{Batch, Subscribers};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::wire::Watch;

/// How often the leader's key is asked for while another instance holds it: fail-over then adds at
/// most this to the key's own time.
const CLAIM_EVERY: Duration = Duration::from_millis(150);
/// How often the journal is asked for more: what was written anywhere is read here so soon.
const READ_EVERY: Duration = Duration::from_millis(20);
/// A journal that ends before what was read of it is given so long to be given it back by its leader.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(10);
const _: () = assert!(PUT_BACK_WITHIN.as_millis() >= 5 * LOOK_EVERY.as_millis());
/// Bytes of entries that are kept to give them back, should Redis have lost them with the leader: an
/// append-only file that is written through each second loses some two seconds.
const RING_BYTES: usize = 16 << 20;
/// A leader whose key was not seen for so long is taken for gone: the key lives 1.5 s.
const LEADER_SEEN_WITHIN: Duration = Duration::from_secs(2);

/// What a follower sees.
#[derive(Clone, Debug)]
pub struct Sight {
    /// URL of the leader.
    pub leader: Option<String>,
    /// When its key was last seen.
    pub seen: Instant,
    /// The last reign that has begun in the journal.
    pub reign: Reign,
    /// The newest entry of the journal.
    pub head: Sequence,
    /// Since when the journal ends before what was folded here: the numbers of entries say nothing then,
    /// since others may write other entries under them. It is seen at the next look at the journal.
    pub shrunk: Option<Instant>,
    /// Why the journal can't be asked.
    pub trouble: Option<String>,
}

/// Who writes the journal since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Number of the reign.
    pub epoch: u64,
    /// URL of its leader, where it began while this instance followed.
    pub url: Option<String>,
}

impl Sight {
    /// The leader, if it was there a moment ago.
    pub fn live_leader(&self) -> Option<&str> {
        self.leader.as_deref().filter(|_| self.seen.elapsed() < LEADER_SEEN_WITHIN)
    }
}

/// Why a follower does not get on.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    /// The journal does not answer.
    #[error("{0}")]
    For(Trouble),
    /// What comes next has left the journal: it lies in the archive, where a replay looks.
    #[error("{0}")]
    Behind(String),
    /// The journal ends here, before what was read of it.
    #[error("the journal ends with {0}, before what was read of it")]
    Shrunk(EntryId),
    /// Its journal is not this one any more.
    #[error("{0}")]
    Ever(String),
}

impl From<Trouble> for Stuck {
    fn from(trouble: Trouble) -> Self {
        Self::For(trouble)
    }
}

/// See the module.
pub struct Follower {
    journal: Arc<dyn Journal>,
    cursor: Cursor,
    /// What was read last.
    ring: VecDeque<Entry>,
    ring_bytes: usize,
    sight: watch::Sender<Sight>,
}

impl Follower {
    /// A follower that has folded everything up to `tail`.
    pub fn new(journal: Arc<dyn Journal>, tail: Tail) -> Self {
        let head = tail.position.seq;
        let reign = Reign { epoch: tail.epoch, url: None };
        let seen = Instant::now();
        let sight = Sight { leader: None, seen, reign, head, shrunk: None, trouble: None };
        let (cursor, sight) = (Cursor::at(tail), watch::Sender::new(sight));
        Self { journal, cursor, ring: VecDeque::new(), ring_bytes: 0, sight }
    }

    /// What it sees, now and later.
    pub fn sight(&self) -> watch::Receiver<Sight> {
        self.sight.subscribe()
    }

    /// Follows until the leader's key is this instance's. `caught_up` is called once, when another
    /// instance leads and all that it had written was folded.
    ///
    /// # Errors
    /// The journal can't be followed any more.
    pub async fn until_leading(
        &mut self,
        claim: Claim,
        watch: &mut Watch,
        to: &Subscribers,
        caught_up: impl FnOnce(),
    ) -> Result<Lease, Stuck> {
        let (mut caught_up, mut denied, mut at_end) = (Some(caught_up), None, false);
        let (mut claims, mut reads) = (interval(CLAIM_EVERY), interval(READ_EVERY));
        claims.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reads.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let got_on = tokio::select! {
                // Asking for the key is the rarer, and must not wait behind reading.
                biased;
                _ = claims.tick() => match self.ask(&claim, watch).await {
                    Ok(lease) => return Ok(lease),
                    Err(NotAcquired::Other { holder, .. }) => {
                        watch.watch(&holder);
                        self.saw(&holder);
                        self.look_ahead().await
                    }
                    Err(NotAcquired::Trouble(trouble)) => Err(trouble.into()),
                },
                () = watch.until_gone() => {
                    self.sight.send_modify(|sight| sight.leader = None);
                    claims.reset_immediately();
                    continue;
                }
                _ = reads.tick() => {
                    let before = self.epoch();
                    let read = self.read(to).await;
                    // Of what may be read: replicas may lack what is there.
                    at_end = read.is_ok() && self.sight.borrow().leader.is_some();
                    // Who has begun to write is seen at once, not with the next look at the key.
                    if self.epoch() != before {
                        claims.reset_immediately();
                    }
                    read
                }
            };
            match got_on {
                // What was read may still be more than there is.
                Ok(()) if self.shrunk().is_none() => self.heal(),
                Ok(()) => {}
                Err(Stuck::For(trouble)) => {
                    // What is denied because a key is something else by now does not pass.
                    let due = denied.is_none_or(|last: Instant| last.elapsed() > LOOK_EVERY);
                    if matches!(trouble, Trouble::Denied(_)) && due {
                        denied = Some(Instant::now());
                        if let Err(CheckError::Refused(refusal)) = self.journal.check().await {
                            return Err(Stuck::Ever(refusal.to_string()));
                        }
                    }
                    self.suffer(trouble.to_string());
                }
                Err(Stuck::Shrunk(head)) => {
                    let why = self.lost(head);
                    let since = self.shrunk().unwrap_or_else(Instant::now);
                    self.sight.send_if_modified(|sight| sight.shrunk.replace(since).is_none());
                    if since.elapsed() > PUT_BACK_WITHIN {
                        return Err(Stuck::Ever(why));
                    }
                    self.suffer(why);
                }
                Err(stuck) => return Err(stuck),
            }
            if at_end && let Some(caught_up) = caught_up.take() {
                caught_up();
            }
        }
    }

    /// Asks for the leader's key: once for that of a process that is gone.
    async fn ask(&self, claim: &Claim, watch: &mut Watch) -> Result<Lease, NotAcquired> {
        let Some(gone) = watch.gone() else {
            return Lease::acquire(self.journal.clone(), claim.clone()).await;
        };
        let seized = Lease::seize(self.journal.clone(), gone, claim.clone()).await;
        if seized.is_ok() {
            log::warn!(leader = gone.url.as_str(); "the leader is gone: take its key");
        }
        // A journal that does not answer is asked again.
        if !matches!(seized, Err(NotAcquired::Trouble(_))) {
            watch.settle();
        }
        seized
    }

    /// Folds all that there is, and gives back what the journal lost of what was read of it. To be
    /// called with the leader's key in hand.
    ///
    /// # Errors
    /// The journal does not answer, or is not this one any more.
    pub async fn catch_up(&mut self, to: &Subscribers) -> Result<Tail, Stuck> {
        // Whoever is to write it next asks first whether all of it is there.
        match self.journal.check().await {
            Ok(_) => {}
            Err(CheckError::Trouble(trouble)) => return Err(trouble.into()),
            Err(CheckError::Refused(refusal)) => return Err(Stuck::Ever(refusal.to_string())),
        }
        self.read(to).await?;
        match self.look_ahead().await {
            Err(Stuck::Shrunk(head)) => {
                self.put_back(head).await?;
                self.sight.send_if_modified(|sight| sight.shrunk.take().is_some());
            }
            Err(stuck) => return Err(stuck),
            Ok(()) => {
                let (read, head) = (self.cursor.seq(), self.sight.borrow().head);
                if read < head {
                    let why = format!("it ends with entry {head}, and may be read up to {read}");
                    return Err(Trouble::Busy(why.into()).into());
                }
            }
        }
        self.cursor.tail().ok_or_else(|| Stuck::Ever("nothing was folded".into()))
    }

    /// What was read last, for whoever goes on to write.
    pub fn take_read(&mut self) -> impl Iterator<Item = Sealed> + use<> {
        self.ring_bytes = 0;
        std::mem::take(&mut self.ring).into_iter().map(Sealed::from)
    }

    async fn put_back(&mut self, head: EntryId) -> Result<(), Stuck> {
        let missing = self.ring.iter().filter(|entry| entry.seq() > head.seq);
        let missing: Vec<Sealed> = missing.cloned().map(Sealed::from).collect();
        if missing.first().is_none_or(|first| first.prev_id() != head) {
            return Err(Stuck::Ever(self.lost(head)));
        }
        log::error!(
            head:% = Receipt(head), entries = missing.len();
            "the journal lost what was written: put it back"
        );
        for entry in &missing {
            match self.journal.append(entry).await {
                Appended::Committed { .. } => {}
                Appended::Damaged(refused) => return Err(Stuck::Ever(refused.to_string())),
                Appended::Conflict { head } => return Err(Stuck::Shrunk(head)),
                Appended::Busy(why)
                | Appended::WrongServer(why)
                | Appended::Unreachable(why)
                | Appended::Unknown(why) => return Err(Trouble::Unreachable(why).into()),
            }
        }
        Ok(())
    }

    /// Reads to the end, and says it to all.
    async fn read(&mut self, to: &Subscribers) -> Result<(), Stuck> {
        loop {
            let page = match self.journal.read(&self.cursor).await {
                Ok(page) => page,
                Err(ReadError::Trouble(trouble)) => return Err(trouble.into()),
                Err(ReadError::Damaged(damaged)) => {
                    let oldest = self.journal.stored(1, 1).await?;
                    let trimmed = oldest.first().is_some_and(|(id, _)| id.seq == damaged.id.seq);
                    let trimmed = trimmed && matches!(damaged.fault, EntryFault::Gap { .. });
                    return Err(match trimmed {
                        true => Stuck::Behind(format!("left behind: {damaged}")),
                        false => Stuck::Ever(damaged.to_string()),
                    });
                }
            };
            if page.entries.is_empty() {
                return Ok(());
            }
            for entry in page.entries {
                let batch = batch(&entry)?;
                self.reigns(&batch);
                to.publish(&Arc::new(batch));
                self.keep(entry);
            }
            self.cursor = page.next;
        }
    }

    /// Looks where the journal ends: not before what was folded here.
    async fn look_ahead(&mut self) -> Result<(), Stuck> {
        let head = match self.journal.head().await {
            Ok(head) => head,
            Err(CheckError::Trouble(trouble)) => return Err(trouble.into()),
            Err(CheckError::Refused(refusal)) => return Err(Stuck::Ever(refusal.to_string())),
        };
        if let Some(folded) = self.folded() {
            if head.seq < folded.seq {
                return Err(Stuck::Shrunk(head));
            }
            let other = head.seq == folded.seq && head != folded;
            if other || self.shrunk().is_some() && !self.journal.contains(folded).await? {
                return Err(Stuck::Ever(self.lost(head)));
            }
        }
        self.sight.send_if_modified(|sight| {
            let moved = std::mem::replace(&mut sight.head, head.seq) != head.seq;
            sight.shrunk.take().is_some() || moved
        });
        Ok(())
    }

    fn shrunk(&self) -> Option<Instant> {
        self.sight.borrow().shrunk
    }

    fn folded(&self) -> Option<EntryId> {
        self.cursor.tail().map(|tail| tail.position.id())
    }

    fn lost(&self, head: EntryId) -> String {
        let read = self.folded().map_or_else(String::new, |id| Receipt(id).to_string());
        format!(
            "the journal lost what this instance has read of it: its newest entry is {}, and \
             {read} was read",
            Receipt(head)
        )
    }

    fn keep(&mut self, entry: Entry) {
        self.ring_bytes += entry.bytes().len();
        self.ring.push_back(entry);
        while self.ring_bytes > RING_BYTES
            && let Some(oldest) = self.ring.pop_front()
        {
            self.ring_bytes -= oldest.bytes().len();
        }
    }

    fn saw(&self, holder: &str) {
        let url = holder.split_once(' ').map_or(holder, |(_, url)| url);
        self.sight.send_modify(|sight| {
            if sight.leader.as_deref() != Some(url) {
                log::info!(leader = url; "follow");
                sight.leader = Some(url.to_owned());
            }
            sight.seen = Instant::now();
        });
    }

    fn epoch(&self) -> u64 {
        self.sight.borrow().reign.epoch
    }

    fn reigns(&self, batch: &Batch) {
        let begun = batch.events.iter().find_map(|event| {
            if let Event::LeaderStarted(started) = event { Some(&started.url) } else { None }
        });
        if let Some(url) = begun {
            let reign = Reign { epoch: batch.epoch, url: Some(url.to_string()) };
            self.sight.send_modify(|sight| sight.reign = reign);
        }
    }

    fn heal(&self) {
        self.sight.send_if_modified(|sight| sight.trouble.take().is_some());
    }

    fn suffer(&self, why: String) {
        self.sight.send_if_modified(|sight| {
            let news = sight.trouble.as_ref() != Some(&why);
            if news {
                log::warn!(error = why.as_str(); "could not follow the journal");
                sight.trouble = Some(why);
            }
            news
        });
    }
}

/// An entry, as the folds hear of it.
fn batch(entry: &Entry) -> Result<Batch, Stuck> {
    let events = catalog::events(entry).map(|event| event.map(|(_, event)| event));
    let events: Result<Vec<_>, _> = events.collect();
    let header = entry.header();
    Ok(Batch {
        index: entry.seq(),
        receipt: Receipt(entry.id()),
        hash: entry.position().hash,
        epoch: header.epoch,
        written_here: false,
        bytes: entry.bytes().len() as u64,
        events: events.map_err(|unreadable| Stuck::Ever(unreadable.to_string()))?,
    })
}

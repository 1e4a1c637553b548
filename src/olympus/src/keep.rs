//! The keeper: snapshots, the archive, and what may leave Redis.
//!
//! Owns:   one thread of low priority, with connections of its own to the journal; at most one
//!         of them works at a time. The leader's does it all; a follower's makes snapshots only, of the
//!         entries that the leader made them of (see [`beside`]).
//! Hears:  how many bytes were written; nothing of what was decided but what the journal says.
//! Says:   to the registry, what is stored, and only once it was read back: the rest is the law's
//!         (`domain::kept`).
//! Never:  asks registry or view for the state: a snapshot is a replay, and that is its proof too.
//!         Removes an entry that no durable event lets leave.
//! Fails:  with one warning, and tries again: an archive that is away stops trimming, nothing else.
//! Proof:  `tests/tests/kept`, the contract of [`Journal::trim`].

mod archive;
mod beside;
pub mod lent;
mod snapshot;

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use domain::event::{JournalArchived, JournalTrimmed, SnapshotTaken};
use domain::ids::Sequence;
use domain::kept::{Kept, MEMORY};
use domain::pieces::STATE_VERSION;
use domain::{Command, Event, Timestamp};
use journal::{EntryId, Identity, Journal, Trouble};
use olympus_actors::registry::{Enact, RegistryActor};
use olympus_actors::view::{Summarize, ViewActor};
use olympus_actors::{Failure, Mark, ask};
use replay::Snapshots;
use replay::archive::ArchiveError;
use replay::snapshot::BadSnapshot;
use replay::source::Unreadable;
use secret::Secret;
use tokio::time::sleep;

use self::archive::Archiver;

/// Bytes of journal between two snapshots where `TARTARUS_SNAPSHOT_BYTES` does not say: a start
/// folds as much in a few seconds.
pub const DEFAULT_SNAPSHOT_BYTES: u64 = 256 << 20;
/// Time between two where `TARTARUS_SNAPSHOT_EVERY` does not say.
pub const DEFAULT_SNAPSHOT_EVERY: Duration = Duration::from_secs(15 * 60);
/// Bytes of journal in a segment where `TARTARUS_ARCHIVE_BYTES` does not say: what is lost with
/// Redis at most, where nothing else is left, and what one segment holds in memory.
pub const DEFAULT_ARCHIVE_BYTES: u64 = 16 << 20;
/// By time alone a snapshot is made only for so much: less is folded in no time.
const SUBSTANTIAL_BYTES: u64 = 1 << 20;
/// Snapshots that stay: two that trimming asks for, and one to go back to.
const SNAPSHOTS: usize = 3;
/// How often the count of bytes is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Of the threads that work beside the house. At 19 a house whose every core is busy for long never
/// gets to it, and nothing leaves Redis.
const NICE: i32 = 10;
/// Pause after something did not work.
const AGAIN: Duration = Duration::from_secs(5);

/// What is kept, and where.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Where snapshots lie.
    pub snapshots: Snapshots,
    /// Where the archive is: a directory, or `s3://bucket/prefix`.
    pub archive: String,
    /// Whether what is archived leaves Redis.
    pub trim: bool,
    /// Bytes of journal between two snapshots.
    pub snapshot_bytes: u64,
    /// Time between two.
    pub snapshot_every: Duration,
    /// Bytes of journal in a segment.
    pub archive_bytes: u64,
    /// How others reach this instance, which is not asked by itself for a snapshot.
    pub url: String,
    /// What other instances are asked with.
    pub token: Option<Secret>,
    /// Held by the keeper that works.
    pub turn: Arc<Mutex<()>>,
}

impl Keeping {
    /// With the snapshots of a data directory.
    pub fn new(data_dir: &std::path::Path, url: &str, config: &crate::config::Config) -> Self {
        let archive = config.archive.value.clone();
        Self {
            snapshots: Snapshots::at(data_dir.join("snapshots")),
            archive: archive.unwrap_or_else(|| default_archive(data_dir)),
            trim: *config.trim,
            snapshot_bytes: *config.snapshot_bytes,
            snapshot_every: *config.snapshot_every,
            archive_bytes: *config.archive_bytes,
            url: url.to_owned(),
            token: config.bootstrap_token.value.clone(),
            turn: Arc::default(),
        }
    }
}

fn default_archive(data_dir: &std::path::Path) -> String {
    PathBuf::from(data_dir).join("archive").display().to_string()
}

/// Why something was not done. Each is tried again.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    #[error("{0}")]
    Snapshot(#[from] BadSnapshot),
    #[error("{0}")]
    Journal(#[from] Unreadable),
    #[error("{0}")]
    Trouble(#[from] Trouble),
    #[error("{0}")]
    Asked(#[from] Failure),
    #[error("{0}")]
    Other(String),
    /// What comes behind the snapshots here has left Redis, and is not in the archive.
    #[error("{0}")]
    OutOfReach(String),
    /// This instance does not lead any more.
    #[error("the house is closed")]
    Over,
}

/// What a keeper goes on from.
pub struct Begin {
    /// A journal of its own: what it reads holds up nobody.
    pub journal: Arc<dyn Journal>,
    /// Where it looks for the level.
    pub view: Addr<ViewActor>,
    /// Whom it tells.
    pub registry: Addr<RegistryActor>,
    /// Which journal.
    pub identity: Identity,
    /// What the state says is kept.
    pub kept: Kept,
    /// Bytes written, ever growing; those since the last snapshot at first.
    pub written: Arc<AtomicU64>,
}

/// A keeper's end: it stops when this is dropped, soon and not at once.
pub struct Keeper(Arc<AtomicBool>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Keeper {
    /// Starts the leader's.
    pub fn lead(keeping: Keeping, begin: Begin) -> Self {
        Self::start(keeping.turn.clone(), |over| Work::new(keeping, begin, over).run())
    }

    /// Starts a follower's.
    pub fn follow(
        keeping: Keeping,
        journal: Arc<dyn Journal>,
        view: Addr<ViewActor>,
        identity: Identity,
    ) -> Self {
        let turn = keeping.turn.clone();
        Self::start(turn, move |over| beside::follow(keeping, journal, view, identity, over))
    }

    fn start<W: Future<Output = ()>>(
        turn: Arc<Mutex<()>>,
        work: impl FnOnce(Arc<AtomicBool>) -> W + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || {
            lower_priority();
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(work(stop)),
                Err(error) => log::error!(error:% = error; "nothing will be kept"),
            }
        });
        if let Err(error) = thread {
            log::error!(error:% = error; "nothing will be kept");
        }
        Self(over)
    }
}

/// Everybody else goes first. Where that is refused, it takes a whole share.
fn lower_priority() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICE) {
        log::debug!(error:% = error; "the keeper's priority stays as it is");
    }
}

fn prune(keeping: &Keeping, identity: Identity) -> Result<(), Undone> {
    keeping.snapshots.prune(identity, SNAPSHOTS).map_err(BadSnapshot::from)?;
    Ok(())
}

fn is_over(over: &AtomicBool) -> Result<(), Undone> {
    if over.load(Ordering::Relaxed) { Err(Undone::Over) } else { Ok(()) }
}

async fn pause(length: Duration, over: &AtomicBool) -> Result<(), Undone> {
    let until = Instant::now() + length;
    while Instant::now() < until {
        is_over(over)?;
        sleep(LOOK).await;
    }
    Ok(())
}

fn say_once(said: &mut Option<String>, what: &str, why: String) {
    if said.as_ref() != Some(&why) {
        log::warn!(reason = why.as_str(); "{what}; it is tried again");
        *said = Some(why);
    }
}

struct Work {
    keeping: Keeping,
    begin: Begin,
    over: Arc<AtomicBool>,
    archiver: Option<Archiver>,
    /// Bytes written when the last snapshot was begun, and when that was.
    snapshot_at: (u64, Instant),
    /// An event that lets entries leave: the first that stays, and the entry that says so.
    leaving: Option<(Sequence, EntryId)>,
    /// What was said to be wrong last: it is said once.
    wrong: Option<String>,
}

impl Work {
    fn new(keeping: Keeping, begin: Begin, over: Arc<AtomicBool>) -> Self {
        let snapshot_at = (0, Instant::now());
        Self { keeping, begin, over, archiver: None, snapshot_at, leaving: None, wrong: None }
    }

    fn is_over(&self) -> Result<(), Undone> {
        is_over(&self.over)
    }

    async fn run(mut self) {
        loop {
            match self.look().await {
                Ok(()) => sleep(LOOK).await,
                Err(Undone::Over) => return,
                Err(undone) => {
                    self.say("could not make a snapshot", &undone);
                    if self.pause().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits before something is tried again.
    async fn pause(&self) -> Result<(), Undone> {
        pause(AGAIN, &self.over).await
    }

    fn say(&mut self, what: &str, why: &Undone) {
        say_once(&mut self.wrong, what, why.to_string());
    }

    /// Does what is due.
    async fn look(&mut self) -> Result<(), Undone> {
        self.is_over()?;
        if self.begin.kept.level() < MEMORY {
            // Until it is raised, what is kept can't be written down.
            let seen = self.begin.view.send(Summarize).await.map_err(|_| Undone::Over)?;
            self.begin.kept = seen.kept;
            return if self.begin.kept.level() < MEMORY { self.pause().await } else { Ok(()) };
        }
        let written = self.begin.written.load(Ordering::Relaxed);
        let (at, when) = self.snapshot_at;
        let since = written - at;
        let substantial = SUBSTANTIAL_BYTES.min(self.keeping.snapshot_bytes);
        let due = since >= self.keeping.snapshot_bytes
            || since >= substantial && when.elapsed() >= self.keeping.snapshot_every;
        if let Err(undone) = self.archive(written, due).await {
            if let Undone::Over = undone {
                return Err(undone);
            }
            self.archiver = None;
            self.say("could not archive, and nothing leaves Redis meanwhile", &undone);
            if !due {
                return self.pause().await;
            }
        } else if !due && self.leaving.is_none() {
            self.wrong = None;
            return Ok(());
        }
        if due {
            // Where it fails it is as if less had been written: not every try is an event.
            self.snapshot_at = (written - since / 2, Instant::now());
            self.snapshot().await?;
            self.snapshot_at = (written, Instant::now());
        }
        self.trim().await?;
        self.wrong = None;
        Ok(())
    }

    /// Asks the registry; says where the event is.
    async fn ask(&self, command: Command) -> Result<Mark, Undone> {
        let done = ask(&self.begin.registry, |reply| Enact { command, reply }).await;
        Ok(done?.mark)
    }

    async fn archive(&mut self, written: u64, all: bool) -> Result<(), Undone> {
        if self.archiver.is_none() {
            let (journal, identity) = (self.begin.journal.clone(), self.begin.identity);
            let kept = &self.begin.kept;
            self.archiver =
                Some(Archiver::open(&self.keeping.archive, journal, identity, kept).await?);
        }
        let Some(mut archiver) = self.archiver.take() else { return Ok(()) };
        while archiver.is_due(written, self.keeping.archive_bytes, all) {
            self.is_over()?;
            let Some((through, hash)) =
                archiver.segment(self.keeping.archive_bytes, all, written).await?
            else {
                break;
            };
            if through > self.begin.kept.archived() {
                self.ask(Command::Archive { through, hash }).await?;
                let archived = JournalArchived { at: Timestamp(0), through, hash };
                self.begin.kept.evolve(&Event::JournalArchived(archived));
            }
        }
        self.archiver = Some(archiver);
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<(), Undone> {
        let began = Instant::now();
        let mark = self.ask(Command::BeginSnapshot).await?;
        let (journal, identity) = (self.begin.journal.clone(), self.begin.identity);
        let made = snapshot::make(&self.keeping, journal, identity, mark.index, &self.over).await?;
        let (index, digest, bytes, state) = (mark.index, made.digest, made.bytes, STATE_VERSION);
        self.ask(Command::TakeSnapshot { index, digest, bytes, state }).await?;
        let taken = SnapshotTaken { at: Timestamp(0), index, digest, bytes, state };
        self.begin.kept.evolve(&Event::SnapshotTaken(taken));
        log::info!(
            index, bytes, runs = made.runs, from = made.from, folded = made.events,
            ms = began.elapsed().as_millis(), path:% = made.path.display();
            "take a snapshot"
        );
        prune(&self.keeping, identity)
    }

    async fn trim(&mut self) -> Result<(), Undone> {
        if !self.keeping.trim {
            return Ok(());
        }
        let Some(archiver) = &self.archiver else { return Ok(()) };
        // Where this archive is another one than before, it may reach less far than the law knows.
        let first = self.begin.kept.trimmable().min(archiver.reached() + 1);
        if first > self.begin.kept.first() {
            let mark = self.ask(Command::Trim { first }).await?;
            let trimmed = JournalTrimmed { at: Timestamp(0), first };
            self.begin.kept.evolve(&Event::JournalTrimmed(trimmed));
            self.leaving = Some((first, mark.receipt.0));
        }
        while let Some((first, logged)) = self.leaving {
            self.is_over()?;
            let oldest = self.begin.journal.trim(first, logged).await?;
            if oldest >= first {
                log::info!(first; "trim the journal: what came before is archived");
                self.leaving = None;
            }
        }
        Ok(())
    }
}

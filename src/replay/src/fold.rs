//! Reading and verifying on one thread, decoding on another, folding on a third.
//!
//! Owns:   what may lie between them.

use std::fmt;

use api::Time;
use domain::Event;
use domain::ids::Sequence;
use journal::Entry;
use journal::catalog::{self, UnreadableRecord};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::aside::is_all_here;
use crate::source::{Over, Source};

/// Pages that were read and not folded yet: one in hand and one to come keep both threads at work.
const PAGES: usize = 2;
/// Events handed on to the fold at once: a hand-over costs as much as a few events, and what was
/// made of so many still lies in the processor's cache when they are folded.
const HANDED_OVER: u32 = 1_024;

/// A point in the life of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// After an entry.
    Sequence(Sequence),
    /// At a time: after everything that happened until then.
    Time(Time),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(sequence) => write!(f, "entry {sequence}"),
            Self::Time(time) => time.fmt(f),
        }
    }
}

impl Point {
    /// Whether an event at this place and time is later than the point.
    pub fn is_before(self, sequence: Sequence, at: domain::Timestamp) -> bool {
        match self {
            Self::Sequence(point) => sequence > point,
            Self::Time(point) => at.0 > point.0,
        }
    }
}

/// Something that entries are folded into.
pub trait Fold: Send + 'static {
    /// Folds an entry; says whether to go on.
    fn entry(&mut self, entry: &Entry) -> bool;
}

/// Something that what was made of entries is folded into.
pub trait FoldMade<T>: Send + 'static {
    /// Folds what was made of some entries, in their order; says whether to go on.
    fn made(&mut self, made: Vec<T>) -> bool;
}

/// What is made of each entry, in their order, before it is folded.
pub trait Prepare: Send + 'static {
    /// What is made of one.
    type Made: Send + 'static;

    /// Makes it.
    fn prepare(&mut self, entry: Entry) -> Self::Made;
}

/// An entry and what it says.
#[derive(Debug)]
pub struct Told {
    /// The entry.
    pub entry: Entry,
    /// What has happened; up to the fault, where there is one.
    pub events: Vec<Happened>,
    /// The first record that can't be read.
    pub fault: Option<UnreadableRecord>,
}

/// An event of an entry.
#[derive(Debug)]
pub struct Happened {
    /// Its place in the entry.
    pub n: u32,
    /// Version of its record.
    pub version: u16,
    /// What it is.
    pub event: Event,
}

impl From<Entry> for Told {
    fn from(entry: Entry) -> Self {
        let (mut events, mut fault) = (Vec::with_capacity(entry.header().records as usize), None);
        for (n, record) in (0..).zip(entry.records()) {
            match catalog::decode(&record) {
                Ok(Some(event)) => events.push(Happened { n, version: record.version, event }),
                Ok(None) => {}
                Err(why) => {
                    fault = Some(UnreadableRecord { seq: entry.seq(), n, fault: why });
                    break;
                }
            }
        }
        Self { entry, events, fault }
    }
}

/// Reads what entries say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tell;

impl Prepare for Tell {
    type Made = Told;

    fn prepare(&mut self, entry: Entry) -> Told {
        entry.into()
    }
}

/// Folds all that a source has, or until the fold has enough. `seen` hears of each entry that was
/// read, for the person who waits.
pub async fn run<F: Fold>(
    source: &mut Source,
    mut fold: F,
    seen: impl FnMut(Sequence),
) -> (F, Over) {
    if is_all_here() {
        let mut take = |page: Vec<Entry>| page.iter().all(|entry| fold.entry(entry));
        let over = read(source, To::Here(&mut take), seen).await;
        return (fold, over);
    }
    let (to, mut pages) = mpsc::channel::<Vec<Entry>>(PAGES);
    let folding = spawn_blocking(move || {
        while let Some(page) = pages.blocking_recv() {
            if !page.iter().all(|entry| fold.entry(entry)) {
                break;
            }
        }
        fold
    });
    let over = read(source, To::Aside(to), seen).await;
    (done(folding).await, over)
}

/// The same of what is made of the entries, on a thread between those that read and fold.
pub async fn prepared<P: Prepare, F: FoldMade<P::Made>>(
    source: &mut Source,
    mut prepare: P,
    mut fold: F,
    seen: impl FnMut(Sequence),
) -> (F, Over) {
    if is_all_here() {
        let mut make = |entry| prepare.prepare(entry);
        let mut take = |page: Vec<Entry>| fold.made(page.into_iter().map(&mut make).collect());
        let over = read(source, To::Here(&mut take), seen).await;
        return (fold, over);
    }
    let (to, mut pages) = mpsc::channel::<Vec<Entry>>(PAGES);
    let (to_fold, mut made) = mpsc::channel::<Vec<P::Made>>(PAGES);
    let preparing = spawn_blocking(move || {
        while let Some(page) = pages.blocking_recv() {
            let (mut next, mut records) = (Vec::new(), 0);
            for entry in page {
                records += entry.header().records;
                next.push(prepare.prepare(entry));
                if records >= HANDED_OVER {
                    records = 0;
                    if to_fold.blocking_send(std::mem::take(&mut next)).is_err() {
                        return;
                    }
                }
            }
            if to_fold.blocking_send(next).is_err() {
                return;
            }
        }
    });
    let folding = spawn_blocking(move || {
        while let Some(next) = made.blocking_recv() {
            if !fold.made(next) {
                break;
            }
        }
        fold
    });
    let over = read(source, To::Aside(to), seen).await;
    done(preparing).await;
    (done(folding).await, over)
}

/// Who takes pages that were read.
enum To<'t> {
    /// Another thread.
    Aside(mpsc::Sender<Vec<Entry>>),
    /// This one.
    Here(&'t mut (dyn FnMut(Vec<Entry>) -> bool + Send)),
}

impl To<'_> {
    /// Says whether to go on.
    async fn take(&mut self, page: Vec<Entry>) -> bool {
        match self {
            Self::Aside(to) => to.send(page).await.is_ok(),
            Self::Here(take) => take(page),
        }
    }
}

/// Has the pages of a source taken, as long as that says to go on.
async fn read(source: &mut Source, mut to: To<'_>, mut seen: impl FnMut(Sequence)) -> Over {
    loop {
        let (page, over) = source.page().await;
        if let Some(last) = page.last() {
            seen(last.seq());
        }
        if !page.is_empty() && !to.take(page).await {
            // The fold has enough.
            return Over::End;
        }
        if let Some(over) = over {
            return over;
        }
    }
}

async fn done<T>(thread: JoinHandle<T>) -> T {
    match thread.await {
        Ok(done) => done,
        // A thread that panics has found a bug, which ends the program as any panic does.
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

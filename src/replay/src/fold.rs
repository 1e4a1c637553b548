//! Reading on one thread, folding on another.
//!
//! Owns:   the two pages that may lie between them.

use std::fmt;

use api::Time;
use domain::ids::Sequence;
use journal::Entry;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::source::{Over, Source};

/// Pages that were read and not folded yet: one in hand and one to come keep both threads at work.
const PAGES: usize = 2;

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

/// Folds all that a source has, or until the fold has enough. `seen` hears of each entry that was
/// read, for the person who waits.
pub async fn run<F: Fold>(
    source: &mut Source,
    mut fold: F,
    mut seen: impl FnMut(Sequence),
) -> (F, Over) {
    let (to, mut pages) = mpsc::channel::<Vec<Entry>>(PAGES);
    let folding = spawn_blocking(move || {
        while let Some(page) = pages.blocking_recv() {
            if !page.iter().all(|entry| fold.entry(entry)) {
                break;
            }
        }
        fold
    });
    let over = loop {
        let (page, over) = source.page().await;
        if let Some(last) = page.last() {
            seen(last.seq());
        }
        if !page.is_empty() && to.send(page).await.is_err() {
            // The fold has enough.
            break Over::End;
        }
        if let Some(over) = over {
            break over;
        }
    };
    drop(to);
    match folding.await {
        Ok(fold) => (fold, over),
        // A fold that panics has found a bug, which ends the program as any panic does.
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

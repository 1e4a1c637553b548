//! Work that waits for a disk, or takes long: on a thread of its own, so that nobody is held up.
//!
//! Never:  waits in a simulation: there one thread is all there is, and its time stands still
//!         meanwhile.

use std::cell::Cell;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread does such work itself.
pub fn all_here() {
    HERE.set(true);
}

/// The thread that did the work has ended.
#[derive(Debug, thiserror::Error)]
#[error("the thread that did the work has ended")]
pub struct Gone;

/// Does some work.
///
/// # Errors
/// It panicked.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Gone> {
    if HERE.get() {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(|_| Gone)
}

/// Something that pieces are folded into, in their order, while the next are being read.
pub enum Folding<S, P> {
    /// By a thread of its own.
    Aside(mpsc::Sender<P>, JoinHandle<S>),
    /// By this one.
    Here(S, fn(&mut S, P)),
}

/// Pieces that may lie between reader and fold: one in hand and one to come keep both at work.
const PIECES: usize = 2;

impl<S: Send + 'static, P: Send + 'static> Folding<S, P> {
    /// Begins with `state`.
    pub fn of(mut state: S, fold: fn(&mut S, P)) -> Self {
        if HERE.get() {
            return Self::Here(state, fold);
        }
        let (to, mut pieces) = mpsc::channel(PIECES);
        let folding = spawn_blocking(move || {
            while let Some(piece) = pieces.blocking_recv() {
                fold(&mut state, piece);
            }
            state
        });
        Self::Aside(to, folding)
    }

    /// Hands the next piece over.
    ///
    /// # Errors
    /// The fold panicked.
    pub async fn piece(&mut self, piece: P) -> Result<(), Gone> {
        match self {
            Self::Aside(to, _) => to.send(piece).await.map_err(|_| Gone),
            Self::Here(state, fold) => {
                fold(state, piece);
                Ok(())
            }
        }
    }

    /// What everything came to.
    ///
    /// # Errors
    /// The fold panicked.
    pub async fn end(self) -> Result<S, Gone> {
        match self {
            Self::Aside(to, folding) => {
                drop(to);
                folding.await.map_err(|_| Gone)
            }
            Self::Here(state, _) => Ok(state),
        }
    }
}

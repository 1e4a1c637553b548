//! Work that waits for a disk, or takes long: on a thread of its own, so that nobody is held up.
//!
//! Never:  waits in a simulation: there one thread is all there is, and its time stands still
//!         meanwhile.

use std::cell::Cell;

use tokio::task::spawn_blocking;

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread does such work itself.
pub fn all_here() {
    HERE.set(true);
}

/// Whether it does.
pub fn is_all_here() -> bool {
    HERE.get()
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

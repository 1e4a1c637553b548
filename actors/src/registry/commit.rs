//! Decide, evolve, hand over: the order is written once, here.
//!
//! One of the two places that may push without a bound: the outbox keeps the order in which things
//! were decided, and a full bounded mailbox would reorder. The bound is at the door (`admit`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Recipient;
use domain::Event;

use crate::answer::{Committed, Failure, Mark, Reply};
use crate::journal::{Commit, Release};

/// The way to the journal, and how much is on it.
pub struct Outbox {
    journal: Recipient<Commit>,
    undurable: Arc<Undurable>,
}

/// What was decided and is not durable yet.
#[derive(Debug, Default)]
pub struct Undurable {
    items: AtomicUsize,
    bytes: AtomicUsize,
}

impl Undurable {
    /// Commands and bytes on their way.
    pub fn load(&self) -> (usize, usize) {
        (self.items.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// A command's share of what is undurable, given back when its answer is released or lost.
pub struct Share {
    of: Arc<Undurable>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.items.fetch_sub(1, Ordering::Relaxed);
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Outbox {
    pub(super) fn new(journal: Recipient<Commit>, undurable: Arc<Undurable>) -> Self {
        Self { journal, undurable }
    }

    pub(super) fn undurable(&self) -> (usize, usize) {
        self.undurable.load()
    }

    /// Hands the events of one command over with the answer that waits for them: a value to be
    /// finished with the mark, or a refusal. Either leaves only when everything before it is
    /// durable.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn commit<T: Send + 'static>(
        &self,
        events: Vec<Event>,
        weight: usize,
        reply: Reply<T>,
        answer: Result<impl FnOnce(Mark) -> T + Send + 'static, domain::Refusal>,
    ) {
        self.undurable.items.fetch_add(1, Ordering::Relaxed);
        self.undurable.bytes.fetch_add(weight, Ordering::Relaxed);
        let share = Share { of: self.undurable.clone(), bytes: weight };
        let release = Release::new(move |outcome: Result<Mark, Failure>| {
            drop(share);
            let answer = match (outcome, answer) {
                (Ok(mark), Ok(finish)) => Ok(Committed { value: finish(mark), mark }),
                (Ok(_), Err(refusal)) => Err(Failure::Refused(refusal)),
                (Err(failure), _) => Err(failure),
            };
            // The caller may have gone; what was decided stays decided.
            let _ = reply.send(answer);
        });
        self.journal.do_send(Commit { events, release });
    }
}

//! What an instance's actors run on: threads of their own, or the one thread of a simulation.
//!
//! Owns:   the threads of one life of an instance's rooms; with them the actors end.

use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context};
use tokio::task::LocalSet;

/// What an instance's actors are to run on.
#[derive(Clone, Copy, Debug)]
pub enum Threads {
    /// Threads of their own, for a machine of so many cores.
    Own(usize),
    /// The thread that starts them: that of a simulation, which has every instance.
    This,
}

impl Threads {
    /// One each for pen, desk, windows and hall where the machine has cores for them beside the
    /// gateway and Redis. On a small machine waking one another costs more than the work: they share
    /// one (measured: `docs/limits.md`).
    pub(crate) fn start(self) -> Running {
        match self {
            Self::Own(cores) => {
                Running::Own((0..(cores / 2).clamp(1, 4)).map(|_| Arbiter::new()).collect())
            }
            Self::This => Running::This(LocalSet::new()),
        }
    }
}

/// Threads that run.
pub(crate) enum Running {
    Own(Vec<Arbiter>),
    This(LocalSet),
}

/// One of them.
pub(crate) struct On(Option<ArbiterHandle>);

impl On {
    /// Starts an actor there.
    pub(crate) fn start<A>(&self, make: impl FnOnce() -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        match &self.0 {
            Some(thread) => A::start_in_arbiter(thread, move |_| make()),
            None => make().start(),
        }
    }
}

impl Running {
    /// The thread of a room.
    pub(crate) fn of(&self, room: usize) -> On {
        On(match self {
            Self::Own(threads) => threads.get(room % threads.len()).map(Arbiter::handle),
            Self::This(_) => None,
        })
    }

    /// Starts what belongs to them.
    pub(crate) fn start<T>(&self, what: impl FnOnce() -> T) -> T {
        match self {
            Self::Own(_) => what(),
            Self::This(tasks) => {
                let _entered = tasks.enter();
                what()
            }
        }
    }

    /// Waits for something while they run.
    pub(crate) async fn beside<T>(&self, what: impl Future<Output = T>) -> T {
        match self {
            Self::Own(_) => what.await,
            Self::This(tasks) => tasks.run_until(what).await,
        }
    }

    /// Ends them, and every actor.
    pub(crate) fn stop(self) {
        if let Self::Own(threads) = self {
            for thread in threads {
                thread.stop();
            }
        }
    }
}

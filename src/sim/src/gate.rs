//! A gate before a process: paused, it is not polled, as after SIGSTOP; killed, it is dropped, as after
//! SIGKILL. Timers go on meanwhile, and what was sent to it waits.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Gate(Rc<State>);

#[derive(Debug, Default)]
struct State {
    paused: Cell<bool>,
    killed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    /// Pauses, or goes on. Gives back whether it was paused before.
    pub fn pause(&self, paused: bool) -> bool {
        let before = self.0.paused.replace(paused);
        self.wake();
        before
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.0.paused.get()
    }

    /// Kills what is behind it.
    pub fn kill(&self) {
        self.0.killed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    /// Runs something behind the gate until it ends or is killed. `polling` wraps each step.
    pub async fn run<F: Future<Output = ()>>(
        self,
        mut process: Pin<Box<F>>,
        mut polling: impl FnMut(&mut dyn FnMut() -> Poll<()>) -> Poll<()>,
    ) {
        poll_fn(|context: &mut Context<'_>| {
            if self.0.killed.get() {
                return Poll::Ready(());
            }
            self.0.waker.replace(Some(context.waker().clone()));
            if self.0.paused.get() {
                return Poll::Pending;
            }
            polling(&mut || process.as_mut().poll(context))
        })
        .await;
    }
}

//! The courier: one task a worker that sees commands through, whatever becomes of the requests
//! that brought them.
//!
//! Answers come from other threads. Each would wake its own task, and with it write to the worker's
//! event descriptor, a system call and often a switch of threads; they all wake the courier
//! instead, and waking a task that is awake already costs nothing.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot};

type Job = Pin<Box<dyn Future<Output = ()>>>;

/// The way to a courier.
pub(crate) struct Courier(mpsc::UnboundedSender<Job>);

thread_local! {
    static COURIER: RefCell<Option<Courier>> = const { RefCell::new(None) };
}

pub(crate) fn swap(seat: &mut Option<Courier>) {
    COURIER.with_borrow_mut(|courier| std::mem::swap(courier, seat));
}

/// Sees `work` through on this worker. Dropping what is returned cancels nothing; it ends without
/// a value only when the worker does.
pub fn see_through<T: 'static>(work: impl Future<Output = T> + 'static) -> oneshot::Receiver<T> {
    let (done, outcome) = oneshot::channel();
    let job: Job = Box::pin(async move {
        // Who asked may have gone.
        let _ = done.send(work.await);
    });
    COURIER.with_borrow_mut(|courier| {
        let job = match courier {
            Some(Courier(running)) => match running.send(job) {
                Ok(()) => return,
                Err(mpsc::error::SendError(job)) => job,
            },
            None => job,
        };
        let (sender, jobs) = mpsc::unbounded_channel();
        actix_web::rt::spawn(run(jobs));
        // It has just begun to listen.
        let _ = sender.send(job);
        *courier = Some(Courier(sender));
    });
    outcome
}

async fn run(mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut under_way = FuturesUnordered::new();
    poll_fn(|context| {
        loop {
            let mut closed = false;
            loop {
                match jobs.poll_recv(context) {
                    Poll::Ready(Some(job)) => under_way.push(job),
                    Poll::Ready(None) => {
                        closed = true;
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            match under_way.poll_next_unpin(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) if closed => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn work_is_seen_through_when_nobody_waits_for_it() {
        let (go, gone) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel::<u32>();
        drop(see_through(async move {
            let _ = gone.await;
            let _ = tell.send(7);
        }));
        assert_eq!(see_through(async { 1 }).await, Ok(1), "others are not held up");
        go.send(()).expect("it waits");
        assert_eq!(told.await, Ok(7));
    }

    #[actix_web::test]
    async fn many_are_seen_through_at_once() {
        let (go, _) = tokio::sync::broadcast::channel::<()>(1);
        let all: Vec<_> = (0..1_000)
            .map(|n| {
                let mut gone = go.subscribe();
                see_through(async move {
                    let _ = gone.recv().await;
                    n
                })
            })
            .collect();
        go.send(()).expect("they wait");
        for (n, outcome) in all.into_iter().enumerate() {
            assert_eq!(outcome.await, Ok(n));
        }
    }
}

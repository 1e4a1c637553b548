//! How an actor answers: a value that is durable, or one of three words for failure.
//!
//! Answers travel through a one-shot channel inside the message, so that a caller who goes away
//! cancels nothing, and a full mailbox is seen at once instead of parking the sender.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};
use domain::{Refusal, Sequence};
use tokio::sync::oneshot;

pub use journal::Receipt;

/// Where in the journal an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The entry the answer reflects.
    pub index: Sequence,
    /// Receipt of that entry.
    pub receipt: Receipt,
}

/// A value that reflects nothing undurable.
#[derive(Clone, Debug)]
pub struct Committed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub mark: Mark,
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The law said no; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Surely not written: try again.
    #[error("not applied: {0}")]
    Unavailable(String),
    /// Maybe written: try again with the same key.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// The answer to a command.
pub type Answer<T> = Result<Committed<T>, Failure>;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Answer<T>>;

/// A command that was sent, or could not be.
#[must_use = "the answer says what became of the command"]
pub struct Pending<T> {
    sent: Result<(), Failure>,
    answer: oneshot::Receiver<Answer<T>>,
}

impl<T> Pending<T> {
    /// Waits for the answer. Dropping the wait cancels nothing.
    ///
    /// # Errors
    /// As the actor answers; *unavailable* when its mailbox was full or closed (the command was never
    /// taken), *unknown* when the answer was dropped.
    pub async fn answer(self) -> Answer<T> {
        self.sent?;
        self.answer.await.unwrap_or_else(|_| Err(Failure::Unknown("the answer was lost".into())))
    }
}

/// Sends a command made by `command` at once: commands are taken in the order of these calls.
pub fn begin<A, M, T>(to: &Addr<A>, command: impl FnOnce(Reply<T>) -> M) -> Pending<T>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let sent = to.try_send(command(reply)).map_err(|error| match error {
        actix::prelude::SendError::Full(_) => {
            Failure::Unavailable("too many commands are waiting".into())
        }
        actix::prelude::SendError::Closed(_) => {
            Failure::Unavailable("the instance is stopping".into())
        }
    });
    Pending { sent, answer }
}

/// Sends a command made by `command` and waits for its answer.
///
/// # Errors
/// See [`Pending::answer`].
pub async fn ask<A, M, T>(to: &Addr<A>, command: impl FnOnce(Reply<T>) -> M) -> Answer<T>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    begin(to, command).answer().await
}

#[cfg(test)]
mod tests {
    use actix::{ActorContext as _, Context};

    use super::*;

    struct Gone;

    impl Actor for Gone {
        type Context = Context<Self>;

        fn started(&mut self, context: &mut Self::Context) {
            context.stop();
        }
    }

    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Command(#[allow(dead_code, reason = "dropped with it")] Reply<()>);

    impl Handler<Command> for Gone {
        type Result = ();

        fn handle(&mut self, _: Command, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn what_nobody_took_is_surely_not_applied() {
        let to = Gone.start();
        while to.connected() {
            tokio::task::yield_now().await;
        }
        let answer = ask(&to, Command).await;
        assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    }
}

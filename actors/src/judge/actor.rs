//! The actor.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use domain::Court;
use domain::judge::{Case, hear};
use tokio::sync::watch;

use super::messages::{Conclude, Judge, Reopen};

/// See the module.
pub struct JudgeActor {
    court: watch::Receiver<Arc<Court>>,
}

impl JudgeActor {
    /// A judge under the law that `court` shows.
    pub fn new(court: watch::Receiver<Arc<Court>>) -> Self {
        Self { court }
    }
}

impl Actor for JudgeActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(8_192);
    }
}

impl JudgeActor {
    /// Answers under a court of at least this revision, now or when it is here.
    fn under(
        &self,
        revision: u64,
        context: &mut Context<Self>,
        answer: impl FnOnce(&Arc<Court>) + 'static,
    ) {
        let court = self.court.borrow().clone();
        if court.law().revision >= revision {
            return answer(&court);
        }
        let mut court = self.court.clone();
        let wait = async move {
            let new_enough = |court: &Arc<Court>| court.law().revision >= revision;
            if let Ok(court) = court.wait_for(new_enough).await {
                let court = court.clone();
                answer(&court);
            }
        };
        context.spawn(wait.into_actor(self));
    }
}

impl Handler<Judge> for JudgeActor {
    type Result = ();

    fn handle(&mut self, message: Judge, context: &mut Self::Context) {
        let Judge { requests, quarantine_on, revision, reply } = message;
        self.under(revision, context, move |court| {
            let hear = |(n, request)| (n, hear(court, request, quarantine_on));
            // Who asked may have gone.
            let _ = reply.send(requests.into_iter().map(hear).collect());
        });
    }
}

impl Handler<Reopen> for JudgeActor {
    type Result = ();

    fn handle(&mut self, reopen: Reopen, context: &mut Self::Context) {
        let Reopen { run, anew, revision, reply } = reopen;
        self.under(revision, context, move |court| {
            let case = if anew { Case::anew(court, &run) } else { Ok(Case::again(court, &run)) };
            let _ = reply.send(case);
        });
    }
}

impl Handler<Conclude> for JudgeActor {
    type Result = ();

    fn handle(&mut self, Conclude { cases, reply }: Conclude, _: &mut Self::Context) {
        let conclude = |(n, case, inputs): (u32, Case, _)| (n, case.conclude(&inputs));
        let _ = reply.send(cases.into_iter().map(conclude).collect());
    }
}

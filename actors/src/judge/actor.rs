//! The actor.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use domain::judge::judge;
use domain::{Court, Inputs};
use tokio::sync::watch;

use super::messages::Judge;

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

impl Handler<Judge> for JudgeActor {
    type Result = ();

    fn handle(&mut self, message: Judge, context: &mut Self::Context) {
        let court = self.court.borrow().clone();
        if court.law().revision >= message.revision {
            return answer(&court, message);
        }
        let mut court = self.court.clone();
        let wait = async move {
            let new_enough = |court: &Arc<Court>| court.law().revision >= message.revision;
            if let Ok(court) = court.wait_for(new_enough).await {
                let court = court.clone();
                answer(&court, message);
            }
        };
        context.spawn(wait.into_actor(self));
    }
}

fn answer(court: &Court, message: Judge) {
    let Judge { requests, quarantine_on, reply, .. } = message;
    let inputs = Inputs::bare(quarantine_on);
    let judged = requests.into_iter().map(|(n, request)| (n, judge(court, request, &inputs)));
    let _ = reply.send(judged.collect());
}

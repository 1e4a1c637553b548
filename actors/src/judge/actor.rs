//! The actor.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use domain::Law;
use domain::judge::judge;
use tokio::sync::watch;

use super::messages::Judge;

/// See the module.
pub struct JudgeActor {
    law: watch::Receiver<Arc<Law>>,
}

impl JudgeActor {
    /// A judge under the law that `law` shows.
    pub fn new(law: watch::Receiver<Arc<Law>>) -> Self {
        Self { law }
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
        let law = self.law.borrow().clone();
        if law.revision >= message.revision {
            return answer(&law, message);
        }
        let mut law = self.law.clone();
        let wait = async move {
            if let Ok(law) = law.wait_for(|law| law.revision >= message.revision).await {
                let law = law.clone();
                answer(&law, message);
            }
        };
        context.spawn(wait.into_actor(self));
    }
}

fn answer(law: &Law, message: Judge) {
    let Judge { requests, quarantine_on, reply, .. } = message;
    let judged = requests.into_iter().map(|(n, request)| (n, judge(law, request, quarantine_on)));
    let _ = reply.send(judged.collect());
}

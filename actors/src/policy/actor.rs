//! The actor.

use std::sync::Arc;

use actix::{Actor, Context, Handler, MessageResult};
use domain::Court;
use domain::law::LawBook;
use tokio::sync::watch;

use super::messages::{CheckPolicy, GetBook, GetLaw, PolicyHistory, TemplateHistory};
use crate::answer::Mark;
use crate::publish::Published;
use crate::view::Seen;

/// See the module.
pub struct PolicyActor {
    book: LawBook,
    mark: Mark,
    court: Arc<Court>,
    courts: Vec<watch::Sender<Arc<Court>>>,
}

impl PolicyActor {
    /// Policy from a replayed history; hands the law out through each of `courts`. Who waits has one
    /// of his own: those who wait for the same one are woken in an order of chance.
    pub fn new(book: LawBook, mark: Mark, courts: Vec<watch::Sender<Arc<Court>>>) -> Self {
        let mut policy = Self { book, mark, court: Arc::default(), courts };
        policy.hand_out(None);
        policy
    }

    /// Makes the law in force ready, and lets the judges have it.
    fn hand_out(&mut self, before: Option<&Court>) {
        let court = Court::new(self.book.current().clone(), before);
        for (statute, rule, error) in court.unfit(before) {
            log::error!(
                policy = *statute.policy().name, version = statute.version(), rule = *rule.name,
                error:% = error;
                "a rule can't be compiled by this version: it counts as a violation until the \
                 policy is replaced"
            );
        }
        self.court = Arc::new(court);
        for to in &self.courts {
            to.send_replace(self.court.clone());
        }
    }

    fn seen<T>(&self, value: T) -> Seen<T> {
        Seen { value, mark: self.mark }
    }
}

impl Actor for PolicyActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(1_024);
    }
}

impl Handler<Published> for PolicyActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, _: &mut Self::Context) {
        let mut changed = false;
        for event in &batch.events {
            changed |= self.book.evolve(event);
        }
        self.mark = Mark { index: batch.index, receipt: batch.receipt };
        if changed {
            let before = self.court.clone();
            self.hand_out(Some(&before));
        }
    }
}

impl Handler<GetLaw> for PolicyActor {
    type Result = MessageResult<GetLaw>;

    fn handle(&mut self, _: GetLaw, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.seen(self.book.current().clone()))
    }
}

impl Handler<GetBook> for PolicyActor {
    type Result = MessageResult<GetBook>;

    fn handle(&mut self, _: GetBook, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.seen(self.book.clone()))
    }
}

impl Handler<PolicyHistory> for PolicyActor {
    type Result = MessageResult<PolicyHistory>;

    fn handle(
        &mut self,
        PolicyHistory(name): PolicyHistory,
        _: &mut Self::Context,
    ) -> Self::Result {
        MessageResult(self.seen(self.book.policy_history(&name).to_vec()))
    }
}

impl Handler<TemplateHistory> for PolicyActor {
    type Result = MessageResult<TemplateHistory>;

    fn handle(
        &mut self,
        TemplateHistory(name): TemplateHistory,
        _: &mut Self::Context,
    ) -> Self::Result {
        MessageResult(self.seen(self.book.template_history(&name).to_vec()))
    }
}

impl Handler<CheckPolicy> for PolicyActor {
    type Result = Result<(), domain::Refusal>;

    fn handle(&mut self, CheckPolicy(draft): CheckPolicy, _: &mut Self::Context) -> Self::Result {
        self.book.current().has_room_for(&draft)
    }
}

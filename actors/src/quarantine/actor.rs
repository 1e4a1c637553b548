//! The actor.

use actix::{Actor, Context, Handler, MessageResult};
use domain::Event;
use domain::fleet::Fleet;
use domain::ledger::Ledger;
use domain::submission::Pool;

use super::messages::{GetLedger, LedgerPage};
use crate::answer::Mark;
use crate::publish::Published;
use crate::view::Seen;

/// See the module.
pub struct QuarantineActor {
    ledger: Ledger,
    fleet: Fleet,
    mark: Mark,
}

impl QuarantineActor {
    /// A router from a replayed ledger and fleet.
    pub fn new(ledger: Ledger, fleet: Fleet, mark: Mark) -> Self {
        Self { ledger, fleet, mark }
    }

    fn nodes(&self) -> usize {
        self.fleet.live(Pool::Quarantine).count()
    }
}

impl Actor for QuarantineActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(1_024);
    }
}

impl Handler<Published> for QuarantineActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, _: &mut Self::Context) {
        let moves = |event: &Event| {
            matches!(event, Event::NodeJoined(_) | Event::NodeLost(_) | Event::NodeLabeled(_))
        };
        let moved = batch.events.iter().any(moves);
        let before = if moved { self.nodes() } else { 0 };
        for event in &batch.events {
            self.ledger.evolve(event);
            self.fleet.evolve(event);
        }
        self.mark = Mark { index: batch.index, receipt: batch.receipt };
        if moved && before > 0 && self.nodes() == 0 {
            log::warn!(
                "the last quarantine node is gone: quarantined runs wait, and new ones are \
                 rejected, until a node with HADES_LABEL=\"tartarus.io/typhon=true\" joins"
            );
        }
    }
}

impl Handler<GetLedger> for QuarantineActor {
    type Result = MessageResult<GetLedger>;

    fn handle(
        &mut self,
        GetLedger { before, limit }: GetLedger,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mut rows = self.ledger.newest_first(before).map(|(run, entry)| (run, entry.clone()));
        let entries: Vec<_> = rows.by_ref().take(limit).collect();
        let next = rows.next().and(entries.last().map(|(run, _)| *run));
        MessageResult(Seen { value: LedgerPage { entries, next }, mark: self.mark })
    }
}

//! The actor.

use actix::{Actor, Context, Handler, MessageResult};
use domain::Event;
use domain::fleet::Fleet;
use domain::law::Verdict;
use domain::ledger::{Ledger, Stand};
use domain::submission::Pool;

use super::messages::{CountQuarantine, QuarantineCounts};
use crate::publish::Published;

/// See the module.
pub struct QuarantineActor {
    ledger: Ledger,
    fleet: Fleet,
    sent: u64,
}

impl QuarantineActor {
    /// A router from a replayed ledger and fleet.
    pub fn new(ledger: Ledger, fleet: Fleet) -> Self {
        Self { ledger, fleet, sent: 0 }
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
            let verdict = match event {
                Event::RunAdmitted(e) => e.judgement.verdict,
                Event::RunRejected(e) => e.judgement.verdict,
                _ => Verdict::Accept,
            };
            self.sent += u64::from(verdict == Verdict::Quarantine);
            self.ledger.evolve(event);
            self.fleet.evolve(event);
        }
        if moved && before > 0 && self.nodes() == 0 {
            log::warn!(
                "the last quarantine node is gone: quarantined runs wait, and new ones are \
                 rejected, until a node with HADES_LABEL=\"tartarus.io/typhon=true\" joins"
            );
        }
    }
}

impl Handler<CountQuarantine> for QuarantineActor {
    type Result = MessageResult<CountQuarantine>;

    fn handle(&mut self, _: CountQuarantine, _: &mut Self::Context) -> Self::Result {
        let runs = Stand::ALL.map(|stand| (stand, self.ledger.count(stand))).to_vec();
        MessageResult(QuarantineCounts { runs, sent: self.sent, nodes: self.nodes() })
    }
}

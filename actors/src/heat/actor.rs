//! The actor.

use actix::{Actor, Context, Handler, MessageResult};
use domain::Event;
use domain::fleet::Fleet;
use domain::placement::routes;
use domain::submission::{Demand, Pool};

use super::messages::{GetPools, GetRoutes, PoolState};
use crate::answer::Mark;
use crate::publish::Published;
use crate::view::Seen;

/// See the module.
pub struct HeatActor {
    fleet: Fleet,
    mark: Mark,
}

impl HeatActor {
    /// A router from a replayed fleet.
    pub fn new(fleet: Fleet, mark: Mark) -> Self {
        Self { fleet, mark }
    }

    fn high_compute_nodes(&self) -> usize {
        self.fleet.ready(Pool::HighCompute).count()
    }
}

impl Actor for HeatActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(1_024);
    }
}

impl Handler<Published> for HeatActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, _: &mut Self::Context) {
        let moves = |event: &Event| {
            matches!(
                event,
                Event::NodeJoined(_)
                    | Event::NodeLost(_)
                    | Event::NodeDrained(_)
                    | Event::NodeLabeled(_)
            )
        };
        let moved = batch.events.iter().any(moves);
        let before = if moved { self.high_compute_nodes() } else { 0 };
        for event in &batch.events {
            self.fleet.evolve(event);
        }
        self.mark = Mark { index: batch.index, receipt: batch.receipt };
        if moved && before > 0 && self.high_compute_nodes() == 0 {
            log::warn!(
                "no high-compute node takes work: hot workloads fall back to standard nodes \
                 (label one with HADES_LABEL=\"tartarus.io/phlegethon=true\")"
            );
        }
    }
}

impl Handler<GetRoutes> for HeatActor {
    type Result = MessageResult<GetRoutes>;

    fn handle(&mut self, GetRoutes(class): GetRoutes, _: &mut Self::Context) -> Self::Result {
        MessageResult(Seen { value: routes(&self.fleet, &class), mark: self.mark })
    }
}

impl Handler<GetPools> for HeatActor {
    type Result = MessageResult<GetPools>;

    fn handle(&mut self, _: GetPools, _: &mut Self::Context) -> Self::Result {
        let state = |pool| {
            let none = PoolState {
                pool,
                ready: 0,
                capacity: Demand::default(),
                allocated: Demand::default(),
            };
            self.fleet.ready(pool).fold(none, |sum, (_, node)| PoolState {
                pool,
                ready: sum.ready + 1,
                capacity: sum.capacity.plus(node.joined.capacity),
                allocated: sum.allocated.plus(node.allocated),
            })
        };
        MessageResult(Seen { value: Pool::ALL.map(state).to_vec(), mark: self.mark })
    }
}

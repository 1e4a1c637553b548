//! The actor.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use domain::fleet::Fleet;
use domain::line::Line;
use domain::placement::plan;
use domain::{Sequence, Timestamp};

use crate::answer::ask;
use crate::clock::Clock;
use crate::publish::Published;
use crate::registry::{Assign, RegistryActor};

/// Assignments a plan: one journal entry of about 50 KiB, the size that group commit aims at.
const PLAN_MOST: usize = 512;
/// How often pauses that have run out, and plans that were not taken, are looked at.
const TICK: Duration = Duration::from_millis(100);

/// See the module.
pub struct PlacementActor {
    line: Line,
    fleet: Fleet,
    index: Sequence,
    clock: Arc<Clock>,
    registry: Addr<RegistryActor>,
    flight: Flight,
    /// Whether anything has moved since the last plan found nothing.
    stirred: bool,
    /// The next pause to run out, as of the last plan that found nothing.
    next_due: Option<Timestamp>,
}

/// What is known of the last plan.
enum Flight {
    /// It was answered, or there was none.
    Landed,
    /// The registry has it.
    Out,
    /// Its outcome is in this entry, which has not been published here yet.
    Until(Sequence),
}

impl PlacementActor {
    /// Placement from a replayed line and fleet.
    pub fn new(
        line: Line,
        fleet: Fleet,
        index: Sequence,
        clock: Arc<Clock>,
        registry: Addr<RegistryActor>,
    ) -> Self {
        Self {
            line,
            fleet,
            index,
            clock,
            registry,
            flight: Flight::Landed,
            stirred: true,
            next_due: None,
        }
    }

    fn plan(&mut self, context: &mut Context<Self>) {
        match self.flight {
            Flight::Landed => {}
            Flight::Until(index) if index <= self.index => self.flight = Flight::Landed,
            Flight::Out | Flight::Until(_) => return,
        }
        if !self.stirred {
            return;
        }
        let now = self.clock.now();
        let plan = plan(&self.line, &self.fleet, now, PLAN_MOST);
        if plan.is_empty() {
            self.stirred = false;
            self.next_due = self.line.next_due(now);
            return;
        }
        self.flight = Flight::Out;
        let (registry, planned_at) = (self.registry.clone(), self.index);
        let sent = async move { ask(&registry, |reply| Assign { plan, planned_at, reply }).await };
        context.spawn(sent.into_actor(self).map(|answer, placement, context| {
            placement.flight = match answer {
                Ok(committed) => Flight::Until(committed.mark.index),
                // Not taken, or not known: the tick tries again from what is published then.
                Err(_) => {
                    placement.flight = Flight::Landed;
                    return;
                }
            };
            placement.plan(context);
        }));
    }
}

impl Actor for PlacementActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(TICK, |placement, context| {
            let now = placement.clock.now();
            placement.stirred |= placement.next_due.is_some_and(|due| due <= now);
            placement.plan(context);
        });
    }
}

impl Handler<Published> for PlacementActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, context: &mut Self::Context) {
        for event in &batch.events {
            self.line.evolve(event, |_| {});
            self.fleet.evolve(event);
        }
        self.index = batch.index;
        self.stirred = true;
        self.plan(context);
    }
}

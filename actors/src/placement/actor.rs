//! The actor.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use domain::event::Place;
use domain::fleet::Fleet;
use domain::line::Line;
use domain::placement::{Ask, LOOKS_MOST, Plan, Room};
use domain::{Event, Sequence, Timestamp};
use uuid::Uuid;

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
    room: Room,
    index: Sequence,
    clock: Arc<Clock>,
    registry: Addr<RegistryActor>,
    /// This process: it plans once the journal says that it leads.
    boot: Uuid,
    leading: bool,
    flight: Flight,
    /// Where the last plan stopped because it ran out of looks.
    rest: Option<Place>,
    /// Whether anything has moved since the last plan that began at the front of the line.
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
        boot: Uuid,
    ) -> Self {
        Self {
            room: Room::of(&fleet),
            line,
            fleet,
            index,
            clock,
            registry,
            boot,
            leading: false,
            flight: Flight::Landed,
            rest: None,
            stirred: true,
            next_due: None,
        }
    }

    fn plan(&mut self, context: &mut Context<Self>) {
        if !self.leading {
            return;
        }
        match self.flight {
            Flight::Landed => {}
            Flight::Until(index) if index <= self.index => self.flight = Flight::Landed,
            Flight::Out | Flight::Until(_) => return,
        }
        let from = self.rest.take();
        if from.is_none() && !std::mem::take(&mut self.stirred) {
            return;
        }
        let now = self.clock.now();
        let asked = Ask { most: PLAN_MOST, looks: LOOKS_MOST, from };
        let Plan { assignments: plan, rest } = self.room.plan(&self.line, &self.fleet, now, asked);
        self.rest = rest;
        if plan.is_empty() {
            if self.rest.is_some() || self.stirred {
                // After what has come meanwhile.
                context.notify(GoOn);
            } else {
                self.next_due = self.line.next_due(now);
            }
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
                    placement.stirred = true;
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

/// Another plan, where one was not enough.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct GoOn;

impl Handler<GoOn> for PlacementActor {
    type Result = ();

    fn handle(&mut self, _: GoOn, context: &mut Self::Context) {
        self.plan(context);
    }
}

impl Handler<Published> for PlacementActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, context: &mut Self::Context) {
        for event in &batch.events {
            self.line.evolve(event, |_| {});
            if let Event::LeaderStarted(started) = event {
                self.leading = batch.written_here && started.boot == self.boot;
            }
            if let Some(node) = self.fleet.evolve(event) {
                self.room.touch(&self.fleet, &node);
            }
        }
        self.index = batch.index;
        self.stirred = true;
        self.plan(context);
    }
}

//! The actor.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Recipient};
use domain::dead::DeadLetters;
use domain::line::Line;

use super::messages::{GetDepth, GetLine, GetRank, LineMoved, QueueDepth};
use crate::answer::Mark;
use crate::publish::Published;
use crate::view::Seen;

/// Pause before a projector that lagged hears that it missed something.
const TELL_AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub struct QueueActor {
    line: Line,
    dead: DeadLetters,
    mark: Mark,
    /// The last entry that moved the line.
    moved: Mark,
    /// None where nothing will move: in a past.
    projector: Option<Recipient<LineMoved>>,
}

impl QueueActor {
    /// A queue from a replayed line and dead letters.
    pub fn new(line: Line, dead: DeadLetters, mark: Mark, projector: Recipient<LineMoved>) -> Self {
        Self { line, dead, mark, moved: mark, projector: Some(projector) }
    }

    /// A queue that stands still.
    pub fn of_past(line: Line, dead: DeadLetters, mark: Mark) -> Self {
        Self { line, dead, mark, moved: mark, projector: None }
    }

    fn seen<T>(&self, value: T) -> Seen<T> {
        Seen { value, mark: self.mark }
    }
}

impl Actor for QueueActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(1_024);
    }
}

impl Handler<Published> for QueueActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, context: &mut Self::Context) {
        let mut changes = Vec::new();
        for event in &batch.events {
            self.line.evolve(event, |change| changes.push(change));
            self.dead.evolve(event);
        }
        self.mark = Mark { index: batch.index, receipt: batch.receipt };
        if let Some(projector) = self.projector.as_ref().filter(|_| !changes.is_empty()) {
            let previous = std::mem::replace(&mut self.moved, self.mark);
            let moved = LineMoved { at: self.mark, previous, changes };
            if projector.try_send(moved).is_err() {
                // A projector that lags sees the gap by the next one, and asks for the whole line;
                // this one comes even when nothing moves any more.
                let projector = projector.clone();
                context.run_later(TELL_AGAIN, move |queue, _| {
                    let (at, previous) = (queue.mark, queue.moved);
                    let _ = projector.try_send(LineMoved { at, previous, changes: Vec::new() });
                });
            }
        }
    }
}

impl Handler<GetDepth> for QueueActor {
    type Result = MessageResult<GetDepth>;

    fn handle(&mut self, _: GetDepth, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.seen(QueueDepth {
            depth: self.line.depth().clone(),
            oldest: self.line.oldest(),
            paused: self.line.paused(),
            dead: self.dead.waiting(),
        }))
    }
}

impl Handler<GetRank> for QueueActor {
    type Result = Option<usize>;

    fn handle(&mut self, GetRank(run): GetRank, _: &mut Self::Context) -> Self::Result {
        self.line.rank(run)
    }
}

impl Handler<GetLine> for QueueActor {
    type Result = MessageResult<GetLine>;

    fn handle(&mut self, _: GetLine, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.seen(self.line.in_order()))
    }
}

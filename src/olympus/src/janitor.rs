//! The janitor: output that nobody may read any more is removed.
//!
//! Hears:  durable batches: runs that were forgotten, or that ended and keep no output.
//! Never:  decides when: retention is an event.

use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use domain::event::{Event, Next};
use domain::{RunId, World};
use olympus_actors::Published;

use crate::output::OutputStore;

/// See the module.
pub struct JanitorActor {
    output: Arc<OutputStore>,
    /// Unfinished runs that keep no output.
    keepless: std::collections::BTreeSet<RunId>,
}

impl JanitorActor {
    /// A janitor of this store, from a replayed world.
    pub fn new(output: Arc<OutputStore>, world: &World) -> Self {
        let live = world.line.items().filter_map(|(run, _)| world.runs.live(run));
        let keepless = live.filter(|run| !run.submission().retention.keep_output);
        Self { output, keepless: keepless.map(|run| run.id()).collect() }
    }

    fn remove(&self, run: RunId, context: &mut Context<Self>) {
        let output = self.output.clone();
        let removed = async move { output.remove(run).await };
        context.spawn(removed.into_actor(self).map(move |removed, _, _| {
            if let Err(error) = removed {
                log::warn!(run:% = run, error:% = error; "could not remove a run's output");
            }
        }));
    }
}

impl Actor for JanitorActor {
    type Context = Context<Self>;
}

impl Handler<Published> for JanitorActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, context: &mut Self::Context) {
        for event in &batch.events {
            match event {
                Event::RunAdmitted(e) if !e.submission.retention.keep_output => {
                    self.keepless.insert(e.run);
                }
                Event::RunFinished(e) => {
                    if let Next::End(_) = e.next
                        && self.keepless.remove(&e.run)
                    {
                        self.remove(e.run, context);
                    }
                }
                Event::RunForgotten(e) => self.remove(e.run, context),
                _ => {}
            }
        }
    }
}

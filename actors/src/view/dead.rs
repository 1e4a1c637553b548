//! Reads of the dead letters, with their runs.

use actix::{AsyncContext, Context, Handler};
use domain::Run;

use super::actor::{SCAN_ROWS, ViewActor};
use super::messages::{DeadPage, ListDead};

/// A list that goes on.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Scan {
    list: ListDead,
    page: DeadPage,
}

impl Handler<ListDead> for ViewActor {
    type Result = ();

    fn handle(&mut self, list: ListDead, context: &mut Self::Context) {
        self.scan_dead(Scan { list, page: DeadPage::default() }, context);
    }
}

impl Handler<Scan> for ViewActor {
    type Result = ();

    fn handle(&mut self, scan: Scan, context: &mut Self::Context) {
        self.scan_dead(scan, context);
    }
}

impl ViewActor {
    fn scan_dead(&self, mut scan: Scan, context: &mut Context<Self>) {
        let Scan { list, page } = &mut scan;
        if list.reply.is_closed() {
            return;
        }
        let rows = self.world.dead.newest_first(list.redriven, list.before);
        for (looked_at, (run, letter)) in rows.enumerate() {
            if page.runs.len() == list.limit {
                page.next = list.before;
                break;
            }
            if looked_at == SCAN_ROWS {
                return context.notify(scan);
            }
            list.before = Some(run);
            if letter.redriven_as.is_some() == list.redriven
                && let Some(seen) = self.run(run)
                && matches(list, &seen.run)
            {
                page.runs.push(seen);
            }
        }
        let Scan { list, mut page } = scan;
        page.changed = self.dead_changed;
        let _ = list.reply.send(self.seen(page));
    }
}

fn matches(list: &ListDead, run: &Run) -> bool {
    let asked = run.submission();
    list.template.as_ref().is_none_or(|template| *template == asked.template)
        && list.tenant.as_ref().is_none_or(|tenant| **tenant == *asked.tenant())
}

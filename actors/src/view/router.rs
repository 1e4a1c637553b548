//! Reads of the two routers: the quarantine ledger with its runs, and heat.

use actix::{AsyncContext, Context, Handler, MessageResult};
use domain::ledger::{Entry, Stand};

use super::actor::{SCAN_ROWS, ViewActor};
use super::messages::{GetHeat, HeatSeen, ListQuarantine, QuarantinePage};

/// A list that goes on.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Scan {
    list: ListQuarantine,
    page: QuarantinePage,
}

impl Handler<ListQuarantine> for ViewActor {
    type Result = ();

    fn handle(&mut self, list: ListQuarantine, context: &mut Self::Context) {
        self.scan_quarantine(Scan { list, page: QuarantinePage::default() }, context);
    }
}

impl Handler<Scan> for ViewActor {
    type Result = ();

    fn handle(&mut self, scan: Scan, context: &mut Self::Context) {
        self.scan_quarantine(scan, context);
    }
}

impl ViewActor {
    fn scan_quarantine(&self, mut scan: Scan, context: &mut Context<Self>) {
        let Scan { list, page } = &mut scan;
        if list.reply.is_closed() {
            return;
        }
        let rows = self.world.ledger.newest_first(list.stand, list.before);
        for (looked_at, (run, entry)) in rows.enumerate() {
            if page.entries.len() == list.limit {
                page.next = list.before;
                break;
            }
            if looked_at == SCAN_ROWS {
                return context.notify(scan);
            }
            list.before = Some(run);
            if matches(entry, list.stand, list.tenant.as_deref())
                && let Some(seen) = self.run(run)
            {
                page.entries.push((entry.clone(), seen));
            }
        }
        let Scan { list, page } = scan;
        let _ = list.reply.send(self.seen(page));
    }
}

fn matches(entry: &Entry, stand: Option<Stand>, tenant: Option<&str>) -> bool {
    stand.is_none_or(|stand| entry.stand == stand)
        && tenant.is_none_or(|tenant| *entry.tenant == *tenant)
}

impl Handler<GetHeat> for ViewActor {
    type Result = MessageResult<GetHeat>;

    fn handle(&mut self, _: GetHeat, _: &mut Self::Context) -> Self::Result {
        let learned = self.world.profiles.iter().map(|(template, profile)| {
            (template.into(), profile.seen(), profile.so_far(), profile.learned().is_some())
        });
        MessageResult(self.seen(HeatSeen {
            law: self.world.law.current().clone(),
            history: self.world.law.heat_history().to_vec(),
            learned: learned.collect(),
        }))
    }
}

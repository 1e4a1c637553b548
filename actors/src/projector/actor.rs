//! The actor.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use domain::line::LineChange;
use domain::{Court, Law};
use journal::{Content, EntryId, Journal, Ops, Projected, QueueMember, QueueOp, Step, Trouble};
use tokio::sync::{oneshot, watch};

use super::messages::{Attach, AwaitLine, AwaitPolicies};
use crate::queue::{GetLine, LineMoved};

/// Pause after a write that failed: long enough not to add to the trouble, short enough that the
/// projection is true again soon after it.
const RETRY: Duration = Duration::from_millis(250);
/// Messages kept while a write is under way; beyond it a rebuild is cheaper.
const MOVED_MOST: usize = 4_096;

/// How policies read in Redis: name and JSON.
pub type RenderPolicies = fn(&Law) -> Vec<(String, String)>;

/// See the module.
pub struct ProjectorActor {
    journal: Arc<dyn Journal>,
    render: RenderPolicies,
    law: watch::Receiver<Arc<Court>>,
    queue: Option<Recipient<GetLine>>,
    /// The entry that the shown line reflects; none when it must be built anew.
    shown: Option<EntryId>,
    /// What moved since, or while a build is under way.
    moved: Vec<LineMoved>,
    /// Revision of the shown policies.
    policies: Option<u64>,
    writing: bool,
    /// Why nothing could be written last: said once, however often it is tried.
    trouble: Option<String>,
    waiting_for_line: Vec<oneshot::Sender<()>>,
    waiting_for_policies: Vec<(u64, oneshot::Sender<()>)>,
}

/// What a write came to.
enum Wrote {
    /// The line stands at this entry.
    Line(EntryId),
    /// The policies of this revision are shown.
    Policies(u64),
    /// Somebody else wrote: the line must be built anew.
    Lost,
    /// Try again later.
    Failed(Trouble),
}

impl ProjectorActor {
    /// A projector that has shown nothing yet.
    pub fn new(
        journal: Arc<dyn Journal>,
        render: RenderPolicies,
        law: watch::Receiver<Arc<Court>>,
    ) -> Self {
        Self {
            journal,
            render,
            law,
            queue: None,
            shown: None,
            trouble: None,
            moved: Vec::new(),
            policies: None,
            writing: false,
            waiting_for_line: Vec::new(),
            waiting_for_policies: Vec::new(),
        }
    }

    /// Writes when the law has changed, and waits for the next change.
    fn await_law(&mut self, context: &mut Context<Self>) {
        let mut law = self.law.clone();
        let changed = async move { law.changed().await.map(|()| law) };
        context.spawn(changed.into_actor(self).map(|changed, projector, context| {
            // Closed only when policy is gone, and with it this process' role.
            if let Ok(law) = changed {
                projector.law = law;
                projector.write(context);
                projector.await_law(context);
            }
        }));
    }

    /// Writes what is due, one thing at a time. Nothing before a line is attached: until then
    /// another instance shows it.
    fn write(&mut self, context: &mut Context<Self>) {
        if self.writing || self.queue.is_none() {
            return;
        }
        let law = self.law.borrow().law().clone();
        if self.policies != Some(law.revision) {
            return self.write_policies(&law, context);
        }
        match self.shown {
            Some(_) if self.moved.is_empty() => {}
            Some(from) => match follow(from, &mut self.moved) {
                Some((to, ops)) if to != from => self.write_line(from, to, ops, context),
                Some(_) => {}
                None => self.build_line(context),
            },
            None => self.build_line(context),
        }
    }

    fn write_policies(&mut self, law: &Law, context: &mut Context<Self>) {
        let (journal, revision) = (self.journal.clone(), law.revision);
        let content = Content::Policies((self.render)(law));
        // Written whole: there are few, and none is left behind this way. The cursor is the
        // revision; the digest half has no meaning here.
        let at = EntryId { seq: revision, h64: 0 };
        self.run(context, async move {
            match journal.rebuild(content, at).await {
                Ok(()) => Wrote::Policies(revision),
                Err(trouble) => Wrote::Failed(trouble),
            }
        });
    }

    fn write_line(
        &mut self,
        from: EntryId,
        to: EntryId,
        ops: Vec<QueueOp>,
        context: &mut Context<Self>,
    ) {
        let (journal, step) = (self.journal.clone(), Step { from, to, ops: Ops::Queue(ops) });
        self.run(context, async move {
            match journal.project(&step).await {
                Ok(Projected::Moved) => Wrote::Line(to),
                Ok(Projected::Elsewhere(_)) => Wrote::Lost,
                Err(trouble) => Wrote::Failed(trouble),
            }
        });
    }

    fn build_line(&mut self, context: &mut Context<Self>) {
        let Some(queue) = self.queue.clone() else { return };
        self.shown = None;
        let journal = self.journal.clone();
        self.run(context, async move {
            let Ok(line) = queue.send(GetLine).await else { return Wrote::Lost };
            let at = line.mark.receipt.0;
            let members = line.value.iter();
            let members = members.map(|(key, run)| QueueMember::new(&key.to_bytes(), *run));
            match journal.rebuild(Content::Queue(members.collect()), at).await {
                Ok(()) => Wrote::Line(at),
                Err(trouble) => Wrote::Failed(trouble),
            }
        });
    }

    fn run(&mut self, context: &mut Context<Self>, write: impl Future<Output = Wrote> + 'static) {
        self.writing = true;
        context.spawn(write.into_actor(self).map(|wrote, projector, context| {
            projector.writing = false;
            projector.wrote(wrote, context);
        }));
    }

    fn wrote(&mut self, wrote: Wrote, context: &mut Context<Self>) {
        match wrote {
            Wrote::Line(at) => {
                self.trouble = None;
                self.shown = Some(at);
                for reply in self.waiting_for_line.drain(..) {
                    let _ = reply.send(());
                }
            }
            Wrote::Policies(revision) => {
                self.trouble = None;
                self.policies = Some(revision);
                let waiting = std::mem::take(&mut self.waiting_for_policies);
                let (due, later) = waiting.into_iter().partition(|(wanted, _)| *wanted <= revision);
                self.waiting_for_policies = later;
                for (_, reply) in due {
                    let _ = reply.send(());
                }
            }
            Wrote::Lost => self.shown = None,
            Wrote::Failed(trouble) => {
                let trouble = trouble.to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    log::warn!(error = trouble.as_str(); "write a projection later");
                    self.trouble = Some(trouble);
                }
                self.shown = None;
                // Nothing is written before the pause is over: `writing` holds the others back.
                self.writing = true;
                context.run_later(RETRY, |projector, context| {
                    projector.writing = false;
                    projector.write(context);
                });
                return;
            }
        }
        self.write(context);
    }
}

/// The changes behind `from`, and the entry they lead to; none when one is missing.
fn follow(from: EntryId, moved: &mut Vec<LineMoved>) -> Option<(EntryId, Vec<QueueOp>)> {
    let (mut to, mut ops) = (from, Vec::new());
    for LineMoved { at, previous, changes } in moved.drain(..) {
        if at.index <= to.seq {
            continue;
        }
        if previous.index > to.seq {
            return None;
        }
        to = at.receipt.0;
        ops.extend(changes.into_iter().map(|change| match change {
            LineChange::Joined(key, run) => QueueOp::Add(QueueMember::new(&key.to_bytes(), run)),
            LineChange::Left(key, run) => QueueOp::Remove(QueueMember::new(&key.to_bytes(), run)),
        }));
    }
    Some((to, ops))
}

impl Actor for ProjectorActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(4_096);
        self.await_law(context);
    }
}

impl Handler<Attach> for ProjectorActor {
    type Result = ();

    fn handle(&mut self, Attach(queue): Attach, context: &mut Self::Context) {
        self.queue = Some(queue);
        self.write(context);
    }
}

impl Handler<LineMoved> for ProjectorActor {
    type Result = ();

    fn handle(&mut self, moved: LineMoved, context: &mut Self::Context) {
        if self.queue.is_none() {
            return;
        }
        if self.moved.len() >= MOVED_MOST {
            self.moved.clear();
            self.shown = None;
        }
        self.moved.push(moved);
        self.write(context);
    }
}

impl Handler<AwaitPolicies> for ProjectorActor {
    type Result = ();

    fn handle(
        &mut self,
        AwaitPolicies { revision, reply }: AwaitPolicies,
        context: &mut Self::Context,
    ) {
        if self.policies.is_some_and(|shown| shown >= revision) {
            let _ = reply.send(());
        } else {
            self.waiting_for_policies.push((revision, reply));
            self.write(context);
        }
    }
}

impl Handler<AwaitLine> for ProjectorActor {
    type Result = ();

    fn handle(&mut self, AwaitLine(reply): AwaitLine, context: &mut Self::Context) {
        if self.shown.is_some() {
            let _ = reply.send(());
        } else {
            self.waiting_for_line.push(reply);
            self.write(context);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::follow;
    use crate::answer::{Mark, Receipt};
    use crate::queue::LineMoved;
    use journal::EntryId;

    fn id(seq: u64) -> EntryId {
        EntryId { seq, h64: seq }
    }

    fn moved(previous: u64, at: u64) -> LineMoved {
        let mark = |seq| Mark { index: seq, receipt: Receipt(id(seq)) };
        LineMoved { at: mark(at), previous: mark(previous), changes: Vec::new() }
    }

    #[test]
    fn changes_are_followed_from_where_the_line_stands_and_a_gap_is_noticed() {
        for (from, messages, to) in [
            (5, vec![moved(3, 6), moved(6, 9)], Some(9)),
            (5, vec![moved(3, 4), moved(4, 5)], Some(5)),
            (5, vec![moved(3, 4), moved(4, 7)], Some(7)),
            (5, vec![moved(6, 7)], None),
            (5, vec![moved(5, 6), moved(7, 8)], None),
        ] {
            let mut messages = messages;
            let found = follow(id(from), &mut messages).map(|(to, _)| to);
            assert_eq!(found, to.map(id), "from {from}");
        }
    }
}

//! The actor.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, Addr, AsyncContext, Context, Handler, MessageResult, WrapFuture,
};
use domain::event::NodeLostCause;
use domain::fleet::Fleet;
use domain::{NodeId, Sequence};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::breaker::Breaker;
use super::messages::{Connect, Connected, Disconnect, Duplicate, Heard, JournalUsable, LastHeard};
use crate::answer::ask;
use crate::publish::Published;
use crate::registry::{LoseNode, RegistryActor};

/// How long a node lives without being heard.
#[derive(Clone, Copy, Debug)]
pub struct Ttl(pub Duration);

impl Ttl {
    /// After which an unheard node is lost: its time to live, and a sixth of it as grace, so that
    /// an agent that fences itself at its time to live has stopped its work before (journal
    /// protocol, 6.12: grace covers clock drift and the time a kill takes).
    pub fn deadline(self) -> Duration {
        self.0 + self.0 / 6
    }
}

/// See the module.
pub struct SessionsActor {
    fleet: Fleet,
    sessions: BTreeMap<NodeId, Session>,
    heard: BTreeMap<NodeId, Instant>,
    /// Nobody is lost for what was not heard before this instant.
    since: Instant,
    usable: bool,
    /// This process: nobody is lost before the journal says that it leads.
    boot: Uuid,
    leading: bool,
    breaker: Breaker,
    /// Nodes that were declared lost, until the journal says so.
    asked: BTreeMap<NodeId, Instant>,
    /// Those of them that the journal may yet say it of, however long that takes. No heartbeat of
    /// theirs is acknowledged: their work is as good as given to others.
    losing: BTreeSet<NodeId>,
    /// How many the breaker held back at the last look.
    held: usize,
    next: u64,
    ttl: Ttl,
    registry: Addr<RegistryActor>,
}

struct Session {
    number: u64,
    boot: Uuid,
    wants: watch::Sender<Sequence>,
}

impl SessionsActor {
    /// No session yet; every known node counts as heard now.
    pub fn new(fleet: Fleet, ttl: Ttl, registry: Addr<RegistryActor>, boot: Uuid) -> Self {
        Self {
            fleet,
            sessions: BTreeMap::new(),
            heard: BTreeMap::new(),
            since: Instant::now(),
            usable: true,
            boot,
            leading: false,
            breaker: Breaker::default(),
            asked: BTreeMap::new(),
            losing: BTreeSet::new(),
            held: 0,
            next: 1,
            ttl,
            registry,
        }
    }

    fn last_heard(&self, node: &NodeId) -> Instant {
        self.heard.get(node).map_or(self.since, |heard| (*heard).max(self.since))
    }

    fn lose_unheard(&mut self, context: &mut Context<Self>) {
        if !self.usable || !self.leading {
            return;
        }
        let (now, live) = (Instant::now(), self.fleet.nodes().iter());
        // What was declared lost a moment ago may be on its way to the journal.
        let asked =
            |node: &NodeId| self.asked.get(node).is_some_and(|asked| now - *asked < self.ttl.0);
        let live = live.filter(|(id, node)| node.is_live() && !asked(id));
        let live: Vec<_> = live.map(|(id, node)| (id.clone(), node.joined.boot)).collect();
        let silent = |node: &NodeId| now - self.last_heard(node) >= self.ttl.deadline();
        let (mut still, mut held) = (live.len(), 0);
        let gone: Vec<_> = live.into_iter().filter(|(node, _)| silent(node)).collect();
        for (node, boot) in gone {
            if !self.breaker.lets(now, still) {
                held += 1;
                continue;
            }
            still -= 1;
            log::warn!(node = node.as_str(); "declare a node lost: its heartbeat has expired");
            self.asked.insert(node.clone(), now);
            self.losing.insert(node.clone());
            let (registry, asked) = (self.registry.clone(), node.clone());
            let lose = async move {
                let cause = NodeLostCause::HeartbeatExpired;
                ask(&registry, |reply| LoseNode { node, boot, cause, reply }).await
            };
            // Refused it is heard again, or asked for by a later tick.
            context.spawn(lose.into_actor(self).map(move |lost, sessions, _| {
                if lost.is_err() {
                    sessions.losing.remove(&asked);
                }
            }));
        }
        if held > 0 && self.held == 0 {
            log::error!(
                held, live = still;
                "many nodes are silent at once, and are given up one by one: look whether the way \
                 to them is gone"
            );
        }
        self.held = held;
    }
}

impl Actor for SessionsActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(4_096);
        let tick = (self.ttl.0 / 20).max(Duration::from_millis(20));
        let mut last = Instant::now();
        context.run_interval(tick, move |sessions, context| {
            // This process was paused: what it did not hear meanwhile says nothing.
            if last.elapsed() > sessions.ttl.0 / 2 {
                sessions.since = Instant::now();
            }
            last = Instant::now();
            sessions.lose_unheard(context);
        });
    }
}

impl Handler<Published> for SessionsActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, _: &mut Self::Context) {
        for event in &batch.events {
            if let domain::Event::LeaderStarted(started) = event {
                self.since = Instant::now();
                self.leading = batch.written_here && started.boot == self.boot;
            }
            if let domain::Event::NodeJoined(joined) = event {
                self.heard.insert(joined.node.clone(), Instant::now());
                self.losing.remove(&joined.node);
            }
            if let Some(session) = self.fleet.evolve(event).and_then(|n| self.sessions.get(&n)) {
                session.wants.send_replace(batch.index);
            }
            // A node that was given up registers again, which takes a hello: a session that goes on
            // would leave it lost for as long as it lasts.
            if let domain::Event::NodeLost(lost) = event {
                self.sessions.remove(&lost.node);
                self.losing.remove(&lost.node);
            }
        }
        let fleet = &self.fleet;
        self.heard.retain(|node, _| fleet.node(node).is_some());
        self.losing.retain(|node| fleet.node(node).is_some());
        self.asked.retain(|node, _| fleet.node(node).is_some_and(|node| node.is_live()));
    }
}

impl Handler<Connect> for SessionsActor {
    type Result = MessageResult<Connect>;

    fn handle(&mut self, Connect { node, boot }: Connect, _: &mut Self::Context) -> Self::Result {
        // The session of a process that was killed ends with its connection, and one behind a cut
        // network with the node's time to live.
        if let Some(other) = self.sessions.get(&node)
            && other.boot != boot
            && self.last_heard(&node).elapsed() < self.ttl.0
        {
            return MessageResult(Err(Duplicate { boot: other.boot }));
        }
        let number = self.next;
        self.next += 1;
        let (sender, wants) = watch::channel(0);
        log::info!(node = node.as_str(), boot:% = boot; "connect an agent");
        self.heard.insert(node.clone(), Instant::now());
        // The sender of an earlier session is dropped here: its receiver sees it closed.
        self.sessions.insert(node, Session { number, boot, wants: sender });
        MessageResult(Ok(Connected { session: number, wants }))
    }
}

impl Handler<Heard> for SessionsActor {
    type Result = bool;

    fn handle(&mut self, Heard { node, session }: Heard, _: &mut Self::Context) -> bool {
        let current = self.sessions.get(&node).is_some_and(|current| current.number == session);
        let counts = current && !self.losing.contains(&node);
        if counts {
            self.heard.insert(node, Instant::now());
        }
        counts
    }
}

impl Handler<Disconnect> for SessionsActor {
    type Result = ();

    fn handle(&mut self, Disconnect { node, session }: Disconnect, _: &mut Self::Context) {
        if self.sessions.get(&node).is_some_and(|current| current.number == session) {
            log::info!(node = node.as_str(); "an agent's session is over");
            self.sessions.remove(&node);
        }
    }
}

impl Handler<JournalUsable> for SessionsActor {
    type Result = ();

    fn handle(&mut self, JournalUsable(usable): JournalUsable, _: &mut Self::Context) {
        if usable && !self.usable {
            // While nothing could be written no heartbeat was acknowledged.
            self.since = Instant::now();
        }
        self.usable = usable;
    }
}

impl Handler<LastHeard> for SessionsActor {
    type Result = Option<u64>;

    fn handle(&mut self, LastHeard(node): LastHeard, _: &mut Self::Context) -> Self::Result {
        let heard = self.heard.get(&node)?;
        u64::try_from(heard.elapsed().as_millis()).ok()
    }
}

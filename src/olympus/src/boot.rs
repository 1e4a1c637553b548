//! The start of an instance, its roles, and its end, read from top to bottom.
//!
//! Owns:   the order: replay, start every actor, follow until the leader's key is free (see
//!         [`follow`](crate::follow)), write `leader.started`, show the projections, open the door
//!         to writes; and back when the role is over.
//! Never:  lets a write in before this instance's own first entry is durable and shown.
//! Fails:  a journal that must not be used keeps the process up with the door shut and the reason
//!         on it; a deposed leader starts again from the replay.
//! Proof:  `tests/tests/seed/persistence.rs`, the kill tests and `tests/tests/live/followers.rs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::Addr;
use domain::{Court, Law};
use journal::{Chain, Claim, Health, InstanceKey, Journal, Lease, LeaseState, Receipt, Writer};
use olympus_actors::clock::{Clock, Wall};
use olympus_actors::dice::Dice;
use olympus_actors::heat::HeatActor;
use olympus_actors::journal::{Fallen, JournalActor, Lead, Stop};
use olympus_actors::notary::{NotaryActor, SignNow};
use olympus_actors::placement::PlacementActor;
use olympus_actors::policy::PolicyActor;
use olympus_actors::projector::{Attach, AwaitLine, ProjectorActor};
use olympus_actors::publish::Subscribers;
use olympus_actors::quarantine::QuarantineActor;
use olympus_actors::queue::QueueActor;
use olympus_actors::registry::{Limits, RegistryActor, Undurable};
use olympus_actors::sessions::{JournalUsable, SessionsActor, Ttl};
use olympus_actors::view::{GetRecord, Summarize, ViewActor};
use olympus_actors::{Failure, Mark};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::follow::{Follower, Stuck};
use crate::heartbeats::HeartbeatWriter;
use crate::house::{Door, House, Judges, Role, State, Windows};
use crate::http::DECIDED_WITHIN;
use crate::janitor::JanitorActor;
use crate::keep::{self, Keeper, Keeping};
use crate::output::OutputStore;
use crate::recover::{RecoverError, Recovered, recover};
use crate::threads::{Running, Threads};
use crate::wire::{UntilGone, Watch};
use crate::witness::Witnesses;

/// How often it is looked whether nodes can be heard: a small part of the shortest time to live.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pause before a journal that could not be read is read again.
const READ_AGAIN: Duration = Duration::from_millis(250);
/// And another instance is asked again for a snapshot, which it reads and sends whole.
const LENT_AGAIN: Duration = Duration::from_secs(5);

/// The last checkpoint of a reign may take so long: a journal that does not answer keeps nobody from
/// stopping.
const LAST_CHECKPOINT_WITHIN: Duration = Duration::from_secs(2);
/// What was decided before a stop may take so long to be durable: whoever asked for it is told
/// *unknown* by then.
const LAST_ENTRY_WITHIN: Duration = Duration::from_secs(6);
const _: () = assert!(LAST_ENTRY_WITHIN.as_millis() > DECIDED_WITHIN.as_millis());
/// What was decided while the last checkpoint was made gets another; so often.
const LAST_CHECKPOINTS: usize = 3;

/// What an instance is made of.
#[derive(Clone)]
pub struct Plan {
    /// The opened journal.
    pub journal: Arc<dyn Journal>,
    /// How others reach this instance.
    pub url: String,
    /// This process.
    pub boot: Uuid,
    /// How it is noticed that the leader's process is gone.
    pub until_gone: UntilGone,
    /// Limits of admission.
    pub limits: Limits,
    /// Time to live of a node.
    pub node_ttl: Duration,
    /// What runs wrote.
    pub output: Arc<OutputStore>,
    /// Where entries are kept that the journal may have lost.
    pub export_dir: PathBuf,
    /// How policies read in Redis.
    pub render_policies: fn(&Law) -> Vec<(String, String)>,
    /// What agents saw of the journal, in this reign and others.
    pub witnesses: Arc<Witnesses>,
    /// What it signs with.
    pub key: Arc<InstanceKey>,
    /// How often it signs.
    pub checkpoint_every: Duration,
    /// What the actors run on.
    pub threads: Threads,
    /// Time of day.
    pub wall: Wall,
    /// Chance.
    pub dice: Dice,
    /// What is kept of the journal, and a journal of the keeper's own; none of one in memory, which
    /// ends with the process.
    pub keeping: Option<(Keeping, Arc<dyn Journal>)>,
}

/// Follows, and leads whenever it can, until `stop` says otherwise or the journal must not be used
/// any more. Keeps `door` true throughout.
///
/// # Errors
/// The journal can't be replayed: the process must end with the exit code of a refused journal.
pub async fn run(
    plan: Plan,
    door: Arc<Door>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RecoverError> {
    let mut started = false;
    let mut watch = Watch::new(plan.until_gone.clone(), &plan.url);
    loop {
        let fallen = match replay(&plan, &door, started, &mut stop).await {
            Ok(None) => return Ok(()),
            Ok(Some(recovered)) => {
                started = true;
                let threads = plan.threads.start();
                let mut rooms = threads.start(|| Rooms::start(&plan, recovered, &threads));
                let fallen = threads.beside(rooms.live(&plan, &door, &mut watch, &mut stop)).await;
                shut(&door, "this instance does not lead".into());
                threads.stop();
                fallen
            }
            // Only a start ends with the process: what ran stays up and says why it does not.
            Err(refused) if started => Fallen::FailStop(refused.to_string()),
            Err(refused) => return Err(refused),
        };
        match fallen {
            Fallen::Stopped => return Ok(()),
            Fallen::Deposed(why) => {
                log::warn!(reason = why; "step down");
                shut(&door, format!("stepped down: {why}"));
            }
            Fallen::FailStop(why) => {
                log::error!(reason = why; "stop writing for good: an operator must look at the journal");
                door.fail(format!("the journal can't be used: {why}"));
                // Stay up, so that health checks and people can read the reason.
                let _ = stop.wait_for(|stop| *stop).await;
                return Ok(());
            }
        }
    }
}

fn shut(door: &Door, why: String) {
    door.set(State::Shut(why));
}

/// Replays the journal, as often as it takes to read it; none when it is time to stop. One that ran
/// also waits for who can lend it what it lacks: it was trimmed away while nobody minded it.
async fn replay(
    plan: &Plan,
    door: &Door,
    started: bool,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<Recovered>, RecoverError> {
    shut(door, "replaying the journal".into());
    let mut said = None;
    loop {
        let began = tokio::time::Instant::now();
        let recovering = async {
            let tail = plan.journal.check().await?;
            let keeping = plan.keeping.as_ref().map(|(keeping, _)| keeping);
            recover(&plan.journal, tail, keeping).await
        };
        let recovered = tokio::select! {
            biased;
            recovered = recovering => recovered,
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
        };
        let (why, again) = match recovered {
            Ok(recovered) => {
                log::info!(
                    snapshot = recovered.snapshot, events = recovered.events, index = recovered.mark.index,
                    runs = recovered.world.runs.len(), waiting = recovered.world.line.waiting(),
                    revision = recovered.world.law.current().revision,
                    ms = began.elapsed().as_millis();
                    "replay the journal"
                );
                return Ok(Some(recovered));
            }
            Err(RecoverError::OutOfReach(why)) if !started => {
                return Err(RecoverError::OutOfReach(why));
            }
            Err(RecoverError::Trouble(trouble)) => (trouble.to_string(), READ_AGAIN),
            Err(RecoverError::NotNow(why) | RecoverError::OutOfReach(why)) => (why, LENT_AGAIN),
            Err(refused @ RecoverError::Refused(_)) => return Err(refused),
        };
        if said.as_ref() != Some(&why) {
            log::warn!(error = why.as_str(); "could not replay the journal yet");
            shut(door, why.clone());
            said = Some(why);
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(again) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
        }
    }
}

/// An instance's actors. All of them fold what is durable; those that act wait
/// for the entry that makes this process the leader.
struct Rooms {
    /// As a follower has it.
    house: House,
    journal: Addr<JournalActor>,
    fallen: watch::Receiver<Option<Fallen>>,
    subscribers: Subscribers,
    follower: Follower,
}

impl Rooms {
    /// Starts every actor. Nothing is decided yet.
    fn start(plan: &Plan, recovered: Recovered, threads: &Running) -> Self {
        let Recovered { world, tail, mark, bytes, .. } = recovered;
        let clock = Arc::new(Clock::starting_after(plan.wall.clone(), world.now));
        let (pen, desk) = (threads.of(0), threads.of(1));
        let (windows, hall) = (threads.of(2), threads.of(3));

        let (fell, fallen) = watch::channel(None);
        let journal = {
            let (clock, boot, dir) = (clock.clone(), plan.boot, plan.export_dir.clone());
            pen.start(move || JournalActor::new(mark, boot, clock, dir, fell))
        };
        let undurable = Arc::new(Undurable::default());
        let registry = {
            let (world, clock, dice) = (world.clone(), clock.clone(), plan.dice.clone());
            let (limits, boot) = (plan.limits, plan.boot);
            let (undurable, journal) = (undurable.clone(), journal.clone());
            desk.start(move || {
                RegistryActor::new(world, journal.recipient(), undurable, clock, dice, limits, boot)
            })
        };
        let (court_out, court) = watch::channel(Arc::new(Court::default()));
        let (law_out, law) = watch::channel(Arc::new(Court::default()));
        let policy = {
            let book = world.law.clone();
            hall.start(move || PolicyActor::new(book, mark, vec![court_out, law_out]))
        };
        let judges = Judges::new(court);
        let projector = {
            let (journal, render) = (plan.journal.clone(), plan.render_policies);
            hall.start(move || ProjectorActor::new(journal, render, law))
        };
        let queue = {
            let (line, dead) = (world.line.clone(), world.dead.clone());
            let projector = projector.clone().recipient();
            hall.start(move || QueueActor::new(line, dead, mark, projector))
        };
        let heat = {
            let fleet = world.fleet.clone();
            hall.start(move || HeatActor::new(fleet, mark))
        };
        let quarantine = {
            let (ledger, fleet) = (world.ledger.clone(), world.fleet.clone());
            hall.start(move || QuarantineActor::new(ledger, fleet))
        };
        let placement = {
            let (line, fleet) = (world.line.clone(), world.fleet.clone());
            let (clock, registry, boot) = (clock.clone(), registry.clone(), plan.boot);
            desk.start(move || PlacementActor::new(line, fleet, mark.index, clock, registry, boot))
        };
        let sessions = {
            let (fleet, ttl, boot) = (world.fleet.clone(), Ttl(plan.node_ttl), plan.boot);
            let registry = registry.clone();
            hall.start(move || SessionsActor::new(fleet, ttl, registry, boot))
        };
        let janitor = {
            let janitor = JanitorActor::new(plan.output.clone(), &world);
            hall.start(move || janitor)
        };
        let notary = {
            let (key, every) = (plan.key.clone(), plan.checkpoint_every);
            let (boot, registry) = (plan.boot, registry.clone());
            hall.start(move || {
                NotaryActor::new(key, tail.identity, boot, every, tail.position, registry)
            })
        };
        let view = {
            let clock = clock.clone();
            windows.start(move || ViewActor::new(world, mark, clock))
        };

        let mut subscribers = Subscribers::default();
        subscribers.add(view.clone().recipient());
        subscribers.add(registry.clone().recipient());
        subscribers.add(policy.clone().recipient());
        subscribers.add(queue.clone().recipient());
        subscribers.add(heat.clone().recipient());
        subscribers.add(quarantine.clone().recipient());
        subscribers.add(sessions.clone().recipient());
        subscribers.add(placement.recipient());
        subscribers.add(janitor.recipient());
        subscribers.add(notary.clone().recipient());
        // What was replayed was written since the snapshot.
        subscribers.written().store(bytes, Ordering::Relaxed);

        let follower = Follower::new(plan.journal.clone(), tail);
        // Nobody has a writer or a key before it leads.
        let (_, health) = watch::channel(Health::Leading);
        let (_, lease) = watch::channel(LeaseState::Released);
        let house = House {
            role: Role::Follower(follower.sight()),
            registry,
            windows: Windows { view, policy, queue, judges, clock },
            heat,
            quarantine,
            sessions,
            notary,
            witnesses: plan.witnesses.clone(),
            public_key: plan.key.public(),
            projector,
            heartbeats: HeartbeatWriter::start(plan.journal.clone()),
            journal: plan.journal.clone(),
            health,
            undurable,
            output: plan.output.clone(),
            lease,
            identity: tail.identity,
            url: plan.url.as_str().into(),
            epoch: 0,
        };
        Self { house, journal, fallen, subscribers, follower }
    }

    /// Follows until the leader's key is this instance's, then leads until that is over.
    async fn live(
        &mut self,
        plan: &Plan,
        door: &Door,
        watch: &mut Watch,
        stop: &mut watch::Receiver<bool>,
    ) -> Fallen {
        let claim = Claim { boot: plan.boot, url: plan.url.clone() };
        let caught_up = || door.set(State::Open(self.house.clone()));
        let following = self.follower.until_leading(claim, watch, &self.subscribers, caught_up);
        let keeper = plan.keeping.clone().map(|(keeping, journal)| {
            Keeper::follow(keeping, journal, self.house.windows.view.clone(), self.house.identity)
        });
        let lease = tokio::select! {
            biased;
            lease = following => match lease {
                Ok(lease) => lease,
                Err(Stuck::Behind(why)) => return Fallen::Deposed(why),
                Err(stuck) => return Fallen::FailStop(stuck.to_string()),
            },
            _ = stop.wait_for(|stop| *stop) => return Fallen::Stopped,
        };
        drop(keeper);
        let fallen = tokio::select! {
            biased;
            fallen = self.lead(plan, door, &lease, stop) => fallen,
            holder = lease.keep() => Fallen::Deposed(format!("{holder} leads")),
        };
        if fallen == Fallen::Stopped
            && let Err(trouble) = lease.release().await
        {
            log::warn!(error:% = trouble; "the leader's key was not given back, it expires");
        }
        fallen
    }

    /// Folds what the last leader left, writes the barrier, opens the door to writes, and waits for
    /// the end of the role.
    async fn lead(
        &mut self,
        plan: &Plan,
        door: &Door,
        lease: &Lease,
        stop: &mut watch::Receiver<bool>,
    ) -> Fallen {
        let mut said = None;
        let tail = loop {
            let trouble = match self.follower.catch_up(&self.subscribers).await {
                Ok(tail) => break tail,
                // Tried again with all that was read in hand: a replay may find less.
                Err(Stuck::For(trouble)) => trouble,
                Err(Stuck::Behind(why)) => return Fallen::Deposed(why),
                // Another has gone on from where it ends.
                Err(Stuck::Shrunk(_)) => return Fallen::Deposed("another instance writes".into()),
                Err(Stuck::Ever(why)) => return Fallen::FailStop(why),
            };
            let why = trouble.to_string();
            if said.as_ref() != Some(&why) {
                log::warn!(error = why.as_str(); "could not read the journal");
                said = Some(why);
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(READ_AGAIN) => {}
                _ = stop.wait_for(|stop| *stop) => return Fallen::Stopped,
            }
        };
        // Log time goes on from the journal's, whatever this machine's clock says.
        self.house.clock.raise_to(domain::Timestamp(tail.at_ms));
        let writer = Writer::new(plan.journal.clone(), tail).remembering(self.follower.take_read());
        let chain = Chain::lead_from(tail, plan.boot).salted(plan.dice.draw());
        let house = House {
            role: Role::Leader,
            epoch: chain.epoch(),
            health: writer.health(),
            lease: lease.state(),
            ..self.house.clone()
        };
        let (health, held) = (writer.health(), lease.state());
        let sessions = house.sessions.clone();
        let watch_health = async move {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            let mut last = true;
            loop {
                looks.tick().await;
                // The leader's key, which is renewed more often than an idle writer looks, notices
                // first that Redis is away, and heartbeats are not written then.
                let usable = health.borrow().accepts()
                    && held.borrow().is_valid_at(tokio::time::Instant::now());
                if usable != last {
                    last = usable;
                    let _ = sessions.send(JournalUsable(usable)).await;
                }
            }
        };
        let Ok(record) = self.house.view.send(GetRecord).await else {
            return Fallen::FailStop("the view is gone".into());
        };
        let (reply, led) = oneshot::channel();
        let id = tail.position.id();
        let lead = Lead {
            chain,
            writer,
            mark: Mark { index: id.seq, receipt: Receipt(id) },
            subscribers: self.subscribers.clone(),
            url: plan.url.as_str().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            key: Some(plan.key.public()),
            level: record.value.level,
            reply,
        };
        let written = self.subscribers.written().clone();
        let opening = async {
            let opened = open(lead, led, self.journal.clone(), house.clone(), plan, door).await;
            // Held as long as this instance leads.
            let _keeper = if opened { keep(plan, &house, written).await } else { None };
            std::future::pending().await
        };
        let mut fallen = self.fallen.clone();
        let mut stop = stop.clone();
        let (journal, notary) = (self.journal.clone(), self.house.notary.clone());
        let stopping = async move {
            let _ = stop.wait_for(|stop| *stop).await;
            vouch_once_more(&notary).await;
            let _ = journal.send(Stop).await;
            // By `fallen`, as soon as what was decided is durable; a journal that does not answer
            // keeps nobody from stopping.
            tokio::time::sleep(LAST_ENTRY_WITHIN).await;
            log::error!(
                "stop with a write in doubt: the journal does not answer, and whoever asked for it \
                 was told that it is unknown"
            );
        };
        tokio::select! {
            biased;
            fallen = fallen.wait_for(Option::is_some) => match fallen.ok().and_then(|f| f.clone()) {
                Some(fallen) => fallen,
                None => Fallen::FailStop("the journal actor is gone".into()),
            },
            never = watch_health => never,
            () = stopping => Fallen::Stopped,
            never = opening => never,
        }
    }
}

/// The last act of a reign that ends as planned: nothing that it wrote is left without a signature.
async fn vouch_once_more(notary: &Addr<NotaryActor>) {
    let vouching = async {
        for _ in 0..LAST_CHECKPOINTS {
            let (reply, left) = oneshot::channel();
            // A notary or a registry that is gone has nothing to sign with.
            let asked = notary.send(SignNow(reply)).await;
            if asked.is_err() || matches!(left.await, Ok(0) | Err(_)) {
                return;
            }
        }
    };
    if tokio::time::timeout(LAST_CHECKPOINT_WITHIN, vouching).await.is_err() {
        log::warn!("stop without a last checkpoint: the journal does not answer");
    }
}

/// The leader's keeper, where there is something to keep.
async fn keep(plan: &Plan, house: &House, written: Arc<AtomicU64>) -> Option<Keeper> {
    let (keeping, journal) = plan.keeping.clone()?;
    let kept = house.view.send(Summarize).await.ok()?.kept;
    let House { registry, windows: Windows { view, .. }, identity, .. } = house.clone();
    Some(Keeper::lead(keeping, keep::Begin { journal, view, registry, identity, kept, written }))
}

/// Writes the barrier, shows the projections, opens the door; says whether it did. Where the barrier
/// can't be written the role ends by `fallen`, which says why.
async fn open(
    lead: Lead,
    led: oneshot::Receiver<Result<Mark, Failure>>,
    journal: Addr<JournalActor>,
    house: House,
    plan: &Plan,
    door: &Door,
) -> bool {
    if journal.send(lead).await.is_err() {
        return false;
    }
    let Ok(Ok(mark)) = led.await else { return false };
    let line = house.queue.clone().recipient();
    let _ = house.projector.send(Attach(line)).await;
    let (reply, shown) = oneshot::channel();
    let _ = house.projector.send(AwaitLine(reply)).await;
    let _ = shown.await;
    log::info!(
        epoch = house.epoch, index = mark.index, url = plan.url.as_str();
        "lead: the door is open"
    );
    door.set(State::Open(house));
    true
}

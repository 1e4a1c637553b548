//! A small house over a memory journal, for the actors' tests.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use domain::command::{Join, Report, Reported};
use domain::event::{Exit, ExitCause, KeyUse, Origin, Output, Principal, Usage};
use domain::ids::Hex;
use domain::judge::{Request, judge};
use domain::submission::{Demand, Retry};
use domain::{Court, Inputs, Judged, NodeId, RunId, World};
use journal::{Chain, Cursor, Faults, Health, InstanceKey, Journal, MemoryJournal, Tail, Writer};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::answer::{Answer, Mark, Receipt, ask};
use crate::clock::{Clock, Wall};
use crate::dice::Dice;
use crate::journal::{Fallen, JournalActor, Lead};
use crate::notary::NotaryActor;
use crate::placement::PlacementActor;
use crate::publish::Subscribers;
use crate::registry::{Admit, Admitted, Limits, RegistryActor, Undurable};
use crate::view::{GetRun, RunSeen, Seen, Until, ViewActor, WantsOf};

/// A registry, a journal, a view and placement, as `boot` wires them.
pub struct Fixture {
    pub registry: Addr<RegistryActor>,
    pub journal: Addr<JournalActor>,
    pub view: Addr<ViewActor>,
    pub faults: Faults,
    pub store: Arc<MemoryJournal>,
    pub fallen: watch::Receiver<Option<Fallen>>,
    pub undurable: Arc<Undurable>,
    pub notary: Addr<NotaryActor>,
    pub key: Arc<InstanceKey>,
    /// Of the writer, once there is one.
    pub health: Option<watch::Receiver<Health>>,
    level: u32,
    subscribers: Option<Subscribers>,
    tail: Tail,
    mark: Mark,
    pub boot: Uuid,
    _dir: tempfile::TempDir,
}

pub const QUEUE_MAX: usize = 1_000;

impl Fixture {
    /// Wired, and not leading yet.
    pub async fn wired() -> Self {
        Self::over(MemoryJournal::default()).await
    }

    /// The same over a journal that has a past.
    pub async fn over(memory: MemoryJournal) -> Self {
        let memory = Arc::new(memory);
        let faults = memory.faults().clone();
        let journal: Arc<dyn Journal> = memory.clone();
        journal.open(None).await.expect("a memory journal opens");
        let (world, cursor) = replay(&journal).await;
        let tail = cursor.tail().expect("the genesis entry");
        let id = tail.position.id();
        let mark = Mark { index: id.seq, receipt: Receipt(id) };
        let clock = Arc::new(Clock::starting_after(Wall::of_the_machine(), world.now));
        let boot = Uuid::new_v4();
        let (fell, fallen) = watch::channel(None);
        let dir = tempfile::tempdir().expect("a directory");
        let export_dir = dir.path().to_owned();
        let actor = JournalActor::new(mark, boot, clock.clone(), export_dir, fell).start();
        let undurable = Arc::new(Undurable::default());
        let registry = RegistryActor::new(
            world.clone(),
            actor.clone().recipient(),
            undurable.clone(),
            clock.clone(),
            Dice::of_the_system(),
            Limits { queue_max: QUEUE_MAX },
            boot,
        )
        .start();
        let placement = PlacementActor::new(
            world.line.clone(),
            world.fleet.clone(),
            mark.index,
            clock.clone(),
            registry.clone(),
            boot,
        )
        .start();
        let key = Arc::new(InstanceKey::from_seed(&[7; 32]));
        let notary = NotaryActor::new(
            key.clone(),
            tail.identity,
            boot,
            // No test waits for it: they ask.
            Duration::from_secs(3_600),
            tail.position,
            registry.clone(),
        )
        .start();
        let level = world.kept.level();
        let view = ViewActor::new(world, mark, clock).start();
        let mut subscribers = Subscribers::default();
        subscribers.add(view.clone().recipient());
        subscribers.add(registry.clone().recipient());
        subscribers.add(placement.recipient());
        subscribers.add(notary.clone().recipient());
        let subscribers = Some(subscribers);
        Self {
            registry,
            journal: actor,
            view,
            faults,
            store: memory,
            fallen,
            undurable,
            notary,
            key,
            health: None,
            level,
            subscribers,
            tail,
            mark,
            boot,
            _dir: dir,
        }
    }

    /// Wired and leading.
    pub async fn leading() -> Self {
        let mut fixture = Self::wired().await;
        fixture.lead().await;
        fixture
    }

    /// Writes the barrier.
    pub async fn lead(&mut self) {
        let (reply, led) = oneshot::channel();
        let subscribers = self.subscribers.take().expect("led once");
        let (tail, mark, level) = (self.tail, self.mark, self.level);
        let chain = Chain::lead_from(tail, self.boot);
        let writer = Writer::new(self.store.clone(), tail);
        self.health = Some(writer.health());
        let (url, version, key) = ("http://test".into(), "test".into(), Some(self.key.public()));
        let lead = Lead { chain, writer, mark, subscribers, url, version, key, level, reply };
        self.journal.send(lead).await.expect("a journal actor");
        led.await.expect("an answer").expect("a durable barrier");
    }

    pub async fn admit(&self, items: Vec<Judged>, key: Option<&str>) -> Answer<Vec<Item>> {
        let key = key.map(|key| KeyUse { key: key.into(), body: Hex([7; 16]) });
        let items = (0..).zip(items).collect();
        let (redrive_of, origin) = (None, origin());
        ask(&self.registry, |reply| Admit { items, key, redrive_of, origin, reply }).await
    }

    /// Submits one run that is let in.
    pub async fn submit(&self) -> RunId {
        let admitted = self.admit(vec![judged()], None).await.expect("durable").value.remove(0);
        admitted.expect("let in").run.id()
    }

    pub async fn join(&self, node: &str, cpu_milli: u32) {
        let join = Join {
            node: NodeId::new(node),
            boot: Uuid::new_v4(),
            labels: Default::default(),
            capacity: Demand { cpu_milli, mem_mb: 1 << 20, gpu: 0 },
            isolation: Vec::new(),
            runtime: "embedded".into(),
            version: "test".into(),
        };
        ask(&self.registry, |reply| crate::registry::Join { join, reply }).await.expect("joined");
    }

    pub async fn run(&self, run: RunId, until: Until) -> Seen<Option<RunSeen>> {
        let (reply, seen) = oneshot::channel();
        self.view.send(GetRun { run, until, reply }).await.expect("a view");
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("in time").expect("seen")
    }

    /// Ends the attempt of a run as its agent would.
    pub async fn finish(&self, node: &str, run: RunId, code: i32) -> Answer<()> {
        let wants = self.view.send(WantsOf(NodeId::new(node))).await.expect("a view").value;
        let want = wants.iter().find(|want| want.admitted.run == run).expect("wanted");
        let exit = Exit { cause: ExitCause::Exited, code: Some(code), signal: None, message: None };
        let report = Report {
            node: NodeId::new(node),
            run,
            token: want.token,
            what: Reported::Finished { exit, usage: Usage::default(), output: Output::default() },
        };
        ask(&self.registry, |reply| crate::registry::Report { report, reply }).await
    }
}

pub type Item = Result<Admitted, domain::Refusal>;

pub async fn replay(journal: &Arc<dyn Journal>) -> (World, Cursor) {
    let mut world = World::default();
    let tail = journal.check().await.expect("a journal");
    let mut cursor = Cursor::start(tail.identity);
    loop {
        let page = journal.read(&cursor).await.expect("whole entries");
        if page.entries.is_empty() {
            return (world, cursor);
        }
        for entry in &page.entries {
            for event in journal::catalog::events(entry) {
                world.evolve(entry.seq(), &event.expect("an event").1);
            }
        }
        cursor = page.next;
    }
}

pub fn origin() -> Origin {
    Origin { by: Principal::Anonymous, request: Uuid::nil() }
}

pub fn request() -> Request {
    Request {
        template: "host".into(),
        command: vec!["true".into()],
        retry: Some(Retry::DEFAULT),
        ..Request::default()
    }
}

pub fn judged() -> Judged {
    judge(&Court::default(), request(), &Inputs::bare(true)).expect("a template")
}

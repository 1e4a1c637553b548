//! The world of a seed: everyone in it, and what is known of what they did.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use journal::{ClusterId, EntryId, Identity, MemoryStore};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::client::Operation;
use crate::instance::Instance;
use crate::node::{Heard, Node, Program};
use crate::plan::Plan;
use crate::redis::{Redis, Request};

/// What was found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule: `docs/faults.md` says what each letter and number stands for.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

/// See the module.
pub struct World {
    /// What the seed says.
    pub plan: Plan,
    /// Chance of the network.
    pub chance: Chance,
    /// Everything that is nobody's process. Its tasks have the world: it must not have them.
    pub tasks: Weak<LocalSet>,
    /// What Redis has.
    pub store: MemoryStore,
    /// Which journal that is.
    pub identity: Identity,
    /// Redis.
    pub redis: Redis,
    /// The way to it.
    pub to_redis: mpsc::UnboundedSender<Request>,
    /// Instances.
    pub instances: RefCell<Vec<Rc<Instance>>>,
    /// Nodes.
    pub nodes: RefCell<Vec<Rc<Node>>>,
    /// Whether the first phase is over.
    pub healed: Cell<bool>,
    /// What clients did and heard.
    pub operations: RefCell<Vec<Operation>>,
    /// What ran.
    pub programs: RefCell<Vec<Rc<Program>>>,
    /// Heartbeats that were acknowledged.
    pub heard: RefCell<Vec<Heard>>,
    /// Entries, when their writer first sent them.
    pub sealed: RefCell<Vec<SealedAt>>,
    /// What was found.
    pub findings: RefCell<Vec<Finding>>,
    /// Faults that came, by kind.
    pub faults: RefCell<BTreeMap<&'static str, u64>>,
    /// Where files go.
    pub dir: PathBuf,
}

/// An entry's first way to the journal.
#[derive(Clone, Debug)]
pub struct SealedAt {
    /// Which.
    pub id: EntryId,
    /// The writer's process.
    pub boot: uuid::Uuid,
    /// When.
    pub ms: u64,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread.
pub fn current() -> Option<Rc<World>> {
    WORLD.with_borrow(Clone::clone)
}

/// Sets the world of this thread.
pub fn set(world: Option<Rc<World>>) {
    WORLD.set(world);
}

impl World {
    /// One in which nothing has happened yet. `tasks` run what is nobody's process, and calls of the
    /// journal go `to_redis`.
    pub fn new(
        plan: Plan,
        dir: &Path,
        tasks: Weak<LocalSet>,
        to_redis: mpsc::UnboundedSender<Request>,
    ) -> Rc<Self> {
        let cluster = ClusterId(Chance::of(plan.seed, "cluster").uuid());
        let identity = Identity { cluster, incarnation: 1 };
        let store = MemoryStore::default();
        store.begin(identity);
        let redis = Redis::default();
        redis.flushed.set(1);
        Rc::new(Self {
            chance: Chance::of(plan.seed, "network"),
            tasks,
            store,
            identity,
            redis,
            to_redis,
            instances: RefCell::default(),
            nodes: RefCell::default(),
            healed: Cell::new(false),
            operations: RefCell::default(),
            programs: RefCell::default(),
            heard: RefCell::default(),
            sealed: RefCell::default(),
            findings: RefCell::default(),
            faults: RefCell::default(),
            dir: dir.to_owned(),
            plan,
        })
    }

    /// Begins a task that is nobody's process.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.spawn_local(task);
        }
    }

    /// Kills every process.
    pub fn kill_all(&self) {
        for instance in self.instances.borrow().iter() {
            instance.kill();
        }
        for node in self.nodes.borrow().iter() {
            node.kill();
        }
    }

    /// Writes a finding down.
    pub fn find(&self, rule: &'static str, what: impl Into<String>) {
        let what = what.into();
        crate::trace!("FOUND {rule}: {what}");
        self.findings.borrow_mut().push(Finding { rule, what });
    }

    /// Counts a fault that came.
    pub fn suffers(&self, fault: &'static str) {
        *self.faults.borrow_mut().entry(fault).or_default() += 1;
    }

    /// Whether faults are on.
    pub fn faulty(&self) -> bool {
        !self.healed.get()
    }

    /// Waits a drawn time.
    pub async fn way(&self, from_us: u64, to_us: u64) {
        sleep(Duration::from_micros(self.chance.between(from_us, to_us))).await;
    }

    /// Whether a planted bug has shown itself: what comes after is of no interest.
    pub fn is_proved(&self) -> bool {
        self.plan.planted.is_some() && !self.findings.borrow().is_empty()
    }

    /// Waits until something is so, and says whether it ever was; no longer than until a planted bug
    /// has shown itself.
    pub async fn until(&self, within_ms: u64, is_so: impl Fn() -> bool) -> bool {
        let began = Instant::now();
        loop {
            if is_so() {
                return true;
            }
            if self.is_proved() || began.elapsed() > Duration::from_millis(within_ms) {
                return false;
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
}

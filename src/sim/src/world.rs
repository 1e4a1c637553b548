//! The world of a seed: everyone in it, and what is known of what they did.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use journal::{EntryId, Identity, MemoryStore};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::client::Operation;
use crate::instance::Instance;
use crate::node::{Heard, Node, Program};
use crate::plan::Plan;
use crate::redis::{Redis, Request};
use crate::trace::now_ms;

/// What was found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule, as `docs/faults.md` numbers them.
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
    /// Everything that is nobody's process.
    pub tasks: Rc<LocalSet>,
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
    /// Begins a task that is nobody's process.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(task);
    }

    /// Writes a finding down.
    pub fn find(&self, rule: &'static str, what: impl Into<String>) {
        let what = what.into();
        crate::trace!("FOUND {rule}: {what}");
        self.findings.borrow_mut().push(Finding { rule, what });
    }

    /// Whether faults are on.
    pub fn faulty(&self) -> bool {
        !self.healed.get()
    }

    /// Waits a drawn time.
    pub async fn way(&self, from_us: u64, to_us: u64) {
        sleep(Duration::from_micros(self.chance.between(from_us, to_us))).await;
    }

    /// Waits until something is so, and says within how many milliseconds it was; none if never.
    pub async fn until(&self, within_ms: u64, is_so: impl Fn() -> bool) -> Option<u64> {
        let began = Instant::now();
        let before = now_ms();
        loop {
            if is_so() {
                return Some(now_ms() - before);
            }
            if began.elapsed() > Duration::from_millis(within_ms) {
                return None;
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
}

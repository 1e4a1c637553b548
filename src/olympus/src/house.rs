//! The rooms behind the door: handles on every actor of a leader.
//!
//! Owns:   nothing but addresses; cloning is cheap.
//! Never:  exists on an instance that does not lead: [`Door`] is shut there, and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Addr;
use arc_swap::ArcSwap;
use olympus_actors::clock::Clock;
use olympus_actors::heat::HeatActor;
use olympus_actors::judge::JudgeActor;
use olympus_actors::policy::PolicyActor;
use olympus_actors::projector::ProjectorActor;
use olympus_actors::quarantine::QuarantineActor;
use olympus_actors::queue::QueueActor;
use olympus_actors::registry::{RegistryActor, Undurable};
use olympus_actors::sessions::SessionsActor;
use olympus_actors::view::ViewActor;
use tokio::sync::watch;
use uuid::Uuid;

use crate::heartbeats::HeartbeatWriter;
use crate::output::OutputStore;

/// Every actor of a leader.
#[derive(Clone)]
pub struct House {
    /// The one decider.
    pub registry: Addr<RegistryActor>,
    /// Reads.
    pub view: Addr<ViewActor>,
    /// The law.
    pub policy: Addr<PolicyActor>,
    /// Judges, in turn.
    pub judges: Judges,
    /// The line.
    pub queue: Addr<QueueActor>,
    /// Heat and pools.
    pub heat: Addr<HeatActor>,
    /// The quarantine ledger.
    pub quarantine: Addr<QuarantineActor>,
    /// Agents' sessions.
    pub sessions: Addr<SessionsActor>,
    /// What `redis-cli` shows.
    pub projector: Addr<ProjectorActor>,
    /// Signs of life of nodes, on their way to Redis.
    pub heartbeats: HeartbeatWriter,
    /// The journal itself, for reads that ask it first.
    pub journal: Arc<dyn journal::Journal>,
    /// Log time.
    pub clock: Arc<Clock>,
    /// How the journal is.
    pub health: watch::Receiver<journal::Health>,
    /// What was decided and is not durable yet.
    pub undurable: Arc<Undurable>,
    /// What runs wrote.
    pub output: Arc<OutputStore>,
    /// The leader's key.
    pub lease: watch::Receiver<journal::LeaseState>,
    /// The cluster whose journal this is.
    pub cluster: Uuid,
    /// How others reach this instance.
    pub url: Arc<str>,
    /// This leader's epoch.
    pub epoch: u64,
    /// What Redis really promises.
    pub durability: Arc<str>,
}

/// A pool of judges.
#[derive(Clone)]
pub struct Judges {
    judges: Arc<[Addr<JudgeActor>]>,
    turn: Arc<AtomicUsize>,
}

impl Judges {
    /// A pool of at least one.
    pub fn new(judges: Vec<Addr<JudgeActor>>) -> Self {
        Self { judges: judges.into(), turn: Arc::default() }
    }

    /// The judge whose turn it is.
    pub fn next(&self) -> &Addr<JudgeActor> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        &self.judges[turn % self.judges.len()]
    }
}

/// The one swappable handle on the house.
pub struct Door {
    state: ArcSwap<State>,
}

/// Whether the house can be entered. One of it lives at a time, so its size does not matter.
#[allow(clippy::large_enum_variant)]
pub enum State {
    /// This instance leads.
    Open(House),
    /// It does not, for this reason; where another one leads, its URL.
    Shut {
        /// In words for an operator.
        why: String,
        /// URL of the leader.
        leader: Option<String>,
    },
}

impl Door {
    /// A door that is shut because the instance starts.
    pub fn shut(why: &str) -> Self {
        let shut = State::Shut { why: why.to_owned(), leader: None };
        Self { state: ArcSwap::from_pointee(shut) }
    }

    /// Opens or shuts it.
    pub fn set(&self, state: State) {
        self.state.store(Arc::new(state));
    }

    /// Its state.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }
}

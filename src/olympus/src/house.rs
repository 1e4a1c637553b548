//! The rooms behind the door: handles on every actor of an instance.
//!
//! Owns:   nothing but addresses; cloning is cheap.
//! Never:  is seen before it has folded the journal: [`Door`] is shut until then, and says why.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::{Actor as _, Addr};
use arc_swap::ArcSwap;
use domain::Court;
use olympus_actors::clock::Clock;
use olympus_actors::heat::HeatActor;
use olympus_actors::judge::JudgeActor;
use olympus_actors::notary::NotaryActor;
use olympus_actors::policy::PolicyActor;
use olympus_actors::projector::ProjectorActor;
use olympus_actors::quarantine::QuarantineActor;
use olympus_actors::queue::QueueActor;
use olympus_actors::registry::{RegistryActor, Undurable};
use olympus_actors::sessions::SessionsActor;
use olympus_actors::view::ViewActor;
use tokio::sync::watch;

use crate::follow::Sight;
use crate::heartbeats::HeartbeatWriter;
use crate::output::OutputStore;
use crate::witness::Witnesses;

/// What an instance is to the journal.
#[derive(Clone)]
pub enum Role {
    /// It writes.
    Leader,
    /// It reads what another writes.
    Follower(watch::Receiver<Sight>),
}

/// Every actor of an instance.
#[derive(Clone)]
pub struct House {
    /// What it is to the journal.
    pub role: Role,
    /// The one decider.
    pub registry: Addr<RegistryActor>,
    /// What reads are answered from.
    pub windows: Windows,
    /// Heat and pools.
    pub heat: Addr<HeatActor>,
    /// The quarantine ledger.
    pub quarantine: Addr<QuarantineActor>,
    /// Agents' sessions.
    pub sessions: Addr<SessionsActor>,
    /// Who vouches for the chain.
    pub notary: Addr<NotaryActor>,
    /// What agents saw of the journal.
    pub witnesses: Arc<Witnesses>,
    /// What it signs with: the public half.
    pub public_key: journal::PublicKey,
    /// What `redis-cli` shows.
    pub projector: Addr<ProjectorActor>,
    /// Signs of life of nodes, on their way to Redis.
    pub heartbeats: HeartbeatWriter,
    /// The journal itself, for reads that ask it first.
    pub journal: Arc<dyn journal::Journal>,
    /// How the journal is.
    pub health: watch::Receiver<journal::Health>,
    /// What was decided and is not durable yet.
    pub undurable: Arc<Undurable>,
    /// What runs wrote.
    pub output: Arc<OutputStore>,
    /// The leader's key.
    pub lease: watch::Receiver<journal::LeaseState>,
    /// Which journal this is.
    pub identity: journal::Identity,
    /// How others reach this instance.
    pub url: Arc<str>,
    /// This leader's epoch; 0 where it does not lead.
    pub epoch: u64,
}

/// What reads are answered from: the present of a house, or a past of it. The handlers of the API
/// are the same for both.
#[derive(Clone)]
pub struct Windows {
    /// Runs, nodes, quarantine, heat.
    pub view: Addr<ViewActor>,
    /// The law.
    pub policy: Addr<PolicyActor>,
    /// The line.
    pub queue: Addr<QueueActor>,
    /// Judges.
    pub judges: Judges,
    /// Log time. It stands still in a past.
    pub clock: Arc<Clock>,
}

impl std::ops::Deref for House {
    type Target = Windows;

    fn deref(&self) -> &Windows {
        &self.windows
    }
}

/// The pool of judges: one on each thread of the gateway, started when that thread first judges for
/// this house, so that judging wakes no other thread.
#[derive(Clone)]
pub struct Judges {
    court: watch::Receiver<Arc<Court>>,
    house: u64,
}

thread_local! {
    /// This thread's judge, and the house it judges for.
    static JUDGE: RefCell<Option<(u64, Addr<JudgeActor>)>> = const { RefCell::new(None) };
}

impl Judges {
    /// Judges under the law that `court` shows.
    pub fn new(court: watch::Receiver<Arc<Court>>) -> Self {
        static HOUSES: AtomicU64 = AtomicU64::new(0);
        Self { court, house: HOUSES.fetch_add(1, Ordering::Relaxed) }
    }

    /// The law that they judge by now.
    pub fn court(&self) -> Arc<Court> {
        self.court.borrow().clone()
    }

    /// This thread's judge. To be called on a thread of the gateway, by a handler.
    pub fn here(&self) -> Addr<JudgeActor> {
        JUDGE.with_borrow_mut(|judge| match judge {
            Some((house, judge)) if *house == self.house => judge.clone(),
            Some(_) | None => {
                let started = JudgeActor::new(self.court.clone()).start();
                *judge = Some((self.house, started.clone()));
                started
            }
        })
    }
}

pub(crate) fn swap_judge(seat: &mut Option<(u64, Addr<JudgeActor>)>) {
    JUDGE.with_borrow_mut(|judge| std::mem::swap(judge, seat));
}

/// The one swappable handle on the house.
pub struct Door {
    state: ArcSwap<State>,
    failed: AtomicBool,
}

/// Whether the house can be entered. One of it lives at a time, so its size does not matter.
#[allow(clippy::large_enum_variant)]
pub enum State {
    /// It can be entered.
    Open(House),
    /// It can't, for this reason, in words for an operator.
    Shut(String),
}

impl Door {
    /// A door that is shut because the instance starts.
    pub fn shut(why: &str) -> Self {
        let shut = State::Shut(why.to_owned());
        Self { state: ArcSwap::from_pointee(shut), failed: AtomicBool::new(false) }
    }

    /// Opens or shuts it.
    pub fn set(&self, state: State) {
        self.state.store(Arc::new(state));
    }

    /// Shuts it for good: only an operator and a restart open it again.
    pub fn fail(&self, why: String) {
        self.failed.store(true, Ordering::Relaxed);
        self.set(State::Shut(why));
    }

    /// Whether it was shut for good.
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Its state.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }
}

//! The house under a deterministic simulation: one seed, one world, separate checkers.
//!
//! Several instances of the real house (boot, actors, HTTP handlers, agents' sessions) and the real
//! rules of its agents live on one thread, in simulated time, beside clients and a lying Redis. A seed
//! says everything that happens; the same seed says it again.
//!
//! Owns:   the order of a seed: faults, healing, what must be so soon after, what must be so at the end.
//! Says:   what was found, and the hash of all that happened.
//! Never:  changes what is simulated: time, chance, threads and the network come in where the house
//!         takes them from outside anyway (`docs/adr/0014-one-thread-has-the-whole-house.md`).
//! Proof:  `tests/found.rs`: every planted bug is found, and the same seed is the same again.

mod chance;
mod check;
mod client;
mod gate;
mod instance;
mod nemesis;
mod node;
mod plan;
mod planted;
mod port;
mod redis;
#[cfg(test)]
mod session_tests;
mod trace;
mod world;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use olympus_actors::view::TakeDigest;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use client::{Client, Kind, LAST_WITHIN_MS, Outcome};
use instance::Instance;
use node::Node;
use redis::Request;
use trace::trace_line as trace;
use world::World;

pub use plan::Plan;
pub use planted::Planted;
pub use world::Finding;

/// L1: somebody leads so soon after the healing: the key's 1.5 s, a call that is not answered for 2 s
/// or is held for 5 s on its way, a process that starts, and a round of them again where the first who
/// leads is deposed at once.
const LEADS_WITHIN_MS: u64 = 12_000;
/// L3: every run has ended so soon after: a node that is lost and comes again, three attempts and more.
const ENDED_WITHIN_MS: u64 = 90_000;
/// L4: every follower is at the end of the journal so soon.
const FOLLOWS_WITHIN_MS: u64 = 5_000;
/// A call that was held or lost before the healing may be late by so much, and is a reason until then
/// to take the leader for gone.
const AFTERMATH: Duration = Duration::from_secs(6);
/// L5: nobody else leads for so long when nothing happens.
const CALM: Duration = Duration::from_secs(8);

/// What a seed came to.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash of everything that happened.
    pub hash: u64,
    /// What was found to be wrong.
    pub findings: Vec<Finding>,
    /// What happened, where it was to be kept.
    pub trace: Vec<String>,
    /// How much of what happened.
    pub counts: Counts,
    /// Faults that came, by kind.
    pub faults: BTreeMap<&'static str, u64>,
}

/// How much of what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries of the journal.
    pub entries: usize,
    /// Runs in it.
    pub runs: usize,
    /// Reigns in it.
    pub reigns: usize,
    /// Nodes that were lost.
    pub lost: usize,
    /// Operations of clients.
    pub operations: usize,
    /// Of them submissions.
    pub submissions: usize,
    /// Of them acknowledged.
    pub done: usize,
    /// Attempts that were to be moved off a node that was drained.
    pub moved: usize,
    /// Programs that ran.
    pub programs: usize,
    /// Simulated milliseconds.
    pub ms: u64,
}

/// Lives a seed through. Files go below `dir`.
///
/// # Panics
/// There is no runtime: this machine has no timers.
pub fn run(plan: Plan, dir: &Path, keep_trace: bool) -> Report {
    let seed = plan.seed;
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    olympus::aside::all_here();
    let tasks = Rc::new(LocalSet::new());
    let of_world = Rc::downgrade(&tasks);
    let (gone, findings, counts, faults, traced) = runtime.block_on(tasks.run_until(async move {
        trace::begin(keep_trace);
        let (to_redis, calls) = mpsc::unbounded_channel();
        let world = World::new(plan, dir, of_world, to_redis);
        world::set(Some(world.clone()));
        world.spawn(network(world.clone(), calls));
        // A checker may fall over what it finds.
        let counts = AssertUnwindSafe(live(&world)).catch_unwind().await.unwrap_or_default();
        world::set(None);
        let traced = trace::end();
        if let Some(panic) = &traced.panic {
            world.find("panic", panic.clone());
        }
        // What a process has of the world is in its tasks, and those are its instance's: nobody else
        // ends that circle. What is said from here on belongs to no seed.
        world.kill_all();
        (Rc::downgrade(&world), world.findings.take(), counts, world.faults.take(), traced)
    }));
    let timers = runtime.enter();
    drop(tasks);
    drop(timers);
    drop(runtime);
    debug_assert_eq!(gone.strong_count(), 0, "a world outlives its seed");
    Report { seed, hash: traced.hash, findings, trace: traced.kept, counts, faults }
}

async fn network(world: Rc<World>, mut calls: mpsc::UnboundedReceiver<Request>) {
    while let Some(call) = calls.recv().await {
        world.spawn(world.clone().serve(call));
    }
}

async fn live(world: &Rc<World>) -> Counts {
    trace!("plan {:?}", world.plan);
    let seed = world.plan.seed;
    for index in 0..world.plan.instances {
        let instance = Rc::new(Instance::new(index, seed, &world.dir));
        world.instances.borrow_mut().push(instance.clone());
        instance.start(world);
    }
    for number in 0..world.plan.nodes {
        let node = Rc::new(Node::new(number, seed));
        world.nodes.borrow_mut().push(node.clone());
        node.start(world);
    }
    let (left, mut all_left) = mpsc::channel::<()>(1);
    for number in 0..world.plan.clients {
        let (client, left) = (Client::new(world, number), left.clone());
        world.spawn(async move {
            client.live().await;
            drop(left);
        });
    }
    for number in 0..world.plan.readers {
        let (client, left) = (Client::new(world, 10 + number), left.clone());
        world.spawn(async move {
            client.look().await;
            drop(left);
        });
    }
    drop(left);
    nemesis::begin(world);
    world.until(world.plan.faults_ms, || false).await;
    nemesis::heal(world);
    let calm_from = Instant::now() + AFTERMATH;
    if !world.is_proved() {
        // Everybody has his answer, or has given up.
        let _ = all_left.recv().await;
    }
    if world.is_proved() {
        // Nothing that follows would be news.
    } else if world.redis.emptied.get() {
        // Nothing is written any more; an operator restores what there was.
        sleep(CALM).await;
    } else {
        recover(world, calm_from).await;
    }
    let model = check::all(world);
    let operations = world.operations.borrow();
    let done = operations.iter().filter(|o| matches!(o.outcome(), Outcome::Done(_)));
    let submissions = operations.iter().filter(|o| matches!(o.kind, Kind::Submit(_)));
    Counts {
        entries: model.ids.len(),
        runs: model.runs.len(),
        reigns: model.reigns.len(),
        lost: model.lost.len(),
        operations: operations.len(),
        submissions: submissions.count(),
        done: done.count(),
        moved: model.runs.values().flat_map(|run| &run.attempts).filter(|a| a.evicted).count(),
        programs: world.programs.borrow().len(),
        ms: trace::now_ms(),
    }
}

/// The second phase: everything must come to rest, soon.
async fn recover(world: &Rc<World>, calm_from: Instant) {
    // Where one leads and has not heard yet that another took its key, nothing is at rest.
    let leads = || {
        let instances = world.instances.borrow();
        let mut leading = instances.iter().filter(|instance| instance.leads());
        let holder = world.store.holder();
        match (leading.next(), leading.next()) {
            (Some(one), None) => holder.is_some_and(|claim| claim.url == one.url),
            (_, _) => false,
        }
    };
    operate(world);
    if !world.until(LEADS_WITHIN_MS, leads).await {
        world.find("L1", format!("nobody leads {LEADS_WITHIN_MS} ms after the healing"));
        return;
    }
    let mut last = Client::new(world, 9).patient();
    last.resume().await;
    last.undrain().await;
    let asked_ms = trace::now_ms();
    let outcome = last.submit_as(1, true).await;
    let took_ms = trace::now_ms() - asked_ms;
    if !matches!(outcome, Outcome::Done(_)) || took_ms > 2 * LAST_WITHIN_MS {
        world.find("L2", format!("a last submission came to {outcome:?} after {took_ms} ms"));
    }
    let seen = Cell::new(world.store.newest());
    let unfinished = Cell::new(check::Model::of(world).unfinished());
    let all_ended = || {
        let newest = world.store.newest();
        if seen.replace(newest) != newest {
            unfinished.set(check::Model::of(world).unfinished());
        }
        unfinished.get() == 0
    };
    if !world.until(ENDED_WITHIN_MS, all_ended).await {
        let left = unfinished.get();
        world.find("L3", format!("{left} runs have not ended after {ENDED_WITHIN_MS} ms"));
    }
    sleep_until(calm_from).await;
    let reigns = check::Model::of(world).reigns.len();
    sleep(CALM).await;
    let now = check::Model::of(world).reigns.len();
    if now != reigns {
        world.find("L5", format!("{} changes of leader in a calm", now - reigns));
    }
    agree(world).await;
    // Nothing is late any more, nobody is about to stop, and what was lost is known to all: the first
    // try says what came of it, whoever is asked.
    let instances = world.instances.borrow().clone();
    for instance in instances {
        for what in last.ask_once(&instance.url).await {
            world.find("L2", format!("in a calm {what}"));
        }
    }
    if !world.until(ENDED_WITHIN_MS, || check::Model::of(world).unfinished() == 0).await {
        world.find("L3", format!("the last runs have not ended after {ENDED_WITHIN_MS} ms"));
    }
    // Nobody stands in the line that people see.
    if !world.until(FOLLOWS_WITHIN_MS, || world.store.queue().is_empty()).await {
        world.find("L4", format!("the visible line is {:?} in the end", world.store.queue()));
    }
}

/// What an operator does: starts what has stopped for good.
fn operate(world: &Rc<World>) {
    let this = world.clone();
    world.spawn(async move {
        loop {
            for instance in this.instances.borrow().iter() {
                if instance.has_failed() {
                    instance.start(&this);
                }
            }
            sleep(Duration::from_millis(500)).await;
        }
    });
}

/// S5, L4: every instance has the state that the journal says, all of it.
async fn agree(world: &Rc<World>) {
    let instances = world.instances.borrow().clone();
    let newest = || world.store.newest().map_or(0, |id| id.seq);
    for instance in instances {
        let mut lagged = 0;
        loop {
            let before = newest();
            let Some(house) = instance.house() else {
                world.find("L4", format!("{} is shut in the end", instance.name));
                break;
            };
            let Ok(seen) = house.view.send(TakeDigest).await else {
                world.find("L4", format!("the view of {} is gone", instance.name));
                break;
            };
            if seen.mark.index < before {
                lagged += 50;
                if lagged > FOLLOWS_WITHIN_MS {
                    let what = format!("{} is at {}", instance.name, seen.mark.index);
                    world.find("L4", format!("{what}, and the journal ends with {before}"));
                    break;
                }
                sleep(Duration::from_millis(50)).await;
                continue;
            }
            let after = newest();
            if seen.mark.index > after {
                let what = format!("{} has folded {}", instance.name, seen.mark.index);
                world.find("S6", format!("{what}, and the journal ends with {after}"));
                break;
            }
            if after != seen.mark.index {
                sleep(Duration::from_millis(1)).await;
                continue;
            }
            let folded = check::fold(world);
            if folded.digest() != seen.value {
                let what = format!("{} has another state at {}", instance.name, seen.mark.index);
                world.find("S5", format!("{what} than the journal says"));
            }
            break;
        }
    }
}

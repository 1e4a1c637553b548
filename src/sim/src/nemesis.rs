//! Nemesis: the faults of a plan, each in its own time; and the healing of all of them.

use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use journal::{Journal as _, MemoryJournal};
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::plan::Tier;
use crate::redis::Forgotten;
use crate::trace;
use crate::world::World;

/// A fault.
#[derive(Clone, Copy)]
enum Fault {
    KillInstance,
    StopInstance,
    PauseInstance,
    CutInstance,
    TurnClock,
    KillRedis,
    PauseRedis,
    EarlyLease,
    LateLease,
    KillAgent,
    PauseAgent,
    CutAgent,
    StopAgent,
    CutAgents,
    RollBack,
    Flush,
}

/// Lets the faults of the plan come, until the first phase is over.
pub fn begin(world: &Rc<World>) {
    let often = world.plan.often;
    let faults = [
        (Fault::KillInstance, often.kill_instance),
        (Fault::StopInstance, often.stop_instance),
        (Fault::PauseInstance, often.pause_instance),
        (Fault::CutInstance, often.cut_instance),
        (Fault::TurnClock, often.turn_clock),
        (Fault::KillRedis, often.kill_redis),
        (Fault::PauseRedis, often.pause_redis),
        (Fault::EarlyLease, often.early_lease),
        (Fault::LateLease, often.late_lease),
        (Fault::KillAgent, often.kill_agent),
        (Fault::PauseAgent, often.pause_agent),
        (Fault::CutAgent, often.cut_agent),
        (Fault::RollBack, often.roll_back),
        (Fault::Flush, often.flush),
        (Fault::StopAgent, often.stop_agent),
        (Fault::CutAgents, often.cut_agents),
    ];
    for (n, (fault, mean_ms)) in faults.into_iter().enumerate() {
        if mean_ms > 0 {
            let chance = Chance::of(world.plan.seed, &format!("nemesis {n}"));
            world.spawn(come(world.clone(), fault, mean_ms, chance));
        }
    }
    world.spawn(flush(world.clone(), Chance::of(world.plan.seed, "flushes")));
}

/// What Redis does every second, or its replica all the time.
async fn flush(world: Rc<World>, chance: Chance) {
    loop {
        if world.plan.tier == Tier::Replicated {
            receive(&world, &chance).await;
        } else {
            sleep(Duration::from_secs(1)).await;
            world.redis.flushed.set(world.store.newest().map_or(0, |id| id.seq));
        }
    }
}

/// The replica receives what there is, unless it is away, or that is lost on the way.
async fn receive(world: &World, chance: &Chance) {
    let sent = world.store.newest();
    pause(chance, 1, 30).await;
    if world.redis.is_alone() {
        return;
    }
    if let Some(sent) = sent.filter(|id| world.has(*id)) {
        world.redis.flushed.set(world.redis.flushed.get().max(sent.seq));
    }
    if world.faulty() && chance.per_mille(5) {
        world.suffers("a replica away");
        let away = Duration::from_millis(chance.between(100, 4_000));
        world.redis.alone_until.set(Some(Instant::now() + away));
    }
}

async fn come(world: Rc<World>, fault: Fault, mean_ms: u64, chance: Chance) {
    loop {
        sleep(Duration::from_millis(chance.between(mean_ms / 4, mean_ms * 7 / 4))).await;
        if !world.faulty() {
            return;
        }
        strike(&world, fault, &chance).await;
    }
}

/// One that is likely the leader, whom faults hurt most.
fn victim(world: &World, chance: &Chance) -> Option<Rc<crate::instance::Instance>> {
    let instances = world.instances.borrow();
    let leader = instances.iter().find(|instance| instance.leads());
    let any = chance.pick(&instances);
    if chance.per_mille(600) { leader.or(any).cloned() } else { any.cloned() }
}

async fn pause(chance: &Chance, from_ms: u64, to_ms: u64) {
    sleep(Duration::from_millis(chance.between(from_ms, to_ms))).await;
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::KillInstance => "an instance killed",
        Fault::StopInstance => "an instance stopped",
        Fault::PauseInstance => "an instance paused",
        Fault::CutInstance => "an instance cut off",
        Fault::TurnClock => "a clock turned",
        Fault::KillRedis => "redis killed",
        Fault::PauseRedis => "redis paused",
        Fault::EarlyLease => "the leader's key expired early",
        Fault::LateLease => "the leader's key expired late",
        Fault::KillAgent => "an agent killed",
        Fault::PauseAgent => "an agent paused",
        Fault::CutAgent => "an agent cut off",
        Fault::StopAgent => "an agent stopped",
        Fault::CutAgents => "all agents cut off",
        Fault::RollBack => "an older backup restored",
        Fault::Flush => "redis emptied",
    }
}

/// Whether the leader's key is held.
fn is_led(world: &World) -> bool {
    let held = MemoryJournal::over(world.store.clone());
    // A memory journal waits for nothing.
    matches!(held.leader().now_or_never(), Some(Ok(Some(_))))
}

async fn strike(world: &Rc<World>, fault: Fault, chance: &Chance) {
    // What comes to one that it can do nothing to does not count.
    let came = |came: bool| {
        if came {
            world.suffers(name(fault));
        }
    };
    let node = chance.pick(&world.nodes.borrow()).cloned();
    match fault {
        Fault::KillInstance => {
            if let Some(victim) = victim(world, chance) {
                came(victim.kill());
                pause(chance, 10, 2_500).await;
                if world.faulty() && !victim.is_alive() {
                    victim.start(world);
                }
            }
        }
        Fault::StopInstance => {
            // It is started again by whoever watches it.
            if let Some(victim) = victim(world, chance) {
                came(victim.stop());
            }
        }
        Fault::PauseInstance => {
            if let Some(victim) = victim(world, chance) {
                came(victim.pause(true));
                pause(chance, 100, 5_000).await;
                victim.pause(false);
            }
        }
        Fault::CutInstance => {
            if let Some(victim) = victim(world, chance) {
                trace!("{} cut off", victim.name);
                came(!victim.cut.replace(true));
                pause(chance, 100, 5_000).await;
                trace!("{} not cut off any more", victim.name);
                victim.cut.set(false);
            }
        }
        Fault::TurnClock => {
            if let Some(victim) = victim(world, chance) {
                let far = [100_000_u64, 2_000_000, 3_600_000_000];
                let most = chance.pick(&far).copied().unwrap_or(1);
                let by = i64::try_from(chance.below(most)).unwrap_or(0);
                came(by != 0);
                victim.turn_clock(if chance.per_mille(500) { by } else { -by });
            }
        }
        Fault::KillRedis => {
            trace!("redis killed");
            came(world.kill_redis(chance.between(30, 2_000)));
        }
        Fault::PauseRedis => {
            trace!("redis paused");
            came(world.redis.pause(chance.between(50, 3_500)));
        }
        Fault::EarlyLease => {
            trace!("the leader's key expires early");
            came(is_led(world));
            world.store.expire_lease();
        }
        Fault::LateLease => {
            trace!("the leader's key expires late");
            came(is_led(world));
            world.store.stretch_lease(Duration::from_millis(chance.between(100, 2_000)));
        }
        Fault::KillAgent => {
            if let Some(node) = node {
                came(node.kill());
                pause(chance, 100, 3_000).await;
                if world.faulty() && !node.is_alive() {
                    node.start(world);
                }
            }
        }
        Fault::PauseAgent => {
            if let Some(node) = node {
                came(node.pause(world, true));
                pause(chance, 100, world.plan.ttl_ms * 2).await;
                node.pause(world, false);
            }
        }
        Fault::CutAgent => {
            if let Some(node) = node {
                came(!node.cut.replace(true));
                node.break_link();
                pause(chance, 50, world.plan.ttl_ms * 2).await;
                node.cut.set(false);
            }
        }
        Fault::StopAgent => {
            if let Some(node) = node {
                came(node.leave(chance.between(0, 3_000)));
                while world.faulty() && node.is_alive() && node.is_leaving() {
                    pause(chance, 20, 20).await;
                }
                pause(chance, 50, 3_000).await;
                if world.faulty() && !node.is_alive() {
                    node.start(world);
                }
            }
        }
        Fault::CutAgents => {
            let nodes = world.nodes.borrow().clone();
            came(!nodes.is_empty());
            for node in &nodes {
                node.cut.set(true);
                node.break_link();
            }
            pause(chance, world.plan.ttl_ms, world.plan.ttl_ms * 4).await;
            nodes.iter().for_each(|node| node.cut.set(false));
        }
        Fault::RollBack => {
            let newest = world.store.newest().map_or(1, |id| id.seq);
            let by = chance.between(1, world.plan.roll_back_by);
            trace!("an older backup takes the place of redis' data");
            world.redis.lives.set(world.redis.lives.get() + 1);
            came(world.forget_after(newest.saturating_sub(by).max(1)));
        }
        Fault::Flush => {
            if !world.redis.emptied.replace(true) {
                trace!("redis is emptied");
                came(world.forget_after(0));
            }
        }
    }
}

/// Ends every fault.
pub fn heal(world: &Rc<World>) {
    trace!("heal");
    world.healed.set(true);
    world.redis.down_until.set(None);
    world.redis.paused_until.set(None);
    world.redis.alone_until.set(None);
    for instance in world.instances.borrow().iter() {
        instance.cut.set(false);
        instance.pause(false);
        if !instance.is_alive() && !world.redis.emptied.get() {
            instance.start(world);
        }
    }
    let is_missing = |entry: &Forgotten| entry.durable && entry.is_absent();
    let is_missing = world.redis.forgotten.borrow().values().any(is_missing);
    for node in world.nodes.borrow().iter() {
        node.cut.set(false);
        node.pause(world, false);
        // Agents obey no epoch below the highest they saw: after a restore from an older backup an
        // operator lets them forget it (docs/operations.md).
        if is_missing {
            node.kill();
            node.forget();
        }
        // Nobody would start again who is about to leave.
        if !node.is_alive() || node.is_leaving() {
            node.start(world);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::{Rc, Weak};

    use tokio::runtime::Builder;
    use tokio::sync::mpsc;

    use super::{Fault, strike};
    use crate::chance::Chance;
    use crate::instance::Instance;
    use crate::node::Node;
    use crate::plan::Plan;
    use crate::world::World;

    #[test]
    fn only_faults_that_do_something_count() {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let (to_redis, _) = mpsc::unbounded_channel();
        let world = World::new(Plan::of(0, None), Path::new(""), Weak::new(), to_redis);
        world.instances.borrow_mut().push(Rc::new(Instance::new(0, 0, Path::new(""))));
        world.nodes.borrow_mut().push(Rc::new(Node::new(0, 0)));
        // Nobody starts again what is dead.
        world.healed.set(true);
        let faults = [
            Fault::KillInstance,
            Fault::StopInstance,
            Fault::PauseInstance,
            Fault::KillAgent,
            Fault::PauseAgent,
            Fault::EarlyLease,
            Fault::LateLease,
            Fault::RollBack,
            Fault::PauseRedis,
            Fault::PauseRedis,
            Fault::CutAgent,
            Fault::KillRedis,
            Fault::KillRedis,
            Fault::Flush,
            Fault::Flush,
        ];
        runtime.unwrap().block_on(async {
            for fault in faults {
                strike(&world, fault, &Chance::of(0, "strikes")).await;
            }
        });
        let came = ["redis paused", "an agent cut off", "redis killed", "redis emptied"];
        assert_eq!(*world.faults.borrow(), came.map(|name| (name, 1)).into());
    }
}

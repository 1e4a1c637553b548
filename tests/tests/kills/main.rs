//! The promise of the house: what was acknowledged is there, once, and ends.
//!
//! Owns:   the killing. [`load`] submits and writes down what it was promised; [`checker`] reads
//!         what there is, and knows nothing of how it was sent.
//! Hears:  `TARTARUS_TEST_KILLS` (how many; 20 where it is not set) and `TARTARUS_TEST_SEED`.
//! Never:  stops anything gently before the end: every stop is `kill -9`.
//! Fails:  with the seed that chose the victims and their moments.
//! Needs:  `redis-server`, with `appendfsync always`.

mod checker;
mod load;

use std::time::{Duration, Instant};

use tests::dice::Dice;
use tests::{House, Olympus, RedisServer, until_sync};

use crate::load::Load;

/// Kills where nobody says otherwise: half a minute.
const KILLS: u64 = 20;
/// The longest a victim is left alone once the house answers again. Most starts take less, so
/// that some kills hit a start.
const CALM: Duration = Duration::from_millis(400);

/// Who was killed, how often.
#[derive(Debug, Default)]
struct Kills {
    olympus: u64,
    redis: u64,
    both: u64,
    agent: u64,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn every_acknowledged_run_is_there_once_and_ends_whoever_is_killed() {
    kill_and_look(1);
}

#[test]
fn every_acknowledged_run_is_there_once_and_ends_whichever_of_three_instances_is_killed() {
    kill_and_look(3);
}

/// Kills one after another, under load, and looks at what is there in the end.
#[allow(clippy::print_stderr, reason = "the counts are what this test is run for")]
fn kill_and_look(instances: usize) {
    let (seed, mut dice) = Dice::from_env();
    let kills = std::env::var("TARTARUS_TEST_KILLS")
        .map_or(KILLS, |text| text.parse().expect("TARTARUS_TEST_KILLS is a number"));
    let began = Instant::now();
    let runtime = runtime();
    let mut house = runtime.block_on(House::with(Some(RedisServer::durable()), &[]));
    let redis = house.redis_mut().addr();
    // Redis says who leads, whoever that is.
    let mut agent = house.agent("n1");
    agent.unset("TARTARUS_ADDR").env("REDIS_ADDR", &redis);
    let mut agent = runtime.block_on(agent.capacity(800, 1_024).start(&house.api));
    let mut others: Vec<Olympus> = (1..instances)
        .map(|n| runtime.block_on(house.another(&format!("other-{n}")).start()))
        .collect();
    let all = std::iter::once(house.api.clone()).chain(others.iter().map(Olympus::api));
    let load = Load::start(all.collect(), dice.roll());

    let mut killed = Kills::default();
    for kill in 0..kills {
        // Every kill is under load: something was acknowledged since the one before.
        let before = load.acknowledged();
        until_sync(&format!("work to go on (seed {seed}, kill {kill})"), || {
            for olympus in std::iter::once(&mut house.olympus).chain(&mut others) {
                if let Some(status) = olympus.process.ended() {
                    let said = olympus.process.lines().join("\n");
                    panic!("olympus ended by itself: {status} (seed {seed}, kill {kill})\n{said}");
                }
            }
            (load.acknowledged() > before).then_some(())
        });
        pause(Duration::from_micros(dice.below(CALM.as_micros() as u64)));
        let victim = dice.below(instances as u64) as usize;
        let olympus = match victim.checked_sub(1) {
            None => &mut house.olympus,
            Some(other) => &mut others[other],
        };
        match dice.below(10) {
            0..=3 => {
                killed.olympus += 1;
                olympus.respawn();
            }
            4..=7 => {
                killed.redis += 1;
                house.redis_mut().kill();
                pause(Duration::from_micros(dice.below(CALM.as_micros() as u64)));
                house.redis_mut().restart();
            }
            _ => {
                killed.both += 1;
                olympus.process.kill();
                house.redis_mut().kill();
                house.redis_mut().restart();
                match victim.checked_sub(1) {
                    None => house.olympus.respawn(),
                    Some(other) => others[other].respawn(),
                }
            }
        }
        if dice.below(6) == 0 {
            killed.agent += 1;
            agent.process.kill();
            agent = agent.plan.clone().spawn();
        }
    }
    let ledger = load.stop();
    let loaded = began.elapsed();
    let found = runtime.block_on(checker::check(&mut house, &ledger, seed));
    eprintln!(
        "{instances} instances, kills {kills} ({killed:?}), acknowledged {} in {} answers ({} \
         repeated after trouble), lost {}, duplicates {}, unfinished {}; ended: {:?}; {:.1} s under \
         load, {:.1} s in all, seed {seed}",
        ledger.acknowledged(),
        ledger.promises.len(),
        ledger.repeated,
        found.lost.len(),
        found.duplicates.len(),
        found.unfinished.len(),
        found.ended,
        loaded.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
    assert!(found.lost.is_empty(), "lost (seed {seed}): {:#?}", found.lost);
    assert!(found.duplicates.is_empty(), "twice (seed {seed}): {:#?}", found.duplicates);
    assert!(found.unfinished.is_empty(), "unfinished (seed {seed}): {:#?}", found.unfinished);
    assert!(found.wrong.is_empty(), "wrong (seed {seed}): {:#?}", found.wrong);
    drop((agent, others));
}

/// A random moment is what is tested here; nothing is waited for.
#[allow(clippy::disallowed_methods, reason = "the length of the pause is the point")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

//! Wires between instances and Redis, and between instances, in bad weather; and the leader's key
//! fought over.

use std::time::Duration;

use rustix::process::Signal;
use tests::proxy::{Proxy, Weather};
use tests::{RedisServer, until};

use crate::instances::all_but;
use crate::journal::ask;
use crate::trio::Trio;
use crate::{row, spread, times};

const KEY: &str = "tartarus:leader";
/// What a follower says that takes the key of another whom it believes to be gone.
const GONE: &str = "the leader is gone: take its key";

#[tokio::test]
async fn f04_the_leaders_key_is_fought_over() {
    let (mut trio, times, mut took) = (Trio::start().await, 10 * times(), Vec::new());
    let mut connection = trio.redis.connect(0);
    let before = trio.epoch().await;
    for _ in 0..times {
        let hands: [&[&str]; 3] = [&["PERSIST", KEY], &["DEL", KEY], &["PEXPIRE", KEY, "1"]];
        ask(&mut connection, hands[trio.dice.below(3) as usize]);
        took.push(trio.write(&[0, 1, 2]).await);
        tokio::time::sleep(Duration::from_millis(100 + trio.dice.below(400))).await;
    }
    trio.until_calm().await;
    let reigns = trio.epoch().await - before;
    // A key that stays for ever keeps nobody from taking over from one that falls silent.
    let leader = trio.leader().await;
    trio.instances[leader].process.signal(Signal::STOP);
    ask(&mut connection, &["PERSIST", KEY]);
    let silent = trio.write(&all_but(leader)).await.as_millis();
    trio.instances[leader].process.signal(Signal::CONT);
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!(
        "{kept} acknowledged, 0 lost, 0 twice; {reigns} take-overs; a write takes {}; calm after. \
         PERSIST and a leader that falls silent: writes again after {silent} ms",
        spread(took)
    );
    row("F04", "PERSIST, DEL, PEXPIRE of the leader's key, every 0.1 to 0.5 s", times, &seen);
}

#[tokio::test]
async fn f05_replies_of_appends_are_lost() {
    let ((wires, mut trio), times, mut took) = (Trio::wired().await, 10 * times(), Vec::new());
    let leader = trio.leader().await;
    for _ in 0..times {
        wires[leader].set(Weather::LosesReply);
        took.push(trio.write(&[0, 1, 2]).await);
    }
    let struck = wires[leader].struck();
    assert!(struck >= times, "{struck} of {times}");
    assert_eq!(trio.leader().await, leader, "it stays");
    assert_eq!(trio.said("step down"), 0);
    let found = trio.said("found the lost reply of an append");
    assert!(found >= times, "{found} of {times}");
    trio.check().await;
    let seen = format!("{found} found again as duplicates, nobody stepped down; {}", spread(took));
    row("F05", "the reply of an append is lost with its connection", times, &seen);
}

#[tokio::test]
async fn f06_appends_are_delivered_late() {
    let ((wires, mut trio), times, mut took) = (Trio::wired().await, times(), Vec::new());
    for _ in 0..times {
        let leader = trio.leader().await;
        let late = Duration::from_millis(100 + trio.dice.below(4_900));
        wires[leader].set(Weather::HoldsAppend(late));
        took.push(trio.write(&[0, 1, 2]).await);
    }
    let struck: usize = wires.iter().map(Proxy::struck).sum();
    assert!(struck >= times, "{struck} of {times}");
    // The last of them is delivered when all is over.
    until("all of them to be delivered", || async {
        (wires.iter().map(Proxy::let_go).sum::<usize>() == struck).then_some(())
    })
    .await;
    trio.write(&[0, 1, 2]).await;
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!("{kept} acknowledged, 0 lost, 0 twice; a write takes {}", spread(took));
    row(
        "F06",
        "an append is delivered 0.1 to 5 s late, also after it was sent again",
        times,
        &seen,
    );
}

#[tokio::test]
async fn f09_the_leaders_wire_to_redis_is_bad() {
    let ((wires, mut trio), times, mut took) = (Trio::wired().await, times(), Vec::new());
    let all = [Weather::OneWay, Weather::Reset, Weather::Drizzle, Weather::Refusing];
    for weather in (0..times).flat_map(|_| all) {
        let leader = trio.leader().await;
        wires[leader].set(weather);
        trio.write(&[0, 1, 2]).await;
        tokio::time::sleep(Duration::from_millis(trio.dice.below(2_000))).await;
        wires[leader].set(Weather::Fair);
        took.push(trio.write(&[0, 1, 2]).await);
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!("{kept} acknowledged, 0 lost, 0 twice; writes again after {}", spread(took));
    let fault = "the leader's wire to Redis: replies held, reset, a byte at a time, refused";
    row("F09", fault, times * all.len(), &seen);
}

#[tokio::test]
async fn f09_addresses_of_living_leaders_refuse() {
    let mut wires = Vec::new();
    let mut trio = Trio::planned(RedisServer::durable(), 3, |_, plan| {
        let wire = Proxy::to(plan.port());
        plan.set("TARTARUS_ADVERTISE_URL", &format!("http://{}", wire.addr()));
        wires.push(wire);
    })
    .await;
    // Often enough that those who forgot whom they have deposed would do so more often than they may.
    let (before, times) = (trio.epoch().await, 4 * times());
    for _ in 0..times {
        for (weather, writes) in [(Weather::Refusing, 4), (Weather::Fair, 8)] {
            wires.iter().for_each(|wire| wire.set(weather));
            for _ in 0..writes {
                trio.write(&[0, 1, 2]).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    trio.until_calm().await;
    let reigns = trio.epoch().await - before;
    // Each believes once of each other that it is gone, however often a key expires meanwhile.
    let believed = trio.said(GONE);
    assert!(believed <= 6, "a duel: {believed} (seed {})", trio.seed);
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!("{kept} acknowledged, 0 lost, 0 twice; {reigns} take-overs, calm after");
    row("F09a", "the advertised addresses of all instances refuse, though they live", times, &seen);
}

#[tokio::test]
async fn f34_the_primary_is_demoted() {
    let (mut trio, times, mut took) = (Trio::start().await, times(), Vec::new());
    for _ in 0..times {
        trio.write(&[0, 1, 2]).await;
        let mut connection = trio.redis.connect(0);
        // A primary that nobody finds: it takes no writes, and keeps what it has.
        ask(&mut connection, &["REPLICAOF", "127.0.0.1", "1"]);
        tokio::time::sleep(Duration::from_millis(500 + trio.dice.below(2_000))).await;
        ask(&mut connection, &["REPLICAOF", "NO", "ONE"]);
        took.push(trio.write(&[0, 1, 2]).await);
    }
    for instance in &mut trio.instances {
        assert_eq!(instance.process.ended(), None, "nobody ends");
    }
    trio.check().await;
    let kept = trio.acknowledged.len();
    let seen = format!("{kept} acknowledged, 0 lost, 0 twice; writes again after {}", spread(took));
    row("F34", "the primary is made a replica for 0.5 to 2.5 s, and a primary again", times, &seen);
}

//! Which session a node has, as what is durable changes.

use std::sync::Arc;
use std::time::Duration;

use actix::Actor as _;
use domain::event::{LeaderStarted, NodeLost, NodeLostCause};
use domain::fleet::Fleet;
use domain::{Event, NodeId, Timestamp};
use journal::memory::Weather;
use journal::{ChainHash, EntryId, Receipt};
use uuid::Uuid;

use super::{Connect, Heard, SessionsActor, Ttl};
use crate::fixture::{Fixture, replay};
use crate::publish::{Batch, Published};

#[actix::test]
async fn a_node_that_is_lost_must_say_hello_again() {
    let house = Fixture::leading().await;
    let ttl = Ttl(Duration::from_secs(3_600));
    let sessions = SessionsActor::new(Fleet::default(), ttl, house.registry.clone(), Uuid::nil());
    let sessions = sessions.start();
    let node = NodeId::new("n1");
    let connect = Connect { node: node.clone(), boot: Uuid::nil() };
    let mut connected = sessions.send(connect).await.expect("an actor").expect("no duplicate");
    sessions.send(published(lost(node))).await.expect("an actor");
    assert!(connected.wants.changed().await.is_err(), "its session is over");
}

#[actix::test]
async fn a_node_whose_loss_is_on_its_way_is_not_told_that_it_was_heard() {
    for refused in [false, true] {
        let house = Fixture::leading().await;
        house.join("n1", 1_000).await;
        let (world, _) = replay(&(house.store.clone() as _)).await;
        let node = NodeId::new("n1");
        let boot = world.fleet.node(&node).expect("it has joined").joined.boot;
        if refused {
            // Another process of it is there by now, which this actor has not read.
            house.join("n1", 1_000).await;
        }
        let registry = house.registry.clone();
        let ttl = Ttl(Duration::from_millis(100));
        let sessions = SessionsActor::new(world.fleet, ttl, registry, Uuid::nil()).start();
        let connect = Connect { node: node.clone(), boot };
        let connected = sessions.send(connect).await.expect("an actor").expect("no duplicate");
        let heard = || sessions.send(Heard { node: node.clone(), session: connected.session });
        assert!(heard().await.expect("an actor"));
        house.faults.set_weather(Weather::Mute);
        sessions.send(published(Event::LeaderStarted(leads().into()))).await.expect("an actor");
        until(|| async { house.undurable.load().0 > 0 }).await;
        assert!(!heard().await.expect("an actor"), "its runs are as good as given to others");
        house.faults.set_weather(Weather::Fair);
        if refused {
            until(|| async { heard().await.expect("an actor") }).await;
        } else {
            until(|| async { house.undurable.load().0 == 0 }).await;
            assert!(!heard().await.expect("an actor"), "nobody has read yet that it is lost");
            sessions.send(published(lost(node.clone()))).await.expect("an actor");
            assert!(connected.wants.has_changed().is_err(), "its session is over");
        }
    }
}

fn lost(node: NodeId) -> Event {
    Event::NodeLost(NodeLost { node, at: Timestamp(1), cause: NodeLostCause::HeartbeatExpired })
}

fn leads() -> LeaderStarted {
    LeaderStarted {
        at: Timestamp(1),
        epoch: 1,
        boot: Uuid::nil(),
        url: "http://test".into(),
        version: "test".into(),
        key: None,
        reads_level: 1,
    }
}

fn published(event: Event) -> Published {
    Published(Arc::new(Batch {
        index: 9,
        receipt: Receipt(EntryId { seq: 9, h64: 9 }),
        hash: ChainHash([9; 32]),
        epoch: 1,
        written_here: true,
        events: vec![event],
        bytes: 1,
    }))
}

async fn until<F: Future<Output = bool>>(mut is: impl FnMut() -> F) {
    let reached = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reached).await.expect("in time");
}

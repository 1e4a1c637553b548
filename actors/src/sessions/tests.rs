//! Which session a node has, as what is durable changes.

use std::sync::Arc;
use std::time::Duration;

use actix::Actor as _;
use domain::event::{NodeLost, NodeLostCause};
use domain::fleet::Fleet;
use domain::{Event, NodeId, Timestamp};
use journal::{ChainHash, EntryId, Receipt};
use uuid::Uuid;

use super::{Connect, SessionsActor, Ttl};
use crate::fixture::Fixture;
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
    let lost = NodeLost { node, at: Timestamp(1), cause: NodeLostCause::HeartbeatExpired };
    let batch = Batch {
        index: 9,
        receipt: Receipt(EntryId { seq: 9, h64: 9 }),
        hash: ChainHash([9; 32]),
        epoch: 1,
        written_here: true,
        events: vec![Event::NodeLost(lost)],
        bytes: 1,
    };
    sessions.send(Published(Arc::new(batch))).await.expect("an actor");
    assert!(connected.wants.changed().await.is_err(), "its session is over");
}

//! When an instance takes an agent's hello.

use std::rc::Rc;
use std::time::Duration;

use api::session::{FromAgent, Hello, PROTOCOL, Terms, ToAgent, Witnessed};
use domain::NodeId;
use domain::Texts;
use domain::ids::Hex;
use domain::submission::Demand;
use olympus::agent_session::{attend, host};
use olympus::agent_wire::{End, Frame, Wire};
use olympus_actors::sessions::LastHeard;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::instance::Instance;
use crate::plan::{Calls, Often, Plan, Tier};
use crate::world::{self, World};
use crate::{network, trace};

/// One instance, and nothing that fails by itself.
fn calm() -> Plan {
    let (calls, often) = (Calls { slow_ms: 1, ..Calls::default() }, Often::default());
    Plan { calls, often, lying_wire: 0, lose_http: 0, tier: Tier::Always, ..Plan::of(0, None) }
}

/// One that says something, and then nothing.
struct Says(Option<FromAgent>);

impl Wire for Says {
    async fn say(&mut self, _: &ToAgent) -> Result<(), End> {
        Ok(())
    }

    async fn next(&mut self) -> Result<Frame, End> {
        match self.0.take() {
            Some(said) => Ok(Frame::Said(said)),
            None => std::future::pending().await,
        }
    }
}

/// The hello of an agent that saw more of the journal than there is.
fn hello(world: &World, node: &NodeId) -> FromAgent {
    FromAgent::Hello(Box::new(Hello {
        protocol: PROTOCOL,
        node: node.clone(),
        boot: Uuid::from_u128(1),
        labels: Texts::default(),
        capacity: Demand { cpu_milli: 2_000, mem_mb: 1_024, gpu: 0 },
        isolation: Vec::new(),
        runtime: "simulated".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        cluster: Some(world.identity.cluster.0),
        highest_epoch: 1,
        attempts: Vec::new(),
        seen: Some(Witnessed { sequence: 1_000, hash: Hex([1; 8]) }),
    }))
}

#[test]
fn a_hello_counts_from_when_it_is_heard_also_where_the_journal_does_not_answer() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    olympus::aside::all_here();
    let tasks = Rc::new(LocalSet::new());
    let (to_redis, calls) = mpsc::unbounded_channel();
    let dir = std::env::temp_dir().join(format!("tartarus-sim-hello-{}", std::process::id()));
    let world = World::new(calm(), &dir, Rc::downgrade(&tasks), to_redis);
    let heard = runtime.block_on(tasks.run_until(async {
        trace::begin(false);
        world::set(Some(world.clone()));
        world.spawn(network(world.clone(), calls));
        let instance = Rc::new(Instance::new(0, 0, &dir));
        world.instances.borrow_mut().push(instance.clone());
        instance.start(&world);
        assert!(world.until(10_000, || instance.leads()).await);
        let (door, house) = (instance.door().unwrap(), instance.house().unwrap());
        let node = NodeId::new("n0");
        let mut wire = Says(Some(hello(&world, &node)));
        world.redis.pause(2_000);
        instance.spawn(async move { attend(host(&door), Terms::for_ttl(2_000), &mut wire).await });
        sleep(Duration::from_millis(10)).await;
        let heard = house.sessions.send(LastHeard(node)).await.unwrap();
        world.kill_all();
        world::set(None);
        trace::end();
        heard
    }));
    let _ = std::fs::remove_dir_all(&dir);
    assert!(heard.is_some(), "it waits for the journal");
}

//! The plan of a seed: how many take part, and which faults there are (swarm testing, Groce et al.
//! 2012: each seed leaves most kinds of faults out, so that the others are seen by themselves).

use crate::chance::Chance;
use crate::planted::Planted;

/// What is lost when Redis is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// It flushes before each reply.
    Always,
    /// It flushes every second.
    Everysec,
    /// A replica takes its place, which has what it has received; the house waits for it.
    Replicated,
}

/// How often calls of the journal fail, of a thousand; and how slow they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// Longest way there, and back, in milliseconds.
    pub slow_ms: u64,
    /// Lost on the way there.
    pub lose_request: u64,
    /// Lost on the way back.
    pub lose_reply: u64,
    /// The same of appends alone, and the connection breaks with it.
    pub lose_append_reply: u64,
    /// Held on the way there for up to 5 s.
    pub hold_request: u64,
    /// Held on the way back for up to 3 s.
    pub hold_reply: u64,
    /// Appends that are executed a second time, later.
    pub duplicate: u64,
    /// Refused for now.
    pub busy: u64,
    /// Refused for now: another server is primary.
    pub read_only: u64,
}

/// Mean time between faults of a kind, in milliseconds; 0 where there are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Often {
    /// kill -9 of an instance.
    pub kill_instance: u64,
    /// A planned stop of an instance.
    pub stop_instance: u64,
    /// SIGSTOP of an instance.
    pub pause_instance: u64,
    /// An instance alone is cut off from Redis and from the others.
    pub cut_instance: u64,
    /// A clock on the wall is turned.
    pub turn_clock: u64,
    /// kill -9 of Redis.
    pub kill_redis: u64,
    /// SIGSTOP of Redis.
    pub pause_redis: u64,
    /// The leader's key expires early.
    pub early_lease: u64,
    /// The leader's key expires late.
    pub late_lease: u64,
    /// kill -9 of an agent.
    pub kill_agent: u64,
    /// SIGSTOP of an agent; what it runs goes on.
    pub pause_agent: u64,
    /// SIGTERM of an agent: what it runs may end, for a while.
    pub stop_agent: u64,
    /// All connections of agents are lost, and none can be opened for a while.
    pub cut_agents: u64,
    /// An agent's connection is lost, and it can't open another for a while.
    pub cut_agent: u64,
    /// An older backup takes the place of Redis' data.
    pub roll_back: u64,
    /// FLUSHALL: once.
    pub flush: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Instances.
    pub instances: usize,
    /// Nodes.
    pub nodes: usize,
    /// Clients.
    pub clients: usize,
    /// Clients that read one thing after another.
    pub readers: usize,
    /// Length of the first phase.
    pub faults_ms: u64,
    /// Time to live of a node.
    pub ttl_ms: u64,
    /// What Redis promises.
    pub tier: Tier,
    /// Calls of the journal.
    pub calls: Calls,
    /// Requests that are lost, or their answers, of clients and between instances; a quarter as often a
    /// message on an agent's connection is late by up to 2.5 s.
    pub lose_http: u64,
    /// How often of a thousand looks, 25 ms apart, a leader that lives seems to be gone.
    pub lying_wire: u64,
    /// Faults that come by themselves.
    pub often: Often,
    /// Most entries that an older backup lacks.
    pub roll_back_by: u64,
    /// A bug that was planted.
    pub planted: Option<Planted>,
}

impl Plan {
    /// What a seed says.
    pub fn of(seed: u64, planted: Option<Planted>) -> Self {
        let chance = Chance::of(seed, "plan");
        let everysec = chance.per_mille(250);
        let tier = match Chance::of(seed, "a replica").per_mille(200) {
            true => Tier::Replicated,
            false if everysec => Tier::Everysec,
            false => Tier::Always,
        };
        let mut plan = Self {
            seed,
            instances: *chance.pick(&[1, 2, 3, 3, 3, 4]).unwrap_or(&3),
            nodes: chance.between(1, 3) as usize,
            clients: chance.between(1, 4) as usize,
            readers: 0,
            faults_ms: chance.between(4_000, 14_000),
            ttl_ms: chance.between(2_000, 6_000),
            tier,
            calls: Calls {
                slow_ms: *chance.pick(&[1, 2, 2, 5, 20]).unwrap_or(&2),
                ..Calls::default()
            },
            lose_http: 0,
            lying_wire: 0,
            often: Often::default(),
            roll_back_by: 12,
            planted,
        };
        // One in ten is calm: what fails there fails by itself.
        if !chance.per_mille(100) {
            plan.draw_faults(&chance);
        }
        plan.readers = usize::from(chance.per_mille(150));
        if let Some(planted) = planted {
            planted.favour(&mut plan);
        }
        plan
    }

    fn draw_faults(&mut self, chance: &Chance) {
        let rare = |most: u64| if chance.per_mille(300) { chance.between(1, most) } else { 0 };
        self.calls.lose_request = rare(40);
        self.calls.lose_reply = rare(60);
        self.calls.lose_append_reply = rare(100);
        self.calls.hold_request = rare(15);
        self.calls.hold_reply = rare(15);
        self.calls.duplicate = rare(60);
        self.calls.busy = rare(60);
        self.calls.read_only = rare(20);
        self.lose_http = rare(60);
        self.lying_wire = rare(20);
        let every = |least: u64| {
            if chance.per_mille(300) { chance.between(least, least * 4) } else { 0 }
        };
        self.often = Often {
            kill_instance: every(2_500),
            stop_instance: every(4_000),
            pause_instance: every(2_500),
            cut_instance: every(2_500),
            turn_clock: every(1_500),
            kill_redis: every(3_000),
            pause_redis: every(3_000),
            early_lease: every(800),
            late_lease: every(2_000),
            kill_agent: every(2_000),
            pause_agent: every(2_500),
            cut_agent: every(1_500),
            stop_agent: every(2_500),
            cut_agents: if chance.per_mille(150) { 5_000 } else { 0 },
            roll_back: if chance.per_mille(60) { 6_000 } else { 0 },
            flush: if chance.per_mille(20) { 5_000 } else { 0 },
        };
    }

    /// Whether nothing happens for which a leader may lose its role: replies are lost, and agents
    /// killed, and that is all.
    pub fn spares_the_leader(&self) -> bool {
        let Often { kill_instance, stop_instance, pause_instance, cut_instance, .. } = self.often;
        let Often { kill_redis, pause_redis, early_lease, roll_back, flush, .. } = self.often;
        let instance = kill_instance + stop_instance + pause_instance + cut_instance;
        let redis = kill_redis + pause_redis + early_lease + roll_back + flush;
        let calls = self.calls;
        let calls = calls.lose_request
            + calls.lose_reply
            + calls.hold_request
            + calls.hold_reply
            + calls.busy
            + calls.read_only;
        instance + redis + calls + self.lying_wire == 0
    }
}

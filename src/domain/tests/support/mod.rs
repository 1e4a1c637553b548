//! What the tests of the law share: names, times, and builders of requests, commands and events.
#![allow(dead_code)] // each test program uses a part of it

use std::sync::Arc;

use domain::Texts;
use domain::command::{Admit, Guard, Join, Report, Reported};
use domain::event::{
    Exit, ExitCause, KeyUse, LostCause, Next, NodeJoined, NodeLost, NodeLostCause, Origin, Output,
    Place, PolicyPut, Principal, RejectCode, RunAdmitted, RunAssigned, RunCancelRequested,
    RunCanceled, RunFinished, RunForgotten, RunLost, RunRejected, RunStarted, Usage,
};
use domain::fleet::{HIGH_COMPUTE_LABEL, QUARANTINE_LABEL};
use domain::ids::Hex;
use domain::invariants;
use domain::judge::{Request, judge};
use domain::law::{Law, Limits, OnViolation, Policy, RootFs, Template};
use domain::placement::Assignment;
use domain::submission::{Demand, Network, Pool, Resources};
use domain::{
    Command, Court, Decision, Event, Inputs, Judged, NodeId, Refusal, RunId, Timestamp, Token,
    World,
};
use uuid::Uuid;

/// When the tests begin: an ordinary time of day, far from 0.
pub const T0: Timestamp = Timestamp(1_700_000_000_000);
pub const SECOND: u64 = 1_000;
pub const HOUR: u64 = 3_600_000;
pub const DAY: u64 = 24 * HOUR;

/// What a request that says nothing takes on a node.
pub const SMALL: Demand = Demand {
    cpu_milli: Resources::DEFAULT.cpu_milli,
    mem_mb: Resources::DEFAULT.mem_mb,
    gpu: Resources::DEFAULT.gpu,
};
/// Room for eight small runs.
pub const NODE: Demand = Demand { cpu_milli: 4_000, mem_mb: 4_096, gpu: 0 };
/// Room for any run of these tests.
pub const BIG_NODE: Demand = Demand { cpu_milli: 64_000, mem_mb: 65_536, gpu: 8 };
pub const QUEUE_MAX: usize = 1_000;
/// The entry that plans of these tests were made from.
pub const PLANNED_AT: u64 = 7;

pub fn run(n: u64) -> RunId {
    RunId(Uuid::from_u128(u128::from(n)))
}

pub fn boot(n: u64) -> Uuid {
    Uuid::from_u128(0xb007_0000 + u128::from(n))
}

pub fn token(n: u64) -> Token {
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Hex(bytes)
}

pub fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

pub fn origin() -> Origin {
    Origin { by: Principal::Anonymous, request: Uuid::from_u128(42) }
}

pub fn map(pairs: &[(&str, &str)]) -> Texts {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

// Requests and the law

pub fn request() -> Request {
    Request { template: "host".into(), command: vec!["true".into()], ..Request::default() }
}

pub fn of_tenant(name: &str) -> Request {
    Request { metadata: map(&[("tenant", name)]), ..request() }
}

pub fn quarantined() -> Request {
    Request { metadata: map(&[("quarantine", "true")]), ..request() }
}

/// A law whose only policy allows everything.
pub fn open_law() -> Law {
    law_of(&[put_event(1, policy("open", &["*"]))])
}

pub fn law_of(events: &[Event]) -> Law {
    (**world(events).law.current()).clone()
}

/// Judged under the law of `world`, with quarantine switched on.
pub fn judged(world: &World, request: Request) -> Judged {
    judged_under(world.law.current(), request)
}

pub fn judged_under(law: &Arc<Law>, request: Request) -> Judged {
    judge(&Court::new(law.clone(), None), request, &Inputs::bare(true))
        .expect("the tests name templates that exist")
}

/// A policy that allows everything.
pub fn policy(name: &str, templates: &[&str]) -> Policy {
    Policy {
        name: name.into(),
        templates: templates.iter().map(|t| (*t).into()).collect(),
        limits: Limits { cpu_milli: None, mem_mb: None, gpu: 64, ttl_ms: None },
        network: vec![Network::None],
        max_age_ms: None,
        on_violation: OnViolation::Reject,
        rules: Vec::new(),
        ..domain::law::lockdown_default()
    }
}

pub fn template(name: &str) -> Template {
    Template {
        name: name.into(),
        rootfs: RootFs::Directory(name.into()),
        command: vec!["main".into()],
        env: Texts::default(),
        cpu_milli: None,
        mem_mb: None,
        gpu: None,
        ttl_ms: None,
        heat: None,
    }
}

/// The first version of a policy, as the `revision`th change of the law.
pub fn put_event(revision: u64, policy: Policy) -> Event {
    let put = PolicyPut { at: T0, origin: origin(), revision, version: 1, policy, what_if: None };
    Event::PolicyPut(Arc::new(put))
}

// What has happened. Run `n` is the `n`th admission, and its tokens are of `token(n)`.

pub fn admitted(n: u64, request: Request) -> Event {
    admitted_under(&Law::default(), n, request)
}

pub fn admitted_under(law: &Law, n: u64, request: Request) -> Event {
    let judged = judged_under(&Arc::new(law.clone()), request);
    let (submission, judgement) = judged.into_parts();
    let after = 100 - submission.priority;
    Event::RunAdmitted(Arc::new(RunAdmitted {
        run: run(n),
        at: T0,
        origin: origin(),
        submission,
        key: None,
        judgement,
        place: Place { after, finish_tag: n, number: n },
        redrive_of: None,
    }))
}

/// The same admission, with another place or key.
pub fn amended(event: Event, amend: impl FnOnce(&mut RunAdmitted)) -> Event {
    let Event::RunAdmitted(e) = event else { panic!("not an admission: {event:?}") };
    let mut e = Arc::unwrap_or_clone(e);
    amend(&mut e);
    Event::RunAdmitted(Arc::new(e))
}

pub fn rejected(world: &World, n: u64, request: Request, code: RejectCode) -> Event {
    let (submission, judgement) = judged(world, request).into_parts();
    let (run, origin) = (run(n), origin());
    let key = None;
    Event::RunRejected(Arc::new(RunRejected {
        run,
        at: T0,
        origin,
        submission,
        key,
        judgement,
        code,
    }))
}

pub fn assigned(n: u64, attempt: u32, on: &str) -> Event {
    Event::RunAssigned(RunAssigned {
        run: run(n),
        at: T0,
        attempt,
        token: token(n),
        node: node(on),
        pool: Pool::Standard,
        fallback: false,
        demand: SMALL,
        planned_at: PLANNED_AT,
    })
}

pub fn started(n: u64, attempt: u32, on: &str) -> Event {
    Event::RunStarted(RunStarted { run: run(n), at: T0, attempt, node: node(on) })
}

pub fn finished(n: u64, attempt: u32, on: &str, exit: Exit, next: Next) -> Event {
    let (run, node) = (run(n), node(on));
    let (usage, output) = (Usage::default(), Output::default());
    Event::RunFinished(Arc::new(RunFinished {
        run,
        at: T0,
        attempt,
        node,
        exit,
        usage,
        output,
        next,
    }))
}

pub fn lost(n: u64, attempt: u32, on: &str, cause: LostCause, next: Next) -> Event {
    Event::RunLost(RunLost { run: run(n), at: T0, attempt, node: node(on), cause, next })
}

pub fn cancel_requested(n: u64, attempt: u32, on: &str) -> Event {
    let (run, node) = (run(n), node(on));
    Event::RunCancelRequested(RunCancelRequested { run, at: T0, origin: origin(), attempt, node })
}

pub fn canceled(n: u64) -> Event {
    Event::RunCanceled(RunCanceled { run: run(n), at: T0, origin: origin() })
}

pub fn forgotten(n: u64, at: Timestamp) -> Event {
    Event::RunForgotten(RunForgotten { run: run(n), at })
}

pub fn joined(name: &str, capacity: Demand, labels: &[(&str, &str)]) -> Event {
    joined_anew(name, 1, capacity, labels)
}

/// As another process of the agent.
pub fn joined_anew(name: &str, n: u64, capacity: Demand, labels: &[(&str, &str)]) -> Event {
    let Join { node, boot, labels, capacity, isolation, runtime, version } =
        join_of(name, n, capacity, labels);
    let at = T0;
    Event::NodeJoined(Arc::new(NodeJoined {
        node,
        at,
        boot,
        labels,
        capacity,
        isolation,
        runtime,
        version,
    }))
}

pub fn node_lost(name: &str) -> Event {
    let cause = NodeLostCause::HeartbeatExpired;
    Event::NodeLost(NodeLost { node: node(name), at: T0, cause })
}

pub const STANDARD: &[(&str, &str)] = &[];
pub const HIGH_COMPUTE: &[(&str, &str)] = &[(HIGH_COMPUTE_LABEL, "true")];
pub const QUARANTINE: &[(&str, &str)] = &[(QUARANTINE_LABEL, "true")];

pub fn exit(cause: ExitCause, code: Option<i32>) -> Exit {
    Exit { cause, code, signal: None, message: None }
}

pub fn exited(code: i32) -> Exit {
    exit(ExitCause::Exited, Some(code))
}

pub fn killed(signal: i32) -> Exit {
    Exit { cause: ExitCause::Exited, code: None, signal: Some(signal), message: None }
}

// What is asked

pub fn admit(n: u64, judged: Judged) -> Command {
    admitting(n, judged, None, None)
}

/// The dead letter of run `dead`, judged again, as run `n`.
pub fn redrive(n: u64, judged: Judged, dead: u64) -> Command {
    admitting(n, judged, None, Some(run(dead)))
}

pub fn admitting(
    n: u64,
    judged: Judged,
    key: Option<(KeyUse, u32)>,
    redrive_of: Option<RunId>,
) -> Command {
    let (run, origin, queue_max) = (run(n), origin(), QUEUE_MAX);
    Command::Admit(Box::new(Admit { run, judged, key, origin, queue_max, redrive_of }))
}

pub fn key(text: &str, body: u8) -> KeyUse {
    KeyUse { key: text.into(), body: Hex([body; 16]) }
}

pub fn admit_with_key(n: u64, judged: Judged, key: KeyUse, position: u32) -> Command {
    admitting(n, judged, Some((key, position)), None)
}

pub fn cancel(n: u64) -> Command {
    Command::Cancel { run: run(n), origin: origin() }
}

pub fn assign(n: u64, on: &str) -> Command {
    let assignment = Assignment { run: run(n), node: node(on), fallback: false };
    Command::Assign { assignment, token: token(n), planned_at: PLANNED_AT }
}

pub fn report(n: u64, on: &str, what: Reported) -> Command {
    let report = Report { node: node(on), run: run(n), token: token(n), what };
    Command::Report { report, chance: 0 }
}

pub fn ended(exit: Exit) -> Reported {
    Reported::Finished { exit, usage: Usage::default(), output: Output::default() }
}

pub fn join_of(name: &str, n: u64, capacity: Demand, labels: &[(&str, &str)]) -> Join {
    Join {
        node: node(name),
        boot: boot(n),
        labels: map(labels),
        capacity,
        isolation: vec!["pid".into(), "net".into()],
        runtime: "embedded".into(),
        version: "0.1.0".into(),
    }
}

pub fn join(name: &str, n: u64, capacity: Demand, labels: &[(&str, &str)]) -> Command {
    Command::Join(join_of(name, n, capacity, labels))
}

pub fn lose(name: &str, n: u64) -> Command {
    let cause = NodeLostCause::HeartbeatExpired;
    Command::LoseNode { node: node(name), boot: boot(n), cause }
}

pub fn put(policy: Policy, guard: Guard) -> Command {
    Command::PutPolicy { policy: policy.into(), guard, origin: origin(), what_if: None }
}

pub fn delete(name: &str, guard: Guard) -> Command {
    Command::DeletePolicy { name: name.into(), guard, origin: origin() }
}

// Asking

/// The world after these events. Every rule of the house holds in it, and after each of them.
pub fn world(events: &[Event]) -> World {
    let mut world = World::default();
    for event in events {
        evolve(&mut world, event);
    }
    world
}

pub fn evolve(world: &mut World, event: &Event) {
    let before = world.clone();
    world.evolve(0, event);
    invariants::step(&before, event, world).unwrap_or_else(|broken| panic!("{event:?}: {broken}"));
}

/// Given these events, when this is asked at `T0`, then exactly these events follow.
pub fn check(given: &[Event], when: Command, then: Result<Vec<Event>, Refusal>) {
    check_at(T0, given, when, then);
}

pub fn check_at(at: Timestamp, given: &[Event], when: Command, then: Result<Vec<Event>, Refusal>) {
    let mut world = world(given);
    let asked = format!("{when:?}");
    let decided = world.decide(at, when).map(|decision| decision.events);
    assert_eq!(decided, then, "given {given:#?} when {asked}");
    for event in decided.iter().flatten() {
        evolve(&mut world, event);
    }
    invariants::state(&world).unwrap_or_else(|broken| panic!("given {given:#?}: {broken}"));
}

/// Asks, and lets what follows happen.
pub fn tell(world: &mut World, at: Timestamp, command: Command) -> Result<Decision, Refusal> {
    let decision = world.decide(at, command)?;
    for event in &decision.events {
        evolve(world, event);
    }
    invariants::state(world).unwrap_or_else(|broken| panic!("{:?}: {broken}", decision.events));
    Ok(decision)
}

/// Plans on the world as it is, and lets the plan happen; says which run went where.
pub fn place(world: &mut World, at: Timestamp, most: usize) -> Vec<(RunId, NodeId)> {
    let plan = domain::placement::plan(&world.line, &world.fleet, at, most);
    invariants::q2(&world.line, &world.fleet, at, &plan).expect("a plan is fair");
    let mut went = Vec::new();
    for assignment in plan {
        let (run, node) = (assignment.run, assignment.node.clone());
        let token = token(run.0.as_u128() as u64);
        let command = Command::Assign { assignment, token, planned_at: PLANNED_AT };
        tell(world, at, command).expect("a plan from this very state holds");
        went.push((run, node));
    }
    went
}

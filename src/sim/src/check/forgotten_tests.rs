//! What Redis forgot excuses what was not there, for as long as it was not there, and nothing else.

use std::cell::Cell;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use api::session::AttemptRef;
use domain::event::{Origin, Place, Principal, RunAdmitted, RunAssigned};
use domain::ids::Hex;
use domain::judge::{Request, judge};
use domain::submission::{Demand, Pool};
use domain::{Court, Event, Inputs, Law, NodeId, RunId, Timestamp};
use journal::{Chain, Entry, Receipt, Sealed, Tail, catalog};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::model::{Attempt, Model, Run};
use super::{history, nodes};
use crate::client::{Done, Freshness, Kind, Operation, Outcome, What};
use crate::instance::Instance;
use crate::node::{Node, Program};
use crate::plan::Plan;
use crate::redis::Forgotten;
use crate::world::World;
use crate::{nemesis, trace};

const RUN: RunId = RunId(Uuid::from_u128(1));
const AT: Timestamp = Timestamp(1_700_000_000_000);

/// From when to when something was not there, in milliseconds.
type Absences<'a> = &'a [(u64, Option<u64>)];

fn world(tasks: Weak<LocalSet>) -> Rc<World> {
    let (to_redis, _) = mpsc::unbounded_channel();
    World::new(Plan::of(0, None), Path::new(""), tasks, to_redis)
}

/// The first entry behind the beginning of the journal.
fn entry(world: &World, event: &Event) -> Sealed {
    let (id, bytes) = world.store.entries(0).remove(0);
    let position = Entry::parse(id, bytes).unwrap().position();
    let tail = Tail { identity: world.identity, position, epoch: 0, at_ms: 0 };
    let batch = catalog::batch([event]).unwrap();
    Chain::lead_from(tail, Uuid::nil()).seal(AT.0, batch).unwrap()
}

fn admitted() -> Event {
    let command = vec!["sim".into()];
    let request = Request { template: "host".into(), command, ..Request::default() };
    let court = Court::new(Arc::new(Law::default()), None);
    let judged = judge(&court, request, &Inputs::bare(false)).unwrap();
    let (submission, judgement) = judged.into_parts();
    Event::RunAdmitted(Arc::new(RunAdmitted {
        run: RUN,
        at: AT,
        origin: Origin { by: Principal::Anonymous, request: Uuid::nil() },
        submission,
        key: None,
        judgement,
        place: Place { after: 50, finish_tag: 1, number: 1 },
        redrive_of: None,
    }))
}

fn assigned(token: u8) -> Event {
    Event::RunAssigned(RunAssigned {
        run: RUN,
        at: AT,
        attempt: 1,
        token: Hex([token; 16]),
        node: NodeId::new("n0"),
        pool: Pool::Standard,
        fallback: false,
        demand: Demand { cpu_milli: 200, mem_mb: 32, gpu: 0 },
        planned_at: 1,
    })
}

fn forget(world: &World, event: &Event, absences: Absences<'_>) -> Receipt {
    let entry = entry(world, event);
    let (bytes, absences) = (entry.bytes().clone(), absences.to_vec());
    let forgotten = Forgotten { bytes, durable: true, absences };
    world.redis.forgotten.borrow_mut().insert(entry.id(), forgotten);
    entry.receipt()
}

fn found(world: &World) -> Vec<&'static str> {
    world.findings.borrow().iter().map(|finding| finding.rule).collect()
}

/// What is found where a run was acknowledged at 900 ms, its entry was away, and somebody reads.
fn read(
    what: What,
    (asked_ms, answered_ms): (u64, u64),
    heard: Outcome,
    absences: Absences<'_>,
) -> Vec<&'static str> {
    let world = world(Weak::new());
    let receipt = Some(forget(&world, &admitted(), absences));
    let runs = vec![(RUN.0, "PENDING".into())];
    let acked = Done { status: 202, index: 2, receipt, runs, version: None };
    let submission = Operation {
        name: "writes".into(),
        kind: Kind::Submit(1),
        keyed: true,
        asked_ms: 800,
        answered_ms: 900,
        tries: vec![Outcome::Done(acked)],
    };
    let read = Operation {
        name: "reads".into(),
        kind: Kind::Read(what, Freshness { consistent: true, ..Freshness::default() }),
        keyed: false,
        asked_ms,
        answered_ms,
        tries: vec![heard],
    };
    world.operations.replace(vec![submission, read]);
    history::check(&world, &Model::of(&world));
    found(&world)
}

#[test]
fn a_read_must_show_what_was_acknowledged_until_it_is_lost() {
    let (lost, back): (Absences<'_>, Absences<'_>) = (&[(5_000, None)], &[(5_000, Some(5_500))]);
    let stale = || Outcome::Done(Done { status: 200, index: 1, ..Done::default() });
    let cases = [
        ((1_000, 1_010), lost, vec!["S9"]),
        ((4_990, 5_010), lost, vec![]),
        ((6_000, 6_010), lost, vec![]),
        ((1_000, 1_010), back, vec!["S9"]),
        ((5_100, 5_110), back, vec![]),
        ((6_000, 6_010), back, vec!["S9"]),
    ];
    for (n, (when, absences, rules)) in cases.into_iter().enumerate() {
        let policy = What::Policy("p0".into());
        assert_eq!(read(policy, when, stale(), absences), rules, "stale, case {n}");
        let absent = read(What::Run(RUN.0), when, Outcome::Refused(404), absences);
        assert_eq!(absent, rules, "not found, case {n}");
    }
}

fn program(token: u8, began_ms: u64, ended_ms: u64) -> Rc<Program> {
    let of = AttemptRef { run: RUN, attempt: 1, token: Hex([token; 16]) };
    Rc::new(Program {
        of,
        node: "n0",
        began_ms,
        journal_was: 2,
        ended_ms: Cell::new(Some(ended_ms)),
        code: Cell::new(Some(0)),
        frozen: Cell::new(false),
    })
}

/// A model in which a run has some attempts, and has ended.
fn ran(tokens: &[u8]) -> Model {
    let attempt = |token: &u8| Attempt {
        number: 1,
        token: Hex([*token; 16]),
        node: "n0".into(),
        assigned: 2,
        ended: Some(2),
        exit: None,
        evicted: false,
    };
    let attempts = tokens.iter().map(attempt).collect();
    let run = Run { statuses: vec![(2, "SUCCEEDED")], attempts, ..Run::default() };
    let mut model = Model::default();
    model.runs.insert(RUN.0, run);
    model
}

#[test]
fn a_lost_program_excuses_no_overlap_of_others() {
    let lost = 2;
    let cases = [
        (vec![program(1, 0, 900), program(3, 500, 600)], vec!["S17"]),
        (vec![program(1, 0, 900), program(lost, 10, 20), program(3, 500, 600)], vec!["S17"]),
        (vec![program(1, 0, 900), program(lost, 10, 20), program(3, 900, 950)], vec![]),
    ];
    for (n, (programs, rules)) in cases.into_iter().enumerate() {
        let world = world(Weak::new());
        forget(&world, &assigned(lost), &[(5, None)]);
        world.programs.replace(programs);
        nodes::check(&world, &ran(&[1, 3]));
        assert_eq!(found(&world), rules, "case {n}");
    }
}

/// Lives something through, and gives back the rules it broke and all that happened.
fn live(what: impl AsyncFnOnce(&Rc<World>)) -> (Vec<&'static str>, Vec<String>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let tasks = Rc::new(LocalSet::new());
    let world = world(Rc::downgrade(&tasks));
    let kept = runtime.block_on(tasks.run_until(async {
        trace::begin(true);
        what(&world).await;
        world.kill_all();
        trace::end().kept
    }));
    (found(&world), kept)
}

#[test]
fn who_stops_for_good_is_excused_by_what_is_lost_then() {
    let cases: [(Absences<'_>, &[&str]); 4] = [
        (&[], &["L1"]),
        (&[(10, Some(20))], &["L1"]),
        (&[(10, None)], &[]),
        (&[(200_000, None)], &["L1"]),
    ];
    for (n, (absences, rules)) in cases.into_iter().enumerate() {
        let (found, _) = live(async |world| {
            let instance = Rc::new(Instance::new(0, 0, Path::new("")));
            world.instances.borrow_mut().push(instance.clone());
            instance.start(world);
            if !absences.is_empty() {
                forget(world, &admitted(), absences);
            }
            sleep(Duration::from_secs(100)).await;
            instance.door().unwrap().fail("no journal".into());
            sleep(Duration::from_secs(3)).await;
        });
        assert_eq!(found, rules, "case {n}");
    }
}

#[test]
fn agents_forget_what_they_obeyed_where_something_is_lost_alone() {
    for (absences, forgets) in [((10, Some(20)), false), ((10, None), true)] {
        let (_, kept) = live(async |world| {
            let node = Rc::new(Node::new(0, 0));
            world.nodes.borrow_mut().push(node.clone());
            node.start(world);
            forget(world, &admitted(), &[absences]);
            nemesis::heal(world);
            sleep(Duration::from_millis(1)).await;
            trace!("healed");
        });
        let healed = kept.iter().position(|line| line.ends_with("healed")).unwrap();
        let killed = kept[..healed].iter().any(|line| line.ends_with("n0 agent killed"));
        assert_eq!(killed, forgets, "{absences:?}");
    }
}

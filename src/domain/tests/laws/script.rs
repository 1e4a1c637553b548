//! Random days: what is asked of the house, in which order, and how much time passes.
//!
//! A step names things by index into what there is when its turn comes, so that a day stays
//! meaningful while proptest makes it shorter.

use domain::event::{ExitCause, NodeLostCause};
use domain::judge::Learned;
use domain::law::{HeatTable, Limits, Losses, OnExceeded, OnViolation, Poison, Quotas};
use domain::submission::{Demand, Heat, OnLost, Retry};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::{DAY, HIGH_COMPUTE, HOUR, QUARANTINE, SECOND, STANDARD};

/// One thing that happens in a day.
#[derive(Clone, Debug)]
pub enum Step {
    /// Time passes, in milliseconds.
    Wait(u64),
    /// One request, of one run or a batch.
    Submit { runs: Vec<Asked>, key: Option<(u8, u8)>, stale: bool, queue_max: usize },
    /// Plan, and do all of it.
    Place { most: usize },
    /// Plan, and keep the plan for later.
    Plan { most: usize },
    /// Do what was planned earlier.
    PlaceLate,
    /// Propose any run for any node.
    Propose { run: Index, node: Index },
    /// A report of an attempt.
    Report { attempt: Index, what: What, shown: Shown },
    /// Cancel any run.
    Cancel { run: Index },
    /// An agent registers.
    Join { node: u8, boot: u8, labels: &'static [(&'static str, &'static str)], capacity: Demand },
    /// A node is lost.
    Lose { node: u8, right_boot: bool, cause: NodeLostCause },
    /// An operator wants a node empty, at once or after so long, or does not any more.
    Drain { node: u8, deadline_ms: Option<u64> },
    /// An operator lets work go there again.
    Undrain { node: u8 },
    /// An operator labels a node.
    Label { node: u8, labels: &'static [(&'static str, Option<&'static str>)] },
    /// A policy is put.
    PutPolicy { name: u8, pattern: &'static str, terms: Terms, guard: Guarded },
    /// A policy is deleted.
    DeletePolicy { name: u8, guard: Guarded },
    /// A template is put.
    PutTemplate { name: u8, heat: Option<Heat>, guard: Guarded },
    /// A template is deleted.
    DeleteTemplate { name: u8, guard: Guarded },
    /// Other thresholds.
    SetHeatTable { table: HeatTable, guard: Guarded },
    /// Let any run out of quarantine, judged by the law of today or an earlier one.
    Release { run: Index, stale: bool },
    /// Have a dead letter, or any run, judged again by the law of today or an earlier one, as a new
    /// run.
    Redrive { run: Index, any: bool, stale: bool },
    /// Reject any run in quarantine.
    Refuse { run: Index },
    /// Assignments stop.
    Pause,
    /// Assignments go on.
    Resume,
    /// What is due is done.
    Tick { most: usize },
    /// Another instance takes over.
    Lead,
}

/// One run of a request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub template: u8,
    pub tenant: u8,
    pub demand: Demand,
    pub ttl_ms: u64,
    pub heat: Option<Heat>,
    pub priority: u8,
    pub retry: Retry,
    pub on_lost: OnLost,
    pub max_age_ms: u64,
    pub quarantine: bool,
    pub quarantine_on: bool,
    pub learned: Option<Learned>,
    pub placement: Wish,
}

/// What a run asks of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    None,
    /// A node of zone a.
    ZoneA,
    /// A node of zone a that is not of high compute.
    PlainZoneA,
    /// Rather a node of zone b.
    RatherB,
    /// A node that enforces what all enforce.
    Isolated,
    /// A node that enforces what none does.
    Unheard,
    /// The fullest node.
    Packed,
}

/// What an agent says.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Started,
    Ended(ExitCause, Option<i32>),
    Gone,
}

/// What it shows for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Right,
    /// A token that was never given out.
    Forged,
    /// The token of the attempt that was made before.
    Old,
    /// The right token, from another node.
    Elsewhere,
}

/// What is asked of the version in force.
#[derive(Clone, Copy, Debug)]
pub enum Guarded {
    Not,
    Right,
    Wrong,
    Absent,
}

/// A day of at most so many steps.
pub fn day(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..steps)
}

/// Little but the same few requests again and again, close to the ends of their windows.
pub fn repeats(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    const TIMES: &[u64] = &[1, HOUR, DAY - HOUR, DAY - 1, DAY, DAY + 1];
    let asked = asked().prop_map(|asked| Asked { tenant: asked.tenant % 2, ..asked });
    let key = (0..2u8, select(&[0, 0, 0, 1][..])).prop_map(Some);
    let submit = (prop::collection::vec(asked, 1..4), key, select(&[2, 100][..]))
        .prop_map(|(runs, key, queue_max)| Step::Submit { runs, key, stale: false, queue_max });
    let step = prop_oneof![
        6 => submit,
        3 => select(TIMES).prop_map(Step::Wait),
        1 => any::<Index>().prop_map(|run| Step::Cancel { run }),
        1 => (1..5usize).prop_map(|most| Step::Tick { most }),
    ];
    prop::collection::vec(step, 1..steps)
}

fn step() -> impl Strategy<Value = Step> {
    let guard = || select(&[Guarded::Not, Guarded::Right, Guarded::Wrong, Guarded::Absent][..]);
    const TIMES: &[u64] = &[1, SECOND, 30 * SECOND, HOUR, DAY - 1, DAY, DAY + HOUR, 8 * DAY];
    prop_oneof![
        4 => select(TIMES).prop_map(Step::Wait),
        12 => submit(),
        8 => (1..9usize).prop_map(|most| Step::Place { most }),
        2 => (1..9usize).prop_map(|most| Step::Plan { most }),
        2 => Just(Step::PlaceLate),
        2 => any::<(Index, Index)>().prop_map(|(run, node)| Step::Propose { run, node }),
        12 => report(),
        3 => any::<Index>().prop_map(|run| Step::Cancel { run }),
        6 => join(),
        3 => drain(),
        3 => label(),
        2 => (0..4u8, prop::bool::weighted(0.8), any::<bool>()).prop_map(|(node, right_boot, left)| {
            let cause = if left { NodeLostCause::Left } else { NodeLostCause::HeartbeatExpired };
            Step::Lose { node, right_boot, cause }
        }),
        2 => (0..3u8, select(&["*", "host", "h*", "t?", "t0"][..]), terms(), guard())
            .prop_map(|(name, pattern, terms, guard)| {
                Step::PutPolicy { name, pattern, terms, guard }
            }),
        1 => (0..3u8, guard()).prop_map(|(name, guard)| Step::DeletePolicy { name, guard }),
        1 => (0..3u8, heat(), guard())
            .prop_map(|(name, heat, guard)| Step::PutTemplate { name, heat, guard }),
        1 => (0..3u8, guard()).prop_map(|(name, guard)| Step::DeleteTemplate { name, guard }),
        1 => (1..5u32, guard()).prop_map(|(k, guard)| {
            let table = HeatTable { hot_cpu_milli: 1_000 * k, ..HeatTable::PUBLISHED };
            Step::SetHeatTable { table, guard }
        }),
        4 => (any::<Index>(), prop::bool::weighted(0.2))
            .prop_map(|(run, stale)| Step::Release { run, stale }),
        4 => (any::<Index>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(run, any, stale)| Step::Redrive { run, any, stale }),
        2 => any::<Index>().prop_map(|run| Step::Refuse { run }),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        3 => (1..5usize).prop_map(|most| Step::Tick { most }),
        1 => Just(Step::Lead),
    ]
}

fn submit() -> impl Strategy<Value = Step> {
    let key = prop::option::weighted(0.4, (0..3u8, 0..2u8));
    let queue_max = select(&[4, 100, 100][..]);
    (prop::collection::vec(asked(), 1..4), key, prop::bool::weighted(0.1), queue_max)
        .prop_map(|(runs, key, stale, queue_max)| Step::Submit { runs, key, stale, queue_max })
}

pub fn asked() -> impl Strategy<Value = Asked> {
    (
        (select(&[0, 0, 0, 1, 2][..]), 0..3u8, demand(), select(&[SECOND, 60 * SECOND, HOUR][..])),
        (heat(), select(&[0, 50, 50, 50, 100][..]), retry(), any::<bool>()),
        select(&[0, HOUR, DAY, 7 * DAY][..]),
        (prop::bool::weighted(0.2), prop::bool::weighted(0.9), learned(), wish()),
    )
        .prop_map(
            |(what, how, max_age_ms, (quarantine, quarantine_on, learned, placement))| {
                let (template, tenant, demand, ttl_ms) = what;
                let (heat, priority, retry, retries) = how;
                let on_lost = if retries { OnLost::Retry } else { OnLost::Fail };
                Asked {
                    template,
                    tenant,
                    demand,
                    ttl_ms,
                    heat,
                    priority,
                    retry,
                    on_lost,
                    max_age_ms,
                    quarantine,
                    quarantine_on,
                    learned,
                    placement,
                }
            },
        )
}

/// What judging is told of the template's past: it is an input like any other.
fn learned() -> impl Strategy<Value = Option<Learned>> {
    let used = (select(&[SECOND, HOUR][..]), select(&[100, 2_500][..]));
    let used =
        used.prop_map(|(wall, cpu)| Learned { runs: 20, p95_wall_ms: wall, p95_cpu_milli: cpu });
    prop::option::weighted(0.2, used)
}

fn wish() -> impl Strategy<Value = Wish> {
    use Wish::{Isolated, None, Packed, PlainZoneA, RatherB, Unheard, ZoneA};
    select(&[None, None, None, ZoneA, ZoneA, PlainZoneA, RatherB, Isolated, Unheard, Packed][..])
}

/// Little but what an operator and the agents say of nodes, and runs of every kind.
pub fn fleet_days(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    let lose = (0..4u8).prop_map(|node| Step::Lose {
        node,
        right_boot: true,
        cause: NodeLostCause::HeartbeatExpired,
    });
    let step = prop_oneof![
        6 => prop::collection::vec(asked(), 1..4).prop_map(|runs| Step::Submit {
            runs,
            key: None,
            stale: false,
            queue_max: 100,
        }),
        6 => (1..9usize).prop_map(|most| Step::Place { most }),
        3 => any::<(Index, Index)>().prop_map(|(run, node)| Step::Propose { run, node }),
        4 => join(),
        4 => drain(),
        4 => label(),
        2 => lose,
        4 => report(),
        2 => select(&[1, SECOND, HOUR][..]).prop_map(Step::Wait),
        3 => (1..5usize).prop_map(|most| Step::Tick { most }),
    ];
    prop::collection::vec(step, 1..steps)
}

fn drain() -> impl Strategy<Value = Step> {
    let deadline = select(&[Option::None, Some(0), Some(SECOND), Some(HOUR)][..]);
    prop_oneof![
        3 => (0..4u8, deadline).prop_map(|(node, deadline_ms)| Step::Drain { node, deadline_ms }),
        2 => (0..4u8).prop_map(|node| Step::Undrain { node }),
    ]
}

fn label() -> impl Strategy<Value = Step> {
    const LABELS: &[&[(&str, Option<&str>)]] = &[
        &[],
        &[("zone", Some("a"))],
        &[("zone", Some("b"))],
        &[("zone", Option::None)],
        &[("tartarus.io/typhon", Some("true"))],
        &[("tartarus.io/typhon", Option::None), ("zone", Some("a"))],
        &[("tartarus.io/phlegethon", Some("true")), ("zone", Some("a"))],
    ];
    (0..4u8, select(LABELS)).prop_map(|(node, labels)| Step::Label { node, labels })
}

fn demand() -> impl Strategy<Value = Demand> {
    let (cpu, mem) = (select(&[100, 500, 2_000, 4_000][..]), select(&[64, 256, 2_048][..]));
    (cpu, mem, select(&[0, 0, 0, 0, 1][..])).prop_map(|(cpu_milli, mem_mb, gpu)| Demand {
        cpu_milli,
        mem_mb,
        gpu,
    })
}

fn retry() -> impl Strategy<Value = Retry> {
    (1..4u32, select(&[0, SECOND, HOUR][..]))
        .prop_map(|(max_attempts, backoff_ms)| Retry { max_attempts, backoff_ms })
}

fn heat() -> impl Strategy<Value = Option<Heat>> {
    prop::option::weighted(0.3, select(&Heat::ALL[..]))
}

/// What a policy says.
#[derive(Clone, Debug)]
pub struct Terms {
    pub limits: Limits,
    pub on: OnViolation,
    pub rules: Vec<&'static str>,
    pub quotas: Quotas,
    pub on_lost: Losses,
}

/// Rules that hold for some, fail for some, and one that no version of the program compiles.
const RULES: &[&str] = &[
    "request.resources.cpu_milli > 1500",
    "tenant.running > 0 || tenant.pending > 2",
    "tenant.cpu_milli + request.resources.cpu_milli > 2000",
    "now.getSeconds() < 20",
    "1000 / (request.priority - 50) > 10",
    "request.metadata.tenant == \"tenant-1\"",
    "request.colour == \"red\"",
];

fn terms() -> impl Strategy<Value = Terms> {
    let rules = prop::collection::vec(select(RULES), 0..3);
    let losses = (0..=OnLost::MAX_LOSSES, select(&[Poison::DeadLetter, Poison::Quarantine][..]));
    (limits(), any::<bool>(), rules, quotas(), losses).prop_map(
        |(limits, strict, rules, quotas, (retries, then))| {
            let on = if strict { OnViolation::Reject } else { OnViolation::Quarantine };
            Terms { limits, on, rules, quotas, on_lost: Losses { retries, then } }
        },
    )
}

pub fn quotas() -> impl Strategy<Value = Quotas> {
    let few = || prop::option::weighted(0.3, 0..4u32);
    let much = || prop::option::weighted(0.3, 0..6_000u64);
    (few(), few(), much(), much(), few(), any::<bool>()).prop_map(
        |(running, pending, cpu_milli, mem_mb, per_minute, throttle)| {
            let on_exceeded = if throttle { OnExceeded::Throttle } else { OnExceeded::Reject };
            Quotas { running, pending, cpu_milli, mem_mb, per_minute, on_exceeded }
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let cpu = prop::option::of(select(&[100, 2_000][..]));
    (cpu, prop::option::of(select(&[64, 2_048][..])), 0..2u32, prop::option::of(Just(HOUR)))
        .prop_map(|(cpu_milli, mem_mb, gpu, ttl_ms)| Limits { cpu_milli, mem_mb, gpu, ttl_ms })
}

fn report() -> impl Strategy<Value = Step> {
    let exit = |cause, code| What::Ended(cause, code);
    let what = prop_oneof![
        6 => Just(What::Started),
        4 => Just(exit(ExitCause::Exited, Some(0))),
        4 => Just(exit(ExitCause::Exited, Some(1))),
        1 => Just(exit(ExitCause::Exited, None)),
        1 => Just(exit(ExitCause::TimedOut, Some(0))),
        1 => Just(exit(ExitCause::OutOfMemory, None)),
        1 => Just(exit(ExitCause::Canceled, None)),
        1 => Just(exit(ExitCause::NotExecutable, Some(127))),
        2 => Just(exit(ExitCause::SandboxFailed, None)),
        3 => Just(What::Gone),
    ];
    let shown = prop_oneof![
        8 => Just(Shown::Right),
        1 => Just(Shown::Forged),
        1 => Just(Shown::Old),
        1 => Just(Shown::Elsewhere),
    ];
    (any::<Index>(), what, shown).prop_map(|(attempt, what, shown)| Step::Report {
        attempt,
        what,
        shown,
    })
}

fn join() -> impl Strategy<Value = Step> {
    const ZONE: &[(&str, &str)] = &[("zone", "a")];
    let labels = select(&[STANDARD, ZONE, HIGH_COMPUTE, QUARANTINE][..]);
    (0..4u8, select(&[0, 0, 0, 1][..]), labels, capacity())
        .prop_map(|(node, boot, labels, capacity)| Step::Join { node, boot, labels, capacity })
}

pub fn capacity() -> impl Strategy<Value = Demand> {
    let (cpu, mem) = (select(&[500, 4_000, 8_000][..]), select(&[256, 4_096][..]));
    (cpu, mem, select(&[0, 0, 1][..])).prop_map(|(cpu_milli, mem_mb, gpu)| Demand {
        cpu_milli,
        mem_mb,
        gpu,
    })
}

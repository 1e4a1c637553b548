//! One sample of every shape of every event: each enum that an event can hold appears with all of
//! its variants, so that none can change its number unseen.

use std::sync::Arc;

use domain::Event;
use domain::Texts;
use domain::event as e;
use domain::ids::{Hex, NodeId, RunId, Timestamp};
use domain::judge::{
    Basis, ExternalAnswer, ExternalOutcome, HeatCause, HeatDecision, Judge, Judgement, Learned,
    Limited, Objection, Opinion, Pinned, Quota, RuleFault,
};
use domain::law::{
    ExternalJudge, FailMode, HeatSource, HeatTable, Limits, Losses, OnExceeded, OnViolation,
    Poison, Policy, Quotas, Required, RootFs, Rule, Template, Verdict,
};
use domain::selector::{Requirement, Selector, Test};
use domain::submission::{
    Demand, Heat, Network, OnLost, Placement, Pool, Preference, Resources, Retention, Retry,
    Strategy, Submission, Total,
};
use domain::tenants::Holdings;
use uuid::Uuid;

const AT: Timestamp = Timestamp(1_767_225_600_123);
const LATER: Timestamp = Timestamp(1_767_225_660_000);

fn run() -> RunId {
    RunId(Uuid::from_u128(0x019b_76da_a800_7000_8000_0000_0000_0001))
}

fn boot() -> Uuid {
    Uuid::from_u128(0x0f1e_2d3c_4b5a_4978_8796_a5b4_c3d2_e1f0)
}

fn node() -> NodeId {
    NodeId::new("node-1.example")
}

fn origin(by: e::Principal) -> e::Origin {
    e::Origin { by, request: Uuid::from_u128(0x1111_2222_3333_4444_8555_6666_7777_8888) }
}

fn operator() -> e::Origin {
    origin(e::Principal::Token(Hex([1, 2, 3, 4, 5, 6, 7, 8])))
}

fn map(pairs: &[(&str, &str)]) -> Texts {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn submission(heat_hint: Option<Heat>, on_lost: OnLost) -> Submission {
    Submission {
        template: "python".into(),
        command: vec!["python3".into(), "-c".into(), "print(6*7)".into()],
        env: map(&[("LANG", "C.UTF-8"), ("EMPTY", "")]),
        stdin: "in\u{0}put ü".into(),
        resources: Resources { cpu_milli: 500, mem_mb: 128, gpu: 1, ttl_ms: 30_000 },
        network: Network::None,
        heat_hint,
        priority: 50,
        retry: Retry { max_attempts: 3, backoff_ms: 1_000 },
        on_lost,
        retention: Retention { max_age_ms: 86_400_000, keep_output: true },
        metadata: map(&[("tenant", "acme"), ("user", "alice")]),
        labels: map(&[("team", "ml")]),
        placement: placement(Strategy::Spread).into(),
    }
}

fn placement(strategy: Strategy) -> Placement {
    let values = || ["ssd".into(), "nvme".into()].into();
    let requirement = |key: &str, test| Requirement { key: key.into(), test };
    let requirements = vec![
        requirement("disk", Test::In(values())),
        requirement("zone", Test::NotIn(values())),
        requirement("fast", Test::Exists),
        requirement("old", Test::Absent),
    ];
    Placement {
        require: Selector { requirements: requirements.clone() },
        prefer: vec![Preference { labels: Selector { requirements }, weight: 100 }],
        isolation: ["seccomp".into(), "netns".into()].into(),
        strategy,
    }
}

/// What judges say, in all the words they have.
fn objections() -> Vec<Objection> {
    use ExternalOutcome as O;
    let outcomes = [
        O::Said { verdict: Verdict::Quarantine, reason: "known malware".into() },
        O::TimedOut,
        O::Unreachable,
        O::Status(500),
        O::Unreadable,
    ];
    let external = |outcome| {
        Objection::External(Box::new(ExternalAnswer {
            judge: "scanner".into(),
            outcome,
            latency_ms: 2_000,
        }))
    };
    let faults = [
        RuleFault::DivisionByZero,
        RuleFault::Overflow,
        RuleFault::OutOfRange,
        RuleFault::TooCostly,
        RuleFault::Uncompilable,
    ];
    let failed = |fault| Objection::RuleFailed { rule: "ratio".into(), fault };
    let quotas = [Quota::Running, Quota::Pending, Quota::CpuMilli, Quota::MemMb, Quota::PerMinute];
    let over = |quota| Objection::OverQuota { quota, would_have: 1 << 40, limit: 7 };
    let holds = Objection::RuleHolds {
        rule: "external-origin".into(),
        verdict: Verdict::Quarantine,
        reason: "code from outside".into(),
    };
    let missing =
        [Objection::MetadataMissing("user".into()), Objection::LabelMissing("team".into())];
    let all = [holds].into_iter().chain(missing).chain(faults.into_iter().map(failed));
    all.chain(quotas.into_iter().map(over)).chain(outcomes.into_iter().map(external)).collect()
}

fn holdings() -> Holdings {
    Holdings {
        running: 3,
        pending: 400,
        in_use: Demand { cpu_milli: 1_500, mem_mb: 384, gpu: 3 },
        asked: Total { cpu_milli: 1 << 40, mem_mb: 51_584, gpu: 403 },
        last_minute: 99,
    }
}

fn judgement(verdict: Verdict, heat: Heat, cause: HeatCause, pool: Pool) -> Arc<Judgement> {
    let over = |field| Objection::OverLimit { field, asked: 70_000, limit: 3 };
    let opinion = |judge, verdict, objections| Opinion { judge, verdict, objections };
    let judgement = Judgement {
        verdict,
        revision: 12,
        policy: Pinned { name: "python-default".into(), version: 3 },
        template: Pinned { name: "python".into(), version: 0 },
        quarantine_on: true,
        heat: HeatDecision {
            heat,
            cause,
            learned: (cause == HeatCause::Learned).then_some(Learned {
                runs: 250,
                p95_wall_ms: 1_234,
                p95_cpu_milli: 900,
            }),
        },
        pool,
        opinions: vec![
            opinion(Judge::Aeacus, Verdict::Quarantine, vec![Objection::QuarantineAsked]),
            opinion(
                Judge::Rhadamanthus,
                Verdict::Reject,
                vec![
                    over(Limited::CpuMilli),
                    over(Limited::MemMb),
                    over(Limited::Gpu),
                    over(Limited::TtlMs),
                    over(Limited::MaxAgeMs),
                    Objection::NetworkNotAllowed(Network::None),
                ],
            ),
            opinion(Judge::Minos, Verdict::Accept, vec![]),
            opinion(Judge::External("scanner".into()), Verdict::Quarantine, objections()),
        ],
        placement: (heat == Heat::Hot).then(|| Arc::new(placement(Strategy::Pack))),
        basis: (heat == Heat::Cold).then(|| {
            let admitted = (pool == Pool::Standard).then(holdings);
            Box::new(Basis { at: AT, index: 4_710, tenant: holdings(), admitted })
        }),
    };
    judgement.into()
}

fn key() -> (e::KeyUse, u32) {
    (e::KeyUse { key: "order-66".into(), body: Hex([0xab; 16]) }, 999)
}

fn leader_started() -> Vec<Event> {
    let started = e::LeaderStarted {
        at: AT,
        epoch: 7,
        boot: boot(),
        url: "http://127.0.0.1:8080".into(),
        version: "0.1.0".into(),
        key: Some(Hex([9; 32])),
        reads_level: 2,
    };
    vec![Event::LeaderStarted(Arc::new(started))]
}

fn run_admitted() -> Vec<Event> {
    let heats = [
        (None, Heat::Cold, HeatCause::Hint, Pool::Standard),
        (Some(Heat::Cold), Heat::Warm, HeatCause::Template, Pool::HighCompute),
        (Some(Heat::Warm), Heat::Hot, HeatCause::Gpu, Pool::Quarantine),
        (Some(Heat::Hot), Heat::Inferno, HeatCause::LongRunning, Pool::Standard),
        (Some(Heat::Inferno), Heat::Inferno, HeatCause::Cpu, Pool::Standard),
        (None, Heat::Hot, HeatCause::Memory, Pool::Standard),
        (None, Heat::Cold, HeatCause::Light, Pool::Standard),
        (None, Heat::Warm, HeatCause::Ordinary, Pool::Standard),
        (None, Heat::Warm, HeatCause::Learned, Pool::Standard),
    ];
    let principals = [
        e::Principal::System,
        e::Principal::Anonymous,
        e::Principal::Token(Hex([9; 8])),
        e::Principal::Node(node()),
    ];
    let admitted =
        |(i, (hint, heat, cause, pool)): (usize, (Option<Heat>, Heat, HeatCause, Pool))| {
            let odd = i % 2 == 1;
            Event::RunAdmitted(Arc::new(e::RunAdmitted {
                run: run(),
                at: AT,
                origin: origin(principals[i % principals.len()].clone()),
                submission: submission(hint, if odd { OnLost::Fail } else { OnLost::Retry }).into(),
                key: odd.then(key),
                judgement: judgement(Verdict::Accept, heat, cause, pool),
                place: e::Place { after: 50, finish_tag: u64::MAX, number: 1 << 40 },
                redrive_of: odd.then(run),
            }))
        };
    heats.into_iter().enumerate().map(admitted).collect()
}

fn run_rejected() -> Vec<Event> {
    use e::RejectCode::{PolicyRejected, QuarantineDisabled, QuarantineUnavailable};
    let cases = [
        (PolicyRejected, Verdict::Reject),
        (QuarantineUnavailable, Verdict::Quarantine),
        (QuarantineDisabled, Verdict::Quarantine),
    ];
    let rejected = |(code, verdict)| {
        Event::RunRejected(Arc::new(e::RunRejected {
            run: run(),
            at: AT,
            origin: operator(),
            submission: submission(None, OnLost::Retry).into(),
            key: Some(key()),
            judgement: judgement(verdict, Heat::Cold, HeatCause::Light, Pool::Quarantine),
            code,
        }))
    };
    cases.into_iter().map(rejected).collect()
}

fn run_assigned() -> Vec<Event> {
    let assigned = |pool| {
        Event::RunAssigned(e::RunAssigned {
            run: run(),
            at: AT,
            attempt: 2,
            token: Hex([0xc4; 16]),
            node: node(),
            pool,
            fallback: pool == Pool::Standard,
            demand: Demand { cpu_milli: 500, mem_mb: 128, gpu: 1 },
            planned_at: 4_711,
        })
    };
    Pool::ALL.into_iter().map(assigned).collect()
}

fn run_started() -> Vec<Event> {
    vec![Event::RunStarted(e::RunStarted { run: run(), at: AT, attempt: 1, node: node() })]
}

fn run_finished() -> Vec<Event> {
    use e::End::{Canceled, Failed, Succeeded};
    use e::ExitCause as C;
    use e::FailReason as F;
    let end = e::Next::End;
    let cases = [
        (C::Exited, Some(0), None, end(Succeeded)),
        (C::Exited, Some(-1), None, end(Failed(F::NonZeroExit))),
        (C::Exited, None, Some(9), end(Failed(F::Signaled))),
        (C::TimedOut, None, Some(9), end(Failed(F::TimedOut))),
        (C::OutOfMemory, None, Some(9), end(Failed(F::OutOfMemory))),
        (C::Canceled, None, Some(15), end(Canceled)),
        (C::NotExecutable, None, None, end(Failed(F::NotExecutable))),
        (C::SandboxFailed, None, None, end(Failed(F::SandboxFailed))),
        (C::Exited, Some(1), None, end(Failed(F::NodeLost))),
        (C::Exited, Some(1), None, end(Failed(F::OutOfAttempts))),
        (C::Exited, Some(1), None, e::Next::Again { not_before: LATER }),
    ];
    let finished = |(cause, code, signal, next)| {
        let quiet = code == Some(0);
        Event::RunFinished(Arc::new(e::RunFinished {
            run: run(),
            at: AT,
            attempt: 1,
            node: node(),
            exit: e::Exit { cause, code, signal, message: (!quiet).then(|| "no such file".into()) },
            usage: e::Usage { cpu_ms: 12, max_rss_mb: 34, wall_ms: 56 },
            output: e::Output {
                stdout_bytes: 3,
                stderr_bytes: 1 << 33,
                truncated: !quiet,
                digest: (!quiet).then_some(Hex([0xd1; 32])),
                holder: "http://127.0.0.1:8080".into(),
            },
            next,
        }))
    };
    cases.into_iter().map(finished).collect()
}

fn run_lost() -> Vec<Event> {
    use e::LostCause::{Drained, NodeLost, NodeRestarted, Unknown};
    let lost = |cause| {
        let next = match cause {
            NodeLost | Drained => e::Next::Again { not_before: LATER },
            NodeRestarted | Unknown => e::Next::End(e::End::Failed(e::FailReason::NodeLost)),
        };
        Event::RunLost(e::RunLost { run: run(), at: AT, attempt: 3, node: node(), cause, next })
    };
    [NodeLost, NodeRestarted, Unknown, Drained].into_iter().map(lost).collect()
}

fn run_cancel_requested() -> Vec<Event> {
    let (run, origin, node) = (run(), operator(), node());
    vec![Event::RunCancelRequested(e::RunCancelRequested { run, at: AT, origin, attempt: 1, node })]
}

fn run_canceled() -> Vec<Event> {
    vec![Event::RunCanceled(e::RunCanceled { run: run(), at: AT, origin: operator() })]
}

fn run_forgotten() -> Vec<Event> {
    vec![Event::RunForgotten(e::RunForgotten { run: run(), at: AT })]
}

fn node_joined() -> Vec<Event> {
    vec![Event::NodeJoined(Arc::new(e::NodeJoined {
        node: node(),
        at: AT,
        boot: boot(),
        labels: map(&[("tartarus.io/phlegethon", "true"), ("zone", "a")]),
        capacity: Demand { cpu_milli: 16_000, mem_mb: 65_536, gpu: 2 },
        isolation: vec!["namespaces".into(), "seccomp".into()],
        runtime: "embedded".into(),
        version: "0.1.0".into(),
    }))]
}

fn node_lost() -> Vec<Event> {
    use e::NodeLostCause::{HeartbeatExpired, Left};
    let lost = |cause| Event::NodeLost(e::NodeLost { node: node(), at: AT, cause });
    [HeartbeatExpired, Left].into_iter().map(lost).collect()
}

fn policy_put() -> Vec<Event> {
    let rule = |name: &str, verdict| Rule {
        name: name.into(),
        when: "request.metadata.origin == \"external\"".into(),
        verdict,
        reason: "code from outside runs in quarantine".into(),
    };
    let limited =
        Limits { cpu_milli: Some(2_000), mem_mb: Some(1_024), gpu: 0, ttl_ms: Some(600_000) };
    let unlimited = Limits { cpu_milli: None, mem_mb: None, gpu: 4, ttl_ms: None };
    let put = |(limits, max_age_ms, on_violation)| {
        let full = on_violation == OnViolation::Quarantine;
        let judge = |name: &str, fail| ExternalJudge {
            name: name.into(),
            url: "http://scanner.internal:9000/judge".into(),
            timeout_ms: 2_000,
            fail,
        };
        let quotas = Quotas {
            running: Some(10),
            pending: Some(100),
            cpu_milli: Some(1 << 40),
            mem_mb: Some(65_536),
            per_minute: Some(600),
            on_exceeded: OnExceeded::Reject,
        };
        Event::PolicyPut(Arc::new(e::PolicyPut {
            at: AT,
            origin: operator(),
            revision: 13,
            version: 4,
            what_if: Some(Hex([7; 32])),
            policy: Policy {
                name: "python-default".into(),
                templates: vec!["python".into(), "python-*".into()],
                limits,
                network: vec![Network::None],
                max_age_ms,
                on_violation,
                rules: vec![
                    rule("one", Verdict::Accept),
                    rule("two", Verdict::Quarantine),
                    rule("three", Verdict::Reject),
                ],
                tags: map(&[("owner", "platform")]),
                require: Required {
                    metadata: ["tenant".into(), "user".into()].into(),
                    labels: ["team".into()].into(),
                },
                quotas: if full { quotas } else { Quotas::default() },
                judges: vec![judge("scanner", FailMode::Closed), judge("audit", FailMode::Open)],
                heat: if full { HeatSource::Learned } else { HeatSource::Table },
                placement: placement(if full { Strategy::Pack } else { Strategy::Spread }),
                on_lost: Losses {
                    retries: if full { 1 } else { 3 },
                    then: if full { Poison::Quarantine } else { Poison::DeadLetter },
                },
            },
        }))
    };
    let cases = [
        (limited, Some(86_400_000), OnViolation::Reject),
        (unlimited, None, OnViolation::Quarantine),
    ];
    cases.into_iter().map(put).collect()
}

fn policy_deleted() -> Vec<Event> {
    let (origin, name) = (operator(), "python-default".into());
    vec![Event::PolicyDeleted(e::PolicyDeleted { at: AT, origin, revision: 14, name })]
}

fn template_put() -> Vec<Event> {
    let put = |rootfs| {
        let full = rootfs != RootFs::Host;
        Event::TemplatePut(Arc::new(e::TemplatePut {
            at: AT,
            origin: operator(),
            revision: 15,
            version: 1,
            template: Template {
                name: "python".into(),
                rootfs,
                command: vec!["python3".into()],
                env: map(&[("PATH", "/usr/bin")]),
                cpu_milli: full.then_some(1_000),
                mem_mb: full.then_some(256),
                gpu: full.then_some(1),
                ttl_ms: full.then_some(60_000),
                heat: full.then_some(Heat::Hot),
            },
        }))
    };
    let cases = [RootFs::Host, RootFs::Directory("py/3".into()), RootFs::Archive("py.tar".into())];
    cases.into_iter().map(put).collect()
}

fn template_deleted() -> Vec<Event> {
    let (origin, name) = (operator(), "python".into());
    vec![Event::TemplateDeleted(e::TemplateDeleted { at: AT, origin, revision: 16, name })]
}

fn heat_table_set() -> Vec<Event> {
    let table = HeatTable::PUBLISHED;
    vec![Event::HeatTableSet(e::HeatTableSet { at: AT, origin: operator(), revision: 17, table })]
}

fn queue_paused() -> Vec<Event> {
    vec![Event::QueuePaused(e::QueuePaused { at: AT, origin: operator() })]
}

fn queue_resumed() -> Vec<Event> {
    vec![Event::QueueResumed(e::QueueResumed { at: AT, origin: operator() })]
}

fn node_drained() -> Vec<Event> {
    let drained = |deadline| {
        Event::NodeDrained(e::NodeDrained { node: node(), at: AT, origin: operator(), deadline })
    };
    [Some(LATER), None].into_iter().map(drained).collect()
}

fn node_undrained() -> Vec<Event> {
    vec![Event::NodeUndrained(e::NodeUndrained { node: node(), at: AT, origin: operator() })]
}

fn node_labeled() -> Vec<Event> {
    let labels = [("disk".into(), Some("ssd".into())), ("zone".into(), None)].into();
    vec![Event::NodeLabeled(e::NodeLabeled { node: node(), at: AT, origin: operator(), labels })]
}

fn run_evicted() -> Vec<Event> {
    vec![Event::RunEvicted(e::RunEvicted { run: run(), at: AT, attempt: 2, node: node() })]
}

fn run_released() -> Vec<Event> {
    vec![Event::RunReleased(Arc::new(e::RunReleased {
        run: run(),
        at: AT,
        origin: operator(),
        judgement: judgement(Verdict::Quarantine, Heat::Hot, HeatCause::Memory, Pool::Quarantine),
        pool: Pool::HighCompute,
        reason: "looked at it".into(),
    }))]
}

fn run_refused() -> Vec<Event> {
    let (origin, reason) = (operator(), "it is what it looks like".into());
    vec![Event::RunRefused(Arc::new(e::RunRefused { run: run(), at: AT, origin, reason }))]
}

fn snapshot_begun() -> Vec<Event> {
    vec![Event::SnapshotBegun(e::SnapshotBegun { at: AT })]
}

fn snapshot_taken() -> Vec<Event> {
    let (index, digest) = (4_711, Hex([3; 32]));
    let bytes = 1 << 33;
    vec![Event::SnapshotTaken(e::SnapshotTaken { at: AT, index, digest, bytes, state: 3 })]
}

fn journal_archived() -> Vec<Event> {
    let hash = Hex([4; 32]);
    vec![Event::JournalArchived(e::JournalArchived { at: AT, through: 4_800, hash })]
}

fn journal_trimmed() -> Vec<Event> {
    vec![Event::JournalTrimmed(e::JournalTrimmed { at: AT, first: 4_000 })]
}

fn checkpoint_signed() -> Vec<Event> {
    let (hash, key, signature) = (Hex([5; 32]), Hex([6; 32]), Hex([7; 64]));
    let signed = e::CheckpointSigned { at: AT, index: 4_900, hash, key, signature };
    vec![Event::CheckpointSigned(Arc::new(signed))]
}

fn level_raised() -> Vec<Event> {
    vec![Event::LevelRaised(e::LevelRaised { at: AT, origin: operator(), level: 2 })]
}

fn run_quarantined() -> Vec<Event> {
    vec![Event::RunQuarantined(Arc::new(e::RunQuarantined {
        run: run(),
        at: AT,
        tenant: "acme".into(),
        attempt: 4,
        node: node(),
        losses: 4,
        policy: Pinned { name: "python-default".into(), version: 4 },
    }))]
}

/// Samples of the newest version of each type, in the order of the catalogue.
pub fn samples() -> Vec<Vec<Event>> {
    vec![
        leader_started(),
        run_admitted(),
        run_rejected(),
        run_assigned(),
        run_started(),
        run_finished(),
        run_lost(),
        run_cancel_requested(),
        run_canceled(),
        run_forgotten(),
        node_joined(),
        node_lost(),
        policy_put(),
        policy_deleted(),
        template_put(),
        template_deleted(),
        heat_table_set(),
        queue_paused(),
        queue_resumed(),
        node_drained(),
        node_undrained(),
        node_labeled(),
        run_evicted(),
        run_released(),
        run_refused(),
        snapshot_begun(),
        snapshot_taken(),
        journal_archived(),
        journal_trimmed(),
        checkpoint_signed(),
        level_raised(),
        run_quarantined(),
    ]
}

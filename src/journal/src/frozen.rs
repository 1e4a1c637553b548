//! Bodies of events as earlier versions of the program wrote them, and how each is lifted.
//!
//! Owns:   one frozen shape a changed type and version, with every part of it that has changed.
//! Never:  edits one: what was true then stays readable for ever.
//! Proof:  `tests/golden.rs`.

use std::sync::Arc;

use domain::Texts;
use domain::event::{
    KeyUse, LeaderStarted, Origin, Place, PolicyPut, RejectCode, RunAdmitted, RunRejected,
    SnapshotTaken,
};
use domain::ids::{Digest, RunId, Sequence, Timestamp};
use domain::judge::{HeatCause, HeatDecision, Judge, Judgement, Objection, Opinion, Pinned};
use domain::law::{
    ExternalJudge, HeatSource, Limits, Losses, OnViolation, Policy, Quotas, Required, Rule, Verdict,
};
use domain::submission::{
    Heat, Network, OnLost, Placement, Pool, Resources, Retention, Retry, Submission,
};
use serde::{Deserialize, Serialize};

type Text = Box<str>;

/// Nobody could say anything about nodes.
#[derive(Deserialize)]
pub struct SubmissionV1 {
    template: Text,
    command: Vec<Text>,
    env: Texts,
    stdin: Text,
    resources: Resources,
    network: Network,
    heat_hint: Option<Heat>,
    priority: u8,
    retry: Retry,
    on_lost: OnLost,
    retention: Retention,
    metadata: Texts,
    labels: Texts,
}

impl From<SubmissionV1> for Submission {
    fn from(old: SubmissionV1) -> Self {
        let SubmissionV1 { template, command, env, stdin, resources, network, .. } = old;
        let SubmissionV1 {
            heat_hint, priority, retry, on_lost, retention, metadata, labels, ..
        } = old;
        let placement = Placement::default();
        Self {
            template,
            command,
            env,
            stdin,
            resources,
            network,
            heat_hint,
            priority,
            retry,
            on_lost,
            retention,
            metadata,
            labels,
            placement: placement.into(),
        }
    }
}

/// Three judges, no rules, no quotas, and heat was never learned.
#[derive(Deserialize)]
pub struct JudgementV1 {
    verdict: Verdict,
    revision: u64,
    policy: Pinned,
    template: Pinned,
    quarantine_on: bool,
    heat: (Heat, HeatCause),
    pool: Pool,
    opinions: Vec<(Judge, Verdict, Vec<Objection>)>,
}

impl From<JudgementV1> for Judgement {
    fn from(old: JudgementV1) -> Self {
        let JudgementV1 { verdict, revision, policy, template, quarantine_on, pool, .. } = old;
        let (heat, cause) = old.heat;
        let opinion = |(judge, verdict, objections)| Opinion { judge, verdict, objections };
        Self {
            verdict,
            revision,
            policy,
            template,
            quarantine_on,
            heat: HeatDecision { heat, cause, learned: None },
            pool,
            opinions: old.opinions.into_iter().map(opinion).collect(),
            placement: None,
            basis: None,
        }
    }
}

/// See [`RunAdmitted`].
#[derive(Deserialize)]
pub struct RunAdmittedV1 {
    run: RunId,
    at: Timestamp,
    origin: Origin,
    submission: SubmissionV1,
    key: Option<(KeyUse, u32)>,
    judgement: JudgementV1,
    place: Place,
    redrive_of: Option<RunId>,
}

impl From<RunAdmittedV1> for Arc<RunAdmitted> {
    fn from(old: RunAdmittedV1) -> Self {
        let RunAdmittedV1 { run, at, origin, submission, key, judgement, place, redrive_of } = old;
        let submission = Submission::from(submission).into();
        let judgement = Judgement::from(judgement).into();
        Self::new(RunAdmitted { run, at, origin, submission, key, judgement, place, redrive_of })
    }
}

/// See [`RunRejected`].
#[derive(Deserialize)]
pub struct RunRejectedV1 {
    run: RunId,
    at: Timestamp,
    origin: Origin,
    submission: SubmissionV1,
    key: Option<(KeyUse, u32)>,
    judgement: JudgementV1,
    code: RejectCode,
}

impl From<RunRejectedV1> for Arc<RunRejected> {
    fn from(old: RunRejectedV1) -> Self {
        let RunRejectedV1 { run, at, origin, submission, key, judgement, code } = old;
        let submission = Submission::from(submission).into();
        let judgement = Judgement::from(judgement).into();
        Self::new(RunRejected { run, at, origin, submission, key, judgement, code })
    }
}

/// Limits, networks and retention were all a policy could say; rules were kept, and refused at the
/// door.
#[derive(Deserialize)]
pub struct PolicyV1 {
    name: Text,
    templates: Vec<Text>,
    limits: Limits,
    network: Vec<Network>,
    max_age_ms: Option<u64>,
    on_violation: OnViolation,
    rules: Vec<Rule>,
    tags: Texts,
}

/// See [`PolicyPut`].
#[derive(Deserialize)]
pub struct PolicyPutV1 {
    at: Timestamp,
    origin: Origin,
    revision: u64,
    version: u64,
    policy: PolicyV1,
}

impl From<PolicyPutV1> for Arc<PolicyPut> {
    fn from(old: PolicyPutV1) -> Self {
        let PolicyPutV1 { at, origin, revision, version, policy } = old;
        let PolicyV1 { name, templates, limits, network, max_age_ms, .. } = policy;
        let policy = Policy {
            name,
            templates,
            limits,
            network,
            max_age_ms,
            on_violation: policy.on_violation,
            rules: policy.rules,
            tags: policy.tags,
            require: Required::default(),
            quotas: Quotas::default(),
            judges: Vec::new(),
            heat: HeatSource::Table,
            placement: Placement::default(),
            on_lost: Losses::default(),
        };
        Self::new(PolicyPut { at, origin, revision, version, policy, what_if: None })
    }
}

/// Instances had no keys, and there was one level of features. Still written at level 1.
#[derive(Serialize, Deserialize)]
pub struct LeaderStartedV1 {
    at: Timestamp,
    epoch: u64,
    boot: uuid::Uuid,
    url: Text,
    version: Text,
}

impl From<LeaderStartedV1> for Arc<LeaderStarted> {
    fn from(old: LeaderStartedV1) -> Self {
        let LeaderStartedV1 { at, epoch, boot, url, version } = old;
        Self::new(LeaderStarted { at, epoch, boot, url, version, key: None, reads_level: 1 })
    }
}

impl From<&LeaderStarted> for LeaderStartedV1 {
    fn from(new: &LeaderStarted) -> Self {
        let LeaderStarted { at, epoch, boot, url, version, key: _, reads_level: _ } = new.clone();
        Self { at, epoch, boot, url, version }
    }
}

// The fields are said once, so that one which is added to a policy can't be forgotten on the way back.
macro_rules! policy_v3 {
    ($($field:ident: $type:ty),+ $(,)?) => {
        /// Nobody could say what becomes of a run that was lost with its nodes.
        #[derive(Serialize, Deserialize)]
        pub struct PolicyV3 {
            $($field: $type),+
        }

        impl From<PolicyV3> for Policy {
            fn from(old: PolicyV3) -> Self {
                let PolicyV3 { $($field),+ } = old;
                Self { $($field,)+ on_lost: Losses::default() }
            }
        }

        impl From<Policy> for PolicyV3 {
            fn from(new: Policy) -> Self {
                let Policy { $($field,)+ on_lost: _ } = new;
                Self { $($field),+ }
            }
        }
    };
}

policy_v3! {
    name: Text,
    templates: Vec<Text>,
    limits: Limits,
    network: Vec<Network>,
    max_age_ms: Option<u64>,
    on_violation: OnViolation,
    rules: Vec<Rule>,
    tags: Texts,
    require: Required,
    quotas: Quotas,
    judges: Vec<ExternalJudge>,
    heat: HeatSource,
    placement: Placement,
}

/// See [`PolicyPut`]. Still written at level 2.
#[derive(Serialize, Deserialize)]
pub struct PolicyPutV3 {
    at: Timestamp,
    origin: Origin,
    revision: u64,
    version: u64,
    policy: PolicyV3,
    what_if: Option<Digest>,
}

impl From<PolicyPutV3> for Arc<PolicyPut> {
    fn from(old: PolicyPutV3) -> Self {
        let PolicyPutV3 { at, origin, revision, version, policy, what_if } = old;
        Self::new(PolicyPut { at, origin, revision, version, policy: policy.into(), what_if })
    }
}

impl From<&PolicyPut> for PolicyPutV3 {
    fn from(new: &PolicyPut) -> Self {
        let PolicyPut { at, origin, revision, version, policy, what_if } = new.clone();
        Self { at, origin, revision, version, policy: policy.into(), what_if }
    }
}

/// Nobody could ask first what a policy would have changed. Still written at level 1.
#[derive(Serialize, Deserialize)]
pub struct PolicyPutV2 {
    at: Timestamp,
    origin: Origin,
    revision: u64,
    version: u64,
    policy: PolicyV3,
}

impl From<PolicyPutV2> for Arc<PolicyPut> {
    fn from(old: PolicyPutV2) -> Self {
        let PolicyPutV2 { at, origin, revision, version, policy } = old;
        Self::new(PolicyPut { at, origin, revision, version, policy: policy.into(), what_if: None })
    }
}

impl From<&PolicyPut> for PolicyPutV2 {
    fn from(new: &PolicyPut) -> Self {
        let PolicyPut { at, origin, revision, version, policy, what_if: _ } = new.clone();
        Self { at, origin, revision, version, policy: policy.into() }
    }
}

/// It was not said which shape of the state the digest is of. Still written at level 2.
#[derive(Serialize, Deserialize)]
pub struct SnapshotTakenV1 {
    at: Timestamp,
    index: Sequence,
    digest: Digest,
    bytes: u64,
}

impl From<SnapshotTakenV1> for SnapshotTaken {
    fn from(old: SnapshotTakenV1) -> Self {
        let SnapshotTakenV1 { at, index, digest, bytes } = old;
        Self { at, index, digest, bytes, state: 0 }
    }
}

impl From<&SnapshotTaken> for SnapshotTakenV1 {
    fn from(new: &SnapshotTaken) -> Self {
        let SnapshotTaken { at, index, digest, bytes, state: _ } = new.clone();
        Self { at, index, digest, bytes }
    }
}

//! Bodies of events without their secrets, and how each is taken apart and put together again.
//!
//! Owns:   which fields are secret: the values of `env`, `stdin`; and, as marks, what the house makes
//!         of secrets (the digest of a request's body, of an output) or for one (an attempt's token).
//! Never:  copies what it writes: it borrows.
//! Fails:  a body and its secrets that do not belong together are malformed.
//! Proof:  `tests/golden.rs`, `tests/apart.rs`.

use std::borrow::Cow;
use std::sync::Arc;

use domain::Texts;
use domain::event::{
    Exit, KeyUse, Next, Origin, Output, Place, RejectCode, RunAdmitted, RunAssigned, RunFinished,
    RunRejected, TemplatePut, Usage,
};
use domain::ids::{Hex, NodeId, RunId, Sequence, Timestamp};
use domain::judge::Judgement;
use domain::law::{RootFs, Template};
use domain::submission::{
    Demand, Heat, Network, OnLost, Placement, Pool, Resources, Retention, Retry, Submission,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::apart::{Secret, Secrets};

/// What stands where a secret was taken out.
pub const REDACTED: &str = "[redacted]";

type Text<'a> = Cow<'a, str>;

/// Secrets on their way out of an event.
#[derive(Default)]
pub(crate) struct Taken<'a> {
    env: Option<Vec<u8>>,
    stdin: Option<&'a str>,
    marks: Option<&'a [u8]>,
}

impl Taken<'_> {
    pub(crate) fn secrets(&self) -> Secrets<'_> {
        let of = |bytes: Option<_>| bytes.map_or(Secret::None, Secret::Open);
        Secrets {
            env: of(self.env.as_deref()),
            stdin: of(self.stdin.map(str::as_bytes)),
            marks: of(self.marks),
        }
    }
}

/// A body whose secrets are apart.
pub(crate) trait Parted: Sized {
    /// What is left of it.
    type Public<'a>: Serialize
    where
        Self: 'a;
    /// The same, as it is read.
    type Read: DeserializeOwned;

    fn part(&self) -> (Self::Public<'_>, Taken<'_>);

    /// None where these are not its secrets.
    fn join(read: Self::Read, secrets: Secrets<'_>) -> Option<Self>;
}

/// The values of a map, without their keys: each a length and a text, as bincode has a list.
fn values(map: &Texts) -> Option<Vec<u8>> {
    struct Values<'a>(&'a Texts);
    impl Serialize for Values<'_> {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(self.0.values())
        }
    }
    // A list of texts has a form in bincode.
    (!map.is_empty()).then(|| {
        bincode::serde::encode_to_vec(Values(map), crate::catalog::encoding()).unwrap_or_default()
    })
}

/// Keys with the values that belong to them.
fn map(keys: Vec<Text<'_>>, values: Secret<'_>) -> Option<Texts> {
    let keys = keys.into_iter().map(|key| key.into_owned().into_boxed_str());
    match values {
        Secret::None => (keys.len() == 0).then(Texts::default),
        Secret::Redacted => Some(keys.map(|key| (key, REDACTED.into())).collect()),
        Secret::Open(bytes) => {
            let decoding = crate::catalog::decoding();
            let (values, read) =
                bincode::serde::borrow_decode_from_slice::<Vec<Box<str>>, _>(bytes, decoding)
                    .ok()?;
            let fits = read == bytes.len() && values.len() == keys.len();
            fits.then(|| keys.zip(values).collect())
        }
    }
}

fn text(secret: Secret<'_>) -> Option<Box<str>> {
    match secret {
        Secret::None => Some("".into()),
        Secret::Redacted => Some(REDACTED.into()),
        Secret::Open(bytes) => std::str::from_utf8(bytes).ok().map(Into::into),
    }
}

/// A mark that a body says it has; zeros where it was taken out.
fn mark<const N: usize>(has: bool, secret: Secret<'_>) -> Option<Option<[u8; N]>> {
    match (has, secret) {
        (false, Secret::None) => Some(None),
        (true, Secret::Redacted) => Some(Some([0; N])),
        (true, Secret::Open(bytes)) => bytes.try_into().ok().map(Some),
        (false, Secret::Open(_) | Secret::Redacted) | (true, Secret::None) => None,
    }
}

/// No values of the environment, and no standard input.
#[derive(Serialize, Deserialize)]
pub struct SubmissionV3<'a> {
    template: Text<'a>,
    command: Cow<'a, [Box<str>]>,
    env: Vec<Text<'a>>,
    resources: Resources,
    network: Network,
    heat_hint: Option<Heat>,
    priority: u8,
    retry: Retry,
    on_lost: OnLost,
    retention: Retention,
    metadata: Cow<'a, Texts>,
    labels: Cow<'a, Texts>,
    placement: Cow<'a, Placement>,
}

impl<'a> SubmissionV3<'a> {
    fn of(whole: &'a Submission) -> Self {
        let Submission { template, command, env, stdin: _, resources, network, .. } = whole;
        let Submission {
            heat_hint,
            priority,
            retry,
            on_lost,
            retention,
            metadata,
            labels,
            placement,
            ..
        } = whole;
        Self {
            template: Cow::Borrowed(template),
            command: Cow::Borrowed(command),
            env: keys(env),
            resources: *resources,
            network: *network,
            heat_hint: *heat_hint,
            priority: *priority,
            retry: *retry,
            on_lost: *on_lost,
            retention: *retention,
            metadata: Cow::Borrowed(metadata),
            labels: Cow::Borrowed(labels),
            placement: Cow::Borrowed(placement),
        }
    }

    fn join(self, secrets: Secrets<'_>) -> Option<Submission> {
        let Self { template, command, env, resources, network, heat_hint, priority, .. } = self;
        let Self { retry, on_lost, retention, metadata, labels, placement, .. } = self;
        Some(Submission {
            template: template.into_owned().into(),
            command: command.into_owned(),
            env: map(env, secrets.env)?,
            stdin: text(secrets.stdin)?,
            resources,
            network,
            heat_hint,
            priority,
            retry,
            on_lost,
            retention,
            metadata: metadata.into_owned(),
            labels: labels.into_owned(),
            placement: placement.into_owned().into(),
        })
    }
}

fn keys(map: &Texts) -> Vec<Text<'_>> {
    map.keys().map(Cow::Borrowed).collect()
}

/// A key and its place in the request, without the digest of the request's body: that is a mark, since
/// secrets of few possible values could be guessed from it.
type Key<'a> = Option<(Text<'a>, u32)>;

fn key(whole: &Option<(KeyUse, u32)>) -> (Key<'_>, Option<&[u8]>) {
    let key = whole.as_ref();
    (
        key.map(|(used, position)| (Cow::Borrowed(&*used.key), *position)),
        key.map(|(used, _)| &used.body.0[..]),
    )
}

fn key_use(key: Key<'_>, marks: Secret<'_>) -> Option<Option<(KeyUse, u32)>> {
    let body = mark(key.is_some(), marks)?.unwrap_or_default();
    Some(key.map(|(key, position)| {
        (KeyUse { key: key.into_owned().into(), body: Hex(body) }, position)
    }))
}

fn of_submission<'a>(whole: &'a Submission, marks: Option<&'a [u8]>) -> Taken<'a> {
    let stdin = (!whole.stdin.is_empty()).then_some(&*whole.stdin);
    Taken { env: values(&whole.env), stdin, marks }
}

/// See [`RunAdmitted`].
#[derive(Serialize, Deserialize)]
pub struct RunAdmittedV3<'a> {
    run: RunId,
    at: Timestamp,
    origin: Cow<'a, Origin>,
    submission: SubmissionV3<'a>,
    key: Key<'a>,
    judgement: Cow<'a, Judgement>,
    place: Place,
    redrive_of: Option<RunId>,
}

impl Parted for Arc<RunAdmitted> {
    type Public<'a> = RunAdmittedV3<'a>;
    type Read = RunAdmittedV3<'static>;

    fn part(&self) -> (RunAdmittedV3<'_>, Taken<'_>) {
        let RunAdmitted { run, at, origin, submission, judgement, place, redrive_of, .. } = &**self;
        let (key, marks) = key(&self.key);
        let public = RunAdmittedV3 {
            run: *run,
            at: *at,
            origin: Cow::Borrowed(origin),
            submission: SubmissionV3::of(submission),
            key,
            judgement: Cow::Borrowed(judgement),
            place: *place,
            redrive_of: *redrive_of,
        };
        (public, of_submission(submission, marks))
    }

    fn join(read: Self::Read, secrets: Secrets<'_>) -> Option<Self> {
        let RunAdmittedV3 { run, at, origin, submission, key, judgement, place, redrive_of } = read;
        Some(Self::new(RunAdmitted {
            run,
            at,
            origin: origin.into_owned(),
            submission: submission.join(secrets)?.into(),
            key: key_use(key, secrets.marks)?,
            judgement: judgement.into_owned().into(),
            place,
            redrive_of,
        }))
    }
}

/// See [`RunRejected`].
#[derive(Serialize, Deserialize)]
pub struct RunRejectedV3<'a> {
    run: RunId,
    at: Timestamp,
    origin: Cow<'a, Origin>,
    submission: SubmissionV3<'a>,
    key: Key<'a>,
    judgement: Cow<'a, Judgement>,
    code: RejectCode,
}

impl Parted for Arc<RunRejected> {
    type Public<'a> = RunRejectedV3<'a>;
    type Read = RunRejectedV3<'static>;

    fn part(&self) -> (RunRejectedV3<'_>, Taken<'_>) {
        let RunRejected { run, at, origin, submission, judgement, code, .. } = &**self;
        let (key, marks) = key(&self.key);
        let public = RunRejectedV3 {
            run: *run,
            at: *at,
            origin: Cow::Borrowed(origin),
            submission: SubmissionV3::of(submission),
            key,
            judgement: Cow::Borrowed(judgement),
            code: *code,
        };
        (public, of_submission(submission, marks))
    }

    fn join(read: Self::Read, secrets: Secrets<'_>) -> Option<Self> {
        let RunRejectedV3 { run, at, origin, submission, key, judgement, code } = read;
        Some(Self::new(RunRejected {
            run,
            at,
            origin: origin.into_owned(),
            submission: submission.join(secrets)?.into(),
            key: key_use(key, secrets.marks)?,
            judgement: judgement.into_owned().into(),
            code,
        }))
    }
}

/// No token: whoever has one can speak for the attempt as long as it lives.
#[derive(Serialize, Deserialize)]
pub struct RunAssignedV2<'a> {
    run: RunId,
    at: Timestamp,
    attempt: u32,
    node: Cow<'a, NodeId>,
    pool: Pool,
    fallback: bool,
    demand: Demand,
    planned_at: Sequence,
}

impl Parted for RunAssigned {
    type Public<'a> = RunAssignedV2<'a>;
    type Read = RunAssignedV2<'static>;

    fn part(&self) -> (RunAssignedV2<'_>, Taken<'_>) {
        let Self { run, at, attempt, token, node, pool, fallback, demand, planned_at } = self;
        let public = RunAssignedV2 {
            run: *run,
            at: *at,
            attempt: *attempt,
            node: Cow::Borrowed(node),
            pool: *pool,
            fallback: *fallback,
            demand: *demand,
            planned_at: *planned_at,
        };
        (public, Taken { marks: Some(&token.0), ..Taken::default() })
    }

    fn join(read: Self::Read, secrets: Secrets<'_>) -> Option<Self> {
        let RunAssignedV2 { run, at, attempt, node, pool, fallback, demand, planned_at } = read;
        let (token, node) = (Hex(mark(true, secrets.marks)??), node.into_owned());
        Some(Self { run, at, attempt, token, node, pool, fallback, demand, planned_at })
    }
}

/// No digest of the output, from which an output of few possible values could be guessed; whether
/// there is one.
#[derive(Serialize, Deserialize)]
pub struct RunFinishedV2<'a> {
    run: RunId,
    at: Timestamp,
    attempt: u32,
    node: Cow<'a, NodeId>,
    exit: Cow<'a, Exit>,
    usage: Usage,
    stdout_bytes: u64,
    stderr_bytes: u64,
    truncated: bool,
    digest: bool,
    holder: Text<'a>,
    next: Next,
}

impl Parted for Arc<RunFinished> {
    type Public<'a> = RunFinishedV2<'a>;
    type Read = RunFinishedV2<'static>;

    fn part(&self) -> (RunFinishedV2<'_>, Taken<'_>) {
        let RunFinished { run, at, attempt, node, exit, usage, output, next } = &**self;
        let Output { stdout_bytes, stderr_bytes, truncated, digest, holder } = output;
        let public = RunFinishedV2 {
            run: *run,
            at: *at,
            attempt: *attempt,
            node: Cow::Borrowed(node),
            exit: Cow::Borrowed(exit),
            usage: *usage,
            stdout_bytes: *stdout_bytes,
            stderr_bytes: *stderr_bytes,
            truncated: *truncated,
            digest: digest.is_some(),
            holder: Cow::Borrowed(holder),
            next: *next,
        };
        let marks = digest.as_ref().map(|digest| &digest.0[..]);
        (public, Taken { marks, ..Taken::default() })
    }

    fn join(read: Self::Read, secrets: Secrets<'_>) -> Option<Self> {
        let RunFinishedV2 { run, at, attempt, node, exit, usage, next, .. } = read;
        let RunFinishedV2 { stdout_bytes, stderr_bytes, truncated, digest, holder, .. } = read;
        let digest = mark(digest, secrets.marks)?.map(Hex);
        let holder = holder.into_owned().into();
        let output = Output { stdout_bytes, stderr_bytes, truncated, digest, holder };
        let (node, exit) = (node.into_owned(), exit.into_owned());
        Some(Self::new(RunFinished { run, at, attempt, node, exit, usage, output, next }))
    }
}

/// No values of the environment.
#[derive(Serialize, Deserialize)]
pub struct TemplatePutV2<'a> {
    at: Timestamp,
    origin: Cow<'a, Origin>,
    revision: u64,
    version: u64,
    name: Text<'a>,
    rootfs: Cow<'a, RootFs>,
    command: Cow<'a, [Box<str>]>,
    env: Vec<Text<'a>>,
    cpu_milli: Option<u32>,
    mem_mb: Option<u32>,
    gpu: Option<u32>,
    ttl_ms: Option<u64>,
    heat: Option<Heat>,
}

impl Parted for Arc<TemplatePut> {
    type Public<'a> = TemplatePutV2<'a>;
    type Read = TemplatePutV2<'static>;

    fn part(&self) -> (TemplatePutV2<'_>, Taken<'_>) {
        let TemplatePut { at, origin, revision, version, template } = &**self;
        let Template { name, rootfs, command, env, cpu_milli, mem_mb, gpu, ttl_ms, heat } =
            template;
        let public = TemplatePutV2 {
            at: *at,
            origin: Cow::Borrowed(origin),
            revision: *revision,
            version: *version,
            name: Cow::Borrowed(name),
            rootfs: Cow::Borrowed(rootfs),
            command: Cow::Borrowed(command),
            env: keys(env),
            cpu_milli: *cpu_milli,
            mem_mb: *mem_mb,
            gpu: *gpu,
            ttl_ms: *ttl_ms,
            heat: *heat,
        };
        (public, Taken { env: values(env), ..Taken::default() })
    }

    fn join(read: Self::Read, secrets: Secrets<'_>) -> Option<Self> {
        let TemplatePutV2 { at, origin, revision, version, name, rootfs, command, env, .. } = read;
        let TemplatePutV2 { cpu_milli, mem_mb, gpu, ttl_ms, heat, .. } = read;
        let (env, origin) = (map(env, secrets.env)?, origin.into_owned());
        let (rootfs, command) = (rootfs.into_owned(), command.into_owned());
        let name = name.into_owned().into();
        let template =
            Template { name, rootfs, command, env, cpu_milli, mem_mb, gpu, ttl_ms, heat };
        Some(Self::new(TemplatePut { at, origin, revision, version, template }))
    }
}

/// Whether a body has secrets, or marks of them.
pub(crate) fn has_secrets<T: Parted>(body: &T) -> bool {
    body.part().1.secrets() != Secrets::NONE
}

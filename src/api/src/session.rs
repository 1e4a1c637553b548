//! The session: what a node's agent and Olympus say to each other.
//!
//! Owns:   the messages, the one binary frame ([`Output`]), and the rules below.
//! Hears:  nothing; these are plain data, shared by both ends.
//! Never:  decides; the registry does (`olympus-actors`), the agent obeys (`agent`).
//! Proof:  the tests below; `src/agent/tests` plays Olympus against a real agent.
//!
//! # The connection
//!
//! One WebSocket, opened by the agent: `GET /v1/agent/session` ([`PATH`]) with the bearer token. Text
//! frames are one JSON message each ([`FromAgent`], [`ToAgent`]), binary frames one output chunk each
//! ([`Output::to_frame`]). Unknown fields are ignored, an unknown `type` closes the session.
//!
//! # The rules
//!
//! 1. **Opening.** The agent's first frame is [`Hello`]. Olympus makes it durable (a new boot id ends
//!    every attempt of the old one), writes the node's key, and answers [`Welcome`], which counts as
//!    the acknowledgement of a heartbeat sent when the hello was; or [`Refused`], and closes. Then
//!    follow one [`OutputAck`] for every attempt of the hello that is still the node's, and the first
//!    [`Wants`]. Before its `Welcome` the agent sends nothing else.
//! 2. **Epochs.** An agent remembers the highest epoch it saw of a cluster, on disk. A `Welcome` or
//!    `Wants` of a lower one is not obeyed; the agent closes and looks for another leader. An Olympus
//!    that hears a `highest_epoch` above its own, of its own cluster, is deposed: `stale_epoch`.
//! 3. **Wants** are the complete set for the node at an index. Within a session their index never
//!    falls. What the agent has and is not wanted, it kills at once and forgets without a report. Each
//!    spec is sent once a session; until it has come, a wanted attempt that the agent does not have
//!    waits, so a frame need not carry more specs than [`SPEC_BYTES_PER_WANTS`]. A token is never
//!    started twice: one that the agent had and has no more is reported [`FromAgent::Gone`]. An attempt
//!    waits until the one before it of the same run has ended here.
//! 4. **Stop.** A running attempt gets SIGTERM, `grace_ms`, SIGKILL, one that is still being made `grace_ms`
//!    to come or be given up, then `Finished` with the cause
//!    `canceled`. One that is not here is `Gone`. One that has ended stays as it ended.
//! 5. **Reports** (`Started`, `Finished`, `Gone`) are sent until a [`ReportAck`] names them, again in
//!    every new session, an attempt's own in that order. `recorded: true` means durable, also when
//!    the report is a repeat. `recorded: false` means the law refused it: the attempt is no longer the
//!    node's, and the agent kills and forgets it. No answer means neither.
//! 6. **Output** chunks are numbered from 0 an attempt, both streams in one order. At most
//!    [`WINDOW_BYTES`] of frames are sent ahead of their acknowledgement in a session. `OutputAck`
//!    says which chunk is wanted next: all before it are kept by the instance that says so. The first
//!    one of an attempt that was in the hello says where the agent begins, and no chunk of it is sent
//!    before; what is started later begins at 0. Each further one is higher: one that is not means
//!    that chunks were lost over there, and the agent opens a new session. It keeps all chunks until
//!    its `Finished` is acknowledged, so an instance that has none can be given all.
//! 7. **Finished** is sent behind all chunks of its attempt. Olympus records it only when it holds
//!    exactly `chunks` chunks with that `digest`; otherwise it answers with the `OutputAck` of what
//!    it holds, which begins a new session as above.
//! 8. **Heartbeats** are numbered from 1 a session, sent every `heartbeat_ms`, and acknowledged only
//!    when the node's key is written. An agent that has no acknowledgement for something sent less
//!    than `ttl_ms - kill_budget_ms` ago kills its retryable attempts at once, in or out of a session,
//!    and reports each `Gone` when it has ended and the agent is heard again. Those of `on_lost: fail` go on.
//! 9. **Witness.** A `HeartbeatAck` may say which entry of the journal is the newest; an agent keeps
//!    the highest of its cluster, and says it in its next hello and heartbeats (`seen`). An Olympus
//!    whose journal has not that entry serves another history than the agent saw, and says so.
//! 10. **Leaving.** After [`FromAgent::Goodbye`] the agent sends nothing; Olympus records that the node
//!     left, which ends the attempts it still had, and closes.

use domain::Texts;
use domain::event::{Exit, Usage};
use domain::ids::{Digest, Hex, NodeId, RunId, Token};
use domain::law::RootFs;
use domain::submission::{Demand, OnLost, Resources};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod frame;

pub use self::frame::{BadFrame, Output};
pub use crate::logs::Stream;

/// Where a session is opened.
pub const PATH: &str = "/v1/agent/session";

/// The version of these rules.
pub const PROTOCOL: u32 = 1;

/// Most data of one chunk: what a pipe holds by default (`pipe(7)`).
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Output frames under way without an acknowledgement, in a session, header and data: heartbeats must
/// not wait behind more than this. At 1 MB/s it is a second, well within [`Terms::heartbeat_ms`] by default.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// Most chunks of one attempt: bounds what is remembered beside the data. A line a second fills it
/// in twelve days.
pub const MAX_CHUNKS: u32 = 1 << 20;

/// Longest frame either end accepts.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Specs in one [`Wants`] are cut after this many bytes; one is always sent.
pub const SPEC_BYTES_PER_WANTS: usize = 4 * 1024 * 1024;

const _: () = assert!(WINDOW_BYTES >= 4 * CHUNK_BYTES);
const _: () = assert!(SPEC_BYTES_PER_WANTS * 2 <= MAX_FRAME_BYTES);

/// One attempt of one run on this node. The token alone makes it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    /// The run.
    pub run: RunId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Stamped by the registry at assignment.
    pub token: Token,
}

/// What an agent says in text frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromAgent {
    /// See [`Hello`].
    Hello(Box<Hello>),
    /// The agent lives.
    Heartbeat {
        /// From 1 in each session.
        n: u64,
        /// The highest entry that this agent knows to be in the journal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Witnessed>,
    },
    /// The command was executed in its sandbox.
    Started(AttemptRef),
    /// See [`Finished`].
    Finished(Box<Finished>),
    /// The agent never had this attempt, or has it no more, and can't say how it ended.
    Gone(AttemptRef),
    /// The agent stops; everything it ran is stopped.
    Goodbye {},
}

/// Who the agent is and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The node.
    pub node: NodeId,
    /// The agent's process: drawn at its start.
    pub boot: Uuid,
    /// `HADES_LABEL`.
    pub labels: Texts,
    /// What attempts may use on this node, all together.
    pub capacity: Demand,
    /// What its sandboxes enforce, as a probe proved it.
    pub isolation: Vec<Box<str>>,
    /// `embedded`, or the name of an OCI runtime.
    pub runtime: Box<str>,
    /// Version of the agent.
    pub version: Box<str>,
    /// The cluster the agent last obeyed.
    pub cluster: Option<Uuid>,
    /// The highest epoch it saw of that cluster; 0 without one.
    pub highest_epoch: u64,
    /// The attempts it has: starting, running, or ended and not acknowledged.
    pub attempts: Vec<AttemptRef>,
    /// The highest entry of that cluster's journal that it knows to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Witnessed>,
}

/// An entry of the journal, as its receipt names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnessed {
    /// Its sequence.
    pub sequence: u64,
    /// The first 8 bytes of its hash.
    pub hash: Hex<8>,
}

impl std::fmt::Display for Witnessed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.sequence, self.hash)
    }
}

/// An attempt ended, and all its chunks were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Which.
    #[serde(flatten)]
    pub of: AttemptRef,
    /// How it ended.
    pub exit: Exit,
    /// What it used.
    pub usage: Usage,
    /// What it wrote.
    pub output: OutputSummary,
}

/// What of an attempt's output was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSummary {
    /// How many chunks.
    pub chunks: u32,
    /// Kept bytes of standard output.
    pub stdout_bytes: u64,
    /// Kept bytes of standard error.
    pub stderr_bytes: u64,
    /// Whether more was written than was kept.
    pub truncated: bool,
    /// BLAKE3 over the kept chunks in order, each as [`chunk_header`] and then its data; none where
    /// nothing was kept.
    pub digest: Option<Digest>,
}

/// What goes into the digest before a chunk's data: the stream's byte, then the length of the data
/// as 32 bits, least significant byte first.
#[must_use]
pub fn chunk_header(stream: Stream, len: u32) -> [u8; 5] {
    let [a, b, c, d] = len.to_le_bytes();
    [stream.byte(), a, b, c, d]
}

/// What Olympus says in text frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    /// See [`Welcome`].
    Welcome(Welcome),
    /// See [`Wants`].
    Wants(Wants),
    /// The node's key was written after this heartbeat came.
    HeartbeatAck {
        /// Its number; all before it count as acknowledged too.
        n: u64,
        /// The newest entry of the journal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<Witnessed>,
    },
    /// See [`OutputAck`].
    OutputAck(OutputAck),
    /// See [`ReportAck`].
    ReportAck(ReportAck),
    /// See [`Refused`].
    Refused(Refused),
}

/// The session is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The cluster whose journal this is.
    pub cluster: Uuid,
    /// The leader's epoch.
    pub epoch: u64,
    /// What holds in this session.
    #[serde(flatten)]
    pub terms: Terms,
}

/// The numbers both ends count with. All times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// After this long without a heartbeat the node is lost.
    pub ttl_ms: u64,
    /// From one heartbeat to the next.
    pub heartbeat_ms: u64,
    /// What an agent needs to kill what it runs.
    pub kill_budget_ms: u64,
    /// From SIGTERM to SIGKILL when an attempt is stopped or its time is up.
    pub grace_ms: u64,
    /// Most bytes kept of one attempt's output, both streams together.
    pub output_max_bytes: u64,
}

impl Terms {
    /// 10 MiB: what a person may still page through; more belongs into a file.
    pub const OUTPUT_MAX_BYTES: u64 = 10 * 1024 * 1024;
    /// What a program gets to tidy up, as `docker stop` gives half of.
    pub const GRACE_MS: u64 = 5_000;
    /// SIGKILL through a cgroup takes milliseconds; the rest is for a machine in distress.
    pub const KILL_BUDGET_MS: u64 = 3_000;

    /// The terms for a node's time to live: two heartbeats may be missed, and there is still time to
    /// kill.
    #[must_use]
    pub fn for_ttl(ttl_ms: u64) -> Self {
        let ttl_ms = ttl_ms.max(30);
        Self {
            ttl_ms,
            heartbeat_ms: ttl_ms / 3,
            kill_budget_ms: Self::KILL_BUDGET_MS.min(ttl_ms / 6),
            grace_ms: Self::GRACE_MS,
            output_max_bytes: Self::OUTPUT_MAX_BYTES,
        }
    }
}

/// The attempts the node should have, all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// The leader's epoch.
    pub epoch: u64,
    /// The journal entry this set is as of.
    pub index: u64,
    /// In no particular order.
    pub attempts: Vec<Want>,
}

/// One attempt the node should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Which.
    #[serde(flatten)]
    pub of: AttemptRef,
    /// Whether it should run or end.
    pub action: Action,
    /// What it is: once a session, with the first `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<AttemptSpec>>,
}

/// What should become of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Start it, or let it go on.
    Run,
    /// End it.
    Stop,
}

/// Everything an agent needs to know to run an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptSpec {
    /// What the sandbox starts from.
    pub template: TemplatePin,
    /// Program and arguments; never empty.
    pub command: Vec<Box<str>>,
    /// Environment: the template's, then the submission's over it.
    pub env: Texts,
    /// Standard input.
    pub stdin: Box<str>,
    /// What it may use, and for how long.
    pub resources: Resources,
    /// Whether it may go on when the agent is cut off.
    pub on_lost: OnLost,
}

/// The template as it was when the run was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplatePin {
    /// Its name.
    pub name: Box<str>,
    /// Its version.
    pub version: u64,
    /// The root filesystem.
    pub rootfs: RootFs,
}

/// Which chunk of an attempt is wanted next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputAck {
    /// Which attempt.
    #[serde(flatten)]
    pub of: AttemptRef,
    /// All chunks with a lower number are kept here.
    pub next: u32,
}

/// A report was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAck {
    /// Which attempt.
    #[serde(flatten)]
    pub of: AttemptRef,
    /// Which report.
    pub kind: ReportKind,
    /// Whether it is in the journal; else the law refused it.
    pub recorded: bool,
}

/// The kinds of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// [`FromAgent::Started`].
    Started,
    /// [`FromAgent::Finished`].
    Finished,
    /// [`FromAgent::Gone`].
    Gone,
}

/// The session ends here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub code: RefusalCode,
    /// What to do about it, for a person.
    pub detail: Box<str>,
    /// With `not_leader`: the leader's URL, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Box<str>>,
}

/// Why a session is refused or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// This instance is not the leader, or no longer. Try `leader`, else look for it.
    NotLeader,
    /// Can't serve sessions now (starting, stopping, journal unavailable). Try again.
    Unavailable,
    /// The agent has seen a higher epoch. Look for that leader.
    StaleEpoch,
    /// Another living process has this node id. Try again: it may be one's own former life.
    DuplicateNode,
    /// The agent broke a rule above. Try again from the start.
    Protocol,
    /// This instance does not speak the agent's [`PROTOCOL`]. No use to try again.
    Version,
    /// Labels, capacity or node id are not acceptable. No use to try again.
    BadHello,
}

impl RefusalCode {
    /// Whether the same hello can be welcome later.
    #[must_use]
    pub fn may_pass(self) -> bool {
        match self {
            Self::NotLeader
            | Self::Unavailable
            | Self::StaleEpoch
            | Self::DuplicateNode
            | Self::Protocol => true,
            Self::Version | Self::BadHello => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::event::ExitCause;
    use serde_json::{Value, json};

    use super::*;

    fn attempt() -> AttemptRef {
        AttemptRef { run: RunId(Uuid::from_u128(7)), attempt: 2, token: Hex([0xab; 16]) }
    }

    fn as_json_and_back<T>(message: &T, then: Value)
    where
        T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug,
    {
        let text = serde_json::to_string(message).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), then);
        assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *message);
    }

    #[test]
    fn a_report_names_its_attempt_at_the_top_level() {
        as_json_and_back(
            &FromAgent::Started(attempt()),
            json!({"type": "started", "run": "00000000-0000-0000-0000-000000000007", "attempt": 2,
                   "token": "abababababababababababababababab"}),
        );
    }

    #[test]
    fn a_finished_attempt_says_how_what_and_how_much() {
        let message = FromAgent::Finished(Box::new(Finished {
            of: attempt(),
            exit: Exit { cause: ExitCause::TimedOut, code: None, signal: Some(9), message: None },
            usage: Usage { cpu_ms: 1, max_rss_mb: 2, wall_ms: 3 },
            output: OutputSummary {
                chunks: 1,
                stdout_bytes: 5,
                stderr_bytes: 0,
                truncated: false,
                digest: Some(Hex([1; 32])),
            },
        }));
        as_json_and_back(
            &message,
            json!({"type": "finished", "run": "00000000-0000-0000-0000-000000000007", "attempt": 2,
                   "token": "abababababababababababababababab",
                   "exit": {"cause": "timed_out", "code": null, "signal": 9, "message": null},
                   "usage": {"cpu_ms": 1, "max_rss_mb": 2, "wall_ms": 3},
                   "output": {"chunks": 1, "stdout_bytes": 5, "stderr_bytes": 0,
                              "truncated": false, "digest": "01".repeat(32)}}),
        );
    }

    #[test]
    fn wants_carry_a_spec_only_where_it_is_due() {
        let want = |action, spec| Want { of: attempt(), action, spec };
        let spec = AttemptSpec {
            template: TemplatePin { name: "py".into(), version: 3, rootfs: RootFs::Host },
            command: vec!["true".into()],
            env: Texts::from([("A".into(), "b".into())]),
            stdin: "".into(),
            resources: Resources::DEFAULT,
            on_lost: OnLost::Fail,
        };
        let message = ToAgent::Wants(Wants {
            epoch: 4,
            index: 99,
            attempts: vec![want(Action::Run, Some(Box::new(spec))), want(Action::Stop, None)],
        });
        let text = serde_json::to_value(&message).unwrap();
        assert_eq!(text["attempts"][0]["action"], "run");
        assert_eq!(text["attempts"][0]["spec"]["on_lost"], "fail");
        assert!(text["attempts"][1].get("spec").is_none());
        assert_eq!(serde_json::from_value::<ToAgent>(text).unwrap(), message);
    }

    #[test]
    fn a_welcome_is_flat() {
        as_json_and_back(
            &ToAgent::Welcome(Welcome {
                cluster: Uuid::nil(),
                epoch: 1,
                terms: Terms::for_ttl(30_000),
            }),
            json!({"type": "welcome", "cluster": "00000000-0000-0000-0000-000000000000",
                   "epoch": 1, "ttl_ms": 30_000, "heartbeat_ms": 10_000, "kill_budget_ms": 3_000,
                   "grace_ms": 5_000, "output_max_bytes": 10_485_760}),
        );
    }

    #[test]
    fn any_time_to_live_leaves_room_to_miss_a_heartbeat_and_to_kill() {
        for ttl_ms in [0, 30, 100, 1_000, 30_000, 86_400_000] {
            let terms = Terms::for_ttl(ttl_ms);
            assert!(terms.heartbeat_ms > 0 && terms.kill_budget_ms > 0);
            assert!(terms.ttl_ms >= 2 * terms.heartbeat_ms + terms.kill_budget_ms, "{terms:?}");
        }
    }

    #[test]
    fn goodbye_and_unknown_fields_are_read() {
        let read = |text| serde_json::from_str::<FromAgent>(text);
        assert_eq!(read(r#"{"type":"goodbye"}"#).unwrap(), FromAgent::Goodbye {});
        assert_eq!(
            read(r#"{"type":"heartbeat","n":3,"new":1}"#).unwrap(),
            FromAgent::Heartbeat { n: 3, seen: None }
        );
        let seen = Some(Witnessed { sequence: 7, hash: Hex([0xab; 8]) });
        as_json_and_back(
            &FromAgent::Heartbeat { n: 3, seen },
            json!({"type": "heartbeat", "n": 3,
                   "seen": {"sequence": 7, "hash": "abababababababab"}}),
        );
        assert_eq!(seen.map(|seen| seen.to_string()).as_deref(), Some("7-abababababababab"));
        assert!(read(r#"{"type":"sing"}"#).is_err());
    }

    #[test]
    fn an_output_frame_says_the_same_when_read_back() {
        let chunk = Output {
            of: attempt(),
            number: 70_000,
            stream: Stream::Stderr,
            time_ms: 1_700_000_000_000,
            data: b"oops\n",
        };
        let frame = chunk.to_frame();
        assert_eq!(frame.len(), Output::HEADER_BYTES + 5);
        assert_eq!(Output::from_frame(&frame), Ok(chunk));
    }

    #[test]
    fn a_bad_output_frame_is_named() {
        let good = Output {
            of: attempt(),
            number: 0,
            stream: Stream::Stdout,
            time_ms: 0,
            data: &[0; CHUNK_BYTES],
        }
        .to_frame();
        let with = |at: usize, byte| {
            let mut frame = good.clone();
            frame[at] = byte;
            frame
        };
        let check = |frame: &[u8], then| assert_eq!(Output::from_frame(frame).unwrap_err(), then);
        check(&[], BadFrame::Short(0));
        check(&good[..50], BadFrame::Short(50));
        check(&[&good[..], &[0]].concat(), BadFrame::Long(50 + CHUNK_BYTES + 1));
        check(&with(0, 2), BadFrame::Kind(2));
        check(&with(41, 0), BadFrame::Stream(0));
    }
}

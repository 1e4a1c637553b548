//! What holds whatever happens, in whatever order: any inputs, against an Olympus that may be slow,
//! new, or mistaken, but speaks in turn.

use api::session::{AttemptSpec, Stream, TemplatePin, Want};
use domain::Texts;
use domain::event::{Exit, ExitCause, Usage};
use domain::ids::{Hex, NodeId, RunId};
use domain::law::RootFs;
use domain::submission::{Demand, Resources};
use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms {
    ttl_ms: 900,
    heartbeat_ms: 300,
    kill_budget_ms: 100,
    grace_ms: 100,
    output_max_bytes: 200_000,
};

/// One step of the world.
#[derive(Debug, Clone)]
enum Step {
    Connect,
    Lose,
    /// The attempts wanted, each to run or to stop, and whether specs come along.
    Want(Vec<(u8, bool)>, bool),
    AckHeartbeats,
    AckOutput(u8),
    AckReport(u8, ReportKind, bool),
    Launch(u8),
    Write(u8, usize),
    End(u8),
    Wait(u64),
    Leave(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = 0..4_u8;
    let kind =
        prop_oneof![Just(ReportKind::Started), Just(ReportKind::Finished), Just(ReportKind::Gone)];
    let wanted = prop::collection::vec((n.clone(), prop::bool::weighted(0.8)), 0..4);
    let step = prop_oneof![
        2 => Just(Step::Connect),
        1 => Just(Step::Lose),
        4 => (wanted, prop::bool::weighted(0.9)).prop_map(|(all, specs)| Step::Want(all, specs)),
        2 => Just(Step::AckHeartbeats),
        4 => n.clone().prop_map(Step::AckOutput),
        2 => (n.clone(), kind, any::<bool>()).prop_map(|(n, kind, ok)| Step::AckReport(n, kind, ok)),
        4 => n.clone().prop_map(Step::Launch),
        6 => (n.clone(), 1..=65_536_usize).prop_map(|(n, bytes)| Step::Write(n, bytes)),
        2 => n.prop_map(Step::End),
        4 => (0..700_u64).prop_map(Step::Wait),
    ];
    let leave = prop::option::weighted(0.3, (0..500_u64).prop_map(Step::Leave));
    (prop::collection::vec(step, 1..120), leave).prop_map(|(mut steps, leave)| {
        steps.extend(leave);
        steps
    })
}

/// Attempts 0 and 1 are retried elsewhere when the node is lost, the others are not.
fn on_lost(n: u8) -> OnLost {
    if n < 2 { OnLost::Retry } else { OnLost::Fail }
}

/// One of two runs, which have several attempts each.
fn attempt(n: u8) -> AttemptRef {
    let run = RunId(Uuid::from_u128((n % 2).into()));
    AttemptRef { run, attempt: u32::from(n / 2) + 1, token: Hex([n; 16]) }
}

/// The sandboxes of the node, and what an observer of the wire knows.
struct World {
    core: Core,
    now_ms: u64,
    index: u64,
    open: bool,
    welcome: bool,
    heartbeat: u64,
    /// Launched, ever.
    launched: BTreeSet<AttemptRef>,
    /// Living sandboxes.
    live: BTreeSet<AttemptRef>,
    /// Those that are killed, and have not ended.
    dying: BTreeSet<AttemptRef>,
    specs: BTreeSet<AttemptRef>,
    wanted: Option<BTreeMap<AttemptRef, Wanted>>,
    /// Chunks kept over there, and chunks sent in this session, where it is known.
    kept: BTreeMap<AttemptRef, u32>,
    next: BTreeMap<AttemptRef, u32>,
    /// When the newest acknowledged thing was sent.
    heard_for_ms: Option<u64>,
    sent_ms: BTreeMap<u64, u64>,
    hello_ms: u64,
    done: bool,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity {
            node: NodeId::new("n"),
            boot: Uuid::nil(),
            labels: Texts::default(),
            capacity: Demand::default(),
            isolation: Vec::new(),
            runtime: "embedded".into(),
            version: "0".into(),
        };
        Self {
            core: Core::new(identity, Obeyed::default(), Arc::from(dir.path())),
            now_ms: 1_000,
            index: 0,
            open: false,
            welcome: false,
            heartbeat: 0,
            launched: BTreeSet::new(),
            live: BTreeSet::new(),
            dying: BTreeSet::new(),
            specs: BTreeSet::new(),
            wanted: None,
            kept: BTreeMap::new(),
            next: BTreeMap::new(),
            heard_for_ms: None,
            sent_ms: BTreeMap::new(),
            hello_ms: 0,
            done: false,
            _dir: dir,
        }
    }

    fn put(&mut self, input: Input) {
        if self.done {
            return;
        }
        for action in self.core.handle(self.now_ms, input) {
            self.see(action);
        }
        self.check();
    }

    fn hear(&mut self, message: ToAgent) {
        self.put(Input::Heard(Box::new(message)));
    }

    fn see(&mut self, action: Action) {
        assert!(!self.done, "{action:?} after the end");
        match action {
            Action::Remember(_) => {}
            Action::Send(FromAgent::Hello(hello)) => {
                assert!(self.open && !self.welcome);
                self.hello_ms = self.now_ms;
                for of in &hello.attempts {
                    assert!(self.launched.contains(of));
                    self.next.remove(of);
                }
            }
            Action::Send(message) => {
                assert!(self.welcome, "{message:?} before the welcome");
                match message {
                    FromAgent::Heartbeat { n, .. } => {
                        self.heartbeat = n;
                        self.sent_ms.insert(n, self.now_ms);
                    }
                    FromAgent::Finished(finished) => {
                        let of = finished.of;
                        assert!(!self.live.contains(&of), "the end of what lives");
                        assert_eq!(self.next.get(&of), Some(&finished.output.chunks), "all sent");
                    }
                    FromAgent::Gone(of) => assert!(!self.live.contains(&of), "gone, and lives"),
                    FromAgent::Goodbye {} => assert!(self.live.is_empty(), "goodbye with work"),
                    FromAgent::Started(_) | FromAgent::Hello(_) => {}
                }
            }
            Action::SendOutput(frame) => {
                assert!(self.welcome);
                let output = Output::from_frame(&frame).unwrap();
                let next = self.next.get_mut(&output.of).expect("known where to begin");
                assert_eq!(output.number, *next, "chunks come in order");
                *next += 1;
            }
            Action::Launch(of, spec, _) => {
                assert_eq!(self.wanted.as_ref().and_then(|all| all.get(&of)), Some(&Wanted::Run));
                assert!(self.launched.insert(of), "no token starts twice");
                let here = self.live.iter().chain(&self.dying).find(|other| other.run == of.run);
                assert_eq!(here, None, "no run has two attempts at a time");
                assert_eq!(spec.on_lost, on_lost(of.token.0[0]));
                self.live.insert(of);
                self.next.insert(of, 0);
            }
            Action::Stop(of) => {
                assert_eq!(self.wanted.as_ref().and_then(|all| all.get(&of)), Some(&Wanted::Stop));
                assert!(self.live.contains(&of));
            }
            Action::Kill(of) => {
                assert!(self.live.remove(&of), "killed what does not live");
                self.dying.insert(of);
            }
            Action::Close(_) => self.lost(),
            Action::Done => self.done = true,
        }
    }

    fn lost(&mut self) {
        self.open = false;
        self.welcome = false;
        self.wanted = None;
        self.specs.clear();
        self.sent_ms.clear();
    }

    fn check(&self) {
        if let Some(session) = &self.core.session {
            let under_way: usize = self.core.attempts.values().map(Attempt::in_flight).sum();
            assert_eq!(session.in_flight, under_way);
            assert!(under_way <= WINDOW_BYTES);
        }
        if let Some(wanted) = &self.wanted {
            let unwanted = self.live.iter().find(|of| !wanted.contains_key(of));
            assert_eq!(unwanted, None, "nothing lives that is not wanted");
        }
        for of in &self.launched {
            let known = self.core.attempts.contains_key(of) || self.core.done.contains(of);
            assert!(known || self.core.leaving.is_some() || self.done, "{of:?} is forgotten");
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect => {
                if self.open || self.done {
                    return;
                }
                self.open = true;
                self.put(Input::Opened);
                self.welcome = true;
                self.heartbeat = 0;
                self.heard_for_ms = Some(self.hello_ms);
                let welcome = Welcome { cluster: Uuid::nil(), epoch: 1, terms: TERMS };
                self.hear(ToAgent::Welcome(welcome));
                let held: Vec<AttemptRef> = self.core.attempts.keys().copied().collect();
                for of in held {
                    // It may have lost some, and never has more than was sent.
                    let kept = self.kept.get(&of).copied().unwrap_or(0) / 2;
                    self.kept.insert(of, kept);
                    self.next.insert(of, kept);
                    self.hear(ToAgent::OutputAck(OutputAck { of, next: kept }));
                }
            }
            Step::Lose => {
                self.lost();
                self.put(Input::Closed);
            }
            Step::Want(all, specs) => {
                if !self.welcome {
                    return;
                }
                self.index += 1;
                let wanted: BTreeMap<AttemptRef, Wanted> = all
                    .iter()
                    .map(|(n, run)| (attempt(*n), if *run { Wanted::Run } else { Wanted::Stop }))
                    .collect();
                let mut attempts = Vec::new();
                for (of, action) in &wanted {
                    let due = specs && *action == Wanted::Run && self.specs.insert(*of);
                    let spec = due.then(|| {
                        Box::new(AttemptSpec {
                            template: TemplatePin {
                                name: "host".into(),
                                version: 0,
                                rootfs: RootFs::Host,
                            },
                            command: vec!["true".into()],
                            env: Texts::default(),
                            stdin: "".into(),
                            resources: Resources::DEFAULT,
                            on_lost: on_lost(of.token.0[0]),
                        })
                    });
                    attempts.push(Want { of: *of, action: *action, spec });
                }
                self.specs.retain(|of| wanted.contains_key(of));
                self.wanted = Some(wanted);
                let index = self.index;
                self.hear(ToAgent::Wants(Wants { epoch: 1, index, attempts }));
            }
            Step::AckHeartbeats => {
                if self.welcome && self.heartbeat > 0 {
                    let n = self.heartbeat;
                    let sent_ms = self.sent_ms[&n];
                    self.heard_for_ms = self.heard_for_ms.max(Some(sent_ms));
                    self.hear(ToAgent::HeartbeatAck { n, newest: None });
                }
            }
            Step::AckOutput(n) => {
                let of = attempt(n);
                let sent = self.next.get(&of).copied().unwrap_or(0);
                let acked = self.core.attempts.get(&of).and_then(|attempt| attempt.sent);
                if self.welcome && acked.is_some_and(|acked| acked.acked < sent) {
                    self.kept.insert(of, sent);
                    self.hear(ToAgent::OutputAck(OutputAck { of, next: sent }));
                }
            }
            Step::AckReport(n, kind, recorded) => {
                let of = attempt(n);
                // Olympus refuses an end only after it has given the attempt up.
                if self.welcome && !(kind == ReportKind::Finished && self.live.contains(&of)) {
                    self.hear(ToAgent::ReportAck(ReportAck { of, kind, recorded }));
                }
            }
            Step::Launch(n) => {
                let of = attempt(n);
                let launching = |attempt: &Attempt| matches!(attempt.phase, Phase::Launching);
                if self.core.attempts.get(&of).is_some_and(launching) {
                    self.put(Input::Launched(of));
                }
            }
            Step::Write(n, bytes) => {
                if self.live.contains(&attempt(n)) {
                    let data = vec![b'x'; bytes];
                    let written = Written { stream: Stream::Stdout, time_ms: 1, data };
                    self.put(Input::Wrote(attempt(n), written));
                }
            }
            Step::End(n) => self.end(attempt(n)),
            Step::Wait(ms) => {
                self.now_ms += ms;
                self.put(Input::Tick);
                let fence_ms = self.heard_for_ms.map(|heard| heard + 800);
                if fence_ms.is_some_and(|fence_ms| self.now_ms >= fence_ms) {
                    for n in 0..2 {
                        assert!(!self.live.contains(&attempt(n)), "behind the fence {n} lives");
                    }
                }
            }
            Step::Leave(grace_ms) => {
                let mut killed = self.live.clone();
                self.put(Input::Leave(grace_ms));
                for _ in 0..20 {
                    self.now_ms += 250;
                    self.put(Input::Tick);
                    // What is killed ends soon.
                    killed.retain(|of| self.core.attempts.contains_key(of));
                    let dead: Vec<AttemptRef> = killed.iter().copied().collect();
                    for of in dead {
                        if self.core.attempts.get(&of).is_some_and(|attempt| attempt.abandoned) {
                            self.ended(of);
                        }
                    }
                    if self.done {
                        break;
                    }
                }
                assert!(self.done, "an agent that leaves comes to its end");
            }
        }
    }

    fn end(&mut self, of: AttemptRef) {
        if self.live.remove(&of) || self.dying.remove(&of) {
            self.ended(of);
        }
    }

    fn ended(&mut self, of: AttemptRef) {
        let exit = Exit { cause: ExitCause::Exited, code: Some(0), signal: None, message: None };
        let end = End { exit, usage: Usage::default(), cut: false };
        self.put(Input::Ended(of, Box::new(end)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_whatever_happens(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }
}

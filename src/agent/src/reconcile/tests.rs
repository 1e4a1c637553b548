//! Sentences over the rules of [`api::session`]: given what was heard, then exactly this is done.

use api::session::{AttemptSpec, RefusalCode, Refused, Stream, TemplatePin, Want};
use domain::Texts;
use domain::event::{Exit, ExitCause, Usage};
use domain::ids::{Hex, NodeId, RunId};
use domain::law::RootFs;
use domain::submission::{Demand, Resources};

use super::*;

const CLUSTER: Uuid = Uuid::from_u128(1);
const TERMS: Terms = Terms {
    ttl_ms: 30_000,
    heartbeat_ms: 10_000,
    kill_budget_ms: 3_000,
    grace_ms: 5_000,
    output_max_bytes: 1 << 20,
};
/// The first instant of every test.
const T0: u64 = 1_000_000;

fn attempt(n: u8) -> AttemptRef {
    AttemptRef { run: RunId(Uuid::from_u128(n.into())), attempt: 1, token: Hex([n; 16]) }
}

fn spec(on_lost: OnLost) -> Box<AttemptSpec> {
    Box::new(AttemptSpec {
        template: TemplatePin { name: "host".into(), version: 0, rootfs: RootFs::Host },
        command: vec!["true".into()],
        env: Texts::default(),
        stdin: "".into(),
        resources: Resources::DEFAULT,
        on_lost,
    })
}

fn want(n: u8, action: Wanted, spec: Option<Box<AttemptSpec>>) -> Want {
    Want { of: attempt(n), action, spec }
}

fn run(n: u8) -> Want {
    want(n, Wanted::Run, Some(spec(OnLost::Retry)))
}

fn end(cause: ExitCause) -> Box<End> {
    Box::new(End {
        exit: Exit { cause, code: Some(0), signal: None, message: None },
        usage: Usage::default(),
        cut: false,
    })
}

/// A core, and the clock it is given.
struct House {
    core: Core,
    now_ms: u64,
    index: u64,
}

impl House {
    fn new() -> Self {
        Self::with(Obeyed::default())
    }

    fn with(obeyed: Obeyed) -> Self {
        let identity = Identity {
            node: NodeId::new("n"),
            boot: Uuid::nil(),
            labels: Texts::default(),
            capacity: Demand::default(),
            isolation: Vec::new(),
            runtime: "embedded".into(),
            version: "0".into(),
        };
        // Nothing here outgrows memory.
        let spools = Arc::from(Path::new("/nonexistent"));
        Self { core: Core::new(identity, obeyed, spools), now_ms: T0, index: 0 }
    }

    /// A core in an open session.
    fn open() -> Self {
        let mut house = Self::new();
        house.reopen();
        house
    }

    fn reopen(&mut self) -> Vec<Action> {
        let mut actions = self.put(Input::Opened);
        actions.extend(self.hear(ToAgent::Welcome(welcome(1))));
        actions
    }

    fn put(&mut self, input: Input) -> Vec<Action> {
        self.core.handle(self.now_ms, input)
    }

    fn hear(&mut self, message: ToAgent) -> Vec<Action> {
        self.put(Input::Heard(Box::new(message)))
    }

    fn wants(&mut self, attempts: Vec<Want>) -> Vec<Action> {
        self.index += 1;
        let index = self.index;
        self.hear(ToAgent::Wants(Wants { epoch: 1, index, attempts }))
    }

    fn after(&mut self, ms: u64) -> Vec<Action> {
        self.now_ms += ms;
        self.put(Input::Tick)
    }

    fn running(&mut self, n: u8) -> Vec<Action> {
        self.put(Input::Launched(attempt(n)))
    }

    fn writes(&mut self, n: u8, data: &[u8]) -> Vec<Action> {
        let written = Written { stream: Stream::Stdout, time_ms: 5, data: data.to_vec() };
        self.put(Input::Wrote(attempt(n), written))
    }

    fn ends(&mut self, n: u8) -> Vec<Action> {
        self.put(Input::Ended(attempt(n), end(ExitCause::Exited)))
    }

    fn output_ack(&mut self, n: u8, next: u32) -> Vec<Action> {
        self.hear(ToAgent::OutputAck(OutputAck { of: attempt(n), next }))
    }

    fn report_ack(&mut self, n: u8, kind: ReportKind, recorded: bool) -> Vec<Action> {
        self.hear(ToAgent::ReportAck(ReportAck { of: attempt(n), kind, recorded }))
    }

    fn heartbeat_ack(&mut self, n: u64) -> Vec<Action> {
        self.hear(ToAgent::HeartbeatAck { n, newest: None })
    }
}

fn welcome(epoch: u64) -> Welcome {
    Welcome { cluster: CLUSTER, epoch, terms: TERMS }
}

fn launch(n: u8) -> Action {
    Action::Launch(attempt(n), spec(OnLost::Retry), TERMS)
}

fn started(n: u8) -> Action {
    Action::Send(FromAgent::Started(attempt(n)))
}

fn gone(n: u8) -> Action {
    Action::Send(FromAgent::Gone(attempt(n)))
}

fn heartbeat(n: u64) -> Action {
    Action::Send(FromAgent::Heartbeat { n, seen: None })
}

fn chunk(n: u8, number: u32, data: &[u8]) -> Action {
    let output = Output { of: attempt(n), number, stream: Stream::Stdout, time_ms: 5, data };
    Action::SendOutput(output.to_frame())
}

/// What was finished, and with how many chunks.
fn finished(actions: &[Action]) -> Vec<(AttemptRef, u32)> {
    let all = actions.iter().filter_map(|action| match action {
        Action::Send(FromAgent::Finished(finished)) => Some((finished.of, finished.output.chunks)),
        _ => None,
    });
    all.collect()
}

/// What the hello says is here.
fn held(actions: &[Action]) -> Vec<AttemptRef> {
    match actions {
        [Action::Send(FromAgent::Hello(hello)), ..] => hello.attempts.clone(),
        other => panic!("no hello first: {other:?}"),
    }
}

// Opening and epochs.

#[test]
fn the_hello_comes_first_and_nothing_before_the_welcome() {
    let mut house = House::new();
    let actions = house.put(Input::Opened);
    assert_eq!(held(&actions), []);
    assert_eq!(actions.len(), 1);
    assert_eq!(house.after(WELCOME_MS - 1), []);
    assert_eq!(house.after(1), [Action::Close(Cause::Silence(WELCOME_MS))]);
}

#[test]
fn an_epoch_is_stored_before_it_is_obeyed_and_only_when_it_is_new() {
    let remember =
        |highest_epoch| Action::Remember(Obeyed { cluster: Some(CLUSTER), highest_epoch });
    let mut house = House::new();
    house.put(Input::Opened);
    assert_eq!(house.hear(ToAgent::Welcome(welcome(7))), [remember(7)]);
    let wants = |epoch| ToAgent::Wants(Wants { epoch, index: 1, attempts: vec![run(1)] });
    assert_eq!(house.hear(wants(8)), [remember(8), launch(1)]);
    house.put(Input::Closed);
    house.put(Input::Opened);
    assert_eq!(house.hear(ToAgent::Welcome(welcome(8))), []);
}

#[test]
fn a_lower_epoch_is_not_obeyed() {
    let stale = Action::Close(Cause::StaleEpoch { theirs: 6, seen: 7 });
    let mut house = House::with(Obeyed { cluster: Some(CLUSTER), highest_epoch: 7 });
    let hello = house.put(Input::Opened);
    assert!(matches!(&hello[..], [Action::Send(FromAgent::Hello(hello))]
        if hello.cluster == Some(CLUSTER) && hello.highest_epoch == 7));
    assert_eq!(house.hear(ToAgent::Welcome(welcome(6))), [stale]);

    let mut house = House::new();
    house.put(Input::Opened);
    house.hear(ToAgent::Welcome(welcome(7)));
    let wants = ToAgent::Wants(Wants { epoch: 6, index: 1, attempts: vec![run(1)] });
    assert_eq!(house.hear(wants), [Action::Close(Cause::StaleEpoch { theirs: 6, seen: 7 })]);
}

#[test]
fn another_cluster_begins_its_own_epochs() {
    let mut house = House::with(Obeyed { cluster: Some(Uuid::from_u128(2)), highest_epoch: 9 });
    house.put(Input::Opened);
    let obeyed = Obeyed { cluster: Some(CLUSTER), highest_epoch: 1 };
    assert_eq!(house.hear(ToAgent::Welcome(welcome(1))), [Action::Remember(obeyed)]);
}

#[test]
fn messages_out_of_turn_end_the_session() {
    let closed = |mut house: House, message| {
        let actions = house.hear(message);
        assert!(matches!(&actions[..], [Action::Close(Cause::Rules(_))]), "{actions:?}");
        assert_eq!(
            house.hear(ToAgent::HeartbeatAck { n: 1, newest: None }),
            [],
            "nothing is heard any more"
        );
    };
    let opening = || {
        let mut house = House::new();
        house.put(Input::Opened);
        house
    };
    closed(opening(), ToAgent::HeartbeatAck { n: 1, newest: None });
    closed(opening(), ToAgent::Wants(Wants { epoch: 1, index: 1, attempts: vec![] }));
    closed(House::open(), ToAgent::Welcome(welcome(1)));

    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    closed(house, ToAgent::OutputAck(OutputAck { of: attempt(1), next: 1 }));
}

#[test]
fn a_refusal_closes_with_its_reason() {
    let refused = Refused { code: RefusalCode::NotLeader, detail: "".into(), leader: None };
    let mut house = House::new();
    house.put(Input::Opened);
    assert_eq!(
        house.hear(ToAgent::Refused(refused.clone())),
        [Action::Close(Cause::Refused(refused))]
    );
}

// Wants.

#[test]
fn what_is_wanted_starts_once_and_what_is_not_is_killed() {
    let mut house = House::open();
    assert_eq!(house.wants(vec![run(1), run(2)]), [launch(1), launch(2)]);
    assert_eq!(house.wants(vec![run(1), run(2)]), []);
    house.running(1);
    assert_eq!(house.wants(vec![want(1, Wanted::Run, None)]), [Action::Kill(attempt(2))]);
    assert_eq!(house.wants(vec![]), [Action::Kill(attempt(1))]);
    assert_eq!(house.ends(1), [], "nobody asks how it ended");
}

#[test]
fn an_attempt_waits_for_its_spec() {
    let mut house = House::open();
    assert_eq!(house.wants(vec![want(1, Wanted::Run, None), run(2)]), [launch(2)]);
    assert_eq!(house.wants(vec![run(1), want(2, Wanted::Run, None)]), [launch(1)]);
}

#[test]
fn an_older_set_of_wants_is_not_obeyed() {
    let mut house = House::open();
    house.index = 5;
    house.wants(vec![run(1)]);
    house.index = 3;
    assert_eq!(house.wants(vec![run(2)]), []);
}

#[test]
fn a_stop_is_ordered_once_and_the_end_is_told() {
    let stop = || vec![want(1, Wanted::Stop, None)];
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    assert_eq!(house.wants(stop()), [Action::Stop(attempt(1))]);
    assert_eq!(house.wants(stop()), []);
    let actions = house.put(Input::Ended(attempt(1), end(ExitCause::Canceled)));
    assert_eq!(finished(&actions), [(attempt(1), 0)]);
    assert_eq!(house.wants(stop()), [], "it has ended, and that was said");
}

#[test]
fn a_run_is_not_started_again_before_its_last_attempt_has_ended() {
    let again = AttemptRef { attempt: 2, token: Hex([2; 16]), ..attempt(1) };
    let wants_again =
        || vec![Want { of: again, action: Wanted::Run, spec: Some(spec(OnLost::Retry)) }];
    let launches = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Launch(of, ..) if *of == again))
    };
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    assert_eq!(house.wants(wants_again()), [Action::Kill(attempt(1))]);
    assert_eq!(house.wants(wants_again()), [], "the last one is dying");
    assert!(launches(&house.put(Input::Ended(attempt(1), end(ExitCause::Canceled)))));
}

#[test]
fn what_never_was_here_and_should_stop_is_gone_and_never_starts() {
    let mut house = House::open();
    assert_eq!(house.wants(vec![want(1, Wanted::Stop, None)]), [gone(1)]);
    assert_eq!(house.wants(vec![want(1, Wanted::Stop, None)]), [], "said once in a session");
    assert_eq!(house.wants(vec![run(1)]), []);
    house.report_ack(1, ReportKind::Gone, true);
    assert_eq!(house.wants(vec![run(1)]), []);
    house.put(Input::Closed);
    house.reopen();
    assert_eq!(house.wants(vec![run(1)]), [gone(1)], "said again in the next");
}

// Reports.

#[test]
fn reports_are_sent_again_until_acknowledged() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    assert_eq!(house.running(1), [started(1)]);
    house.put(Input::Closed);

    let actions = house.reopen();
    assert_eq!(held(&actions), [attempt(1)]);
    assert_eq!(actions[1..], [started(1)]);
    house.report_ack(1, ReportKind::Started, true);
    house.put(Input::Closed);

    assert_eq!(house.reopen().len(), 1, "only the hello");
    house.output_ack(1, 0);
    assert_eq!(finished(&house.ends(1)), [(attempt(1), 0)]);
    house.put(Input::Closed);

    assert_eq!(held(&house.reopen()), [attempt(1)]);
    assert_eq!(finished(&house.output_ack(1, 0)), [(attempt(1), 0)]);
    house.report_ack(1, ReportKind::Finished, true);
    house.put(Input::Closed);
    assert_eq!(held(&house.reopen()), []);
}

#[test]
fn what_ends_while_there_is_no_session_is_told_in_the_next() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.put(Input::Closed);
    assert_eq!(house.running(1), []);
    assert_eq!(house.writes(1, b"hello"), []);
    assert_eq!(house.ends(1), []);
    assert_eq!(house.reopen()[1..], [started(1)]);
    let actions = house.output_ack(1, 0);
    assert_eq!(actions[0], chunk(1, 0, b"hello"));
    assert_eq!(finished(&actions), [(attempt(1), 1)]);
}

#[test]
fn a_refused_start_kills_and_forgets() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    let refused = house.report_ack(1, ReportKind::Started, false);
    assert_eq!(refused, [Action::Kill(attempt(1))]);
    assert_eq!(house.wants(vec![run(1)]), [], "never again, and nothing to say about it");
    house.put(Input::Closed);
    assert_eq!(held(&house.reopen()), []);
}

#[test]
fn a_refused_end_is_forgotten_like_a_recorded_one() {
    for recorded in [true, false] {
        let mut house = House::open();
        house.wants(vec![run(1)]);
        house.running(1);
        house.ends(1);
        assert_eq!(house.report_ack(1, ReportKind::Finished, recorded), []);
        // A set of wants from before the acknowledgement.
        assert_eq!(house.wants(vec![run(1)]), []);
        assert_eq!(house.wants(vec![]), []);
        house.put(Input::Closed);
        assert_eq!(held(&house.reopen()), []);
    }
}

#[test]
fn an_end_that_is_not_wanted_any_more_is_dropped_without_a_word() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    house.put(Input::Closed);
    house.ends(1);
    house.reopen();
    assert_eq!(house.wants(vec![]), []);
    house.put(Input::Closed);
    assert_eq!(held(&house.reopen()), []);
}

// Output.

#[test]
fn output_goes_out_as_it_comes_and_the_end_behind_it() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    assert_eq!(house.writes(1, b"a"), [chunk(1, 0, b"a")]);
    assert_eq!(house.writes(1, b"b"), [chunk(1, 1, b"b")]);
    assert_eq!(finished(&house.ends(1)), [(attempt(1), 2)]);
    assert_eq!(house.output_ack(1, 2), []);
}

#[test]
fn a_new_session_begins_where_olympus_says_even_at_the_first_chunk() {
    for next in 0..=3 {
        let mut house = House::open();
        house.wants(vec![run(1)]);
        house.running(1);
        for data in [b"0", b"1", b"2"] {
            house.writes(1, data);
        }
        house.output_ack(1, 3);
        house.put(Input::Closed);
        house.reopen();
        assert_eq!(house.writes(1, b"3"), [], "not before it is known where to begin");
        let expected: Vec<Action> =
            (next..4).map(|n| chunk(1, n, n.to_string().as_bytes())).collect();
        assert_eq!(house.output_ack(1, next), expected);
    }
}

#[test]
fn an_acknowledgement_that_does_not_rise_begins_a_new_session() {
    for next in [1, 2] {
        let mut house = House::open();
        house.wants(vec![run(1)]);
        for data in [b"0", b"1"] {
            house.writes(1, data);
        }
        house.output_ack(1, 2);
        house.ends(1);
        let actions = house.output_ack(1, next);
        assert!(matches!(&actions[..], [Action::Close(Cause::Rules(_))]), "{actions:?}");
        house.reopen();
        let actions = house.output_ack(1, next);
        assert_eq!(finished(&actions), [(attempt(1), 2)]);
        assert_eq!(actions.len(), 3 - next as usize);
    }
}

#[test]
fn terms_under_which_no_node_can_live_are_not_taken() {
    let check = |ttl_ms, heartbeat_ms, kill_budget_ms| {
        let terms = Terms { ttl_ms, heartbeat_ms, kill_budget_ms, ..TERMS };
        let mut house = House::new();
        house.put(Input::Opened);
        let actions = house.hear(ToAgent::Welcome(Welcome { terms, ..welcome(1) }));
        assert!(matches!(&actions[..], [Action::Close(Cause::Rules(_))]), "{actions:?}");
    };
    check(100, 0, 1);
    check(100, 100, 1);
    check(100, 10, 100);
}

#[test]
fn output_under_way_is_bounded_and_goes_on_with_acknowledgements() {
    let piece = vec![b'x'; 60_000];
    let fits = WINDOW_BYTES / frame_bytes(piece.len());
    let sent = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::SendOutput(_))).count()
    };
    let mut house = House::open();
    // Two attempts share one window.
    house.wants(vec![run(1), run(2)]);
    house.running(1);
    house.running(2);
    let dir = tempfile::tempdir().unwrap();
    for attempt in house.core.attempts.values_mut() {
        attempt.spool = Spool::new(Arc::from(dir.path()), 10 << 20);
    }
    let first: usize = (0..fits + 3).map(|_| sent(&house.writes(1, &piece))).sum();
    assert_eq!(first, fits);
    assert_eq!(sent(&house.writes(2, &piece)), 0);
    assert_eq!(finished(&house.ends(2)), []);
    assert_eq!(sent(&house.output_ack(1, 2)), 2, "two were acknowledged, two go out");
    let last = house.output_ack(1, fits as u32);
    assert_eq!(sent(&last), 2, "the third of the first attempt, and the second attempt's");
    assert_eq!(finished(&last), [(attempt(2), 1)]);
    house.output_ack(1, fits as u32 + 3);
    house.output_ack(2, 1);
    assert_eq!(house.core.session.as_ref().unwrap().in_flight, 0);
}

#[test]
fn what_is_forgotten_leaves_its_room_in_the_window_to_others() {
    let piece = vec![b'x'; 60_000];
    let mut house = House::open();
    house.wants(vec![run(1), run(2)]);
    let dir = tempfile::tempdir().unwrap();
    for attempt in house.core.attempts.values_mut() {
        attempt.spool = Spool::new(Arc::from(dir.path()), 10 << 20);
    }
    while !house.writes(1, &piece).is_empty() {}
    assert_eq!(house.writes(2, &piece), []);
    let actions = house.wants(vec![run(2)]);
    assert_eq!(actions, [Action::Kill(attempt(1)), chunk(2, 0, &piece)]);
}

#[test]
fn an_attempt_whose_output_is_lost_is_killed_and_gone_when_it_has_ended() {
    let mut house = House::open();
    house.wants(vec![run(1), run(2)]);
    for n in [1, 2] {
        house.running(n);
        house.writes(n, b"x");
    }
    house.ends(2);
    house.put(Input::Closed);
    for attempt in house.core.attempts.values_mut() {
        attempt.spool.lose();
    }
    house.reopen();
    let wanted = |n| want(n, Wanted::Run, None);
    house.wants(vec![wanted(1), wanted(2)]);
    assert_eq!(house.output_ack(1, 0), [Action::Kill(attempt(1))]);
    assert_eq!(house.output_ack(2, 0), [gone(2)], "it had ended");
    assert_eq!(house.ends(1), [gone(1)]);
}

#[test]
fn truncated_output_is_said() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    let cut = Box::new(End { cut: true, ..*end(ExitCause::Exited) });
    let actions = house.put(Input::Ended(attempt(1), cut));
    assert!(matches!(&actions[..], [Action::Send(FromAgent::Finished(finished))]
        if finished.output.truncated));
}

// Heartbeats and the fence.

#[test]
fn heartbeats_come_at_their_time() {
    let mut house = House::open();
    assert_eq!(house.core.next_tick_ms(), Some(T0 + 10_000));
    assert_eq!(house.after(9_999), []);
    assert_eq!(house.after(1), [heartbeat(1)]);
    assert_eq!(house.after(1), []);
    house.heartbeat_ack(1);
    assert_eq!(house.after(9_999), [heartbeat(2)]);
}

#[test]
fn a_silent_olympus_is_left_after_two_heartbeats() {
    let mut house = House::open();
    assert_eq!(house.after(10_000), [heartbeat(1)]);
    assert_eq!(house.after(10_000), [Action::Close(Cause::Silence(20_000))]);
}

#[test]
fn cut_off_it_kills_what_another_node_may_be_given_and_only_that() {
    let mut house = House::open();
    let fail = want(2, Wanted::Run, Some(spec(OnLost::Fail)));
    house.wants(vec![run(1), fail, run(3)]);
    for n in 1..=3 {
        house.running(n);
    }
    house.ends(3);
    house.put(Input::Closed);
    // 30 s to live, less 3 s to kill, from when the hello was sent.
    assert_eq!(house.core.next_tick_ms(), Some(T0 + 27_000));
    assert_eq!(house.after(26_999), []);
    assert_eq!(house.after(1), [Action::Kill(attempt(1))]);
    let again = house.reopen();
    assert_eq!(held(&again), [attempt(2), attempt(3)], "what has ended is still to be told");
    let wanted = |n| want(n, Wanted::Run, None);
    assert_eq!(house.wants(vec![wanted(1), wanted(2), wanted(3)]), [], "the kill takes its time");
    assert_eq!(house.ends(1), [gone(1)], "another may have it when it has ended here");
    assert_eq!(house.ends(1), []);
}

#[test]
fn the_fence_counts_from_when_the_acknowledged_heartbeat_was_sent() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    assert_eq!(house.after(10_000), [heartbeat(1)]);
    house.now_ms += 5_000;
    house.heartbeat_ack(1);
    house.put(Input::Closed);
    assert_eq!(house.core.next_tick_ms(), Some(T0 + 10_000 + 27_000));
}

#[test]
fn an_olympus_that_speaks_but_acknowledges_nothing_does_not_hold_the_fence() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    for _ in 0..2 {
        house.after(10_000);
        house.wants(vec![run(1)]);
    }
    assert_eq!(house.after(7_000), [Action::Kill(attempt(1))]);
    // Behind the fence nothing starts, until a heartbeat is acknowledged.
    assert_eq!(house.wants(vec![run(2)]), []);
    assert_eq!(house.heartbeat_ack(2), [launch(2)]);
}

#[test]
fn a_machine_that_slept_kills_at_its_first_tick() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    let actions = house.after(3_600_000);
    assert_eq!(actions[0], Action::Kill(attempt(1)));
    assert_eq!(actions[1], Action::Close(Cause::Silence(3_600_000)));
}

// Leaving.

#[test]
fn with_nothing_to_do_it_leaves_at_once() {
    let goodbye = || Action::Send(FromAgent::Goodbye {});
    let mut house = House::open();
    let actions = house.put(Input::Leave(5_000));
    assert_eq!(actions, [goodbye(), Action::Close(Cause::Leaving), Action::Done]);
    assert_eq!(House::new().put(Input::Leave(5_000)), [Action::Done]);
}

#[test]
fn work_may_end_within_the_grace_and_is_told() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    assert_eq!(house.put(Input::Leave(5_000)), []);
    assert_eq!(house.wants(vec![want(1, Wanted::Run, None), run(2)]), [], "nothing new starts");
    assert_eq!(finished(&house.ends(1)), [(attempt(1), 0)]);
    let actions = house.report_ack(1, ReportKind::Finished, true);
    assert_eq!(actions.last(), Some(&Action::Done));
}

#[test]
fn work_that_does_not_end_is_killed_before_the_goodbye_and_not_told() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    house.put(Input::Leave(5_000));
    assert_eq!(house.core.next_tick_ms(), Some(T0 + 5_000));
    assert_eq!(house.after(5_000), [Action::Kill(attempt(1))]);
    assert_eq!(
        house.ends(1),
        [Action::Send(FromAgent::Goodbye {}), Action::Close(Cause::Leaving), Action::Done]
    );
}

#[test]
fn a_kill_that_takes_its_time_is_waited_for_before_the_goodbye() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    house.put(Input::Closed);
    assert_eq!(house.after(27_000), [Action::Kill(attempt(1))]);
    house.reopen();
    assert_eq!(house.put(Input::Leave(5_000)), [], "a goodbye gives its run to another node");
    assert_eq!(house.ends(1).last(), Some(&Action::Done));
}

#[test]
fn a_result_nobody_acknowledges_holds_up_the_end_only_so_long() {
    let mut house = House::open();
    house.wants(vec![run(1)]);
    house.running(1);
    house.ends(1);
    assert_eq!(house.put(Input::Leave(5_000)), []);
    assert_eq!(house.core.next_tick_ms(), Some(T0 + LAST_REPORTS_MS));
    assert_eq!(house.after(LAST_REPORTS_MS).last(), Some(&Action::Done));
}

//! What the agent does, as a function of what it hears: the rules of [`api::session`], without a
//! socket, a clock or a process.
//!
//! Owns:   which attempts are here and how far each is, what of them Olympus has acknowledged, the
//!         highest epoch, and the time by which everything must be dead.
//! Hears:  [`Input`]: from the connection, from the attempts, from the clock.
//! Says:   [`Action`]s, to be done in order.
//! Never:  starts a token twice, or a run before its last attempt here has ended; runs what is not
//!         wanted; obeys a lower epoch.
//! Fails:  closes the session on anything against the rules; the next one starts from what is here.
//! Proof:  `reconcile/tests.rs`, `reconcile/laws.rs`; `tests/node/rules.rs` with real sockets and sandboxes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use api::session::{
    Action as Wanted, AttemptRef, AttemptSpec, Finished, FromAgent, Hello, Output, OutputAck,
    PROTOCOL, ReportAck, ReportKind, Terms, ToAgent, WINDOW_BYTES, Wants, Welcome, Witnessed,
};
use domain::submission::OnLost;
use uuid::Uuid;

use self::done::Done;
pub use self::words::{Action, Cause, End, Input, Obeyed, Written};
use crate::identity::Identity;
use crate::spool::Spool;

mod done;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
mod words;

/// How long a hello may stay unanswered, in milliseconds: it waits for the journal, and a journal
/// that is away longer is better waited for in a new session.
const WELCOME_MS: u64 = 15_000;

/// After the work is stopped, how long results may wait for their acknowledgement, in milliseconds:
/// longer than a slow append, shorter than the ten seconds after which `docker stop` kills.
const LAST_REPORTS_MS: u64 = 2_000;

/// The agent's state.
#[derive(Debug)]
pub struct Core {
    identity: Identity,
    obeyed: Obeyed,
    /// The highest entry of the obeyed cluster's journal that is known to be there.
    seen: Option<Witnessed>,
    spools: Arc<Path>,
    attempts: BTreeMap<AttemptRef, Attempt>,
    /// Was here, or was refused: never to start again.
    done: Done,
    /// Of these, what is being killed and has not ended: nobody may take it for gone.
    dying: BTreeSet<AttemptRef>,
    session: Option<Session>,
    terms: Option<Terms>,
    /// When the newest thing that was acknowledged was sent.
    heard_for_ms: u64,
    leaving: Option<Leaving>,
    actions: Vec<Action>,
}

#[derive(Debug)]
struct Session {
    opened_ms: u64,
    welcome: bool,
    heard_ms: u64,
    next_heartbeat_ms: u64,
    heartbeats: u64,
    unanswered: VecDeque<(u64, u64)>,
    index: u64,
    wanted: Option<BTreeMap<AttemptRef, Wanted>>,
    specs: BTreeMap<AttemptRef, Box<AttemptSpec>>,
    gone: BTreeSet<AttemptRef>,
    in_flight: usize,
    starved: bool,
}

#[derive(Debug)]
struct Attempt {
    on_lost: OnLost,
    phase: Phase,
    spool: Spool,
    stop_asked: bool,
    /// Killed because the agent leaves: its end is waited for, and not told.
    abandoned: bool,
    started: Started,
    /// Chunks acknowledged and sent in this session; unknown until Olympus says where to begin.
    sent: Option<Sent>,
    finished_sent: bool,
}

#[derive(Debug)]
enum Phase {
    Launching,
    Running,
    Ended(Box<End>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Started {
    /// Not yet, or never.
    No,
    /// To be acknowledged.
    Unanswered,
    Acknowledged,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    acked: u32,
    next: u32,
}

#[derive(Debug)]
struct Leaving {
    kill_at_ms: u64,
    killed: bool,
    give_up_ms: u64,
}

impl Attempt {
    fn live(&self) -> bool {
        match self.phase {
            Phase::Launching | Phase::Running => true,
            Phase::Ended(_) => false,
        }
    }

    fn in_flight(&self) -> usize {
        let sent = self.sent.unwrap_or(Sent { acked: 0, next: 0 });
        (sent.acked..sent.next).map(|n| frame_bytes(self.spool.length(n))).sum()
    }
}

fn frame_bytes(data: usize) -> usize {
    Output::HEADER_BYTES + data
}

impl Core {
    /// A core that has no attempt yet, and puts long output into `spools`.
    pub fn new(identity: Identity, obeyed: Obeyed, spools: Arc<Path>) -> Self {
        Self {
            identity,
            obeyed,
            seen: None,
            spools,
            attempts: BTreeMap::new(),
            done: Done::default(),
            dying: BTreeSet::new(),
            session: None,
            terms: None,
            heard_for_ms: 0,
            leaving: None,
            actions: Vec::new(),
        }
    }

    /// Takes one input at a time on the clock of the machine, in milliseconds since its boot.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Action> {
        match input {
            Input::Opened => self.opened(now_ms),
            Input::Heard(message) => self.heard(now_ms, *message),
            Input::Closed => self.session = None,
            Input::Launched(of) => self.launched(of),
            Input::Wrote(of, written) => self.wrote(of, &written),
            Input::Ended(of, end) => self.ended(now_ms, of, end),
            Input::Leave(grace_ms) => {
                let kill_at_ms = now_ms.saturating_add(grace_ms);
                self.leaving.get_or_insert(Leaving { kill_at_ms, killed: false, give_up_ms: 0 });
            }
            Input::Tick => self.tick(now_ms),
        }
        self.leave(now_ms);
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Input::Tick`] is due, where one is.
    pub fn next_tick_ms(&self) -> Option<u64> {
        let session = self.session.as_ref().map(|session| {
            let silent = session.heard_ms.saturating_add(self.patience_ms(session));
            if session.welcome { silent.min(session.next_heartbeat_ms) } else { silent }
        });
        let fence = self.fence_ms().filter(|_| self.attempts.values().any(fenced));
        let leave = self
            .leaving
            .as_ref()
            .map(|leaving| if leaving.killed { leaving.give_up_ms } else { leaving.kill_at_ms });
        [session, fence, leave].into_iter().flatten().min()
    }

    /// Attempts that are starting or running.
    pub fn live(&self) -> usize {
        self.attempts.values().filter(|attempt| attempt.live()).count()
    }

    // The connection.

    fn opened(&mut self, now_ms: u64) {
        for attempt in self.attempts.values_mut() {
            attempt.sent = None;
            attempt.finished_sent = false;
        }
        self.session = Some(Session {
            opened_ms: now_ms,
            welcome: false,
            heard_ms: now_ms,
            next_heartbeat_ms: u64::MAX,
            heartbeats: 0,
            unanswered: VecDeque::new(),
            index: 0,
            wanted: None,
            specs: BTreeMap::new(),
            gone: BTreeSet::new(),
            in_flight: 0,
            starved: false,
        });
        let held = self.attempts.iter().filter(|(_, attempt)| !attempt.abandoned);
        let hello = Hello {
            protocol: PROTOCOL,
            node: self.identity.node.clone(),
            boot: self.identity.boot,
            labels: self.identity.labels.clone(),
            capacity: self.identity.capacity,
            isolation: self.identity.isolation.clone(),
            runtime: self.identity.runtime.clone(),
            version: self.identity.version.clone(),
            cluster: self.obeyed.cluster,
            highest_epoch: self.obeyed.highest_epoch,
            attempts: held.map(|(of, _)| *of).collect(),
            seen: self.seen,
        };
        self.actions.push(Action::Send(FromAgent::Hello(Box::new(hello))));
    }

    fn close(&mut self, cause: Cause) {
        if self.session.take().is_some() {
            self.actions.push(Action::Close(cause));
        }
    }

    fn heard(&mut self, now_ms: u64, message: ToAgent) {
        let Some(session) = &mut self.session else { return };
        session.heard_ms = now_ms;
        match (session.welcome, message) {
            (_, ToAgent::Refused(refused)) => self.close(Cause::Refused(refused)),
            (false, ToAgent::Welcome(welcome)) => self.welcomed(welcome),
            (true, ToAgent::Welcome(_)) => self.close(Cause::Rules("a second welcome")),
            (true, ToAgent::Wants(wants)) => self.wants(now_ms, wants),
            (true, ToAgent::HeartbeatAck { n, newest }) => {
                self.witness(newest);
                self.heartbeat_acked(now_ms, n);
            }
            (true, ToAgent::OutputAck(ack)) => self.output_acked(ack),
            (true, ToAgent::ReportAck(ack)) => self.report_acked(ack),
            (
                false,
                ToAgent::Wants(_)
                | ToAgent::HeartbeatAck { .. }
                | ToAgent::OutputAck(_)
                | ToAgent::ReportAck(_),
            ) => self.close(Cause::Rules("a message before the welcome")),
        }
    }

    /// Whether a leader of this epoch is to be obeyed; closes the session if not.
    fn obey(&mut self, cluster: Option<Uuid>, epoch: u64) -> bool {
        let known = cluster == self.obeyed.cluster;
        if known && epoch < self.obeyed.highest_epoch {
            self.close(Cause::StaleEpoch { theirs: epoch, seen: self.obeyed.highest_epoch });
            return false;
        }
        if !known {
            self.seen = None;
        }
        if !known && self.obeyed.cluster.is_some() {
            log::warn!("olympus serves another cluster than before; what this node ran is over");
        }
        let obeyed = Obeyed { cluster, highest_epoch: epoch };
        if obeyed != self.obeyed {
            self.obeyed = obeyed;
            self.actions.push(Action::Remember(obeyed));
        }
        true
    }

    fn welcomed(&mut self, welcome: Welcome) {
        let Terms { ttl_ms, heartbeat_ms, kill_budget_ms, .. } = welcome.terms;
        if heartbeat_ms == 0 || ttl_ms <= heartbeat_ms || ttl_ms <= kill_budget_ms {
            return self.close(Cause::Rules("terms under which no node can live"));
        }
        if !self.obey(Some(welcome.cluster), welcome.epoch) {
            return;
        }
        let Some(session) = &mut self.session else { return };
        session.welcome = true;
        // Rule 1: the hello counts as a heartbeat.
        session.next_heartbeat_ms = session.opened_ms.saturating_add(welcome.terms.heartbeat_ms);
        self.heard_for_ms = session.opened_ms;
        self.terms = Some(welcome.terms);
        for (of, attempt) in &self.attempts {
            if attempt.started == Started::Unanswered && !attempt.abandoned {
                self.actions.push(Action::Send(FromAgent::Started(*of)));
            }
        }
    }

    /// Keeps the highest entry: a journal that has lost it goes on below it, and is found out.
    fn witness(&mut self, newest: Option<Witnessed>) {
        let higher =
            |newest: &Witnessed| self.seen.is_none_or(|seen| newest.sequence > seen.sequence);
        self.seen = newest.filter(higher).or(self.seen);
    }

    fn heartbeat_acked(&mut self, now_ms: u64, n: u64) {
        let Some(session) = &mut self.session else { return };
        while let Some((number, sent_ms)) = session.unanswered.front().copied()
            && number <= n
        {
            session.unanswered.pop_front();
            self.heard_for_ms = self.heard_for_ms.max(sent_ms);
        }
        // What was wanted while the fence was down may start now.
        self.reconcile(now_ms);
    }

    // What is wanted.

    fn wants(&mut self, now_ms: u64, wants: Wants) {
        if !self.obey(self.obeyed.cluster, wants.epoch) {
            return;
        }
        let Some(session) = &mut self.session else { return };
        if wants.index < session.index {
            return;
        }
        session.index = wants.index;
        let mut wanted = BTreeMap::new();
        for want in wants.attempts {
            wanted.insert(want.of, want.action);
            if let Some(spec) = want.spec {
                session.specs.insert(want.of, spec);
            }
        }
        session.specs.retain(|of, _| wanted.contains_key(of));
        session.gone.retain(|of| wanted.contains_key(of));
        session.wanted = Some(wanted);
        self.reconcile(now_ms);
    }

    /// Makes what is here what is wanted.
    fn reconcile(&mut self, now_ms: u64) {
        let fenced = self.fence_ms().is_some_and(|fence_ms| now_ms >= fence_ms);
        let Some(terms) = self.terms else { return };
        let Some(session) = &mut self.session else { return };
        let Some(wanted) = &session.wanted else { return };

        let unwanted =
            |of: &AttemptRef, attempt: &Attempt| !attempt.abandoned && !wanted.contains_key(of);
        let forgotten: Vec<AttemptRef> = self
            .attempts
            .iter()
            .filter(|(of, attempt)| unwanted(of, attempt))
            .map(|(of, _)| *of)
            .collect();

        for (of, action) in wanted {
            match (self.attempts.get_mut(of), action) {
                (Some(attempt), Wanted::Stop) => {
                    if attempt.live() && !attempt.stop_asked && !attempt.abandoned {
                        attempt.stop_asked = true;
                        self.actions.push(Action::Stop(*of));
                    }
                }
                (Some(_), Wanted::Run) => {}
                (None, Wanted::Run) if !self.done.contains(of) => {
                    // What was given up here may be given to this node again at once.
                    let mut here = self.attempts.iter().filter(|(_, attempt)| attempt.live());
                    let is_here = here.any(|(other, _)| other.run == of.run)
                        || self.dying.iter().any(|other| other.run == of.run);
                    if fenced || is_here || self.leaving.is_some() {
                        continue;
                    }
                    if let Some(spec) = session.specs.remove(of) {
                        let spool = Spool::new(Arc::clone(&self.spools), terms.output_max_bytes);
                        self.attempts.insert(*of, Attempt::new(spec.on_lost, spool));
                        self.actions.push(Action::Launch(*of, spec, terms));
                    }
                }
                (None, Wanted::Run | Wanted::Stop) if self.dying.contains(of) => {}
                (None, Wanted::Run | Wanted::Stop) => {
                    self.done.insert(*of);
                    session.specs.remove(of);
                    if session.gone.insert(*of) {
                        self.actions.push(Action::Send(FromAgent::Gone(*of)));
                    }
                }
            }
        }
        for of in forgotten {
            self.forget(of);
        }
    }

    /// Takes an attempt away, and what of it is under way.
    fn remove(&mut self, of: AttemptRef) -> Option<Attempt> {
        let attempt = self.attempts.remove(&of)?;
        if let Some(session) = &mut self.session {
            session.in_flight -= attempt.in_flight();
        }
        Some(attempt)
    }

    /// The attempt is no longer this node's: it is killed, and what it wrote is dropped.
    fn forget(&mut self, of: AttemptRef) {
        let Some(attempt) = self.remove(of) else { return };
        if attempt.live() {
            self.dying.insert(of);
            self.actions.push(Action::Kill(of));
        }
        self.done.insert(of);
        self.pump_all();
    }

    // The attempts.

    fn launched(&mut self, of: AttemptRef) {
        let Some(attempt) = self.attempts.get_mut(&of) else { return };
        attempt.phase = Phase::Running;
        attempt.started = Started::Unanswered;
        if self.session.as_ref().is_some_and(|session| session.welcome) && !attempt.abandoned {
            self.actions.push(Action::Send(FromAgent::Started(of)));
        }
    }

    fn wrote(&mut self, of: AttemptRef, written: &Written) {
        let Some(attempt) = self.attempts.get_mut(&of) else { return };
        let kept = attempt.spool.append(written.stream, written.time_ms, &written.data);
        if kept > 0 {
            self.pump(of, Some((written, kept)));
        }
    }

    fn ended(&mut self, now_ms: u64, of: AttemptRef, end: Box<End>) {
        if self.dying.remove(&of) {
            // Now it is gone, where it is still wanted.
            return self.reconcile(now_ms);
        }
        let Some(attempt) = self.attempts.get_mut(&of) else { return };
        if attempt.abandoned {
            self.remove(of);
            return;
        }
        if end.cut {
            attempt.spool.truncate();
        }
        attempt.phase = Phase::Ended(end);
        self.pump(of, None);
        // Its run may be wanted again.
        self.reconcile(now_ms);
    }

    // What Olympus gets to know.

    fn pump_all(&mut self) {
        let Some(session) = &mut self.session else { return };
        if !std::mem::take(&mut session.starved) {
            return;
        }
        let all: Vec<AttemptRef> = self.attempts.keys().copied().collect();
        for of in all {
            self.pump(of, None);
        }
    }

    /// Sends what can be sent of one attempt: chunks, and behind them its end. `fresh` is the newest
    /// chunk, which need not be read back.
    fn pump(&mut self, of: AttemptRef, fresh: Option<(&Written, usize)>) {
        let Some(session) = &mut self.session else { return };
        let Some(attempt) = self.attempts.get_mut(&of) else { return };
        let Some(sent) = &mut attempt.sent else { return };
        if attempt.abandoned || !session.welcome {
            return;
        }
        let chunks = attempt.spool.chunks();
        while sent.next < chunks {
            let bytes = frame_bytes(attempt.spool.length(sent.next));
            if session.in_flight + bytes > WINDOW_BYTES {
                session.starved = true;
                return;
            }
            let frame = |stream, time_ms, data: &[u8]| {
                Output { of, number: sent.next, stream, time_ms, data }.to_frame()
            };
            let frame = match fresh {
                Some((written, kept)) if sent.next + 1 == chunks => {
                    frame(written.stream, written.time_ms, &written.data[..kept])
                }
                _ => match attempt.spool.read(sent.next) {
                    Ok(chunk) => frame(chunk.stream, chunk.time_ms, &chunk.data),
                    Err(error) => {
                        log::error!(run:% = of.run, attempt = of.attempt;
                            "output can't be read back, the attempt is given up: {error}");
                        // What lives is killed, and gone when it has ended.
                        if !attempt.live() && session.gone.insert(of) {
                            self.actions.push(Action::Send(FromAgent::Gone(of)));
                        }
                        self.forget(of);
                        return;
                    }
                },
            };
            session.in_flight += bytes;
            sent.next += 1;
            self.actions.push(Action::SendOutput(frame));
        }
        if let Phase::Ended(end) = &attempt.phase
            && !attempt.finished_sent
        {
            attempt.finished_sent = true;
            let finished = Finished {
                of,
                exit: end.exit.clone(),
                usage: end.usage,
                output: attempt.spool.summary(),
            };
            self.actions.push(Action::Send(FromAgent::Finished(Box::new(finished))));
        }
    }

    fn output_acked(&mut self, ack: OutputAck) {
        let Some(session) = &mut self.session else { return };
        let Some(attempt) = self.attempts.get_mut(&ack.of) else { return };
        match &mut attempt.sent {
            None if ack.next > attempt.spool.chunks() => {
                return self.close(Cause::Rules("chunks acknowledged that were never written"));
            }
            None => attempt.sent = Some(Sent { acked: ack.next, next: ack.next }),
            Some(sent) if ack.next > sent.next => {
                return self.close(Cause::Rules("chunks acknowledged that were not sent"));
            }
            Some(sent) if ack.next <= sent.acked => {
                return self.close(Cause::Rules("output that was acknowledged is missing again"));
            }
            Some(sent) => {
                while sent.acked < ack.next {
                    session.in_flight -= frame_bytes(attempt.spool.length(sent.acked));
                    sent.acked += 1;
                }
            }
        }
        self.pump(ack.of, None);
        self.pump_all();
    }

    fn report_acked(&mut self, ack: ReportAck) {
        match (ack.kind, ack.recorded) {
            (ReportKind::Started, true) => {
                if let Some(attempt) = self.attempts.get_mut(&ack.of) {
                    attempt.started = Started::Acknowledged;
                }
            }
            (ReportKind::Started, false) | (ReportKind::Finished, true | false) => {
                if !ack.recorded {
                    log::info!(run:% = ack.of.run, attempt = ack.of.attempt;
                        "olympus refused a report, the attempt is not ours any more");
                }
                // Nothing is left to say about it in this session.
                if let Some(session) = &mut self.session {
                    session.gone.insert(ack.of);
                }
                self.forget(ack.of);
            }
            // What is gone stays gone; it was said, and is not said again in this session.
            (ReportKind::Gone, true | false) => {}
        }
    }

    // The clock.

    /// From when on nothing may run that Olympus may give to another node.
    fn fence_ms(&self) -> Option<u64> {
        let terms = self.terms.as_ref()?;
        let room = terms.ttl_ms.saturating_sub(terms.kill_budget_ms);
        Some(self.heard_for_ms.saturating_add(room))
    }

    /// How long this session may be silent, in milliseconds.
    fn patience_ms(&self, session: &Session) -> u64 {
        match &self.terms {
            Some(terms) if session.welcome => terms.heartbeat_ms.saturating_mul(2),
            _ => WELCOME_MS,
        }
    }

    fn tick(&mut self, now_ms: u64) {
        if self.fence_ms().is_some_and(|fence_ms| now_ms >= fence_ms) {
            let given_away: Vec<AttemptRef> = self
                .attempts
                .iter()
                .filter(|(_, attempt)| fenced(attempt))
                .map(|(of, _)| *of)
                .collect();
            if !given_away.is_empty() {
                log::warn!(attempts = given_away.len();
                    "cut off from olympus, killing what another node may be given");
            }
            for of in given_away {
                self.forget(of);
            }
        }
        let Some(session) = &self.session else { return };
        let patience_ms = self.patience_ms(session);
        let Some(session) = &mut self.session else { return };
        if now_ms >= session.heard_ms.saturating_add(patience_ms) {
            let silent_ms = now_ms - session.heard_ms;
            self.close(Cause::Silence(silent_ms));
        } else if session.welcome && now_ms >= session.next_heartbeat_ms {
            let heartbeat_ms = self.terms.map_or(u64::MAX, |terms| terms.heartbeat_ms);
            session.heartbeats += 1;
            let n = session.heartbeats;
            session.unanswered.push_back((n, now_ms));
            session.next_heartbeat_ms = now_ms.saturating_add(heartbeat_ms);
            let seen = self.seen;
            self.actions.push(Action::Send(FromAgent::Heartbeat { n, seen }));
        }
    }

    /// Goes on leaving: first the work ends, then it is ended, then the results are told.
    fn leave(&mut self, now_ms: u64) {
        let live = self.live();
        let Some(leaving) = &mut self.leaving else { return };
        if live > 0 && !leaving.killed {
            if now_ms < leaving.kill_at_ms {
                return;
            }
            leaving.killed = true;
            leaving.give_up_ms = now_ms.saturating_add(Terms::KILL_BUDGET_MS);
            for (of, attempt) in self.attempts.iter_mut().filter(|(_, attempt)| attempt.live()) {
                attempt.abandoned = true;
                self.actions.push(Action::Kill(*of));
            }
            return;
        }
        if !leaving.killed {
            leaving.killed = true;
            leaving.give_up_ms = now_ms.saturating_add(LAST_REPORTS_MS);
        }
        let dying = live > 0 || !self.dying.is_empty();
        let waiting = dying || (self.session.is_some() && !self.attempts.is_empty());
        if waiting && now_ms < leaving.give_up_ms {
            return;
        }
        if self.session.as_ref().is_some_and(|session| session.welcome) {
            self.actions.push(Action::Send(FromAgent::Goodbye {}));
        }
        self.close(Cause::Leaving);
        self.actions.push(Action::Done);
        // Ticks are over; the caller ends.
        self.leaving = None;
    }
}

/// Whether an attempt must be dead when the node counts as lost.
fn fenced(attempt: &Attempt) -> bool {
    attempt.live() && attempt.on_lost == OnLost::Retry && !attempt.abandoned
}

impl Attempt {
    fn new(on_lost: OnLost, spool: Spool) -> Self {
        Self {
            on_lost,
            phase: Phase::Launching,
            spool,
            stop_asked: false,
            abandoned: false,
            started: Started::No,
            // Started in this session: Olympus has none of it.
            sent: Some(Sent { acked: 0, next: 0 }),
            finished_sent: false,
        }
    }
}

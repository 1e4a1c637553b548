//! Hecatoncheir, the agent of one node: a hundred hands and one head.
//!
//! Owns:   the loop that feeds [`Core`] and does what it says: the connection, the attempts' tasks, the
//!         timer.
//! Hears:  its connection, its attempts, the clock, the order to leave.
//! Says:   [`Input`]s to the core, one at a time; its [`Action`]s to the world, in order.
//! Never:  decides anything but when to try to connect again.
//! Fails:  on a refusal that can't pass ([`Fatal`]); anything else is tried again.
//! Proof:  `tests/node/rules.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::session::{AttemptRef, RefusalCode, Refused, ToAgent};
use log::Level;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::attempt::{self, Order};
use crate::clock::since_boot_ms;
use crate::complaints::Complaints;
use crate::discovery::{Find, Url};
use crate::obeyed;
use crate::reconcile::{Action, Cause, Core, Input};
use crate::session::{Bearer, Link, NoConnection, connect};

/// Inputs from attempts that may wait: with chunks of 64 KiB, 4 MiB. Beyond that the programs wait.
const INPUTS: usize = 64;

/// The timer never sleeps longer: it stands still with the machine, and must notice soon after.
const TICK_AT_LEAST: Duration = Duration::from_secs(1);

/// Pauses between attempts to connect double from the first to the last. The last is short against
/// a node's time to live, so that a leader that comes back is found before the node is lost.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// A session this long was a good one: the next attempt to connect starts from the first pause.
const GOOD_SESSION: Duration = Duration::from_secs(5);

/// For sandboxes to be gone when the agent ends; what remains is removed by the next one.
const LAST_KILLS: Duration = Duration::from_secs(3);

/// Why an agent ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("olympus refused this node for good: {}", .0.detail)]
pub struct Fatal(Refused);

/// One agent.
pub(crate) struct Agent {
    core: Core,
    node: Arc<attempt::Node>,
    find: Find,
    token: Option<Bearer>,
    data_dir: PathBuf,
    inputs: mpsc::Receiver<Input>,
    reporter: mpsc::Sender<Input>,
    orders: BTreeMap<AttemptRef, mpsc::UnboundedSender<Order>>,
    tasks: JoinSet<AttemptRef>,
    connection: Connection,
    failures: u32,
    hint: Option<Url>,
    /// Addresses that were tried.
    tried: usize,
    complaints: Complaints,
}

enum Connection {
    Pausing(Instant),
    Opening(Pin<Box<dyn Future<Output = Result<Link, NoConnection>>>>),
    Open(Box<Link>, Instant),
}

enum Happened {
    Input(Input),
    Again,
    Opened(Result<Link, NoConnection>),
    Lost(String),
}

impl Agent {
    pub(crate) fn new(
        core: Core,
        node: Arc<attempt::Node>,
        find: Find,
        token: Option<Bearer>,
        data_dir: PathBuf,
    ) -> Self {
        let (reporter, inputs) = mpsc::channel(INPUTS);
        Self {
            core,
            node,
            find,
            token,
            data_dir,
            inputs,
            reporter,
            orders: BTreeMap::new(),
            tasks: JoinSet::new(),
            connection: Connection::Pausing(Instant::now()),
            failures: 0,
            hint: None,
            tried: 0,
            complaints: Complaints::default(),
        }
    }

    /// Lives until told to leave. `leave` gives the milliseconds work may go on; dropped, none.
    pub(crate) async fn run(mut self, leave: oneshot::Receiver<u64>) -> Result<(), Fatal> {
        let mut leave = std::pin::pin!(leave);
        let mut left = false;
        loop {
            let tick = self.until_tick();
            let happened = tokio::select! {
                input = self.inputs.recv() => Happened::Input(input.unwrap_or(Input::Tick)),
                happened = self.connection.next() => happened,
                Some(ended) = self.tasks.join_next() => {
                    if let Ok(of) = ended {
                        self.orders.remove(&of);
                    }
                    continue;
                }
                grace_ms = &mut leave, if !left => {
                    left = true;
                    log::info!(running = self.core.live(); "leaving");
                    Happened::Input(Input::Leave(grace_ms.unwrap_or(0)))
                }
                () = sleep(tick) => Happened::Input(Input::Tick),
            };
            let input = match happened {
                Happened::Input(input) => input,
                Happened::Again => {
                    let hint = self.hint.take();
                    let opening = connect(self.find.clone(), self.tried, hint, self.token.clone());
                    self.connection = Connection::Opening(Box::pin(opening));
                    continue;
                }
                Happened::Opened(Ok(link)) => {
                    log::debug!(url:% = link.url; "connected");
                    self.connection = Connection::Open(Box::new(link), Instant::now());
                    Input::Opened
                }
                Happened::Opened(Err(error)) => {
                    self.complain(Level::Warn, &error.place(), &error.to_string());
                    self.try_another();
                    continue;
                }
                Happened::Lost(reason) => {
                    let at = self.place();
                    let text = format!("the session with Olympus at {at} was lost: {reason}");
                    self.complain(Level::Warn, &at, &text);
                    self.try_another();
                    Input::Closed
                }
            };
            if let Input::Heard(message) = &input
                && let ToAgent::Welcome(welcome) = &**message
            {
                log::info!(epoch = welcome.epoch, cluster:% = welcome.cluster; "welcome at olympus");
                self.complaints.forget();
            }
            for action in self.core.handle(since_boot_ms(), input) {
                if self.act(action).await? {
                    return Ok(());
                }
            }
        }
    }

    fn until_tick(&self) -> Duration {
        match self.core.next_tick_ms() {
            None => TICK_AT_LEAST,
            Some(at_ms) => {
                let wait = Duration::from_millis(at_ms.saturating_sub(since_boot_ms()));
                wait.min(TICK_AT_LEAST)
            }
        }
    }

    /// Does it. True when it was the last thing to do.
    async fn act(&mut self, action: Action) -> Result<bool, Fatal> {
        match action {
            Action::Remember(obeyed) => {
                if let Err(error) = obeyed::store(&self.data_dir, obeyed) {
                    log::error!(path:% = self.data_dir.display();
                        "the highest epoch can't be stored: {error}");
                }
            }
            Action::Send(message) => {
                if let Connection::Open(link, _) = &self.connection {
                    link.send(&message);
                }
            }
            Action::SendOutput(frame) => {
                if let Connection::Open(link, _) = &self.connection {
                    link.send_output(frame);
                }
            }
            Action::Launch(of, spec, terms) => {
                log::debug!(run:% = of.run, attempt = of.attempt; "launching");
                let (orders, ordered) = mpsc::unbounded_channel();
                self.orders.insert(of, orders);
                let (node, reporter) = (Arc::clone(&self.node), self.reporter.clone());
                self.tasks.spawn(async move {
                    attempt::run(node, of, spec, terms, ordered, reporter).await;
                    of
                });
            }
            Action::Stop(of) => self.order(of, Order::Stop),
            Action::Kill(of) => self.order(of, Order::Kill),
            Action::Close(cause) => self.close(cause).await?,
            Action::Done => {
                self.end().await;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn order(&self, of: AttemptRef, order: Order) {
        if let Some(orders) = self.orders.get(&of) {
            // A task that is over hears nothing, and need not.
            let _ = orders.send(order);
        }
    }

    async fn close(&mut self, cause: Cause) -> Result<(), Fatal> {
        let at = self.place();
        let open = std::mem::replace(&mut self.connection, Connection::Pausing(Instant::now()));
        if let Connection::Open(link, since) = open {
            self.note_length(since);
            if cause == Cause::Leaving {
                link.close().await;
            } else {
                // Nobody waits for the other end of a session that is over.
                tokio::spawn(link.close());
            }
        }
        match cause {
            Cause::Leaving => return Ok(()),
            Cause::Refused(refused) if !refused.code.may_pass() => return Err(Fatal(refused)),
            Cause::Refused(refused) => {
                let named: Option<Url> = refused.leader.as_deref().and_then(|url| url.parse().ok());
                let (level, text) = match &named {
                    Some(leader) if !self.find.allows(leader) => (
                        Level::Warn,
                        format!(
                            "Olympus at {at} follows the one at {leader}, which is not asked: \
                             TARTARUS_ADDR asks for TLS, so give that one a TARTARUS_ADVERTISE_URL \
                             with https://"
                        ),
                    ),
                    // How a house of several instances works; nothing is wrong.
                    Some(leader) if refused.code == RefusalCode::NotLeader => {
                        (Level::Info, format!("Olympus at {at} follows the one at {leader}"))
                    }
                    _ => (
                        Level::Warn,
                        format!("Olympus at {at} refused the session: {}", refused.detail),
                    ),
                };
                self.complain(level, &at, &text);
                self.hint = named.filter(|leader| self.find.allows(leader));
            }
            Cause::StaleEpoch { theirs, seen } => {
                let text = format!(
                    "Olympus at {at} is deposed: its epoch is {theirs}, and {seen} was seen"
                );
                self.complain(Level::Warn, &at, &text);
            }
            Cause::Silence(ms) => {
                // In whole seconds, so that the same silence is the same sentence.
                let silent = ms.div_ceil(1_000);
                let text = format!("nothing was heard of Olympus at {at} for {silent} s");
                self.complain(Level::Warn, &at, &text);
            }
            Cause::Rules(what) => {
                let text = format!("Olympus at {at} broke the protocol: {what}");
                self.complain(Level::Warn, &at, &text);
            }
        }
        // A leader that was named is tried at once, but not for ever.
        if self.hint.is_none() || self.failures > 2 {
            self.try_another();
        } else {
            self.failures += 1;
        }
        Ok(())
    }

    fn note_length(&mut self, since: Instant) {
        if since.elapsed() >= GOOD_SESSION {
            self.failures = 0;
        }
    }

    /// Goes to the next address at once, or pauses where each was tried.
    fn try_another(&mut self) {
        if let Connection::Open(_, since) = &self.connection {
            let since = *since;
            self.note_length(since);
        }
        self.tried = self.tried.wrapping_add(1);
        if self.hint.is_none() && self.find.has_another(self.tried) {
            self.connection = Connection::Pausing(Instant::now());
        } else {
            self.pause();
        }
    }

    /// Waits before the next attempt to connect, longer each time, and never as long as others do.
    fn pause(&mut self) {
        let longest = PAUSE_FIRST.saturating_mul(1 << self.failures.min(10)).min(PAUSE_LAST);
        self.failures = self.failures.saturating_add(1);
        // 64 random bits; the fixed ones of a version 4 UUID are above them.
        let dice = Uuid::new_v4().as_u64_pair().1 & 0xffff;
        let pause = longest.mul_f64(0.5 + dice as f64 / f64::from(0x1_0000) / 2.0);
        self.connection = Connection::Pausing(Instant::now() + pause);
    }

    /// Whom the open session is with.
    fn place(&self) -> String {
        match &self.connection {
            Connection::Open(link, _) => link.url.to_string(),
            Connection::Pausing(_) | Connection::Opening(_) => String::new(),
        }
    }

    /// Says what is wrong with a place, once until it changes.
    fn complain(&mut self, level: Level, place: &str, complaint: &str) {
        let news = self.complaints.is_news(since_boot_ms(), place, complaint);
        log::log!(if news { level } else { Level::Debug }, "{complaint}");
    }

    /// Sees that nothing of this agent's runs any more.
    async fn end(&mut self) {
        for orders in self.orders.values() {
            let _ = orders.send(Order::Kill);
        }
        // Nobody takes their reports now; they must not wait for it.
        self.inputs.close();
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(LAST_KILLS, gone).await.is_err() {
            log::warn!("some sandboxes were not seen to end");
        }
    }
}

impl Connection {
    /// What the connection does next. Safe to cancel.
    async fn next(&mut self) -> Happened {
        match self {
            Self::Pausing(until) => {
                sleep_until(*until).await;
                Happened::Again
            }
            Self::Opening(opening) => Happened::Opened(opening.await),
            Self::Open(link, _) => match link.hear().await {
                Ok(message) => Happened::Input(Input::Heard(Box::new(message))),
                Err(reason) => Happened::Lost(reason),
            },
        }
    }
}

//! Nodes: the agent's real rules over a simulated connection, and programs that last a drawn time.
//!
//! Owns:   what an agent's process would: its connection, its orders to programs, what it obeyed.
//! Never:  decides what to run: [`agent::reconcile::Core`] does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use agent::Identity;
use agent::reconcile::{Action, Cause, Core, End, Input, Obeyed, Written};
use api::Stream;
use api::session::{AttemptRef, AttemptSpec, FromAgent, Terms, ToAgent};
use domain::NodeId;
use domain::Texts;
use domain::event::{Exit, ExitCause, Usage};
use domain::submission::Demand;
use olympus::agent_session::{attend, host};
use olympus::agent_wire;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::chance::Chance;
use crate::gate::Gate;
use crate::trace;
use crate::trace::{now_ms, within};
use crate::world::World;

const NAMES: [&str; 4] = ["n0", "n1", "n2", "n3"];

/// A heartbeat that was acknowledged.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The node.
    pub node: &'static str,
    /// When it was sent.
    pub sent_ms: u64,
    /// When its acknowledgement came.
    pub acked_ms: u64,
}

/// A program on a node.
#[derive(Debug)]
pub struct Program {
    /// Of which attempt.
    pub of: AttemptRef,
    /// Where.
    pub node: &'static str,
    /// When it began.
    pub began_ms: u64,
    /// The newest entry of the journal then.
    pub journal_was: u64,
    /// When it ended.
    pub ended_ms: Cell<Option<u64>>,
    /// Its exit code, where it ended by itself.
    pub code: Cell<Option<i32>>,
    /// Whether its agent was paused meanwhile: then nobody could stop it in time.
    pub frozen: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Stop,
    Kill,
}

/// One node.
pub struct Node {
    /// For the trace.
    pub name: &'static str,
    /// No connection can be opened.
    pub cut: Cell<bool>,
    gate: RefCell<Option<Gate>>,
    obeyed: Cell<Obeyed>,
    chance: Chance,
    breaks: RefCell<Vec<oneshot::Sender<()>>>,
    life: Cell<u64>,
    inputs: RefCell<Option<mpsc::UnboundedSender<Input>>>,
    leaving: Cell<bool>,
}

struct Link {
    to: mpsc::UnboundedSender<agent_wire::Frame>,
    from: mpsc::UnboundedReceiver<ToAgent>,
}

/// The instance's end of a connection.
struct Wire {
    to: mpsc::UnboundedSender<ToAgent>,
    from: mpsc::UnboundedReceiver<agent_wire::Frame>,
}

impl agent_wire::Wire for Wire {
    async fn say(&mut self, message: &ToAgent) -> Result<(), agent_wire::End> {
        self.to.send(message.clone()).map_err(|_| agent_wire::End::Gone)
    }

    async fn next(&mut self) -> Result<agent_wire::Frame, agent_wire::End> {
        self.from.recv().await.ok_or(agent_wire::End::Gone)
    }
}

impl Node {
    /// One whose agent does not run yet.
    pub fn new(number: usize, seed: u64) -> Self {
        let name = NAMES[number % NAMES.len()];
        Self {
            name,
            cut: Cell::new(false),
            gate: RefCell::default(),
            obeyed: Cell::new(Obeyed::default()),
            chance: Chance::of(seed, name),
            breaks: RefCell::default(),
            life: Cell::new(0),
            inputs: RefCell::default(),
            leaving: Cell::new(false),
        }
    }

    /// SIGKILL of its agent, and with it of what it runs. Says whether it ran.
    pub fn kill(&self) -> bool {
        self.break_link();
        self.life.set(self.life.get() + 1);
        let gate = self.gate.take().inspect(|gate| {
            trace!("{} agent killed", self.name);
            gate.kill();
        });
        gate.is_some()
    }

    /// SIGTERM of its agent: what it runs may end by itself for so long. Says whether that is news to
    /// it.
    pub fn leave(&self, grace_ms: u64) -> bool {
        let inputs = self.inputs.borrow();
        let told = inputs.as_ref().filter(|_| self.is_alive() && !self.leaving.get());
        told.is_some_and(|inputs| {
            trace!("{} agent asked to stop", self.name);
            self.leaving.set(true);
            inputs.send(Input::Leave(grace_ms)).is_ok()
        })
    }

    /// Whether its agent was asked to stop, and has not yet.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Its data directory is emptied.
    pub fn forget(&self) {
        self.obeyed.set(Obeyed::default());
    }

    /// Whether its agent runs.
    pub fn is_alive(&self) -> bool {
        self.gate.borrow().is_some()
    }

    /// SIGSTOP and SIGCONT of its agent. Says whether that changed anything.
    pub fn pause(&self, world: &World, paused: bool) -> bool {
        self.gate.borrow().as_ref().is_some_and(|gate| {
            trace!("{} agent {}", self.name, if paused { "paused" } else { "goes on" });
            let programs = world.programs.borrow();
            let its = programs.iter().filter(|p| p.node == self.name && p.ended_ms.get().is_none());
            its.for_each(|program| program.frozen.set(true));
            gate.pause(paused) != paused
        })
    }

    /// Its connection is lost.
    pub fn break_link(&self) {
        let breaks = self.breaks.take();
        if !breaks.is_empty() {
            trace!("{} connection lost", self.name);
        }
    }

    /// Starts its agent.
    pub fn start(self: &Rc<Self>, world: &Rc<World>) {
        self.kill();
        let gate = Gate::default();
        self.gate.replace(Some(gate.clone()));
        let boot = self.chance.uuid();
        trace!("{} agent starts, boot {boot}", self.name);
        let agent = Agent::new(self.clone(), world.clone(), boot);
        self.inputs.replace(Some(agent.reports.clone()));
        self.leaving.set(false);
        let name = self.name;
        world.spawn(gate.run(Box::pin(agent.live()), move |poll| within(name, poll)));
    }

    /// Opens a connection to an instance.
    async fn connect(self: &Rc<Self>, world: &Rc<World>, url: &str) -> Option<Link> {
        self.pace(world).await;
        let instance = world.instance(url).filter(|_| !self.cut.get())?;
        let door = instance.door()?;
        let ((break_up, up_broken), (break_down, down_broken)) =
            (oneshot::channel(), oneshot::channel());
        let (to, up) = self.pipe(world, up_broken);
        let (down, from) = self.pipe(world, down_broken);
        let terms = Terms::for_ttl(world.plan.ttl_ms);
        let mut wire = Wire { to: down, from: up };
        let served = instance.spawn(async move { attend(host(&door), terms, &mut wire).await });
        self.breaks.replace(vec![break_up, break_down]);
        served.then_some(Link { to, from })
    }

    async fn pace(&self, world: &World) {
        let stalls = world.faulty() && self.chance.per_mille(world.plan.lose_http / 4);
        let most = if stalls { 2_500_000 } else { 5_000 };
        sleep(Duration::from_micros(self.chance.between(50, most))).await;
    }

    /// One direction of a connection: in order, late, and at an end when the connection is.
    fn pipe<T: 'static>(
        self: &Rc<Self>,
        world: &Rc<World>,
        broken: oneshot::Receiver<()>,
    ) -> (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>) {
        let (enter, mut on_its_way) = mpsc::unbounded_channel();
        let (leave, received) = mpsc::unbounded_channel();
        let (this, on) = (self.clone(), world.clone());
        world.spawn(async move {
            let carrying = async {
                while let Some(message) = on_its_way.recv().await {
                    this.pace(&on).await;
                    if leave.send(message).is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                // A sender that is gone is a connection that is.
                _ = broken => {}
                () = carrying => {}
            }
        });
        (enter, received)
    }
}

struct Agent {
    node: Rc<Node>,
    world: Rc<World>,
    core: Core,
    link: Option<Link>,
    opening: Option<oneshot::Receiver<Option<Link>>>,
    again: Instant,
    hint: Option<String>,
    orders: BTreeMap<AttemptRef, mpsc::UnboundedSender<Order>>,
    reports: mpsc::UnboundedSender<Input>,
    inputs: mpsc::UnboundedReceiver<Input>,
    beats: BTreeMap<u64, u64>,
}

impl Agent {
    fn new(node: Rc<Node>, world: Rc<World>, boot: Uuid) -> Self {
        let identity = Identity {
            node: NodeId::new(node.name),
            boot,
            labels: Texts::default(),
            capacity: Demand { cpu_milli: 2_000, mem_mb: 1_024, gpu: 0 },
            isolation: Vec::new(),
            runtime: "simulated".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        // Nothing that is written here is long enough for a file.
        let spools: Arc<Path> = Arc::from(Path::new("spools"));
        let core = Core::new(identity, node.obeyed.get(), spools);
        let (reports, inputs) = mpsc::unbounded_channel();
        Self {
            node,
            world,
            core,
            link: None,
            opening: None,
            again: Instant::now(),
            hint: None,
            orders: BTreeMap::new(),
            reports,
            inputs,
            beats: BTreeMap::new(),
        }
    }

    async fn live(mut self) {
        // What an earlier one left is ended before anything else, as `src/agent/src/start.rs` does.
        while self.is_anything_left() {
            sleep(Duration::from_millis(1)).await;
        }
        loop {
            let now = now_ms();
            let tick =
                self.core.next_tick_ms().map_or(1_000, |at| at.saturating_sub(now).min(1_000));
            let tick = Instant::now() + Duration::from_millis(tick.max(1));
            let input = tokio::select! {
                biased;
                Some(input) = self.inputs.recv() => input,
                said = hear(&mut self.link), if self.link.is_some() => match said {
                    Some(said) => {
                        self.note(&said);
                        Input::Heard(Box::new(said))
                    }
                    None => {
                        self.hang_up(100, 900);
                        Input::Closed
                    }
                },
                opened = opened(&mut self.opening), if self.opening.is_some() => {
                    self.opening = None;
                    match opened {
                        Some(link) => {
                            self.link = Some(link);
                            self.beats.clear();
                            Input::Opened
                        }
                        None => {
                            self.hang_up(100, 900);
                            continue;
                        }
                    }
                }
                () = sleep_until(self.again), if self.link.is_none() && self.opening.is_none() => {
                    self.open();
                    continue;
                }
                () = sleep_until(tick) => Input::Tick,
            };
            for action in self.core.handle(now_ms(), input) {
                if matches!(action, Action::Done) {
                    trace!("agent stopped");
                    self.node.leaving.set(false);
                    self.node.gate.replace(None);
                    return;
                }
                self.act(action);
            }
        }
    }

    /// Whether a program of this node lives on.
    fn is_anything_left(&self) -> bool {
        let programs = self.world.programs.borrow();
        programs
            .iter()
            .any(|program| program.node == self.node.name && program.ended_ms.get().is_none())
    }

    fn note(&mut self, said: &ToAgent) {
        if let ToAgent::HeartbeatAck { n, .. } = said
            && let Some(sent_ms) = self.beats.remove(n)
        {
            let heard = Heard { node: self.node.name, sent_ms, acked_ms: now_ms() };
            self.world.heard.borrow_mut().push(heard);
        }
    }

    fn hang_up(&mut self, from_ms: u64, to_ms: u64) {
        self.link = None;
        let pause = self.node.chance.between(from_ms, to_ms);
        self.again = Instant::now() + Duration::from_millis(pause);
    }

    fn open(&mut self) {
        let (done, opening) = oneshot::channel();
        let (node, world) = (self.node.clone(), self.world.clone());
        let instances = world.instances.borrow();
        let leader = instances.iter().find(|instance| instance.leads());
        let any = self.node.chance.pick(&instances);
        let to = if self.node.chance.per_mille(600) { leader.or(any) } else { any };
        let to = self.hint.take().or(to.map(|instance| instance.url.clone())).unwrap_or_default();
        drop(instances);
        self.opening = Some(opening);
        world.clone().spawn(async move {
            // Who asked may be dead.
            let _ = done.send(node.connect(&world, &to).await);
        });
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Remember(obeyed) => self.node.obeyed.set(obeyed),
            Action::Send(said) => {
                if let FromAgent::Heartbeat { n, .. } = &said {
                    self.beats.insert(*n, now_ms());
                }
                if let Some(link) = &self.link {
                    // A connection that is gone says so itself.
                    let _ = link.to.send(agent_wire::Frame::Said(said));
                }
            }
            Action::SendOutput(frame) => {
                if let Some(link) = &self.link {
                    let _ = link.to.send(agent_wire::Frame::Output(frame.into()));
                }
            }
            Action::Close(cause) => {
                trace!("closes the session: {cause:?}");
                if let Cause::Refused(refused) = cause {
                    self.hint = refused.leader.as_deref().map(str::to_owned);
                }
                self.hang_up(50, 900);
            }
            Action::Launch(of, spec, terms) => self.launch(of, *spec, terms),
            Action::Stop(of) => self.order(of, Order::Stop),
            Action::Kill(of) => self.order(of, Order::Kill),
            // Its process ends with it.
            Action::Done => {}
        }
    }

    fn order(&self, of: AttemptRef, order: Order) {
        if let Some(orders) = self.orders.get(&of) {
            // A program that is over hears nothing.
            let _ = orders.send(order);
        }
    }

    fn launch(&mut self, of: AttemptRef, spec: AttemptSpec, terms: Terms) {
        trace!("launches {} attempt {}", of.run, of.attempt);
        let (orders, ordered) = mpsc::unbounded_channel();
        self.orders.insert(of, orders);
        let (node, world) = (self.node.clone(), self.world.clone());
        let running = run(node, world, of, spec, terms, ordered, self.reports.clone());
        self.world.spawn(running);
    }
}

async fn hear(link: &mut Option<Link>) -> Option<ToAgent> {
    link.as_mut()?.from.recv().await
}

async fn opened(opening: &mut Option<oneshot::Receiver<Option<Link>>>) -> Option<Link> {
    opening.as_mut()?.await.ok().flatten()
}

/// A program, from launch to end. It goes on while its agent is paused, and ends with it.
async fn run(
    node: Rc<Node>,
    world: Rc<World>,
    of: AttemptRef,
    spec: AttemptSpec,
    terms: Terms,
    mut ordered: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::UnboundedSender<Input>,
) {
    let began = now_ms();
    let end = |cause, code: Option<i32>, began_ms: u64| {
        let exit = Exit { cause, code, signal: None, message: None };
        let usage = Usage { cpu_ms: 1, max_rss_mb: 1, wall_ms: now_ms() - began_ms };
        Input::Ended(of, Box::new(End { exit, usage, cut: false }))
    };
    sleep(Duration::from_millis(node.chance.between(1, 25))).await;
    if ordered.try_recv() != Err(mpsc::error::TryRecvError::Empty) {
        let _ = reports.send(end(ExitCause::Canceled, None, began));
        return;
    }
    let program = Rc::new(Program {
        of,
        node: node.name,
        began_ms: now_ms(),
        journal_was: world.store.newest().map_or(0, |id| id.seq),
        ended_ms: Cell::new(None),
        code: Cell::new(None),
        frozen: Cell::new(node.gate.borrow().as_ref().is_some_and(Gate::is_paused)),
    });
    world.programs.borrow_mut().push(program.clone());
    let _ = reports.send(Input::Launched(of));
    if node.chance.per_mille(120) {
        let written =
            Written { stream: Stream::Stdout, time_ms: now_ms(), data: b"a line\n".to_vec() };
        let _ = reports.send(Input::Wrote(of, written));
    }
    let number = |at: usize| spec.command.get(at).and_then(|word| word.parse::<u64>().ok());
    let lasts = Duration::from_millis(number(1).unwrap_or(100));
    let code = number(2).and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let natural = sleep(lasts);
    tokio::pin!(natural);
    let order = tokio::select! {
        biased;
        order = ordered.recv() => Some(order),
        () = &mut natural => None,
    };
    let (cause, code) = match order {
        None => (ExitCause::Exited, Some(code)),
        // It dies with its agent.
        Some(None) => {
            sleep(Duration::from_millis(node.chance.between(0, 20))).await;
            (ExitCause::Canceled, None)
        }
        Some(Some(Order::Kill)) => {
            // A kill takes milliseconds; the budget is for a machine in distress.
            sleep(Duration::from_millis(node.chance.between(0, terms.kill_budget_ms / 2))).await;
            (ExitCause::Canceled, None)
        }
        Some(Some(Order::Stop)) => {
            let last = sleep(Duration::from_millis(node.chance.between(5, 400)));
            tokio::pin!(last);
            tokio::select! {
                biased;
                _ = ordered.recv() => {}
                () = &mut natural => {}
                () = &mut last => {}
            }
            (ExitCause::Canceled, None)
        }
    };
    program.ended_ms.set(Some(now_ms()));
    program.code.set(code);
    let _ = reports.send(end(cause, code, program.began_ms));
}

//! An instance of the house: the real actors, boot and HTTP handlers, as one process that can be
//! paused and killed.
//!
//! Owns:   a process' tasks, its clock on the wall, its files, which outlive it.
//! Never:  knows what the process decides.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::dev::Service as _;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, test, web};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use journal::{Expected, InstanceKey, Journal, OpenError, Receipt, Sealed};
use olympus::boot;
use olympus::house::{Door, House, Role, State};
use olympus::http::{self, AppState, Asked, Auth, Neighbours, Silent};
use olympus::output::{OutputStore, Sync};
use olympus::seat::Seat;
use olympus::threads::Threads;
use olympus_actors::clock::Wall;
use olympus_actors::dice::Dice;
use olympus_actors::registry::Limits;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::chance::Chance;
use crate::gate::Gate;
use crate::planted::Planted;
use crate::port::SimJournal;
use crate::trace;
use crate::trace::{now_ms, within};
use crate::world::{SealedAt, World, current};

/// A Monday in 2026, in microseconds since 1970: when every seed begins.
const BEGAN_US: u64 = 1_790_000_000_000_000;
/// A request that hangs: longer than a follower waits for a leader that says nothing.
const HANGS_US: (u64, u64) = (16_000_000, 25_000_000);
/// A supervisor starts a process that has ended again after so long.
const START_AGAIN: Duration = Duration::from_millis(500);
/// An answer may be held for 3 s, and its reader paused for 5: so late one may stop for what was given
/// back meanwhile.
const SEEN_LATE_MS: u64 = 8_000;
/// Names, for the trace.
const NAMES: [&str; 4] = ["i0", "i1", "i2", "i3"];

/// An answer of the HTTP API.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `X-Tartarus-Index`.
    pub fn index(&self) -> Option<u64> {
        self.header(api::headers::INDEX)?.parse().ok()
    }

    /// `X-Tartarus-Receipt`.
    pub fn receipt(&self) -> Option<Receipt> {
        self.header(api::headers::RECEIPT)?.parse().ok()
    }
}

type App = Rc<dyn Fn(Asked) -> LocalBoxFuture<'static, Answer>>;

struct Process {
    boot: Uuid,
    tasks: Rc<LocalSet>,
    gate: Gate,
    door: Arc<Door>,
    app: Option<App>,
    stop: watch::Sender<bool>,
}

/// See the module.
pub struct Instance {
    index: usize,
    /// For the trace.
    pub name: &'static str,
    /// How others reach it.
    pub url: String,
    /// Cut off from Redis and from its like.
    pub cut: Cell<bool>,
    life: Cell<u64>,
    process: RefCell<Option<Process>>,
    wall_us: Arc<AtomicI64>,
    under_way: RefCell<Option<Sealed>>,
    dir: PathBuf,
    key: Arc<InstanceKey>,
    chance: Chance,
}

impl Instance {
    /// One that does not run yet.
    pub fn new(index: usize, seed: u64, dir: &Path) -> Self {
        let name = NAMES[index % NAMES.len()];
        let chance = Chance::of(seed, name);
        let mut key = [0; 32];
        chance.fill(&mut key);
        Self {
            index,
            name,
            url: format!("http://{name}"),
            cut: Cell::new(false),
            life: Cell::new(0),
            process: RefCell::default(),
            wall_us: Arc::default(),
            under_way: RefCell::default(),
            dir: dir.join(name),
            key: Arc::new(InstanceKey::from_seed(&key)),
            chance,
        }
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        self.process.borrow().is_some()
    }

    /// Whether it has stopped writing for good.
    pub fn has_failed(&self) -> bool {
        self.process.borrow().as_ref().is_some_and(|process| process.door.is_failed())
    }

    /// The entry it appends, or appended last.
    pub fn under_way(&self) -> Option<Sealed> {
        self.under_way.borrow().clone()
    }

    /// Its house, where it is open.
    pub fn house(&self) -> Option<House> {
        match &*self.door()?.state() {
            State::Open(house) => Some(house.clone()),
            State::Shut(_) => None,
        }
    }

    /// Its door.
    pub fn door(&self) -> Option<Arc<Door>> {
        Some(self.process.borrow().as_ref()?.door.clone())
    }

    /// Whether it leads, as it says itself.
    pub fn leads(&self) -> bool {
        self.house().is_some_and(|house| matches!(house.role, Role::Leader))
    }

    /// SIGSTOP, SIGCONT. Says whether that changed anything.
    pub fn pause(&self, paused: bool) -> bool {
        self.process.borrow().as_ref().is_some_and(|process| {
            trace!("{} {}", self.name, if paused { "paused" } else { "goes on" });
            process.gate.pause(paused) != paused
        })
    }

    /// SIGKILL. Says whether it ran.
    pub fn kill(&self) -> bool {
        let process = self.process.take().inspect(|process| {
            trace!("{} killed", self.name);
            process.gate.kill();
        });
        process.is_some()
    }

    /// SIGTERM. Says whether that is news to it.
    pub fn stop(&self) -> bool {
        self.process.borrow().as_ref().is_some_and(|process| {
            trace!("{} asked to stop", self.name);
            !process.stop.send_replace(true)
        })
    }

    /// Turns its clock on the wall.
    pub fn turn_clock(&self, by_us: i64) {
        trace!("{} clock turned by {by_us} us", self.name);
        self.wall_us.fetch_add(by_us, Ordering::Relaxed);
    }

    /// Begins a task in its process, where it runs.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> bool {
        let tasks = self.process.borrow().as_ref().map(|process| process.tasks.clone());
        tasks.inspect(|tasks| drop(tasks.spawn_local(task))).is_some()
    }

    fn app(&self) -> Option<App> {
        self.process.borrow().as_ref()?.app.clone()
    }

    /// Starts a process.
    pub fn start(self: &Rc<Self>, world: &Rc<World>) {
        self.kill();
        let life = self.life.get() + 1;
        self.life.set(life);
        let boot = self.chance.uuid();
        trace!("{} starts, boot {boot}", self.name);
        let (stop, stopped) = watch::channel(false);
        let door = Arc::new(Door::shut("starting"));
        let (tasks, gate) = (Rc::new(LocalSet::new()), Gate::default());
        tasks.spawn_local(live(self.clone(), world.clone(), life, boot, door.clone(), stopped));
        let (running, polled) = (tasks.clone(), gate.clone());
        let (watched, of) = (door.clone(), world.clone());
        let process = Process { boot, tasks, gate, door, app: None, stop };
        self.process.replace(Some(process));
        let name = self.name;
        world.spawn(async move {
            let (mut seat, mut has_failed) = (Seat::default(), false);
            let all = async move { running.run_until(std::future::pending::<()>()).await };
            let step = |poll: &mut dyn FnMut() -> std::task::Poll<()>| {
                seat.swap();
                let polled = within(name, poll);
                seat.swap();
                if watched.is_failed() && !std::mem::replace(&mut has_failed, true) {
                    of.stops_for_good(name);
                }
                polled
            };
            polled.run(Box::pin(all), step).await;
        });
    }

    fn ended(self: &Rc<Self>, world: &Rc<World>, life: u64, how: &str) {
        trace!("{} ended: {how}", self.name);
        let (this, world) = (self.clone(), world.clone());
        world.clone().spawn(async move {
            if this.life.get() == life {
                this.kill();
            }
            sleep(START_AGAIN).await;
            if this.life.get() == life && !world.redis.emptied.get() {
                this.start(&world);
            }
        });
    }

    fn plan(&self, world: &World, journal: Arc<dyn Journal>, boot: Uuid) -> boot::Plan {
        let planted = world.plan.planted;
        let (offset, began) = (self.wall_us.clone(), Instant::now());
        let before_us = now_ms() * 1_000;
        let wall = move || {
            let passed = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            (BEGAN_US + before_us + passed).saturating_add_signed(offset.load(Ordering::Relaxed))
        };
        let chance = self.chance.clone();
        let throw = move |bytes: &mut [u8]| match planted {
            Some(Planted::ReuseToken) if bytes.len() == 16 => bytes.fill(7),
            _ => chance.fill(bytes),
        };
        let dice = match planted {
            Some(Planted::Undetermined) => Dice::of_the_system(),
            _ => Dice::thrown_by(throw),
        };
        let ttl_ms = world.plan.ttl_ms;
        let lives_ms = if planted == Some(Planted::NoGrace) { ttl_ms / 3 } else { ttl_ms };
        boot::Plan {
            journal,
            url: self.url.clone(),
            boot,
            until_gone: Arc::new(|url| until_gone(url.to_owned()).boxed()),
            limits: Limits { queue_max: 10_000 },
            node_ttl: Duration::from_millis(lives_ms),
            output: Arc::new(OutputStore::open(&self.dir, Sync::Later).expect("a directory")),
            export_dir: self.dir.join("lost"),
            render_policies: |_| Vec::new(),
            witnesses: Arc::default(),
            key: self.key.clone(),
            checkpoint_every: Duration::from_secs(3),
            threads: Threads::This,
            wall: Wall::reading(wall),
            dice,
            keeping: None,
        }
    }
}

/// What a process does from its start to its end.
async fn live(
    this: Rc<Instance>,
    world: Rc<World>,
    life: u64,
    boot: Uuid,
    door: Arc<Door>,
    stopped: watch::Receiver<bool>,
) {
    let planted = world.plan.planted;
    let port = SimJournal::new(this.index, world.store.clone(), world.to_redis.clone(), planted);
    let journal: Arc<dyn Journal> = Arc::new(port);
    let cluster = world.identity.cluster;
    let expected = Expected { cluster, source: "the simulation".into() };
    loop {
        match journal.open(Some(&expected)).await {
            Ok(_) => break,
            Err(OpenError::Refused(refused)) => {
                return this.ended(&world, life, &format!("exit 4: {refused}"));
            }
            Err(OpenError::Unreachable(_) | OpenError::Configuration(_)) => {
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
    let plan = this.plan(&world, journal, boot);
    let ttl = Duration::from_millis(world.plan.ttl_ms);
    let url = this.url.as_str();
    let mut state =
        AppState::new(door.clone(), Auth::Off, url, cluster.0, true, ttl, stopped.clone());
    let by = this.index;
    let through = move |asked| neighbour(by, asked).boxed_local();
    state.neighbours = Neighbours::Through(Arc::new(through));
    let under_way = state.under_way.clone();
    let app = Rc::new(test::init_service(http::app(web::Data::new(state))).await);
    let app: App = Rc::new(move |asked| {
        let app = app.clone();
        async move {
            let mut request = test::TestRequest::with_uri(&asked.url).method(asked.method);
            for (name, value) in &asked.headers {
                request = request.append_header((name.clone(), value.clone()));
            }
            let request = request.set_payload(asked.body).to_request();
            let (status, headers, body) = match app.call(request).await {
                Ok(response) => {
                    let (status, headers) = (response.status(), response.headers().clone());
                    (status, headers, to_bytes(response.into_body()).await.unwrap_or_default())
                }
                Err(error) => (error.error_response().status(), HeaderMap::new(), Bytes::new()),
            };
            Answer { status: status.as_u16(), headers, body }
        }
        .boxed_local()
    });
    if let Some(process) = this.process.borrow_mut().as_mut().filter(|p| p.boot == boot) {
        process.app = Some(app);
    }
    let how = match boot::run(plan, door, stopped).await {
        Ok(()) => {
            // As the server's own stop does.
            let _ = timeout(http::STOP_WITHIN, under_way.none()).await;
            "stopped".to_owned()
        }
        Err(refused) => format!("exit 4: {refused}"),
    };
    this.ended(&world, life, &how);
}

/// What a follower has in place of a connection to the leader's process: it ends when that process
/// does, or, where the plan says so, when somebody between them says so.
async fn until_gone(url: String) {
    let mut led = false;
    let mut refused = 0;
    while refused < 2 {
        sleep(Duration::from_millis(25)).await;
        let Some(world) = current() else { return };
        if led && world.faulty() && world.chance.per_mille(world.plan.lying_wire) {
            world.suffers("a living leader said to be gone");
            trace!("somebody says that {url} is gone");
            return;
        }
        let instance = world.instance(&url);
        led |= instance.as_ref().is_some_and(|instance| instance.leads());
        let there = instance.is_some_and(|instance| instance.is_alive());
        refused = if led && !there { refused + 1 } else { 0 };
    }
}

/// What a follower has in place of an HTTP client.
async fn neighbour(by: usize, asked: Asked) -> Result<HttpResponse, Silent> {
    let Some(world) = current() else { return Err(Silent::Away) };
    let cut = world.instances.borrow().get(by).is_none_or(|instance| instance.cut.get());
    if cut || world.plan.planted == Some(Planted::HandOnToNobody) {
        return Err(Silent::Away);
    }
    let answer = world.ask(asked, true).await?;
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap_or_default());
    for (name, value) in &answer.headers {
        response.append_header((name.clone(), value.clone()));
    }
    Ok(response.body(answer.body))
}

impl World {
    /// The instance of a URL.
    pub fn instance(&self, url: &str) -> Option<Rc<Instance>> {
        let rest = url.strip_prefix("http://")?;
        let host = rest.split('/').next()?;
        self.instances.borrow().iter().find(|instance| instance.name == host).cloned()
    }

    /// An append is sent, perhaps for the first time.
    pub fn sent(&self, by: usize, sealed: &Sealed) {
        let instance = self.instances.borrow().get(by).cloned();
        let Some(instance) = instance else { return };
        let boot = sealed.entry().header().boot;
        let of_this_life = |p: &Process| p.boot == boot && p.door.is_failed();
        if instance.process.borrow().as_ref().is_some_and(of_this_life) {
            let what =
                format!("{} has stopped for good, and appends {}", instance.name, sealed.id());
            self.find("S16", what);
        }
        let mut last = instance.under_way.borrow_mut();
        if last.as_ref().map(Sealed::id) != Some(sealed.id()) {
            let at = SealedAt { id: sealed.id(), boot, ms: now_ms() };
            self.sealed.borrow_mut().push(at);
            *last = Some(sealed.clone());
        }
    }

    /// Asks an instance over the network. `inside` is between instances.
    ///
    /// # Errors
    /// It can't be reached, or did not answer.
    pub async fn ask(self: &Rc<Self>, asked: Asked, inside: bool) -> Result<Answer, Silent> {
        let (reply, answer) = oneshot::channel();
        let world = self.clone();
        self.spawn(async move {
            // Who asked may be dead.
            let _ = reply.send(world.carry(asked, inside).await);
        });
        answer.await.unwrap_or(Err(Silent::Unanswered))
    }

    async fn carry(self: &Rc<Self>, asked: Asked, inside: bool) -> Result<Answer, Silent> {
        let lose = if self.faulty() { self.plan.lose_http } else { 0 };
        self.way(50, 3_000).await;
        if self.chance.per_mille(lose) {
            self.suffers("a request or its answer lost");
            // Nobody ends the connection either, sometimes.
            let hangs = inside && self.chance.per_mille(250);
            let (least, most) = if hangs { HANGS_US } else { (1_000, 2_000_000) };
            self.way(least, most).await;
            return Err(Silent::Unanswered);
        }
        let instance = self.instance(&asked.url).filter(|instance| !inside || !instance.cut.get());
        let (instance, app) =
            instance.and_then(|i| Some((i.clone(), i.app()?))).ok_or(Silent::Away)?;
        let (done, answered) = oneshot::channel();
        let (world, this, reads) = (self.clone(), instance.clone(), asked.method == Method::GET);
        let answering = async move {
            let answer = app(asked).await;
            world.leaves(&this, &answer, reads);
            let _ = done.send(answer);
        };
        if !instance.spawn(answering) {
            return Err(Silent::Away);
        }
        let answer = answered.await.map_err(|_| Silent::Unanswered)?;
        self.way(50, 3_000).await;
        if self.chance.per_mille(lose) {
            self.suffers("a request or its answer lost");
            return Err(Silent::Unanswered);
        }
        Ok(answer)
    }

    /// L1: nobody stops writing for good where nothing is missing.
    fn stops_for_good(&self, name: &str) {
        let now = now_ms();
        let since = now.saturating_sub(SEEN_LATE_MS);
        let forgotten = self.redis.forgotten.borrow();
        if !forgotten.values().any(|entry| entry.durable && entry.was_absent(since, now)) {
            self.find("L1", format!("{name} stopped for good, and nothing was missing"));
        }
    }

    /// S6: nothing leaves an instance that is not durable, but what Redis had and forgot.
    fn leaves(&self, from: &Instance, answer: &Answer, reads: bool) {
        let durable = self.durable();
        let forgotten = self.redis.forgotten.borrow();
        if let Some(Receipt(id)) = answer.receipt() {
            let was_there = forgotten.get(&id).is_some_and(|entry| entry.durable);
            if !(was_there || id.seq <= durable && self.has(id)) {
                let what =
                    format!("{} answers {} with receipt {}", from.name, answer.status, Receipt(id));
                self.find("S6", format!("{what}, and what is durable ends with {durable}"));
            }
        }
        // That there is nothing is shown at an entry too.
        let shows = reads && matches!(answer.status, 200 | 404);
        let shows = answer.index().filter(|index| shows && *index > durable);
        // Or given back, and not yet received by the replica.
        let is_lost = |index| {
            let mut of_index = forgotten.iter().filter(|(id, _)| id.seq == index);
            of_index.any(|(id, entry)| entry.durable && (entry.is_absent() || self.has(*id)))
        };
        if shows.is_some_and(|index| !is_lost(index)) {
            let what = format!("{} shows entry {:?}", from.name, answer.index());
            self.find("S6", format!("{what}, and what is durable ends with {durable}"));
        }
    }
}

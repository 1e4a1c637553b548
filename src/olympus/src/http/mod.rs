//! The HTTP API: one file a resource, and the agents' sessions.
//!
//! Owns:   parsing, limits, answers; what is counted of them.
//! Hears:  requests under `/v1`, and the probes.
//! Says:   commands to the registry through the judges; reads to the view and the folds.
//! Never:  decides: status codes are chosen in [`problem`] alone, and every answer about state
//!         comes from an actor.
//! Fails:  with a problem (RFC 9457) that says what was surely not done, and what to do.
//! Proof:  `src/olympus/tests`.

mod agent;
mod answer;
mod at;
mod auth;
mod batch;
mod caller;
pub(crate) mod courier;
mod dead;
mod edge;
mod events;
mod explain;
mod forward;
mod health;
mod heat;
mod ingress;
mod judging;
mod law;
mod logs;
mod metrics;
mod nodes;
mod openapi;
mod paging;
mod policies;
pub mod problem;
mod quarantine;
mod queue;
mod read;
mod record;
mod routes;
mod runs;
mod show;
mod snapshot;
mod submit;
mod templates;
mod what_if;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer, web};
use journal::{Promise, Standing};
use tokio::sync::watch;
use uuid::Uuid;

use crate::house::{Door, House, Role, State};
use crate::past::Pasts;

pub use auth::{Auth, NewToken};
pub use edge::UnderWay;
pub use events::Feeds;
pub use forward::{Asked, Neighbour, Neighbours, Silent};
pub use ingress::Ingress;
pub use metrics::Meter;
pub use problem::Fault;
pub use routes::ROUTES;
pub use submit::DECIDED_WITHIN;
pub use what_if::WhatIfs;

/// A request that is under way when the server stops gets so long: as long as an undecided command
/// is waited for, and some to write the answer.
pub const STOP_WITHIN: Duration = Duration::from_secs(8);
/// An answer whose last byte was handed to the system gets so long to leave it.
const FLUSH: Duration = Duration::from_millis(50);
/// A connection that says nothing is closed after this long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A client must have sent its headers by then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What every handler needs.
pub struct AppState {
    /// The way to the actors.
    pub door: Arc<Door>,
    /// Who may come in.
    pub auth: Auth,
    /// How others reach this instance: where the output that it keeps can be had.
    pub url: String,
    /// The cluster whose journal this is.
    pub cluster: Uuid,
    /// Whether quarantine verdicts are switched on.
    pub quarantine_on: bool,
    /// Time to live of a node.
    pub node_ttl: Duration,
    /// Turns true when the process stops: sessions and feeds end then.
    pub stop: watch::Receiver<bool>,
    /// What is counted.
    pub meter: Meter,
    /// The highest journal entry that an answer has reflected.
    pub index: AtomicU64,
    /// Requests that are not answered to the end.
    pub under_way: UnderWay,
    /// The reign whose line was seen in Redis; 0 where none was.
    pub line_shown: AtomicU64,
    /// Room for what comes in.
    pub ingress: Ingress,
    /// How the journal is kept, as it was seen last.
    pub standing: watch::Receiver<Standing>,
    /// Places for feeds.
    pub feeds: Feeds,
    /// The place for a what-if, and what was found.
    pub what_ifs: WhatIfs,
    /// The pasts that were asked for.
    pub pasts: Pasts,
    /// The way to other instances.
    pub neighbours: Neighbours,
}

impl AppState {
    /// The state of a server that has answered nothing yet.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        door: Arc<Door>,
        auth: Auth,
        url: impl Into<String>,
        cluster: Uuid,
        quarantine_on: bool,
        node_ttl: Duration,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            door,
            auth,
            url: url.into(),
            cluster,
            quarantine_on,
            node_ttl,
            stop,
            meter: Meter::default(),
            index: AtomicU64::new(0),
            under_way: UnderWay::default(),
            line_shown: AtomicU64::new(0),
            ingress: Ingress::default(),
            standing: watch::channel(Standing { promise: Promise::Unknown, dangers: Vec::new() }).1,
            feeds: Feeds::default(),
            what_ifs: WhatIfs::default(),
            pasts: Pasts::default(),
            neighbours: Neighbours::default(),
        }
    }

    /// The house, if it is open.
    fn open(&self) -> Result<Open, Fault> {
        let state = self.door.state();
        match &*state {
            State::Open(_) => Ok(Open(state)),
            State::Shut(why) if self.door.is_failed() => Err(problem::failed(why)),
            State::Shut(why) => Err(problem::shut(why, None)),
        }
    }

    /// The house, if it is open and the journal takes writes.
    fn open_for_writes(&self) -> Result<Open, Fault> {
        let open = self.open()?;
        if let Role::Follower(sight) = &open.role {
            return Err(problem::follower(sight.borrow().live_leader()));
        }
        if let Some(fault) = problem::journal(&open.health.borrow()) {
            return Err(fault);
        }
        Ok(open)
    }

    fn saw(&self, index: u64) {
        self.index.fetch_max(index, Ordering::Relaxed);
    }
}

/// An open house.
#[derive(Clone)]
struct Open(Arc<State>);

impl std::ops::Deref for Open {
    type Target = House;

    fn deref(&self) -> &House {
        match &*self.0 {
            State::Open(house) => house,
            // `AppState::open` makes no other.
            State::Shut(_) => unreachable!("an open house is open"),
        }
    }
}

/// Puts every route into an application that has a [`web::Data`] of [`AppState`].
pub fn configure(config: &mut ServiceConfig) {
    routes::configure(config);
}

/// The application: every route behind the edge.
pub fn app(
    state: web::Data<AppState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new().app_data(state).wrap(from_fn(edge::edge)).configure(configure)
}

/// A server on a bound listener, with TLS or without. It runs when it is awaited or spawned; its
/// handle stops it.
///
/// # Errors
/// The listener can't be used.
pub fn serve(
    listener: std::net::TcpListener,
    tls: Option<tls::ServerConfig>,
    state: web::Data<AppState>,
    workers: usize,
) -> std::io::Result<Server> {
    let (ingress, workers) = (state.ingress.clone(), workers.max(1));
    let accepted = ingress.accepted();
    let server = HttpServer::new(move || app(state.clone()))
        .on_connect(move |_, data| {
            data.insert(ingress.connected());
        })
        .max_connections((accepted / workers).max(1))
        .workers(workers)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .shutdown_timeout(STOP_WITHIN.as_secs())
        .disable_signals()
        // An answer or a chunk is small and awaited: it must not wait for the one before it.
        .tcp_nodelay(true);
    let server = match tls {
        Some(tls) => {
            server.tls_handshake_timeout(HEAD_TIMEOUT).listen_rustls_0_23(listener, tls)?
        }
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

/// Ends a server that is paused, when what is under way is answered. The framework's own graceful
/// stop looks once a second; a program that runs one command would wait for it every time.
pub async fn finish(server: &ServerHandle, state: &AppState) {
    match tokio::time::timeout(STOP_WITHIN, state.under_way.none()).await {
        Ok(false) => {}
        Ok(true) => tokio::time::sleep(FLUSH).await,
        Err(_) => log::warn!("stop with requests under way"),
    }
    server.stop(false).await;
}

//! What comes in at a time: connections, bytes of bodies, callers that wait.
//!
//! Owns:   three counts, and the bound of each; and the turns of what takes a processor for long, so
//!         that agents and probes, on the same threads, need not wait for a crowd of it.
//! Never:  turns away, or hangs up on, a probe or an agent whose connection was accepted. Beyond the
//!         accepted connections the system keeps them in line like everybody.
//! Fails:  beyond a bound a request is answered 503 with `Retry-After` before anything of it is kept,
//!         and surely nothing was written.
//! Proof:  the tests below; `tests/tests/faults/overload.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::{HttpMessage as _, HttpRequest};
use api::Malformed;
use api::limits::{self, BATCH_BODY_MAX, DOCUMENT_BODY_MAX, REASON_BODY_MAX, RUN_BODY_MAX};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::problem::{self, Fault};

/// Connections served at a time. An idle one costs some 10 KiB; beyond, each is closed with its answer.
const CONNECTIONS_MAX: usize = 8_192;
/// Files that are kept for everything else: Redis, output, other instances, the archive.
const OTHER_FILES: usize = 256;
/// Accepted beyond those, one for so many, to be answered and closed.
const SERVED_FOR_ONE_MORE: usize = 8;
/// Of the connections there may be, so many of eight are kept open between two requests.
const KEPT_OF_EIGHT: usize = 7;
/// Bytes of bodies at a time: eight of the largest. What is made of them takes some four times that.
const BODY_BYTES_MAX: usize = 8 * BATCH_BODY_MAX;
/// Callers at a time that wait for something to happen (`wait`, `follow`): half of the connections,
/// so that whoever asks for what is there finds room.
const WAITING_MAX: usize = CONNECTIONS_MAX / 2;

/// Long lists and batches that are worked on at a time, for each thread of the server: each takes some
/// milliseconds of it at a stretch.
const TURNS_A_THREAD: usize = 2;
/// So many more wait for their turn, and so long. Beside them, as many of those who said that they wait
/// (`wait`) as there are turns: one entry wakes all of them at once.
const TURNS_WAITING_MAX: usize = 64;
pub const TURN_WITHIN: Duration = Duration::from_secs(5);

/// What tells how the house is.
pub const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// What keeps it going.
const AGENTS: &str = "/v1/agent/session";

/// A body that is refused is read and thrown away, since its sender reads the answer when all is sent;
/// so much of it, and, unseen, so long.
pub const DRAIN_BYTES: usize = 16 << 20;
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// Something of which there is only so much, taken and given back.
#[derive(Clone, Debug, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, n: usize) -> Held {
        self.0.fetch_add(n, Ordering::Relaxed);
        Held { of: self.clone(), n }
    }

    fn take_up_to(&self, n: usize, most: usize) -> Option<Held> {
        let held = self.take(n);
        (self.now() <= most).then_some(held)
    }
}

/// A share of a [`Count`]. That of a body lies with its request until the request is answered or waits.
#[derive(Debug)]
pub struct Held {
    of: Count,
    n: usize,
}

impl Held {
    /// Makes it a share of this size.
    pub fn resize(&mut self, n: usize) {
        self.of.0.fetch_add(n, Ordering::Relaxed);
        self.of.0.fetch_sub(self.n, Ordering::Relaxed);
        self.n = n;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.n, Ordering::Relaxed);
    }
}

/// The turn of what works, waits and works again; where it is of no line, nothing.
#[derive(Debug, Default)]
pub struct Turn {
    held: Option<OwnedSemaphorePermit>,
    of: Option<Ingress>,
}

impl Turn {
    /// Gives it up, for what is waited for takes no processor.
    pub fn rest(&mut self) {
        self.held = None;
    }

    /// Takes it again, as [`Ingress::turn_to_go_on`] does.
    pub async fn go_on(&mut self) {
        if let (None, Some(of)) = (&self.held, &self.of) {
            self.held = of.turn_to_go_on().await;
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Ingress {
    connections: Count,
    body_bytes: Count,
    waiting: Count,
    shed: Count,
    turns: Arc<Semaphore>,
    in_line: Count,
    patient: Arc<Semaphore>,
    accepted: usize,
}

/// What a request holds while it is worked on.
#[derive(Debug, Default)]
pub struct Entered {
    /// Until it is decided.
    pub body: Option<Held>,
    /// Until the answer is sent.
    pub waiting: Option<Held>,
}

impl Ingress {
    /// With so many files for connections and everything else, and so many threads.
    pub fn new(files: usize, threads: usize) -> Self {
        let room = files.saturating_sub(OTHER_FILES).max(OTHER_FILES);
        let accepted = room.min(CONNECTIONS_MAX + CONNECTIONS_MAX / SERVED_FOR_ONE_MORE);
        let (count, turns) = (Count::default, TURNS_A_THREAD * threads.max(1));
        Self {
            connections: count(),
            body_bytes: count(),
            waiting: count(),
            shed: count(),
            turns: Arc::new(Semaphore::new(turns)),
            in_line: count(),
            patient: Arc::new(Semaphore::new(turns)),
            accepted,
        }
    }

    /// The turn of a long list or a batch, until it is dropped. Between two of them the thread looks at
    /// its connections: those who wait would else be worked off one after another, and an agent that
    /// says something meanwhile would be heard after all of them.
    ///
    /// # Errors
    /// Too many wait for theirs, or it did not come.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let taken = match self.in_line.take_up_to(1, TURNS_WAITING_MAX) {
            Some(_in_line) => timeout(TURN_WITHIN, self.taken()).await.ok(),
            None => None,
        };
        self.begun(taken).await
    }

    /// The turn of a long list whose caller waits until then anyway, and is one of those of whom there
    /// are only so many: however long the line is.
    ///
    /// # Errors
    /// It had not come [`TURN_WITHIN`] after that.
    pub async fn turn_by(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Fault> {
        let taken = async {
            let _before_the_line = self.patient.acquire().await;
            self.taken().await
        };
        let taken = timeout_at(deadline + TURN_WITHIN, taken).await.ok();
        self.begun(taken).await
    }

    /// The turn of a batch, which is given up while the batch waits for something.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub async fn batch(&self) -> Result<Turn, Fault> {
        Ok(Turn { held: Some(self.turn().await?), of: Some(self.clone()) })
    }

    /// The turn of what is done already, or under way, and can't be turned away any more: however long
    /// the line is, and after [`TURN_WITHIN`] without one.
    pub async fn turn_to_go_on(&self) -> Option<OwnedSemaphorePermit> {
        let turn = timeout(TURN_WITHIN, self.taken()).await.ok();
        tokio::task::yield_now().await;
        turn?
    }

    async fn taken(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.turns.clone().acquire_owned().await.ok()
    }

    /// Begins a turn that was taken in time.
    async fn begun(
        &self,
        taken: Option<Option<OwnedSemaphorePermit>>,
    ) -> Result<OwnedSemaphorePermit, Fault> {
        let Some(turn) = taken else {
            self.shed.0.fetch_add(1, Ordering::Relaxed);
            return Err(problem::overloaded("as many long lists and batches as it can"));
        };
        tokio::task::yield_now().await;
        turn.ok_or_else(problem::unanswered)
    }

    /// Connections that are accepted at a time: all the files they may take.
    pub fn accepted(&self) -> usize {
        self.accepted
    }

    /// Connections that are served at a time; the others are answered and closed.
    pub fn most(&self) -> usize {
        self.accepted - self.accepted / (SERVED_FOR_ONE_MORE + 1)
    }

    /// Connections that there are.
    pub fn connections(&self) -> usize {
        self.connections.now()
    }

    /// Requests that were turned away.
    pub fn shed(&self) -> usize {
        self.shed.now()
    }

    /// A connection, until it is dropped.
    pub fn connected(&self) -> Held {
        self.connections.take(1)
    }

    /// Whether a connection is to be closed with the answer to a request. Not with a probe's: a follower
    /// holds its leader's connection, asks for nothing else there, and would come again at once.
    pub fn closes(&self, path: &str) -> bool {
        !PROBES.contains(&path) && self.connections.now() > self.most() / 8 * KEPT_OF_EIGHT
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn enter(&self, request: &ServiceRequest) -> Result<Entered, Fault> {
        let path = request.path();
        if PROBES.contains(&path) || path == AGENTS {
            return Ok(Entered::default());
        }
        self.let_in(body_bytes(request), waits(request.query_string())).map_err(|what| {
            self.shed.0.fetch_add(1, Ordering::Relaxed);
            problem::overloaded(what)
        })
    }

    fn let_in(&self, bytes: usize, waits: bool) -> Result<Entered, &'static str> {
        if self.connections.now() > self.most() {
            return Err("as many connections as it can");
        }
        let mut entered = Entered::default();
        if bytes > 0 {
            let held = self.body_bytes.take_up_to(bytes, BODY_BYTES_MAX);
            entered.body = Some(held.ok_or("as much in bodies of requests as it can")?);
        }
        if waits {
            let held = self.waiting.take_up_to(1, WAITING_MAX);
            entered.waiting = Some(held.ok_or("as many callers that wait as it can")?);
        }
        Ok(entered)
    }
}

impl Default for Ingress {
    /// As many as there may ever be.
    fn default() -> Self {
        Self::new(usize::MAX, 1)
    }
}

/// How much of a body may come; nothing is kept of more than its route takes.
fn body_bytes(request: &ServiceRequest) -> usize {
    let (headers, (most, _)) = (request.headers(), body_limit(request.request()));
    if headers.contains_key(TRANSFER_ENCODING) {
        return most;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0).min(most)
}

/// What refuses a body that is too large.
type Check = fn(usize) -> Result<(), Malformed>;

/// The largest body that a request's route takes, and what refuses a larger one. The path is what
/// routes are found by: without the escapes that it may have come with.
pub fn body_limit(request: &HttpRequest) -> (usize, Check) {
    match request.match_info().as_str() {
        "/v1/runs" => (RUN_BODY_MAX, limits::check_run_body),
        "/v1/runs:batch" => (BATCH_BODY_MAX, limits::check_batch_body),
        path if carries_a_reason(path) => (REASON_BODY_MAX, limits::check_reason_body),
        _ => (DOCUMENT_BODY_MAX, limits::check_document_body),
    }
}

fn carries_a_reason(path: &str) -> bool {
    let run = path.strip_prefix("/v1/runs/");
    run.is_some_and(|run| run.ends_with("/release") || run.ends_with("/reject"))
        || path.starts_with("/v1/queue/dead/") && path.ends_with("/redrive")
}

/// Gives back the share of a body that is of no more use.
pub fn give_back(request: &HttpRequest) {
    request.extensions_mut().remove::<Held>();
}

/// Whether a query asks for an answer that waits for something.
fn waits(query: &str) -> bool {
    query.split('&').any(|pair| pair.starts_with("wait=") || pair == "follow=true")
}

/// Reads a body and throws it away.
pub async fn drain(mut payload: Payload) {
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(part)) = payload.next().await {
            seen += part.len();
            if seen > DRAIN_BYTES {
                break;
            }
        }
    };
    // Whoever is slower than that does not get to see the answer.
    let _ = timeout(DRAIN_WITHIN, reading).await;
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn beyond_each_bound_nobody_comes_in_until_somebody_has_left() {
        let ingress = Ingress::default();
        let bodies: Vec<_> = (0..8).map(|_| ingress.let_in(BATCH_BODY_MAX, false)).collect();
        assert!(bodies.iter().all(Result::is_ok));
        assert!(ingress.let_in(1, false).is_err() && ingress.let_in(0, false).is_ok());
        drop(bodies);
        assert!(ingress.let_in(1, false).is_ok(), "what was refused holds nothing");
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| ingress.let_in(0, true)).collect();
        assert!(waiting.iter().all(Result::is_ok));
        assert!(ingress.let_in(0, true).is_err() && ingress.let_in(9, false).is_ok());
        drop(waiting);
        assert!(ingress.let_in(0, true).is_ok());
    }

    #[test]
    fn connections_are_as_many_as_files_allow_and_idle_ones_go_first() {
        for (files, accepted, most) in [
            (usize::MAX, 9_216, CONNECTIONS_MAX),
            (1_024, 1_024 - OTHER_FILES, 683),
            (300, 256, 228),
            (0, 256, 228),
        ] {
            let ingress = Ingress::new(files, 1);
            assert_eq!((ingress.accepted(), ingress.most()), (accepted, most), "{files}");
        }
        let ingress = Ingress::new(1_024, 1);
        let mut all: Vec<_> = (0..595).map(|_| ingress.connected()).collect();
        assert!(!ingress.closes("/v1/runs"));
        all.extend((595..683).map(|_| ingress.connected()));
        assert!(ingress.closes("/v1/runs") && ingress.let_in(0, false).is_ok());
        assert!(!ingress.closes("/readyz"), "a follower that holds it would come again and again");
        all.push(ingress.connected());
        assert!(ingress.let_in(0, false).is_err());
        drop(all);
        assert!(!ingress.closes("/v1/runs") && ingress.connections() == 0);
    }

    #[tokio::test]
    async fn long_work_takes_turns_and_a_crowd_is_told_to_come_back() {
        let ingress = Ingress::new(usize::MAX, 2);
        let mut turns = Vec::new();
        for _ in 0..4 {
            turns.push(ingress.turn().await.expect("a turn"));
        }
        let mut waiting: Vec<_> =
            (0..TURNS_WAITING_MAX).map(|_| Box::pin(ingress.turn())).collect();
        for turn in &mut waiting {
            assert!(futures_util::poll!(turn).is_pending(), "two a thread");
        }
        assert!(ingress.turn().await.is_err());
        drop((turns, waiting));
        assert!(ingress.turn().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_gives_up_its_turn_and_takes_it_again_however_long_the_line_is() {
        let ingress = Ingress::new(usize::MAX, 1);
        let mut batch = ingress.batch().await.expect("one");
        let other = ingress.turn().await.expect("two");
        let mut line: Vec<_> = (0..TURNS_WAITING_MAX).map(|_| Box::pin(ingress.turn())).collect();
        for turn in &mut line {
            assert!(futures_util::poll!(turn).is_pending());
        }
        batch.rest();
        let first = line.remove(0).await.expect("that of the batch");
        let mut next = Box::pin(ingress.turn());
        assert!(futures_util::poll!(&mut next).is_pending(), "the line is full again");
        assert!(ingress.turn().await.is_err());
        let mut again = Box::pin(batch.go_on());
        assert!(futures_util::poll!(&mut again).is_pending(), "it stands in line");
        drop((other, first, line, next));
        again.await;
        let third = ingress.turn().await.expect("beside the batch's");
        assert_eq!((ingress.turns.available_permits(), ingress.shed()), (0, 1));
        let began = Instant::now();
        assert!(ingress.turn_to_go_on().await.is_none() && began.elapsed() >= TURN_WITHIN);
        drop((batch, third));
        let mut none = Turn::default();
        none.go_on().await;
        assert_eq!((ingress.turns.available_permits(), ingress.shed()), (2, 1));
    }

    #[tokio::test]
    async fn who_waits_anyway_is_not_turned_away_and_does_not_stand_before_everybody() {
        let ingress = Ingress::new(usize::MAX, 1);
        let turns = (ingress.turn().await.expect("one"), ingress.turn().await.expect("two"));
        let by = Instant::now() + Duration::from_secs(60);
        let mut patient: Vec<_> =
            (0..3 * TURNS_WAITING_MAX).map(|_| Box::pin(ingress.turn_by(by))).collect();
        for turn in &mut patient {
            assert!(futures_util::poll!(turn).is_pending(), "however many there are");
        }
        let mut next = Box::pin(ingress.turn());
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(turns);
        let before = async {
            let mut before = 0;
            for turn in patient {
                drop(turn.await.expect("a turn"));
                before += 1;
            }
            before
        };
        let mut before = Box::pin(before);
        let next = tokio::select! {
            biased;
            next = &mut next => next,
            before = &mut before => panic!("behind {before} who wait anyway"),
        };
        drop(next.expect("a turn"));
        assert_eq!(before.await, 3 * TURNS_WAITING_MAX);
        assert_eq!(ingress.shed(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_is_not_waited_for_without_end() {
        let ingress = Ingress::new(usize::MAX, 1);
        let _turns = (ingress.turn().await.expect("one"), ingress.turn().await.expect("two"));
        let began = Instant::now();
        let asked = timeout(TURN_WITHIN * 2, ingress.turn()).await.expect("an end");
        assert!(asked.is_err() && began.elapsed() >= TURN_WITHIN && ingress.shed() == 1);
        let by = Instant::now() + Duration::from_secs(60);
        let asked = timeout(Duration::from_secs(120), ingress.turn_by(by)).await.expect("an end");
        assert!(asked.is_err() && Instant::now() >= by + TURN_WITHIN && ingress.shed() == 2);
    }

    #[test]
    fn a_body_without_a_length_counts_as_what_its_route_takes_and_then_as_what_came() {
        let ingress = Ingress::default();
        for (path, most) in [
            ("/v1/runs", RUN_BODY_MAX),
            ("/v1/runs:batch", BATCH_BODY_MAX),
            ("/v1/runs%3Abatch", BATCH_BODY_MAX),
            ("/v1/runs/x/cancel", DOCUMENT_BODY_MAX),
            ("/v1/runs/x/release", REASON_BODY_MAX),
            ("/v1/runs/x/reject", REASON_BODY_MAX),
            ("/v1/queue/dead/x/redrive", REASON_BODY_MAX),
            ("/v1/policies/reject", DOCUMENT_BODY_MAX),
        ] {
            let request = actix_web::test::TestRequest::post().uri(path);
            let request = request.insert_header((TRANSFER_ENCODING, "chunked"));
            let mut entered = ingress.enter(&request.to_srv_request()).expect("room");
            assert_eq!(ingress.body_bytes.now(), most, "{path}");
            entered.body.as_mut().expect("a share").resize(9);
            assert_eq!(ingress.body_bytes.now(), 9, "{path}");
        }
        assert_eq!(ingress.body_bytes.now(), 0);
    }

    #[tokio::test]
    async fn between_two_turns_a_thread_looks_at_its_connections() {
        let ingress = Ingress::new(usize::MAX, 1);
        let (mut agent, house) = std::os::unix::net::UnixStream::pair().expect("a connection");
        house.set_nonblocking(true).expect("it can be waited for");
        let mut house = tokio::net::UnixStream::from_std(house).expect("a connection");
        let done = Count::default();
        let before = done.clone();
        let heard = tokio::spawn(async move {
            house.read_u8().await.expect("it is heard");
            before.now()
        });
        let crowd: Vec<_> = (0..20)
            .map(|_| {
                let (ingress, done) = (ingress.clone(), done.clone());
                tokio::spawn(async move {
                    let _turn = ingress.turn().await.expect("a turn");
                    std::mem::forget(done.take(1));
                })
            })
            .collect();
        agent.write_all(b"x").expect("said");
        let before = heard.await.expect("heard");
        assert!(before <= 2 * TURNS_A_THREAD, "heard after {before} of {}", crowd.len());
        futures_util::future::join_all(crowd).await;
    }

    #[test]
    fn who_waits_says_so() {
        for (query, waiting) in [
            ("", false),
            ("limit=3", false),
            ("wait=30s", true),
            ("index=4&wait=5m", true),
            ("follow=true&stream=stdout", true),
            ("follow=false", false),
            ("label=wait%3D1", false),
        ] {
            assert_eq!(waits(query), waiting, "{query}");
        }
    }
}

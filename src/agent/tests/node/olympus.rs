//! A scripted Olympus: a real socket, and a test that says what is said on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use api::session::{
    Action, AttemptRef, AttemptSpec, Finished, FromAgent, Hello, Output, OutputAck, ReportAck,
    ReportKind, Stream, TemplatePin, Terms, ToAgent, Want, Wants, Welcome, chunk_header,
};
use domain::Texts;
use domain::ids::{Hex, RunId};
use domain::law::RootFs;
use domain::submission::{OnLost, Resources};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use uuid::Uuid;

/// Nothing here takes a second; a test that hangs must end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const CLUSTER: Uuid = Uuid::from_u128(0xC1);

/// Terms under which nothing runs out of time by accident.
pub(crate) fn terms() -> Terms {
    Terms { grace_ms: 2_000, ..Terms::for_ttl(60_000) }
}

/// Terms under which silence is noticed at once.
pub(crate) fn short_terms() -> Terms {
    Terms { grace_ms: 500, ..Terms::for_ttl(900) }
}

pub(crate) struct Olympus {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Olympus {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connection, and the hello on it.
    pub(crate) async fn hello(&self) -> Session {
        let (stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .expect("the agent should connect")
            .unwrap();
        stream.set_nodelay(true).unwrap();
        let mut bearer = None;
        #[allow(clippy::result_large_err, reason = "the shape of the library's callback")]
        let upgrade = |request: &Request, response: Response| {
            assert_eq!(request.uri().path(), "/v1/agent/session");
            let value = request.headers().get("authorization");
            bearer = value.map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, upgrade).await.unwrap();
        let mut session = Session {
            socket,
            bearer,
            hello: None,
            index: 0,
            epoch: 1,
            mute: BTreeSet::new(),
            specs: BTreeSet::new(),
        };
        match session.next().await {
            Said::Text(FromAgent::Hello(hello)) => session.hello = Some(*hello),
            other => panic!("the hello should come first: {other:?}"),
        }
        session
    }

    /// The next session, welcomed.
    pub(crate) async fn welcome(&self, terms: Terms) -> Session {
        let mut session = self.hello().await;
        session.welcome(1, terms).await;
        session
    }
}

/// What an Olympus may leave unanswered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mute {
    Heartbeats,
    Output,
    Reports,
}

#[derive(Debug)]
pub(crate) enum Said {
    Text(FromAgent),
    Chunk(Chunk),
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) of: AttemptRef,
    pub(crate) number: u32,
    pub(crate) stream: Stream,
    pub(crate) data: Vec<u8>,
}

/// One session. Acknowledges everything it reads, unless told to be mute.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    pub(crate) bearer: Option<String>,
    hello: Option<Hello>,
    index: u64,
    epoch: u64,
    mute: BTreeSet<Mute>,
    specs: BTreeSet<AttemptRef>,
}

impl Session {
    pub(crate) fn hello(&self) -> &Hello {
        self.hello.as_ref().expect("hello was heard")
    }

    pub(crate) fn mute(&mut self, what: Mute) {
        self.mute.insert(what);
    }

    pub(crate) fn unmute(&mut self, what: Mute) {
        self.mute.remove(&what);
    }

    pub(crate) async fn say(&mut self, message: ToAgent) {
        let text = serde_json::to_string(&message).unwrap();
        // A connection the agent has closed is seen when it is read.
        let _ = self.socket.send(Message::text(text)).await;
    }

    pub(crate) async fn welcome(&mut self, epoch: u64, terms: Terms) {
        self.epoch = epoch;
        self.say(ToAgent::Welcome(Welcome { cluster: CLUSTER, epoch, terms })).await;
    }

    /// Says what the node should have; the specs go out the first time.
    pub(crate) async fn wants(&mut self, work: &[(&Work, Action)]) {
        self.index += 1;
        let mut attempts = Vec::new();
        for (work, action) in work {
            let spec = self.specs.insert(work.of).then(|| Box::new(work.spec.clone()));
            attempts.push(Want { of: work.of, action: *action, spec });
        }
        let (epoch, index) = (self.epoch, self.index);
        self.say(ToAgent::Wants(Wants { epoch, index, attempts })).await;
    }

    pub(crate) async fn output_ack(&mut self, of: AttemptRef, next: u32) {
        self.say(ToAgent::OutputAck(OutputAck { of, next })).await;
    }

    pub(crate) async fn report_ack(&mut self, of: AttemptRef, kind: ReportKind, recorded: bool) {
        self.say(ToAgent::ReportAck(ReportAck { of, kind, recorded })).await;
    }

    /// The next thing said, acknowledged.
    pub(crate) async fn next(&mut self) -> Said {
        let said = loop {
            let frame =
                timeout(PATIENCE, self.socket.next()).await.expect("the agent should speak");
            match frame {
                Some(Ok(Message::Text(text))) => {
                    break Said::Text(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Binary(frame))) => {
                    let Output { of, number, stream, time_ms, data } =
                        Output::from_frame(&frame).unwrap();
                    assert!(time_ms > 1_700_000_000_000, "{time_ms}");
                    break Said::Chunk(Chunk { of, number, stream, data: data.to_vec() });
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break Said::Closed,
                Some(Ok(_)) => {}
            }
        };
        match &said {
            Said::Text(FromAgent::Heartbeat { n, .. })
                if !self.mute.contains(&Mute::Heartbeats) =>
            {
                self.say(ToAgent::HeartbeatAck { n: *n, newest: None }).await;
            }
            Said::Chunk(chunk) if !self.mute.contains(&Mute::Output) => {
                self.output_ack(chunk.of, chunk.number + 1).await;
            }
            Said::Text(report) if !self.mute.contains(&Mute::Reports) => {
                let (of, kind) = match report {
                    FromAgent::Started(of) => (*of, ReportKind::Started),
                    FromAgent::Finished(finished) => (finished.of, ReportKind::Finished),
                    FromAgent::Gone(of) => (*of, ReportKind::Gone),
                    FromAgent::Hello(_) | FromAgent::Heartbeat { .. } | FromAgent::Goodbye {} => {
                        return said;
                    }
                };
                self.report_ack(of, kind, true).await;
            }
            Said::Text(_) | Said::Chunk(_) | Said::Closed => {}
        }
        said
    }

    /// Reads until something is what is looked for.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut is: impl FnMut(&Said) -> Option<T>,
    ) -> T {
        loop {
            let said = self.next().await;
            if let Some(found) = is(&said) {
                return found;
            }
            assert!(!matches!(said, Said::Closed), "closed before {what}");
        }
    }

    pub(crate) async fn started(&mut self, work: &Work) {
        let is = |said: &Said| matches!(said, Said::Text(FromAgent::Started(of)) if *of == work.of);
        self.until("started", |said| is(said).then_some(())).await;
    }

    pub(crate) async fn gone(&mut self, work: &Work) {
        let is = |said: &Said| matches!(said, Said::Text(FromAgent::Gone(of)) if *of == work.of);
        self.until("gone", |said| is(said).then_some(())).await;
    }

    pub(crate) async fn chunk(&mut self, work: &Work) -> Chunk {
        self.until("a chunk", |said| match said {
            Said::Chunk(chunk) if chunk.of == work.of => Some(chunk.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn closed(&mut self) {
        while !matches!(self.next().await, Said::Closed) {}
    }

    /// Reads one attempt to its end, and checks what it says of its output against what came.
    pub(crate) async fn finish(&mut self, work: &Work) -> Ended {
        self.finish_all(&[work]).await.remove(&work.of).expect("it ended")
    }

    pub(crate) async fn finish_all(&mut self, work: &[&Work]) -> BTreeMap<AttemptRef, Ended> {
        let mut chunks: BTreeMap<AttemptRef, Vec<Chunk>> = BTreeMap::new();
        let mut ended = BTreeMap::new();
        while ended.len() < work.len() {
            match self.next().await {
                Said::Chunk(chunk) => chunks.entry(chunk.of).or_default().push(chunk),
                Said::Text(FromAgent::Finished(finished)) => {
                    let all = chunks.remove(&finished.of).unwrap_or_default();
                    if work.iter().any(|work| work.of == finished.of) {
                        ended.insert(finished.of, Ended::new(*finished, all));
                    }
                }
                Said::Text(_) => {}
                Said::Closed => panic!("closed before all had ended"),
            }
        }
        ended
    }
}

/// An attempt that ended, and all it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) finished: Finished,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    fn new(finished: Finished, chunks: Vec<Chunk>) -> Self {
        let mut digest = blake3::Hasher::new();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        for (number, chunk) in chunks.iter().enumerate() {
            assert_eq!(chunk.number as usize, number, "chunks come in order, from the first");
            digest.update(&chunk_header(chunk.stream, chunk.data.len() as u32));
            digest.update(&chunk.data);
            match chunk.stream {
                Stream::Stdout => stdout.extend_from_slice(&chunk.data),
                Stream::Stderr => stderr.extend_from_slice(&chunk.data),
            }
        }
        let summary = finished.output;
        assert_eq!(summary.chunks as usize, chunks.len());
        assert_eq!(summary.stdout_bytes, stdout.len() as u64);
        assert_eq!(summary.stderr_bytes, stderr.len() as u64);
        let digest = (!chunks.is_empty()).then(|| Hex(*digest.finalize().as_bytes()));
        assert_eq!(summary.digest, digest);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { finished, stdout: text(stdout), stderr: text(stderr) }
    }
}

/// An attempt to be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) of: AttemptRef,
    pub(crate) spec: AttemptSpec,
}

impl Work {
    pub(crate) fn new(command: &[&str]) -> Self {
        let of = AttemptRef {
            run: RunId(Uuid::now_v7()),
            attempt: 1,
            token: Hex(*Uuid::new_v4().as_bytes()),
        };
        let spec = AttemptSpec {
            template: TemplatePin { name: "host".into(), version: 0, rootfs: RootFs::Host },
            command: command.iter().map(|&word| word.into()).collect(),
            env: Texts::default(),
            stdin: "".into(),
            resources: Resources { ttl_ms: 60_000, ..Resources::DEFAULT },
            on_lost: OnLost::Retry,
        };
        Self { of, spec }
    }

    pub(crate) fn shell(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    /// Says `up`, and then does nothing for longer than any test. Findable on this machine by
    /// [`Work::alive`].
    pub(crate) fn sleeper() -> Self {
        let mut work = Self::shell("");
        let script = format!("echo up; sleep 1000 # {}", work.of.token);
        work.spec.command[2] = script.into();
        work
    }

    /// Whether a process of this sleeper is there.
    pub(crate) fn alive(&self) -> bool {
        let token = self.of.token.to_string();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut commands = processes.filter_map(|process| {
            let id = process.file_name().to_str()?.parse::<u32>().ok()?;
            // The programs of this suite itself carry no token in their arguments.
            std::fs::read(format!("/proc/{id}/cmdline")).ok()
        });
        commands.any(|command| String::from_utf8_lossy(&command).contains(&format!("# {token}")))
    }

    pub(crate) async fn dies(&self) {
        let dead = async {
            while self.alive() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, dead).await.expect("it should be killed");
    }
}

//! Olympus' end of an agent's session: `GET /v1/agent/session`.
//!
//! Owns:   one WebSocket, and which specs went over it.
//! Hears:  what the agent says, by the rules of [`api::session`]; that the wants of its node have
//!         changed.
//! Says:   wants as the durable view has them, acknowledgements of what is durable.
//! Never:  believes an agent about an attempt that is not its node's; acknowledges a report before
//!         it is in the journal, a heartbeat before its key is written, output before it is kept.
//! Fails:  a broken rule, a lost lease or a shut house ends the session; the agent comes back.
//! Proof:  `tests/live`, and `src/agent/tests` for the other end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use api::session::{
    Action, AttemptRef, AttemptSpec, FromAgent, Hello, Output, OutputAck, PROTOCOL, RefusalCode,
    Refused, ReportAck, ReportKind, SPEC_BYTES_PER_WANTS, TemplatePin, Terms, ToAgent, Want, Wants,
    Welcome, Witnessed,
};
use domain::command::{Join, Report, Reported};
use domain::event::NodeLostCause;
use domain::{NodeId, Sequence, Token};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture};
use olympus_actors::registry::{self, LoseNode};
use olympus_actors::sessions::{Connect, Disconnect, Heard};
use olympus_actors::view::{self, WantsOf};
use olympus_actors::{Failure, ask, begin};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::agent_wire::{End, Frame, WebSocket, Wire, refuse};
use crate::house::{Door, House, Role, State};
use crate::output::{Append, Seal};

/// An agent must say hello at once; a connection that says nothing is somebody else's.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Opens a session, and serves it on this worker until it ends.
///
/// # Errors
/// The request is no WebSocket handshake.
pub fn open(
    request: &HttpRequest,
    payload: web::Payload,
    house: Result<House, Refused>,
    terms: Terms,
) -> Result<HttpResponse, actix_web::Error> {
    let (response, mut wire) = WebSocket::open(request, payload)?;
    actix_web::rt::spawn(async move {
        attend(house, terms, &mut wire).await;
        wire.close().await;
    });
    Ok(response)
}

/// The house behind a door that an agent may have a session with: a leader's.
///
/// # Errors
/// What to tell the agent instead.
pub fn host(door: &Door) -> Result<House, Refused> {
    match &*door.state() {
        State::Open(house) => match &house.role {
            Role::Leader => Ok(house.clone()),
            Role::Follower(sight) => Err(Refused {
                code: RefusalCode::NotLeader,
                detail: "this instance follows another".into(),
                leader: sight.borrow().live_leader().map(Into::into),
            }),
        },
        State::Shut(why) => Err(Refused {
            code: RefusalCode::Unavailable,
            detail: why.as_str().into(),
            leader: None,
        }),
    }
}

/// Serves a session over a wire until it ends, and tells the agent why it does.
pub async fn attend(house: Result<House, Refused>, terms: Terms, wire: &mut impl Wire) {
    let ended = match house {
        Ok(house) => serve(&house, terms, wire).await,
        Err(refused) => Err(End::Refused(refused)),
    };
    if let Err(End::Refused(refused)) = ended {
        log::info!(code:? = refused.code, detail = &*refused.detail; "end an agent's session");
        let _ = wire.say(&ToAgent::Refused(refused)).await;
    }
}

/// The whole life of a session.
async fn serve(house: &House, terms: Terms, wire: &mut impl Wire) -> Result<(), End> {
    let hello = match tokio::time::timeout(HELLO_WITHIN, wire.next()).await {
        Ok(Ok(Frame::Said(FromAgent::Hello(hello)))) => hello,
        Ok(Ok(_)) => return Err(refuse(RefusalCode::Protocol, "the first frame is not a hello")),
        Ok(Err(end)) => return Err(end),
        Err(_) => return Err(refuse(RefusalCode::Protocol, "no hello within 10 s")),
    };
    let node = hello.node.clone();
    if let Err(end) = check(house, &hello) {
        let stale =
            matches!(&end, End::Refused(refused) if refused.code == RefusalCode::StaleEpoch);
        // What an agent saw counts, also where an old copy of the journal has forgotten its epoch.
        if stale {
            house.witnesses.hear(house, &node, hello.seen).await;
        }
        return Err(end);
    }
    // Nothing is waited for before: the journal may take its time, and meanwhile the process that said
    // this may be gone, and another have come. A hello that is taken behind its successor's would end
    // what that one runs, in the journal alone.
    let connect = Connect { node: node.clone(), boot: hello.boot };
    let connected = house.sessions.send(connect).await.map_err(|_| stopping())?;
    let connected =
        connected.map_err(|other| refuse(RefusalCode::DuplicateNode, other.to_string()))?;
    let number = connected.session;
    let served = connected_session(house, terms, wire, *hello, number, connected.wants).await;
    // A house that is gone has forgotten its sessions.
    let _ = house.sessions.send(Disconnect { node, session: number }).await;
    served
}

fn stopping() -> End {
    refuse(RefusalCode::Unavailable, "this instance does not lead any more")
}

fn check(house: &House, hello: &Hello) -> Result<(), End> {
    if hello.protocol != PROTOCOL {
        let detail = format!(
            "the agent speaks protocol {}, this instance {PROTOCOL}: use agents of version {}",
            hello.protocol,
            env!("CARGO_PKG_VERSION")
        );
        return Err(refuse(RefusalCode::Version, detail));
    }
    let id = hello.node.as_str();
    if id.is_empty()
        || id.len() > NodeId::MAX_LEN
        || !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        let detail = format!(
            "node id {id:?} is not 1 to {} letters, digits, '-', '_' or '.': set TARTARUS_NODE_ID",
            NodeId::MAX_LEN
        );
        return Err(refuse(RefusalCode::BadHello, detail));
    }
    for (key, value) in &hello.labels {
        let bad = api::labels::check_key(key).err().or(api::labels::check_value(value).err());
        if let Some(bad) = bad {
            return Err(refuse(RefusalCode::BadHello, format!("HADES_LABEL: {bad}")));
        }
    }
    if hello.capacity.cpu_milli == 0 || hello.capacity.mem_mb == 0 {
        let detail = "a node needs CPU and memory: set TARTARUS_NODE_CPU_MILLI and \
                      TARTARUS_NODE_MEM_MB";
        return Err(refuse(RefusalCode::BadHello, detail));
    }
    if hello.cluster == Some(house.identity.cluster.0) && hello.highest_epoch > house.epoch {
        let detail = format!(
            "the agent has seen epoch {}, this instance leads epoch {}",
            hello.highest_epoch, house.epoch
        );
        return Err(refuse(RefusalCode::StaleEpoch, detail));
    }
    Ok(())
}

async fn connected_session(
    house: &House,
    terms: Terms,
    wire: &mut impl Wire,
    hello: Hello,
    number: u64,
    mut changed: watch::Receiver<Sequence>,
) -> Result<(), End> {
    let node = hello.node.clone();
    let join = Join {
        node: node.clone(),
        boot: hello.boot,
        labels: hello.labels,
        capacity: hello.capacity,
        isolation: hello.isolation,
        runtime: hello.runtime,
        version: hello.version,
    };
    match ask(&house.registry, |reply| registry::Join { join, reply }).await {
        Ok(_) => {}
        Err(Failure::Refused(refusal)) => {
            return Err(refuse(RefusalCode::BadHello, refusal.to_string()));
        }
        Err(failure) => return Err(refuse(RefusalCode::Unavailable, failure.to_string())),
    }
    let ttl = Duration::from_millis(terms.ttl_ms);
    let beat = Beat { node: node.clone(), boot: hello.boot, url: house.url.clone(), ttl };
    beat.write(house, hello.seen).await.map_err(|why| refuse(RefusalCode::Unavailable, why))?;
    let (cluster, epoch) = (house.identity.cluster.0, house.epoch);
    wire.say(&ToAgent::Welcome(Welcome { cluster, epoch, terms })).await?;

    let mut talk = Talk {
        house,
        node: node.clone(),
        attempts: BTreeMap::new(),
        specs_sent: BTreeSet::new(),
        work: FuturesUnordered::new(),
    };
    if hello.cluster == Some(cluster) {
        let (house, node, seen) = (house.clone(), node.clone(), hello.seen);
        let hear = async move {
            house.witnesses.hear(&house, &node, seen).await;
            None
        };
        talk.work.push(hear.boxed_local());
    }
    changed.mark_unchanged();
    let first = talk.wants().await?;
    for of in hello.attempts.iter().filter(|of| talk.holds(of)) {
        wire.say(&talk.output_ack(*of).await?).await?;
    }
    talk.say_wants(first, wire).await?;
    // Wants and answers on their way to it say nothing of the agent.
    let mut silent_at = Instant::now() + ttl;
    loop {
        tokio::select! {
            // Answers first, of which there is one a frame; wants are looked at after each of
            // these, so that none of them waits for a quiet moment. A role that is over ends it with
            // its actors, which close `changed`.
            biased;
            Some(done) = talk.work.next(), if !talk.work.is_empty() => {
                if let Some(answer) = done {
                    wire.say(&answer?).await?;
                }
            }
            frame = tokio::time::timeout_at(silent_at, wire.next()) => {
                silent_at = Instant::now() + ttl;
                let frame = frame
                    .map_err(|_| refuse(RefusalCode::Protocol, "nothing was heard for the ttl"))?;
                match frame? {
                    Frame::Said(FromAgent::Goodbye {}) => {
                        return leave(house, &node, hello.boot).await;
                    }
                    Frame::Said(FromAgent::Heartbeat { n, seen }) => {
                        let (house, beat) = (house.clone(), beat.clone());
                        let (node, session) = (node.clone(), number);
                        talk.work.push(async move {
                            // Without its key a heartbeat is not acknowledged; the agent fences
                            // itself in time.
                            beat.write(&house, seen).await.ok()?;
                            let newest = house.witnesses.hear(&house, &node, seen).await;
                            let heard = house.sessions.send(Heard { node, session }).await;
                            // Of a node that is about to be lost neither: what it would run for as
                            // long as that says is given to others.
                            heard.ok()?.then_some(Ok(ToAgent::HeartbeatAck { n, newest }))
                        }.boxed_local());
                    }
                    Frame::Said(said) => talk.report(said).await?,
                    Frame::Output(bytes) => {
                        if let Some(ack) = talk.output(&bytes).await? {
                            wire.say(&ack).await?;
                        }
                    }
                }
            }
            still = changed.changed() => {
                still.map_err(|_| superseded())?;
                changed.mark_changed();
            }
        }
        if changed.has_changed().map_err(|_| superseded())? {
            changed.mark_unchanged();
            let wants = talk.wants().await?;
            talk.say_wants(wants, wire).await?;
        }
    }
}

fn superseded() -> End {
    let why = "another session took this one's place, or this instance does not lead any more";
    refuse(RefusalCode::Unavailable, why)
}

/// Records that a node left, and removes its sign of life.
async fn leave(house: &House, node: &NodeId, boot: uuid::Uuid) -> Result<(), End> {
    let lose = |reply| LoseNode { node: node.clone(), boot, cause: NodeLostCause::Left, reply };
    // Refused when it was lost already.
    let _ = ask(&house.registry, lose).await;
    if let Err(trouble) = house.heartbeats.gone(node.as_str()).await {
        log::warn!(node = node.as_str(), error:% = trouble; "the key of a node that left expires");
    }
    Ok(())
}

/// A node's sign of life.
#[derive(Clone)]
struct Beat {
    node: NodeId,
    boot: uuid::Uuid,
    url: Arc<str>,
    ttl: Duration,
}

impl Beat {
    /// Writes it, unless the journal refuses writes or the leader's key is overdue.
    async fn write(&self, house: &House, seen: Option<Witnessed>) -> Result<(), String> {
        if !house.health.borrow().accepts() {
            return Err("the journal takes no writes now".into());
        }
        if !house.lease.borrow().is_valid_at(Instant::now()) {
            return Err("the leader's key is overdue".into());
        }
        let value = serde_json::json!({
            "node": self.node,
            "boot": self.boot,
            "olympus": &*self.url,
            "time_ms": house.clock.now().0,
            "seen": seen.map(|seen| seen.to_string()),
        });
        let written = house.heartbeats.beat(self.node.as_str(), value.to_string(), self.ttl);
        written.await.map_err(|trouble| trouble.to_string())
    }
}

/// What a session knows between two frames.
struct Talk<'a> {
    house: &'a House,
    node: NodeId,
    /// The node's attempts, as of the last wants.
    attempts: BTreeMap<Token, AttemptRef>,
    specs_sent: BTreeSet<Token>,
    /// Answers on their way; none where nothing is to be said.
    work: FuturesUnordered<LocalBoxFuture<'static, Option<Result<ToAgent, End>>>>,
}

impl Talk<'_> {
    fn holds(&self, of: &AttemptRef) -> bool {
        self.attempts.get(&of.token) == Some(of)
    }

    /// Says the wants, and again with further specs until every one was sent.
    async fn say_wants(&mut self, mut wants: Wants, wire: &mut impl Wire) -> Result<(), End> {
        loop {
            let lacking = |want: &Want| {
                want.action == Action::Run && !self.specs_sent.contains(&want.of.token)
            };
            let complete = !wants.attempts.iter().any(lacking);
            wire.say(&ToAgent::Wants(wants)).await?;
            if complete {
                return Ok(());
            }
            wants = self.wants().await?;
        }
    }

    /// The wants of the node as the view has them now, with the specs that have not been sent, as
    /// far as one frame carries them.
    async fn wants(&mut self) -> Result<Wants, End> {
        let wants = WantsOf(self.node.clone());
        let seen = self.house.view.send(wants).await.map_err(|_| stopping())?;
        self.attempts.clear();
        let (mut attempts, mut spec_bytes) = (Vec::with_capacity(seen.value.len()), 0);
        for want in seen.value {
            let of =
                AttemptRef { run: want.admitted.run, attempt: want.attempt, token: want.token };
            self.attempts.insert(of.token, of);
            let action = if want.stop { Action::Stop } else { Action::Run };
            let due = !want.stop
                && !self.specs_sent.contains(&of.token)
                && spec_bytes < SPEC_BYTES_PER_WANTS;
            let spec = due.then(|| Box::new(spec_of(&want)));
            if let Some(spec) = &spec {
                spec_bytes += spec.stdin.len()
                    + spec.command.iter().map(|arg| arg.len() + 4).sum::<usize>()
                    + spec.env.iter().map(|(k, v)| k.len() + v.len() + 8).sum::<usize>();
                self.specs_sent.insert(of.token);
            }
            attempts.push(Want { of, action, spec });
        }
        let held = &self.attempts;
        self.specs_sent.retain(|token| held.contains_key(token));
        Ok(Wants { epoch: self.house.epoch, index: seen.mark.index, attempts })
    }

    /// Takes a report in, in the order of the frames; its answer comes through `work`.
    async fn report(&mut self, said: FromAgent) -> Result<(), End> {
        let (of, kind, what) = match said {
            FromAgent::Started(of) => (of, ReportKind::Started, Reported::Started),
            FromAgent::Gone(of) => (of, ReportKind::Gone, Reported::Gone),
            FromAgent::Finished(finished) => {
                let of = finished.of;
                if self.holds(&of) {
                    let sealed =
                        self.house.output.seal(of.run, of.attempt, of.token, finished.output).await;
                    let sealed = sealed.map_err(|error| output_failed(&error))?;
                    if let Seal::Missing { next } = sealed {
                        let ack = ToAgent::OutputAck(OutputAck { of, next });
                        self.work.push(async move { Some(Ok(ack)) }.boxed_local());
                        return Ok(());
                    }
                }
                let output = domain::event::Output {
                    stdout_bytes: finished.output.stdout_bytes,
                    stderr_bytes: finished.output.stderr_bytes,
                    truncated: finished.output.truncated,
                    digest: finished.output.digest,
                    holder: Box::from(&*self.house.url),
                };
                let (exit, usage) = (finished.exit, finished.usage);
                (of, ReportKind::Finished, Reported::Finished { exit, usage, output })
            }
            FromAgent::Hello(_) => return Err(refuse(RefusalCode::Protocol, "a second hello")),
            FromAgent::Heartbeat { .. } | FromAgent::Goodbye {} => return Ok(()),
        };
        let report = Report { node: self.node.clone(), run: of.run, token: of.token, what };
        let pending = begin(&self.house.registry, |reply| registry::Report { report, reply });
        let output = self.house.output.clone();
        self.work.push(
            async move {
                let recorded = match pending.answer().await {
                    Ok(_) => true,
                    // The law said no: the attempt is not the node's any more.
                    Err(Failure::Refused(_)) => false,
                    // Neither: the agent reports it again, in this session or the next.
                    Err(failure) => {
                        return Some(Err(refuse(RefusalCode::Unavailable, failure.to_string())));
                    }
                };
                if kind != ReportKind::Started {
                    output.release(of.run, of.attempt);
                }
                Some(Ok(ToAgent::ReportAck(ReportAck { of, kind, recorded })))
            }
            .boxed_local(),
        );
        Ok(())
    }

    /// Keeps a chunk of an attempt that is the node's; others are passed over, the wants say why.
    async fn output(&mut self, frame: &Bytes) -> Result<Option<ToAgent>, End> {
        let output = Output::from_frame(frame)
            .map_err(|bad| refuse(RefusalCode::Protocol, bad.to_string()))?;
        if !self.holds(&output.of) {
            return Ok(None);
        }
        let AttemptRef { run, attempt, token } = output.of;
        let chunk = Append {
            run,
            attempt,
            token,
            number: output.number,
            stream: output.stream,
            time_ms: output.time_ms,
            data: output.data,
        };
        let next = self.house.output.append(chunk).await.map_err(|error| output_failed(&error))?;
        Ok(Some(ToAgent::OutputAck(OutputAck { of: output.of, next })))
    }

    async fn output_ack(&self, of: AttemptRef) -> Result<ToAgent, End> {
        let next = self.house.output.next(of.run, of.attempt, of.token).await;
        let next = next.map_err(|error| output_failed(&error))?;
        Ok(ToAgent::OutputAck(OutputAck { of, next }))
    }
}

fn output_failed(error: &std::io::Error) -> End {
    log::error!(error:% = error; "could not keep output: is TARTARUS_DATA_DIR full?");
    refuse(RefusalCode::Unavailable, format!("output can't be kept: {error}"))
}

fn spec_of(want: &view::Want) -> AttemptSpec {
    let submission = &want.admitted.submission;
    let template = &want.admitted.judgement.template;
    AttemptSpec {
        template: TemplatePin {
            name: template.name.clone(),
            version: template.version,
            rootfs: want.rootfs.clone(),
        },
        command: submission.command.clone(),
        env: submission.env.clone(),
        stdin: submission.stdin.clone(),
        resources: submission.resources,
        on_lost: submission.on_lost,
    }
}

//! The wire to the leader: tells a process that is gone from one that is silent.
//!
//! Owns:   one connection to the leader's advertised URL, held as long as it lasts; whose death was
//!         believed before.
//! Says:   that a leader is gone: the address had answered as the leader, that connection ended, and
//!         the same address then refused two others.
//! Never:  takes silence, a name that is not resolved, or an address that never answered for a death:
//!         the key's own time is for those. Believes a death for longer than that, or twice that the
//!         same process is gone, so that a proxy that comes and goes in front of living leaders makes
//!         no duel of them.
//! Fails:  a URL that does not lead to the process itself is not watched: what ends there is not the
//!         leader. Of instances that don't speak TLS themselves that is `https://`, and the other way
//!         round.
//! Proof:  the tests below, `tests/tests/faults` F01.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use api::{Readyz, Role};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, FutureExt as _, select};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use journal::Claim;
use journal::limits::LEASE_TTL;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// A process that is there takes a connection at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Between the two refusals: an address whose listener is replaced refuses for a moment.
const REFUSED_AGAIN_AFTER: Duration = Duration::from_millis(25);
/// First and longest pause before an address that can't be had, or does not answer as the leader, is
/// tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often the connection is used, so that nobody closes it for idleness.
const USE_EVERY: Duration = Duration::from_secs(15);
/// More than `/readyz` ever says.
const ANSWER_BYTES: usize = 16 << 10;

/// Returns when the process that listens at a URL is gone.
pub type UntilGone = Arc<dyn Fn(&str) -> BoxFuture<'static, ()> + Send + Sync>;

/// Whom a follower watches.
pub struct Watch {
    until_gone: UntilGone,
    own_url: String,
    on: Option<Claim>,
    wire: BoxFuture<'static, ()>,
    /// Since when it is.
    gone: Option<Instant>,
    /// Processes whose key was taken once.
    seized: BTreeSet<Uuid>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { on, gone, seized, .. } = self;
        f.debug_struct("Watch").field("on", on).field("gone", gone).field("seized", seized).finish()
    }
}

impl Watch {
    /// Watches nobody yet.
    pub fn new(until_gone: UntilGone, own_url: &str) -> Self {
        let wire = Box::pin(std::future::pending());
        let (on, own_url) = (None, own_url.to_owned());
        Self { until_gone, own_url, on, wire, gone: None, seized: BTreeSet::new() }
    }

    /// Watches the holder of the leader's key from now on, if it does not yet.
    pub fn watch(&mut self, holder: &str) {
        let holder = holder.parse::<Claim>().ok();
        if self.on == holder {
            return;
        }
        self.gone = None;
        self.wire = match &holder {
            Some(claim) if claim.url != self.own_url && !self.seized.contains(&claim.boot) => {
                (self.until_gone)(&claim.url)
            }
            Some(_) | None => Box::pin(std::future::pending()),
        };
        self.on = holder;
    }

    /// Waits until the process that is watched is gone. May be dropped and called again.
    pub async fn until_gone(&mut self) {
        self.wire.as_mut().await;
        self.wire = Box::pin(std::future::pending());
        self.gone = Some(Instant::now());
    }

    /// The process that was watched, if it is gone. Not for longer than its key would live: that has
    /// expired by then, or somebody who lives has renewed it.
    pub fn gone(&mut self) -> Option<&Claim> {
        if self.gone?.elapsed() >= LEASE_TTL {
            self.settle();
        }
        self.on.as_ref().filter(|_| self.gone.is_some())
    }

    /// Its key was taken, or it proved alive: neither is tried a second time.
    pub fn settle(&mut self) {
        if self.gone.take().is_some()
            && let Some(claim) = self.on.take()
        {
            self.seized.insert(claim.boot);
        }
    }
}

/// The real wire, between instances that speak TLS themselves or don't: see the module.
pub fn tcp(encrypted: bool) -> UntilGone {
    Arc::new(move |url| Box::pin(until_gone(url.to_owned(), encrypted)))
}

async fn until_gone(url: String, encrypted: bool) {
    let Some((host, port)) = own(&url, encrypted) else { return std::future::pending().await };
    let mut pause = RETRY.0;
    // The address that has answered as the leader.
    let mut address = None;
    let mut refused = false;
    loop {
        let stream = match address {
            None => connect(TcpStream::connect((host.as_str(), port))).await,
            Some(address) => connect(TcpStream::connect::<SocketAddr>(address)).await,
        };
        match stream {
            Ok(stream) => {
                refused = false;
                let peer = stream.peer_addr().ok();
                let began = Instant::now();
                let led = match encrypted {
                    false => hold(stream, &host).await,
                    true => match connect(tls::connect(&host, stream)).await {
                        Ok(stream) => hold(stream, &host).await,
                        Err(_) => false,
                    },
                };
                if led {
                    address = peer;
                    pause = RETRY.0;
                    // A death is to be seen at once, and who hangs up on every answer not be stormed.
                    if began.elapsed() < pause {
                        sleep(pause).await;
                    }
                    continue;
                }
            }
            Err(error) if address.is_some() && error.kind() == ErrorKind::ConnectionRefused => {
                if std::mem::replace(&mut refused, true) {
                    return;
                }
                sleep(REFUSED_AGAIN_AFTER).await;
                continue;
            }
            Err(_) => refused = false,
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Host and port of a URL that leads to the process itself.
fn own(url: &str, encrypted: bool) -> Option<(String, u16)> {
    let scheme = if encrypted { "https" } else { "http" };
    let url = Url::parse(url).ok().filter(|url| url.scheme() == scheme)?;
    // An IPv6 address stands in brackets, which are of the URL.
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), url.port_or_known_default()?))
}

async fn connect<T>(connecting: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    timeout(CONNECT_WITHIN, connecting)
        .await
        .unwrap_or_else(|_| Err(Error::from(ErrorKind::TimedOut)))
}

/// Holds a connection until it ends; whether the leader had answered on it.
async fn hold<T>(stream: T, host: &str) -> bool
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok((mut sender, connection)) = handshake(TokioIo::new(stream)).await else { return false };
    let mut led = false;
    {
        let using = pin!(async {
            let mut pause = RETRY.0;
            loop {
                let Some(role) = ask(&mut sender, host).await else { break };
                led |= role == Role::Leader;
                if led {
                    sleep(USE_EVERY).await;
                } else {
                    // It has the key, and is about to lead; or it is somebody else.
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
            std::future::pending::<()>().await
        });
        if let Either::Left((_, using)) = select(pin!(connection), using).await {
            // Its last answer may have come together with the end.
            using.now_or_never();
        }
    }
    led
}

/// What the other end says it is; none where the connection is of no more use.
async fn ask(sender: &mut SendRequest<Empty<Bytes>>, host: &str) -> Option<Role> {
    let request = hyper::Request::get("/readyz").header("host", host).body(Empty::new()).ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await.ok()?;
    let said: Option<Readyz> = serde_json::from_slice(&body.to_bytes()).ok();
    Some(said.map_or(Role::Follower, |said| said.role))
}

#[cfg(test)]
mod tests;

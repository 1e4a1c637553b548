//! The connection to Olympus: opening it, and frames in both directions.
//!
//! Owns:   one WebSocket, and the task that writes to it.
//! Hears:  frames; says them as [`ToAgent`].
//! Never:  decides what to say ([`crate::reconcile`] does); waits with writing: what is said is bounded
//!         by the session's window and by what is on the node, so a slow connection holds up nothing.
//! Fails:  with a sentence, once; the caller opens another.
//! Proof:  `tests/node/rules.rs`.

use std::time::Duration;

use api::session::{FromAgent, MAX_FRAME_BYTES, PATH, ToAgent};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use secret::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::discovery::{Find, NotFound, Url};

/// For name look-up, connection and upgrade together: what a person waits before calling it dead.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// For the other end to close its side, when the agent leaves.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Which token is the right one, for a person to look for.
const THE_TOKEN: &str =
    "the token of Olympus (its TARTARUS_BOOTSTRAP_TOKEN, or what its first start printed)";

/// The token, and the variable that said it.
#[derive(Clone)]
pub(crate) struct Bearer {
    pub(crate) token: Secret,
    pub(crate) name: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoConnection {
    /// It is not known where to.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Nobody is there.
    #[error("cannot reach Olympus at {url}: {reason}")]
    Unreachable {
        /// Where it should be.
        url: Url,
        /// What the system said.
        reason: String,
    },
    /// It wants a token.
    #[error(
        "Olympus at {0} wants a token: set TARTARUS_TOKEN (or TARTARUS_TOKEN_FILE) to {THE_TOKEN}, and \
         start the agent again"
    )]
    NoToken(Url),
    /// It wants another one.
    #[error("Olympus at {url} refuses {name}: give it {THE_TOKEN}, and start the agent again")]
    WrongToken {
        /// Where.
        url: Url,
        /// The variable that said it.
        name: String,
    },
    /// It answered, but not with a session.
    #[error("Olympus at {url} opened no session: {reason}")]
    Answered {
        /// Where.
        url: Url,
        /// What it said.
        reason: String,
    },
}

impl NoConnection {
    /// What it is about.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::NotFound(_) => "Redis".into(),
            Self::NoToken(url)
            | Self::Unreachable { url, .. }
            | Self::WrongToken { url, .. }
            | Self::Answered { url, .. } => url.to_string(),
        }
    }
}

/// A connection, encrypted or not.
type Stream = Box<dyn Bytes>;

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// An open connection.
pub(crate) struct Link {
    pub(crate) url: Url,
    frames: mpsc::UnboundedSender<Message>,
    writer: JoinHandle<()>,
    incoming: SplitStream<WebSocketStream<Stream>>,
}

/// Finds Olympus (or takes `hint`) and opens a connection.
pub(crate) async fn connect(
    find: Find,
    tried: usize,
    hint: Option<Url>,
    token: Option<Bearer>,
) -> Result<Link, NoConnection> {
    let url = match hint {
        Some(url) => url,
        None => find.leader(tried).await?,
    };
    match timeout(CONNECT_PATIENCE, open(url.clone(), token)).await {
        Ok(link) => link,
        Err(_) => Err(NoConnection::Unreachable { url, reason: "no answer in time".into() }),
    }
}

async fn open(url: Url, token: Option<Bearer>) -> Result<Link, NoConnection> {
    let unreachable = |error: std::io::Error| NoConnection::Unreachable {
        url: url.clone(),
        reason: match tls::advice(&error) {
            Some(advice) => format!("{error}; {advice}"),
            None => error.to_string(),
        },
    };
    let answered = |reason: String| NoConnection::Answered { url: url.clone(), reason };
    let stream = TcpStream::connect(url.socket()).await.map_err(unreachable)?;
    // A chunk must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(unreachable)?;
    let stream: Stream = match url.is_encrypted() {
        true => Box::new(tls::connect(url.socket().0, stream).await.map_err(unreachable)?),
        false => Box::new(stream),
    };
    let mut request =
        url.websocket(PATH).into_client_request().map_err(|error| answered(error.to_string()))?;
    if let Some(Bearer { token, name }) = &token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|_| answered(format!("the token of {name} can't be sent")))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
    let socket = match opened {
        Ok((socket, _)) => socket,
        Err(tungstenite::Error::Http(response)) if response.status() == 401 => {
            return Err(match token {
                Some(Bearer { name, .. }) => NoConnection::WrongToken { url, name },
                None => NoConnection::NoToken(url),
            });
        }
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(&body[..body.len().min(300)]);
            return Err(answered(format!("{} {body}", response.status())));
        }
        Err(error) => return Err(answered(error.to_string())),
    };
    let (sink, incoming) = socket.split();
    let (frames, outgoing) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write(sink, outgoing));
    Ok(Link { url, frames, writer, incoming })
}

async fn write(
    mut sink: SplitSink<WebSocketStream<Stream>, Message>,
    mut outgoing: mpsc::UnboundedReceiver<Message>,
) {
    while let Some(frame) = outgoing.recv().await {
        let mut frame = Some(frame);
        // Whatever is there goes out together.
        while let Some(next) = frame.take() {
            if sink.feed(next).await.is_err() {
                return;
            }
            frame = outgoing.try_recv().ok();
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
    // A connection that is broken can't be closed, and need not be.
    let _ = sink.close().await;
}

impl Link {
    /// Says a message.
    pub(crate) fn send(&self, message: &FromAgent) {
        match serde_json::to_string(message) {
            // Without a writer the connection is broken, which the reader is about to say.
            Ok(text) => _ = self.frames.send(Message::text(text)),
            Err(error) => log::error!("a message can't be written: {error}"),
        }
    }

    /// Says a binary frame.
    pub(crate) fn send_output(&self, frame: Vec<u8>) {
        let _ = self.frames.send(Message::binary(frame));
    }

    /// The next message. Safe to cancel.
    pub(crate) async fn hear(&mut self) -> Result<ToAgent, String> {
        loop {
            match self.incoming.next().await {
                None => return Err("the connection ended".into()),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text)
                        .map_err(|error| format!("a message that can't be read: {error}"));
                }
                Some(Ok(Message::Binary(_))) => return Err("a binary frame".into()),
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return Err(if reason.is_empty() { "it was closed".into() } else { reason });
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            }
        }
    }

    /// Sends what is still to be sent, says goodbye, and waits for the other end to do so.
    pub(crate) async fn close(self) {
        let Self { url: _, frames, writer, mut incoming } = self;
        drop(frames);
        let closed = async {
            // What is heard now is of no use, and an error means closed as well. Not awaited: the
            // end of the TCP connection, which Olympus leaves to the agent.
            let _ = writer.await;
            while let Some(Ok(message)) = incoming.next().await {
                if message.is_close() {
                    break;
                }
            }
        };
        if timeout(CLOSE_PATIENCE, closed).await.is_err() {
            log::debug!("olympus did not close its side in time");
        }
    }
}

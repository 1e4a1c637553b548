//! The wire of an agent's session: what a session needs of it, and the WebSocket that it is.
//!
//! Never:  knows what a message means.

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, Session};
use api::session::{FromAgent, MAX_FRAME_BYTES, RefusalCode, Refused, ToAgent};
use futures_util::StreamExt as _;

/// Why a session ends.
#[derive(Debug)]
pub enum End {
    /// The agent is told.
    Refused(Refused),
    /// Nobody is there to be told.
    Gone,
}

pub(crate) fn refuse(code: RefusalCode, detail: impl Into<Box<str>>) -> End {
    End::Refused(Refused { code, detail: detail.into(), leader: None })
}

/// A frame that means something.
#[derive(Debug)]
pub enum Frame {
    /// A message.
    Said(FromAgent),
    /// A piece of output.
    Output(Bytes),
}

/// What a session speaks through.
pub trait Wire {
    /// Says something to the agent.
    fn say(&mut self, message: &ToAgent) -> impl Future<Output = Result<(), End>>;

    /// The next frame that means something. Safe to drop while it waits.
    fn next(&mut self) -> impl Future<Output = Result<Frame, End>>;
}

/// A WebSocket.
pub(crate) struct WebSocket {
    session: Session,
    frames: AggregatedMessageStream,
}

impl WebSocket {
    /// Answers a handshake.
    pub(crate) fn open(
        request: &HttpRequest,
        payload: web::Payload,
    ) -> Result<(HttpResponse, Self), actix_web::Error> {
        let (response, session, stream) = actix_ws::handle(request, payload)?;
        let frames = stream
            .max_frame_size(MAX_FRAME_BYTES)
            .aggregate_continuations()
            .max_continuation_size(MAX_FRAME_BYTES);
        Ok((response, Self { session, frames }))
    }

    pub(crate) async fn close(self) {
        let _ = self.session.close(None).await;
    }
}

impl Wire for WebSocket {
    async fn say(&mut self, message: &ToAgent) -> Result<(), End> {
        let text = serde_json::to_string(message)
            .map_err(|error| refuse(RefusalCode::Unavailable, error.to_string()))?;
        self.session.text(text).await.map_err(|_| End::Gone)
    }

    async fn next(&mut self) -> Result<Frame, End> {
        loop {
            match self.frames.next().await {
                Some(Ok(AggregatedMessage::Text(text))) => {
                    return serde_json::from_str(&text).map(Frame::Said).map_err(|error| {
                        refuse(RefusalCode::Protocol, format!("not a message: {error}"))
                    });
                }
                Some(Ok(AggregatedMessage::Binary(bytes))) => return Ok(Frame::Output(bytes)),
                Some(Ok(AggregatedMessage::Ping(bytes))) => {
                    self.session.pong(&bytes).await.map_err(|_| End::Gone)?;
                }
                Some(Ok(AggregatedMessage::Pong(_))) => {}
                Some(Ok(AggregatedMessage::Close(_))) | None => return Err(End::Gone),
                Some(Err(error)) => return Err(refuse(RefusalCode::Protocol, error.to_string())),
            }
        }
    }
}

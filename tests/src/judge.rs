//! A judge elsewhere: an HTTP server that says what a test wants it to say.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with a question.
#[derive(Clone, Debug)]
pub enum Answers {
    /// Answers with this status and body.
    With(u16, String),
    /// Sends this as it is, and hangs up.
    Raw(String),
    /// Never answers.
    Never,
}

/// The judge. It is gone when it is dropped.
#[derive(Debug)]
pub struct FakeJudge {
    /// Where it is asked.
    pub url: String,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Seen {
    answers: Answers,
    questions: Vec<Value>,
    connections: usize,
}

impl FakeJudge {
    /// One that gives every question this verdict.
    pub async fn saying(verdict: &str, reason: &str) -> Self {
        let body = serde_json::json!({"verdict": verdict, "reason": reason}).to_string();
        Self::answering(Answers::With(200, body)).await
    }

    /// One that does this.
    ///
    /// # Panics
    /// No port is free.
    pub async fn answering(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/judge", listener.local_addr().expect("an address"));
        let seen = Seen { answers, questions: Vec::new(), connections: 0 };
        let seen = Arc::new(Mutex::new(seen));
        let serving = tokio::spawn(serve(listener, seen.clone()));
        Self { url, seen, serving }
    }

    /// From now on it does this.
    pub fn set(&self, answers: Answers) {
        self.seen.lock().expect("no panic").answers = answers;
    }

    /// What it was asked.
    pub fn questions(&self) -> Vec<Value> {
        self.seen.lock().expect("no panic").questions.clone()
    }

    /// Over how many connections.
    pub fn connections(&self) -> usize {
        self.seen.lock().expect("no panic").connections
    }
}

impl Drop for FakeJudge {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((socket, _)) = listener.accept().await {
        seen.lock().expect("no panic").connections += 1;
        tokio::spawn(hear(socket, seen.clone()));
    }
}

/// Hears questions on a connection until it ends.
async fn hear(mut socket: TcpStream, seen: Arc<Mutex<Seen>>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let body = loop {
            if let Some(body) = whole(&bytes) {
                break body;
            }
            if socket.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let question = serde_json::from_slice(&bytes[body.clone()]).unwrap_or(Value::Null);
        bytes.drain(..body.end);
        let answers = {
            let mut seen = seen.lock().expect("no panic");
            seen.questions.push(question);
            seen.answers.clone()
        };
        match answers {
            Answers::With(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                socket.write_all((head + &body).as_bytes()).await.ok()?;
            }
            Answers::Raw(text) => {
                let _ = socket.write_all(text.as_bytes()).await;
                return socket.shutdown().await.ok();
            }
            Answers::Never => std::future::pending().await,
        }
    }
}

/// Where the body of a whole request is.
fn whole(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let start = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let length = text.split("content-length: ").nth(1)?.split("\r\n").next()?;
    let end = start + length.parse::<usize>().ok()?;
    (bytes.len() >= end).then_some(start..end)
}

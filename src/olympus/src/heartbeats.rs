//! Heartbeats on their way to Redis: all that wait go in one round trip.

use std::sync::Arc;
use std::time::Duration;

use journal::{Heartbeat, Journal, Trouble};
use tokio::sync::{mpsc, oneshot};

/// Sessions that may wait for a round trip; one more waits at its own end.
const WAITING: usize = 1_024;

/// A handle on the writer of heartbeats.
#[derive(Clone, Debug)]
pub struct HeartbeatWriter {
    journal: Arc<dyn Journal>,
    beats: mpsc::Sender<(Heartbeat, oneshot::Sender<Result<(), Trouble>>)>,
}

impl HeartbeatWriter {
    /// Starts the writer on this thread's runtime. It ends with its last handle.
    pub fn start(journal: Arc<dyn Journal>) -> Self {
        let (beats, mut waiting) = mpsc::channel(WAITING);
        let writer = journal.clone();
        actix_rt::spawn(async move {
            let mut taken = Vec::new();
            while waiting.recv_many(&mut taken, WAITING).await > 0 {
                let (due, replies): (Vec<Heartbeat>, Vec<oneshot::Sender<_>>) =
                    taken.drain(..).unzip();
                let written = writer.put_heartbeats(&due).await;
                for reply in replies {
                    let _ = reply.send(written.clone());
                }
            }
        });
        Self { journal, beats }
    }

    /// Writes a node's heartbeat.
    ///
    /// # Errors
    /// Redis did not take it: the agent must not be told that it did.
    pub async fn beat(&self, node: &str, value: String, ttl: Duration) -> Result<(), Trouble> {
        let (reply, written) = oneshot::channel();
        let beat = Heartbeat { node: node.to_owned(), value, ttl };
        let stopped = || Trouble::Unreachable("the instance is stopping".into());
        self.beats.send((beat, reply)).await.map_err(|_| stopped())?;
        written.await.map_err(|_| stopped())?
    }

    /// Removes the heartbeat of a node that stops.
    ///
    /// # Errors
    /// Redis did not answer; the key then expires by itself.
    pub async fn gone(&self, node: &str) -> Result<(), Trouble> {
        self.journal.drop_heartbeat(node).await
    }
}

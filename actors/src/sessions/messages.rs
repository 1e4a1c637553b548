//! What sessions tell.

use actix::Message;
use domain::{NodeId, Sequence};
use tokio::sync::watch;
use uuid::Uuid;

/// A node's agent is connected. Of two sessions of one node the later one stays.
#[derive(Debug, Message)]
#[rtype(result = "Connected")]
pub struct Connect {
    /// The node.
    pub node: NodeId,
    /// Its agent's process.
    pub boot: Uuid,
}

/// What a session is given.
#[derive(Debug)]
pub struct Connected {
    /// The session's own number.
    pub session: u64,
    /// The latest entry that changed what the node should do; closed when another session has
    /// taken this one's place.
    pub wants: watch::Receiver<Sequence>,
}

/// The node was heard, and its heartbeat is written.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Heard {
    /// The node.
    pub node: NodeId,
    /// The session's own number.
    pub session: u64,
}

/// The session is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Disconnect {
    /// The node.
    pub node: NodeId,
    /// The session's own number.
    pub session: u64,
}

/// Whether the journal takes writes: while it does not, no node is declared lost.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct JournalUsable(pub bool);

/// How long ago a node was heard, in milliseconds; none when it never was since the start.
#[derive(Debug, Message)]
#[rtype(result = "Option<u64>")]
pub struct LastHeard(pub NodeId);

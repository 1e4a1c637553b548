//! What sessions tell.

use actix::Message;
use domain::{NodeId, Sequence};
use tokio::sync::watch;
use uuid::Uuid;

/// A node's agent is connected. Of two sessions of one process the later one stays.
#[derive(Debug, Message)]
#[rtype(result = "Result<Connected, Duplicate>")]
pub struct Connect {
    /// The node.
    pub node: NodeId,
    /// Its agent's process.
    pub boot: Uuid,
}

/// Another process speaks for the node, and was heard lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "another agent (boot {boot}) is connected with this node id: stop it, or give this one another \
     TARTARUS_NODE_ID"
)]
pub struct Duplicate {
    /// The other process.
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

/// The node was heard, and its heartbeat is written. Answers whether its agent may be told so: it may
/// run what it has for as long as that says.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
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

//! What the quarantine router may be asked.

use actix::Message;
use domain::ledger::Stand;

/// How many runs stand how in quarantine.
#[derive(Debug, Message)]
#[rtype(result = "QuarantineCounts")]
pub struct CountQuarantine;

/// How many runs stand how in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineCounts {
    /// Runs that are remembered, every stand with its number.
    pub runs: Vec<(Stand, u64)>,
    /// Runs that were sent to quarantine since this instance leads.
    pub sent: u64,
    /// Nodes that take them.
    pub nodes: usize,
}

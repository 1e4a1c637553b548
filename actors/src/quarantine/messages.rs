//! What the quarantine router may be asked.

use actix::Message;
use domain::RunId;
use domain::ledger::Entry;

use crate::view::Seen;

/// The ledger, newest first.
#[derive(Debug, Message)]
#[rtype(result = "Seen<LedgerPage>")]
pub struct GetLedger {
    /// Older than this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

/// A page of the ledger.
#[derive(Clone, Debug, Default)]
pub struct LedgerPage {
    /// Entries.
    pub entries: Vec<(RunId, Entry)>,
    /// Go on before this one, if there is more.
    pub next: Option<RunId>,
}

//! Witnesses: what agents say that they saw of the journal, held against the journal.
//!
//! Owns:   how often an agent saw another journal than this, and the latest of it.
//! Hears:  the highest entry that an agent was told of, with its hellos and heartbeats.
//! Says:   an error in the log, once for each entry; the same on `/readyz` and `/metrics`.
//! Never:  stops the instance: one agent that lies could then stop the house (docs/adr/0013).
//! Fails:  where the journal can't be asked now, the next heartbeat asks again.
//! Proof:  `tests/tests/live/sign.rs` puts an old copy of Redis in the place of the new.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use api::session::Witnessed;
use domain::NodeId;
use domain::ids::Hex;
use journal::{EntryId, Receipt};
use olympus_actors::notary::{Attest, Known};

use crate::house::House;

/// Entries that are told apart: a journal that was rewritten differs in every one.
const TOLD_MAX: usize = 1_024;

/// An agent saw what the journal does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Its node.
    pub node: NodeId,
    /// What it saw.
    pub seen: Receipt,
    /// What the journal has in that place; none where it ends before.
    pub found: Option<Receipt>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Witnesses(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    conflicts: u64,
    entries: BTreeSet<(NodeId, EntryId)>,
    latest: Option<Conflict>,
}

impl Witnesses {
    /// How many conflicts there were, and the latest.
    pub fn told(&self) -> (u64, Option<Conflict>) {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (told.conflicts, told.latest.clone())
    }

    /// Holds what an agent saw against the journal; the newest entry, for it to see.
    pub async fn hear(
        &self,
        house: &House,
        node: &NodeId,
        seen: Option<Witnessed>,
    ) -> Option<Witnessed> {
        let seen =
            seen.map(|seen| EntryId { seq: seen.sequence, h64: u64::from_be_bytes(seen.hash.0) });
        let attested = house.notary.send(Attest(seen)).await.ok()?;
        if let (Some(id), Some(Known::Unlike(_) | Known::Ahead(_) | Known::Older)) =
            (seen, attested.seen)
        {
            self.ask(house, node, id).await;
        }
        let Receipt(newest) = attested.newest;
        Some(Witnessed { sequence: newest.seq, hash: Hex(newest.h64.to_be_bytes()) })
    }

    /// Asks the journal itself: an instance that was deposed knows less than it.
    async fn ask(&self, house: &House, node: &NodeId, seen: EntryId) {
        // A journal that does not answer is asked again with the next heartbeat.
        let Ok(stored) = house.journal.stored(seen.seq, 1).await else { return };
        let found = match stored.first() {
            Some((id, _)) if *id == seen => return,
            Some((id, _)) if id.seq == seen.seq => Some(Receipt(*id)),
            // What was there has left Redis: nothing can be said here, but an audit can.
            Some(_) => return,
            None => None,
        };
        self.tell(Conflict { node: node.clone(), seen: Receipt(seen), found });
    }

    fn tell(&self, conflict: Conflict) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = (conflict.node.clone(), conflict.seen.0);
        if told.entries.len() == TOLD_MAX || !told.entries.insert(entry) {
            return;
        }
        told.conflicts += 1;
        let found = conflict.found.map_or("nothing".to_owned(), |found| found.to_string());
        log::error!(
            node = conflict.node.as_str(), sequence = conflict.seen.0.seq,
            seen:% = conflict.seen, found = found.as_str();
            "this is not the journal that an agent saw: it was rewritten, cut off, or an old copy \
             was put in its place; compare it with an export and the receipts of clients"
        );
        told.latest = Some(conflict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_that_is_not_there_is_told_once() {
        let witnesses = Witnesses::default();
        let conflict = |node: &str, seq| Conflict {
            node: NodeId::new(node),
            seen: Receipt(EntryId { seq, h64: 1 }),
            found: None,
        };
        for (node, seq, conflicts) in [("a", 7, 1), ("a", 7, 1), ("b", 7, 2), ("a", 8, 3)] {
            witnesses.tell(conflict(node, seq));
            assert_eq!(witnesses.told().0, conflicts);
        }
        assert_eq!(witnesses.told().1, Some(conflict("a", 8)));
        (0..2 * TOLD_MAX as u64).for_each(|seq| witnesses.tell(conflict("c", seq)));
        assert_eq!(witnesses.told().0, TOLD_MAX as u64, "and not without a bound");
    }
}

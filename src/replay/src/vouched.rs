//! Who vouches for a journal: checkpoints held against its chain, against the keys that its leaders
//! announced, and against those that the auditor brought; and the receipts that he was given.
//!
//! Owns:   the hashes of the latest entries, and the key of the reign.
//! Never:  trusts a key because the journal has it: without one from elsewhere a signature proves no
//!         more than the chain does, and the report says so.
//! Proof:  `src/replay/tests/memory/vouched.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domain::Event;
use domain::event::CheckpointSigned;
use domain::ids::Sequence;
use journal::signature::Checkpoint;
use journal::{ChainHash, Entry, catalog};
pub use journal::{PublicKey, Receipt};
use serde::Serialize;

use crate::source::Finding;

/// Entries that a checkpoint may lie behind the one it names: more than a leader's outbox ever holds.
const REACH: usize = 1 << 16;
/// Findings that are told: a journal that was rewritten is wrong in every checkpoint behind it.
const FINDINGS_MAX: usize = 20;

/// What the auditor knows from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys of instances, as `tartarus keys` showed them when they could be believed.
    pub keys: BTreeSet<PublicKey>,
    /// Receipts that clients were given.
    pub receipts: Vec<Receipt>,
}

/// What a journal is vouched for with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vouching {
    /// Keys that the auditor brought.
    pub pinned: u64,
    /// Checkpoints with a good signature over an entry of this chain.
    pub checkpoints: u64,
    /// The newest entry that one of them vouches for.
    pub last_signed: Option<Sequence>,
    /// Entries behind it that no signature vouches for.
    pub unsigned: u64,
    /// Keys of those checkpoints.
    pub keys: Vec<String>,
    /// Checkpoints that name an entry before the first one here: they say nothing about what is here.
    pub out_of_reach: u64,
    /// Receipts that are entries of this chain.
    pub receipts: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Vouching {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// The fold: entries that are chained, one behind the other.
#[derive(Debug, Default)]
pub struct Vouched {
    trust: Trust,
    receipts: BTreeMap<Sequence, Vec<Receipt>>,
    first: Option<Sequence>,
    last: Sequence,
    /// Hashes up to `last`, the newest last; with that of the entry before the first.
    hashes: VecDeque<ChainHash>,
    /// The epoch of the reign, and what its leader announced; none where its beginning is not here.
    reign: Option<(u64, Option<PublicKey>)>,
    keys: BTreeSet<PublicKey>,
    told: Vouching,
}

impl Vouched {
    /// Nothing is read yet.
    pub fn new(trust: Trust) -> Self {
        let mut receipts = BTreeMap::<_, Vec<_>>::new();
        for receipt in &trust.receipts {
            receipts.entry(receipt.0.seq).or_default().push(*receipt);
        }
        Self { trust, receipts, ..Self::default() }
    }

    /// Takes the next entry, which is whole and chained to the one before.
    pub fn entry(&mut self, entry: &Entry) {
        if self.first.is_none() {
            self.first = Some(entry.seq());
            self.hashes.push_back(entry.header().prev);
        }
        for (n, record) in (0..).zip(entry.records()).filter(|(_, record)| catalog::vouches(record))
        {
            // What can't be read is told by whoever reads everything.
            match catalog::decode(&record) {
                Ok(Some(Event::LeaderStarted(led))) => self.reign = Some((led.epoch, led.key)),
                Ok(Some(Event::CheckpointSigned(signed))) => {
                    if let Err(what) = self.checkpoint(entry, &signed) {
                        self.wrong(entry.seq(), Some(n), what);
                    }
                }
                Ok(Some(_) | None) | Err(_) => {}
            }
        }
        for receipt in self.receipts.remove(&entry.seq()).unwrap_or_default() {
            if receipt.0 == entry.id() {
                self.told.receipts += 1;
            } else {
                let what = format!(
                    "receipt {receipt} was given for another entry: this journal is not the one \
                     that it was given for, or it was rewritten"
                );
                self.wrong(entry.seq(), None, what);
            }
        }
        self.last = entry.seq();
        if self.hashes.len() > REACH {
            self.hashes.pop_front();
        }
        self.hashes.push_back(entry.position().hash);
    }

    fn wrong(&mut self, sequence: Sequence, n: Option<u32>, what: String) {
        if self.told.findings.len() < FINDINGS_MAX {
            self.told.findings.push(Finding { sequence, n, line: None, what });
        }
    }

    fn checkpoint(&mut self, entry: &Entry, signed: &CheckpointSigned) -> Result<(), String> {
        let CheckpointSigned { index, key, .. } = signed;
        if *index >= entry.seq() {
            return Err(format!("checkpoint: it names entry {index}, which is not before it"));
        }
        let checkpoint = Checkpoint::of(entry.header().identity, signed);
        checkpoint.verify(&signed.signature).map_err(|bad| format!("checkpoint: {bad}"))?;
        let first = self.first.unwrap_or_default();
        if index + 1 < first {
            self.told.out_of_reach += 1;
            return Ok(());
        }
        // Of the hashes the newest is that of `last`.
        let back = usize::try_from(self.last.max(first - 1) - index).unwrap_or(usize::MAX);
        let place = self.hashes.len().checked_sub(back.saturating_add(1));
        let Some(hash) = place.and_then(|place| self.hashes.get(place)) else {
            return Err(format!("checkpoint: it names entry {index}, which is too far before it"));
        };
        if hash.0 != signed.hash.0 {
            return Err(format!(
                "checkpoint: {key} vouched for another entry {index}: what is before here was \
                 rewritten after it was signed"
            ));
        }
        match self.reign {
            Some((epoch, announced)) if epoch == entry.header().epoch => {
                if announced != Some(*key) {
                    let announced = announced.map_or("none".to_owned(), |key| key.to_string());
                    return Err(format!(
                        "checkpoint: it is by key {key}, and the leader of epoch {epoch} announced \
                         {announced}"
                    ));
                }
            }
            // The reign began before what is here.
            None if first > 1 => {}
            Some(_) | None => {
                return Err(format!(
                    "checkpoint: the leader of epoch {} announced no key",
                    entry.header().epoch
                ));
            }
        }
        if !self.trust.keys.is_empty() && !self.trust.keys.contains(key) {
            return Err(format!(
                "checkpoint: it is by key {key}, which is not pinned: give it with --key, too, if \
                 you know from elsewhere that it is one of yours"
            ));
        }
        self.told.checkpoints += 1;
        self.told.last_signed = self.told.last_signed.max(Some(*index));
        self.keys.insert(*key);
        Ok(())
    }

    /// What it came to, when all is read.
    pub fn at_the_end(mut self) -> Vouching {
        let first = self.first.unwrap_or(1);
        let signed = self.told.last_signed.unwrap_or(0).max(first - 1);
        self.told.unsigned = self.last.max(first - 1) - signed;
        self.told.pinned = self.trust.keys.len() as u64;
        self.told.keys = self.keys.iter().map(PublicKey::to_string).collect();
        if !self.trust.keys.is_empty() && self.told.checkpoints == 0 {
            let what = "no checkpoint by a pinned key is here: nothing says that this is the \
                        journal it claims to be (a leader signs one a minute, if not told otherwise, \
                        and at a planned stop)"
                .to_owned();
            self.wrong(first, None, what);
        }
        for receipt in std::mem::take(&mut self.receipts).into_values().flatten() {
            let (seq, last) = (receipt.0.seq, self.last);
            let what = if seq > last {
                format!(
                    "receipt {receipt} is of an entry behind the last one here, {last}: the end is \
                     missing, or this was taken before it was given"
                )
            } else {
                format!("receipt {receipt} is of an entry before the first one here, {first}")
            };
            self.wrong(seq, None, what);
        }
        self.told.findings.sort_by_key(|finding| finding.sequence);
        self.told
    }
}

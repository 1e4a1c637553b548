//! What is kept of the journal, and where: snapshots, the archive, what is left in Redis; who has
//! led it, with which key; and the level of features.
//!
//! Owns:   the rule of trimming: only what is archived, is covered by the second newest snapshot
//!         too, and lies [`STAY`] entries before the newest, may leave Redis; and the rule of levels:
//!         what an older program could not read is refused until the level is raised.
//! Never:  knows a file: that a snapshot or a segment is whole was seen by whoever reported it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::command::Refusal;
use crate::event::{Event, SnapshotTaken};
use crate::ids::{Digest, Sequence};
use crate::law::Losses;
use crate::reigns::Reigns;

/// The highest level of features that this program writes and reads.
///
/// | level | brought |
/// |---|---|
/// | 1 | all that came before levels |
/// | [`MEMORY`] | what came with the memory |
/// | [`HOUSE`] | what came with the house that does not fall |
pub const LEVEL: u32 = HOUSE;

/// The level of the memory: snapshots, archive and trimming, the keys of instances and what they
/// sign, the digest of a what-if report in a policy.
pub const MEMORY: u32 = 2;

/// The level of the house that does not fall: policies that say what becomes of a run that was lost
/// with its nodes, quarantine among it; sandboxes that can't be made are retried to a dead letter.
pub const HOUSE: u32 = 3;

/// Entries that stay before the newest snapshot, whatever else covers them: feeds and followers that
/// lag, and a look at the last minutes, need no archive.
pub const STAY: u64 = 10_000;

/// Snapshots that are remembered: trimming asks for two, and an operator may go back further.
const SNAPSHOTS: usize = 8;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Oldest first.
    snapshots: VecDeque<SnapshotTaken>,
    archived: Sequence,
    first: Sequence,
    level: u32,
    reigns: Reigns,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            snapshots: VecDeque::new(),
            archived: 0,
            first: 1,
            level: 1,
            reigns: Reigns::default(),
        }
    }
}

impl Kept {
    /// The newest snapshots, oldest first.
    pub fn snapshots(&self) -> impl DoubleEndedIterator<Item = &SnapshotTaken> {
        self.snapshots.iter()
    }

    /// The last entry in the archive; 0 where there is none.
    pub fn archived(&self) -> Sequence {
        self.archived
    }

    /// The first entry that is to stay in Redis.
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// The level in force.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Who has led, oldest first.
    pub fn reigns(&self) -> &Reigns {
        &self.reigns
    }

    /// Whether what came with a level may be written.
    fn may_write(&self, what: &'static str, level: u32) -> Result<(), Refusal> {
        let found = self.level;
        if found >= level { Ok(()) } else { Err(Refusal::LevelTooLow { what, level, found }) }
    }

    pub(crate) fn may_raise(&self, asked: u32) -> Result<(), Refusal> {
        let (found, known) = (self.level, LEVEL);
        let next = found < asked && asked <= known;
        if next { Ok(()) } else { Err(Refusal::NoSuchLevel { asked, found, known }) }
    }

    pub(crate) fn may_keep_report(&self, what_if: Option<Digest>) -> Result<(), Refusal> {
        what_if.map_or(Ok(()), |_| self.may_write("policies with a what-if report", MEMORY))
    }

    pub(crate) fn may_say(&self, losses: Losses) -> Result<(), Refusal> {
        let said = losses != Losses::default();
        if said { self.may_write("policies with on_lost", HOUSE) } else { Ok(()) }
    }

    pub(crate) fn may_sign(&self) -> Result<(), Refusal> {
        self.may_write("checkpoints", MEMORY)
    }

    pub(crate) fn may_begin(&self) -> Result<(), Refusal> {
        self.may_write("snapshots", MEMORY)
    }

    /// The first entry that must stay.
    pub fn trimmable(&self) -> Sequence {
        self.covered().min(self.archived) + 1
    }

    /// The last entry that snapshots allow to leave.
    fn covered(&self) -> Sequence {
        let mut newest = self.snapshots.iter().rev().map(|taken| taken.index);
        let (newest, second) = (newest.next().unwrap_or(0), newest.next().unwrap_or(0));
        second.min(newest.saturating_sub(STAY))
    }

    pub(crate) fn may_take(&self, index: Sequence) -> Result<(), Refusal> {
        self.may_write("snapshots", MEMORY)?;
        let known = self.snapshots.back().map_or(0, |taken| taken.index);
        after("a snapshot of entry", index, known)
    }

    pub(crate) fn may_archive(&self, through: Sequence) -> Result<(), Refusal> {
        self.may_write("archives", MEMORY)?;
        after("the archive's last entry", through, self.archived)
    }

    pub(crate) fn may_trim(&self, first: Sequence) -> Result<(), Refusal> {
        self.may_write("trimmed journals", MEMORY)?;
        after("the first entry", first, self.first)?;
        if first > self.trimmable() {
            let (archived, covered) = (self.archived, self.covered());
            return Err(Refusal::NotKept { first, archived, covered });
        }
        Ok(())
    }

    /// Folds an event.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::SnapshotTaken(e) => {
                if self.snapshots.len() == SNAPSHOTS {
                    self.snapshots.pop_front();
                }
                self.snapshots.push_back(e.clone());
            }
            Event::JournalArchived(e) => self.archived = e.through,
            Event::JournalTrimmed(e) => self.first = e.first,
            Event::LevelRaised(e) => self.level = e.level,
            Event::LeaderStarted(e) => self.reigns.begin(e),
            // Nothing comes of the one but the other, and a witness changes nothing.
            Event::SnapshotBegun(_) | Event::CheckpointSigned(_) => {}
            Event::RunAdmitted(_)
            | Event::RunRejected(_)
            | Event::RunAssigned(_)
            | Event::RunStarted(_)
            | Event::RunFinished(_)
            | Event::RunLost(_)
            | Event::RunCancelRequested(_)
            | Event::RunCanceled(_)
            | Event::RunForgotten(_)
            | Event::NodeJoined(_)
            | Event::NodeLost(_)
            | Event::PolicyPut(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::RunEvicted(_)
            | Event::RunReleased(_)
            | Event::RunRefused(_)
            | Event::RunQuarantined(_) => {}
        }
    }
}

fn after(what: &'static str, asked: Sequence, known: Sequence) -> Result<(), Refusal> {
    if asked > known { Ok(()) } else { Err(Refusal::NotAfter { what, asked, known }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{JournalArchived, JournalTrimmed, LevelRaised, Origin, Principal};
    use crate::ids::{Hex, Timestamp};

    const AT: Timestamp = Timestamp(1);

    fn after(snapshots: &[Sequence], archived: Sequence) -> Kept {
        let mut kept = Kept { level: LEVEL, ..Kept::default() };
        for index in snapshots {
            let (index, digest) = (*index, Hex([0; 32]));
            let taken = SnapshotTaken { at: AT, index, digest, bytes: 1, state: 0 };
            kept.evolve(&Event::SnapshotTaken(taken));
        }
        let hash = Hex([0; 32]);
        kept.evolve(&Event::JournalArchived(JournalArchived { at: AT, through: archived, hash }));
        kept
    }

    #[test]
    fn only_what_is_archived_and_twice_covered_may_leave() {
        for (snapshots, archived, first) in [
            (&[][..], 90_000, 1),
            (&[50_000], 90_000, 1),
            (&[20_000, 50_000], 90_000, 20_001),
            (&[20_000, 50_000], 10_000, 10_001),
            (&[45_000, 50_000], 90_000, 40_001),
            (&[20, 50], 90, 1),
        ] {
            let kept = after(snapshots, archived);
            assert_eq!(kept.trimmable(), first);
            assert!(kept.may_trim(first + 1).is_err());
            assert_eq!(kept.may_trim(first).is_ok(), first > 1);
        }
    }

    #[test]
    fn what_is_kept_only_grows() {
        let mut kept = after(&[20, 50_000], 90_000);
        kept.evolve(&Event::JournalTrimmed(JournalTrimmed { at: AT, first: 15 }));
        assert!(kept.may_take(50_000).is_err() && kept.may_take(50_001).is_ok());
        assert!(kept.may_archive(90_000).is_err() && kept.may_archive(90_001).is_ok());
        assert!(kept.may_trim(15).is_err() && kept.may_trim(16).is_ok());
    }

    #[test]
    fn at_level_1_nothing_is_kept_that_its_programs_could_not_read() {
        let mut kept = Kept::default();
        type Ask = fn(&Kept) -> Result<(), Refusal>;
        let asks: [Ask; 6] = [
            |kept| kept.may_begin(),
            |kept| kept.may_take(1),
            |kept| kept.may_archive(1),
            |kept| kept.may_sign(),
            |kept| kept.may_keep_report(Some(Hex([1; 32]))),
            |kept| kept.may_raise(LEVEL + 1),
        ];
        for ask in asks {
            let refused = ask(&kept).expect_err("level 1").to_string();
            assert!(refused.contains("level 1"), "{refused}");
        }
        assert!(kept.may_keep_report(None).is_ok() && kept.may_raise(MEMORY).is_ok());
        let origin = Origin { by: Principal::System, request: uuid::Uuid::nil() };
        kept.evolve(&Event::LevelRaised(LevelRaised { at: AT, origin, level: MEMORY }));
        assert!(asks[..5].iter().all(|ask| ask(&kept).is_ok()));
        assert!(kept.may_raise(MEMORY).is_err(), "it is in force");
    }

    #[test]
    fn the_newest_snapshots_are_remembered() {
        let indices: Vec<Sequence> = (1..=20).collect();
        let kept = after(&indices, 0);
        let remembered: Vec<Sequence> = kept.snapshots().map(|taken| taken.index).collect();
        assert_eq!(remembered, (13..=20).collect::<Vec<_>>());
    }
}

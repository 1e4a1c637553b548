//! Entries on their way to the archive.
//!
//! Owns:   the segment that is being filled: at most so many bytes of entries.
//! Fails:  with what could not be read or written; opened again, it goes on from what is there.

use std::sync::Arc;

use domain::ids::{Hex, Sequence};
use domain::kept::Kept;
use journal::{Cursor, Entry, Identity, Journal, ReadError};
use replay::archive::{Archive, Archived};

use super::Undone;

/// See the module.
pub(super) struct Archiver {
    archive: Archive,
    journal: Arc<dyn Journal>,
    cursor: Cursor,
    /// Read, and in no segment yet.
    entries: Vec<Entry>,
    bytes: u64,
    /// The last entry that is there, with every one before it.
    reached: Sequence,
    /// Bytes ever written when the end of the journal was last reached.
    at: u64,
}

impl Archiver {
    /// Looks how far an archive reaches, and goes on from there.
    pub(super) async fn open(
        location: &str,
        journal: Arc<dyn Journal>,
        identity: Identity,
        kept: &Kept,
    ) -> Result<Self, Undone> {
        let archive = Archive::create(location)?;
        let archived = Archived::of(archive.clone(), Some(identity)).await?;
        let reached = archived.covers_until(1) - 1;
        let oldest = journal.stored(1, 1).await?.first().map_or(1, |(id, _)| id.seq);
        if reached + 1 < oldest {
            return Err(Undone::Other(format!(
                "the archive at {location} ends with entry {reached}, and the journal begins with \
                 entry {oldest}: entries up to {} are archived elsewhere; name that place \
                 (TARTARUS_ARCHIVE), or move its segments there",
                kept.archived()
            )));
        }
        // What the journal knows to be archived is; what lies beyond may be of a segment that was
        // never recorded, and is archived again. Not so where it is another archive than before.
        let reached = reached.min(kept.archived());
        let cursor = Cursor::after(identity, reached);
        Ok(Self { archive, journal, cursor, entries: Vec::new(), bytes: 0, reached, at: 0 })
    }

    pub(super) fn reached(&self) -> Sequence {
        self.reached
    }

    /// Whether there is something for a segment.
    pub(super) fn is_due(&self, written: u64, segment: u64, all: bool) -> bool {
        all && (written > self.at || !self.entries.is_empty())
            || self.bytes + (written - self.at) >= segment
    }

    /// Reads on, and stores a segment once it is full, or `all` there is; none where there is not
    /// enough yet. Says its last entry, and the hash of that.
    pub(super) async fn segment(
        &mut self,
        segment: u64,
        all: bool,
        written: u64,
    ) -> Result<Option<(Sequence, Hex<32>)>, Undone> {
        while self.bytes < segment {
            let page = self.journal.read(&self.cursor).await.map_err(|error| match error {
                ReadError::Trouble(trouble) => Undone::Trouble(trouble),
                ReadError::Damaged(damaged) => Undone::Other(damaged.to_string()),
            })?;
            if page.entries.is_empty() {
                self.at = written;
                break;
            }
            self.cursor = page.next;
            self.bytes += page.entries.iter().map(|e| e.bytes().len() as u64).sum::<u64>();
            self.entries.extend(page.entries);
        }
        if self.entries.is_empty() || self.bytes < segment && !all {
            return Ok(None);
        }
        let (stored, bytes) = self.archive.put(&self.entries).await?;
        log::info!(
            first = stored.first, last = stored.last, bytes, place = self.archive.place();
            "archive a segment"
        );
        self.entries.clear();
        self.bytes = 0;
        self.reached = stored.last;
        Ok(Some((stored.last, stored.hash)))
    }
}

//! Where entries come from: a journal, or an export of one.
//!
//! Never:  opens a journal: opening may begin one. Two scripts that read are all Redis is asked.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use api::Time;
use api::what_if::Recorded;
use domain::ids::Sequence;
use journal::limits::PAGE_BYTES;
use journal::{Cursor, Entry, EntryId, Journal, RedisConfig, RedisJournal, Tail, Trouble};
use serde::Serialize;

use crate::import::{BadLine, Import};

/// Something that is wrong with a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The entry.
    pub sequence: Sequence,
    /// The event in it, where it is one event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// The line of an export, where it is read from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: ")?,
            None => write!(f, "entry {}", self.sequence)?,
        }
        match (self.line, self.n) {
            (None, Some(n)) => write!(f, ", event {n}: ")?,
            (None, None) => f.write_str(": ")?,
            (Some(_), _) => {}
        }
        f.write_str(&self.what)
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The journal does not answer.
    #[error("{0}: correct REDIS_ADDR, REDIS_DB, REDIS_PASSWORD or TARTARUS_KEY_PREFIX")]
    Journal(#[from] Trouble),
    /// There is nothing.
    #[error("there is no journal here: correct REDIS_ADDR, REDIS_DB or TARTARUS_KEY_PREFIX")]
    Empty,
    /// The file can't be opened.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// State is folded from the first entry on.
    #[error("it begins with entry {first}: the state is folded from entry 1 on; give all of it")]
    NotWhole {
        /// Its first entry.
        first: Sequence,
    },
    /// The entries before the point asked for can't be believed.
    #[error("{0}")]
    Bad(Finding),
    /// The point asked for is not reached.
    #[error("it ends with entry {last}, before {wanted}")]
    Before {
        /// Its last entry.
        last: Sequence,
        /// What was asked for.
        wanted: String,
    },
}

/// Why no more entries come.
#[derive(Debug)]
pub enum Over {
    /// It is the end.
    End,
    /// The next one is bad.
    Bad(Finding),
    /// The journal does not answer.
    Trouble(Trouble),
}

/// Entries, verified one behind the other.
#[derive(Debug)]
pub enum Source {
    /// A journal.
    Journal(FromJournal),
    /// A file that `tartarus audit export` wrote.
    File(Box<Import<BufReader<File>>>),
}

/// A journal being read.
#[derive(Debug)]
pub struct FromJournal {
    journal: Arc<dyn Journal>,
    next: Sequence,
    page_bytes: usize,
    /// Known with the first entry, whose word on which journal it is of is taken.
    cursor: Option<Cursor>,
}

impl Source {
    /// The whole of a journal.
    pub fn journal(journal: Arc<dyn Journal>) -> Self {
        Self::journal_in_pages(journal, PAGE_BYTES)
    }

    /// The same, read in pages of another size: where the thread that reads has other work too.
    pub fn journal_in_pages(journal: Arc<dyn Journal>, page_bytes: usize) -> Self {
        Self::Journal(FromJournal { journal, next: 1, page_bytes, cursor: None })
    }

    /// The journal in a Redis.
    pub fn redis(config: RedisConfig) -> Self {
        Self::journal(Arc::new(RedisJournal::new(config)))
    }

    /// An export.
    ///
    /// # Errors
    /// The file can't be read, or does not begin as an export does.
    pub fn file(path: &Path) -> Result<Self, Unreadable> {
        let cannot = |error| Unreadable::File { path: path.display().to_string(), error };
        let file = File::open(path).map_err(cannot)?;
        let import = Import::open(BufReader::with_capacity(1 << 20, file));
        import.map(|import| Self::File(Box::new(import))).map_err(|bad| Unreadable::Bad(bad.into()))
    }

    /// Leaves out what comes before a time or an entry, as far as that saves reading. What is left
    /// out is not verified, and the first entry read is believed about what it follows.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn skip_to(&mut self, point: crate::Point) -> Result<(), Unreadable> {
        let Self::Journal(from) = self else { return Ok(()) };
        from.next = match point {
            crate::Point::Sequence(sequence) => sequence.max(1),
            crate::Point::Time(time) => from.first_at(time.0).await?,
        };
        Ok(())
    }

    /// Goes on after an entry that is known, as from a snapshot; it is not asked whether the journal
    /// has it. An export is read from its beginning all the same.
    pub fn go_on(&mut self, tail: Tail) {
        if let Self::Journal(from) = self {
            from.next = tail.position.seq + 1;
            from.cursor = Some(Cursor::at(tail));
        }
    }

    /// The newest entry, where the source can say it before it is read.
    pub async fn head(&self) -> Option<EntryId> {
        match self {
            Self::Journal(from) => from.journal.head().await.ok(),
            Self::File(_) => None,
        }
    }

    /// The oldest entry, where the source can say it before it is read.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn oldest(&self) -> Result<Option<Recorded>, Unreadable> {
        let Self::Journal(from) = self else { return Ok(None) };
        let stored = from.journal.stored(1, 1).await?;
        let Some((id, bytes)) = stored.into_iter().next() else { return Ok(None) };
        // Reading will say what is wrong with one that is none.
        let time = Entry::parse(id, bytes).map_or(0, |entry| entry.header().at_ms);
        Ok(Some(Recorded { sequence: id.seq, time: Time(time) }))
    }

    /// The next entries, and why no more come where that is so.
    pub async fn page(&mut self) -> (Vec<Entry>, Option<Over>) {
        match self {
            Self::Journal(from) => from.page().await,
            Self::File(import) => import.page(),
        }
    }
}

impl FromJournal {
    async fn page(&mut self) -> (Vec<Entry>, Option<Over>) {
        let stored = match self.journal.stored(self.next, self.page_bytes).await {
            Ok(stored) => stored,
            Err(trouble) => return (Vec::new(), Some(Over::Trouble(trouble))),
        };
        let over = stored.is_empty().then_some(Over::End);
        let mut entries = Vec::with_capacity(stored.len());
        for (id, bytes) in stored {
            let accepted = match &mut self.cursor {
                Some(cursor) => cursor.accept(id, bytes),
                None => Entry::parse(id, bytes.clone()).and_then(|entry| {
                    let identity = entry.header().identity;
                    let mut cursor = Cursor::after(identity, self.next - 1);
                    let entry = cursor.accept(id, bytes)?;
                    self.cursor = Some(cursor);
                    Ok(entry)
                }),
            };
            match accepted {
                Ok(entry) => {
                    self.next = entry.seq() + 1;
                    entries.push(entry);
                }
                Err(damaged) => {
                    let what = damaged.fault.to_string();
                    let finding = Finding { sequence: id.seq, n: None, line: None, what };
                    return (entries, Some(Over::Bad(finding)));
                }
            }
        }
        (entries, over)
    }

    /// The first entry that is as late as a time, by halving: entries never go back in time.
    async fn first_at(&self, at_ms: u64) -> Result<Sequence, Unreadable> {
        let stored = self.journal.stored(1, 1).await?;
        let Some((first, _)) = stored.first() else { return Ok(1) };
        let head = self.journal.head().await.map_or(first.seq, |head| head.seq);
        let (mut low, mut high) = (first.seq, head + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let stored = self.journal.stored(middle, 1).await?;
            let entry = stored.into_iter().next().map(|(id, bytes)| Entry::parse(id, bytes));
            match entry {
                Some(Ok(entry)) if entry.header().at_ms < at_ms => low = middle + 1,
                Some(Ok(_)) | None => high = middle,
                // Reading will say what is wrong with it.
                Some(Err(_)) => return Ok(low),
            }
        }
        Ok(low)
    }
}

impl From<BadLine> for Finding {
    fn from(bad: BadLine) -> Self {
        Self { sequence: bad.after + 1, n: None, line: Some(bad.line), what: bad.what }
    }
}

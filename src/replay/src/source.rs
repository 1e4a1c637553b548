//! Where entries come from: a journal, an archive of one, both, or an export.
//!
//! Never:  opens a journal: opening may begin one. Two scripts that read are all Redis is asked.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use api::Time;
use api::what_if::Recorded;
use bytes::Bytes;
use domain::ids::Sequence;
use journal::catalog::{self, UnreadableRecord};
use journal::limits::PAGE_BYTES;
use journal::{
    CheckError, Cursor, Entry, EntryId, Header, Journal, RedisConfig, RedisJournal, Refusal, Tail,
    Trouble,
};
use serde::Serialize;

use crate::archive::{Archive, ArchiveError, Archived};
use crate::fold::Point;
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
    /// The Redis that was named does not answer.
    #[error("{}", of_redis(at, name, trouble))]
    Redis {
        /// Its address.
        at: String,
        /// What names it: a variable, or a flag.
        name: &'static str,
        /// Why.
        #[source]
        trouble: Trouble,
    },
    /// What answers is no journal, or not a whole one.
    #[error(transparent)]
    Refused(Refusal),
    /// The archive does not answer, or is not what it should be.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is nothing.
    #[error(
        "there is no journal here: correct --redis or REDIS_ADDR, REDIS_DB or TARTARUS_KEY_PREFIX"
    )]
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
    #[error(
        "it begins with entry {first}, and the state is folded from entry 1 on: give all of it, or \
         where its first entries are archived (--archive)"
    )]
    NotWhole {
        /// Its first entry.
        first: Sequence,
    },
    /// The entries before the point asked for can't be believed.
    #[error("{0}")]
    Bad(Finding),
    /// The point asked for is before all that there is.
    #[error("the journal begins at {time}, with entry {sequence}: nothing is known of {wanted}")]
    Begins {
        /// The entry of its first event.
        sequence: Sequence,
        /// When that happened.
        time: Time,
        /// What was asked for.
        wanted: Point,
    },
    /// The point asked for is not reached.
    #[error("it ends with entry {last}, before {wanted}")]
    Before {
        /// Its last entry.
        last: Sequence,
        /// What was asked for.
        wanted: String,
    },
}

impl From<CheckError> for Unreadable {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Trouble(trouble) => Self::Journal(trouble),
            CheckError::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// Why no more entries come.
#[derive(Debug)]
pub enum Over {
    /// It is the end.
    End,
    /// The next one is bad.
    Bad(Finding),
    /// The journal, or its archive, does not answer.
    Trouble(Unreadable),
}

/// Entries, verified one behind the other.
#[derive(Debug)]
pub enum Source {
    /// A journal.
    Journal(Box<FromJournal>),
    /// A file that `tartarus audit export` wrote.
    File(Box<Import<BufReader<File>>>),
}

/// A journal being read.
#[derive(Debug)]
pub struct FromJournal {
    journal: Option<Arc<dyn Journal>>,
    /// Where what has left it is, until that was looked into.
    archive: Option<Archive>,
    /// What has left it.
    archived: Option<Archived>,
    /// Where the journal is, and what says so, to be told where it does not answer.
    named: Option<(String, &'static str)>,
    /// The oldest entry that the journal was seen to have: what lies before is in the archive.
    oldest: Sequence,
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
        let from = FromJournal {
            journal: Some(journal),
            archive: None,
            archived: None,
            named: None,
            page_bytes,
            oldest: 0,
            next: 1,
            cursor: None,
        };
        Self::Journal(Box::new(from))
    }

    /// An archive alone, which has one journal.
    pub fn archive(archive: Archive) -> Self {
        let from = FromJournal {
            journal: None,
            archive: Some(archive),
            archived: None,
            named: None,
            page_bytes: PAGE_BYTES,
            oldest: 0,
            next: 1,
            cursor: None,
        };
        Self::Journal(Box::new(from))
    }

    /// Reads what has left the journal from an archive.
    pub fn beside(mut self, archive: Archive) -> Self {
        if let Self::Journal(from) = &mut self {
            from.archive = Some(archive);
        }
        self
    }

    /// The same, of what is known already.
    pub fn with(mut self, archived: Option<Archived>) -> Self {
        if let Self::Journal(from) = &mut self {
            from.archived = archived;
        }
        self
    }

    /// The journal in a Redis, whose address a flag or a variable of this name says.
    pub fn redis(config: RedisConfig, name: &'static str) -> Self {
        let at = config.address.to_string();
        let mut source = Self::journal(Arc::new(RedisJournal::new(config)));
        if let Self::Journal(from) = &mut source {
            from.named = Some((at, name));
        }
        source
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
        from.cursor = None;
        from.next = match point {
            crate::Point::Sequence(sequence) => sequence.max(1),
            crate::Point::Time(time) => from.first_where(|header| header.at_ms >= time.0).await?,
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

    /// The last entry of which something had happened at a time; 0 where the first is later. Of a file,
    /// which is read from its beginning, 0.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn last_until(mut self, time: api::Time) -> Result<Sequence, Unreadable> {
        let Self::Journal(from) = &mut self else { return Ok(0) };
        let later = from.first_where(|header| header.at_ms > time.0).await?;
        // An entry is written some time after its first event has happened.
        from.next = later;
        let stored = from.stored().await?.into_iter().next().filter(|(id, _)| id.seq == later);
        let entry = stored.and_then(|(id, bytes)| Entry::parse(id, bytes).ok());
        let first = entry.as_ref().and_then(|entry| catalog::events(entry).next()?.ok());
        let happened = first.is_some_and(|(_, event)| event.at().0 <= time.0);
        Ok(if happened { later } else { later - 1 })
    }

    /// The newest entry, where the source can say it before it is read. None of a journal that can't
    /// be believed about it: an audit says why.
    ///
    /// # Errors
    /// The journal does not answer.
    pub async fn head(&self) -> Result<Option<EntryId>, Unreadable> {
        Ok(self.end().await?.and_then(Result::ok))
    }

    /// The same, and why the journal can't be believed about it.
    pub(crate) async fn end(&self) -> Result<Option<Result<EntryId, Refusal>>, Unreadable> {
        let Self::Journal(from) = self else { return Ok(None) };
        let Some(journal) = &from.journal else { return Ok(None) };
        match journal.head().await {
            Ok(head) => Ok(Some(Ok(head))),
            Err(CheckError::Refused(refusal)) => Ok(Some(Err(refusal))),
            Err(CheckError::Trouble(trouble)) => Err(from.unread(trouble)),
        }
    }

    /// The oldest entry that can be read without a hole behind it, where the source can say it before
    /// it is read.
    ///
    /// # Errors
    /// The journal or its archive can't be read.
    pub async fn oldest(&mut self) -> Result<Option<Recorded>, Unreadable> {
        let Self::Journal(from) = self else { return Ok(None) };
        if from.journal.is_none() {
            return Ok(None);
        }
        from.look().await?;
        let Some((id, bytes)) = from.first().await? else { return Ok(None) };
        if let Some(entry) = match &from.archived {
            Some(archived) => archived.oldest_before(id.seq).await?,
            None => None,
        } {
            let time = Time(entry.header().at_ms);
            return Ok(Some(Recorded { sequence: entry.seq(), time }));
        }
        // Reading will say what is wrong with one that is none.
        let time = Entry::parse(id, bytes).map_or(0, |entry| entry.header().at_ms);
        Ok(Some(Recorded { sequence: id.seq, time: Time(time) }))
    }

    /// The first entry of whose header `holds` holds, by halving: it must hold of all behind it too.
    /// Behind the last, where it holds of none; of a file, which is read from its beginning, 1.
    ///
    /// # Errors
    /// The journal or its archive can't be read.
    pub async fn first_where(
        &mut self,
        holds: impl Fn(&Header) -> bool,
    ) -> Result<Sequence, Unreadable> {
        match self {
            Self::Journal(from) => from.first_where(holds).await,
            Self::File(_) => Ok(1),
        }
    }

    /// The next entries, and why no more come where that is so.
    pub async fn page(&mut self) -> (Vec<Entry>, Option<Over>) {
        match self {
            Self::Journal(from) => from.page().await,
            Self::File(import) => import.page(),
        }
    }
}

/// What a Redis answered instead of a journal, and what to correct.
fn of_redis(at: &str, name: &str, trouble: &Trouble) -> String {
    match trouble {
        // Who was not let in was told what to correct.
        Trouble::Denied(why) if why.starts_with("Redis at ") => why.to_string(),
        Trouble::Denied(_) => {
            format!("Redis at {at}: {trouble}: correct {name}, REDIS_DB or TARTARUS_KEY_PREFIX")
        }
        Trouble::Unreachable(_) | Trouble::WrongServer(_) => {
            format!("Redis at {at}: {trouble}: correct {name}")
        }
        Trouble::Busy(_) => format!("Redis at {at}: {trouble}: try again, or correct {name}"),
    }
}

impl FromJournal {
    /// What the journal answered instead, with where that is.
    fn unread(&self, why: impl Into<Unreadable>) -> Unreadable {
        match (why.into(), &self.named) {
            (Unreadable::Journal(trouble), Some((at, name))) => {
                Unreadable::Redis { at: at.clone(), name, trouble }
            }
            (other, _) => other,
        }
    }

    /// The oldest entry of the journal, if there is one.
    async fn first(&mut self) -> Result<Option<(EntryId, Bytes)>, Unreadable> {
        let Some(journal) = &self.journal else { return Ok(None) };
        let first = journal.stored(1, 1).await.map_err(|why| self.unread(why))?.into_iter().next();
        self.oldest = first.as_ref().map_or(0, |(id, _)| id.seq);
        Ok(first)
    }

    /// Looks into the archive, once.
    async fn look(&mut self) -> Result<(), Unreadable> {
        let Some(archive) = self.archive.clone() else { return Ok(()) };
        let first = self.first().await?;
        let entry = first.and_then(|(id, bytes)| Entry::parse(id, bytes).ok());
        let identity = entry.map(|entry| entry.header().identity);
        self.archived = Some(Archived::of(archive, identity).await?);
        self.archive = None;
        Ok(())
    }

    /// The next entries as they are stored, wherever that is.
    async fn stored(&mut self) -> Result<Vec<(EntryId, Bytes)>, Unreadable> {
        self.look().await?;
        let whole = |entry: Entry| (entry.id(), entry.bytes().clone());
        if let Some(journal) = &self.journal
            && self.next >= self.oldest
        {
            let stored = journal.stored(self.next, self.page_bytes).await;
            let stored = stored.map_err(|why| self.unread(why))?;
            match stored.first() {
                Some((first, _)) if first.seq > self.next => self.oldest = first.seq,
                Some(_) | None => return Ok(stored),
            }
        }
        if let Some(archived) = &self.archived {
            let identity = archived.identity();
            let cursor = self.cursor.unwrap_or_else(|| Cursor::after(identity, self.next - 1));
            let entries = archived.stored(&cursor).await?;
            if !entries.is_empty() || self.journal.is_none() {
                return Ok(entries.into_iter().map(whole).collect());
            }
        }
        // What is left begins where it begins; only behind an entry that was read is that a hole.
        let Some(journal) = &self.journal else { return Ok(Vec::new()) };
        if self.cursor.is_none() {
            self.next = self.oldest;
        }
        journal.stored(self.oldest, self.page_bytes).await.map_err(|why| self.unread(why))
    }

    async fn page(&mut self) -> (Vec<Entry>, Option<Over>) {
        let stored = match self.stored().await {
            Ok(stored) => stored,
            Err(Unreadable::Archive(ArchiveError::Bad { place, name, fault })) => {
                let what = format!("the archive at {place}: {name}: {fault}");
                let finding = Finding { sequence: self.next, n: None, line: None, what };
                return (Vec::new(), Some(Over::Bad(finding)));
            }
            Err(unreadable) => return (Vec::new(), Some(Over::Trouble(unreadable))),
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

    /// See [`Source::first_where`].
    async fn first_where(
        &mut self,
        holds: impl Fn(&Header) -> bool,
    ) -> Result<Sequence, Unreadable> {
        self.look().await?;
        let first = self.first().await?;
        let held = |(id, bytes)| Entry::parse(id, bytes).map(|entry| holds(entry.header()));
        let (mut low, mut high) = match (&self.journal, first) {
            (Some(journal), Some((id, bytes))) if !held((id, bytes.clone())).unwrap_or(false) => {
                (id.seq, journal.head().await.map_err(|why| self.unread(why))?.seq + 1)
            }
            (_, first) => match &self.archived {
                Some(archived) => return Ok(archived.first_where(holds).await?),
                None => return Ok(first.map_or(1, |(id, _)| id.seq)),
            },
        };
        let Some(journal) = &self.journal else { return Ok(low) };
        while low < high {
            let middle = low + (high - low) / 2;
            let stored = journal.stored(middle, 1).await.map_err(|why| self.unread(why))?;
            match stored.into_iter().next().map(held) {
                Some(Ok(false)) => low = middle + 1,
                Some(Ok(true)) | None => high = middle,
                // Reading will say what is wrong with it.
                Some(Err(_)) => return Ok(low),
            }
        }
        Ok(low)
    }
}

impl From<&UnreadableRecord> for Finding {
    fn from(UnreadableRecord { seq, n, fault }: &UnreadableRecord) -> Self {
        Self { sequence: *seq, n: Some(*n), line: None, what: fault.to_string() }
    }
}

impl From<BadLine> for Finding {
    fn from(bad: BadLine) -> Self {
        Self { sequence: bad.after + 1, n: None, line: Some(bad.line), what: bad.what }
    }
}

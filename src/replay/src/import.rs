//! Reading an export, and believing none of it: each line must be, to the byte, what the entries say.
//!
//! Fails:  at the first line that is not, by its number.

use std::io::{BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ids::{Hex, Sequence};
use journal::{
    ChainHash, ClusterId, Cursor, Entry, Identity, Kinds, MAX_BODY_BYTES, Position, Receipt,
    Tail as JournalTail,
};

use crate::export::{EntryLine, FORMAT, Head, Tail, event_lines, kinds, line, names, tail};
use crate::source::Over;
use crate::then::{self, LeftOut};

/// No line is longer: an entry's bytes in base64, or its largest event in JSON, which may take six
/// bytes for one.
const LINE_MAX: u64 = 8 * MAX_BODY_BYTES as u64;
/// Bytes of entries that a page of an export holds.
const PAGE_BYTES: usize = 1 << 20;

/// The first line that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// The last good entry before it.
    pub after: Sequence,
    /// What is wrong.
    pub what: String,
}

/// An export being read.
#[derive(Debug)]
pub struct Import<R> {
    from: R,
    line: u64,
    /// What was taken out.
    redacted: Kinds,
    /// What the writer could not say yet.
    left_out: LeftOut,
    /// What to do where the writer knew more than this program.
    advice: Option<String>,
    digest: blake3::Hash,
    cursor: Cursor,
    last: Option<Entry>,
    entries: u64,
    events: u64,
    over: bool,
}

impl<R: BufRead> Import<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// It is not that of an export.
    pub fn open(mut from: R) -> Result<Self, BadLine> {
        let bad = |what: String| BadLine { line: 1, after: 0, what };
        let text = read_line(&mut from).map_err(bad)?;
        let head: Head = serde_json::from_slice(&text).map_err(|error| {
            bad(format!("it does not begin as `tartarus audit export` writes ({error})"))
        })?;
        if head.format != FORMAT {
            let found = head.format;
            return Err(bad(format!(
                "its format is {found} and this program reads {FORMAT}: use another version of \
                 tartarus (this is {})",
                env!("CARGO_PKG_VERSION")
            )));
        }
        let identity = Identity { cluster: ClusterId(head.cluster), incarnation: head.incarnation };
        let prev: Hex<32> = head.prev.parse().map_err(|_| bad("prev is no hash".into()))?;
        let seq = head.first.checked_sub(1).ok_or_else(|| bad("first is 0".into()))?;
        let redacted = kinds(&head.redacted).ok_or_else(|| {
            bad("what was redacted is something that this program does not know: use a newer one".into())
        })?;
        if line(&head) != text || names(redacted) != head.redacted {
            return Err(bad("it is not written as `tartarus audit export` writes".into()));
        }
        let position = Position { seq, hash: ChainHash(prev.0) };
        let cursor = Cursor::at(JournalTail { identity, position, epoch: 0, at_ms: 0 });
        let digest = blake3::hash(&text);
        let versions = head.versions.unwrap_or_else(then::unsaid);
        let known = then::known();
        let newer = versions.iter().any(|(name, version)| known.get(name).unwrap_or(&1) < version);
        let advice = newer.then(|| {
            format!(
                "; it was written by tartarus {}, which knew more of events than this ({}): use that \
                 version or a newer one",
                head.tartarus,
                env!("CARGO_PKG_VERSION")
            )
        });
        Ok(Self {
            from,
            line: 1,
            redacted,
            left_out: LeftOut::after(&versions),
            advice,
            digest,
            cursor,
            last: None,
            entries: 0,
            events: 0,
            over: false,
        })
    }

    fn bad(&self, what: impl Into<String>) -> BadLine {
        let after = self.cursor.seq();
        BadLine { line: self.line, after, what: what.into() }
    }

    fn read(&mut self) -> Result<Vec<u8>, BadLine> {
        self.line += 1;
        read_line(&mut self.from).map_err(|what| self.bad(what))
    }

    /// The next entry; none behind the last, when the last line was checked.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, BadLine> {
        if self.over {
            return Ok(None);
        }
        let text = self.read()?;
        if text.starts_with(b"{\"end\":") {
            self.over = true;
            return self.end(&text).map(|()| None);
        }
        if !text.starts_with(b"{\"entry\":") {
            return Err(self.bad("it is neither an entry nor the end, and no entry holds it"));
        }
        let found: EntryLine = serde_json::from_slice(&text)
            .map_err(|error| self.bad(format!("it is no entry ({error})")))?;
        let id = found.entry.parse::<Receipt>().map_err(|error| self.bad(error.to_string()))?;
        let bytes = STANDARD.decode(&found.bytes);
        let bytes = bytes.map_err(|error| self.bad(format!("its bytes: {error}")))?;
        let accepted = self.cursor.accept_copy(id.0, bytes.into());
        let entry = accepted.map_err(|damaged| self.bad(damaged.to_string()))?;
        if line(&EntryLine::of(&entry)) != text {
            return Err(self.bad("it is not written as `tartarus audit export` writes"));
        }
        if entry != entry.redacted(self.redacted) {
            return Err(self.bad("it has secrets that the first line says were taken out"));
        }
        if entry.is_redacted() && self.redacted == Kinds::NONE {
            return Err(
                self.bad("secrets were taken out of it, and the first line does not say so")
            );
        }
        let events =
            event_lines(&entry, &self.left_out).map_err(|error| self.bad(error.to_string()))?;
        for (n, event) in events.iter().enumerate() {
            if self.read()? != *event {
                let mut what =
                    format!("it is not what the bytes of entry {} say of event {n}", entry.seq());
                what.push_str(self.advice.as_deref().unwrap_or_default());
                return Err(self.bad(what));
            }
        }
        self.entries += 1;
        self.events += events.len() as u64;
        self.last = Some(entry.clone());
        Ok(Some(entry))
    }

    /// Checks the last line, and that it is the last.
    fn end(&mut self, text: &[u8]) -> Result<(), BadLine> {
        let found: Tail = serde_json::from_slice(text)
            .map_err(|error| self.bad(format!("it is not the end of an export ({error})")))?;
        let Some(last) = &self.last else { return Err(self.bad("no entry is before it")) };
        let due = tail(last, self.entries, self.events, &self.digest);
        if found.head != due.head {
            return Err(BadLine { line: 1, ..self.bad("it is not the line that was written") });
        }
        if line(&due) != text {
            return Err(self.bad(format!(
                "it does not say what is before it: {} entries with {} events, up to {}",
                due.entries, due.events, due.end
            )));
        }
        let mut rest = [0];
        match self.from.read(&mut rest) {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.line += 1;
                Err(self.bad("something comes after the end"))
            }
            Err(error) => Err(self.bad(error.to_string())),
        }
    }

    /// What was taken out of it.
    pub fn redacted(&self) -> Kinds {
        self.redacted
    }

    /// Entries, events and the receipt of the last entry so far.
    pub fn counts(&self) -> (u64, u64, Option<Receipt>) {
        (self.entries, self.events, self.last.as_ref().map(|last| Receipt(last.id())))
    }

    pub(crate) fn page(&mut self) -> (Vec<Entry>, Option<Over>) {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES {
            match self.next_entry() {
                Ok(Some(entry)) => {
                    bytes += entry.bytes().len();
                    page.push(entry);
                }
                Ok(None) => return (page, Some(Over::End)),
                Err(bad) => return (page, Some(Over::Bad(bad.into()))),
            }
        }
        (page, None)
    }
}

/// A line with its end.
fn read_line(from: &mut impl BufRead) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read = from.take(LINE_MAX).read_until(b'\n', &mut text).map_err(|e| e.to_string())?;
    match text.last() {
        Some(b'\n') => Ok(text),
        _ if read == 0 => Err("the export ends here, without its last line: it was cut off".into()),
        _ if text.len() as u64 == LINE_MAX => Err("it is longer than any line can be".into()),
        _ => Err("the line has no end: the export was cut off".into()),
    }
}

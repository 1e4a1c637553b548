//! The records of an entry: frames around events whose meaning the [`catalog`](crate::catalog) knows.
//!
//! Never:  copies one: they are slices of the entry's bytes.

use crate::apart::{self, Kinds, Parts, Secret, Secrets};
use crate::damage::EntryFault;
use crate::entry::{FRAME_LEN, Format};

// Flags of a frame: who must know it, and what of it is apart.
pub(crate) const CRITICAL: u8 = 1;
pub(crate) const ENV: u8 = 1 << 1;
pub(crate) const STDIN: u8 = 1 << 2;
pub(crate) const MARKS: u8 = 1 << 3;

/// Flags that a frame may have.
fn flags_of(format: Format) -> u8 {
    match format {
        Format::Plain => CRITICAL,
        Format::Apart => CRITICAL | ENV | STDIN | MARKS,
    }
}

/// One record: a framed event whose meaning the [`catalog`](crate::catalog) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of its type, never reused.
    pub kind: u16,
    /// Version of its type, from 1.
    pub version: u16,
    /// Whether a reader that does not know it must stop.
    pub critical: bool,
    /// The encoded event.
    pub payload: &'a [u8],
    /// What of it is apart.
    pub secrets: Secrets<'a>,
}

/// The records of an entry. Ends at the first bad frame; see [`Records::fault`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    format: Format,
    index: u32,
    apart: Parts<'a>,
    /// The marks of the records to come; none where they were taken out.
    marks: Option<&'a [u8]>,
    fault: Option<EntryFault>,
}

/// A frame's parts but for what is apart.
struct Frame<'a> {
    record: Record<'a>,
    flags: u8,
}

impl<'a> Records<'a> {
    pub(crate) fn of(format: Format, body: &'a [u8], mut apart: Parts<'a>) -> Self {
        let marks =
            if apart.is_empty() { Some(&[][..]) } else { apart.next().and_then(|p| p.open()) };
        Self { rest: body, format, index: 0, apart, marks, fault: None }
    }

    /// Why the iteration ended before the body did. Never for the records of an [`Entry`].
    pub fn fault(&self) -> Option<&EntryFault> {
        self.fault.as_ref()
    }

    fn frame(&mut self) -> Result<Frame<'a>, EntryFault> {
        let cut = EntryFault::CutRecord { index: self.index };
        let Some((&[k0, k1, v0, v1, flags, l0, l1, l2, l3], rest)) =
            self.rest.split_first_chunk::<FRAME_LEN>()
        else {
            return Err(cut);
        };
        if flags & !flags_of(self.format) != 0 {
            return Err(EntryFault::UnknownFlags { index: self.index, flags });
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let (payload, rest) = rest.split_at_checked(len).ok_or(cut)?;
        self.rest = rest;
        self.index += 1;
        let record = Record {
            kind: u16::from_le_bytes([k0, k1]),
            version: u16::from_le_bytes([v0, v1]),
            critical: flags & CRITICAL != 0,
            payload,
            secrets: Secrets::NONE,
        };
        Ok(Frame { record, flags })
    }

    fn record(&mut self) -> Result<Record<'a>, EntryFault> {
        let Frame { mut record, flags } = self.frame()?;
        if flags & !CRITICAL != 0 {
            record.secrets = self.secrets(flags).ok_or(EntryFault::WrongApart)?;
        }
        Ok(record)
    }

    fn secrets(&mut self, flags: u8) -> Option<Secrets<'a>> {
        let mut of = |flag| match flags & flag {
            0 => Some(Secret::None),
            _ => self.apart.next().map(|part| part.secret()),
        };
        let (env, stdin) = (of(ENV)?, of(STDIN)?);
        let marks = match (flags & MARKS, &mut self.marks) {
            (0, _) => Secret::None,
            (_, None) => Secret::Redacted,
            (_, Some(marks)) => Secret::Open(apart::take_text(marks)?),
        };
        Some(Secrets { env, stdin, marks })
    }

    /// Of each secret that is apart, whether it is to be taken out, as `takes` says of a record and
    /// a kind; the marks first, which always are.
    pub(crate) fn taken(
        mut self,
        takes: impl Fn(u32, Kinds) -> bool + 'a,
    ) -> impl Iterator<Item = bool> + 'a {
        let frames = std::iter::from_fn(move || {
            let frame = (!self.rest.is_empty()).then(|| self.frame().ok()).flatten();
            frame.map(|frame| (self.index - 1, frame.flags))
        });
        let each = move |(record, flags)| {
            let has = |flag, kind| (flags & flag != 0).then(|| takes(record, kind));
            [has(ENV, Kinds::ENV), has(STDIN, Kinds::STDIN)].into_iter().flatten()
        };
        std::iter::once(true).chain(frames.flat_map(each))
    }

    /// Whether marks are left over behind all records.
    pub(crate) fn has_more_marks(&self) -> bool {
        self.marks.is_some_and(|left| !left.is_empty())
    }

    /// Walks all frames, and nothing that is apart.
    pub(crate) fn survey(mut self) -> Result<Survey, EntryFault> {
        let (mut survey, mut any) = (Survey::default(), 0);
        while !self.rest.is_empty() {
            let Frame { flags, .. } = self.frame()?;
            survey.secrets += (flags & (ENV | STDIN)).count_ones();
            any |= flags;
        }
        survey.records = self.index;
        survey.has_apart = any & !CRITICAL != 0;
        Ok(survey)
    }
}

/// What a body says of the entry it is in.
#[derive(Default)]
pub(crate) struct Survey {
    pub(crate) records: u32,
    /// Secrets of single records.
    pub(crate) secrets: u32,
    /// Whether anything is apart.
    pub(crate) has_apart: bool,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.rest.is_empty() || self.fault.is_some() {
            return None;
        }
        match self.record() {
            Ok(record) => Some(record),
            Err(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }
}

//! Reading: each reader has its own place, and takes pages straight from the file.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use api::Stream;
use api::session::CHUNK_BYTES;
use bytes::Bytes;
use tokio::sync::watch;

use super::frame::{Chunk, FRAME_HEADER, Found, parse};
use super::keep::{Hold, blocking};

/// Bytes of a page: a few of the largest chunks in one system call, and no more than a slow reader
/// may make us hold.
const PAGE_BYTES: usize = 256 * 1024;
const _: () = assert!(PAGE_BYTES >= CHUNK_BYTES + FRAME_HEADER);

/// Chunks that share one page of memory.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In order; empty at the end.
    pub chunks: Vec<Chunk>,
}

/// A place in an attempt's output.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: Option<Arc<File>>,
    at: u64,
    /// How far the writer is; none for a file that nobody writes.
    end: Option<watch::Receiver<u64>>,
    /// Lines that are left out yet, of one stream or of both.
    skip: Option<(u64, Option<Stream>)>,
    _hold: Option<Hold>,
}

impl Reader {
    pub(super) fn of(path: PathBuf, file: File) -> Self {
        Self { path, file: Some(Arc::new(file)), at: 0, end: None, skip: None, _hold: None }
    }

    pub(super) fn following(path: PathBuf, end: watch::Receiver<u64>, hold: Hold) -> Self {
        Self { path, file: None, at: 0, end: Some(end), skip: None, _hold: Some(hold) }
    }

    /// Back to the beginning, to leave out the first `lines` lines of a stream, or of both.
    pub fn skip_lines(&mut self, lines: u64, stream: Option<Stream>) {
        self.at = 0;
        self.skip = Some((lines, stream));
    }

    /// The next page; an empty one where there is no more for now.
    ///
    /// # Errors
    /// The file can't be read, or is damaged.
    pub async fn page(&mut self) -> io::Result<Page> {
        let Some(file) = self.open().await? else { return Ok(Page::default()) };
        loop {
            let (at, file) = (self.at, file.clone());
            let (mut page, at) = blocking(move || read_page(&file, at)).await?;
            self.at = at;
            if page.chunks.is_empty() {
                return Ok(page);
            }
            self.leave_out(&mut page);
            if !page.chunks.is_empty() {
                return Ok(page);
            }
        }
    }

    /// Whether everything that is in the file was read.
    ///
    /// # Errors
    /// The file can't be looked at.
    pub async fn at_end(&mut self) -> io::Result<bool> {
        let at = self.at;
        match self.open().await? {
            None => Ok(true),
            Some(file) => blocking(move || Ok(file.metadata()?.len() <= at)).await,
        }
    }

    fn leave_out(&mut self, page: &mut Page) {
        let Some((mut lines, stream)) = self.skip else { return };
        page.chunks.retain_mut(|chunk| {
            if lines == 0 {
                return true;
            }
            if stream.is_none_or(|stream| stream == chunk.stream) {
                let rest = after_lines(&chunk.data, &mut lines);
                chunk.data = chunk.data.slice(rest..);
            }
            // What came before the last line that is left out is left out too.
            lines == 0 && !chunk.data.is_empty()
        });
        self.skip = (lines > 0).then_some((lines, stream));
    }

    /// Waits until the writer has come further than this reader; for ever, where nobody writes.
    pub async fn more(&mut self) {
        let at = self.at;
        if let Some(end) = &mut self.end
            && end.wait_for(|end| *end > at).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    async fn open(&mut self) -> io::Result<Option<Arc<File>>> {
        if self.file.is_none() {
            let path = self.path.clone();
            let opened = blocking(move || match File::open(path) {
                Ok(file) => Ok(Some(Arc::new(file))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            });
            self.file = opened.await?;
        }
        Ok(self.file.clone())
    }
}

/// Where in `data` the first `lines` lines are over; counts down those that are.
fn after_lines(data: &[u8], lines: &mut u64) -> usize {
    for (at, byte) in data.iter().enumerate() {
        if *byte == b'\n' {
            *lines -= 1;
            if *lines == 0 {
                return at + 1;
            }
        }
    }
    data.len()
}

fn read_page(file: &File, at: u64) -> io::Result<(Page, u64)> {
    let len = file.metadata()?.len();
    let mut scan = Scan::of(file, at, len);
    let mut page = Page::default();
    let mut left = PAGE_BYTES;
    loop {
        match scan.step()? {
            Some(Found::Whole(chunk, bytes)) => {
                page.chunks.push(chunk);
                left = left.saturating_sub(bytes);
                if left < CHUNK_BYTES + FRAME_HEADER {
                    break;
                }
            }
            Some(Found::Of(..)) => {}
            // The writer is in the middle of it, or a crash was.
            Some(Found::Part(_)) | None => break,
            // A frame half written reads as zeros where the system had not come to it yet.
            Some(Found::Damaged) if scan.is_last() => break,
            Some(Found::Damaged) => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    format!("output is damaged at byte {}", scan.at()),
                ));
            }
        }
    }
    Ok((page, scan.at()))
}

/// Goes through the frames of a file.
pub(super) struct Scan<'a> {
    file: &'a File,
    at: u64,
    len: u64,
    /// What was read ahead, from `at` on.
    ahead: Bytes,
}

impl<'a> Scan<'a> {
    pub(super) fn of(file: &'a File, at: u64, len: u64) -> Self {
        Self { file, at, len, ahead: Bytes::new() }
    }

    /// Where the next frame begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether the next frame, as long as it may be, is the last.
    fn is_last(&self) -> bool {
        self.len - self.at <= (CHUNK_BYTES + FRAME_HEADER) as u64
    }

    /// The next frame; none at the end of the file.
    pub(super) fn step(&mut self) -> io::Result<Option<Found>> {
        loop {
            let found = parse(&self.ahead);
            match found {
                Found::Whole(_, bytes) | Found::Of(_, bytes) => {
                    self.ahead = self.ahead.slice(bytes..);
                    self.at += bytes as u64;
                    return Ok(Some(found));
                }
                Found::Damaged => return Ok(Some(found)),
                Found::Part(need) => {
                    let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(0);
                    if left == 0 {
                        return Ok(None);
                    }
                    if left < need {
                        return Ok(Some(found));
                    }
                    let mut bytes = vec![0; left.min(PAGE_BYTES)];
                    self.file.read_exact_at(&mut bytes, self.at)?;
                    self.ahead = Bytes::from(bytes);
                }
            }
        }
    }
}

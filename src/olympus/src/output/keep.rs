//! Writing: chunks in order, each once.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::Stream;
use api::session::{MAX_CHUNKS, OutputSummary, Terms, chunk_header};
use domain::RunId;
use domain::ids::{Digest, Hex, Token};
use tokio::sync::watch;
use uuid::Uuid;

use super::frame::{Found, frame, token_frame};
use super::read::{Reader, Scan};
use crate::aside::aside;

/// Most bytes of an attempt's data that are taken: what agents are told to keep, and some for the
/// words with which they say that they cut it.
const DATA_MAX: u64 = Terms::OUTPUT_MAX_BYTES + (64 << 10);

/// When a sealed file is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before the run ends: it survives what an fsynced journal survives.
    Disk,
    /// Whenever the system writes it: for a journal that is no safer.
    Later,
}

/// A chunk as it comes from an agent.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// The run.
    pub run: RunId,
    /// Number of the attempt.
    pub attempt: u32,
    /// Which attempt of this number: where the journal was lost, another may have had it.
    pub token: Token,
    /// Number of the chunk, from 0.
    pub number: u32,
    /// Which stream.
    pub stream: Stream,
    /// The agent's wall clock in milliseconds since 1970.
    pub time_ms: u64,
    /// What was written.
    pub data: &'a [u8],
}

/// What of an attempt is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many chunks: the number that is wanted next.
    pub chunks: u32,
    /// Bytes of standard output.
    pub stdout_bytes: u64,
    /// Bytes of standard error.
    pub stderr_bytes: u64,
    /// BLAKE3 over the chunks in order, as the session protocol counts it; none without a chunk.
    pub digest: Option<Digest>,
}

/// Whether an attempt's output is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// It is what the agent sent, and readable.
    Complete(Summary),
    /// Send from this chunk on, then ask again.
    Missing {
        /// Number of the chunk that is wanted next.
        next: u32,
    },
}

/// The output of every run that this instance holds.
#[derive(Debug)]
pub struct OutputStore {
    dir: PathBuf,
    sync: Sync,
    /// Attempts that are being written, or followed.
    live: Mutex<HashMap<(RunId, u32), Arc<Attempt>>>,
}

/// One attempt's file, being written.
#[derive(Debug)]
pub(super) struct Attempt {
    path: PathBuf,
    written: Mutex<Option<Written>>,
    /// Bytes of the file that are whole frames.
    end: watch::Sender<u64>,
    /// Whether an agent may still send more.
    writing: AtomicBool,
}

#[derive(Debug)]
struct Written {
    file: File,
    /// Whose it is; none where that is not known, or nobody's yet.
    token: Option<Token>,
    end: u64,
    sums: Sums,
}

/// Running sums over the chunks.
#[derive(Clone, Debug, Default)]
struct Sums {
    chunks: u32,
    stdout_bytes: u64,
    stderr_bytes: u64,
    hash: blake3::Hasher,
}

impl Sums {
    fn add(&mut self, stream: Stream, data: &[u8]) {
        self.chunks += 1;
        // A chunk is 64 KiB at most.
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match stream {
            Stream::Stdout => self.stdout_bytes += u64::from(len),
            Stream::Stderr => self.stderr_bytes += u64::from(len),
        }
        self.hash.update(&chunk_header(stream, len)).update(data);
    }

    fn summary(&self) -> Summary {
        Summary {
            chunks: self.chunks,
            stdout_bytes: self.stdout_bytes,
            stderr_bytes: self.stderr_bytes,
            digest: (self.chunks > 0).then(|| Hex(*self.hash.finalize().as_bytes())),
        }
    }
}

impl OutputStore {
    /// The store in `data_dir`, made where it is not there.
    ///
    /// # Errors
    /// The directory can't be made or written.
    pub fn open(data_dir: &Path, sync: Sync) -> io::Result<Self> {
        let dir = data_dir.join("output");
        // What programs write is nobody else's business on this machine.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir, sync, live: Mutex::default() })
    }

    /// The file of an attempt. The last byte of an id is random: directories stay even.
    fn path(&self, run: RunId, attempt: u32) -> PathBuf {
        let shard = self.dir.join(format!("{:02x}", run.0.as_bytes()[15]));
        match attempt {
            // A first attempt, nearly all there are, needs no directory of its own.
            1 => shard.join(run.0.simple().to_string()),
            _ => self.more(run).join(attempt.to_string()),
        }
    }

    /// The directory of all attempts but the first.
    fn more(&self, run: RunId) -> PathBuf {
        let shard = self.dir.join(format!("{:02x}", run.0.as_bytes()[15]));
        shard.join(format!("{}.more", run.0.simple()))
    }

    fn live(&self) -> MutexGuard<'_, HashMap<(RunId, u32), Arc<Attempt>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempt(&self, run: RunId, attempt: u32) -> Arc<Attempt> {
        let mut live = self.live();
        let entry = live.entry((run, attempt)).or_insert_with(|| {
            Arc::new(Attempt {
                path: self.path(run, attempt),
                written: Mutex::default(),
                end: watch::Sender::new(0),
                writing: AtomicBool::new(false),
            })
        });
        entry.clone()
    }

    /// Keeps a chunk; the number of the one that is wanted next. A chunk that is here already is
    /// not kept twice, and one behind a gap is not kept.
    ///
    /// # Errors
    /// The file can't be written, or the attempt has written more than it may.
    pub async fn append(&self, chunk: Append<'_>) -> io::Result<u32> {
        let attempt = self.attempt(chunk.run, chunk.attempt);
        attempt.writing.store(true, Ordering::Relaxed);
        let bytes = frame(chunk.number, chunk.stream, chunk.time_ms, chunk.data);
        let (token, number, stream) = (chunk.token, chunk.number, chunk.stream);
        blocking(move || attempt.append(token, number, stream, &bytes)).await
    }

    /// The number of the chunk that is wanted next.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn next(&self, run: RunId, attempt: u32, token: Token) -> io::Result<u32> {
        let attempt = self.attempt(run, attempt);
        blocking(move || attempt.with_mine(token, false, |written| Ok(written.sums.chunks)))
            .await
            .map(Option::unwrap_or_default)
    }

    /// Whether what is kept here of an attempt is what its record says: another instance may have
    /// been sent the rest.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn is_whole(
        &self,
        run: RunId,
        attempt: u32,
        digest: Option<Digest>,
    ) -> io::Result<bool> {
        let here = self.attempt(run, attempt);
        let same = move || here.with(false, |written| Ok(written.sums.summary().digest == digest));
        let same = blocking(same).await;
        self.close_unused(run, attempt);
        Ok(same?.unwrap_or(digest.is_none()))
    }

    /// Whether exactly what the agent says it sent is here; if so, it is made to stay.
    ///
    /// # Errors
    /// The file can't be read or made to stay.
    pub async fn seal(
        &self,
        run: RunId,
        attempt: u32,
        token: Token,
        sent: OutputSummary,
    ) -> io::Result<Seal> {
        let (here, sync) = (self.attempt(run, attempt), self.sync);
        let seal = blocking(move || here.seal(token, sent, sync)).await?;
        if let Seal::Complete(_) = seal {
            self.release(run, attempt);
        }
        Ok(seal)
    }

    /// Nobody writes this attempt for now: its file is closed when nobody follows it either.
    pub fn release(&self, run: RunId, attempt: u32) {
        if let Some(here) = self.live().get(&(run, attempt)) {
            here.writing.store(false, Ordering::Relaxed);
        }
        self.close_unused(run, attempt);
    }

    /// Closes the file of an attempt that nobody writes and nobody else holds.
    pub(super) fn close_unused(&self, run: RunId, attempt: u32) {
        let mut live = self.live();
        let unused = live.get(&(run, attempt)).is_some_and(|here| {
            !here.writing.load(Ordering::Relaxed) && Arc::strong_count(here) == 1
        });
        if unused {
            live.remove(&(run, attempt));
        }
    }

    /// A reader of an attempt's output, from its beginning; none where nothing is kept, unless it
    /// may still come (`expected`).
    ///
    /// # Errors
    /// The file can't be opened.
    pub async fn read(
        self: &Arc<Self>,
        run: RunId,
        attempt: u32,
        expected: bool,
    ) -> io::Result<Option<Reader>> {
        let path = self.path(run, attempt);
        if expected {
            let here = self.attempt(run, attempt);
            let end = here.end.subscribe();
            let hold = Hold { store: self.clone(), run, attempt, here: Some(here) };
            return Ok(Some(Reader::following(path, end, hold)));
        }
        blocking(move || match File::open(&path) {
            Ok(file) => Ok(Some(Reader::of(path, file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// Removes everything that a run wrote. Readers that are at it read to the end.
    ///
    /// # Errors
    /// A file can't be removed.
    pub async fn remove(&self, run: RunId) -> io::Result<()> {
        self.live().retain(|(other, _), _| *other != run);
        let (first, more) = (self.path(run, 1), self.more(run));
        let absent = |result: io::Result<()>| match result {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
        blocking(move || {
            absent(std::fs::remove_file(first))?;
            absent(std::fs::remove_dir_all(more))
        })
        .await
    }

    /// Every run that has output here.
    ///
    /// # Errors
    /// A directory can't be read.
    pub async fn runs(&self) -> io::Result<BTreeSet<RunId>> {
        let dir = self.dir.clone();
        blocking(move || {
            let mut runs = BTreeSet::new();
            for shard in std::fs::read_dir(dir)? {
                for file in std::fs::read_dir(shard?.path())? {
                    let name = file?.file_name();
                    let id = name.to_str().map(|name| name.trim_end_matches(".more"));
                    // What is not named like a run is not ours.
                    runs.extend(id.and_then(|id| Uuid::try_parse(id).ok()).map(RunId));
                }
            }
            Ok(runs)
        })
        .await
    }

    /// How many attempts are being written or followed.
    pub fn live_attempts(&self) -> usize {
        self.live().len()
    }
}

/// A follower's hold on an attempt that is being written.
#[derive(Debug)]
pub(super) struct Hold {
    store: Arc<OutputStore>,
    run: RunId,
    attempt: u32,
    here: Option<Arc<Attempt>>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.here.take());
        self.store.close_unused(self.run, self.attempt);
    }
}

impl Attempt {
    /// Does something with the file, which is opened and read first where that has not been done
    /// since the start. None where there is no file and none is to be made.
    fn with<T>(
        &self,
        make: bool,
        act: impl FnOnce(&mut Written) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match written.as_mut() {
            Some(open) => open,
            None => match self.open(make) {
                Ok(open) => written.insert(open),
                Err(error) if error.kind() == ErrorKind::NotFound && !make => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        act(open).map(Some)
    }

    /// As [`Attempt::with`], for the attempt of a token: what is here of another that had its number, in
    /// a journal that was lost, is nobody's any more.
    fn with_mine<T>(
        &self,
        token: Token,
        make: bool,
        act: impl FnOnce(&mut Written) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        self.with(make, |written| {
            if written.token.is_some_and(|other| other != token) {
                log::warn!(file:% = self.path.display(); "throw away the output of an attempt that the journal does not know");
                self.clear(written)?;
            }
            act(written)
        })
    }

    fn clear(&self, written: &mut Written) -> io::Result<()> {
        written.file.set_len(0)?;
        (written.token, written.end, written.sums) = (None, 0, Sums::default());
        self.end.send_replace(0);
        Ok(())
    }

    /// Opens the file, counts what is in it, and cuts off what is no whole frame.
    fn open(&self, make: bool) -> io::Result<Written> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(make).truncate(false);
        let open = || options.open(&self.path);
        let file = match (open(), self.path.parent()) {
            (Err(error), Some(dir)) if make && error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(dir)?;
                open()?
            }
            (opened, _) => opened?,
        };
        let (mut token, mut sums) = (None, Sums::default());
        let mut scan = Scan::of(&file, 0, file.metadata()?.len());
        let end = loop {
            match scan.step()? {
                Some(Found::Whole(chunk, _)) if chunk.number == sums.chunks => {
                    sums.add(chunk.stream, &chunk.data);
                }
                Some(Found::Of(of, _)) if sums.chunks == 0 && token.is_none() => token = Some(of),
                // The last frame was cut by a crash, or never reached the disk: the agent still
                // has it.
                Some(Found::Whole(..) | Found::Of(..) | Found::Part(_) | Found::Damaged) | None => {
                    break scan.at();
                }
            }
        };
        if end < file.metadata()?.len() {
            log::warn!(file:% = self.path.display(), bytes = end; "cut off a torn end of output");
            file.set_len(end)?;
        }
        self.end.send_replace(end);
        Ok(Written { file, token, end, sums })
    }

    fn append(&self, token: Token, number: u32, stream: Stream, frame: &[u8]) -> io::Result<u32> {
        let next = self.with_mine(token, true, |written| {
            if number != written.sums.chunks {
                return Ok(written.sums.chunks);
            }
            let data = &frame[super::FRAME_HEADER..];
            let kept = written.sums.stdout_bytes + written.sums.stderr_bytes;
            if kept + data.len() as u64 > DATA_MAX || number >= MAX_CHUNKS {
                return Err(io::Error::new(
                    ErrorKind::FileTooLarge,
                    "an attempt wrote more output than is kept",
                ));
            }
            // Not moved on unless all of it is there: a retry writes over what is not.
            if written.end == 0 {
                let mine = token_frame(token);
                written.file.write_all_at(&mine, 0)?;
                (written.token, written.end) = (Some(token), mine.len() as u64);
            }
            written.file.write_all_at(frame, written.end)?;
            written.end += frame.len() as u64;
            written.sums.add(stream, data);
            self.end.send_replace(written.end);
            Ok(written.sums.chunks)
        })?;
        Ok(next.unwrap_or_default())
    }

    fn seal(&self, token: Token, sent: OutputSummary, sync: Sync) -> io::Result<Seal> {
        let sealed = self.with_mine(token, false, |written| {
            let here = written.sums.summary();
            if here.chunks < sent.chunks {
                return Ok(Seal::Missing { next: here.chunks });
            }
            if here.chunks > sent.chunks || here.digest != sent.digest {
                log::warn!(file:% = self.path.display(); "ask for output again: it is not what was sent");
                self.clear(written)?;
                return Ok(Seal::Missing { next: 0 });
            }
            if sync == Sync::Disk {
                written.file.sync_all()?;
            }
            Ok(Seal::Complete(here))
        })?;
        Ok(sealed.unwrap_or(match sent.chunks {
            0 => Seal::Complete(Summary::default()),
            _ => Seal::Missing { next: 0 },
        }))
    }
}

/// Runs file work on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    aside(work).await.map_err(io::Error::other)?
}

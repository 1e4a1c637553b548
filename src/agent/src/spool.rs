//! The spool: what one attempt wrote, until Olympus has it for good.
//!
//! Owns:   the kept chunks of one attempt, in memory at first, then in a file without a name in the
//!         data directory, which goes with the process: a new agent has no use for it.
//! Says:   any chunk again, and the [`OutputSummary`].
//! Never:  keeps more than it was told to; what comes after is counted as truncated.
//! Fails:  a disk that is full truncates; one that can't be read loses the attempt.
//! Proof:  the tests below.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::session::{CHUNK_BYTES, MAX_CHUNKS, OutputSummary, Stream, chunk_header};
use domain::ids::Hex;

/// Kept in memory before a file is made: most programs write less, and a thousand attempts that
/// don't still fit into 64 MiB.
const MEMORY_BYTES: usize = 64 * 1024;

/// The place of every this many chunks is remembered; those between are found by adding lengths.
const MARK_EVERY: usize = 64;

/// Before each chunk's data: its stream and its time. Its length is in memory.
const HEADER_BYTES: usize = 9;

// Lengths are remembered less one, in 16 bits.
const _: () = assert!(CHUNK_BYTES == 1 << 16);

/// One kept chunk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) stream: Stream,
    pub(crate) time_ms: u64,
    pub(crate) data: Vec<u8>,
}

/// The chunks of one attempt.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: Arc<Path>,
    max_bytes: u64,
    records: Records,
    end: u64,
    lengths: Vec<u16>,
    marks: Vec<u64>,
    stdout_bytes: u64,
    stderr_bytes: u64,
    truncated: bool,
    digest: blake3::Hasher,
}

#[derive(Debug)]
enum Records {
    Memory(Vec<u8>),
    File(File),
}

impl Spool {
    /// An empty spool that keeps at most `max_bytes` of data, and puts its file into `dir`.
    pub(crate) fn new(dir: Arc<Path>, max_bytes: u64) -> Self {
        Self {
            dir,
            max_bytes,
            records: Records::Memory(Vec::new()),
            end: 0,
            lengths: Vec::new(),
            marks: Vec::new(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            truncated: false,
            digest: blake3::Hasher::new(),
        }
    }

    /// How many chunks there are.
    pub(crate) fn chunks(&self) -> u32 {
        // At most `MAX_CHUNKS`, see `append`.
        self.lengths.len() as u32
    }

    /// Bytes of data in a chunk; 0 where there is none.
    pub(crate) fn length(&self, number: u32) -> usize {
        self.lengths.get(number as usize).map_or(0, |less_one| usize::from(*less_one) + 1)
    }

    /// Takes what fits of `data`, at most [`CHUNK_BYTES`]. Says how many bytes that were.
    pub(crate) fn append(&mut self, stream: Stream, time_ms: u64, data: &[u8]) -> usize {
        let room = self.max_bytes - self.stdout_bytes - self.stderr_bytes;
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let kept = &data[..data.len().min(room)];
        let full = self.lengths.len() >= MAX_CHUNKS as usize;
        if self.truncated || full || kept.is_empty() {
            self.truncated |= !data.is_empty();
            return 0;
        }
        let mut header = [stream.byte(); HEADER_BYTES];
        header[1..].copy_from_slice(&time_ms.to_le_bytes());
        if let Err(error) = self.write(&header, kept) {
            log::warn!("cannot keep output in {}, it is cut: {error}", self.dir.display());
            self.truncated = true;
            return 0;
        }
        if self.lengths.len().is_multiple_of(MARK_EVERY) {
            self.marks.push(self.end);
        }
        self.end += (HEADER_BYTES + kept.len()) as u64;
        self.lengths.push((kept.len() - 1) as u16);
        match stream {
            Stream::Stdout => self.stdout_bytes += kept.len() as u64,
            Stream::Stderr => self.stderr_bytes += kept.len() as u64,
        }
        self.digest.update(&chunk_header(stream, kept.len() as u32));
        self.digest.update(kept);
        self.truncated = kept.len() < data.len();
        kept.len()
    }

    /// More was written than will ever be given to `append`.
    pub(crate) fn truncate(&mut self) {
        self.truncated = true;
    }

    /// A chunk that was kept.
    pub(crate) fn read(&self, number: u32) -> io::Result<Chunk> {
        let number = number as usize;
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such chunk");
        let mark = number / MARK_EVERY;
        let before = self.lengths.get(mark * MARK_EVERY..number).ok_or_else(missing)?;
        let length = usize::from(*self.lengths.get(number).ok_or_else(missing)?) + 1;
        let skipped = before.iter().map(|less_one| HEADER_BYTES as u64 + u64::from(*less_one) + 1);
        let at = *self.marks.get(mark).ok_or_else(missing)? + skipped.sum::<u64>();
        let mut record = vec![0; HEADER_BYTES + length];
        match &self.records {
            Records::Memory(bytes) => {
                // Fits: what is in memory is shorter than that.
                let at = at as usize;
                let found = bytes.get(at..at + record.len()).ok_or_else(missing)?;
                record.copy_from_slice(found);
            }
            Records::File(file) => file.read_exact_at(&mut record, at)?,
        }
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the spool is damaged");
        let stream = Stream::from_byte(record[0]).ok_or_else(damaged)?;
        let mut time = [0; 8];
        time.copy_from_slice(&record[1..HEADER_BYTES]);
        record.drain(..HEADER_BYTES);
        Ok(Chunk { stream, time_ms: u64::from_le_bytes(time), data: record })
    }

    /// What was kept.
    pub(crate) fn summary(&self) -> OutputSummary {
        OutputSummary {
            chunks: self.chunks(),
            stdout_bytes: self.stdout_bytes,
            stderr_bytes: self.stderr_bytes,
            truncated: self.truncated,
            digest: (!self.lengths.is_empty()).then(|| Hex(*self.digest.finalize().as_bytes())),
        }
    }

    /// Nothing of it can be read any more, as on a disk that fails.
    #[cfg(test)]
    pub(crate) fn lose(&mut self) {
        self.records = Records::Memory(Vec::new());
    }

    fn write(&mut self, header: &[u8], data: &[u8]) -> io::Result<()> {
        if let Records::Memory(bytes) = &mut self.records {
            if bytes.len() + header.len() + data.len() <= MEMORY_BYTES {
                bytes.extend_from_slice(header);
                bytes.extend_from_slice(data);
                return Ok(());
            }
            let file = tempfile::tempfile_in(&self.dir)?;
            file.write_all_at(bytes, 0)?;
            self.records = Records::File(file);
        }
        if let Records::File(file) = &self.records {
            // One call for both: half a record is overwritten by the next, never read.
            let mut record = Vec::with_capacity(header.len() + data.len());
            record.extend_from_slice(header);
            record.extend_from_slice(data);
            file.write_all_at(&record, self.end)?;
        }
        Ok(())
    }
}

/// The directory for spools below a data directory.
pub(crate) fn dir_in(data_dir: &Path) -> PathBuf {
    data_dir.join("agent").join("spool")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u64 = 10 << 20;

    fn spool(max_bytes: u64) -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(Arc::from(dir.path()), max_bytes);
        (dir, spool)
    }

    fn digest(chunks: &[(Stream, &[u8])]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (stream, data) in chunks {
            hasher.update(&[if *stream == Stream::Stdout { 1 } else { 2 }]);
            hasher.update(&(data.len() as u32).to_le_bytes());
            hasher.update(data);
        }
        hasher.finalize()
    }

    #[test]
    fn nothing_written_has_no_digest() {
        let (_dir, spool) = spool(MANY);
        assert_eq!(spool.summary(), OutputSummary::default());
    }

    #[test]
    fn every_chunk_is_read_back_from_memory_and_from_the_file() {
        let (dir, mut spool) = spool(MANY);
        let chunks: Vec<Chunk> = (0..1_000_u64)
            .map(|n| Chunk {
                stream: if n % 3 == 0 { Stream::Stderr } else { Stream::Stdout },
                time_ms: n,
                data: vec![n as u8; 1 + (n as usize * 37) % 700],
            })
            .collect();
        for (n, chunk) in chunks.iter().enumerate() {
            assert_eq!(spool.append(chunk.stream, chunk.time_ms, &chunk.data), chunk.data.len());
            if n == 10 {
                assert!(matches!(spool.records, Records::Memory(_)));
                assert_eq!(spool.read(7).unwrap(), chunks[7]);
            }
        }
        assert!(matches!(spool.records, Records::File(_)));
        for (n, chunk) in chunks.iter().enumerate() {
            assert_eq!(spool.read(n as u32).unwrap(), *chunk);
            assert_eq!(spool.length(n as u32), chunk.data.len());
        }
        assert!(spool.read(1_000).is_err());
        let pairs: Vec<_> = chunks.iter().map(|c| (c.stream, &c.data[..])).collect();
        assert_eq!(spool.summary().digest.unwrap().0, *digest(&pairs).as_bytes());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn what_passes_the_limit_is_cut_to_the_byte_and_said() {
        let (_dir, mut spool) = spool(10);
        assert_eq!(spool.append(Stream::Stdout, 1, b"123456"), 6);
        assert!(!spool.summary().truncated);
        assert_eq!(spool.append(Stream::Stderr, 2, b"abcdef"), 4);
        assert_eq!(spool.append(Stream::Stdout, 3, b"x"), 0);
        let summary = spool.summary();
        assert_eq!((summary.chunks, summary.stdout_bytes, summary.stderr_bytes), (2, 6, 4));
        assert!(summary.truncated);
        assert_eq!(spool.read(1).unwrap().data, b"abcd");
        let kept: &[(Stream, &[u8])] = &[(Stream::Stdout, b"123456"), (Stream::Stderr, b"abcd")];
        assert_eq!(summary.digest.unwrap().0, *digest(kept).as_bytes());
    }

    #[test]
    fn exactly_the_limit_is_not_truncated() {
        let (_dir, mut spool) = spool(4);
        spool.append(Stream::Stdout, 1, b"1234");
        assert!(!spool.summary().truncated);
        spool.append(Stream::Stdout, 2, b"");
        assert!(!spool.summary().truncated);
    }

    #[test]
    fn a_disk_that_takes_nothing_truncates() {
        let mut spool = Spool::new(Arc::from(Path::new("/nonexistent")), MANY);
        assert_eq!(spool.append(Stream::Stdout, 1, b"in memory"), 9);
        assert_eq!(spool.append(Stream::Stdout, 2, &[0; CHUNK_BYTES]), 0);
        assert_eq!(spool.append(Stream::Stdout, 3, b"later"), 0, "there is no hole in the middle");
        let summary = spool.summary();
        assert_eq!((summary.chunks, summary.truncated), (1, true));
        assert_eq!(spool.read(0).unwrap().data, b"in memory");
    }
}

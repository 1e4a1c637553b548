//! Snapshots: the state after an entry, as a file that a start or a look at the past goes on from.
//!
//! Owns:   the file's form, and a directory of them ([`Snapshots`]).
//! Says:   what could not be used and why, in the log, with its path: the next older one is tried.
//! Never:  believes a file: a torn, changed or foreign one, or one of another version of the state, is
//!         not used. Whether its entry is in the journal at hand is the caller's to ask.
//! Proof:  `tests/memory/snapshots.rs`.
//!
//! ```text
//! magic  8 | format u32 | state version u32                          numbers are little-endian
//! cluster 16 | incarnation u32 | sequence u64 | hash 32              the entry after which it was so
//! epoch u64 | time u64 (ms) | program 32 (text, filled up with 0)
//! zstd: pieces of the World, each behind its length (u32); a length of 0 behind the last
//! digest of the World 32 | BLAKE3 of everything before 32
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use domain::World;
use domain::ids::{Digest, Hex, Sequence};
use domain::pieces::{Digester, NotAWorld, Rebuild, STATE_VERSION};
use journal::{ChainHash, ClusterId, EntryId, Identity, Position, Receipt, Tail};
use uuid::Uuid;

use crate::fold::Point;

/// Form of the file.
pub const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"TARTSNAP";
const PROGRAM_LEN: usize = 32;
const HEADER_LEN: usize = 8 + 4 + 4 + 16 + 4 + 8 + 32 + 8 + 8 + PROGRAM_LEN;
/// Digest of the World, and checksum of the file.
const END_LEN: usize = 32 + SUM_LEN as usize;
const SUM_LEN: u64 = 32;
/// The fastest of zstd's ordinary levels: the disk waits for nothing, and runs are much alike.
const LEVEL: i32 = 1;
const BUFFER: usize = 1 << 18;
const SUFFIX: &str = ".snapshot";

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum BadSnapshot {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something else lies there.
    #[error("it is no snapshot")]
    NotASnapshot,
    /// Another program's.
    #[error("its format is {found}, and this program reads {FORMAT}")]
    Format {
        /// Format found.
        found: u32,
    },
    /// Another program's state.
    #[error("its state is of version {found}, and this program's is {STATE_VERSION}")]
    StateVersion {
        /// Version found.
        found: u32,
    },
    /// Another journal's.
    #[error("it is of cluster {found}, incarnation {incarnation}")]
    Foreign {
        /// Its cluster.
        found: ClusterId,
        /// And incarnation.
        incarnation: u32,
    },
    /// Cut off, or changed after it was written.
    #[error("it was cut off, or changed after it was written")]
    Torn,
    /// Whole, and yet no state.
    #[error(transparent)]
    NotAWorld(#[from] NotAWorld),
    /// Whole, and not the state that it names.
    #[error("its state has the digest {found}, and it names {named}")]
    OtherDigest {
        /// What it holds.
        found: Digest,
        /// What it says.
        named: Digest,
    },
}

/// What the first bytes of a snapshot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The entry after which the state was so, its epoch and time, and the journal it is of.
    pub tail: Tail,
    /// Version of the program that wrote it.
    pub program: String,
}

impl Header {
    /// The entry.
    pub fn id(&self) -> EntryId {
        self.tail.position.id()
    }

    /// Whether the state is not later than a point.
    pub fn is_until(&self, point: Point) -> bool {
        !point.is_before(self.tail.position.seq, domain::Timestamp(self.tail.at_ms))
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let Tail { identity, position, epoch, at_ms } = self.tail;
        let mut program = [0; PROGRAM_LEN];
        let text = &self.program.as_bytes()[..self.program.len().min(PROGRAM_LEN)];
        program[..text.len()].copy_from_slice(text);
        to.write_all(&MAGIC)?;
        to.write_all(&FORMAT.to_le_bytes())?;
        to.write_all(&STATE_VERSION.to_le_bytes())?;
        to.write_all(identity.cluster.0.as_bytes())?;
        to.write_all(&identity.incarnation.to_le_bytes())?;
        to.write_all(&position.seq.to_le_bytes())?;
        to.write_all(&position.hash.0)?;
        to.write_all(&epoch.to_le_bytes())?;
        to.write_all(&at_ms.to_le_bytes())?;
        to.write_all(&program)
    }

    fn read(from: &mut impl Read) -> Result<Self, BadSnapshot> {
        if take(from)? != MAGIC {
            return Err(BadSnapshot::NotASnapshot);
        }
        let found = u32::from_le_bytes(take(from)?);
        if found != FORMAT {
            return Err(BadSnapshot::Format { found });
        }
        let found = u32::from_le_bytes(take(from)?);
        if found != STATE_VERSION {
            return Err(BadSnapshot::StateVersion { found });
        }
        let identity = Identity {
            cluster: ClusterId(Uuid::from_bytes(take(from)?)),
            incarnation: u32::from_le_bytes(take(from)?),
        };
        let seq = u64::from_le_bytes(take(from)?);
        let position = Position { seq, hash: ChainHash(take(from)?) };
        let epoch = u64::from_le_bytes(take(from)?);
        let at_ms = u64::from_le_bytes(take(from)?);
        let program: [u8; PROGRAM_LEN] = take(from)?;
        let program = String::from_utf8_lossy(&program).trim_end_matches('\0').to_owned();
        Ok(Self { tail: Tail { identity, position, epoch, at_ms }, program })
    }
}

fn take<const N: usize>(from: &mut impl Read) -> Result<[u8; N], BadSnapshot> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(torn)?;
    Ok(bytes)
}

/// The end of a file comes where there should be more: it is torn, and no trouble of the disk's.
fn torn(error: io::Error) -> BadSnapshot {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BadSnapshot::Torn,
        _ => BadSnapshot::Io(error),
    }
}

/// Bytes on their way to a file, hashed and counted.
struct Hashed<F> {
    file: F,
    hash: blake3::Hasher,
    bytes: u64,
}

impl<F> Hashed<F> {
    fn new(file: F) -> Self {
        Self { file, hash: blake3::Hasher::new(), bytes: 0 }
    }
}

impl<F: Write> Write for Hashed<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a snapshot; says the state's digest, and how many bytes it took.
///
/// # Errors
/// It can't be written.
pub fn encode(tail: Tail, world: &World, to: impl Write) -> io::Result<(Digest, u64)> {
    let mut to = Hashed::new(to);
    let program = env!("CARGO_PKG_VERSION").to_owned();
    Header { tail, program }.write(&mut to)?;
    let mut digester = Digester::default();
    let mut body = zstd::stream::write::Encoder::new(&mut to, LEVEL)?;
    for piece in world.pieces() {
        digester.add(&piece);
        let len = u32::try_from(piece.len()).map_err(io::Error::other)?;
        body.write_all(&len.to_le_bytes())?;
        body.write_all(&piece)?;
    }
    body.write_all(&0_u32.to_le_bytes())?;
    body.finish()?;
    let digest = digester.finish();
    to.write_all(&digest.0)?;
    let sum = *to.hash.finalize().as_bytes();
    to.write_all(&sum)?;
    to.flush()?;
    Ok((digest, to.bytes))
}

/// A snapshot that was read, and is whole.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says of itself.
    pub header: Header,
    /// The state after the entry.
    pub world: World,
    /// Its digest, computed while it was read.
    pub digest: Digest,
    /// Where it lies.
    pub path: PathBuf,
}

impl Loaded {
    /// The entry after which the state was so: what [`journal::Cursor::at`] goes on from.
    pub fn tail(&self) -> Tail {
        self.header.tail
    }
}

/// Reads a snapshot: all of it once to see that it is whole, and then what it holds. What was never
/// seen to be whole is not decoded: a length in it may be anything.
///
/// # Errors
/// It is not one that can be used: see [`BadSnapshot`].
pub fn decode(mut from: impl Read + Seek) -> Result<(Header, World, Digest), BadSnapshot> {
    let header = Header::read(&mut from)?;
    let len = from.seek(SeekFrom::End(0))?;
    let body = len.checked_sub((HEADER_LEN + END_LEN) as u64).ok_or(BadSnapshot::Torn)?;
    from.rewind()?;
    let mut hash = blake3::Hasher::new();
    hash.update_reader(from.by_ref().take(len - SUM_LEN))?;
    if take(&mut from)? != *hash.finalize().as_bytes() {
        return Err(BadSnapshot::Torn);
    }
    from.seek(SeekFrom::Start(HEADER_LEN as u64))?;
    let (world, digest) = pieces(from.by_ref().take(body))?;
    from.seek(SeekFrom::End(-(END_LEN as i64)))?;
    let named = Hex(take(&mut from)?);
    if digest != named {
        return Err(BadSnapshot::OtherDigest { found: digest, named });
    }
    Ok((header, world, digest))
}

fn pieces(from: impl Read) -> Result<(World, Digest), BadSnapshot> {
    let mut body = zstd::stream::read::Decoder::new(from)?;
    let (mut rebuild, mut digester) = (Rebuild::default(), Digester::default());
    let mut piece = Vec::new();
    loop {
        let len = u32::from_le_bytes(take(&mut body)?);
        if len == 0 {
            return Ok((rebuild.finish()?, digester.finish()));
        }
        piece.resize(len as usize, 0);
        body.read_exact(&mut piece).map_err(torn)?;
        digester.add(&piece);
        rebuild.add(&piece)?;
    }
}

/// A file that its name says is a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it lies.
    pub path: PathBuf,
    /// The entry in its name.
    pub id: EntryId,
}

impl Found {
    /// What it says of itself, read without its body.
    ///
    /// # Errors
    /// It can't be used: see [`BadSnapshot`].
    pub fn header(&self) -> Result<Header, BadSnapshot> {
        Header::read(&mut File::open(&self.path)?)
    }

    /// All of it, verified.
    ///
    /// # Errors
    /// It can't be used: see [`BadSnapshot`].
    pub fn load(&self) -> Result<Loaded, BadSnapshot> {
        load(&self.path)
    }
}

/// A directory of snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshots {
    dir: PathBuf,
}

impl Snapshots {
    /// That directory, whether it is there or not.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All files that are named as snapshots are, newest first; none where there is no directory.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn list(&self) -> io::Result<Vec<Found>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if let Some(id) = id_of(&path) {
                found.push(Found { path, id });
            }
        }
        found.sort_by_key(|found| std::cmp::Reverse(found.id));
        Ok(found)
    }

    /// Those of one journal that are not later than a point, newest first, by their headers. What
    /// can't be used is said in the log.
    pub fn candidates(&self, identity: Option<Identity>, until: Option<Point>) -> Vec<Found> {
        let listed = self.list().unwrap_or_else(|error| {
            log::warn!(path:% = self.dir.display(), error:% = error; "could not list snapshots");
            Vec::new()
        });
        let fits = |found: &Found| match found.header() {
            Err(bad) => {
                pass_over(&found.path, &bad);
                false
            }
            Ok(header) if identity.is_some_and(|identity| identity != header.tail.identity) => {
                let Identity { cluster, incarnation } = header.tail.identity;
                pass_over(&found.path, &BadSnapshot::Foreign { found: cluster, incarnation });
                false
            }
            Ok(header) => until.is_none_or(|point| header.is_until(point)),
        };
        listed.into_iter().filter(fits).collect()
    }

    /// The newest good one of a journal that is not later than a point. Whether its entry is on the
    /// chain of the journal at hand is still to be asked.
    pub fn newest_before(
        &self,
        identity: Option<Identity>,
        until: Option<Point>,
    ) -> Option<Loaded> {
        self.candidates(identity, until).iter().find_map(load_or_say)
    }

    /// Stores a snapshot, and loads it again to see that it is whole and the state that was given;
    /// says its digest and its size.
    ///
    /// # Errors
    /// It can't be written, or is not what it should be. No file of that name is there then.
    pub fn store(&self, tail: Tail, world: &World) -> Result<(Found, Digest, u64), BadSnapshot> {
        self.make_dir()?;
        let id = tail.position.id();
        let path = self.dir.join(name_of(id));
        let part = path.with_extension("part");
        let written = (|| {
            let mut file = BufWriter::with_capacity(BUFFER, File::create(&part)?);
            let (digest, bytes) = encode(tail, world, &mut file)?;
            file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
            let again = Found { path: part.clone(), id }.load()?;
            if (again.digest, again.header.tail) != (digest, tail) {
                return Err(BadSnapshot::Torn);
            }
            fs::rename(&part, &path)?;
            File::open(&self.dir)?.sync_all()?;
            Ok((Found { path, id }, digest, bytes))
        })();
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }

    /// A file for a snapshot that comes from elsewhere: none of these until it is [adopted].
    ///
    /// [adopted]: Incoming::adopt
    ///
    /// # Errors
    /// It can't be made.
    pub fn receive(&self) -> io::Result<Incoming> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.make_dir()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let part = self.dir.join(format!("incoming-{number}.part"));
        let file = File::create(&part)?;
        Ok(Incoming { file, part, dir: self.dir.clone() })
    }

    /// It has what runs were given in their environment: for no one else's eyes.
    fn make_dir(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }

    /// Removes all of a journal but the newest `keep`. Those of other journals, and those that can't be
    /// used, are nobody's to remove but an operator's.
    ///
    /// # Errors
    /// The directory can't be read or changed.
    pub fn prune(&self, identity: Identity, keep: usize) -> io::Result<usize> {
        let mut removed = 0;
        let own = |found: &&Found| found.header().is_ok_and(|h| h.tail.identity == identity);
        for found in self.list()?.iter().filter(own).skip(keep) {
            fs::remove_file(&found.path)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes what was never finished. To be called while nobody writes here: at a start.
    ///
    /// # Errors
    /// The directory can't be read or changed.
    pub fn sweep(&self) -> io::Result<()> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(()) };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A snapshot that is being received; removed where it is not adopted.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    part: PathBuf,
    dir: PathBuf,
}

impl Incoming {
    /// More of it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// All of it, verified. What it names is still to be held against the journal.
    ///
    /// # Errors
    /// It can't be used: see [`BadSnapshot`].
    pub fn load(&self) -> Result<Loaded, BadSnapshot> {
        load(&self.part)
    }

    /// Puts it beside the others.
    ///
    /// # Errors
    /// It can't be written.
    pub fn adopt(self, id: EntryId) -> io::Result<Found> {
        self.file.sync_all()?;
        let path = self.dir.join(name_of(id));
        fs::rename(&self.part, &path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(Found { path, id })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.part);
    }
}

fn load(path: &Path) -> Result<Loaded, BadSnapshot> {
    let file = BufReader::with_capacity(BUFFER, File::open(path)?);
    let (header, world, digest) = decode(file)?;
    Ok(Loaded { header, world, digest, path: path.to_owned() })
}

/// Loads a snapshot, or says in the log why it is passed over.
pub fn load_or_say(found: &Found) -> Option<Loaded> {
    found.load().map_err(|bad| pass_over(&found.path, &bad)).ok()
}

fn pass_over(path: &Path, why: &BadSnapshot) {
    log::warn!(path:% = path.display(), reason:% = why; "pass over a snapshot");
}

fn name_of(id: EntryId) -> String {
    format!("{:020}-{:016x}{SUFFIX}", id.seq, id.h64)
}

fn id_of(path: &Path) -> Option<EntryId> {
    let stem = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    let (seq, h64) = stem.split_once('-')?;
    let seq: Sequence = seq.parse().ok()?;
    let Receipt(id) = format!("{seq}-{h64}").parse().ok()?;
    Some(id)
}

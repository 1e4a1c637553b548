//! The archive: the journal's entries as they were stored, in segments, where they cost no memory.
//!
//! Owns:   the form of a segment, and where segments lie: in a directory, or in an S3-compatible
//!         bucket, below the name of their journal.
//! Never:  says that a segment is there before it was read back and verified; changes one.
//! Fails:  a segment that is torn, or that does not follow, is named; where another holds the same
//!         entries, that one is read.
//! Proof:  `tests/memory/archives.rs`.
//!
//! ```text
//! <location>/<cluster>-<incarnation>/<first>-<last>-<hash of last>.segment
//!
//! magic 8 | format u32 | cluster 16 | incarnation u32 | first u64 | last u64 | hash before 32 | hash 32
//! zstd: of each entry the second half of its id (u64), length (u32) and bytes, as stored
//! BLAKE3 of everything before 32                                    numbers are little-endian
//! ```

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use domain::ids::{Hex, Sequence};
use futures_util::TryStreamExt as _;
use journal::limits::PAGE_BYTES;
use journal::{
    ChainHash, ClusterId, Cursor, DamagedEntry, Entry, EntryId, Header, Identity, Position, Tail,
};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use uuid::Uuid;

use crate::bucket::Clients;

/// Form of a segment.
pub const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"TARTSEGM";
const HEADER_LEN: usize = 8 + 4 + 16 + 4 + 8 + 8 + 32 + 32;
const SUM_LEN: usize = 32;
/// What is archived is read seldom: twice the time of the fastest level for a tenth less.
const LEVEL: i32 = 3;
const SUFFIX: &str = ".segment";

/// Why an archive can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is named in a way that means nothing, or its place is not there.
    #[error("{0}")]
    Place(String),
    /// It does not answer.
    #[error("the archive at {place} can't be used: {error}")]
    Unavailable {
        /// Where it is.
        place: String,
        /// Why.
        #[source]
        error: object_store::Error,
    },
    /// A segment is not what it should be.
    #[error("the archive at {place}: {name}: {fault}")]
    Bad {
        /// Where it is.
        place: String,
        /// The segment.
        name: String,
        /// What is wrong.
        #[source]
        fault: BadSegment,
    },
    /// It holds several journals.
    #[error(
        "the archive at {place} has {found} journals: name the one to read, as in {place}/CLUSTER-1"
    )]
    Several {
        /// Where it is.
        place: String,
        /// How many.
        found: usize,
    },
}

/// What is wrong with a segment.
#[derive(Debug, thiserror::Error)]
pub enum BadSegment {
    /// Something else lies there.
    #[error("it is no segment of a journal")]
    NotASegment,
    /// Another program's.
    #[error("its format is {found}, and this program reads {FORMAT}: use a newer program")]
    Format {
        /// Format found.
        found: u32,
    },
    /// Cut off, or changed after it was written.
    #[error("it was cut off, or changed after it was written")]
    Torn,
    /// It holds other entries than its name says.
    #[error("it holds other entries than its name says")]
    Misnamed,
    /// An entry in it is not what it should be.
    #[error(transparent)]
    Entry(#[from] DamagedEntry),
}

/// Entries that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The first entry.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
    /// Its hash.
    pub hash: Hex<32>,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:020}-{}{SUFFIX}", self.first, self.last, self.hash)
    }
}

impl Segment {
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(SUFFIX)?.splitn(3, '-');
        let (first, last) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let segment = Self { first, last, hash: parts.next()?.parse().ok()? };
        (segment.to_string() == name && first <= last).then_some(segment)
    }
}

/// Writes entries as a segment. They follow one another, and there is one at least.
pub fn encode(entries: &[Entry]) -> Option<(Segment, Vec<u8>)> {
    let (first, last) = (entries.first()?, entries.last()?);
    let identity = first.header().identity;
    let hash = Hex(last.position().hash.0);
    let segment = Segment { first: first.seq(), last: last.seq(), hash };
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(identity.cluster.0.as_bytes());
    bytes.extend_from_slice(&identity.incarnation.to_le_bytes());
    bytes.extend_from_slice(&segment.first.to_le_bytes());
    bytes.extend_from_slice(&segment.last.to_le_bytes());
    bytes.extend_from_slice(&first.header().prev.0);
    bytes.extend_from_slice(&hash.0);
    let mut body = zstd::stream::write::Encoder::new(bytes, LEVEL).ok()?;
    for entry in entries {
        use std::io::Write as _;
        let len = u32::try_from(entry.bytes().len()).ok()?;
        body.write_all(&entry.id().h64.to_le_bytes()).ok()?;
        body.write_all(&len.to_le_bytes()).ok()?;
        body.write_all(entry.bytes()).ok()?;
    }
    let mut bytes = body.finish().ok()?;
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    Some((segment, bytes))
}

/// Reads a segment: that it is whole, and that its entries follow one another to the hash it names.
/// Says whose it is, too.
///
/// # Errors
/// See [`BadSegment`].
pub fn decode(bytes: &[u8]) -> Result<((Identity, Segment), Vec<Entry>), BadSegment> {
    let mut entries = Vec::new();
    let found = read(bytes, |entry| entries.push(entry))?;
    Ok((found, entries))
}

/// The same entry by entry: they are of no use before it has come to its end.
fn read(bytes: &[u8], mut each: impl FnMut(Entry)) -> Result<(Identity, Segment), BadSegment> {
    let mut rest = bytes;
    if take::<8>(&mut rest)? != MAGIC {
        return Err(BadSegment::NotASegment);
    }
    let found = u32::from_le_bytes(take(&mut rest)?);
    if found != FORMAT {
        return Err(BadSegment::Format { found });
    }
    // A length in what was changed may be anything: the sum is asked first.
    let (summed, sum) = bytes.split_last_chunk::<SUM_LEN>().ok_or(BadSegment::Torn)?;
    if blake3::hash(summed) != *sum || summed.len() < HEADER_LEN {
        return Err(BadSegment::Torn);
    }
    let identity = Identity {
        cluster: ClusterId(Uuid::from_bytes(take(&mut rest)?)),
        incarnation: u32::from_le_bytes(take(&mut rest)?),
    };
    let first = u64::from_le_bytes(take(&mut rest)?);
    let last = u64::from_le_bytes(take(&mut rest)?);
    let (prev, hash) = (ChainHash(take(&mut rest)?), take(&mut rest)?);
    let seq = first.checked_sub(1).ok_or(BadSegment::Torn)?;
    let position = Position { seq, hash: prev };
    let mut cursor = Cursor::at(Tail { identity, position, epoch: 0, at_ms: 0 });
    let body = zstd::stream::read::Decoder::new(&summed[HEADER_LEN..]);
    let mut body = BufReader::new(body.map_err(|_| BadSegment::Torn)?);
    let mut end = None;
    while !body.fill_buf().map_err(|_| BadSegment::Torn)?.is_empty() {
        let h64 = u64::from_le_bytes(next(&mut body)?);
        let len = u32::from_le_bytes(next(&mut body)?);
        let mut entry = Vec::with_capacity((len as usize).min(PAGE_BYTES));
        let found = (&mut body).take(len.into()).read_to_end(&mut entry);
        if found.ok() != Some(len as usize) {
            return Err(BadSegment::Torn);
        }
        let entry = cursor.accept(EntryId { seq: cursor.seq() + 1, h64 }, entry.into())?;
        end = Some(entry.position());
        each(entry);
    }
    if end != Some(Position { seq: last, hash: ChainHash(hash) }) {
        return Err(BadSegment::Misnamed);
    }
    Ok((identity, Segment { first, last, hash: Hex(hash) }))
}

fn next<const N: usize>(from: &mut impl Read) -> Result<[u8; N], BadSegment> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(|_| BadSegment::Torn)?;
    Ok(bytes)
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], BadSegment> {
    let (head, rest) = from.split_first_chunk::<N>().ok_or(BadSegment::Torn)?;
    *from = rest;
    Ok(*head)
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    place: String,
}

impl Archive {
    /// The archive in a directory that is there, or at `s3://bucket/prefix` with what the
    /// environment says (`AWS_*`).
    ///
    /// # Errors
    /// There is no such place, or what is said of it is not enough.
    pub fn open(location: &str) -> Result<Self, ArchiveError> {
        let place = location.trim_end_matches('/').to_owned();
        let wrong = |error: object_store::Error| ArchiveError::Place(format!("{place}: {error}"));
        if let Some(rest) = location.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let store = s3(bucket, &place)?;
            let prefix = Path::parse(prefix.trim_matches('/'))
                .map_err(|error| ArchiveError::Place(format!("{place}: {error}")))?;
            return Ok(Self { store, prefix, place });
        }
        if location.contains("://") {
            let words = "give a directory, or s3://BUCKET/PREFIX";
            return Err(ArchiveError::Place(format!("{place}: {words}")));
        }
        if !std::path::Path::new(location).is_dir() {
            return Err(ArchiveError::Place(format!("{place}: there is no such directory")));
        }
        let store = LocalFileSystem::new_with_prefix(location).map_err(wrong)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), prefix: Path::default(), place })
    }

    /// The same; a directory is made where there is none.
    ///
    /// # Errors
    /// As [`Archive::open`], or the directory can't be made.
    pub fn create(location: &str) -> Result<Self, ArchiveError> {
        if !location.contains("://") {
            // It has what runs were given in their environment: for no one else's eyes.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(location)
                .map_err(|error| ArchiveError::Place(format!("{location}: {error}")))?;
        }
        Self::open(location)
    }

    /// Where it is, as the operator named it.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn unavailable(&self, error: object_store::Error) -> ArchiveError {
        ArchiveError::Unavailable { place: self.place.clone(), error }
    }

    fn path(&self, identity: Identity) -> Path {
        let name = format!("{}-{}", identity.cluster, identity.incarnation);
        self.prefix.clone().join(name)
    }

    /// The journals that have segments here.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn identities(&self) -> Result<Vec<Identity>, ArchiveError> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix)).await;
        let found = listed.map_err(|error| self.unavailable(error))?;
        let parse = |path: &Path| {
            let (cluster, incarnation) = path.filename()?.rsplit_once('-')?;
            let cluster = cluster.parse().ok()?;
            Some(Identity { cluster, incarnation: incarnation.parse().ok()? })
        };
        Ok(found.common_prefixes.iter().filter_map(parse).collect())
    }

    /// The segments of a journal, by their first entry.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn segments(&self, identity: Identity) -> Result<Vec<Segment>, ArchiveError> {
        let path = self.path(identity);
        let listed = self.store.list(Some(&path)).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(|error| self.unavailable(error))?;
        let named = |path: &Path| Segment::parse(path.filename()?);
        let mut segments: Vec<_> =
            listed.iter().filter_map(|object| named(&object.location)).collect();
        segments.sort_unstable();
        Ok(segments)
    }

    /// The entries of a segment, verified.
    ///
    /// # Errors
    /// It does not answer, or the segment is not what its name says.
    pub async fn get(
        &self,
        identity: Identity,
        segment: Segment,
    ) -> Result<Vec<Entry>, ArchiveError> {
        self.made_of(identity, segment, decode).await
    }

    /// What `read` makes of a segment, if that is the one that was asked for.
    async fn made_of<T: Send + 'static>(
        &self,
        identity: Identity,
        segment: Segment,
        read: impl FnOnce(&[u8]) -> Result<((Identity, Segment), T), BadSegment> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let path = self.path(identity).join(segment.to_string());
        let bytes = async { self.store.get(&path).await?.bytes().await };
        let bytes = bytes.await.map_err(|error| self.unavailable(error))?;
        let bad = |fault| {
            let (place, name) = (self.place.clone(), segment.to_string());
            ArchiveError::Bad { place, name, fault }
        };
        // A segment takes as long as tens of thousands of requests: no thread waits for it that has
        // others to serve.
        let read = match tokio::task::spawn_blocking(move || read(&bytes)).await {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let (found, made) = read.map_err(bad)?;
        if found != (identity, segment) {
            return Err(bad(BadSegment::Misnamed));
        }
        Ok(made)
    }

    /// Stores entries that follow one another as a segment, and reads it back; says its name and
    /// its size.
    ///
    /// # Errors
    /// It can't be written, or what is read back is something else.
    pub async fn put(&self, entries: &[Entry]) -> Result<(Segment, u64), ArchiveError> {
        let none = || ArchiveError::Place("there is nothing to archive".into());
        let (segment, bytes) = encode(entries).ok_or_else(none)?;
        let identity = entries.first().ok_or_else(none)?.header().identity;
        let (path, size) = (self.path(identity).join(segment.to_string()), bytes.len() as u64);
        let put = self.store.put(&path, bytes.into()).await;
        put.map_err(|error| self.unavailable(error))?;
        self.made_of(identity, segment, |bytes| Ok((read(bytes, drop)?, ()))).await?;
        Ok((segment, size))
    }
}

/// Whether what the environment says of where the store of a bucket is can be used; where it says
/// nothing, the store is Amazon's.
///
/// # Errors
/// It can't; one sentence.
pub fn endpoint(env: &dyn Fn(&str) -> Option<String>) -> Result<(), &'static str> {
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    match endpoint.into_iter().find_map(env) {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err("AWS_ENDPOINT_URL is no URL: give one such as https://s3.example.com")
        }
        Some(_) | None => Ok(()),
    }
}

fn s3(bucket: &str, place: &str) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    endpoint(&|name| std::env::var(name).ok())
        .map_err(|why| ArchiveError::Place(format!("{place}: {why}")))?;
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_allow_http(true)
        .with_http_connector(Clients)
        .build();
    let store = store.map_err(|error| ArchiveError::Place(format!("{place}: {error}")))?;
    Ok(Arc::new(store))
}

/// One journal's entries in an archive, read from anywhere on.
#[derive(Debug)]
pub struct Archived {
    archive: Archive,
    identity: Identity,
    segments: Vec<Segment>,
}

impl Archived {
    /// What an archive has of a journal; without one named, of the only one there.
    ///
    /// # Errors
    /// It does not answer, or has several.
    pub async fn of(archive: Archive, identity: Option<Identity>) -> Result<Self, ArchiveError> {
        let identity = match identity {
            Some(identity) => identity,
            None => match archive.identities().await?.as_slice() {
                [one] => *one,
                [] => {
                    let words = "no journal is archived here";
                    return Err(ArchiveError::Place(format!("{}: {words}", archive.place)));
                }
                several => {
                    let (place, found) = (archive.place.clone(), several.len());
                    return Err(ArchiveError::Several { place, found });
                }
            },
        };
        let segments = archive.segments(identity).await?;
        Ok(Self { archive, identity, segments })
    }

    /// Which journal.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Where it is.
    pub fn place(&self) -> &str {
        self.archive.place()
    }

    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The first entry from `from` on that no segment holds.
    pub fn covers_until(&self, from: Sequence) -> Sequence {
        // They are in the order of their first entries.
        self.segments.iter().fold(from, |next, segment| {
            if segment.first <= next { next.max(segment.last + 1) } else { next }
        })
    }

    /// The oldest entry from which segments go on to the one before `first`, where there is one.
    ///
    /// # Errors
    /// The segment that has it can't be read.
    pub async fn oldest_before(&self, first: Sequence) -> Result<Option<Entry>, ArchiveError> {
        let goes_on = |from: Sequence| from < first && self.covers_until(from) >= first;
        let Some(oldest) = self.segments.iter().find(|segment| goes_on(segment.first)) else {
            return Ok(None);
        };
        let entries = self.archive.get(self.identity, *oldest).await?;
        Ok(entries.into_iter().next())
    }

    /// The first entry of whose header `holds` holds, by halving: it must hold of all behind it too.
    /// Behind the last one, where it holds of none.
    ///
    /// # Errors
    /// A segment that is looked into can't be read.
    pub async fn first_where(
        &self,
        holds: impl Fn(&Header) -> bool,
    ) -> Result<Sequence, ArchiveError> {
        let (mut low, mut high) = (0, self.segments.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let entries = self.archive.get(self.identity, self.segments[middle]).await?;
            if entries.last().is_some_and(|entry| !holds(entry.header())) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(segment) = self.segments.get(low) else {
            return Ok(self.segments.last().map_or(1, |last| last.last + 1));
        };
        let entries = self.archive.get(self.identity, *segment).await?;
        let first = entries.iter().find(|entry| holds(entry.header()));
        Ok(first.map_or(segment.first, Entry::seq))
    }

    /// The entries behind a cursor that lie with the next one; none where it is in no segment.
    ///
    /// # Errors
    /// No segment that should hold it can be read, or none follows: what is wrong with the last one
    /// tried.
    pub async fn stored(&self, behind: &Cursor) -> Result<Vec<Entry>, ArchiveError> {
        let (mut failed, next) = (None, behind.seq() + 1);
        // A segment that was written, and not recorded before a crash, has another beside it.
        for segment in self.segments.iter().rev() {
            if segment.first > next || segment.last < next {
                continue;
            }
            match self.archive.get(self.identity, *segment).await {
                Ok(mut entries) => {
                    entries.retain(|entry| entry.seq() >= next);
                    let follows = entries.first().map_or(Ok(()), |entry| {
                        let mut cursor = *behind;
                        cursor.accept(entry.id(), entry.bytes().clone()).map(drop)
                    });
                    match follows {
                        Ok(()) => return Ok(entries),
                        Err(fault) => {
                            let (place, name) = (self.place().to_owned(), segment.to_string());
                            failed = Some(ArchiveError::Bad { place, name, fault: fault.into() });
                        }
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(Vec::new()), Err)
    }
}

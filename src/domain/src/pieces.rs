//! The World as bytes, in pieces, so that neither writer nor reader holds all of it twice.
//!
//! Owns:   the order of the pieces, the version of their shapes, and the digest of a World: one over
//!         all pieces, but for those that say which entry changed a run last, which nobody decided.
//! Hears:  a World, or the pieces of one.
//! Never:  knows a file or a checksum. Bytes that were never a piece are refused; that they are those
//!         that were written is for whoever kept them to see.
//! Proof:  the tests below, `tests/laws` (at every prefix of any day).

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ended::{with_index, without_index};
use crate::ids::{Digest, Hex, RunId, Sequence, Timestamp};
use crate::pack::{pack, try_unpack, unpack_first};
use crate::runs::{Run, Runs, Slot, Status, waits};
use crate::world::World;

/// Version of the shapes of all pieces. Raised by hand whenever any shape that a World is made of
/// changes, or what is folded into it: a snapshot of another version is not used.
pub const STATE_VERSION: u32 = 4;

/// Runs in a piece: some 300 KiB.
const RUNS: usize = 1_024;

/// What a piece is of. The first byte of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    /// The entries that changed the runs of the next piece last.
    Indices,
    Runs,
    Counts,
    Line,
    Fleet,
    Law,
    Ledger,
    Dead,
    Tenants,
    Keys,
    Profiles,
    Kept,
    Clock,
}

/// Every part of which there is one piece.
const PARTS: usize = 11;

/// A part, taken out of a World.
type Taken = fn(&World) -> Box<[u8]>;

/// A run: its status, the end of its retention (0 while it has not ended), and the rest packed.
#[derive(Serialize, Deserialize)]
struct RunPiece<'a>(RunId, Status, Timestamp, #[serde(borrow)] Packed<'a>);

/// Bytes that are copied as they are.
struct Packed<'a>(Cow<'a, [u8]>);

impl Serialize for Packed<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Packed<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(from).map(|bytes| Self(Cow::Borrowed(bytes)))
    }
}

/// The digest of a World, made of its pieces in order.
#[derive(Clone, Debug, Default)]
pub struct Digester(blake3::Hasher);

impl Digester {
    /// The next piece.
    pub fn add(&mut self, piece: &[u8]) {
        if piece.first() != Some(&(Part::Indices as u8)) {
            self.0.update(&(piece.len() as u64).to_le_bytes()).update(piece);
        }
    }

    /// The digest of all.
    pub fn finish(&self) -> Digest {
        Hex(*self.0.finalize().as_bytes())
    }
}

impl World {
    /// A digest of everything that was decided.
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::default();
        self.pieces().for_each(|piece| digester.add(&piece));
        digester.finish()
    }

    /// All of it, a piece at a time.
    pub fn pieces(&self) -> impl Iterator<Item = Box<[u8]>> + '_ {
        let parts: [Taken; PARTS] = [
            |world| pack(&(Part::Counts, &world.runs.counts)),
            |world| pack(&(Part::Line, &world.line)),
            |world| pack(&(Part::Fleet, &world.fleet)),
            |world| pack(&(Part::Law, &world.law)),
            |world| pack(&(Part::Ledger, &world.ledger)),
            |world| pack(&(Part::Dead, &world.dead)),
            |world| pack(&(Part::Tenants, &world.tenants)),
            |world| pack(&(Part::Keys, &world.keys)),
            |world| pack(&(Part::Profiles, &world.profiles)),
            |world| pack(&(Part::Kept, &world.kept)),
            |world| pack(&(Part::Clock, (world.epoch, world.admissions, world.now))),
        ];
        self.runs.pieces().chain(parts.into_iter().map(move |part| part(self)))
    }
}

impl Runs {
    fn pieces(&self) -> impl Iterator<Item = Box<[u8]>> + '_ {
        let mut expiring: Vec<(RunId, Timestamp)> =
            self.expiring.iter().map(|(at, run)| (*run, *at)).collect();
        expiring.sort_unstable();
        let mut expiring = expiring.into_iter();
        let mut slots = self.slots.iter();
        let pieces = std::iter::from_fn(move || {
            let (mut indices, mut runs) = (Vec::new(), Vec::new());
            for (id, slot) in slots.by_ref().take(RUNS) {
                let unfinished = |decided: &Run, index| {
                    let packed = Packed(Cow::Owned(pack(decided).into()));
                    (index, RunPiece(*id, decided.status, Timestamp(0), packed))
                };
                let (index, piece) = match slot {
                    Slot::Fresh { admitted, index } => {
                        unfinished(&waits(admitted.clone(), 0), *index)
                    }
                    Slot::Live(run) => unfinished(&Run { index: 0, ..Run::clone(run) }, run.index),
                    Slot::Ended { status, packed } => {
                        let (index, decided) = without_index(packed);
                        // Every run that has ended is among them, and both are in the same order.
                        let at = expiring.next().map_or(Timestamp(0), |(_, at)| at);
                        (index, RunPiece(*id, *status, at, Packed(Cow::Borrowed(decided))))
                    }
                };
                indices.push(index);
                runs.push(piece);
            }
            let some = !runs.is_empty();
            some.then(|| [pack(&(Part::Indices, indices)), pack(&(Part::Runs, runs))])
        });
        pieces.flatten()
    }
}

/// Bytes that are not the pieces of a World of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are not the pieces of a state of version {STATE_VERSION}")]
pub struct NotAWorld;

/// A World being made of its pieces.
#[derive(Debug, Default)]
pub struct Rebuild {
    world: World,
    indices: Vec<Sequence>,
    slots: Vec<(RunId, Slot)>,
    expiring: Vec<(Timestamp, RunId)>,
    parts: usize,
}

impl Rebuild {
    /// Adds the next piece.
    ///
    /// # Errors
    /// It is none, or not the next.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), NotAWorld> {
        let (part, bytes) = unpack_first::<Part>(piece).ok_or(NotAWorld)?;
        let world = &mut self.world;
        match part {
            Part::Indices if self.parts == 0 && self.indices.is_empty() => {
                self.indices = whole(bytes)?;
                return Ok(());
            }
            Part::Runs if self.parts == 0 => return self.runs(bytes),
            Part::Indices | Part::Runs => return Err(NotAWorld),
            Part::Counts => world.runs.counts = whole(bytes)?,
            Part::Line => world.line = whole(bytes)?,
            Part::Fleet => world.fleet = whole(bytes)?,
            Part::Law => world.law = whole(bytes)?,
            Part::Ledger => world.ledger = whole(bytes)?,
            Part::Dead => world.dead = whole(bytes)?,
            Part::Tenants => world.tenants = whole(bytes)?,
            Part::Keys => world.keys = whole(bytes)?,
            Part::Profiles => world.profiles = whole(bytes)?,
            Part::Kept => world.kept = whole(bytes)?,
            Part::Clock => (world.epoch, world.admissions, world.now) = whole(bytes)?,
        }
        self.parts += 1;
        if part as usize == Part::Runs as usize + self.parts { Ok(()) } else { Err(NotAWorld) }
    }

    fn runs(&mut self, bytes: &[u8]) -> Result<(), NotAWorld> {
        let runs: Vec<RunPiece<'_>> = try_unpack(bytes).ok_or(NotAWorld)?;
        let indices = std::mem::take(&mut self.indices);
        if indices.len() != runs.len() {
            return Err(NotAWorld);
        }
        for (RunPiece(id, status, expires, packed), index) in runs.into_iter().zip(indices) {
            let slot = if status.is_terminal() {
                self.expiring.push((expires, id));
                Slot::Ended { status, packed: with_index(index, &packed.0) }
            } else {
                let run: Run = whole(&packed.0)?;
                Slot::unfinished(Run { index, ..run })
            };
            self.slots.push((id, slot));
        }
        Ok(())
    }

    /// The World, once every piece is there.
    ///
    /// # Errors
    /// Some are missing.
    pub fn finish(self) -> Result<World, NotAWorld> {
        let Self { mut world, indices, slots, expiring, parts } = self;
        if parts != PARTS || !indices.is_empty() {
            return Err(NotAWorld);
        }
        world.runs.slots = slots.into_iter().collect();
        world.runs.expiring = expiring.into_iter().collect();
        Ok(world)
    }
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotAWorld> {
    try_unpack(bytes).ok_or(NotAWorld)
}

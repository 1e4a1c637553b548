//! Phlegethon, what is learned: how long runs of each template take, and how much processor.
//!
//! Owns:   two histograms a template, folded from attempts that ended by themselves. Integers in
//!         buckets of an eighth of a power of two: what is said of them is at most an eighth too
//!         high, and never too low.
//! Bounds: [`TEMPLATES_MOST`] templates; when one more comes, the one whose latest attempt ended
//!         longest ago is forgotten, and so is a template that is deleted. At [`FADE_AT`] attempts
//!         every count is halved, rounded down: what was long ago fades, and a single outlier goes.
//! Never:  decides anything: judging gets a [`Learned`] as an input, and keeps it in its record.
//! Proof:  the tests below, and `tests/laws`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Event, ExitCause, Next, RunFinished, Usage};
use crate::ids::RunId;
use crate::judge::Learned;
use crate::law::HeatTable;
use crate::rows::Rows;
use crate::submission::Heat;

/// Attempts of a template before anything is said of it: with fewer, the 95th of 100 is the worst
/// of all.
pub const ENOUGH: u64 = 20;
/// Attempts that a profile holds before it fades: the latest 512 always outweigh all before them.
pub const FADE_AT: u64 = 1_024;
/// Templates that are remembered: a profile takes at most some 4 KiB.
pub const TEMPLATES_MOST: usize = 1_024;

/// Processor time is averaged over a second at least: starting a program is a burst of some
/// milliseconds on every core, and does not make a run that ends at once a demanding one.
pub const AVERAGED_OVER_MS: u64 = 1_000;

const SUB_BITS: u32 = 3;
/// Far beyond the longest `ttl` (7 days) and the largest machine.
const VALUE_MOST: u64 = (1 << 33) - 1;

/// Thousandths of a core, averaged over an attempt.
fn cpu_milli(used: Usage) -> u64 {
    used.cpu_ms.saturating_mul(1_000) / used.wall_ms.max(AVERAGED_OVER_MS)
}

/// The bucket of a value. Below 8 each value has its own; then eight to a power of two.
fn bucket_of(value: u64) -> u8 {
    let value = value.min(VALUE_MOST);
    let index = match value.checked_ilog2() {
        Some(exp) if exp >= SUB_BITS => {
            let sub = (value >> (exp - SUB_BITS)) & ((1 << SUB_BITS) - 1);
            (u64::from(exp - SUB_BITS + 1) << SUB_BITS) + sub
        }
        Some(_) | None => value,
    };
    u8::try_from(index).unwrap_or(u8::MAX)
}

/// The highest value of a bucket.
fn upper_bound(bucket: u8) -> u64 {
    let (octave, sub) = (u32::from(bucket) >> SUB_BITS, u64::from(bucket) & ((1 << SUB_BITS) - 1));
    match octave {
        0 => sub,
        octave => (((1 << SUB_BITS) + sub + 1) << (octave - 1)) - 1,
    }
}
const _: () = assert!((33 - SUB_BITS) << SUB_BITS <= 248, "every bucket has a number below 256");

/// How often a value of each bucket was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Histogram {
    counts: BTreeMap<u8, u32>,
}

impl Histogram {
    fn add(&mut self, value: u64) {
        *self.counts.entry(bucket_of(value)).or_default() += 1;
    }

    fn halve(&mut self) {
        self.counts.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
    }

    fn total(&self) -> u64 {
        self.counts.values().map(|count| u64::from(*count)).sum()
    }

    /// The upper bound of the bucket in which the 95th of 100 lies.
    fn p95(&self) -> u64 {
        let rank = (self.total() * 95).div_ceil(100);
        let mut seen = 0;
        let found = self.counts.iter().find(|(_, count)| {
            seen += u64::from(**count);
            seen >= rank
        });
        found.map_or(0, |(bucket, _)| upper_bound(*bucket))
    }
}

/// What attempts of one template have used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    wall_ms: Histogram,
    cpu_milli: Histogram,
    /// Attempts ever seen.
    seen: u64,
    /// Number of its latest attempt among all.
    latest: u64,
}

impl Profile {
    fn add(&mut self, wall_ms: u64, cpu_milli: u64, number: u64) {
        self.wall_ms.add(wall_ms);
        self.cpu_milli.add(cpu_milli);
        self.seen += 1;
        self.latest = number;
        if self.wall_ms.total() >= FADE_AT {
            self.wall_ms.halve();
            self.cpu_milli.halve();
        }
    }

    /// Attempts ever seen; those that have faded among them.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// What it comes to, however few attempts that is.
    pub fn so_far(&self) -> Learned {
        let p95_cpu_milli = u32::try_from(self.cpu_milli.p95()).unwrap_or(u32::MAX);
        Learned { runs: self.wall_ms.total(), p95_wall_ms: self.wall_ms.p95(), p95_cpu_milli }
    }

    /// What it comes to, once there are [`ENOUGH`] attempts.
    pub fn learned(&self) -> Option<Learned> {
        let enough = self.wall_ms.total() >= ENOUGH;
        enough.then(|| self.so_far())
    }
}

impl Learned {
    /// The level this makes for a run that asks for so much memory and no GPU.
    pub fn heat(self, table: &HeatTable, mem_mb: u32) -> Heat {
        table.heat_of(self.p95_cpu_milli, mem_mb, self.p95_wall_ms).0
    }
}

/// An unfinished run, as far as learning from it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    template: Arc<str>,
    ttl_ms: u64,
}

/// The profiles of all templates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profiles {
    templates: BTreeMap<Arc<str>, Profile>,
    /// What ended says neither its template nor its `ttl`.
    unfinished: Rows<RunId, Subject>,
    /// Attempts counted so far, of all templates.
    attempts: u64,
}

impl Profiles {
    /// What is learned of a template, once there is enough.
    pub fn learned(&self, template: &str) -> Option<Learned> {
        self.templates.get(template)?.learned()
    }

    /// Every profile, by the template's name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.templates.iter().map(|(name, profile)| (&**name, profile))
    }

    /// Folds an event.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::RunAdmitted(e) => {
                // Most runs are of a template that is known: its name is kept once.
                let name = &*e.submission.template;
                let known = self.templates.get_key_value(name).map(|(name, _)| name.clone());
                let template = known.unwrap_or_else(|| name.into());
                let ttl_ms = e.submission.resources.ttl_ms;
                self.unfinished.insert(e.run, Subject { template, ttl_ms });
            }
            Event::RunFinished(e) => {
                self.learn(e);
                self.next(e.run, e.next);
            }
            Event::RunLost(e) => self.next(e.run, e.next),
            Event::RunCanceled(e) => drop(self.unfinished.remove(&e.run)),
            Event::RunRefused(e) => drop(self.unfinished.remove(&e.run)),
            Event::TemplateDeleted(e) => drop(self.templates.remove(&*e.name)),
            Event::LeaderStarted(_)
            | Event::RunRejected(_)
            | Event::RunAssigned(_)
            | Event::RunStarted(_)
            | Event::RunCancelRequested(_)
            | Event::RunForgotten(_)
            | Event::NodeJoined(_)
            | Event::NodeLost(_)
            | Event::PolicyPut(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::HeatTableSet(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::RunEvicted(_)
            | Event::RunReleased(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_)
            | Event::RunQuarantined(_) => {}
        }
    }

    fn next(&mut self, run: RunId, next: Next) {
        match next {
            Next::Again { .. } => {}
            Next::End(_) => drop(self.unfinished.remove(&run)),
        }
    }

    fn learn(&mut self, e: &RunFinished) {
        let Some(subject) = self.unfinished.get(&e.run) else { return };
        let wall_ms = match e.exit.cause {
            ExitCause::Exited => e.usage.wall_ms,
            // How long it would have taken is not known; not less than this.
            ExitCause::TimedOut => e.usage.wall_ms.max(subject.ttl_ms),
            // What was cut short, or never ran, says nothing about how long the next one takes.
            ExitCause::OutOfMemory
            | ExitCause::Canceled
            | ExitCause::NotExecutable
            | ExitCause::SandboxFailed => return,
        };
        let cpu_milli = cpu_milli(e.usage);
        let template = subject.template.clone();
        if self.templates.len() >= TEMPLATES_MOST && !self.templates.contains_key(&template) {
            let oldest = self.templates.iter().min_by_key(|(_, profile)| profile.latest);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.templates.remove(&oldest);
            }
        }
        self.attempts += 1;
        self.templates.entry(template).or_default().add(wall_ms, cpu_milli, self.attempts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_says_and_is_at_most_an_eighth_too_high() {
        let edges = (0..34).flat_map(|exp| {
            let power = 1_u64 << exp;
            [power.saturating_sub(1), power, power + 1, power + power / 3]
        });
        for value in (0..5_000).chain(edges).filter(|value| *value <= VALUE_MOST) {
            let bucket = bucket_of(value);
            let bound = upper_bound(bucket);
            assert!(bound >= value, "{value} is above its bucket's {bound}");
            assert!(bound - value <= value / 8, "{bound} is far from {value}");
            assert_eq!(bucket_of(bound), bucket, "the bound of {value} is in its bucket");
            assert!(bound == VALUE_MOST || bucket_of(bound + 1) == bucket + 1, "no gap at {bound}");
        }
        assert_eq!(bucket_of(u64::MAX), bucket_of(VALUE_MOST), "an agent may say anything");
    }

    fn profile(walls: impl IntoIterator<Item = u64>) -> Profile {
        let mut profile = Profile::default();
        (1..).zip(walls).for_each(|(number, wall)| profile.add(wall, 100, number));
        profile
    }

    #[test]
    fn the_95th_of_100_is_what_95_did_not_exceed() {
        // Upper bounds of the buckets of 1,000 and 60,000.
        for (walls, p95) in [
            (vec![1_000; 20], 1_023),
            ([vec![1_000; 19], vec![60_000]].concat(), 1_023),
            ([vec![1_000; 18], vec![60_000; 2]].concat(), 61_439),
            ([vec![1_000; 95], vec![60_000; 5]].concat(), 1_023),
            ([vec![1_000; 94], vec![60_000; 6]].concat(), 61_439),
        ] {
            let learned = profile(walls.clone()).learned().expect("enough");
            assert_eq!((learned.runs, learned.p95_wall_ms), (walls.len() as u64, p95));
            assert_eq!(learned.p95_cpu_milli, 103);
        }
    }

    #[test]
    fn a_program_that_ends_at_once_is_not_a_demanding_one() {
        for (cpu_ms, wall_ms, milli) in
            [(6, 2, 6), (900, 300, 900), (2_000, 1_000, 2_000), (30_000, 10_000, 3_000), (0, 0, 0)]
        {
            assert_eq!(cpu_milli(Usage { cpu_ms, wall_ms, max_rss_mb: 1 }), milli, "{wall_ms} ms");
        }
    }

    #[test]
    fn with_too_few_nothing_is_said() {
        assert_eq!(profile(vec![1_000; ENOUGH as usize - 1]).learned(), None);
        assert!(profile(vec![1_000; ENOUGH as usize]).learned().is_some());
    }

    #[test]
    fn what_was_long_ago_fades_and_what_is_left_is_still_enough() {
        let before = vec![3_600_000; FADE_AT as usize];
        let now = profile([before, vec![1_000; 8 * FADE_AT as usize]].concat());
        let learned = now.learned().expect("enough");
        assert_eq!(learned.p95_wall_ms, 1_023, "{learned:?}");
        assert!(learned.runs < FADE_AT && learned.runs >= ENOUGH);
        assert_eq!(now.seen(), 9 * FADE_AT);
        // The widest spread there can be still leaves enough behind.
        let spread = profile((0..FADE_AT).map(|i| 1 << (i % 33)));
        assert!(spread.learned().is_some(), "{spread:?}");
    }
}

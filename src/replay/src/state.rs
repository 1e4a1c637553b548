//! The state at a point: the World, folded up to there and no further.

use std::collections::{BTreeMap, VecDeque};

use api::{Node, Run, Time};
use domain::ids::Sequence;
use domain::{RunId, Status, Timestamp, World};
use journal::{Entry, Position, Receipt, Tail};
use serde::Serialize;

use crate::fold::{self, FoldMade, Happened, Point, Tell, Told};
use crate::snapshot::Loaded;
use crate::source::{Finding, Over, Source, Unreadable};

/// A World, folded from point to point.
#[derive(Debug, Default)]
pub struct State {
    /// All state.
    pub world: World,
    /// The last entry that has a part in it.
    pub last: Option<Receipt>,
    /// The entry of the snapshot that it goes on from.
    began: Option<Tail>,
    first: Option<Sequence>,
    /// The first event that there is, whether it has a part in this or not.
    begins: Option<(Sequence, Timestamp)>,
    /// The points still to come.
    points: VecDeque<Point>,
    /// The states at those that were passed on the way.
    passed: Vec<Snapshot>,
    /// Whether secrets were taken out of an entry: this is not the state that was lived.
    redacted: bool,
    bad: Option<Finding>,
}

impl State {
    /// The state of a snapshot, to be folded on from there by [`onward`].
    pub fn of(loaded: Loaded) -> Self {
        let (began, last) = (Some(loaded.tail()), Some(Receipt(loaded.header.id())));
        Self { world: loaded.world, last, began, ..Self::default() }
    }

    fn last_sequence(&self) -> Sequence {
        self.last.map(|last| last.0.seq).unwrap_or_default()
    }

    /// Whether the last point is reached, when it is over with every point of which `over` holds.
    fn pass(&mut self, over: impl Fn(Point) -> bool) -> bool {
        while self.points.front().is_some_and(|point| over(*point)) {
            self.points.pop_front();
            if self.points.is_empty() {
                return true;
            }
            let passed = Snapshot::of(self);
            self.passed.push(passed);
        }
        false
    }

    /// The entry that must come first.
    fn due(&self) -> Sequence {
        self.began.map_or(1, |tail| tail.position.seq + 1)
    }

    fn began_with(&mut self, entry: &Entry) -> bool {
        let same = self.last == Some(Receipt(entry.id()));
        if !same {
            let what = "it is not the entry of the snapshot that is gone on from".into();
            self.bad = Some(Finding { sequence: entry.seq(), n: None, line: None, what });
        }
        same
    }

    fn fold(&mut self, told: &Told) -> bool {
        let entry = &told.entry;
        for Happened { event, .. } in &told.events {
            self.begins.get_or_insert((entry.seq(), event.at()));
            if self.pass(|point| point.is_before(entry.seq(), event.at())) {
                return false;
            }
            self.world.evolve(entry.seq(), event);
            self.last = Some(Receipt(entry.id()));
        }
        if let Some(fault) = &told.fault {
            self.bad = Some(fault.into());
            return false;
        }
        self.last = Some(Receipt(entry.id()));
        !self.pass(|point| point == Point::Sequence(entry.seq()))
    }

    fn told(&mut self, told: &Told) -> bool {
        let entry = &told.entry;
        if let Some(began) = self.began
            && entry.seq() <= began.position.seq
        {
            // An export begins where it begins.
            return entry.seq() < began.position.seq || self.began_with(entry);
        }
        if *self.first.get_or_insert(entry.seq()) != self.due() {
            return false;
        }
        self.redacted |= entry.is_redacted();
        self.fold(told)
    }
}

impl FoldMade<Told> for State {
    fn made(&mut self, made: Vec<Told>) -> bool {
        made.iter().all(|told| self.told(told))
    }
}

/// Folds a source up to a point; without one, to its end.
///
/// # Errors
/// There is nothing, not all of it, or what is there can't be believed up to the point.
pub async fn at(
    source: &mut Source,
    until: Option<Point>,
    seen: impl FnMut(Sequence),
) -> Result<State, Unreadable> {
    let state = onward(source, State::default(), until, seen).await?;
    match (until, state.begins) {
        // Then there was nothing that could have had a state.
        (Some(wanted), Some((sequence, at))) if wanted.is_before(1, at) => {
            Err(Unreadable::Begins { sequence, time: at.into(), wanted })
        }
        _ => Ok(state),
    }
}

/// The same, from a state that is known: of a snapshot whose entry the source is known to have.
///
/// # Errors
/// As [`at`]; the point lies before that state.
pub async fn onward(
    source: &mut Source,
    from: State,
    until: Option<Point>,
    seen: impl FnMut(Sequence),
) -> Result<State, Unreadable> {
    through(source, from, until.into_iter().collect(), seen).await
}

/// The states at two points, of which the second is not the earlier.
///
/// # Errors
/// As [`at`].
pub async fn both(
    source: &mut Source,
    (first, second): (Point, Point),
    seen: impl FnMut(Sequence),
) -> Result<(Snapshot, Snapshot), Unreadable> {
    let points = VecDeque::from([first, second]);
    let mut state = through(source, State::default(), points, seen).await?;
    let after = Snapshot::of(&state);
    Ok((state.passed.pop().unwrap_or_else(|| after.clone()), after))
}

async fn through(
    source: &mut Source,
    from: State,
    points: VecDeque<Point>,
    seen: impl FnMut(Sequence),
) -> Result<State, Unreadable> {
    let to_the_end = points.is_empty();
    let mut state = State { points, ..from };
    if let Some(began) = state.began {
        let Position { seq, .. } = began.position;
        let at = Timestamp(began.at_ms);
        if state.points.front().is_some_and(|point| point.is_before(seq, at)) {
            return Err(Unreadable::NotWhole { first: seq + 1 });
        }
        source.go_on(began);
        // Nothing needs to be read where the point is this very entry.
        if state.pass(|point| point == Point::Sequence(seq)) {
            return Ok(state);
        }
    }
    let (mut state, over) = fold::prepared(source, Tell, state, seen).await;
    match state.first {
        Some(first) if first != state.due() => return Err(Unreadable::NotWhole { first }),
        None | Some(_) => {}
    }
    if let Some(bad) = state.bad.take() {
        return Err(Unreadable::Bad(bad));
    }
    if state.points.is_empty() && !to_the_end {
        return Ok(state);
    }
    match over {
        Over::Bad(finding) => return Err(Unreadable::Bad(finding)),
        Over::Trouble(trouble) => return Err(trouble),
        Over::End if state.last.is_none() => return Err(Unreadable::Empty),
        Over::End => {}
    }
    // Nothing has happened since: the state at a later time is this one.
    state.pass(|point| matches!(point, Point::Time(_)));
    match state.points.front() {
        None => Ok(state),
        Some(point) => {
            let (last, wanted) = (state.last_sequence(), point.to_string());
            Err(Unreadable::Before { last, wanted })
        }
    }
}

/// A state in numbers, and what of it has names.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The last entry that has a part in it.
    pub sequence: Sequence,
    /// Its receipt.
    pub receipt: Option<String>,
    /// Time of the last event; none before the first.
    pub time: Option<Time>,
    /// The leader's epoch.
    pub epoch: u64,
    /// The law's revision.
    pub revision: u64,
    /// Runs, by status.
    pub runs: BTreeMap<&'static str, u64>,
    /// The waiting line.
    pub queue: Queue,
    /// Policies with their versions.
    pub policies: BTreeMap<String, u64>,
    /// Templates with their versions.
    pub templates: BTreeMap<String, u64>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Digest of the whole state; none where secrets were taken out of what it is folded from.
    pub digest: Option<String>,
    /// Each run's status, for comparing.
    #[serde(skip)]
    pub statuses: BTreeMap<RunId, Status>,
}

/// The waiting line in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Runs in it.
    pub total: usize,
    /// By pool.
    pub pools: BTreeMap<&'static str, usize>,
    /// Whether assignments are paused.
    pub paused: bool,
    /// When the oldest of them was made.
    pub oldest: Option<Time>,
}

impl Snapshot {
    /// Of a state.
    pub fn of(state: &State) -> Self {
        let world = &state.world;
        let (law, depth) = (world.law.current(), world.line.depth());
        let pools = depth.pools.iter().map(|(pool, runs)| (pool.as_str(), *runs));
        Self {
            sequence: state.last_sequence(),
            receipt: state.last.map(|last| last.to_string()),
            time: (world.now != Timestamp::default()).then(|| world.now.into()),
            epoch: world.epoch,
            revision: law.revision,
            runs: Status::ALL.map(|s| (s.as_str(), world.runs.count(s))).into_iter().collect(),
            queue: Queue {
                total: depth.total,
                pools: pools.collect(),
                paused: world.line.paused(),
                oldest: world.line.oldest().map(Time::from),
            },
            policies: law.policies.iter().map(|(n, p)| (n.to_string(), p.version)).collect(),
            templates: law.templates.iter().map(|(n, t)| (n.to_string(), t.version)).collect(),
            nodes: world.fleet.nodes().values().map(Node::from).collect(),
            digest: (!state.redacted).then(|| world.digest().to_string()),
            statuses: world.runs.newest_first(None).collect(),
        }
    }
}

/// A run as it was.
pub fn run(state: &State, id: RunId) -> Option<Run> {
    state.world.runs.get(id).map(|run| Run::from(&*run))
}

//! Why something happened: the chain of causes, from an event back to where nothing in the journal
//! comes before it.
//!
//! Owns:   what is certain from the events themselves: an event's own forerunner, the law a judgement
//!         was made under, the node or the operator that an entry names.
//! Never:  guesses. What freed the room for a run is not certain, and is not said.

use std::collections::{BTreeMap, BTreeSet};

use api::Link;
use api::event::Place;
use api::explain::who;
use domain::event::{LostCause, Next, NodeLostCause, Origin};
use domain::judge::Judgement;
use domain::{Event, NodeId, RunId};
use journal::{Entry, catalog};

use crate::fold::Fold;
use crate::source::Finding;
use crate::words::{self, reporter};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A run: its last event.
    Run(RunId),
    /// A node: its last event.
    Node(NodeId),
    /// One event.
    Event(Place),
}

/// An event, where it stands, and whose reign it is of.
#[derive(Clone, Debug)]
struct Seen {
    place: Place,
    epoch: u64,
    event: Event,
}

/// What may have caused what, as far as it concerns the target.
#[derive(Debug)]
pub struct Why {
    target: Target,
    /// Own events of the run or node, oldest first.
    life: Vec<Seen>,
    /// By the epoch.
    leaders: BTreeMap<u64, Seen>,
    policies: BTreeMap<(Box<str>, u64), Seen>,
    templates: BTreeMap<(Box<str>, u64), Seen>,
    /// By the revision.
    heat: BTreeMap<u64, Seen>,
    /// What happened to nodes and to the line while the run lived.
    house: Vec<Seen>,
    /// A record that could not be decoded, behind what was read.
    pub bad: Option<Finding>,
    /// Whether there was anything to read.
    pub read: bool,
}

impl Why {
    /// Nothing is known yet.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            life: Vec::new(),
            leaders: BTreeMap::new(),
            policies: BTreeMap::new(),
            templates: BTreeMap::new(),
            heat: BTreeMap::new(),
            house: Vec::new(),
            bad: None,
            read: false,
        }
    }

    /// Whether an event is the target's own.
    fn is_own(&self, place: Place, event: &Event) -> bool {
        match &self.target {
            Target::Run(run) => event.run() == Some(*run),
            Target::Node(node) => event.run().is_none() && event.node() == Some(node),
            Target::Event(wanted) => place == *wanted,
        }
    }

    /// Takes an event in, in the order of the journal.
    pub fn saw(&mut self, place: Place, epoch: u64, event: &Event) {
        let seen = || Seen { place, epoch, event: event.clone() };
        if self.is_own(place, event) {
            self.life.push(seen());
            return;
        }
        match event {
            Event::LeaderStarted(e) => {
                self.leaders.insert(e.epoch, seen());
            }
            Event::PolicyPut(e) => {
                self.policies.insert((e.policy.name.clone(), e.version), seen());
            }
            Event::TemplatePut(e) => {
                self.templates.insert((e.template.name.clone(), e.version), seen());
            }
            Event::HeatTableSet(e) => {
                self.heat.insert(e.revision, seen());
            }
            Event::NodeJoined(_)
            | Event::NodeLost(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
                if !self.life.is_empty() || !matches!(self.target, Target::Run(_)) =>
            {
                self.house.push(seen());
            }
            Event::NodeJoined(_)
            | Event::NodeLost(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::PolicyDeleted(_)
            | Event::TemplateDeleted(_)
            | Event::NodeLabeled(_)
            | Event::RunAdmitted(_)
            | Event::RunRejected(_)
            | Event::RunAssigned(_)
            | Event::RunStarted(_)
            | Event::RunFinished(_)
            | Event::RunLost(_)
            | Event::RunCancelRequested(_)
            | Event::RunCanceled(_)
            | Event::RunForgotten(_)
            | Event::RunEvicted(_)
            | Event::RunReleased(_)
            | Event::RunRefused(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_)
            | Event::RunQuarantined(_) => {}
        }
    }

    /// Who led in an epoch, from the beginning of its reign on.
    fn leader(&self, epoch: u64) -> String {
        match self.leaders.get(&epoch).map(|seen| &seen.event) {
            Some(Event::LeaderStarted(led)) => format!("system (epoch {epoch}, {})", led.url),
            _ => format!("system (epoch {epoch})"),
        }
    }

    fn actor(&self, seen: &Seen) -> String {
        match (seen.event.origin(), reporter(&seen.event)) {
            (Some(origin), _) if origin.by != domain::event::Principal::System => who(&origin.by),
            (_, Some(node)) => format!("node {node}"),
            (_, None) => self.leader(seen.epoch),
        }
    }

    /// The request that the target's events belong to.
    fn correlation(&self, seen: &Seen) -> Option<uuid::Uuid> {
        let birth = self.life.first().filter(|_| seen.event.run().is_some());
        let of = birth.filter(|birth| birth.event.run() == seen.event.run()).unwrap_or(seen);
        of.event.origin().or(seen.event.origin()).map(|origin| origin.request)
    }

    /// The chain: the last own event (up to `until`, where that is given), then what led to it, and
    /// so on. Later events come first.
    pub fn chain(&self, until: Option<Place>) -> Vec<Link> {
        let asked = self.life.iter().rfind(|seen| until.is_none_or(|until| seen.place <= until));
        let Some(asked) = asked else { return Vec::new() };
        let mut met = BTreeMap::new();
        let mut open = vec![asked];
        while let Some(seen) = open.pop() {
            if met.insert(seen.place, seen).is_none() {
                open.extend(self.causes(seen));
            }
        }
        met.values().rev().map(|seen| self.link(seen)).collect()
    }

    /// Every own event with what led to it, oldest first.
    pub fn life(&self) -> Vec<Link> {
        self.life.iter().map(|seen| self.link(seen)).collect()
    }

    fn link(&self, seen: &Seen) -> Link {
        let causes: BTreeSet<Place> = self.causes(seen).iter().map(|cause| cause.place).collect();
        Link {
            id: seen.place.to_string(),
            kind: catalog::type_of(&seen.event).name.to_owned(),
            time: seen.event.at().into(),
            subject: crate::cloud::subject(&seen.event),
            actor: self.actor(seen),
            what: words::what(&seen.event),
            because: self.because(seen),
            cause: causes.into_iter().map(|place| place.to_string()).collect(),
            correlationid: self.correlation(seen),
        }
    }

    /// Own events before one, the last first.
    fn before(&self, place: Place) -> impl Iterator<Item = &Seen> {
        self.life.iter().rev().filter(move |own| own.place < place)
    }

    /// What the house did between two places, the last first.
    fn meanwhile(&self, after: Place, before: Place) -> impl Iterator<Item = &Seen> {
        self.house.iter().rev().filter(move |seen| after < seen.place && seen.place < before)
    }

    fn law(&self, judgement: &Judgement) -> Vec<&Seen> {
        let Judgement { policy, template, revision, .. } = judgement;
        let heat = self.heat.range(..=*revision).next_back();
        let policy = self.policies.get(&(policy.name.clone(), policy.version));
        let template = self.templates.get(&(template.name.clone(), template.version));
        [policy, template, heat.map(|(_, seen)| seen)].into_iter().flatten().collect()
    }

    fn causes(&self, seen: &Seen) -> Vec<&Seen> {
        let own = self.before(seen.place).next();
        let mut causes: Vec<&Seen> = own.into_iter().collect();
        let before = own.map_or(Place::default(), |own| own.place);
        let same_entry = |wanted: &dyn Fn(&Event) -> bool| {
            let sequence = seen.place.sequence;
            let mut house = self.house.iter();
            house.find(|other| other.place.sequence == sequence && wanted(&other.event))
        };
        match &seen.event {
            Event::RunAdmitted(e) => causes.extend(self.law(&e.judgement)),
            Event::RunRejected(e) => causes.extend(self.law(&e.judgement)),
            Event::RunReleased(e) => causes.extend(self.law(&e.judgement)),
            Event::RunQuarantined(e) => {
                causes.extend(self.policies.get(&(e.policy.name.clone(), e.policy.version)));
            }
            // Nothing is assigned while the line stands still, and nothing to a node that is not
            // there or is drained: what ended that led to it.
            Event::RunAssigned(e) => causes.extend(self.meanwhile(before, seen.place).filter(
                |other| match &other.event {
                    Event::QueueResumed(_) => true,
                    Event::NodeJoined(joined) => joined.node == e.node,
                    Event::NodeUndrained(undrained) => undrained.node == e.node,
                    _ => false,
                },
            )),
            Event::RunLost(e) => causes.extend(match e.cause {
                LostCause::NodeLost => same_entry(
                    &|other| matches!(other, Event::NodeLost(lost) if lost.node == e.node),
                ),
                LostCause::NodeRestarted => same_entry(
                    &|other| matches!(other, Event::NodeJoined(joined) if joined.node == e.node),
                ),
                LostCause::Unknown | LostCause::Drained => None,
            }),
            Event::RunEvicted(e) => causes.extend(
                self.meanwhile(Place::default(), seen.place).find(
                    |other| matches!(&other.event, Event::NodeDrained(drained) if drained.node == e.node),
                ),
            ),
            Event::QueueResumed(_) => causes.extend(
                self.meanwhile(Place::default(), seen.place)
                    .find(|other| matches!(other.event, Event::QueuePaused(_))),
            ),
            Event::LeaderStarted(_)
            | Event::RunStarted(_)
            | Event::RunFinished(_)
            | Event::RunCancelRequested(_)
            | Event::RunCanceled(_)
            | Event::RunForgotten(_)
            | Event::RunRefused(_)
            | Event::NodeJoined(_)
            | Event::NodeLost(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::PolicyPut(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::QueuePaused(_)
            | Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::JournalTrimmed(_)
            | Event::CheckpointSigned(_)
            | Event::LevelRaised(_) => {}
        }
        if seen.event.run().is_none() && seen.event.node().is_none() {
            causes.retain(|cause| cause.event.run().is_none());
        }
        causes
    }

    fn because(&self, seen: &Seen) -> Option<String> {
        let asked =
            |origin: &Origin| format!("{} asked, request {}", who(&origin.by), origin.request);
        let again = self.before(seen.place).next().and_then(|own| match &own.event {
            Event::RunFinished(e) => Some(e.next),
            Event::RunLost(e) => Some(e.next),
            _ => None,
        });
        match &seen.event {
            Event::RunAdmitted(e) => Some(format!(
                "{}; {}{}",
                asked(&e.origin),
                words::judged(&e.judgement),
                e.redrive_of.map_or(String::new(), |run| format!("; it repeats run {run}"))
            )),
            Event::RunRejected(e) => Some(format!(
                "{}; {}: {}",
                asked(&e.origin),
                words::judged(&e.judgement),
                api::show::reject_message(e)
            )),
            Event::RunReleased(e) => Some(format!(
                "{}, saying {:?}; {}",
                asked(&e.origin),
                e.reason,
                words::judged(&e.judgement)
            )),
            Event::RunRefused(e) => Some(format!("{}, saying {:?}", asked(&e.origin), e.reason)),
            Event::RunAssigned(e) => {
                let turn = match again {
                    Some(Next::Again { .. }) => "it was to be tried again, and its turn had come",
                    Some(Next::End(_)) | None => "its turn had come",
                };
                let pool = match e.fallback {
                    true => format!(
                        "; no live node of the pool it prefers could hold it, so {}",
                        e.pool.as_str()
                    ),
                    false => String::new(),
                };
                Some(format!(
                    "{turn}, and {} had room in the plan made after entry {}{pool}",
                    e.node, e.planned_at
                ))
            }
            Event::RunStarted(e) => Some(format!("{} had it to run, and said so", e.node)),
            Event::RunFinished(e) => Some(format!("{} reported its end", e.node)),
            Event::RunLost(e) => Some(words::lost(e)),
            Event::RunQuarantined(e) => Some(words::poisoned(e)),
            Event::RunEvicted(e) => {
                Some(format!("{} is drained, and its deadline had passed", e.node))
            }
            Event::RunForgotten(_) => Some("it had ended, and its retention was over".to_owned()),
            Event::NodeLost(e) => Some(match e.cause {
                NodeLostCause::HeartbeatExpired => {
                    "nothing was heard of it for its time to live".to_owned()
                }
                NodeLostCause::Left => "its agent said goodbye".to_owned(),
            }),
            Event::NodeJoined(_) => Some("its agent registered".to_owned()),
            Event::JournalTrimmed(_) => {
                Some("what came before is archived, and covered by two snapshots".to_owned())
            }
            Event::LeaderStarted(_) => Some("nobody else held the leader's key".to_owned()),
            Event::RunCancelRequested(_)
            | Event::RunCanceled(_)
            | Event::PolicyPut(_)
            | Event::PolicyDeleted(_)
            | Event::TemplatePut(_)
            | Event::TemplateDeleted(_)
            | Event::HeatTableSet(_)
            | Event::QueuePaused(_)
            | Event::QueueResumed(_)
            | Event::NodeDrained(_)
            | Event::NodeUndrained(_)
            | Event::NodeLabeled(_)
            | Event::LevelRaised(_) => seen.event.origin().map(asked),
            Event::SnapshotBegun(_)
            | Event::SnapshotTaken(_)
            | Event::JournalArchived(_)
            | Event::CheckpointSigned(_) => None,
        }
    }
}

impl Fold for Why {
    fn entry(&mut self, entry: &Entry) -> bool {
        self.read = true;
        let (sequence, epoch) = (entry.seq(), entry.header().epoch);
        if let Target::Event(place) = self.target
            && sequence > place.sequence
        {
            return false;
        }
        for (n, record) in (0..).zip(entry.records()) {
            // Most of a journal are events of other runs.
            if let Target::Run(run) = self.target
                && is_of_run(record.kind)
                && !catalog::may_name(&record, run)
            {
                continue;
            }
            match catalog::decode(&record) {
                Ok(Some(event)) => self.saw(Place { sequence, n: Some(n) }, epoch, &event),
                Ok(None) => {}
                Err(fault) => {
                    let (n, what) = (Some(n), fault.to_string());
                    self.bad = Some(Finding { sequence, n, line: None, what });
                    return false;
                }
            }
        }
        true
    }
}

/// Whether records of a type are events of a run.
pub fn is_of_run(kind: u16) -> bool {
    catalog::TYPES.iter().any(|of| of.kind == kind && of.name.starts_with("run."))
}

/// What of a chain led to one of its events, and that event.
pub fn led_to(chain: Vec<Link>, id: &str) -> Vec<Link> {
    let mut wanted = BTreeSet::from([id.to_owned()]);
    let mut kept = Vec::new();
    // Causes come behind what they led to.
    for link in chain {
        if wanted.contains(&link.id) {
            wanted.extend(link.cause.iter().cloned());
            kept.push(link);
        }
    }
    kept
}

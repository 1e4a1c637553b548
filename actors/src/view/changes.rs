//! When what a list shows has last changed: what a reader who waits for a change waits for.

use std::collections::BTreeMap;

use actix::{Handler, Message, MessageResult};
use domain::{Event, NodeId, Sequence};

use super::actor::ViewActor;

/// Names that are told apart, at most: nodes come and go under new ones for ever. Beyond, all are
/// taken to have changed now, which costs those who wait one answer too many.
const NAMES_MAX: usize = 10_000;

/// Something that is read as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Every policy.
    Policies,
    /// One policy, all its versions.
    Policy(Box<str>),
    /// Every template.
    Templates,
    /// One template, all its versions.
    Template(Box<str>),
    /// The thresholds of heat, and what is learned.
    Heat,
    /// Every node.
    Nodes,
    /// One node.
    Node(NodeId),
    /// The waiting line.
    Queue,
}

/// The entry that a part has last changed with. Where that was before this view began, the entry it
/// began behind.
#[derive(Debug, Message)]
#[rtype(result = "Sequence")]
pub struct ChangedAt(pub Part);

/// The last change of every part.
#[derive(Debug)]
pub struct Changes {
    /// Nothing is known of what was before.
    since: Sequence,
    last: BTreeMap<Part, Sequence>,
}

impl Changes {
    /// Nothing has changed since an entry.
    pub fn since(index: Sequence) -> Self {
        Self { since: index, last: BTreeMap::new() }
    }

    /// An event happened.
    pub fn saw(&mut self, index: Sequence, event: &Event) {
        parts(event, |part| {
            self.last.insert(part, index);
        });
        if self.last.len() > NAMES_MAX {
            *self = Self::since(index);
        }
    }

    fn of(&self, part: &Part) -> Sequence {
        self.last.get(part).copied().unwrap_or(self.since)
    }
}

/// What an event changes, as far as lists show it.
fn parts(event: &Event, mut change: impl FnMut(Part)) {
    let (mut node, mut policy, mut template) = (None, None, None);
    let (mut queue, mut heat) = (false, false);
    match event {
        Event::PolicyPut(e) => policy = Some(&e.policy.name),
        Event::PolicyDeleted(e) => policy = Some(&e.name),
        Event::TemplatePut(e) => template = Some(&e.template.name),
        Event::TemplateDeleted(e) => template = Some(&e.name),
        Event::HeatTableSet(_) => heat = true,
        Event::RunFinished(e) => (node, queue, heat) = (Some(&e.node), true, true),
        Event::RunAssigned(e) => (node, queue) = (Some(&e.node), true),
        Event::RunLost(e) => (node, queue) = (Some(&e.node), true),
        Event::RunEvicted(e) => (node, queue) = (Some(&e.node), true),
        Event::RunAdmitted(_)
        | Event::RunCanceled(_)
        | Event::RunReleased(_)
        | Event::RunRefused(_)
        | Event::RunQuarantined(_)
        | Event::QueuePaused(_)
        | Event::QueueResumed(_) => queue = true,
        Event::NodeJoined(e) => node = Some(&e.node),
        Event::NodeLost(e) => node = Some(&e.node),
        Event::NodeDrained(e) => node = Some(&e.node),
        Event::NodeUndrained(e) => node = Some(&e.node),
        Event::NodeLabeled(e) => node = Some(&e.node),
        Event::LeaderStarted(_)
        | Event::RunRejected(_)
        | Event::RunStarted(_)
        | Event::RunCancelRequested(_)
        | Event::RunForgotten(_)
        | Event::SnapshotBegun(_)
        | Event::SnapshotTaken(_)
        | Event::JournalArchived(_)
        | Event::JournalTrimmed(_)
        | Event::CheckpointSigned(_)
        | Event::LevelRaised(_) => {}
    }
    if let Some(node) = node {
        change(Part::Nodes);
        change(Part::Node(node.clone()));
    }
    if let Some(policy) = policy {
        change(Part::Policies);
        change(Part::Policy(policy.clone()));
    }
    if let Some(template) = template {
        change(Part::Templates);
        change(Part::Template(template.clone()));
    }
    if queue {
        change(Part::Queue);
    }
    // Which template is judged by which heat is the law's to say.
    if heat || policy.is_some() || template.is_some() {
        change(Part::Heat);
    }
}

impl Handler<ChangedAt> for ViewActor {
    type Result = MessageResult<ChangedAt>;

    fn handle(&mut self, ChangedAt(part): ChangedAt, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.changes.of(&part))
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::event::{NodeUndrained, Origin, Principal};
    use uuid::Uuid;

    use super::*;

    fn undrained(node: &str) -> Event {
        let origin = Origin { by: Principal::System, request: Uuid::nil() };
        Event::NodeUndrained(NodeUndrained { node: NodeId::new(node), at: Timestamp(1), origin })
    }

    #[test]
    fn a_part_has_changed_when_something_in_it_has() {
        let mut changes = Changes::since(7);
        changes.saw(9, &undrained("n1"));
        for (part, expected) in [
            (Part::Nodes, 9),
            (Part::Node(NodeId::new("n1")), 9),
            (Part::Node(NodeId::new("n2")), 7),
            (Part::Queue, 7),
            (Part::Policies, 7),
        ] {
            assert_eq!(changes.of(&part), expected, "{part:?}");
        }
    }

    #[test]
    fn names_without_end_are_not_kept() {
        let mut changes = Changes::since(7);
        for index in 0..2 * NAMES_MAX as u64 {
            changes.saw(100 + index, &undrained(&index.to_string()));
            assert!(changes.last.len() <= NAMES_MAX);
        }
        assert!(changes.of(&Part::Queue) > 7, "taken to have changed, not forgotten");
    }
}

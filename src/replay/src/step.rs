//! A run's life, step by step: what each of its events changed, and how the house stood then.

use std::collections::BTreeMap;

use api::event::Place;
use api::{Link, Node};
use domain::ids::Sequence;
use domain::{Event, RunId, World};
use serde::Serialize;
use serde_json::Value;

use crate::diff::{Changed, changed};
use crate::fold::{self, FoldMade, Happened, Tell, Told};
use crate::source::{Finding, Over, Source, Unreadable};
use crate::why::{Target, Why};

/// One event of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The event, who caused it and why.
    #[serde(flatten)]
    pub link: Link,
    /// Milliseconds since the step before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// What it changed of the run, as `GET /v1/runs/{id}` shows it.
    pub changes: Vec<Changed<Value>>,
    /// The waiting line behind it.
    pub queue: Standing,
    /// The node it is about, behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
}

/// How long the line is, and where the run stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Runs that wait.
    pub depth: usize,
    /// The run's place in its pool, from 1; none where it does not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<usize>,
}

/// The fold that the steps come of.
struct Steps {
    run: RunId,
    world: World,
    why: Why,
    first: Option<Sequence>,
    seen: Vec<(Vec<Changed<Value>>, Standing, Option<Node>)>,
    bad: Option<Finding>,
}

/// Every step of a run's life, oldest first; none where nobody knows it.
///
/// # Errors
/// There is nothing, not all of it, or what is there can't be believed.
pub async fn steps(
    source: &mut Source,
    run: RunId,
    seen: impl FnMut(Sequence),
) -> Result<Vec<Step>, Unreadable> {
    let steps = Steps {
        run,
        world: World::default(),
        why: Why::new(Target::Run(run)),
        first: None,
        seen: Vec::new(),
        bad: None,
    };
    let (steps, over) = fold::prepared(source, Tell, steps, seen).await;
    match (steps.first, steps.bad, over) {
        (Some(first), _, _) if first != 1 => return Err(Unreadable::NotWhole { first }),
        (_, Some(bad), _) | (_, None, Over::Bad(bad)) => return Err(Unreadable::Bad(bad)),
        (_, None, Over::Trouble(trouble)) => return Err(trouble),
        (None, None, Over::End) => return Err(Unreadable::Empty),
        (Some(_), None, Over::End) => {}
    }
    let mut before = None;
    let step = |(link, (changes, queue, node)): (Link, _)| {
        let since_ms = before.replace(link.time).map(|before: api::Time| link.time.0 - before.0);
        Step { link, since_ms, changes, queue, node }
    };
    Ok(steps.why.life().into_iter().zip(steps.seen).map(step).collect())
}

impl Steps {
    /// The run as it is shown, less the entry that changed it last: that is the step itself.
    fn shown(&self) -> BTreeMap<String, Value> {
        let run = self.world.runs.get(self.run).map(|run| api::Run::from(&*run));
        let shown = run.and_then(|run| serde_json::to_value(run).ok());
        let Some(Value::Object(fields)) = shown else { return BTreeMap::new() };
        let known = |(name, value): &(String, Value)| name != "index" && !is_empty(value);
        fields.into_iter().filter(known).collect()
    }

    fn happens(&mut self, place: Place, epoch: u64, event: &Event) {
        self.why.saw(place, epoch, event);
        if event.run() != Some(self.run) {
            self.world.evolve(place.sequence, event);
            return;
        }
        let before = self.shown();
        self.world.evolve(place.sequence, event);
        let line = &self.world.line;
        let waits = line.item(self.run).is_some_and(|item| item.waiting);
        let place = line.rank(self.run).filter(|_| waits).map(|ahead| ahead + 1);
        let queue = Standing { depth: line.depth().total, place };
        let node = event.node().and_then(|node| self.world.fleet.node(node)).map(Node::from);
        self.seen.push((changed(&before, &self.shown()), queue, node));
    }
}

/// Whether nothing would be said by showing a value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

impl FoldMade<Told> for Steps {
    fn made(&mut self, made: Vec<Told>) -> bool {
        made.iter().all(|told| self.told(told))
    }
}

impl Steps {
    fn told(&mut self, Told { entry, events, fault }: &Told) -> bool {
        if *self.first.get_or_insert(entry.seq()) != 1 {
            return false;
        }
        let (sequence, epoch) = (entry.seq(), entry.header().epoch);
        for Happened { n, event, .. } in events {
            self.happens(Place { sequence, n: Some(*n) }, epoch, event);
        }
        self.bad = fault.as_ref().map(Finding::from);
        self.bad.is_none()
    }
}

//! What changed between two points.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::state::{Queue, Snapshot};

/// What changed.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// The earlier state.
    pub from: Snapshot,
    /// The later state.
    pub to: Snapshot,
    /// Runs that went from one status to another; none is where they were not known.
    pub runs: Vec<Moved>,
    /// Policies that were added, changed or removed.
    pub policies: Vec<Changed<u64>>,
    /// Templates, the same.
    pub templates: Vec<Changed<u64>>,
    /// Nodes that came, went or changed.
    pub nodes: Vec<Changed<String>>,
    /// The line, where it changed.
    pub queue: Option<[Queue; 2]>,
}

/// Runs that went from one status to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// What they were.
    pub from: Option<&'static str>,
    /// What they are; none where they are forgotten.
    pub to: Option<&'static str>,
    /// How many.
    pub runs: u64,
}

/// Something named that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed<T> {
    /// Its name.
    pub name: String,
    /// Before; none where it was not there.
    pub from: Option<T>,
    /// After; none where it is gone.
    pub to: Option<T>,
}

impl Diff {
    /// Between two states.
    pub fn between(from: Snapshot, to: Snapshot) -> Self {
        let nodes = |snapshot: &Snapshot| {
            let node = |node: &api::Node| {
                let (status, pool) = (node.status.as_str(), node.pool.as_str());
                (node.id.clone(), format!("{status} {pool} with {} runs", node.runs))
            };
            snapshot.nodes.iter().map(node).collect::<BTreeMap<_, _>>()
        };
        Self {
            runs: moved(&from, &to),
            policies: changed(&from.policies, &to.policies),
            templates: changed(&from.templates, &to.templates),
            nodes: changed(&nodes(&from), &nodes(&to)),
            queue: (from.queue != to.queue).then(|| [from.queue.clone(), to.queue.clone()]),
            from,
            to,
        }
    }
}

fn moved(from: &Snapshot, to: &Snapshot) -> Vec<Moved> {
    let mut counts = BTreeMap::new();
    let gone = from.statuses.iter().filter(|(run, _)| !to.statuses.contains_key(run));
    for (_, status) in gone {
        *counts.entry((Some(status.as_str()), None)).or_insert(0) += 1;
    }
    for (run, status) in &to.statuses {
        let was = from.statuses.get(run);
        if was != Some(status) {
            let way = (was.map(|was| was.as_str()), Some(status.as_str()));
            *counts.entry(way).or_insert(0) += 1;
        }
    }
    counts.into_iter().map(|((from, to), runs)| Moved { from, to, runs }).collect()
}

pub(crate) fn changed<T: Clone + PartialEq>(
    from: &BTreeMap<String, T>,
    to: &BTreeMap<String, T>,
) -> Vec<Changed<T>> {
    let names: std::collections::BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let change = |name: &String| Changed {
        name: name.clone(),
        from: from.get(name).cloned(),
        to: to.get(name).cloned(),
    };
    names.into_iter().map(change).filter(|change| change.from != change.to).collect()
}

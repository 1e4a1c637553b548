//! Events picked out of a journal.

use std::collections::BTreeSet;

use api::CloudEvent;
use domain::{Event, RunId};
use journal::{Entry, catalog};

use crate::cloud::{self, Body};
use crate::fold::{Fold, Point};
use crate::source::Finding;

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this run.
    pub run: Option<RunId>,
    /// Of these types; all where empty.
    pub types: Vec<String>,
    /// Of runs of this tenant.
    pub tenant: Option<String>,
    /// From this point on.
    pub since: Option<Point>,
    /// Up to this point.
    pub until: Option<Point>,
}

/// What becomes of an event that is wanted; says whether to go on.
pub type Sink = Box<dyn FnMut(&CloudEvent<Body<'_>>) -> bool + Send>;

/// Shows what is wanted, as it is read.
pub struct Show {
    wanted: Wanted,
    sink: Sink,
    /// Runs of the tenant, as far as they were met.
    of_tenant: BTreeSet<RunId>,
    /// Whether there was anything to read.
    pub read: bool,
    /// A record that could not be decoded, behind what was shown.
    pub bad: Option<Finding>,
}

impl std::fmt::Debug for Show {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Show").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Show {
    /// Shows what is wanted to `sink`.
    pub fn new(wanted: Wanted, sink: Sink) -> Self {
        Self { wanted, sink, of_tenant: BTreeSet::new(), read: false, bad: None }
    }

    /// Whether what comes before the first point wanted need not be read: whose runs are whose is
    /// said when they are made.
    pub fn may_skip(wanted: &Wanted) -> Option<Point> {
        wanted.since.filter(|_| wanted.tenant.is_none())
    }

    fn is_wanted(&mut self, entry: &Entry, event: &Event) -> bool {
        if let Some(tenant) = &self.wanted.tenant {
            let made = match event {
                Event::RunAdmitted(e) => Some((e.run, e.submission.tenant())),
                Event::RunRejected(e) => Some((e.run, e.submission.tenant())),
                _ => None,
            };
            if let Some((run, _)) = made.filter(|(_, of)| *of == &**tenant) {
                self.of_tenant.insert(run);
            }
            if !event.run().is_some_and(|run| self.of_tenant.contains(&run)) {
                return false;
            }
        }
        let early = match self.wanted.since {
            Some(Point::Sequence(since)) => entry.seq() < since,
            Some(Point::Time(since)) => event.at().0 < since.0,
            None => false,
        };
        let types = &self.wanted.types;
        !early
            && self.wanted.run.is_none_or(|run| event.run() == Some(run))
            && (types.is_empty() || types.iter().any(|t| t == catalog::type_of(event).name))
    }
}

impl Fold for Show {
    fn entry(&mut self, entry: &Entry) -> bool {
        let source = cloud::source(entry.header().identity.cluster);
        self.read = true;
        for (n, record) in (0..).zip(entry.records()) {
            if self.wanted.run.is_some_and(|run| !catalog::may_name(&record, run)) {
                continue;
            }
            let event = match catalog::decode(&record) {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                Err(fault) => {
                    let (sequence, n, what) = (entry.seq(), Some(n), fault.to_string());
                    self.bad = Some(Finding { sequence, n, line: None, what });
                    return false;
                }
            };
            if self.wanted.until.is_some_and(|until| until.is_before(entry.seq(), event.at())) {
                return false;
            }
            if self.is_wanted(entry, &event) {
                let shown = cloud::cloud_event(&*source, (entry.seq(), n), &event);
                if !(self.sink)(&shown) {
                    return false;
                }
            }
        }
        true
    }
}

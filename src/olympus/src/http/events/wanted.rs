//! Which events of the journal are asked for.

use api::Invalid;
use api::query::EventsQuery;
use domain::{Event, RunId};
use journal::Record;
use journal::catalog::{self, RecordFault};
use replay::cloud;

/// A filter over records.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Numbers of types; all where empty.
    kinds: Vec<u16>,
    run: Option<RunId>,
}

impl Wanted {
    /// What a query asks for.
    pub fn of(query: &EventsQuery) -> Result<Self, Invalid> {
        let kinds =
            query.types.iter().map(|name| cloud::type_number(name)).collect::<Result<_, _>>()?;
        Ok(Self { kinds, run: query.run.map(RunId) })
    }

    /// The events of one run.
    pub fn of_run(run: RunId) -> Self {
        Self { kinds: Vec::new(), run: Some(run) }
    }

    /// Whether it leaves anything out.
    pub fn is_filter(&self) -> bool {
        !self.kinds.is_empty() || self.run.is_some()
    }

    /// The event of a record, where it is asked for. Most others are not even decoded.
    pub fn event(&self, record: &Record<'_>) -> Result<Option<Event>, RecordFault> {
        if !self.kinds.is_empty() && !self.kinds.contains(&record.kind) {
            return Ok(None);
        }
        if self.run.is_some_and(|run| !catalog::may_name(record, run)) {
            return Ok(None);
        }
        let event = catalog::decode(record)?;
        Ok(event.filter(|event| self.run.is_none_or(|run| event.run() == Some(run))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_does_not_exist_is_named_with_the_nearest_one() {
        let query = EventsQuery { types: vec!["run.admited".into()], ..EventsQuery::default() };
        let words = Wanted::of(&query).unwrap_err().to_string();
        assert!(words.contains("did you mean \"run.admitted\"?"), "{words}");
    }
}

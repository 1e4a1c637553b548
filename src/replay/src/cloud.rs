//! An event of the journal under the names of CloudEvents: one form for feeds, lists and exports.
//!
//! Nothing is left out: `env`, `stdin` and the tokens of attempts are in it as the journal has them.

use api::{CloudEvent, Invalid, Time};
use domain::Event;
use domain::ids::Sequence;
use journal::ClusterId;
use journal::catalog::{self, TYPES};
use serde::{Serialize, Serializer};

/// What an event says, in JSON as `docs/events.md` names its fields.
#[derive(Clone, Copy, Debug)]
pub struct Body<'e>(pub &'e Event);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        catalog::serialize_body(self.0, to)
    }
}

/// The number of an event type, by its name.
///
/// # Errors
/// There is none of that name.
pub fn type_number(name: &str) -> Result<u16, Invalid> {
    let known = TYPES.iter().find(|of| of.name == name);
    known.map(|of| of.kind).ok_or_else(|| {
        let names: Vec<&str> = TYPES.iter().map(|of| of.name).collect();
        let near = api::parse::nearest(name, &names)
            .map_or(String::new(), |near| format!("did you mean {near:?}? "));
        let shown: String = name.chars().take(64).collect();
        Invalid::one(format!("type is {shown:?}: {near}There is {}", names.join(", ")))
    })
}

/// The journal as CloudEvents name it.
pub fn source(cluster: ClusterId) -> String {
    format!("/clusters/{cluster}")
}

/// An event at its place in the journal.
pub fn cloud_event(
    source: impl Into<String>,
    at: (Sequence, u32),
    event: &Event,
) -> CloudEvent<Body<'_>> {
    let kind = catalog::type_of(event).name;
    let shown = CloudEvent::new(source, at, kind, Time::from(event.at()), Body(event));
    match subject(event) {
        Some(subject) => shown.about(subject),
        None => shown,
    }
}

/// The run, node, policy or template that an event changes.
pub(crate) fn subject(event: &Event) -> Option<String> {
    let run = event.run().map(|run| run.to_string());
    let node = || event.node().map(|node| node.to_string());
    run.or_else(node).or_else(|| event.statute().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use domain::event::{Origin, Principal};
    use domain::event::{RunStarted, TemplateDeleted};
    use domain::{NodeId, RunId, Timestamp};
    use journal::ClusterId;

    use super::*;

    #[test]
    fn an_event_says_where_it_stands_and_what_it_is_about() {
        let run = RunId("0194a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".parse().expect("a uuid"));
        let (at, node) = (Timestamp(1_700_000_000_000), NodeId::new("n1"));
        let event = Event::RunStarted(RunStarted { run, at, attempt: 2, node });
        let from = source(ClusterId(run.0));
        let shown = serde_json::to_value(cloud_event(from.clone(), (17, 3), &event)).expect("JSON");
        assert_eq!(
            shown,
            serde_json::json!({
                "specversion": "1.0", "id": "17.3", "source": from, "type": "run.started",
                "subject": run.to_string(), "time": "2023-11-14T22:13:20.000Z",
                "sequence": 17, "n": 3, "datacontenttype": "application/json",
                "data": {"run": run.to_string(), "at": 1_700_000_000_000_u64, "attempt": 2,
                         "node": "n1"}
            })
        );
        let origin = Origin { by: Principal::System, request: run.0 };
        let name = "python".into();
        let event = Event::TemplateDeleted(TemplateDeleted { at, origin, revision: 3, name });
        assert_eq!(cloud_event("", (1, 0), &event).subject.as_deref(), Some("python"));
    }
}

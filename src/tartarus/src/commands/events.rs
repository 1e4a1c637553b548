//! `tartarus events`: what has happened, a line an event.

use api::CloudEvent;
use api::query::EventsQuery;
use client::Client;
use serde_json::Value;

use crate::cli::EventsArgs;
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{self, Format};

/// Prints events as they come: a line each for people, NDJSON with `-o json`.
///
/// # Errors
/// A type does not exist, the place is not in the journal any more, or Olympus can't be reached.
pub fn run(client: &Client, args: EventsArgs, format: Format) -> Result<u8, Failure> {
    let EventsArgs { follow, after, types, run, limit } = args;
    let limit = limit.map(std::num::NonZeroU64::get);
    let query = EventsQuery { after, types, run, follow, limit };
    block_on(async {
        let mut events = client.events(query).await?;
        while let Some(event) = events.next().await? {
            print::write(shown(&event, format)?.as_bytes())?;
        }
        Ok(DONE)
    })
}

pub fn shown(event: &CloudEvent, format: Format) -> Result<String, Failure> {
    match format {
        Format::Table | Format::Wide => Ok(line(event, format == Format::Wide)),
        Format::Json => serde_json::to_string(event)
            .map(|line| line + "\n")
            .map_err(|e| Failure::error(format!("cannot write JSON: {e}"))),
        Format::Yaml => api::document::to_yaml(event)
            .map(|text| format!("---\n{}\n", text.trim_end()))
            .map_err(|e| Failure::error(format!("cannot write YAML: {e}"))),
    }
}

/// An event on one line: when, where, what, of what, and what matters most of it.
pub fn line(event: &CloudEvent, wide: bool) -> String {
    let subject = event.subject.as_deref().unwrap_or("-");
    let mut line = format!("{}  {:<10}  {:<20}  {subject}", event.time, event.id, &*event.kind);
    for (name, value) in notes(&event.data) {
        line.push_str(&format!("  {name}={value}"));
    }
    if wide {
        line.push_str(&format!("  {}", event.data));
    }
    let mut line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.push('\n');
    line
}

/// The fields worth a word, wherever an event has them.
fn notes(data: &Value) -> Vec<(&'static str, String)> {
    const FIELDS: [(&str, &str); 15] = [
        ("template", "/submission/template"),
        ("verdict", "/judgement/verdict"),
        ("policy", "/judgement/policy/name"),
        ("code", "/code"),
        ("node", "/node"),
        ("attempt", "/attempt"),
        ("pool", "/pool"),
        ("exit", "/exit/code"),
        ("signal", "/exit/signal"),
        ("cause", "/exit/cause"),
        ("cause", "/cause"),
        ("version", "/version"),
        ("revision", "/revision"),
        ("epoch", "/epoch"),
        ("reason", "/reason"),
    ];
    let text = |value: &Value| match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    };
    let found = FIELDS.iter().filter_map(|(name, path)| Some((*name, text(data.pointer(path)?)?)));
    found.collect()
}

#[cfg(test)]
mod tests {
    use api::Time;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_with_what_matters() {
        let data = json!({"run": "r", "attempt": 1, "node": "n1", "exit": {"cause": "exited",
                          "code": 3, "signal": null}, "output": {"holder": "x\ny"}});
        let event =
            CloudEvent::new("/clusters/c", (17, 3), "run.finished", Time(0), data).about("r");
        assert_eq!(
            line(&event, false),
            "1970-01-01T00:00:00.000Z  17.3        run.finished          r  node=n1  attempt=1  \
             exit=3  cause=exited\n"
        );
        assert_eq!(line(&event, true).lines().count(), 1);
    }
}

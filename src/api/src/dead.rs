//! The dead letters: runs out of attempts, and the way back to the line.

use domain::dead::Letter;
use serde::{Deserialize, Serialize};

use crate::Malformed;
use crate::run::Run;
use crate::time::Time;

/// A run out of attempts: the run itself, and what it is as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// Since when it is dead.
    pub dead_since: Time,
    /// The run that it became by a redrive.
    pub redriven_as: Option<String>,
}

impl DeadLetter {
    /// A run with its letter.
    pub fn new(run: Run, letter: &Letter) -> Self {
        let redriven_as = letter.redriven_as.map(|run| run.to_string());
        Self { run, dead_since: letter.since.into(), redriven_as }
    }
}

/// The body of a redrive: what was submitted stands in the record, so that there is nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedriveRequest {}

impl RedriveRequest {
    /// Reads a body, which may be empty.
    ///
    /// # Errors
    /// It says something.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self {});
        }
        crate::parse(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_has_nothing_to_say() {
        for good in ["", " \n", "{}"] {
            assert_eq!(RedriveRequest::parse(good.as_bytes()), Ok(RedriveRequest {}), "{good:?}");
        }
        for (bad, words) in [
            (r#"{"reason": "x"}"#, "unknown field \"reason\": no fields are known here"),
            ("[]", "the body: it is a list: send an object"),
        ] {
            let refused = RedriveRequest::parse(bad.as_bytes()).unwrap_err().to_string();
            assert_eq!(refused, words);
        }
    }
}

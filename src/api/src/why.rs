//! The chain of causes of an event: `GET /v1/runs/{id}/why`.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// One event of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `<sequence>.<n>`.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When, in log time.
    pub time: Time,
    /// The run, node, policy or template it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who caused it: a token, a node, or the system, by the leader of that time.
    pub actor: String,
    /// What happened, in words.
    pub what: String,
    /// Why, in words; none where nothing is known to come before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The events that led to it.
    pub cause: Vec<String>,
    /// The request it belongs to: the submission of a run, else the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<uuid::Uuid>,
}

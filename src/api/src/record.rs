//! What the journal says of itself: who has led it, with which key, and its level.

use serde::{Deserialize, Serialize};

use crate::parse::{Malformed, parse};
use crate::time::Time;

/// A key that checkpoints are signed with, and the reigns that announced it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// The public half (Ed25519), in hex.
    pub key: String,
    /// The first epoch that was led with it, one behind the other with the last.
    pub first_epoch: u64,
    /// The last.
    pub last_epoch: u64,
    /// When the first of them began.
    pub since: Time,
    /// How others reached its instance.
    pub url: String,
    /// Version of its program.
    pub version: String,
}

/// What programs a journal is written for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The level in force.
    pub level: u32,
    /// The highest that this instance knows.
    pub known: u32,
    /// Every instance that has led, as it was when it last began to.
    pub instances: Vec<Instance>,
}

/// An instance, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// How others reach it.
    pub url: String,
    /// Version of its program.
    pub version: String,
    /// The highest level that it said it reads.
    pub reads_level: u32,
    /// Its latest epoch.
    pub last_epoch: u64,
}

/// The body that raises the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaiseRequest {
    /// To this one.
    pub level: u32,
    /// Also where an instance lives that does not read it.
    #[serde(default)]
    pub force: bool,
}

impl RaiseRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// It is not of this shape.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        parse(body)
    }
}

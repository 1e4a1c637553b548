//! Who this agent is: what every hello says.

use domain::Texts;
use domain::ids::NodeId;
use domain::submission::Demand;
use uuid::Uuid;

/// The part of a hello that stays the same for the life of the process.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// This process.
    pub boot: Uuid,
    /// For selectors.
    pub labels: Texts,
    /// What it has.
    pub capacity: Demand,
    /// What it enforces.
    pub isolation: Vec<Box<str>>,
    /// What runs its sandboxes.
    pub runtime: Box<str>,
    /// Of the program.
    pub version: Box<str>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_request_may_ask_to_be_enforced_is_what_a_probe_looks_for() {
        assert_eq!(api::placement::ISOLATION, sandbox::Isolation::FEATURES);
    }
}

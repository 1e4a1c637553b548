//! Who this agent is: what every hello says.

use std::collections::BTreeMap;

use domain::ids::NodeId;
use domain::submission::Demand;
use uuid::Uuid;

/// The part of a hello that stays the same for the life of the process.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) boot: Uuid,
    pub(crate) labels: BTreeMap<Box<str>, Box<str>>,
    pub(crate) capacity: Demand,
    pub(crate) isolation: Vec<Box<str>>,
    pub(crate) runtime: Box<str>,
    pub(crate) version: Box<str>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_request_may_ask_to_be_enforced_is_what_a_probe_looks_for() {
        assert_eq!(api::placement::ISOLATION, sandbox::Isolation::FEATURES);
    }
}

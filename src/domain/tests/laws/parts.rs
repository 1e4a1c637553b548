//! Every part of a World, folded without the others.

use domain::dead::DeadLetters;
use domain::fleet::Fleet;
use domain::heat::Profiles;
use domain::keys::Keys;
use domain::law::LawBook;
use domain::ledger::Ledger;
use domain::line::Line;
use domain::runs::Runs;
use domain::tenants::Tenants;
use domain::{Event, NodeId, World};

/// Every part of a World, folded by itself.
#[derive(Default)]
pub struct Parts {
    pub runs: Runs,
    pub line: Line,
    pub fleet: Fleet,
    pub law: LawBook,
    pub ledger: Ledger,
    pub dead: DeadLetters,
    pub tenants: Tenants,
    pub keys: Keys,
    pub profiles: Profiles,
}

impl Parts {
    /// Everything but the line, which its projector folds.
    pub fn evolve(&mut self, event: &Event) -> Option<NodeId> {
        self.runs.evolve(0, event);
        let touched = self.fleet.evolve(event);
        self.law.evolve(event);
        self.ledger.evolve(event);
        self.dead.evolve(event);
        self.tenants.evolve(event);
        self.keys.evolve(event);
        self.profiles.evolve(event);
        touched
    }

    pub fn agree_with(&self, world: &World) {
        assert!(self.runs == world.runs, "runs alone");
        assert!(self.line == world.line, "line alone");
        assert!(self.fleet == world.fleet, "fleet alone");
        assert!(self.law == world.law, "law alone");
        assert!(self.ledger == world.ledger, "ledger alone");
        assert!(self.dead == world.dead, "dead letters alone");
        assert!(self.tenants == world.tenants, "tenants alone");
        assert!(self.keys == world.keys, "keys alone");
        assert!(self.profiles == world.profiles, "what is learned alone");
    }
}

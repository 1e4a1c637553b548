//! Bugs that a house like this one might have, planted to prove that the checkers find them.
//!
//! Each is planted where the house meets the world: in the journal's port, in its dice, in the terms of
//! its agents. The house itself is the same program, so nothing here can be on in production.

use crate::plan::{Calls, Often, Plan, Tier};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The barrier counts as written before it is.
    DropBarrier,
    /// An append is held against the number of the newest entry, not against its hash.
    CompareNumbers,
    /// Reads show entries that are not in the journal yet.
    ReadBeyondDurable,
    /// An append counts as written before it is.
    AckBeforeDurable,
    /// Every attempt has the same token.
    ReuseToken,
    /// Something is decided by what no journal says.
    Undetermined,
    /// A reader passes over an entry.
    SkipContiguity,
    /// Whether an entry is on the chain is asked by its number. (Snapshots are not simulated: this is
    /// the question that a start asks of one, asked here where a deposed writer asks it.)
    KnowByNumber,
    /// A node is lost before its time.
    NoGrace,
    /// A lost reply that is found again counts as another's entry.
    DupIsConflict,
    /// An entry counts as settled when the replica has all that the server at hand has, whatever that
    /// is.
    SettleAnywhere,
    /// What a follower hands on never arrives.
    HandOnToNobody,
}

impl Planted {
    /// All of them, with the words of the command line.
    pub const ALL: [(&'static str, Self); 12] = [
        ("drop-barrier", Self::DropBarrier),
        ("compare-numbers", Self::CompareNumbers),
        ("read-beyond-durable", Self::ReadBeyondDurable),
        ("ack-before-durable", Self::AckBeforeDurable),
        ("reuse-token", Self::ReuseToken),
        ("undetermined", Self::Undetermined),
        ("skip-contiguity", Self::SkipContiguity),
        ("know-by-number", Self::KnowByNumber),
        ("no-grace", Self::NoGrace),
        ("dup-is-conflict", Self::DupIsConflict),
        ("settle-anywhere", Self::SettleAnywhere),
        ("hand-on-to-nobody", Self::HandOnToNobody),
    ];

    /// Turns a plan towards the faults without which the bug does no harm.
    pub(crate) fn favour(self, plan: &mut Plan) {
        match self {
            // Somebody must ask a new leader while its first entry is on its way.
            Self::DropBarrier => {
                plan.often = Often { kill_instance: 1_000, ..Often::default() };
                plan.calls = Calls { slow_ms: 40, ..Calls::default() };
                plan.lying_wire = 0;
                plan.tier = Tier::Always;
                (plan.instances, plan.clients, plan.readers, plan.nodes) = (3, 2, 3, 1);
                plan.faults_ms = 8_000;
            }
            Self::ReadBeyondDurable => {
                plan.calls.lose_request = plan.calls.lose_request.max(20);
                plan.calls.hold_request = plan.calls.hold_request.max(30);
                plan.often.early_lease = 1_500;
                plan.instances = 3;
            }
            // The journal must lose entries that nobody knows any more, and grow to the same number
            // while an append is on its way.
            Self::CompareNumbers => {
                (plan.instances, plan.nodes, plan.faults_ms) = (1, 1, 12_000);
                plan.often = Often {
                    roll_back: 400,
                    early_lease: 300,
                    kill_instance: 900,
                    ..Often::default()
                };
                plan.roll_back_by = 3;
                plan.calls =
                    Calls { slow_ms: 5, hold_request: 60, duplicate: 300, ..Calls::default() };
            }
            Self::KnowByNumber => {
                plan.instances = 3;
                plan.often = Often {
                    roll_back: 1_500,
                    pause_instance: 1_500,
                    early_lease: 700,
                    ..plan.often
                };
                plan.often.flush = 0;
                plan.calls.hold_request = 10;
            }
            Self::AckBeforeDurable => {
                plan.calls.lose_request = 40;
                plan.often.kill_instance = 2_000;
            }
            Self::NoGrace => plan.often.cut_agent = 1_000,
            Self::DupIsConflict => {
                // Nothing else, so that nothing else can be the cause.
                plan.calls = Calls { slow_ms: 2, lose_append_reply: 100, ..Calls::default() };
                plan.often = Often::default();
                plan.lying_wire = 0;
                plan.tier = Tier::Always;
            }
            Self::SettleAnywhere => {
                plan.tier = Tier::Replicated;
                plan.often = Often { kill_redis: 1_500, ..Often::default() };
                plan.faults_ms = 12_000;
            }
            Self::SkipContiguity | Self::HandOnToNobody => plan.instances = 3,
            Self::ReuseToken | Self::Undetermined => {}
        }
    }
}

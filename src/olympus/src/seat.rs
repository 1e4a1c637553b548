//! The seat of one instance on a thread: what a gateway's thread keeps for the house that it serves.
//!
//! A process has one instance, and its threads keep their seats. A simulation has many instances on
//! one thread, and seats each before it lets it go on.

use actix::Addr;
use olympus_actors::judge::JudgeActor;

use crate::house;
use crate::http::courier::{self, Courier};

/// See the module.
#[derive(Default)]
pub struct Seat {
    pub(crate) judge: Option<(u64, Addr<JudgeActor>)>,
    pub(crate) courier: Option<Courier>,
}

impl Seat {
    /// Takes the seat on this thread, and keeps who had it; called again, gives it back.
    pub fn swap(&mut self) {
        house::swap_judge(&mut self.judge);
        courier::swap(&mut self.courier);
    }
}

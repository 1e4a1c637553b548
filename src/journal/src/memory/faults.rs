//! What makes a memory journal fail: planned one append at a time, or as weather that lasts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::chain::Sealed;

/// What happens to one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it succeeds.
    None,
    /// The process stops before anything is written: the call never returns.
    StopBefore,
    /// The process stops when the entry is written and before it knows: the call never returns.
    StopAfter,
    /// It is executed, and the reply is lost.
    LoseReply,
    /// It is lost on the way, and nobody can tell.
    LoseRequest,
    /// It is held back on the way, until `MemoryJournal::deliver_held`.
    Hold,
    /// It is refused for now, as by a full disk.
    Refuse,
    /// It is refused for good, as by a missing stream.
    Damage,
}

/// What happens to every call while it lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    #[default]
    Fair,
    /// Reads are served, writes refused.
    Degraded,
    /// Appends are executed and nobody hears of it; other calls get no answer and do nothing.
    Mute,
    /// Nothing gets through.
    Severed,
}

/// The handle on a memory journal's faults. Clones share one plan.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<FaultState>,
    stopped: watch::Sender<bool>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { state: Mutex::default(), stopped: watch::Sender::new(false) }
    }
}

#[derive(Debug, Default)]
struct FaultState {
    planned: VecDeque<Fault>,
    weather: Weather,
    held: VecDeque<Sealed>,
    appends: u64,
    silent_claims: u32,
    lost_heads: u32,
}

/// What an append is to do.
pub(super) enum Plan {
    Go,
    Refuse,
    Unreachable,
    Lose { executed: bool },
    Hold,
    Damage,
    Stop { executed: bool },
}

impl Faults {
    /// Plans the next appends, one fault each, behind those planned before.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().planned.extend(faults);
    }

    /// Plans one fault `later` appends from now: 0 is the next one.
    pub fn plan_after(&self, later: usize, fault: Fault) {
        let mut state = self.lock();
        while state.planned.len() < later {
            state.planned.push_back(Fault::None);
        }
        match state.planned.get_mut(later) {
            Some(planned) => *planned = fault,
            None => state.planned.push_back(fault),
        }
    }

    /// The next claims, so many, are never answered.
    pub fn silence_claims(&self, claims: u32) {
        self.lock().silent_claims = claims;
    }

    pub(super) fn is_claim_silent(&self) -> bool {
        let mut state = self.lock();
        let silent = state.silent_claims > 0;
        state.silent_claims = state.silent_claims.saturating_sub(1);
        silent
    }

    /// The next times, so many, that the newest entry is asked for, the journal can't be reached.
    pub fn lose_heads(&self, times: u32) {
        self.lock().lost_heads = times;
    }

    pub(super) fn is_head_lost(&self) -> bool {
        let mut state = self.lock();
        let lost = state.lost_heads > 0;
        state.lost_heads = state.lost_heads.saturating_sub(1);
        lost
    }

    /// Sets the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// The weather.
    pub fn weather(&self) -> Weather {
        self.lock().weather
    }

    /// How often an append was tried.
    pub fn appends(&self) -> u64 {
        self.lock().appends
    }

    /// Waits until a planned stop was reached: the point at which a crash test drops everything
    /// and opens the store anew.
    pub async fn stopped(&self) {
        let mut stopped = self.0.stopped.subscribe();
        // The sender lives as long as this handle.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    pub(super) fn announce_stop(&self) {
        self.0.stopped.send_replace(true);
    }

    pub(super) fn hold(&self, sealed: Sealed) {
        self.lock().held.push_back(sealed);
    }

    pub(super) fn unhold(&self) -> Option<Sealed> {
        self.lock().held.pop_front()
    }

    pub(super) fn next_append(&self) -> Plan {
        let mut state = self.lock();
        state.appends += 1;
        match (state.weather, state.planned.pop_front()) {
            (Weather::Fair, None | Some(Fault::None)) => Plan::Go,
            (_, Some(Fault::StopBefore)) => Plan::Stop { executed: false },
            (_, Some(Fault::StopAfter)) => Plan::Stop { executed: true },
            (_, Some(Fault::LoseReply)) => Plan::Lose { executed: true },
            (_, Some(Fault::LoseRequest)) => Plan::Lose { executed: false },
            (_, Some(Fault::Hold)) => Plan::Hold,
            (_, Some(Fault::Refuse)) => Plan::Refuse,
            (_, Some(Fault::Damage)) => Plan::Damage,
            (Weather::Degraded, None | Some(Fault::None)) => Plan::Refuse,
            (Weather::Mute, None | Some(Fault::None)) => Plan::Lose { executed: true },
            (Weather::Severed, None | Some(Fault::None)) => Plan::Unreachable,
        }
    }

    fn lock(&self) -> MutexGuard<'_, FaultState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

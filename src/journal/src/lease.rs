//! The leader's key: who leads, for people, agents and other instances.
//!
//! Owns:   asking for the key, renewing it, giving it back.
//! Says:   [`LeaseState`] through a watch channel.
//! Never:  guards the journal: an append is safe without it (the chain is the fence), so losing
//!         the key only says that somebody else wants to lead.
//! Fails:  an unreachable journal makes the lease overdue, and the log says so; another holder ends
//!         it. No call is waited for without end: however many renewals hang, few are under way.
//! Proof:  `tests/contract.rs`, `tests/writer.rs`.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::limits::{LEASE_RENEW, LEASE_VALIDITY, REPLY_TIMEOUT};
use crate::port::{Claim, Claimed, Journal, Trouble};

/// How the lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// This process holds the key, at least until then.
    Valid {
        /// Counted from before the last renewal was sent.
        until: Instant,
    },
    /// Somebody else holds it, or nobody could be asked at release.
    Lost {
        /// The key's value.
        holder: String,
    },
    /// Given back.
    Released,
}

impl LeaseState {
    /// Whether the key is surely this process' at `now`.
    pub fn is_valid_at(&self, now: Instant) -> bool {
        match self {
            Self::Valid { until } => now < *until,
            Self::Lost { .. } | Self::Released => false,
        }
    }
}

/// Why the key was not obtained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAcquired {
    /// Another instance leads.
    #[error("another instance leads: {holder}")]
    Other {
        /// The key's value, `<boot uuid> <url>`.
        holder: String,
        /// What is left of its lease.
        left: std::time::Duration,
    },
    /// Nobody could be asked.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// The leader's key, held.
#[derive(Debug)]
pub struct Lease {
    journal: Arc<dyn Journal>,
    claim: Claim,
    state: watch::Sender<LeaseState>,
}

impl Lease {
    /// Asks for the key. An earlier process of the same URL loses it at once, so that a restart
    /// after kill -9 does not wait.
    ///
    /// # Errors
    /// Another instance leads, or the journal could not be asked.
    pub async fn acquire(journal: Arc<dyn Journal>, claim: Claim) -> Result<Self, NotAcquired> {
        let taken = Self::take(journal.clone(), claim.clone(), None).await;
        let Err(NotAcquired::Other { holder, .. }) = &taken else { return taken };
        match holder.parse::<Claim>() {
            Ok(earlier) if earlier.url == claim.url => {
                Self::take(journal, claim, Some(&earlier)).await
            }
            Ok(_) | Err(_) => taken,
        }
    }

    /// Asks for the key of a leader whose process is gone, without waiting for it to expire. Taking
    /// it from one that lives is safe, as the chain is the fence, and deposes it.
    ///
    /// # Errors
    /// Another was quicker, it lives and has renewed the key, or the journal could not be asked.
    pub async fn seize(
        journal: Arc<dyn Journal>,
        gone: &Claim,
        claim: Claim,
    ) -> Result<Self, NotAcquired> {
        Self::take(journal, claim, Some(gone)).await
    }

    async fn take(
        journal: Arc<dyn Journal>,
        claim: Claim,
        from: Option<&Claim>,
    ) -> Result<Self, NotAcquired> {
        let sent = Instant::now();
        match in_time(journal.claim(&claim, from)).await? {
            Claimed::Held => {
                let state = watch::Sender::new(LeaseState::Valid { until: sent + LEASE_VALIDITY });
                Ok(Self { journal, claim, state })
            }
            Claimed::Other { holder, left } => Err(NotAcquired::Other { holder, left }),
        }
    }

    /// How it is, now and later. A state `Valid` whose time has passed is overdue: the journal
    /// does not answer.
    pub fn state(&self) -> watch::Receiver<LeaseState> {
        self.state.subscribe()
    }

    /// Renews every [`LEASE_RENEW`] until somebody else holds the key, whom it returns, whether or
    /// not the renewals before were answered: an answer is waited for longer than the key lives. To
    /// be spawned, or polled beside something else; dropping the future only stops the renewing.
    pub async fn keep(&self) -> String {
        let mut ticks = interval_at(Instant::now() + LEASE_RENEW, LEASE_RENEW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = false;
        let mut asked = FuturesUnordered::new();
        loop {
            let (sent, answer) = tokio::select! {
                biased;
                Some(answered) = asked.next(), if !asked.is_empty() => answered,
                sent = ticks.tick() => {
                    if !self.state.borrow().is_valid_at(sent) && !std::mem::replace(&mut silent, true) {
                        log::warn!("the leader's key is overdue: nobody answers its renewals");
                    }
                    asked.push(self.renew());
                    continue;
                }
            };
            match answer {
                Ok(Claimed::Held) => {
                    silent = false;
                    self.extend(sent + LEASE_VALIDITY);
                }
                Ok(Claimed::Other { holder, left: _ }) => {
                    log::warn!(holder:% = holder; "lost the leader's key");
                    self.state.send_replace(LeaseState::Lost { holder: holder.clone() });
                    return holder;
                }
                Err(trouble) => {
                    if !std::mem::replace(&mut silent, true) {
                        log::warn!(reason:% = trouble; "could not renew the leader's key");
                    }
                }
            }
        }
    }

    async fn renew(&self) -> (Instant, Result<Claimed, Trouble>) {
        let sent = Instant::now();
        (sent, in_time(self.journal.claim(&self.claim, None)).await)
    }

    /// Answers may come in another order than they were asked for.
    fn extend(&self, to: Instant) {
        self.state.send_modify(|state| match state {
            LeaseState::Valid { until } => *until = to.max(*until),
            LeaseState::Lost { .. } | LeaseState::Released => {}
        });
    }

    /// Gives the key back, so that the next instance need not wait for it to expire.
    ///
    /// # Errors
    /// The journal could not be asked; the key then expires by itself.
    pub async fn release(&self) -> Result<(), Trouble> {
        self.state.send_replace(LeaseState::Released);
        in_time(self.journal.release(&self.claim)).await
    }
}

/// Waits for a call as long as for any reply of Redis: the key does not live longer. A new connection
/// and what it is asked first are to be had in that time, too.
async fn in_time<T>(call: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(REPLY_TIMEOUT, call).await.unwrap_or_else(|_| {
        Err(Trouble::Unreachable(format!("no answer in {REPLY_TIMEOUT:?}").into()))
    })
}

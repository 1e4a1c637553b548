//! The actor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, MessageResult, WrapFuture,
};
use domain::command::Command;
use domain::event::{CheckpointSigned, Event};
use domain::{Sequence, Timestamp};
use journal::signature::InstanceKey;
use journal::{EntryId, Identity, Position, Receipt};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::messages::{Attest, Attested, Known, SignNow};
use crate::answer::{Failure, ask};
use crate::publish::Published;
use crate::registry::{Enact, RegistryActor};

/// Entries after which a checkpoint is signed whatever the clock says: what may be rewritten without
/// breaking a signature is then at most a second of a busy house.
pub const ENTRIES_MAX: u64 = 10_000;
/// Hashes that are remembered, 8 bytes each: at the measured 7,000 entries a second somewhat less
/// than a heartbeat. What an agent saw before is read from the journal.
const REMEMBERED: usize = 1 << 16;

/// See the module.
pub struct NotaryActor {
    key: Arc<InstanceKey>,
    identity: Identity,
    boot: Uuid,
    every: Duration,
    registry: Addr<RegistryActor>,
    /// The newest durable entry.
    head: Position,
    /// The first 8 bytes of the hashes of the latest entries, the newest last.
    hashes: VecDeque<u64>,
    /// The newest entry that holds anything but checkpoints.
    news: Sequence,
    /// The newest entry that was vouched for in this reign.
    vouched: Sequence,
    /// Whether this reign began with this key in its first event.
    announced: bool,
    signing: bool,
    /// Who wants to know how the signing under way ended.
    waiting: Vec<oneshot::Sender<u64>>,
}

impl NotaryActor {
    /// One that goes on from `head`, and signs once the journal says that `boot` leads with `key`.
    pub fn new(
        key: Arc<InstanceKey>,
        identity: Identity,
        boot: Uuid,
        every: Duration,
        head: Position,
        registry: Addr<RegistryActor>,
    ) -> Self {
        Self {
            key,
            identity,
            boot,
            every,
            registry,
            head,
            hashes: VecDeque::from([head.id().h64]),
            news: head.seq,
            vouched: 0,
            announced: false,
            signing: false,
            waiting: Vec::new(),
        }
    }

    /// Entries that a checkpoint now would vouch for, where it would for anything but checkpoints.
    fn unvouched(&self) -> u64 {
        if self.news > self.vouched { self.head.seq - self.vouched } else { 0 }
    }

    fn sign(&mut self, context: &mut Context<Self>) {
        if !self.announced || self.signing || self.unvouched() == 0 {
            return;
        }
        let head = self.head;
        let signed = CheckpointSigned {
            // The registry stamps it.
            at: Timestamp(0),
            index: head.seq,
            hash: domain::ids::Hex(head.hash.0),
            key: self.key.public(),
            signature: self.key.vouch(self.identity, head),
        };
        self.signing = true;
        let registry = self.registry.clone();
        let recording = async move {
            let command = Command::SignCheckpoint(signed);
            ask(&registry, |reply| Enact { command, reply }).await
        };
        context.spawn(recording.into_actor(self).map(move |recorded, notary, _| {
            notary.signing = false;
            match recorded {
                Ok(_) => notary.vouched = head.seq,
                Err(Failure::Refused(refusal)) => {
                    notary.announced = false;
                    log::error!(reason:% = refusal; "sign no more checkpoints: one was refused");
                }
                // The next tick makes another.
                Err(failure @ (Failure::Unavailable(_) | Failure::Unknown(_))) => {
                    log::warn!(reason:% = failure; "a checkpoint was not recorded");
                }
            }
            let left = notary.unvouched();
            for reply in notary.waiting.drain(..) {
                // Who asked may have gone.
                let _ = reply.send(left);
            }
        }));
    }

    fn known(&self, id: EntryId) -> Known {
        if id.seq > self.head.seq {
            return Known::Ahead(self.head.seq);
        }
        let back = usize::try_from(self.head.seq - id.seq).unwrap_or(usize::MAX);
        let found = self.hashes.len().checked_sub(back.saturating_add(1));
        match found.and_then(|place| self.hashes.get(place)) {
            None => Known::Older,
            Some(h64) if *h64 == id.h64 => Known::Same,
            Some(h64) => Known::Unlike(EntryId { seq: id.seq, h64: *h64 }),
        }
    }
}

impl Actor for NotaryActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(4_096);
        context.run_interval(self.every, Self::sign_now);
    }
}

impl NotaryActor {
    fn sign_now(&mut self, context: &mut Context<Self>) {
        self.sign(context);
    }
}

impl Handler<Published> for NotaryActor {
    type Result = ();

    fn handle(&mut self, Published(batch): Published, context: &mut Self::Context) {
        self.head = Position { seq: batch.index, hash: batch.hash };
        if self.hashes.len() == REMEMBERED {
            self.hashes.pop_front();
        }
        self.hashes.push_back(self.head.id().h64);
        for event in &batch.events {
            if let Event::LeaderStarted(started) = event {
                let leads = batch.written_here && started.boot == self.boot;
                self.announced = leads && started.key == Some(self.key.public());
                if leads && !self.announced {
                    log::warn!(
                        "no checkpoint is signed in this reign: the journal is of a level without \
                         keys; `tartarus level` says what raising it takes"
                    );
                }
            }
        }
        let checkpoints = |event: &Event| matches!(event, Event::CheckpointSigned(_));
        if !batch.events.iter().all(checkpoints) {
            self.news = batch.index;
        }
        if self.unvouched() >= ENTRIES_MAX {
            self.sign(context);
        }
    }
}

impl Handler<SignNow> for NotaryActor {
    type Result = ();

    fn handle(&mut self, SignNow(reply): SignNow, context: &mut Self::Context) {
        self.sign(context);
        if self.signing {
            self.waiting.push(reply);
        } else {
            let _ = reply.send(if self.announced { self.unvouched() } else { 0 });
        }
    }
}

impl Handler<Attest> for NotaryActor {
    type Result = MessageResult<Attest>;

    fn handle(&mut self, Attest(seen): Attest, _: &mut Self::Context) -> Self::Result {
        let seen = seen.map(|id| self.known(id));
        MessageResult(Attested { seen, newest: Receipt(self.head.id()) })
    }
}

//! The actor.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use domain::event::{LeaderStarted, LevelRaised, Origin, Principal};
use domain::kept::{LEVEL, MEMORY};
use domain::{Event, Sequence};
use journal::{BATCH_CUT_BYTES, Chain, FailStop, Outcome, Sealed, SteppedDown, Writer, catalog};
use tokio::sync::watch;
use uuid::Uuid;

use super::messages::{Commit, Fallen, Lead, Release, Stop};
use crate::answer::{Failure, Mark};
use crate::clock::Clock;
use crate::publish::{Batch, Subscribers};

/// See the module.
pub struct JournalActor {
    /// Absent before it leads.
    chain: Option<Chain>,
    /// Absent before it leads, and while an append is under way.
    writer: Option<Writer>,
    outbox: VecDeque<Commit>,
    subscribers: Subscribers,
    mark: Mark,
    boot: Uuid,
    clock: Arc<Clock>,
    /// In force behind what was encoded last.
    level: u32,
    /// Where entries are kept that the journal may have lost.
    export_dir: PathBuf,
    fallen: watch::Sender<Option<Fallen>>,
    stopping: bool,
    /// Whether something was written since the journal's end was to be looked at last.
    wrote: bool,
    /// How often it was not looked at for that.
    unseen: u32,
    /// Whether it is to be looked at next.
    due: bool,
    /// Whether nothing but a look is under way, for which nobody waits.
    looking: bool,
}

/// How often the end of the journal is looked at while nothing is written: followers that have read
/// more than there is wait for it.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While something is written it is looked at one time in so many: an append meets most of it.
const LOOK_ANYWAY: u32 = 5;
/// The entry that a journal begins with, and that holds nothing.
const GENESIS: Sequence = 1;

/// A batch under way.
struct Flight {
    sealed: Sealed,
    events: Vec<Event>,
    releases: Vec<Release>,
}

impl JournalActor {
    /// A writer's end that writes once it is told to [`Lead`], from `mark` or later. Says through
    /// `fallen` when its role is over.
    pub fn new(
        mark: Mark,
        boot: Uuid,
        clock: Arc<Clock>,
        export_dir: PathBuf,
        fallen: watch::Sender<Option<Fallen>>,
    ) -> Self {
        Self {
            chain: None,
            writer: None,
            outbox: VecDeque::new(),
            subscribers: Subscribers::default(),
            mark,
            boot,
            clock,
            level: 1,
            export_dir,
            fallen,
            stopping: false,
            wrote: false,
            unseen: 0,
            due: false,
            looking: false,
        }
    }

    /// Takes all of the outbox, unless an append is under way or the role is over.
    fn append(&mut self, context: &mut Context<Self>) {
        while self.writer.is_some() && self.fallen.borrow().is_none() {
            if std::mem::take(&mut self.due) && !self.stopping {
                return self.confirm(Vec::new(), context);
            }
            if self.outbox.is_empty() {
                if self.stopping {
                    self.fall(Fallen::Stopped);
                }
                return;
            }
            let (batch, events, releases) = self.next_batch();
            if events.is_empty() {
                // Nothing to write, and everything before is durable.
                return self.confirm(releases, context);
            }
            let at = events.iter().map(Event::at).max().unwrap_or_else(|| self.clock.now());
            let Some(chain) = &mut self.chain else { return };
            let sealed = chain
                .seal(at.0, batch)
                .expect("the registry holds a command below an entry's limit");
            self.fly(Flight { sealed, events, releases }, context);
        }
    }

    /// Encodes commands until the batch has its size. A command's events are never split.
    fn next_batch(&mut self) -> (journal::Batch, Vec<Event>, Vec<Release>) {
        let mut batch = journal::Batch::of(catalog::format_at(self.level));
        let (mut events, mut releases) = (Vec::new(), Vec::new());
        while batch.len() < BATCH_CUT_BYTES
            && let Some(commit) = self.outbox.front()
        {
            let mut command = journal::Batch::of(batch.format());
            for event in &commit.events {
                if let Event::LevelRaised(raised) = event {
                    self.level = raised.level;
                }
                catalog::encode_at(self.level, event, &mut command)
                    .expect("the law refuses what can't be written at the level in force");
            }
            // One large command goes alone: its entry may be as long as an entry can be.
            if !batch.is_empty() && batch.len() + command.len() > 2 * BATCH_CUT_BYTES {
                break;
            }
            batch.extend(&command);
            if let Some(commit) = self.outbox.pop_front() {
                events.extend(commit.events);
                releases.push(commit.release);
            }
        }
        (batch, events, releases)
    }

    /// Answers that write nothing leave when it is known that nobody else has written since.
    fn confirm(&mut self, releases: Vec<Release>, context: &mut Context<Self>) {
        let Some(mut writer) = self.writer.take() else { return };
        self.looking = releases.is_empty();
        let asking = async move {
            let outcome = writer.confirm(releases.is_empty()).await;
            (writer, outcome, releases)
        };
        context.spawn(asking.into_actor(self).map(
            |(writer, outcome, releases), actor, context| {
                actor.writer = Some(writer);
                actor.looking = false;
                match outcome {
                    // It was a look, and has been told to stop meanwhile.
                    _ if actor.fallen.borrow().is_some() => {}
                    Outcome::Committed => {
                        releases.into_iter().for_each(|release| release.out(Ok(actor.mark)));
                    }
                    Outcome::SteppedDown(stepped) => actor.deposed(stepped, releases),
                    Outcome::Failed(stop) => {
                        let why = stop.reason.to_string();
                        refuse(releases, || Failure::Unavailable(why.clone()));
                        actor.fail_stop(&stop, why);
                    }
                }
                actor.append(context);
            },
        ));
    }

    fn fly(&mut self, flight: Flight, context: &mut Context<Self>) {
        let Some(mut writer) = self.writer.take() else { return };
        let append = async move {
            let outcome = writer.commit(&flight.sealed).await;
            (writer, outcome, flight)
        };
        context.spawn(append.into_actor(self).map(|(writer, outcome, flight), actor, context| {
            actor.writer = Some(writer);
            actor.landed(outcome, flight);
            actor.append(context);
        }));
    }

    fn landed(&mut self, outcome: Outcome, flight: Flight) {
        match outcome {
            Outcome::Committed => self.durable(flight),
            Outcome::SteppedDown(stepped) => {
                let refused = if stepped.written {
                    self.durable(flight);
                    Vec::new()
                } else {
                    flight.releases
                };
                self.deposed(stepped, refused);
            }
            Outcome::Failed(stop) => {
                let why = stop.reason.to_string();
                refuse(flight.releases, || Failure::Unknown(why.clone()));
                self.fail_stop(&stop, why);
            }
        }
    }

    /// Ends the role for another's; `refused` wrote nothing.
    fn deposed(&mut self, stepped: SteppedDown, refused: Vec<Release>) {
        refuse(refused, || Failure::Unavailable("another instance leads".into()));
        self.export(&stepped.lost);
        self.fall(Fallen::Deposed(format!(
            "another instance writes the journal, its newest entry is {}",
            stepped.head
        )));
    }

    fn fail_stop(&mut self, stop: &FailStop, why: String) {
        self.export(&stop.held);
        self.fall(Fallen::FailStop(why));
    }

    /// Publishes, then answers: a message sent after an answer comes behind what it answers.
    fn durable(&mut self, flight: Flight) {
        let Flight { sealed, events, releases } = flight;
        let hash = sealed.entry().position().hash;
        self.wrote = true;
        self.mark = Mark { index: sealed.seq(), receipt: sealed.receipt() };
        let batch = Batch {
            index: self.mark.index,
            receipt: self.mark.receipt,
            hash,
            epoch: sealed.entry().header().epoch,
            written_here: true,
            events,
            bytes: sealed.bytes().len() as u64,
        };
        self.subscribers.publish(&Arc::new(batch));
        releases.into_iter().for_each(|release| release.out(Ok(self.mark)));
    }

    /// Ends the role. What is still in the outbox was never sent anywhere.
    fn fall(&mut self, fallen: Fallen) {
        let waiting = self.outbox.drain(..).map(|commit| commit.release);
        refuse(waiting, || Failure::Unavailable("this instance does not lead any more".into()));
        self.fallen.send_replace(Some(fallen));
    }

    fn export(&self, entries: &[Sealed]) {
        match journal::export(&self.export_dir, entries) {
            Ok(None) => {}
            Ok(Some(path)) => log::error!(
                path:% = path.display();
                "keep entries that the journal may have lost: compare them before anything is \
                 removed"
            ),
            Err(error) => log::error!(error:% = error; "could not keep entries"),
        }
    }
}

fn refuse(releases: impl IntoIterator<Item = Release>, why: impl Fn() -> Failure) {
    releases.into_iter().for_each(|release| release.out(Err(why())));
}

impl Actor for JournalActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // Nobody else can give back what Redis lost while there is nothing to write.
        context.run_interval(LOOK_EVERY, |actor, context| {
            if std::mem::take(&mut actor.wrote) && actor.unseen + 1 < LOOK_ANYWAY {
                actor.unseen += 1;
                return;
            }
            (actor.unseen, actor.due) = (0, true);
            actor.append(context);
        });
    }
}

impl Handler<Lead> for JournalActor {
    type Result = ();

    fn handle(&mut self, lead: Lead, context: &mut Self::Context) {
        let Lead { chain, writer, mark, subscribers, url, version, key, level, reply } = lead;
        let (at, epoch) = (self.clock.now(), chain.epoch());
        // Nobody has ever read the journal that this instance begins: no program needs sparing.
        let begins = chain.position().seq == GENESIS;
        self.level = if begins { LEVEL } else { level };
        (self.chain, self.writer) = (Some(chain), Some(writer));
        (self.mark, self.subscribers) = (mark, subscribers);
        // Below its level the entry says what that level could say, so that it is folded as it reads.
        let (key, reads_level) = if self.level >= MEMORY { (key, LEVEL) } else { (None, 1) };
        let started = LeaderStarted { at, epoch, boot: self.boot, url, version, key, reads_level };
        let release = Release::new(move |outcome| {
            let _ = reply.send(outcome);
        });
        let mut events = vec![Event::LeaderStarted(Arc::new(started))];
        if self.level > level {
            let origin = Origin { by: Principal::System, request: self.boot };
            events.push(Event::LevelRaised(LevelRaised { at, origin, level: self.level }));
        }
        self.outbox.push_front(Commit { events, release });
        self.append(context);
    }
}

impl Handler<Commit> for JournalActor {
    type Result = ();

    fn handle(&mut self, commit: Commit, context: &mut Self::Context) {
        if self.stopping || self.fallen.borrow().is_some() {
            let why = "this instance does not lead any more";
            return commit.release.out(Err(Failure::Unavailable(why.into())));
        }
        self.outbox.push_back(commit);
        self.append(context);
    }
}

impl Handler<Stop> for JournalActor {
    type Result = ();

    fn handle(&mut self, Stop: Stop, context: &mut Self::Context) {
        self.stopping = true;
        // A journal that does not answer is waited for where it was asked to write something.
        if self.looking && self.outbox.is_empty() {
            return self.fall(Fallen::Stopped);
        }
        self.append(context);
    }
}

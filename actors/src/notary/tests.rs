//! What is vouched for, what is not, and what is known of what others saw.

use std::sync::Arc;

use domain::Event;
use domain::event::CheckpointSigned;
use domain::kept::LEVEL;
use journal::memory::Fault;
use journal::signature::Checkpoint;
use journal::{Cursor, Entry, EntryId, Journal, MemoryJournal, catalog};
use tokio::sync::oneshot;

use super::{Attest, Known, SignNow};
use crate::fixture::Fixture;

/// Signs what is durable; what nobody vouches for then.
async fn sign(house: &Fixture) -> u64 {
    let (reply, left) = oneshot::channel();
    house.notary.send(SignNow(reply)).await.expect("a notary");
    left.await.expect("an answer")
}

async fn entries(store: &MemoryJournal) -> Vec<Entry> {
    let tail = store.check().await.expect("a journal");
    store.read(&Cursor::start(tail.identity)).await.expect("whole entries").entries
}

fn checkpoints(entries: &[Entry]) -> Vec<(u64, Arc<CheckpointSigned>)> {
    let events = entries.iter().flat_map(|entry| {
        catalog::events(entry).map(|event| (entry.seq(), event.expect("an event").1))
    });
    events
        .filter_map(|(at, event)| match event {
            Event::CheckpointSigned(signed) => Some((at, signed)),
            _ => None,
        })
        .collect()
}

#[actix::test]
async fn a_checkpoint_vouches_for_an_earlier_entry_by_its_whole_hash() {
    let house = Fixture::leading().await;
    house.submit().await;
    assert_eq!(sign(&house).await, 0);
    let all = entries(&house.store).await;
    let signed = checkpoints(&all);
    let [(at, signed)] = signed.as_slice() else { panic!("{signed:?}") };
    assert!(signed.index < *at);
    let own = all.iter().find(|entry| entry.seq() == *at).expect("its entry");
    assert!(own.bytes().len() <= 300, "what a minute may cost an idle house: {own:?}");
    let named = all.iter().find(|entry| entry.seq() == signed.index).expect("an entry");
    assert_eq!(signed.hash.0, named.position().hash.0);
    assert_eq!(signed.key, house.key.public());
    let checkpoint = Checkpoint::of(named.header().identity, signed);
    assert_eq!(checkpoint.verify(&signed.signature), Ok(()));
}

#[actix::test]
async fn a_journal_in_which_nothing_happens_does_not_grow() {
    let house = Fixture::leading().await;
    house.submit().await;
    for _ in 0..5 {
        assert_eq!(sign(&house).await, 0);
    }
    assert_eq!(checkpoints(&entries(&house.store).await).len(), 1, "not of itself alone");
    house.submit().await;
    assert_eq!(sign(&house).await, 0);
    let all = entries(&house.store).await;
    let signed = checkpoints(&all);
    assert_eq!(signed.len(), 2);
    assert_eq!(signed[1].1.index + 1, signed[1].0, "the newest entry that was durable");
}

#[actix::test]
async fn a_checkpoint_that_could_not_be_written_is_made_again_over_what_is_durable_then() {
    let house = Fixture::leading().await;
    // Its reply is lost: whether it is there is found out before anything else is written.
    house.faults.plan([Fault::LoseReply, Fault::Refuse]);
    assert_eq!(sign(&house).await, 0);
    house.submit().await;
    assert_eq!(sign(&house).await, 0);
    assert_eq!(checkpoints(&entries(&house.store).await).len(), 2);
}

#[actix::test]
async fn a_new_journal_begins_at_the_newest_level_with_the_key_in_its_first_event() {
    let house = Fixture::leading().await;
    let all = entries(&house.store).await;
    let first: Vec<Event> =
        catalog::events(&all[1]).map(|event| event.expect("an event").1).collect();
    let [Event::LeaderStarted(led), Event::LevelRaised(raised)] = first.as_slice() else {
        panic!("{first:?}")
    };
    assert_eq!((led.key, led.reads_level), (Some(house.key.public()), LEVEL));
    assert_eq!(raised.level, LEVEL);
}

#[actix::test]
async fn what_others_saw_is_held_against_the_chain() {
    let house = Fixture::leading().await;
    for _ in 0..3 {
        house.submit().await;
    }
    let ids: Vec<EntryId> = entries(&house.store).await.iter().map(Entry::id).collect();
    let newest = *ids.last().expect("entries");
    let ask = async |id| house.notary.send(Attest(Some(id))).await.expect("a notary");
    for id in &ids {
        assert_eq!(ask(*id).await.seen, Some(Known::Same));
        let other = EntryId { h64: id.h64 ^ 1, ..*id };
        assert_eq!(ask(other).await.seen, Some(Known::Unlike(*id)));
    }
    let ahead = EntryId { seq: newest.seq + 1, h64: 1 };
    assert_eq!(ask(ahead).await.seen, Some(Known::Ahead(newest.seq)));
    assert_eq!(ask(EntryId { seq: 0, h64: 0 }).await.seen, Some(Known::Older));
    let said = house.notary.send(Attest(None)).await.expect("a notary");
    assert_eq!((said.seen, said.newest.0), (None, newest));
}

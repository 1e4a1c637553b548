//! Events as bytes and back, with the journal's encoder.

use std::sync::Arc;

use domain::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What whoever reads the journal hears of an event. It must be the same event.
pub fn hear(event: &Event) -> Event {
    let heard = match event {
        Event::LeaderStarted(e) => Event::LeaderStarted(Arc::new(carry(&**e))),
        Event::RunAdmitted(e) => Event::RunAdmitted(Arc::new(carry(&**e))),
        Event::RunRejected(e) => Event::RunRejected(Arc::new(carry(&**e))),
        Event::RunAssigned(e) => Event::RunAssigned(carry(e)),
        Event::RunStarted(e) => Event::RunStarted(carry(e)),
        Event::RunFinished(e) => Event::RunFinished(Arc::new(carry(&**e))),
        Event::RunLost(e) => Event::RunLost(carry(e)),
        Event::RunCancelRequested(e) => Event::RunCancelRequested(carry(e)),
        Event::RunCanceled(e) => Event::RunCanceled(carry(e)),
        Event::RunForgotten(e) => Event::RunForgotten(carry(e)),
        Event::NodeJoined(e) => Event::NodeJoined(Arc::new(carry(&**e))),
        Event::NodeLost(e) => Event::NodeLost(carry(e)),
        Event::PolicyPut(e) => Event::PolicyPut(Arc::new(carry(&**e))),
        Event::PolicyDeleted(e) => Event::PolicyDeleted(carry(e)),
        Event::TemplatePut(e) => Event::TemplatePut(Arc::new(carry(&**e))),
        Event::TemplateDeleted(e) => Event::TemplateDeleted(carry(e)),
        Event::HeatTableSet(e) => Event::HeatTableSet(carry(e)),
        Event::QueuePaused(e) => Event::QueuePaused(carry(e)),
        Event::QueueResumed(e) => Event::QueueResumed(carry(e)),
        Event::NodeDrained(e) => Event::NodeDrained(carry(e)),
        Event::NodeUndrained(e) => Event::NodeUndrained(carry(e)),
        Event::NodeLabeled(e) => Event::NodeLabeled(carry(e)),
        Event::RunEvicted(e) => Event::RunEvicted(carry(e)),
        Event::RunReleased(e) => Event::RunReleased(Arc::new(carry(&**e))),
        Event::RunRefused(e) => Event::RunRefused(Arc::new(carry(&**e))),
        Event::SnapshotBegun(e) => Event::SnapshotBegun(carry(e)),
        Event::SnapshotTaken(e) => Event::SnapshotTaken(carry(e)),
        Event::JournalArchived(e) => Event::JournalArchived(carry(e)),
        Event::JournalTrimmed(e) => Event::JournalTrimmed(carry(e)),
        Event::CheckpointSigned(e) => Event::CheckpointSigned(Arc::new(carry(&**e))),
        Event::LevelRaised(e) => Event::LevelRaised(carry(e)),
        Event::RunQuarantined(e) => Event::RunQuarantined(Arc::new(carry(&**e))),
    };
    assert_eq!(heard, *event, "what is heard is what was said");
    heard
}

fn carry<T: Serialize + DeserializeOwned>(said: &T) -> T {
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(said, config).expect("every event has a shape");
    let (heard, read) = bincode::serde::decode_from_slice(&bytes, config).expect("and can be read");
    assert_eq!(read, bytes.len(), "nothing is left over");
    heard
}

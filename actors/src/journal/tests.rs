//! Group commit, and the ends of a role.

use domain::Sequence;
use journal::memory::Fault;

use super::messages::{Fallen, Stop};
use crate::answer::Failure;
use crate::fixture::{Fixture, judged, replay};

#[actix::test]
async fn what_comes_while_an_append_is_under_way_goes_together() {
    let house = Fixture::leading().await;
    let before = house.store.store().ids().len();
    // The first append is refused once: everything else comes meanwhile.
    house.faults.plan([Fault::Refuse]);
    let submissions = (0..50).map(|_| house.admit(vec![judged()], None));
    let answers = futures_util::future::join_all(submissions).await;
    let indexes: std::collections::BTreeSet<Sequence> =
        answers.into_iter().map(|answer| answer.expect("durable").mark.index).collect();
    assert_eq!(house.store.store().ids().len(), before + indexes.len());
    assert_eq!(indexes.len(), 2, "one entry for the first, one for all others");
}

#[actix::test]
async fn a_lost_reply_is_found_again_and_nothing_is_written_twice() {
    let house = Fixture::leading().await;
    house.faults.plan([Fault::LoseReply, Fault::LoseRequest, Fault::LoseReply]);
    for _ in 0..3 {
        house.submit().await;
    }
    let (world, _) = replay(&(house.store.clone() as _)).await;
    assert_eq!(world.runs.len(), 3);
}

#[actix::test]
async fn a_damaged_journal_ends_the_role_and_leaves_the_outcome_unknown() {
    let mut house = Fixture::leading().await;
    house.faults.plan([Fault::Damage]);
    let answer = house.admit(vec![judged()], None).await;
    assert!(matches!(answer, Err(Failure::Unknown(_))), "{answer:?}");
    let fallen = house.fallen.wait_for(Option::is_some).await.expect("a sender").clone();
    assert!(matches!(fallen, Some(Fallen::FailStop(_))), "{fallen:?}");
    let later = house.admit(vec![judged()], None).await;
    assert!(matches!(later, Err(Failure::Unavailable(_))), "{later:?}");
}

#[actix::test]
async fn a_stop_writes_what_was_decided_before_it() {
    let mut house = Fixture::leading().await;
    house.faults.plan([Fault::Refuse]);
    let decided = async {
        while house.undurable.load().0 == 0 {
            tokio::task::yield_now().await;
        }
        house.journal.send(Stop).await
    };
    let (answer, _) = tokio::join!(house.admit(vec![judged()], None), decided);
    assert!(answer.is_ok());
    let fallen = house.fallen.wait_for(Option::is_some).await.expect("a sender").clone();
    assert_eq!(fallen, Some(Fallen::Stopped));
}

#[actix::test]
async fn another_writer_deposes_this_one_and_what_it_had_not_written_is_not_applied() {
    let house = Fixture::leading().await;
    house.submit().await;
    let mut other = Fixture::over(journal::MemoryJournal::over(house.store.store().clone())).await;
    other.lead().await;
    let answer = house.admit(vec![judged()], None).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    let mut fallen = house.fallen.clone();
    let fallen = fallen.wait_for(Option::is_some).await.expect("a sender").clone();
    assert!(matches!(fallen, Some(Fallen::Deposed(_))), "{fallen:?}");
    let (world, _) = replay(&(other.store.clone() as _)).await;
    assert_eq!(world.runs.len(), 1);
}

//! The writer insists: whatever the journal answers, a batch is in it once, or it is known why not.

mod support;

use std::sync::Arc;

use journal::{
    Appended, Chain, FailReason, Fault, Health, Journal, MemoryJournal, MemoryStore, Opened,
    Outcome, Sealed, Weather, Writer, export,
};
use support::{lead, read_all, seal, texts, until};

struct Given {
    store: MemoryStore,
    journal: Arc<MemoryJournal>,
    opened: Opened,
    chain: Chain,
    writer: Writer,
}

async fn given() -> Given {
    let store = MemoryStore::default();
    let journal = Arc::new(MemoryJournal::over(store.clone()));
    let opened = journal.open(None).await.unwrap();
    let chain = lead(&opened);
    let writer = Writer::new(journal.clone(), opened.tail);
    Given { store, journal, opened, chain, writer }
}

impl Given {
    async fn commit(&mut self, text: &str) -> Outcome {
        let sealed = seal(&mut self.chain, text);
        self.writer.commit(&sealed).await
    }

    async fn texts(&self) -> Vec<String> {
        let journal = MemoryJournal::over(self.store.clone());
        texts(&read_all(&journal, &self.opened).await)
    }

    /// Another leader, over the same store.
    async fn other(&self) -> (Chain, Writer) {
        let journal = Arc::new(MemoryJournal::over(self.store.clone()));
        let opened = journal.open(None).await.unwrap();
        (lead(&opened), Writer::new(journal, opened.tail))
    }
}

/// Given these faults of the next appends, a batch is committed, and is in the journal once.
async fn check_committed(faults: &[Fault], tries: u64) {
    let mut given = given().await;
    given.journal.faults().plan(faults.iter().copied());
    assert_eq!(given.commit("one").await, Outcome::Committed, "{faults:?}");
    assert_eq!(given.journal.faults().appends(), tries, "{faults:?}");
    assert_eq!(given.commit("two").await, Outcome::Committed, "{faults:?}");
    while let Some(late) = given.journal.deliver_held() {
        assert!(matches!(late, Appended::Conflict { .. }), "{faults:?}: {late:?}");
    }
    assert_eq!(given.texts().await, ["one", "two"], "{faults:?}");
    assert_eq!(*given.writer.health().borrow(), Health::Leading);
}

#[tokio::test]
async fn a_batch_is_in_the_journal_once_whatever_was_lost() {
    check_committed(&[], 1).await;
    check_committed(&[Fault::LoseReply], 2).await;
    check_committed(&[Fault::LoseRequest], 2).await;
    check_committed(&[Fault::Refuse], 2).await;
    check_committed(&[Fault::Hold], 2).await;
    check_committed(&[Fault::Refuse, Fault::LoseRequest, Fault::Hold, Fault::LoseReply], 5).await;
    check_committed(&[Fault::LoseReply, Fault::Refuse, Fault::LoseReply, Fault::Hold], 5).await;
}

#[tokio::test]
async fn the_health_says_whether_the_journal_refuses_or_is_silent() {
    for (weather, named) in
        [(Weather::Degraded, "degraded"), (Weather::Mute, "suspect"), (Weather::Severed, "suspect")]
    {
        let mut given = given().await;
        let mut health = given.writer.health();
        assert!(health.borrow().accepts());
        given.journal.faults().set_weather(weather);
        let faults = given.journal.faults().clone();
        let watch = async {
            let seen = health.wait_for(|health| !health.accepts()).await.unwrap().clone();
            faults.set_weather(Weather::Fair);
            seen
        };
        let (outcome, seen) = tokio::join!(given.commit("one"), watch);
        assert_eq!(outcome, Outcome::Committed);
        let name = match seen {
            Health::Degraded { .. } => "degraded",
            Health::Suspect { .. } => "suspect",
            Health::Leading | Health::SteppedDown | Health::FailStop { .. } => "other",
        };
        assert_eq!(name, named, "{weather:?}");
        assert_eq!(*given.writer.health().borrow(), Health::Leading);
        assert_eq!(given.texts().await, ["one"]);
    }
}

#[tokio::test]
async fn a_leader_that_was_replaced_steps_down_and_its_batch_was_not_written() {
    let mut given = given().await;
    assert_eq!(given.commit("mine").await, Outcome::Committed);
    let (mut chain, mut other) = given.other().await;
    let theirs = seal(&mut chain, "theirs");
    assert_eq!(other.commit(&theirs).await, Outcome::Committed);
    let Outcome::SteppedDown(down) = given.commit("too late").await else { panic!("not deposed") };
    assert_eq!((down.head, down.written, down.lost), (theirs.id(), false, vec![]));
    assert_eq!(*given.writer.health().borrow(), Health::SteppedDown);
    let tries = given.journal.faults().appends();
    assert!(
        matches!(given.commit("again").await, Outcome::Failed(f) if f.reason == FailReason::Ended)
    );
    assert_eq!(given.journal.faults().appends(), tries, "a writer that ended appends nothing");
    assert_eq!(given.texts().await, ["mine", "theirs"]);
}

#[tokio::test]
async fn a_deposed_leader_learns_that_its_batch_in_doubt_was_written() {
    let mut given = given().await;
    given.journal.faults().plan([Fault::LoseReply, Fault::Hold]);
    let sealed = seal(&mut given.chain, "mine");
    // The reply is lost; before it is resent, another leader goes on after it.
    let appended = given.journal.append(&sealed).await;
    assert!(matches!(appended, Appended::Unknown(_)), "{appended:?}");
    let (mut chain, mut other) = given.other().await;
    assert_eq!(other.commit(&seal(&mut chain, "theirs")).await, Outcome::Committed);
    let Outcome::SteppedDown(down) = given.writer.commit(&sealed).await else {
        panic!("not deposed")
    };
    assert!(down.written && down.lost.is_empty(), "{down:?}");
    assert_eq!(given.texts().await, ["mine", "theirs"]);
}

#[tokio::test]
async fn a_leader_whose_entries_were_replaced_hands_them_over() {
    // Also where the other history is shorter, as yet.
    for theirs in 1..=3 {
        let mut given = given().await;
        assert_eq!(given.commit("kept").await, Outcome::Committed);
        let kept = given.writer.committed();
        assert_eq!(given.commit("lost 1").await, Outcome::Committed);
        assert_eq!(given.commit("lost 2").await, Outcome::Committed);
        given.store.roll_back(kept.seq);
        let (mut chain, mut other) = given.other().await;
        for number in 0..theirs {
            let text = format!("theirs {number}");
            assert_eq!(other.commit(&seal(&mut chain, &text)).await, Outcome::Committed);
        }
        let outcome = given.commit("mine").await;
        let Outcome::SteppedDown(down) = outcome else { panic!("{theirs}: {outcome:?}") };
        assert!(!down.written);
        let lost: Vec<_> = down.lost.iter().map(|sealed| sealed.entry().clone()).collect();
        assert_eq!(texts(&lost), ["lost 1", "lost 2"], "{theirs}");
    }
}

#[tokio::test]
async fn a_journal_that_lost_its_tail_is_given_it_back() {
    for faults in [vec![], vec![Fault::None, Fault::LoseReply, Fault::Refuse, Fault::LoseRequest]] {
        let mut given = given().await;
        for text in ["one", "two", "three"] {
            assert_eq!(given.commit(text).await, Outcome::Committed);
        }
        let committed = given.writer.committed();
        given.store.roll_back(committed.seq - 2);
        given.journal.faults().plan(faults);
        assert_eq!(given.commit("four").await, Outcome::Committed);
        assert_eq!(given.texts().await, ["one", "two", "three", "four"]);
        assert_eq!(*given.writer.health().borrow(), Health::Leading);
    }
}

#[tokio::test]
async fn what_a_leader_has_read_before_it_led_it_gives_back_as_its_own() {
    let mut first = given().await;
    for text in ["one", "two"] {
        assert_eq!(first.commit(text).await, Outcome::Committed);
    }
    let committed = first.writer.committed();
    let journal = Arc::new(MemoryJournal::over(first.store.clone()));
    let opened = journal.open(None).await.unwrap();
    let read = read_all(&*journal, &opened).await.into_iter().map(Sealed::from);
    let (mut chain, writer) = (lead(&opened), Writer::new(journal, opened.tail));
    let mut writer = writer.remembering(read);
    // Before it has written anything, and when it has.
    for text in ["three", "four"] {
        first.store.roll_back(committed.seq - 1);
        assert_eq!(writer.commit(&seal(&mut chain, text)).await, Outcome::Committed);
    }
    assert_eq!(first.texts().await, ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn a_look_at_the_end_finds_what_a_batch_would_and_gives_back_what_was_lost() {
    let after_three = async || {
        let mut given = given().await;
        for text in ["one", "two", "three"] {
            assert_eq!(given.commit(text).await, Outcome::Committed);
        }
        given
    };
    let mut whole = after_three().await;
    assert_eq!(whole.writer.confirm(false).await, Outcome::Committed);

    let mut torn = after_three().await;
    torn.store.roll_back(torn.writer.committed().seq - 2);
    torn.journal.faults().plan([Fault::Refuse, Fault::LoseReply]);
    assert_eq!(torn.writer.confirm(false).await, Outcome::Committed);
    assert_eq!(torn.texts().await, ["one", "two", "three"]);
    assert_eq!(*torn.writer.health().borrow(), Health::Leading);

    // Whether the other history is longer, as long, or shorter as yet.
    for (kept, theirs) in [(3, 1), (1, 3), (1, 2), (1, 1)] {
        let mut given = after_three().await;
        given.store.roll_back(given.writer.committed().seq - 3 + kept);
        let (mut chain, mut other) = given.other().await;
        for _ in 0..theirs {
            assert_eq!(other.commit(&seal(&mut chain, "theirs")).await, Outcome::Committed);
        }
        let outcome = given.writer.confirm(false).await;
        let Outcome::SteppedDown(down) = outcome else { panic!("{kept} {theirs}: {outcome:?}") };
        let lost: Vec<_> = down.lost.iter().map(|sealed| sealed.entry().clone()).collect();
        assert_eq!(texts(&lost), ["one", "two", "three"][kept as usize..], "{kept} {theirs}");
        assert!(matches!(given.writer.confirm(false).await, Outcome::Failed(_)), "it has ended");
    }

    let mut empty = after_three().await;
    empty.store.roll_back(0);
    let Outcome::Failed(stop) = empty.writer.confirm(false).await else { panic!("not stopped") };
    assert!(matches!(stop.reason, FailReason::Refused(_)), "{:?}", stop.reason);
    assert_eq!(stop.held.len(), 3, "what is missing is held");
}

#[tokio::test]
async fn a_journal_that_lost_more_than_the_writer_wrote_stops_it_which_hands_over_what_it_held() {
    let mut first = given().await;
    for text in ["one", "two"] {
        assert_eq!(first.commit(text).await, Outcome::Committed);
    }
    let before = first.writer.committed();
    let (mut chain, mut other) = first.other().await;
    assert_eq!(other.commit(&seal(&mut chain, "three")).await, Outcome::Committed);
    let committed = other.committed();
    first.store.roll_back(before.seq - 1);
    let Outcome::Failed(stop) = other.commit(&seal(&mut chain, "four")).await else {
        panic!("not stopped")
    };
    let FailReason::RolledBack { head, committed: known } = &stop.reason else {
        panic!("{:?}", stop.reason)
    };
    assert_eq!((head.seq, *known), (before.seq - 1, committed));
    let held: Vec<_> = stop.held.iter().map(|sealed| sealed.entry().clone()).collect();
    assert_eq!(texts(&held), ["three", "four"]);
    assert!(matches!(*other.health().borrow(), Health::FailStop { .. }));
    assert!(matches!(other.commit(&seal(&mut chain, "five")).await, Outcome::Failed(_)));
    assert_eq!(first.texts().await, ["one"], "nothing was written after the stop");
}

#[tokio::test]
async fn a_journal_that_refuses_for_good_stops_the_writer() {
    let mut given = given().await;
    given.journal.faults().plan([Fault::LoseRequest, Fault::Damage]);
    let Outcome::Failed(stop) = given.commit("one").await else { panic!("not stopped") };
    assert!(matches!(stop.reason, FailReason::Refused(_)), "{:?}", stop.reason);
    assert_eq!(stop.held.len(), 1, "the batch in doubt is held");
    assert!(given.texts().await.is_empty());
}

#[tokio::test]
async fn a_process_that_stops_in_an_append_finds_either_all_of_it_or_nothing() {
    for (fault, written) in [(Fault::StopBefore, vec![]), (Fault::StopAfter, vec!["one"])] {
        let mut given = given().await;
        given.journal.faults().plan([fault]);
        let faults = given.journal.faults().clone();
        tokio::select! {
            outcome = given.commit("one") => panic!("{fault:?}: {outcome:?}"),
            () = faults.stopped() => {}
        }
        assert_eq!(given.texts().await, written, "{fault:?}");
        let (mut chain, mut restarted) = given.other().await;
        assert_eq!(restarted.commit(&seal(&mut chain, "two")).await, Outcome::Committed);
    }
}

#[tokio::test]
async fn a_fault_can_be_planned_for_a_later_append() {
    let mut given = given().await;
    given.journal.faults().plan_after(2, Fault::StopBefore);
    assert_eq!(given.commit("one").await, Outcome::Committed);
    assert_eq!(given.commit("two").await, Outcome::Committed);
    let faults = given.journal.faults().clone();
    tokio::select! {
        outcome = given.commit("three") => panic!("{outcome:?}"),
        () = faults.stopped() => {}
    }
    assert_eq!(given.texts().await, ["one", "two"]);
}

#[tokio::test]
async fn exported_entries_can_be_read_back() {
    let mut given = given().await;
    let sealed: Vec<Sealed> = (0..3).map(|i| seal(&mut given.chain, &i.to_string())).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = export(dir.path(), &sealed).unwrap().unwrap();
    assert!(path.file_name().unwrap().to_str().unwrap().starts_with("2-4-"), "{path:?}");
    let bytes = std::fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    for sealed in &sealed {
        let (len, after) = rest.split_first_chunk::<4>().unwrap();
        let (entry, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        assert_eq!(entry, sealed.bytes());
        rest = after;
    }
    assert!(rest.is_empty());
    assert_eq!(export(dir.path(), &[]).unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_not_answered_does_not_cost_the_key() {
    let given = given().await;
    let claim = journal::Claim { boot: uuid::Uuid::new_v4(), url: "http://one".into() };
    let lease = journal::Lease::acquire(given.journal.clone(), claim).await.unwrap();
    let mut state = lease.state();
    given.journal.faults().silence_claims(2);
    let renewed = async {
        tokio::select! {
            holder = lease.keep() => panic!("lost to {holder}"),
            changed = state.changed() => changed.unwrap(),
        }
    };
    tokio::time::timeout(journal::limits::LEASE_VALIDITY, renewed).await.expect("the third is");
}

#[tokio::test]
async fn a_call_for_the_key_that_hangs_is_given_up_and_the_next_one_is_answered() {
    use journal::limits::REPLY_TIMEOUT;
    let given = given().await;
    let claim = journal::Claim { boot: uuid::Uuid::new_v4(), url: "http://one".into() };
    let ask = || journal::Lease::acquire(given.journal.clone(), claim.clone());
    given.journal.faults().silence_claims(1);
    let hung = tokio::time::timeout(REPLY_TIMEOUT * 3, ask()).await.expect("an end");
    assert!(matches!(hung, Err(journal::NotAcquired::Trouble(_))), "{hung:?}");
    ask().await.expect("the key");
}

#[tokio::test]
async fn the_key_is_renewed_until_another_process_takes_it() {
    let given = given().await;
    let claim = |url: &str| journal::Claim { boot: uuid::Uuid::new_v4(), url: url.into() };
    let lease = journal::Lease::acquire(given.journal.clone(), claim("http://same")).await.unwrap();
    let refused = journal::Lease::acquire(given.journal.clone(), claim("http://other")).await;
    assert!(matches!(refused, Err(journal::NotAcquired::Other { .. })), "{refused:?}");
    let mut state = lease.state();
    let first = state.borrow_and_update().clone();
    assert!(first.is_valid_at(tokio::time::Instant::now()));
    tokio::select! {
        holder = lease.keep() => panic!("lost to {holder}"),
        changed = state.changed() => changed.unwrap(),
    }
    assert_ne!(*state.borrow_and_update(), first, "the renewal counts from when it was sent");
    let newer = claim("http://same");
    let taken = journal::Lease::acquire(given.journal.clone(), newer.clone()).await.unwrap();
    assert_eq!(lease.keep().await, newer.to_string());
    assert!(
        matches!(&*state.borrow(), journal::LeaseState::Lost { holder } if *holder == newer.to_string())
    );
    lease.release().await.unwrap();
    until("the newer one still has it", async || {
        given.journal.leader().await == Ok(Some(newer.clone()))
    })
    .await;
    taken.release().await.unwrap();
    assert_eq!(given.journal.leader().await, Ok(None));
}

//! One contract, every journal: what the memory journal may be trusted for, because Redis does the
//! same.

mod support;

use std::sync::Arc;
use std::time::Duration;

use domain::Event;
use domain::event::JournalTrimmed;
use domain::ids::{RunId, Sequence, Timestamp};
use journal::limits::TRIM_STEP;
use journal::{
    Appended, Chain, Claim, Claimed, ClusterId, Content, Cursor, EntryId, Expected, Heartbeat,
    Journal, Lease, MAX_BODY_BYTES, MemoryJournal, MemoryStore, NotAcquired, OpenError, Ops,
    PolicyOp, Projected, QueueMember, QueueOp, ReadError, Refusal, Settled, Step, Trouble,
};
use support::{RedisServer, batch, lead, read_all, seal, texts, until};
use uuid::Uuid;

/// A place where journals can be opened, and what is visible there.
enum Rig {
    Memory(MemoryStore),
    Redis(RedisServer),
}

impl Rig {
    /// One more journal over the same place, as another process has it.
    fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::Memory(store) => Arc::new(MemoryJournal::over(store.clone())),
            Self::Redis(server) => server.journal(),
        }
    }

    async fn queue(&self) -> Vec<String> {
        match self {
            Self::Memory(store) => store.queue(),
            Self::Redis(server) => server.list(&["ZRANGE", "tartarus:queue", "0", "-1"]).await,
        }
    }

    async fn policies(&self) -> Vec<(String, String)> {
        match self {
            Self::Memory(store) => store.policies().into_iter().collect(),
            Self::Redis(server) => {
                let flat = server.list(&["HGETALL", "themis:policies"]).await;
                let pair = |pair: &[String]| (pair[0].clone(), pair[1].clone());
                let mut pairs: Vec<_> = flat.chunks(2).map(pair).collect();
                pairs.sort();
                pairs
            }
        }
    }

    /// Removes entries as somebody's hand does.
    async fn lose_before(&self, seq: Sequence) {
        match self {
            Self::Memory(store) => {
                store.ids().iter().filter(|id| id.seq < seq).for_each(|id| store.remove(id.seq));
            }
            Self::Redis(server) => {
                let (key, seq) = ("tartarus:journal", seq.to_string());
                drop(server.raw(&["XTRIM", key, "MINID", &seq]).await);
            }
        }
    }

    async fn expire_lease(&self) {
        match self {
            Self::Memory(store) => store.expire_lease(),
            Self::Redis(server) => drop(server.raw(&["DEL", "tartarus:leader"]).await),
        }
    }
}

/// Runs each test against every implementation.
macro_rules! contract {
    ($($name:ident)+) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Rig::Memory(Default::default())).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Rig::Redis(super::RedisServer::fleeting().await)).await;
            })+
        }
    };
}

contract! {
    an_empty_place_begins_a_journal_and_only_once
    two_instances_that_begin_at_once_begin_one_journal
    an_instance_that_remembers_a_cluster_refuses_an_empty_place
    an_instance_that_remembers_a_cluster_refuses_another
    an_append_is_ok_then_a_duplicate_then_in_the_way
    an_entry_of_another_history_is_a_conflict_that_names_the_head
    what_was_appended_is_read_back_in_order
    a_page_ends_before_four_mebibytes_and_never_without_an_entry
    a_feed_may_start_in_the_middle
    a_cursor_of_another_history_reads_nothing
    only_what_an_entry_says_may_leave_does
    the_leaders_key_has_one_holder
    the_key_of_a_dead_leader_is_seized_by_one_and_no_later_key_with_it
    a_restarted_leader_takes_its_own_key_at_once_and_the_old_process_loses_it
    a_claim_that_comes_late_takes_the_key_from_no_later_process
    heartbeats_are_listed_until_they_expire_or_are_dropped
    the_visible_queue_is_in_the_order_of_the_line
    a_step_over_a_foreign_cursor_changes_nothing
    a_large_step_and_a_large_rebuild_arrive_whole
    policies_are_put_and_deleted
    a_journal_opened_on_one_thread_serves_another
}

async fn an_empty_place_begins_a_journal_and_only_once(rig: Rig) {
    let first = rig.journal().open(None).await.unwrap();
    assert!(first.genesis);
    assert_eq!((first.tail.position.seq, first.tail.epoch, first.first_seq), (1, 0, 1));
    let second = rig.journal().open(None).await.unwrap();
    assert!(!second.genesis);
    assert_eq!(second.tail, first.tail);
    let cluster = first.tail.identity.cluster;
    let expected = Expected { cluster, source: "cluster-id".into() };
    assert_eq!(rig.journal().open(Some(&expected)).await.unwrap().tail, first.tail);
}

async fn two_instances_that_begin_at_once_begin_one_journal(rig: Rig) {
    let (one, other) = (rig.journal(), rig.journal());
    let (one, other) = tokio::join!(one.open(None), other.open(None));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.tail, other.tail);
    assert!(one.genesis != other.genesis, "exactly one has begun it");
}

async fn an_instance_that_remembers_a_cluster_refuses_an_empty_place(rig: Rig) {
    let cluster = ClusterId(Uuid::new_v4());
    let expected = Expected { cluster, source: "/data/cluster-id".into() };
    let refused = rig.journal().open(Some(&expected)).await.unwrap_err();
    assert!(matches!(refused, OpenError::Refused(Refusal::Empty { .. })), "{refused:?}");
    assert_eq!(refused.exit_code(), 4);
    assert!(refused.to_string().contains("remove /data/cluster-id"), "{refused}");
    assert!(rig.journal().open(None).await.unwrap().genesis, "nothing was written");
}

async fn an_instance_that_remembers_a_cluster_refuses_another(rig: Rig) {
    let opened = rig.journal().open(None).await.unwrap();
    let cluster = ClusterId(Uuid::new_v4());
    let expected = Expected { cluster, source: "TARTARUS_CLUSTER_ID".into() };
    let refused = rig.journal().open(Some(&expected)).await.unwrap_err();
    assert_eq!(refused.exit_code(), 4);
    let text = refused.to_string();
    for part in [cluster.to_string(), opened.tail.identity.cluster.to_string()] {
        assert!(text.contains(&part), "{text}");
    }
    assert!(text.contains("TARTARUS_CLUSTER_ID"), "{text}");
}

async fn an_append_is_ok_then_a_duplicate_then_in_the_way(rig: Rig) {
    let journal = rig.journal();
    let opened = journal.open(None).await.unwrap();
    let mut chain = lead(&opened);
    let (one, two) = (seal(&mut chain, "one"), seal(&mut chain, "two"));
    let genesis = opened.tail.position.id();
    assert_eq!(journal.append(&two).await, Appended::Conflict { head: genesis });
    assert_eq!(journal.append(&one).await, Appended::Committed { duplicate: false });
    assert_eq!(journal.append(&one).await, Appended::Committed { duplicate: true });
    assert_eq!(journal.settle(&one).await, Settled::Durable);
    assert_eq!(journal.append(&two).await, Appended::Committed { duplicate: false });
    assert_eq!(journal.append(&one).await, Appended::Conflict { head: two.id() });
    assert_eq!(journal.head().await, Ok(two.id()));
    assert_eq!(journal.contains(one.id()).await, Ok(true));
    let never = EntryId { seq: one.seq(), h64: one.id().h64 ^ 1 };
    assert_eq!(journal.contains(never).await, Ok(false));
    let tail = journal.check().await.unwrap();
    assert_eq!((tail.position.id(), tail.epoch), (two.id(), chain.epoch()));
}

async fn an_entry_of_another_history_is_a_conflict_that_names_the_head(rig: Rig) {
    let (mine, theirs) = (rig.journal(), rig.journal());
    let opened = mine.open(None).await.unwrap();
    theirs.open(None).await.unwrap();
    let (mut my_chain, mut their_chain) = (lead(&opened), lead(&opened));
    let their_entry = seal(&mut their_chain, "theirs");
    assert_eq!(theirs.append(&their_entry).await, Appended::Committed { duplicate: false });
    let my_entry = seal(&mut my_chain, "mine");
    assert_eq!(my_entry.seq(), their_entry.seq());
    let conflict = Appended::Conflict { head: their_entry.id() };
    assert_eq!(mine.append(&my_entry).await, conflict);
    assert_eq!(texts(&read_all(&*mine, &opened).await), ["theirs"]);
}

async fn what_was_appended_is_read_back_in_order(rig: Rig) {
    let journal = rig.journal();
    let opened = journal.open(None).await.unwrap();
    let mut chain = lead(&opened);
    let mut written = Vec::new();
    for i in 0..200 {
        let text = format!("entry {i}");
        let sealed = seal(&mut chain, &text);
        assert_eq!(journal.append(&sealed).await, Appended::Committed { duplicate: false });
        written.push((text, sealed));
    }
    let entries = read_all(&*journal, &opened).await;
    assert_eq!(entries.len(), 201, "genesis and all others");
    for (entry, (text, sealed)) in entries[1..].iter().zip(&written) {
        assert_eq!(
            (entry, texts(std::slice::from_ref(entry))),
            (sealed.entry(), vec![text.clone()])
        );
        assert_eq!(entry.header().epoch, opened.tail.epoch + 1);
    }
    let mut cursor = Cursor::at(journal.check().await.unwrap());
    let page = journal.read(&cursor).await.unwrap();
    assert!(page.entries.is_empty(), "the end is an empty page");
    let next = seal(&mut chain, "later");
    journal.append(&next).await;
    let page = journal.read(&cursor).await.unwrap();
    assert_eq!(page.entries, [next.entry().clone()]);
    cursor = page.next;
    assert_eq!(cursor.tail().unwrap().position.id(), next.id());
}

async fn a_page_ends_before_four_mebibytes_and_never_without_an_entry(rig: Rig) {
    let journal = rig.journal();
    let opened = journal.open(None).await.unwrap();
    let mut chain = lead(&opened);
    let small = "s".repeat(60_000);
    // A frame is 9 bytes.
    let large = "l".repeat(MAX_BODY_BYTES - 9);
    for text in [&small, &large, &large, &small, &small] {
        let sealed = seal(&mut chain, text);
        assert_eq!(journal.append(&sealed).await, Appended::Committed { duplicate: false });
    }
    let mut cursor = Cursor::start(opened.tail.identity);
    let mut pages = Vec::new();
    loop {
        let page = journal.read(&cursor).await.unwrap();
        if page.entries.is_empty() {
            break;
        }
        pages.push(page.entries.len());
        cursor = page.next;
    }
    assert_eq!(pages, [2, 1, 1, 2], "a large entry fills a page of its own");
}

async fn a_feed_may_start_in_the_middle(rig: Rig) {
    let journal = rig.journal();
    let opened = journal.open(None).await.unwrap();
    let mut chain = lead(&opened);
    for i in 0..10 {
        let sealed = seal(&mut chain, &i.to_string());
        journal.append(&sealed).await;
    }
    let identity = opened.tail.identity;
    let page = journal.read(&Cursor::after(identity, 6)).await.unwrap();
    assert_eq!(texts(&page.entries), ["5", "6", "7", "8", "9"]);
    let page = journal.read(&Cursor::after(identity, 11)).await.unwrap();
    assert_eq!((page.entries.len(), page.next.tail()), (0, None));
}

async fn a_cursor_of_another_history_reads_nothing(rig: Rig) {
    let journal = rig.journal();
    let opened = journal.open(None).await.unwrap();
    let (mut chain, mut other) = (lead(&opened), lead(&opened));
    let (mine, theirs) = (seal(&mut chain, "mine"), seal(&mut other, "theirs"));
    journal.append(&mine).await;
    journal.append(&seal(&mut chain, "more")).await;
    let mut cursor = Cursor::at(opened.tail);
    cursor.accept(theirs.id(), theirs.bytes().clone()).unwrap();
    let refused = journal.read(&cursor).await.unwrap_err().to_string();
    assert!(refused.contains("not chained to the entry before it"), "{refused}");
}

async fn only_what_an_entry_says_may_leave_does(rig: Rig) {
    let journal = rig.journal();
    let opened = journal.open(None).await.unwrap();
    let (mut chain, mut other) = (lead(&opened), lead(&opened));
    let mut ids = vec![opened.tail.position.id()];
    for i in 0..TRIM_STEP + 20 {
        let sealed = seal(&mut chain, &i.to_string());
        journal.append(&sealed).await;
        ids.push(sealed.id());
    }
    let first = TRIM_STEP + 15;
    let trimmed = Event::JournalTrimmed(JournalTrimmed { at: Timestamp(0), first });
    let said = |chain: &mut Chain| {
        let batch = journal::catalog::batch([&trimmed]).unwrap();
        chain.seal(0, batch).unwrap()
    };
    let (logged, theirs) = (said(&mut chain), said(&mut other));
    for (first, by) in [(2, ids[7]), (first, logged.id()), (first, theirs.id())] {
        let refused = journal.trim(first, by).await.unwrap_err();
        assert!(matches!(refused, Trouble::Denied(_)), "{refused}: {by} says nothing here");
    }
    journal.append(&logged).await;
    let refused = journal.trim(first + 1, logged.id()).await.unwrap_err();
    assert!(matches!(refused, Trouble::Denied(_)), "{refused}: it says less");
    let oldest = async || {
        let first = journal.stored(1, 1).await.unwrap()[0].0;
        assert_eq!(rig.journal().open(None).await.unwrap().first_seq, first.seq);
        journal.check().await.expect("a part of it done is as good as all of it");
        first.seq
    };
    assert_eq!(oldest().await, 1, "nothing has left");
    assert_eq!(journal.trim(first, logged.id()).await, Ok(1 + TRIM_STEP));
    assert_eq!(oldest().await, 1 + TRIM_STEP, "a step at a time");
    for _ in 0..2 {
        assert_eq!(journal.trim(first, logged.id()).await, Ok(first), "and again is no more");
        assert_eq!(oldest().await, first);
    }
    let gone = journal.read(&Cursor::start(opened.tail.identity)).await.unwrap_err();
    assert!(matches!(gone, ReadError::Damaged(_)), "{gone}: nobody reads over what is missing");
    // What nobody logged is not missed in silence.
    rig.lose_before(first + 3).await;
    let refused = rig.journal().open(None).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("entry {first} on were to stay")), "{refused}");
    let refused = journal.check().await.unwrap_err().to_string();
    assert!(refused.contains("removed by hand"), "{refused}");
}

fn claim(url: &str) -> Claim {
    Claim { boot: Uuid::new_v4(), url: url.into() }
}

async fn the_leaders_key_has_one_holder(rig: Rig) {
    let journal = rig.journal();
    let (one, other) = (claim("http://one"), claim("http://other"));
    journal.open(None).await.unwrap();
    assert_eq!(journal.leader().await, Ok(None));
    assert_eq!(journal.claim(&one, None).await, Ok(Claimed::Held));
    assert_eq!(journal.claim(&one, None).await, Ok(Claimed::Held), "renewed");
    assert_eq!(journal.leader().await, Ok(Some(one.clone())));
    let third = claim("http://third");
    for of in [None, Some(&third)] {
        match journal.claim(&other, of).await {
            Ok(Claimed::Other { holder, left }) => {
                assert_eq!(holder, one.to_string());
                assert!(!left.is_zero() && left <= journal::limits::LEASE_TTL, "{left:?}");
            }
            found => panic!("two leaders: {found:?}"),
        }
    }
    journal.release(&other).await.unwrap();
    assert_eq!(journal.leader().await, Ok(Some(one.clone())), "only its holder gives it back");
    journal.release(&one).await.unwrap();
    assert_eq!(journal.claim(&other, None).await, Ok(Claimed::Held));
    rig.expire_lease().await;
    assert_eq!(journal.claim(&one, None).await, Ok(Claimed::Held));
}

async fn the_key_of_a_dead_leader_is_seized_by_one_and_no_later_key_with_it(rig: Rig) {
    let (first, second) = (rig.journal(), rig.journal());
    first.open(None).await.unwrap();
    second.open(None).await.unwrap();
    let dead = claim("http://dead");
    assert_eq!(first.claim(&dead, None).await, Ok(Claimed::Held));
    let (one, other) = (claim("http://one"), claim("http://other"));
    let taken = tokio::join!(
        Lease::seize(first.clone(), &dead, one.clone()),
        Lease::seize(second.clone(), &dead, other.clone()),
    );
    let winner = match taken {
        (Ok(_), Err(NotAcquired::Other { holder, .. })) if holder == one.to_string() => one,
        (Err(NotAcquired::Other { holder, .. }), Ok(_)) if holder == other.to_string() => other,
        found => panic!("not one of them: {found:?}"),
    };
    let late = Lease::seize(first.clone(), &dead, claim("http://late")).await;
    assert!(matches!(late, Err(NotAcquired::Other { .. })), "{late:?}");
    assert_eq!(second.leader().await, Ok(Some(winner)), "nobody else's key was taken");
    let renewed = first.claim(&dead, None).await;
    assert!(matches!(renewed, Ok(Claimed::Other { .. })), "if it lives, it hears: {renewed:?}");
}

async fn a_restarted_leader_takes_its_own_key_at_once_and_the_old_process_loses_it(rig: Rig) {
    let journal = rig.journal();
    journal.open(None).await.unwrap();
    let acquire = |claim: &Claim| Lease::acquire(journal.clone(), claim.clone());
    let (old, new) = (claim("http://same"), claim("http://same"));
    acquire(&old).await.unwrap();
    acquire(&new).await.unwrap();
    let renewed = journal.claim(&old, None).await;
    assert!(matches!(renewed, Ok(Claimed::Other { .. })), "{renewed:?}");
    assert_eq!(journal.leader().await, Ok(Some(new)));
    let longer = acquire(&claim("http://same/longer")).await;
    assert!(matches!(longer, Err(NotAcquired::Other { .. })), "the whole URL counts: {longer:?}");
}

async fn a_claim_that_comes_late_takes_the_key_from_no_later_process(rig: Rig) {
    let journal = rig.journal();
    journal.open(None).await.unwrap();
    let [first, second, third] = ["http://same"; 3].map(claim);
    Lease::acquire(journal.clone(), first.clone()).await.unwrap();
    Lease::acquire(journal.clone(), second.clone()).await.unwrap();
    Lease::acquire(journal.clone(), third.clone()).await.unwrap();
    // What the second one asked for, delivered again when the third one leads.
    for of in [None, Some(&first)] {
        let late = journal.claim(&second, of).await;
        assert!(matches!(late, Ok(Claimed::Other { .. })), "{late:?}");
    }
    assert_eq!(journal.leader().await, Ok(Some(third)));
}

async fn heartbeats_are_listed_until_they_expire_or_are_dropped(rig: Rig) {
    let journal = rig.journal();
    journal.open(None).await.unwrap();
    let beat = |node: &str, ttl_ms: u64| Heartbeat {
        node: node.into(),
        value: format!("{{\"node\":\"{node}\"}}"),
        ttl: Duration::from_millis(ttl_ms),
    };
    let nodes = async || -> Vec<String> {
        journal.heartbeats().await.unwrap().into_iter().map(|beat| beat.node).collect()
    };
    let beats = [beat("b", 60_000), beat("a:1", 60_000), beat("brief", 200)];
    journal.put_heartbeats(&beats).await.unwrap();
    journal.put_heartbeats(&[]).await.unwrap();
    until("the brief one expires", async || nodes().await == ["a:1", "b"]).await;
    let found = journal.heartbeats().await.unwrap();
    assert_eq!(found[1].value, beats[0].value);
    assert!(found[1].ttl <= beats[0].ttl && found[1].ttl > Duration::from_secs(30));
    journal.drop_heartbeat("b").await.unwrap();
    journal.drop_heartbeat("never").await.unwrap();
    assert_eq!(nodes().await, ["a:1"]);
    let many: Vec<_> = (0..2_500).map(|i| beat(&format!("n{i:04}"), 60_000)).collect();
    journal.put_heartbeats(&many).await.unwrap();
    assert_eq!(nodes().await.len(), 2_501);
}

fn member(order: u32) -> QueueMember {
    QueueMember::new(&order.to_be_bytes(), RunId(Uuid::from_u128(u128::from(u32::MAX - order))))
}

fn id(seq: u64) -> EntryId {
    EntryId { seq, h64: seq * 10 }
}

async fn the_visible_queue_is_in_the_order_of_the_line(rig: Rig) {
    let journal = rig.journal();
    journal.open(None).await.unwrap();
    let show = |members: &[u32]| -> Vec<String> {
        members.iter().map(|order| member(*order).as_str().into()).collect()
    };
    let orders = [70_000, 3, 256, 1];
    let content = Content::Queue(orders.map(member).into());
    journal.rebuild(content, id(5)).await.unwrap();
    assert_eq!(rig.queue().await, show(&[1, 3, 256, 70_000]));
    let ops = Ops::Queue(vec![
        QueueOp::Remove(member(3)),
        QueueOp::Add(member(2)),
        QueueOp::Add(member(9)),
        QueueOp::Remove(member(9)),
        QueueOp::Remove(member(1)),
        QueueOp::Add(member(1)),
    ]);
    let step = Step { from: id(5), to: id(6), ops };
    assert_eq!(journal.project(&step).await, Ok(Projected::Moved));
    assert_eq!(rig.queue().await, show(&[1, 2, 256, 70_000]));
    journal.rebuild(Content::Queue(vec![member(4)]), id(7)).await.unwrap();
    assert_eq!(rig.queue().await, show(&[4]), "nothing of the old one is left");
    journal.rebuild(Content::Queue(vec![]), id(8)).await.unwrap();
    assert_eq!(rig.queue().await, show(&[]));
    let ops = Ops::Queue(vec![QueueOp::Add(member(1))]);
    let step = Step { from: id(8), to: id(9), ops };
    assert_eq!(journal.project(&step).await, Ok(Projected::Moved));
    assert_eq!(rig.queue().await, show(&[1]));
}

async fn a_step_over_a_foreign_cursor_changes_nothing(rig: Rig) {
    let journal = rig.journal();
    journal.open(None).await.unwrap();
    let step = |from, to| Step {
        from: id(from),
        to: id(to),
        ops: Ops::Queue(vec![QueueOp::Add(member(1))]),
    };
    assert_eq!(journal.project(&step(1, 2)).await, Ok(Projected::Elsewhere(None)));
    journal.rebuild(Content::Queue(vec![]), id(3)).await.unwrap();
    assert_eq!(journal.project(&step(1, 2)).await, Ok(Projected::Elsewhere(Some(id(3)))));
    assert!(rig.queue().await.is_empty());
    let nothing = Step { from: id(3), to: id(4), ops: Ops::Queue(vec![]) };
    assert_eq!(journal.project(&nothing).await, Ok(Projected::Moved));
    assert_eq!(journal.project(&step(4, 5)).await, Ok(Projected::Moved));
    let policies = Step { from: id(5), to: id(6), ops: Ops::Policies(vec![]) };
    assert_eq!(
        journal.project(&policies).await,
        Ok(Projected::Elsewhere(None)),
        "cursors are apart"
    );
}

async fn a_large_step_and_a_large_rebuild_arrive_whole(rig: Rig) {
    let journal = rig.journal();
    journal.open(None).await.unwrap();
    journal.rebuild(Content::Queue((0..9_000).map(member).collect()), id(1)).await.unwrap();
    assert_eq!(rig.queue().await.len(), 9_000);
    let adds = (20_000..29_500).map(|order| QueueOp::Add(member(order)));
    let removes = (0..9_000).map(|order| QueueOp::Remove(member(order)));
    let ops = Ops::Queue(adds.chain(removes).collect());
    let step = Step { from: id(1), to: id(2), ops };
    assert_eq!(journal.project(&step).await, Ok(Projected::Moved));
    let queue = rig.queue().await;
    assert_eq!((queue.len(), queue[0].as_str()), (9_500, member(20_000).as_str()));
    let again = Step { from: id(2), to: id(3), ops: step.ops };
    assert_eq!(journal.project(&again).await, Ok(Projected::Moved));
    assert_eq!(rig.queue().await, queue, "an operation that is applied again changes nothing");
}

async fn policies_are_put_and_deleted(rig: Rig) {
    let journal = rig.journal();
    journal.open(None).await.unwrap();
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, json)| ((*name).into(), (*json).into())).collect()
    };
    let all = own(&[("a", "{\"version\":1}"), ("b", "{}")]);
    journal.rebuild(Content::Policies(all.clone()), id(1)).await.unwrap();
    assert_eq!(rig.policies().await, all);
    let ops = Ops::Policies(vec![
        PolicyOp::Put("a".into(), "{\"version\":2}".into()),
        PolicyOp::Delete("b".into()),
        PolicyOp::Put("c".into(), "é\u{0}".into()),
    ]);
    let step = Step { from: id(1), to: id(2), ops };
    assert_eq!(journal.project(&step).await, Ok(Projected::Moved));
    assert_eq!(rig.policies().await, own(&[("a", "{\"version\":2}"), ("c", "é\u{0}")]));
}

async fn a_journal_opened_on_one_thread_serves_another(rig: Rig) {
    let journal = rig.journal();
    let opened = journal.open(None).await.unwrap();
    let elsewhere = std::thread::spawn({
        let journal = journal.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut chain = lead(&opened);
                let mut one = batch("from ");
                one.extend(&batch("afar"));
                journal.append(&chain.seal(0, one).unwrap()).await
            })
        }
    });
    until("the other thread ends", async || elsewhere.is_finished()).await;
    assert_eq!(elsewhere.join().unwrap(), Appended::Committed { duplicate: false });
    let opened = journal.open(None).await.unwrap();
    assert_eq!(texts(&read_all(&*journal, &opened).await), ["from afar"]);
}

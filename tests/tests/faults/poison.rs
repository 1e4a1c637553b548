//! Entries that a sound chain holds and that nobody should have written.

use domain::Event;
use domain::event::{
    LostCause, Next, NodeLost, NodeLostCause, Origin, PolicyDeleted, Principal, RunCanceled,
    RunForgotten, RunLost,
};
use domain::ids::{NodeId, RunId, Timestamp};
use journal::{
    Appended, Batch, Chain, Journal, Record, RedisConfig, RedisJournal, Secrets, catalog,
};
use tests::until;
use uuid::Uuid;

use crate::journal::stopped;
use crate::row;
use crate::trio::Trio;

/// Appends an entry as an instance does that leads.
async fn append(trio: &Trio, batch: Batch) {
    let address = trio.redis.addr().parse().expect("an address");
    let journal = RedisJournal::new(RedisConfig::at(address));
    until("the entry to be the next", || async {
        let opened = journal.open(None).await.expect("a journal");
        let mut chain = Chain::lead_from(opened.tail, Uuid::new_v4());
        let sealed = chain.seal(opened.tail.at_ms, batch.clone()).expect("it fits");
        matches!(journal.append(&sealed).await, Appended::Committed { .. }).then_some(())
    })
    .await;
}

fn unknown(critical: bool) -> Batch {
    let mut batch = Batch::new();
    let (payload, secrets) = (&b"of a later version"[..], Secrets::NONE);
    batch.push(Record { kind: 65_000, version: 1, critical, payload, secrets });
    batch
}

/// What the law would never have decided: nobody knows this run, this node, this policy.
fn impossible() -> Vec<Event> {
    let (run, at) = (RunId(Uuid::new_v4()), Timestamp(1));
    let node = NodeId(std::sync::Arc::from("nobody"));
    let origin = || Origin { by: Principal::System, request: Uuid::new_v4() };
    let cause = LostCause::NodeLost;
    vec![
        Event::RunCanceled(RunCanceled { run, at, origin: origin() }),
        Event::RunForgotten(RunForgotten { run, at }),
        Event::RunLost(RunLost {
            run,
            at,
            attempt: 7,
            node: node.clone(),
            cause,
            next: Next::Again { not_before: at },
        }),
        Event::NodeLost(NodeLost { node, at, cause: NodeLostCause::Left }),
        Event::PolicyDeleted(PolicyDeleted {
            at,
            origin: origin(),
            revision: 9_000,
            name: "none".into(),
        }),
    ]
}

#[tokio::test]
async fn f18_an_entry_is_poison() {
    let mut trio = Trio::start().await;
    trio.write(&[0, 1, 2]).await;
    // Of a later version, and not needed to know the state: it is passed over.
    append(&trio, unknown(false)).await;
    trio.write(&[0, 1, 2]).await;
    trio.check().await;
    let all = impossible();
    for event in &all {
        let mut batch = Batch::new();
        catalog::encode(event, &mut batch).expect("it can be written");
        append(&trio, batch).await;
        trio.write(&[0, 1, 2]).await;
        trio.leader().await;
    }
    for instance in &mut trio.instances {
        assert_eq!(instance.process.ended(), None, "nobody falls over it");
        instance.restart().await;
    }
    trio.verify().expect(1);
    // Needed to know the state: nobody goes on, and each says which entry it is.
    let leader = trio.leader().await;
    let last = trio.apis()[leader].get("/v1/queue").await.index();
    append(&trio, unknown(true)).await;
    stopped("an unknown event", &trio).await;
    for api in trio.apis() {
        let said = api.get("/healthz").await.text();
        assert!(said.contains("65000"), "{said}");
    }
    // Up to that entry the state can be seen, with no instance left to ask.
    let redis = trio.redis.addr();
    let verified = tests::tartarus(&["replay", "verify", "--redis", &redis], &[]).expect(1);
    assert!(verified.stdout.contains("65000"), "{}", verified.stdout);
    let seen = tests::tartarus(&["replay", "at", &last.to_string(), "--redis", &redis], &[]);
    seen.expect(0);
    let seen = format!(
        "of an unknown type: passed over where it is not critical, else all instances stop and name \
         it on /healthz; {} that the law would never decide: nobody falls over them, a restart \
         neither, `replay verify` finds them",
        all.len()
    );
    row("F18", "an entry with a sound chain that nobody should have written", all.len() + 2, &seen);
}

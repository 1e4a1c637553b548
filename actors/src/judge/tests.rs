//! Judging under the revision that is asked for.

use std::sync::Arc;

use actix::Actor;
use domain::judge::Heard;
use domain::{Court, Law};
use tokio::sync::{oneshot, watch};

use super::{Judge, JudgeActor};
use crate::fixture::request;

#[actix::test]
async fn a_judgement_waits_for_the_revision_it_is_asked_for() {
    let (law, handed) = watch::channel(Arc::new(Court::default()));
    let judge = JudgeActor::new(handed).start();
    let ask = async |revision| {
        let (reply, judged) = oneshot::channel();
        let requests = vec![(0, request())];
        let message = Judge { requests, quarantine_on: true, revision, reply };
        judge.send(message).await.expect("a judge");
        match judged.await.expect("judged").remove(0).1.expect("a template") {
            Heard::Judged(judged) => judged.judgement().revision,
            Heard::Open(case) => panic!("it wants nothing: {:?}", case.wants()),
        }
    };
    assert_eq!(ask(0).await, 0);
    let mut next = Law::default();
    next.revision = 3;
    let (revision, _) = tokio::join!(ask(3), async {
        tokio::task::yield_now().await;
        law.send_replace(Arc::new(Court::from(next)));
    });
    assert_eq!(revision, 3);
}

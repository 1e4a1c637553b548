//! What led to what, and a life step by step.

use api::event::Place;
use replay::fold;
use replay::step;
use replay::why::{Target, Why, led_to};

use crate::day::{day, journal, source};
use crate::law::{node, run};

async fn chain(target: Target, until: Option<Place>) -> Vec<api::Link> {
    let journal = journal(&day().0).await;
    let (why, _) = fold::run(&mut source(&journal), Why::new(target), |_| {}).await;
    assert!(why.bad.is_none());
    why.chain(until)
}

fn kinds(links: &[api::Link]) -> Vec<&str> {
    links.iter().map(|link| &*link.kind).collect()
}

#[tokio::test]
async fn a_chain_goes_from_the_end_of_a_run_to_who_asked_and_the_law() {
    let links = chain(Target::Run(run(1)), None).await;
    let lived = ["run.finished", "run.started", "run.assigned", "run.admitted", "policy.put"];
    assert_eq!(kinds(&links), lived);
    for pair in links[..4].windows(2) {
        assert_eq!(pair[0].cause, [pair[1].id.clone()], "{pair:#?}");
    }
    assert_eq!(links[0].actor, "node n1");
    assert_eq!(links[2].actor, "system (epoch 1, http://127.0.0.1:1)");
    assert!(links[2].because.as_ref().is_some_and(|b| b.contains("made after entry 7")));
    let request = links[3].correlationid;
    assert!(request.is_some() && links[..4].iter().all(|link| link.correlationid == request));
    let from_start = led_to(links.clone(), &links[1].id);
    assert_eq!(kinds(&from_start), lived[1..]);
}

#[tokio::test]
async fn a_lost_run_was_lost_with_its_node_and_the_house_is_told_where_it_is_certain() {
    let links = chain(Target::Run(run(5)), None).await;
    let first = kinds(&links)[..3].to_vec();
    assert_eq!(first, ["run.lost", "node.lost", "run.assigned"], "{links:#?}");
    assert_eq!(links[0].cause, [links[2].id.clone(), links[1].id.clone()]);
    assert!(links[0].because.as_ref().is_some_and(|b| b.contains("n1 was lost")));
    // The line stood still before it was assigned.
    assert!(kinds(&links).contains(&"queue.resumed") && kinds(&links).contains(&"queue.paused"));
    assert_eq!(links[2].actor, "system (epoch 2, http://127.0.0.1:1)");
    let assigned: Place = links[2].id.parse().expect("a place");
    let before = chain(Target::Run(run(5)), Some(assigned)).await;
    assert_eq!(before[0], links[2], "the chain of an earlier event");
    let of_node = chain(Target::Node(node("n1")), None).await;
    assert_eq!(kinds(&of_node), ["node.lost", "node.joined"]);
    assert!(chain(Target::Run(run(99)), None).await.is_empty());
}

#[tokio::test]
async fn a_life_is_walked_through_with_what_each_event_changed() {
    let journal = journal(&day().0).await;
    let steps = step::steps(&mut source(&journal), run(1), |_| {}).await.expect("steps");
    let kinds: Vec<&str> = steps.iter().map(|step| &*step.link.kind).collect();
    assert_eq!(kinds, ["run.admitted", "run.assigned", "run.started", "run.finished"]);
    let status = |n: usize| {
        let changed = steps[n].changes.iter().find(|change| change.name == "status");
        let change = changed.expect("the status changed");
        let text = |value: &Option<serde_json::Value>| {
            value.as_ref().and_then(|value| value.as_str()).map(str::to_owned)
        };
        (text(&change.from), text(&change.to))
    };
    let word = |word: &str| Some(word.to_owned());
    assert_eq!(status(0), (None, word("PENDING")));
    assert_eq!(status(1), (word("PENDING"), word("SCHEDULED")));
    assert_eq!(status(3), (word("RUNNING"), word("SUCCEEDED")));
    assert_eq!((steps[0].queue.depth, steps[0].queue.place), (1, Some(1)));
    assert_eq!(steps[1].queue.place, None, "it waits no more");
    assert_eq!(steps[1].node.as_ref().map(|node| node.runs), Some(1));
    assert_eq!(steps[3].node.as_ref().map(|node| node.runs), Some(0));
    assert_eq!((steps[0].since_ms, steps[2].since_ms.is_some_and(|ms| ms > 0)), (None, true));
    let nobody = step::steps(&mut source(&journal), run(99), |_| {}).await.expect("a journal");
    assert!(nobody.is_empty());
}

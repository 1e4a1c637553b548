//! Query strings, read and written.

use super::*;

#[test]
fn every_filter_is_read_and_written() {
    let text = "status=PENDING&status=running&template=host&tenant=acme&node=n1&heat=hot&\
                pool=high_compute&label=team%3Dml%2C%21old&since=1h&\
                until=2026-01-01T00%3A00%3A00.000Z&limit=7&cursor=abc&index=3&wait=30s&\
                min_index=2&consistent=true";
    let query = RunsQuery::parse(text).unwrap();
    assert_eq!(query.status, [Status::Pending, Status::Running]);
    assert_eq!(query.label.to_string(), "team in (ml),!old");
    assert_eq!(RunsQuery::parse(&query.to_query()), Ok(query));
    for (text, at) in [
        ("at=12", At::Sequence(12)),
        ("at=2026-01-01T00%3A00%3A00.000Z", At::Time(Time(1_767_225_600_000))),
    ] {
        let query = RunsQuery::parse(text).unwrap();
        assert_eq!(query.read.at, Some(at));
        assert_eq!(RunsQuery::parse(&query.to_query()), Ok(query));
    }
    for (text, hash) in [
        ("min_index=17", None),
        ("min_index=17-db14c33df246c2f1", Some("db14c33df246c2f1".parse().unwrap())),
    ] {
        let query = RunsQuery::parse(text).unwrap();
        assert_eq!(query.read.min_index, Some(Least { index: 17, hash }));
        assert_eq!(query.to_query(), text);
    }
    assert_eq!(RunsQuery::parse(""), Ok(RunsQuery::default()));
}

#[test]
fn a_feed_is_asked_for_by_place_type_and_run() {
    let text = "after=17.3&type=run.admitted&type=run.finished&\
                run=0194a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b&follow=false&limit=7";
    let query = EventsQuery::parse(text).unwrap();
    assert_eq!(query.after, Some(Place { sequence: 17, n: Some(3) }));
    assert_eq!(query.types, ["run.admitted", "run.finished"]);
    assert_eq!((query.follow, query.limit), (false, Some(7)));
    assert_eq!(query.to_query(), text);
    assert_eq!(EventsQuery::parse(""), Ok(EventsQuery::default()));
    let all = EventsQuery::parse("after=x&run=7&follow=maybe&limit=0&wait=1s").unwrap_err();
    assert_eq!(all.complaints().len(), 5);
}

#[test]
fn a_longer_wait_is_clamped() {
    let query = ReadQuery::parse("wait=1h").unwrap();
    assert_eq!(query.wait, Some(Duration::from_millis(WAIT_MS_MAX)));
}

#[test]
fn what_is_wrong_is_named() {
    for (query, words) in [
        ("limit=0", "limit is \"0\": give 1 to 1000"),
        ("limit=1001", "limit is \"1001\": give 1 to 1000"),
        ("limit=ten", "limit is \"ten\": give 1 to 1000"),
        ("limit=1&limit=2", "limit is given twice: give it once"),
        (
            "wait=30",
            "wait is \"30\": the unit is missing: write ms, s, m, h or d after the number, such as \"30s\"",
        ),
        ("index=-1", "index is \"-1\": give an integer of at least 0"),
        (
            "min_index=17-db14",
            "min_index is \"17-db14\": give the number of an entry, or what X-Tartarus-Receipt said, such as 17-db14c33df246c2f1",
        ),
        (
            "min_index=-1",
            "min_index is \"-1\": give the number of an entry, or what X-Tartarus-Receipt said, such as 17-db14c33df246c2f1",
        ),
        ("at=1&wait=1s", "wait is given with at: leave one out, the past stands still"),
        ("min_index=0&at=1", "min_index is given with at: leave one out, the past stands still"),
        ("consistent=yes", "consistent is \"yes\": give true or false"),
        ("heat=lava", "heat is \"lava\": give cold, warm, hot or inferno"),
        ("pool=deep", "pool is \"deep\": give one of standard, high_compute, quarantine"),
    ] {
        let error = RunsQuery::parse(query).unwrap_err();
        assert_eq!(error.complaints(), [words], "{query}");
    }
    let unknown = RunsQuery::parse("statsu=PENDING").unwrap_err().to_string();
    assert!(
        unknown.starts_with("unknown parameter \"statsu\": did you mean \"status\"?"),
        "{unknown}"
    );
    let label = RunsQuery::parse("label=a%20b").unwrap_err().to_string();
    assert!(label.starts_with("label: \"a b\" is no requirement"), "{label}");
    let all = RunsQuery::parse("limit=0&heat=x&status=DONE").unwrap_err();
    assert_eq!(all.complaints().len(), 3);
}

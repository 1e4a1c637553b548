//! What was written once is read for ever: each version of each event type as a pair of files in
//! `tests/golden/<type>/`, `v<n>.bin` (records as they stand in an entry, and behind them what of them
//! is apart) and `v<n>.json`.
//!
//! `TARTARUS_WRITE_GOLDEN=1` writes the files that are missing, and touches none that exists: what
//! has to change is a new version.

mod golden_samples;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::Event;
use domain::ids::Timestamp;
use golden_samples::samples;
use journal::apart::{Secret, Secrets};
use journal::catalog::{self, ADDED, EventType, RecordFault, TYPES};
use journal::{Batch, Chain, ClusterId, Entry, Format, Identity, Position, Record, Tail};
use serde_json::{Value, json};
use uuid::Uuid;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn file(of: &EventType, version: u16, extension: &str) -> PathBuf {
    golden().join(of.name).join(format!("v{version}.{extension}"))
}

/// An entry that holds a batch, as a reader gets it.
fn entry(batch: Batch) -> Entry {
    let identity = Identity { cluster: ClusterId(Uuid::nil()), incarnation: 1 };
    let tail = Tail { identity, position: Position::ORIGIN, epoch: 0, at_ms: 0 };
    let sealed = Chain::lead_from(tail, Uuid::nil()).salted([7; 32]).seal(0, batch).unwrap();
    sealed.entry().clone()
}

/// A length of at most two bytes, and so many bytes.
fn secret<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (len, after) = match **rest {
        [low, high, ..] if low > 127 => (usize::from(low & 127) | usize::from(high) << 7, 2),
        [low, ..] => (usize::from(low), 1),
        [] => panic!("a secret is missing"),
    };
    let (text, after) = rest[after..].split_at(len);
    *rest = after;
    text
}

/// So many records of a golden file, read back into a batch record by record.
fn batch_of(bytes: &[u8], count: usize) -> Batch {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    for _ in 0..count {
        let (frame, after) = rest.split_first_chunk::<9>().expect("a frame");
        let len = u32::from_le_bytes([frame[5], frame[6], frame[7], frame[8]]) as usize;
        let (payload, after) = after.split_at(len);
        frames.push((frame, payload));
        rest = after;
    }
    let mut marks = &[][..];
    if let Some((form, apart)) = rest.split_first() {
        assert_eq!(*form, 1, "nothing was taken out");
        rest = &apart[32..];
        marks = secret(&mut rest);
    }
    let mut batch = Batch::new();
    for (&[k0, k1, v0, v1, flags, ..], payload) in frames {
        let open = |flag, from: &mut _| match flags & flag {
            0 => Secret::None,
            _ => Secret::Open(secret(from)),
        };
        let (env, stdin) = (open(2, &mut rest), open(4, &mut rest));
        let secrets = Secrets { env, stdin, marks: open(8, &mut marks) };
        let (kind, version) = (u16::from_le_bytes([k0, k1]), u16::from_le_bytes([v0, v1]));
        batch.push(Record { kind, version, critical: flags & 1 == 1, payload, secrets });
    }
    assert!(rest.is_empty() && marks.is_empty(), "bytes are left over");
    batch
}

fn body(entry: &Entry) -> &[u8] {
    &entry.bytes()[journal::entry::HEADER_LEN..]
}

fn decoded(entry: &Entry) -> Vec<Event> {
    catalog::events(entry).map(|event| event.unwrap().1).collect()
}

fn json_of(events: &[Event]) -> Value {
    let one = |event| catalog::serialize_body(event, serde_json::value::Serializer).unwrap();
    Value::Array(events.iter().map(one).collect())
}

fn pretty(json: &Value) -> String {
    format!("{json:#}\n")
}

#[test]
fn every_version_of_every_event_reads_as_it_was_written() {
    let write = std::env::var_os("TARTARUS_WRITE_GOLDEN").is_some();
    let samples = samples();
    assert_eq!(samples.len(), TYPES.len(), "a type has no sample");
    for (of, samples) in TYPES.iter().zip(&samples) {
        for sample in samples {
            assert_eq!(catalog::type_of(sample), *of, "the sample of another type");
        }
        let newest = entry(catalog::batch(samples).unwrap());
        for version in 1..=of.version {
            let (bin, json) = (file(of, version, "bin"), file(of, version, "json"));
            if write && version == of.version && !bin.exists() && !json.exists() {
                std::fs::create_dir_all(bin.parent().unwrap()).unwrap();
                std::fs::write(&bin, body(&newest)).unwrap();
                std::fs::write(&json, pretty(&json_of(samples))).unwrap();
            }
            let read = |path: &Path| {
                std::fs::read(path).unwrap_or_else(|error| {
                    panic!(
                        "{}: {error}; run this test with TARTARUS_WRITE_GOLDEN=1",
                        path.display()
                    )
                })
            };
            let (bin, json) = (read(&bin), String::from_utf8(read(&json)).unwrap());
            let was: Value = serde_json::from_str(&json).unwrap();
            let old = entry(batch_of(&bin, was.as_array().unwrap().len()));
            let events = decoded(&old);
            for (record, event) in old.records().zip(&events) {
                let named = event.run().is_none_or(|run| catalog::may_name(&record, run));
                assert!(named, "{} v{version} has a run that is not seen in its bytes", of.name);
                assert!(!catalog::may_name(&record, domain::RunId(Uuid::from_u128(77))));
            }
            let lifted = json_of(&events);
            assert!(holds(&lifted, &was), "{} v{version} reads otherwise: {lifted:#}", of.name);
            let mut brought = BTreeSet::new();
            added(&lifted, &was, &[], &mut brought);
            let listed = ADDED.iter().filter(|(kind, by, _)| *kind == of.kind && *by > version);
            let listed: BTreeSet<Vec<&str>> = listed.map(|(_, _, path)| path.to_vec()).collect();
            assert_eq!(brought, listed, "what came after {} v{version} is not listed", of.name);
            if version == of.version {
                assert_eq!(pretty(&lifted), json, "{} v{version} reads otherwise", of.name);
                assert_eq!(body(&newest), bin, "{} v{version} is written otherwise", of.name);
                assert_eq!(&events, samples, "{} v{version}", of.name);
                let again = entry(catalog::batch(&events).unwrap());
                assert_eq!(body(&again), bin, "{} v{version} does not survive a round", of.name);
            }
        }
    }
}

/// Whether `now` says all that `was` said: an old version's fields keep their names and values, and
/// others may have come beside them.
fn holds(now: &Value, was: &Value) -> bool {
    match (now, was) {
        (Value::Object(now), Value::Object(was)) => {
            was.iter().all(|(key, was)| now.get(key).is_some_and(|now| holds(now, was)))
        }
        (Value::Array(now), Value::Array(was)) => {
            now.len() == was.len() && now.iter().zip(was).all(|(now, was)| holds(now, was))
        }
        _ => now == was,
    }
}

/// The members that `now` has and `was` has not, at any place.
fn added<'a>(now: &'a Value, was: &Value, at: &[&'a str], found: &mut BTreeSet<Vec<&'a str>>) {
    match (now, was) {
        (Value::Object(now), Value::Object(was)) => {
            for (key, now) in now {
                let path = [at, &[&**key]].concat();
                match was.get(key) {
                    Some(was) => added(now, was, &path, found),
                    None => {
                        found.insert(path);
                    }
                }
            }
        }
        (Value::Array(now), Value::Array(was)) => {
            now.iter().zip(was).for_each(|(now, was)| added(now, was, at, found));
        }
        _ => {}
    }
}

#[test]
fn what_nobody_could_say_then_is_lifted_to_nothing() {
    let lifted = |name: &str| {
        let of = TYPES.iter().find(|of| of.name == name).unwrap();
        let read = |extension| std::fs::read(file(of, 1, extension)).unwrap();
        let count = serde_json::from_slice::<Vec<Value>>(&read("json")).unwrap().len();
        decoded(&entry(batch_of(&read("bin"), count)))
    };
    for event in lifted("run.admitted").into_iter().chain(lifted("run.rejected")) {
        let (submission, judgement) = match event {
            Event::RunAdmitted(e) => (e.submission.clone(), e.judgement.clone()),
            Event::RunRejected(e) => (e.submission.clone(), e.judgement.clone()),
            other => panic!("{other:?}"),
        };
        assert!(submission.placement.is_default());
        assert_eq!((&judgement.placement, &judgement.basis), (&None, &None));
        assert_eq!(judgement.heat.learned, None);
    }
    for event in lifted("policy.put") {
        let Event::PolicyPut(put) = event else { panic!("{event:?}") };
        let open = domain::law::lockdown_default();
        let (new, none) = (&put.policy, &open);
        assert_eq!((&new.require, &new.quotas), (&none.require, &none.quotas));
        assert_eq!(
            (&new.judges, new.heat, &new.placement, new.on_lost),
            (&none.judges, none.heat, &none.placement, none.on_lost)
        );
    }
}

/// The newest version of each type that programs of level 1 read; none where they know none.
const LEVEL_1: &[(u16, u16)] = &[
    (1, 1),
    (2, 2),
    (3, 2),
    (4, 1),
    (5, 1),
    (6, 1),
    (7, 2),
    (8, 1),
    (9, 1),
    (10, 1),
    (11, 1),
    (12, 1),
    (13, 2),
    (14, 1),
    (15, 1),
    (16, 1),
    (17, 1),
    (18, 1),
    (19, 1),
    (20, 1),
    (21, 1),
    (22, 1),
    (23, 1),
    (24, 1),
    (25, 1),
];

/// The same of level 2, where it is not the newest.
const LEVEL_2: &[(u16, Option<u16>)] = &[(13, Some(3)), (27, Some(1)), (32, None)];

/// The newest version of a type that programs of a level read.
fn known_at(level: u32, of: &EventType) -> Option<u16> {
    if level == 1 {
        return LEVEL_1.iter().find(|(kind, _)| *kind == of.kind).map(|(_, version)| *version);
    }
    let other = LEVEL_2.iter().find(|(kind, _)| *kind == of.kind);
    other.map_or(Some(of.version), |(_, version)| *version)
}

#[test]
fn at_a_level_is_written_what_its_programs_read_to_the_byte_or_nothing() {
    for (level, of) in [1, 2].into_iter().flat_map(|level| TYPES.iter().map(move |of| (level, of)))
    {
        let known = known_at(level, of);
        let version = known.unwrap_or(of.version);
        let bin = std::fs::read(file(of, version, "bin")).unwrap();
        let json = std::fs::read(file(of, version, "json")).unwrap();
        let was: Vec<Value> = serde_json::from_slice(&json).unwrap();
        let old = entry(batch_of(&bin, was.len()));
        let mut again = Batch::of(catalog::format_at(level));
        let written =
            decoded(&old).iter().try_for_each(|event| catalog::encode_at(level, event, &mut again));
        match known {
            Some(_) => {
                written.unwrap_or_else(|error| panic!("{} v{version}: {error}", of.name));
                assert_eq!(body(&entry(again)), bin, "{} v{version}", of.name);
                let takes = |record: Record<'_>| catalog::level_of(&record);
                assert!(old.records().map(takes).all(|takes| takes.is_some_and(|it| it <= level)));
            }
            None => {
                let refused = written.expect_err("none of its programs reads it").to_string();
                assert!(refused.contains(&format!("at level {level}")), "{refused}");
                assert!(old.records().all(|record| catalog::level_of(&record) > Some(level)));
            }
        }
    }
    // What only a newer version could say is never left out in silence.
    for sample in samples().into_iter().flatten() {
        let lossy = match &sample {
            Event::LeaderStarted(e) => e.key.is_some(),
            Event::PolicyPut(e) => {
                e.what_if.is_some() || e.policy.on_lost != domain::law::Losses::default()
            }
            _ => continue,
        };
        let mut batch = Batch::of(catalog::format_at(1));
        assert_eq!(catalog::encode_at(1, &sample, &mut batch).is_err(), lossy);
    }
}

#[test]
fn in_format_1_events_are_what_they_were_before_secrets_were_apart() {
    for (of, samples) in TYPES.iter().zip(samples()) {
        let mut batch = Batch::of(Format::Plain);
        samples.iter().for_each(|sample| catalog::encode(sample, &mut batch).unwrap());
        let entry = entry(batch);
        assert_eq!(decoded(&entry), samples, "{}", of.name);
        let version = entry.records().next().unwrap().version;
        let apart = samples.iter().any(catalog::has_secrets);
        assert_eq!(version, of.version - u16::from(apart), "{}", of.name);
        assert_eq!(body(&entry), std::fs::read(file(of, version, "bin")).unwrap(), "{}", of.name);
    }
}

#[test]
fn every_golden_file_belongs_to_a_version() {
    let known: BTreeSet<PathBuf> = TYPES
        .iter()
        .flat_map(|of| (1..=of.version).map(move |version| (of, version)))
        .flat_map(|(of, version)| ["bin", "json"].map(|extension| file(of, version, extension)))
        .collect();
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(golden()).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            found.insert(file.unwrap().path());
        }
    }
    assert_eq!(found, known);
}

fn of_type(name: &str) -> Event {
    let place = TYPES.iter().position(|of| of.name == name).unwrap();
    samples().swap_remove(place).swap_remove(0)
}

#[test]
fn numbers_and_names_are_given_once() {
    let numbers: BTreeSet<u16> = TYPES.iter().map(|of| of.kind).collect();
    let names: BTreeSet<&str> = TYPES.iter().map(|of| of.name).collect();
    assert_eq!((numbers.len(), names.len()), (TYPES.len(), TYPES.len()));
}

fn one(record: Record<'_>) -> Entry {
    let mut batch = Batch::new();
    batch.push(record);
    entry(batch)
}

fn check_refused(record: Record<'_>, fault: &RecordFault, words: &str) {
    let refused = catalog::events(&one(record)).next().unwrap().unwrap_err();
    assert_eq!(&refused.fault, fault);
    let text = refused.to_string();
    assert!(text.starts_with("journal entry 1, record 0: ") && text.contains(words), "{text}");
}

#[test]
fn what_this_program_does_not_know_is_named_with_what_to_do() {
    let record = |kind, version, critical| {
        let (payload, secrets) = (&b"\x07"[..], Secrets::NONE);
        Record { kind, version, critical, payload, secrets }
    };
    let newer = "start a newer version of tartarus";
    check_refused(record(65_000, 1, true), &RecordFault::UnknownType { kind: 65_000 }, newer);
    for critical in [true, false] {
        let fault = RecordFault::NewerVersion { name: "run.admitted", found: 9, known: 3 };
        check_refused(record(2, 9, critical), &fault, newer);
    }
    for version in [1, 2, 3] {
        let refused = catalog::decode(&record(2, version, true)).unwrap_err();
        let malformed = matches!(refused, RecordFault::Malformed { name: "run.admitted", .. });
        assert!(malformed, "{refused}");
    }
    let open: journal::OpenError =
        catalog::events(&one(record(65_000, 1, true))).next().unwrap().unwrap_err().into();
    assert_eq!(open.exit_code(), 4);
}

#[test]
fn an_unknown_event_that_is_not_critical_keeps_its_place_and_is_passed_over() {
    let paused = of_type("queue.resumed");
    let mut batch = catalog::batch([&paused]).unwrap();
    let (payload, secrets) = (&b"whatever"[..], Secrets::NONE);
    batch.push(Record { kind: 65_000, version: 3, critical: false, payload, secrets });
    catalog::encode(&paused, &mut batch).unwrap();
    let entry = entry(batch);
    let places: Vec<u32> = catalog::events(&entry).map(|event| event.unwrap().0).collect();
    assert_eq!(places, [0, 2]);
}

#[test]
fn bytes_behind_an_event_are_an_error() {
    let event = of_type("queue.resumed");
    let encoded = entry(catalog::batch([&event]).unwrap());
    let record = encoded.records().next().unwrap();
    let mut payload = record.payload.to_vec();
    payload.push(0);
    let refused = catalog::decode(&Record { payload: &payload, ..record }).unwrap_err();
    assert!(refused.to_string().contains("1 bytes are left over"), "{refused}");
    let cut = &payload[..payload.len() - 3];
    assert!(catalog::decode(&Record { payload: cut, ..record }).is_err());
}

#[test]
fn an_event_costs_little_more_than_its_words() {
    let at = Timestamp(1);
    let run = domain::RunId(Uuid::nil());
    let event = Event::RunForgotten(domain::event::RunForgotten { run, at });
    // A frame, a UUID with its length, a time of one byte.
    assert_eq!(catalog::batch([&event]).unwrap().len(), 9 + 17 + 1);
}

/// Names of fields, by path, of every sample of a type.
fn fields(value: &Value, names: &mut BTreeSet<String>) {
    if let Value::Object(object) = value {
        names.extend(object.keys().cloned());
    }
}

#[test]
fn the_document_lists_every_event_with_its_number_version_and_fields() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let mut documented = Vec::new();
    let mut row = None;
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            documented.extend(row.take());
            row = Some((heading.to_owned(), BTreeSet::new()));
        } else if let (Some((_, names)), Some(cell)) = (&mut row, line.strip_prefix("| `"))
            && let Some((name, _)) = cell.split_once('`')
        {
            names.insert(name.to_owned());
        }
    }
    documented.extend(row);
    let known: Vec<(String, BTreeSet<String>)> = TYPES
        .iter()
        .zip(samples())
        .map(|(of, samples)| {
            let mut names = BTreeSet::new();
            let Value::Array(all) = json_of(&samples) else { unreachable!("an array was made") };
            all.iter().for_each(|value| fields(value, &mut names));
            (format!("{} `{}` v{}", of.kind, of.name, of.version), names)
        })
        .collect();
    assert_eq!(documented, known, "docs/events.md and the catalogue differ");
    assert_eq!(json!([]), json_of(&[]), "no events, no rows");
}

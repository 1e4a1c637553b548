//! What is apart from an entry can be taken out, and what is left is still the entry.

#[path = "golden_samples/mod.rs"]
mod golden_samples;

use std::path::{Path, PathBuf};

use domain::Event;
use golden_samples::samples;
use journal::apart::Kinds;
use journal::catalog::{self, REDACTED};
use journal::{
    Batch, Chain, ClusterId, Cursor, Entry, EntryFault, EntryId, Format, Identity, Position, Tail,
};
use uuid::Uuid;

const ENV: Kinds = Kinds { env: true, stdin: false };
const STDIN: Kinds = Kinds { env: false, stdin: true };

fn tail() -> Tail {
    let identity = Identity { cluster: ClusterId(Uuid::nil()), incarnation: 1 };
    Tail { identity, position: Position::ORIGIN, epoch: 0, at_ms: 0 }
}

fn entry(events: &[Event], format: Format) -> Entry {
    let mut batch = Batch::of(format);
    events.iter().for_each(|event| catalog::encode(event, &mut batch).unwrap());
    let mut chain = Chain::lead_from(tail(), Uuid::nil()).salted([7; 32]);
    chain.seal(1_767_225_600_123, batch).unwrap().entry().clone()
}

fn all() -> Vec<Event> {
    samples().into_iter().flatten().collect()
}

fn events(entry: &Entry) -> Vec<Event> {
    catalog::events(entry).map(|event| event.unwrap().1).collect()
}

fn json(event: &Event) -> serde_json::Value {
    catalog::serialize_body(event, serde_json::value::Serializer).unwrap()
}

/// Every text and digest that an auditor may not see, as the journal has it.
fn secrets(event: &Event, kinds: Kinds) -> Vec<Vec<u8>> {
    let text = |text: &str| (text.len() > 3).then(|| text.as_bytes().to_vec());
    let of = |s: &domain::Submission| {
        let env = s.env.values().filter_map(text).filter(|_| kinds.env);
        env.chain(text(&s.stdin).filter(|_| kinds.stdin)).collect::<Vec<_>>()
    };
    let key = |key: &Option<(domain::event::KeyUse, u32)>| key.clone().map(|k| k.0.body.0.to_vec());
    match event {
        Event::RunAdmitted(e) => of(&e.submission).into_iter().chain(key(&e.key)).collect(),
        Event::RunRejected(e) => of(&e.submission).into_iter().chain(key(&e.key)).collect(),
        Event::RunAssigned(e) => vec![e.token.0.to_vec()],
        Event::RunFinished(e) => e.output.digest.iter().map(|digest| digest.0.to_vec()).collect(),
        Event::TemplatePut(e) => {
            let env = e.template.env.values().filter_map(text);
            env.filter(|_| kinds.env).collect()
        }
        _ => Vec::new(),
    }
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn no_secret_is_left_of_what_was_taken_out() {
    let whole = entry(&all(), Format::Apart);
    for kinds in [ENV, STDIN, Kinds::ALL] {
        let copy = whole.redacted(kinds);
        assert_eq!((copy.id(), copy.position()), (whole.id(), whole.position()));
        let mut looked_for = 0;
        for secret in all().iter().flat_map(|event| secrets(event, kinds)) {
            assert!(holds(whole.bytes(), &secret), "it was never there");
            assert!(!holds(copy.bytes(), &secret), "{:?}", String::from_utf8_lossy(&secret));
            looked_for += 1;
        }
        assert!(looked_for > 6);
    }
    assert_eq!(whole.redacted(Kinds::NONE), whole);
}

#[test]
fn what_was_taken_out_says_so_and_all_else_reads_as_before() {
    let (env, stdin) = ("env", "stdin");
    let copy = entry(&all(), Format::Apart).redacted(Kinds::ALL);
    for (was, now) in all().iter().zip(events(&copy)) {
        let (mut was, now) = (json(was), json(&now));
        for of in ["submission", "template"] {
            if let Some(of) = was.get_mut(of).filter(|of| of.is_object()) {
                for value in of[env].as_object_mut().unwrap().values_mut() {
                    *value = REDACTED.into();
                }
                if of.get(stdin).is_some_and(|stdin| stdin != "") {
                    of[stdin] = REDACTED.into();
                }
            }
        }
        let zeros = |was: &serde_json::Value| "0".repeat(was.as_str().unwrap().len());
        if let Some(token) = was.get_mut("token") {
            *token = zeros(token).into();
        }
        if let Some(key) = was.get_mut("key").filter(|key| key.is_array()) {
            key[0]["body"] = zeros(&key[0]["body"]).into();
        }
        if let Some(output) = was.get_mut("output").filter(|of| !of["digest"].is_null()) {
            output["digest"] = zeros(&output["digest"]).into();
        }
        assert_eq!(now, was);
    }
    let stdin_only = entry(&all(), Format::Apart).redacted(STDIN);
    assert!(format!("{:?}", events(&stdin_only)).contains("C.UTF-8"), "env stays");
}

#[test]
fn a_copy_is_verified_and_nothing_is_done_by_it() {
    let whole = entry(&all(), Format::Apart);
    let copy = whole.redacted(ENV);
    let mut cursor = Cursor::start(tail().identity);
    let before = cursor;
    let refused = cursor.accept(whole.id(), copy.bytes().clone()).unwrap_err();
    assert_eq!((refused.fault, cursor), (EntryFault::Redacted, before));
    assert_eq!(cursor.accept_copy(whole.id(), copy.bytes().clone()).unwrap(), copy);
}

#[test]
fn every_single_bit_of_a_copy_counts() {
    let event = all().into_iter().find(|event| event.name_is_admitted()).unwrap();
    let whole = entry(&[event], Format::Apart);
    for entry in [whole.redacted(STDIN), whole.redacted(Kinds::ALL), whole] {
        for bit in 0..entry.bytes().len() * 8 {
            let mut bytes = entry.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Entry::parse(entry.id(), bytes.into()).is_err(), "bit {bit}");
        }
    }
}

trait Named {
    fn name_is_admitted(&self) -> bool;
}

impl Named for Event {
    fn name_is_admitted(&self) -> bool {
        catalog::type_of(self).name == "run.admitted"
    }
}

#[test]
fn the_same_secret_commits_otherwise_in_every_reign() {
    let sealed = |with| {
        let batch = catalog::batch(&all()).unwrap();
        let chain = Chain::lead_from(tail(), Uuid::nil());
        let mut chain = if with { chain.salted([7; 32]) } else { chain };
        chain.seal(0, batch).unwrap().id()
    };
    assert_eq!(sealed(true), sealed(true));
    assert_ne!(sealed(false), sealed(false), "a salt that can be foreseen hides nothing");
}

/// Bytes that format 2 takes more than format 1 for an admission that has these.
fn cost(env: bool, stdin: bool, key: bool) -> i64 {
    let Some(Event::RunAdmitted(mut event)) = all().into_iter().find(Event::name_is_admitted)
    else {
        panic!("there is a sample of an admission")
    };
    let admitted = std::sync::Arc::make_mut(&mut event);
    let submission = std::sync::Arc::make_mut(&mut admitted.submission);
    if !env {
        submission.env = domain::Texts::default();
    }
    if !stdin {
        submission.stdin = "".into();
    }
    let used = domain::event::KeyUse { key: "k".into(), body: domain::ids::Hex([7; 16]) };
    admitted.key = key.then_some((used, 0));
    let len = |format| entry(&[Event::RunAdmitted(event.clone())], format).bytes().len() as i64;
    len(Format::Apart) - len(Format::Plain)
}

#[test]
fn what_has_no_secrets_costs_nothing_and_what_has_a_seed_and_some_bytes() {
    assert_eq!(cost(false, false, false), -1, "no length of a standard input");
    for (env, stdin, key) in [(true, false, false), (false, true, false), (false, false, true)] {
        assert!(cost(env, stdin, key) <= 36, "{env} {stdin} {key}");
    }
    assert!(cost(true, true, true) <= 38);
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_entries").join(name)
}

/// Whole entries in every form that was ever stored or taken away: `<seq>-<hash>` in the name.
#[test]
fn every_form_of_an_entry_is_read_for_ever() {
    let (plain, apart) = (entry(&all(), Format::Plain), entry(&all(), Format::Apart));
    let forms = [
        ("format-1", plain.clone()),
        ("format-2", apart.clone()),
        ("format-2-without-env", apart.redacted(ENV)),
        ("format-2-without-secrets", apart.redacted(Kinds::ALL)),
    ];
    for (name, newest) in forms {
        let path = file(&format!("{name}.bin"));
        if std::env::var_os("TARTARUS_WRITE_GOLDEN").is_some() && !path.exists() {
            std::fs::create_dir_all(file("")).unwrap();
            std::fs::write(&path, newest.bytes()).unwrap();
            std::fs::write(file(&format!("{name}.id")), newest.id().to_string()).unwrap();
        }
        let id = std::fs::read_to_string(file(&format!("{name}.id"))).unwrap_or_else(|error| {
            panic!("{name}: {error}; run this test with TARTARUS_WRITE_GOLDEN=1")
        });
        let id: EntryId = id.parse().unwrap();
        let old = Entry::parse(id, std::fs::read(&path).unwrap().into()).unwrap();
        let count = old.records().count();
        assert!(count > 40 && events(&old).len() == count, "{name}: {count}");
        if name.starts_with("format-2") {
            assert_eq!(old.is_redacted(), name != "format-2");
            let whole = std::fs::read(file("format-2.bin")).unwrap();
            let whole = Entry::parse(id, whole.into()).unwrap();
            assert_eq!(whole.redacted(Kinds::ALL), old.redacted(Kinds::ALL));
        }
    }
}

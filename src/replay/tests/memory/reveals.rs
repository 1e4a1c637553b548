//! A secret can be shown alone, and no other in its place.

use std::io::Cursor;

use api::event::Place;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::RunId;
use domain::ids::Sequence;
use journal::{Entry, EntryFault, Kinds, MemoryJournal, Receipt};
use replay::export::Export;
use replay::fold;
use replay::import::Import;
use replay::reveal::{NotShown, Opening, Shown, Whose, find};

use crate::day::{SECRETS, entries, journal, secret_day, source};
use crate::dice::Dice;
use crate::law::run;

async fn shown(journal: &MemoryJournal, whose: Whose, kinds: Kinds) -> Result<Opening, NotShown> {
    find(&mut source(journal), whose, kinds, |_| {}).await
}

/// The entries of an export without any secret.
async fn bare(journal: &MemoryJournal) -> Vec<Entry> {
    let export = Export::new(Vec::new(), None, None).redacting(Kinds::ALL);
    let (export, _) = fold::run(&mut source(journal), export, |_| {}).await;
    let (bytes, _) = export.finish().expect("an export");
    let mut import = Import::open(Cursor::new(bytes)).expect("an export");
    std::iter::from_fn(|| import.next_entry().expect("good")).collect()
}

fn reread(opening: &Opening) -> Opening {
    let line = String::from_utf8(opening.line()).expect("text");
    Opening::read(line.trim_end()).expect("a line")
}

#[tokio::test]
async fn one_secret_is_shown_of_an_entry_that_is_known_without_it() {
    let journal = journal(&secret_day().0).await;
    let bare = bare(&journal).await;
    let [token, input, of_template] = SECRETS;
    let of = |n| Whose::Run(run(n));
    let template = entries(&journal).await.iter().find_map(|entry| {
        let mut events = journal::catalog::events(entry).flatten();
        let n = events.find(|(_, event)| matches!(event, domain::Event::TemplatePut(_)))?.0;
        Some(Whose::Event(Place { sequence: entry.seq(), n: Some(n) }))
    });
    let env = |shown: &Shown, key: &str| {
        shown.env.as_ref().and_then(|env| env.get(key)).map(ToString::to_string)
    };
    for (whose, kinds, key, value, stdin) in [
        (of(1), Kinds::ENV, "TOKEN", Some(token), None),
        (of(1), Kinds::STDIN, "TOKEN", None, Some(input)),
        (of(1), Kinds::ALL, "TOKEN", Some(token), Some(input)),
        // It was rejected.
        (of(3), Kinds::ENV, "TOKEN", Some("known"), None),
        (template.expect("a template"), Kinds::ENV, "PASS", Some(of_template), None),
    ] {
        let opening = reread(&shown(&journal, whose, kinds).await.expect("shown"));
        let [shown] = &opening.shown()[..] else { panic!("{:?}", opening.shown()) };
        assert_eq!(env(shown, key).as_deref(), value);
        assert_eq!(shown.stdin.as_deref(), stdin);
        for entry in &bare {
            assert_eq!(opening.opens(entry), entry.seq() == opening.receipt().0.seq);
        }
        // Nothing else is in its bytes. A run has its template's environment, too.
        let told = format!("{shown:?}");
        let line = String::from_utf8(opening.line()).expect("text");
        let bytes = line.split("\"bytes\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let bytes = STANDARD.decode(bytes.expect("bytes")).expect("base64");
        for secret in SECRETS.into_iter().filter(|secret| !told.contains(secret)) {
            let there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!there, "{secret}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_shown() {
    let journal = journal(&secret_day().0).await;
    for (whose, kinds, words) in [
        (Whose::Run(run(6)), Kinds::ALL, "none of it to be shown alone"),
        (Whose::Run(run(4)), Kinds::ENV, "none of it to be shown alone"),
        (Whose::Run(RunId(uuid::Uuid::max())), Kinds::ALL, "nothing in the journal"),
        (Whose::Event(Place { sequence: 2, n: Some(9) }), Kinds::ALL, "nothing in the journal"),
    ] {
        let refused = shown(&journal, whose, kinds).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[tokio::test]
async fn no_other_secret_can_be_shown_in_its_place() {
    let journal = journal(&secret_day().0).await;
    let bare = bare(&journal).await;
    let opening = shown(&journal, Whose::Run(run(1)), Kinds::ALL).await.expect("shown");
    let line = String::from_utf8(opening.line()).expect("text");
    let (before, rest) = line.split_once("\"bytes\":\"").expect("bytes");
    let (bytes, after) = rest.split_once('"').expect("their end");
    let bytes = STANDARD.decode(bytes).expect("base64");
    let mut dice = Dice::new();
    let known = |seq: Sequence| bare.iter().find(|entry| entry.seq() == seq).expect("an entry");
    let mut refused = 0;
    for _ in 0..500 {
        let mut bytes = bytes.clone();
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << dice.below(8);
        let line = format!("{before}\"bytes\":\"{}\"{after}", STANDARD.encode(bytes));
        match Opening::read(line.trim_end()) {
            Err(_) => refused += 1,
            Ok(other) => assert!(!other.opens(known(opening.receipt().0.seq)), "byte {at}"),
        }
    }
    assert_eq!(refused, 500, "the id in the line finds each of them");
    // Whoever made the change gives it the id that fits: then it opens nothing that is known.
    let id = opening.receipt().0;
    let mut read = 0;
    for _ in 0..500 {
        let mut bytes = bytes.clone();
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << dice.below(8);
        let damaged = Entry::parse(id, bytes.clone().into()).expect_err("another id");
        let EntryFault::WrongHash { computed } = damaged.fault else { continue };
        let line = format!("{before}\"bytes\":\"{}\"{after}", STANDARD.encode(bytes));
        let line = line.replace(&Receipt(id).to_string(), &Receipt(computed).to_string());
        if let Ok(other) = Opening::read(line.trim_end()) {
            assert_eq!(other.receipt(), Receipt(computed));
            assert!(!other.opens(known(id.seq)), "byte {at}");
            read += 1;
        }
    }
    assert!(read > 100, "{read} of 500 were read");
}

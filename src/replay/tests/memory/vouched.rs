//! What signatures find, what only a pinned key finds, and what only a receipt does.

use std::io::Cursor;
use std::sync::Arc;

use domain::Event;
use domain::event::{
    CheckpointSigned, LeaderStarted, LevelRaised, Origin, Principal, QueuePaused, QueueResumed,
};
use domain::ids::{Hex, Timestamp};
use domain::kept::LEVEL;
use journal::{
    Chain, ClusterId, Entry, Identity, InstanceKey, Position, PublicKey, Receipt, Tail, catalog,
};
use replay::export::Export;
use replay::fold::Fold;
use replay::import::Import;
use replay::vouched::{Trust, Vouched, Vouching};
use uuid::Uuid;

const IDENTITY: Identity = Identity { cluster: ClusterId(Uuid::from_u128(9)), incarnation: 1 };

fn ours() -> InstanceKey {
    InstanceKey::from_seed(&[1; 32])
}

fn theirs() -> InstanceKey {
    InstanceKey::from_seed(&[2; 32])
}

fn origin() -> Origin {
    Origin { by: Principal::System, request: Uuid::nil() }
}

fn led(epoch: u64, key: PublicKey) -> Event {
    Event::LeaderStarted(Arc::new(LeaderStarted {
        at: Timestamp(epoch),
        epoch,
        boot: Uuid::nil(),
        url: "http://127.0.0.1:1".into(),
        version: "0.1.0".into(),
        key: Some(key),
        reads_level: LEVEL,
    }))
}

fn paused() -> Event {
    Event::QueuePaused(QueuePaused { at: Timestamp(5), origin: origin() })
}

fn resumed() -> Event {
    Event::QueueResumed(QueueResumed { at: Timestamp(5), origin: origin() })
}

fn checkpoint(key: &InstanceKey, of: Position) -> CheckpointSigned {
    CheckpointSigned {
        at: Timestamp(5),
        index: of.seq,
        hash: Hex(of.hash.0),
        key: key.public(),
        signature: key.vouch(IDENTITY, of),
    }
}

/// A journal being written, as an instance or a forger does.
struct Book {
    chain: Chain,
    entries: Vec<Entry>,
}

impl Book {
    fn new() -> Self {
        let tail = Tail { identity: IDENTITY, position: Position::ORIGIN, epoch: 0, at_ms: 0 };
        Self { chain: Chain::lead_from(tail, Uuid::nil()), entries: Vec::new() }
    }

    fn write(&mut self, events: &[Event]) {
        if let [Event::LeaderStarted(led), ..] = events {
            let (position, epoch) = (self.chain.position(), led.epoch - 1);
            let tail = Tail { identity: IDENTITY, position, epoch, at_ms: self.chain.at_ms() };
            self.chain = Chain::lead_from(tail, led.boot);
        }
        let batch = catalog::batch(events).expect("records");
        let sealed = self.chain.seal(5, batch).expect("below the limit");
        self.entries.push(sealed.entry().clone());
    }

    fn sign(&mut self, key: &InstanceKey) {
        let signed = checkpoint(key, self.chain.position());
        self.write(&[Event::CheckpointSigned(Arc::new(signed))]);
    }
}

/// Eleven entries: two reigns, a checkpoint in 5 (of 4), one in 9 (of 8), and two entries behind it.
fn honest() -> Vec<Entry> {
    let mut book = Book::new();
    let raised = LevelRaised { at: Timestamp(1), origin: origin(), level: LEVEL };
    book.write(&[led(1, ours().public()), Event::LevelRaised(raised)]);
    book.write(&[paused()]);
    book.write(&[resumed()]);
    book.write(&[paused()]);
    book.sign(&ours());
    book.write(&[led(2, ours().public())]);
    book.write(&[resumed()]);
    book.write(&[paused()]);
    book.sign(&ours());
    book.write(&[resumed()]);
    book.write(&[paused()]);
    book.entries
}

fn events(entry: &Entry) -> Vec<Event> {
    catalog::events(entry).map(|event| event.expect("an event").1).collect()
}

/// The journal written again with other events, every hash made anew: what whoever can write Redis
/// can do. `forge` may sign with a key of its own.
fn rewritten(forge: impl Fn(u64, Vec<Event>, Position) -> Option<Vec<Event>>) -> Vec<Entry> {
    let mut book = Book::new();
    for entry in honest() {
        if let Some(events) = forge(entry.seq(), events(&entry), book.chain.position()) {
            book.write(&events);
        }
    }
    book.entries
}

fn one_lie(seq: u64, events: Vec<Event>) -> Vec<Event> {
    if seq == 3 { vec![paused()] } else { events }
}

/// Whether the bytes are a good export to whoever looks at the chain alone.
fn chain_is_good(entries: &[Entry]) -> bool {
    let mut export = Export::new(Vec::new(), None, None);
    assert!(entries.iter().all(|entry| export.entry(entry)));
    let (bytes, _) = export.finish().expect("an export");
    let mut import = Import::open(Cursor::new(&bytes)).expect("an export");
    loop {
        match import.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn ask(entries: &[Entry], keys: &[PublicKey], receipts: &[Receipt]) -> Vouching {
    let trust = Trust { keys: keys.iter().copied().collect(), receipts: receipts.to_vec() };
    let mut vouched = Vouched::new(trust);
    entries.iter().for_each(|entry| vouched.entry(entry));
    vouched.at_the_end()
}

#[track_caller]
fn found(vouching: &Vouching, sequence: u64, words: &str) {
    let said = vouching.findings.iter().find(|finding| finding.what.contains(words));
    let said = said.unwrap_or_else(|| panic!("{words}: {:?}", vouching.findings));
    assert_eq!(said.sequence, sequence, "{said}");
}

#[test]
fn an_honest_journal_is_vouched_for_up_to_its_last_checkpoint() {
    let entries = honest();
    for keys in [&[][..], &[ours().public()], &[theirs().public(), ours().public()]] {
        let vouching = ask(&entries, keys, &[]);
        assert_eq!(vouching.findings, []);
        assert_eq!((vouching.checkpoints, vouching.last_signed), (2, Some(8)));
        assert_eq!((vouching.unsigned, vouching.pinned), (3, keys.len() as u64));
        assert_eq!(vouching.keys, [ours().public().to_string()]);
    }
}

#[test]
fn a_rewritten_entry_is_found_though_every_hash_was_made_anew() {
    let forged = rewritten(|seq, events, _| Some(one_lie(seq, events)));
    assert!(chain_is_good(&forged), "the chain alone shows nothing");
    let vouching = ask(&forged, &[ours().public()], &[]);
    found(&vouching, 5, "was rewritten after it was signed");
    assert_eq!(vouching.last_signed, None);
}

#[test]
fn a_forger_who_signs_himself_is_found_by_a_pinned_key_and_by_nothing_else() {
    let resigned = |also_in_the_beginning: bool| {
        rewritten(move |seq, events, before| {
            let [first, rest @ ..] = events.as_slice() else { return Some(events) };
            Some(match first {
                Event::CheckpointSigned(_) => {
                    vec![Event::CheckpointSigned(Arc::new(checkpoint(&theirs(), before)))]
                }
                Event::LeaderStarted(e) if also_in_the_beginning => {
                    [&[led(e.epoch, theirs().public())], rest].concat()
                }
                _ => one_lie(seq, events),
            })
        })
    };
    found(&ask(&resigned(false), &[], &[]), 5, "the leader of epoch 1 announced");
    let whole = resigned(true);
    assert!(chain_is_good(&whole));
    // Without a key from elsewhere this is as good a journal as any.
    let unpinned = ask(&whole, &[], &[]);
    assert_eq!((unpinned.findings.as_slice(), unpinned.pinned), (&[][..], 0));
    let pinned = ask(&whole, &[ours().public()], &[]);
    found(&pinned, 1, "no checkpoint by a pinned key");
    found(&pinned, 1, "signs one a minute, if not told otherwise, and at a planned stop");
    assert!(pinned.findings.iter().any(|finding| finding.what.contains("which is not pinned")));
}

#[test]
fn taking_the_checkpoints_away_shows_in_what_is_left_unvouched() {
    let is_checkpoint = |events: &[Event]| matches!(events, [Event::CheckpointSigned(_)]);
    let stripped =
        rewritten(|seq, events, _| (!is_checkpoint(&events)).then(|| one_lie(seq, events)));
    let vouching = ask(&stripped, &[ours().public()], &[]);
    found(&vouching, 1, "no checkpoint by a pinned key");
    assert_eq!(vouching.unsigned, 9);
    // Those behind the first one alone: what is behind it is nobody's word.
    let late = rewritten(|seq, events, _| {
        (!(seq == 9 && is_checkpoint(&events)))
            .then(|| if seq == 7 { vec![paused()] } else { events })
    });
    let vouching = ask(&late, &[ours().public()], &[]);
    assert_eq!((vouching.findings.as_slice(), vouching.last_signed), (&[][..], Some(4)));
    assert_eq!(vouching.unsigned, 6);
}

#[test]
fn only_a_receipt_tells_that_the_end_is_missing_or_another() {
    let entries = honest();
    let receipt = |seq: usize| Receipt(entries[seq - 1].id());
    let cut = &entries[..9];
    assert_eq!(ask(cut, &[ours().public()], &[]).findings, [], "a shorter journal is a good one");
    found(&ask(cut, &[], &[receipt(11)]), 11, "the end is missing");
    let all: Vec<Receipt> = (1..=11).map(receipt).collect();
    let vouching = ask(&entries, &[], &all);
    assert_eq!((vouching.findings.as_slice(), vouching.receipts), (&[][..], 11));
    let mut other = receipt(10);
    other.0.h64 ^= 1;
    found(&ask(&entries, &[], &[other]), 10, "was given for another entry");
    found(&ask(&entries[5..], &[], &[receipt(2)]), 2, "before the first one here, 6");
}

#[test]
fn what_begins_later_is_vouched_for_as_far_as_it_goes() {
    let entries = honest();
    // Without the beginning of its reign the key stands alone.
    let vouching = ask(&entries[6..], &[ours().public()], &[]);
    assert_eq!((vouching.findings.as_slice(), vouching.last_signed), (&[][..], Some(8)));
    // Its first entry is chained to the one that is vouched for.
    let vouching = ask(&entries[8..], &[ours().public()], &[]);
    assert_eq!((vouching.findings.as_slice(), vouching.last_signed), (&[][..], Some(8)));
    let mut book = Book::new();
    let before = book.chain.position();
    book.write(&[led(1, ours().public())]);
    book.write(&[paused()]);
    book.write(&[resumed()]);
    let first = book.entries[0].position();
    book.write(&[Event::CheckpointSigned(Arc::new(checkpoint(&ours(), first)))]);
    let vouching = ask(&book.entries[3..], &[], &[]);
    assert_eq!((vouching.checkpoints, vouching.out_of_reach), (0, 1));
    assert_eq!(before, Position::ORIGIN);
}

#[test]
fn a_checkpoint_that_is_none_is_named() {
    let with = |signed: CheckpointSigned| {
        let mut book = Book::new();
        book.write(&[led(1, ours().public())]);
        book.write(&[Event::CheckpointSigned(Arc::new(signed))]);
        ask(&book.entries, &[], &[])
    };
    let of = |seq| Position { seq, hash: journal::ChainHash([3; 32]) };
    found(&with(checkpoint(&ours(), of(2))), 2, "names entry 2, which is not before it");
    found(&with(checkpoint(&ours(), of(1))), 2, "was rewritten after it was signed");
    let mut bent = checkpoint(&ours(), of(1));
    bent.signature.0[0] ^= 1;
    found(&with(bent), 2, "the signature is not one by key");
    let mut keyless = Book::new();
    keyless.write(&[paused()]);
    keyless.sign(&ours());
    found(&ask(&keyless.entries, &[], &[]), 2, "announced no key");
}

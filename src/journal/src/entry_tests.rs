//! What the bytes of an entry must hold.

use proptest::prelude::*;

use super::*;
use crate::apart::{Secret, Secrets};
use crate::batch::{Batch, BatchTooLarge, Stamp, seal};

fn stamp() -> Stamp {
    Stamp {
        identity: Identity { cluster: ClusterId(Uuid::from_u128(7)), incarnation: 1 },
        after: Position { seq: 41, hash: ChainHash([9; 32]) },
        epoch: 3,
        boot: Uuid::from_u128(8),
        at_ms: 1_700_000_000_000,
        seed: [5; 32],
    }
}

fn record(kind: u16, payload: &[u8]) -> Record<'_> {
    Record { kind, version: 1, critical: true, payload, secrets: Secrets::NONE }
}

/// Replaces bytes and makes checksum, length and hash right again, so that only the fault
/// that was planted can be found.
fn forged(format: Format, change: impl FnOnce(&mut Vec<u8>)) -> Result<Entry, EntryFault> {
    let mut batch = Batch::of(format);
    batch.push(record(1, b"payload"));
    let mut bytes = seal(stamp(), batch).unwrap().bytes.to_vec();
    change(&mut bytes);
    let body_len = (bytes.len() - HEADER_LEN) as u32;
    bytes[69..73].copy_from_slice(&body_len.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[HEADER_LEN..]);
    bytes[105..109].copy_from_slice(&crc.to_le_bytes());
    let id = EntryId { seq: 42, h64: hash_of(&ChainHash([9; 32]), &bytes, &[], 0).unwrap().h64() };
    Entry::parse(id, bytes.into()).map_err(|damaged| damaged.fault)
}

#[test]
fn a_forged_frame_is_named_even_when_every_checksum_is_right() {
    for (format, flags) in [(Format::Plain, 3), (Format::Apart, 0x11)] {
        let forged = |change: &dyn Fn(&mut Vec<u8>)| forged(format, change);
        assert!(forged(&|_| {}).is_ok());
        let at = HEADER_LEN;
        let unknown = Err(EntryFault::UnknownFlags { index: 0, flags });
        assert_eq!(forged(&|b| b[at + 4] = flags), unknown);
        assert_eq!(forged(&|b| b[at + 5] = 8), Err(EntryFault::CutRecord { index: 0 }));
        assert_eq!(forged(&|b| b[at + 5] = 6), Err(EntryFault::CutRecord { index: 1 }));
        let none = Err(EntryFault::WrongCount { declared: 1, found: 0 });
        assert_eq!(forged(&|b| b.truncate(at)), none);
        assert_eq!(forged(&|b| b[4] = 3), Err(EntryFault::UnknownFormat { found: 3 }));
        assert_eq!(forged(&|b| b[0] = 0), Err(EntryFault::NotAnEntry));
        assert_eq!(forged(&|b| b[25] = 43), Err(EntryFault::WrongSequence { found: 43 }));
    }
    // It says that something is apart, and nothing is.
    assert_eq!(forged(Format::Apart, |b| b[HEADER_LEN + 4] = 3), Err(EntryFault::WrongApart));
}

#[test]
fn a_short_entry_says_how_short() {
    let parse = |bytes: &'static [u8]| {
        Entry::parse(EntryId { seq: 1, h64: 1 }, Bytes::from_static(bytes)).unwrap_err().fault
    };
    assert_eq!(parse(b""), EntryFault::TooShort { len: 0 });
    assert_eq!(parse(b"TOJE\x01abc"), EntryFault::TooShort { len: 8 });
}

#[test]
fn a_batch_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let of = |payload: usize| {
        let mut batch = Batch::new();
        let payload = vec![0; payload];
        batch.push(record(1, &payload));
        seal(stamp(), batch)
    };
    let entry = of(MAX_BODY_BYTES - FRAME_LEN).unwrap();
    assert!(Entry::parse(entry.id(), entry.bytes).is_ok());
    let len = MAX_BODY_BYTES + 1;
    assert_eq!(of(len - FRAME_LEN), Err(BatchTooLarge { len }));
}

#[test]
fn a_refused_record_leaves_the_batch_as_it_was() {
    let mut batch = Batch::new();
    batch.push(record(1, b"a"));
    let before = batch.len();
    let refused = batch.push_with(2, 1, true, |to| {
        to.extend_from_slice(b"half");
        Err("no")
    });
    assert_eq!(refused, Err("no"));
    assert_eq!((batch.records(), batch.len()), (1, before));
}

type Secrecy = [Option<Vec<u8>>; 3];
type Plain = (u16, u16, bool, Vec<u8>, Secrecy);

fn records() -> impl Strategy<Value = Vec<Plain>> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let secret = || prop::option::weighted(0.3, bytes(40));
    let secrets = [secret().boxed(), secret().boxed(), secret().boxed()];
    let plain = (any::<u16>(), any::<u16>(), any::<bool>(), bytes(64), secrets);
    prop::collection::vec(plain, 0..40)
}

fn said(secret: Secret<'_>) -> Option<Vec<u8>> {
    match secret {
        Secret::Open(bytes) => Some(bytes.to_vec()),
        Secret::None | Secret::Redacted => None,
    }
}

fn batch_of(plain: &[Plain]) -> Batch {
    let mut batch = Batch::new();
    for (kind, version, critical, payload, secrets) in plain {
        let of = |n: usize| secrets[n].as_deref().map_or(Secret::None, Secret::Open);
        let secrets = Secrets { env: of(0), stdin: of(1), marks: of(2) };
        let (kind, version, critical) = (*kind, *version, *critical);
        batch.push(Record { kind, version, critical, payload, secrets });
    }
    batch
}

/// What an entry says, and which of its secrets are gone.
fn read(entry: &Entry) -> (Vec<Plain>, Vec<[bool; 3]>) {
    let records = entry.records().map(|record| {
        let Record { kind, version, critical, payload, secrets } = record;
        let all = [secrets.env, secrets.stdin, secrets.marks];
        let plain = (kind, version, critical, payload.to_vec(), all.map(said));
        (plain, all.map(|secret| secret == Secret::Redacted))
    });
    records.unzip()
}

proptest! {
    #[test]
    fn a_sealed_batch_reads_back_as_the_same_records(plain in records(), cut in any::<prop::sample::Index>()) {
        let (head, tail) = plain.split_at(cut.index(plain.len() + 1));
        let mut batch = batch_of(head);
        batch.extend(&batch_of(tail));
        let len = batch.len();
        let sealed = seal(stamp(), batch).unwrap();
        prop_assert_eq!(sealed.bytes.len(), HEADER_LEN + len);
        let entry = Entry::parse(sealed.id(), sealed.bytes.clone()).unwrap();
        prop_assert_eq!(&entry, &sealed);
        prop_assert_eq!(read(&entry).0, plain);
        prop_assert!(!entry.is_redacted());
    }

    #[test]
    fn what_is_taken_out_is_gone_and_all_else_stays_under_the_same_hash(plain in records(), env: bool, stdin: bool) {
        let whole = seal(stamp(), batch_of(&plain)).unwrap();
        let copy = whole.redacted(Kinds { env, stdin });
        let parsed = Entry::parse(whole.id(), copy.bytes.clone()).unwrap();
        prop_assert_eq!(&parsed, &copy);
        prop_assert_eq!(copy.position(), whole.position());
        let taken = [env, stdin, env || stdin];
        let has = |n: usize| plain.iter().any(|plain| plain.4[n].is_some());
        prop_assert_eq!(copy.is_redacted(), taken[2] && (has(0) || has(1) || has(2)));
        let (records, gone) = read(&copy);
        for ((was, is), gone) in plain.iter().zip(records).zip(gone) {
            prop_assert_eq!((was.0, was.1, was.2, &was.3), (is.0, is.1, is.2, &is.3));
            for n in 0..3 {
                prop_assert_eq!(gone[n], taken[n] && was.4[n].is_some());
                prop_assert_eq!(&is.4[n], if taken[n] { &None } else { &was.4[n] });
            }
        }
        // In steps or at once, and again: the same copy.
        let all = whole.redacted(Kinds::ALL);
        prop_assert_eq!(copy.redacted(Kinds::ALL), all.clone());
        prop_assert_eq!(all.redacted(Kinds { env, stdin }), all);
    }

    #[test]
    fn arbitrary_bytes_never_pass_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let id = EntryId { seq: 1, h64: 1 };
        prop_assert!(Entry::parse(id, bytes.into()).is_err());
    }

    #[test]
    fn whatever_is_apart_never_panics(section in prop::collection::vec(any::<u8>(), 0..200), form in 1_u8..3) {
        let whole = seal(stamp(), batch_of(&[(1, 1, true, vec![1], [None, Some(vec![2]), Some(vec![3])])])).unwrap();
        let body = HEADER_LEN + whole.header.body_len as usize;
        let bytes = [&whole.bytes[..body], &[form], &section].concat();
        prop_assert!(Entry::parse(whole.id(), bytes.into()).is_err());
    }
}

//! What the bytes of an entry must hold.

use proptest::prelude::*;

use super::*;

fn stamp() -> Stamp {
    Stamp {
        identity: Identity { cluster: ClusterId(Uuid::from_u128(7)), incarnation: 1 },
        after: Position { seq: 41, hash: ChainHash([9; 32]) },
        epoch: 3,
        boot: Uuid::from_u128(8),
        at_ms: 1_700_000_000_000,
    }
}

/// Replaces bytes and makes checksum, length and hash right again, so that only the fault
/// that was planted can be found.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Result<Entry, EntryFault> {
    let mut batch = Batch::new();
    batch.push(Record { kind: 1, version: 1, critical: true, payload: b"payload" });
    let mut bytes = seal(stamp(), batch).unwrap().bytes.to_vec();
    change(&mut bytes);
    let body_len = (bytes.len() - HEADER_LEN) as u32;
    bytes[69..73].copy_from_slice(&body_len.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[HEADER_LEN..]);
    bytes[105..109].copy_from_slice(&crc.to_le_bytes());
    let id = EntryId { seq: 42, h64: hash_of(&ChainHash([9; 32]), &bytes).h64() };
    Entry::parse(id, bytes.into()).map_err(|damaged| damaged.fault)
}

#[test]
fn a_forged_frame_is_named_even_when_every_checksum_is_right() {
    assert!(forged(|_| {}).is_ok());
    let at = HEADER_LEN;
    assert_eq!(forged(|b| b[at + 4] = 3), Err(EntryFault::UnknownFlags { index: 0, flags: 3 }));
    assert_eq!(forged(|b| b[at + 5] = 8), Err(EntryFault::CutRecord { index: 0 }));
    assert_eq!(forged(|b| b[at + 5] = 6), Err(EntryFault::CutRecord { index: 1 }));
    assert_eq!(forged(|b| b.truncate(at)), Err(EntryFault::WrongCount { declared: 1, found: 0 }));
    assert_eq!(forged(|b| b[4] = 2), Err(EntryFault::UnknownFormat { found: 2 }));
    assert_eq!(forged(|b| b[0] = 0), Err(EntryFault::NotAnEntry));
    assert_eq!(forged(|b| b[25] = 43), Err(EntryFault::WrongSequence { found: 43 }));
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
        batch.push(Record { kind: 1, version: 1, critical: true, payload: &payload });
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
    batch.push(Record { kind: 1, version: 1, critical: true, payload: b"a" });
    let before = batch.bytes.clone();
    let refused = batch.push_with(2, 1, true, |to| {
        to.extend_from_slice(b"half");
        Err("no")
    });
    assert_eq!(refused, Err("no"));
    assert_eq!((batch.records, &batch.bytes), (1, &before));
}

type Plain = (u16, u16, bool, Vec<u8>);

fn records() -> impl Strategy<Value = Vec<Plain>> {
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    prop::collection::vec((any::<u16>(), any::<u16>(), any::<bool>(), payload), 0..40)
}

proptest! {
    #[test]
    fn a_sealed_batch_reads_back_as_the_same_records(plain in records(), cut in any::<prop::sample::Index>()) {
        let (head, tail) = plain.split_at(cut.index(plain.len() + 1));
        let batch_of = |plain: &[Plain]| {
            let mut batch = Batch::new();
            for (kind, version, critical, payload) in plain {
                batch.push(Record { kind: *kind, version: *version, critical: *critical, payload });
            }
            batch
        };
        let mut batch = batch_of(head);
        batch.extend(&batch_of(tail));
        let sealed = seal(stamp(), batch).unwrap();
        let entry = Entry::parse(sealed.id(), sealed.bytes.clone()).unwrap();
        prop_assert_eq!(&entry, &sealed);
        let read: Vec<Plain> = entry
            .records()
            .map(|r| (r.kind, r.version, r.critical, r.payload.to_vec()))
            .collect();
        prop_assert_eq!(read, plain);
    }

    #[test]
    fn arbitrary_bytes_never_pass_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let id = EntryId { seq: 1, h64: 1 };
        prop_assert!(Entry::parse(id, bytes.into()).is_err());
    }
}
